#include "store/reader.h"

#include "base/mem.h"
#include "store/codec.h"
#include "store/decode.h"
#include "store/digest.h"
#include "store/store.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* ---- opening ---- */

/* Memory is taken for the raw directory, *raw, when its frame says the same size as the trailer. */
static enum tf_code decode_directory(const struct tf_trailer *trailer, const uint8_t *coded,
                                     uint8_t **raw, struct tf_err *err)
{
    size_t coded_size = trailer->directory_coded, raw_size = trailer->directory_raw;
    enum tf_code code = tf_frame_check(coded, coded_size, raw_size, err);
    ZSTD_DCtx *context;

    if (code != TF_OK)
        return code;
    *raw = tf_new(raw_size, 1, "raw bytes", err);
    context = tf_codec_decompressor(err);
    code = *raw == NULL || context == NULL
               ? TF_MEMORY
               : tf_codec_decode(context, coded, coded_size, *raw, raw_size, err);
    ZSTD_freeDCtx(context);
    return code;
}

/* So that the chunk of a row is found by bisection. */
static enum tf_code count_rows(struct tf_store *store, struct tf_err *err)
{
    const struct tf_directory *directory = &store->directory;

    store->first_rows =
        tf_new(directory->chunk_count, sizeof(*store->first_rows), "chunk index", err);
    if (store->first_rows == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < directory->table_count; i++) {
        const struct tf_table_info *table = &directory->tables[i];
        uint64_t row = 0;

        for (size_t c = table->first_chunk; c < table->first_chunk + table->chunk_count; c++) {
            store->first_rows[c] = row;
            row += directory->chunks[c].rows;
        }
    }
    return TF_OK;
}

enum tf_code tf_store_index(struct tf_store *store, const struct tf_trailer *trailer, uint64_t at,
                            uint64_t max_memory, struct tf_err *err)
{
    uint8_t *coded = tf_new(trailer->directory_coded, 1, "coded directory", err), *raw = NULL;
    enum tf_code code = TF_MEMORY;
    uint64_t hash;

    if (coded == NULL)
        return TF_MEMORY;
    code = tf_in_read(&store->in, at, coded, trailer->directory_coded, err);
    if (code != TF_OK)
        goto done;
    hash = XXH3_64bits(coded, trailer->directory_coded);
    if (hash != trailer->directory_hash) {
        tf_checksum_fail(err, trailer->directory_hash, hash);
        tf_context(err, "directory");
        code = TF_NO;
        goto done;
    }
    code = decode_directory(trailer, coded, &raw, err);
    if (code == TF_OK)
        code = tf_directory_unpack(&store->directory, raw, trailer->directory_raw, TF_FRAME_SIZE,
                                   trailer->directory_offset, max_memory, err);
    if (code == TF_OK)
        code = count_rows(store, err);
    else
        tf_context(err, "directory");
done:
    tf_free(raw);
    tf_free(coded);
    return code;
}

enum tf_code tf_store_open(struct tf_store **out, const char *path, uint64_t max_memory,
                           struct tf_err *err)
{
    struct tf_store *store = tf_new(1, sizeof(*store), "store", err);
    struct tf_trailer trailer;
    enum tf_code code;

    *out = NULL;
    if (store == NULL)
        return TF_MEMORY;
    code = tf_in_open(&store->in, path, err);
    if (code != TF_OK) {
        tf_store_close(store);
        return code;
    }
    code = tf_frames_open(&store->in, &store->header, &trailer, err);
    if (code == TF_OK)
        code = tf_store_index(store, &trailer, trailer.directory_offset, max_memory, err);
    if (code == TF_OK) {
        *out = store;
        return TF_OK;
    }
    tf_store_close(store);
    /* A failed read names the path itself. */
    return code == TF_IO ? code : tf_context(err, "%s", path);
}

void tf_store_close(struct tf_store *store)
{
    if (store == NULL)
        return;
    tf_free(store->first_rows);
    tf_directory_fini(&store->directory);
    tf_in_close(&store->in);
    tf_free(store);
}

/* ---- what is in it ---- */

