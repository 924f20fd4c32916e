/* One Pattention as the passes run it, a block of rows at a time, beside its steps one after
 * another, each over all rows and through memory.
 *
 * usage: bench-pattention [ROUNDS [SECONDS]]; TF_CPU chooses the build of kernels. */
#include "bench.h"
#include "models.h"

#include "base/mem.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FUSED, STEPS, PEAK, CONTENDERS };

enum pass { INFERENCE, FORWARD, BACKWARD, PASSES };

/* A Pattention, and what its passes read and write. */
struct subject {
    enum pass pass;
    size_t rows, N, C;
    struct tf_table keys, values;
    struct tf_projection layer;
    struct tf_projection_pack pack;
    struct tf_matrix x, g, y, dx; /* (rows,C) */
    struct tf_scores kept;        /* of the forward pass, for the backward one */
    struct tf_matrix s, d;        /* (rows,N), where each step is done for all rows */
    struct tf_projection_back back;
    float *packed_x, *packed_g; /* for the gradients */
    float *scratch;             /* of each thread: TF_BLOCK_ROWS + 1 rows of stride(N) */
};

static struct tf_matrix rows_of(size_t rows, size_t cols)
{
    const size_t stride = tf_table_stride(cols);
    return (struct tf_matrix){bench_numbers(rows * stride), stride};
}

static struct tf_table table_of(size_t rows, size_t cols)
{
    const struct tf_matrix value = rows_of(rows, cols);
    return (struct tf_table){.rows = rows,
                             .cols = cols,
                             .stride = value.stride,
                             .value = value.at,
                             .grad = rows_of(rows, cols).at,
                             .scale = (double)rows};
}

static size_t scratch_size(const struct subject *p)
{
    return (TF_BLOCK_ROWS + 1) * tf_table_stride(p->N);
}

static void begin(struct subject *p, size_t rows, size_t N, size_t C)
{
    *p = (struct subject){.rows = rows, .N = N, .C = C};
    p->keys = table_of(N, C);
    p->values = table_of(N, C);
    p->layer = (struct tf_projection){&p->keys, &p->values};
    p->pack.keys = bench_numbers(tf_projection_pack_size(N, C));
    p->pack.values = bench_numbers(tf_projection_pack_size(N, C));
    struct tf_matrix *const wide[] = {&p->x, &p->g, &p->y, &p->dx};
    struct tf_matrix *const scores[] = {&p->kept.a, &p->s, &p->d};
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
        *wide[i] = rows_of(rows, C);
    for (size_t i = 0; i < sizeof scores / sizeof *scores; i++)
        *scores[i] = rows_of(rows, N);
    p->kept.stats = bench_numbers(2 * rows);
    p->packed_x = bench_numbers(tf_packed_size(rows, C));
    p->packed_g = bench_numbers(tf_packed_size(rows, C));
    p->back = (struct tf_projection_back){bench_numbers(tf_left_size(rows, N)),
                                          bench_numbers(tf_left_size(rows, N)), rows};
    p->scratch = bench_numbers((size_t)omp_get_max_threads() * scratch_size(p));
}

