#include "tiny_model.h"

#include "base/io.h"

static struct tf_err err;

static void assert_same_rows(const struct tf_table *table, const float *a, const float *b)
{
    for (size_t row = 0; row < table->rows; row++)
        assert_memory_equal(a + row * table->stride, b + row * table->stride,
                            table->cols * sizeof *a);
}

/* ---- shapes ---- */

static void test_shape(void **state)
{
    struct tf_config config;
    struct tf_shape shape;

    (void)state;
    assert_ok(tf_config_init(&config, &err), &err);
    assert_ok(tf_config_parse(&config, "c", tiny_yaml, strlen(tiny_yaml), TF_CONFIG, &err), &err);
    assert_ok(tf_config_set(&config, "model.proj_scale=2.5", &err), &err);
    assert_ok(tf_config_set(&config, "model.vocab_multiple=64", &err), &err);
    assert_ok(tf_shape_init(&shape, &config, 257, &err), &err);
    assert_int_equal(shape.vocab, 320);
    assert_int_equal(shape.layers, 2);
    assert_int_equal(shape.width, 32);
    assert_int_equal(shape.layer[0].tokens[TF_K], 20);
    assert_int_equal(shape.layer[1].tokens[TF_O], 12);
    assert_int_equal(shape.layer[0].tokens[TF_FFN], 44);
    assert_int_equal(shape.layer[1].tokens[TF_FFN], 40);
    assert_true(shape.layer[1].scale[TF_FFN] == 40);
    assert_true(shape.layer[0].scale[TF_O] == 2.5);
    tf_shape_fini(&shape);
    assert_ok(tf_shape_init(&shape, &config, 256, &err), &err);
    assert_int_equal(shape.vocab, 256);
    tf_shape_fini(&shape);
    assert_int_equal(tf_shape_init(&shape, &config, 65537, &err), TF_CONFIG);
    tf_config_fini(&config);
}

/* Matrices are as wide as the model; nothing has a scale, whatever the config says. */
static void test_transformer_shape(void **state)
{
    struct tf_config config;
    struct tf_shape shape;
    struct tf_token_counts counts;

    (void)state;
    assert_ok(tf_config_init(&config, &err), &err);
    assert_ok(tf_config_parse(&config, "c", tiny_yaml, strlen(tiny_yaml), TF_CONFIG, &err), &err);
    assert_ok(tf_config_set(&config, "model.kind=transformer", &err), &err);
    assert_ok(tf_config_set(&config, "model.proj_scale=2.5", &err), &err);
    assert_ok(tf_shape_init(&shape, &config, 257, &err), &err);
    assert_int_equal(shape.kind, TF_TRANSFORMER);
    assert_int_equal(shape.norm, TF_GELU);
    for (int p = 0; p < TF_PROJECTIONS; p++) {
        assert_int_equal(shape.layer[1].tokens[p], p == TF_FFN ? 40 : 32);
        assert_true(shape.layer[1].scale[p] == 0);
    }
    assert_ok(tf_shape_counts(&counts, &shape, &config, &err), &err);
    assert_int_equal(counts.qkv.count, 1);
    assert_int_equal(counts.qkv.items[0], 20);
    assert_int_equal(counts.proj.items[0], 12);
    assert_int_equal(counts.ffn.count, 2);
    tf_token_counts_fini(&counts);
    tf_shape_fini(&shape);
    tf_config_fini(&config);
}

/* What is new in layers that were not there, and what changed in those that were. */
static void test_event_rows(void **state)
{
    static const uint64_t origin[] = {0, UINT64_MAX, 1};
    struct tf_layer_shape old[2] = {{.tokens = {4, 4, 4, 2, 8}}, {.tokens = {4, 4, 4, 2, 6}}},
                          new[3] = {old[0], {.tokens = {4, 4, 4, 2, 7}}, old[1]};
    struct tf_shape before = {.layers = 2, .layer = old}, after = {.layers = 3, .layer = new};
    struct tf_event event = {0};

    (void)state;
    new[2].tokens[TF_FFN] = 9;
    assert_ok(tf_event_rows(&event, &before, &after, origin, &err), &err);
    assert_int_equal(event.row_count, 6);
    assert_string_equal(event.rows[0].name, "layers.1.attn.q");
    assert_int_equal(event.rows[0].before, 0);
    assert_int_equal(event.rows[0].after, 4);
    assert_string_equal(event.rows[4].name, "layers.1.ffn");
    assert_int_equal(event.rows[4].after, 7);
    assert_string_equal(event.rows[5].name, "layers.2.ffn");
    assert_int_equal(event.rows[5].before, 6);
    assert_int_equal(event.rows[5].after, 9);
    tf_free(event.rows);
}

