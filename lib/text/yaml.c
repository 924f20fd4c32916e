#include "text/yaml.h"

#include "base/mem.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_LEVELS 16

struct reader {
    yaml_parser_t parser;
    const char *name;
    enum tf_code code;
    size_t nodes;
    struct tf_err *err;
};

/* ---- errors ---- */

static enum tf_code refuse(struct reader *reader, yaml_mark_t at, const char *what)
{
    return tf_fail(reader->err, reader->code, "%s:%zu:%zu: %s", reader->name, at.line + 1,
                   at.column + 1, what);
}

/* What libyaml has to say. Faults of the encoding come with an offset and no place. */
static enum tf_code syntax_error(struct reader *reader)
{
    const yaml_parser_t *parser = &reader->parser;

    if (parser->error == YAML_MEMORY_ERROR)
        return tf_fail(reader->err, TF_MEMORY, "%s: out of memory", reader->name);
    if (parser->error == YAML_READER_ERROR)
        return tf_fail(reader->err, reader->code, "%s: byte %zu: %s", reader->name,
                       parser->problem_offset + 1, parser->problem);
    if (parser->context == NULL)
        return refuse(reader, parser->problem_mark, parser->problem);
    return tf_fail(reader->err, reader->code, "%s:%zu:%zu: %s (%s)", reader->name,
                   parser->problem_mark.line + 1, parser->problem_mark.column + 1, parser->problem,
                   parser->context);
}

/* The next event, which the caller deletes. */
static enum tf_code next(struct reader *reader, yaml_event_t *event)
{
    return yaml_parser_parse(&reader->parser, event) ? TF_OK : syntax_error(reader);
}

/* ---- the tree ---- */

/* Room for one more item, or pair. */
static enum tf_code add_slot(struct reader *reader, struct tf_yaml *node)
{
    struct tf_yaml ***arrays[] = {&node->items, node->kind == TF_YAML_MAPPING ? &node->keys : NULL};

    for (int i = 0; i < 2 && arrays[i] != NULL; i++) {
        struct tf_yaml **more =
            tf_more(*arrays[i], node->count, sizeof(*more), "YAML", reader->err);
        if (more == NULL)
            return TF_MEMORY;
        *arrays[i] = more;
    }
    node->count++;
    return TF_OK;
}

static enum tf_code read_scalar(struct reader *reader, const yaml_event_t *event,
                                struct tf_yaml *node)
{
    const char *value = (const char *)event->data.scalar.value;
    size_t length = event->data.scalar.length;

    if (memchr(value, '\0', length) != NULL)
        return refuse(reader, event->start_mark, "a text must not hold the character U+0000");
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = tf_strndup(value, length, reader->err);
    return node->text == NULL ? TF_MEMORY : TF_OK;
}

static enum tf_code read_children(struct reader *reader, struct tf_yaml *node, int level);

/* What no node may have; and the limits. */
static enum tf_code check_node(struct reader *reader, const yaml_event_t *event, int level)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    if (event->type == YAML_ALIAS_EVENT)
        return refuse(reader, event->start_mark, "aliases are not allowed");
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return refuse(reader, event->start_mark, "anchors are not allowed");
    if (tag != NULL)
        return refuse(reader, event->start_mark, "tags are not allowed");
    if (level > MAX_LEVELS)
        return refuse(reader, event->start_mark, "nested deeper than 16 levels");
    if (++reader->nodes > TF_YAML_MAX_NODES)
        return refuse(reader, event->start_mark, "more than 100000 values");
    return TF_OK;
}

/* Builds the node that event begins. *out is set before anything can fail further down, so that
 * freeing the root frees whatever there is. */
static enum tf_code read_node(struct reader *reader, const yaml_event_t *event, int level,
                              struct tf_yaml **out)
{
    enum tf_code code = check_node(reader, event, level);
    struct tf_yaml *node;

    if (code != TF_OK)
        return code;
    node = *out = tf_new(1, sizeof(*node), "YAML", reader->err);
    if (node == NULL)
        return TF_MEMORY;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    if (event->type == YAML_SCALAR_EVENT)
        return read_scalar(reader, event, node);
    node->kind = event->type == YAML_MAPPING_START_EVENT ? TF_YAML_MAPPING : TF_YAML_SEQUENCE;
    return read_children(reader, node, level + 1);
}

