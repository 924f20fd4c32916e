/* Cross entropy and the head: losses, and the start of the backward pass, against a naive twin in
 * doubles. */
#include "small_model.h"

#include "nn/run.h"

#include <omp.h>

enum { STREAMS = 3, LENGTH = 11, ROWS = STREAMS * LENGTH };

static struct tf_err err;
static uint16_t ids[ROWS], targets[ROWS];

/* A run that has just read the ids, gradients zero. */
static struct tf_run *forward(struct tf_model *model, enum tf_run_mode mode)
{
    struct tf_run *run;
    assert_ok(tf_run_new(&run, model, mode, STREAMS, LENGTH, &err), &err);
    small_ids(ids, ROWS, model->shape.vocab, 1);
    small_ids(targets, ROWS, model->shape.vocab, 2);
    tf_forward(run, ids, STREAMS, LENGTH, 0);
    return run;
}

enum { HEAD_WIDTH = 4 };

/* One layer of one token: the head is nearly all there is. */
static struct tf_model *head_model(uint64_t vocab, uint64_t seq)
{
    struct tf_layer_shape layer = {{1, 1, 1, 1, 1}, {1, 1, 1, 1, 1}};
    const struct tf_shape shape = {.layers = 1,
                                   .width = HEAD_WIDTH,
                                   .heads = 1,
                                   .vocab = vocab,
                                   .seq = seq,
                                   .rotary_base = 10000,
                                   .tied = true,
                                   .layer = &layer};
    struct tf_model *model;
    assert_ok(tf_model_new(&model, &shape, true, &err), &err);
    small_fill(model);
    return model;
}

/* L = weight x the sum of the losses, as a function of the residual stream after the last layer, of
 * the final norm and of the head: the part of the backward pass that is tf_loss's. */
struct head_twin {
    const struct tf_model *model;
    double *last, *head, *w, *b, weight;
};

static double head_loss(const void *with)
{
    const struct head_twin *twin = with;
    const size_t C = twin->model->shape.width, V = twin->model->shape.vocab;
    double *h = twin_new(ROWS * C), *logits = twin_new(V), sum = 0;
    twin_norm(ROWS, C, twin->last, h);
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t c = 0; c < C; c++)
            h[r * C + c] = h[r * C + c] * twin->w[c] + twin->b[c];
        for (size_t v = 0; v < V; v++)
            logits[v] = twin_dot(C, h + r * C, twin->head + v * C);
        sum += twin_cross_entropy(V, logits, targets[r]);
    }
    tf_free(h);
    tf_free(logits);
    return twin->weight * sum;
}

/* Ends with the model. */
static void check_gradients(struct tf_model *model)
{
    struct tf_run *run = forward(model, TF_RUN_TRAIN);
    const struct tf_table *head = model->head, *w = model->norm_weight, *b = model->norm_bias;
    const size_t C = head->cols;
    struct head_twin twin = {model,
                             twin_copy(run->last.at, ROWS, C, run->last.stride),
                             twin_copy(head->value, head->rows, C, head->stride),
                             twin_copy(w->value, 1, C, C),
                             twin_copy(b->value, 1, C, C),
                             0.25};
    float losses[ROWS];
    tf_loss(run, targets, losses, 0.25f);
    double sum = 0;
    for (size_t r = 0; r < ROWS; r++)
        sum += losses[r];
    assert_true(fabs(0.25 * sum / head_loss(&twin) - 1) < 1e-6);
    assert_slopes("residual stream", run->dx.at, run->dx.stride, head_loss, &twin, twin.last, ROWS,
                  C, 3);
    assert_slopes("head", head->grad, head->stride, head_loss, &twin, twin.head, head->rows, C,
                  head->rows * C / 80 | 1);
    assert_slopes("weight", w->grad, C, head_loss, &twin, twin.w, 1, C, 1);
    assert_slopes("bias", b->grad, C, head_loss, &twin, twin.b, 1, C, 1);
    double *const all[] = {twin.last, twin.head, twin.w, twin.b};
    for (size_t i = 0; i < 4; i++)
        tf_free(all[i]);
    tf_run_free(run);
    tf_model_free(model);
}

