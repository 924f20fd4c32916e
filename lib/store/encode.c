#include "store/encode.h"

#include "base/mem.h"
#include "store/codec.h"
#include <omp.h>
#include <string.h>
#include <xxhash.h>

/* What one thread needs to make a chunk ready, and that chunk. */
struct tf_encoder {
    ZSTD_CCtx *context;
    uint8_t *raw, *planes, *coded;
    struct tf_chunk_info info;
};

static enum tf_code encoder_init(struct tf_encoder *encoder, const struct tf_crew_room *room,
                                 int level, struct tf_err *err)
{
    encoder->context = tf_codec_compressor(level, err);
    encoder->raw = tf_new(room->raw, 1, "chunk", err);
    encoder->planes = tf_new(room->raw, 1, "chunk", err);
    encoder->coded = tf_new(room->coded, 1, "coded chunk", err);
    return encoder->context == NULL || encoder->raw == NULL || encoder->planes == NULL ||
                   encoder->coded == NULL
               ? TF_MEMORY
               : TF_OK;
}

void tf_crew_fini(struct tf_crew *crew)
{
    while (crew->threads > 0) {
        struct tf_encoder *encoder = &crew->encoders[--crew->threads];

        ZSTD_freeCCtx(encoder->context);
        tf_free(encoder->raw);
        tf_free(encoder->planes);
        tf_free(encoder->coded);
    }
    tf_free(crew->encoders);
    crew->encoders = NULL;
    crew->room = (struct tf_crew_room){0};
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

enum tf_code tf_crew_fit(struct tf_crew *crew, struct tf_crew_room room, struct tf_err *err)
{
    enum tf_code code = TF_OK;
    int threads;

    if (crew->threads > 0 && room.raw <= crew->room.raw && room.coded <= crew->room.coded)
        return TF_OK;
    room.raw = larger(room.raw, crew->room.raw);
    room.coded = larger(room.coded, crew->room.coded);
    tf_crew_fini(crew);
    threads = tf_codec_threads(2 * (uint64_t)room.raw + room.coded);
    crew->encoders = tf_new((size_t)threads, sizeof(*crew->encoders), "encoders", err);
    if (crew->encoders == NULL)
        return TF_MEMORY;
    while (crew->threads < threads && code == TF_OK)
        code = encoder_init(&crew->encoders[crew->threads++], &room, crew->level, err);
    if (code == TF_OK)
        crew->room = room;
    else
        tf_crew_fini(crew);
    return code;
}

/* Encodes the chunk that begins with row `first`. */
static enum tf_code encode_chunk(struct tf_encoder *encoder, const struct tf_rows *rows,
                                 uint64_t first, struct tf_err *err)
{
    const struct tf_table_info *table = rows->table;
    uint64_t left = rows->count - first;
    struct tf_chunk_info *info = &encoder->info;
    const uint8_t *raw = encoder->raw;
    enum tf_code code;
    size_t coded;

    info->rows = (uint32_t)(left < rows->step ? left : rows->step);
    info->raw = (uint32_t)(info->rows * rows->row_size);
    if (rows->bytes != NULL)
        raw = rows->bytes + first * rows->row_size;
    else
        for (uint32_t row = 0; row < info->rows; row++)
            tf_dtype_pack(encoder->raw + row * rows->row_size, table->dtype,
                          rows->floats + (first + row) * rows->stride, table->cols);
    info->raw_hash = XXH3_64bits(raw, info->raw);
    code = tf_codec_encode(encoder->context, table->filter, tf_dtype_width(table->dtype), raw,
                           info->raw, encoder->planes, encoder->coded, &coded, err);
    if (code != TF_OK)
        return code;
    info->coded = (uint32_t)coded;
    info->coded_hash = XXH3_64bits(encoder->coded, coded);
    return TF_OK;
}

/* Reads the `i`-th of the chunks that come from another checkpoint. */
static enum tf_code copy_chunk(struct tf_encoder *encoder, const struct tf_rows *rows, uint64_t i,
                               struct tf_err *err)
{
    const struct tf_table_info *source = tf_store_table(rows->from, rows->from_table);
    uint32_t chunk = rows->first_chunk + (uint32_t)i;

    encoder->info = *tf_store_chunk(rows->from, source->first_chunk + chunk);
    return tf_store_read_coded(rows->from, rows->from_table, chunk, encoder->coded, err);
}

/* Makes chunk `i` of the rows ready. */
static enum tf_code make_chunk(const struct tf_crew *crew, struct tf_encoder *encoder,
                               const struct tf_rows *rows, uint64_t i, struct tf_err *err)
{
    if (rows->from != NULL)
        return copy_chunk(encoder, rows, i, err);
    if (encode_chunk(encoder, rows, i * rows->step, err) == TF_OK)
        return TF_OK;
    return tf_context(err, "%s: table %s", crew->path, rows->table->name);
}

/* One thread's part. It puts a chunk that it made when its turn comes; meanwhile the others make
 * theirs. */
static void work(struct tf_crew *crew, const struct tf_rows *rows, uint64_t chunks, tf_put *put,
                 void *arg, struct tf_err *first)
{
    struct tf_encoder *encoder = &crew->encoders[omp_get_thread_num()];

#pragma omp for ordered schedule(dynamic)
    for (uint64_t i = 0; i < chunks; i++) {
        struct tf_err err = {0};
        enum tf_code code;

        while (i >= rows->end)
            rows++;
#pragma omp atomic read
        code = first->code;
        if (code == TF_OK)
            code = make_chunk(crew, encoder, rows, i - rows->start, &err);
#pragma omp ordered
        if (first->code == TF_OK) {
            if (code == TF_OK)
                code = put(arg, rows, i - rows->start, &encoder->info, encoder->coded, &err);
            if (code != TF_OK)
                memcpy(first->text, err.text, sizeof(err.text));
#pragma omp atomic write
            first->code = code;
        }
    }
}

enum tf_code tf_crew_run(struct tf_crew *crew, const struct tf_rows *list, size_t count,
                         tf_put *put, void *arg, struct tf_err *err)
{
    const uint64_t chunks = count == 0 ? 0 : list[count - 1].end;
    struct tf_err first = {0};

#pragma omp parallel num_threads(crew->threads)
    work(crew, list, chunks, put, arg, &first);
    if (first.code != TF_OK && err != NULL)
        *err = first;
    return first.code;
}
