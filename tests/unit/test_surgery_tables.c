#include "operation.h"

#include "train/surgery.h"

#define EACH(texts) (texts), sizeof(texts) / sizeof *(texts)

/* m.tfck, with a table that is neither a parameter nor a moment. */
static void with_buffer(const char *path)
{
    struct tf_checkpoint from;
    struct tf_writer *writer;
    const struct tf_table_info info = {.name = "a.buffer",
                                       .role = TF_BUFFER,
                                       .dtype = TF_F16,
                                       .filter = TF_FILTER_NONE,
                                       .cols = 3};
    const float numbers[] = {1, 2, 3, 4, 5, 6};

    open_checkpoint(&from, "m.tfck");
    assert_ok(tf_writer_open(&writer, path, true, 0, &err), &err);
    assert_ok(tf_writer_table(writer, &info, &err), &err);
    assert_ok(tf_writer_rows(writer, numbers, 2, 3, &err), &err);
    for (size_t i = 0; i < tf_store_tables(from.store); i++) {
        const struct tf_table_info *table = tf_store_table(from.store, i);
        assert_ok(tf_writer_table(writer, table, &err), &err);
        assert_ok(tf_writer_copy(writer, from.store, i, 0, table->chunk_count, &err), &err);
    }
    assert_ok(tf_checkpoint_blobs(writer, &from.config, &from.tokenizer, &from.state, &from.lineage,
                                  &err),
              &err);
    assert_ok(tf_writer_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_checkpoint_close(&from);
}

/* ---- set ---- */

static void test_set_harmless(void **state)
{
    static const char *const texts[] = {"train.seed=3", "data.train=[a.txt, b.txt]"};
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_set(&at.edit, EACH(texts), &err), &err);
    assert_effect(&at, TF_EFFECT_EXACT, "");
    assert_null(at.edit.verb);
    write_end(&at, "out.tfck");
    begin(&at, "out.tfck");
    assert_int_equal(at.from.config.train.seed, 3);
    assert_int_equal(at.from.config.data.train.count, 2);
    assert_string_equal(at.from.config.data.train.items[1], "b.txt");
    assert_int_equal(at.from.lineage.count, 1);
    end(&at);
    assert_true(same_model("m.tfck", "out.tfck"));
}

/* The numbers are the same, the model is not: it can see further. */
static void test_set_length(void **state)
{
    static const char *const texts[] = {"model.seq_length=20"};
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_set(&at.edit, EACH(texts), &err), &err);
    assert_effect(&at, TF_EFFECT_EXACT, "");
    write_end(&at, "out.tfck");
    assert_true(difference("m.tfck", "out.tfck") == 0);
    begin(&at, "out.tfck");
    assert_int_equal(at.from.shape.seq, 20);
    assert_int_equal(at.from.lineage.count, 2);
    assert_int_equal(at.from.lineage.events[1].kind, TF_EVENT_EDIT);
    assert_string_equal(at.from.lineage.events[1].verb, "set");
    assert_string_equal(at.from.lineage.events[1].effect, "exact");
    end(&at);
}

static void test_set_function(void **state)
{
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"model.num_attention_heads=4", "model.num_attention_heads is another"},
        {"model.norm_activation=softmax", "model.norm_activation is another"},
        {"model.rotary_pct=0.5", "model.rotary_pct is another"},
        {"model.rotary_base=100", "model.rotary_base is another"},
        {"layers.*.ffn.scale=9", "layers.0.ffn has another scale"},
        {"layers.1.attn.o.scale=.5", "layers.1.attn.o has another scale"},
    };
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&at, "m.tfck");
        assert_ok(tf_surgery_set(&at.edit, &cases[i].text, 1, &err), &err);
        assert_effect(&at, TF_EFFECT_CHANGED, cases[i].why);
        assert_string_equal(at.edit.verb, "set");
        write_end(&at, "out.tfck");
        assert_true(difference("m.tfck", "out.tfck") > 0);
    }
}

