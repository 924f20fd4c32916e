#include "store/directory.h"

#include "base/mem.h"
#include "store/bytes.h"
#include "store/frame.h"
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>

/* Bytes on disk: four counts, the names one after another, then the three kinds of record, then the
 * blobs' bytes. */
enum { COUNTS_SIZE = 16, TABLE_SIZE = 40, CHUNK_SIZE = 40, BLOB_SIZE = 8 };

enum { /* offsets in a table record */
       TABLE_ROWS = 0,
       TABLE_SCALE = 8,
       TABLE_COLS = 16,
       TABLE_FIRST_CHUNK = 20,
       TABLE_CHUNKS = 24,
       TABLE_ROW_GROUP = 28,
       TABLE_NAME_LENGTH = 32,
       TABLE_ROLE = 34,
       TABLE_DTYPE = 35,
       TABLE_FILTER = 36,
       TABLE_RESERVED = 37
};

enum { /* offsets in a chunk record */
       CHUNK_OFFSET = 0,
       CHUNK_CODED = 8,
       CHUNK_RAW = 12,
       CHUNK_ROWS = 16,
       CHUNK_FLAGS = 20,
       CHUNK_CODED_HASH = 24,
       CHUNK_RAW_HASH = 32
};

/* Where each section begins. */
struct sections {
    uint32_t tables, chunks, name_bytes, blobs; /* counts */
    const uint8_t *name_at, *table_at, *chunk_at, *blob_at, *bytes_at, *end;
};

/* ---- tables ---- */

static bool is_name(const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '/' || c == '-'))
            return false;
    }
    return length > 0 && length <= TF_MAX_NAME;
}

enum tf_code tf_table_check(const struct tf_table_info *table, struct tf_err *err)
{
    if (!is_name(table->name, strnlen(table->name, sizeof(table->name))))
        return tf_fail(err, TF_DATA, "table \"%.*s\": a name is 1 to %u of a-z 0-9 . _ / -",
                       (int)TF_MAX_NAME, table->name, TF_MAX_NAME);
    if (table->role < TF_PARAMETER || table->role > TF_BUFFER)
        return tf_fail(err, TF_DATA, "table %s: unknown role %d", table->name, (int)table->role);
    if (tf_dtype_width(table->dtype) == 0)
        return tf_fail(err, TF_DATA, "table %s: unknown dtype %d", table->name, (int)table->dtype);
    if (table->filter != TF_FILTER_NONE && table->filter != TF_FILTER_PLANES)
        return tf_fail(err, TF_DATA, "table %s: unknown filter %d", table->name,
                       (int)table->filter);
    if (table->cols < 1 || table->cols > TF_MAX_COLS)
        return tf_fail(err, TF_DATA, "table %s: %" PRIu32 " columns, must be 1 to %u", table->name,
                       table->cols, TF_MAX_COLS);
    if (table->row_group > TF_MAX_TABLES)
        return tf_fail(err, TF_DATA, "table %s: row group %" PRIu32 ", at most %u", table->name,
                       table->row_group, TF_MAX_TABLES);
    if (!isfinite(table->scale) || signbit(table->scale))
        return tf_fail(err, TF_DATA, "table %s: scale %g, must be 0 or more, and finite",
                       table->name, table->scale);
    return TF_OK;
}

static void pack_table(uint8_t *out, const struct tf_table_info *table)
{
    tf_put_u64(out + TABLE_ROWS, table->rows);
    tf_put_f64(out + TABLE_SCALE, table->scale);
    tf_put_u32(out + TABLE_COLS, table->cols);
    tf_put_u32(out + TABLE_FIRST_CHUNK, table->first_chunk);
    tf_put_u32(out + TABLE_CHUNKS, table->chunk_count);
    tf_put_u32(out + TABLE_ROW_GROUP, table->row_group);
    tf_put_u16(out + TABLE_NAME_LENGTH, (uint16_t)strlen(table->name));
    out[TABLE_ROLE] = (uint8_t)table->role;
    out[TABLE_DTYPE] = (uint8_t)table->dtype;
    out[TABLE_FILTER] = (uint8_t)table->filter;
}

