/* Sampling: draws from known distributions. */
#include "unit.h"

#include "train/generate.h"

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
        uint32_t scratch[5];
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
    uint32_t scratch[8];

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_draw),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_greedy_and_penalty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
