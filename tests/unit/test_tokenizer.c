/* text/tokenizer: bytes and the separator, there and back, whole and in pieces. */
#include "text/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define SEPARATOR "<|endoftext|>"

static struct tf_tokenizer make(const char *separator)
{
    struct tf_tokenizer tokenizer;
    struct tf_err err = {0};

    assert_int_equal(tf_tokenizer_init(&tokenizer, "bytes", separator, &err), TF_OK);
    return tokenizer;
}

static void sizes(void **state)
{
    const char *const none[] = {NULL, "", "none"};
    struct tf_tokenizer tokenizer = make(SEPARATOR);

    (void)state;
    assert_int_equal(tokenizer.size, 257);
    assert_int_equal(tokenizer.separator_id, 256);
    for (size_t i = 0; i < 3; i++) {
        tokenizer = make(none[i]);
        assert_int_equal(tokenizer.size, 256);
        assert_true(tokenizer.separator_id == TF_NO_TOKEN);
        assert_string_equal(tokenizer.separator, "");
    }
}

static void wrong_ones(void **state)
{
    struct tf_tokenizer tokenizer;
    struct tf_err err = {0};
    char text[65];

    (void)state;
    assert_int_equal(tf_tokenizer_init(&tokenizer, "bpe", NULL, &err), TF_CONFIG);
    assert_string_equal(err.text, "tokenizer: expected bytes, found \"bpe\"");
    memset(text, 'x', 64);
    text[64] = '\0';
    assert_int_equal(tf_tokenizer_init(&tokenizer, "bytes", text, &err), TF_CONFIG);
    assert_string_equal(err.text, "separator: 64 bytes long, the limit is 63");
    assert_int_equal(tf_tokenizer_init(&tokenizer, "bytes", text + 1, &err), TF_OK);
}

static void expect_ids(const char *separator, const char *text, const uint16_t *ids, size_t count)
{
    struct tf_tokenizer tokenizer = make(separator);
    uint16_t out[64];

    assert_int_equal(tf_tokenizer_encode(&tokenizer, text, strlen(text), out), count);
    assert_memory_equal(out, ids, count * sizeof(*ids));
}

#define EXPECT_IDS(separator, text, ...)                         \
    expect_ids(separator, text, (const uint16_t[]){__VA_ARGS__}, \
               sizeof((const uint16_t[]){__VA_ARGS__}) / sizeof(uint16_t))

static void encoding(void **state)
{
    (void)state;
    EXPECT_IDS(NULL, "a\xff<", 'a', 255, '<');
    EXPECT_IDS(SEPARATOR, SEPARATOR, 256);
    EXPECT_IDS(SEPARATOR, "a" SEPARATOR SEPARATOR "b", 'a', 256, 256, 'b');
    EXPECT_IDS(SEPARATOR, "<|end", '<', '|', 'e', 'n', 'd');
    EXPECT_IDS("aa", "aaa", 256, 'a'); /* from the left */
    EXPECT_IDS("aba", "ababab", 256, 'b', 'a', 'b');
    EXPECT_IDS("\n", "x\n", 'x', 256);
    expect_ids(SEPARATOR, "", NULL, 0);
}

/* However a text is cut into pieces, the ids are those of the whole. */
static void pieces_join(const char *separator, const char *text)
{
    struct tf_tokenizer tokenizer = make(separator);
    size_t n = strlen(text);
    uint16_t whole[64], ids[64];
    size_t expected = tf_tokenizer_encode(&tokenizer, text, n, whole);

    for (size_t cut = 0; cut <= n; cut++)
        for (size_t next = cut; next <= n; next++) {
            const size_t ends[] = {cut, next};
            size_t at = 0, count = 0;
            for (int i = 0; i < 2; i++) {
                size_t used;
                count += tf_tokenizer_encode_piece(&tokenizer, text + at, ends[i] - at, &used,
                                                   ids + count);
                at += used;
                assert_true(at <= ends[i]);
                assert_true(ends[i] - at < (strlen(separator) > 0 ? strlen(separator) : 1));
            }
            count += tf_tokenizer_encode(&tokenizer, text + at, n - at, ids + count);
            assert_int_equal(count, expected);
            assert_memory_equal(ids, whole, count * sizeof(*ids));
        }
}

