/* stats, dump: the numbers in the tables. */
#include "base/mem.h"
#include "cli/inspect.h"
#include "store/npy.h"
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Over the finite numbers of a table; norms are of its rows. */
struct stats {
    uint64_t finite, nan, infinite, rows, zero_rows;
    double sum, squares, least, most;
    double norm_sum, norm_least, norm_most;
};

static void add_row(struct stats *stats, const float *row, size_t cols)
{
    double squares = 0;

    for (size_t i = 0; i < cols; i++) {
        double x = row[i];
        if (!isfinite(x)) {
            stats->nan += isnan(x) != 0;
            stats->infinite += isinf(x) != 0;
            continue;
        }
        stats->least = fmin(stats->least, x);
        stats->most = fmax(stats->most, x);
        stats->sum += x;
        squares += x * x;
        stats->finite++;
    }
    double norm = sqrt(squares);
    stats->squares += squares;
    stats->norm_sum += norm;
    stats->norm_least = fmin(stats->norm_least, norm);
    stats->norm_most = fmax(stats->norm_most, norm);
    stats->zero_rows += squares == 0;
    stats->rows++;
}

static enum tf_code gather(struct stats *stats, const struct tf_store *store, size_t table,
                           struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(store, table);
    uint64_t block = tf_inspect_block(info);
    size_t stride = tf_table_stride(info->cols);
    enum tf_code code = TF_OK;
    float *rows = tf_new(block * stride, sizeof *rows, "rows", err);

    if (!rows)
        return TF_MEMORY;
    *stats = (struct stats){
        .least = INFINITY, .most = -INFINITY, .norm_least = INFINITY, .norm_most = -INFINITY};
    for (uint64_t row = 0; !code && row < info->rows; row += block) {
        uint64_t count = info->rows - row < block ? info->rows - row : block;
        code = tf_store_read(store, table, row, count, rows, stride, err);
        for (uint64_t i = 0; !code && i < count; i++)
            add_row(stats, rows + i * stride, info->cols);
    }
    tf_free(rows);
    return code;
}

static void print_stats_head(const struct tf_inspect *inspect)
{
    fprintf(inspect->file, "%s%-34s %11s %11s %11s %11s %11s %11s %11s %6s %6s %6s%s\n",
            tf_inspect_bold(inspect), "table", "mean", "rms", "min", "max", "norm min", "norm mean",
            "norm max", "nan", "inf", "zero", tf_inspect_plain(inspect));
}

static void print_stats(FILE *file, const char *name, const struct stats *stats)
{
    double n = (double)stats->finite, rows = (double)stats->rows;

    fprintf(file,
            "%-34s %11.4g %11.4g %11.4g %11.4g %11.4g %11.4g %11.4g %6" PRIu64 " %6" PRIu64
            " %6" PRIu64 "\n",
            name, stats->sum / n, sqrt(stats->squares / n), stats->least, stats->most,
            stats->norm_least, stats->norm_sum / rows, stats->norm_most, stats->nan,
            stats->infinite, stats->zero_rows);
}

static void json_stats(struct tf_json *json, const char *name, const struct stats *stats)
{
    double n = (double)stats->finite, rows = (double)stats->rows;

    tf_json_object(json, NULL);
    tf_json_string(json, "table", name);
    tf_json_real(json, "mean", stats->sum / n);
    tf_json_real(json, "rms", sqrt(stats->squares / n));
    tf_json_real(json, "min", stats->least);
    tf_json_real(json, "max", stats->most);
    tf_json_real(json, "row_norm_min", stats->norm_least);
    tf_json_real(json, "row_norm_mean", stats->norm_sum / rows);
    tf_json_real(json, "row_norm_max", stats->norm_most);
    tf_json_uint(json, "nan", stats->nan);
    tf_json_uint(json, "inf", stats->infinite);
    tf_json_uint(json, "zero_rows", stats->zero_rows);
    tf_json_end_object(json);
}

/* Without patterns all tables are meant; a '*' matches dots and slashes too. */
static bool is_meant(const struct tf_inspect *inspect, const char *name)
{
    for (int i = 1; i < inspect->operand_count; i++)
        if (fnmatch(inspect->operands[i], name, 0) == 0)
            return true;
    return inspect->operand_count == 1;
}

static enum tf_code check_patterns(const struct tf_inspect *inspect, const struct tf_store *store,
                                   struct tf_err *err)
{
    for (int i = 1; i < inspect->operand_count; i++) {
        bool found = false;
        for (size_t k = 0; k < tf_store_tables(store); k++)
            found |= fnmatch(inspect->operands[i], tf_store_table(store, k)->name, 0) == 0;
        if (!found)
            return tf_fail(err, TF_NOINPUT, "%s: no table matches '%s'", tf_store_path(store),
                           inspect->operands[i]);
    }
    return TF_OK;
}

enum tf_code tf_inspect_stats(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_store *store = NULL;
    struct tf_json json = {0};
    enum tf_code code =
        tf_store_open(&store, inspect->operands[0], inspect->common->max_memory, err);

    if (!code)
        code = check_patterns(inspect, store, err);
    if (!code && inspect->common->json) {
        json = tf_inspect_json(inspect, "stats");
        tf_json_array(&json, "tables");
    } else if (!code) {
        print_stats_head(inspect);
    }
    for (size_t i = 0; !code && i < tf_store_tables(store); i++) {
        const char *name = tf_store_table(store, i)->name;
        struct stats stats;
        if (!is_meant(inspect, name))
            continue;
        code = gather(&stats, store, i, err);
        if (!code && inspect->common->json)
            json_stats(&json, name, &stats);
        else if (!code)
            print_stats(inspect->file, name, &stats);
    }
    if (!code && inspect->common->json) {
        tf_json_end_array(&json);
        tf_json_end_object(&json);
    }
    tf_store_close(store);
    return code;
}

