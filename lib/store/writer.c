#include "store/writer.h"

#include "base/io.h"
#include "base/mem.h"
#include "store/bytes.h"
#include "store/codec.h"
#include "store/directory.h"
#include "store/frame.h"
#include <inttypes.h>
#include <omp.h>
#include <xxhash.h>

enum {
    DEFAULT_LEVEL = 1, /* on byte planes better than 3 to 9 */
    MAX_LEVEL = 9,     /* zstd 1.5.4 has a rare corruption from 13 on */
    CHUNK_RAW = 384 << 10,
    SLOTS_PER_THREAD = 4
};

/* What one thread needs to encode a chunk. */
struct encoder {
    ZSTD_CCtx *context;
    uint8_t *raw, *planes; /* room for a chunk */
};

/* A coded chunk on its way to the file. */
struct slot {
    struct tf_chunk_info info;
    uint8_t *coded; /* room for a chunk */
    struct tf_err err;
};

/* Rows to write: numbers that are yet to be packed, or bytes as they go to the file. */
struct rows {
    const float *floats;
    size_t stride;        /* floats from row to row */
    const uint8_t *bytes; /* packed; NULL: floats */
    size_t row_size;      /* bytes on disk */
    uint64_t count, step; /* rows in all, and a chunk */
};

struct tf_writer {
    struct tf_out out;
    int level;
    struct tf_directory directory; /* of what is written; its last table is the current one */
    size_t room;                   /* bytes of raw rows that encoders and slots have room for */
    struct encoder *encoders;      /* of as many as there can be, `threads` are in use */
    struct slot *slots;            /* SLOTS_PER_THREAD for each */
    int max_threads, threads;
    bool finished; /* directory and trailer are written, and were checked */
};

/* ---- opening and closing ---- */

enum tf_code tf_writer_open(struct tf_writer **out, const char *path, bool force, int level,
                            struct tf_err *err)
{
    struct tf_writer *writer;
    uint8_t header[TF_FRAME_SIZE];
    enum tf_code code;

    *out = NULL;
    if (level < 0 || level > MAX_LEVEL)
        return tf_fail(err, TF_USAGE, "%s: compression level %d, must be 1 to %d", path, level,
                       MAX_LEVEL);
    writer = tf_new(1, sizeof(*writer), "writer", err);
    if (writer == NULL)
        return TF_MEMORY;
    writer->level = level == 0 ? DEFAULT_LEVEL : level;
    writer->max_threads = omp_get_max_threads();
    writer->encoders =
        tf_new((size_t)writer->max_threads, sizeof(*writer->encoders), "encoders", err);
    writer->slots = tf_new((size_t)writer->max_threads * SLOTS_PER_THREAD, sizeof(*writer->slots),
                           "slots", err);
    code = writer->encoders == NULL || writer->slots == NULL
               ? TF_MEMORY
               : tf_out_open(&writer->out, path, force, err);
    if (code == TF_OK) {
        tf_header_pack(header, &(struct tf_header){.major = TF_MAJOR, .minor = TF_MINOR});
        code = tf_out_write(&writer->out, header, sizeof(header), err);
    }
    if (code == TF_OK)
        *out = writer;
    else
        tf_writer_close(writer);
    return code;
}

static void free_buffers(struct tf_writer *writer)
{
    for (int i = 0; i < writer->threads && writer->encoders != NULL; i++) {
        ZSTD_freeCCtx(writer->encoders[i].context);
        tf_free(writer->encoders[i].raw);
        tf_free(writer->encoders[i].planes);
        writer->encoders[i] = (struct encoder){0};
    }
    for (int i = 0; i < writer->threads * SLOTS_PER_THREAD && writer->slots != NULL; i++) {
        tf_free(writer->slots[i].coded);
        writer->slots[i].coded = NULL;
    }
    writer->room = 0;
}

void tf_writer_close(struct tf_writer *writer)
{
    if (writer == NULL)
        return;
    free_buffers(writer);
    tf_free(writer->encoders);
    tf_free(writer->slots);
    tf_directory_fini(&writer->directory);
    tf_out_close(&writer->out);
    tf_free(writer);
}

