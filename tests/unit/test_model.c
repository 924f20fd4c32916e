/* A model's tables, and its plans. */
#include "small_model.h"

#include "nn/run.h"

static struct tf_err err;

static struct tf_shape one_layer(struct tf_layer_shape *layer)
{
    *layer = (struct tf_layer_shape){{1, 2, 3, 4, 5}, {1, 2, 3, 4, 5}};
    return (struct tf_shape){.layers = 1,
                             .width = 8,
                             .heads = 2,
                             .vocab = 10,
                             .seq = 6,
                             .rotary_pct = 0.5,
                             .rotary_base = 10000,
                             .tied = true,
                             .layer = layer};
}

static void tables_have_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t rows;
        unsigned group;
        double scale;
        bool decay;
    } want[] = {
        {"embed.tokens", 10, 1, 0, true},        {"head.tokens", 10, 2, 0, true},
        {"layers.0.attn.k.keys", 2, 3, 2, true}, {"layers.0.attn.k.values", 2, 3, 2, true},
        {"layers.0.attn.o.keys", 4, 4, 4, true}, {"layers.0.attn.o.values", 4, 4, 4, true},
        {"layers.0.attn.q.keys", 1, 5, 1, true}, {"layers.0.attn.q.values", 1, 5, 1, true},
        {"layers.0.attn.v.keys", 3, 6, 3, true}, {"layers.0.attn.v.values", 3, 6, 3, true},
        {"layers.0.ffn.keys", 5, 7, 5, true},    {"layers.0.ffn.values", 5, 7, 5, true},
        {"norm.bias", 1, 8, 0, false},           {"norm.weight", 1, 9, 0, false},
    };
    struct tf_layer_shape layer;
    struct tf_shape shape = one_layer(&layer);
    struct tf_model *model;
    shape.tied = false;
    assert_ok(tf_model_new(&model, &shape, false, &err), &err);
    assert_int_equal(model->table_count, sizeof want / sizeof *want);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        assert_string_equal(t->name, want[i].name);
        assert_true(t->rows == want[i].rows && t->cols == 8 && t->stride == 16);
        assert_true(t->row_group == want[i].group && t->scale == want[i].scale &&
                    t->decay == want[i].decay);
        assert_true(!t->frozen && !t->frozen_rows && !t->grad && !t->m && !t->v);
        assert_ptr_equal(tf_model_find(model, want[i].name), t);
        for (size_t k = 0; k < t->rows * t->stride; k++)
            assert_true(t->value[k] == (t == model->norm_weight && k < 8));
    }
    assert_ptr_equal(model->head, &model->tables[1]);
    assert_ptr_equal(model->layers[0].at[TF_V].values, &model->tables[9]);
    assert_null(tf_model_find(model, "layers.1.ffn.keys"));
    assert_null(
        tf_model_find(model, "layers.0.ffn.keys.and.a.name.that.is.longer.than.any.table.has.one"));
    assert_ptr_not_equal(model->shape.layer, &layer);
    tf_model_free(model);
    tf_model_free(NULL);
}

static struct tf_shape one_transformer_layer(struct tf_layer_shape *layer)
{
    struct tf_shape shape = one_layer(layer);
    *layer = (struct tf_layer_shape){{8, 8, 8, 8, 5}, {0}};
    shape.kind = TF_TRANSFORMER;
    shape.norm = TF_GELU;
    return shape;
}