/* ---- there and back ---- */

static void round_trip(const char *set)
{
    struct tiny tiny;
    struct tf_checkpoint checkpoint;
    struct tf_model *model;

    tiny_make(&tiny, set, true);
    tiny_save(&tiny, "a.tfck");
    open_checkpoint(&checkpoint, "a.tfck");
    assert_int_equal(checkpoint.config.train.seed, tiny.config.train.seed);
    assert_int_equal(checkpoint.shape.kind, tiny.config.model.kind);
    assert_int_equal(checkpoint.tokenizer.size, 257);
    assert_int_equal(checkpoint.state.step, 6);
    assert_int_equal(checkpoint.lineage.count, 1);
    assert_int_equal(checkpoint.shape.vocab, 272);
    assert_ok(tf_model_load(&model, &checkpoint, true, &err), &err);
    assert_int_equal(model->table_count, tiny.model->table_count);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *a = &tiny.model->tables[i], *b = &model->tables[i];
        assert_string_equal(a->name, b->name);
        assert_true(a->scale == b->scale);
        assert_same_rows(a, a->value, b->value);
        assert_same_rows(a, a->m, b->m);
        assert_same_rows(a, a->v, b->v);
    }
    assert_ok(tf_checkpoint_save("b.tfck", model, &checkpoint.config, &checkpoint.tokenizer,
                                 &checkpoint.state, &checkpoint.lineage, &err),
              &err);
    assert_same_file("a.tfck", "b.tfck");
    tf_model_free(model);
    tf_checkpoint_close(&checkpoint);
    tiny_free(&tiny);
}

static void test_round_trip(void **state)
{
    (void)state;
    round_trip("train.seed=77");
    round_trip("model.kind=transformer");
}

/* Moments that the file lacks are zero, also in a model that had others. */
static void test_no_moments(void **state)
{
    struct tiny tiny;
    struct tf_checkpoint checkpoint;

    (void)state;
    tiny_file("bare.tfck", NULL, false);
    open_checkpoint(&checkpoint, "bare.tfck");
    tiny_make(&tiny, NULL, true);
    assert_ok(tf_model_read(tiny.model, checkpoint.store, &err), &err);
    for (size_t i = 0; i < tiny.model->table_count; i++)
        for (size_t k = 0; k < tiny.model->tables[i].rows * tiny.model->tables[i].stride; k++)
            assert_true(tiny.model->tables[i].m[k] == 0 && tiny.model->tables[i].v[k] == 0);
    tf_checkpoint_close(&checkpoint);
    tiny_free(&tiny);
}

static void test_other_shape(void **state)
{
    struct tiny tiny;
    struct tf_checkpoint checkpoint;

    (void)state;
    tiny_file("a.tfck", NULL, false);
    open_checkpoint(&checkpoint, "a.tfck");
    tiny_make(&tiny, "model.ffn_tokens=44", false);
    assert_int_equal(tf_model_read(tiny.model, checkpoint.store, &err), TF_DATA);
    assert_string_equal(
        err.text, "a.tfck: table layers.1.ffn.keys: 40 x 32 numbers, but the model has 44 x 32");
    tiny_free(&tiny);
    tiny_make(&tiny, "model.proj_scale=3", false);
    assert_int_equal(tf_model_read(tiny.model, checkpoint.store, &err), TF_DATA);
    assert_string_equal(err.text,
                        "a.tfck: table layers.0.attn.o.keys: scale 12, but the model has 3");
    tiny_free(&tiny);
    tf_checkpoint_close(&checkpoint);
}

static void test_bytes(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    for (int train = 0; train < 2; train++) {
        struct tiny tiny;
        uint64_t bytes = 0;
        tiny_make(&tiny, NULL, train);
        tiny_save(&tiny, "a.tfck");
        open_checkpoint(&checkpoint, "a.tfck");
        for (size_t i = 0; i < tf_store_tables(checkpoint.store); i++) {
            const struct tf_table_info *info = tf_store_table(checkpoint.store, i);
            bytes += info->rows * info->cols * 4;
        }
        assert_int_equal(tf_checkpoint_bytes(tiny.model), bytes);
        tf_checkpoint_close(&checkpoint);
        tiny_free(&tiny);
    }
}

static uint32_t group_of(const struct tf_store *store, const char *name)
{
    size_t index = tf_store_find(store, name);

    assert_int_not_equal(index, SIZE_MAX);
    return tf_store_table(store, index)->row_group;
}