/* ---- records ---- */

static struct tf_table_info *current_table(struct tf_writer *writer)
{
    struct tf_directory *directory = &writer->directory;

    return directory->table_count == 0 ? NULL : &directory->tables[directory->table_count - 1];
}

static enum tf_code check_unfinished(const struct tf_writer *writer, struct tf_err *err)
{
    if (writer->finished)
        return tf_fail(err, TF_INTERNAL, "%s: is finished, nothing can be added", writer->out.path);
    return TF_OK;
}

/* A table must have rows before the next one begins, or the file ends. */
static enum tf_code end_table(struct tf_writer *writer, struct tf_err *err)
{
    const struct tf_table_info *table = current_table(writer);

    if (table != NULL && table->rows == 0)
        return tf_fail(err, TF_DATA, "%s: table %s: 0 rows, must have 1 or more", writer->out.path,
                       table->name);
    return TF_OK;
}

enum tf_code tf_writer_table(struct tf_writer *writer, const struct tf_table_info *info,
                             struct tf_err *err)
{
    struct tf_directory *directory = &writer->directory;
    const struct tf_table_info *last = current_table(writer);
    struct tf_table_info *table, *tables;
    enum tf_code code = check_unfinished(writer, err);

    if (code == TF_OK)
        code = end_table(writer, err);
    if (code != TF_OK)
        return code;
    if (tf_table_check(info, err) != TF_OK)
        return tf_context(err, "%s", writer->out.path);
    if (last != NULL && strcmp(last->name, info->name) >= 0)
        return tf_fail(err, TF_DATA, "%s: table %s: its name must come after %s", writer->out.path,
                       info->name, last->name);
    if (directory->table_count == TF_MAX_TABLES)
        return tf_fail(err, TF_DATA, "%s: table %s: more than %u tables", writer->out.path,
                       info->name, TF_MAX_TABLES);
    tables = tf_more(directory->tables, directory->table_count, sizeof(*tables),
                     "directory records", err);
    if (tables == NULL)
        return TF_MEMORY;
    directory->tables = tables;
    table = &directory->tables[directory->table_count++];
    *table = *info;
    table->rows = 0;
    table->first_chunk = (uint32_t)directory->chunk_count;
    table->chunk_count = 0;
    return TF_OK;
}

/* Writes a coded chunk of the current table and records it. */
static enum tf_code put_chunk(struct tf_writer *writer, const struct tf_chunk_info *info,
                              const uint8_t *coded, struct tf_err *err)
{
    struct tf_directory *directory = &writer->directory;
    struct tf_table_info *table = current_table(writer);
    struct tf_chunk_info *chunks;
    enum tf_code code;

    if (directory->chunk_count == TF_MAX_CHUNKS)
        return tf_fail(err, TF_DATA, "%s: table %s: more than %u chunks", writer->out.path,
                       table->name, TF_MAX_CHUNKS);
    if (info->rows > TF_MAX_ROWS - table->rows)
        return tf_fail(err, TF_DATA, "%s: table %s: more than %llu rows", writer->out.path,
                       table->name, TF_MAX_ROWS);
    chunks = tf_more(directory->chunks, directory->chunk_count, sizeof(*chunks),
                     "directory records", err);
    if (chunks == NULL)
        return TF_MEMORY;
    directory->chunks = chunks;
    directory->chunks[directory->chunk_count] = *info;
    directory->chunks[directory->chunk_count].offset = writer->out.at;
    code = tf_out_write(&writer->out, coded, info->coded, err);
    if (code != TF_OK)
        return code;
    directory->chunk_count++;
    table->chunk_count++;
    table->rows += info->rows;
    return TF_OK;
}

/* ---- rows ---- */

uint64_t tf_chunk_rows(const struct tf_table_info *info)
{
    size_t row_size = info->cols * tf_dtype_width(info->dtype);

    return row_size < CHUNK_RAW ? CHUNK_RAW / row_size : 1;
}

