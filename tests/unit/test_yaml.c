/* text/yaml: the strict reader, numbers, and writing scalars. */
#include "text/yaml.h"

#include <time.h>

#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tf_yaml *parse(const char *text)
{
    struct tf_yaml *root;
    struct tf_err err = {0};

    if (tf_yaml_parse(&root, "t", text, strlen(text), TF_CONFIG, &err) != TF_OK)
        fail_msg("%s", err.text);
    return root;
}

static void refused_bytes(const char *text, size_t n, const char *message)
{
    struct tf_yaml *root;
    struct tf_err err = {0};

    assert_int_equal(tf_yaml_parse(&root, "t", text, n, TF_DATA, &err), TF_DATA);
    assert_int_equal(err.code, TF_DATA);
    assert_string_equal(err.text, message);
    assert_null(root);
}

static void refused(const char *text, const char *message)
{
    refused_bytes(text, strlen(text), message);
}

static void tree_has_places(void **state)
{
    struct tf_yaml *root =
        parse("# a comment\nmodel:\n  a: 1\n  b: [x, 'y z', {k: v}]\nlast: \"4\"\n");
    const struct tf_yaml *model = tf_yaml_get(root, "model"), *b = tf_yaml_get(model, "b");

    (void)state;
    assert_int_equal(root->kind, TF_YAML_MAPPING);
    assert_int_equal(root->count, 2);
    assert_int_equal(model->count, 2);
    assert_string_equal(model->keys[1]->text, "b");
    assert_int_equal(model->keys[1]->line, 4);
    assert_int_equal(model->keys[1]->column, 3);
    assert_int_equal(b->kind, TF_YAML_SEQUENCE);
    assert_int_equal(b->column, 6);
    assert_int_equal(b->count, 3);
    assert_string_equal(b->items[1]->text, "y z");
    assert_true(b->items[1]->quoted);
    assert_false(b->items[0]->quoted);
    assert_string_equal(tf_yaml_get(b->items[2], "k")->text, "v");
    assert_true(tf_yaml_get(root, "last")->quoted);
    assert_null(tf_yaml_get(root, "none"));
    assert_null(tf_yaml_get(b, "a"));
    tf_yaml_free(root);
}

static void empty_is_a_mapping(void **state)
{
    const char *const texts[] = {"", "\n", "# only a comment\n", "---\n", "--- # x\n...\n"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct tf_yaml *root = parse(texts[i]);
        assert_int_equal(root->kind, TF_YAML_MAPPING);
        assert_int_equal(root->count, 0);
        tf_yaml_free(root);
    }
}

static void what_is_not_allowed(void **state)
{
    (void)state;
    refused("a: &x 1\n", "t:1:4: anchors are not allowed");
    refused("a: *x\n", "t:1:4: aliases are not allowed");
    refused("a: !!int 1\n", "t:1:4: tags are not allowed");
    refused("a: ! 1\n", "t:1:4: tags are not allowed");
    refused("a: &x [1]\n", "t:1:4: anchors are not allowed");
    refused("a: !!map {}\n", "t:1:4: tags are not allowed");
    refused("[1]: 2\n", "t:1:1: a key must be a plain name");
    refused("? {a: b}\n: 2\n", "t:1:3: a key must be a plain name");
    refused("*x : 2\n", "t:1:1: aliases are not allowed");
    refused("a: 1\n---\nb: 2\n", "t:2:1: a second document is not allowed");
    refused("a: 1\nb: 2\na: 3\n", "t:3:1: duplicate key a (first at 1:1)");
    refused("x: {b: 1, a: 1, c: 1, a: 2}\n", "t:1:23: duplicate key a (first at 1:11)");
    refused("a: \"x\\0y\"\n", "t:1:4: a text must not hold the character U+0000");
}

/* libyaml compares each with all before it: four megabytes of them would take a quarter of an hour.
 */
static void tag_directives_are_not_allowed(void **state)
{
    const size_t n = TF_YAML_MAX_BYTES / 16 * 16;
    char *text = malloc(n);

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < n; i += 16) {
        char line[32];
        snprintf(line, sizeof(line), "%%TAG !%06zx! t\n", i);
        memcpy(text + i, line, 16);
    }
    refused_bytes(text, n, "t:1:1: tags are not allowed");
    free(text);

    refused("# text\n%TAG ! x\n--- {}\n", "t:2:1: tags are not allowed");
    refused("a: 1\n...\n%TAG ! x\n---\n", "t:3:1: tags are not allowed");
    refused("\r%TAG ! x\n", "t:1:1: tags are not allowed");
    refused("\xc2\x85%TAG ! x\n", "t:1:1: tags are not allowed");
    refused("\xe2\x80\xa8%TAG ! x\n", "t:1:1: tags are not allowed");
    refused("\xe2\x80\xa9%TAG ! x\n", "t:1:1: tags are not allowed");
    tf_yaml_free(parse("%YAML 1.1\n---\na: \"%TAG ! x\" # %TAG\n"));
}