/* What is set to what it is leaves everything as it was. */
static void test_set_same(void **state)
{
    static const char *const texts[] = {"model.rotary_base=1e4", "layers.0.ffn.scale=44",
                                        "layers.1.ffn.scale=40.0"};
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_set(&at.edit, EACH(texts), &err), &err);
    assert_effect(&at, TF_EFFECT_EXACT, "");
    write_end(&at, "out.tfck");
    assert_same_file("m.tfck", "out.tfck");
}

static void test_set_scales(void **state)
{
    static const char *const texts[] = {"layers.*.scale=7", "layers.*.ffn.scale=512"};
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_set(&at.edit, EACH(texts), &err), &err);
    write_end(&at, "out.tfck");
    begin(&at, "out.tfck");
    for (int layer = 0; layer < 2; layer++)
        for (int p = 0; p < TF_PROJECTIONS; p++)
            assert_true(at.from.shape.layer[layer].scale[p] == (p == TF_FFN ? 512 : 7));
    assert_true(tf_edit_find(&at.edit, "optim.m/layers.0.ffn.keys")->info.scale == 0);
    end(&at);
}

static void test_set_refused(void **state)
{
    static const struct {
        const char *text;
        enum tf_code code;
        const char *says;
    } cases[] = {
        {"train.seed", TF_USAGE, "'train.seed': expected KEY=VALUE"},
        {"", TF_USAGE, "'': expected KEY=VALUE"},
        {"train.sed=3", TF_CONFIG, "train.sed: unknown key (did you mean train.seed?)"},
        {"seed=3", TF_CONFIG, "seed: unknown key (did you mean train.seed?)"},
        {"train.seed=x", TF_CONFIG,
         "train.seed: expected an integer from 0 to 18446744073709551615, found \"x\""},
        {"model.ffn_tokens=7", TF_USAGE,
         "model.ffn_tokens: cannot be set: the tables say it; slice and append change them"},
        {"model.kind=transformer", TF_USAGE, "model.kind: cannot be set: the tables say it"},
        {"model.num_layers=2", TF_USAGE, "model.num_layers: cannot be set: the tables say it"},
        {"model.ffn_scale=7", TF_USAGE,
         "model.ffn_scale: cannot be set: it is for new models; set 'layers.*.ffn.scale'"},
        {"data.separator=none", TF_USAGE,
         "data.separator: cannot be set: the stored tokenizer says it"},
        {"model.num_attention_heads=3", TF_CONFIG,
         "model.num_attention_heads: 3 does not divide hidden_size 32"},
        {"layers.0.ffn.scale=0", TF_USAGE,
         "layers.0.ffn.scale: expected a number above 0, up to 1e+12, found \"0\""},
        {"layers.0.ffn.scale=", TF_USAGE,
         "layers.0.ffn.scale: expected a number above 0, up to 1e+12, found \"\""},
        {"layers.0.ffn.scale=nan", TF_USAGE,
         "layers.0.ffn.scale: expected a number above 0, up to 1e+12, found \"nan\""},
        {"layers.0.ffn[0:3].scale=5", TF_USAGE,
         "layers.0.ffn: rows cannot be chosen here, it is taken whole"},
    };
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&at, "m.tfck");
        assert_int_equal(tf_surgery_set(&at.edit, &cases[i].text, 1, &err), cases[i].code);
        assert_string_equal(err.text, cases[i].says);
        end(&at);
    }
    begin(&at, "m.tfck");
    assert_int_equal(
        tf_surgery_set(&at.edit, (const char *const[]){"layers.2.ffn.scale=5"}, 1, &err),
        TF_NOINPUT);
    assert_int_equal(tf_surgery_set(&at.edit, (const char *const[]){"norm.scale=5"}, 1, &err),
                     TF_NOINPUT);
    end(&at);
}