/* A matrix is one table, in a row group of its own. */
static void a_transformers_tables(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t rows;
        unsigned group;
    } want[] = {
        {"embed.tokens", 10, 1},
        {"layers.0.attn.k.weight", 8, 2},
        {"layers.0.attn.o.weight", 8, 3},
        {"layers.0.attn.q.weight", 8, 4},
        {"layers.0.attn.v.weight", 8, 5},
        {"layers.0.ffn.keys", 5, 6},
        {"layers.0.ffn.values", 5, 6},
        {"norm.bias", 1, 7},
        {"norm.weight", 1, 8},
    };
    static const int places[] = {[TF_Q] = 3, [TF_K] = 1, [TF_V] = 4, [TF_O] = 2};
    struct tf_layer_shape layer;
    const struct tf_shape shape = one_transformer_layer(&layer);
    struct tf_model *model;
    assert_ok(tf_model_new(&model, &shape, true, &err), &err);
    assert_int_equal(model->table_count, sizeof want / sizeof *want);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        assert_string_equal(t->name, want[i].name);
        assert_true(t->rows == want[i].rows && t->new_from == t->rows && t->cols == 8);
        assert_true(t->row_group == want[i].group && t->scale == 0 && t->grad && t->m && t->v);
        assert_int_equal(t->decay, strncmp(t->name, "norm.", 5) != 0);
    }
    const struct tf_projection *at = model->layers[0].at;
    for (int p = TF_Q; p <= TF_O; p++) {
        assert_true(tf_is_matrix(&model->shape, p) && !at[p].values);
        assert_ptr_equal(at[p].keys, &model->tables[places[p]]);
    }
    assert_true(!tf_is_matrix(&model->shape, TF_FFN));
    assert_ptr_equal(at[TF_FFN].keys, &model->tables[5]);
    assert_ptr_equal(at[TF_FFN].values, &model->tables[6]);
    assert_string_equal(tf_kind_name(TF_TOKENFORMER), "tokenformer");
    assert_string_equal(tf_kind_name(TF_TRANSFORMER), "transformer");
    tf_model_free(model);
}

/* Layers past the ninth: tables stay sorted, keys and values of one Pattention in one group of
 * their own. */
static void many_layers_stay_sorted(void **state)
{
    (void)state;
    struct tf_layer_shape layers[12], layer;
    struct tf_shape shape = one_layer(&layer);
    struct tf_model *model;
    char name[TF_TABLE_NAME];
    for (int l = 0; l < 12; l++)
        layers[l] = layer;
    shape.layers = 12;
    shape.layer = layers;
    assert_ok(tf_model_plan(&model, &shape, true, &err), &err);
    assert_int_equal(model->table_count, 3 + 12 * 10);
    assert_ptr_equal(model->head, model->embed);
    for (size_t i = 1; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        assert_true(strcmp(t[-1].name, t->name) < 0);
        assert_int_equal(t->row_group, t[-1].row_group + !strstr(t->name, ".values"));
    }
    for (size_t l = 0; l < 12; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            assert_string_equal(model->layers[l].at[p].keys->name,
                                tf_table_name(name, l, p, TF_KEYS));
            assert_string_equal(model->layers[l].at[p].values->name,
                                tf_table_name(name, l, p, TF_VALUES));
            assert_int_equal(model->layers[l].at[p].keys->row_group,
                             model->layers[l].at[p].values->row_group);
        }
    assert_string_equal(tf_projection_name(name, 11, TF_O), "layers.11.attn.o");
    tf_model_free(model);
}

static void counts_and_flops(void **state)
{
    (void)state;
    struct tf_layer_shape layer;
    struct tf_shape shape = one_layer(&layer);
    struct tf_model *model;
    for (int tied = 0; tied < 2; tied++) {
        shape.tied = tied;
        assert_ok(tf_model_plan(&model, &shape, false, &err), &err);
        const uint64_t tokens = 2 * (1 + 2 + 3 + 4 + 5) * 8, head = 10 * 8;
        assert_int_equal(tf_model_parameters(model), tokens + head + 2 * 8 + (tied ? 0 : head));
        assert_true(tf_model_flops(model) == 6.0 * (double)(tokens + head) + 12.0 * 1 * 6 * 8);
        tf_model_free(model);
    }
    assert_int_equal(tf_rotated(&shape), 2);
    shape.rotary_pct = 0.99; /* of 4 channels, 3.96 */
    assert_int_equal(tf_rotated(&shape), 3);
    assert_true(tf_init_deviation(&shape, TF_Q, TF_KEYS) == 0.02);
    assert_true(tf_init_deviation(&shape, TF_Q, TF_VALUES) == 2 / sqrt(8));
}

