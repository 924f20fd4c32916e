/* Matrix products of the shapes that training has, beside OpenBLAS and BLIS and the machine's peak.
 *
 * usage: bench-products [ROUNDS [SECONDS]]; TF_CPU chooses the build of kernels. */
#include "bench.h"
#include "peers.h"

#include "base/mem.h"
#include "kernel/gemm.h"
#include "nn/table.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

enum { OURS, PACKED, PEAK, PEERS, CONTENDERS = PEERS + 2 };

struct shape {
    size_t m, n, k;
    const char form[3]; /* N or T: how A and B lie */
};

/* Of the two large model sizes, then of small ones, then ragged. */
static const struct shape shapes[] = {
    {4096, 1024, 256, "NT"}, {4096, 256, 1024, "NN"}, {1024, 256, 4096, "TN"},
    {2048, 1536, 384, "NT"}, {2048, 384, 1536, "NN"}, {1536, 384, 2048, "TN"},
    {1024, 3072, 768, "NT"}, {1024, 768, 3072, "NN"}, {3072, 768, 1024, "TN"},
    {1024, 512, 128, "NT"},  {512, 128, 1024, "TN"},  {768, 128, 128, "NT"},
    {768, 128, 512, "NN"},   {128, 128, 768, "TN"},   {1021, 1019, 251, "NT"},
    {1021, 379, 1021, "NN"}, {1019, 379, 1021, "TN"},
};

/* A product and its operands; C is `got`. */
struct product {
    struct shape shape;
    float *a, *b, *packed, *got;
    struct peer peer;
};

static struct tf_view left(const struct product *p)
{
    return p->shape.form[0] == 'T' ? tf_view_transposed(p->a, tf_table_stride(p->shape.m))
                                   : tf_view(p->a, tf_table_stride(p->shape.k));
}

static struct tf_view right(const struct product *p)
{
    return p->shape.form[1] == 'T' ? tf_view_transposed(p->b, tf_table_stride(p->shape.k))
                                   : tf_view(p->b, tf_table_stride(p->shape.n));
}

static void run_packed(void *arg)
{
    const struct product *p = arg;
#pragma omp parallel
    tf_gemm(p->shape.m, p->shape.n, p->shape.k, left(p), p->packed, p->got,
            tf_table_stride(p->shape.n), false);
}

static void run_ours(void *arg)
{
    const struct product *p = arg;
#pragma omp parallel
    {
        tf_pack(p->packed, right(p), p->shape.k, p->shape.n);
#pragma omp barrier
        tf_gemm(p->shape.m, p->shape.n, p->shape.k, left(p), p->packed, p->got,
                tf_table_stride(p->shape.n), false);
    }
}

static void run_peer(void *arg)
{
    const struct product *p = arg;
    const int m = (int)p->shape.m, n = (int)p->shape.n, k = (int)p->shape.k;
    const int lda = (int)tf_table_stride(p->shape.form[0] == 'T' ? p->shape.m : p->shape.k),
              ldb = (int)tf_table_stride(p->shape.form[1] == 'T' ? p->shape.k : p->shape.n);
    p->peer.sgemm(PEER_ROW_MAJOR, p->shape.form[0] == 'T' ? PEER_TRANSPOSED : PEER_PLAIN,
                  p->shape.form[1] == 'T' ? PEER_TRANSPOSED : PEER_PLAIN, m, n, k, 1, p->a, lda,
                  p->b, ldb, 0, p->got, (int)tf_table_stride(p->shape.n));
}

/* Some elements of C against the naive chain: every one of ours is that chain to the bit. */
static void check(const struct product *p, bool exact, const char *name)
{
    const struct tf_view a = left(p), b = right(p);
    const size_t stride = tf_table_stride(p->shape.n);
    for (size_t at = 0; at < p->shape.m * p->shape.n; at += 1009) {
        const size_t i = at / p->shape.n, j = at % p->shape.n;
        float sum = 0;
        for (size_t k = 0; k < p->shape.k; k++)
            sum = fmaf(a.data[i * a.rs + k * a.cs], b.data[k * b.rs + j * b.cs], sum);
        const float got = p->got[i * stride + j];
        if (exact ? got != sum : fabsf(got - sum) > 1e-3f * sqrtf((float)p->shape.k)) {
            fprintf(stderr, "bench: %s: C(%zu,%zu) is %g, not %g\n", name, i, j, (double)got,
                    (double)sum);
            exit(1);
        }
    }
}

