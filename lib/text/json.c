#include "text/json.h"

#include "base/mem.h"
#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static void new_line(struct tf_json *json)
{
    if (!json->pretty)
        return;
    fputc('\n', json->file);
    for (int i = 0; i < json->depth; i++)
        fputs("  ", json->file);
}

/* One character of a string; returns how many bytes of text it took. */
static size_t put_character(FILE *file, const uint8_t *text, size_t n)
{
    static const char names[] = "\"\\\n\t\r\b\f", letters[] = "\"\\ntrbf";
    size_t length = tf_utf8_length(text, n);
    const char *name = text[0] == '\0' ? NULL : strchr(names, text[0]);

    if (length == 0)
        fputs("\xef\xbf\xbd", file);
    else if (name != NULL)
        fprintf(file, "\\%c", letters[name - names]);
    else if (text[0] < 0x20 || text[0] == 0x7f)
        fprintf(file, "\\u%04x", text[0]);
    else if (text[0] == 0xc2 && text[1] < 0xa0) /* C1, which terminals obey */
        fprintf(file, "\\u%04x", text[1]);
    else
        fwrite(text, 1, length, file);
    return length == 0 ? 1 : length;
}

static void put_string(FILE *file, const char *text, size_t n)
{
    fputc('"', file);
    while (n > 0) {
        size_t used = put_character(file, (const uint8_t *)text, n);
        text += used;
        n -= used;
    }
    fputc('"', file);
}

/* What comes before a value: a comma, the indent, the key. */
static void begin_value(struct tf_json *json, const char *key)
{
    if (json->comma)
        fputc(',', json->file);
    if (json->depth > 0)
        new_line(json);
    if (key != NULL) {
        put_string(json->file, key, strlen(key));
        fputs(json->pretty ? ": " : ":", json->file);
    }
    json->comma = json->depth > 0;
}

static void open_bracket(struct tf_json *json, const char *key, char bracket)
{
    begin_value(json, key);
    fputc(bracket, json->file);
    json->depth++;
    json->comma = false;
}

static void close_bracket(struct tf_json *json, char bracket)
{
    json->depth--;
    if (json->comma)
        new_line(json);
    fputc(bracket, json->file);
    json->comma = json->depth > 0;
    if (json->depth == 0)
        fputc('\n', json->file);
}

void tf_json_object(struct tf_json *json, const char *key)
{
    open_bracket(json, key, '{');
}

void tf_json_array(struct tf_json *json, const char *key)
{
    open_bracket(json, key, '[');
}

void tf_json_end_object(struct tf_json *json)
{
    close_bracket(json, '}');
}

void tf_json_end_array(struct tf_json *json)
{
    close_bracket(json, ']');
}

void tf_json_string(struct tf_json *json, const char *key, const char *text)
{
    tf_json_bytes(json, key, text, strlen(text));
}

void tf_json_string_or_null(struct tf_json *json, const char *key, const char *text)
{
    if (text && *text)
        tf_json_string(json, key, text);
    else
        tf_json_null(json, key);
}

void tf_json_bytes(struct tf_json *json, const char *key, const char *text, size_t n)
{
    begin_value(json, key);
    put_string(json->file, text, n);
}

void tf_json_uint(struct tf_json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    fprintf(json->file, "%ju", (uintmax_t)value);
}

void tf_json_real(struct tf_json *json, const char *key, double value)
{
    char text[32];

    begin_value(json, key);
    fputs(__builtin_isfinite(value) ? tf_real_text(text, value) : "null", json->file);
}

void tf_json_bool(struct tf_json *json, const char *key, bool value)
{
    begin_value(json, key);
    fputs(value ? "true" : "false", json->file);
}

void tf_json_null(struct tf_json *json, const char *key)
{
    begin_value(json, key);
    fputs("null", json->file);
}

/* ---- numbers ---- */

/* The fewest digits after the first that read back as value. */
static int shortest_precision(char out[32], double value)
{
    for (int precision = 0; precision < 16; precision++) {
        snprintf(out, 32, "%.*e", precision, value);
        if (strtod(out, NULL) == value)
            return precision;
    }
    snprintf(out, 32, "%.16e", value);
    return 16;
}

/* A finite value in the locale C. Near 1 as people write numbers, else with an exponent: 0.0005,
 * 10000, 1e-8. */