static void a_transformers_counts_and_flops(void **state)
{
    (void)state;
    struct tf_layer_shape layer;
    const struct tf_shape shape = one_transformer_layer(&layer);
    struct tf_model *model;
    assert_ok(tf_model_plan(&model, &shape, false, &err), &err);
    const uint64_t matrices = 4 * 8 * 8 + 2 * 5 * 8 + 10 * 8;
    assert_int_equal(tf_model_parameters(model), matrices + 2 * 8);
    assert_true(tf_model_flops(model) == 6.0 * (double)matrices + 12.0 * 1 * 6 * 8);
    tf_model_free(model);
}

static void assert_rows(const struct tf_model *model, const uint64_t rows[TF_PROJECTIONS])
{
    for (int p = 0; p < TF_PROJECTIONS; p++) {
        const struct tf_projection *at = &model->layers[0].at[p];
        assert_int_equal(at->keys->rows, rows[p]);
        assert_true(!at->values || at->values->rows == rows[p]);
    }
}

/* Shares are rounded up, and 1 is everything again. */
static void tokens_that_are_kept(void **state)
{
    (void)state;
    static const struct {
        double share;
        uint64_t rows[TF_PROJECTIONS], units;
    } cases[] = {
        {0.5, {1, 50, 5, 13, 256}, 3}, {1e-9, {1, 1, 1, 1, 1}, 1},   {1, {1, 100, 9, 25, 511}, 5},
        {0.07, {1, 7, 1, 2, 36}, 1},   {0.2, {1, 20, 2, 5, 103}, 1}, {1, {1, 100, 9, 25, 511}, 5},
    };
    struct tf_layer_shape layers[2];
    struct tf_shape shape = one_layer(&layers[0]), other = one_transformer_layer(&layers[1]);
    struct tf_model *model, *transformer;
    layers[0] = (struct tf_layer_shape){{1, 100, 9, 25, 511}, {1, 2, 3, 4, 5}};
    assert_ok(tf_model_plan(&model, &shape, true, &err), &err);
    assert_ok(tf_model_plan(&transformer, &other, true, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tf_model_keep(model, cases[i].share);
        assert_rows(model, cases[i].rows);
        double tokens = 0;
        for (int p = 0; p < TF_PROJECTIONS; p++)
            tokens += (double)cases[i].rows[p];
        assert_true(tf_model_flops(model) == 6 * (2 * tokens * 8 + 10 * 8) + 12.0 * 1 * 6 * 8);
        tf_model_keep(transformer, cases[i].share);
        assert_rows(transformer, (uint64_t[]){8, 8, 8, 8, cases[i].units});
    }
    tf_model_free(model);
    tf_model_free(transformer);
}

/* Mean and deviation of what init draws, over tables of thousands of numbers. */
static void check_drawn(const struct tf_table *table, double deviation)
{
    const double n = (double)(table->rows * table->cols);
    double sum = 0, squares = 0;
    for (size_t i = 0; i < table->rows * table->cols; i++) {
        const double x = (double)tf_table_row(table, i / table->cols)[i % table->cols];
        sum += x;
        squares += x * x;
    }
    if (fabs(sum / n) > 4 * deviation / sqrt(n) ||
        fabs(sqrt(squares / n) / deviation - 1) > 4 / sqrt(2 * n))
        fail_msg("%s: mean %g, deviation %g, not %g", table->name, sum / n, sqrt(squares / n),
                 deviation);
}

static void init_has_its_deviations(void **state)
{
    (void)state;
    const double values = 2 / (2 * sqrt(60)), first = sqrt(2.0 / 300); /* of 2 layers, width 60 */
    for (int kind = TF_TOKENFORMER; kind <= TF_TRANSFORMER; kind++) {
        struct tf_layer_shape layers[2], one;
        struct tf_shape shape = kind ? one_transformer_layer(&one) : one_layer(&one);
        struct tf_model *model;
        for (int l = 0; l < 2; l++)
            layers[l] =
                (struct tf_layer_shape){{60, 60, 60, 60, 90}, {!kind, !kind, !kind, !kind, !kind}};
        shape.layers = 2;
        shape.width = 60;
        shape.rotary_pct = 0;
        shape.vocab = 100;
        shape.layer = layers;
        assert_ok(tf_model_new(&model, &shape, false, &err), &err);
        tf_model_init(model, 3);
        check_drawn(model->embed, 0.02);
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            const struct tf_projection *at = &model->layers[1].at[p];
            check_drawn(at->keys, !kind ? 0.02 : p == TF_O ? values : first);
            if (at->values)
                check_drawn(at->values, values);
            assert_true(kind == TF_TOKENFORMER || p == TF_FFN || !at->values);
        }
        tf_model_free(model);
    }
}

