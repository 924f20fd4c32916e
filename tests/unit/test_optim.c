/* AdamW and the gradient norm against a twin in doubles; what is frozen is neither counted nor
 * touched. */
#include "small_model.h"

#include "train/optim.h"

#include <omp.h>

static struct tf_config settings(double grad_clip)
{
    struct tf_config config = {0};
    config.optimizer.betas[0] = 0.9;
    config.optimizer.betas[1] = 0.95;
    config.optimizer.eps = 1e-8;
    config.optimizer.weight_decay = 0.1;
    config.optimizer.grad_clip = grad_clip;
    return config;
}

/* New gradients: numbers of every size, the same for a step every time. */
static void fill_gradients(struct tf_model *model, uint64_t step)
{
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        for (size_t k = 0; k < t->rows * t->cols; k++)
            t->grad[k / t->cols * t->stride + k % t->cols] =
                noise(tf_rng_stream(t->name) + step * 1000003 + k) * (k % 5 ? 0.1f : 1e-4f);
    }
}

static double norm_of(const struct tf_model *model)
{
    double *room = twin_new(tf_gradient_norm_room(model));
    const double norm = tf_gradient_norm(model, room);
    tf_free(room);
    return norm;
}

/* The sum of squares of a table's rows from `first` on. */
static double squares(const struct tf_table *t, size_t first)
{
    double *g = twin_copy(t->grad + first * t->stride, t->rows - first, t->cols, t->stride);
    const double sum = twin_dot((t->rows - first) * t->cols, g, g);
    tf_free(g);
    return sum;
}

static void check_norm(void)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, false, true, 1);
    fill_gradients(model, 0);
    double sum = 0;
    for (size_t i = 0; i < model->table_count; i++)
        sum += squares(&model->tables[i], 0);
    assert_true(fabs(norm_of(model) / sqrt(sum) - 1) < 1e-6);
    sum = 0;
    for (size_t i = 0; i < model->table_count;
         i++) { /* now without some tables, and without some rows */
        struct tf_table *t = &model->tables[i];
        t->frozen = i % 4 == 1;
        t->frozen_rows = i % 4 == 2 ? t->rows - t->rows / 2 : 0;
        sum += t->frozen ? 0 : squares(t, t->frozen_rows);
    }
    assert_true(fabs(norm_of(model) / sqrt(sum) - 1) < 1e-6);
    for (size_t i = 0; i < model->table_count; i++) { /* a frozen one may hold anything */
        const struct tf_table *t = &model->tables[i];
        t->grad[0] = t->frozen || t->frozen_rows ? NAN : t->grad[0];
    }
    assert_true(fabs(norm_of(model) / sqrt(sum) - 1) < 1e-6);
    for (size_t i = 0; i < model->table_count; i++)
        model->tables[i].frozen = true;
    assert_true(norm_of(model) == 0);
    tf_model_free(model);
}

static void the_norm_leaves_out_what_is_frozen(void **state)
{
    (void)state;
    each_kernel(check_norm);
}

static void the_norm_needs_room_for_all_rows(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 3);
    size_t rows = 0;
    for (size_t i = 0; i < model->table_count; i++)
        rows += model->tables[i].rows;
    assert_int_equal(tf_gradient_norm_room(model), rows);
    tf_model_free(model);
}

/* A table in doubles. */
struct adam_twin {
    double *p, *m, *v;
};

