#include "train/eval.h"

#include "base/fmath.h"

#include <math.h>

#define PASS_TOKENS 1024 /* tokens of a pass when the batch is left open */
#define LOGIT_ROWS 64    /* rows whose logits of two models stand side by side */

/* One window: reads length tokens from start; its targets are one further on, and those from
 * `first` on are scored. */
struct span {
    uint64_t start;
    size_t length, first;
};

/* The buffers of a pass: `batch` windows of ids, their targets and losses. */
struct pass {
    struct tf_arena memory;
    uint16_t *ids, *targets;
    float *losses;
    double *sums; /* one a window of the whole evaluation: nats of its scored tokens */
};

/* Windows that the text has, before max_windows. The text holds at least one. */
static uint64_t count_windows(const struct tf_eval_options *plan, uint64_t count)
{
    uint64_t later = count - 1 - plan->window; /* targets past the first window */

    if (plan->second_half)
        return tf_corpus_windows(&(struct tf_corpus){.count = count}, plan->window);
    return 1 + later / plan->stride + (later % plan->stride != 0);
}

enum tf_code tf_eval_plan(struct tf_eval_options *plan, const struct tf_shape *shape,
                          const struct tf_corpus *corpus, const struct tf_eval_options *options,
                          struct tf_err *err)
{
    uint64_t windows;

    *plan = *options;
    if (plan->window == 0)
        plan->window = shape->seq;
    if (plan->stride == 0 || plan->second_half)
        plan->stride = plan->window;
    if (plan->window > shape->seq)
        return tf_fail(err, TF_USAGE, "window %zu is longer than the model's context, %llu tokens",
                       plan->window, (unsigned long long)shape->seq);
    if (plan->stride > plan->window)
        return tf_fail(err, TF_USAGE,
                       "stride %zu is longer than the window, %zu: tokens between "
                       "windows would not be scored",
                       plan->stride, plan->window);
    if (corpus->count <= plan->window)
        return tf_fail(err, TF_DATA,
                       "the text has %llu tokens, fewer than one window of %zu and "
                       "the token after it",
                       (unsigned long long)corpus->count, plan->window);
    windows = count_windows(plan, corpus->count);
    if (plan->max_windows == 0 || plan->max_windows > windows)
        plan->max_windows = windows;
    if (plan->batch == 0)
        plan->batch = plan->window < PASS_TOKENS ? PASS_TOKENS / plan->window : 1;
    if (plan->batch > plan->max_windows)
        plan->batch = plan->max_windows;
    return TF_OK;
}

/* Window k of the plan->max_windows that are run, spread evenly over all `windows`. */
static struct span span_at(const struct tf_eval_options *plan, uint64_t count, uint64_t windows,
                           uint64_t k)
{
    uint64_t chosen = plan->max_windows;
    uint64_t index = k * (windows / chosen) + k * (windows % chosen) / chosen;
    struct span span = {.start = index * plan->stride, .length = plan->window};

    if (count - 1 - span.start < span.length)
        span.length = count - 1 - span.start;
    if (plan->second_half)
        span.first = plan->window / 2;
    else if (index > 0)
        span.first = plan->window - plan->stride;
    return span;
}

/* Copies windows k, k+1, ... into the pass, as many as fill a batch; they have one length, so a
 * shorter last one goes alone. Returns how many. */
static size_t gather(struct pass *pass, const struct tf_eval_options *plan,
                     const struct tf_corpus *corpus, uint64_t windows, uint64_t k)
{
    size_t length = span_at(plan, corpus->count, windows, k).length;
    size_t n = 0;

    for (; n < plan->batch && k + n < plan->max_windows; n++) {
        struct span span = span_at(plan, corpus->count, windows, k + n);
        if (span.length != length)
            break;
        for (size_t t = 0; t < length; t++) {
            pass->ids[n * length + t] = corpus->tokens[span.start + t];
            pass->targets[n * length + t] = corpus->tokens[span.start + t + 1];
        }
    }
    return n;
}

static void pass_take(struct pass *pass, const struct tf_eval_options *plan)
{
    pass->ids = tf_arena_take(&pass->memory, plan->batch, plan->window * sizeof(*pass->ids));
    pass->targets =
        tf_arena_take(&pass->memory, plan->batch, plan->window * sizeof(*pass->targets));
    pass->losses = tf_arena_take(&pass->memory, plan->batch, plan->window * sizeof(*pass->losses));
    pass->sums = tf_arena_take(&pass->memory, plan->max_windows, sizeof(*pass->sums));
}

TF_MUST_USE static enum tf_code pass_init(struct pass *pass, const struct tf_eval_options *plan,
                                          struct tf_err *err)
{
    enum tf_code code;

    *pass = (struct pass){0};
    pass_take(pass, plan);
    code = tf_arena_alloc(&pass->memory, "evaluation windows", err);
    if (code == TF_OK)
        pass_take(pass, plan);
    return code;
}

/* Standard error of the mean, windows taken as independent draws of (nats, tokens); NaN for a
 * single window, which says nothing about the spread. */
