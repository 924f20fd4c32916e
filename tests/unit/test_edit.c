/* The engine of surgery: what is copied, what is coded anew, and what it refuses. */
#include "tiny_model.h"

#include "store/codec.h"
#include "train/edit.h"
#include <time.h>

/* 3,000 rows of 256 f32: eight chunks of 384 rows, the last one shorter. */
enum { ROWS = 3000, COLS = 256, CHUNK = 384 };

static const char big[] = "{num_layers: 1, hidden_size: 256, num_attention_heads: 2, "
                          "qkv_tokens: 8, proj_tokens: 8, ffn_tokens: 3000, seq_length: 8}";

static void big_file(const char *path)
{
    struct tiny tiny;
    char set[256];
    struct tf_err err;

    memset(&tiny, 0, sizeof tiny);
    snprintf(set, sizeof set, "model: %s\n", big);
    assert_ok(tf_config_init(&tiny.config, &err), &err);
    assert_ok(tf_config_parse(&tiny.config, "big", set, strlen(set), TF_CONFIG, &err), &err);
    assert_ok(tf_tokenizer_init(&tiny.tokenizer, "bytes", "none", &err), &err);
    struct tf_shape shape;
    assert_ok(tf_shape_init(&shape, &tiny.config, tiny.tokenizer.size, &err), &err);
    assert_ok(tf_model_new(&tiny.model, &shape, false, &err), &err);
    tf_shape_fini(&shape);
    tf_model_init(tiny.model, 1);
    tiny_save(&tiny, path);
    tiny_free(&tiny);
}

static void write_edit(const struct tf_edit *edit, const char *path)
{
    struct tf_err err;

    assert_ok(tf_edit_write(edit, path, true, &err), &err);
}

/* Rows first .. first+count of a file's table are rows at .. of another's. */
static void assert_same_rows(const char *a, uint64_t first, const char *b, uint64_t at,
                             uint64_t count, const char *name)
{
    struct tf_checkpoint one, two;
    struct tf_err err;

    open_checkpoint(&one, a);
    open_checkpoint(&two, b);
    size_t i = tf_store_find(one.store, name), k = tf_store_find(two.store, name);
    uint32_t cols = tf_store_table(one.store, i)->cols;
    float *rows = malloc(2 * count * cols * sizeof *rows), *others = rows + count * cols;
    assert_ok(tf_store_read(one.store, i, first, count, rows, cols, &err), &err);
    assert_ok(tf_store_read(two.store, k, at, count, others, cols, &err), &err);
    assert_memory_equal(rows, others, count * cols * sizeof *rows);
    free(rows);
    tf_checkpoint_close(&one);
    tf_checkpoint_close(&two);
}

static void nothing_changed(void **unused)
{
    struct tf_checkpoint from;
    struct tf_edit edit;
    struct tf_edit_plan plan;
    struct tf_err err;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    tf_edit_plan(&plan, &edit);
    assert_int_equal(plan.tables, tf_store_tables(from.store));
    assert_int_equal(plan.copied_chunks, plan.tables); /* small: a chunk each */
    assert_int_equal(plan.coded, 0);
    write_edit(&edit, "b.tfck");
    assert_same_file("a.tfck", "b.tfck");
    for (size_t i = 0; i < edit.table_count; i++)
        edit.tables[i].again = true;
    tf_edit_plan(&plan, &edit);
    assert_int_equal(plan.copied, 0);
    write_edit(&edit, "b.tfck");
    assert_same_file("a.tfck", "b.tfck");
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
}

/* One piece of each of a Pattention's two tables. */
static void give(struct tf_edit *edit, const char *group, const uint64_t (*pieces)[2], size_t count)
{
    static const char *const ends[] = {"keys", "values"};
    struct tf_err err;

    for (int i = 0; i < 2; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.%s", group, ends[i]);
        struct tf_edit_table *table = tf_edit_find(edit, name);
        assert_non_null(table);
        tf_edit_clear(table);
        for (size_t k = 0; k < count; k++) {
            struct tf_piece piece = {.store = edit->from->store,
                                     .table = tf_store_find(edit->from->store, name),
                                     .first = pieces[k][0],
                                     .count = pieces[k][1]};
            assert_ok(tf_edit_add(table, &piece, &err), &err);
        }
    }
}