/* One step, in the order of tests/golden/README.md. */
static void twin_step(struct adam_twin *twin, const struct tf_table *t,
                      const struct tf_config *config, uint64_t step, double rate, double norm)
{
    const double *betas = config->optimizer.betas, limit = config->optimizer.grad_clip;
    const double clip = limit > 0 && norm + 1e-6 > limit ? limit / (norm + 1e-6) : 1;
    for (size_t k = 0; k < t->rows * t->cols; k++) {
        const double g = clip * t->grad[k / t->cols * t->stride + k % t->cols];
        if (strncmp(t->name, "norm.", 5) != 0)
            twin->p[k] -= rate * config->optimizer.weight_decay * twin->p[k];
        twin->m[k] = betas[0] * twin->m[k] + (1 - betas[0]) * g;
        twin->v[k] = betas[1] * twin->v[k] + (1 - betas[1]) * g * g;
        const double m_hat = twin->m[k] / (1 - pow(betas[0], (double)step + 1));
        const double v_hat = twin->v[k] / (1 - pow(betas[1], (double)step + 1));
        twin->p[k] -= rate * m_hat / (sqrt(v_hat) + config->optimizer.eps);
    }
}

/* Steps with gradients far above the limit (0.01), near it, and below it (100); or with none (0).
 */
static void check_steps_at(double grad_clip)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, false, true, 1);
    const struct tf_config config = settings(grad_clip);
    struct adam_twin twins[64];
    assert_true(model->table_count <= 64);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        const size_t count = t->rows * t->cols;
        twins[i] = (struct adam_twin){twin_copy(t->value, t->rows, t->cols, t->stride),
                                      twin_new(count), twin_new(count)};
    }
    for (uint64_t step = 0; step < 8; step++) {
        fill_gradients(model, step);
        const double rate = 0.01 * (double)(step % 4),
                     norm = norm_of(model); /* rate 0 too: only the moments move */
        tf_optim_step(model, &config, step, 0, rate, norm);
        for (size_t i = 0; i < model->table_count; i++) {
            const struct tf_table *t = &model->tables[i];
            twin_step(&twins[i], t, &config, step, rate, norm);
            assert_close(t->name, t->value, t->stride, twins[i].p, t->rows, t->cols, 2e-6);
            assert_close(t->name, t->m, t->stride, twins[i].m, t->rows, t->cols, 1e-6);
            assert_close(t->name, t->v, t->stride, twins[i].v, t->rows, t->cols, 1e-6);
            for (size_t k = 0; k < t->rows * t->stride; k++)
                assert_true(k % t->stride < t->cols ||
                            (t->value[k] == 0 && t->m[k] == 0 && t->v[k] == 0));
        }
    }
    for (size_t i = 0; i < model->table_count; i++) {
        tf_free(twins[i].p);
        tf_free(twins[i].m);
        tf_free(twins[i].v);
    }
    tf_model_free(model);
}

static void check_steps(void)
{
    check_steps_at(0);
    check_steps_at(0.01);
    check_steps_at(1);
    check_steps_at(100);
}

static void steps_equal_the_twins(void **state)
{
    (void)state;
    each_kernel(check_steps);
}

static void assert_same_table(const struct tf_table *a, const struct tf_table *b, size_t first,
                              size_t last)
{
    float *const of_a[] = {a->value, a->m, a->v}, *const of_b[] = {b->value, b->m, b->v};
    for (size_t i = 0; i < 3; i++)
        assert_memory_equal(of_a[i] + first * a->stride, of_b[i] + first * a->stride,
                            (last - first) * a->stride * sizeof(float));
}

/* A model of `times` the tokens after three steps. Frozen: of every four tables one as a whole, and
 * one for half of its rows. */
static struct tf_model *trained(uint64_t times, bool freeze, const struct tf_config *config)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, times);
    for (size_t i = 0; i < model->table_count; i++) {
        model->tables[i].frozen = freeze && i % 4 == 1;
        model->tables[i].frozen_rows = freeze && i % 4 == 2 ? model->tables[i].rows / 2 : 0;
    }
    for (uint64_t step = 0; step < 3; step++) {
        fill_gradients(model, step);
        tf_optim_step(model, config, step, 0, 0.01, 0.5);
    }
    return model;
}

/* What is frozen keeps its weights and moments to the bit; the rest is updated as if nothing were.
 */