static double clustered_error(const struct pass *pass, const struct tf_eval_options *plan,
                              uint64_t count, uint64_t windows, double mean, double tokens)
{
    double square = 0;

    if (plan->max_windows < 2)
        return NAN;
    for (uint64_t k = 0; k < plan->max_windows; k++) {
        struct span span = span_at(plan, count, windows, k);
        double off = pass->sums[k] - (double)(span.length - span.first) * mean;
        square += off * off;
    }
    return sqrt(square) / tokens;
}

/* Runs every window; returns the nats of all scored tokens, and fills in sums, tokens and bytes. */
static double score(struct tf_eval_result *result, struct pass *pass, struct tf_run *run,
                    const struct tf_eval_options *plan, const struct tf_corpus *corpus,
                    const struct tf_tokenizer *tokenizer)
{
    uint64_t windows = count_windows(plan, corpus->count);
    double nats = 0;
    size_t n;

    for (uint64_t k = 0; k < plan->max_windows; k += n) {
        size_t length = span_at(plan, corpus->count, windows, k).length;
        n = gather(pass, plan, corpus, windows, k);
        tf_forward(run, pass->ids, n, length, 0);
        tf_loss(run, pass->targets, pass->losses, 0);
        for (size_t b = 0; b < n; b++) {
            struct span span = span_at(plan, corpus->count, windows, k + b);
            pass->sums[k + b] = 0;
            for (size_t t = span.first; t < length; t++) {
                pass->sums[k + b] += pass->losses[b * length + t];
                nats += pass->losses[b * length + t];
            }
            result->tokens += length - span.first;
            result->bytes += tf_corpus_bytes(corpus, tokenizer, span.start + 1 + span.first,
                                             span.start + 1 + length);
        }
    }
    return nats;
}

struct tf_evaluator {
    const struct tf_corpus *corpus; /* borrowed, as the tokenizer */
    const struct tf_tokenizer *tokenizer;
    struct tf_eval_options plan;
    struct pass pass;
    struct tf_run *run;
};

enum tf_code tf_evaluator_plan(uint64_t *bytes, const struct tf_model *model,
                               const struct tf_corpus *corpus,
                               const struct tf_eval_options *options, struct tf_err *err)
{
    struct tf_eval_options plan;
    struct pass pass = {0};
    enum tf_code code = tf_eval_plan(&plan, &model->shape, corpus, options, err);

    if (code == TF_OK)
        code = tf_run_plan(bytes, model, TF_RUN_SCORE, plan.batch, plan.window, err);
    if (code != TF_OK)
        return code;
    pass_take(&pass, &plan);
    *bytes += pass.memory.used;
    return TF_OK;
}

enum tf_code tf_evaluator_new(struct tf_evaluator **out, const struct tf_model *model,
                              const struct tf_corpus *corpus, const struct tf_tokenizer *tokenizer,
                              const struct tf_eval_options *options, struct tf_err *err)
{
    struct tf_evaluator *e = *out = tf_new(1, sizeof(*e), "evaluator", err);
    enum tf_code code;

    if (e == NULL)
        return TF_MEMORY;
    e->corpus = corpus;
    e->tokenizer = tokenizer;
    code = tf_eval_plan(&e->plan, &model->shape, corpus, options, err);
    if (code == TF_OK)
        code = pass_init(&e->pass, &e->plan, err);
    if (code == TF_OK)
        code = tf_run_new(&e->run, model, TF_RUN_SCORE, e->plan.batch, e->plan.window, err);
    if (code != TF_OK) {
        tf_evaluator_free(e);
        *out = NULL;
    }
    return code;
}

void tf_evaluator_run(struct tf_evaluator *e, struct tf_eval_result *result)
{
    double nats;

    *result = (struct tf_eval_result){.window = e->plan.window, .stride = e->plan.stride};
    nats = score(result, &e->pass, e->run, &e->plan, e->corpus, e->tokenizer);
    result->nats_per_token = nats / (double)result->tokens;
    result->perplexity = tf_exp(result->nats_per_token);
    result->bits_per_byte = nats / (tf_log(2) * (double)result->bytes);
    result->stderr_nats = clustered_error(&e->pass, &e->plan, e->corpus->count,
                                          count_windows(&e->plan, e->corpus->count),
                                          result->nats_per_token, (double)result->tokens);
}

void tf_evaluator_free(struct tf_evaluator *e)
{
    if (e == NULL)
        return;
    tf_run_free(e->run);
    tf_arena_fini(&e->pass.memory);
    tf_free(e);
}

enum tf_code tf_eval(struct tf_eval_result *result, const struct tf_model *model,
                     const struct tf_corpus *corpus, const struct tf_tokenizer *tokenizer,
                     const struct tf_eval_options *options, struct tf_err *err)
{
    struct tf_evaluator *evaluator;
    enum tf_code code = tf_evaluator_new(&evaluator, model, corpus, tokenizer, options, err);

    if (code == TF_OK)
        tf_evaluator_run(evaluator, result);
    tf_evaluator_free(evaluator);
    return code;
}

