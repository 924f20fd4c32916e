/* Passes of a model of which some tokens are left out, and put back. */
#include "small_model.h"

#include "nn/precision.h"

enum { STREAMS = 3, LENGTH = 7, ROWS = STREAMS * LENGTH };

/* One step of `model` with `share` of its tokens: the bits of `want`, which has no others. Of the
 * others no gradient is written. */
static void check_kept_step(struct tf_model *model, struct tf_run *run, double share,
                            const struct tf_model *want, const float want_losses[ROWS])
{
    uint16_t ids[ROWS], targets[ROWS];
    float losses[ROWS];
    small_ids(ids, ROWS, SMALL_VOCAB, 1);
    small_ids(targets, ROWS, SMALL_VOCAB, 2);
    tf_model_keep(model, 1);
    litter_gradients(model);
    tf_model_keep(model, share);
    small_step(run, ids, targets, STREAMS, LENGTH, 2, losses);
    assert_memory_equal(losses, want_losses, sizeof losses);
    assert_same_gradients(want, model);
    tf_model_keep(model, 1);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        for (size_t r = want->tables[i].rows; r < t->rows; r++)
            for (size_t c = 0; c < t->cols; c++)
                assert_true(isnan(t->grad[r * t->stride + c]));
    }
}

static void check_keeping_in_training(enum tf_norm norm)
{
    struct tf_model *model = small_model(norm, true, true, 2);
    struct tf_run *run = small_run(model, TF_RUN_TRAIN, STREAMS, LENGTH);
    struct tf_model *want[2];
    uint16_t ids[ROWS], targets[ROWS];
    float losses[2][ROWS];
    small_ids(ids, ROWS, SMALL_VOCAB, 1);
    small_ids(targets, ROWS, SMALL_VOCAB, 2);
    for (uint64_t i = 0; i < 2; i++) {
        want[i] = small_model(norm, true, true, i + 1);
        struct tf_run *alone = small_run(want[i], TF_RUN_TRAIN, STREAMS, LENGTH);
        small_step(alone, ids, targets, STREAMS, LENGTH, 2, losses[i]);
        tf_run_free(alone);
    }
    for (int step = 0; step < 5; step++)
        check_kept_step(model, run, step % 2 ? 1 : 0.5, want[step % 2], losses[step % 2]);
    tf_run_free(run);
    tf_model_free(model);
    for (int i = 0; i < 2; i++)
        tf_model_free(want[i]);
}

/* The same of decoding, with weights as narrow as they come. */
static void check_keeping_in_decoding(enum tf_norm norm, enum tf_precision precision)
{
    struct tf_model *model = small_model(norm, true, false, 2);
    uint16_t ids[LENGTH];
    float got[SMALL_VOCAB], want[SMALL_VOCAB];
    small_ids(ids, LENGTH, SMALL_VOCAB, 3);
    tf_model_round(model, precision);
    struct tf_run *run = small_run(model, TF_RUN_CACHE, 1, LENGTH);
    for (uint64_t step = 0; step < 4; step++) {
        struct tf_model *alone = small_model(norm, true, false, 1 + step % 2);
        tf_model_round(alone, precision);
        struct tf_run *other = small_run(alone, TF_RUN_SCORE, 1, LENGTH);
        tf_model_keep(model, step % 2 ? 1 : 0.5);
        tf_run_refresh(run);
        tf_forward(run, ids, 1, LENGTH - 1, 0);
        tf_forward(run, ids + LENGTH - 1, 1, 1, LENGTH - 1);
        tf_logits(run, 0, 1, got);
        tf_forward(other, ids, 1, LENGTH, 0);
        tf_logits(other, LENGTH - 1, 1, want);
        assert_memory_equal(got, want, sizeof got);
        tf_run_free(other);
        tf_model_free(alone);
    }
    tf_run_free(run);
    tf_model_free(model);
}

static void check_keeping(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++) {
        check_keeping_in_training(norm);
        check_keeping_in_decoding(norm, TF_PRECISION_F32);
        check_keeping_in_decoding(norm, TF_PRECISION_INT8);
    }
}

static void tokens_left_out_are_as_if_not_there(void **state)
{
    (void)state;
    each_kernel(check_keeping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_left_out_are_as_if_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