static void frozen_tables_and_rows_stay(void **state)
{
    (void)state;
    const struct tf_config config = settings(0.1);
    struct tf_model *start = small_model(TF_L2_NORM_GELU, true, true, 1),
                    *all = trained(1, false, &config);
    struct tf_model *some = trained(1, true, &config);
    for (size_t i = 0; i < some->table_count; i++) {
        const struct tf_table *t = &some->tables[i];
        const size_t kept = t->frozen ? t->rows : t->frozen_rows;
        assert_same_table(t, &start->tables[i], 0, kept);
        assert_same_table(t, &all->tables[i], kept, t->rows);
        assert_memory_not_equal(all->tables[i].value, start->tables[i].value,
                                t->cols * sizeof(float));
    }
    tf_model_free(start);
    tf_model_free(all);
    tf_model_free(some);
}

/* A model after one step at that age, half of each table's rows being new. */
static struct tf_model *aged(const struct tf_config *config, uint64_t age, double rate, bool young)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    for (size_t i = 0; i < model->table_count; i++)
        model->tables[i].new_from = young ? model->tables[i].rows / 2 : model->tables[i].rows;
    fill_gradients(model, 1);
    tf_optim_step(model, config, 0, age, rate, 0.5);
    return model;
}

/* New rows are updated as all rows are at another rate and decay, old ones as ever, to the bit. */
static void check_new_rows(const struct tf_config *config, uint64_t age, double multiple,
                           double decay)
{
    const struct tf_config plain = settings(0.1);
    struct tf_config other = plain;
    other.optimizer.weight_decay *= decay;
    struct tf_model *old = aged(&plain, age, 0.01, false),
                    *new = aged(&other, age, 0.01 * multiple, false),
                    *both = aged(config, age, 0.01, true);
    for (size_t i = 0; i < both->table_count; i++) {
        const size_t half = both->tables[i].rows / 2;
        assert_same_table(&both->tables[i], &old->tables[i], 0, half);
        assert_same_table(&both->tables[i], &new->tables[i], half, both->tables[i].rows);
    }
    tf_model_free(old);
    tf_model_free(new);
    tf_model_free(both);
}

static void new_rows_have_a_rate_of_their_own(void **state)
{
    (void)state;
    struct tf_config config = settings(0.1);
    config.grow.new_lr = config.grow.new_decay = 1;
    check_new_rows(&config, 0, 1, 1);
    config.grow.new_lr = 2;
    check_new_rows(&config, 0, 2, 1);
    config.grow.new_decay = 0;
    check_new_rows(&config, 7, 2, 0);
    config.grow.new_warmup = 4; /* in powers of two: exact */
    check_new_rows(&config, 0, 0.5, 0);
    check_new_rows(&config, 1, 1, 0);
    check_new_rows(&config, 3, 2, 0);
    check_new_rows(&config, 4, 2, 0);
    config.grow.new_lr = 0;
    check_new_rows(&config, 4, 0, 0);
}

/* Without gradients only decay moves anything, and not the final norm. */
static void decay_spares_the_final_norm(void **state)
{
    (void)state;
    struct tf_model *start = small_model(TF_L2_NORM_GELU, false, true, 1),
                    *model = small_model(TF_L2_NORM_GELU, false, true, 1);
    const struct tf_config config = settings(1);
    tf_optim_step(model, &config, 0, 0, 0.5, 0);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        const bool norm = t == model->norm_weight || t == model->norm_bias;
        for (size_t k = 0; k < t->rows * t->stride; k++) {
            const float was = start->tables[i].value[k];
            assert_true(t->value[k] == (norm ? was : fmaf(was, -0.05f, was)));
        }
    }
    tf_model_free(start);
    tf_model_free(model);
}

/* A norm at the limit is not clipped, one above is: the limit off and a limit not reached are the
 * same to the bit. */
