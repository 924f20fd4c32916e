/* Passes of the whole model, against the naive twin and against each other. */
#include "small_model.h"

#include "nn/precision.h"
#include "nn/run.h"

#include <omp.h>

enum { STREAMS = 3, LENGTH = 7, ROWS = STREAMS * LENGTH };

static struct tf_err err;

/* The gradients of every table, at a handful of its numbers, are the slopes of the twin's loss. The
 * twin is in doubles, so the slopes are exact to 1e-8 or so; what is left is float's rounding
 * through two layers. */
static void check_gradients(enum tf_norm norm, bool tied)
{
    struct tf_model *model = small_model(norm, tied, true, 1);
    struct tf_run *run = small_run(model, TF_RUN_TRAIN, STREAMS, LENGTH);
    uint16_t ids[ROWS], targets[ROWS];
    float losses[ROWS];
    small_ids(ids, ROWS, SMALL_VOCAB, 1);
    small_ids(targets, ROWS, SMALL_VOCAB, 2);
    small_step(run, ids, targets, STREAMS, LENGTH, STREAMS, losses);
    struct model_twin twin = {.ids = ids, .targets = targets, .streams = STREAMS, .length = LENGTH};
    model_twin_init(&twin, model);
    double sum = 0;
    for (size_t i = 0; i < ROWS; i++)
        sum += losses[i];
    assert_true(fabs(sum / ROWS - model_twin_loss(&twin)) < 2e-6);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        const size_t count = t->rows * t->cols, step = count / 4 | 1;
        assert_slopes(t->name, t->grad, t->stride, model_twin_loss, &twin, twin.tables[i], t->rows,
                      t->cols, step);
        for (size_t k = 0; k < t->rows * t->stride; k++)
            assert_true(k % t->stride < t->cols || t->grad[k] == 0);
    }
    model_twin_fini(&twin);
    tf_run_free(run);
    tf_model_free(model);
}

static void check_all_gradients(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++)
        check_gradients(norm, true);
    check_gradients(TF_L2_NORM_GELU, false);
}

static void gradients_equal_the_twins_slopes(void **state)
{
    (void)state;
    each_kernel(check_all_gradients);
}

/* One step over six sequences, `micro` at a time; the run has room for more than it is given. */
static struct tf_model *step_in_pieces(enum tf_norm norm, bool tied, size_t micro,
                                       float losses[6 * LENGTH])
{
    struct tf_model *model = small_model(norm, tied, true, 1);
    struct tf_run *run = small_run(model, TF_RUN_TRAIN, micro, LENGTH + 2);
    uint16_t ids[6 * LENGTH], targets[6 * LENGTH];
    for (uint64_t seed = 3; seed >= 2; seed--) { /* a first step, of which nothing is left */
        small_ids(ids, 6 * LENGTH, SMALL_VOCAB, seed);
        small_ids(targets, 6 * LENGTH, SMALL_VOCAB, seed + 1);
        small_step(run, ids, targets, 6, LENGTH, micro, losses);
    }
    tf_run_free(run);
    return model;
}

static void check_micro_batches(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++)
        for (int tied = 0; tied < 2; tied++) {
            float want[6 * LENGTH], losses[6 * LENGTH];
            struct tf_model *whole = step_in_pieces(norm, tied, 6, want);
            for (size_t micro = 1; micro <= 4; micro++) { /* 4: pieces of 4 and 2 */
                struct tf_model *pieces = step_in_pieces(norm, tied, micro, losses);
                assert_memory_equal(losses, want, sizeof want);
                assert_same_gradients(pieces, whole);
                tf_model_free(pieces);
            }
            tf_model_free(whole);
        }
}

static void micro_batches_give_the_bits_of_the_batch(void **state)
{
    (void)state;
    each_kernel(check_micro_batches);
}

