/* The values of keys: how each type is read, written and let go. */
#include "base/mem.h"
#include "text/json.h"
#include "train/config_keys.h"
#include "train/grow.h"
#include <string.h>

#define MAX_TEXT 1023  /* bytes of one text */
#define MAX_TEXTS 1024 /* texts of one list */

/* ---- reading: TF_NO when the value does not fit, which needs no message yet ---- */

static void *field(const struct tf_key *key, void *of)
{
    return (char *)of + key->offset;
}

const void *tf_key_field(const struct tf_key *key, const void *of)
{
    return (const char *)of + key->offset;
}

static enum tf_code read_uint(const struct tf_key *key, const struct tf_yaml *value, uint64_t *out)
{
    unsigned long long number;

    if (!tf_yaml_uint(value, &number) || number < key->least || number > key->most)
        return TF_NO;
    *out = number;
    return TF_OK;
}

static enum tf_code read_real(const struct tf_key *key, const struct tf_yaml *value, double *out)
{
    double number;

    if (!tf_yaml_real(value, &number) || number < key->low || number > key->high ||
        (key->open && number <= key->low))
        return TF_NO;
    *out = number == 0 ? 0 : number; /* no negative zero */
    return TF_OK;
}

static enum tf_code read_pair(const struct tf_key *key, const struct tf_yaml *value, double out[2])
{
    double pair[2];

    if (value->kind != TF_YAML_SEQUENCE || value->count != 2 ||
        read_real(key, value->items[0], &pair[0]) != TF_OK ||
        read_real(key, value->items[1], &pair[1]) != TF_OK)
        return TF_NO;
    memcpy(out, pair, sizeof(pair));
    return TF_OK;
}

/* The position of the scalar's text among names, "a, b, c"; -1 when it is not there. */
static int position(const char *names, const struct tf_yaml *value)
{
    size_t length;

    if (value->kind != TF_YAML_SCALAR)
        return -1;
    for (int i = 0; *names != '\0'; i++) {
        length = strcspn(names, ",");
        if (strlen(value->text) == length && memcmp(names, value->text, length) == 0)
            return i;
        names += length;
        names += strspn(names, ", ");
    }
    return -1;
}

static enum tf_code read_choice(const struct tf_key *key, const struct tf_yaml *value, int *out)
{
    int at = position(key->range, value);

    if (at < 0)
        return TF_NO;
    *out = at;
    return TF_OK;
}

static enum tf_code read_bool(const struct tf_key *key, const struct tf_yaml *value, bool *out)
{
    int at = value->quoted ? -1 : position(key->range, value);

    if (at < 0)
        return TF_NO;
    *out = at == 0;
    return TF_OK;
}

static bool is_text(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SCALAR && strlen(value->text) <= MAX_TEXT &&
           (value->quoted || value->text[0] != '\0');
}

static enum tf_code read_text(const struct tf_yaml *value, char **out, struct tf_err *err)
{
    char *copy;

    if (!is_text(value))
        return TF_NO;
    copy = tf_strdup(value->text, err);
    if (copy == NULL)
        return TF_MEMORY;
    tf_free(*out);
    *out = copy;
    return TF_OK;
}

static void strings_fini(struct tf_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        tf_free(strings->items[i]);
    tf_free(strings->items);
    *strings = (struct tf_strings){0};
}

/* A list's items, one by one; a scalar stands for a list of one, and a mapping has none. */
static size_t item_count(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SEQUENCE ? value->count : value->kind == TF_YAML_SCALAR;
}

static const struct tf_yaml *item(const struct tf_yaml *value, size_t i)
{
    return value->kind == TF_YAML_SEQUENCE ? value->items[i] : value;
}

static bool is_blank(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SCALAR && value->text[0] == '\0';
}

static enum tf_code read_texts(const struct tf_yaml *value, struct tf_strings *out,
                               struct tf_err *err)
{
    struct tf_strings list = {0};
    size_t count = item_count(value);
    enum tf_code code = TF_OK;

