/* manifest.yaml, to and from text. What follows from a table's name, or from the tables before it,
 * is left out: a model of 1024 layers with its moments must stay below the limit of YAML values. */
#include "base/mem.h"
#include "store/directory.h"
#include "text/json.h"
#include "text/yaml.h"
#include "train/bundle.h"
#include "train/config_keys.h"
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char schema[] = "tokenformer checkpoint 1";

/* ---- what a table is when the manifest does not say ---- */

/* The table that this one goes with: the parameter that it is a moment of, or the keys of these
 * values. Empty when it goes with none. */
static void companion_name(char out[TF_MAX_NAME + 1], const char *name, bool *moment)
{
    size_t n = strlen(name), end = strlen(".values");

    out[0] = '\0';
    *moment = strncmp(name, "optim.m/", 8) == 0 || strncmp(name, "optim.v/", 8) == 0;
    if (*moment)
        strcpy(out, name + 8);
    else if (n > end && strcmp(name + n - end, ".values") == 0)
        snprintf(out, TF_MAX_NAME + 1, "%.*s.keys", (int)(n - end), name);
}

static int compare_tables(const void *a, const void *b)
{
    return strcmp(((const struct tf_manifest_table *)a)->info.name,
                  ((const struct tf_manifest_table *)b)->info.name);
}

/* Fills in all but the name of info, for a table that follows `count` others, which have row groups
 * up to `groups`. */
static void assume(struct tf_table_info *info, const struct tf_manifest_table *tables, size_t count,
                   uint32_t groups)
{
    struct tf_manifest_table with = {0};
    const struct tf_manifest_table *found;
    bool moment;

    companion_name(with.info.name, info->name, &moment);
    found = count ? bsearch(&with, tables, count, sizeof with, compare_tables) : NULL;
    info->role = moment ? TF_MOMENT : TF_PARAMETER;
    info->filter = TF_FILTER_PLANES;
    info->row_group = found ? found->info.row_group : groups + 1;
    info->scale = found && !moment ? found->info.scale : 0;
}

/* Groups up to here, with one more table. */
static uint32_t count_groups(uint32_t groups, const struct tf_table_info *info)
{
    return groups > info->row_group ? groups : info->row_group;
}

char *tf_manifest_file(const char *table, struct tf_err *err)
{
    size_t size = strlen(table) + sizeof ".npy";
    char *file = tf_new(size, 1, "file name", err);

    if (!file)
        return NULL;
    snprintf(file, size, "%s.npy", table);
    for (char *at = file; *at; at++)
        if (*at == '/')
            *at = '+'; /* which no name has */
    return file;
}

void tf_manifest_fini(struct tf_manifest *manifest)
{
    for (size_t i = 0; i < manifest->count; i++) {
        tf_free(manifest->tables[i].file);
        tf_free(manifest->tables[i].runs);
    }
    tf_free(manifest->tables);
    memset(manifest, 0, sizeof *manifest);
}

/* ---- reading: the values of a table's keys; TF_NO when one does not fit ---- */

struct reader {
    const char *name;
    struct tf_manifest *manifest;
    uint64_t chunks; /* of all tables so far */
    uint32_t groups; /* row groups so far */
    struct tf_err *err;
};

static bool is_text(const struct tf_yaml *value, const char *text)
{
    return value->kind == TF_YAML_SCALAR && strcmp(value->text, text) == 0;
}

static enum tf_code read_file(struct reader *reader, struct tf_manifest_table *table,
                              const struct tf_yaml *value)
{
    if (value->kind != TF_YAML_SCALAR || value->text[0] == '\0' || strchr(value->text, '/') ||
        strlen(value->text) > NAME_MAX || strcmp(value->text, ".") == 0 ||
        strcmp(value->text, "..") == 0)
        return TF_NO;
    table->file = tf_strdup(value->text, reader->err);
    return table->file ? TF_OK : TF_MEMORY;
}

static enum tf_code read_role(struct reader *reader, struct tf_manifest_table *table,
                              const struct tf_yaml *value)
{
    (void)reader;
    for (enum tf_role role = TF_PARAMETER; role <= TF_BUFFER; role++) {
        if (is_text(value, tf_role_name(role))) {
            table->info.role = role;
            return TF_OK;
        }
    }
    return TF_NO;
}

static enum tf_code read_filter(struct reader *reader, struct tf_manifest_table *table,
                                const struct tf_yaml *value)
{
    (void)reader;
    if (!is_text(value, "none") && !is_text(value, "planes"))
        return TF_NO;
    table->info.filter = is_text(value, "none") ? TF_FILTER_NONE : TF_FILTER_PLANES;
    return TF_OK;
}

