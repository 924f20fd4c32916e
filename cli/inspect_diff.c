/* diff: two checkpoints side by side: configs key by key, other blobs as a whole, tables number by
 * number. */
#include "base/mem.h"
#include "cli/inspect.h"
#include "text/yaml.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

struct diff {
    const struct tf_inspect *inspect;
    struct tf_store *store[2];
    struct tf_json json;
    bool different;
};

/* ---- config ---- */

/* A value on one line, into out. */
static void render(char *out, size_t size, const struct tf_yaml *value)
{
    size_t used = 0;

    if (value == NULL || value->kind == TF_YAML_MAPPING) {
        snprintf(out, size, "%s", value ? "a section" : "absent");
        return;
    }
    if (value->kind == TF_YAML_SCALAR) {
        tf_escape(out, size, value->text, strlen(value->text));
        return;
    }
    for (size_t i = 0; i < value->count && used + 8 < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s", i ? ", " : "[");
        render(out + used, size - used - 1, value->items[i]);
        used += strlen(out + used);
    }
    snprintf(out + used, size - used, "%s", value->count ? "]" : "[]");
}

static bool equal(const struct tf_yaml *a, const struct tf_yaml *b)
{
    if (a == NULL || b == NULL || a->kind != b->kind || a->count != b->count)
        return false;
    if (a->kind == TF_YAML_SCALAR)
        return strcmp(a->text, b->text) == 0;
    for (size_t i = 0; i < a->count; i++)
        if (!equal(a->items[i], b->items[i]))
            return false;
    return true;
}

static void report_key(struct diff *diff, const char *key, const struct tf_yaml *a,
                       const struct tf_yaml *b)
{
    char left[512], right[512], name[512];

    render(left, sizeof left, a);
    render(right, sizeof right, b);
    tf_escape(name, sizeof name, key, strlen(key));
    diff->different = true;
    if (diff->inspect->common->json) {
        tf_json_object(&diff->json, NULL);
        tf_json_string(&diff->json, "key", name);
        tf_json_string(&diff->json, "a", left);
        tf_json_string(&diff->json, "b", right);
        tf_json_end_object(&diff->json);
    } else {
        fprintf(diff->inspect->file, "config %s: %s | %s\n", name, left, right);
    }
}

/* Keys of a in its order, then those that only b has. The reader of YAML bounds the depth. */
static void compare_mappings(struct diff *diff, const char *prefix, const struct tf_yaml *a,
                             const struct tf_yaml *b)
{
    const struct tf_yaml *both[2] = {a, b};

    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < both[side]->count; i++) {
            const char *key = both[side]->keys[i]->text;
            const struct tf_yaml *in_a = tf_yaml_get(a, key), *in_b = tf_yaml_get(b, key);
            char name[256];
            if (side == 1 && in_a != NULL)
                continue;
            snprintf(name, sizeof name, "%s%s%s", prefix, *prefix ? "." : "", key);
            if (in_a && in_b && in_a->kind == TF_YAML_MAPPING && in_b->kind == TF_YAML_MAPPING)
                compare_mappings(diff, name, in_a, in_b);
            else if (!equal(in_a, in_b))
                report_key(diff, name, in_a, in_b);
        }
    }
}

static enum tf_code compare_configs(struct diff *diff, struct tf_err *err)
{
    struct tf_yaml *configs[2] = {NULL, NULL};
    enum tf_code code = TF_OK;

    for (int side = 0; side < 2 && !code; side++) {
        size_t size;
        const char *text = tf_store_blob(diff->store[side], TF_BLOB_CONFIG, &size);
        code = tf_yaml_parse(&configs[side], "config", text, size, TF_DATA, err);
        if (!code && configs[side]->kind != TF_YAML_MAPPING)
            code = tf_fail(err, TF_DATA, "config: not a mapping");
        if (code)
            tf_context(err, "%s", tf_store_path(diff->store[side]));
    }
    if (!code)
        compare_mappings(diff, "", configs[0], configs[1]);
    tf_yaml_free(configs[0]);
    tf_yaml_free(configs[1]);
    return code;
}

/* ---- the other blobs ---- */

