/* What must hold for a checkpoint that opens. */
#include "fuzz.h"

#include "base/mem.h"
#include "store/codec.h"
#include "store/directory.h"
#include "store/frame.h"
#include "store/reader.h"
#include "store/salvage.h"
#include "train/modelio.h"
#include <string.h>
#include <xxhash.h>

#define LIMIT (2u << 20) /* bytes of tables that are still read */
#define CLOSELY 4        /* tables, and chunks, that are read in several ways */

/* ---- what the directory says ---- */

/* The chunks of a table hold its rows, and lie one behind the other; returns where they end. */
static uint64_t check_chunks(const struct tf_store *store, const struct tf_table_info *table,
                             uint64_t offset)
{
    uint64_t rows = 0;

    for (uint32_t i = 0; i < table->chunk_count; i++) {
        const struct tf_chunk_info *chunk = tf_store_chunk(store, table->first_chunk + i);
        must(chunk->offset == offset && chunk->rows > 0);
        must(chunk->raw <= TF_MAX_CHUNK_RAW);
        must(chunk->raw == (uint64_t)chunk->rows * table->cols * tf_dtype_width(table->dtype));
        offset += chunk->coded;
        rows += chunk->rows;
    }
    must(rows == table->rows);
    return offset;
}

static void check_groups(const struct tf_store *store, const struct tf_table_info *table)
{
    for (size_t i = 0; i < tf_store_tables(store) && table->row_group != 0; i++) {
        const struct tf_table_info *other = tf_store_table(store, i);
        must(other->row_group != table->row_group || other->rows == table->rows);
    }
}

/* The directory follows the last chunk, which ends at byte `offset`. */
static void check_ends(const char *path, uint64_t offset)
{
    struct tf_in in;
    struct tf_header header;
    struct tf_trailer trailer;
    struct tf_err err = {0};

    must_succeed(tf_in_open(&in, path, &err), &err);
    must_succeed(tf_frames_open(&in, &header, &trailer, &err), &err);
    must(header.major == TF_MAJOR && trailer.directory_offset == offset);
    must(offset + trailer.directory_coded + TF_FRAME_SIZE == in.size);
    tf_in_close(&in);
}

/* Returns the bytes that all tables have together. */
static uint64_t check_tables(const struct tf_store *store)
{
    uint64_t offset = TF_FRAME_SIZE, total = 0;
    uint32_t chunk = 0;

    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        struct tf_err err = {0};
        must_succeed(tf_table_check(table, &err), &err);
        must(i == 0 || strcmp(table[-1].name, table->name) < 0);
        must(tf_store_find(store, table->name) == i);
        must(table->rows > 0 && table->first_chunk == chunk);
        check_groups(store, table);
        offset = check_chunks(store, table, offset);
        chunk += table->chunk_count;
        total += table->rows * table->cols * tf_dtype_width(table->dtype);
    }
    must(tf_store_find(store, "") == SIZE_MAX);
    check_ends(tf_store_path(store), offset);
    return total;
}

static void check_blobs(const struct tf_store *store)
{
    for (int kind = 0; kind < TF_BLOBS; kind++) {
        size_t size;
        const char *bytes = tf_store_blob(store, (enum tf_blob)kind, &size);
        must(bytes[size] == '\0' && size < TF_MAX_DIRECTORY_RAW);
    }
}

/* ---- what the chunks hold ---- */

/* The checksums of the rows, chunk by chunk. */
static void check_hashes(const struct tf_store *store, size_t index, const uint8_t *raw)
{
    const struct tf_table_info *table = tf_store_table(store, index);

    for (uint32_t i = 0; i < table->chunk_count; i++) {
        const struct tf_chunk_info *chunk = tf_store_chunk(store, table->first_chunk + i);
        must(XXH3_64bits(raw, chunk->raw) == chunk->raw_hash);
        raw += chunk->raw;
    }
}

/* A part of the rows, and their numbers, are those of the whole. */
static void check_parts(const struct tf_store *store, size_t index, const uint8_t *raw)
{
    const struct tf_table_info *table = tf_store_table(store, index);
    size_t cols = table->cols, row_size = cols * tf_dtype_width(table->dtype), stride = cols + 1;
    uint64_t row = table->rows / 3, count = table->rows - row - table->rows / 4;
    struct tf_err err = {0};
    uint8_t *part = tf_new(count, row_size, "part", &err);
    float *numbers = tf_new(count, stride * sizeof(float), "numbers", &err);
    float *expected = tf_new(cols, sizeof(float), "expected", &err);

    must(part != NULL && numbers != NULL && expected != NULL);
    must_succeed(tf_store_read_raw(store, index, row, count, part, &err), &err);
    must(memcmp(part, raw + row * row_size, count * row_size) == 0);
    must_succeed(tf_store_read(store, index, row, count, numbers, stride, &err), &err);
    for (uint64_t i = 0; i < count; i++) {
        tf_dtype_unpack(expected, table->dtype, part + i * row_size, cols);
        must(memcmp(expected, numbers + i * stride, cols * sizeof(float)) == 0);
    }
    tf_free(part);
    tf_free(numbers);
    tf_free(expected);
}

