/* Sampling: draws from known distributions. */
#include "unit.h"

#include "base/fmath.h"
#include "base/rng.h"
#include "train/generate.h"
#include <time.h>

enum { DRAWS = 4000 };
static const struct tf_sampler plain = {.temperature = 1, .top_p = 1, .repeat_penalty = 1};

/* Ids 0..4 with probabilities 0.1, 0.4, 0.15, 0.3, 0.05. */
static const float shares[] = {0.1f, 0.4f, 0.15f, 0.3f, 0.05f};

/* How often each of the five is drawn. */
static void draw(struct tf_sampler sampler, int counts[5])
{
    memset(counts, 0, 5 * sizeof *counts);
    for (uint64_t i = 0; i < DRAWS; i++) {
        float logits[5];
        uint64_t scratch[5];
        for (int id = 0; id < 5; id++)
            logits[id] = 3 + logf(shares[id]);
        counts[tf_sample(&sampler, logits, 5, NULL, 0, 1, 2, i, scratch)]++;
    }
}

/* Draws agree with the shares given (to four standard deviations); a share of 0 is never drawn. */
static void assert_shares(struct tf_sampler sampler, const double wanted[5])
{
    int counts[5];

    draw(sampler, counts);
    for (int id = 0; id < 5; id++) {
        double mean = DRAWS * wanted[id], deviation = sqrt(mean * (1 - wanted[id]));
        if (fabs(counts[id] - mean) > 4 * deviation)
            fail_msg("id %d: drawn %d times, not about %.0f", id, counts[id], mean);
    }
}

static void test_draw(void **state)
{
    struct tf_sampler sampler = plain;
    (void)state;

    assert_shares(sampler, (double[]){0.1, 0.4, 0.15, 0.3, 0.05});
    sampler.temperature = 0.5; /* squares the shares */
    assert_shares(sampler, (double[]){0.01 / 0.285, 0.16 / 0.285, 0.0225 / 0.285, 0.09 / 0.285,
                                      0.0025 / 0.285});
    sampler.temperature = 1e-30;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
}

static void test_filters(void **state)
{
    struct tf_sampler sampler = plain;
    (void)state;

    sampler.top_k = 2;
    assert_shares(sampler, (double[]){0, 0.4 / 0.7, 0, 0.3 / 0.7, 0});
    sampler.top_k = 1;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
    sampler.top_k = 99;
    assert_shares(sampler, (double[]){0.1, 0.4, 0.15, 0.3, 0.05});
    sampler = plain;
    sampler.top_p = 0.69;
    assert_shares(sampler, (double[]){0, 0.4 / 0.7, 0, 0.3 / 0.7, 0});
    sampler.top_p = 0.72;
    assert_shares(sampler, (double[]){0, 0.4 / 0.85, 0.15 / 0.85, 0.3 / 0.85, 0});
    sampler.top_p = 0;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
    sampler = plain;
    sampler.min_p = 0.26; /* of 0.4: 0.104 */
    assert_shares(sampler, (double[]){0, 0.4 / 0.85, 0.15 / 0.85, 0.3 / 0.85, 0});
    sampler.min_p = 1;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
}

/* Each filter works on what the one before it left. */
static void test_order(void **state)
{
    struct tf_sampler sampler = plain;
    (void)state;

    sampler.min_p = 0.6; /* leaves 0.4 and 0.3, of which the first is 0.571 */
    sampler.top_p = 0.57;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
    sampler = plain;
    sampler.top_k = 2;
    sampler.top_p = 0.57;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
    sampler = plain;
    sampler.temperature = 0.5; /* the second share falls from 0.75 of the first to 0.5625 */
    sampler.min_p = 0.6;
    assert_shares(sampler, (double[]){0, 1, 0, 0, 0});
}

static uint32_t greedy(struct tf_sampler sampler, const float *logits, uint32_t vocab,
                       const uint16_t *recent, size_t count)
{
    float copy[8];
    uint64_t scratch[8];

    sampler.temperature = 0;
    memcpy(copy, logits, vocab * sizeof *copy);
    return tf_sample(&sampler, copy, vocab, recent, count, 1, 2, 3, scratch);
}

