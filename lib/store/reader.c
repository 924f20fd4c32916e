#include "store/reader.h"

#include "base/io.h"
#include "base/mem.h"
#include "store/codec.h"
#include "store/digest.h"
#include "store/directory.h"
#include "store/frame.h"
#include <inttypes.h>
#include <omp.h>
#include <string.h>
#include <xxhash.h>

struct tf_store {
    struct tf_in in;
    struct tf_header header;
    struct tf_directory directory;
    uint64_t *first_rows; /* of each chunk, in its table */
};

/* ---- opening ---- */

/* Memory is taken for the raw directory, *raw, when its frame says the same size as the trailer. */
static enum tf_code decode_directory(const struct tf_trailer *trailer, const uint8_t *coded,
                                     uint8_t **raw, struct tf_err *err)
{
    size_t coded_size = trailer->directory_coded, raw_size = trailer->directory_raw;
    uint64_t hash = XXH3_64bits(coded, coded_size);
    ZSTD_DCtx *context;
    enum tf_code code;

    if (hash != trailer->directory_hash)
        return tf_checksum_fail(err, trailer->directory_hash, hash);
    code = tf_frame_check(coded, coded_size, raw_size, err);
    if (code != TF_OK)
        return code;
    *raw = tf_new(raw_size, 1, "raw bytes", err);
    context = tf_codec_decompressor(err);
    code = *raw == NULL || context == NULL ? TF_MEMORY
                                           : tf_codec_decode(context, TF_FILTER_NONE, 1, coded,
                                                             coded_size, NULL, *raw, raw_size, err);
    ZSTD_freeDCtx(context);
    return code;
}