const char *tf_store_path(const struct tf_store *store)
{
    return store->in.path;
}

unsigned tf_store_minor(const struct tf_store *store)
{
    return store->header.minor;
}

uint64_t tf_store_file_size(const struct tf_store *store)
{
    return store->in.size;
}

size_t tf_store_tables(const struct tf_store *store)
{
    return store->directory.table_count;
}

const struct tf_table_info *tf_store_table(const struct tf_store *store, size_t index)
{
    return &store->directory.tables[index];
}

static int compare_name(const void *name, const void *table)
{
    return strcmp(name, ((const struct tf_table_info *)table)->name);
}

size_t tf_store_find(const struct tf_store *store, const char *name)
{
    const struct tf_directory *directory = &store->directory;
    const struct tf_table_info *found = bsearch(name, directory->tables, directory->table_count,
                                                sizeof(*directory->tables), compare_name);

    return found == NULL ? SIZE_MAX : (size_t)(found - directory->tables);
}

const struct tf_chunk_info *tf_store_chunk(const struct tf_store *store, size_t index)
{
    return &store->directory.chunks[index];
}

const char *tf_store_blob(const struct tf_store *store, enum tf_blob kind, size_t *size)
{
    if (size != NULL)
        *size = store->directory.blob_sizes[kind];
    return store->directory.blobs[kind] == NULL ? "" : store->directory.blobs[kind];
}

enum tf_code tf_store_editable(const struct tf_store *store, struct tf_err *err)
{
    uint32_t unknown = store->header.ro_compat & ~TF_KNOWN_RO_COMPAT;

    return unknown == 0 ? TF_OK
                        : tf_fail(err, TF_DATA,
                                  "%s: has features that this program can read but not write "
                                  "(ro_compat bits 0x%" PRIx32 ")",
                                  store->in.path, unknown);
}

/* ---- rows ---- */

static enum tf_code read_all(const struct tf_request *requests, size_t count, struct tf_err *err)
{
    struct tf_team team = {0};
    enum tf_code code = tf_team_read(&team, requests, count, err);

    tf_team_fini(&team);
    return code;
}

enum tf_code tf_store_read(const struct tf_store *store, size_t table, uint64_t row, uint64_t count,
                           float *out, size_t stride, struct tf_err *err)
{
    const struct tf_request request = {.store = store,
                                       .table = table,
                                       .row = row,
                                       .count = count,
                                       .floats = out,
                                       .stride = stride};

    return read_all(&request, 1, err);
}

enum tf_code tf_store_read_raw(const struct tf_store *store, size_t table, uint64_t row,
                               uint64_t count, void *out, struct tf_err *err)
{
    const struct tf_request request = {
        .store = store, .table = table, .row = row, .count = count, .bytes = out};

    return read_all(&request, 1, err);
}

enum tf_code tf_store_read_tables(const struct tf_store *store, const struct tf_table_read *reads,
                                  size_t count, struct tf_err *err)
{
    struct tf_request *requests = tf_new(count, sizeof(*requests), "requests", err);
    enum tf_code code;

    if (requests == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count; i++)
        requests[i] = (struct tf_request){.store = store,
                                          .table = reads[i].table,
                                          .count = tf_store_table(store, reads[i].table)->rows,
                                          .floats = reads[i].out,
                                          .stride = reads[i].stride};
    code = read_all(requests, count, err);
    tf_free(requests);
    return code;
}

/* All rows of all tables, or their coded bytes alone. good, when there is one, has all chunks'
 * states. */
static enum tf_code check_all(const struct tf_store *store, bool coded, bool *good,
                              struct tf_err *err)
{
    size_t count = tf_store_tables(store);
    struct tf_request *requests = tf_new(count, sizeof(*requests), "requests", err);
    enum tf_code code;

    if (requests == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count; i++) {
        const struct tf_table_info *table = tf_store_table(store, i);

        requests[i] = (struct tf_request){.store = store,
                                          .table = i,
                                          .count = table->rows,
                                          .good = good == NULL ? NULL : good + table->first_chunk,
                                          .coded = coded};
    }
    code = read_all(requests, count, err);
    tf_free(requests);
    return code;
}