/* Returns whether the table's chunks are sound. */
static bool check_rows(const struct tf_store *store, size_t index)
{
    const struct tf_table_info *table = tf_store_table(store, index);
    struct tf_err err = {0};
    struct tf_digest digest;
    uint8_t *raw = tf_new(table->rows, table->cols * tf_dtype_width(table->dtype), "rows", &err);
    enum tf_code code, digest_code;

    must(raw != NULL);
    digest_code = tf_store_digest(store, index, &digest, &err);
    code = tf_store_read_raw(store, index, 0, table->rows, raw, &err);
    must((code == TF_OK) == (digest_code == TF_OK));
    if (code == TF_OK) {
        check_hashes(store, index, raw);
        check_parts(store, index, raw);
    } else {
        must_refuse(code, TF_DATA, &err);
    }
    must(tf_store_read_raw(store, index, 1, table->rows, raw, &err) == TF_INTERNAL);
    tf_free(raw);
    return code == TF_OK;
}

/* Returns whether all chunks are sound. */
static bool check_contents(const struct tf_store *store)
{
    size_t count = tf_store_tables(store), close = count < CLOSELY ? count : CLOSELY;
    struct tf_err err = {0};
    struct tf_digest digest;
    enum tf_code code = tf_store_verify(store, &err);
    bool sound = true;

    if (code != TF_OK)
        must_refuse(code, TF_DATA, &err);
    else
        must_succeed(tf_store_model_digest(store, &digest, &err), &err);
    for (size_t i = 0; i < close; i++)
        sound = check_rows(store, i) && sound;
    must(code == TF_OK ? sound : !sound || close < count);
    return code == TF_OK;
}

/* ---- the whole ---- */

/* What became of a file. */
enum verdict { REFUSED, LARGE, DAMAGED, SOUND };

static enum verdict examine_store(const char *path)
{
    struct tf_store *store, *limited;
    struct tf_err err = {0};
    enum tf_code code = tf_store_open(&store, path, 0, &err);
    enum verdict verdict = LARGE;

    if (code != TF_OK) {
        must(store == NULL);
        must_refuse(code, TF_DATA, &err);
        must(strncmp(err.text, path, strlen(path)) == 0);
        return REFUSED;
    }
    must(strcmp(tf_store_path(store), path) == 0);
    code = tf_store_editable(store, &err);
    if (code != TF_OK)
        must_refuse(code, TF_DATA, &err);
    check_blobs(store);
    if (check_tables(store) <= LIMIT) {
        verdict = check_contents(store) ? SOUND : DAMAGED;
    } else {
        must(tf_store_open(&limited, path, LIMIT, &err) == TF_MEMORY && limited == NULL);
        must_refuse(TF_MEMORY, TF_MEMORY, &err);
    }
    tf_store_close(store);
    return verdict;
}

/* Good chunks can be read, lost ones cannot. */
static void check_salvaged(const struct tf_store *store, const bool *good, size_t lost)
{
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        uint64_t row = 0;
        for (uint32_t c = table->first_chunk; c < table->first_chunk + table->chunk_count; c++) {
            const struct tf_chunk_info *chunk = tf_store_chunk(store, c);
            struct tf_err err = {0};
            must(good[c] || lost-- > 0);
            if (c < CLOSELY) {
                uint8_t *rows = tf_new(chunk->raw, 1, "rows", &err);
                must(rows != NULL);
                must((tf_store_read_raw(store, i, row, chunk->rows, rows, &err) == TF_OK) ==
                     good[c]);
                tf_free(rows);
            }
            row += chunk->rows;
        }
    }
    must(lost == 0);
}

/* Whatever opens can be salvaged, too, and is seen to be whole where it is. */
static void examine_salvage(const char *path, enum verdict verdict)
{
    struct tf_salvage found;
    struct tf_store *store;
    struct tf_err err = {0};
    bool *good;
    enum tf_code code = tf_store_salvage(&store, &good, &found, path, LIMIT, &err);

    if (code != TF_OK) {
        must(store == NULL && good == NULL && (verdict == REFUSED || verdict == LARGE));
        must_refuse(code, TF_DATA, &err);
        return;
    }
    must(verdict != LARGE);
    must(found.file_size == tf_store_file_size(store));
    must(found.trailer_at + TF_FRAME_SIZE + found.after == found.file_size);
    must((found.before != 0) + (found.inside != 0) + (found.missing != 0) <= 1);
    check_salvaged(store, good, found.lost);
    if (verdict != REFUSED) {
        must(found.header_good && (found.lost == 0) == (verdict == SOUND));
        must(found.before + found.inside + found.after + found.missing == 0);
    }
    tf_free(good);
    tf_store_close(store);
}

static void examine_model(const char *path)
{
    struct tf_checkpoint checkpoint;
    struct tf_model *model;
    struct tf_err err = {0};
    enum tf_code code = tf_checkpoint_open(&checkpoint, path, LIMIT, NULL, 0, &err);

    if (code != TF_OK) {
        must_refuse(code, TF_DATA, &err);
        return;
    }
    must(checkpoint.shape.layers == checkpoint.config.model.num_layers);
    must(checkpoint.shape.vocab >= checkpoint.tokenizer.size);
    code = tf_model_load(&model, &checkpoint, false, &err);
    if (code != TF_OK)
        must_refuse(code, TF_DATA, &err);
    else
        tf_model_free(model);
    tf_checkpoint_close(&checkpoint);
}

void examine_checkpoint(const char *path)
{
    enum verdict verdict = examine_store(path);

    fuzz_taken += verdict == SOUND;
    examine_salvage(path, verdict);
    examine_model(path);
}
