#include "growth.h"

/* ---- targets and plans ---- */

static void test_targets(void **state)
{
    static const char *const bad[] = {"",   "0",   "x",    "x0", "+",  "+0",
                                      "-3", "12a", "x2.5", " 7", "2x", "99999999999999999999"};
    struct tf_target out;

    (void)state;
    out = target("512");
    assert_true(out.kind == TF_TARGET_ABSOLUTE && out.number == 512);
    out = target("x2");
    assert_true(out.kind == TF_TARGET_TIMES && out.number == 2);
    out = target("+256");
    assert_true(out.kind == TF_TARGET_PLUS && out.number == 256);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char text[128];
        assert_int_equal(tf_target_parse(&out, bad[i], &err), TF_USAGE);
        snprintf(text, sizeof text, "'%s' is not a target: write 512, x2 or +256", bad[i]);
        assert_string_equal(err.text, text);
    }
}

static void test_plan(void **state)
{
    struct tf_grow_options options = {.qkv = target("x3"),
                                      .proj = target("+4"),
                                      .ffn = target("50"),
                                      .layers = "1",
                                      .values = TF_INIT_RANDOM};
    struct tf_growth growth;

    (void)state;
    assert_ok(plan(&growth, &options, NULL), &err);
    for (int p = 0; p < TF_PROJECTIONS; p++) {
        assert_int_equal(growth.after.layer[0].tokens[p], growth.before.layer[0].tokens[p]);
        assert_int_equal(growth.after.layer[1].tokens[p], p == TF_FFN ? 50 : p == TF_O ? 16 : 60);
        assert_true(growth.after.layer[1].scale[p] == growth.before.layer[1].scale[p]);
    }
    assert_true(growth.exact && growth.preserved);
    assert_string_equal(growth.why, "");
    tf_growth_fini(&growth);
}