/* The record at `in`, whose name is the next of the names that are left. */
static enum tf_code unpack_table(struct tf_table_info *table, const uint8_t *in,
                                 const uint8_t **name, size_t left, struct tf_err *err)
{
    size_t length = tf_get_u16(in + TABLE_NAME_LENGTH);

    if (length > left || length > TF_MAX_NAME)
        return tf_fail(err, TF_DATA, "a name of %zu bytes, %zu are left, at most %u", length, left,
                       TF_MAX_NAME);
    memcpy(table->name, *name, length);
    *name += length;
    if (!is_name(table->name, length)) /* by its length: a 0 inside would shorten it */
        return tf_fail(err, TF_DATA,
                       "name \"%.*s\" of %zu bytes: must be 1 to %u of a-z 0-9 . _ / -",
                       (int)length, table->name, length, TF_MAX_NAME);
    table->rows = tf_get_u64(in + TABLE_ROWS);
    table->scale = tf_get_f64(in + TABLE_SCALE);
    table->cols = tf_get_u32(in + TABLE_COLS);
    table->first_chunk = tf_get_u32(in + TABLE_FIRST_CHUNK);
    table->chunk_count = tf_get_u32(in + TABLE_CHUNKS);
    table->row_group = tf_get_u32(in + TABLE_ROW_GROUP);
    table->role = in[TABLE_ROLE];
    table->dtype = in[TABLE_DTYPE];
    table->filter = in[TABLE_FILTER];
    for (size_t i = TABLE_RESERVED; i < TABLE_SIZE; i++)
        if (in[i] != 0)
            return tf_fail(err, TF_DATA, "table %s: reserved byte %zu is 0x%02x, not 0",
                           table->name, i, in[i]);
    return tf_table_check(table, err);
}

static enum tf_code read_tables(struct tf_directory *directory, const struct sections *at,
                                struct tf_err *err)
{
    const uint8_t *name = at->name_at;
    uint64_t next = 0; /* chunk */

    for (size_t i = 0; i < at->tables; i++) {
        struct tf_table_info *table = &directory->tables[i];
        enum tf_code code = unpack_table(table, at->table_at + i * TABLE_SIZE, &name,
                                         (size_t)(at->table_at - name), err);

        if (code != TF_OK)
            return tf_context(err, "record %zu", i);
        if (i > 0 && strcmp(table[-1].name, table->name) >= 0)
            return tf_fail(err, TF_DATA, "table %s: its name must come after %s", table->name,
                           table[-1].name);
        if (table->rows < 1 || table->rows > TF_MAX_ROWS)
            return tf_fail(err, TF_DATA, "table %s: %" PRIu64 " rows, must be 1 to %llu",
                           table->name, table->rows, TF_MAX_ROWS);
        if (table->first_chunk != next || table->chunk_count < 1 ||
            table->chunk_count > at->chunks - next)
            return tf_fail(err, TF_DATA,
                           "table %s: %" PRIu32 " chunks from chunk %" PRIu32 ", but %" PRIu64
                           " of %" PRIu32 " are taken",
                           table->name, table->chunk_count, table->first_chunk, next, at->chunks);
        next += table->chunk_count;
    }
    if (name != at->table_at)
        return tf_fail(err, TF_DATA, "%zu bytes of names belong to no table",
                       (size_t)(at->table_at - name));
    if (next != at->chunks)
        return tf_fail(err, TF_DATA, "%" PRIu32 " chunks, but tables own %" PRIu64, at->chunks,
                       next);
    return TF_OK;
}

/* Tables of one row group have the same number of rows. */
static enum tf_code check_groups(const struct tf_directory *directory, struct tf_err *err)
{
    const struct tf_table_info **first =
        tf_new(TF_MAX_TABLES + 1, sizeof(*first), "row groups", err);
    enum tf_code code = first == NULL ? TF_MEMORY : TF_OK;