static enum tf_code read_child(struct reader *reader, struct tf_yaml *node,
                               const yaml_event_t *event, int level)
{
    enum tf_code code = add_slot(reader, node);
    size_t last = node->count - 1;
    yaml_event_t value;

    if (code != TF_OK)
        return code;
    if (node->kind == TF_YAML_SEQUENCE)
        return read_node(reader, event, level, &node->items[last]);
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        return refuse(reader, event->start_mark, "a key must be a plain name");
    code = read_node(reader, event, level, &node->keys[last]);
    if (code == TF_OK)
        code = next(reader, &value);
    if (code != TF_OK)
        return code;
    code = read_node(reader, &value, level, &node->items[last]);
    yaml_event_delete(&value);
    return code;
}

static int compare_keys(const void *a, const void *b)
{
    const struct tf_yaml *x = *(struct tf_yaml *const *)a, *y = *(struct tf_yaml *const *)b;
    int order = strcmp(x->text, y->text);

    if (order != 0)
        return order;
    if (x->line != y->line)
        return x->line < y->line ? -1 : 1;
    return (x->column > y->column) - (x->column < y->column);
}

/* Sorts a copy of the keys: a file may hold very many, and comparing all pairs would take for ever.
 */
static enum tf_code refuse_duplicates(struct reader *reader, const struct tf_yaml *node)
{
    struct tf_yaml **sorted = tf_new(node->count, sizeof(*sorted), "YAML", reader->err);
    enum tf_code code = TF_OK;

    if (sorted == NULL)
        return TF_MEMORY;
    if (node->count > 0) {
        memcpy(sorted, node->keys, node->count * sizeof(*sorted));
        qsort(sorted, node->count, sizeof(*sorted), compare_keys);
    }
    for (size_t i = 1; i < node->count && code == TF_OK; i++)
        if (strcmp(sorted[i - 1]->text, sorted[i]->text) == 0)
            code = tf_fail(reader->err, reader->code, "%s:%d:%d: duplicate key %s (first at %d:%d)",
                           reader->name, sorted[i]->line, sorted[i]->column, sorted[i]->text,
                           sorted[i - 1]->line, sorted[i - 1]->column);
    tf_free(sorted);
    return code;
}

static enum tf_code read_children(struct reader *reader, struct tf_yaml *node, int level)
{
    enum tf_code code = TF_OK;
    bool end = false;

    while (code == TF_OK && !end) {
        yaml_event_t event;
        code = next(reader, &event);
        if (code != TF_OK)
            return code;
        end = event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        if (!end)
            code = read_child(reader, node, &event, level);
        yaml_event_delete(&event);
    }
    if (code == TF_OK && node->kind == TF_YAML_MAPPING)
        code = refuse_duplicates(reader, node);
    return code;
}

static bool begins_line(const char *text, size_t at)
{
    static const char *const breaks[] = {"\n", "\r", "\xc2\x85", "\xe2\x80\xa8", "\xe2\x80\xa9"};

    for (size_t i = 0; i < sizeof(breaks) / sizeof(*breaks); i++) {
        size_t length = strlen(breaks[i]);
        if (at >= length && memcmp(text + at - length, breaks[i], length) == 0)
            return true;
    }
    return at == 0;
}

/* libyaml compares each %TAG directive with all before it, which takes a minute for a megabyte of
 * them; and it takes them all before it gives us an event. So they are looked for before it. */
static enum tf_code refuse_tag_directives(struct reader *reader, const char *text, size_t n)
{
    static const char directive[] = "%TAG";
    const char *found = text, *end = text + n;
    yaml_mark_t mark = {0};

    while ((found = memmem(found, (size_t)(end - found), directive, strlen(directive))) != NULL) {
        if (begins_line(text, (size_t)(found - text))) {
            for (const char *at = text; at < found; at++)
                mark.line += *at == '\n';
            return refuse(reader, mark, "tags are not allowed");
        }
        found++;
    }
    return TF_OK;
}

static bool is_nothing(const struct tf_yaml *node)
{
    return node->kind == TF_YAML_SCALAR && !node->quoted && node->text[0] == '\0';
}

/* The root, from the events of a whole stream; *out stays NULL when there is no document. */
static enum tf_code read_stream(struct reader *reader, struct tf_yaml **out)
{
    enum tf_code code = TF_OK;
    bool end = false;

