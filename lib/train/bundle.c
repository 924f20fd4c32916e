/* Unpacking: a checkpoint's tables as .npy files, its blobs as they are, and the manifest that ties
 * them together. */
#include "train/bundle.h"

#include "base/folder.h"
#include "base/mem.h"
#include "store/digest.h"
#include "text/json.h"
#include "train/bundle_files.h"
#include <inttypes.h>
#include <string.h>

enum { BLOCK = 4 << 20 }; /* bytes of rows at a time, and up to a chunk more */

const char tf_bundle_manifest[] = "manifest.yaml";
const char *const tf_bundle_blobs[TF_BLOBS] = {
    [TF_BLOB_CONFIG] = "config.yaml",
    [TF_BLOB_TOKENIZER] = "tokenizer",
    [TF_BLOB_STATE] = "state.yaml",
    [TF_BLOB_LINEAGE] = "lineage.yaml",
};

enum tf_code tf_bundle_settings(char out[TF_DIGEST_TEXT], const struct tf_config *config,
                                const char *tokenizer, size_t size, struct tf_err *err)
{
    struct tf_hash *hash = tf_hash_new(err);
    struct tf_digest digest;
    char pct[32], base[32], text[160];

    if (!hash)
        return TF_MEMORY;
    snprintf(text, sizeof text, "%" PRIu64 " %d %s %s\n", config->model.num_attention_heads,
             config->model.norm_activation, tf_real_text(pct, config->model.rotary_pct),
             tf_real_text(base, config->model.rotary_base));
    tf_hash_update(hash, text, strlen(text));
    tf_hash_update(hash, tokenizer, size);
    tf_hash_finish(hash, &digest);
    tf_hash_free(hash);
    tf_digest_text(out, &digest);
    return TF_OK;
}

/* ---- the manifest ---- */

/* The rows of a table's chunks where they are not what a writer would choose. */
static enum tf_code list_chunks(struct tf_manifest_table *table, const struct tf_store *store,
                                struct tf_err *err)
{
    const struct tf_table_info *info = &table->info;
    uint64_t full = tf_chunk_rows(info);
    bool usual = true;

    for (uint32_t c = 0; c < info->chunk_count; c++) {
        uint64_t rows = tf_store_chunk(store, info->first_chunk + c)->rows;
        usual = usual && (rows == full || (rows < full && c + 1 == info->chunk_count));
    }
    if (usual)
        return TF_OK;
    table->runs = tf_new(info->chunk_count, sizeof *table->runs, "chunk list", err);
    if (!table->runs)
        return TF_MEMORY;
    for (uint32_t c = 0; c < info->chunk_count; c++) {
        uint64_t rows = tf_store_chunk(store, info->first_chunk + c)->rows;
        if (c == 0 || table->runs[table->run_count - 1].rows != rows)
            table->runs[table->run_count++].rows = rows;
        table->runs[table->run_count - 1].times++;
    }
    return TF_OK;
}

/* Everything but the digest. */
static enum tf_code describe(struct tf_manifest *manifest, const struct tf_store *store,
                             struct tf_err *err)
{
    size_t count = tf_store_tables(store);
    enum tf_code code = TF_OK;

    memset(manifest, 0, sizeof *manifest);
    manifest->tables = tf_new(count, sizeof *manifest->tables, "manifest", err);
    if (!manifest->tables)
        return TF_MEMORY;
    for (size_t i = 0; !code && i < count; i++) {
        struct tf_manifest_table *table = &manifest->tables[manifest->count++];
        table->info = *tf_store_table(store, i);
        table->file = tf_manifest_file(table->info.name, err);
        code = table->file ? list_chunks(table, store, err) : TF_MEMORY;
    }
    return code;
}

/* Describes the checkpoint, and refuses what could be unpacked but not be packed again. */
static enum tf_code plan(struct tf_manifest *manifest, const struct tf_checkpoint *from,
                         struct tf_err *err)
{
    char *text = NULL;
    size_t size, tokenizer_size;
    const char *tokenizer = tf_store_blob(from->store, TF_BLOB_TOKENIZER, &tokenizer_size);
    enum tf_code code = tf_store_editable(from->store, err);

    if (!code)
        code = describe(manifest, from->store, err);
    if (!code)
        code =
            tf_bundle_settings(manifest->settings, &from->config, tokenizer, tokenizer_size, err);
    memset(manifest->digest, '0', sizeof manifest->digest - 1);
    if (!code)
        code = tf_manifest_print(manifest, &text, &size, err);
    tf_free(text);
    return code;
}

enum tf_code tf_bundle_check(const struct tf_checkpoint *from, const char *folder,
                             struct tf_err *err)
{
    struct tf_manifest manifest = {0};
    enum tf_code code = tf_folder_check(folder, err);

    if (!code)
        code = plan(&manifest, from, err);
    tf_manifest_fini(&manifest);
    return code;
}

