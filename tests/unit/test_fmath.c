/* base/fmath against the C library in long double, and at its edges. */
#include "base/fmath.h"

#include "base/rng.h"
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SAMPLES 200000

/* Distance from the true value in units of the last place of a double near it. */
static double ulps(double got, long double truth)
{
    double near = fabs((double)truth);

    return (double)(fabsl(got - truth) / (nextafter(near, INFINITY) - near));
}

/* Number i of a sweep from low to high at random points. */
static double sample(double low, double high, uint64_t i)
{
    return low + (high - low) * tf_rng_uniform(1, 2, i);
}

static void expect_ulps(double (*ours)(double), long double (*truth)(long double), double x,
                        double most)
{
    double off = ulps(ours(x), truth(x));

    if (!(off <= most))
        fail_msg("%g ulp at x = %a", off, x);
}

static void test_exp(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        expect_ulps(tf_exp, expl, sample(-745, 709.78, i), 1);
        expect_ulps(tf_exp, expl, sample(-1, 1, i), 1);
        expect_ulps(tf_exp, expl, ldexp(sample(-1, 1, i), -(int)(i % 1000)), 1);
    }
    assert_true(tf_exp(0) == 1 && tf_exp(-0.0) == 1);
    assert_true(tf_exp(709.782712893384) > 1.797e308);
    assert_true(isinf(tf_exp(709.782712893385)));
    assert_true(tf_exp(-745.13) == 0x1p-1074);
    assert_true(tf_exp(-745.14) == 0);
    assert_true(isinf(tf_exp(INFINITY)) && isinf(tf_exp(DBL_MAX)));
    assert_true(tf_exp(-INFINITY) == 0 && tf_exp(-DBL_MAX) == 0);
    assert_true(isnan(tf_exp(NAN)));
}

static void test_log(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        expect_ulps(tf_log, logl, ldexp(sample(1, 2, i), (int)(i % 2046) - 1022), 1);
        expect_ulps(tf_log, logl, sample(0.5, 2, i), 1);
        expect_ulps(tf_log, logl, 1 + ldexp(sample(-1, 1, i), -(int)(i % 50) - 2), 1);
        expect_ulps(tf_log, logl, ldexp(sample(0, 1, i), -1023), 1); /* subnormal */
    }
    expect_ulps(tf_log, logl, DBL_MAX, 1);
    expect_ulps(tf_log, logl, 0x1p-1074, 1);
    assert_true(tf_log(1) == 0);
    assert_true(tf_log(0) == -INFINITY && tf_log(-0.0) == -INFINITY);
    assert_true(tf_log(INFINITY) == INFINITY);
    assert_true(isnan(tf_log(-1)) && isnan(tf_log(-INFINITY)) && isnan(tf_log(NAN)));
}

static void expect_circle(double x)
{
    double off_sin = (double)fabsl(tf_sin(x) - sinl(x));
    double off_cos = (double)fabsl(tf_cos(x) - cosl(x));

    if (!(off_sin <= 1e-15 && off_cos <= 1e-15))
        fail_msg("sin off by %g, cos by %g at x = %a", off_sin, off_cos, x);
}

static void test_sin_and_cos(void **state)
{
    const double quarter = 1.57079632679489661923;

    (void)state;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        expect_circle(sample(-1e6, 1e6, i));
        expect_circle(sample(-10, 10, i));
        expect_circle((double)(i % 636619) * quarter); /* nearly no remainder */
        expect_circle(((double)i + 0.5) * quarter);    /* between two quarters */
    }
    expect_circle(1e6);
    expect_circle(-1e6);
    assert_true(tf_sin(0) == 0 && tf_cos(0) == 1);
    assert_true(tf_sin(1e-300) == 1e-300);
    assert_true(tf_sin(-2.5) == -tf_sin(2.5) && tf_cos(-2.5) == tf_cos(2.5));
    assert_true(isnan(tf_sin(NAN)) && isnan(tf_cos(INFINITY)));
}

static void test_pow_int(void **state)
{
    double chained = 1;

    (void)state;
    assert_true(tf_pow_int(0, 0) == 1);
    assert_true(tf_pow_int(0, 5) == 0);
    assert_true(tf_pow_int(2, 1023) == 0x1p1023);
    assert_true(tf_pow_int(-3, 3) == -27);
    assert_true(tf_pow_int(0.5, UINT64_MAX) == 0);
    assert_true(tf_pow_int(1, UINT64_MAX) == 1);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(fabs(tf_pow_int(0.999, i) - chained) <= 1e-13 * chained);
        chained *= 0.999;
    }
}

/* A change of one bit on some machine or compiler must show. */
static void test_bits_are_fixed(void **state)
{
    uint64_t hash = 0;

    (void)state;
    for (uint64_t i = 0; i < 10000; i++) {
        const double values[] = {tf_exp(sample(-700, 700, i)), tf_log(sample(0, 10, i)),
                                 tf_sin(sample(-1e6, 1e6, i)), tf_cos(sample(-9, 9, i))};
        for (size_t j = 0; j < 4; j++) {
            union {
                double value;
                uint64_t bits;
            } u = {values[j]};
            hash = tf_rng_bits(hash, u.bits, i);
        }
    }
    assert_int_equal(hash, 0x185fc03771dd4f84);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_sin_and_cos),
        cmocka_unit_test(test_pow_int),
        cmocka_unit_test(test_bits_are_fixed),
    };

    return cmocka_run_group_tests_name("fmath", tests, NULL, NULL);
}