/* log of the sum of exp(logits); the largest one's index (the first among equals) in *top. */
static double log_sum_exp(const float *logits, size_t vocab, size_t *top)
{
    double sum = 0;

    *top = 0;
    for (size_t v = 1; v < vocab; v++)
        if (logits[v] > logits[*top])
            *top = v;
    for (size_t v = 0; v < vocab; v++)
        sum += tf_exp((double)logits[v] - logits[*top]);
    return logits[*top] + tf_log(sum);
}

/* Adds one position's logits of both models to the result (sums; divided at the end). */
static void compare_position(struct tf_compare_result *result, const float *p, const float *q,
                             size_t vocab)
{
    size_t top_p, top_q;
    double sum_p = log_sum_exp(p, vocab, &top_p), sum_q = log_sum_exp(q, vocab, &top_q);
    double kl = 0;

    for (size_t v = 0; v < vocab; v++) {
        double log_p = p[v] - sum_p, log_q = q[v] - sum_q;
        double difference = fabs((double)p[v] - q[v]);
        kl += tf_exp(log_p) * (log_p - log_q);
        if (difference > result->max_logit_difference || isnan(difference))
            result->max_logit_difference = difference;
    }
    result->mean_kl += kl;
    result->same_argmax += top_p == top_q;
    result->tokens++;
}

static void compare_windows(struct tf_compare_result *result, struct pass *pass,
                            struct tf_run *runs[2], float *logits, size_t vocab,
                            const struct tf_eval_options *plan, const struct tf_corpus *corpus)
{
    uint64_t windows = count_windows(plan, corpus->count);
    float *of_p = logits, *of_q = logits + LOGIT_ROWS * vocab;
    size_t n;

    for (uint64_t k = 0; k < plan->max_windows; k += n) {
        size_t length = span_at(plan, corpus->count, windows, k).length;
        n = gather(pass, plan, corpus, windows, k);
        tf_forward(runs[0], pass->ids, n, length, 0);
        tf_forward(runs[1], pass->ids, n, length, 0);
        for (size_t row = 0; row < n * length; row += LOGIT_ROWS) {
            size_t rows = n * length - row < LOGIT_ROWS ? n * length - row : LOGIT_ROWS;
            tf_logits(runs[0], row, rows, of_p);
            tf_logits(runs[1], row, rows, of_q);
            for (size_t i = 0; i < rows; i++)
                compare_position(result, of_p + i * vocab, of_q + i * vocab, vocab);
        }
    }
    result->mean_kl /= (double)result->tokens;
    result->same_argmax /= (double)result->tokens;
}

/* The plan that holds for both models: disjoint windows, each scored whole. */
TF_MUST_USE static enum tf_code
compare_plan(struct tf_eval_options *plan, const struct tf_model *model,
             const struct tf_model *other, const struct tf_corpus *corpus,
             const struct tf_eval_options *options, struct tf_err *err)
{
    struct tf_shape shorter = model->shape;
    struct tf_eval_options disjoint = *options;

    if (model->shape.vocab != other->shape.vocab)
        return tf_fail(err, TF_DATA, "vocabularies of %llu and %llu tokens cannot be compared",
                       (unsigned long long)model->shape.vocab,
                       (unsigned long long)other->shape.vocab);
    if (other->shape.seq < shorter.seq)
        shorter.seq = other->shape.seq;
    disjoint.stride = 0;
    disjoint.second_half = false;
    return tf_eval_plan(plan, &shorter, corpus, &disjoint, err);
}

enum tf_code tf_compare(struct tf_compare_result *result, const struct tf_model *model,
                        const struct tf_model *other, const struct tf_corpus *corpus,
                        const struct tf_eval_options *options, struct tf_err *err)
{
    struct tf_eval_options plan;
    struct pass pass = {0};
    struct tf_run *runs[2] = {NULL, NULL};
    float *logits = NULL;
    size_t vocab = model->shape.vocab;
    enum tf_code code = compare_plan(&plan, model, other, corpus, options, err);

    if (code == TF_OK)
        code = pass_init(&pass, &plan, err);
    if (code == TF_OK)
        code = tf_run_new(&runs[0], model, TF_RUN_SCORE, plan.batch, plan.window, err);
    if (code == TF_OK)
        code = tf_run_new(&runs[1], other, TF_RUN_SCORE, plan.batch, plan.window, err);
    if (code != TF_OK)
        goto out;
    logits = tf_new(vocab, 2 * LOGIT_ROWS * sizeof(*logits), "logits", err);
    if (logits == NULL) {
        code = TF_MEMORY;
        goto out;
    }
    *result = (struct tf_compare_result){0};
    compare_windows(result, &pass, runs, logits, vocab, &plan, corpus);
out:
    tf_free(logits);
    tf_run_free(runs[1]);
    tf_run_free(runs[0]);
    tf_arena_fini(&pass.memory);
    return code;
}