/* What dump is to write. */
struct range {
    size_t table;
    uint64_t first, end; /* rows first .. end-1 */
};

static bool read_row(char **at, uint64_t *out)
{
    if (**at < '0' || **at > '9')
        return false;
    *out = strtoull(*at, at, 10); /* past the end: ULLONG_MAX, which no table reaches */
    return true;
}

/* NAME, NAME[5], NAME[2:9], NAME[2:], NAME[:9] */
static enum tf_code read_range(struct range *range, const struct tf_store *store, char *text,
                               struct tf_err *err)
{
    char *open = strchr(text, '['), *at = open ? open + 1 : NULL;
    size_t n = open ? (size_t)(open - text) : strlen(text);
    char name[TF_MAX_NAME + 1] = "";

    if (n <= TF_MAX_NAME)
        memcpy(name, text, n);
    range->table = tf_store_find(store, name);
    if (range->table == SIZE_MAX)
        return tf_fail(err, TF_NOINPUT, "%s: no table '%.*s'", tf_store_path(store),
                       (int)(n > 255 ? 255 : n), text);
    uint64_t rows = tf_store_table(store, range->table)->rows;
    range->first = 0;
    range->end = rows;
    if (!open)
        return TF_OK;
    bool first = read_row(&at, &range->first);
    if (*at == ':') {
        at++;
        read_row(&at, &range->end);
    } else {
        range->end = range->first + 1;
        if (!first)
            at = open;
    }
    if (strcmp(at, "]") != 0)
        return tf_fail(err, TF_USAGE, "'%s' is not a range of rows: write %s[2:9]", text, name);
    if (range->first >= range->end || range->end > rows)
        return tf_fail(err, TF_USAGE, "'%s' is not within the table's %llu rows", text,
                       (unsigned long long)rows);
    return TF_OK;
}

/* A row a line, numbers that read back as the same floats. */
static enum tf_code dump_text(FILE *file, const struct tf_store *store, const struct range *range,
                              struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(store, range->table);
    uint64_t block = tf_inspect_block(info);
    enum tf_code code = TF_OK;
    float *rows = tf_new(block * info->cols, sizeof *rows, "rows", err);

    if (!rows)
        return TF_MEMORY;
    for (uint64_t row = range->first; !code && row < range->end; row += block) {
        uint64_t count = range->end - row < block ? range->end - row : block;
        code = tf_store_read(store, range->table, row, count, rows, info->cols, err);
        for (uint64_t i = 0; !code && i < count * info->cols; i++)
            fprintf(file, "%.9g%c", (double)rows[i], (i + 1) % info->cols == 0 ? '\n' : ' ');
    }
    tf_free(rows);
    return code;
}

/* The numbers as they are stored; bf16 travels as its bits. */
static enum tf_code dump_npy(struct tf_inspect *inspect, const struct tf_store *store,
                             const struct range *range, struct tf_err *err)
{
    static char stdout_name[] = "stdout";
    const struct tf_table_info *info = tf_store_table(store, range->table);
    enum tf_npy_type type = info->dtype == TF_F32   ? TF_NPY_F4
                            : info->dtype == TF_F16 ? TF_NPY_F2
                                                    : TF_NPY_U2;
    struct tf_out to_stdout = {.file = inspect->file, .path = stdout_name};
    struct tf_out *out = inspect->result.to_file ? &inspect->result.out : &to_stdout;
    uint64_t shape[2] = {range->end - range->first, info->cols}, block = tf_inspect_block(info);
    size_t row_bytes = info->cols * tf_dtype_width(info->dtype);

    if (!tf_ui_binary_ok(inspect->file))
        return tf_fail(err, TF_USAGE, "binary does not go to a terminal: give -o FILE.npy");
    void *rows = tf_new(block, row_bytes, "rows", err);
    if (!rows)
        return TF_MEMORY;
    enum tf_code code = tf_npy_write_header(out, type, 2, shape, err);
    for (uint64_t row = range->first; !code && row < range->end; row += block) {
        uint64_t count = range->end - row < block ? range->end - row : block;
        code = tf_store_read_raw(store, range->table, row, count, rows, err);
        if (!code)
            code = tf_out_write(out, rows, count * row_bytes, err);
    }
    tf_free(rows);
    return code;
}

static bool names_npy(const char *path)
{
    size_t n = path ? strlen(path) : 0;

    return n > 4 && strcmp(path + n - 4, ".npy") == 0;
}

enum tf_code tf_inspect_dump(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_store *store = NULL;
    struct range range = {0};
    enum tf_code code =
        tf_store_open(&store, inspect->operands[0], inspect->common->max_memory, err);

    if (!code)
        code = read_range(&range, store, inspect->operands[1], err);
    if (!code && (inspect->npy || names_npy(inspect->common->output)))
        code = dump_npy(inspect, store, &range, err);
    else if (!code)
        code = dump_text(inspect->file, store, &range, err);
    tf_store_close(store);
    return code;
}