static void clipping_begins_above_the_limit(void **state)
{
    (void)state;
    static const struct {
        double limit, norm, clip;
    } cases[] = {{0, 1e9, 1}, {1, 0.5, 1}, {1, 1 - 2e-6, 1}, {1, 2, 0.5}, {0.25, 1e6, 2.5e-7}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
        const struct tf_config config = settings(cases[i].limit);
        model->embed->grad[0] = 1;
        tf_optim_step(model, &config, 0, 0, 0.01, cases[i].norm);
        const double m = model->embed->m[0] / (1 - 0.9f);
        assert_true(cases[i].clip == 1 ? m == 1
                                       : fabs(m / cases[i].clip - 1) < 1e-5 && m < cases[i].clip);
        tf_model_free(model);
    }
}

/* After one step the corrected moments are g and g^2, whatever the betas: the weight moves by the
 * rate, against g's sign. */
static void the_first_step_is_the_rate(void **state)
{
    (void)state;
    static const double betas[][2] = {
        {0, 0}, {0.9, 0.95}, {0.9, 0.999}, {0.999, 0.9999}, {0.999999, 0.999999}};
    for (size_t i = 0; i < sizeof betas / sizeof *betas; i++) {
        struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
        struct tf_config config = settings(0);
        memcpy(config.optimizer.betas, betas[i], sizeof betas[i]);
        fill_gradients(model, 0);
        struct tf_table *t = model->norm_bias; /* without decay */
        memset(t->value, 0, t->stride * sizeof(float));
        tf_optim_step(model, &config, 0, 0, 0.01, 1);
        for (size_t c = 0; c < t->cols; c++) {
            const double g = t->grad[c], want = -0.01 * g / (fabs(g) + 1e-8);
            if (!(fabs(t->value[c] - want) < 1e-6 * 0.01))
                fail_msg("betas %g %g: the step is %.9g, not %.9g", betas[i][0], betas[i][1],
                         t->value[c], want);
        }
        tf_model_free(model);
    }
}

static void threads_do_not_show(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    const struct tf_config config = settings(0.1);
    struct tf_model *models[3];
    double norms[3];
    for (int i = 0; i < 3; i++) {
        omp_set_num_threads(i + 1);
        models[i] =
            trained(200, true, &config); /* thousands of tokens: tables large enough to share */
        norms[i] = norm_of(models[i]);
        assert_true(norms[i] == norms[0]);
        for (size_t k = 0; k < models[i]->table_count; k++)
            assert_same_table(&models[i]->tables[k], &models[0]->tables[k], 0,
                              models[0]->tables[k].rows);
    }
    for (int i = 0; i < 3; i++)
        tf_model_free(models[i]);
    omp_set_num_threads(before);
}

/* Rows that no token used have gradients and moments of zero; an eps below float's range must not
 * make 0/0 of them. */
static void a_tiny_eps_divides_by_no_zero(void **state)
{
    (void)state;
    struct tf_config config = settings(0);
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    const struct tf_table *t = model->norm_bias;
    float before[SMALL_WIDTH];
    memcpy(before, t->value, sizeof before);
    config.optimizer.eps = 1e-50;
    tf_optim_step(model, &config, 0, 0, 1e-3, norm_of(model));
    assert_memory_equal(t->value, before, sizeof before);
    tf_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_norm_leaves_out_what_is_frozen),
        cmocka_unit_test(the_norm_needs_room_for_all_rows),
        cmocka_unit_test(steps_equal_the_twins),
        cmocka_unit_test(frozen_tables_and_rows_stay),
        cmocka_unit_test(new_rows_have_a_rate_of_their_own),
        cmocka_unit_test(decay_spares_the_final_norm),
        cmocka_unit_test(clipping_begins_above_the_limit),
        cmocka_unit_test(the_first_step_is_the_rate),
        cmocka_unit_test(a_tiny_eps_divides_by_no_zero),
        cmocka_unit_test(threads_do_not_show),
    };
    omp_set_num_threads(1); /* models so small that threads would only wait for each other */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
