/* Generation by a model too large for any cache: prompts beside the peak of multiply-adds, decoding
 * beside the memory's bandwidth.
 *
 * usage: bench-generation [ROUNDS [SECONDS]]; TF_CPU chooses the build of kernels. */
#include "bench.h"
#include "models.h"

#include "base/mem.h"
#include "nn/precision.h"

#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A prompt, and decoding in 1, 4 and 16 streams. */
enum { PROMPT, DECODE, DECODES = 3, PEAK = DECODE + DECODES, READ, CONTENDERS };
/* Tokens of the prompt, in one pass as by tf_generate. */
#define CONTEXT 256
/* Positions at which tokens are decoded, again and again: so few that keys and values are little
 * beside the weights, which alone are counted. */
enum { FIRST = 32, LAST = 64 };
/* Floats of the memory that is read to know its bandwidth: a multiple of 64, and far more than
 * caches hold. */
#define READ_FLOATS 100000000

static const size_t streams[DECODES] = {1, 4, 16};
enum { MOST_STREAMS = 16 };

/* What goes on generating: the next token at position `at`. */
struct generation {
    struct tf_run *run;
    uint16_t ids[CONTEXT];
    float *logits; /* MOST_STREAMS x vocab */
    size_t streams, at;
};

static void run_prompt(void *arg)
{
    struct generation *g = arg;
    tf_forward(g->run, g->ids, 1, CONTEXT, 0);
    tf_logits(g->run, CONTEXT - 1, 1, g->logits);
}

static void decode(struct generation *g)
{
    tf_forward(g->run, g->ids + g->at, g->streams, 1, g->at);
    tf_logits(g->run, 0, g->streams, g->logits);
}

static void run_decode(void *arg)
{
    struct generation *g = arg;
    decode(g);
    g->at = g->at + 1 < LAST ? g->at + 1 : FIRST;
}

static void run_read(void *memory)
{
    const struct limits *limits = bench_limits();
#pragma omp parallel
    {
        const size_t pieces = READ_FLOATS / 64, threads = (size_t)omp_get_num_threads();
        const size_t i = (size_t)omp_get_thread_num();
        const size_t first = pieces * i / threads, last = pieces * (i + 1) / threads;
        limits->read((const float *)memory + 64 * first, 64 * (last - first));
    }
}

/* A prompt's last token, decoded, has the logits of the prompt, to the bit: both ways are the same
 * model's. Leaves the prompt in the cache of each stream. */
static void check(struct generation *g, size_t vocab)
{
    float *want = bench_numbers(vocab);
    run_prompt(g);
    memcpy(want, g->logits, vocab * sizeof *want);
    for (size_t s = 1; s < MOST_STREAMS; s++)
        tf_cache_copy(g->run, 0, s, CONTEXT);
    g->streams = 1;
    g->at = CONTEXT - 1;
    decode(g);
    if (memcmp(want, g->logits, vocab * sizeof *want))
        bench_give_up("a decoded token's logits are not those of the prompt");
    tf_free(want);
}

/* tokens: of one run. */
static void print(enum tf_precision precision, const struct contender *c, double tokens,
                  const struct contender *limit, const char *unit, size_t rounds)
{
    const struct spread rate = bench_spread(c->rate, rounds), share = bench_ratio(c, limit, rounds);
    const double each = tokens / c->work;
    printf("%-4s %-18s %8.1f %7.1f-%-7.1f %7.1f %7.1f %-7s %5.2f %4.2f-%4.2f\n",
           tf_precision_name(precision), c->name, rate.median * each, rate.least * each,
           rate.most * each, rate.median, bench_spread(limit->rate, rounds).median, unit,
           share.median, share.least, share.most);
}

static void race(const struct tf_model *model, enum tf_precision precision, float *memory,
                 size_t rounds, double seconds)
{
    static const char *const names[DECODES] = {"decode, 1 stream", "decode, 4 streams",
                                               "decode, 16 streams"};
    static struct contender all[CONTENDERS];
    struct generation g = {.at = FIRST}, decoding[DECODES];
    struct tf_err err = {0};
    const size_t vocab = model->shape.vocab;
    const double body = bench_multiplied(model), head = (double)(vocab * model->shape.width);
    if (tf_run_new(&g.run, model, TF_RUN_CACHE, MOST_STREAMS, CONTEXT, &err))
        bench_give_up(err.text);
    g.logits = bench_numbers(MOST_STREAMS * vocab);
    for (size_t i = 0; i < CONTEXT; i++)
        g.ids[i] = (uint16_t)(i * 40503 % vocab);
    check(&g, vocab);
    all[PROMPT] = (struct contender){"prompt, 256 tokens",           run_prompt, &g,
                                     2e-9 * (CONTEXT * body + head), 0,          {0}};
    for (size_t i = 0; i < DECODES; i++) {
        decoding[i] = g;
        decoding[i].at = FIRST;
        decoding[i].streams = streams[i];
        const double bytes = (body + head) * (double)tf_precision_size(precision);
        all[DECODE + i] =
            (struct contender){names[i], run_decode, &decoding[i], 1e-9 * bytes, 0, {0}};
    }
    all[PEAK] = bench_peak();
    all[READ] = (struct contender){"read", run_read, memory, 4e-9 * READ_FLOATS, 0, {0}};
    bench_race(all, CONTENDERS, rounds, seconds);
    print(precision, &all[PROMPT], CONTEXT, &all[PEAK], "GFLOP/s", rounds);
    for (size_t i = 0; i < DECODES; i++)
        print(precision, &all[DECODE + i], (double)streams[i], &all[READ], "GB/s", rounds);
    tf_run_free(g.run);
    tf_free(g.logits);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 9;
    const double seconds = argc > 2 ? strtod(argv[2], NULL) : 0.5;
    if (rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr, "usage: bench-generation [ROUNDS (1 to %d) [SECONDS]]\n", BENCH_ROUNDS);
        return 64;
    }
    struct tf_model *model = bench_model(&sizes[LARGEST], CONTEXT, false);
    float *memory = bench_numbers(READ_FLOATS);
    printf("generation, %.0fM parameters, %s, %d threads\n",
           1e-6 * (double)tf_model_parameters(model), tf_kernel->name, omp_get_max_threads());
    printf("%-4s %-18s %8s %15s %7s %7s %-7s %5s %9s\n", "", "", "tokens/s", "spread", "rate",
           "limit", "", "share", "spread");
    for (enum tf_precision p = TF_PRECISION_F32; p <= TF_PRECISION_INT8; p++) {
        tf_model_round(model, p);
        race(model, p, memory, rounds, seconds);
    }
    tf_free(memory);
    tf_model_free(model);
    return 0;
}