/* Whole chunks keep their bytes; rows between them share new chunks. */
static void chunks_are_copied(void **unused)
{
    static const uint64_t pieces[][2] = {{100, 20}, {200, 1000}, {2690, 310}};
    struct tf_checkpoint from, to;
    struct tf_edit edit;
    struct tf_edit_plan plan;
    struct tf_err err;

    (void)unused;
    big_file("a.tfck");
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    give(&edit, "layers.0.ffn", pieces, 3);
    edit.verb = "slice";
    edit.effect = TF_EFFECT_CHANGED;
    tf_edit_plan(&plan, &edit);
    /* 20 + 184 rows, chunks 1 and 2 whole (384..1151), 48 rows with 310 of chunk 7's 312 */
    assert_int_equal(plan.coded_rows, 2 * (20 + 184 + 48 + 310));
    write_edit(&edit, "b.tfck");
    open_checkpoint(&to, "b.tfck");
    const struct tf_table_info *keys =
        tf_store_table(to.store, tf_store_find(to.store, "layers.0.ffn.keys"));
    const struct tf_table_info *old =
        tf_store_table(from.store, tf_store_find(from.store, "layers.0.ffn.keys"));
    static const uint64_t rows[] = {204, 384, 384, 358};
    assert_int_equal(keys->rows, 1330);
    assert_int_equal(keys->chunk_count, 4);
    for (int i = 0; i < 4; i++)
        assert_int_equal(tf_store_chunk(to.store, keys->first_chunk + (uint32_t)i)->rows, rows[i]);
    for (int i = 1; i < 3; i++)
        assert_int_equal(tf_store_chunk(to.store, keys->first_chunk + (uint32_t)i)->coded_hash,
                         tf_store_chunk(from.store, old->first_chunk + (uint32_t)i)->coded_hash);
    assert_int_equal(to.config.model.ffn_tokens.items[0], 1330);
    assert_int_equal(to.lineage.count, 1);
    assert_string_equal(to.lineage.events[0].verb, "slice");
    assert_string_equal(to.lineage.events[0].effect, "changed");
    assert_int_equal(to.lineage.events[0].rows[0].before, 3000);
    assert_int_equal(to.lineage.events[0].rows[0].after, 1330);
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
    assert_same_rows("a.tfck", 100, "b.tfck", 0, 20, "layers.0.ffn.keys");
    assert_same_rows("a.tfck", 200, "b.tfck", 20, 1000, "layers.0.ffn.values");
    assert_same_rows("a.tfck", 2690, "b.tfck", 1020, 310, "layers.0.ffn.values");
}

/* Thousands of single rows fill full chunks. */
static void scattered_rows(void **unused)
{
    uint64_t(*pieces)[2] = malloc(ROWS / 2 * sizeof *pieces);
    struct tf_checkpoint from, to;
    struct tf_edit edit;
    struct tf_err err;

    (void)unused;
    for (size_t i = 0; i < ROWS / 2; i++) {
        pieces[i][0] = 2 * i;
        pieces[i][1] = 1;
    }
    big_file("a.tfck");
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    give(&edit, "layers.0.ffn", (const uint64_t(*)[2])pieces, ROWS / 2);
    write_edit(&edit, "b.tfck");
    open_checkpoint(&to, "b.tfck");
    const struct tf_table_info *keys =
        tf_store_table(to.store, tf_store_find(to.store, "layers.0.ffn.keys"));
    assert_int_equal(keys->rows, ROWS / 2);
    assert_int_equal(keys->chunk_count, (ROWS / 2 + CHUNK - 1) / CHUNK);
    tf_checkpoint_close(&to);
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
    for (uint64_t i = 0; i < ROWS / 2; i += 177)
        assert_same_rows("a.tfck", 2 * i, "b.tfck", i, 1, "layers.0.ffn.values");
    free(pieces);
}

/* Of a table in very many chunks every other row: the walk goes down the chunks once. */
static void many_chunks(void **unused)
{
    enum { MANY = 1 << 16 };
    struct tf_checkpoint from;
    struct tf_edit edit;
    struct tf_edit_plan plan;
    struct tf_err err;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    for (int i = 0; i < 2; i++) {
        struct tf_piece zeros = {.count = MANY, .step = 1};
        const char *name = i ? "layers.1.ffn.values" : "layers.1.ffn.keys";
        assert_ok(tf_edit_add(tf_edit_find(&edit, name), &zeros, &err), &err);
    }
    write_edit(&edit, "b.tfck");
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);

    open_checkpoint(&from, "b.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    struct tf_edit_table *keys = tf_edit_find(&edit, "layers.1.ffn.keys");
    struct tf_piece piece = {
        .store = from.store, .table = keys->pieces[0].table, .first = 40, .count = 1};
    tf_edit_clear(keys);
    for (; piece.first < 40 + MANY; piece.first += 2)
        assert_ok(tf_edit_add(keys, &piece, &err), &err);
    piece.first = 41; /* and back */
    assert_ok(tf_edit_add(keys, &piece, &err), &err);
    memset(&plan, 0, sizeof plan);
    clock_t start = clock();
    tf_edit_plan(&plan, &edit);
    assert_true(clock() - start < CLOCKS_PER_SEC / 2);
    assert_int_equal(plan.coded_rows, 0);
    assert_int_equal(plan.copied_chunks, tf_store_tables(from.store) - 1 + MANY / 2 + 1 + MANY);
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
}

