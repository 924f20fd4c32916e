#include "unit.h"

#define N 1000

/* The distance of x from the true value, in units of the last place of the true value (of the least
 * normal number, below that). */
static double ulps(float x, double truth)
{
    int exponent;
    frexp(truth, &exponent);
    return fabs((double)x - truth) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static double gelu(double z)
{
    return 0.5 * z * erfc(-z / sqrt(2));
}

static double gelu_slope(double z)
{
    return 0.5 * erfc(-z / sqrt(2)) + z * exp(-0.5 * z * z) / sqrt(2 * M_PI);
}

static void check_exp(void)
{
    float x[N], y[N];
    double worst = 0;
    for (int at = -104; at < 89; at++) {
        for (int i = 0; i < N; i++)
            x[i] = (float)at + (float)i / N;
        tf_kernel->exp(N, y, x);
        for (int i = 0; i < N; i++)
            worst = fmax(worst, x[i] < 88.7f ? ulps(y[i], exp(x[i])) : 0);
    }
    assert_true(worst < 1.2);
    const float special[] = {0, -0.0f, -200, -INFINITY, 100, INFINITY, NAN};
    tf_kernel->exp(7, y, special);
    assert_true(y[0] == 1 && y[1] == 1 && y[2] == 0 && y[3] == 0 && isinf(y[4]) && isinf(y[5]) &&
                isnan(y[6]));
}

static void exp_is_within_an_ulp(void **state)
{
    (void)state;
    each_kernel(check_exp);
}

/* What gelu and its slope at x[0..N) are off by, at worst, added to worst[2]: the value in ulps as
 * long as the tail is a normal number; the slope, which has a zero near -0.75, against the size of
 * its terms. */
static void gelu_errors(const float *x, double worst[2])
{
    float y[N], s[N], slope[N], one[N];
    for (int i = 0; i < N; i++)
        one[i] = 1;
    tf_kernel->gelu(N, y, x, 1);
    tf_kernel->gelu_back(N, s, slope, x, 1, one);
    assert_memory_equal(s, y, sizeof s);
    for (int i = 0; i < N; i++) {
        const double z = x[i], truth = gelu_slope(z);
        const double density = fabs(z) * exp(-0.5 * z * z) / sqrt(2 * M_PI);
        if (fabs(gelu(z)) > 1.6e-37)
            worst[0] = fmax(worst[0], ulps(y[i], gelu(z)));
        if (density > 1.6e-37)
            worst[1] = fmax(worst[1], fabs(slope[i] - truth) / fmax(density, fabs(truth)) * 0x1p24);
    }
}

static void check_gelu(void)
{
    float x[N], y[N], slope[N];
    double worst[2] = {0, 0};
    for (int at = -15; at < 15; at++) {
        for (int i = 0; i < N; i++)
            x[i] = (float)at + (float)i / N;
        gelu_errors(x, worst);
    }
    for (int exponent = -30; exponent < 1; exponent++) { /* small ones, of both signs */
        for (int i = 0; i < N; i++)
            x[i] = ldexpf(i % 2 ? 1 + (float)i / N : -1 - (float)i / N, exponent);
        gelu_errors(x, worst);
    }
    if (!(worst[0] < 4 && worst[1] < 7))
        fail_msg("gelu off by %g ulp, its slope by %g", worst[0], worst[1]);
    const float special[] = {0, -0.0f, -30, 30, -INFINITY, INFINITY, NAN};
    const float one[] = {1, 1, 1, 1, 1, 1, 1};
    tf_kernel->gelu_back(7, y, slope, special, 1, one);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0 && y[3] == 30);
    assert_true(y[4] == 0 && y[5] == INFINITY && isnan(y[6]));
    assert_true(slope[0] == 0.5f && slope[1] == 0.5f && slope[2] == 0 && slope[3] == 1);
    assert_true(slope[4] == 0 && slope[5] == 1 && isnan(slope[6]));
}

static void gelu_and_its_slope(void **state)
{
    (void)state;
    each_kernel(check_gelu);
}

