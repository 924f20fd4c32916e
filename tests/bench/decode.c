/* Products of few rows with tables too large for any cache, as decoding has them: how much of what
 * memory delivers they take, for each precision of weights.
 *
 * usage: bench-decode [ROUNDS [SECONDS]]; TF_CPU chooses the build of kernels. */
#include "bench.h"

#include "base/mem.h"
#include "kernel/narrow.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One table of the 124M-parameter model's feed-forward part, as keys lie. */
enum { K = 768, N = 3072, MOST_ROWS = 8, PRECISIONS = 3, READ = PRECISIONS, CONTENDERS };
/* Bytes read before the first come again: more than the caches of the largest processors hold. */
#define BYTES ((size_t)512 << 20)

static const char *const names[CONTENDERS] = {"f32", "bf16", "int8", "read"};

struct product {
    enum tf_precision type;
    size_t rows, tables; /* rows of A; copies of B, one after the other */
    const float *a;
    uint8_t *packed;
    float *c;
};

static size_t table_bytes(enum tf_precision type)
{
    return tf_packed_size(K, N) * tf_precision_size(type);
}

/* This thread's columns of a product with one table, a whole number of panels. */
static void share(const struct product *p, const uint8_t *packed)
{
    const size_t nr = tf_kernel->nr, panels = (N + nr - 1) / nr, size = tf_precision_size(p->type);
    const size_t thread = (size_t)omp_get_thread_num(), threads = (size_t)omp_get_num_threads();
    const size_t first = thread * panels / threads * nr, end = (thread + 1) * panels / threads * nr;
    const size_t n = (end < N ? end : N) - first;
    for (size_t k = 0; k < K; k += tf_kernel->kc) {
        const size_t depth = K - k < tf_kernel->kc ? K - k : tf_kernel->kc;
        tf_kernel->gemm_narrow(p->rows, n, depth, p->a + k, K, 1,
                               packed + (k * panels * nr + first * depth) * size, p->type, depth, n,
                               p->c + first, N, k > 0);
    }
}

static void run(void *arg)
{
    const struct product *p = arg;
#pragma omp parallel
    for (size_t i = 0; i < p->tables; i++)
        share(p, p->packed + i * table_bytes(p->type));
}

static void run_read(void *arg)
{
    const struct product *p = arg;
    const struct limits *limit = bench_limits();
#pragma omp parallel
    {
        const size_t piece = BYTES / 256 / (size_t)omp_get_num_threads() * 64;
        const float *from = (const float *)(const void *)p->packed;
        limit->read(from + (size_t)omp_get_thread_num() * piece, piece);
    }
}

/* Some elements of C against the naive chain over what B's numbers became, scales left out. */
static void check(const struct product *p, const float *b, const float *scales)
{
    run((void *)p);
    for (size_t at = 0; at < p->rows * N; at += 101) {
        const size_t i = at / N, j = at % N;
        float sum = 0;
        for (size_t k = 0; k < K; k++) {
            const float x = b[j * K + k];
            const float y = p->type == TF_PRECISION_F32    ? x
                            : p->type == TF_PRECISION_BF16 ? tf_bf16_float(tf_bf16(x))
                                                           : (float)tf_int8(x, 1 / scales[j]);
            sum = __builtin_fmaf(p->a[i * K + k], y, sum);
        }
        if (p->c[i * N + j] != sum) {
            fprintf(stderr, "bench: %s: C(%zu,%zu) is %g, not %g\n", names[p->type], i, j,
                    (double)p->c[i * N + j], (double)sum);
            exit(1);
        }
    }
}

static void fill(struct product *p, const float *b, const float *scales)
{
    p->tables = BYTES / table_bytes(p->type);
#pragma omp parallel
    for (size_t i = 0; i < p->tables; i++)
        tf_pack_narrow(p->packed + i * table_bytes(p->type), p->type, tf_view_transposed(b, K),
                       (struct tf_view){scales, 0, 1}, K, N);
}

static void race(struct product products[PRECISIONS], size_t rows, int threads, size_t rounds,
                 double seconds)
{
    static struct contender all[CONTENDERS];
    omp_set_num_threads(threads);
    for (int i = 0; i < PRECISIONS; i++) {
        products[i].rows = rows;
        all[i] = (struct contender){names[i], run, &products[i], 0, 0, {0}};
        all[i].work = 1e-9 * (double)(products[i].tables * table_bytes(products[i].type));
    }
    all[READ] = (struct contender){names[READ], run_read, &products[0], 1e-9 * BYTES, 0, {0}};
    bench_race(all, CONTENDERS, rounds, seconds);
    printf("%4zu %7d %7.1f", rows, threads, bench_spread(all[READ].rate, rounds).median);
    for (int i = 0; i < PRECISIONS; i++) {
        const struct spread share_read = bench_ratio(&all[i], &all[READ], rounds);
        printf(" %7.1f %5.2f %4.2f-%4.2f", bench_spread(all[i].rate, rounds).median,
               share_read.median, share_read.least, share_read.most);
    }
    putchar('\n');
    fflush(stdout);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 15;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.02;
    const int most = omp_get_max_threads();
    static const size_t rows[] = {1, 2, 3, 4, MOST_ROWS};
    struct product products[PRECISIONS];
    if (rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr, "usage: bench-decode [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    float *b = bench_numbers((size_t)N * K), *a = bench_numbers(MOST_ROWS * K);
    float *scales = bench_numbers(N), *c = bench_numbers(MOST_ROWS * N);
    tf_int8_scales(scales, b, K, N, K);
    for (int i = 0; i < PRECISIONS; i++) {
        products[i] = (struct product){.type = (enum tf_precision)i, .rows = 3, .a = a, .c = c};
        products[i].packed = (uint8_t *)bench_numbers(BYTES / sizeof(float));
        fill(&products[i], b, scales);
        check(&products[i], b, scales);
    }
    printf("%s: GB/s of products of so many rows, and their share of reading alone\n",
           tf_kernel->name);
    printf("%4s %s %7s %7s %5s %9s %7s %5s %9s %7s %5s %9s\n", "rows", "threads", "read", "f32",
           "share", "spread", "bf16", "share", "spread", "int8", "share", "spread");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int threads = 1; threads <= most; threads = bench_more_threads(threads, most))
            race(products, rows[i], threads, rounds, seconds);
    for (int i = 0; i < PRECISIONS; i++)
        tf_free(products[i].packed);
    tf_free(a);
    tf_free(b);
    tf_free(c);
    tf_free(scales);
    return 0;
}
