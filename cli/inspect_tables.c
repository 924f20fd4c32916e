/* tables, digest, verify: the tables of a checkpoint, one line each. */
#include "cli/inspect.h"
#include "text/json.h"
#include <inttypes.h>
#include <string.h>

struct tf_json tf_inspect_json(const struct tf_inspect *inspect, const char *verb)
{
    struct tf_json json = {.file = inspect->file, .pretty = true};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-inspect/1");
    tf_json_string(&json, "verb", verb);
    return json;
}

const char *tf_inspect_bold(const struct tf_inspect *inspect)
{
    return inspect->result.to_file ? "" : tf_ui_bold(inspect->common);
}

const char *tf_inspect_plain(const struct tf_inspect *inspect)
{
    return inspect->result.to_file ? "" : tf_ui_plain(inspect->common);
}

uint64_t tf_inspect_coded(const struct tf_store *store, const struct tf_table_info *info)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < info->chunk_count; i++)
        bytes += tf_store_chunk(store, info->first_chunk + i)->coded;
    return bytes;
}

uint64_t tf_inspect_raw(const struct tf_table_info *info)
{
    return info->rows * info->cols * tf_dtype_width(info->dtype);
}

uint64_t tf_inspect_block(const struct tf_store *store, const struct tf_table_info *info)
{
    uint64_t block = (1u << 20) / info->cols; /* 4 MiB as f32 */

    for (uint32_t i = 0; i < info->chunk_count; i++) {
        uint64_t rows = tf_store_chunk(store, info->first_chunk + i)->rows;
        block = rows > block ? rows : block;
    }
    return block < info->rows ? block : info->rows;
}

static enum tf_code open_store(struct tf_store **store, const struct tf_inspect *inspect,
                               struct tf_err *err)
{
    return tf_store_open(store, inspect->operands[0], inspect->common->max_memory, err);
}

static const char *filter_name(enum tf_filter filter)
{
    return filter == TF_FILTER_PLANES ? "planes" : "none";
}

/* The widest name, for the first column. */
static int name_width(const struct tf_store *store)
{
    size_t width = strlen("table");

    for (size_t i = 0; i < tf_store_tables(store); i++) {
        size_t n = strlen(tf_store_table(store, i)->name);
        width = n > width ? n : width;
    }
    return (int)width;
}

static void print_tables(const struct tf_inspect *inspect, const struct tf_store *store)
{
    FILE *file = inspect->file;
    int width = name_width(store);

    fprintf(file, "%s%-*s  type %9s %6s %9s %10s %6s", tf_inspect_bold(inspect), width, "table",
            "rows", "cols", "scale", "bytes", "ratio");
    if (inspect->long_form)
        fprintf(file, "  %-9s %-6s %5s %6s", "role", "filter", "group", "chunks");
    fprintf(file, "%s\n", tf_inspect_plain(inspect));
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *info = tf_store_table(store, i);
        uint64_t coded = tf_inspect_coded(store, info);
        fprintf(file, "%-*s  %-4s %9" PRIu64 " %6u %9.6g %10" PRIu64 " %6.3f", width, info->name,
                tf_dtype_name(info->dtype), info->rows, info->cols, info->scale, coded,
                (double)coded / (double)tf_inspect_raw(info));
        if (inspect->long_form)
            fprintf(file, "  %-9s %-6s %5u %6u", tf_role_name(info->role),
                    filter_name(info->filter), info->row_group, info->chunk_count);
        fputc('\n', file);
    }
}

/* What the model is and nothing of how it is stored, so that diff(1) shows differences of the
 * models alone. */
static enum tf_code print_diffable(FILE *file, const struct tf_store *store, struct tf_err *err)
{
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *info = tf_store_table(store, i);
        struct tf_digest digest;
        char text[TF_DIGEST_TEXT], scale[32];
        enum tf_code code = tf_store_digest(store, i, &digest, err);
        if (code)
            return code;
        fprintf(file, "%s %s %" PRIu64 " %u %s %s\n", info->name, tf_dtype_name(info->dtype),
                info->rows, info->cols, tf_real_text(scale, info->scale),
                tf_digest_text(text, &digest));
    }
    return TF_OK;
}

