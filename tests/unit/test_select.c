#include "checkpoint_fixture.h"

#include "train/select.h"

enum { TABLES = TF_SELECT_TABLES, GROUPS = TF_SELECT_GROUPS, BOTH = TABLES | GROUPS };

static struct tf_store *store;
static struct tf_err err;

/* Pattentions of 4, 10 and 20 tokens, moments of one table, and tables that are not Pattentions,
 * whatever their names suggest. */
static int open_store(void **state)
{
    static const struct {
        const char *name;
        enum tf_role role;
        uint64_t rows;
    } tables[] = {
        {"embed.tokens", TF_PARAMETER, 7},
        {"keys", TF_PARAMETER, 2},
        {"layers.0.attn.q.keys", TF_PARAMETER, 4},
        {"layers.0.attn.q.values", TF_PARAMETER, 4},
        {"layers.0.ffn-old", TF_BUFFER, 3},
        {"layers.0.ffn.keys", TF_PARAMETER, 10},
        {"layers.0.ffn.values", TF_PARAMETER, 10},
        {"layers.1.ffn.keys", TF_PARAMETER, 20},
        {"layers.1.ffn.values", TF_PARAMETER, 20},
        {"lonely.keys", TF_PARAMETER, 2},
        {"norm.weight", TF_PARAMETER, 1},
        {"optim.m/layers.0.ffn.keys", TF_MOMENT, 10},
        {"optim.m/layers.0.ffn.values", TF_MOMENT, 10},
    };
    struct tf_writer *writer;

    if (enter_scratch(state) != 0)
        return -1;
    assert_fine(tf_writer_open(&writer, "m.tfck", true, 0, &err), err);
    for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
        struct tf_table_info info = table_info(tables[i].name, TF_F32, 3);
        info.role = tables[i].role;
        put_table(writer, info, tables[i].rows);
    }
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    assert_fine(tf_store_open(&store, "m.tfck", 0, &err), err);
    return 0;
}

static int close_store(void **state)
{
    tf_store_close(store);
    return leave_scratch(state);
}

/* "layers.0.ffn+ 0:4 6:8, norm.weight 0:1": each item, a Pattention with its '+', and its rows. */
static char *show(const struct tf_selection *selection)
{
    static char out[4096];
    char *at = out;

    *out = '\0';
    for (size_t i = 0; i < selection->count; i++) {
        const struct tf_selected *item = &selection->items[i];
        const char *table = tf_store_table(store, item->table)->name;
        if (item->group)
            assert_memory_equal(table + strlen(item->name), ".keys", 6);
        else
            assert_string_equal(table, item->name);
        at += sprintf(at, "%s%s%s", i ? ", " : "", item->name, item->group ? "+" : "");
        for (size_t r = 0; r < item->row_count; r++)
            at += sprintf(at, " %d:%d", (int)item->rows[r].first, (int)item->rows[r].end);
    }
    return out;
}

#define ARRAY(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *[]){__VA_ARGS__}) / 8

static void selects(unsigned kinds, const char *const *texts, size_t count, const char *expected)
{
    struct tf_selection selection;

    assert_fine(tf_select(&selection, store, kinds, texts, count, &err), err);
    assert_string_equal(show(&selection), expected);
    tf_selection_fini(&selection);
}

static void refuses(unsigned kinds, const char *text, enum tf_code code, const char *expected)
{
    struct tf_selection selection;

    assert_fails(tf_select(&selection, store, kinds, &text, 1, &err), code, err, expected);
    assert_int_equal(selection.count, 0);
    assert_null(selection.items);
}