static void compare_blob(struct diff *diff, enum tf_blob kind, const char *name)
{
    size_t size[2];
    const char *a = tf_store_blob(diff->store[0], kind, &size[0]),
               *b = tf_store_blob(diff->store[1], kind, &size[1]);
    bool same = size[0] == size[1] && (size[0] == 0 || memcmp(a, b, size[0]) == 0);

    diff->different |= !same;
    if (diff->inspect->common->json)
        tf_json_bool(&diff->json, name, same);
    else if (!same)
        fprintf(diff->inspect->file, "%s: differs\n", name);
}

static void compare_blobs(struct diff *diff)
{
    if (diff->inspect->common->json)
        tf_json_object(&diff->json, "same_blobs");
    compare_blob(diff, TF_BLOB_TOKENIZER, "tokenizer");
    compare_blob(diff, TF_BLOB_STATE, "state");
    compare_blob(diff, TF_BLOB_LINEAGE, "lineage");
    if (diff->inspect->common->json)
        tf_json_end_object(&diff->json);
}

/* ---- tables ---- */

/* Of the rows that both tables have. A NaN differs from any number, infinitely. */
struct distance {
    uint64_t rows;
    bool same_bits;
    double most, squares;
};

static void add_rows(struct distance *distance, const float *a, const float *b, size_t n)
{
    distance->same_bits &= memcmp(a, b, n * sizeof *a) == 0;
    for (size_t i = 0; i < n && !distance->same_bits; i++) {
        double d =
            a[i] == b[i] || (isnan(a[i]) && isnan(b[i])) ? 0 : fabs((double)a[i] - (double)b[i]);
        d = isnan(d) ? INFINITY : d;
        distance->most = fmax(distance->most, d);
        distance->squares += d * d;
    }
}

static enum tf_code measure(struct distance *distance, const struct diff *diff,
                            const size_t table[2], struct tf_err *err)
{
    const struct tf_table_info *a = tf_store_table(diff->store[0], table[0]);
    uint64_t block = tf_inspect_block(diff->store[0], a);
    enum tf_code code = TF_OK;
    float *rows = tf_new(2 * block * a->cols, sizeof *rows, "rows", err);

    if (!rows)
        return TF_MEMORY;
    for (uint64_t row = 0; !code && row < distance->rows; row += block) {
        uint64_t count = distance->rows - row < block ? distance->rows - row : block;
        float *other = rows + block * a->cols;
        code = tf_store_read(diff->store[0], table[0], row, count, rows, a->cols, err);
        if (!code)
            code = tf_store_read(diff->store[1], table[1], row, count, other, a->cols, err);
        if (!code)
            add_rows(distance, rows, other, count * a->cols);
    }
    tf_free(rows);
    return code;
}

static void report_only(struct diff *diff, int side, const char *name)
{
    char path[1024];

    diff->different = true;
    tf_escape(path, sizeof path, diff->inspect->operands[side],
              strlen(diff->inspect->operands[side]));
    if (diff->inspect->common->json) {
        tf_json_object(&diff->json, NULL);
        tf_json_string(&diff->json, "name", name);
        tf_json_string(&diff->json, "only", side ? "b" : "a");
        tf_json_end_object(&diff->json);
    } else {
        fprintf(diff->inspect->file, "table %s: only in %s\n", name, path);
    }
}

static void json_table(struct tf_json *json, const struct tf_table_info *info[2],
                       const struct distance *distance)
{
    tf_json_object(json, NULL);
    tf_json_string(json, "name", info[0]->name);
    for (int side = 0; side < 2; side++) {
        tf_json_object(json, side ? "b" : "a");
        tf_json_string(json, "dtype", tf_dtype_name(info[side]->dtype));
        tf_json_uint(json, "rows", info[side]->rows);
        tf_json_uint(json, "cols", info[side]->cols);
        tf_json_real(json, "scale", info[side]->scale);
        tf_json_end_object(json);
    }
    tf_json_uint(json, "rows_compared", distance->rows);
    tf_json_real(json, "max", distance->most);
    tf_json_real(json, "rms", sqrt(distance->squares / ((double)distance->rows * info[0]->cols)));
    tf_json_end_object(json);
}