static void test_greedy_and_penalty(void **state)
{
    static const float tied[] = {-1, 2, 2, 0}, up[] = {4, 3, 2, -9}, down[] = {-1, -1.5f, -3, -9};
    static const uint16_t recent[] = {1, 0, 0, 9}; /* 9 is no id of theirs */
    struct tf_sampler sampler = plain;
    (void)state;

    assert_int_equal(greedy(sampler, tied, 4, NULL, 0), 1);
    sampler.repeat_last = 4;
    assert_int_equal(greedy(sampler, up, 4, recent, 4), 0); /* a penalty of 1 */
    sampler.repeat_penalty = 1.5;
    assert_int_equal(greedy(sampler, up, 4, recent, 4),
                     0); /* 2.67 (once, though used twice), 2, 2 */
    sampler.repeat_penalty = 2.5;
    assert_int_equal(greedy(sampler, up, 4, recent, 4), 2); /* 1.6, 1.2, 2 */
    sampler.repeat_last = 3;
    assert_int_equal(greedy(sampler, up, 4, recent, 4), 1); /* 0, 0, 9 alone: 1.6, 3, 2 */
    sampler.repeat_last = 0;
    assert_int_equal(greedy(sampler, up, 4, recent, 4), 0);
    sampler.repeat_last = 4;
    assert_int_equal(greedy(sampler, down, 4, recent, 4), 0); /* -2.5, -3.75, -3 */
    sampler.repeat_penalty = 4;
    assert_int_equal(greedy(sampler, down, 4, recent, 4), 2); /* -4, -6, -3 */
}

/* A finite logit that the penalty carries past what a float holds is still the likeliest. */
static void test_overflow(void **state)
{
    static const uint16_t recent[] = {1};
    struct tf_sampler sampler = plain;
    float logits[] = {1, 3e38f, 2};
    uint64_t scratch[3];
    (void)state;

    sampler.repeat_penalty = 0.5;
    sampler.repeat_last = 1;
    assert_int_equal(tf_sample(&sampler, logits, 3, recent, 1, 1, 2, 3, scratch), 1);
}

/* ---- the naive twin: sort everything ---- */

enum { MOST = 50304 };

static const float *sorted_by; /* for qsort */