static void test_set_transformer(void **state)
{
    static const struct {
        const char *text;
        enum tf_effect effect;
        const char *why;
    } cases[] = {
        {"model.norm_activation=softmax", TF_EFFECT_EXACT, ""},
        {"model.rotary_base=5e4", TF_EFFECT_CHANGED, "model.rotary_base is another"},
    };
    struct operation at;

    (void)state;
    tiny_file("t.tfck", "model.kind=transformer", true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&at, "t.tfck");
        assert_ok(tf_surgery_set(&at.edit, &cases[i].text, 1, &err), &err);
        assert_string_equal(at.edit.verb, "set");
        assert_int_equal(at.edit.effect, cases[i].effect);
        assert_string_equal(at.edit.why, cases[i].why);
        end(&at);
    }
    begin(&at, "t.tfck");
    assert_int_equal(
        tf_surgery_set(&at.edit, (const char *const[]){"layers.*.ffn.scale=5"}, 1, &err), TF_USAGE);
    assert_string_equal(err.text, "layers.*.ffn.scale: cannot be set: a transformer has no scales");
    end(&at);
}

/* ---- drop ---- */

static void test_drop_optimizer(void **state)
{
    static const char *const names[] = {"optim", "optim.*"};
    struct operation at;
    struct tiny tiny;

    (void)state;
    tiny_make(&tiny, NULL, true);
    tiny.state.updates = 6;
    tiny_save(&tiny, "m.tfck");
    tiny_free(&tiny);
    for (int i = 0; i < 2; i++) {
        begin(&at, "m.tfck");
        assert_ok(tf_surgery_drop(&at.edit, &names[i], 1, &err), &err);
        assert_effect(&at, TF_EFFECT_EXACT, "");
        write_end(&at, "out.tfck");
        assert_true(same_model("m.tfck", "out.tfck"));
        begin(&at, "out.tfck");
        assert_int_equal(at.edit.table_count, 23);
        assert_int_equal(at.from.state.updates, 0);
        assert_int_equal(at.from.state.step, 6);
        assert_int_equal(at.from.lineage.count, 1);
        assert_int_equal(tf_surgery_drop(&at.edit, names, 1, &err), TF_NOINPUT);
        assert_string_equal(err.text, "out.tfck: has no optimizer state");
        end(&at);
    }
}

/* Both moments of a table, or none; while others are left, AdamW goes on counting. */
static void test_drop_moment(void **state)
{
    static const char *const name = "optim.v/layers.1.ffn.keys";
    struct operation at;
    struct tiny tiny;

    (void)state;
    tiny_make(&tiny, NULL, true);
    tiny.state.updates = 6;
    tiny_save(&tiny, "m.tfck");
    tiny_free(&tiny);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_drop(&at.edit, &name, 1, &err), &err);
    write_end(&at, "out.tfck");
    begin(&at, "out.tfck");
    assert_int_equal(at.edit.table_count, 3 * 23 - 2);
    assert_null(tf_edit_find(&at.edit, name));
    assert_null(tf_edit_find(&at.edit, "optim.m/layers.1.ffn.keys"));
    assert_non_null(tf_edit_find(&at.edit, "optim.m/layers.1.ffn.values"));
    assert_int_equal(at.from.state.updates, 6);
    end(&at);
}

static void test_drop_buffer(void **state)
{
    static const char *const name = "a.*";
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    with_buffer("b.tfck");
    begin(&at, "b.tfck");
    assert_ok(tf_surgery_drop(&at.edit, &name, 1, &err), &err);
    assert_false(at.edit.new_state);
    write_end(&at, "out.tfck");
    assert_same_file("m.tfck", "out.tfck");
}

static void test_drop_refused(void **state)
{
    static const struct {
        const char *name;
        enum tf_code code;
        const char *says;
    } cases[] = {
        {"norm.bias", TF_USAGE, "norm.bias: is a parameter; the model cannot be without it"},
        {"*", TF_USAGE, "embed.tokens: is a parameter; the model cannot be without it"},
        {"optim.m/norm.weight[0:1]", TF_OK, ""}, /* all of its rows */
        {"optim.m/embed.tokens[0:1]", TF_USAGE,
         "optim.m/embed.tokens: rows cannot be chosen here, it is taken whole"},
    };
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&at, "m.tfck");
        err.text[0] = '\0';
        assert_int_equal(tf_surgery_drop(&at.edit, &cases[i].name, 1, &err), cases[i].code);
        assert_string_equal(err.text, cases[i].says);
        end(&at);
    }
    begin(&at, "m.tfck");
    assert_int_equal(tf_surgery_drop(&at.edit, (const char *const[]){"optim.m/none"}, 1, &err),
                     TF_NOINPUT);
    end(&at);
}

