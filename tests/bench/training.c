/* Whole training steps (forward, loss, backward, clipping, AdamW) on random tokens, beside the
 * machine's peak and a peer, and where a step's time goes.
 *
 * usage: bench-training [a|b|c|d]... [--rounds N] [--peer COMMAND]
 *
 * The shell runs COMMAND with "--config a --threads 2 --serve" after it: peer_torch.py says what is
 * expected of it. TF_CPU chooses the build of kernels. */
#include "bench.h"
#include "models.h"
#include "process.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/optim.h"

#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEAK, OURS, REST, PEER, REST_AGAIN, CONTENDERS };
enum { FORWARD, LOSS, BACKWARD, UPDATE, PARTS };

/* As long as threads, ours and the peer's, may look out for more work before they sleep. */
#define REST_MICROSECONDS 50000
/* How long what is shorter goes on in each round. */
#define SECONDS 0.1
/* So low that the loss stays where it was. */
#define LEARNING_RATE 1e-5

/* A model in training, and the time that each part of its steps has taken. */
struct training {
    const struct size *size;
    struct tf_model *model;
    struct tf_run *run;
    struct tf_config config;
    struct tf_arena memory;
    uint16_t *ids, *targets;
    float *losses;
    double *row_sums;
    size_t rows; /* tokens of a step */
    uint64_t steps;
    double seconds[PARTS];
};

static void take(struct training *t)
{
    t->ids = tf_arena_take(&t->memory, t->rows, sizeof *t->ids);
    t->targets = tf_arena_take(&t->memory, t->rows, sizeof *t->targets);
    t->losses = tf_arena_take(&t->memory, t->rows, sizeof *t->losses);
    t->row_sums = tf_arena_take(&t->memory, tf_gradient_norm_room(t->model), sizeof *t->row_sums);
}

static void begin(struct training *t, const struct size *size)
{
    struct tf_err err = {0};
    *t = (struct training){.size = size, .rows = size->batch * size->length};
    t->model = bench_model(size, size->length, true);
    take(t);
    if (tf_config_init(&t->config, &err) || tf_arena_alloc(&t->memory, "a batch", &err) ||
        tf_run_new(&t->run, t->model, TF_RUN_TRAIN, size->batch, size->length, &err))
        bench_give_up(err.text);
    take(t);
}

static void end(struct training *t)
{
    tf_run_free(t->run);
    tf_model_free(t->model);
    tf_config_fini(&t->config);
    tf_arena_fini(&t->memory);
}

static void gather(struct training *t)
{
    for (size_t i = 0; i < t->rows; i++) {
        const uint64_t bits = tf_rng_bits(1, t->steps, i);
        t->ids[i] = (uint16_t)((bits & UINT32_MAX) % t->size->vocab);
        t->targets[i] = (uint16_t)((bits >> 32) % t->size->vocab);
    }
}

/* Nothing can be learnt from random tokens: a model that works stays near the loss of ignorance. */
static void check_loss(const struct training *t)
{
    const double expected = log((double)t->size->vocab);
    double loss = 0;
    for (size_t i = 0; i < t->rows; i++)
        loss += (double)t->losses[i] / (double)t->rows;
    if (!(fabs(loss - expected) < 1)) {
        fprintf(stderr, "bench: %s: a loss of %g, far from %g\n", t->size->name, loss, expected);
        exit(1);
    }
}

/* The first step does not count: it touches new memory. */
static void note(struct training *t, const double at[PARTS + 1])
{
    if (t->steps++ > 0)
        for (int p = 0; p < PARTS; p++)
            t->seconds[p] += at[p + 1] - at[p];
}

static void run_step(void *arg)
{
    struct training *t = arg;
    const struct size *s = t->size;
    double at[PARTS + 1];
    at[FORWARD] = bench_seconds();
    gather(t);
    tf_gradients_clear(t->run);
    tf_forward(t->run, t->ids, s->batch, s->length, 0);
    at[LOSS] = bench_seconds();
    tf_loss(t->run, t->targets, t->losses, 1 / (float)t->rows);
    at[BACKWARD] = bench_seconds();
    tf_backward(t->run, t->ids);
    tf_gradients_finish(t->run);
    at[UPDATE] = bench_seconds();
    tf_optim_step(t->model, &t->config, t->steps, 0, LEARNING_RATE,
                  tf_gradient_norm(t->model, t->row_sums));
    at[PARTS] = bench_seconds();
    check_loss(t);
    note(t, at);
}

static void rest(void *unused)
{
    (void)unused;
    usleep(REST_MICROSECONDS);
}

static void run_peer(void *arg)
{
    process_run(arg);
}