/* A step over text that repeats: few of the ids, `first` and those after it. */
static void step_of_few_ids(struct tf_run *run, uint16_t first, size_t micro)
{
    uint16_t ids[6 * LENGTH], targets[6 * LENGTH];
    float losses[6 * LENGTH];
    small_ids(ids, 6 * LENGTH, 9, first);
    small_ids(targets, 6 * LENGTH, SMALL_VOCAB, first + 1u);
    for (size_t i = 0; i < 6 * LENGTH; i++)
        ids[i] = (uint16_t)(ids[i] + first);
    small_step(run, ids, targets, 6, LENGTH, micro, losses);
}

/* Frozen: 0: nothing, 1: the embedding, 2: every third table that decays. */
static struct tf_model *frozen_model(bool tied, int which)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, tied, true, 1);
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        t->frozen = which == 1 ? t == model->embed : which == 2 && i % 3 == 2 && t->decay;
    }
    return model;
}

/* The gradients of a step are those of a first one, whatever was there before: an earlier step with
 * the same ids, with others, or with some of both, or no number at all. */
static void check_steps(bool tied, int which, size_t micro)
{
    static const uint16_t earlier[] = {20, 5, 24};
    struct tf_model *once = frozen_model(tied, which), *often = frozen_model(tied, which);
    struct tf_run *first = small_run(once, TF_RUN_TRAIN, micro, LENGTH),
                  *later = small_run(often, TF_RUN_TRAIN, micro, LENGTH);
    first->chunk = later->chunk = 5;
    step_of_few_ids(first, 20, micro);
    for (size_t i = 0; i < sizeof earlier / sizeof *earlier; i++) {
        step_of_few_ids(later, earlier[i], micro);
        step_of_few_ids(later, 20, micro);
        assert_same_gradients(often, once);
    }
    litter_gradients(often);
    step_of_few_ids(later, 20, micro);
    assert_same_gradients(often, once);
    tf_run_free(first);
    tf_run_free(later);
    tf_model_free(once);
    tf_model_free(often);
}

static void steps_leave_nothing_behind(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++)
        check_steps(i % 2, i / 2 % 3, i < 6 ? 6 : 2);
}

static void kernels_do_not_show(void **state)
{
    (void)state;
    const struct tf_kernels *list[8], *before = tf_kernel;
    const size_t count = tf_kernel_list(list, 8);
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++) {
        float want[6 * LENGTH], losses[6 * LENGTH];
        tf_kernel = list[0];
        struct tf_model *first = step_in_pieces(norm, true, 6, want);
        for (size_t i = 1; i < count; i++) {
            tf_kernel = list[i];
            struct tf_model *other = step_in_pieces(norm, true, 6, losses);
            assert_memory_equal(losses, want, sizeof want);
            assert_same_gradients(other, first);
            tf_model_free(other);
        }
        tf_model_free(first);
    }
    tf_kernel = before;
}

/* A batch of so many rows that threads share all of it. */
static void check_threads(enum tf_norm norm)
{
    enum { MANY = 40, LONG = 70 };
    static uint16_t ids[MANY * LONG], targets[MANY * LONG];
    static float losses[3][MANY * LONG];
    const int before = omp_get_max_threads();
    struct tf_model *models[3];
    small_ids(ids, MANY * LONG, SMALL_VOCAB, 1);
    small_ids(targets, MANY * LONG, SMALL_VOCAB, 2);
    for (int i = 0; i < 3; i++) {
        omp_set_num_threads(i + 1);
        models[i] = small_model(norm, true, true, 1);
        struct tf_run *run = small_run(models[i], TF_RUN_TRAIN, MANY, LONG);
        small_step(run, ids, targets, MANY, LONG, MANY, losses[i]);
        assert_memory_equal(losses[i], losses[0], sizeof losses[0]);
        assert_same_gradients(models[i], models[0]);
        tf_run_free(run);
    }
    for (int i = 0; i < 3; i++)
        tf_model_free(models[i]);
    omp_set_num_threads(before);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    check_threads(TF_L2_NORM_GELU);
    check_threads(TF_GELU);
}