static void test_row_groups(void **state)
{
    struct tf_checkpoint checkpoint;
    const struct tf_store *store;

    (void)state;
    tiny_file("a.tfck", "model.tie_embeddings=false", true);
    open_checkpoint(&checkpoint, "a.tfck");
    store = checkpoint.store;
    assert_int_equal(group_of(store, "embed.tokens"), 1);
    assert_int_equal(group_of(store, "head.tokens"), 2);
    assert_int_equal(group_of(store, "layers.0.attn.k.keys"), 3);
    assert_int_equal(group_of(store, "layers.0.attn.k.values"), 3);
    assert_int_equal(group_of(store, "optim.m/layers.0.attn.k.keys"), 3);
    assert_int_equal(group_of(store, "optim.v/layers.0.attn.k.values"), 3);
    assert_int_equal(group_of(store, "layers.0.attn.o.keys"), 4);
    assert_int_equal(group_of(store, "layers.1.ffn.values"), 12);
    assert_int_equal(group_of(store, "norm.bias"), 13);
    assert_int_equal(group_of(store, "optim.v/norm.weight"), 14);
    for (size_t i = 0; i < tf_store_tables(store); i++)
        if (tf_store_table(store, i)->role == TF_MOMENT)
            assert_true(tf_store_table(store, i)->scale == 0);
    tf_checkpoint_close(&checkpoint);
}

static void test_digest(void **state)
{
    struct tiny tiny;
    struct tf_checkpoint checkpoint;
    struct tf_digest before, after, stored;

    (void)state;
    tiny_make(&tiny, NULL, true);
    tiny_save(&tiny, "a.tfck");
    open_checkpoint(&checkpoint, "a.tfck");
    assert_ok(tf_store_model_digest(checkpoint.store, &stored, &err), &err);
    assert_ok(tf_model_digest(tiny.model, &before, &err), &err);
    assert_memory_equal(&before, &stored, sizeof before);
    tiny.model->tables[3].m[0] += 1; /* no part of the model */
    assert_ok(tf_model_digest(tiny.model, &after, &err), &err);
    assert_memory_equal(&before, &after, sizeof before);
    tiny.model->norm_bias->value[31] += 1;
    assert_ok(tf_model_digest(tiny.model, &after, &err), &err);
    assert_memory_not_equal(&before, &after, sizeof before);
    tiny.model->norm_bias->value[31] -= 1;
    tiny.model->layers[0].at[TF_Q].keys->scale += 1;
    assert_ok(tf_model_digest(tiny.model, &after, &err), &err);
    assert_memory_not_equal(&before, &after, sizeof before);
    tf_checkpoint_close(&checkpoint);
    tiny_free(&tiny);
}

/* ---- checkpoints that do not fit their config ---- */

/* Copies a checkpoint; tables whose names hold `name` (moments too) are changed on the way by
 * `change`, which returns false to leave one out. */
static void rewrite(const char *from, const char *to, const char *name,
                    bool (*change)(struct tf_table_info *info))
{
    struct tf_store *store;
    struct tf_writer *writer;

    assert_ok(tf_store_open(&store, from, 0, &err), &err);
    assert_ok(tf_writer_open(&writer, to, true, 0, &err), &err);
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *old = tf_store_table(store, i);
        struct tf_table_info info = *old;
        if (strstr(old->name, name) && !change(&info))
            continue;
        float *rows =
            tf_new((info.rows + old->rows) * (info.cols + old->cols), sizeof *rows, "rows", &err);
        assert_ok(tf_store_read(store, i, 0, old->rows, rows, old->cols, &err), &err);
        assert_ok(tf_writer_table(writer, &info, &err), &err);
        assert_ok(tf_writer_rows(writer, rows, info.rows, info.cols, &err), &err);
        tf_free(rows);
    }
    for (int kind = 0; kind < TF_BLOBS; kind++) {
        size_t size;
        const char *bytes = tf_store_blob(store, (enum tf_blob)kind, &size);
        assert_ok(tf_writer_blob(writer, (enum tf_blob)kind, bytes, size, &err), &err);
    }
    assert_ok(tf_writer_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_store_close(store);
}

