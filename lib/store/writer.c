#include "store/writer.h"

#include "base/io.h"
#include "base/mem.h"
#include "store/bytes.h"
#include "store/codec.h"
#include "store/directory.h"
#include "store/encode.h"
#include "store/frame.h"
#include "store/store.h"
#include <inttypes.h>
#include <xxhash.h>

enum {
    DEFAULT_LEVEL = 1, /* on byte planes better than 3 to 9 */
    MAX_LEVEL = 9,     /* zstd 1.5.4 has a rare corruption from 13 on */
    CHUNK_RAW = 384 << 10
};

struct tf_writer {
    struct tf_out out;
    struct tf_directory directory; /* of what is written; its last table is the current one */
    struct tf_crew crew;
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
    code = tf_out_open(&writer->out, path, force, err);
    writer->crew =
        (struct tf_crew){.path = writer->out.path, .level = level == 0 ? DEFAULT_LEVEL : level};
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

void tf_writer_close(struct tf_writer *writer)
{
    if (writer == NULL)
        return;
    tf_crew_fini(&writer->crew);
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
static enum tf_code check_rows(const struct tf_writer *writer, const struct tf_table_info *table,
                               struct tf_err *err)
{
    if (table->rows == 0)
        return tf_fail(err, TF_DATA, "%s: table %s: 0 rows, must have 1 or more", writer->out.path,
                       table->name);
    return TF_OK;
}

static enum tf_code end_table(struct tf_writer *writer, struct tf_err *err)
{
    const struct tf_table_info *table = current_table(writer);

    return table == NULL ? TF_OK : check_rows(writer, table, err);
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

/* Writes chunk `i` of the rows, whose turn it is: a tf_put. */
static enum tf_code write_chunk(void *arg, const struct tf_rows *rows, uint64_t i,
                                const struct tf_chunk_info *info, const uint8_t *coded,
                                struct tf_err *err)
{
    struct tf_writer *writer = arg;
    enum tf_code code = rows->begins && i == 0 ? tf_writer_table(writer, rows->table, err) : TF_OK;

    return code == TF_OK ? put_chunk(writer, info, coded, err) : code;
}

static enum tf_code write_all(struct tf_writer *writer, const struct tf_rows *list, size_t count,
                              struct tf_crew_room room, struct tf_err *err)
{
    enum tf_code code = tf_crew_fit(&writer->crew, room, err);

    return code == TF_OK ? tf_crew_run(&writer->crew, list, count, write_chunk, writer, err) : code;
}

static enum tf_code check_begun(struct tf_writer *writer, struct tf_err *err)
{
    if (current_table(writer) == NULL)
        return tf_fail(err, TF_INTERNAL, "%s: rows before the first table", writer->out.path);
    return check_unfinished(writer, err);
}

/* Decides on the chunks of rows in memory, which begin with number `start`, and what room they
 * take. step 0: as many rows a chunk as tf_chunk_rows says. */
static enum tf_code plan(const struct tf_writer *writer, struct tf_rows *rows, uint64_t start,
                         struct tf_crew_room *room, struct tf_err *err)
{
    const struct tf_table_info *table = rows->table;
    size_t raw;

    rows->row_size = table->cols * tf_dtype_width(table->dtype);
    if (rows->step == 0)
        rows->step = tf_chunk_rows(table);
    if (rows->step > rows->count)
        rows->step = rows->count;
    if (rows->step > TF_MAX_CHUNK_RAW / rows->row_size)
        return tf_fail(err, TF_DATA,
                       "%s: table %s: chunks of %" PRIu64 " rows of %zu bytes, at most %u bytes",
                       writer->out.path, table->name, rows->step, rows->row_size, TF_MAX_CHUNK_RAW);
    rows->start = start;
    rows->end = start + (rows->count - 1) / rows->step + 1;
    raw = rows->step * rows->row_size;
    if (raw > room->raw)
        *room = (struct tf_crew_room){raw, tf_codec_bound(raw)};
    return TF_OK;
}

/* Rows for the current table. */
static enum tf_code put_rows(struct tf_writer *writer, struct tf_rows *rows, struct tf_err *err)
{
    struct tf_crew_room room = {0};
    enum tf_code code = check_begun(writer, err);

    if (code != TF_OK || rows->count == 0)
        return code;
    rows->table = current_table(writer);
    code = plan(writer, rows, 0, &room, err);
    return code == TF_OK ? write_all(writer, rows, 1, room, err) : code;
}

enum tf_code tf_writer_rows(struct tf_writer *writer, const float *rows, uint64_t count,
                            size_t stride, struct tf_err *err)
{
    return put_rows(writer, &(struct tf_rows){.floats = rows, .stride = stride, .count = count},
                    err);
}

enum tf_code tf_writer_raw(struct tf_writer *writer, const void *rows, uint64_t count,
                           uint64_t step, struct tf_err *err)
{
    return put_rows(writer, &(struct tf_rows){.bytes = rows, .count = count, .step = step}, err);
}

/* A list of tables as one of rows. */
static enum tf_code plan_tables(const struct tf_writer *writer, struct tf_rows *list,
                                const struct tf_table_rows *tables, size_t count,
                                struct tf_crew_room *room, struct tf_err *err)
{
    uint64_t start = 0;

    for (size_t i = 0; i < count; i++) {
        const struct tf_table_info *info = &tables[i].info;

        if (tf_table_check(info, err) != TF_OK)
            return tf_context(err, "%s", writer->out.path);
        list[i] = (struct tf_rows){.table = info,
                                   .begins = true,
                                   .floats = tables[i].rows,
                                   .stride = tables[i].stride,
                                   .count = info->rows};
        enum tf_code code = check_rows(writer, info, err);
        if (code == TF_OK)
            code = plan(writer, &list[i], start, room, err);
        if (code != TF_OK)
            return code;
        start = list[i].end;
    }
    return TF_OK;
}

enum tf_code tf_writer_tables(struct tf_writer *writer, const struct tf_table_rows *tables,
                              size_t count, struct tf_err *err)
{
    struct tf_rows *list = tf_new(count, sizeof(*list), "the list of tables", err);
    struct tf_crew_room room = {0};
    enum tf_code code = list == NULL ? TF_MEMORY : check_unfinished(writer, err);

    if (code == TF_OK)
        code = plan_tables(writer, list, tables, count, &room, err);
    if (code == TF_OK)
        code = write_all(writer, list, count, room, err);
    tf_free(list);
    return code;
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

enum tf_code tf_writer_copy(struct tf_writer *writer, const struct tf_store *from, size_t table,
                            uint32_t first, uint32_t count, struct tf_err *err)
{
    const struct tf_table_info *source = tf_store_table(from, table);
    const struct tf_rows rows = {
        .from = from, .from_table = table, .first_chunk = first, .end = count};
    struct tf_crew_room room = {0};
    enum tf_code code = check_begun(writer, err);

    if (code == TF_OK)
        code = tf_store_editable(from, err);
    if (code == TF_OK)
        code = check_alike(writer, source, first, count, err);
    if (code != TF_OK)
        return code;
    for (uint32_t c = first; c < first + count; c++) {
        size_t coded = tf_store_chunk(from, source->first_chunk + c)->coded;
        room.coded = coded > room.coded ? coded : room.coded;
    }
    return write_all(writer, &rows, 1, room, err);
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
    context = tf_codec_compressor(writer->crew.level, err);
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

    if (code == TF_OK)
        code = tf_store_check_coded(store, err);
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
