/* The golden cases: logits, loss, every gradient, greedy tokens, and 80 training steps, on every
 * build of the kernels. */
#include "golden.h"

#include "base/mem.h"

static const char *const cases[] = {"lm-l2_norm_gelu", "lm-gelu_l2_norm", "lm-softmax",
                                    "lm-transformer"};

enum { ROWS = 2, LENGTH = 24, VOCAB = 256 };

static void split_tokens(const char *dir, uint16_t ids[ROWS * LENGTH],
                         uint16_t targets[ROWS * LENGTH])
{
    struct golden_array npy = golden_npy(dir, "tokens.npy");
    const int32_t *tokens = npy.data;
    assert_int_equal(npy.shape[1], LENGTH + 1);
    for (int b = 0; b < ROWS; b++)
        for (int t = 0; t < LENGTH; t++) {
            ids[b * LENGTH + t] = (uint16_t)tokens[b * (LENGTH + 1) + t];
            targets[b * LENGTH + t] = (uint16_t)tokens[b * (LENGTH + 1) + t + 1];
        }
    tf_free(npy.data);
}

static void check_gradient(const struct tf_table *table, const char *dir, double tolerance)
{
    struct golden_array npy = golden_table(dir, "grads", table->name);
    const float *want = npy.data;
    double largest = 0, worst = 0;
    for (size_t r = 0; r < table->rows; r++)
        for (size_t c = 0; c < table->cols; c++) {
            const double w = want[r * table->cols + c];
            largest = fmax(largest, fabs(w));
            worst = fmax(worst, fabs(table->grad[r * table->stride + c] - w));
        }
    if (!(worst <= tolerance * largest))
        fail_msg("%s %s: gradient off by %g of %g", dir, table->name, worst, largest);
    tf_free(npy.data);
}

static void check_case(const char *dir)
{
    struct tf_model *model = golden_model(dir, true);
    struct tf_run *run;
    struct tf_err err = {0};
    assert_ok(tf_run_new(&run, model, TF_RUN_TRAIN, ROWS, LENGTH, &err), &err);
    uint16_t ids[ROWS * LENGTH], targets[ROWS * LENGTH];
    float losses[ROWS * LENGTH],
        *logits = tf_new(ROWS * LENGTH * VOCAB, sizeof *logits, "logits", NULL);
    split_tokens(dir, ids, targets);
    tf_gradients_clear(run);
    tf_forward(run, ids, ROWS, LENGTH, 0);
    tf_logits(run, 0, ROWS * LENGTH, logits);
    struct golden_array want = golden_npy(dir, "logits.npy");
    for (size_t i = 0; i < ROWS * LENGTH * VOCAB; i++)
        assert_true(fabs((double)logits[i] - ((const float *)want.data)[i]) <= 2e-5);
    tf_loss(run, targets, losses, 1.0f / (ROWS * LENGTH));
    tf_backward(run, ids);
    tf_gradients_finish(run);
    double loss = 0;
    for (int i = 0; i < ROWS * LENGTH; i++)
        loss += losses[i] / (ROWS * LENGTH);
    json_t *json = golden_case(dir);
    assert_true(fabs(loss - golden_number(json, "loss")) <= 1e-5);
    for (size_t i = 0; i < model->table_count; i++)
        check_gradient(&model->tables[i], dir, model->shape.norm == TF_SOFTMAX ? 1e-3 : 1e-4);
    json_decref(json);
    tf_free(want.data);
    tf_free(logits);
    tf_run_free(run);
    tf_model_free(model);
}

static void check_cases(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(cases[i]);
}

static void logits_loss_and_gradients(void **state)
{
    (void)state;
    each_kernel(check_cases);
}

static uint16_t best_id(const float *logits)
{
    int best = 0;
    for (int i = 1; i < VOCAB; i++)
        best = logits[i] > logits[best] ? i : best;
    return (uint16_t)best;
}

/* Greedy continuation through the cache; at each step the logits are those of the whole pass, to
 * the bit. */
static void check_greedy(const char *dir)
{
    struct tf_model *model = golden_model(dir, false);
    struct tf_run *cached, *whole;
    struct tf_err err = {0};
    assert_ok(tf_run_new(&cached, model, TF_RUN_CACHE, 1, 8, &err), &err);
    assert_ok(tf_run_new(&whole, model, TF_RUN_SCORE, 1, 24, &err), &err);
    json_t *json = golden_case(dir), *want = json_object_get(json, "greedy_16");
    const size_t prompt = json_array_size(json_object_get(json, "greedy_prompt")),
                 total = json_array_size(want);
    uint16_t ids[32];
    float a[VOCAB], b[VOCAB];
    for (size_t i = 0; i < prompt; i++)
        ids[i] = (uint16_t)json_integer_value(json_array_get(want, i));
    tf_forward(cached, ids, 1, prompt, 0);
    for (size_t n = prompt; n < total; n++) {
        tf_logits(cached, n == prompt ? prompt - 1 : 0, 1, a);
        tf_forward(whole, ids, 1, n, 0);
        tf_logits(whole, n - 1, 1, b);
        assert_memory_equal(a, b, sizeof a);
        ids[n] = best_id(a);
        assert_int_equal(ids[n], json_integer_value(json_array_get(want, n)));
        tf_forward(cached, ids + n, 1, 1, n);
    }
    json_decref(json);
    tf_run_free(cached);
    tf_run_free(whole);
    tf_model_free(model);
}

static void check_greedy_all(void)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_greedy(cases[i]);
}

static void greedy_tokens_through_the_cache(void **state)
{
    (void)state;
    each_kernel(check_greedy_all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_loss_and_gradients),
        cmocka_unit_test(greedy_tokens_through_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