/* Ids and a width so many that the threads share the two gradients of a tied embedding as well. */
static struct tf_model *wide_model(void)
{
    struct tf_layer_shape layer = {{3, 3, 3, 3, 3}, {3, 3, 3, 3, 3}};
    const struct tf_shape shape = {.layers = 1,
                                   .width = 160,
                                   .heads = 2,
                                   .vocab = 400,
                                   .seq = 200,
                                   .rotary_base = 10000,
                                   .tied = true,
                                   .layer = &layer};
    struct tf_model *model;
    assert_ok(tf_model_new(&model, &shape, true, &err), &err);
    small_fill(model);
    return model;
}

static void threads_share_many_ids(void **state)
{
    (void)state;
    enum { MANY = 2, LONG = 200, VOCAB = 400 };
    uint16_t ids[MANY * LONG], targets[MANY * LONG];
    float losses[3][MANY * LONG];
    const int before = omp_get_max_threads();
    struct tf_model *models[3];
    small_ids(targets, MANY * LONG, VOCAB, 2);
    for (size_t i = 0; i < MANY * LONG; i++)
        ids[i] = (uint16_t)(i % 350 * 7 % VOCAB); /* 350 of them, 50 twice */
    for (int i = 0; i < 3; i++) {
        omp_set_num_threads(i + 1);
        models[i] = wide_model();
        struct tf_run *run = small_run(models[i], TF_RUN_TRAIN, 1, LONG);
        small_step(run, ids, targets, MANY, LONG, 1, losses[i]);
        assert_int_equal(run->input.count, 350);
        assert_memory_equal(losses[i], losses[0], sizeof losses[0]);
        assert_same_gradients(models[i], models[0]);
        tf_run_free(run);
    }
    for (int i = 0; i < 3; i++)
        tf_model_free(models[i]);
    omp_set_num_threads(before);
}

/* A frozen table's gradient is left alone, and no other notices. */
static void frozen_tables_take_no_gradient(void **state)
{
    (void)state;
    for (int form = 0; form < 4; form++) {
        const enum tf_norm norm = form < 2 ? TF_L2_NORM_GELU : TF_GELU;
        struct tf_model *all = small_model(norm, form % 2, true, 1),
                        *some = small_model(norm, form % 2, true, 1);
        struct tf_model *const both[] = {all, some};
        uint16_t ids[ROWS], targets[ROWS];
        float losses[ROWS];
        small_ids(ids, ROWS, SMALL_VOCAB, 1);
        small_ids(targets, ROWS, SMALL_VOCAB, 2);
        for (size_t i = 0; i < some->table_count; i++)
            some->tables[i].frozen = some->tables[i].decay && i % 3 != 1;
        some->head->frozen = true;
        for (size_t i = 0; i < 2; i++) {
            struct tf_run *run = small_run(both[i], TF_RUN_TRAIN, STREAMS, LENGTH);
            small_step(run, ids, targets, STREAMS, LENGTH, STREAMS, losses);
            tf_run_free(run);
        }
        assert_true(some->embed->frozen);
        for (size_t i = 0; i < some->table_count; i++) {
            const struct tf_table *t = &some->tables[i];
            for (size_t k = 0; k < t->rows * t->stride; k++)
                assert_true(t->grad[k] == (t->frozen ? 0 : all->tables[i].grad[k]));
        }
        tf_model_free(all);
        tf_model_free(some);
    }
}

/* `model` with every table's first rows taken over from `from`, and zero keys after them. */
static void append_zero_keys(struct tf_model *model, const struct tf_model *from)
{
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i], *old = &from->tables[i];
        memcpy(t->value, old->value, old->rows * old->stride * sizeof(float));
        if (strstr(t->name, ".keys"))
            memset(tf_table_row(t, old->rows), 0,
                   (t->rows - old->rows) * t->stride * sizeof(float));
    }
}

/* What growth promises: new tokens with zero keys and unchanged scales change no logit, no loss,
 * and no gradient of what was there. New values have no gradient, new keys do: they can learn. */
static void check_grown_gradients(const struct tf_model *grown, const struct tf_model *old)
{
    for (size_t i = 0; i < grown->table_count; i++) {
        const struct tf_table *t = &grown->tables[i], *before = &old->tables[i];
        const size_t kept = before->rows * before->stride, all = t->rows * t->stride;
        assert_memory_equal(t->grad, before->grad, kept * sizeof(float));
        bool moved = false;
        for (size_t k = kept; k < all; k++)
            moved |= t->grad[k] != 0;
        assert_int_equal(moved, all > kept && strstr(t->name, ".keys"));
    }
}