/* Each number depends on seed, name and place alone: not on the rest of the model, nor on how large
 * its table is. */
static void init_depends_on_seed_and_name(void **state)
{
    (void)state;
    struct tf_model *small = small_model(TF_SOFTMAX, true, false, 1),
                    *large = small_model(TF_SOFTMAX, false, false, 3);
    struct tf_model *other = small_model(TF_SOFTMAX, true, false, 1);
    tf_model_init(small, 7);
    tf_model_init(large, 7);
    tf_model_init(other, 8);
    for (size_t i = 0; i < small->table_count; i++) {
        const struct tf_table *t = &small->tables[i];
        if (!t->decay)
            continue; /* the final norm's two are not drawn */
        assert_memory_equal(t->value, tf_model_find(large, t->name)->value,
                            t->rows * t->stride * sizeof(float));
        assert_memory_not_equal(t->value, tf_model_find(other, t->name)->value,
                                t->rows * t->stride * sizeof(float));
        for (size_t k = 0; k < t->rows * t->stride; k++)
            assert_true(k % t->stride < t->cols || t->value[k] == 0);
    }
    const struct tf_table *q = tf_model_find(small, "layers.0.attn.q.values"),
                          *k = tf_model_find(small, "layers.0.attn.k.values");
    assert_memory_not_equal(q->value, k->value, q->rows * q->stride * sizeof(float));
    float rows[3][16];
    tf_init_rows(rows[0], 16, 0, 3, SMALL_WIDTH, k->name,
                 tf_init_deviation(&small->shape, TF_K, TF_VALUES), 7);
    for (size_t r = 0; r < 3; r++)
        assert_memory_equal(rows[r], tf_table_row(k, r), SMALL_WIDTH * sizeof(float));
    const double drawn =
        0.02 * tf_rng_normal(7, tf_rng_stream("embed.tokens"), 5 * SMALL_WIDTH + 2);
    assert_true(tf_table_row(small->embed, 5)[2] == (float)drawn);
    tf_model_free(small);
    tf_model_free(large);
    tf_model_free(other);
}

static void expect_shape(const struct tf_shape *shape, const char *text)
{
    struct tf_model *model = (struct tf_model *)shape; /* to be overwritten */
    err = (struct tf_err){0};
    assert_int_equal(tf_model_new(&model, shape, true, &err), TF_CONFIG);
    assert_string_equal(err.text, text);
    assert_null(model);
}

static void wrong_shapes_are_refused(void **state)
{
    (void)state;
    struct tf_layer_shape layer;
    struct tf_shape good = one_layer(&layer), s;
    const char *const none =
        "a model needs at least one layer, channel, head, token id and position";
    uint64_t *const sizes[] = {&s.layers, &s.width, &s.heads, &s.vocab, &s.seq};
    for (size_t i = 0; i < 5; i++) {
        s = good;
        *sizes[i] = 0;
        expect_shape(&s, none);
    }
    s = good;
    s.heads = 3;
    expect_shape(&s, "3 heads do not divide a width of 8");
    s = good;
    s.rotary_pct = 0.8;
    expect_shape(&s, "3 rotated channels in each head: an even number is needed");
    s.rotary_pct = 1.5;
    expect_shape(&s, "a share of 1.5 rotated channels: 0 to 1 is needed");
    s.rotary_pct = NAN;
    expect_shape(&s, "a share of nan rotated channels: 0 to 1 is needed");
    s = good;
    s.vocab = 65537;
    expect_shape(&s, "width 8, vocabulary 65537, length 6: at most 2^20, 2^16, 2^24");
    s = good;
    layer.tokens[TF_O] = 0;
    expect_shape(&s, "layers.0.attn.o: 0 tokens at scale 4");
    layer.tokens[TF_O] = (1ull << 31) + 1;
    expect_shape(&s, "layers.0.attn.o: 2147483649 tokens at scale 4");
    layer.tokens[TF_O] = 4;
    layer.scale[TF_FFN] = -1;
    expect_shape(&s, "layers.0.ffn: 5 tokens at scale -1");
    layer.scale[TF_FFN] = INFINITY;
    expect_shape(&s, "layers.0.ffn: 5 tokens at scale inf");
    layer.scale[TF_FFN] = 0;
    expect_shape(&s, "layers.0.ffn: 5 tokens at scale 0");
    s.norm = TF_GELU;
    expect_shape(&s, "a tokenformer has no gelu");
}