static void json_tables(const struct tf_inspect *inspect, const struct tf_store *store)
{
    struct tf_json json = tf_inspect_json(inspect, "tables");

    tf_json_array(&json, "tables");
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *info = tf_store_table(store, i);
        tf_json_object(&json, NULL);
        tf_json_string(&json, "name", info->name);
        tf_json_string(&json, "role", tf_role_name(info->role));
        tf_json_string(&json, "dtype", tf_dtype_name(info->dtype));
        tf_json_uint(&json, "rows", info->rows);
        tf_json_uint(&json, "cols", info->cols);
        tf_json_real(&json, "scale", info->scale);
        tf_json_string(&json, "filter", filter_name(info->filter));
        tf_json_uint(&json, "row_group", info->row_group);
        tf_json_uint(&json, "chunks", info->chunk_count);
        tf_json_uint(&json, "raw_bytes", tf_inspect_raw(info));
        tf_json_uint(&json, "coded_bytes", tf_inspect_coded(store, info));
        tf_json_end_object(&json);
    }
    tf_json_end_array(&json);
    tf_json_end_object(&json);
}

enum tf_code tf_inspect_tables(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_store *store = NULL;
    enum tf_code code = open_store(&store, inspect, err);

    if (!code && inspect->diffable)
        code = print_diffable(inspect->file, store, err);
    else if (!code && inspect->common->json)
        json_tables(inspect, store);
    else if (!code)
        print_tables(inspect, store);
    tf_store_close(store);
    return code;
}

static void digest_line(const struct tf_inspect *inspect, struct tf_json *json,
                        const struct tf_digest *digest, const char *name)
{
    char text[TF_DIGEST_TEXT];

    tf_digest_text(text, digest);
    if (inspect->common->json)
        tf_json_string(json, name, text);
    else
        fprintf(inspect->file, "%s  %s\n", text, name);
}

enum tf_code tf_inspect_digest(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_store *store = NULL;
    struct tf_digest digest;
    struct tf_json json = {0};
    enum tf_code code = open_store(&store, inspect, err);

    if (code)
        return code;
    if (inspect->common->json) {
        json = tf_inspect_json(inspect, "digest");
        tf_json_object(&json, "tables");
    }
    for (size_t i = 0; !code && i < tf_store_tables(store); i++) {
        code = tf_store_digest(store, i, &digest, err);
        if (!code)
            digest_line(inspect, &json, &digest, tf_store_table(store, i)->name);
    }
    if (!code)
        code = tf_store_model_digest(store, &digest, err);
    if (!code && inspect->common->json)
        tf_json_end_object(&json);
    if (!code)
        digest_line(inspect, &json, &digest, "model");
    if (!code && inspect->common->json)
        tf_json_end_object(&json);
    tf_store_close(store);
    return code;
}

/* That the tables are those of the config, and then every byte of every chunk. */
enum tf_code tf_inspect_verify(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_checkpoint checkpoint;
    enum tf_code code = tf_checkpoint_open(&checkpoint, inspect->operands[0],
                                           inspect->common->max_memory, NULL, 0, err);
    size_t tables, chunks = 0;
    uint64_t bytes;

    if (!code)
        code = tf_store_verify(checkpoint.store, err);
    if (code)
        goto out;
    tables = tf_store_tables(checkpoint.store);
    bytes = tf_store_file_size(checkpoint.store);
    for (size_t i = 0; i < tables; i++)
        chunks += tf_store_table(checkpoint.store, i)->chunk_count;
    if (inspect->common->json) {
        struct tf_json json = tf_inspect_json(inspect, "verify");
        tf_json_bool(&json, "good", true);
        tf_json_uint(&json, "tables", tables);
        tf_json_uint(&json, "chunks", chunks);
        tf_json_uint(&json, "bytes", bytes);
        tf_json_end_object(&json);
    } else {
        fprintf(inspect->file, "good: %zu tables, %zu chunks, %" PRIu64 " bytes\n", tables, chunks,
                bytes);
    }
out:
    tf_checkpoint_close(&checkpoint);
    return code;
}
