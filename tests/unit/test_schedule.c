/* The learning rate: the golden run's rule at every step, and each schedule at its corners. */
#include "golden.h"

#include "train/schedule.h"

static struct tf_config plan(enum tf_schedule schedule, uint64_t steps, double warmup, double decay)
{
    struct tf_config config = {0};
    config.train.steps = steps;
    config.optimizer.schedule = (int)schedule;
    config.optimizer.lr = 0.002;
    config.optimizer.min_lr = 0.0002;
    config.optimizer.warmup = warmup;
    config.optimizer.decay = decay;
    return config;
}

static void expect(const struct tf_config *config, uint64_t step, double want)
{
    const double rate = tf_schedule_rate(config, step);
    if (!(fabs(rate - want) <= 1e-15 * (fabs(want) + 0.002)))
        fail_msg("step %llu has rate %.17g, not %.17g", (unsigned long long)step, rate, want);
}

/* As tests/golden/README.md says it. */
static void the_golden_rule(void **state)
{
    (void)state;
    json_t *json = golden_case("train");
    const double steps = golden_number(json, "steps"), lr = golden_number(json, "lr"),
                 min_lr = golden_number(json, "min_lr");
    const double w = golden_number(json, "warmup_fraction") * steps;
    struct tf_config config =
        plan(TF_COSINE, (uint64_t)steps, golden_number(json, "warmup_fraction"), 0);
    config.optimizer.lr = lr;
    config.optimizer.min_lr = min_lr;
    for (uint64_t step = 0; step < config.train.steps; step++) {
        const double s = (double)step;
        expect(&config, step,
               s <= w ? lr * s / w
                      : min_lr + (lr - min_lr) / 2 * (1 + cos(M_PI * (s - w) / (steps - w))));
    }
    json_decref(json);
}

static void cosine_falls_along_half_a_wave(void **state)
{
    (void)state;
    const struct tf_config config = plan(TF_COSINE, 110, 10, 0);
    expect(&config, 0, 0);
    expect(&config, 5, 0.001);
    expect(&config, 10, 0.002);
    expect(&config, 60, 0.0011);
    expect(&config, 110, 0.0002);
    expect(&config, 1000, 0.0002);
}

static void linear_falls_in_a_straight_line(void **state)
{
    (void)state;
    const struct tf_config config = plan(TF_LINEAR, 110, 10, 0);
    expect(&config, 0, 0);
    expect(&config, 9, 0.0018);
    expect(&config, 10, 0.002);
    expect(&config, 35, 0.00155);
    expect(&config, 109, 0.000218);
    expect(&config, 110, 0.0002);
    expect(&config, 111, 0.0002);
}

/* Warm-up, stable, decay. */
static void wsd_falls_at_the_end(void **state)
{
    (void)state;
    struct tf_config config = plan(TF_WSD, 100, 10, 0.25);
    expect(&config, 0, 0);
    expect(&config, 5, 0.001);
    for (uint64_t step = 10; step <= 75; step++)
        expect(&config, step, 0.002);
    expect(&config, 80, 0.00164);
    expect(&config, 99, 0.000272);
    expect(&config, 100, 0.0002);
    config.optimizer.decay = 0;
    expect(&config, 99, 0.002);
    config.optimizer.decay = 1; /* of all steps: it has begun when warm-up ends */
    expect(&config, 10, 0.00182);
    expect(&config, 50, 0.0011);
}

static void constant_stays(void **state)
{
    (void)state;
    const struct tf_config config = plan(TF_CONSTANT, 100, 4, 0.5);
    expect(&config, 0, 0);
    expect(&config, 3, 0.0015);
    for (uint64_t step = 4; step < 102; step++)
        expect(&config, step, 0.002);
}

/* Below 1 it is a share of the steps, from 1 on a count of them. */
static void warmup_is_a_share_or_a_count(void **state)
{
    (void)state;
    for (enum tf_schedule schedule = TF_COSINE; schedule <= TF_CONSTANT; schedule++) {
        const struct tf_config share = plan(schedule, 80, 0.25, 0.1),
                               count = plan(schedule, 80, 20, 0.1);
        const struct tf_config none = plan(schedule, 80, 0, 0.1), one = plan(schedule, 80, 1, 0.1);
        for (uint64_t step = 0; step <= 80; step++)
            assert_true(tf_schedule_rate(&share, step) == tf_schedule_rate(&count, step));
        expect(&none, 0, 0.002);
        expect(&one, 0, 0);
        expect(&one, 1, 0.002);
    }
    const struct tf_config part = plan(TF_CONSTANT, 30, 0.05, 0); /* one step and a half */
    expect(&part, 1, 0.002 / 1.5);
    expect(&part, 2, 0.002);
}

/* Warm-up that takes all steps, or more than there are; one step in all. */
static void warmup_may_take_all(void **state)
{
    (void)state;
    for (enum tf_schedule schedule = TF_COSINE; schedule <= TF_CONSTANT; schedule++) {
        const struct tf_config all = plan(schedule, 10, 10, 0), more = plan(schedule, 10, 40, 0),
                               single = plan(schedule, 1, 0, 0);
        expect(&all, 9, 0.0018);
        expect(&all, 10, 0.002);
        expect(&more, 9, 0.00045);
        expect(&single, 0, 0.002);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_golden_rule),
        cmocka_unit_test(cosine_falls_along_half_a_wave),
        cmocka_unit_test(linear_falls_in_a_straight_line),
        cmocka_unit_test(wsd_falls_at_the_end),
        cmocka_unit_test(constant_stays),
        cmocka_unit_test(warmup_is_a_share_or_a_count),
        cmocka_unit_test(warmup_may_take_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