static void end(struct subject *p)
{
    float *const all[] = {p->keys.value, p->keys.grad,   p->values.value, p->values.grad,
                          p->pack.keys,  p->pack.values, p->x.at,         p->g.at,
                          p->y.at,       p->dx.at,       p->kept.a.at,    p->kept.stats,
                          p->s.at,       p->d.at,        p->back.s,       p->back.da,
                          p->packed_x,   p->packed_g,    p->scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

/* ---- in one piece; all that follows is a team's ---- */

static void forward_blocks(const struct subject *p, const struct tf_blocks *blocks, float *scratch)
{
    const struct tf_scores kept =
        p->pass == INFERENCE ? (struct tf_scores){{NULL, 0}, NULL} : p->kept;
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < blocks->count; i++) {
        const size_t first = tf_block_start(blocks, i);
        tf_projection_forward(&p->layer, TF_L2_NORM_GELU, &p->pack,
                              tf_block_start(blocks, i + 1) - first, tf_rows_from(p->x, first),
                              tf_rows_from(p->y, first), (struct tf_matrix){NULL, 0},
                              tf_scores_from(kept, first), scratch);
    }
}

static void backward_blocks(const struct subject *p, const struct tf_blocks *blocks, float *scratch)
{
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < blocks->count; i++) {
        const size_t first = tf_block_start(blocks, i), last = tf_block_start(blocks, i + 1);
        const struct tf_matrix g = tf_rows_from(p->g, first), x = tf_rows_from(p->x, first);
        tf_pack_part(p->packed_x, p->rows, p->C, tf_view(x.at, x.stride), first, last, 0, p->C);
        tf_pack_part(p->packed_g, p->rows, p->C, tf_view(g.at, g.stride), first, last, 0, p->C);
        tf_projection_backward(&p->layer, TF_L2_NORM_GELU, &p->pack, first, last - first, g,
                               tf_rows_from(p->dx, first), false, tf_scores_from(p->kept, first),
                               &p->back, scratch);
    }
    tf_projection_gradients(&p->layer, &p->back, p->packed_g, p->packed_x, false);
}

/* What a step of training packs; in inference the tables stay packed. */
static void pack_tables(const struct subject *p)
{
    if (p->pass == FORWARD)
        tf_projection_pack(&p->pack, &p->layer);
    else if (p->pass == BACKWARD)
        tf_projection_pack_back(&p->pack, &p->layer);
}

static void run_blocks(void *arg)
{
    const struct subject *p = arg;
#pragma omp parallel
    {
        const struct tf_blocks blocks = tf_row_blocks(p->rows);
        float *scratch = p->scratch + (size_t)omp_get_thread_num() * scratch_size(p);
        pack_tables(p);
#pragma omp barrier
        if (p->pass == BACKWARD)
            backward_blocks(p, &blocks, scratch);
        else
            forward_blocks(p, &blocks, scratch);
    }
}

/* ---- step by step ---- */

static void product(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
                    size_t ldc)
{
    tf_gemm(m, n, k, a, packed, c, ldc, false);
#pragma omp barrier
}

static void forward_steps(const struct subject *p)
{
    const struct tf_matrix x = p->x, a = p->kept.a, s = p->s, y = p->y;
    product(p->rows, p->N, p->C, tf_view(x.at, x.stride), p->pack.keys, a.at, a.stride);
#pragma omp for schedule(static)
    for (size_t r = 0; r < p->rows; r++) {
        const float *row = a.at + r * a.stride;
        const float rate = (float)sqrt(p->keys.scale) / sqrtf(tf_kernel->dot(p->N, row, row));
        tf_kernel->gelu(p->N, s.at + r * s.stride, row, rate);
        p->kept.stats[2 * r] = rate;
    }
    product(p->rows, p->C, p->N, tf_view(s.at, s.stride), p->pack.values, y.at, y.stride);
}

static void backward_steps(const struct subject *p)
{
    const struct tf_matrix x = p->x, g = p->g, s = p->s, d = p->d, dx = p->dx;
    tf_pack(p->packed_x, tf_view(x.at, x.stride), p->rows, p->C);
    tf_pack(p->packed_g, tf_view(g.at, g.stride), p->rows, p->C);
    product(p->rows, p->N, p->C, tf_view(g.at, g.stride), p->pack.values, d.at, d.stride);
#pragma omp for schedule(static)
    for (size_t i = 0; i < p->rows; i++) {
        const float *a = p->kept.a.at + i * p->kept.a.stride, r = p->kept.stats[2 * i];
        float *di = d.at + i * d.stride;
        const float c = tf_kernel->gelu_back(p->N, s.at + i * s.stride, di, a, r, di);
        tf_kernel->blend(p->N, di, r, a, -(r * r * (c / (float)p->keys.scale)));
    }
    product(p->rows, p->C, p->N, tf_view(d.at, d.stride), p->pack.keys, dx.at, dx.stride);
    product(p->N, p->C, p->rows, tf_view_transposed(s.at, s.stride), p->packed_g, p->values.grad,
            p->values.stride);
    product(p->N, p->C, p->rows, tf_view_transposed(d.at, d.stride), p->packed_x, p->keys.grad,
            p->keys.stride);
}

