#include "unit.h"

#include "base/mem.h"
#include "nn/model.h"
#include "train/bundle.h"

static struct tf_err err;

static enum tf_code parse(struct tf_manifest *manifest, const char *text)
{
    return tf_manifest_parse(manifest, "manifest.yaml", text, strlen(text), &err);
}

#define HEAD "schema: tokenformer checkpoint 1\n"

static void test_defaults(void **state)
{
    static const char text[] = HEAD "tables:\n"
                                    "  norm.weight:\n"
                                    "  layers.0.ffn.values: {}\n"
                                    "  layers.0.ffn.keys: {scale: 44.5}\n"
                                    "  embed.tokens:\n"
                                    "  optim.v/layers.0.ffn.values:\n"
                                    "  optim.m/norm.none:\n";
    static const struct {
        const char *name, *file;
        enum tf_role role;
        uint32_t group;
        double scale;
    } expected[] = {
        {"embed.tokens", "embed.tokens.npy", TF_PARAMETER, 1, 0},
        {"layers.0.ffn.keys", "layers.0.ffn.keys.npy", TF_PARAMETER, 2, 44.5},
        {"layers.0.ffn.values", "layers.0.ffn.values.npy", TF_PARAMETER, 2, 44.5},
        {"norm.weight", "norm.weight.npy", TF_PARAMETER, 3, 0},
        {"optim.m/norm.none", "optim.m+norm.none.npy", TF_MOMENT, 4, 0},
        {"optim.v/layers.0.ffn.values", "optim.v+layers.0.ffn.values.npy", TF_MOMENT, 2, 0},
    };
    struct tf_manifest manifest;

    (void)state;
    assert_ok(parse(&manifest, text), &err);
    assert_string_equal(manifest.digest, "");
    assert_int_equal(manifest.count, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < manifest.count; i++) {
        const struct tf_manifest_table *table = &manifest.tables[i];
        assert_string_equal(table->info.name, expected[i].name);
        assert_string_equal(table->file, expected[i].file);
        assert_int_equal(table->info.role, expected[i].role);
        assert_int_equal(table->info.filter, TF_FILTER_PLANES);
        assert_int_equal(table->info.row_group, expected[i].group);
        assert_true(table->info.scale == expected[i].scale);
        assert_null(table->runs);
    }
    tf_manifest_fini(&manifest);
}

static void test_settings(void **state)
{
    struct tf_manifest manifest;

    (void)state;
    assert_int_equal(parse(&manifest, HEAD "tables: {a: }\nsettings: x\n"), TF_DATA);
    assert_string_equal(
        err.text, "manifest.yaml:3:11: settings: expected 32 hexadecimal digits, found \"x\"");
    tf_manifest_fini(&manifest);
}

/* What is read is what was written, with nothing said twice. */
static void test_text(void **state)
{
    static const char text[] =
        HEAD "digest: \"0123456789abcdef0123456789abcdef\"\n"
             "settings: \"fedcba9876543210fedcba9876543210\"\n"
             "tables:\n"
             "  \"0\": {file: \"x y.npy\", role: buffer, filter: none, row_group: 0, scale: 0.1}\n"
             "  layers.0.ffn.keys: {row_group: 7, scale: 1e-300, chunks: [96*3, 40, 1*1000]}\n"
             "  layers.0.ffn.values: {row_group: 8, scale: 2}\n"
             "  norm.weight:\n"
             "  optim.m/layers.0.ffn.keys: {role: parameter, scale: 3}\n";
    struct tf_manifest manifest;
    size_t size;
    char *out;

    (void)state;
    assert_ok(parse(&manifest, text), &err);
    assert_string_equal(manifest.digest, "0123456789abcdef0123456789abcdef");
    assert_string_equal(manifest.settings, "fedcba9876543210fedcba9876543210");
    assert_int_equal(manifest.tables[1].run_count, 3);
    assert_int_equal(manifest.tables[1].runs[0].rows, 96);
    assert_int_equal(manifest.tables[1].runs[0].times, 3);
    assert_int_equal(manifest.tables[1].runs[1].times, 1);
    assert_int_equal(manifest.tables[3].info.row_group, 9);
    assert_int_equal(manifest.tables[4].info.row_group, 7);
    assert_ok(tf_manifest_print(&manifest, &out, &size, &err), &err);
    assert_string_equal(out, text);
    assert_int_equal(size, strlen(text));
    tf_free(out);
    tf_manifest_fini(&manifest);
}