/* Encoders and slots for chunks of `raw` bytes: for fewer threads when chunks are large. */
static enum tf_code make_buffers(struct tf_writer *writer, size_t raw, struct tf_err *err)
{
    int threads = tf_codec_threads(2 * (uint64_t)raw + SLOTS_PER_THREAD * tf_codec_bound(raw));

    if (raw <= writer->room)
        return TF_OK;
    free_buffers(writer);
    writer->threads = threads < writer->max_threads ? threads : writer->max_threads;
    for (int i = 0; i < writer->threads; i++) {
        struct encoder *encoder = &writer->encoders[i];

        encoder->context = tf_codec_compressor(writer->level, err);
        encoder->raw = tf_new(raw, 1, "chunk", err);
        encoder->planes = tf_new(raw, 1, "chunk", err);
        if (encoder->context == NULL || encoder->raw == NULL || encoder->planes == NULL)
            return TF_MEMORY;
    }
    for (int i = 0; i < writer->threads * SLOTS_PER_THREAD; i++) {
        writer->slots[i].coded = tf_new(tf_codec_bound(raw), 1, "coded chunk", err);
        if (writer->slots[i].coded == NULL)
            return TF_MEMORY;
    }
    writer->room = raw;
    return TF_OK;
}

/* Encodes the chunk of rows that begins with row `first` into a slot; slot->err tells whether it
 * could. */
static void encode_chunk(const struct tf_table_info *table, struct encoder *encoder,
                         struct slot *slot, const struct rows *rows, uint64_t first)
{
    uint64_t left = rows->count - first;
    struct tf_chunk_info *info = &slot->info;
    const uint8_t *raw = encoder->raw;
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
    slot->err.code =
        tf_codec_encode(encoder->context, table->filter, tf_dtype_width(table->dtype), raw,
                        info->raw, encoder->planes, slot->coded, &coded, &slot->err);
    if (slot->err.code != TF_OK)
        return;
    info->coded = (uint32_t)coded;
    info->coded_hash = XXH3_64bits(slot->coded, coded);
}

/* Encodes the rows from row `first` on in parallel, as many as there are slots for, and writes the
 * slots in order. */
static enum tf_code put_batch(struct tf_writer *writer, const struct rows *rows, uint64_t first,
                              struct tf_err *err)
{
    const struct tf_table_info *table = current_table(writer);
    uint64_t chunks = (rows->count - first - 1) / rows->step + 1;
    int slots = writer->threads * SLOTS_PER_THREAD;
    enum tf_code code = TF_OK;

    if (chunks < (uint64_t)slots)
        slots = (int)chunks;
#pragma omp parallel for schedule(dynamic) num_threads(writer->threads)
    for (int i = 0; i < slots; i++)
        encode_chunk(table, &writer->encoders[omp_get_thread_num()], &writer->slots[i], rows,
                     first + (uint64_t)i * rows->step);
    for (int i = 0; i < slots && code == TF_OK; i++) {
        const struct slot *slot = &writer->slots[i];

        if (slot->err.code != TF_OK) {
            if (err != NULL)
                *err = slot->err;
            return tf_context(err, "%s: table %s", writer->out.path, table->name);
        }
        code = put_chunk(writer, &slot->info, slot->coded, err);
    }
    return code;
}

static enum tf_code check_begun(struct tf_writer *writer, struct tf_err *err)
{
    if (current_table(writer) == NULL)
        return tf_fail(err, TF_INTERNAL, "%s: rows before the first table", writer->out.path);
    return check_unfinished(writer, err);
}

/* step 0: as many rows a chunk as tf_chunk_rows says. */
static enum tf_code put_rows(struct tf_writer *writer, struct rows *rows, struct tf_err *err)
{
    const struct tf_table_info *table = current_table(writer);
    enum tf_code code = check_begun(writer, err);