static void check_growth(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++) {
        struct tf_model *old = small_model(norm, true, true, 1),
                        *grown = small_model(norm, true, true, 2);
        append_zero_keys(grown, old);
        struct tf_run *runs[] = {small_run(old, TF_RUN_TRAIN, STREAMS, LENGTH),
                                 small_run(grown, TF_RUN_TRAIN, STREAMS, LENGTH)};
        uint16_t ids[ROWS], targets[ROWS];
        float losses[2][ROWS], logits[2][ROWS * SMALL_VOCAB];
        small_ids(ids, ROWS, SMALL_VOCAB, 1);
        small_ids(targets, ROWS, SMALL_VOCAB, 2);
        for (size_t i = 0; i < 2; i++) {
            small_step(runs[i], ids, targets, STREAMS, LENGTH, STREAMS, losses[i]);
            tf_logits(runs[i], 0, ROWS, logits[i]);
            tf_run_free(runs[i]);
        }
        if (norm == TF_SOFTMAX) { /* every new token takes its share there */
            for (size_t r = 0; r < ROWS; r++)
                assert_memory_not_equal(logits[0] + r * SMALL_VOCAB, logits[1] + r * SMALL_VOCAB,
                                        SMALL_VOCAB * sizeof(float));
        } else {
            assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
            assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
            check_grown_gradients(grown, old);
        }
        tf_model_free(old);
        tf_model_free(grown);
    }
}

static void zero_keys_change_nothing(void **state)
{
    (void)state;
    each_kernel(check_growth);
}

/* S = gelu(x K^T) of an MLP, x its normed input. */
static void scores_of_an_mlp(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_GELU, true, true, 1);
    struct tf_run *run = small_run(model, TF_RUN_TRAIN, 1, LENGTH);
    const struct tf_table *keys = model->layers[1].at[TF_FFN].keys;
    uint16_t ids[LENGTH];
    float s[21];
    double x[SMALL_WIDTH];
    small_ids(ids, LENGTH, SMALL_VOCAB, 1);
    tf_forward(run, ids, 1, LENGTH, 0);
    const struct tf_matrix middle = tf_rows_from(run->kept[1].middle, 4);
    double *copy = twin_copy(middle.at, 1, SMALL_WIDTH, 0),
           *k = twin_copy(keys->value, keys->rows, SMALL_WIDTH, keys->stride);
    twin_norm(1, SMALL_WIDTH, copy, x);
    tf_run_scores(run, 1, TF_FFN, 4, s);
    for (size_t n = 0; n < keys->rows; n++)
        assert_true(fabs(s[n] - twin_gelu(twin_dot(SMALL_WIDTH, x, k + n * SMALL_WIDTH))) < 1e-5);
    tf_free(copy);
    tf_free(k);
    tf_run_free(run);
    tf_model_free(model);
}

/* A stream that took over another's cache goes on like one that had read the text itself, and
 * leaves the other as it was. */
static void check_cache_copy(void)
{
    struct tf_model *model = small_model(TF_GELU_L2_NORM, true, false, 1);
    struct tf_run *copied = small_run(model, TF_RUN_CACHE, 2, 8),
                  *read = small_run(model, TF_RUN_CACHE, 2, 8);
    uint16_t text[2 * 8], twice[2 * 8];
    float a[4 * SMALL_VOCAB], b[4 * SMALL_VOCAB];
    static const uint16_t next[] = {5, 6, 7, 8};
    small_ids(text, 16, SMALL_VOCAB, 3);
    memcpy(twice, text, 8 * sizeof *text);
    memcpy(twice + 8, text, 8 * sizeof *text);
    tf_forward(copied, text, 2, 8, 0); /* the second stream reads something else */
    tf_cache_copy(copied, 0, 1, 8);
    tf_cache_copy(copied, 1, 1, 8);
    tf_cache_copy(copied, 1, 0, 0);
    tf_forward(read, twice, 2, 8, 0);
    tf_forward(copied, next, 2, 2, 8);
    tf_forward(read, next, 2, 2, 8);
    tf_logits(copied, 0, 4, a);
    tf_logits(read, 0, 4, b);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, a + 2 * SMALL_VOCAB, SMALL_VOCAB * sizeof *a);
    tf_run_free(copied);
    tf_run_free(read);
    tf_model_free(model);
}

