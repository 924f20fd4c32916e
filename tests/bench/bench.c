#include "bench.h"

#include "base/mem.h"
#include "kernel/dispatch.h"

#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
extern const struct limits limits_x86_64, limits_x86_64_v3, limits_x86_64_v4;
static const struct limits *const limits[] = {&limits_x86_64, &limits_x86_64_v3, &limits_x86_64_v4};
#elif defined(__aarch64__)
extern const struct limits limits_aarch64;
static const struct limits *const limits[] = {&limits_aarch64};
#else
extern const struct limits limits_portable;
static const struct limits *const limits[] = {&limits_portable};
#endif

double bench_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void bench_give_up(const char *why)
{
    fprintf(stderr, "bench: %s\n", why);
    exit(1);
}

static double time_runs(const struct contender *c, size_t repeats)
{
    const double start = bench_seconds();
    for (size_t i = 0; i < repeats; i++)
        c->run(c->arg);
    return bench_seconds() - start;
}

/* The second run tells how long one takes; the first warms up. */
static void calibrate(struct contender *c, double seconds)
{
    time_runs(c, 1);
    double once = time_runs(c, 1);
    if (once < seconds / 20)
        once = time_runs(c, 10) / 10;
    c->repeats = once < seconds ? (size_t)(seconds / once) : 1;
}

void bench_race(struct contender *all, size_t count, size_t rounds, double seconds)
{
    for (size_t i = 0; i < count; i++)
        if (all[i].work > 0)
            calibrate(&all[i], seconds);
    for (size_t r = 0; r < rounds; r++)
        for (size_t i = 0; i < count; i++)
            if (all[i].work > 0)
                all[i].rate[r] =
                    all[i].work * (double)all[i].repeats / time_runs(&all[i], all[i].repeats);
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread bench_spread(const double *numbers, size_t n)
{
    double sorted[BENCH_ROUNDS];
    memcpy(sorted, numbers, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, by_size);
    return (struct spread){(sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[0], sorted[n - 1]};
}

struct spread bench_ratio(const struct contender *a, const struct contender *b, size_t rounds)
{
    double ratios[BENCH_ROUNDS];
    for (size_t r = 0; r < rounds; r++)
        ratios[r] = a->rate[r] / b->rate[r];
    return bench_spread(ratios, rounds);
}

float *bench_numbers(size_t count)
{
    float *numbers = tf_new(count, sizeof *numbers, "benchmark", NULL);
    if (!numbers)
        bench_give_up("out of memory");
    uint64_t state = count;
    for (size_t i = 0; i < count; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        numbers[i] = (float)((double)(state >> 11) * 0x1p-52 - 1);
    }
    return numbers;
}

const struct limits *bench_limits(void)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (!strcmp(limits[i]->name, tf_kernel->name))
            return limits[i];
    return limits[0];
}

static void peak(void *limit)
{
    const struct limits *of = limit;
#pragma omp parallel
    of->multiply_adds();
}

int bench_more_threads(int threads, int most)
{
    return threads < most && most < 2 * threads ? most : 2 * threads;
}

struct contender bench_peak(void)
{
    const struct limits *of = bench_limits();
    return (struct contender){
        .name = "FMA peak",
        .run = peak,
        .arg = (void *)of,
        .work = 2e-9 * of->multiply_adds() * omp_get_max_threads(),
    };
}
