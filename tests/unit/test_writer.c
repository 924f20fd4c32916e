#include "checkpoint_fixture.h"

#include <math.h>
#include <omp.h>
#include <sys/stat.h>

static struct tf_store *open_store(const char *path)
{
    struct tf_store *store;
    struct tf_err err = {0};

    assert_fine(tf_store_open(&store, path, 0, &err), err);
    return store;
}

/* Rows first .. first+count of a table are the sample's; what lies between two rows is left alone.
 */
static void check_rows(const struct tf_store *store, const char *name, uint64_t first,
                       uint64_t count)
{
    size_t table = tf_store_find(store, name), cols = tf_store_table(store, table)->cols,
           stride = cols + 3;
    float *rows = malloc(count * stride * sizeof(*rows));
    struct tf_err err = {0};

    assert_non_null(rows);
    for (size_t i = 0; i < count * stride; i++)
        rows[i] = 99;
    assert_fine(tf_store_read(store, table, first, count, rows, stride, &err), err);
    for (uint64_t row = 0; row < count; row++)
        for (size_t col = 0; col < stride; col++)
            assert_true(rows[row * stride + col] ==
                        (col < cols ? sample_value(first + row, col) : 99));
    free(rows);
}

static void test_round_trip(void **state)
{
    struct tf_store *store;
    struct tf_err err = {0};
    uint8_t raw[2 * 3 * 2];

    (void)state;
    write_sample("a.tfck");
    store = open_store("a.tfck");
    assert_int_equal(tf_store_tables(store), 5);
    check_rows(store, "embed.tokens", 0, 7);
    check_rows(store, "layers.0.ffn.values", 0, 6);
    check_rows(store, "norm.weight", 0, 1);
    /* Every range of a table of two chunks. */
    for (uint64_t first = 0; first <= 6; first++)
        for (uint64_t count = 0; first + count <= 6; count++)
            check_rows(store, "layers.0.ffn.keys", first, count);
    /* As it is stored: bf16 is f32's upper half. */
    assert_fine(tf_store_read_raw(store, 2, 1, 2, raw, &err), err);
    for (size_t i = 0; i < 6; i++) {
        float x = sample_value(1 + i / 3, i % 3);
        uint8_t bytes[4];

        tf_dtype_pack(bytes, TF_F32, &x, 1);
        assert_memory_equal(raw + 2 * i, bytes + 2, 2);
    }
    tf_store_close(store);
}