static enum tf_code read_directory(struct tf_store *store, const struct tf_trailer *trailer,
                                   uint64_t max_memory, struct tf_err *err)
{
    uint64_t start = trailer->directory_offset;
    uint8_t *coded = tf_new(trailer->directory_coded, 1, "coded directory", err), *raw = NULL;
    enum tf_code code = TF_MEMORY;

    if (coded != NULL)
        code = tf_in_read(&store->in, start, coded, trailer->directory_coded, err);
    if (code == TF_OK) {
        code = decode_directory(trailer, coded, &raw, err);
        if (code == TF_OK)
            code = tf_directory_unpack(&store->directory, raw, trailer->directory_raw,
                                       TF_FRAME_SIZE, start, max_memory, err);
        if (code != TF_OK)
            code = tf_context(err, "directory");
    }
    tf_free(raw);
    tf_free(coded);
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
        code = read_directory(store, &trailer, max_memory, err);
    if (code == TF_OK)
        code = count_rows(store, err);
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

size_t tf_store_find(const struct tf_store *store, const char *name)
{
    size_t low = 0, high = store->directory.table_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, store->directory.tables[middle].name);

        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return SIZE_MAX;
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

/* ---- chunks ---- */

static enum tf_code chunk_context(const struct tf_store *store, size_t table, uint32_t chunk,
                                  struct tf_err *err)
{
    return tf_context(err, "%s: table %s: chunk %" PRIu32, store->in.path,
                      store->directory.tables[table].name, chunk);
}

enum tf_code tf_store_read_coded(const struct tf_store *store, size_t table, uint32_t chunk,
                                 void *out, struct tf_err *err)
{
    const struct tf_chunk_info *info =
        &store->directory.chunks[store->directory.tables[table].first_chunk + chunk];
    enum tf_code code = tf_in_read(&store->in, info->offset, out, info->coded, err);
    uint64_t hash;

    if (code != TF_OK)
        return code;
    hash = XXH3_64bits(out, info->coded);
    if (hash == info->coded_hash)
        return TF_OK;
    tf_checksum_fail(err, info->coded_hash, hash);
    return chunk_context(store, table, chunk, err);
}

/* What one thread needs to decode a chunk. */
struct decoder {
    ZSTD_DCtx *context;
    uint8_t *coded, *planes, *raw; /* room for the largest chunk */
};

/* Rows of a table, and where they go: as f32, as they are stored, or nowhere when they are only
 * checked. */
struct request {
    const struct tf_store *store;
    size_t table;
    uint64_t row, count;
    float *floats;
    size_t stride;  /* floats from row to row */
    uint8_t *bytes; /* packed */
};

static void decoder_fini(struct decoder *decoder)
{
    ZSTD_freeDCtx(decoder->context);
    tf_free(decoder->coded);
    tf_free(decoder->planes);
    tf_free(decoder->raw);
}

/* For the table's chunks first .. last. */
static enum tf_code decoder_init(struct decoder *decoder, const struct request *request,
                                 uint32_t first, uint32_t last, struct tf_err *err)
{
    const struct tf_directory *directory = &request->store->directory;
    size_t coded = 0, raw = 0;

    for (uint32_t c = first; c <= last; c++) {
        const struct tf_chunk_info *chunk =
            &directory->chunks[directory->tables[request->table].first_chunk + c];
        coded = chunk->coded > coded ? chunk->coded : coded;
        raw = chunk->raw > raw ? chunk->raw : raw;
    }
    decoder->context = tf_codec_decompressor(err);
    decoder->coded = tf_new(coded, 1, "coded chunk", err);
    decoder->planes = tf_new(raw, 1, "chunk", err);
    decoder->raw = tf_new(raw, 1, "chunk", err);
    return decoder->context == NULL || decoder->coded == NULL || decoder->planes == NULL ||
                   decoder->raw == NULL
               ? TF_MEMORY
               : TF_OK;
}

/* Copies those of a decoded chunk's rows that were asked for. */
static void deliver(const struct request *request, const struct tf_table_info *table,
                    uint64_t chunk_row, uint64_t rows, const uint8_t *raw)
{
    uint64_t from = request->row > chunk_row ? request->row : chunk_row,
             end = request->row + request->count;
    size_t row_size = (size_t)table->cols * tf_dtype_width(table->dtype);

    if (end > chunk_row + rows)
        end = chunk_row + rows;
    raw += (from - chunk_row) * row_size;
    if (request->bytes != NULL)
        memcpy(request->bytes + (from - request->row) * row_size, raw, (end - from) * row_size);
    if (request->floats != NULL)
        for (uint64_t row = from; row < end; row++, raw += row_size)
            tf_dtype_unpack(request->floats + (row - request->row) * request->stride, table->dtype,
                            raw, table->cols);
}

static enum tf_code decode_chunk(const struct request *request, struct decoder *decoder,
                                 uint32_t chunk, struct tf_err *err)
{
    const struct tf_directory *directory = &request->store->directory;
    const struct tf_table_info *table = &directory->tables[request->table];
    const struct tf_chunk_info *info = &directory->chunks[table->first_chunk + chunk];
    enum tf_code code =
        tf_store_read_coded(request->store, request->table, chunk, decoder->coded, err);
    uint64_t hash;

    if (code != TF_OK)
        return code;
    code =
        tf_codec_decode(decoder->context, table->filter, tf_dtype_width(table->dtype),
                        decoder->coded, info->coded, decoder->planes, decoder->raw, info->raw, err);
    if (code != TF_OK)
        return chunk_context(request->store, request->table, chunk, err);
    hash = XXH3_64bits(decoder->raw, info->raw);
    if (hash != info->raw_hash) {
        tf_checksum_fail(err, info->raw_hash, hash);
        tf_context(err, "decoded rows");
        return chunk_context(request->store, request->table, chunk, err);
    }
    deliver(request, table, request->store->first_rows[table->first_chunk + chunk], info->rows,
            decoder->raw);
    return TF_OK;
}

/* The chunk of a table that holds a row. */
static uint32_t find_chunk(const struct tf_store *store, const struct tf_table_info *table,
                           uint64_t row)
{
    const uint64_t *first_rows = store->first_rows + table->first_chunk;
    uint32_t low = 0, high = table->chunk_count; /* first_rows[low] <= row < first_rows[high] */

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (first_rows[middle] <= row)
            low = middle;
        else
            high = middle;
    }
    return low;
}

/* Decodes chunks first .. last in parallel. Of several errors the one of the lowest chunk is
 * reported. */
static enum tf_code decode_chunks(const struct request *request, uint32_t first, uint32_t last,
                                  struct tf_err *err)
{
    int threads = omp_get_max_threads(), made = 0;
    struct decoder *decoders;
    struct tf_err lowest = {0};
    uint32_t failed = UINT32_MAX;
    enum tf_code code = TF_OK;

    if ((uint32_t)threads > last - first + 1)
        threads = (int)(last - first + 1);
    decoders = tf_new((size_t)threads, sizeof(*decoders), "decoders", err);
    if (decoders == NULL)
        return TF_MEMORY;
    while (made < threads && code == TF_OK)
        code = decoder_init(&decoders[made++], request, first, last, err);
    if (code == TF_OK) {
#pragma omp parallel for schedule(dynamic) num_threads(threads)
        for (uint32_t chunk = first; chunk <= last; chunk++) {
            struct tf_err mine = {0};

            if (decode_chunk(request, &decoders[omp_get_thread_num()], chunk, &mine) != TF_OK) {
#pragma omp critical(tf_store_lowest)
                if (chunk < failed) {
                    failed = chunk;
                    lowest = mine;
                }
            }
        }
        code = lowest.code;
        if (code != TF_OK && err != NULL)
            *err = lowest;
    }
    while (made > 0)
        decoder_fini(&decoders[--made]);
    tf_free(decoders);
    return code;
}

