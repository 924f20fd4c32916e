#include "checkpoint_fixture.h"

#include "store/salvage.h"

enum { CHUNKS = 6 }; /* of the sample */

static struct tf_err err;
static struct image sample;         /* a.tfck */
static uint64_t starts[CHUNKS + 1]; /* of its chunks, and of the directory */

/* The rows of the sample's chunks, in its tables. */
static const struct {
    const char *table;
    uint64_t first, count;
} places[CHUNKS] = {{"embed.tokens", 0, 7},      {"layers.0.ffn.keys", 0, 4},
                    {"layers.0.ffn.keys", 4, 2}, {"layers.0.ffn.values", 0, 6},
                    {"norm.weight", 0, 1},       {"optim.m/norm.weight", 0, 1}};

static void check_chunk(const struct tf_store *store, size_t chunk, bool good)
{
    size_t table = tf_store_find(store, places[chunk].table),
           cols = tf_store_table(store, table)->cols;
    float rows[64];
    enum tf_code code =
        tf_store_read(store, table, places[chunk].first, places[chunk].count, rows, cols, &err);

    assert_int_equal(code, good ? TF_OK : TF_DATA);
    for (size_t i = 0; good && i < places[chunk].count * cols; i++)
        assert_true(rows[i] == sample_value(places[chunk].first + i / cols, i % cols));
}

/* b.tfck is salvaged, with the chunks of `lost` ("010000": the second) lost, and nothing else. */
static struct tf_salvage check_salvage(const char *lost)
{
    struct tf_store *store;
    struct tf_salvage found;
    size_t count = 0;
    bool *good;

    memset(&err, 0, sizeof(err));
    assert_fine(tf_store_salvage(&store, &good, &found, "b.tfck", 0, &err), err);
    assert_string_equal(err.text, "");
    assert_int_equal(tf_store_tables(store), 5);
    assert_string_equal(tf_store_blob(store, TF_BLOB_CONFIG, NULL), "model: {}\n");
    for (size_t i = 0; i < CHUNKS; i++) {
        assert_int_equal(good[i], lost[i] == '0');
        check_chunk(store, i, good[i]);
        count += !good[i];
    }
    assert_int_equal(found.lost, count);
    assert_int_equal(found.file_size, tf_store_file_size(store));
    tf_free(good);
    tf_store_close(store);
    return found;
}

static void check_extents(const struct tf_salvage *found, uint64_t before, uint64_t inside,
                          uint64_t after, uint64_t missing)
{
    assert_int_equal(found->before, before);
    assert_int_equal(found->inside, inside);
    assert_int_equal(found->after, after);
    assert_int_equal(found->missing, missing);
    assert_int_equal(found->trailer_at, found->file_size - found->after - TF_FRAME_SIZE);
}

/* Writes b.tfck: the sample, of which the bytes cut .. cut+removed are replaced by `added` others.
 */
static void splice(size_t cut, size_t removed, size_t added)
{
    size_t size = sample.size - removed + added;
    char *bytes = malloc(size);

    assert_non_null(bytes);
    memcpy(bytes, sample.bytes, cut);
    for (size_t i = 0; i < added; i++)
        bytes[cut + i] = (char)(i * 37 + 5);
    memcpy(bytes + cut + added, sample.bytes + cut + removed, sample.size - cut - removed);
    save_bytes("b.tfck", bytes, size);
    free(bytes);
}

static void check_refused(const char *text)
{
    struct tf_store *store;
    struct tf_salvage found;
    bool *good;

    assert_fails(tf_store_salvage(&store, &good, &found, "b.tfck", 0, &err), TF_DATA, err, text);
    assert_null(store);
    assert_null(good);
}

/* ---- */

static void test_whole(void **state)
{
    struct tf_salvage found;

    (void)state;
    splice(0, 0, 0);
    found = check_salvage("000000");
    assert_true(found.header_good);
    check_extents(&found, 0, 0, 0, 0);
}