/* ---- files ---- */

/* A checkpoint on its way into a folder. */
struct unpacking {
    const struct tf_store *store;
    struct tf_folder folder;
    struct tf_manifest manifest;
    struct tf_hash *rows, *model; /* digests of a table, and of all */
    uint8_t *block;
};

static enum tf_code open_file(const struct unpacking *to, struct tf_out *out, const char *name,
                              struct tf_err *err)
{
    char *path = tf_folder_file(&to->folder, name, err);
    enum tf_code code = path ? tf_out_open(out, path, false, err) : TF_MEMORY;

    tf_free(path);
    return code;
}

static enum tf_code put_text(const struct unpacking *to, const char *name, const char *text,
                             size_t size, struct tf_err *err)
{
    struct tf_out out = {0};
    enum tf_code code = open_file(to, &out, name, err);

    if (!code)
        code = tf_out_write(&out, text, size, err);
    if (!code)
        code = tf_out_commit(&out, err);
    tf_out_close(&out);
    return code;
}

/* The rows of whole chunks, from chunk *chunk on, that make a block. */
static uint64_t next_block(const struct tf_store *store, const struct tf_table_info *info,
                           uint32_t *chunk, size_t row_size)
{
    uint64_t rows = 0;

    do
        rows += tf_store_chunk(store, info->first_chunk + (*chunk)++)->rows;
    while (*chunk < info->chunk_count && rows * row_size < BLOCK);
    return rows;
}

static enum tf_code put_rows(struct unpacking *to, size_t index, struct tf_out *out,
                             struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(to->store, index);
    size_t row_size = info->cols * tf_dtype_width(info->dtype);
    uint64_t row = 0;
    enum tf_code code = TF_OK;

    for (uint32_t chunk = 0; !code && chunk < info->chunk_count;) {
        uint64_t rows = next_block(to->store, info, &chunk, row_size);
        code = tf_store_read_raw(to->store, index, row, rows, to->block, err);
        if (code)
            break;
        tf_hash_update(to->rows, to->block, rows * row_size);
        code = tf_out_write(out, to->block, rows * row_size, err);
        row += rows;
    }
    return code;
}

static enum tf_code put_table(struct unpacking *to, size_t index, struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(to->store, index);
    const uint64_t shape[2] = {info->rows, info->cols};
    struct tf_out out = {0};
    struct tf_digest digest;
    enum tf_code code = open_file(to, &out, to->manifest.tables[index].file, err);

    if (!code)
        code = tf_npy_write_header(&out, tf_npy_type_of(info->dtype), 2, shape, err);
    if (!code)
        code = put_rows(to, index, &out, err);
    if (!code)
        code = tf_out_commit(&out, err);
    tf_out_close(&out);
    tf_hash_finish(to->rows, &digest);
    if (info->role == TF_PARAMETER)
        tf_hash_table(to->model, info, &digest);
    return code;
}

/* Last of all, for it has the digest of what was written. */
static enum tf_code put_manifest(struct unpacking *to, struct tf_err *err)
{
    struct tf_digest digest;
    char *text = NULL;
    size_t size;

    tf_hash_finish(to->model, &digest);
    tf_digest_text(to->manifest.digest, &digest);
    enum tf_code code = tf_manifest_print(&to->manifest, &text, &size, err);
    if (!code)
        code = put_text(to, tf_bundle_manifest, text, size, err);
    tf_free(text);
    return code;
}

static enum tf_code put_all(struct unpacking *to, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < to->manifest.count; i++)
        code = put_table(to, i, err);
    for (int kind = 0; !code && kind < TF_BLOBS; kind++) {
        size_t size;
        const char *text = tf_store_blob(to->store, (enum tf_blob)kind, &size);
        if (size > 0)
            code = put_text(to, tf_bundle_blobs[kind], text, size, err);
    }
    return code ? code : put_manifest(to, err);
}

enum tf_code tf_bundle_unpack(const struct tf_checkpoint *from, const char *folder,
                              struct tf_err *err)
{
    struct unpacking to = {.store = from->store};
    enum tf_code code = plan(&to.manifest, from, err);

    if (!code) {
        to.rows = tf_hash_new(err);
        to.model = tf_hash_new(err);
        to.block = tf_new(BLOCK + TF_MAX_CHUNK_RAW, 1, "rows", err);
        code =
            to.rows && to.model && to.block ? tf_folder_open(&to.folder, folder, err) : TF_MEMORY;
    }
    if (!code)
        code = put_all(&to, err);
    if (!code)
        code = tf_folder_commit(&to.folder, err);
    tf_folder_close(&to.folder);
    tf_hash_free(to.rows);
    tf_hash_free(to.model);
    tf_free(to.block);
    tf_manifest_fini(&to.manifest);
    return code;
}