static enum tf_code read_row_group(struct reader *reader, struct tf_manifest_table *table,
                                   const struct tf_yaml *value)
{
    unsigned long long number;

    (void)reader;
    if (!tf_yaml_uint(value, &number) || number > TF_MAX_TABLES)
        return TF_NO;
    table->info.row_group = (uint32_t)number;
    return TF_OK;
}

static enum tf_code read_scale(struct reader *reader, struct tf_manifest_table *table,
                               const struct tf_yaml *value)
{
    double number;

    (void)reader;
    if (!tf_yaml_real(value, &number) || number < 0)
        return TF_NO;
    table->info.scale = number == 0 ? 0 : number; /* no negative zero */
    return TF_OK;
}

/* A number from 1 to most. */
static bool take_number(const char **at, uint64_t most, uint64_t *out)
{
    uint64_t number = 0;

    if (**at == '0')
        return false; /* 010 is eight to some readers */
    while (**at >= '0' && **at <= '9' && number <= most)
        number = 10 * number + (uint64_t)(*(*at)++ - '0');
    *out = number;
    return number > 0 && number <= most;
}

/* "96*3": 96 rows in each of three chunks; "40": in one. */
static bool take_run(const struct tf_yaml *value, struct tf_chunk_run *run)
{
    const char *at = value->text;

    run->times = 1;
    if (value->kind != TF_YAML_SCALAR || !take_number(&at, TF_MAX_ROWS, &run->rows))
        return false;
    if (*at == '*') {
        at++;
        if (!take_number(&at, TF_MAX_CHUNKS, &run->times))
            return false;
    }
    return *at == '\0';
}

static enum tf_code read_chunks(struct reader *reader, struct tf_manifest_table *table,
                                const struct tf_yaml *value)
{
    if (value->kind != TF_YAML_SEQUENCE || value->count == 0)
        return TF_NO;
    table->runs = tf_new(value->count, sizeof *table->runs, "chunk list", reader->err);
    if (!table->runs)
        return TF_MEMORY;
    for (size_t i = 0; i < value->count; i++) {
        struct tf_chunk_run *run = &table->runs[table->run_count++];
        if (!take_run(value->items[i], run))
            return TF_NO;
        reader->chunks += run->times;
        if (reader->chunks > TF_MAX_CHUNKS)
            return tf_fail(reader->err, TF_DATA, "%s:%d:%d: chunks: more than %u in all tables",
                           reader->name, value->line, value->column, TF_MAX_CHUNKS);
    }
    return TF_OK;
}

static const struct {
    const char *name, *expected;
    enum tf_code (*read)(struct reader *reader, struct tf_manifest_table *table,
                         const struct tf_yaml *value);
} keys[] = {
    {"file", "the plain name of a file in the folder", read_file},
    {"role", "parameter, moment or buffer", read_role},
    {"filter", "planes or none", read_filter},
    {"row_group", "an integer from 0 to 65536", read_row_group},
    {"scale", "a number, 0 or more", read_scale},
    {"chunks", "a list of the rows in each chunk, like [96*3, 40]", read_chunks},
};
enum { KEYS = sizeof keys / sizeof *keys };
_Static_assert(TF_MAX_TABLES == 65536, "row_group");

/* ---- reading: tables ---- */

static enum tf_code expected(const struct reader *reader, const struct tf_yaml *at, const char *key,
                             const char *what)
{
    char found[128];

    return tf_fail(reader->err, TF_DATA, "%s:%d:%d: %s: expected %s, found %s", reader->name,
                   at->line, at->column, key, what, tf_key_found(found, at));
}

static enum tf_code unknown(const struct reader *reader, const struct tf_yaml *key,
                            const char *const *names, size_t count)
{
    const char *nearest = tf_nearest(key->text, names, count);

    return tf_fail(reader->err, TF_DATA, "%s:%d:%d: unknown key %.80s%s%s%s", reader->name,
                   key->line, key->column, key->text, nearest ? " (did you mean " : "",
                   nearest ? nearest : "", nearest ? "?)" : "");
}

static enum tf_code read_key(struct reader *reader, struct tf_manifest_table *table,
                             const struct tf_yaml *key, const struct tf_yaml *value)
{
    const char *names[KEYS];

    for (size_t i = 0; i < KEYS; i++) {
        names[i] = keys[i].name;
        if (strcmp(key->text, names[i]) != 0)
            continue;
        enum tf_code code = keys[i].read(reader, table, value);
        return code == TF_NO ? expected(reader, value, names[i], keys[i].expected) : code;
    }
    return unknown(reader, key, names, KEYS);
}

static bool is_nothing(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SCALAR && value->text[0] == '\0' && !value->quoted;
}