static void test_refusals(void **state)
{
    static const struct {
        const char *qkv, *ffn, *layers;
        enum tf_row_init keys, values;
        const char *says;
    } cases[] = {
        {"x2", NULL, NULL, TF_INIT_ZERO, TF_INIT_ZERO,
         "zero keys with zero values can never learn: the gradient of either is zero while the "
         "other is"},
        {NULL, NULL, NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "nothing to grow: no target is above what is there"},
        {"20", "x1", NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "nothing to grow: no target is above what is there"},
        {"19", NULL, NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "layers.0.attn.q: the target of 19 tokens is below the 20 that it has"},
        {NULL, "42", NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "layers.0.ffn: the target of 42 tokens is below the 44 that it has"},
        {"x999999999", NULL, NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "layers.0.attn.q: the target passes the limit of 2147483648 tokens"},
        {"+18446744073709551615", NULL, NULL, TF_INIT_ZERO, TF_INIT_RANDOM,
         "layers.0.attn.q: the target passes the limit of 2147483648 tokens"},
        {NULL, NULL, "1", TF_INIT_ZERO, TF_INIT_RANDOM,
         "layers '1': nothing is said of how their tokens grow"},
        {"x2", NULL, "0-2", TF_INIT_ZERO, TF_INIT_RANDOM,
         "layer 2 does not exist: the model's layers are 0 to 1"},
        {"x2", NULL, "1-0", TF_INIT_ZERO, TF_INIT_RANDOM,
         "'1-0' is not a list of layers: write 0-3,7"},
        {"x2", NULL, "0,", TF_INIT_ZERO, TF_INIT_RANDOM,
         "'0,' is not a list of layers: write 0-3,7"},
        {"x2", NULL, "", TF_INIT_ZERO, TF_INIT_RANDOM, "'' is not a list of layers: write 0-3,7"},
        {"x2", NULL, "0 1", TF_INIT_ZERO, TF_INIT_RANDOM,
         "'0 1' is not a list of layers: write 0-3,7"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_growth growth;
        struct tf_grow_options options = {
            .layers = cases[i].layers, .keys = cases[i].keys, .values = cases[i].values};
        if (cases[i].qkv)
            options.qkv = target(cases[i].qkv);
        if (cases[i].ffn)
            options.ffn = target(cases[i].ffn);
        assert_int_equal(plan(&growth, &options, NULL), TF_USAGE);
        assert_string_equal(err.text, cases[i].says);
        assert_null(growth.after.layer);
    }
}

/* ---- is the function preserved, as the plan says? ---- */

/* Every way to make keys and values, for each normalisation, with targets that are and are not
 * whole multiples. */
static void check_all_promises(void)
{
    static const char *const norms[] = {"model.norm_activation=l2_norm_gelu",
                                        "model.norm_activation=gelu_l2_norm",
                                        "model.norm_activation=softmax"};
    static const char *const targets[] = {"x2", "x3", "+7"};

    for (int norm = 0; norm < 3; norm++) {
        struct tf_checkpoint from;
        tiny_file("norm.tfck", norms[norm], false);
        open_checkpoint(&from, "norm.tfck");
        for (int t = 0; t < 3; t++) {
            for (int way = 0; way < 9; way++) {
                struct tf_grow_options options = {.ffn = target(targets[t]),
                                                  .keys = (enum tf_row_init)(way / 3),
                                                  .values = (enum tf_row_init)(way % 3),
                                                  .seed = 5};
                bool whole = t < 2;
                enum promise promise =
                    options.keys == TF_INIT_ZERO && norm != TF_SOFTMAX ? EXACT
                    : options.keys == TF_INIT_COPY && whole && options.values != TF_INIT_RANDOM
                        ? ROUNDED
                        : CHANGED;
                if (options.keys == TF_INIT_ZERO && options.values == TF_INIT_ZERO &&
                    norm != TF_SOFTMAX)
                    continue;
                check_promise(&from, &options, promise);
                /* The count is what copies need, the scale having been the count before; zero keys
                 * need it kept. */
                options.scale = TF_SCALE_COUNT;
                check_promise(&from, &options, promise == EXACT ? CHANGED : promise);
            }
        }
        tf_checkpoint_close(&from);
    }
}

static void test_promises(void **state)
{
    (void)state;
    check_all_promises();
}

/* A scale of its own, which the count is not. */
static void test_scale(void **state)
{
    struct tf_grow_options options = {
        .qkv = target("x2"), .keys = TF_INIT_COPY, .values = TF_INIT_COPY, .scale = TF_SCALE_KEEP};
    struct tf_checkpoint from;
    struct tf_growth growth;

    (void)state;
    tiny_file("scaled.tfck", "model.qkv_scale=7", false);
    open_checkpoint(&from, "scaled.tfck");
    check_promise(&from, &options, ROUNDED);
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_true(growth.after.layer[0].scale[TF_Q] == 14);
    assert_true(growth.after.layer[0].scale[TF_O] == 12);
    tf_growth_fini(&growth);
    options.scale = TF_SCALE_COUNT;
    check_promise(&from, &options, CHANGED);
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_true(growth.after.layer[0].scale[TF_Q] == 40);
    assert_string_equal(
        growth.why,
        "layers.0.attn.q: the scale becomes 40, the token count, where 14 would keep the function");
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
}

/* ---- rows ---- */

static void test_split_rows(void **state)
{
    struct tf_grow_options options = {.keys = TF_INIT_COPY, .values = TF_INIT_COPY};
    float rows[5 * 16] = {6, 9}, keys[5 * 16] = {6, 9};

    (void)state;
    rows[16] = keys[16] = 8;
    tf_grow_rows(rows, 16, 2, 5, 2, "layers.0.ffn.values", true, NULL, &options);
    assert_true(rows[0] == 2 && rows[32] == 2 && rows[64] == 2 && rows[65] == 3);
    assert_true(rows[16] == 4 && rows[48] == 4);
    tf_grow_rows(keys, 16, 2, 5, 2, "layers.0.ffn.keys", false, NULL, &options);
    assert_true(keys[0] == 6 && keys[16] == 8 && keys[32] == 6 && keys[33] == 9 && keys[48] == 8 &&
                keys[64] == 6);
}

/* The rows that a growth adds with the training seed are those that a larger model would have begun
 * with. */
static void test_random_rows(void **state)
{
    struct tiny small, large;

    (void)state;
    tiny_make(&small, NULL, false);
    tiny_make(&large, "model.ffn_tokens=60", false);
    tf_model_init(small.model, 9);
    tf_model_init(large.model, 9);
    struct tf_grow_options options = {.keys = TF_INIT_RANDOM, .values = TF_INIT_RANDOM, .seed = 9};
    for (int values = 0; values < 2; values++) {
        const struct tf_projection *at = &small.model->layers[1].at[TF_FFN],
                                   *to = &large.model->layers[1].at[TF_FFN];
        const struct tf_table *a = values ? at->values : at->keys,
                              *b = values ? to->values : to->keys;
        float *rows = tf_new(b->rows, b->stride * sizeof *rows, "rows", &err);
        memcpy(rows, a->value, a->rows * a->stride * sizeof *rows);
        tf_grow_rows(rows, a->stride, a->rows, b->rows, a->cols, a->name, values,
                     &small.model->shape, &options);
        assert_memory_equal(rows, b->value, b->rows * b->stride * sizeof *rows);
        tf_free(rows);
    }
    tiny_free(&small);
    tiny_free(&large);
}

/* ---- checkpoints ---- */

static void check_three_growths(void)
{
    static const char *const norms[] = {"model.norm_activation=l2_norm_gelu",
                                        "model.norm_activation=gelu_l2_norm"};
    struct tf_grow_options first = {.qkv = target("x2"), .values = TF_INIT_RANDOM, .seed = 1},
                           second = {.proj = target("+5"),
                                     .ffn = target("99"),
                                     .values = TF_INIT_COPY,
                                     .seed = 2},
                           third = {.qkv = target("41"),
                                    .proj = target("x3"),
                                    .ffn = target("x2"),
                                    .layers = "1",
                                    .values = TF_INIT_RANDOM,
                                    .seed = 1};

    for (int norm = 0; norm < 2; norm++) {
        tiny_file("0.tfck", norms[norm], true);
        grow_file("0.tfck", "1.tfck", &first);
        grow_file("1.tfck", "2.tfck", &second);
        grow_file("2.tfck", "3.tfck", &third);
        for (char name[] = "1.tfck"; name[0] <= '3'; name[0]++)
            assert_true(difference("0.tfck", name) == 0);
    }
}

static void test_three_growths(void **state)
{
    (void)state;
    each_kernel(check_three_growths);
}

/* The first chunks of a grown table are the old ones, byte for byte; its moments go on with zeros.
 */
static void check_table(const struct tf_checkpoint *from, const struct tf_checkpoint *to,
                        size_t index)
{
    const struct tf_table_info *before = tf_store_table(from->store, index);
    const struct tf_table_info *after =
        tf_store_table(to->store, tf_store_find(to->store, before->name));
    bool grown = strstr(before->name, "layers.1.") != NULL && !strstr(before->name, ".attn.o");

    assert_int_equal(after->rows, grown ? 2 * before->rows : before->rows);
    assert_true(after->scale == before->scale && after->role == before->role &&
                after->row_group == before->row_group);
    assert_int_equal(after->chunk_count, before->chunk_count + grown);
    for (uint32_t i = 0; i < before->chunk_count; i++) {
        const struct tf_chunk_info *a = tf_store_chunk(from->store, before->first_chunk + i);
        const struct tf_chunk_info *b = tf_store_chunk(to->store, after->first_chunk + i);
        assert_true(a->coded == b->coded && a->coded_hash == b->coded_hash &&
                    a->raw_hash == b->raw_hash && a->rows == b->rows);
    }
    float *rows = tf_new(after->rows, after->cols * sizeof *rows, "rows", &err);
    assert_ok(tf_store_read(to->store, tf_store_find(to->store, before->name), 0, after->rows, rows,
                            after->cols, &err),
              &err);
    bool zero = strstr(before->name, ".keys") || before->role == TF_MOMENT;
    for (uint64_t i = before->rows * after->cols; i < after->rows * after->cols; i++)
        assert_true((rows[i] == 0) == zero);
    tf_free(rows);
}

static void test_checkpoint(void **state)
{
    struct tf_grow_options options = {.qkv = target("x2"),
                                      .ffn = target("x2"),
                                      .layers = "1",
                                      .values = TF_INIT_RANDOM,
                                      .seed = 42};
    struct tf_checkpoint from, to;
    struct tf_digest digest;
    char text[TF_DIGEST_TEXT];

    (void)state;
    tiny_file("from.tfck", NULL, true);
    grow_file("from.tfck", "to.tfck", &options);
    open_checkpoint(&from, "from.tfck");
    open_checkpoint(&to, "to.tfck");
    assert_int_equal(tf_store_tables(to.store), tf_store_tables(from.store));
    for (size_t i = 0; i < tf_store_tables(from.store); i++)
        check_table(&from, &to, i);

    assert_int_equal(to.config.model.qkv_tokens.count, 2);
    assert_int_equal(to.config.model.qkv_tokens.items[0], 20);
    assert_int_equal(to.config.model.qkv_tokens.items[1], 40);
    assert_int_equal(to.config.model.proj_tokens.count, 1);
    assert_int_equal(to.config.model.ffn_tokens.items[1], 80);
    assert_int_equal(to.state.step, 6);
    assert_int_equal(to.state.tokens, 768);

    assert_int_equal(to.lineage.count, 2);
    const struct tf_event *event = &to.lineage.events[1];
    assert_int_equal(event->kind, TF_EVENT_GROW);
    assert_ok(tf_store_model_digest(from.store, &digest, &err), &err);
    assert_string_equal(event->from, tf_digest_text(text, &digest));
    assert_string_equal(event->keys, "zero");
    assert_string_equal(event->values, "random");
    assert_string_equal(event->scale, "keep");
    assert_int_equal(event->seed, 42);
    assert_int_equal(event->row_count, 4);
    assert_string_equal(event->rows[0].name, "layers.1.attn.q");
    assert_int_equal(event->rows[0].before, 20);
    assert_int_equal(event->rows[0].after, 40);
    assert_string_equal(event->rows[3].name, "layers.1.ffn");
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

/* Chunks are copied and not made anew: each growth leaves its seam. */
static void test_seams(void **state)
{
    struct tf_grow_options options = {.ffn = target("+1"), .values = TF_INIT_RANDOM};
    struct tf_checkpoint to;

    (void)state;
    tiny_file("from.tfck", NULL, true);
    grow_file("from.tfck", "to.tfck", &options);
    grow_file("to.tfck", "to.tfck", &options);
    open_checkpoint(&to, "to.tfck");
    size_t index = tf_store_find(to.store, "optim.v/layers.1.ffn.values");
    const struct tf_table_info *info = tf_store_table(to.store, index);
    assert_int_equal(info->rows, 42);
    assert_int_equal(info->chunk_count, 3);
    assert_int_equal(tf_store_chunk(to.store, info->first_chunk)->rows, 40);
    assert_int_equal(tf_store_chunk(to.store, info->first_chunk + 2)->rows, 1);
    tf_checkpoint_close(&to);
}

/* The counts of all layers agree again: one number in the config. */
static void test_even_counts(void **state)
{
    struct tf_grow_options options = {.ffn = target("64"), .values = TF_INIT_RANDOM};
    struct tf_checkpoint to;

    (void)state;
    tiny_file("from.tfck", NULL, false);
    grow_file("from.tfck", "to.tfck", &options);
    open_checkpoint(&to, "to.tfck");
    assert_int_equal(to.config.model.ffn_tokens.count, 1);
    assert_int_equal(to.config.model.ffn_tokens.items[0], 64);
    tf_checkpoint_close(&to);
}

/* The file holds the model that tf_grow_model makes, also where old rows are rewritten. */
static void test_split_checkpoint(void **state)
{
    struct tf_grow_options options = {
        .qkv = target("x2"), .keys = TF_INIT_COPY, .values = TF_INIT_COPY};
    struct tf_checkpoint from, to;
    struct tf_growth growth;
    struct tf_model *model;
    struct tf_digest a, b;

    (void)state;
    tiny_file("from.tfck", NULL, true);
    grow_file("from.tfck", "to.tfck", &options);
    open_checkpoint(&from, "from.tfck");
    open_checkpoint(&to, "to.tfck");
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_ok(tf_grow_model(&model, &from, &growth, &options, &err), &err);
    assert_ok(tf_model_digest(model, &a, &err), &err);
    assert_ok(tf_store_model_digest(to.store, &b, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(to.shape.layer[1].scale[TF_K] == 40);
    tf_model_free(model);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

static void test_existing_output(void **state)
{
    struct tf_grow_options options = {.ffn = target("64"), .values = TF_INIT_RANDOM};
    struct tf_checkpoint from;
    struct tf_growth growth;

    (void)state;
    tiny_file("from.tfck", NULL, false);
    open_checkpoint(&from, "from.tfck");
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_int_equal(grow_checkpoint(&from, "from.tfck", false, &growth, &options, &err),
                     TF_CANTCREATE);
    assert_ok(grow_checkpoint(&from, "from.tfck", true, &growth, &options, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    open_checkpoint(&from, "from.tfck");
    assert_int_equal(from.shape.layer[0].tokens[TF_FFN], 64);
    tf_checkpoint_close(&from);
}

/* The growth restarts the count of steps since the last one, and nothing else of the state. */
static void test_state(void **state)
{
    struct tf_grow_options options = {.ffn = target("x2"), .values = TF_INIT_RANDOM};
    struct tf_checkpoint from, to;
    struct tf_growth growth;

    (void)state;
    tiny_file("from.tfck", NULL, true);
    open_checkpoint(&from, "from.tfck");
    from.state.age = 5;
    from.state.updates = 9;
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_ok(grow_checkpoint(&from, "to.tfck", true, &growth, &options, &err), &err);
    open_checkpoint(&to, "to.tfck");
    assert_int_equal(to.state.age, 0);
    assert_int_equal(to.state.updates, 9);
    assert_int_equal(to.state.step, 6);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

/* ---- the comparison itself ---- */

static void test_verify(void **state)
{
    struct tiny a, b;
    double largest;

    (void)state;
    tiny_make(&a, NULL, false);
    tiny_make(&b, NULL, false);
    assert_ok(tf_grow_verify(&largest, a.model, b.model, 1, &err), &err);
    assert_true(largest == 0);
    b.model->norm_bias->value[5] += 0.5f;
    assert_ok(tf_grow_verify(&largest, a.model, b.model, 1, &err), &err);
    assert_true(largest > 0 && largest < 10);
    b.model->norm_bias->value[5] = NAN;
    assert_ok(tf_grow_verify(&largest, a.model, b.model, 1, &err), &err);
    assert_true(isinf(largest));
    a.model->norm_bias->value[5] = NAN;
    assert_ok(tf_grow_verify(&largest, a.model, b.model, 1, &err), &err);
    assert_true(largest == 0);
    tiny_free(&b);
    tiny_make(&b, "model.vocab_multiple=64", false);
    assert_int_equal(tf_grow_verify(&largest, a.model, b.model, 1, &err), TF_DATA);
    assert_string_equal(err.text, "vocabularies differ: 272 ids, and 320");
    tiny_free(&a);
    tiny_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),         cmocka_unit_test(test_plan),
        cmocka_unit_test(test_refusals),        cmocka_unit_test(test_promises),
        cmocka_unit_test(test_scale),           cmocka_unit_test(test_split_rows),
        cmocka_unit_test(test_random_rows),     cmocka_unit_test(test_three_growths),
        cmocka_unit_test(test_checkpoint),      cmocka_unit_test(test_even_counts),
        cmocka_unit_test(test_seams),           cmocka_unit_test(test_split_checkpoint),
        cmocka_unit_test(test_existing_output), cmocka_unit_test(test_state),
        cmocka_unit_test(test_verify),
    };

    return cmocka_run_group_tests_name("grow", tests, enter_scratch, leave_scratch);
}
