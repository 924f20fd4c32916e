/* What the tests of growth share: plans, grown files, and the measure of a promise. */
#ifndef TF_TESTS_GROWTH_H
#define TF_TESTS_GROWTH_H

#include "tiny_model.h"

#include "grown.h"

static struct tf_err err;

static inline struct tf_target target(const char *text)
{
    struct tf_target out;

    assert_ok(tf_target_parse(&out, text, &err), &err);
    return out;
}

/* Plans for the tiny model: q, k, v 20 tokens, o 12, ffn 44 and 40. */
static inline enum tf_code plan(struct tf_growth *growth, const struct tf_grow_options *options,
                                const char *set)
{
    struct tiny tiny;

    tiny_make(&tiny, set, false);
    enum tf_code code = tf_grow_plan(growth, &tiny.model->shape, options, &err);
    tiny_free(&tiny);
    return code;
}

enum promise { EXACT, ROUNDED, CHANGED };

/* Grows the checkpoint in memory and measures the logits against what was promised. */
static inline void check_promise(const struct tf_checkpoint *from,
                                 const struct tf_grow_options *options, enum promise promise)
{
    struct tf_growth growth;
    struct tf_model *before, *after;
    double largest;

    assert_ok(tf_grow_plan(&growth, &from->shape, options, &err), &err);
    assert_int_equal(growth.exact, promise == EXACT);
    assert_int_equal(growth.preserved, promise != CHANGED);
    assert_int_equal(growth.why[0] == '\0', promise == EXACT);
    assert_ok(tf_model_load(&before, from, false, &err), &err);
    assert_ok(tf_grow_model(&after, from, &growth, options, &err), &err);
    assert_ok(tf_grow_verify(&largest, before, after, 3, &err), &err);
    if ((promise == EXACT) != (largest == 0) || (promise == CHANGED) != (largest > 1e-4))
        fail_msg("%s, keys %d, values %d, scale %d: a difference of %g (%s)",
                 tf_norm_name(from->shape.norm), options->keys, options->values, options->scale,
                 largest, growth.why);
    tf_model_free(before);
    tf_model_free(after);
    tf_growth_fini(&growth);
}

static inline void grow_file(const char *from, const char *to,
                             const struct tf_grow_options *options)
{
    struct tf_checkpoint checkpoint;
    struct tf_growth growth;

    open_checkpoint(&checkpoint, from);
    assert_ok(tf_grow_plan(&growth, &checkpoint.shape, options, &err), &err);
    assert_ok(grow_checkpoint(&checkpoint, to, true, &growth, options, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&checkpoint);
}

/* The largest difference of two files' logits; scale (or NULL): the largest logit of b. */
static inline double difference_of(const char *a, const char *b, double *scale)
{
    struct tf_checkpoint checkpoints[2];
    struct tf_model *models[2];
    double largest;

    open_checkpoint(&checkpoints[0], a);
    open_checkpoint(&checkpoints[1], b);
    for (int i = 0; i < 2; i++)
        assert_ok(tf_model_load(&models[i], &checkpoints[i], false, &err), &err);
    assert_ok(tf_grow_verify(&largest, models[0], models[1], 11, &err), &err);
    if (scale) { /* against a model that says 0 throughout */
        memset(models[0]->norm_weight->value, 0, models[0]->norm_weight->cols * sizeof(float));
        memset(models[0]->norm_bias->value, 0, models[0]->norm_bias->cols * sizeof(float));
        assert_ok(tf_grow_verify(scale, models[0], models[1], 11, &err), &err);
    }
    for (int i = 0; i < 2; i++) {
        tf_model_free(models[i]);
        tf_checkpoint_close(&checkpoints[i]);
    }
    return largest;
}

static inline double difference(const char *a, const char *b)
{
    return difference_of(a, b, NULL);
}

static inline float *read_table(const struct tf_checkpoint *from, const char *name, size_t *count)
{
    size_t index = tf_store_find(from->store, name);
    assert_int_not_equal(index, SIZE_MAX);
    const struct tf_table_info *info = tf_store_table(from->store, index);
    *count = info->rows * info->cols;
    float *rows = tf_new(*count, sizeof *rows, name, &err);
    assert_non_null(rows);
    assert_ok(tf_store_read(from->store, index, 0, info->rows, rows, info->cols, &err), &err);
    return rows;
}

/* The file holds the model that tf_grow_model makes. */
static inline void check_same_model(const struct tf_checkpoint *from,
                                    const struct tf_checkpoint *to, const struct tf_growth *growth,
                                    const struct tf_grow_options *options)
{
    struct tf_model *model;
    struct tf_digest a, b;

    assert_ok(tf_grow_model(&model, from, growth, options, &err), &err);
    assert_ok(tf_model_digest(model, &a, &err), &err);
    assert_ok(tf_store_model_digest(to->store, &b, &err), &err);
    assert_memory_equal(&a, &b, sizeof a);
    tf_model_free(model);
}

#endif