static void check_small_head(void)
{
    check_gradients(small_model(TF_L2_NORM_GELU, false, true, 1));
}

static void gradients_equal_the_twins_slopes(void **state)
{
    (void)state;
    each_kernel(check_small_head);
}

/* A vocabulary of two whole pieces of the head and a ragged one. */
static void pieces_of_the_head_join(void **state)
{
    (void)state;
    check_gradients(head_model(2 * TF_HEAD_PIECE + 27, LENGTH));
}

/* Every mode gives the losses of its own logits, and each other's to the bit. */
static void check_losses(void)
{
    struct tf_model *model = small_model(TF_SOFTMAX, true, true, 1);
    float losses[3][ROWS], logits[ROWS * SMALL_VOCAB], part[5 * SMALL_VOCAB];
    double row[SMALL_VOCAB];
    for (enum tf_run_mode mode = TF_RUN_TRAIN; mode <= TF_RUN_CACHE; mode++) {
        struct tf_run *run = forward(model, mode);
        tf_logits(run, 0, ROWS, logits);
        tf_logits(run, 17, 5, part);
        assert_memory_equal(part, logits + 17 * SMALL_VOCAB, sizeof part);
        tf_loss(run, targets, losses[mode], 0);
        for (size_t r = 0; r < ROWS; r++) {
            for (size_t v = 0; v < SMALL_VOCAB; v++)
                row[v] = logits[r * SMALL_VOCAB + v];
            const double want = twin_cross_entropy(SMALL_VOCAB, row, targets[r]);
            assert_true(fabs(losses[mode][r] - want) < 1e-6 * (1 + want));
        }
        assert_memory_equal(losses[mode], losses[0], sizeof losses[0]);
        tf_run_free(run);
    }
    tf_model_free(model);
}

static void losses_equal_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_losses);
}

/* Logits hundreds apart: the right one far above costs nothing, far below costs the difference;
 * nothing overflows. */
static void check_far_logits(void)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    for (size_t i = 0; i < SMALL_VOCAB * model->embed->stride; i++)
        model->embed->value[i] *= 300;
    struct tf_run *run = forward(model, TF_RUN_TRAIN);
    float losses[ROWS], logits[ROWS * SMALL_VOCAB];
    tf_logits(run, 0, ROWS, logits);
    size_t right = 0, wrong = 0;
    for (size_t r = 0; r < ROWS; r++) {
        const float *row = logits + r * SMALL_VOCAB;
        for (uint16_t v = 0; v < SMALL_VOCAB;
             v++) /* the best one in even rows, the worst in odd ones */
            targets[r] =
                (r % 2 ? row[v] < row[targets[r]] : row[v] > row[targets[r]]) ? v : targets[r];
    }
    tf_loss(run, targets, losses, 1);
    for (size_t r = 0; r < ROWS; r++) {
        right += losses[r] >= 0 && losses[r] < 1;
        wrong += losses[r] > 500 && isfinite(losses[r]);
    }
    assert_true(right == (ROWS + 1) / 2 && wrong == ROWS / 2);
    for (size_t i = 0; i < ROWS * SMALL_WIDTH; i++)
        assert_true(isfinite(run->dx.at[i / SMALL_WIDTH * run->dx.stride + i % SMALL_WIDTH]));
    tf_run_free(run);
    tf_model_free(model);
}

static void far_logits_stay_finite(void **state)
{
    (void)state;
    each_kernel(check_far_logits);
}

