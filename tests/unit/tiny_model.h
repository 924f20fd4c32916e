/* A tiny model with everything that a checkpoint has beside it, for the tests of modelio and
 * growth. */
#ifndef TF_TESTS_TINY_MODEL_H
#define TF_TESTS_TINY_MODEL_H

#include "scratch.h"

#include "base/mem.h"
#include "train/modelio.h"
#include <unistd.h>

struct tiny {
    struct tf_config config;
    struct tf_tokenizer tokenizer;
    struct tf_state state;
    struct tf_lineage lineage;
    struct tf_model *model;
};

static const char tiny_yaml[] =
    "model: {num_layers: 2, hidden_size: 32, num_attention_heads: 2, qkv_tokens: 20,"
    " proj_tokens: 12, ffn_tokens: [44, 40], seq_length: 16}\n";

/* Weights as training would leave them, large enough to matter; moments that are all different.
 * `set` ("key=value", several with ';' between them) may be NULL. */
static inline void tiny_make(struct tiny *tiny, const char *set, bool train)
{
    struct tf_err err;
    struct tf_shape shape;

    memset(tiny, 0, sizeof *tiny);
    assert_ok(tf_config_init(&tiny->config, &err), &err);
    assert_ok(tf_config_parse(&tiny->config, "tiny", tiny_yaml, strlen(tiny_yaml), TF_CONFIG, &err),
              &err);
    for (; set; set = strchr(set, ';') ? strchr(set, ';') + 1 : NULL) {
        char one[256];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(set, ";"), set);
        assert_ok(tf_config_set(&tiny->config, one, &err), &err);
    }
    assert_ok(tf_tokenizer_init(&tiny->tokenizer, "bytes", "<|endoftext|>", &err), &err);
    assert_ok(tf_shape_init(&shape, &tiny->config, tiny->tokenizer.size, &err), &err);
    assert_ok(tf_model_new(&tiny->model, &shape, train, &err), &err);
    tf_shape_fini(&shape);
    tf_model_init(tiny->model, 1);
    for (size_t i = 0; i < tiny->model->table_count; i++) {
        struct tf_table *table = &tiny->model->tables[i];
        for (size_t k = 0; k < table->rows * table->stride; k++) {
            table->value[k] *= table->decay ? 6 : 1;
            if (train && k % table->stride < table->cols) {
                table->m[k] = noise(2 * k + i);
                table->v[k] = fabsf(noise(2 * k + 1 + i));
            }
        }
    }
    tiny->state = (struct tf_state){.step = 6, .tokens = 768, .best_loss = 4.5, .best_step = 4};
    struct tf_event *event = tf_lineage_add(&tiny->lineage, &err);
    assert_non_null(event);
    event->kind = TF_EVENT_TRAIN;
    event->steps = 6;
    event->tokens = 768;
}

static inline void tiny_free(struct tiny *tiny)
{
    tf_model_free(tiny->model);
    tf_lineage_fini(&tiny->lineage);
    tf_config_fini(&tiny->config);
}

static inline void tiny_save(const struct tiny *tiny, const char *path)
{
    struct tf_err err;

    assert_ok(tf_checkpoint_save(path, tiny->model, &tiny->config, &tiny->tokenizer, &tiny->state,
                                 &tiny->lineage, &err),
              &err);
}

/* A tiny checkpoint in the current folder. */
static inline void tiny_file(const char *path, const char *set, bool train)
{
    struct tiny tiny;

    tiny_make(&tiny, set, train);
    tiny_save(&tiny, path);
    tiny_free(&tiny);
}

static inline void open_checkpoint(struct tf_checkpoint *checkpoint, const char *path)
{
    struct tf_err err;

    assert_ok(tf_checkpoint_open(checkpoint, path, 0, NULL, 0, &err), &err);
}

#endif