/* Tables come sorted. */
static enum tf_code read_table(struct reader *reader, const struct tf_yaml *name,
                               const struct tf_yaml *value)
{
    struct tf_manifest *manifest = reader->manifest;
    struct tf_manifest_table *table = &manifest->tables[manifest->count];
    struct tf_table_info check;
    enum tf_code code = TF_OK;

    if (strlen(name->text) > TF_MAX_NAME)
        return tf_fail(reader->err, TF_DATA, "%s:%d:%d: a name of %zu bytes, at most %u",
                       reader->name, name->line, name->column, strlen(name->text), TF_MAX_NAME);
    strcpy(table->info.name, name->text);
    assume(&table->info, manifest->tables, manifest->count++, reader->groups);
    if (value->kind != TF_YAML_MAPPING && !is_nothing(value))
        return expected(reader, value, name->text, "keys and values");
    for (size_t i = 0; !code && i < value->count; i++)
        code = read_key(reader, table, value->keys[i], value->items[i]);
    if (!code && !table->file && !(table->file = tf_manifest_file(name->text, reader->err)))
        code = TF_MEMORY;
    if (code)
        return code;
    reader->groups = count_groups(reader->groups, &table->info);
    check = table->info;
    check.dtype = TF_F32; /* as long as the file is not known */
    check.cols = 1;
    if (tf_table_check(&check, reader->err))
        return tf_context(reader->err, "%s:%d:%d", reader->name, name->line, name->column);
    return TF_OK;
}

struct pair {
    const struct tf_yaml *key, *value;
};

static int compare_pairs(const void *a, const void *b)
{
    return strcmp(((const struct pair *)a)->key->text, ((const struct pair *)b)->key->text);
}

static enum tf_code read_tables(struct reader *reader, const struct tf_yaml *tables)
{
    struct tf_manifest *manifest = reader->manifest;
    struct pair *pairs;
    enum tf_code code;

    if (tables->kind != TF_YAML_MAPPING || tables->count == 0)
        return expected(reader, tables, "tables", "tables by their names");
    if (tables->count > TF_MAX_TABLES)
        return tf_fail(reader->err, TF_DATA, "%s:%d:%d: %zu tables, at most %u", reader->name,
                       tables->line, tables->column, tables->count, TF_MAX_TABLES);
    pairs = tf_new(tables->count, sizeof *pairs, "manifest", reader->err);
    manifest->tables = tf_new(tables->count, sizeof *manifest->tables, "manifest", reader->err);
    code = pairs && manifest->tables ? TF_OK : TF_MEMORY;
    for (size_t i = 0; !code && i < tables->count; i++)
        pairs[i] = (struct pair){tables->keys[i], tables->items[i]};
    if (!code)
        qsort(pairs, tables->count, sizeof *pairs, compare_pairs);
    for (size_t i = 0; !code && i < tables->count; i++)
        code = read_table(reader, pairs[i].key, pairs[i].value);
    tf_free(pairs);
    return code;
}

/* ---- reading: the whole ---- */

static enum tf_code read_digest(struct reader *reader, const char *key, char out[TF_DIGEST_TEXT],
                                const struct tf_yaml *value)
{
    if (value->kind != TF_YAML_SCALAR || strlen(value->text) != TF_DIGEST_TEXT - 1 ||
        value->text[strspn(value->text, "0123456789abcdef")] != '\0')
        return expected(reader, value, key, "32 hexadecimal digits");
    strcpy(out, value->text);
    return TF_OK;
}

static enum tf_code read_root(struct reader *reader, const struct tf_yaml *root)
{
    enum { SCHEMA, TABLES, NEEDED, DIGEST = NEEDED, SETTINGS, COUNT };
    static const char *const names[COUNT] = {"schema", "tables", "digest", "settings"};
    const struct tf_yaml *found[COUNT] = {0};
    enum tf_code code = TF_OK;

    if (root->kind != TF_YAML_MAPPING)
        return expected(reader, root, "manifest", "keys and values");
    for (size_t i = 0; i < COUNT; i++)
        found[i] = tf_yaml_get(root, names[i]);
    for (size_t i = 0; i < NEEDED; i++)
        if (!found[i])
            return tf_fail(reader->err, TF_DATA, "%s:%d:%d: the key %s is missing", reader->name,
                           root->line, root->column, names[i]);
    if (!is_text(found[SCHEMA], schema))
        return expected(reader, found[SCHEMA], names[SCHEMA], schema);
    for (size_t i = 0; i < root->count; i++) {
        size_t k = 0;
        while (k < COUNT && root->items[i] != found[k])
            k++;
        if (k == COUNT)
            return unknown(reader, root->keys[i], names, COUNT);
    }
    if (found[DIGEST])
        code = read_digest(reader, names[DIGEST], reader->manifest->digest, found[DIGEST]);
    if (!code && found[SETTINGS])
        code = read_digest(reader, names[SETTINGS], reader->manifest->settings, found[SETTINGS]);
    return code ? code : read_tables(reader, found[TABLES]);
}