/* A table of many chunks, as threads > 1 fill more than one batch with. */
static void write_large(const char *path, int level, enum tf_filter filter, uint64_t piece)
{
    struct tf_table_info info =
        table_info("large", TF_F32, 16384); /* 64 KiB a row, 6 rows a chunk */
    struct tf_writer *writer;
    struct tf_err err = {0};

    info.filter = filter;
    assert_fine(tf_writer_open(&writer, path, true, level, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    for (uint64_t row = 0; row < 64; row += piece)
        put_rows(writer, row, piece < 64 - row ? piece : 64 - row, info.cols);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
}

static void test_threads(void **state)
{
    int threads = omp_get_max_threads();
    struct tf_store *store;

    (void)state;
    omp_set_num_threads(1);
    write_large("one.tfck", 0, TF_FILTER_PLANES, 64);
    omp_set_num_threads(2);
    write_large("two.tfck", 0, TF_FILTER_PLANES, 64);
    omp_set_num_threads(3);
    write_large("three.tfck", 0, TF_FILTER_PLANES, 64);
    store = open_store("two.tfck");
    assert_int_equal(tf_store_table(store, 0)->chunk_count, 11);
    assert_int_equal(tf_store_chunk(store, 0)->raw, 384 << 10);
    check_rows(store, "large", 0, 64);
    check_rows(store, "large", 5, 20);
    tf_store_close(store);
    omp_set_num_threads(threads);
    assert_same_file("one.tfck", "two.tfck");
    assert_same_file("one.tfck", "three.tfck");
}

static void digest_of(const char *path, char out[TF_DIGEST_TEXT])
{
    struct tf_store *store = open_store(path);
    struct tf_digest digest;
    struct tf_err err = {0};

    assert_fine(tf_store_digest(store, 0, &digest, &err), err);
    tf_digest_text(out, &digest);
    tf_store_close(store);
}

static void test_digest(void **state)
{
    char first[TF_DIGEST_TEXT], other[TF_DIGEST_TEXT];
    float *rows = sample_rows(0, 64, 16384);
    XXH128_hash_t hash = XXH3_128bits(rows, 64 * 16384 * sizeof(*rows));

    (void)state;
    snprintf(other, sizeof(other), "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    free(rows);
    write_large("a.tfck", 1, TF_FILTER_PLANES, 64);
    digest_of("a.tfck", first);
    assert_string_equal(first, other);
    write_large("b.tfck", 9, TF_FILTER_PLANES, 64);
    digest_of("b.tfck", other);
    assert_string_equal(first, other);
    write_large("b.tfck", 1, TF_FILTER_NONE, 64);
    digest_of("b.tfck", other);
    assert_string_equal(first, other);
    write_large("b.tfck", 1, TF_FILTER_PLANES, 7);
    digest_of("b.tfck", other);
    assert_string_equal(first, other);
}

/* The model digest as tf-checkpoint(5) defines it, built by hand for the sample's four parameter
 * tables. */
static void test_model_digest(void **state)
{
    uint8_t record[1024], *at = record;
    struct tf_store *store;
    struct tf_digest digest;
    struct tf_err err = {0};
    XXH128_canonical_t canonical;

    (void)state;
    write_sample("a.tfck");
    store = open_store("a.tfck");
    for (size_t i = 0; i < 4; i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        size_t length = strlen(table->name);

        tf_put_u32(at, (uint32_t)length);
        memcpy(at + 4, table->name, length);
        at += 4 + length;
        tf_put_u32(at, i < 2 ? 1 : i == 2 ? 2 : 3); /* f32, bf16, f16 */
        tf_put_u64(at + 4, table->rows);
        tf_put_u64(at + 12, table->cols);
        tf_put_f64(at + 20, i == 1 || i == 2 ? 6 : 0);
        assert_fine(tf_store_digest(store, i, &digest, &err), err);
        memcpy(at + 28, digest.bytes, 16);
        at += 44;
    }
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(record, (size_t)(at - record)));
    assert_fine(tf_store_model_digest(store, &digest, &err), err);
    assert_memory_equal(digest.bytes, canonical.digest, 16);
    tf_store_close(store);
}

/* Growing: the old chunks as they stand, then a chunk of new rows. */
static void test_growth(void **state)
{
    struct tf_table_info info;
    struct tf_store *old, *grown;
    struct tf_writer *writer;
    struct tf_err err = {0};
    struct image before, after;

    (void)state;
    write_large("old.tfck", 0, TF_FILTER_PLANES, 64);
    old = open_store("old.tfck");
    info = *tf_store_table(old, 0);
    assert_fine(tf_writer_open(&writer, "grown.tfck", false, 0, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fine(tf_writer_copy(writer, old, 0, 0, 11, &err), err);
    put_rows(writer, 64, 5, info.cols);
    assert_fine(tf_writer_commit(writer, &err), err);
    grown = open_store("grown.tfck");
    tf_writer_close(writer);
    assert_int_equal(tf_store_table(grown, 0)->rows, 69);
    assert_int_equal(tf_store_table(grown, 0)->chunk_count, 12);
    check_rows(grown, "large", 0, 69);
    before = load_image("old.tfck");
    after = load_image("grown.tfck");
    assert_memory_equal(before.bytes, after.bytes, tf_store_chunk(grown, 11)->offset);
    tf_free(before.bytes);
    tf_free(after.bytes);
    tf_store_close(old);
    tf_store_close(grown);
}

/* Rows as they are stored give the file that the same rows give as numbers. */
static void test_raw(void **state)
{
    struct tf_store *store;
    struct tf_writer *writer;
    struct tf_err err = {0};
    struct tf_table_info info;
    uint8_t *raw;

    (void)state;
    write_large("numbers.tfck", 0, TF_FILTER_PLANES, 64);
    store = open_store("numbers.tfck");
    info = *tf_store_table(store, 0);
    assert_int_equal(tf_chunk_rows(&info), 6);
    raw = malloc(64 * 65536);
    assert_non_null(raw);
    assert_fine(tf_store_read_raw(store, 0, 0, 64, raw, &err), err);
    assert_fine(tf_writer_open(&writer, "bytes.tfck", true, 0, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fine(tf_writer_raw(writer, raw, 12, 0, &err), err);
    assert_fine(tf_writer_raw(writer, raw + 12 * 65536, 52, 6, &err), err);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    assert_same_file("numbers.tfck", "bytes.tfck");
    free(raw);
    tf_store_close(store);
}

/* Chunks of any size up to the cap, and none above it. */
static void test_steps(void **state)
{
    struct tf_table_info info = table_info("wide", TF_F32, 1 << 20); /* 4 MiB a row */
    struct tf_store *store;
    struct tf_writer *writer;
    struct tf_err err = {0};
    uint8_t *raw = calloc(6, 4 << 20);
    struct tf_digest digest;
    XXH128_canonical_t canonical;

    (void)state;
    assert_non_null(raw);
    assert_int_equal(tf_chunk_rows(&info), 1);
    raw[(16 << 20) + 2] = 7;
    assert_fine(tf_writer_open(&writer, "wide.tfck", true, 0, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fails(
        tf_writer_raw(writer, raw, 5, 5, &err), TF_DATA, err,
        "wide.tfck: table wide: chunks of 5 rows of 4194304 bytes, at most 16777216 bytes");
    assert_fine(tf_writer_raw(writer, raw, 5, 4, &err), err);
    assert_fine(tf_writer_raw(writer, raw, 1, UINT64_MAX, &err), err);
    assert_fine(tf_writer_raw(writer, raw, 0, 0, &err), err);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    store = open_store("wide.tfck");
    assert_int_equal(tf_store_table(store, 0)->rows, 6);
    assert_int_equal(tf_store_table(store, 0)->chunk_count, 3);
    assert_int_equal(tf_store_chunk(store, 0)->rows, 4);
    assert_int_equal(tf_store_chunk(store, 1)->rows, 1);
    assert_fine(tf_store_read_raw(store, 0, 0, 6, raw, &err), err);
    assert_int_equal(raw[(16 << 20) + 2], 7);
    /* A digest takes the first chunk in pieces, the others together. */
    XXH128_canonicalFromHash(&canonical, XXH3_128bits(raw, (size_t)6 << 22));
    assert_fine(tf_store_digest(store, 0, &digest, &err), err);
    assert_memory_equal(digest.bytes, canonical.digest, 16);
    tf_store_close(store);
    free(raw);
}

/* Some of a table's chunks: the rows in the middle are left out. */
static void test_copy_range(void **state)
{
    struct tf_store *old, *store;
    struct tf_writer *writer;
    struct tf_err err = {0};
    struct tf_table_info info;
    float rows[2 * 4];

    (void)state;
    write_sample("old.tfck");
    old = open_store("old.tfck");
    info = *tf_store_table(old, 1); /* rows 0 to 3 and 4 to 5 of four numbers */
    assert_fine(tf_writer_open(&writer, "part.tfck", true, 0, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fails(tf_writer_copy(writer, old, 1, 1, 2, &err), TF_INTERNAL, err,
                 "part.tfck: table layers.0.ffn.keys: 2 chunks from chunk 1 wanted, table "
                 "layers.0.ffn.keys has 2");
    assert_int_equal(tf_writer_copy(writer, old, 1, 3, 0, &err), TF_INTERNAL);
    assert_int_equal(tf_writer_copy(writer, old, 1, 1, UINT32_MAX, &err), TF_INTERNAL);
    assert_fine(tf_writer_copy(writer, old, 1, 2, 0, &err), err);
    assert_fine(tf_writer_copy(writer, old, 1, 1, 1, &err), err);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    store = open_store("part.tfck");
    assert_int_equal(tf_store_table(store, 0)->rows, 2);
    assert_fine(tf_store_read(store, 0, 0, 2, rows, 4, &err), err);
    for (size_t i = 0; i < 8; i++)
        assert_true(rows[i] == sample_value(4 + i / 4, i % 4));
    tf_store_close(store);
    tf_store_close(old);
}

/* A finished file can be read before it has its name, and takes nothing more. */
static void test_finish(void **state)
{
    struct tf_table_info info = table_info("a", TF_F32, 4);
    struct tf_writer *writer;
    struct tf_store *store;
    struct tf_err err = {0};
    const char *part;
    float rows[4] = {0};

    (void)state;
    unlink("new.tfck");
    assert_fine(tf_writer_open(&writer, "new.tfck", false, 0, &err), err);
    put_table(writer, info, 3);
    assert_fine(tf_writer_finish(writer, &part, &err), err);
    assert_string_equal(part, ".new.tfck.part");
    assert_int_equal(access("new.tfck", F_OK), -1);
    store = open_store(part);
    check_rows(store, "a", 0, 3);
    tf_store_close(store);
    info = table_info("b", TF_F32, 4);
    assert_fails(tf_writer_table(writer, &info, &err), TF_INTERNAL, err,
                 "new.tfck: is finished, nothing can be added");
    assert_int_equal(tf_writer_rows(writer, rows, 1, 4, &err), TF_INTERNAL);
    assert_int_equal(tf_writer_blob(writer, TF_BLOB_CONFIG, "a", 1, &err), TF_INTERNAL);
    assert_int_equal(tf_writer_finish(writer, NULL, &err), TF_INTERNAL);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    store = open_store("new.tfck");
    check_rows(store, "a", 0, 3);
    tf_store_close(store);
    /* One that is only finished leaves nothing behind. */
    assert_fine(tf_writer_open(&writer, "other.tfck", false, 0, &err), err);
    assert_fine(tf_writer_finish(writer, NULL, &err), err);
    tf_writer_close(writer);
    assert_int_equal(access("other.tfck", F_OK), -1);
    assert_int_equal(access(".other.tfck.part", F_OK), -1);
}

/* zstd itself reads the whole file: skips our two frames, and decodes chunks and directory. */
static void test_is_zstd(void **state)
{
    struct image image;
    size_t room = 1 << 16, got;
    char *decoded = malloc(room);

    (void)state;
    assert_non_null(decoded);
    write_sample("a.tfck");
    image = load_image("a.tfck");
    got = ZSTD_decompress(decoded, room, image.bytes, image.size);
    assert_false(ZSTD_isError(got));
    assert_int_equal(got, 7 * 5 * 4 + 6 * 4 * 4 + 6 * 3 * 2 + 4 * 2 + 4 * 4 +
                              tf_get_u32(image.bytes + image.size - TF_FRAME_SIZE + 28));
    free(decoded);
    tf_free(image.bytes);
}

static void test_refusals(void **state)
{
    struct tf_table_info info = table_info("b", TF_F32, 4), other;
    const char *const bad_names[] = {"", "A", "a b", "a\n", "\xc3\xa4"};
    struct tf_store *store;
    struct tf_writer *writer;
    struct tf_err err = {0};

    (void)state;
    write_sample("old.tfck");
    store = open_store("old.tfck");
    assert_fails(tf_writer_open(&writer, "new.tfck", false, 10, &err), TF_USAGE, err,
                 "new.tfck: compression level 10, must be 1 to 9");
    assert_int_equal(tf_writer_open(&writer, "old.tfck", false, 0, &err), TF_CANTCREATE);
    assert_null(writer);
    assert_fine(tf_writer_open(&writer, "new.tfck", false, 0, &err), err);
    assert_fails(tf_writer_rows(writer, NULL, 0, 0, &err), TF_INTERNAL, err,
                 "new.tfck: rows before the first table");
    for (size_t i = 0; i < sizeof(bad_names) / sizeof(bad_names[0]); i++) {
        other = table_info(bad_names[i], TF_F32, 4);
        assert_int_equal(tf_writer_table(writer, &other, &err), TF_DATA);
    }
    other = table_info("b", TF_F32, 0);
    assert_fails(tf_writer_table(writer, &other, &err), TF_DATA, err,
                 "new.tfck: table b: 0 columns, must be 1 to 1048576");
    other = table_info("b", TF_F32, 4);
    other.scale = NAN;
    assert_fails(tf_writer_table(writer, &other, &err), TF_DATA, err,
                 "new.tfck: table b: scale nan, must be 0 or more, and finite");
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fails(tf_writer_commit(writer, &err), TF_DATA, err,
                 "new.tfck: table b: 0 rows, must have 1 or more");
    assert_fails(tf_writer_copy(writer, store, 0, 0, 1, &err), TF_DATA, err,
                 "new.tfck: table b: f32 with filter 1 and 4 columns, cannot take chunks of f32 "
                 "with filter 1 and 5");
    put_rows(writer, 0, 1, 4);
    assert_fails(tf_writer_table(writer, &info, &err), TF_DATA, err,
                 "new.tfck: table b: its name must come after b");
    tf_writer_close(writer); /* not committed: nothing is left */
    assert_int_equal(access("new.tfck", F_OK), -1);
    assert_int_equal(access(".new.tfck.part", F_OK), -1);
    tf_store_close(store);
}

/* Row groups are checked when the file is read back before it gets its name. */
static void test_row_group(void **state)
{
    struct tf_table_info keys = table_info("keys", TF_F32, 2),
                         values = table_info("values", TF_F32, 2);
    struct tf_writer *writer;
    struct tf_err err = {0};

    (void)state;
    keys.row_group = values.row_group = 9;
    assert_fine(tf_writer_open(&writer, "group.tfck", false, 0, &err), err);
    put_table(writer, keys, 3);
    put_table(writer, values, 2);
    assert_fails(tf_writer_commit(writer, &err), TF_DATA, err,
                 "group.tfck: reading it back: .group.tfck.part: directory: row group 9: table "
                 "keys has 3 rows, table values has 2");
    tf_writer_close(writer);
    assert_int_equal(access("group.tfck", F_OK), -1);
}

/* A directory that is too large for its file: no reader would take it. */
static void test_large_blob(void **state)
{
    struct tf_writer *writer;
    struct tf_err err = {0};
    char *blob = calloc(1, TF_MAX_DIRECTORY_RAW + 1);

    (void)state;
    assert_non_null(blob);
    assert_fine(tf_writer_open(&writer, "large-blob.tfck", false, 0, &err), err);
    assert_fails(tf_writer_blob(writer, TF_BLOB_STATE, blob, TF_MAX_DIRECTORY_RAW + 1, &err),
                 TF_DATA, err, "large-blob.tfck: blob of 67108865 bytes, at most 67108864");
    assert_fine(tf_writer_blob(writer, TF_BLOB_STATE, blob, TF_SMALL_DIRECTORY_RAW + 1000, &err),
                err);
    assert_int_equal(tf_writer_commit(writer, &err), TF_DATA);
    assert_non_null(strstr(err.text, "large-blob.tfck: reading it back: .large-blob.tfck.part: "
                                     "trailer: a directory of 16778240 bytes in "));
    tf_writer_close(writer);
    assert_int_equal(access("large-blob.tfck", F_OK), -1);
    free(blob);
}

/* A file without tables is whole, too. */
static void test_empty(void **state)
{
    struct tf_writer *writer;
    struct tf_store *store;
    struct tf_err err = {0};
    size_t size = 7;

    (void)state;
    assert_fine(tf_writer_open(&writer, "empty.tfck", false, 0, &err), err);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    store = open_store("empty.tfck");
    assert_int_equal(tf_store_tables(store), 0);
    assert_string_equal(tf_store_blob(store, TF_BLOB_CONFIG, &size), "");
    assert_int_equal(size, 0);
    assert_fine(tf_store_verify(store, &err), err);
    tf_store_close(store);
}

/* The disk's copy is damaged after a chunk was written: commit sees it, and the target stays as it
 * was. */
static void test_commit_checks(void **state)
{
    struct tf_table_info info = table_info("a", TF_F32, 4);
    struct tf_writer *writer;
    struct tf_err err = {0};
    FILE *part;
    static float noise[96000]; /* does not compress to what an output buffers */

    (void)state;
    write_sample("target.tfck");
    assert_fine(tf_writer_open(&writer, "target.tfck", true, 0, &err), err);
    for (size_t i = 0; i < sizeof(noise) / sizeof(noise[0]); i++)
        noise[i] = (float)((uint32_t)i * 2654435761u);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_fine(tf_writer_rows(writer, noise, 24000, 4, &err), err);
    part = fopen(".target.tfck.part", "r+b");
    assert_non_null(part);
    assert_int_equal(fseek(part, 200, SEEK_SET), 0);
    assert_int_not_equal(fputc('x', part), EOF);
    assert_int_equal(fclose(part), 0);
    assert_int_equal(tf_writer_commit(writer, &err), TF_DATA);
    assert_non_null(strstr(err.text, "table a: chunk 0: checksum mismatch (stored "));
    tf_writer_close(writer);
    write_sample("same.tfck");
    assert_same_file("target.tfck", "same.tfck");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_digest),     cmocka_unit_test(test_model_digest),
        cmocka_unit_test(test_growth),     cmocka_unit_test(test_is_zstd),
        cmocka_unit_test(test_refusals),   cmocka_unit_test(test_row_group),
        cmocka_unit_test(test_empty),      cmocka_unit_test(test_commit_checks),
        cmocka_unit_test(test_raw),        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_copy_range), cmocka_unit_test(test_large_blob),
        cmocka_unit_test(test_finish),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