    if (value->kind == TF_YAML_MAPPING || count > MAX_TEXTS)
        return TF_NO;
    list.items = tf_new(count, sizeof(*list.items), "list", err);
    if (list.items == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count && code == TF_OK; i++) {
        list.count++;
        code = is_blank(item(value, i)) ? TF_NO : read_text(item(value, i), &list.items[i], err);
    }
    if (code != TF_OK) {
        strings_fini(&list);
        return code;
    }
    strings_fini(out);
    *out = list;
    return TF_OK;
}

static enum tf_code read_counts(const struct tf_key *key, const struct tf_yaml *value,
                                struct tf_counts *out, struct tf_err *err)
{
    size_t count = item_count(value);
    uint64_t *numbers;
    enum tf_code code = TF_OK;

    if (count == 0 || count > TF_MAX_LAYERS)
        return TF_NO;
    numbers = tf_new(count, sizeof(*numbers), "list", err);
    if (numbers == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count && code == TF_OK; i++)
        code = read_uint(key, item(value, i), &numbers[i]);
    if (code != TF_OK) {
        tf_free(numbers);
        return code;
    }
    tf_free(out->items);
    *out = (struct tf_counts){count, numbers};
    return TF_OK;
}

static enum tf_code read_target(const struct tf_yaml *value, struct tf_target *out)
{
    struct tf_err unused = {0};
    struct tf_target target;

    if (value->kind != TF_YAML_SCALAR || tf_target_parse(&target, value->text, &unused) != TF_OK)
        return TF_NO;
    *out = target;
    return TF_OK;
}

static enum tf_code read_layers(const struct tf_yaml *value, char out[TF_LAYER_LIST])
{
    if (value->kind != TF_YAML_SCALAR || strlen(value->text) >= TF_LAYER_LIST || is_blank(value))
        return TF_NO;
    strcpy(out, value->text);
    return TF_OK;
}

static enum tf_code read_value(const struct tf_key *key, void *to, const struct tf_yaml *value,
                               const struct tf_origin *from, struct tf_err *err)
{
    switch (key->kind) {
    case TF_KEY_UINT:
        return read_uint(key, value, to);
    case TF_KEY_REAL:
        return read_real(key, value, to);
    case TF_KEY_PAIR:
        return read_pair(key, value, to);
    case TF_KEY_CHOICE:
        return read_choice(key, value, to);
    case TF_KEY_BOOL:
        return read_bool(key, value, to);
    case TF_KEY_TEXT:
        return read_text(value, to, err);
    case TF_KEY_TEXTS:
        return read_texts(value, to, err);
    case TF_KEY_COUNTS:
        return read_counts(key, value, to, err);
    case TF_KEY_TARGET:
        return read_target(value, to);
    case TF_KEY_LAYERS:
        return read_layers(value, to);
    case TF_KEY_STAGES:
        return tf_stages_read(to, value, from, err);
    }
    return TF_NO;
}

/* "[1, x]"; long lists and texts are cut, lists and mappings within are only hinted at. */
static void list_found(char out[128], const struct tf_yaml *list)
{
    size_t at = 0;

    for (size_t i = 0; i < list->count && at < 60; i++) {
        const struct tf_yaml *value = list->items[i];
        at += snprintf(out + at, 48, "%s%.40s", i == 0 ? "[" : ", ",
                       value->kind == TF_YAML_MAPPING    ? "{...}"
                       : value->kind == TF_YAML_SEQUENCE ? "[...]"
                       : value->text[0] == '\0'          ? "''"
                                                         : value->text);
        if (at >= 60 && i + 1 < list->count)
            at += snprintf(out + at, 8, ", ...");
    }
    strcpy(out + at, "]");
}

char *tf_key_found(char out[128], const struct tf_yaml *value)
{
    if (value->kind == TF_YAML_MAPPING)
        strcpy(out, "a mapping");
    else if (value->kind == TF_YAML_SEQUENCE && value->count == 0)
        strcpy(out, "an empty list");
    else if (value->kind == TF_YAML_SEQUENCE)
        list_found(out, value);
    else if (value->text[0] == '\0' && !value->quoted)
        strcpy(out, "nothing");
    else
        snprintf(out, 128, "%s\"%.80s\"", value->quoted ? "the text " : "", value->text);
    return out;
}

