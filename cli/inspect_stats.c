/* stats, dump: the numbers in the tables. */
#include "base/mem.h"
#include "cli/inspect.h"
#include "store/npy.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* A walk over chosen rows, a block at a time. Zeroed, it stands before the first. */
struct walk {
    size_t range;
    uint64_t first, count; /* rows of the block */
};

static bool step(struct walk *walk, const struct tf_selected *chosen, uint64_t block)
{
    if (walk->count > 0 && walk->first + walk->count == chosen->rows[walk->range].end) {
        walk->range++;
        walk->count = 0;
    }
    if (walk->range == chosen->row_count)
        return false;
    const struct tf_rows *rows = &chosen->rows[walk->range];
    walk->first = walk->count > 0 ? walk->first + walk->count : rows->first;
    walk->count = rows->end - walk->first < block ? rows->end - walk->first : block;
    return true;
}

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

static enum tf_code gather(struct stats *stats, const struct tf_store *store,
                           const struct tf_selected *chosen, struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(store, chosen->table);
    uint64_t block = tf_inspect_block(store, info);
    struct walk walk = {0};
    float *rows = tf_new(block * info->cols, sizeof *rows, "rows", err);
    enum tf_code code = rows ? TF_OK : TF_MEMORY;

    *stats = (struct stats){
        .least = INFINITY, .most = -INFINITY, .norm_least = INFINITY, .norm_most = -INFINITY};
    while (!code && step(&walk, chosen, block)) {
        code = tf_store_read(store, chosen->table, walk.first, walk.count, rows, info->cols, err);
        for (uint64_t i = 0; !code && i < walk.count; i++)
            add_row(stats, rows + i * info->cols, info->cols);
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

enum tf_code tf_inspect_select(struct tf_selection *out, const struct tf_inspect *inspect,
                               const struct tf_store *store, unsigned kinds, struct tf_err *err)
{
    static const char *const all[] = {"*"};
    size_t count = (size_t)inspect->operand_count - 1;

    return tf_select(out, store, kinds, count ? (const char *const *)inspect->operands + 1 : all,
                     count ? count : 1, err);
}

enum tf_code tf_inspect_stats(struct tf_inspect *inspect, struct tf_err *err)
{
    if (inspect->usage.count > 0)
        return tf_inspect_usage(inspect, err);
    struct tf_store *store = NULL;
    struct tf_selection tables = {0};
    struct tf_json json = {0};
    enum tf_code code =
        tf_store_open(&store, inspect->operands[0], inspect->common->max_memory, err);

    if (!code)
        code = tf_inspect_select(&tables, inspect, store, TF_SELECT_TABLES, err);
    if (!code && inspect->common->json) {
        json = tf_inspect_json(inspect, "stats");
        tf_json_array(&json, "tables");
    } else if (!code) {
        print_stats_head(inspect);
    }
    for (size_t i = 0; !code && i < tables.count; i++) {
        struct stats stats;
        code = gather(&stats, store, &tables.items[i], err);
        if (!code && inspect->common->json)
            json_stats(&json, tables.items[i].name, &stats);
        else if (!code)
            print_stats(inspect->file, tables.items[i].name, &stats);
    }
    if (!code && inspect->common->json) {
        tf_json_end_array(&json);
        tf_json_end_object(&json);
    }
    tf_selection_fini(&tables);
    tf_store_close(store);
    return code;
}

/* A row a line, numbers that read back as the same floats. */
static enum tf_code dump_text(FILE *file, const struct tf_store *store,
                              const struct tf_selected *chosen, struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(store, chosen->table);
    uint64_t block = tf_inspect_block(store, info);
    struct walk walk = {0};
    enum tf_code code = TF_OK;
    float *rows = tf_new(block * info->cols, sizeof *rows, "rows", err);

    if (!rows)
        return TF_MEMORY;
    while (!code && step(&walk, chosen, block)) {
        code = tf_store_read(store, chosen->table, walk.first, walk.count, rows, info->cols, err);
        for (uint64_t i = 0; !code && i < walk.count * info->cols; i++)
            fprintf(file, "%.9g%c", (double)rows[i], (i + 1) % info->cols == 0 ? '\n' : ' ');
    }
    tf_free(rows);
    return code;
}

/* The numbers as they are stored; bf16 travels as its bits. */
static enum tf_code dump_npy(struct tf_inspect *inspect, const struct tf_store *store,
                             const struct tf_selected *chosen, struct tf_err *err)
{
    static char stdout_name[] = "stdout";
    const struct tf_table_info *info = tf_store_table(store, chosen->table);
    enum tf_npy_type type = tf_npy_type_of(info->dtype);
    struct tf_out to_stdout = {.file = inspect->file, .path = stdout_name};
    struct tf_out *out = inspect->result.to_file ? &inspect->result.out : &to_stdout;
    uint64_t shape[2] = {tf_selected_rows(chosen), info->cols},
             block = tf_inspect_block(store, info);
    size_t row_bytes = info->cols * tf_dtype_width(info->dtype);
    struct walk walk = {0};

    if (!tf_ui_binary_ok(inspect->file))
        return tf_fail(err, TF_USAGE, "binary does not go to a terminal: give -o FILE.npy");
    void *rows = tf_new(block, row_bytes, "rows", err);
    if (!rows)
        return TF_MEMORY;
    enum tf_code code = tf_npy_write_header(out, type, 2, shape, err);
    while (!code && step(&walk, chosen, block)) {
        code = tf_store_read_raw(store, chosen->table, walk.first, walk.count, rows, err);
        if (!code)
            code = tf_out_write(out, rows, walk.count * row_bytes, err);
    }
    tf_free(rows);
    return code;
}

bool tf_inspect_names(const struct tf_inspect *inspect, const char *end)
{
    const char *path = inspect->common->output;
    size_t n = path ? strlen(path) : 0, m = strlen(end);

    return n > m && strcmp(path + n - m, end) == 0;
}

enum tf_code tf_inspect_one_table(struct tf_selection *out, const struct tf_store *store,
                                  const char *text, struct tf_err *err)
{
    enum tf_code code = tf_select(out, store, TF_SELECT_TABLES, &text, 1, err);

    if (!code && out->count > 1)
        code = tf_fail(err, TF_USAGE, "'%s' means %zu tables, must be one", text, out->count);
    return code;
}

enum tf_code tf_inspect_dump(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_store *store = NULL;
    struct tf_selection chosen = {0};
    enum tf_code code =
        tf_store_open(&store, inspect->operands[0], inspect->common->max_memory, err);

    if (!code)
        code = tf_inspect_one_table(&chosen, store, inspect->operands[1], err);
    if (!code && (inspect->npy || tf_inspect_names(inspect, ".npy")))
        code = dump_npy(inspect, store, &chosen.items[0], err);
    else if (!code)
        code = dump_text(inspect->file, store, &chosen.items[0], err);
    tf_selection_fini(&chosen);
    tf_store_close(store);
    return code;
}