static void syntax_errors_have_places(void **state)
{
    (void)state;
    refused("a: [1, 2\n",
            "t:2:1: did not find expected ',' or ']' (while parsing a flow sequence)");
    refused(
        "a:\n\t- b\n",
        "t:2:1: found character that cannot start any token (while scanning for the next token)");
    refused("a: \xff\n", "t: byte 4: invalid leading UTF-8 octet");
    refused("a: x\xc3", "t: byte 5: incomplete UTF-8 octet sequence");
    refused("a: \x01\n", "t: byte 4: control characters are not allowed");
    refused_bytes("a: b\0", 5, "t: byte 5: control characters are not allowed");
}

static void depth_is_limited(void **state)
{
    (void)state;
    /* a mapping of one sequence in another: 16 levels of nodes, the innermost scalar among them */
    tf_yaml_free(parse("[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]\n"));
    refused("[[[[[[[[[[[[[[[[x]]]]]]]]]]]]]]]]\n", "t:1:17: nested deeper than 16 levels");
}

static void size_is_limited(void **state)
{
    size_t limit = TF_YAML_MAX_NODES, n = 2 * limit + 2;
    char *text = malloc(n);

    (void)state;
    assert_non_null(text);
    text[0] = '[';
    for (size_t i = 0; i < limit; i++)
        memcpy(text + 1 + 2 * i, "1,", 2);
    text[n - 1] = ']';
    refused_bytes(text, n, "t:1:200000: more than 100000 values");
    text[n - 4] = ' '; /* one value fewer: with the list itself, exactly as many as may be */
    text[n - 3] = ' ';
    text[n - 2] = ' ';
    struct tf_yaml *root;
    struct tf_err err = {0};
    assert_int_equal(tf_yaml_parse(&root, "t", text, n, TF_DATA, &err), TF_OK);
    assert_int_equal(root->count, limit - 1);
    tf_yaml_free(root);
    free(text);
}

/* One long comment, of as many bytes as there may be, and of one more. */
static void bytes_are_limited(void **state)
{
    size_t n = TF_YAML_MAX_BYTES + 1;
    char *text = malloc(n);
    struct tf_yaml *root;
    struct tf_err err = {0};

    (void)state;
    assert_non_null(text);
    memset(text, '#', n);
    refused_bytes(text, n, "t: 4194305 bytes, at most 4194304");
    assert_int_equal(tf_yaml_parse(&root, "t", text, n - 1, TF_DATA, &err), TF_OK);
    assert_int_equal(root->count, 0);
    tf_yaml_free(root);
    free(text);
}

/* As many keys as there may be: comparing each with each would take far longer. */
static void many_keys_take_no_time(void **state)
{
    enum { KEYS = (TF_YAML_MAX_NODES - 1) / 2, LINE = 16 };
    char *text = malloc(KEYS * LINE + 1);
    struct tf_yaml *root;
    struct tf_err err = {0};
    clock_t before = clock();

    (void)state;
    assert_non_null(text);
    for (size_t i = 0; i < KEYS; i++)
        snprintf(text + i * LINE, LINE + 1, "key-%08zu: 1\n", KEYS - i);
    assert_int_equal(tf_yaml_parse(&root, "t", text, KEYS * LINE, TF_DATA, &err), TF_OK);
    assert_int_equal(root->count, KEYS);
    tf_yaml_free(root);
    assert_true(clock() - before < CLOCKS_PER_SEC);
    memcpy(text + (KEYS - 1) * LINE, text, LINE);
    refused_bytes(text, KEYS * LINE, "t:49999:1: duplicate key key-00049999 (first at 1:1)");
    free(text);
}

static bool as_uint(const char *text, unsigned long long *out)
{
    struct tf_yaml scalar = {.kind = TF_YAML_SCALAR, .text = (char *)(uintptr_t)text};

    return tf_yaml_uint(&scalar, out);
}

static bool as_real(const char *text, double *out)
{
    struct tf_yaml scalar = {.kind = TF_YAML_SCALAR, .text = (char *)(uintptr_t)text};

    return tf_yaml_real(&scalar, out);
}

static void integers(void **state)
{
    const char *const wrong[] = {"",    "+1",  "-1",  " 1",  "1 ", "1.0",
                                 "1e6", "010", "0x1", "1_0", "a",  "18446744073709551616"};
    unsigned long long value;

    (void)state;
    assert_true(as_uint("0", &value) && value == 0);
    assert_true(as_uint("1024", &value) && value == 1024);
    assert_true(as_uint("18446744073709551615", &value) && value == UINT64_MAX);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(as_uint(wrong[i], &value));
    assert_int_equal(value, UINT64_MAX); /* untouched */

    struct tf_yaml *list = parse("[\"4\", [4]]");
    assert_false(tf_yaml_uint(list->items[0], &value));
    assert_false(tf_yaml_uint(list->items[1], &value));
    tf_yaml_free(list);
}