/* ---- cast ---- */

/* Row 0 of embed.tokens, and of a moment. */
static void tiny_cast(const char *path, float first, float last)
{
    struct tiny tiny;

    tiny_make(&tiny, NULL, true);
    struct tf_table *table = tf_model_find(tiny.model, "embed.tokens");
    for (size_t i = 0; i < table->rows * table->stride; i++)
        table->value[i] = (float)(i % 7) / 4;
    table->value[0] = first;
    table->value[(table->rows - 1) * table->stride + 2] = last;
    table->m[0] = 1e6f;
    tiny_save(&tiny, path);
    tiny_free(&tiny);
}

static float number_at(const char *path, const char *name, uint64_t row, size_t col)
{
    struct tf_store *store;
    float numbers[32];

    assert_ok(tf_store_open(&store, path, 0, &err), &err);
    assert_ok(tf_store_read(store, tf_store_find(store, name), row, 1, numbers, 32, &err), &err);
    tf_store_close(store);
    return numbers[col];
}

static void test_cast_exact(void **state)
{
    static const char *const name = "embed.tokens";
    struct operation at;

    (void)state;
    tiny_cast("m.tfck", 0.5f, -0.0f);
    for (int dtype = TF_BF16; dtype <= TF_F16; dtype++) {
        begin(&at, "m.tfck");
        assert_ok(tf_surgery_cast(&at.edit, (enum tf_dtype)dtype, &name, 1, &err), &err);
        assert_effect(&at, TF_EFFECT_EXACT, "");
        assert_string_equal(at.edit.verb, "cast");
        write_end(&at, "narrow.tfck");
        assert_true(difference("m.tfck", "narrow.tfck") == 0);
        assert_false(same_model("m.tfck", "narrow.tfck"));
        begin(&at, "narrow.tfck"); /* and back: no number is lost, so the model is the same */
        assert_ok(tf_surgery_cast(&at.edit, TF_F32, NULL, 0, &err), &err);
        assert_effect(&at, TF_EFFECT_EXACT, "");
        write_end(&at, "wide.tfck");
        assert_true(same_model("m.tfck", "wide.tfck"));
    }
}

static void test_cast_rounds(void **state)
{
    struct operation at;

    (void)state;
    tiny_cast("m.tfck", 1.00390625f, 3.0f); /* 1 + 2^-8: half way, to even */
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_cast(&at.edit, TF_BF16, NULL, 0, &err), &err);
    assert_effect(&at, TF_EFFECT_CHANGED, "numbers of embed.tokens are rounded to bf16");
    for (size_t i = 0; i < at.edit.table_count; i++) {
        const struct tf_table_info *info = &at.edit.tables[i].info;
        assert_int_equal(info->dtype, info->role == TF_PARAMETER ? TF_BF16 : TF_F32);
    }
    write_end(&at, "out.tfck");
    assert_true(number_at("out.tfck", "embed.tokens", 0, 0) == 1);
    assert_true(number_at("out.tfck", "embed.tokens", 271, 2) == 3);
    assert_true(difference("m.tfck", "out.tfck") > 0);
    begin(&at, "out.tfck");
    assert_int_equal(at.from.lineage.count, 2);
    assert_string_equal(at.from.lineage.events[1].verb, "cast");
    assert_string_equal(at.from.lineage.events[1].effect, "changed");
    end(&at);
}

