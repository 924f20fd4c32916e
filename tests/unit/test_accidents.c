/* store/reader: every bit, every length, every byte lost or added: what happens to files. */
#include "checkpoint_fixture.h"

static struct tf_err err;
static struct image sample; /* a.tfck */

/* Each single bit of the file, wherever it lies. */
static void test_every_bit(void **state)
{
    FILE *file;

    (void)state;
    save_bytes("bit.tfck", sample.bytes, sample.size);
    file = fopen("bit.tfck", "r+b");
    assert_non_null(file);
    setbuf(file, NULL);
    for (size_t bit = 0; bit < 8 * sample.size; bit++) {
        int byte = (uint8_t)sample.bytes[bit / 8];

        fseek(file, (long)(bit / 8), SEEK_SET);
        fputc(byte ^ 1 << bit % 8, file);
        if (open_and_verify("bit.tfck", &err) != TF_DATA)
            fail_msg("bit %zu of byte %zu: \"%s\"", bit % 8, bit / 8, err.text);
        assert_memory_equal(err.text, "bit.tfck: ", 10);
        fseek(file, (long)(bit / 8), SEEK_SET);
        fputc(byte, file);
    }
    fclose(file);
    assert_fine(open_and_verify("bit.tfck", &err), err);
}

static void test_every_truncation(void **state)
{
    struct tf_store *store;

    (void)state;
    save_bytes("cut.tfck", sample.bytes, sample.size);
    for (size_t size = sample.size; size-- > 0;) {
        assert_int_equal(truncate("cut.tfck", (off_t)size), 0);
        assert_int_equal(tf_store_open(&store, "cut.tfck", 0, &err), TF_DATA);
        assert_non_null(strstr(err.text, size == 0 ? "not a TokenFormer checkpoint" : "truncated"));
    }
}

static void test_appended(void **state)
{
    struct tf_store *store;
    char *bytes = calloc(2, sample.size), text[256];

    (void)state;
    assert_non_null(bytes);
    memcpy(bytes, sample.bytes, sample.size);
    for (size_t more = 1; more <= 130; more++) {
        save_bytes("long.tfck", bytes, sample.size + more);
        snprintf(text, sizeof(text),
                 "long.tfck: the checkpoint ends at byte %zu, the file at byte %zu: something was "
                 "appended",
                 sample.size, sample.size + more);
        assert_fails(tf_store_open(&store, "long.tfck", 0, &err), TF_DATA, err, text);
    }
    for (int value = 0; value < 256; value++) {
        bytes[sample.size] = (char)value;
        save_bytes("long.tfck", bytes, sample.size + 1);
        assert_int_equal(tf_store_open(&store, "long.tfck", 0, &err), TF_DATA);
        assert_non_null(strstr(err.text, ": something was appended"));
    }
    /* The file twice, and the trailer twice. */
    memcpy(bytes + sample.size, sample.bytes, sample.size);
    save_bytes("long.tfck", bytes, 2 * sample.size);
    snprintf(text, sizeof(text), "long.tfck: trailer: says the file has %zu bytes, it has %zu",
             sample.size, 2 * sample.size);
    assert_fails(tf_store_open(&store, "long.tfck", 0, &err), TF_DATA, err, text);
    memcpy(bytes + sample.size, sample.bytes + sample.size - TF_FRAME_SIZE, TF_FRAME_SIZE);
    save_bytes("long.tfck", bytes, sample.size + TF_FRAME_SIZE);
    assert_int_equal(tf_store_open(&store, "long.tfck", 0, &err), TF_DATA);
    free(bytes);
}

/* A byte lost, and one put in, at each place. */
static void test_every_shift(void **state)
{
    struct tf_store *store;
    char *bytes = malloc(sample.size + 1);

    (void)state;
    assert_non_null(bytes);
    for (size_t at = 0; at < sample.size; at++) {
        memcpy(bytes, sample.bytes, at);
        memcpy(bytes + at, sample.bytes + at + 1, sample.size - at - 1);
        save_bytes("shift.tfck", bytes, sample.size - 1);
        assert_int_equal(tf_store_open(&store, "shift.tfck", 0, &err), TF_DATA);
        bytes[at] = '\n';
        memcpy(bytes + at + 1, sample.bytes + at, sample.size - at);
        save_bytes("shift.tfck", bytes, sample.size + 1);
        assert_int_equal(tf_store_open(&store, "shift.tfck", 0, &err), TF_DATA);
    }
    free(bytes);
}

static void test_not_a_checkpoint(void **state)
{
    struct tf_store *store;

    (void)state;
    save_bytes("b.tfck", "", 0);
    assert_fails(tf_store_open(&store, "b.tfck", 0, &err), TF_DATA, err,
                 "b.tfck: not a TokenFormer checkpoint");
    save_bytes("b.tfck", "Once upon a time", 16);
    assert_fails(tf_store_open(&store, "b.tfck", 0, &err), TF_DATA, err,
                 "b.tfck: not a TokenFormer checkpoint");
    save_bytes("b.tfck", sample.bytes, 100);
    assert_fails(tf_store_open(&store, "b.tfck", 0, &err), TF_DATA, err,
                 "b.tfck: truncated: the file has 100 bytes, header and trailer alone 128");
}

/* A damaged chunk is named with its table, and both checksums; of two the first. */
static void test_names_the_chunk(void **state)
{
    struct tf_store *store;
    const struct tf_chunk_info *chunk;
    struct image damaged = {malloc(sample.size), sample.size};
    char text[256];

    (void)state;
    assert_non_null(damaged.bytes);
    memcpy(damaged.bytes, sample.bytes, sample.size);
    assert_fine(tf_store_open(&store, "a.tfck", 0, &err), err);
    chunk = tf_store_chunk(store, 2); /* the second of layers.0.ffn.keys */
    damaged.bytes[chunk->offset + 20] ^= 1;
    damaged.bytes[tf_store_chunk(store, 3)->offset + 20] ^= 1;
    snprintf(text, sizeof(text),
             "b.tfck: table layers.0.ffn.keys: chunk 1: checksum mismatch (stored %016llx, "
             "computed %016llx)",
             (unsigned long long)chunk->coded_hash,
             (unsigned long long)XXH3_64bits(damaged.bytes + chunk->offset, chunk->coded));
    tf_store_close(store);
    save_bytes("b.tfck", damaged.bytes, damaged.size);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, text);
    free(damaged.bytes);
}

static int set_up(void **state)
{
    if (enter_scratch(state) != 0)
        return -1;
    write_sample("a.tfck");
    sample = load_image("a.tfck");
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
        cmocka_unit_test(test_every_bit),        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_appended),         cmocka_unit_test(test_every_shift),
        cmocka_unit_test(test_not_a_checkpoint), cmocka_unit_test(test_names_the_chunk),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