char *tf_origin_place(char out[512], const struct tf_origin *from, const struct tf_yaml *at)
{
    if (from->file)
        snprintf(out, 512, "%.400s:%d:%d: ", from->name, at->line, at->column);
    else
        snprintf(out, 512, "%.500s", from->name);
    return out;
}

enum tf_code tf_key_read(const struct tf_key *key, void *to, const struct tf_yaml *value,
                         const struct tf_origin *from, struct tf_err *err)
{
    enum tf_code result = read_value(key, field(key, to), value, from, err);
    const char *article, *type = tf_key_type(key->kind, &article);
    char place[512], found[128];

    if (result != TF_NO)
        return result;
    return tf_fail(err, from->code, "%s%s.%s: expected %s%s %s, found %s",
                   tf_origin_place(place, from, value), key->section, key->name, article, type,
                   key->range, tf_key_found(found, value));
}

/* ---- writing ---- */

static void print_uint(FILE *out, uint64_t value)
{
    fprintf(out, "%ju", (uintmax_t)value);
}

static void print_real(FILE *out, double value)
{
    char text[32];

    fputs(tf_real_text(text, value), out);
}

static void print_text(FILE *out, const char *text)
{
    char quoted[4 * MAX_TEXT + 3];

    tf_yaml_quote(quoted, sizeof(quoted), text);
    fputs(quoted, out);
}

static void print_choice(FILE *out, const char *names, int at)
{
    for (; at > 0; at--) {
        names += strcspn(names, ",");
        names += strspn(names, ", ");
    }
    fprintf(out, "%.*s", (int)strcspn(names, ","), names);
}

static void print_texts(FILE *out, const struct tf_strings *list)
{
    fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_text(out, list->items[i]);
    }
    fputc(']', out);
}

static void print_counts(FILE *out, const struct tf_counts *counts)
{
    fputs(counts->count == 1 ? "" : "[", out);
    for (size_t i = 0; i < counts->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_uint(out, counts->items[i]);
    }
    fputs(counts->count == 1 ? "" : "]", out);
}

static void print_pair(FILE *out, const double pair[2])
{
    fputc('[', out);
    print_real(out, pair[0]);
    fputs(", ", out);
    print_real(out, pair[1]);
    fputc(']', out);
}

static void print_target(FILE *out, const struct tf_target *target)
{
    fprintf(out, "%s%ju",
            target->kind == TF_TARGET_TIMES  ? "x"
            : target->kind == TF_TARGET_PLUS ? "+"
                                             : "",
            (uintmax_t)target->number);
}

void tf_key_print(const struct tf_key *key, const void *of, FILE *out)
{
    const void *from = tf_key_field(key, of);

    switch (key->kind) {
    case TF_KEY_UINT:
        print_uint(out, *(const uint64_t *)from);
        break;
    case TF_KEY_REAL:
        print_real(out, *(const double *)from);
        break;
    case TF_KEY_PAIR:
        print_pair(out, from);
        break;
    case TF_KEY_BOOL:
        print_choice(out, key->range, *(const bool *)from ? 0 : 1);
        break;
    case TF_KEY_CHOICE:
        print_choice(out, key->range, *(const int *)from);
        break;
    case TF_KEY_TEXT:
        print_text(out, *(char *const *)from);
        break;
    case TF_KEY_TEXTS:
        print_texts(out, from);
        break;
    case TF_KEY_COUNTS:
        print_counts(out, from);
        break;
    case TF_KEY_TARGET:
        print_target(out, from);
        break;
    case TF_KEY_LAYERS:
        print_text(out, from);
        break;
    case TF_KEY_STAGES:
        tf_stages_print(from, out);
        break;
    }
}

void tf_key_fini(const struct tf_key *key, struct tf_config *config)
{
    if (key->kind == TF_KEY_TEXT)
        tf_free(*(char **)field(key, config));
    else if (key->kind == TF_KEY_TEXTS)
        strings_fini(field(key, config));
    else if (key->kind == TF_KEY_COUNTS)
        tf_free(((struct tf_counts *)field(key, config))->items);
    else if (key->kind == TF_KEY_STAGES)
        tf_free(((struct tf_stages *)field(key, config))->items);
}