static void a_copied_cache_goes_on(void **state)
{
    (void)state;
    each_kernel(check_cache_copy);
}

/* A cached run packs its weights once: a change shows after tf_run_refresh, and then it is the bits
 * of a new run. */
static void refresh_shows_changed_weights(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_L2_NORM_GELU, false, false, 1);
    struct tf_run *kept = small_run(model, TF_RUN_CACHE, 1, 4);
    static const uint16_t ids[] = {1, 2, 3, 4};
    float before[SMALL_VOCAB], after[SMALL_VOCAB], fresh[SMALL_VOCAB];
    tf_forward(kept, ids, 1, 4, 0);
    tf_logits(kept, 3, 1, before);
    tf_table_row(model->head, 30)[3] += 1;
    tf_table_row(tf_model_find(model, "layers.1.ffn.values"), 2)[5] += 1;
    tf_run_refresh(kept);
    tf_forward(kept, ids, 1, 4, 0);
    tf_logits(kept, 3, 1, after);
    struct tf_run *run = small_run(model, TF_RUN_SCORE, 1, 4);
    tf_forward(run, ids, 1, 4, 0);
    tf_logits(run, 3, 1, fresh);
    assert_memory_not_equal(before, after, sizeof before);
    assert_memory_equal(after, fresh, sizeof after);
    tf_run_free(run);
    tf_run_free(kept);
    tf_model_free(model);
}

/* A model rounded to bf16 or int8 runs on narrow weights when it decodes, and gives the bits of its
 * floats: whole passes, a few rows, and one at a time. */
static void narrow_weights_give_the_bits_of_rounded_ones(void **state)
{
    (void)state;
    for (enum tf_precision precision = TF_PRECISION_F32; precision <= TF_PRECISION_INT8;
         precision++)
        for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++) {
            struct tf_model *model = small_model(norm, norm != TF_SOFTMAX, false, 3);
            float logits[2][LENGTH * SMALL_VOCAB];
            uint16_t ids[LENGTH];
            small_ids(ids, LENGTH, SMALL_VOCAB, 5);
            tf_model_round(model, precision);
            struct tf_run *whole = small_run(model, TF_RUN_SCORE, 1, LENGTH),
                          *cached = small_run(model, TF_RUN_CACHE, 1, LENGTH);
            tf_forward(whole, ids, 1, LENGTH, 0);
            tf_logits(whole, 0, LENGTH, logits[0]);
            tf_forward(cached, ids, 1, LENGTH, 0);
            tf_logits(cached, 0, LENGTH, logits[1]);
            assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
            memset(logits[1], 0, sizeof logits[1]);
            for (size_t t = 0; t < LENGTH; t++) {
                tf_forward(cached, ids + t, 1, 1, t);
                tf_logits(cached, 0, 1, logits[1] + t * SMALL_VOCAB);
            }
            assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
            tf_run_free(whole);
            tf_run_free(cached);
            tf_model_free(model);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_equal_the_twins_slopes),
        cmocka_unit_test(micro_batches_give_the_bits_of_the_batch),
        cmocka_unit_test(steps_leave_nothing_behind),
        cmocka_unit_test(kernels_do_not_show),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(threads_share_many_ids),
        cmocka_unit_test(frozen_tables_take_no_gradient),
        cmocka_unit_test(zero_keys_change_nothing),
        cmocka_unit_test(scores_of_an_mlp),
        cmocka_unit_test(a_copied_cache_goes_on),
        cmocka_unit_test(refresh_shows_changed_weights),
        cmocka_unit_test(narrow_weights_give_the_bits_of_rounded_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