/* Zeros behind, chunks of a size of their own, and a narrower dtype and back. */
static void other_pieces(void **unused)
{
    struct tf_checkpoint from;
    struct tf_edit edit;
    struct tf_err err;

    (void)unused;
    big_file("a.tfck");
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    for (size_t i = 0; i < edit.table_count; i++)
        edit.tables[i].info.dtype = TF_BF16;
    struct tf_edit_table *embed = tf_edit_find(&edit, "embed.tokens");
    embed->pieces[0].step = 100;
    write_edit(&edit, "b.tfck");
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);

    open_checkpoint(&from, "b.tfck");
    size_t index = tf_store_find(from.store, "embed.tokens");
    const struct tf_table_info *info = tf_store_table(from.store, index);
    assert_int_equal(info->dtype, TF_BF16);
    assert_int_equal(info->chunk_count, 3); /* 256 bytes */
    assert_int_equal(tf_store_chunk(from.store, info->first_chunk + 2)->rows, 56);
    float row[COLS], rounded[COLS];
    uint8_t packed[2 * COLS];
    struct tf_checkpoint wide;
    open_checkpoint(&wide, "a.tfck");
    assert_ok(tf_store_read(wide.store, tf_store_find(wide.store, "layers.0.ffn.values"), 2999, 1,
                            row, COLS, &err),
              &err);
    tf_dtype_pack(packed, TF_BF16, row, COLS);
    tf_dtype_unpack(rounded, TF_BF16, packed, COLS);
    assert_ok(tf_store_read(from.store, tf_store_find(from.store, "layers.0.ffn.values"), 2999, 1,
                            row, COLS, &err),
              &err);
    assert_memory_equal(row, rounded, sizeof row);
    tf_checkpoint_close(&wide);
    tf_checkpoint_close(&from);
}

static void refuse(struct tf_edit *edit, const char *text)
{
    struct tf_err err = {0};

    unlink("b.tfck");
    assert_int_equal(tf_edit_write(edit, "b.tfck", true, &err), TF_DATA);
    if (!strstr(err.text, text))
        fail_msg("'%s' lacks '%s'", err.text, text);
    assert_int_equal(access("b.tfck", F_OK), -1);
    assert_int_equal(access(".b.tfck.part", F_OK), -1);
}

/* What would be no model is not written. */
static void refusals(void **unused)
{
    struct tf_checkpoint from;
    struct tf_edit edit;
    struct tf_err err;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_edit_init(&edit, &from, &err), &err);
    struct tf_edit_table *keys = tf_edit_find(&edit, "layers.0.ffn.keys");
    keys->pieces[0].count = keys->info.rows = 43;
    refuse(&edit, "43");
    keys->pieces[0].count = keys->info.rows = 44;
    tf_edit_find(&edit, "norm.bias")->dropped = true;
    refuse(&edit, "table norm.bias: missing, but the config needs it");
    tf_edit_find(&edit, "norm.bias")->dropped = false;
    give(&edit, "layers.1.attn.q", (const uint64_t[][2]){{0, 4}}, 1);
    refuse(&edit, "layers.1.attn: q, k and v must have one number of tokens (model.qkv_tokens), "
                  "not 4, 20 and 20");
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
}

static void worst_effect(void **unused)
{
    struct tf_edit edit = {0};

    (void)unused;
    tf_edit_worsen(&edit, TF_EFFECT_ROUNDED, "first");
    tf_edit_worsen(&edit, TF_EFFECT_EXACT, "nothing");
    tf_edit_worsen(&edit, TF_EFFECT_CHANGED, "%s", "worst");
    tf_edit_worsen(&edit, TF_EFFECT_CHANGED, "again");
    assert_int_equal(edit.effect, TF_EFFECT_CHANGED);
    assert_string_equal(edit.why, "worst");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_changed), cmocka_unit_test(chunks_are_copied),
        cmocka_unit_test(scattered_rows),  cmocka_unit_test(other_pieces),
        cmocka_unit_test(many_chunks),     cmocka_unit_test(refusals),
        cmocka_unit_test(worst_effect),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