static void print_head(size_t rounds)
{
    printf("training steps, %s, %d threads, medians and spread of %zu rounds\n", tf_kernel->name,
           omp_get_max_threads(), rounds);
    printf("%6s %8s %15s %7s %7s %5s %9s %6s  %6s %15s %6s %5s %9s\n", "config", "tokens/s",
           "spread", "GFLOP/s", "peak", "share", "spread", "MiB", "peer's", "spread", "MiB", "lead",
           "spread");
}

static void print_ours(const struct training *t, const struct contender *all, size_t rounds)
{
    const double tokens = 1e9 / tf_model_flops(t->model); /* of a GFLOP */
    const struct spread rate = bench_spread(all[OURS].rate, rounds),
                        share = bench_ratio(&all[OURS], &all[PEAK], rounds);
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%6s %8.1f %7.1f-%-7.1f %7.1f %7.1f %5.2f %4.2f-%4.2f %6.0f", t->size->name,
           rate.median * tokens, rate.least * tokens, rate.most * tokens, rate.median,
           bench_spread(all[PEAK].rate, rounds).median, share.median, share.least, share.most,
           (double)usage.ru_maxrss / 1024);
}

static void print_peer(const struct training *t, const struct contender *all, size_t rounds,
                       double mib)
{
    const double tokens = 1e9 / tf_model_flops(t->model);
    const struct spread rate = bench_spread(all[PEER].rate, rounds),
                        lead = bench_ratio(&all[OURS], &all[PEER], rounds);
    printf("  %6.1f %7.1f-%-7.1f %6.0f %5.2f %4.2f-%4.2f", rate.median * tokens,
           rate.least * tokens, rate.most * tokens, mib, lead.median, lead.least, lead.most);
}

static void print_parts(const struct training *t)
{
    static const char *const names[PARTS] = {"forward", "loss", "backward", "norm and update"};
    double all = 0;
    for (int p = 0; p < PARTS; p++)
        all += t->seconds[p];
    printf("\n%6s", "");
    for (int p = 0; p < PARTS; p++)
        printf(" %s %.1f%%%s", names[p], 100 * t->seconds[p] / all, p + 1 < PARTS ? "," : "\n");
}

static void race(const struct size *size, const char *command, size_t rounds)
{
    static struct contender all[CONTENDERS];
    struct training t;
    struct process peer;
    if (size->kind == TF_TRANSFORMER)
        command = NULL; /* the peer has none */
    char whole[1024];
    snprintf(whole, sizeof whole, "%s --config %s --threads %d --serve", command ? command : "",
             size->name, omp_get_max_threads());
    process_start(&peer, command ? whole : NULL);
    begin(&t, size);
    const double work = 1e-9 * (double)t.rows * tf_model_flops(t.model);
    all[PEAK] = bench_peak();
    all[OURS] = (struct contender){"ours", run_step, &t, work, 0, {0}};
    all[PEER] = (struct contender){"peer", run_peer, &peer, peer.pid ? work : 0, 0, {0}};
    all[REST] = all[REST_AGAIN] = (struct contender){"rest", rest, NULL, peer.pid ? 1 : 0, 0, {0}};
    bench_race(all, CONTENDERS, rounds, SECONDS);
    print_ours(&t, all, rounds);
    if (peer.pid)
        print_peer(&t, all, rounds, process_stop(&peer));
    print_parts(&t);
    end(&t);
}

/* Each size in a process of its own, so that its peak of memory is its own. */
static void race_apart(const struct size *size, const char *command, size_t rounds)
{
    int status;
    fflush(stdout);
    const pid_t pid = fork();
    if (!pid) {
        race(size, command, rounds);
        exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        bench_give_up("a size failed");
}

int main(int argc, char **argv)
{
    size_t rounds = 7;
    const char *command = NULL;
    bool chosen[SIZES] = {false}, any = false, good = true;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
            rounds = strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--peer") && i + 1 < argc)
            command = argv[++i];
        else if (strlen(argv[i]) == 1 && *argv[i] >= 'a' && *argv[i] < 'a' + SIZES)
            any = chosen[*argv[i] - 'a'] = true;
        else
            good = false;
    if (!good || rounds < 1 || rounds > BENCH_ROUNDS || tf_kernel_select(getenv("TF_CPU"), NULL)) {
        fprintf(stderr,
                "usage: bench-training [a|b|c|d]... [--rounds N (1 to %d)] [--peer COMMAND]\n",
                BENCH_ROUNDS);
        return 64;
    }
    signal(SIGPIPE, SIG_IGN); /* a peer that ended early is told so by its pipe's error */
    print_head(rounds);
    for (size_t s = 0; s < SIZES; s++)
        if (!any || chosen[s])
            race_apart(&sizes[s], command, rounds);
    return 0;
}