enum tf_code tf_manifest_parse(struct tf_manifest *out, const char *name, const char *text,
                               size_t n, struct tf_err *err)
{
    struct reader reader = {.name = name, .manifest = out, .err = err};
    struct tf_yaml *root;
    enum tf_code code;

    memset(out, 0, sizeof *out);
    code = tf_yaml_parse(&root, name, text, n, TF_DATA, err);
    if (!code)
        code = read_root(&reader, root);
    tf_yaml_free(root);
    return code;
}

/* ---- writing ---- */

/* A mapping of which nothing is written until it has a key. */
struct printer {
    FILE *file;
    bool begun;
    size_t nodes; /* YAML values, keys too */
};

static void put_key(struct printer *out, const char *key)
{
    fprintf(out->file, "%s%s: ", out->begun ? ", " : " {", key);
    out->begun = true;
    out->nodes += 2;
}

static void put_file(struct printer *out, const char *file)
{
    char quoted[4 * NAME_MAX + 3];

    put_key(out, "file");
    tf_yaml_quote(quoted, sizeof quoted, file);
    fputs(quoted, out->file);
}

static void put_chunks(struct printer *out, const struct tf_chunk_run *runs, size_t count)
{
    put_key(out, "chunks");
    for (size_t i = 0; i < count; i++) {
        fprintf(out->file, "%s%" PRIu64, i ? ", " : "[", runs[i].rows);
        if (runs[i].times > 1)
            fprintf(out->file, "*%" PRIu64, runs[i].times);
    }
    fputc(']', out->file);
    out->nodes += count;
}

static enum tf_code put_table(struct printer *out, const struct tf_manifest *manifest, size_t i,
                              uint32_t groups, struct tf_err *err)
{
    const struct tf_manifest_table *table = &manifest->tables[i];
    const struct tf_table_info *info = &table->info;
    struct tf_table_info usual = *info;
    char text[4 * TF_MAX_NAME + 3], *file = tf_manifest_file(info->name, err);

    if (!file)
        return TF_MEMORY;
    assume(&usual, manifest->tables, i, groups);
    tf_yaml_quote(text, sizeof text, info->name);
    fprintf(out->file, "  %s:", text);
    out->nodes += 2;
    out->begun = false;
    if (strcmp(table->file, file) != 0)
        put_file(out, table->file);
    if (info->role != usual.role) {
        put_key(out, "role");
        fputs(tf_role_name(info->role), out->file);
    }
    if (info->filter != usual.filter) {
        put_key(out, "filter");
        fputs(info->filter == TF_FILTER_NONE ? "none" : "planes", out->file);
    }
    if (info->row_group != usual.row_group) {
        put_key(out, "row_group");
        fprintf(out->file, "%" PRIu32, info->row_group);
    }
    if (info->scale != usual.scale) {
        put_key(out, "scale");
        fputs(tf_real_text(text, info->scale), out->file);
    }
    if (table->runs)
        put_chunks(out, table->runs, table->run_count);
    fputs(out->begun ? "}\n" : "\n", out->file);
    tf_free(file);
    return TF_OK;
}

/* What could be written but never be read. */
static enum tf_code check_size(size_t nodes, size_t size, struct tf_err *err)
{
    if (nodes > TF_YAML_MAX_NODES)
        return tf_fail(err, TF_MEMORY, "manifest: %zu values, the limit is %u", nodes,
                       TF_YAML_MAX_NODES);
    if (size > TF_YAML_MAX_BYTES)
        return tf_fail(err, TF_MEMORY, "manifest: %zu bytes, the limit is %u", size,
                       TF_YAML_MAX_BYTES);
    return TF_OK;
}

enum tf_code tf_manifest_print(const struct tf_manifest *manifest, char **out, size_t *size,
                               struct tf_err *err)
{
    struct tf_yaml_text yaml;
    struct printer printer = {.nodes = 9}; /* the outer mapping, its keys and values */
    uint32_t groups = 0;
    enum tf_code code = tf_yaml_begin(&yaml, err), ended;

    *out = NULL;
    if (code)
        return code;
    printer.file = yaml.file;
    fprintf(yaml.file, "schema: %s\n", schema);
    if (manifest->digest[0])
        fprintf(yaml.file, "digest: \"%s\"\n", manifest->digest);
    if (manifest->settings[0])
        fprintf(yaml.file, "settings: \"%s\"\n", manifest->settings);
    fputs("tables:\n", yaml.file);
    for (size_t i = 0; !code && i < manifest->count; i++) {
        code = put_table(&printer, manifest, i, groups, err);
        groups = count_groups(groups, &manifest->tables[i].info);
    }
    ended = tf_yaml_end(&yaml, out, size, err);
    if (!code)
        code = ended;
    if (!code)
        code = check_size(printer.nodes, *size, err);
    if (code) {
        tf_free(*out);
        *out = NULL;
    }
    return code;
}