enum tf_code tf_store_verify(const struct tf_store *store, struct tf_err *err)
{
    return check_all(store, false, NULL, err);
}

enum tf_code tf_store_check_coded(const struct tf_store *store, struct tf_err *err)
{
    return check_all(store, true, NULL, err);
}

enum tf_code tf_store_try_chunks(const struct tf_store *store, bool *good, struct tf_err *err)
{
    return check_all(store, false, good, err);
}

/* ---- digests ---- */

/* Bytes of decoded rows that a digest takes in one go: chunks enough for all threads. */
enum { DIGEST_ROOM = 8 << 20 };

/* How many of a table's chunks from chunk `first` on fit into DIGEST_ROOM; at least one. *rows:
 * their rows. */
static uint32_t group_chunks(const struct tf_store *store, const struct tf_table_info *table,
                             uint32_t first, uint64_t *rows)
{
    const struct tf_chunk_info *chunks = &store->directory.chunks[table->first_chunk];
    uint64_t bytes = chunks[first].raw;
    uint32_t end = first + 1;

    *rows = chunks[first].rows;
    for (; end < table->chunk_count && bytes + chunks[end].raw <= DIGEST_ROOM; end++) {
        bytes += chunks[end].raw;
        *rows += chunks[end].rows;
    }
    return end - first;
}

/* The hash of a table's raw rows; leaves `hash` as it was, empty. Chunks are decoded many at a time
 * into memory; a large one goes into the hash piece by piece. */
static enum tf_code digest_table(struct tf_team *team, const struct tf_store *store, size_t table,
                                 struct tf_hash *hash, struct tf_digest *out, struct tf_err *err)
{
    const struct tf_table_info *info = &store->directory.tables[table];
    size_t row_size = (size_t)info->cols * tf_dtype_width(info->dtype);
    uint64_t most = DIGEST_ROOM / row_size, rows = info->rows < most ? info->rows : most;
    uint8_t *raw = tf_new(info->chunk_count > 1 ? rows : 0, row_size, "rows", err);
    struct tf_request request = {.store = store, .table = table};
    enum tf_code code = raw == NULL ? TF_MEMORY : TF_OK;

    for (uint32_t c = 0, count; c < info->chunk_count && code == TF_OK; c += count) {
        request.row += request.count;
        count = group_chunks(store, info, c, &request.count);
        request.hash = count == 1 ? hash : NULL;
        request.bytes = count == 1 ? NULL : raw;
        code = tf_team_read(team, &request, 1, err);
        if (code == TF_OK && count > 1)
            tf_hash_update(hash, raw, request.count * row_size);
    }
    tf_hash_finish(hash, out);
    tf_free(raw);
    return code;
}

enum tf_code tf_store_digest(const struct tf_store *store, size_t table, struct tf_digest *out,
                             struct tf_err *err)
{
    struct tf_team team = {0};
    struct tf_hash *hash = tf_hash_new(err);
    enum tf_code code =
        hash == NULL ? TF_MEMORY : digest_table(&team, store, table, hash, out, err);

    tf_team_fini(&team);
    tf_hash_free(hash);
    return code;
}

enum tf_code tf_store_model_digest(const struct tf_store *store, struct tf_digest *out,
                                   struct tf_err *err)
{
    struct tf_team team = {0};
    struct tf_hash *rows = tf_hash_new(err), *model = tf_hash_new(err);
    enum tf_code code = rows == NULL || model == NULL ? TF_MEMORY : TF_OK;

    for (size_t i = 0; i < store->directory.table_count && code == TF_OK; i++) {
        const struct tf_table_info *table = &store->directory.tables[i];
        struct tf_digest digest;

        if (table->role != TF_PARAMETER)
            continue;
        code = digest_table(&team, store, i, rows, &digest, err);
        if (code == TF_OK)
            tf_hash_table(model, table, &digest);
    }
    if (code == TF_OK)
        tf_hash_finish(model, out);
    tf_team_fini(&team);
    tf_hash_free(rows);
    tf_hash_free(model);
    return code;
}