/* Any number of bytes behind the end, or before the beginning; past the size of a block, too. */
static void test_around(void **state)
{
    static const size_t sizes[] = {1, 63, 64, 65, 1000, (1 << 20) - 700, 1 << 20, 3000001};
    struct tf_salvage found;

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        splice(sample.size, 0, sizes[i]);
        found = check_salvage("000000");
        assert_true(found.header_good);
        check_extents(&found, 0, 0, sizes[i], 0);
        splice(0, 0, sizes[i]);
        found = check_salvage("000000");
        assert_true(found.header_good);
        check_extents(&found, sizes[i], 0, 0, 0);
    }
}

/* Wherever the edge of a block cuts the trailer. */
static void test_block_edges(void **state)
{
    (void)state;
    for (size_t more = (1 << 20) - 2 * TF_FRAME_SIZE; more <= 1 << 20; more++) {
        splice(sample.size, 0, more);
        struct tf_salvage found = check_salvage("000000");
        check_extents(&found, 0, 0, more, 0);
    }
}

static void test_header(void **state)
{
    struct tf_salvage found;

    (void)state;
    splice(0, TF_FRAME_SIZE, TF_FRAME_SIZE);
    found = check_salvage("000000");
    assert_false(found.header_good);
    check_extents(&found, 0, 0, 0, 0);
    splice(0, TF_FRAME_SIZE, 0); /* cut off */
    found = check_salvage("000000");
    assert_false(found.header_good);
    check_extents(&found, 0, 0, 0, TF_FRAME_SIZE);
}

/* A header that is whole and not ours is no damage. */
static void test_other_version(void **state)
{
    struct image copy = load_image("a.tfck");
    uint8_t *header = (uint8_t *)copy.bytes;

    (void)state;
    header[16] = 2;
    tf_put_u64(header + TF_FRAME_SIZE - 8, XXH3_64bits(header, TF_FRAME_SIZE - 8));
    save_bytes("b.tfck", copy.bytes, copy.size);
    check_refused("b.tfck: format version 2, this program reads 1");
    header[17] = 1; /* only damaged */
    save_bytes("b.tfck", copy.bytes, copy.size);
    assert_false(check_salvage("000000").header_good);
    tf_free(copy.bytes);
}

/* A flipped bit anywhere among the chunks loses the one in which it lies. */
static void test_flips(void **state)
{
    (void)state;
    for (size_t at = starts[0], chunk = 0; at < starts[CHUNKS]; at++) {
        char lost[] = "000000";
        struct tf_salvage found;

        chunk += at == starts[chunk + 1];
        lost[chunk] = '1';
        save_bytes("b.tfck", sample.bytes, sample.size);
        FILE *file = fopen("b.tfck", "r+b");
        assert_non_null(file);
        fseek(file, (long)at, SEEK_SET);
        fputc((uint8_t)sample.bytes[at] ^ 1 << at % 8, file);
        fclose(file);
        found = check_salvage(lost);
        check_extents(&found, 0, 0, 0, 0);
    }
}

/* Each range of bytes cut from the chunks: those before it are found from the start, those after it
 * from the trailer. */
static void test_holes(void **state)
{
    (void)state;
    for (size_t first = 0; first < CHUNKS; first++) {
        for (size_t last = first; last < CHUNKS; last++) {
            size_t cut = starts[first] + 3, removed = starts[last + 1] - 3 - cut;
            char lost[] = "000000";
            struct tf_salvage found;

            memset(lost + first, '1', last - first + 1);
            splice(cut, removed, 0);
            found = check_salvage(lost);
            assert_true(found.header_good);
            check_extents(&found, 0, 0, 0, removed);
        }
    }
}

