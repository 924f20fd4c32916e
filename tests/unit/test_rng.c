/* base/rng: known answers, distributions, and permutations that permute. */
#include "base/rng.h"

#include "base/mem.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* The generator's three published vectors; the first two of the four words each. */
static void test_philox_known_answers(void **state)
{
    (void)state;
    assert_int_equal(tf_rng_bits(0, 0, 0), 0xe169c58d6627e8d5);
    assert_int_equal(tf_rng_bits(UINT64_MAX, UINT64_MAX, UINT64_MAX), 0x41c83b0e408f276d);
    assert_int_equal(tf_rng_bits(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88),
                     0x94fdccebd16cfe09);
}

static void test_stream_numbers(void **state)
{
    (void)state;
    assert_int_equal(tf_rng_stream(""), 0xcbf29ce484222325); /* FNV-1a's published vectors */
    assert_int_equal(tf_rng_stream("a"), 0xaf63dc4c8601ec8c);
    assert_int_equal(tf_rng_stream("foobar"), 0x85944171f73967e8);
}

static void test_uniform(void **state)
{
    const int n = 100000;
    int counts[16] = {0};
    double sum = 0, chi2 = 0;

    (void)state;
    for (int i = 0; i < n; i++) {
        double u = tf_rng_uniform(3, 4, (uint64_t)i);
        assert_true(u > 0 && u < 1);
        sum += u;
        counts[(int)(u * 16)]++;
    }
    for (int i = 0; i < 16; i++)
        chi2 += pow(counts[i] - n / 16.0, 2) / (n / 16.0);
    assert_true(fabs(sum / n - 0.5) < 4 * sqrt(1.0 / 12 / n));
    assert_true(chi2 < 37.7); /* 15 degrees of freedom, 0.1% */
}

/* The quantile function undoes the distribution function, tails included. */
static void test_normal_inverts_its_distribution(void **state)
{
    double farthest = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000000; i++) {
        double p = tf_rng_uniform(5, 6, i), z = tf_rng_normal(5, 6, i);
        double tail = p < 0.5 ? p : 1 - p;
        double back = 0.5 * erfc(fabs(z) / sqrt(2));
        assert_true((z < 0) == (p < 0.5));
        assert_true(fabs(back - tail) <= 2e-14 * tail);
        farthest = fmax(farthest, fabs(z));
    }
    assert_true(farthest > 4.5);
}

static void test_normal_moments(void **state)
{
    const int n = 200000;
    double sum = 0, squares = 0, fourths = 0;

    (void)state;
    for (int i = 0; i < n; i++) {
        double z = tf_rng_normal(7, 8, (uint64_t)i);
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
    }
    assert_true(fabs(sum / n) < 4 * sqrt(1.0 / n));
    assert_true(fabs(squares / n - 1) < 4 * sqrt(2.0 / n));
    assert_true(fabs(fourths / n - 3) < 4 * sqrt(96.0 / n));
}

static void test_seed_stream_and_index_all_count(void **state)
{
    uint64_t base = tf_rng_bits(1, 1, 1);

    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        uint64_t flip = (uint64_t)1 << bit;
        assert_int_not_equal(tf_rng_bits(1 ^ flip, 1, 1), base);
        assert_int_not_equal(tf_rng_bits(1, 1 ^ flip, 1), base);
        assert_int_not_equal(tf_rng_bits(1, 1, 1 ^ flip), base);
    }
}

static void expect_permutation(uint64_t seed, uint64_t n)
{
    uint8_t *seen = tf_new(n, 1, "seen", NULL);

    assert_non_null(seen);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t to = tf_rng_permute(seed, 9, n, i);
        assert_true(to < n);
        assert_int_equal(seen[to], 0);
        seen[to] = 1;
    }
    tf_free(seen);
}

static void test_permute_is_a_permutation(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= 300; n++)
        expect_permutation(n, n);
    expect_permutation(1, 4096);
    expect_permutation(2, 4097);
    expect_permutation(3, 100003);
}

static void test_permute_at_the_largest_sizes(void **state)
{
    const uint64_t sizes[] = {UINT64_MAX, ((uint64_t)1 << 63) + 1, ((uint64_t)1 << 32) + 1};

    (void)state;
    for (size_t s = 0; s < 3; s++) {
        uint64_t first = tf_rng_permute(1, 2, sizes[s], 0);
        uint64_t last = tf_rng_permute(1, 2, sizes[s], sizes[s] - 1);
        assert_true(first < sizes[s] && last < sizes[s] && first != last);
    }
}

/* Each of the 24 orders of four things comes as often as the others, over seeds. */
static void test_permute_is_fair(void **state)
{
    const int n = 24000;
    int counts[256] = {0}, orders = 0;
    double chi2 = 0;

    (void)state;
    for (int seed = 0; seed < n; seed++) {
        uint64_t code = 0;
        for (uint64_t i = 0; i < 4; i++)
            code = code << 2 | tf_rng_permute((uint64_t)seed, 1, 4, i);
        counts[code]++;
    }
    for (int i = 0; i < 256; i++) {
        if (counts[i] == 0)
            continue;
        orders++;
        chi2 += pow(counts[i] - n / 24.0, 2) / (n / 24.0);
    }
    assert_int_equal(orders, 24);
    assert_true(chi2 < 49.8); /* 23 degrees of freedom, 0.1% */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_philox_known_answers),
        cmocka_unit_test(test_stream_numbers),
        cmocka_unit_test(test_uniform),
        cmocka_unit_test(test_normal_inverts_its_distribution),
        cmocka_unit_test(test_normal_moments),
        cmocka_unit_test(test_seed_stream_and_index_all_count),
        cmocka_unit_test(test_permute_is_a_permutation),
        cmocka_unit_test(test_permute_at_the_largest_sizes),
        cmocka_unit_test(test_permute_is_fair),
    };

    return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