static void test_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "1:1: the key schema is missing"},
        {"[]", "1:1: manifest: expected keys and values, found an empty list"},
        {"schema: tokenformer checkpoint 1\n", "1:1: the key tables is missing"},
        {"schema: tokenformer checkpoint 2\ntables: {a: }\nmore: 1\n",
         "1:9: schema: expected tokenformer checkpoint 1, found \"tokenformer checkpoint 2\""},
        {HEAD "tabels: {}\ntables: {a: }\n", "2:1: unknown key tabels (did you mean tables?)"},
        {HEAD "tables: {a: }\ndigest: 12\n",
         "3:9: digest: expected 32 hexadecimal digits, found \"12\""},
        {HEAD "tables: {}\n", "2:9: tables: expected tables by their names, found a mapping"},
        {HEAD "tables: [a]\n", "2:9: tables: expected tables by their names, found [a]"},
        {HEAD "tables: {a: 3}\n", "2:13: a: expected keys and values, found \"3\""},
        {HEAD "tables: {a: {fil: x}}\n", "2:14: unknown key fil (did you mean file?)"},
        {HEAD "tables: {a: {colour: x}}\n", "2:14: unknown key colour"},
        {HEAD "tables: {a: , b: , a: }\n", "2:20: duplicate key a (first at 2:10)"},
        {HEAD "tables: {a: {file: ../x}}\n",
         "2:20: file: expected the plain name of a file in the folder, found \"../x\""},
        {HEAD "tables: {a: {file: \"..\"}}\n",
         "2:20: file: expected the plain name of a file in the folder, found the text \"..\""},
        {HEAD "tables: {a: {file: \"\"}}\n",
         "2:20: file: expected the plain name of a file in the folder, found the text \"\""},
        {HEAD "tables: {a: {role: boss}}\n",
         "2:20: role: expected parameter, moment or buffer, found \"boss\""},
        {HEAD "tables: {a: {filter: 1}}\n", "2:22: filter: expected planes or none, found \"1\""},
        {HEAD "tables: {a: {row_group: 65537}}\n",
         "2:25: row_group: expected an integer from 0 to 65536, found \"65537\""},
        {HEAD "tables: {a: {scale: -1}}\n",
         "2:21: scale: expected a number, 0 or more, found \"-1\""},
        {HEAD "tables: {a: {scale: 1e999}}\n",
         "2:21: scale: expected a number, 0 or more, found \"1e999\""},
        {HEAD "tables: {a: {chunks: []}}\n", "2:22: chunks: expected a list of the rows in each "
                                             "chunk, like [96*3, 40], found an empty list"},
        {HEAD "tables: {a: {chunks: [0]}}\n",
         "2:22: chunks: expected a list of the rows in each chunk, like [96*3, 40], found [0]"},
        {HEAD "tables: {a: {chunks: [1*99999999999]}}\n",
         "2:22: chunks: expected a list of the rows in each chunk, like [96*3, 40], found "
         "[1*99999999999]"},
        {HEAD "tables: {a: {chunks: [99999999999999999999]}}\n",
         "2:22: chunks: expected a list of the rows in each chunk, like [96*3, 40], found "
         "[99999999999999999999]"},
        {HEAD "tables: {a: {chunks: [1*1048576]}, b: {chunks: [1]}}\n",
         "2:48: chunks: more than 1048576 in all tables"},
        {HEAD "tables: {A: }\n", "2:10: table \"A\": a name is 1 to 255 of a-z 0-9 . _ / -"},
        {HEAD "tables: {a: {row_group: 65536}, b: }\n",
         "2:33: table b: row group 65537, at most 65536"},
    };
    struct tf_manifest manifest;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char says[256];
        snprintf(says, sizeof says, "manifest.yaml:%s", cases[i].says);
        assert_int_equal(parse(&manifest, cases[i].text), TF_DATA);
        assert_string_equal(err.text, says);
        tf_manifest_fini(&manifest);
    }
}

static void test_long_name(void **state)
{
    char text[512], name[301];
    struct tf_manifest manifest;

    (void)state;
    memset(name, 'a', 300);
    name[300] = '\0';
    snprintf(text, sizeof text, HEAD "tables: {%s: }\n", name);
    assert_int_equal(parse(&manifest, text), TF_DATA);
    assert_string_equal(err.text, "manifest.yaml:2:10: a name of 300 bytes, at most 255");
    tf_manifest_fini(&manifest);
}