/* The better of the peers in each round; not a number when there are none. */
static void best_peer(struct contender *best, const struct contender *all, size_t rounds)
{
    for (size_t r = 0; r < rounds; r++) {
        best->rate[r] = NAN;
        for (int i = PEERS; i < CONTENDERS; i++)
            if (all[i].work > 0)
                best->rate[r] = fmax(best->rate[r], all[i].rate[r]);
    }
}

static void print(const struct product *p, int threads, const struct contender *all, size_t rounds)
{
    static struct contender best;
    const struct spread ours = bench_spread(all[OURS].rate, rounds),
                        share = bench_ratio(&all[OURS], &all[PEAK], rounds),
                        packed = bench_ratio(&all[PACKED], &all[PEAK], rounds);
    printf("%4zu %4zu %4zu %s %7d %7.1f %7.1f %5.2f %4.2f-%4.2f %6.2f", p->shape.m, p->shape.n,
           p->shape.k, p->shape.form, threads, bench_spread(all[PEAK].rate, rounds).median,
           ours.median, share.median, share.least, share.most, packed.median);
    for (int i = PEERS; i < CONTENDERS; i++)
        printf(" %8.1f", all[i].work > 0 ? bench_spread(all[i].rate, rounds).median : NAN);
    best_peer(&best, all, rounds);
    const struct spread lead = bench_ratio(&all[OURS], &best, rounds);
    printf(" %5.2f %4.2f-%4.2f\n", lead.median, lead.least, lead.most);
    fflush(stdout);
}

static void race(struct product *p, int threads, const struct peer *peers, int peer_count,
                 size_t rounds, double seconds)
{
    static struct contender all[CONTENDERS];
    struct product with_peer[2] = {*p, *p};
    const double work = 2e-9 * (double)p->shape.m * (double)p->shape.n * (double)p->shape.k;
    omp_set_num_threads(threads);
    all[OURS] = (struct contender){"ours", run_ours, p, work, 0, {0}};
    all[PACKED] = (struct contender){"B packed", run_packed, p, work, 0, {0}};
    all[PEAK] = bench_peak();
    run_ours(p);
    check(p, true, "tf_gemm");
    for (int i = 0; i < 2; i++) {
        with_peer[i].peer = i < peer_count ? peers[i] : (struct peer){0};
        all[PEERS + i] = (struct contender){with_peer[i].peer.name,    run_peer, &with_peer[i],
                                            i < peer_count ? work : 0, 0,        {0}};
        if (i >= peer_count)
            continue;
        peers[i].set_threads(threads);
        run_peer(&with_peer[i]);
        check(p, false, peers[i].name);
    }
    bench_race(all, CONTENDERS, rounds, seconds);
    print(p, threads, all, rounds);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 15;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.02;
    const int most = omp_get_max_threads();
    struct peer peers[2];
    if (rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr, "usage: bench-products [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    const int peer_count = peers_find(peers);
    printf("%s: GFLOP/s; share of peak of the whole product and with B packed before; the lead on "
           "the better peer\n",
           tf_kernel->name);
    printf("%4s %4s %4s %s %s %7s %7s %5s %9s %6s %8s %8s %5s\n", "m", "n", "k", "AB", "threads",
           "peak", "ours", "share", "spread", "packed", "OpenBLAS", "BLIS", "lead");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const struct shape *s = &shapes[i];
        struct product p = {.shape = *s};
        const size_t largest = s->m > s->k ? s->m : s->k, other = s->n > s->k ? s->n : s->k;
        p.a = bench_numbers(largest * tf_table_stride(largest));
        p.b = bench_numbers(other * tf_table_stride(other));
        p.packed = bench_numbers(tf_packed_size(s->k, s->n));
        p.got = bench_numbers(s->m * tf_table_stride(s->n));
        for (int threads = 1; threads <= most; threads = bench_more_threads(threads, most))
            race(&p, threads, peers, peer_count, rounds, seconds);
        tf_free(p.a);
        tf_free(p.b);
        tf_free(p.packed);
        tf_free(p.got);
    }
    return 0;
}