    while (code == TF_OK && !end) {
        yaml_event_t event;
        code = next(reader, &event);
        if (code != TF_OK)
            return code;
        end = event.type == YAML_STREAM_END_EVENT;
        if (event.type == YAML_DOCUMENT_START_EVENT && *out != NULL)
            code = refuse(reader, event.start_mark, "a second document is not allowed");
        else if (!end && event.type != YAML_STREAM_START_EVENT &&
                 event.type != YAML_DOCUMENT_START_EVENT && event.type != YAML_DOCUMENT_END_EVENT)
            code = read_node(reader, &event, 1, out);
        yaml_event_delete(&event);
    }
    return code;
}

enum tf_code tf_yaml_parse(struct tf_yaml **out, const char *name, const char *text, size_t n,
                           enum tf_code code, struct tf_err *err)
{
    struct reader reader = {.name = name, .code = code, .err = err};
    struct tf_yaml *root = NULL;

    *out = NULL;
    if (n > TF_YAML_MAX_BYTES)
        return tf_fail(err, code, "%s: %zu bytes, at most %u", name, n, TF_YAML_MAX_BYTES);
    if (refuse_tag_directives(&reader, text, n) != TF_OK)
        return code;
    if (!yaml_parser_initialize(&reader.parser))
        return tf_fail(err, TF_MEMORY, "%s: out of memory", name);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, (const unsigned char *)text, n);
    code = read_stream(&reader, &root);
    yaml_parser_delete(&reader.parser);
    if (code == TF_OK && (root == NULL || is_nothing(root))) {
        tf_yaml_free(root);
        root = tf_new(1, sizeof(*root), "YAML", err);
        if (root == NULL)
            return TF_MEMORY;
        *root = (struct tf_yaml){.kind = TF_YAML_MAPPING, .line = 1, .column = 1};
    }
    if (code != TF_OK) {
        tf_yaml_free(root);
        return code;
    }
    *out = root;
    return TF_OK;
}

void tf_yaml_free(struct tf_yaml *yaml)
{
    if (yaml == NULL)
        return;
    for (size_t i = 0; i < yaml->count; i++) {
        if (yaml->keys != NULL)
            tf_yaml_free(yaml->keys[i]);
        tf_yaml_free(yaml->items[i]);
    }
    tf_free(yaml->text);
    tf_free(yaml->keys);
    tf_free(yaml->items);
    tf_free(yaml);
}

const struct tf_yaml *tf_yaml_get(const struct tf_yaml *mapping, const char *key)
{
    if (mapping->kind == TF_YAML_MAPPING)
        for (size_t i = 0; i < mapping->count; i++)
            if (strcmp(mapping->keys[i]->text, key) == 0)
                return mapping->items[i];
    return NULL;
}

/* ---- numbers ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool tf_yaml_uint(const struct tf_yaml *scalar, unsigned long long *out)
{
    const char *at = scalar->text;
    unsigned long long value = 0;

    if (scalar->kind != TF_YAML_SCALAR || scalar->quoted || *at == '\0')
        return false;
    if (at[0] == '0' && at[1] != '\0')
        return false; /* 010 is eight to some readers and ten to others */
    for (; *at != '\0'; at++)
        if (!is_digit(*at) || __builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (unsigned)(*at - '0'), &value))
            return false;
    *out = value;
    return true;
}

static const char *skip_digits(const char *at)
{
    while (is_digit(*at))
        at++;
    return at;
}

/* -? (digits [. digits*] | . digits) ([eE] [+-]? digits)? */
static bool is_real(const char *text)
{
    const char *at = text + (*text == '-'), *whole = at;
    size_t digits;

    at = skip_digits(at);
    digits = (size_t)(at - whole);
    if (*at == '.') {
        const char *fraction = ++at;
        at = skip_digits(at);
        digits += (size_t)(at - fraction);
    }
    if (digits == 0)
        return false;
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        if (!is_digit(*at))
            return false;
        at = skip_digits(at);
    }
    return *at == '\0';
}

bool tf_yaml_real(const struct tf_yaml *scalar, double *out)
{
    locale_t c, old;
    double value;

    if (scalar->kind != TF_YAML_SCALAR || scalar->quoted || !is_real(scalar->text))
        return false;
    c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    old = uselocale(c);
    value = strtod(scalar->text, NULL);
    uselocale(old);
    if (c != (locale_t)0)
        freelocale(c);
    if (!__builtin_isfinite(value))
        return false;
    *out = value;
    return true;
}

