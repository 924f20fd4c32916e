/* base/err: messages, context as an error rises, and the escaping of what came from outside. */
#include "base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void test_fail_sets_code_and_text(void **state)
{
    struct tf_err err = {0};

    (void)state;
    assert_int_equal(tf_fail(&err, TF_DATA, "%s: row %d of %u", "m.tfck", 7, 9U), TF_DATA);
    assert_int_equal(err.code, TF_DATA);
    assert_string_equal(err.text, "m.tfck: row 7 of 9");
    assert_int_equal(tf_fail(NULL, TF_IO, "nobody listens"), TF_IO);
}

static void test_fail_errno_appends_the_word(void **state)
{
    struct tf_err err = {0};

    (void)state;
    errno = ENOENT;
    assert_int_equal(tf_fail_errno(&err, TF_NOINPUT, "%s", "a.txt"), TF_NOINPUT);
    assert_string_equal(err.text, "a.txt: No such file or directory");
    assert_int_equal(tf_fail_errno(NULL, TF_NOINPUT, "nobody listens"), TF_NOINPUT);
}

static void test_errno_of_memory(void **state)
{
    struct tf_err err = {0};

    (void)state;
    errno = ENOMEM;
    assert_int_equal(tf_fail_errno(&err, TF_CANTCREATE, "a.txt"), TF_MEMORY);
    assert_int_equal(err.code, TF_MEMORY);
    assert_string_equal(err.text, "a.txt: Cannot allocate memory");
    errno = ENOMEM;
    assert_int_equal(tf_fail_errno(NULL, TF_IO, "nobody listens"), TF_MEMORY);
}

static void test_context_rises(void **state)
{
    struct tf_err err = {0};

    (void)state;
    tf_fail(&err, TF_DATA, "checksum mismatch");
    assert_int_equal(tf_context(&err, "chunk %d", 17), TF_DATA);
    assert_int_equal(tf_context(&err, "%s", "m.tfck"), TF_DATA);
    assert_string_equal(err.text, "m.tfck: chunk 17: checksum mismatch");
    assert_int_not_equal(tf_context(NULL, "nobody listens"), TF_OK);
}