static void print_table(FILE *file, const struct tf_table_info *info[2],
                        const struct distance *distance)
{
    const struct tf_table_info *a = info[0], *b = info[1];

    fprintf(file, "table %s:", a->name);
    if (a->dtype != b->dtype)
        fprintf(file, " type %s | %s;", tf_dtype_name(a->dtype), tf_dtype_name(b->dtype));
    if (a->scale != b->scale)
        fprintf(file, " scale %.9g | %.9g;", a->scale, b->scale);
    if (a->rows != b->rows)
        fprintf(file, " rows %" PRIu64 " | %" PRIu64 ";", a->rows, b->rows);
    if (a->cols != b->cols)
        fprintf(file, " cols %u | %u\n", a->cols, b->cols);
    else
        fprintf(file, " %s%" PRIu64 " rows: max %.4g, rms %.4g\n",
                a->rows != b->rows ? "first " : "", distance->rows, distance->most,
                sqrt(distance->squares / ((double)distance->rows * a->cols)));
}

static enum tf_code compare_table(struct diff *diff, const size_t table[2], struct tf_err *err)
{
    const struct tf_table_info *a = tf_store_table(diff->store[0], table[0]),
                               *b = tf_store_table(diff->store[1], table[1]);
    const struct tf_table_info *info[2] = {a, b};
    struct distance distance = {.same_bits = true};
    enum tf_code code = TF_OK;

    if (a->cols == b->cols) {
        distance.rows = a->rows < b->rows ? a->rows : b->rows;
        code = measure(&distance, diff, table, err);
    }
    if (code || (distance.same_bits && a->dtype == b->dtype && a->scale == b->scale &&
                 a->rows == b->rows && a->cols == b->cols))
        return code;
    diff->different = true;
    if (diff->inspect->common->json)
        json_table(&diff->json, info, &distance);
    else
        print_table(diff->inspect->file, info, &distance);
    return TF_OK;
}

/* Both lists are sorted by name. */
static enum tf_code compare_tables(struct diff *diff, struct tf_err *err)
{
    size_t at[2] = {0, 0},
           count[2] = {tf_store_tables(diff->store[0]), tf_store_tables(diff->store[1])};
    enum tf_code code = TF_OK;

    while (!code && (at[0] < count[0] || at[1] < count[1])) {
        const char *a = at[0] < count[0] ? tf_store_table(diff->store[0], at[0])->name : NULL;
        const char *b = at[1] < count[1] ? tf_store_table(diff->store[1], at[1])->name : NULL;
        int order = a == NULL ? 1 : b == NULL ? -1 : strcmp(a, b);
        if (order < 0)
            report_only(diff, 0, a);
        else if (order > 0)
            report_only(diff, 1, b);
        else
            code = compare_table(diff, at, err);
        at[0] += order <= 0;
        at[1] += order >= 0;
    }
    return code;
}

/* The three parts, as lines or as the members of one object. */
static enum tf_code compare(struct diff *diff, struct tf_err *err)
{
    bool json = diff->inspect->common->json;
    enum tf_code code;

    if (json) {
        diff->json = tf_inspect_json(diff->inspect, "diff");
        tf_json_array(&diff->json, "config");
    }
    code = compare_configs(diff, err);
    if (code)
        return code;
    if (json)
        tf_json_end_array(&diff->json);
    compare_blobs(diff);
    if (json)
        tf_json_array(&diff->json, "tables");
    code = compare_tables(diff, err);
    if (!code && json) {
        tf_json_end_array(&diff->json);
        tf_json_bool(&diff->json, "same", !diff->different);
        tf_json_end_object(&diff->json);
    }
    return code;
}

enum tf_code tf_inspect_diff(struct tf_inspect *inspect, struct tf_err *err)
{
    struct diff diff = {.inspect = inspect};
    enum tf_code code = TF_OK;

    for (int side = 0; side < 2 && !code; side++)
        code = tf_store_open(&diff.store[side], inspect->operands[side],
                             inspect->common->max_memory, err);
    if (!code)
        code = compare(&diff, err);
    tf_store_close(diff.store[0]);
    tf_store_close(diff.store[1]);
    return code ? code : diff.different ? TF_NO : TF_OK;
}