static enum tf_code read_rows(const struct request *request, struct tf_err *err)
{
    const struct tf_table_info *table = &request->store->directory.tables[request->table];

    if (request->row > table->rows || request->count > table->rows - request->row)
        return tf_fail(
            err, TF_INTERNAL,
            "%s: table %s: %" PRIu64 " rows from row %" PRIu64 " wanted, it has %" PRIu64,
            request->store->in.path, table->name, request->count, request->row, table->rows);
    if (request->count == 0)
        return TF_OK;
    return decode_chunks(request, find_chunk(request->store, table, request->row),
                         find_chunk(request->store, table, request->row + request->count - 1), err);
}

enum tf_code tf_store_read(const struct tf_store *store, size_t table, uint64_t row, uint64_t count,
                           float *out, size_t stride, struct tf_err *err)
{
    const struct request request = {.store = store,
                                    .table = table,
                                    .row = row,
                                    .count = count,
                                    .floats = out,
                                    .stride = stride};

    return read_rows(&request, err);
}

enum tf_code tf_store_read_raw(const struct tf_store *store, size_t table, uint64_t row,
                               uint64_t count, void *out, struct tf_err *err)
{
    const struct request request = {
        .store = store, .table = table, .row = row, .count = count, .bytes = out};

    return read_rows(&request, err);
}

enum tf_code tf_store_verify(const struct tf_store *store, struct tf_err *err)
{
    for (size_t i = 0; i < store->directory.table_count; i++) {
        const struct request request = {
            .store = store, .table = i, .count = store->directory.tables[i].rows};
        enum tf_code code = read_rows(&request, err);

        if (code != TF_OK)
            return code;
    }
    return TF_OK;
}

/* ---- digests ---- */

/* The hash of a table's raw rows; leaves `hash` as it was, empty. */
static enum tf_code digest_table(const struct tf_store *store, size_t table, struct tf_hash *hash,
                                 struct tf_digest *out, struct tf_err *err)
{
    const struct tf_table_info *info = &store->directory.tables[table];
    size_t row_size = (size_t)info->cols * tf_dtype_width(info->dtype); /* 4 MiB at most */
    uint64_t step = TF_MAX_CHUNK_RAW / row_size; /* enough chunks for all threads, and bounded */
    enum tf_code code = TF_OK;
    uint8_t *raw;

    if (step > info->rows)
        step = info->rows;
    raw = tf_new(step, row_size, "rows", err);
    if (raw == NULL)
        return TF_MEMORY;
    for (uint64_t row = 0; row < info->rows && code == TF_OK; row += step) {
        uint64_t count = info->rows - row < step ? info->rows - row : step;

        code = tf_store_read_raw(store, table, row, count, raw, err);
        if (code == TF_OK)
            tf_hash_update(hash, raw, count * row_size);
    }
    tf_hash_finish(hash, out);
    tf_free(raw);
    return code;
}

enum tf_code tf_store_digest(const struct tf_store *store, size_t table, struct tf_digest *out,
                             struct tf_err *err)
{
    struct tf_hash *hash = tf_hash_new(err);
    enum tf_code code = hash == NULL ? TF_MEMORY : digest_table(store, table, hash, out, err);

    tf_hash_free(hash);
    return code;
}

enum tf_code tf_store_model_digest(const struct tf_store *store, struct tf_digest *out,
                                   struct tf_err *err)
{
    struct tf_hash *rows = tf_hash_new(err), *model = tf_hash_new(err);
    enum tf_code code = rows == NULL || model == NULL ? TF_MEMORY : TF_OK;

    for (size_t i = 0; i < store->directory.table_count && code == TF_OK; i++) {
        const struct tf_table_info *table = &store->directory.tables[i];
        struct tf_digest digest;

        if (table->role != TF_PARAMETER)
            continue;
        code = digest_table(store, i, rows, &digest, err);
        if (code == TF_OK)
            tf_hash_table(model, table, &digest);
    }
    if (code == TF_OK)
        tf_hash_finish(model, out);
    tf_hash_free(rows);
    tf_hash_free(model);
    return code;
}