/* Moments are no part of the function. */
static void test_cast_moments(void **state)
{
    static const char *const name = "optim.*";
    struct operation at;

    (void)state;
    tiny_cast("m.tfck", 1, 2);
    begin(&at, "m.tfck");
    assert_ok(tf_surgery_cast(&at.edit, TF_BF16, &name, 1, &err), &err);
    assert_effect(&at, TF_EFFECT_EXACT, "");
    assert_null(at.edit.verb);
    write_end(&at, "out.tfck");
    assert_true(same_model("m.tfck", "out.tfck"));
    begin(&at, "out.tfck");
    assert_int_equal(tf_edit_find(&at.edit, "optim.m/embed.tokens")->info.dtype, TF_BF16);
    assert_int_equal(tf_edit_find(&at.edit, "embed.tokens")->info.dtype, TF_F32);
    end(&at);
}

static void test_cast_overflow(void **state)
{
    static const char *const all = "*";
    struct operation at;

    (void)state;
    tiny_cast("m.tfck", 65504, 65519);
    begin(&at, "m.tfck"); /* the largest, and what rounds to it */
    assert_ok(tf_surgery_cast(&at.edit, TF_F16, NULL, 0, &err), &err);
    assert_int_equal(tf_surgery_cast(&at.edit, TF_F16, &all, 1, &err), TF_DATA);
    assert_string_equal(err.text,
                        "m.tfck: table optim.m/embed.tokens: row 0: 1e+06 is too large for f16");
    end(&at);
    tiny_cast("m.tfck", INFINITY, -65520);
    begin(&at, "m.tfck"); /* an infinity is one everywhere */
    assert_int_equal(tf_surgery_cast(&at.edit, TF_F16, NULL, 0, &err), TF_DATA);
    assert_string_equal(err.text,
                        "m.tfck: table embed.tokens: row 271: -65520 is too large for f16");
    end(&at);
    tiny_cast("m.tfck", 3.4e38f, 0);
    begin(&at, "m.tfck");
    assert_int_equal(tf_surgery_cast(&at.edit, TF_BF16, NULL, 0, &err), TF_DATA);
    assert_string_equal(err.text,
                        "m.tfck: table embed.tokens: row 0: 3.4e+38 is too large for bf16");
    end(&at);
}

static void test_cast_rows(void **state)
{
    static const char *const name = "embed.tokens[:7]";
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    begin(&at, "m.tfck");
    assert_int_equal(tf_surgery_cast(&at.edit, TF_F16, &name, 1, &err), TF_USAGE);
    assert_string_equal(err.text, "embed.tokens: rows cannot be chosen here, it is taken whole");
    end(&at);
}

/* ---- repack ---- */

static void test_repack(void **state)
{
    struct operation at;

    (void)state;
    tiny_file("m.tfck", NULL, true);
    grow_file("m.tfck", "g.tfck");
    begin(&at, "g.tfck");
    assert_int_equal(tf_edit_find(&at.edit, "layers.0.ffn.keys")->info.chunk_count, 2);
    at.edit.level = 9;
    tf_surgery_repack(&at.edit);
    assert_effect(&at, TF_EFFECT_EXACT, "");
    write_end(&at, "out.tfck");
    assert_true(same_model("g.tfck", "out.tfck"));
    begin(&at, "out.tfck");
    for (size_t i = 0; i < at.edit.table_count; i++)
        assert_int_equal(tf_store_table(at.from.store, i)->chunk_count, 1);
    assert_int_equal(at.from.lineage.count, 2);
    end(&at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_harmless),    cmocka_unit_test(test_set_length),
        cmocka_unit_test(test_set_function),    cmocka_unit_test(test_set_same),
        cmocka_unit_test(test_set_scales),      cmocka_unit_test(test_set_refused),
        cmocka_unit_test(test_set_transformer), cmocka_unit_test(test_drop_optimizer),
        cmocka_unit_test(test_drop_moment),     cmocka_unit_test(test_drop_buffer),
        cmocka_unit_test(test_drop_refused),    cmocka_unit_test(test_cast_exact),
        cmocka_unit_test(test_cast_rounds),     cmocka_unit_test(test_cast_moments),
        cmocka_unit_test(test_cast_overflow),   cmocka_unit_test(test_cast_rows),
        cmocka_unit_test(test_repack),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