static void add_table(struct tf_manifest *manifest, const char *name, enum tf_role role,
                      uint32_t group, double scale)
{
    struct tf_manifest_table *table = &manifest->tables[manifest->count++];

    snprintf(table->info.name, sizeof table->info.name, "%s", name);
    table->info.role = role;
    table->info.filter = TF_FILTER_PLANES;
    table->info.row_group = group;
    table->info.scale = scale;
    table->file = tf_manifest_file(name, &err);
    assert_non_null(table->file);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tf_manifest_table *)a)->info.name,
                  ((const struct tf_manifest_table *)b)->info.name);
}

/* The deepest model that a config can have, with its moments, fits the limits of YAML. */
static void test_deepest(void **state)
{
    static const char *const prefixes[] = {"", "optim.m/", "optim.v/"};
    struct tf_manifest manifest = {0}, back;
    size_t size;
    char *text;

    (void)state;
    manifest.tables = tf_new(3 * 2 * 5 * TF_MAX_LAYERS, sizeof *manifest.tables, "test", &err);
    assert_non_null(manifest.tables);
    for (int i = 0; i < 3; i++)
        for (uint64_t layer = 0; layer < TF_MAX_LAYERS; layer++)
            for (int p = 0; p < TF_PROJECTIONS; p++)
                for (int values = 0; values < 2; values++) {
                    char table[TF_TABLE_NAME], name[TF_TABLE_NAME + 8];
                    snprintf(name, sizeof name, "%s%s", prefixes[i],
                             tf_table_name(table, layer, p, values));
                    add_table(&manifest, name, i ? TF_MOMENT : TF_PARAMETER, 0, i ? 0 : 8620.5);
                }
    qsort(manifest.tables, manifest.count, sizeof *manifest.tables, by_name);
    for (size_t i = 0; i < manifest.count; i++) /* as tf_model numbers them */
        manifest.tables[i].info.row_group = 1 + (uint32_t)((i % (manifest.count / 3)) / 2);
    assert_ok(tf_manifest_print(&manifest, &text, &size, &err), &err);
    assert_ok(tf_manifest_parse(&back, "m", text, size, &err), &err);
    assert_int_equal(back.count, manifest.count);
    for (size_t i = 0; i < back.count; i++) {
        const struct tf_table_info *a = &manifest.tables[i].info, *b = &back.tables[i].info;
        assert_string_equal(a->name, b->name);
        assert_int_equal(a->role, b->role);
        assert_int_equal(a->row_group, b->row_group);
        assert_true(a->scale == b->scale);
    }
    tf_free(text);
    tf_manifest_fini(&back);
    tf_manifest_fini(&manifest);
}

/* What no reader would take is not written. */
static void test_too_large(void **state)
{
    struct tf_manifest manifest = {0};
    size_t size;
    char *text, name[TF_MAX_NAME + 1];

    (void)state;
    manifest.tables = tf_new(30000, sizeof *manifest.tables, "test", &err);
    assert_non_null(manifest.tables);
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof name, "t%05d", i);
        add_table(&manifest, name, TF_BUFFER, 1, 0);
    }
    assert_int_equal(tf_manifest_print(&manifest, &text, &size, &err), TF_MEMORY);
    assert_string_equal(err.text, "manifest: 180007 values, the limit is 100000");
    assert_null(text);
    for (int i = 0; i < 30000; i++) {
        snprintf(name, sizeof name, "t%0200d", i);
        strcpy(manifest.tables[i].info.name, name);
        tf_free(manifest.tables[i].file);
        manifest.tables[i].file = tf_manifest_file(name, &err);
        manifest.tables[i].info.role = TF_PARAMETER;
        manifest.tables[i].info.row_group = (uint32_t)i + 1;
    }
    assert_int_equal(tf_manifest_print(&manifest, &text, &size, &err), TF_MEMORY);
    assert_string_equal(err.text, "manifest: 6150041 bytes, the limit is 4194304");
    tf_manifest_fini(&manifest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),  cmocka_unit_test(test_text),
        cmocka_unit_test(test_settings),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_long_name), cmocka_unit_test(test_deepest),
        cmocka_unit_test(test_too_large),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