    for (size_t i = 0; i < directory->table_count && code == TF_OK; i++) {
        const struct tf_table_info *table = &directory->tables[i];

        if (table->row_group == 0)
            continue;
        if (first[table->row_group] == NULL)
            first[table->row_group] = table;
        if (first[table->row_group]->rows != table->rows)
            code = tf_fail(err, TF_DATA,
                           "row group %" PRIu32 ": table %s has %" PRIu64
                           " rows, table %s has %" PRIu64,
                           table->row_group, first[table->row_group]->name,
                           first[table->row_group]->rows, table->name, table->rows);
    }
    tf_free(first);
    return code;
}

/* ---- chunks ---- */

static void pack_chunk(uint8_t *out, const struct tf_chunk_info *chunk)
{
    tf_put_u64(out + CHUNK_OFFSET, chunk->offset);
    tf_put_u32(out + CHUNK_CODED, chunk->coded);
    tf_put_u32(out + CHUNK_RAW, chunk->raw);
    tf_put_u32(out + CHUNK_ROWS, chunk->rows);
    tf_put_u64(out + CHUNK_CODED_HASH, chunk->coded_hash);
    tf_put_u64(out + CHUNK_RAW_HASH, chunk->raw_hash);
}

/* The record at `in`: a chunk of a table of so many bytes a row, which must begin at byte `offset`
 * of the file. */
static enum tf_code unpack_chunk(struct tf_chunk_info *chunk, const uint8_t *in, uint64_t row_size,
                                 uint64_t offset, struct tf_err *err)
{
    chunk->offset = tf_get_u64(in + CHUNK_OFFSET);
    chunk->coded = tf_get_u32(in + CHUNK_CODED);
    chunk->raw = tf_get_u32(in + CHUNK_RAW);
    chunk->rows = tf_get_u32(in + CHUNK_ROWS);
    chunk->coded_hash = tf_get_u64(in + CHUNK_CODED_HASH);
    chunk->raw_hash = tf_get_u64(in + CHUNK_RAW_HASH);
    if (tf_get_u32(in + CHUNK_FLAGS) != 0)
        return tf_fail(err, TF_DATA, "unknown flags 0x%" PRIx32, tf_get_u32(in + CHUNK_FLAGS));
    if (chunk->offset != offset)
        return tf_fail(err, TF_DATA, "begins at byte %" PRIu64 ", must begin at %" PRIu64,
                       chunk->offset, offset);
    if (chunk->rows < 1 || chunk->raw > TF_MAX_CHUNK_RAW || chunk->rows * row_size != chunk->raw)
        return tf_fail(err, TF_DATA,
                       "%" PRIu32 " rows of %" PRIu64 " bytes recorded as %" PRIu32
                       " bytes, at most %u",
                       chunk->rows, row_size, chunk->raw, TF_MAX_CHUNK_RAW);
    if (!tf_frame_can_hold(chunk->coded, chunk->raw))
        return tf_fail(err, TF_DATA, "%" PRIu32 " bytes cannot hold %" PRIu32, chunk->coded,
                       chunk->raw);
    return TF_OK;
}

/* The chunks of all tables, which tile bytes start .. end of the file. */
static enum tf_code read_chunks(struct tf_directory *directory, const struct sections *at,
                                uint64_t start, uint64_t end, uint64_t max_memory,
                                struct tf_err *err)
{
    /* At most 2^20 * 4 GiB, and 2^20 * 16 MiB: no sum overflows. */
    uint64_t offset = start, total = 0;

    for (size_t i = 0; i < directory->table_count; i++) {
        const struct tf_table_info *table = &directory->tables[i];
        uint64_t row_size = (uint64_t)table->cols * tf_dtype_width(table->dtype), rows = 0;

        for (uint32_t c = 0; c < table->chunk_count; c++) {
            size_t index = table->first_chunk + c;
            struct tf_chunk_info *chunk = &directory->chunks[index];
            enum tf_code code =
                unpack_chunk(chunk, at->chunk_at + index * CHUNK_SIZE, row_size, offset, err);

            if (code != TF_OK)
                return tf_context(err, "table %s: chunk %" PRIu32, table->name, c);
            rows += chunk->rows;
            total += chunk->raw;
            offset += chunk->coded;
        }
        if (rows != table->rows)
            return tf_fail(err, TF_DATA, "table %s: %" PRIu64 " rows, but its chunks have %" PRIu64,
                           table->name, table->rows, rows);
    }
    if (offset != end)
        return tf_fail(err, TF_DATA,
                       "chunks end at byte %" PRIu64 ", the directory begins at byte %" PRIu64,
                       offset, end);
    if (max_memory > 0 && total > max_memory)
        return tf_fail(err, TF_MEMORY, "tables of %" PRIu64 " bytes, the limit is %" PRIu64, total,
                       max_memory);
    return TF_OK;
}