/* Sixteen partial sums in a fixed tree. */
static float lane_sum(size_t n, const float *x, const float *y)
{
    float lane[16] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % 16] = y ? fmaf(x[i], y[i], lane[i % 16]) : lane[i % 16] + x[i];
    for (size_t half = 8; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static void check_sums(void)
{
    float x[N], y[N], e[N], z[N];
    for (int i = 0; i < N; i++) {
        x[i] = noise((uint64_t)i);
        y[i] = noise((uint64_t)i + N);
    }
    for (size_t n = 1; n < 200; n++) {
        assert_true(tf_kernel->sum(n, x) == lane_sum(n, x, NULL));
        assert_true(tf_kernel->dot(n, x, y) == lane_sum(n, x, y));
        float max = x[0];
        for (size_t i = 0; i < n; i++)
            max = fmaxf(max, x[i]);
        assert_true(tf_kernel->max(n, x) == max);
        const float sum = tf_kernel->exp_sum(n, e, x, max, 0.5f);
        for (size_t i = 0; i < n; i++)
            z[i] = (x[i] - max) * 0.5f;
        tf_kernel->exp(n, z, z);
        assert_memory_equal(e, z, n * sizeof *e);
        assert_true(sum == lane_sum(n, e, NULL));
    }
}

static void sums_have_one_order(void **state)
{
    (void)state;
    each_kernel(check_sums);
}

/* Appended zeros change no sum: what growth rests on. */
static void check_zeros(void)
{
    float x[N] = {0};
    for (int i = 0; i < 77; i++)
        x[i] = noise((uint64_t)i);
    for (size_t n = 78; n < 200; n++) {
        assert_true(tf_kernel->sum(n, x) == tf_kernel->sum(77, x));
        assert_true(tf_kernel->dot(n, x, x) == tf_kernel->dot(77, x, x));
    }
}

static void zeros_change_no_sum(void **state)
{
    (void)state;
    each_kernel(check_zeros);
}

/* Every kernel on every build, hashed: builds must agree to the bit, and nothing past the end may
 * be touched. */
static void everything(float out[12][N], size_t n)
{
    static const struct tf_adamw with = {0.7f, 1e-4f, 0.9f, 0.95f, 2e-3f, 1.3f, 1e-8f};
    for (int k = 0; k < 12; k++)
        for (int i = 0; i < N; i++)
            out[k][i] = 3 * noise((uint64_t)(k * N + i));
    for (int i = 0; i < N; i++)
        out[11][i] = fabsf(out[11][i]); /* a second moment */
    tf_kernel->exp(n, out[0], out[0]);
    tf_kernel->gelu(n, out[1], out[1], 0.9f);
    out[2][N - 1] = tf_kernel->gelu_back(n, out[2], out[3], out[3], 1.1f, out[4]);
    tf_kernel->blend(n, out[4], 0.3f, out[5], -0.2f);
    tf_kernel->affine(n, out[5], out[5], out[6], out[7]);
    tf_kernel->rotate(n / 2, out[6], out[7], out[8], -1);
    tf_kernel->normalise(n, out[7], out[7], 1e-5f, out[9] + N - 2);
    tf_kernel->normalise_back(n, out[8], out[9], out[10], out[9] + N - 2);
    tf_kernel->softmax_back(n, out[9], out[0], 0.1f, 0.25f);
    tf_kernel->multiply_add(n, out[4], out[5], out[6]);
    tf_kernel->adamw(n, out[9], out[8], out[10], out[11], &with);
    tf_kernel->add(n, out[7], out[8]);
    tf_kernel->scale(n, out[8], out[8], 0.7f);
}

static void builds_agree_to_the_bit(void **state)
{
    (void)state;
    static float want[12][N], got[12][N], fresh[12][N];
    const struct tf_kernels *list[8], *before = tf_kernel;
    const size_t count = tf_kernel_list(list, 8);
    for (size_t n = 2; n < 150; n += n < 70 ? 1 : 13) {
        tf_kernel = list[0];
        everything(want, n);
        everything(fresh, 2);
        for (size_t i = 0; i < count; i++) {
            tf_kernel = list[i];
            everything(got, n);
            assert_memory_equal(got, want, sizeof got);
        }
        for (int k = 0; k < 12; k++)
            assert_memory_equal(want[k] + n, fresh[k] + n, (N - 2 - n) * sizeof(float));
    }
    tf_kernel = before;
}

static void selection_by_name(void **state)
{
    (void)state;
    struct tf_err err = {0};
    const struct tf_kernels *list[8], *before = tf_kernel;
    const size_t count = tf_kernel_list(list, 8);
    for (size_t i = 0; i < count; i++) {
        assert_ok(tf_kernel_select(list[i]->name, &err), &err);
        assert_ptr_equal(tf_kernel, list[i]);
    }
    assert_ok(tf_kernel_select(NULL, &err), &err);
    assert_ptr_equal(tf_kernel, list[count - 1]);
    assert_int_equal(tf_kernel_select("z80", &err), TF_USAGE);
    assert_non_null(strstr(err.text, "\"z80\""));
    assert_non_null(strstr(err.text, list[0]->name));
    tf_kernel = before;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_an_ulp),    cmocka_unit_test(gelu_and_its_slope),
        cmocka_unit_test(sums_have_one_order),     cmocka_unit_test(zeros_change_no_sum),
        cmocka_unit_test(builds_agree_to_the_bit), cmocka_unit_test(selection_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