static void finite_text(char out[32], double value)
{
    int precision = shortest_precision(out, value);
    char *mark = strchr(out, 'e');
    int exponent = (int)strtol(mark + 1, NULL, 10);

    if (exponent >= -4 && exponent < 16)
        snprintf(out, 32, "%.*f", precision > exponent ? precision - exponent : 0, value);
    else
        snprintf(mark, (size_t)(out + 32 - mark), "e%d", exponent);
}

char *tf_real_text(char out[32], double value)
{
    locale_t c, old;

    if (!__builtin_isfinite(value))
        return strcpy(out, __builtin_isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
    c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    old = uselocale(c);
    finite_text(out, value);
    uselocale(old);
    if (c != (locale_t)0)
        freelocale(c);
    return out;
}

/* ---- reading ---- */

/* jansson's values under a name of ours; never more than cast. */
static const json_t *inside(const struct tf_json_value *value)
{
    return (const json_t *)(const void *)value;
}

static const struct tf_json_value *borrow(const json_t *value)
{
    return (const struct tf_json_value *)(const void *)value;
}

/* Where there is no memory for it, jansson leaves a character out of a string without a word. So it
 * gets the text byte by byte, and errno is looked at before the next one. */
struct feed {
    const char *at, *end;
    bool no_memory;
};

static size_t give_byte(void *out, size_t size, void *user)
{
    struct feed *feed = user;

    feed->no_memory |= errno == ENOMEM;
    if (feed->at == feed->end || size == 0)
        return 0;
    *(char *)out = *feed->at++;
    return 1;
}

/* NULL with errno ENOMEM: there was no memory. */
static json_t *load(const char *text, size_t n, json_error_t *error)
{
    struct feed feed = {text, text + n, false};
    json_t *root;

    errno = 0;
    root = json_load_callback(give_byte, &feed, JSON_REJECT_DUPLICATES, error);
    if (!feed.no_memory && errno != ENOMEM)
        return root;
    json_decref(root);
    errno = ENOMEM;
    return NULL;
}

enum tf_code tf_json_parse(struct tf_json_value **root, const char *text, size_t n,
                           struct tf_err *err)
{
    json_error_t error;
    json_t *value = load(text, n, &error);

    *root = (struct tf_json_value *)(void *)value;
    if (value != NULL)
        return TF_OK;
    if (errno == ENOMEM)
        return tf_fail(err, TF_MEMORY, "out of memory: JSON of %zu bytes", n);
    return tf_fail(err, TF_DATA, "line %d, column %d: not JSON: %s", error.line, error.column,
                   error.text);
}

void tf_json_free(struct tf_json_value *root)
{
    json_decref((json_t *)(void *)root);
}

const struct tf_json_value *tf_json_get(const struct tf_json_value *object, const char *key)
{
    return borrow(json_object_get(inside(object), key));
}

const struct tf_json_value *tf_json_at(const struct tf_json_value *array, size_t index)
{
    return borrow(json_array_get(inside(array), index));
}

size_t tf_json_count(const struct tf_json_value *array)
{
    return json_array_size(inside(array));
}

const char *tf_json_text(const struct tf_json_value *value)
{
    return json_string_value(inside(value));
}

bool tf_json_number(const struct tf_json_value *value, double *out)
{
    *out = json_number_value(inside(value));
    return json_is_number(inside(value));
}

enum tf_code tf_json_get_string(const char *text, size_t n, const char *key, char **out,
                                size_t *size, struct tf_err *err)
{
    json_error_t error;
    json_t *root = load(text, n, &error), *value;
    enum tf_code code = TF_OK;

    *out = NULL;
    *size = 0;
    if (root == NULL && errno == ENOMEM)
        return tf_fail(err, TF_MEMORY, "out of memory: JSON of %zu bytes", n);
    if (root == NULL)
        return tf_fail(err, TF_DATA, "column %d: not JSON: %s", error.column, error.text);
    value = json_object_get(root, key);
    if (!json_is_object(root)) {
        code = tf_fail(err, TF_DATA, "not a JSON object");
    } else if (value == NULL) {
        code = tf_fail(err, TF_DATA, "the object has no key \"%s\"", key);
    } else if (!json_is_string(value)) {
        code = tf_fail(err, TF_DATA, "the value of \"%s\" is not a string", key);
    } else {
        *out = tf_strndup(json_string_value(value), json_string_length(value), err);
        *size = *out == NULL ? 0 : json_string_length(value);
        code = *out == NULL ? TF_MEMORY : TF_OK;
    }
    json_decref(root);
    return code;
}
