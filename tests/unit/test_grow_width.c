/* Growth of transformers: their width, and the units of their MLPs. */
#include "growth.h"

/* Units of an MLP do not touch each other, so more is preserved than of a Pattention. */
static void test_mlp_promises(void **state)
{
    static const enum promise promises[3][3] = {
        [TF_INIT_ZERO] = {CHANGED, EXACT, EXACT}, /* the first is refused */
        [TF_INIT_RANDOM] = {EXACT, CHANGED, CHANGED},
        [TF_INIT_COPY] = {EXACT, CHANGED, ROUNDED}};
    static const char *const targets[] = {"x2", "+7"};
    struct tf_checkpoint from;

    (void)state;
    tiny_file("from.tfck", "model.kind=transformer", false);
    open_checkpoint(&from, "from.tfck");
    for (int way = 1; way < 9; way++)
        for (int t = 0; t < 2; t++) {
            struct tf_grow_options options = {.ffn = target(targets[t]),
                                              .keys = (enum tf_row_init)(way / 3),
                                              .values = (enum tf_row_init)(way % 3),
                                              .scale = (enum tf_grow_scale)t,
                                              .seed = 5};
            check_promise(&from, &options, promises[way / 3][way % 3]);
        }
    tf_checkpoint_close(&from);
}

/* Widens, and gives the largest difference of logits as a share of the largest logit. */
static double widened(const char *kind, const struct tf_grow_options *options,
                      struct tf_growth *growth)
{
    struct tf_checkpoint from, to;

    tiny_file("from.tfck", kind, true);
    grow_file("from.tfck", "to.tfck", options);
    open_checkpoint(&from, "from.tfck");
    open_checkpoint(&to, "to.tfck");
    assert_ok(tf_grow_plan(growth, &from.shape, options, &err), &err);
    check_same_model(&from, &to, growth, options);
    assert_int_equal(to.config.model.hidden_size, growth->after.width);
    assert_int_equal(to.config.model.num_attention_heads, growth->after.heads);
    assert_int_equal(to.config.model.hidden_size / to.config.model.num_attention_heads, 16);
    /* moments of other tables would not fit; AdamW starts anew */
    assert_int_equal(tf_store_find(to.store, "optim.m/embed.tokens"), SIZE_MAX);
    assert_int_equal(to.state.updates, 0);
    assert_int_equal(to.state.step, 6);
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
    double scale, largest = difference_of("from.tfck", "to.tfck", &scale);
    return largest / scale;
}

static void check_width(void)
{
    static const char *const kinds[] = {"model.kind=transformer",
                                        "model.kind=transformer;model.tie_embeddings=false"};
    static const struct {
        enum tf_grow_method method;
        const char *width, *ffn;
        double noise;
        uint64_t width_after, ffn_after[2];
    } cases[] = {
        {TF_GROW_HYPERCLONE, NULL, NULL, 0, 64, {88, 80}},
        {TF_GROW_HYPERCLONE, NULL, NULL, 0.3, 64, {88, 80}},
        {TF_GROW_HYPERCLONE, "x3", "100", 0.3, 96, {100, 100}},
        {TF_GROW_HYPERCLONE, "128", NULL, 0.1, 128, {176, 160}},
        {TF_GROW_HYPERCLONE, NULL, "+1", 0.1, 32, {45, 41}},
        {TF_GROW_NET2NET, NULL, NULL, 0, 64, {88, 80}},
        {TF_GROW_NET2NET, "x3", "+9", 0, 96, {53, 49}},
        {TF_GROW_NET2NET, NULL, "99", 0, 32, {99, 99}},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 2; kind++) {
            struct tf_grow_options options = {
                .method = cases[i].method, .noise = cases[i].noise, .seed = 4};
            struct tf_growth growth;
            if (cases[i].width)
                options.width = target(cases[i].width);
            if (cases[i].ffn)
                options.ffn = target(cases[i].ffn);
            double largest = widened(kinds[kind], &options, &growth);
            if (!(largest > 0 && largest < 1e-5))
                fail_msg("case %zu, %s: a difference of %g", i, kinds[kind], largest);
            assert_true(!growth.exact && growth.preserved);
            assert_string_equal(
                growth.why, "the copies make the same sums in parts, so they round differently");
            assert_int_equal(growth.after.width, cases[i].width_after);
            for (int l = 0; l < 2; l++)
                assert_int_equal(growth.after.layer[l].tokens[TF_FFN], cases[i].ffn_after[l]);
            tf_growth_fini(&growth);
        }
}

