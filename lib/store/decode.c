#include "store/decode.h"

#include "base/mem.h"
#include "store/codec.h"
#include <inttypes.h>
#include <omp.h>
#include <string.h>
#include <xxhash.h>

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

/* Decoded chunks are unfiltered and checked piece by piece, so that there is no second buffer of
 * their size. */
enum { PIECE = 64 << 10 };
enum { WORTH_A_THREAD = 16 << 10 }; /* bytes of a chunk, on average */

/* What one thread needs to decode a chunk. */
struct tf_decoder {
    ZSTD_DCtx *context;
    XXH3_state_t *hash;
    uint8_t *coded, *decoded; /* room for the largest chunk */
    uint8_t *piece;           /* room for PIECE bytes of rows, or a larger row */
};

static size_t row_size(const struct tf_table_info *table)
{
    return (size_t)table->cols * tf_dtype_width(table->dtype);
}

static void decoder_fini(struct tf_decoder *decoder)
{
    ZSTD_freeDCtx(decoder->context);
    XXH3_freeState(decoder->hash);
    tf_free(decoder->coded);
    tf_free(decoder->decoded);
    tf_free(decoder->piece);
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

/* Chunks first .. end of a table. */
struct span {
    uint32_t first, end;
};

/* Those that hold the rows of a request. */
static struct span find_chunks(const struct tf_request *request)
{
    const struct tf_store *store = request->store;
    const struct tf_table_info *table = &store->directory.tables[request->table];

    if (request->count == 0)
        return (struct span){0, 0};
    return (struct span){find_chunk(store, table, request->row),
                         find_chunk(store, table, request->row + request->count - 1) + 1};
}

/* Makes room for so many bytes, in steps, so that a team seldom needs new buffers. */
static void make_room(size_t *room, size_t bytes)
{
    if (bytes > *room)
        *room = (bytes + PIECE - 1) / PIECE * PIECE;
}

/* Makes room for the chunks of a request. */
static void measure(struct tf_room *room, const struct tf_request *request, struct span span)
{
    const struct tf_directory *directory = &request->store->directory;
    const struct tf_table_info *table = &directory->tables[request->table];

    for (uint32_t c = span.first; c < span.end; c++) {
        const struct tf_chunk_info *chunk = &directory->chunks[table->first_chunk + c];
        /* In a damaged file a chunk can be recorded as larger than the file; it is not read then.
         */
        if (chunk->coded <= request->store->in.size)
            make_room(&room->coded, chunk->coded);
        if (!request->coded)
            make_room(&room->decoded, chunk->raw);
    }
    if (!request->coded)
        make_room(&room->piece, row_size(table));
}

static enum tf_code decoder_init(struct tf_decoder *decoder, const struct tf_room *room,
                                 struct tf_err *err)
{
    decoder->context = tf_codec_decompressor(err);
    decoder->coded = tf_new(room->coded, 1, "coded chunk", err);
    decoder->decoded = tf_new(room->decoded, 1, "chunk", err);
    decoder->piece = tf_new(room->piece, 1, "rows", err);
    if (decoder->context == NULL || decoder->coded == NULL || decoder->decoded == NULL ||
        decoder->piece == NULL)
        return TF_MEMORY;
    decoder->hash = XXH3_createState();
    return decoder->hash == NULL ? tf_fail(err, TF_MEMORY, "out of memory: a checksum") : TF_OK;
}

/* Of `rows` raw rows from chunk_row on, copies those that were asked for. */
static void deliver(const struct tf_request *request, const struct tf_table_info *table,
                    uint64_t chunk_row, uint64_t rows, const uint8_t *raw)
{
    uint64_t from = request->row > chunk_row ? request->row : chunk_row,
             end = request->row + request->count;

    if (end > chunk_row + rows)
        end = chunk_row + rows;
    if (from >= end)
        return;
    raw += (from - chunk_row) * row_size(table);
    if (request->hash != NULL)
        tf_hash_update(request->hash, raw, (end - from) * row_size(table));
    if (request->bytes != NULL)
        memcpy(request->bytes + (from - request->row) * row_size(table), raw,
               (end - from) * row_size(table));
    if (request->floats != NULL)
        for (uint64_t row = from; row < end; row++, raw += row_size(table))
            tf_dtype_unpack(request->floats + (row - request->row) * request->stride, table->dtype,
                            raw, table->cols);
}

static enum tf_code decode_chunk(const struct tf_request *request, struct tf_decoder *decoder,
                                 uint32_t chunk, struct tf_err *err)
{
    const struct tf_directory *directory = &request->store->directory;
    const struct tf_chunk_info *info =
        &directory->chunks[directory->tables[request->table].first_chunk + chunk];
    enum tf_code code = tf_codec_decode(decoder->context, decoder->coded, info->coded,
                                        decoder->decoded, info->raw, err);

    return code == TF_OK ? TF_OK : chunk_context(request->store, request->table, chunk, err);
}

/* Delivers the rows of a decoded chunk, and checks them. */
static enum tf_code unpack_chunk(const struct tf_request *request, struct tf_decoder *decoder,
                                 uint32_t chunk, struct tf_err *err)
{
    const struct tf_directory *directory = &request->store->directory;
    const struct tf_table_info *table = &directory->tables[request->table];
    const struct tf_chunk_info *info = &directory->chunks[table->first_chunk + chunk];
    size_t size = row_size(table);
    uint32_t step = size < PIECE ? (uint32_t)(PIECE / size) : 1, count;
    uint64_t first_row = request->store->first_rows[table->first_chunk + chunk], hash;

    XXH3_64bits_reset(decoder->hash);
    for (uint32_t row = 0; row < info->rows; row += count) {
        count = info->rows - row < step ? info->rows - row : step;
        tf_codec_join(decoder->piece, table->filter, tf_dtype_width(table->dtype), decoder->decoded,
                      info->raw, (size_t)row * table->cols, (size_t)count * table->cols);
        XXH3_64bits_update(decoder->hash, decoder->piece, count * size);
        deliver(request, table, first_row + row, count, decoder->piece);
    }
    hash = XXH3_64bits_digest(decoder->hash);
    if (hash == info->raw_hash)
        return TF_OK;
    tf_checksum_fail(err, info->raw_hash, hash);
    tf_context(err, "decoded rows");
    return chunk_context(request->store, request->table, chunk, err);
}

void tf_team_fini(struct tf_team *team)
{
    while (team->made > 0)
        decoder_fini(&team->decoders[--team->made]);
    tf_free(team->decoders);
    team->decoders = NULL;
}

/* Decoders for all chunks of the requests: fewer when chunks are large, and no more than have
 * something to do. To hand a small chunk to another thread takes longer than to decode it. */
static enum tf_code team_fit(struct tf_team *team, const struct tf_request *requests, size_t count,
                             struct tf_err *err)
{
    struct tf_room room = team->room;
    uint64_t chunks = 0, bytes = 0;
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < count; i++) {
        const struct tf_request *request = &requests[i];
        const struct span span = find_chunks(request);

        measure(&room, request, span);
        chunks += span.end - span.first;
        bytes += request->count * row_size(&request->store->directory.tables[request->table]);
    }
    if (memcmp(&room, &team->room, sizeof(room)) != 0) {
        tf_team_fini(team);
        team->room = room;
        team->most = tf_codec_threads((uint64_t)room.coded + room.decoded + room.piece);
        team->decoders = tf_new((size_t)team->most, sizeof(*team->decoders), "decoders", err);
        if (team->decoders == NULL)
            return TF_MEMORY;
    }
    if (chunks == 0 || bytes / chunks < WORTH_A_THREAD)
        chunks = 1;
    team->threads = chunks < (uint64_t)team->most ? (int)chunks : team->most;
    while (team->made < team->threads && code == TF_OK)
        code = decoder_init(&team->decoders[team->made++], &team->room, err);
    return code;
}