/* ---- blobs ---- */

static enum tf_code read_blobs(struct tf_directory *directory, const struct sections *at,
                               struct tf_err *err)
{
    const uint8_t *from = at->bytes_at;
    int64_t last = -1;

    for (size_t i = 0; i < at->blobs; i++) {
        uint32_t kind = tf_get_u32(at->blob_at + i * BLOB_SIZE),
                 size = tf_get_u32(at->blob_at + i * BLOB_SIZE + 4);

        if (kind <= last)
            return tf_fail(err, TF_DATA, "blob of kind %" PRIu32 " after one of kind %" PRId64,
                           kind, last);
        last = kind;
        if (size < 1 || size > (size_t)(at->end - from))
            return tf_fail(err, TF_DATA,
                           "blob of kind %" PRIu32 ": %" PRIu32 " bytes, must be 1 to %zu", kind,
                           size, (size_t)(at->end - from));
        if (kind < TF_BLOBS) { /* others are a later version's, and may be passed over */
            directory->blobs[kind] = tf_new((size_t)size + 1, 1, "blob", err);
            if (directory->blobs[kind] == NULL)
                return TF_MEMORY;
            memcpy(directory->blobs[kind], from, size);
            directory->blob_sizes[kind] = size;
        }
        from += size;
    }
    if (from != at->end)
        return tf_fail(err, TF_DATA, "%zu bytes after the last blob", (size_t)(at->end - from));
    return TF_OK;
}

/* ---- the whole ---- */

static enum tf_code find_sections(struct sections *at, const uint8_t *in, size_t size,
                                  struct tf_err *err)
{
    uint64_t need = COUNTS_SIZE;

    if (size < COUNTS_SIZE)
        return tf_fail(err, TF_DATA, "%zu bytes, must have %d", size, COUNTS_SIZE);
    at->tables = tf_get_u32(in);
    at->chunks = tf_get_u32(in + 4);
    at->name_bytes = tf_get_u32(in + 8);
    at->blobs = tf_get_u32(in + 12);
    if (at->tables > TF_MAX_TABLES)
        return tf_fail(err, TF_DATA, "%" PRIu32 " tables, at most %u", at->tables, TF_MAX_TABLES);
    if (at->chunks > TF_MAX_CHUNKS)
        return tf_fail(err, TF_DATA, "%" PRIu32 " chunks, at most %u", at->chunks, TF_MAX_CHUNKS);
    need += at->name_bytes + (uint64_t)at->tables * TABLE_SIZE + (uint64_t)at->chunks * CHUNK_SIZE +
            (uint64_t)at->blobs * BLOB_SIZE;
    if (need > size)
        return tf_fail(err, TF_DATA, "its records need %" PRIu64 " bytes, it has %zu", need, size);
    at->name_at = in + COUNTS_SIZE;
    at->table_at = at->name_at + at->name_bytes;
    at->chunk_at = at->table_at + (size_t)at->tables * TABLE_SIZE;
    at->blob_at = at->chunk_at + (size_t)at->chunks * CHUNK_SIZE;
    at->bytes_at = at->blob_at + (size_t)at->blobs * BLOB_SIZE;
    at->end = in + size;
    return TF_OK;
}

enum tf_code tf_directory_unpack(struct tf_directory *directory, const uint8_t *in, size_t size,
                                 uint64_t start, uint64_t end, uint64_t max_memory,
                                 struct tf_err *err)
{
    struct sections at = {0};
    enum tf_code code = find_sections(&at, in, size, err);

