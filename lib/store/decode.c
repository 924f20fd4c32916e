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

/* Makes room for so many bytes, in steps, so that a team seldom needs new buffers. */
static void make_room(size_t *room, size_t bytes)
{
    if (bytes > *room)
        *room = (bytes + PIECE - 1) / PIECE * PIECE;
}

/* Makes room for the table's chunks first .. last. */
static void measure(struct tf_room *room, const struct tf_request *request, uint32_t first,
                    uint32_t last)
{
    const struct tf_directory *directory = &request->store->directory;
    const struct tf_table_info *table = &directory->tables[request->table];

    for (uint32_t c = first; c <= last; c++) {
        const struct tf_chunk_info *chunk = &directory->chunks[table->first_chunk + c];
        /* In a damaged file a chunk can be recorded as larger than the file; it is not read then.
         */
        if (chunk->coded <= request->store->in.size)
            make_room(&room->coded, chunk->coded);
        make_room(&room->decoded, chunk->raw);
    }
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
    enum tf_code code =
        tf_store_read_coded(request->store, request->table, chunk, decoder->coded, err);

    if (code != TF_OK)
        return code;
    code = tf_codec_decode(decoder->context, decoder->coded, info->coded, decoder->decoded,
                           info->raw, err);
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

void tf_team_fini(struct tf_team *team)
{
    while (team->made > 0)
        decoder_fini(&team->decoders[--team->made]);
    tf_free(team->decoders);
    team->decoders = NULL;
}

/* Threads that have something to do. To hand a small chunk to another thread takes longer than to
 * decode it. */
static uint32_t count_threads(const struct tf_request *request, uint32_t chunks)
{
    const struct tf_table_info *table = &request->store->directory.tables[request->table];
    uint64_t bytes = request->count * row_size(table);

    return bytes / chunks < WORTH_A_THREAD ? 1 : chunks;
}

/* Decoders for the table's chunks first .. last: fewer when chunks are large. */
static enum tf_code team_fit(struct tf_team *team, const struct tf_request *request, uint32_t first,
                             uint32_t last, struct tf_err *err)
{
    struct tf_room room = team->room;
    uint32_t wanted = count_threads(request, last - first + 1);
    enum tf_code code = TF_OK;

    measure(&room, request, first, last);
    if (memcmp(&room, &team->room, sizeof(room)) != 0) {
        tf_team_fini(team);
        team->room = room;
        team->most = tf_codec_threads((uint64_t)room.coded + room.decoded + room.piece);
        team->decoders = tf_new((size_t)team->most, sizeof(*team->decoders), "decoders", err);
        if (team->decoders == NULL)
            return TF_MEMORY;
    }
    team->threads = wanted < (uint32_t)team->most ? (int)wanted : team->most;
    while (team->made < team->threads && code == TF_OK)
        code = decoder_init(&team->decoders[team->made++], &team->room, err);
    return code;
}

static void note(struct tf_team *team, uint32_t chunk, const struct tf_err *err)
{
#pragma omp critical(tf_store_lowest)
    if (chunk < team->failed) {
        team->failed = chunk;
        team->err = *err;
    }
}

/* Decodes chunks first .. last, and delivers each as it is ready. */
static void run(struct tf_team *team, const struct tf_request *request, uint32_t first,
                uint32_t last)
{
#pragma omp parallel for schedule(dynamic) num_threads(team->threads)
    for (uint32_t chunk = first; chunk <= last; chunk++) {
        struct tf_decoder *decoder = &team->decoders[omp_get_thread_num()];
        struct tf_err err = {0};
        enum tf_code code;

        if (request->good != NULL && request->good[chunk])
            continue;
        code = decode_chunk(request, decoder, chunk, &err);
        if (code == TF_OK)
            code = unpack_chunk(request, decoder, chunk, &err);
        if (request->good != NULL && code != TF_MEMORY)
            request->good[chunk] = code == TF_OK;
        else if (code != TF_OK)
            note(team, chunk, &err);
    }
}

enum tf_code tf_team_read(struct tf_team *team, const struct tf_request *request,
                          struct tf_err *err)
{
    const struct tf_store *store = request->store;
    const struct tf_table_info *table = &store->directory.tables[request->table];
    uint32_t first, last;
    enum tf_code code;

    if (request->row > table->rows || request->count > table->rows - request->row)
        return tf_fail(err, TF_INTERNAL,
                       "%s: table %s: %" PRIu64 " rows from row %" PRIu64
                       " wanted, it has %" PRIu64,
                       store->in.path, table->name, request->count, request->row, table->rows);
    if (request->count == 0)
        return TF_OK;
    first = find_chunk(store, table, request->row);
    last = find_chunk(store, table, request->row + request->count - 1);
    code = team_fit(team, request, first, last, err);
    if (code != TF_OK)
        return code;
    team->failed = UINT32_MAX;
    team->err.code = TF_OK;
    run(team, request, first, last);
    if (team->err.code != TF_OK && err != NULL)
        *err = team->err;
    return team->err.code;
}