static void wrong_transformers_are_refused(void **state)
{
    (void)state;
    struct tf_layer_shape layer;
    const struct tf_shape good = one_transformer_layer(&layer);
    struct tf_shape s = good;
    s.norm = TF_SOFTMAX;
    expect_shape(&s, "a transformer has no softmax");
    layer.tokens[TF_O] = 7;
    expect_shape(&good, "layers.0.attn.o: 7 rows of a matrix, but a width of 8");
    layer.tokens[TF_O] = 8;
    layer.scale[TF_V] = 8;
    expect_shape(&good, "layers.0.attn.v: 8 tokens at scale 8");
    layer.scale[TF_V] = 0;
    layer.tokens[TF_FFN] = 0;
    expect_shape(&good, "layers.0.ffn: 0 tokens at scale 0");
}

/* 1024 layers of the largest tables: their bytes, or those with gradients and moments, pass 2^64.
 */
static void models_too_large_are_refused(void **state)
{
    (void)state;
    enum { MANY = 1024 };
    static struct tf_layer_shape layers[MANY];
    struct tf_layer_shape one;
    struct tf_shape shape = one_layer(&one);
    for (size_t l = 0; l < MANY; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++)
            layers[l] = (struct tf_layer_shape){{1, 1, 1, 1, 1ull << 31}, {1, 1, 1, 1, 1}};
    shape.width = 1u << 20;
    shape.layer = layers;
    for (int train = 0; train < 2; train++) {
        struct tf_model *model;
        shape.layers = train ? MANY / 4 : MANY;
        assert_int_equal(tf_model_plan(&model, &shape, train, &err), TF_MEMORY);
        assert_string_equal(err.text, "the model's tables need more than memory can be");
        assert_null(model);
    }
    struct tf_model *model; /* just below */
    assert_ok(tf_model_plan(&model, &shape, false, &err), &err);
    assert_true(model->bytes_weights > 1ull << 62);
    tf_model_free(model);
}

/* What a plan says is what is taken. */
static void plans_are_kept(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        const bool train = form % 2;
        struct tf_model *model =
                            small_model(form < 2 ? TF_L2_NORM_GELU : TF_GELU, !train, train, 1),
                        *plan;
        assert_ok(tf_model_plan(&plan, &model->shape, train, &err), &err);
        assert_null(plan->embed->value);
        assert_true(plan->bytes_weights == model->bytes_weights &&
                    plan->bytes_gradients == model->bytes_gradients &&
                    plan->bytes_moments == model->bytes_moments);
        assert_int_equal(model->memory.used, model->memory.size);
        assert_int_equal(model->memory.size,
                         model->bytes_weights + model->bytes_gradients + model->bytes_moments);
        assert_int_equal(model->bytes_gradients, train ? model->bytes_weights : 0);
        for (enum tf_run_mode mode = train ? TF_RUN_TRAIN : TF_RUN_SCORE; mode <= TF_RUN_CACHE;
             mode++) {
            uint64_t bytes;
            assert_ok(tf_run_plan(&bytes, plan, mode, 3, 7, &err), &err);
            struct tf_run *run = small_run(model, mode, 3, 7);
            assert_int_equal(run->memory.size, bytes);
            assert_int_equal(run->memory.used, bytes);
            tf_run_free(run);
        }
        tf_model_free(plan);
        tf_model_free(model);
    }
    tf_run_free(NULL);
}