static void run_steps(void *arg)
{
    const struct subject *p = arg;
#pragma omp parallel
    {
        pack_tables(p);
#pragma omp barrier
        if (p->pass == BACKWARD)
            backward_steps(p);
        else
            forward_steps(p);
    }
}

/* ---- the table ---- */

/* Stands for all bits of what a pass leaves. Clears it. */
static uint64_t take_digest(struct subject *p)
{
    const struct {
        float *at;
        size_t count;
    } all[] = {{p->y.at, p->rows * p->y.stride},
               {p->dx.at, p->rows * p->dx.stride},
               {p->keys.grad, p->N * p->keys.stride},
               {p->values.grad, p->N * p->values.stride}};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        for (size_t j = 0; j < all[i].count; j++) {
            uint32_t bits;
            memcpy(&bits, all[i].at + j, sizeof bits);
            sum = (sum ^ bits) * 0x9e3779b97f4a7c15u;
            sum ^= sum >> 32;
            all[i].at[j] = 0;
        }
    return sum;
}

static void check(struct subject *p)
{
    take_digest(p);
    run_blocks(p);
    const uint64_t want = take_digest(p);
    run_steps(p);
    if (take_digest(p) != want)
        bench_give_up("a Pattention in one piece and step by step: not the same bits");
}

static void race(struct subject *p, const char *name, size_t rounds, double seconds)
{
    static const char *const passes[PASSES] = {"inference", "forward", "backward"};
    static struct contender all[CONTENDERS];
    const double pairs = 1e-9 * (double)p->rows * (double)p->N * (double)p->C;
    const double work = (p->pass == BACKWARD ? 8 : 4) * pairs;
    tf_projection_pack(&p->pack, &p->layer);
    check(p);
    all[FUSED] = (struct contender){"in one piece", run_blocks, p, work, 0, {0}};
    all[STEPS] = (struct contender){"step by step", run_steps, p, work, 0, {0}};
    all[PEAK] = bench_peak();
    bench_race(all, CONTENDERS, rounds, seconds);
    const struct spread share = bench_ratio(&all[FUSED], &all[PEAK], rounds),
                        gain = bench_ratio(&all[FUSED], &all[STEPS], rounds);
    printf("%-5s %4zu %4zu %4zu  %-9s %7.1f %7.1f %5.2f %4.2f-%4.2f %7.1f %5.2f %4.2f-%4.2f\n",
           name, p->rows, p->N, p->C, passes[p->pass], bench_spread(all[PEAK].rate, rounds).median,
           bench_spread(all[FUSED].rate, rounds).median, share.median, share.least, share.most,
           bench_spread(all[STEPS].rate, rounds).median, gain.median, gain.least, gain.most);
    fflush(stdout);
}

static void race_passes(const struct size *size, bool ffn, size_t rounds, double seconds)
{
    struct subject p;
    char name[16];
    snprintf(name, sizeof name, "%s %s", size->name, ffn ? "ffn" : "q");
    begin(&p, size->batch * size->length, ffn ? size->ffn : size->tokens, size->width);
    for (p.pass = INFERENCE; p.pass < PASSES; p.pass++)
        race(&p, name, rounds, seconds);
    end(&p);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 15;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.05;
    if (rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr, "usage: bench-pattention [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    printf("a Pattention in one piece, and step by step: GFLOP/s, %s, %d threads\n",
           tf_kernel->name, omp_get_max_threads());
    printf("%-5s %4s %4s %4s  %-9s %7s %7s %5s %9s %7s %5s %9s\n", "", "rows", "N", "C", "pass",
           "peak", "piece", "share", "spread", "steps", "gain", "spread");
    for (size_t s = 0; s < TOKENFORMERS; s++)
        for (int ffn = 1; ffn >= 0; ffn--)
            race_passes(&sizes[s], ffn, rounds, seconds);
    return 0;
}
