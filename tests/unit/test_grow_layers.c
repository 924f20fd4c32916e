/* Growth in depth. */
#include "growth.h"

/* Where new layers stand, and whose counts they have: layer i has 10 (i + 1) tokens of ffn. */
static void test_places(void **state)
{
    static const struct {
        enum tf_grow_place place;
        uint64_t layers, added;
        const char *tokens; /* of ffn, from the bottom; a new layer in brackets */
    } cases[] = {
        {TF_PLACE_TOP, 3, 2, "10 20 30 [30] [30]"},
        {TF_PLACE_MIDDLE, 4, 2, "10 20 [20] [20] 30 40"},
        {TF_PLACE_MIDDLE, 5, 1, "10 20 [20] 30 40 50"},
        {TF_PLACE_MIDDLE, 1, 2, "[10] [10] 10"},
        {TF_PLACE_SPREAD, 4, 1, "10 20 30 40 [40]"},
        {TF_PLACE_SPREAD, 4, 2, "10 20 [20] 30 40 [40]"},
        {TF_PLACE_SPREAD, 4, 3, "10 20 [20] 30 [30] 40 [40]"},
        {TF_PLACE_SPREAD, 3, 3, "10 [10] 20 [20] 30 [30]"},
        {TF_PLACE_SPREAD, 2, 5, "10 [10] [10] 20 [20] [20] [20]"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_layer_shape layer[5];
        struct tf_shape shape = {.layers = cases[i].layers, .width = 16, .layer = layer};
        struct tf_grow_options options = {.add_layers = cases[i].added, .place = cases[i].place};
        struct tf_growth growth;
        char text[128] = "";
        for (uint64_t l = 0; l < shape.layers; l++)
            for (int p = 0; p < TF_PROJECTIONS; p++) {
                layer[l].tokens[p] = 10 * (l + 1);
                layer[l].scale[p] = 7;
            }
        assert_ok(tf_grow_plan(&growth, &shape, &options, &err), &err);
        uint64_t old = 0;
        for (uint64_t l = 0; l < growth.after.layers; l++) {
            bool fresh = growth.origin[l] == UINT64_MAX;
            assert_true(fresh || growth.origin[l] == old++);
            snprintf(text + strlen(text), sizeof text - strlen(text), fresh ? " [%d]" : " %d",
                     (int)growth.after.layer[l].tokens[TF_FFN]);
        }
        assert_string_equal(text + 1, cases[i].tokens);
        assert_int_equal(old, cases[i].layers);
        tf_growth_fini(&growth);
    }
}

/* A new layer has the tokens, and the scale, of the layer below it after the growth. */
static void test_layers_with_tokens(void **state)
{
    struct tf_grow_options options = {.ffn = target("x2"),
                                      .layers = "0",
                                      .add_layers = 2,
                                      .place = TF_PLACE_SPREAD,
                                      .values = TF_INIT_RANDOM,
                                      .scale = TF_SCALE_COUNT};
    static const uint64_t tokens[] = {88, 88, 40, 40};
    struct tf_growth growth;

    (void)state;
    assert_ok(plan(&growth, &options, NULL), &err);
    assert_int_equal(growth.after.layers, 4);
    for (int l = 0; l < 4; l++) {
        assert_int_equal(growth.after.layer[l].tokens[TF_FFN], tokens[l]);
        assert_true(growth.after.layer[l].scale[TF_FFN] == (double)tokens[l]);
    }
    assert_false(growth.preserved);
    tf_growth_fini(&growth);
}

/* Weights and moments of an old layer, under its new name: the same chunks. */
static void check_old_table(const struct tf_checkpoint *from, const char *name,
                            const struct tf_checkpoint *to, const char *new_name)
{
    const struct tf_table_info *a = tf_store_table(from->store, tf_store_find(from->store, name));
    size_t index = tf_store_find(to->store, new_name);

    assert_int_not_equal(index, SIZE_MAX);
    const struct tf_table_info *b = tf_store_table(to->store, index);
    assert_true(a->rows == b->rows && a->role == b->role && a->scale == b->scale);
    assert_int_equal(a->chunk_count, b->chunk_count);
    for (uint32_t i = 0; i < a->chunk_count; i++)
        assert_true(tf_store_chunk(from->store, a->first_chunk + i)->coded_hash ==
                    tf_store_chunk(to->store, b->first_chunk + i)->coded_hash);
}

/* A new layer's table: nothing goes out yet; the rest is as a model that began with as many layers
 * has it. */
static void check_new_table(const struct tf_checkpoint *to, const struct tf_model *begun,
                            const char *name, bool out)
{
    size_t count;
    float *rows = read_table(to, name, &count);
    const struct tf_table *as = tf_model_find(begun, name);

    assert_int_equal(count, as->rows * as->cols);
    for (size_t i = 0; i < count; i++)
        assert_true(rows[i] == (out ? 0 : tf_table_row(as, i / as->cols)[i % as->cols]));
    tf_free(rows);
    for (int moment = 0; moment < 2; moment++) {
        char of[TF_TABLE_NAME + 8];
        snprintf(of, sizeof of, "optim.%c/%s", "mv"[moment], name);
        rows = read_table(to, of, &count);
        for (size_t i = 0; i < count; i++)
            assert_true(rows[i] == 0);
        tf_free(rows);
    }
}

static void check_deeper(const struct tf_checkpoint *from, const struct tf_checkpoint *to,
                         const struct tf_growth *growth, uint64_t seed)
{
    struct tf_model *begun;

    assert_ok(tf_model_new(&begun, &growth->after, false, &err), &err);
    tf_model_init(begun, seed);
    for (uint64_t l = 0; l < growth->after.layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++)
            for (int part = TF_KEYS; part <= TF_WEIGHT; part++) {
                char name[TF_TABLE_NAME], old[TF_TABLE_NAME], moment[2][TF_TABLE_NAME + 8];
                bool out = part == TF_VALUES || (part == TF_WEIGHT && p == TF_O);
                if (tf_is_matrix(&growth->after, p) != (part == TF_WEIGHT))
                    continue;
                tf_table_name(name, l, p, (enum tf_part)part);
                if (growth->origin[l] == UINT64_MAX) {
                    check_new_table(to, begun, name, out && (p == TF_O || p == TF_FFN));
                    continue;
                }
                tf_table_name(old, growth->origin[l], p, (enum tf_part)part);
                check_old_table(from, old, to, name);
                snprintf(moment[0], sizeof moment[0], "optim.v/%s", old);
                snprintf(moment[1], sizeof moment[1], "optim.v/%s", name);
                check_old_table(from, moment[0], to, moment[1]);
            }
    tf_model_free(begun);
}

static const char *const every_kind[] = {"model.norm_activation=l2_norm_gelu",
                                         "model.norm_activation=gelu_l2_norm",
                                         "model.norm_activation=softmax", "model.kind=transformer",
                                         "model.kind=transformer;model.tie_embeddings=false"};

/* Every logit the same to the bit at all three places, past ten layers, for every kind. */
static void check_depth(void)
{
    for (size_t kind = 0; kind < sizeof every_kind / sizeof *every_kind; kind++) {
        tiny_file("from.tfck", every_kind[kind], true);
        for (int place = 0; place < 3; place++) {
            struct tf_grow_options options = {
                .add_layers = 10, .place = (enum tf_grow_place)place, .seed = 8};
            struct tf_checkpoint from, to;
            struct tf_growth growth;
            grow_file("from.tfck", "to.tfck", &options);
            open_checkpoint(&from, "from.tfck");
            open_checkpoint(&to, "to.tfck");
            assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
            assert_true(growth.exact && growth.preserved && growth.why[0] == '\0');
            assert_true(difference("from.tfck", "to.tfck") == 0);
            check_deeper(&from, &to, &growth, 8);
            check_same_model(&from, &to, &growth, &options);
            assert_int_equal(to.config.model.num_layers, 12);
            tf_growth_fini(&growth);
            tf_checkpoint_close(&from);
            tf_checkpoint_close(&to);
        }
    }
}

static void test_depth(void **state)
{
    (void)state;
    each_kernel(check_depth);
}

static void test_depth_lineage(void **state)
{
    struct tf_grow_options options = {.ffn = target("x2"),
                                      .layers = "0",
                                      .add_layers = 1,
                                      .place = TF_PLACE_MIDDLE,
                                      .values = TF_INIT_RANDOM,
                                      .seed = 3};
    static const char *const rows[] = {"layers.0.ffn 44 88",   "layers.1.attn.q 0 20",
                                       "layers.1.attn.k 0 20", "layers.1.attn.v 0 20",
                                       "layers.1.attn.o 0 12", "layers.1.ffn 0 88"};
    struct tf_checkpoint to;

    (void)state;
    tiny_file("from.tfck", NULL, true);
    grow_file("from.tfck", "to.tfck", &options);
    assert_true(difference("from.tfck", "to.tfck") == 0);
    open_checkpoint(&to, "to.tfck");
    const struct tf_event *event = &to.lineage.events[1];
    assert_string_equal(event->method, "tokens");
    assert_string_equal(event->place, "middle");
    assert_true(event->layers[0] == 2 && event->layers[1] == 3);
    assert_true(event->width[0] == 0 && event->width[1] == 0);
    assert_int_equal(event->row_count, 6);
    for (size_t i = 0; i < 6; i++) {
        char text[128];
        snprintf(text, sizeof text, "%s %d %d", event->rows[i].name, (int)event->rows[i].before,
                 (int)event->rows[i].after);
        assert_string_equal(text, rows[i]);
    }
    assert_int_equal(to.config.model.ffn_tokens.count, 3);
    assert_int_equal(to.config.model.ffn_tokens.items[1], 88);
    assert_int_equal(to.config.model.ffn_tokens.items[2], 40);
    assert_int_equal(to.config.model.qkv_tokens.count, 1);
    tf_checkpoint_close(&to);
}

/* New layers alone: no method does anything to the old ones, and there is no way to tell of in
 * which their new rows were made. */
static void test_depth_only(void **state)
{
    struct tf_grow_options options = {.width = target("x1"), .ffn = target("x1"), .noise = 0.5};
    struct tf_checkpoint to;
    struct tf_growth growth;

    (void)state;
    options.add_layers = 1;
    for (int method = TF_GROW_NET2NET; method <= TF_GROW_HYPERCLONE; method++) {
        options.method = (enum tf_grow_method)method;
        assert_ok(plan(&growth, &options, "model.kind=transformer"), &err);
        assert_true(growth.depth_only && growth.exact && growth.why[0] == '\0');
        tf_growth_fini(&growth);
        tiny_file("from.tfck", "model.kind=transformer", false);
        grow_file("from.tfck", "to.tfck", &options);
        assert_true(difference("from.tfck", "to.tfck") == 0);
    }
    tiny_file("from.tfck", NULL, false);
    options = (struct tf_grow_options){.add_layers = 1, .values = TF_INIT_RANDOM};
    grow_file("from.tfck", "to.tfck", &options);
    open_checkpoint(&to, "to.tfck");
    const struct tf_event *event = &to.lineage.events[1];
    assert_string_equal(event->keys, "");
    assert_string_equal(event->values, "");
    assert_string_equal(event->scale, "");
    tf_checkpoint_close(&to);
    options.ffn = target("+1");
    assert_ok(plan(&growth, &options, NULL), &err);
    assert_false(growth.depth_only);
    tf_growth_fini(&growth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),     cmocka_unit_test(test_layers_with_tokens),
        cmocka_unit_test(test_depth),      cmocka_unit_test(test_depth_lineage),
        cmocka_unit_test(test_depth_only),
    };

    return cmocka_run_group_tests_name("grow_layers", tests, enter_scratch, leave_scratch);
}
