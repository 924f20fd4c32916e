/* Edits of small checkpoints, and what became of them. */
#ifndef TF_TESTS_OPERATION_H
#define TF_TESTS_OPERATION_H

#include "tiny_model.h"

#include "grown.h"
#include "train/edit.h"

static struct tf_err err;

/* An edit of a file. */
struct operation {
    struct tf_checkpoint from;
    struct tf_edit edit;
};

static inline void begin(struct operation *at, const char *path)
{
    open_checkpoint(&at->from, path);
    assert_ok(tf_edit_init(&at->edit, &at->from, &err), &err);
}

static inline void end(struct operation *at)
{
    tf_edit_fini(&at->edit);
    tf_checkpoint_close(&at->from);
}

static inline void write_end(struct operation *at, const char *path)
{
    assert_ok(tf_edit_write(&at->edit, path, true, &err), &err);
    end(at);
}

static inline void assert_effect(const struct operation *at, enum tf_effect effect, const char *why)
{
    assert_string_equal(at->edit.why, why);
    assert_int_equal(at->edit.effect, effect);
}

/* The largest difference of a logit between two checkpoints. */
static inline double difference(const char *a, const char *b)
{
    struct tf_checkpoint at[2];
    struct tf_model *models[2];
    double largest;

    for (int i = 0; i < 2; i++) {
        open_checkpoint(&at[i], i ? b : a);
        assert_ok(tf_model_load(&models[i], &at[i], false, &err), &err);
    }
    assert_ok(tf_grow_verify(&largest, models[0], models[1], 1, &err), &err);
    for (int i = 0; i < 2; i++) {
        tf_model_free(models[i]);
        tf_checkpoint_close(&at[i]);
    }
    return largest;
}

static inline bool same_model(const char *a, const char *b)
{
    struct tf_digest digests[2];

    for (int i = 0; i < 2; i++) {
        struct tf_store *store;
        assert_ok(tf_store_open(&store, i ? b : a, 0, &err), &err);
        assert_ok(tf_store_model_digest(store, &digests[i], &err), &err);
        tf_store_close(store);
    }
    return memcmp(&digests[0], &digests[1], sizeof digests[0]) == 0;
}

/* Twice as many feed-forward tokens. */
static inline void grow_file(const char *path, const char *out)
{
    struct tf_grow_options options = {.values = TF_INIT_RANDOM};
    struct tf_checkpoint from;
    struct tf_growth growth;

    open_checkpoint(&from, path);
    assert_ok(tf_target_parse(&options.ffn, "x2", &err), &err);
    assert_ok(tf_grow_plan(&growth, &from.shape, &options, &err), &err);
    assert_ok(grow_checkpoint(&from, out, true, &growth, &options, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
}

#endif
