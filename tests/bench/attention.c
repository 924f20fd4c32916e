/* Token-token attention alone, of one layer, before a model grows and after: tokens leave its cost
 * as it was, width does not.
 *
 * usage: bench-attention [ROUNDS [SECONDS]]; TF_CPU chooses the build of kernels. */
#include "bench.h"

#include "base/mem.h"
#include "nn/attention.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The models of tests/study: ratios are to the first of each way of growing. */
static const struct width {
    const char *model;
    size_t heads, head_width, first; /* first: its place in this list */
} widths[] = {
    {"tokenformer", 4, 32, 0}, {"tokens x8", 4, 32, 0}, {"transformer", 2, 26, 2},
    {"width x2", 4, 26, 2},    {"width x4", 8, 26, 2},
};
enum { WIDTHS = sizeof widths / sizeof *widths };

static const size_t lengths[] = {256, 1024, 4096};

/* One sequence, its keys and values in the cache. */
struct attention {
    struct tf_heads heads;
    struct tf_matrix q, k, v, out;
    struct tf_kv kv;
    struct tf_scratch scratch;
};

static struct tf_matrix rows_of(size_t rows, size_t cols)
{
    const size_t stride = tf_table_stride(cols);
    return (struct tf_matrix){bench_numbers(rows * stride), stride};
}

static float *zeros(size_t count)
{
    float *numbers = bench_numbers(count);
    memset(numbers, 0, count * sizeof *numbers);
    return numbers;
}

static void begin(struct attention *a, const struct width *width, size_t length)
{
    const size_t H = width->heads, D = width->head_width;
    a->heads = (struct tf_heads){H, D, length};
    struct tf_matrix *const all[] = {&a->q, &a->k, &a->v, &a->out};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = rows_of(length, H * D);
    a->kv.keys = zeros(H * tf_kv_keys_size(&a->heads));
    a->kv.values = zeros(H * tf_kv_values_size(&a->heads));
    a->scratch.piece = tf_table_stride(tf_attention_scratch(&a->heads, false));
    a->scratch.all = zeros((size_t)omp_get_max_threads() * a->scratch.piece);
    tf_kv_append(&a->heads, &a->kv, 0, 0, length, a->k, a->v);
}

static void end(struct attention *a)
{
    float *const all[] = {a->q.at,    a->k.at,      a->v.at,       a->out.at,
                          a->kv.keys, a->kv.values, a->scratch.all};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void run(void *arg)
{
    const struct attention *a = arg;
#pragma omp parallel
    tf_attention_forward(&a->heads, &a->kv, 1, a->heads.capacity, 0, a->q, a->out, NULL,
                         &a->scratch);
}

/* Each number of a row for one head, in doubles; p: room for as many numbers as positions. */
static void naive_row(const struct attention *a, size_t row, size_t head, double *p, double *out)
{
    const size_t D = a->heads.D, column = head * D;
    const float *q = a->q.at + row * a->q.stride + column;
    double sum = 0;
    memset(out, 0, D * sizeof *out);
    for (size_t t = 0; t <= row; t++) {
        p[t] = 0;
        for (size_t d = 0; d < D; d++)
            p[t] += (double)q[d] * (double)a->k.at[t * a->k.stride + column + d];
        sum += p[t] = exp(p[t] / sqrt((double)D));
    }
    for (size_t t = 0; t <= row; t++)
        for (size_t d = 0; d < D; d++)
            out[d] += p[t] / sum * (double)a->v.at[t * a->v.stride + column + d];
}

/* Some rows of every head. */
static void check(struct attention *a)
{
    const size_t length = a->heads.capacity, D = a->heads.D;
    double *p = tf_new(length, sizeof *p, "benchmark", NULL), out[32];
    if (!p)
        bench_give_up("out of memory");
    run(a);
    for (size_t row = 0; row < length; row += length / 3)
        for (size_t h = 0; h < a->heads.H; h++) {
            naive_row(a, row, h, p, out);
            for (size_t d = 0; d < D; d++)
                if (!(fabs((double)a->out.at[row * a->out.stride + h * D + d] - out[d]) < 1e-5))
                    bench_give_up("attention is not what it should be");
        }
    tf_free(p);
}

/* Multiply-adds count two; a row sees itself and what is before it. */
static double work(const struct width *width, size_t length)
{
    return 2e-9 * (double)(width->heads * width->head_width) * (double)(length * (length + 1));
}

static void race(size_t length, size_t rounds, double seconds)
{
    static struct contender all[WIDTHS];
    struct attention attentions[WIDTHS];
    for (size_t i = 0; i < WIDTHS; i++) {
        begin(&attentions[i], &widths[i], length);
        check(&attentions[i]);
        all[i] = (struct contender){widths[i].model, run, &attentions[i], 1, 0, {0}};
    }
    bench_race(all, WIDTHS, rounds, seconds);
    for (size_t i = 0; i < WIDTHS; i++) {
        const struct spread rate = bench_spread(all[i].rate, rounds),
                            ratio = bench_ratio(&all[widths[i].first], &all[i], rounds);
        printf("%5zu %-12s %5zu %8.3f %7.3f %5.2f %9.2f %4.2f-%4.2f\n", length, all[i].name,
               widths[i].heads * widths[i].head_width, 1e3 / rate.median, work(&widths[i], length),
               work(&widths[i], length) / work(&widths[widths[i].first], length), ratio.median,
               ratio.least, ratio.most);
        end(&attentions[i]);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 11;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.05;
    if (rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr, "usage: bench-attention [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    printf("attention of one layer, %s, %d threads, medians of %zu rounds\n", tf_kernel->name,
           omp_get_max_threads(), rounds);
    printf("%5s %-12s %5s %8s %7s %5s %9s %9s\n", "T", "model", "width", "ms", "GFLOP", "work",
           "time", "spread");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        race(lengths[i], rounds, seconds);
    return 0;
}