static void test_rows(void **state)
{
    static const struct {
        const char *text, *expected;
    } cases[] = {
        {"embed.tokens", "embed.tokens 0:7"},
        {"embed.tokens[:]", "embed.tokens 0:7"},
        {"embed.tokens[0:7]", "embed.tokens 0:7"},
        {"embed.tokens[5]", "embed.tokens 5:6"},
        {"embed.tokens[-1]", "embed.tokens 6:7"},
        {"embed.tokens[-7]", "embed.tokens 0:1"},
        {"embed.tokens[2:4]", "embed.tokens 2:4"},
        {"embed.tokens[:4]", "embed.tokens 0:4"},
        {"embed.tokens[4:]", "embed.tokens 4:7"},
        {"embed.tokens[-3:]", "embed.tokens 4:7"},
        {"embed.tokens[:-3]", "embed.tokens 0:4"},
        {"embed.tokens[-3:-1]", "embed.tokens 4:6"},
        {"embed.tokens[-3:6]", "embed.tokens 4:6"},
        {"embed.tokens[0006]", "embed.tokens 6:7"},
        {"embed.tokens[0:2,-1]", "embed.tokens 0:2 6:7"},
        {"embed.tokens[6,0,3]", "embed.tokens 0:1 3:4 6:7"},
        {"embed.tokens[0:3,2:5]", "embed.tokens 0:5"},
        {"embed.tokens[0:6,2:4]", "embed.tokens 0:6"},
        {"embed.tokens[0:3,3:5]", "embed.tokens 0:5"},
        {"embed.tokens[1,1,1]", "embed.tokens 1:2"},
        {"embed.tokens[4:,:2,3]", "embed.tokens 0:2 3:7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        selects(TABLES, &cases[i].text, 1, cases[i].expected);
}

static void test_names(void **state)
{
    (void)state;
    selects(TABLES, ARRAY("layers.*.keys"),
            "layers.0.attn.q.keys 0:4, layers.0.ffn.keys 0:10, layers.1.ffn.keys 0:20");
    selects(GROUPS, ARRAY("*"), "layers.0.attn.q+ 0:4, layers.0.ffn+ 0:10, layers.1.ffn+ 0:20");
    selects(GROUPS, ARRAY("layers.[1-9].ffn[:4]"), "layers.1.ffn+ 0:4");
    selects(GROUPS, ARRAY("layers.*.attn.[qkv]"), "layers.0.attn.q+ 0:4");
    selects(GROUPS, ARRAY("layers.*.attn.[!o][1]"), "layers.0.attn.q+ 1:2");
    selects(GROUPS, ARRAY("layers.?.ffn[-1]"), "layers.0.ffn+ 9:10, layers.1.ffn+ 19:20");
    selects(TABLES, ARRAY("optim.*[0]"),
            "optim.m/layers.0.ffn.keys 0:1, optim.m/layers.0.ffn.values 0:1");
    selects(TABLES, ARRAY("*.weight", "embed*"), "embed.tokens 0:7, norm.weight 0:1");
    selects(GROUPS, NULL, 0, "");
}

/* What a Pattention answers to is that alone; and items are in the order of their names. */
static void test_both_kinds(void **state)
{
    (void)state;
    selects(BOTH, ARRAY("layers.0.ffn*"), "layers.0.ffn+ 0:10");
    selects(BOTH, ARRAY("layers.0.ffn-*", "layers.0.ffn"),
            "layers.0.ffn+ 0:10, layers.0.ffn-old 0:3");
    selects(BOTH, ARRAY("layers.0.ffn.*[2]"), "layers.0.ffn.keys 2:3, layers.0.ffn.values 2:3");
    selects(BOTH, ARRAY("layers.0.ffn[1]", "layers.0.ffn.keys[8:]"),
            "layers.0.ffn+ 1:2, layers.0.ffn.keys 8:10");
    selects(BOTH, ARRAY("lonely.keys", "keys"), "keys 0:2, lonely.keys 0:2");
}

static void test_texts_add_up(void **state)
{
    (void)state;
    selects(GROUPS, ARRAY("layers.1.ffn[0:4]", "layers.*.ffn[2:6]", "layers.1.ffn[-1]"),
            "layers.0.ffn+ 2:6, layers.1.ffn+ 0:6 19:20");
    selects(GROUPS, ARRAY("layers.0.ffn", "layers.0.ffn[3]"), "layers.0.ffn+ 0:10");
}

static void test_refusals(void **state)
{
    static const char *const not_rows[] = {
        "[]",   "[a]",   "[1",  "[1:2", "[1:2]x", "[1:2:3]", "[1,]",  "[,1]",  "[1,,2]", "[--1]",
        "[ 1]", "[1-2]", "[-]", "[:-]", "[+1]",   "[1]2]",   "[0x1]", "[1.5]", "[1;2]"};
    static const char *const not_within[] = {"[7]",
                                             "[0007]",
                                             "[-8]",
                                             "[0:8]",
                                             "[3:3]",
                                             "[5:2]",
                                             "[-1:-3]",
                                             "[0:3,7]",
                                             "[7:]",
                                             "[:0]",
                                             "[-8:]",
                                             "[18446744073709551616]",
                                             "[:18446744073709551623]",
                                             "[-18446744073709551617]",
                                             "[-0]",
                                             "[99999999999999999999999999:]"};
    char text[128], expected[256];

    (void)state;
    for (size_t i = 0; i < sizeof(not_rows) / sizeof(*not_rows); i++) {
        sprintf(text, "embed.tokens%s", not_rows[i]);
        sprintf(expected, "'%s' is not a selection of rows: write embed.tokens[2:9]", text);
        refuses(TABLES, text, TF_USAGE, expected);
    }
    for (size_t i = 0; i < sizeof(not_within) / sizeof(*not_within); i++) {
        sprintf(text, "embed.tokens%s", not_within[i]);
        sprintf(expected, "'%s' is not within the 7 rows of embed.tokens", text);
        refuses(TABLES, text, TF_USAGE, expected);
    }
    refuses(GROUPS, "layers.*.ffn[12:]", TF_USAGE,
            "'layers.*.ffn[12:]' is not within the 10 rows of layers.0.ffn");
    refuses(TABLES, "tokens", TF_NOINPUT, "m.tfck: no table matches 'tokens'");
    refuses(TABLES, "layers.0.ffn", TF_NOINPUT,
            "m.tfck: no table matches 'layers.0.ffn', but a Pattention does");
    refuses(GROUPS, "layers.0.ffn.keys", TF_NOINPUT,
            "m.tfck: no Pattention matches 'layers.0.ffn.keys', but a table does");
    refuses(GROUPS, "lonely", TF_NOINPUT, "m.tfck: no Pattention matches 'lonely'");
    refuses(BOTH, "layers.9*[1]", TF_NOINPUT, "m.tfck: no table or Pattention matches 'layers.9*'");
    refuses(BOTH, "layers.[5-9].ffn", TF_NOINPUT,
            "m.tfck: no table or Pattention matches 'layers.[5-9].ffn'");
    refuses(BOTH, "", TF_USAGE, "'' names nothing: write NAME or NAME[2:9]");
    refuses(BOTH, "[1:2]", TF_USAGE, "'[1:2]' names nothing: write NAME or NAME[2:9]");
    refuses(BOTH, "a\033[31mb", TF_NOINPUT, "m.tfck: no table or Pattention matches 'a\\x1b[31mb'");
}

/* A name of any length; one bad text among good ones. */
static void test_long_and_late(void **state)
{
    char name[600], expected[900];
    struct tf_selection selection;

    (void)state;
    memset(name, '*', 255);
    name[255] = '\0';
    selects(GROUPS, ARRAY(name), "layers.0.attn.q+ 0:4, layers.0.ffn+ 0:10, layers.1.ffn+ 0:20");
    memset(name, 'n', 599);
    name[599] = '\0';
    sprintf(expected, "'%s' is longer than any name: 599 bytes, at most 255", name);
    refuses(BOTH, name, TF_USAGE, expected);
    assert_int_equal(
        tf_select(&selection, store, TABLES, ARRAY("embed.tokens", "norm.weight[1]"), &err),
        TF_USAGE);
    assert_string_equal(err.text, "'norm.weight[1]' is not within the 1 rows of norm.weight");
    tf_selection_fini(&selection);
}

/* Many rows, in the least handy order. */
static void test_many_ranges(void **state)
{
    char text[400] = "layers.1.ffn[";
    struct tf_selection selection;
    const char *texts[] = {text};

    (void)state;
    for (int row = 18; row >= 0; row -= 2)
        sprintf(text + strlen(text), "%d,", row);
    strcat(text, "0:1]");
    assert_fine(tf_select(&selection, store, GROUPS, texts, 1, &err), err);
    assert_int_equal(selection.items[0].row_count, 10);
    assert_int_equal(tf_selected_rows(&selection.items[0]), 10);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(selection.items[0].rows[i].first, 2 * i);
        assert_int_equal(selection.items[0].rows[i].end, 2 * i + 1);
    }
    tf_selection_fini(&selection);
}

static void test_group_names(void **state)
{
    static const struct {
        const char *table, *group;
    } cases[] = {
        {"layers.3.ffn.keys", "layers.3.ffn"},
        {"layers.3.ffn.values", "layers.3.ffn"},
        {"optim.m/layers.3.ffn.keys", "layers.3.ffn"},
        {"optim.v/layers.12.attn.o.values", "layers.12.attn.o"},
        {"embed.tokens", NULL},
        {"keys", NULL},
        {".keys", NULL},
        {"optim.m/.values", NULL},
        {"layers.3.ffn.keys.old", NULL},
        {"layers.3.ffn.monkeys", NULL},
        {"", NULL},
    };
    char name[TF_MAX_NAME + 1];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        assert_int_equal(tf_group_name(name, cases[i].table), cases[i].group != NULL);
        if (cases[i].group)
            assert_string_equal(name, cases[i].group);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),        cmocka_unit_test(test_names),
        cmocka_unit_test(test_both_kinds),  cmocka_unit_test(test_texts_add_up),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_long_and_late),
        cmocka_unit_test(test_many_ranges), cmocka_unit_test(test_group_names),
    };

    return cmocka_run_group_tests(tests, open_store, close_store);
}