static int by_logit(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (sorted_by[x] != sorted_by[y])
        return sorted_by[x] > sorted_by[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* The weights of the sorted ids that top-k and min-p leave; how many. */
static uint32_t twin_weigh(const struct tf_sampler *sampler, const float *logits,
                           const uint32_t *ids, uint32_t vocab, float *weights)
{
    uint32_t most = vocab;

    if (sampler->top_k > 0 && sampler->top_k < vocab)
        most = (uint32_t)sampler->top_k;
    for (uint32_t i = 0; i < most; i++) {
        double distance = (double)logits[ids[i]] - (double)logits[ids[0]];
        weights[i] = (float)tf_exp(distance / sampler->temperature);
        if (weights[i] < sampler->min_p)
            return i;
    }
    return most;
}

/* What tf_sample is to choose, without a repetition penalty. */
static uint32_t twin(const struct tf_sampler *sampler, const float *logits, uint32_t vocab,
                     double random)
{
    static uint32_t ids[MOST];
    static float weights[MOST];
    uint32_t kept, n, chosen;
    double all = 0, sum = 0, part = 0;

    for (uint32_t id = 0; id < vocab; id++)
        ids[id] = id;
    sorted_by = logits;
    qsort(ids, vocab, sizeof *ids, by_logit);
    if (sampler->temperature == 0)
        return ids[0];
    kept = twin_weigh(sampler, logits, ids, vocab, weights);
    for (uint32_t i = 0; i < kept; i++)
        all += weights[i];
    for (n = 0; n < kept && (n == 0 || sum < sampler->top_p * all); n++)
        sum += weights[n];
    for (chosen = 0; chosen < n && part <= random * sum; chosen++)
        part += weights[chosen];
    return ids[chosen - 1];
}

/* One of `count` numbers. */
static double choice(const double *from, size_t count, uint64_t i)
{
    return from[(size_t)((noise(i) + 1) / 2 * (float)count) % count];
}
#define CHOICE(i, ...) \
    choice((const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double), i)

/* Near or far apart, some alike, some without hope. */
static void fill(float *logits, uint32_t vocab, uint64_t test)
{
    uint64_t at = test * MOST;
    float spread = (float)CHOICE(at, 0.01, 1, 5, 30, 1000), steps = (float)CHOICE(at + 1, 0, 1, 4);
    double hopeless = CHOICE(at + 2, 0, 0, 0.3);

    for (uint32_t id = 0; id < vocab; id++) {
        float share = noise(at + 3 + id);
        logits[id] = spread * (steps > 0 ? roundf(steps * share) / steps : share);
        if (id > 0 && noise(at + 7 + 2 * id) + 1 < 2 * hopeless)
            logits[id] = -INFINITY;
    }
}

/* logits are overwritten. */
static void compare(float *logits, uint32_t vocab, uint64_t test)
{
    static uint64_t scratch[MOST];
    const uint64_t at = (test + 1) << 32, seed = 3, stream = 5;
    const struct tf_sampler sampler = {
        .temperature = CHOICE(at, 0, 1e-320, 1e-30, 0.5, 1, 1, 3, 100),
        .top_k = (uint64_t)CHOICE(at + 1, 0, 0, 1, 2, 7, (double)(vocab / 2), vocab, vocab + 1),
        .top_p = CHOICE(at + 2, 0, 0.1, 0.5, 0.9, 0.999, 1, 1, 1),
        .min_p = CHOICE(at + 3, 0, 0, 0, 1e-6, 0.05, 0.5, 1),
        .repeat_penalty = 1,
    };
    uint32_t wanted, got;

    wanted = twin(&sampler, logits, vocab, tf_rng_uniform(seed, stream, test));
    got = tf_sample(&sampler, logits, vocab, NULL, 0, seed, stream, test, scratch);
    if (got != wanted)
        fail_msg("case %llu of %u ids, temperature %g, top-k %llu, top-p %g, min-p %g: %u, not %u",
                 (unsigned long long)test, vocab, sampler.temperature,
                 (unsigned long long)sampler.top_k, sampler.top_p, sampler.min_p, got, wanted);
}

static void compare_many(void)
{
    static const uint32_t sizes[] = {1, 2, 3, 16, 17, 33, 256, 257};
    const size_t count = sizeof sizes / sizeof *sizes;
    float logits[257];

    for (uint64_t test = 0; test < 8000; test++) {
        fill(logits, sizes[test % count], test);
        compare(logits, sizes[test % count], test);
    }
}

static void test_twin(void **state)
{
    (void)state;
    each_kernel(compare_many);
}

static void test_twin_large(void **state)
{
    static float logits[MOST];
    (void)state;

    for (uint64_t test = 0; test < 40; test++) {
        fill(logits, MOST, test);
        compare(logits, MOST, test);
    }
}

/* Logits in orders in which some pivot is always a bad one. */
static void lay(float *logits, uint32_t vocab, unsigned order)
{
    for (uint32_t id = 0; id < vocab; id++) {
        const uint32_t rising = id, falling = vocab - id, mixed = id % 2 ? rising : falling;
        const uint32_t organ = rising < falling ? rising : falling, valley = vocab - organ;
        const uint32_t orders[] = {rising, falling, mixed, organ, valley};
        logits[id] = 1e-4f * (float)orders[order];
    }
}

/* The order of the logits costs no more than time in proportion to their number: quadratic, these
 * would take minutes. */
static void test_orders(void **state)
{
    static float logits[MOST];
    static uint64_t scratch[MOST];
    double seconds = 0;
    (void)state;

    for (unsigned order = 0; order < 5; order++)
        for (uint64_t test = 0; test < 20; test++) {
            lay(logits, MOST, order);
            compare(logits, MOST, test);
            const clock_t begun = clock();
            lay(logits, MOST, order);
            tf_sample(&plain, logits, MOST, NULL, 0, 1, 2, test, scratch);
            seconds += (double)(clock() - begun) / CLOCKS_PER_SEC;
        }
    assert_true(seconds < 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw),       cmocka_unit_test(test_filters),
        cmocka_unit_test(test_order),      cmocka_unit_test(test_greedy_and_penalty),
        cmocka_unit_test(test_overflow),   cmocka_unit_test(test_twin),
        cmocka_unit_test(test_twin_large), cmocka_unit_test(test_orders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