static void pieces(void **state)
{
    (void)state;
    pieces_join("", "abc");
    pieces_join("#", "a##b#");
    pieces_join("aa", "aaaaabaaa");
    pieces_join("aba", "abababaabaabab");
    pieces_join("abab", "ababababcabab");
    pieces_join(SEPARATOR, "one" SEPARATOR "<|endof" SEPARATOR "two<|");
}

static void decoding(void **state)
{
    struct tf_tokenizer tokenizer = make(SEPARATOR);
    size_t n;

    (void)state;
    for (uint32_t id = 0; id < 256; id++) {
        const char *bytes = tf_tokenizer_decode(&tokenizer, id, &n);
        assert_int_equal(n, 1);
        assert_int_equal((unsigned char)bytes[0], id);
    }
    assert_string_equal(tf_tokenizer_decode(&tokenizer, 256, &n), SEPARATOR);
    assert_int_equal(n, strlen(SEPARATOR));
    tf_tokenizer_decode(&tokenizer, 257, &n); /* padding of the vocabulary */
    assert_int_equal(n, 0);
    tokenizer = make(NULL);
    tf_tokenizer_decode(&tokenizer, 256, &n);
    assert_int_equal(n, 0);
    tf_tokenizer_decode(&tokenizer, TF_NO_TOKEN, &n);
    assert_int_equal(n, 0);
}

static void round_trip(const char *separator, const char *yaml)
{
    struct tf_tokenizer tokenizer = make(separator), back;
    struct tf_err err = {0};
    char text[128], small[8];
    size_t n = tf_tokenizer_print(&tokenizer, text, sizeof(text));

    assert_string_equal(text, yaml);
    assert_int_equal(n, strlen(yaml));
    assert_int_equal(tf_tokenizer_print(&tokenizer, small, sizeof(small)), n);
    assert_int_equal(tf_tokenizer_parse(&back, text, n, &err), TF_OK);
    assert_string_equal(back.separator, tokenizer.separator);
    assert_int_equal(back.separator_id, tokenizer.separator_id);
    assert_int_equal(back.size, tokenizer.size);
}

static void blobs(void **state)
{
    (void)state;
    round_trip(SEPARATOR, "kind: bytes\nseparator: \"<|endoftext|>\"\n");
    round_trip(NULL, "kind: bytes\nseparator: none\n");
    round_trip("\n\n", "kind: bytes\nseparator: \"\\n\\n\"\n");
}

static void refused(const char *text, const char *message)
{
    struct tf_tokenizer tokenizer;
    struct tf_err err = {0};

    assert_int_equal(tf_tokenizer_parse(&tokenizer, text, strlen(text), &err), TF_DATA);
    assert_int_equal(err.code, TF_DATA);
    assert_string_equal(err.text, message);
}

static void damaged_blobs(void **state)
{
    (void)state;
    refused("", "tokenizer: expected the keys kind and separator");
    refused("kind: bytes\n", "tokenizer: expected the keys kind and separator");
    refused("kind: bytes\nseparator: [a]\n", "tokenizer: expected the keys kind and separator");
    refused("kind: bytes\nseparator: x\nmore: 1\n",
            "tokenizer: expected the keys kind and separator");
    refused("kind: bpe\nseparator: x\n", "tokenizer: kind: expected bytes, found \"bpe\"");
    refused("kind: bytes\nseparator: "
            "0123456789012345678901234567890123456789012345678901234567890123\n",
            "tokenizer: separator: 64 bytes long, the limit is 63");
    refused("- a\n", "tokenizer: expected the keys kind and separator");
    refused("kind: [\n",
            "tokenizer:2:1: did not find expected node content (while parsing a flow node)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),         cmocka_unit_test(wrong_ones), cmocka_unit_test(encoding),
        cmocka_unit_test(pieces),        cmocka_unit_test(decoding),   cmocka_unit_test(blobs),
        cmocka_unit_test(damaged_blobs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