static void reals(void **state)
{
    const char *const wrong[] = {"",     ".",     "-",     "e5",  "1e",    "1e+",
                                 "+1",   " 1",    "1 ",    "1,5", "nan",   "inf",
                                 ".inf", "0x1p3", "1.2.3", "--1", "1e999", "1f"};
    static const struct {
        const char *text;
        double value;
    } right[] = {{"0", 0},       {"1e-3", 1e-3}, {"1.0e-3", 1e-3}, {".5", .5},      {"5.", 5},
                 {"-2.5", -2.5}, {"1E+2", 100},  {"007", 7},       {"1e-400", 0.0}, {"0.1", 0.1}};
    double value = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(right) / sizeof(*right); i++) {
        assert_true(as_real(right[i].text, &value));
        assert_true(value == right[i].value);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        assert_false(as_real(wrong[i], &value));
}

static void expect_quote(const char *text, const char *expected)
{
    char out[64];

    assert_int_equal(tf_yaml_quote(out, sizeof(out), text), strlen(expected));
    assert_string_equal(out, expected);
}

static void quoting(void **state)
{
    char small[4];

    (void)state;
    expect_quote("bytes", "bytes");
    expect_quote("data/a-b_c.txt", "data/a-b_c.txt");
    expect_quote("/abs", "/abs");
    expect_quote("", "\"\"");
    expect_quote("-", "\"-\"");
    expect_quote("12", "\"12\"");
    expect_quote(".5", "\".5\"");
    expect_quote("Null", "\"Null\"");
    expect_quote("yes", "\"yes\"");
    expect_quote("<|endoftext|>", "\"<|endoftext|>\"");
    expect_quote("a b", "\"a b\"");
    expect_quote("a\"\\\n\t\x7f", "\"a\\\"\\\\\\n\\x09\\x7F\"");
    expect_quote("\xc3\xa9", "\"\xc3\xa9\"");
    expect_quote("\xc2\x85\xe2\x80\xa8\xef\xbb\xbf", "\"\\x85\\u2028\\uFEFF\"");
    expect_quote("a\xff", "\"a\\uFFFD\"");
    assert_int_equal(tf_yaml_quote(small, sizeof(small), "abcdef"), 6);
    assert_string_equal(small, "abc");
    assert_int_equal(tf_yaml_quote(NULL, 0, "a b"), 5);
}

static size_t put_utf8(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length; i-- > 1; c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((0xf00 >> length) | c);
    return length;
}

/* Every character there is, quoted and read again. */
static void quotes_read_back(void **state)
{
    enum { PER_TEXT = 1024 };
    static char text[4 * PER_TEXT + 1], quoted[6 * PER_TEXT + 3];

    (void)state;
    for (uint32_t first = 1; first < 0x110000; first += PER_TEXT) {
        size_t n = 0;
        for (uint32_t c = first; c < first + PER_TEXT && c < 0x110000; c++)
            if (c < 0xd800 || c > 0xdfff)
                n += put_utf8(text + n, c);
        text[n] = '\0';
        size_t length = tf_yaml_quote(quoted, sizeof(quoted), text);
        assert_true(length < sizeof(quoted));
        struct tf_yaml *root = parse(quoted);
        if (n > 0)
            assert_string_equal(root->text, text);
        tf_yaml_free(root);
    }
}

static void texts_in_memory(void **state)
{
    struct tf_yaml_text yaml;
    struct tf_err err = {0};
    char *out;
    size_t size;

    (void)state;
    assert_int_equal(tf_yaml_begin(&yaml, &err), TF_OK);
    fputs("a: 1\n", yaml.file);
    assert_int_equal(tf_yaml_end(&yaml, &out, &size, &err), TF_OK);
    assert_string_equal(out, "a: 1\n");
    assert_int_equal(size, 5);
    tf_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tree_has_places),
        cmocka_unit_test(empty_is_a_mapping),
        cmocka_unit_test(what_is_not_allowed),
        cmocka_unit_test(tag_directives_are_not_allowed),
        cmocka_unit_test(syntax_errors_have_places),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(size_is_limited),
        cmocka_unit_test(bytes_are_limited),
        cmocka_unit_test(many_keys_take_no_time),
        cmocka_unit_test(integers),
        cmocka_unit_test(reals),
        cmocka_unit_test(quoting),
        cmocka_unit_test(quotes_read_back),
        cmocka_unit_test(texts_in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