static void test_width(void **state)
{
    (void)state;
    each_kernel(check_width);
}

/* Noise of net2net is not taken back: it is small, and said to be there. */
static void test_net2net_noise(void **state)
{
    struct tf_grow_options options = {.method = TF_GROW_NET2NET, .noise = TF_GROW_NOISE};
    struct tf_growth growth;

    (void)state;
    double largest = widened("model.kind=transformer", &options, &growth);
    assert_true(largest > 1e-4 && largest < 0.2);
    assert_false(growth.exact || growth.preserved);
    assert_string_equal(growth.why,
                        "net2net adds noise to the copies: 0.01 of each table's root mean square");
    tf_growth_fini(&growth);
}

/* Copies differ by noise, so that they can learn apart; over the copies of a unit it sums to 0. */
static void test_hyperclone_rows(void **state)
{
    struct tf_grow_options options = {
        .method = TF_GROW_HYPERCLONE, .width = target("x3"), .noise = 0.5};
    struct tf_growth growth;
    struct tf_checkpoint from, to;
    size_t count;

    (void)state;
    widened("model.kind=transformer", &options, &growth);
    tf_growth_fini(&growth);
    open_checkpoint(&from, "from.tfck");
    open_checkpoint(&to, "to.tfck");
    float *old = read_table(&from, "layers.1.attn.q.weight", &count);
    float *new = read_table(&to, "layers.1.attn.q.weight", &count);
    assert_int_equal(count, 96 * 96);
    for (int row = 0; row < 96; row++)
        for (int col = 0; col < 32; col++) {
            const float *at = new + row * 96 + col;
            float sum = at[0] + at[32] + at[64], was = old[row % 32 * 32 + col];
            assert_true(fabsf(sum - was) < 1e-6f + 1e-6f * fabsf(was));
            assert_true(at[0] != at[32] && at[32] != at[64]);
            assert_true(row < 32 || at[0] != at[-32 * 96]);
        }
    tf_free(old);
    tf_free(new);
    old = read_table(&from, "layers.0.ffn.values", &count);
    new = read_table(&to, "layers.0.ffn.values", &count);
    assert_int_equal(count, 132 * 96);
    for (int unit = 0; unit < 44; unit++)
        for (int col = 0; col < 96; col++) {
            const float *at = new + unit * 96 + col;
            float sum = at[0] + at[44 * 96] + at[88 * 96], was = old[unit * 32 + col % 32];
            assert_true(fabsf(sum - was) < 1e-6f + 1e-6f * fabsf(was));
            assert_true(at[0] != at[44 * 96]);
        }
    tf_free(old);
    tf_free(new);
    old = read_table(&from, "embed.tokens", &count);
    new = read_table(&to, "embed.tokens", &count);
    for (size_t i = 0; i < count; i++)
        assert_true(new[i] == old[i / 96 * 32 + i % 96 % 32]);
    tf_free(old);
    tf_free(new);
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

static void test_width_lineage(void **state)
{
    struct tf_grow_options options = {
        .method = TF_GROW_NET2NET, .width = target("64"), .ffn = target("60"), .add_layers = 1};
    struct tf_growth growth;
    struct tf_checkpoint to;

    (void)state;
    widened("model.kind=transformer", &options, &growth);
    tf_growth_fini(&growth);
    open_checkpoint(&to, "to.tfck");
    const struct tf_event *event = &to.lineage.events[1];
    assert_string_equal(event->method, "net2net");
    assert_string_equal(event->keys, "copy");
    assert_string_equal(event->values, "copy");
    assert_string_equal(event->scale, ""); /* a transformer has none */
    assert_string_equal(event->place, "top");
    assert_true(event->layers[0] == 2 && event->layers[1] == 3);
    assert_true(event->width[0] == 32 && event->width[1] == 64);
    assert_int_equal(event->row_count, 15);
    assert_string_equal(event->rows[1].name, "layers.0.attn.k");
    assert_true(event->rows[1].before == 32 && event->rows[1].after == 64);
    assert_string_equal(event->rows[14].name, "layers.2.ffn");
    assert_true(event->rows[14].before == 0 && event->rows[14].after == 60);
    assert_int_equal(to.shape.layers, 3);
    tf_checkpoint_close(&to);
}

static void test_refusals(void **state)
{
    static const struct tf_target two = {TF_TARGET_TIMES, 2}, odd = {TF_TARGET_ABSOLUTE, 48},
                                  less = {TF_TARGET_ABSOLUTE, 16},
                                  vast = {TF_TARGET_TIMES, 1u << 16};
    const char *const transformer = "model.kind=transformer";
    const char *const narrow = "a tokenformer does not grow in width: more tokens make it larger "
                               "at the same cost of attention";
    const char *const matrices = "a transformer's q, k, v and o are matrices, which have no "
                                 "tokens: of tokens, only those of ffn can grow";
    const struct {
        const char *kind;
        struct tf_grow_options options;
        const char *says;
    } cases[] = {
        {NULL, {.method = TF_GROW_HYPERCLONE}, narrow},
        {NULL, {.width = two}, narrow},
        {transformer,
         {.width = two},
         "the method tokens keeps the width: net2net and hyperclone make it larger"},
        {transformer, {.qkv = two, .values = TF_INIT_RANDOM}, matrices},
        {transformer, {.method = TF_GROW_NET2NET, .proj = two}, matrices},
        {transformer,
         {.method = TF_GROW_NET2NET, .width = odd},
         "width: 48 channels are not a whole multiple of 32: LayerNorm keeps mean and variance "
         "only when each channel has equally many copies"},
        {transformer,
         {.method = TF_GROW_HYPERCLONE, .width = less},
         "width: the target of 16 channels is below the 32 that it has"},
        {transformer,
         {.method = TF_GROW_HYPERCLONE, .width = vast},
         "width: the target passes the limit of 1048576 channels"},
        {transformer,
         {.method = TF_GROW_HYPERCLONE, .noise = -1},
         "noise -1: a share from 0 on is needed"},
        {transformer,
         {.method = TF_GROW_HYPERCLONE, .width = {TF_TARGET_TIMES, 1}},
         "nothing to grow: no target is above what is there"},
        {transformer,
         {.ffn = two},
         "zero keys with zero values can never learn: the gradient of either is zero while the "
         "other is"},
        {NULL, {.add_layers = 1023}, "1023 new layers on 2 pass the limit of 1024 layers"},
        {NULL,
         {.add_layers = UINT64_MAX},
         "18446744073709551615 new layers on 2 pass the limit of 1024 layers"},
        {NULL,
         {.add_layers = 1, .layers = "2", .ffn = two, .values = TF_INIT_RANDOM},
         "layer 2 does not exist: the model's layers are 0 to 1"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_growth growth;
        assert_int_equal(plan(&growth, &cases[i].options, cases[i].kind), TF_USAGE);
        assert_string_equal(err.text, cases[i].says);
        assert_null(growth.origin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mlp_promises),  cmocka_unit_test(test_width),
        cmocka_unit_test(test_net2net_noise), cmocka_unit_test(test_hyperclone_rows),
        cmocka_unit_test(test_width_lineage), cmocka_unit_test(test_refusals),
    };

    return cmocka_run_group_tests_name("grow_width", tests, enter_scratch, leave_scratch);
}
