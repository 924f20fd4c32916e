/* A small checkpoint with a bit of everything, for the tests of reader and writer; and its bytes,
 * to be damaged. */
#ifndef TF_TESTS_CHECKPOINT_FIXTURE_H
#define TF_TESTS_CHECKPOINT_FIXTURE_H

#include "scratch.h"

#include "base/io.h"
#include "base/mem.h"
#include "store/bytes.h"
#include "store/codec.h"
#include "store/directory.h"
#include "store/frame.h"
#include "store/reader.h"
#include "store/writer.h"
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

/* err must say OK; else its text is shown. */
#define assert_fine(code, err)          \
    do {                                \
        if ((code) != TF_OK)            \
            fail_msg("%s", (err).text); \
    } while (0)

#define assert_fails(code, expected_code, err, expected_text) \
    do {                                                      \
        assert_int_equal(code, expected_code);                \
        assert_string_equal((err).text, expected_text);       \
    } while (0)

static inline struct tf_table_info table_info(const char *name, enum tf_dtype dtype, uint32_t cols)
{
    struct tf_table_info info = {
        .role = TF_PARAMETER, .dtype = dtype, .filter = TF_FILTER_PLANES, .cols = cols};

    snprintf(info.name, sizeof(info.name), "%s", name);
    return info;
}

/* Numbers that every dtype holds exactly, of both signs, different in each place. */
static inline float sample_value(uint64_t row, uint64_t col)
{
    return ((float)((row * 7 + col * 3) % 61) - 30.0f) / 8.0f;
}

static inline float *sample_rows(uint64_t first, uint64_t count, uint32_t cols)
{
    float *rows = malloc(count * cols * sizeof(*rows));

    assert_non_null(rows);
    for (uint64_t row = 0; row < count; row++)
        for (uint32_t col = 0; col < cols; col++)
            rows[row * cols + col] = sample_value(first + row, col);
    return rows;
}

/* Rows first .. first+count as one chunk, or several when they are many. */
static inline void put_rows(struct tf_writer *writer, uint64_t first, uint64_t count, uint32_t cols)
{
    struct tf_err err = {0};
    float *rows = sample_rows(first, count, cols);

    assert_fine(tf_writer_rows(writer, rows, count, cols, &err), err);
    free(rows);
}

static inline void put_table(struct tf_writer *writer, struct tf_table_info info, uint64_t rows)
{
    struct tf_err err = {0};

    assert_fine(tf_writer_table(writer, &info, &err), err);
    put_rows(writer, 0, rows, info.cols);
}

/* Five tables in six chunks, all dtypes and filters, a row group, three blobs. */
static inline void write_sample(const char *path)
{
    struct tf_table_info embed = table_info("embed.tokens", TF_F32, 5);
    struct tf_table_info keys = table_info("layers.0.ffn.keys", TF_F32, 4);
    struct tf_table_info values = table_info("layers.0.ffn.values", TF_BF16, 3);
    struct tf_table_info norm = table_info("norm.weight", TF_F16, 4);
    struct tf_table_info moment = table_info("optim.m/norm.weight", TF_F32, 4);
    struct tf_writer *writer;
    struct tf_err err = {0};

    keys.row_group = values.row_group = 1;
    keys.scale = values.scale = 6;
    norm.filter = TF_FILTER_NONE;
    moment.role = TF_MOMENT;
    assert_fine(tf_writer_open(&writer, path, true, 0, &err), err);
    put_table(writer, embed, 7);
    put_table(writer, keys, 4);
    put_rows(writer, 4, 2, 4);
    put_table(writer, values, 6);
    put_table(writer, norm, 1);
    put_table(writer, moment, 1);
    assert_fine(tf_writer_blob(writer, TF_BLOB_CONFIG, "model: {}\n", 10, &err), err);
    assert_fine(tf_writer_blob(writer, TF_BLOB_STATE, "\0\1\2", 3, &err), err);
    assert_fine(tf_writer_blob(writer, TF_BLOB_LINEAGE, "[]", 2, &err), err);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
}

/* Opens, and when that works checks every byte. */
static inline enum tf_code open_and_verify(const char *path, struct tf_err *err)
{
    struct tf_store *store;
    enum tf_code code;

    memset(err, 0, sizeof(*err));
    code = tf_store_open(&store, path, 0, err);
    if (code == TF_OK)
        code = tf_store_verify(store, err);
    tf_store_close(store);
    return code;
}

/* ---- bytes of a file ---- */

struct image {
    char *bytes;
    size_t size;
};

static inline struct image load_image(const char *path)
{
    struct image image;
    struct tf_err err = {0};

    assert_fine(tf_read_file(path, 64 << 20, &image.bytes, &image.size, &err), err);
    return image;
}

static inline void save_bytes(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

#endif