static void note(struct tf_team *team, uint64_t place, const struct tf_err *err)
{
#pragma omp critical(tf_store_lowest)
    if (place < team->failed) {
        team->failed = place;
        team->err = *err;
    }
}

static enum tf_code read_chunk(const struct tf_request *request, struct tf_decoder *decoder,
                               uint32_t chunk, struct tf_err *err)
{
    enum tf_code code =
        tf_store_read_coded(request->store, request->table, chunk, decoder->coded, err);

    if (code == TF_OK && !request->coded)
        code = decode_chunk(request, decoder, chunk, err);
    if (code == TF_OK && !request->coded)
        code = unpack_chunk(request, decoder, chunk, err);
    return code;
}

/* This thread's share of a request; each chunk is delivered as soon as it is decoded. The thread
 * does not wait for the others. */
static void run(struct tf_team *team, const struct tf_request *request, uint64_t index)
{
    const struct span span = find_chunks(request);

#pragma omp for schedule(dynamic) nowait
    for (uint32_t chunk = span.first; chunk < span.end; chunk++) {
        struct tf_decoder *decoder = &team->decoders[omp_get_thread_num()];
        struct tf_err err = {0};
        enum tf_code code;

        if (request->good != NULL && request->good[chunk])
            continue;
        code = read_chunk(request, decoder, chunk, &err);
        if (request->good != NULL && code != TF_MEMORY)
            request->good[chunk] = code == TF_OK;
        else if (code != TF_OK)
            note(team, index << 32 | chunk, &err);
    }
}

static enum tf_code check_request(const struct tf_request *request, struct tf_err *err)
{
    const struct tf_store *store = request->store;
    const struct tf_table_info *table = &store->directory.tables[request->table];

    if (request->row > table->rows || request->count > table->rows - request->row)
        return tf_fail(err, TF_INTERNAL,
                       "%s: table %s: %" PRIu64 " rows from row %" PRIu64
                       " wanted, it has %" PRIu64,
                       store->in.path, table->name, request->count, request->row, table->rows);
    return TF_OK;
}

enum tf_code tf_team_read(struct tf_team *team, const struct tf_request *requests, size_t count,
                          struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < count && code == TF_OK; i++)
        code = check_request(&requests[i], err);
    if (code == TF_OK)
        code = team_fit(team, requests, count, err);
    if (code != TF_OK)
        return code;
    team->failed = UINT64_MAX;
    team->err.code = TF_OK;
#pragma omp parallel num_threads(team->threads)
    for (size_t i = 0; i < count; i++)
        run(team, &requests[i], i);
    if (team->err.code != TF_OK && err != NULL)
        *err = team->err;
    return team->err.code;
}