/* Bytes put in, inside a chunk and between two. */
static void test_insertions(void **state)
{
    (void)state;
    for (size_t chunk = 0; chunk < CHUNKS; chunk++) {
        char lost[] = "000000";
        struct tf_salvage found;

        splice(starts[chunk], 0, 100);
        found = check_salvage(lost);
        assert_true(found.header_good);
        check_extents(&found, 0, 100, 0, 0);
        splice(starts[chunk] + 9, 0, 7);
        lost[chunk] = '1';
        found = check_salvage(lost);
        check_extents(&found, 0, 7, 0, 0);
    }
}

/* Bytes inside and behind, and the trailer counts as the place to measure from. */
static void test_both(void **state)
{
    struct image copy;
    struct tf_salvage found;
    char more[77] = {0};

    (void)state;
    splice(starts[3] + 5, 0, 50);
    copy = load_image("b.tfck");
    FILE *file = fopen("b.tfck", "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(more, 1, sizeof(more), file), sizeof(more));
    fclose(file);
    found = check_salvage("000100");
    check_extents(&found, 0, 50, sizeof(more), 0);
    tf_free(copy.bytes);
}

/* Of two checkpoints in one file the last is meant; when its directory is damaged, the first. */
static void test_two(void **state)
{
    struct tf_table_info info = table_info("other", TF_F32, 4);
    struct image other;
    struct tf_writer *writer;
    struct tf_salvage found;
    char *bytes;

    (void)state;
    assert_fine(tf_writer_open(&writer, "other.tfck", true, 0, &err), err);
    put_table(writer, info, 3);
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    other = load_image("other.tfck");
    bytes = malloc(other.size + sample.size);
    assert_non_null(bytes);
    memcpy(bytes, other.bytes, other.size);
    memcpy(bytes + other.size, sample.bytes, sample.size);
    save_bytes("b.tfck", bytes, other.size + sample.size);
    found = check_salvage("000000");
    check_extents(&found, other.size, 0, 0, 0);
    memcpy(bytes, sample.bytes, sample.size);
    memcpy(bytes + sample.size, other.bytes, other.size);
    bytes[sample.size + other.size - TF_FRAME_SIZE - 20] ^= 1;
    save_bytes("b.tfck", bytes, other.size + sample.size);
    found = check_salvage("000000");
    check_extents(&found, 0, 0, other.size, 0);
    free(bytes);
    tf_free(other.bytes);
}

/* Without trailer and directory nothing is known of the rest. */
static void test_refusals(void **state)
{
    struct tf_store *store;
    struct tf_salvage found;
    char text[256];
    bool *good;

    (void)state;
    for (size_t size = 0; size < sample.size; size++) {
        snprintf(text, sizeof(text),
                 "b.tfck: nothing to recover: no trailer with its directory before it in %zu bytes "
                 "(0 without)",
                 size);
        save_bytes("b.tfck", sample.bytes, size);
        check_refused(text);
    }
    snprintf(text, sizeof(text),
             "b.tfck: nothing to recover: no trailer with its directory before it in %zu bytes (1 "
             "without)",
             sample.size);
    for (size_t at = starts[CHUNKS]; at < sample.size - TF_FRAME_SIZE; at++) {
        splice(at, 1, 1);
        struct image image = load_image("b.tfck");
        bool same = memcmp(image.bytes, sample.bytes, sample.size) == 0;
        tf_free(image.bytes);
        if (!same)
            check_refused(text);
    }
    splice(0, starts[CHUNKS] + 5, 0); /* half a directory */
    assert_int_equal(tf_store_salvage(&store, &good, &found, "b.tfck", 0, &err), TF_DATA);
    assert_int_equal(tf_store_salvage(&store, &good, &found, "none.tfck", 0, &err), TF_NOINPUT);
    assert_fails(tf_store_salvage(&store, &good, &found, "a.tfck", 100, &err), TF_MEMORY, err,
                 "a.tfck: directory: tables of 296 bytes, the limit is 100");
    assert_null(store);
}

/* Very many trailers that are all good and share one directory that is not: each is looked at, but
 * its directory is not read over and over. */
static void test_many_trailers(void **state)
{
    enum { COUNT = 16384 };
    const size_t directory = 2 << 20, size = directory + (size_t)COUNT * TF_FRAME_SIZE;
    uint8_t *bytes = calloc(1, size);
    char text[256];

    (void)state;
    assert_non_null(bytes);
    for (size_t i = 0; i < COUNT; i++) {
        uint64_t at = directory + i * TF_FRAME_SIZE;
        tf_trailer_pack(bytes + at, &(struct tf_trailer){.directory_offset = TF_FRAME_SIZE,
                                                         .directory_coded = (uint32_t)directory,
                                                         .directory_raw = 16,
                                                         .file_size = directory + 128});
    }
    save_bytes("b.tfck", bytes, size);
    snprintf(text, sizeof(text),
             "b.tfck: nothing to recover: no trailer with its directory before it in %zu bytes (%d "
             "without)",
             size, COUNT);
    check_refused(text);
    free(bytes);
}

/* A trailer that says that the file is far larger than it is, with a chunk of 4 GiB: nothing is
 * allocated for what cannot be there. */
static void test_larger_than_the_file(void **state)
{
    struct tf_table_info table = table_info("a", TF_F32, 4);
    struct tf_chunk_info chunk = {
        .offset = TF_FRAME_SIZE, .coded = UINT32_MAX, .raw = 16, .rows = 1};
    struct tf_directory directory = {
        .tables = &table, .chunks = &chunk, .table_count = 1, .chunk_count = 1};
    uint8_t *raw, bytes[1024];
    size_t size, coded;
    ZSTD_CCtx *context = tf_codec_compressor(1, &err);
    struct tf_store *store;
    struct tf_salvage found;
    bool *good;

    (void)state;
    table.rows = table.chunk_count = 1;
    assert_fine(tf_directory_pack(&directory, &raw, &size, &err), err);
    assert_fine(tf_codec_encode(context, TF_FILTER_NONE, 1, raw, size, NULL, bytes, &coded, &err),
                err);
    tf_trailer_pack(bytes + coded,
                    &(struct tf_trailer){.directory_offset = TF_FRAME_SIZE + (uint64_t)UINT32_MAX,
                                         .directory_coded = (uint32_t)coded,
                                         .directory_raw = (uint32_t)size,
                                         .directory_hash = XXH3_64bits(bytes, coded),
                                         .file_size = 2 * TF_FRAME_SIZE + coded + UINT32_MAX});
    save_bytes("b.tfck", bytes, coded + TF_FRAME_SIZE);
    assert_fine(tf_store_salvage(&store, &good, &found, "b.tfck", 0, &err), err);
    assert_false(good[0]);
    assert_int_equal(found.lost, 1);
    check_extents(&found, 0, 0, 0, TF_FRAME_SIZE + (uint64_t)UINT32_MAX);
    tf_free(good);
    tf_store_close(store);
    tf_free(raw);
    ZSTD_freeCCtx(context);
}

static int set_up(void **state)
{
    struct tf_store *store;

    if (enter_scratch(state) != 0)
        return -1;
    write_sample("a.tfck");
    sample = load_image("a.tfck");
    if (tf_store_open(&store, "a.tfck", 0, &err) != TF_OK)
        return -1;
    for (size_t i = 0; i < CHUNKS; i++)
        starts[i] = tf_store_chunk(store, i)->offset;
    starts[CHUNKS] = starts[CHUNKS - 1] + tf_store_chunk(store, CHUNKS - 1)->coded;
    tf_store_close(store);
    return 0;
}

static int tear_down(void **state)
{
    tf_free(sample.bytes);
    return leave_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_around),
        cmocka_unit_test(test_block_edges),
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_other_version),
        cmocka_unit_test(test_flips),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_insertions),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_two),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_many_trailers),
        cmocka_unit_test(test_larger_than_the_file),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