static void test_message_may_quote_itself(void **state)
{
    struct tf_err err = {0};

    (void)state;
    tf_fail(&err, TF_DATA, "inner");
    tf_fail(&err, TF_CONFIG, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
    tf_context(&err, "<%s>", err.text);
    assert_string_equal(err.text, "<outer (inner)>: outer (inner)");
}

static void test_long_messages_are_cut(void **state)
{
    struct tf_err err = {0};
    char name[3 * sizeof(err.text)];

    (void)state;
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(tf_fail(&err, TF_DATA, "%s", name), TF_DATA);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    errno = EIO;
    tf_fail_errno(&err, TF_IO, "%s", name);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(tf_context(&err, "%s", name), TF_IO);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    assert_int_equal(err.text[0], 'a');

    memset(name, 0xff, sizeof(name) - 1); /* four bytes each once escaped */
    tf_fail(&err, TF_DATA, "%s", name);
    assert_int_equal(strlen(err.text) % 4, 0);
    assert_string_equal(err.text + strlen(err.text) - 4, "\\xff");
}

static void test_names_from_files_cannot_steer_a_terminal(void **state)
{
    struct tf_err err = {0};

    (void)state;
    tf_fail(&err, TF_DATA, "table %s", "a\x1b[31m\n\x7f");
    assert_string_equal(err.text, "table a\\x1b[31m\\x0a\\x7f");
    tf_context(&err, "\xc2\x9b");
    assert_string_equal(err.text, "\\xc2\\x9b: table a\\x1b[31m\\x0a\\x7f");
}

static void expect_escape(const char *text, size_t n, const char *expected)
{
    char out[64];

    assert_ptr_equal(tf_escape(out, sizeof(out), text, n), out);
    assert_string_equal(out, expected);
}

static void test_escape_knows_utf8(void **state)
{
    (void)state;
    expect_escape("", 0, "");
    expect_escape("a\0b", 3, "a\\x00b");
    expect_escape("gr\xc3\xbc\xc3\x9f", 6, "gr\xc3\xbc\xc3\x9f");
    expect_escape("\xe2\x82\xac \xf0\x9f\x8c\xb1", 8, "\xe2\x82\xac \xf0\x9f\x8c\xb1");
    expect_escape("\xc2\xa0", 2, "\xc2\xa0");              /* the first after C1 */
    expect_escape("a\xe2\x80\xae", 4, "a\\xe2\\x80\\xae"); /* right to left */
    expect_escape("\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8");   /* line separator */
    expect_escape("\xe2\x81\xa6", 3, "\\xe2\\x81\\xa6");   /* isolate */
    expect_escape("\xe2\x80\xa7", 3, "\xe2\x80\xa7");
    expect_escape("\xe2\x80\xaf", 3, "\xe2\x80\xaf");
    expect_escape("\xe2\x81\xaa", 3, "\xe2\x81\xaa");
    expect_escape("\xf4\x8f\xbf\xbf", 4, "\xf4\x8f\xbf\xbf");     /* U+10FFFF */
    expect_escape("\xed\x9f\xbf", 3, "\xed\x9f\xbf");             /* below the surrogates */
    expect_escape("\xc3", 1, "\\xc3");                            /* cut off */
    expect_escape("\xe2\x82", 2, "\\xe2\\x82");                   /* cut off */
    expect_escape("\xc3(", 2, "\\xc3(");                          /* bad second byte */
    expect_escape("\xe2\x82(", 3, "\\xe2\\x82(");                 /* bad third byte */
    expect_escape("\x80", 1, "\\x80");                            /* stray continuation */
    expect_escape("\xc0\xaf", 2, "\\xc0\\xaf");                   /* overlong */
    expect_escape("\xe0\x9f\xbf", 3, "\\xe0\\x9f\\xbf");          /* overlong */
    expect_escape("\xf0\x8f\xbf\xbf", 4, "\\xf0\\x8f\\xbf\\xbf"); /* overlong */
    expect_escape("\xed\xa0\x80", 3, "\\xed\\xa0\\x80");          /* surrogate */
    expect_escape("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80"); /* above U+10FFFF */
    expect_escape("\xf5\x80\x80\x80", 4, "\\xf5\\x80\\x80\\x80");
}

static void test_escape_cuts_between_characters(void **state)
{
    char out[6];

    (void)state;
    memset(out, '#', sizeof(out));
    tf_escape(out, 0, "abc", 3);
    assert_int_equal(out[0], '#');
    assert_string_equal(tf_escape(out, 1, "abc", 3), "");
    assert_string_equal(tf_escape(out, 3, "abc", 3), "ab");
    assert_string_equal(tf_escape(out, 4, "abc", 3), "abc");
    assert_string_equal(tf_escape(out, 3, "a\xc3\xbc", 3), "a");
    assert_string_equal(tf_escape(out, 4, "a\xc3\xbc", 3), "a\xc3\xbc");
    assert_string_equal(tf_escape(out, 5, "a\x01", 2), "a");
    assert_string_equal(tf_escape(out, 6, "a\x01", 2), "a\\x01");
}

static void test_nearest_name(void **state)
{
    static const char *const names[] = {"output", "threads", "train.lr", "train.steps", "qkv"};
    char longest[100];

    (void)state;
    assert_string_equal(tf_nearest("outptu", names, 5), "output");
    assert_string_equal(tf_nearest("thread", names, 5), "threads");
    assert_string_equal(tf_nearest("train.step", names, 5), "train.steps");
    assert_string_equal(tf_nearest("kv", names, 5), "qkv");
    assert_string_equal(tf_nearest("qkv", names, 5), "qkv");
    assert_null(tf_nearest("verbatim", names, 5));
    assert_null(tf_nearest("", names, 5));
    assert_null(tf_nearest("qkv", names, 0));
    memset(longest, 'q', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    assert_null(tf_nearest(longest, names, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fail_sets_code_and_text),
        cmocka_unit_test(test_fail_errno_appends_the_word),
        cmocka_unit_test(test_errno_of_memory),
        cmocka_unit_test(test_context_rises),
        cmocka_unit_test(test_message_may_quote_itself),
        cmocka_unit_test(test_long_messages_are_cut),
        cmocka_unit_test(test_names_from_files_cannot_steer_a_terminal),
        cmocka_unit_test(test_escape_knows_utf8),
        cmocka_unit_test(test_escape_cuts_between_characters),
        cmocka_unit_test(test_nearest_name),
    };

    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