static bool leave_out(struct tf_table_info *info)
{
    (void)info;
    return false;
}
static bool rename_it(struct tf_table_info *info)
{
    strcat(info->name, ".more");
    return true;
}
static bool one_row_more(struct tf_table_info *info)
{
    info->rows++;
    return true;
}
static bool one_column_less(struct tf_table_info *info)
{
    info->cols--;
    return true;
}
static bool double_scale(struct tf_table_info *info)
{
    info->scale *= 2;
    return true;
}
static bool no_scale(struct tf_table_info *info)
{
    info->scale = 0;
    return true;
}
static bool make_buffer(struct tf_table_info *info)
{
    info->role = TF_BUFFER;
    return true;
}

static bool some_scale(struct tf_table_info *info)
{
    info->scale = 0.5;
    return true;
}

struct misfit {
    const char *table;
    bool (*change)(struct tf_table_info *info);
    const char *says;
};

static void assert_misfit(const struct misfit *misfit)
{
    struct tf_checkpoint checkpoint;
    char text[256];

    rewrite("good.tfck", "bad.tfck", misfit->table, misfit->change);
    snprintf(text, sizeof text, "bad.tfck: %s", misfit->says);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "bad.tfck", 0, NULL, 0, &err), TF_DATA);
    assert_string_equal(err.text, text);
    assert_null(checkpoint.store);
}

static void test_transformer_misfits(void **state)
{
    static const struct misfit cases[] = {
        {"layers.1.attn.v.weight", leave_out,
         "table layers.1.attn.v.weight: missing, but the config needs it"},
        {"layers.1.attn.v.weight", one_row_more,
         "table layers.1.attn.v.weight: 33 rows, but model.hidden_size makes it 32"},
        {"layers.0.attn.o.weight", one_column_less,
         "table layers.0.attn.o.weight: 31 columns, but model.hidden_size makes it 32"},
        {"layers.1.ffn", one_row_more,
         "table layers.1.ffn.keys: 41 rows, but model.ffn_tokens makes it 40"},
        {"norm.weight", one_row_more, "table norm.weight: 2 rows, but the model makes it 1"},
        {"layers.0.attn.q.weight", some_scale,
         "table layers.0.attn.q.weight: scale 0.5, but a transformer's tables have none"},
        {"layers.1.ffn.values", some_scale,
         "table layers.1.ffn.values: scale 0.5, but a transformer's tables have none"},
        {"layers.1.attn.k.weight", rename_it,
         "table layers.1.attn.k.weight: missing, but the config needs it"},
    };

    (void)state;
    tiny_file("good.tfck", "model.kind=transformer", true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_misfit(&cases[i]);
}

static void test_misfits(void **state)
{
    static const struct misfit cases[] = {
        {"norm.bias", leave_out, "table norm.bias: missing, but the config needs it"},
        {"layers.1.attn.v.values", leave_out,
         "table layers.1.attn.v.values: missing, but the config needs it"},
        {"layers.1.attn.v", one_row_more,
         "table layers.1.attn.v.keys: 21 rows, but model.qkv_tokens makes it 20"},
        {"layers.0.attn.o", one_row_more,
         "table layers.0.attn.o.keys: 13 rows, but model.proj_tokens makes it 12"},
        {"layers.1.ffn", one_row_more,
         "table layers.1.ffn.keys: 41 rows, but model.ffn_tokens makes it 40"},
        {"embed.tokens", one_row_more,
         "table embed.tokens: 273 rows, but the padded vocabulary makes it 272"},
        {"layers.0.ffn.keys", one_column_less,
         "table layers.0.ffn.keys: 31 columns, but model.hidden_size makes it 32"},
        {"layers.0.ffn.values", double_scale,
         "table layers.0.ffn.values: scale 88, but its keys have 44"},
        {"layers.0.ffn.keys", no_scale,
         "table layers.0.ffn.keys: scale 0 is not a positive number"},
        {"norm.weight", make_buffer, "table norm.weight: its role is buffer, not parameter"},
        {"optim.m/norm.bias", rename_it,
         "table optim.m/norm.bias: missing, but optim.v/norm.bias is there"},
        {"optim.v/layers.0.ffn.keys", leave_out,
         "table optim.v/layers.0.ffn.keys: missing, but optim.m/layers.0.ffn.keys is there"},
    };

    (void)state;
    tiny_file("good.tfck", NULL, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_misfit(&cases[i]);
}

/* A scale of both tables is the file's own business, whatever the config says. */
static void test_stored_scale(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    tiny_file("good.tfck", NULL, false);
    rewrite("good.tfck", "scaled.tfck", "layers.0.ffn", double_scale);
    open_checkpoint(&checkpoint, "scaled.tfck");
    assert_true(checkpoint.shape.layer[0].scale[TF_FFN] == 88);
    assert_true(checkpoint.shape.layer[1].scale[TF_FFN] == 40);
    tf_checkpoint_close(&checkpoint);
}

static void test_sets(void **state)
{
    static const char *const good[] = {"train.steps=9", "grow.keys=copy"},
                             *const misfit[] = {"model.qkv_tokens=24"},
                             *const unknown[] = {"model.qvk_tokens=24"};
    struct tf_checkpoint checkpoint;

    (void)state;
    tiny_file("a.tfck", NULL, false);
    assert_ok(tf_checkpoint_open(&checkpoint, "a.tfck", 0, good, 2, &err), &err);
    assert_int_equal(checkpoint.config.train.steps, 9);
    assert_int_equal(checkpoint.config.grow.keys, TF_INIT_COPY);
    tf_checkpoint_close(&checkpoint);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "a.tfck", 0, misfit, 1, &err), TF_DATA);
    assert_string_equal(
        err.text, "a.tfck: table layers.0.attn.q.keys: 20 rows, but model.qkv_tokens makes it 24");
    assert_int_equal(tf_checkpoint_open(&checkpoint, "a.tfck", 0, unknown, 1, &err), TF_CONFIG);
    assert_non_null(strstr(err.text, "--set model.qvk_tokens"));
}