    if (code == TF_OK) {
        directory->tables = tf_new(at.tables, sizeof(*directory->tables), "table records", err);
        directory->chunks = tf_new(at.chunks, sizeof(*directory->chunks), "chunk records", err);
        directory->table_count = at.tables;
        directory->chunk_count = at.chunks;
        if (directory->tables == NULL || directory->chunks == NULL)
            return TF_MEMORY;
        code = read_tables(directory, &at, err);
    }
    if (code == TF_OK)
        code = check_groups(directory, err);
    if (code == TF_OK)
        code = read_chunks(directory, &at, start, end, max_memory, err);
    if (code == TF_OK)
        code = read_blobs(directory, &at, err);
    return code;
}

static size_t packed_size(const struct tf_directory *directory)
{
    size_t size =
        COUNTS_SIZE + directory->table_count * TABLE_SIZE + directory->chunk_count * CHUNK_SIZE;

    for (size_t i = 0; i < directory->table_count; i++)
        size += strlen(directory->tables[i].name);
    for (size_t kind = 0; kind < TF_BLOBS; kind++)
        if (directory->blob_sizes[kind] > 0)
            size += BLOB_SIZE + directory->blob_sizes[kind];
    return size;
}

/* Each of these returns where its section ends. */
static uint8_t *pack_names(uint8_t *at, const struct tf_directory *directory)
{
    for (size_t i = 0; i < directory->table_count; i++) {
        size_t length = strlen(directory->tables[i].name);
        memcpy(at, directory->tables[i].name, length);
        at += length;
    }
    return at;
}

static uint8_t *pack_records(uint8_t *at, const struct tf_directory *directory)
{
    for (size_t i = 0; i < directory->table_count; i++, at += TABLE_SIZE)
        pack_table(at, &directory->tables[i]);
    for (size_t i = 0; i < directory->chunk_count; i++, at += CHUNK_SIZE)
        pack_chunk(at, &directory->chunks[i]);
    return at;
}

/* Records, then bytes; returns how many blobs there are. */
static uint32_t pack_blobs(uint8_t *at, const struct tf_directory *directory)
{
    uint32_t count = 0;

    for (uint32_t kind = 0; kind < TF_BLOBS; kind++) {
        if (directory->blob_sizes[kind] == 0)
            continue;
        tf_put_u32(at, kind);
        tf_put_u32(at + 4, (uint32_t)directory->blob_sizes[kind]);
        at += BLOB_SIZE;
        count++;
    }
    for (size_t kind = 0; kind < TF_BLOBS; kind++) {
        if (directory->blob_sizes[kind] > 0)
            memcpy(at, directory->blobs[kind], directory->blob_sizes[kind]);
        at += directory->blob_sizes[kind];
    }
    return count;
}

enum tf_code tf_directory_pack(const struct tf_directory *directory, uint8_t **out, size_t *size,
                               struct tf_err *err)
{
    uint8_t *at, *names_end;

    *size = packed_size(directory);
    if (*size > TF_MAX_DIRECTORY_RAW)
        return tf_fail(err, TF_DATA, "directory of %zu bytes, at most %u", *size,
                       TF_MAX_DIRECTORY_RAW);
    *out = tf_new(*size, 1, "directory", err); /* zeroed: reserved bytes stay so */
    if (*out == NULL)
        return TF_MEMORY;
    names_end = pack_names(*out + COUNTS_SIZE, directory);
    at = pack_records(names_end, directory);
    tf_put_u32(*out, (uint32_t)directory->table_count);
    tf_put_u32(*out + 4, (uint32_t)directory->chunk_count);
    tf_put_u32(*out + 8, (uint32_t)(names_end - *out - COUNTS_SIZE));
    tf_put_u32(*out + 12, pack_blobs(at, directory));
    return TF_OK;
}

void tf_directory_fini(struct tf_directory *directory)
{
    for (size_t kind = 0; kind < TF_BLOBS; kind++)
        tf_free(directory->blobs[kind]);
    tf_free(directory->tables);
    tf_free(directory->chunks);
    *directory = (struct tf_directory){0};
}