/* ---- writing ---- */

/* Would text, written as it is, be read back as this text by any YAML reader? Says no more often
 * than it must. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"null", "true", "false", "yes", "no",
                                        "on",   "off",  "y",     "n"};

    if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-")] !=
            '\0' ||
        text[0] == '\0' || is_digit(text[0]) || text[0] == '.' || text[0] == '-')
        return false;
    for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
        if (strcasecmp(text, words[i]) == 0)
            return false;
    return true;
}

/* Characters that a YAML stream may not hold, or that a reader would fold as line breaks. */
static bool needs_escape(uint32_t c)
{
    return c < 0x20 || c == '"' || c == '\\' || (c >= 0x7f && c < 0xa0) || c == 0x2028 ||
           c == 0x2029 || c == 0xfeff || c == 0xfffe || c == 0xffff;
}

static uint32_t code_point(const uint8_t *s, size_t length)
{
    uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);

    for (size_t i = 1; i < length; i++)
        c = c << 6 | (s[i] & 0x3f);
    return c;
}

/* One character between double quotes, into out; returns how many bytes of text it took. Bytes that
 * are not UTF-8, which no text out of a tf_yaml holds, become U+FFFD. */
static size_t quote_character(char out[8], const uint8_t *text, size_t n)
{
    size_t length = tf_utf8_length(text, n);
    uint32_t c = length == 0 ? 0xfffd : code_point(text, length);

    if (c == '"' || c == '\\')
        snprintf(out, 8, "\\%c", (int)c);
    else if (c == '\n')
        strcpy(out, "\\n");
    else if (length == 0 || needs_escape(c))
        snprintf(out, 8, c < 0x100 ? "\\x%02X" : "\\u%04X", (unsigned)c);
    else
        snprintf(out, 8, "%.*s", (int)length, (const char *)text);
    return length == 0 ? 1 : length;
}

static size_t put(char *out, size_t size, size_t at, const char *piece)
{
    for (; *piece != '\0'; piece++, at++)
        if (at + 1 < size)
            out[at] = *piece;
    return at;
}

size_t tf_yaml_quote(char *out, size_t size, const char *text)
{
    size_t at = 0, n = strlen(text);

    if (is_plain(text)) {
        at = put(out, size, at, text);
    } else {
        at = put(out, size, at, "\"");
        while (n > 0) {
            char piece[8];
            size_t used = quote_character(piece, (const uint8_t *)text, n);
            at = put(out, size, at, piece);
            text += used;
            n -= used;
        }
        at = put(out, size, at, "\"");
    }
    if (size > 0)
        out[at < size ? at : size - 1] = '\0';
    return at;
}

/* fopencookie's write: 0 says that there is no memory, which the stream then remembers (that of
 * open_memstream forgets it). */
static ssize_t take(void *cookie, const char *data, size_t size)
{
    struct tf_yaml_text *yaml = cookie;
    size_t end;

    if (!tf_add(&end, yaml->size, size))
        return 0;
    if (end > yaml->room) {
        size_t room = end > 2 * yaml->room ? end : 2 * yaml->room;
        char *larger = tf_new(room, 1, "YAML", NULL);
        if (larger == NULL)
            return 0;
        if (yaml->size > 0)
            memcpy(larger, yaml->text, yaml->size);
        tf_free(yaml->text);
        yaml->text = larger;
        yaml->room = room;
    }
    memcpy(yaml->text + yaml->size, data, size);
    yaml->size = end;
    return (ssize_t)size;
}

enum tf_code tf_yaml_begin(struct tf_yaml_text *yaml, struct tf_err *err)
{
    *yaml = (struct tf_yaml_text){0};
    yaml->file = fopencookie(yaml, "w", (cookie_io_functions_t){.write = take});
    return yaml->file != NULL ? TF_OK : tf_fail(err, TF_MEMORY, "out of memory: YAML");
}

enum tf_code tf_yaml_end(struct tf_yaml_text *yaml, char **out, size_t *size, struct tf_err *err)
{
    const bool failed = fputc('\0', yaml->file) == EOF || ferror(yaml->file) != 0;

    *out = NULL;
    *size = 0;
    if (fclose(yaml->file) != 0 || failed) {
        tf_free(yaml->text);
        return tf_fail(err, TF_MEMORY, "out of memory: YAML");
    }
    *out = yaml->text;
    *size = yaml->size - 1;
    return TF_OK;
}
