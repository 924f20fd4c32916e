/* text/corpus: reading texts of every kind, splits, hashes, and the order of windows. */
#include "text/corpus.h"

#include "base/mem.h"
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>
#include <zstd.h>

#include <cmocka.h>

#define SEPARATOR "<|endoftext|>"

/* Every test runs in an empty folder of its own. */
static int enter_scratch(void **state)
{
    char *folder = strdup("/tmp/tf-test-corpus-XXXXXX");

    *state = folder;
    return folder == NULL || mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int leave_scratch(void **state)
{
    char command[64];
    int rc;

    snprintf(command, sizeof(command), "rm -r '%s'", (char *)*state);
    rc = chdir("/") != 0 || system(command) != 0;
    free(*state);
    return rc;
}

static void put_bytes(const char *path, const char *mode, const void *bytes, size_t n)
{
    FILE *file = fopen(path, mode);

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void put(const char *path, const char *text)
{
    put_bytes(path, "w", text, strlen(text));
}

/* Appends a frame to a .zst file. */
static void put_zstd(const char *path, const void *bytes, size_t n)
{
    size_t room = ZSTD_compressBound(n);
    void *coded = malloc(room);

    assert_non_null(coded);
    size_t size = ZSTD_compress(coded, room, bytes, n, 1);
    assert_false(ZSTD_isError(size));
    put_bytes(path, "a", coded, size);
    free(coded);
}

static struct tf_tokenizer tokenizer_with(const char *separator)
{
    struct tf_tokenizer tokenizer;
    struct tf_err err = {0};

    assert_int_equal(tf_tokenizer_init(&tokenizer, "bytes", separator, &err), TF_OK);
    return tokenizer;
}

/* The files' corpus is what the whole text encodes to. */
static void expect_text(const char *const *paths, size_t count, const char *separator,
                        const char *text, size_t n)
{
    struct tf_tokenizer tokenizer = tokenizer_with(separator);
    struct tf_corpus corpus;
    struct tf_err err = {0};
    uint16_t *ids = malloc(n * sizeof(*ids));

    assert_non_null(ids);
    size_t expected = tf_tokenizer_encode(&tokenizer, text, n, ids);
    if (tf_corpus_load(&corpus, &tokenizer, paths, count, &err) != TF_OK)
        fail_msg("%s", err.text);
    assert_int_equal(corpus.count, expected);
    assert_memory_equal(corpus.tokens, ids, expected * sizeof(*ids));
    assert_int_equal(tf_corpus_bytes(&corpus, &tokenizer, 0, corpus.count), n);
    tf_corpus_fini(&corpus);
    free(ids);
}

static void refused(const char *const *paths, size_t count, enum tf_code code, const char *message)
{
    struct tf_tokenizer tokenizer = tokenizer_with(SEPARATOR);
    struct tf_corpus corpus;
    struct tf_err err = {0};

    assert_int_equal(tf_corpus_load(&corpus, &tokenizer, paths, count, &err), code);
    assert_string_equal(err.text, message);
    assert_null(corpus.tokens);
}

/* n bytes of text with a separator every so often, so that some straddle every power of two. */
static char *long_text(size_t n)
{
    char *text = malloc(n + sizeof(SEPARATOR));
    size_t at = 0;

    assert_non_null(text);
    for (size_t i = 0; at < n; i++) {
        memset(text + at, 'a' + (int)(i % 26), 1 + i % 3);
        at += 1 + i % 3;
        memcpy(text + at, SEPARATOR, strlen(SEPARATOR));
        at += i % 5 == 0 ? strlen(SEPARATOR) - 1 : strlen(SEPARATOR); /* some cut short */
        if (at > n - 20)
            break;
    }
    memset(text + at, '<', n > at ? n - at : 0);
    return text;
}

static void plain_files(void **state)
{
    const size_t sizes[] = {1, 13, 65535, 65536, 65537, 65536 + 62, 300000};

    (void)state;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        char *text = long_text(sizes[i] + 64);
        put_bytes("a.txt", "w", text, sizes[i]);
        expect_text((const char *[]){"a.txt"}, 1, SEPARATOR, text, sizes[i]);
        expect_text((const char *[]){"a.txt"}, 1, NULL, text, sizes[i]);
        free(text);
    }
}

/* At every position around the end of the read buffer. */
static void separator_across_buffers(void **state)
{
    static char text[65536 + 64];

    (void)state;
    for (size_t at = 65536 - 16; at <= 65536 + 2; at++) {
        memset(text, '.', sizeof(text));
        memcpy(text + at, SEPARATOR, strlen(SEPARATOR));
        put_bytes("a.txt", "w", text, sizeof(text));
        expect_text((const char *[]){"a.txt"}, 1, SEPARATOR, text, sizeof(text));
    }
}

static void files_join_as_cat_does(void **state)
{
    const char *const paths[] = {"a.txt", "b.txt", "empty.txt", "c.txt.zst"};
    const char *text = "one<|endoftext|>two<|endof";

    (void)state;
    put("a.txt", "one<|end");
    put("b.txt", "oftext|>t");
    put("empty.txt", "");
    put_zstd("c.txt.zst", "wo<|endof", 9);
    expect_text(paths, 4, SEPARATOR, text, strlen(text));
}

static void zstd_files(void **state)
{
    size_t n = 400000;
    char *text = long_text(n);

    (void)state;
    put_zstd("a.zst", text, 100000); /* frames one after the other */
    put_zstd("a.zst", text + 100000, 0);
    put_bytes("a.zst", "a", "\x50\x2a\x4d\x18\x03\0\0\0abc", 11); /* skippable */
    put_zstd("a.zst", text + 100000, n - 100000);
    expect_text((const char *[]){"a.zst"}, 1, SEPARATOR, text, n);
    /* a frame that fills the buffer to the last byte */
    put_zstd("b.zst", text, 65536);
    expect_text((const char *[]){"b.zst"}, 1, SEPARATOR, text, 65536);
    free(text);
}

static void standard_input(void **state)
{
    int saved = dup(STDIN_FILENO), fd;

    (void)state;
    put("in.txt", "from a pipe");
    fd = open("in.txt", O_RDONLY);
    assert_true(saved >= 0 && fd >= 0 && dup2(fd, STDIN_FILENO) >= 0);
    expect_text((const char *[]){"-"}, 1, SEPARATOR, "from a pipe", 11);
    refused((const char *[]){"-"}, 1, TF_DATA, "standard input: the text is empty");
    assert_true(dup2(saved, STDIN_FILENO) >= 0);
    close(saved);
    close(fd);
}

static void bad_files(void **state)
{
    (void)state;
    put("empty.txt", "");
    put("not.zst", "this is no zstd at all");
    put("empty.zst", "");
    assert_int_equal(mkdir("folder", 0777), 0);
    refused((const char *[]){"missing.txt"}, 1, TF_NOINPUT,
            "missing.txt: No such file or directory");
    refused((const char *[]){"empty.txt", "missing.txt"}, 2, TF_NOINPUT,
            "missing.txt: No such file or directory");
    refused((const char *[]){"folder"}, 1, TF_NOINPUT, "folder: is a directory");
    refused((const char *[]){"empty.txt"}, 1, TF_DATA, "empty.txt: the text is empty");
    refused((const char *[]){"empty.txt", "empty.txt"}, 2, TF_DATA,
            "empty.txt and those before it: empty");
    refused((const char *[]){"not.zst"}, 1, TF_DATA,
            "not.zst: damaged zstd: Unknown frame descriptor");
    refused((const char *[]){"empty.zst"}, 1, TF_DATA,
            "empty.zst: truncated zstd: ends inside a frame");
}

static void truncated_zstd(void **state)
{
    char coded[4096], text[1000];

    (void)state;
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i * i % 23);
    size_t size = ZSTD_compress(coded, sizeof(coded), text, sizeof(text), 1);
    assert_false(ZSTD_isError(size));
    for (size_t n = 0; n < size; n++) {
        put_bytes("cut.zst", "w", coded, n);
        refused((const char *[]){"cut.zst"}, 1, TF_DATA,
                "cut.zst: truncated zstd: ends inside a frame");
    }
}