/* Weight 0: nothing of the backward pass is touched. */
static void check_no_weight(void)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_run *run = forward(model, TF_RUN_TRAIN);
    float plain[ROWS], weighted[ROWS];
    run->dx.at[3] = 42;
    tf_loss(run, targets, plain, 0);
    assert_true(run->dx.at[3] == 42);
    for (size_t i = 0; i < model->table_count; i++)
        for (size_t k = 0; k < model->tables[i].rows * model->tables[i].stride; k++)
            assert_true(model->tables[i].grad[k] == 0);
    tf_loss(run, targets, weighted, 1);
    assert_true(run->dx.at[3] != 42);
    assert_memory_equal(plain, weighted, sizeof plain);
    tf_run_free(run);
    tf_model_free(model);
}

static void without_a_weight_nothing_goes_back(void **state)
{
    (void)state;
    each_kernel(check_no_weight);
}

/* A frozen head takes no gradient; what goes back through it is the same. */
static void a_frozen_head_lets_gradients_through(void **state)
{
    (void)state;
    struct tf_model *free_one = small_model(TF_L2_NORM_GELU, false, true, 1);
    struct tf_model *frozen = small_model(TF_L2_NORM_GELU, false, true, 1);
    frozen->head->frozen = true;
    struct tf_run *a = forward(free_one, TF_RUN_TRAIN), *b = forward(frozen, TF_RUN_TRAIN);
    float losses[2][ROWS];
    tf_loss(a, targets, losses[0], 1);
    tf_loss(b, targets, losses[1], 1);
    assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
    assert_memory_equal(a->dx.at, b->dx.at, ROWS * a->dx.stride * sizeof(float));
    assert_true(free_one->head->grad[0] != 0);
    for (size_t k = 0; k < frozen->head->rows * frozen->head->stride; k++)
        assert_true(frozen->head->grad[k] == 0);
    tf_run_free(a);
    tf_run_free(b);
    tf_model_free(free_one);
    tf_model_free(frozen);
}

/* Chunks of any number of rows, with a last one that is short, give the bits of a single one. */
static void check_chunks(void)
{
    struct tf_model *whole = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_run *want = forward(whole, TF_RUN_TRAIN);
    float losses[2][ROWS], logits[2][ROWS * SMALL_VOCAB];
    assert_int_equal(want->chunk, ROWS);
    tf_loss(want, targets, losses[0], 1);
    tf_logits(want, 0, ROWS, logits[0]);
    for (size_t chunk = 1; chunk < ROWS; chunk += 9) {
        struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
        struct tf_run *run = forward(model, TF_RUN_TRAIN);
        run->chunk = chunk;
        tf_loss(run, targets, losses[1], 1);
        tf_logits(run, 0, ROWS, logits[1]);
        assert_memory_equal(losses[0], losses[1], sizeof losses[0]);
        assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
        assert_memory_equal(run->dx.at, want->dx.at, ROWS * run->dx.stride * sizeof(float));
        for (size_t i = 0; i < model->table_count; i++)
            assert_memory_equal(model->tables[i].grad, whole->tables[i].grad,
                                whole->tables[i].rows * whole->tables[i].stride * sizeof(float));
        tf_run_free(run);
        tf_model_free(model);
    }
    tf_run_free(want);
    tf_model_free(whole);
}

static void chunks_do_not_show(void **state)
{
    (void)state;
    each_kernel(check_chunks);
}

