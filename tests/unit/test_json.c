/* text/json: the writer's exact bytes, numbers that read back, and one string out of an object. */
#include "text/json.h"

#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct output {
    struct tf_json json;
    char *text;
    size_t size;
};

static void begin(struct output *output, bool pretty)
{
    *output = (struct output){.json = {.pretty = pretty}};
    output->json.file = open_memstream(&output->text, &output->size);
    assert_non_null(output->json.file);
}

static void expect(struct output *output, const char *text)
{
    assert_int_equal(fclose(output->json.file), 0);
    assert_string_equal(output->text, text);
    free(output->text);
}

static void write_sample(struct tf_json *json)
{
    tf_json_object(json, NULL);
    tf_json_string(json, "schema", "x/1");
    tf_json_uint(json, "u", UINT64_MAX);
    tf_json_array(json, "list");
    tf_json_bool(json, NULL, true);
    tf_json_null(json, NULL);
    tf_json_object(json, NULL);
    tf_json_end_object(json);
    tf_json_array(json, NULL);
    tf_json_real(json, NULL, 0.5);
    tf_json_end_array(json);
    tf_json_end_array(json);
    tf_json_array(json, "none");
    tf_json_end_array(json);
    tf_json_bool(json, "last", false);
    tf_json_end_object(json);
}

static void compact(void **state)
{
    struct output output;

    (void)state;
    begin(&output, false);
    write_sample(&output.json);
    write_sample(&output.json); /* JSON Lines */
#define LINE                                          \
    "{\"schema\":\"x/1\",\"u\":18446744073709551615," \
    "\"list\":[true,null,{},[0.5]],\"none\":[],\"last\":false}\n"
    expect(&output, LINE LINE);
}

static void pretty(void **state)
{
    struct output output;

    (void)state;
    begin(&output, true);
    write_sample(&output.json);
    expect(&output, "{\n"
                    "  \"schema\": \"x/1\",\n"
                    "  \"u\": 18446744073709551615,\n"
                    "  \"list\": [\n"
                    "    true,\n"
                    "    null,\n"
                    "    {},\n"
                    "    [\n"
                    "      0.5\n"
                    "    ]\n"
                    "  ],\n"
                    "  \"none\": [],\n"
                    "  \"last\": false\n"
                    "}\n");
}

static void strings(void **state)
{
    struct output output;

    (void)state;
    begin(&output, false);
    tf_json_array(&output.json, NULL);
    tf_json_string(&output.json, NULL, "\"\\/\b\f\n\r\t\x01\x1f\x7f\xc2\x9b\xc2\xa0");
    tf_json_bytes(&output.json, NULL, "a\0b", 3);
    tf_json_string(&output.json, NULL, "\xc3\xa9\xf0\x9f\x90\xa6");
    tf_json_string(&output.json, NULL,
                   "\xff"
                   "a\xc3");                                    /* not UTF-8 */
    tf_json_string(&output.json, NULL, "\xc0\xaf\xed\xa0\x80"); /* overlong, surrogate */
    tf_json_end_array(&output.json);
#define U_FFFD "\xef\xbf\xbd"
    expect(&output,
           "[\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\\u007f\\u009b\xc2\xa0\",\"a\\u0000b\","
           "\"\xc3\xa9\xf0\x9f\x90\xa6\",\"" U_FFFD "a" U_FFFD "\","
           "\"" U_FFFD U_FFFD U_FFFD U_FFFD U_FFFD "\"]\n");
}

static void reals_that_are_none(void **state)
{
    struct output output;

    (void)state;
    begin(&output, false);
    tf_json_array(&output.json, NULL);
    tf_json_real(&output.json, NULL, NAN);
    tf_json_real(&output.json, NULL, -INFINITY);
    tf_json_real(&output.json, NULL, -0.0);
    tf_json_end_array(&output.json);
    expect(&output, "[null,null,-0]\n");
}

static void real_texts(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {-1.5, "-1.5"},
                 {10000, "10000"},
                 {0.1, "0.1"},
                 {0.001, "0.001"},
                 {1e-4, "0.0001"},
                 {1e-5, "1e-5"},
                 {1e-8, "1e-8"},
                 {123456789, "123456789"},
                 {1e15, "1000000000000000"},
                 {1e16, "1e16"},
                 {1.0 / 3, "0.3333333333333333"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e308"},
                 {9007199254740993.0, "9007199254740992"},
                 {1e22, "1e22"},
                 {NAN, "nan"},
                 {INFINITY, "inf"},
                 {-INFINITY, "-inf"}};
    char text[32];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_string_equal(tf_real_text(text, cases[i].value), cases[i].text);
}

static void reals_read_back(void **state)
{
    char text[32];

    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t bits = tf_rng_bits(1, 2, i);
        double value, back;
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        back = strtod(tf_real_text(text, value), NULL);
        assert_memory_equal(&back, &value, sizeof(value));
    }
}

static void string_is(const char *text, const char *expected)
{
    struct tf_err err = {0};
    char *out;
    size_t size;

    assert_int_equal(tf_json_get_string(text, strlen(text), "prompt", &out, &size, &err), TF_OK);
    assert_string_equal(out, expected);
    assert_int_equal(size, strlen(expected));
    tf_free(out);
}

static void refuse_string(const char *text, const char *message)
{
    struct tf_err err = {0};
    char *out;
    size_t size;

    assert_int_equal(tf_json_get_string(text, strlen(text), "prompt", &out, &size, &err), TF_DATA);
    assert_string_equal(err.text, message);
    assert_null(out);
}

static void reading(void **state)
{
    (void)state;
    string_is("{\"prompt\": \"Once\\n\\u00e9\"}", "Once\n\xc3\xa9");
    string_is(" {\"a\": [1], \"prompt\": \"\"} ", "");
    refuse_string("[\"prompt\"]", "not a JSON object");
    refuse_string("{\"promt\": \"x\"}", "the object has no key \"prompt\"");
    refuse_string("{\"prompt\": 4}", "the value of \"prompt\" is not a string");
    refuse_string("", "column 0: not JSON: '[' or '{' expected near end of file");
    refuse_string("{\"prompt\": \"x\"} y", "column 17: not JSON: end of file expected near 'y'");
    refuse_string("{\"prompt\": \"a\\u0000b\"}",
                  "column 21: not JSON: \\u0000 is not allowed without JSON_ALLOW_NUL near "
                  "'\"a\\u0000b\"'");
    refuse_string("{\"prompt\": \"a\", \"prompt\": \"b\"}",
                  "column 24: not JSON: duplicate object key near '\"prompt\"'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact),    cmocka_unit_test(pretty),
        cmocka_unit_test(strings),    cmocka_unit_test(reals_that_are_none),
        cmocka_unit_test(real_texts), cmocka_unit_test(reals_read_back),
        cmocka_unit_test(reading),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