/* ---- blobs ---- */

static void write_blobs(const char *path, const char *config, const char *tokenizer)
{
    struct tf_store *store;
    struct tf_writer *writer;

    assert_ok(tf_store_open(&store, "good.tfck", 0, &err), &err);
    assert_ok(tf_writer_open(&writer, path, true, 0, &err), &err);
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        assert_ok(tf_writer_table(writer, table, &err), &err);
        assert_ok(tf_writer_copy(writer, store, i, 0, table->chunk_count, &err), &err);
    }
    if (config)
        assert_ok(tf_writer_blob(writer, TF_BLOB_CONFIG, config, strlen(config), &err), &err);
    if (tokenizer)
        assert_ok(tf_writer_blob(writer, TF_BLOB_TOKENIZER, tokenizer, strlen(tokenizer), &err),
                  &err);
    assert_ok(tf_writer_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_store_close(store);
}

/* State and lineage may be missing; config and tokenizer may not, and are the file's fault when
 * they are wrong. */
static void test_blobs(void **state)
{
    struct tf_checkpoint checkpoint;
    struct tf_tokenizer tokenizer;
    char text[256];

    (void)state;
    tiny_file("good.tfck", NULL, false);
    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "<|endoftext|>", &err), &err);
    tf_tokenizer_print(&tokenizer, text, sizeof text);

    write_blobs("b.tfck", tiny_yaml, text);
    open_checkpoint(&checkpoint, "b.tfck");
    assert_int_equal(checkpoint.state.step, 0);
    assert_int_equal(checkpoint.lineage.count, 0);
    tf_checkpoint_close(&checkpoint);

    write_blobs("b.tfck", NULL, text);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "b.tfck", 0, NULL, 0, &err), TF_DATA);
    assert_string_equal(err.text, "b.tfck: no config in it");
    write_blobs("b.tfck", tiny_yaml, NULL);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "b.tfck", 0, NULL, 0, &err), TF_DATA);
    assert_string_equal(err.text, "b.tfck: no tokenizer in it");
    write_blobs("b.tfck", "model: {layer: 2}\n", text);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "b.tfck", 0, NULL, 0, &err), TF_DATA);
    assert_memory_equal(err.text, "b.tfck: config:1:", 17);
    write_blobs("b.tfck", "model: {hidden_size: 32, num_attention_heads: 3}\n", text);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "b.tfck", 0, NULL, 0, &err), TF_DATA);
    assert_int_equal(err.code, TF_DATA);
    assert_int_equal(tf_checkpoint_open(&checkpoint, "none.tfck", 0, NULL, 0, &err), TF_NOINPUT);
    tf_checkpoint_close(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shape),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_no_moments),   cmocka_unit_test(test_other_shape),
        cmocka_unit_test(test_bytes),        cmocka_unit_test(test_row_groups),
        cmocka_unit_test(test_digest),       cmocka_unit_test(test_misfits),
        cmocka_unit_test(test_stored_scale), cmocka_unit_test(test_sets),
        cmocka_unit_test(test_blobs),        cmocka_unit_test(test_transformer_shape),
        cmocka_unit_test(test_event_rows),   cmocka_unit_test(test_transformer_misfits),
    };

    return cmocka_run_group_tests_name("modelio", tests, enter_scratch, leave_scratch);
}