    if (code != TF_OK || rows->count == 0)
        return code;
    rows->row_size = table->cols * tf_dtype_width(table->dtype);
    if (rows->step == 0)
        rows->step = tf_chunk_rows(table);
    if (rows->step > rows->count)
        rows->step = rows->count;
    if (rows->step > TF_MAX_CHUNK_RAW / rows->row_size)
        return tf_fail(err, TF_DATA,
                       "%s: table %s: chunks of %" PRIu64 " rows of %zu bytes, at most %u bytes",
                       writer->out.path, table->name, rows->step, rows->row_size, TF_MAX_CHUNK_RAW);
    code = make_buffers(writer, rows->step * rows->row_size, err);
    for (uint64_t row = 0; row < rows->count && code == TF_OK;
         row += rows->step * (uint64_t)(writer->threads * SLOTS_PER_THREAD))
        code = put_batch(writer, rows, row, err);
    return code;
}

enum tf_code tf_writer_rows(struct tf_writer *writer, const float *rows, uint64_t count,
                            size_t stride, struct tf_err *err)
{
    return put_rows(writer, &(struct rows){.floats = rows, .stride = stride, .count = count}, err);
}

enum tf_code tf_writer_raw(struct tf_writer *writer, const void *rows, uint64_t count,
                           uint64_t step, struct tf_err *err)
{
    return put_rows(writer, &(struct rows){.bytes = rows, .count = count, .step = step}, err);
}

/* ---- chunks of another checkpoint ---- */

/* Can the current table take the chunks first .. first+count of another table? */
static enum tf_code check_alike(struct tf_writer *writer, const struct tf_table_info *source,
                                uint32_t first, uint32_t count, struct tf_err *err)
{
    const struct tf_table_info *target = current_table(writer);

    if (source->dtype != target->dtype || source->filter != target->filter ||
        source->cols != target->cols)
        return tf_fail(err, TF_DATA,
                       "%s: table %s: %s with filter %d and %" PRIu32
                       " columns, cannot take chunks of %s with "
                       "filter %d and %" PRIu32,
                       writer->out.path, target->name, tf_dtype_name(target->dtype),
                       (int)target->filter, target->cols, tf_dtype_name(source->dtype),
                       (int)source->filter, source->cols);
    if (first > source->chunk_count || count > source->chunk_count - first)
        return tf_fail(
            err, TF_INTERNAL,
            "%s: table %s: %" PRIu32 " chunks from chunk %" PRIu32 " wanted, table %s has %" PRIu32,
            writer->out.path, target->name, count, first, source->name, source->chunk_count);
    return TF_OK;
}

/* Room for any one of a table's chunks first .. first+count as it stands in the file. */
static uint8_t *coded_room(const struct tf_store *store, const struct tf_table_info *table,
                           uint32_t first, uint32_t count, struct tf_err *err)
{
    size_t most = 0;

    for (uint32_t c = first; c < first + count; c++) {
        size_t coded = tf_store_chunk(store, table->first_chunk + c)->coded;
        most = coded > most ? coded : most;
    }
    return tf_new(most, 1, "coded chunk", err);
}

enum tf_code tf_writer_copy(struct tf_writer *writer, const struct tf_store *from, size_t table,
                            uint32_t first, uint32_t count, struct tf_err *err)
{
    const struct tf_table_info *source = tf_store_table(from, table);
    enum tf_code code = check_begun(writer, err);
    uint8_t *coded;

    if (code == TF_OK)
        code = tf_store_editable(from, err);
    if (code == TF_OK)
        code = check_alike(writer, source, first, count, err);
    if (code != TF_OK)
        return code;
    coded = coded_room(from, source, first, count, err);
    if (coded == NULL)
        return TF_MEMORY;
    for (uint32_t c = first; c < first + count && code == TF_OK; c++) {
        code = tf_store_read_coded(from, table, c, coded, err);
        if (code == TF_OK)
            code = put_chunk(writer, tf_store_chunk(from, source->first_chunk + c), coded, err);
    }
    tf_free(coded);
    return code;
}

/* ---- the end ---- */