/* One more layer costs a run that keeps packs its own packs and cache, and nothing else. */
static void layers_take_their_own(void **state)
{
    (void)state;
    enum { C = 12, SEQ = 20, STREAMS = 2 };
    struct tf_layer_shape layer[] = {
        {{9, 70, 9, 5, 21}, {1, 1, 1, 1, 1}},
        {{9, 70, 9, 5, 130}, {1, 1, 1, 1, 1}},
        {{9, 70, 9, 5, 21}, {1, 1, 1, 1, 1}},
    };
    struct tf_shape shape = {.width = C, .heads = 2, .vocab = 7, .seq = SEQ, .layer = layer};
    const struct tf_heads heads = {2, C / 2, SEQ};
    uint64_t bytes[2], own = 0;
    for (size_t i = 0; i < 2; i++) {
        struct tf_model *plan;
        shape.layers = 2 + i;
        assert_ok(tf_model_plan(&plan, &shape, false, &err), &err);
        assert_ok(tf_run_plan(&bytes[i], plan, TF_RUN_CACHE, STREAMS, 3, &err), &err);
        tf_model_free(plan);
    }
    /* Every piece is a whole number of cache lines. */
    for (int p = 0; p < TF_PROJECTIONS; p++)
        own += 2 * 4 * tf_table_stride(tf_projection_pack_size(layer[2].tokens[p], C));
    own += 4 * tf_table_stride(STREAMS * heads.H * tf_kv_keys_size(&heads));
    own += 4 * tf_table_stride(STREAMS * heads.H * tf_kv_values_size(&heads));
    assert_int_equal(bytes[1] - bytes[0], own);
}

/* A matrix has no scores: a layer of a transformer keeps of its four nothing but what goes in and
 * out, and their one table each, packed. */
static void matrices_take_no_scores(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_GELU, true, true, 1);
    struct tf_run *train = small_run(model, TF_RUN_TRAIN, 3, 7),
                  *cache = small_run(model, TF_RUN_CACHE, 3, 7);
    for (int p = TF_Q; p <= TF_O; p++) {
        assert_null(train->kept[1].scores[p].a.at);
        assert_null(train->kept[1].scores[p].stats);
        assert_true(!train->back.at[p].s && !train->back.g[p] && train->back.at[p].da);
        assert_null(cache->few[p].at);
        for (uint64_t l = 0; l < SMALL_LAYERS; l++)
            assert_true(tf_run_pack(cache, l, p)->keys && !tf_run_pack(cache, l, p)->values);
    }
    assert_true(train->kept[1].scores[TF_FFN].a.at && train->back.g[TF_FFN] &&
                cache->few[TF_FFN].at && tf_run_pack(cache, 1, TF_FFN)->values);
    tf_run_free(train);
    tf_run_free(cache);
    tf_model_free(model);
}

/* Too large is said before memory is touched. */
static void runs_too_large_are_refused(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, false, 1);
    struct tf_run *run = (struct tf_run *)model; /* to be overwritten */
    uint64_t bytes;
    assert_int_equal(tf_run_new(&run, model, TF_RUN_SCORE, 1u << 20, 1u << 12, &err), TF_MEMORY);
    assert_string_equal(err.text, "a pass over 1048576 sequences of 4096 tokens is too large");
    assert_null(run);
    assert_int_equal(tf_run_plan(&bytes, model, TF_RUN_SCORE, SIZE_MAX, 2, &err), TF_MEMORY);
    assert_string_equal(err.text,
                        "a pass over 18446744073709551615 sequences of 2 tokens is too large");
    assert_int_equal(bytes, 0);
    tf_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_have_their_names),
        cmocka_unit_test(a_transformers_tables),
        cmocka_unit_test(many_layers_stay_sorted),
        cmocka_unit_test(counts_and_flops),
        cmocka_unit_test(a_transformers_counts_and_flops),
        cmocka_unit_test(tokens_that_are_kept),
        cmocka_unit_test(init_has_its_deviations),
        cmocka_unit_test(init_depends_on_seed_and_name),
        cmocka_unit_test(wrong_shapes_are_refused),
        cmocka_unit_test(wrong_transformers_are_refused),
        cmocka_unit_test(models_too_large_are_refused),
        cmocka_unit_test(plans_are_kept),
        cmocka_unit_test(layers_take_their_own),
        cmocka_unit_test(matrices_take_no_scores),
        cmocka_unit_test(runs_too_large_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