/* A vocabulary so large that a run never holds all its logits. */
static void large_vocabularies_go_in_chunks(void **state)
{
    (void)state;
    enum { LONG = 300, VOCAB = 65000 };
    uint16_t text[LONG + 1];
    float losses[LONG], logits[VOCAB];
    double *row = twin_new(VOCAB), sum = 0;
    struct tf_model *model = head_model(VOCAB, LONG);
    struct tf_run *run;
    assert_ok(tf_run_new(&run, model, TF_RUN_TRAIN, 1, LONG, &err), &err);
    assert_int_equal(run->chunk, 258); /* 64 MiB of logits; the last chunk is of 42 rows */
    small_ids(text, LONG + 1, VOCAB, 1);
    tf_forward(run, text, 1, LONG, 0);
    tf_loss(run, text + 1, losses, 1);
    for (size_t r = 0; r < LONG; r += 77) {
        tf_logits(run, r, 1, logits);
        for (size_t v = 0; v < VOCAB; v++)
            row[v] = logits[v];
        assert_true(fabs(losses[r] - twin_cross_entropy(VOCAB, row, text[r + 1])) <
                    2e-6 * losses[r]);
    }
    for (size_t v = 0; v < VOCAB; v++) /* over the ids, softmax minus one-hot is 0 */
        sum += model->head->grad[v * model->head->stride];
    assert_true(fabs(sum) < 1e-3);
    tf_free(row);
    tf_run_free(run);
    tf_model_free(model);
}

/* Ids that pad the vocabulary are ids like others: each takes its share of the softmax, and is
 * pushed down. */
static void padded_ids_take_part(void **state)
{
    (void)state;
    enum { VOCAB = 272, USED = 257, LONG = 9 };
    struct tf_model *model = head_model(VOCAB, LONG);
    for (size_t v = 0; v < VOCAB; v++)
        memset(tf_table_row(model->embed, v), 0, HEAD_WIDTH * sizeof(float)); /* all ids alike... */
    model->norm_bias->value[0] = 1;
    uint16_t text[LONG + 1];
    float losses[LONG];
    struct tf_run *run;
    assert_ok(tf_run_new(&run, model, TF_RUN_TRAIN, 1, LONG, &err), &err);
    small_ids(text, LONG + 1, USED, 1);
    tf_forward(run, text, 1, LONG, 0);
    tf_loss(run, text + 1, losses, 1);
    for (size_t r = 0; r < LONG; r++)
        assert_true(fabs(losses[r] - log(VOCAB)) <
                    1e-6); /* ...so each has a share of 1/272, not 1/257 */
    for (size_t v = USED; v < VOCAB; v++)
        assert_true(fabs(model->head->grad[v * model->head->stride] - LONG / (double)VOCAB) < 1e-7);
    tf_run_free(run);
    tf_model_free(model);
}

/* A head large enough for threads to share. */
static void threads_do_not_show(void **state)
{
    (void)state;
    enum { LONG = 100, VOCAB = 2000 };
    const int before = omp_get_max_threads();
    struct tf_model *models[3];
    uint16_t text[LONG + 1];
    float losses[3][LONG];
    small_ids(text, LONG + 1, VOCAB, 1);
    for (int i = 0; i < 3; i++) {
        omp_set_num_threads(i + 1);
        models[i] = head_model(VOCAB, LONG);
        struct tf_run *run;
        assert_ok(tf_run_new(&run, models[i], TF_RUN_TRAIN, 1, LONG, &err), &err);
        tf_forward(run, text, 1, LONG, 0);
        tf_loss(run, text + 1, losses[i], 1);
        tf_run_free(run);
        assert_memory_equal(losses[i], losses[0], sizeof losses[0]);
        assert_memory_equal(models[i]->head->grad, models[0]->head->grad,
                            VOCAB * models[0]->head->stride * sizeof(float));
    }
    for (int i = 0; i < 3; i++)
        tf_model_free(models[i]);
    omp_set_num_threads(before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_equal_the_twins_slopes),
        cmocka_unit_test(pieces_of_the_head_join),
        cmocka_unit_test(losses_equal_the_naive_twin),
        cmocka_unit_test(far_logits_stay_finite),
        cmocka_unit_test(without_a_weight_nothing_goes_back),
        cmocka_unit_test(a_frozen_head_lets_gradients_through),
        cmocka_unit_test(chunks_do_not_show),
        cmocka_unit_test(large_vocabularies_go_in_chunks),
        cmocka_unit_test(padded_ids_take_part),
        cmocka_unit_test(threads_do_not_show),
    };
    omp_set_num_threads(1); /* models so small that threads would only wait for each other */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