enum tf_code tf_writer_blob(struct tf_writer *writer, enum tf_blob kind, const char *bytes,
                            size_t size, struct tf_err *err)
{
    enum tf_code code = check_unfinished(writer, err);
    char *copy = NULL;

    if (code != TF_OK)
        return code;
    if (size > TF_MAX_DIRECTORY_RAW)
        return tf_fail(err, TF_DATA, "%s: blob of %zu bytes, at most %u", writer->out.path, size,
                       TF_MAX_DIRECTORY_RAW);
    if (size > 0) {
        copy = tf_new(size, 1, "blob", err);
        if (copy == NULL)
            return TF_MEMORY;
        memcpy(copy, bytes, size);
    }
    tf_free(writer->directory.blobs[kind]);
    writer->directory.blobs[kind] = copy;
    writer->directory.blob_sizes[kind] = size;
    return TF_OK;
}

static enum tf_code put_directory(struct tf_writer *writer, struct tf_trailer *trailer,
                                  struct tf_err *err)
{
    uint8_t *raw = NULL, *coded = NULL;
    size_t raw_size, coded_size;
    ZSTD_CCtx *context = NULL;
    enum tf_code code = tf_directory_pack(&writer->directory, &raw, &raw_size, err);

    if (code != TF_OK) {
        tf_context(err, "%s", writer->out.path);
        goto done;
    }
    context = tf_codec_compressor(writer->level, err);
    coded = tf_new(tf_codec_bound(raw_size), 1, "coded directory", err);
    code = context == NULL || coded == NULL
               ? TF_MEMORY
               : tf_codec_encode(context, TF_FILTER_NONE, 1, raw, raw_size, NULL, coded,
                                 &coded_size, err);
    if (code != TF_OK)
        goto done;
    *trailer = (struct tf_trailer){.directory_offset = writer->out.at,
                                   .directory_coded = (uint32_t)coded_size,
                                   .directory_raw = (uint32_t)raw_size,
                                   .directory_hash = XXH3_64bits(coded, coded_size),
                                   .file_size = writer->out.at + coded_size + TF_FRAME_SIZE};
    code = tf_out_write(&writer->out, coded, coded_size, err);
done:
    tf_free(raw);
    tf_free(coded);
    ZSTD_freeCCtx(context);
    return code;
}

/* Reads what was written back from the disk: the directory as any reader would, and every chunk's
 * bytes. */
static enum tf_code check_written(const char *part, struct tf_err *err)
{
    struct tf_store *store = NULL;
    enum tf_code code = tf_store_open(&store, part, 0, err);

    for (size_t i = 0; code == TF_OK && i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        uint8_t *coded = coded_room(store, table, 0, table->chunk_count, err);

        code = coded == NULL ? TF_MEMORY : TF_OK;
        for (uint32_t c = 0; c < table->chunk_count && code == TF_OK; c++)
            code = tf_store_read_coded(store, i, c, coded, err);
        tf_free(coded);
    }
    tf_store_close(store);
    return code;
}

enum tf_code tf_writer_finish(struct tf_writer *writer, const char **part, struct tf_err *err)
{
    struct tf_trailer trailer;
    uint8_t bytes[TF_FRAME_SIZE];
    enum tf_code code = check_unfinished(writer, err);

    if (part != NULL)
        *part = writer->out.part;
    if (code == TF_OK)
        code = end_table(writer, err);
    if (code == TF_OK)
        code = put_directory(writer, &trailer, err);
    if (code != TF_OK)
        return code;
    tf_trailer_pack(bytes, &trailer);
    code = tf_out_write(&writer->out, bytes, sizeof(bytes), err);
    if (code == TF_OK)
        code = tf_out_flush(&writer->out, err);
    if (code != TF_OK)
        return code;
    code = check_written(writer->out.part, err);
    if (code != TF_OK)
        return tf_context(err, "%s: reading it back", writer->out.path);
    writer->finished = true;
    return TF_OK;
}

enum tf_code tf_writer_commit(struct tf_writer *writer, struct tf_err *err)
{
    enum tf_code code = writer->finished ? TF_OK : tf_writer_finish(writer, NULL, err);

    return code == TF_OK ? tf_out_commit(&writer->out, err) : code;
}
