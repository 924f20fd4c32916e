/* The kernels that work on rows: each build of each against a naive twin, then its time.
 *
 * usage: bench-rows [ROUNDS [SECONDS]] */
#include "bench.h"

#include "base/mem.h"
#include "kernel/dispatch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The longest row, and how far apart a row's buffers lie: no multiple of a page, which would make
 * loads wait for stores. */
#define MOST 3072
#define APART (MOST + 208)
enum { BUILDS = 8 };

static const size_t lengths[] = {128, 512, MOST};

/* A kernel at work on n numbers of its buffers; sum is what it returns. */
struct row {
    const struct tf_kernels *with;
    size_t n;
    float *x, *y, *z, *w; /* w = sqrt(1 - x^2) at first: cosines and sines, second moments */
    double sum;
};

static const struct tf_adamw adamw = {0.7f, 1e-4f, 0.9f, 0.95f, 2e-3f, 1.3f, 1e-8f};

static double gelu(double z)
{
    return 0.5 * z * erfc(-z / sqrt(2));
}

static double gelu_slope(double z)
{
    return 0.5 * erfc(-z / sqrt(2)) + z * exp(-0.5 * z * z) / sqrt(2 * M_PI);
}

/* Each kernel's run and, after it, what it must have done: the same row, by libm in double. */
#define RUN(kernel, ...)                \
    static void run_##kernel(void *arg) \
    {                                   \
        struct row *r = arg;            \
        __VA_ARGS__;                    \
    }
#define TWIN(kernel, ...)                     \
    static void twin_##kernel(struct row *r)  \
    {                                         \
        for (size_t i = 0; i < r->n; i++) {   \
            const double x = (double)r->x[i]; \
            __VA_ARGS__;                      \
        }                                     \
    }

RUN(exp, r->with->exp(r->n, r->y, r->x))
TWIN(exp, r->y[i] = (float)exp(x))
RUN(gelu, r->with->gelu(r->n, r->y, r->x, 2))
TWIN(gelu, r->y[i] = (float)gelu(2 * x))
RUN(scale, r->with->scale(r->n, r->y, r->x, 3))
TWIN(scale, r->y[i] = (float)(3 * x))
RUN(add, r->with->add(r->n, r->y, r->x))
TWIN(add, r->y[i] = (float)((double)r->y[i] + x))
RUN(multiply_add, r->with->multiply_add(r->n, r->y, r->x, r->w))
TWIN(multiply_add, r->y[i] = (float)((double)r->y[i] + x * (double)r->w[i]))
RUN(blend, r->with->blend(r->n, r->y, 0.5f, r->x, 3))
TWIN(blend, r->y[i] = (float)(0.5 * (double)r->y[i] + 3 * x))
RUN(softmax_back, r->with->softmax_back(r->n, r->y, r->x, 0.25f, 0.5f))
TWIN(softmax_back, r->y[i] = (float)(x * ((double)r->y[i] - 0.25) * 0.5))
RUN(affine, r->with->affine(r->n, r->y, r->x, r->w, r->z))
TWIN(affine, r->y[i] = (float)(x * (double)r->w[i] + (double)r->z[i]))
RUN(sum, r->sum = (double)r->with->sum(r->n, r->x))
TWIN(sum, r->sum += x)
RUN(dot, r->sum = (double)r->with->dot(r->n, r->x, r->w))
TWIN(dot, r->sum += x * (double)r->w[i])
RUN(max, r->sum = (double)r->with->max(r->n, r->x))
TWIN(max, r->sum = i && r->sum > x ? r->sum : x)
RUN(exp_sum, r->sum = (double)r->with->exp_sum(r->n, r->y, r->x, 0.5f, 2))
TWIN(exp_sum, r->sum += exp((x - 0.5) * 2); r->y[i] = (float)exp((x - 0.5) * 2))
RUN(gelu_back, r->sum = (double)r->with->gelu_back(r->n, r->y, r->z, r->x, 2, r->w))

static void twin_gelu_back(struct row *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const double z = 2 * (double)r->x[i], d = (double)r->w[i] * gelu_slope(z);
        r->y[i] = (float)gelu(z);
        r->z[i] = (float)d;
        r->sum += z * d;
    }
}

RUN(rotate, r->with->rotate(r->n / 2, r->y, r->x, r->w, -1))

static void twin_rotate(struct row *r)
{
    float *low = r->y, *high = r->y + r->n / 2;
    for (size_t i = 0; i < r->n / 2; i++) {
        const double a = (double)low[i], b = (double)high[i];
        low[i] = (float)(a * (double)r->x[i] + b * (double)r->w[i]);
        high[i] = (float)(b * (double)r->x[i] - a * (double)r->w[i]);
    }
}

RUN(adamw, r->with->adamw(r->n, r->y, r->x, r->z, r->w, &adamw))

static void twin_adamw(struct row *r)
{
    for (size_t i = 0; i < r->n; i++) {
        const double g = (double)r->x[i] * (double)adamw.clip, p = (double)r->y[i];
        const double m = (double)adamw.beta1 * ((double)r->z[i] - g) + g,
                     v = (double)adamw.beta2 * ((double)r->w[i] - g * g) + g * g;
        const double root = sqrt(v * (double)adamw.correct2) + (double)adamw.eps;
        r->y[i] = (float)(p - (double)adamw.decay * p - (double)adamw.rate * m / root);
        r->z[i] = (float)m;
        r->w[i] = (float)v;
    }
}

static void run_normalise(void *arg)
{
    struct row *r = arg;
    float stats[2];
    r->with->normalise(r->n, r->y, r->x, 1e-5f, stats);
    r->sum = (double)stats[0] + (double)stats[1];
}