static void splits(void **state)
{
    struct tf_tokenizer tokenizer = tokenizer_with(NULL);
    struct tf_corpus corpus, tail;
    struct tf_err err = {0};

    (void)state;
    put("a.txt", "0123456789abcdefghij");
    assert_int_equal(tf_corpus_load(&corpus, &tokenizer, (const char *[]){"a.txt"}, 1, &err),
                     TF_OK);
    tf_corpus_split(&corpus, 0.1, &tail);
    assert_int_equal(corpus.count, 18);
    assert_int_equal(tail.count, 2);
    assert_int_equal(tail.tokens[0], 'i');
    assert_true(tail.borrowed);
    assert_int_equal(tf_corpus_windows(&corpus, 17), 1);
    assert_int_equal(tf_corpus_windows(&corpus, 18), 0); /* no token is left to predict */
    assert_int_equal(tf_corpus_windows(&corpus, 4), 4);
    tf_corpus_fini(&tail);
    tf_corpus_fini(&corpus);
    assert_int_equal(tf_corpus_windows(&corpus, 4), 0);
}

static void hashes(void **state)
{
    enum { COUNT = 10000 };
    static uint16_t ids[COUNT];
    static uint8_t bytes[2 * COUNT];
    struct tf_corpus corpus = {ids, COUNT, true};

    (void)state;
    for (size_t i = 0; i < COUNT; i++) {
        ids[i] = (uint16_t)(i * 40503);
        bytes[2 * i] = (uint8_t)ids[i];
        bytes[2 * i + 1] = (uint8_t)(ids[i] >> 8);
    }
    assert_true(tf_corpus_hash(&corpus) == XXH3_64bits(bytes, sizeof(bytes)));
    corpus.count = 4096; /* exactly one block */
    assert_true(tf_corpus_hash(&corpus) == XXH3_64bits(bytes, 8192));
    corpus.count = 0;
    assert_true(tf_corpus_hash(&corpus) == XXH3_64bits(bytes, 0));
}