/* Mean and 1 / deviation of x. */
static void moments(const struct row *r, double *mean, double *rstd)
{
    double sum = 0, squares = 0;
    for (size_t i = 0; i < r->n; i++) {
        sum += (double)r->x[i];
        squares += (double)r->x[i] * (double)r->x[i];
    }
    *mean = sum / (double)r->n;
    *rstd = 1 / sqrt(squares / (double)r->n - *mean * *mean + 1e-5);
}

static void twin_normalise(struct row *r)
{
    double mean, rstd;
    moments(r, &mean, &rstd);
    for (size_t i = 0; i < r->n; i++)
        r->y[i] = (float)(((double)r->x[i] - mean) * rstd);
    r->sum = mean + rstd;
}

static const float stats[2] = {0.01f, 1.7f};

RUN(normalise_back, r->with->normalise_back(r->n, r->y, r->x, r->w, stats))

static void twin_normalise_back(struct row *r)
{
    const double mean = (double)stats[0], rstd = (double)stats[1];
    double mean_dy = 0, mean_dyh = 0;
    for (size_t i = 0; i < r->n; i++) {
        mean_dy += (double)r->w[i] / (double)r->n;
        mean_dyh += (double)r->w[i] * ((double)r->x[i] - mean) * rstd / (double)r->n;
    }
    for (size_t i = 0; i < r->n; i++) {
        const double h = ((double)r->x[i] - mean) * rstd;
        const double d = (double)r->w[i] - mean_dy - h * mean_dyh;
        r->y[i] = (float)((double)r->y[i] + d * rstd);
    }
}

/* clang-format off */
static const struct subject {
    const char *name;
    void (*run)(void *row);
    void (*twin)(struct row *row);
} subjects[] = {
#define SUBJECT(kernel) {#kernel, run_##kernel, twin_##kernel}
    SUBJECT(exp), SUBJECT(gelu), SUBJECT(scale), SUBJECT(add), SUBJECT(multiply_add),
    SUBJECT(blend), SUBJECT(softmax_back), SUBJECT(affine), SUBJECT(rotate), SUBJECT(adamw),
    SUBJECT(sum), SUBJECT(dot), SUBJECT(max), SUBJECT(exp_sum), SUBJECT(gelu_back),
    SUBJECT(normalise), SUBJECT(normalise_back),
};
/* clang-format on */

static void fill(struct row *r, const float *numbers)
{
    r->sum = 0;
    memcpy(r->x, numbers, MOST * sizeof *numbers);
    memcpy(r->y, numbers + MOST, MOST * sizeof *numbers);
    memcpy(r->z, numbers + 2 * MOST, MOST * sizeof *numbers);
    for (size_t i = 0; i < MOST; i++)
        r->w[i] = sqrtf(1 - r->x[i] * r->x[i]);
}

/* Whether all that the kernel left behind is what its twin left. */
static bool same(const struct row *got, const struct row *want)
{
    if (fabs(got->sum - want->sum) > 1e-5 * (double)got->n)
        return false;
    for (size_t i = 0; i < 4 * APART; i++)
        if (!(fabsf(got->x[i] - want->x[i]) <= 2e-5f * (1 + fabsf(want->x[i]))))
            return false;
    return true;
}

static void check(const struct subject *s, struct row *r, struct row *twin, const float *numbers)
{
    twin->n = r->n;
    fill(twin, numbers);
    s->twin(twin);
    fill(r, numbers);
    s->run(r);
    if (!same(r, twin)) {
        fprintf(stderr, "bench: %s of %zu, %s: not what its twin gives\n", s->name, r->n,
                r->with->name);
        exit(1);
    }
    fill(r, numbers);
}

/* A row whose buffers are one piece, owned by x. */
static struct row new_row(const struct tf_kernels *with)
{
    float *all = bench_numbers(4 * APART);
    memset(all, 0, 4 * APART * sizeof *all);
    return (struct row){with, 0, all, all + APART, all + 2 * APART, all + 3 * APART, 0};
}

/* A line for each build; rates are in numbers a nanosecond. */
static void print(const struct row *r, const struct contender *c, size_t rounds)
{
    const struct spread rate = bench_spread(c->rate, rounds);
    printf("%-14s %5zu  %-10s %7.3f  %6.3f-%.3f\n", c->name, r->n, r->with->name, 1 / rate.median,
           1 / rate.most, 1 / rate.least);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 15;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.001;
    if (rounds < 1 || rounds > BENCH_ROUNDS) {
        fprintf(stderr, "usage: bench-rows [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    static struct contender all[BUILDS];
    const struct tf_kernels *builds[BUILDS];
    const size_t count = tf_kernel_list(builds, BUILDS);
    float *numbers = bench_numbers(3 * MOST);
    struct row rows[BUILDS], twin = new_row(NULL);
    for (size_t b = 0; b < count; b++)
        rows[b] = new_row(builds[b]);
    printf("%-14s %5s  %-10s %7s  %s\n", "kernel", "n", "build", "ns each", "spread");
    for (size_t k = 0; k < sizeof subjects / sizeof *subjects; k++)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            for (size_t b = 0; b < count; b++) {
                rows[b].n = lengths[l];
                check(&subjects[k], &rows[b], &twin, numbers);
                all[b] = (struct contender){
                    subjects[k].name, subjects[k].run, &rows[b], 1e-9 * (double)lengths[l], 0, {0}};
            }
            bench_race(all, count, rounds, seconds);
            for (size_t b = 0; b < count; b++)
                print(&rows[b], &all[b], rounds);
        }
    for (size_t b = 0; b < count; b++)
        tf_free(rows[b].x);
    tf_free(twin.x);
    tf_free(numbers);
    return 0;
}