static void bytes_of_a_part(void **state)
{
    struct tf_tokenizer tokenizer = tokenizer_with(SEPARATOR);
    uint16_t ids[] = {'a', 256, 'b', 300};
    struct tf_corpus corpus = {ids, 4, true};

    (void)state;
    assert_int_equal(tf_corpus_bytes(&corpus, &tokenizer, 0, 3), 2 + strlen(SEPARATOR));
    assert_int_equal(tf_corpus_bytes(&corpus, &tokenizer, 2, 3), 1);
    assert_int_equal(tf_corpus_bytes(&corpus, &tokenizer, 2, 2), 0);
    assert_int_equal(tf_corpus_bytes(&corpus, &tokenizer, 3, 4), 0); /* padding */
}

static void sequential_order(void **state)
{
    (void)state;
    for (uint64_t step = 0; step < 10; step++)
        for (uint64_t b = 0; b < 4; b++)
            assert_int_equal(tf_corpus_window(TF_ORDER_SEQUENTIAL, 7, 13, 4, step, b),
                             (step * 4 + b) % 13);
}

/* Each epoch sees every window once, epochs and seeds differ, and the step's size does not change
 * the order. */
static void shuffled_order(void **state)
{
    enum { WINDOWS = 50, EPOCHS = 4 };
    uint64_t order[2][EPOCHS][WINDOWS];

    (void)state;
    for (uint64_t i = 0; i < EPOCHS * WINDOWS; i++)
        for (uint64_t seed = 0; seed < 2; seed++) {
            order[seed][i / WINDOWS][i % WINDOWS] =
                tf_corpus_window(TF_ORDER_SHUFFLED, seed, WINDOWS, 1, i, 0);
            assert_int_equal(tf_corpus_window(TF_ORDER_SHUFFLED, seed, WINDOWS, 8, i / 8, i % 8),
                             order[seed][i / WINDOWS][i % WINDOWS]);
        }
    for (int seed = 0; seed < 2; seed++)
        for (int epoch = 0; epoch < EPOCHS; epoch++) {
            int seen[WINDOWS] = {0};
            for (int i = 0; i < WINDOWS; i++) {
                assert_true(order[seed][epoch][i] < WINDOWS);
                seen[order[seed][epoch][i]]++;
            }
            for (int i = 0; i < WINDOWS; i++)
                assert_int_equal(seen[i], 1);
        }
    assert_memory_not_equal(order[0][0], order[0][1], sizeof(order[0][0]));
    assert_memory_not_equal(order[0][0], order[1][0], sizeof(order[0][0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_files, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(separator_across_buffers, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(files_join_as_cat_does, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(zstd_files, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(standard_input, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(bad_files, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(truncated_zstd, enter_scratch, leave_scratch),
        cmocka_unit_test_setup_teardown(splits, enter_scratch, leave_scratch),
        cmocka_unit_test(hashes),
        cmocka_unit_test(bytes_of_a_part),
        cmocka_unit_test(sequential_order),
        cmocka_unit_test(shuffled_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
