/* Running a trainer: the step loop, which allocates nothing, and the saves and evaluations between
 * steps. */
#include "train/training.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/aging.h"
#include "train/keep.h"
#include "train/optim.h"
#include "train/schedule.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

double tf_training_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Rows [first, first+count) of the step's batch. */
static void gather(struct tf_trainer *t, uint64_t first, uint64_t count)
{
    const struct tf_config *c = &t->config;
    const uint64_t T = c->model.seq_length;
    for (uint64_t b = 0; b < count; b++) {
        const uint64_t window =
            tf_corpus_window((enum tf_order)c->data.order, c->train.seed, t->plan.train_windows,
                             c->train.batch_size, t->state.step, first + b);
        const uint16_t *text = t->train.tokens + window * T;
        memcpy(t->ids + b * T, text, T * sizeof *text);
        memcpy(t->targets + b * T, text + 1, T * sizeof *text);
    }
}

/* Forward and backward over the whole batch, a micro-batch at a time; the mean loss. */
static double batch_gradients(struct tf_trainer *t)
{
    const uint64_t B = t->config.train.batch_size, T = t->config.model.seq_length;
    const float weight = (float)(1.0 / (double)(B * T));
    tf_gradients_clear(t->run);
    for (uint64_t b = 0; b < B; b += t->micro) {
        const uint64_t count = B - b < t->micro ? B - b : t->micro;
        gather(t, b, count);
        tf_forward(t->run, t->ids, count, T, 0);
        tf_loss(t->run, t->targets, t->losses + b * T, weight);
        tf_backward(t->run, t->ids);
    }
    tf_gradients_finish(t->run);
    double sum = 0;
    for (uint64_t i = 0; i < B * T; i++)
        sum += (double)t->losses[i];
    return sum / (double)(B * T);
}

/* The median of the last losses; 0 when there are none. */
static float median(const struct tf_state *state)
{
    float sorted[sizeof state->recent / sizeof *state->recent] = {0};
    for (size_t i = 0; i < state->recent_count; i++) {
        size_t at = i;
        for (; at && sorted[at - 1] > state->recent[i]; at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = state->recent[i];
    }
    return sorted[state->recent_count / 2];
}

static void remember(struct tf_state *state, uint64_t window, double loss)
{
    while (state->recent_count && state->recent_count >= window)
        memmove(state->recent, state->recent + 1, --state->recent_count * sizeof *state->recent);
    if (window)
        state->recent[state->recent_count++] = (float)loss;
}

/* Names the newest checkpoint whose own loss was good: the last one may hold the very model that
 * diverged. */
static void last_good(const struct tf_trainer *t, char out[600])
{
    char word[32], *numbered = NULL;
    snprintf(word, sizeof word, "step-%" PRIu64, t->good_step);
    if (t->saved_step == UINT64_MAX)
        snprintf(out, 600, "none was saved");
    else if (t->saved_step != t->state.step)
        snprintf(out, 600, "%s, of step %" PRIu64, t->options.output, t->saved_step);
    else if (t->good_step && t->config.train.keep_last > 1 &&
             !tf_keep_name(&numbered, t->options.output, word, NULL))
        snprintf(out, 600, "%s", numbered);
    else
        snprintf(out, 600, "none: that of step %" PRIu64 " has this loss", t->saved_step);
    tf_free(numbered);
}

/* Refuses a step whose loss is not a number, or ran away: nothing of it has reached the tables
 * yet. */
static enum tf_code guard(const struct tf_trainer *t, double loss, double norm, struct tf_err *err)
{
    const double factor = t->config.train.divergence_factor;
    const bool full =
        t->state.recent_count && t->state.recent_count >= t->config.train.divergence_window;
    const bool finite = isfinite(loss) && isfinite(norm);
    char last[600];
    if (finite && !(factor > 0 && full && loss > factor * (double)median(&t->state)))
        return TF_OK;
    last_good(t, last);
    if (!finite)
        return tf_fail(err, TF_DIVERGED,
                       "step %" PRIu64
                       ": the loss is %g and the gradient's norm %g; last good checkpoint: %s",
                       t->state.step + 1, loss, norm, last);
    return tf_fail(
        err, TF_DIVERGED,
        "step %" PRIu64
        ": the loss %g is more than %g times its running median %g; last good checkpoint: %s",
        t->state.step + 1, loss, factor, (double)median(&t->state), last);
}

/* The share of parameter tokens that is active in a step. */
static double active_share(const struct tf_config *c, uint64_t step)
{
    const uint64_t seed = c->train.seed, stream = tf_rng_stream("token_dropout");
    if (!(tf_rng_uniform(seed, stream, 2 * step) < c->train.token_dropout))
        return 1;
    return 1 - tf_rng_uniform(seed, stream, 2 * step + 1);
}

/* Gradients and update with the tokens that are active; fills in the report's figures. */
static enum tf_code learn(struct tf_trainer *t, struct tf_step_report *report, struct tf_err *err)
{
    const struct tf_config *c = &t->config;
    report->lr = tf_schedule_rate(c, t->state.step);
    report->loss = batch_gradients(t);
    report->grad_norm = tf_gradient_norm(t->model, t->row_sums);
    const enum tf_code code = guard(t, report->loss, report->grad_norm, err);
    if (code)
        return code;
    tf_optim_step(t->model, c, t->state.updates, t->state.age, report->lr, report->grad_norm);
    t->lineage.events[t->lineage.count - 1].flops +=
        tf_model_flops(t->model) * (double)(c->train.batch_size * c->model.seq_length);
    return TF_OK;
}

/* A model that grew is a step older. */
static enum tf_code grow_older(struct tf_trainer *t, struct tf_err *err)
{
    if (!t->grown)
        return TF_OK;
    tf_aging_ramp(t->model, tf_stage_ramp(&t->config, t->state.stages), t->state.age);
    t->state.age++;
    return t->state.age == t->config.grow.freeze_steps
               ? tf_aging_freeze(t->model, &t->config, &t->lineage, t->state.age, err)
               : TF_OK;
}

static void tell_step(const struct tf_trainer *t, struct tf_step_report *report)
{
    const double elapsed = tf_training_seconds() - t->began;
    report->step = t->state.step;
    report->tokens = t->state.tokens;
    report->flops = tf_lineage_spent(&t->lineage).flops;
    report->seconds = elapsed;
    report->tokens_per_second =
        elapsed > 0 ? (double)(t->state.tokens - t->began_tokens) / elapsed : 0;
    t->options.events.step(t->options.events.user, report);
}

static enum tf_code step(struct tf_trainer *t, struct tf_err *err)
{
    const struct tf_config *c = &t->config;
    const double share = active_share(c, t->state.step);
    struct tf_step_report report;
    if (share < 1)
        tf_model_keep(t->model, share);
    enum tf_code code = learn(t, &report, err);
    if (share < 1)
        tf_model_keep(t->model, 1);
    if (code)
        return code;
    if (t->saved_step == t->state.step)
        t->good_step = t->saved_step;
    remember(&t->state, c->train.divergence_window, report.loss);
    t->state.step++;
    t->state.updates++;
    t->state.tokens += c->train.batch_size * c->model.seq_length;
    code = grow_older(t, err);
    if (!code && t->options.events.step)
        tell_step(t, &report);
    return code;
}

/* Brings the lineage's last event up to date. */
static void note_stretch(struct tf_trainer *t)
{
    struct tf_event *stretch = &t->lineage.events[t->lineage.count - 1];
    const double now = tf_training_seconds();
    stretch->steps = t->state.step - t->state.began;
    stretch->tokens = stretch->steps * t->config.train.batch_size * t->config.model.seq_length;
    stretch->seconds += now - t->clocked_at; /* NaN stays */
    t->clocked_at = now;
}

/* Writes the run as it stands to path. */
static enum tf_code save_to(struct tf_trainer *t, const char *path, struct tf_err *err)
{
    note_stretch(t);
    const enum tf_code code =
        tf_checkpoint_save(path, t->model, &t->config, &t->tokenizer, &t->state, &t->lineage, err);
    if (!code && t->options.events.saved)
        t->options.events.saved(t->options.events.user, path, t->state.step);
    return code;
}

/* The numbered copy of the checkpoint that the output is. */
static enum tf_code keep(const struct tf_trainer *t, struct tf_err *err)
{
    const uint64_t last = t->config.train.keep_last;
    return last ? tf_keep_step(t->options.output, t->state.step, last, err) : TF_OK;
}

enum tf_code tf_training_save(struct tf_trainer *t, struct tf_err *err)
{
    enum tf_code code = save_to(t, t->options.output, err);
    if (!code)
        code = keep(t, err);
    t->saved_step = code ? t->saved_step : t->state.step;
    t->saved_at = tf_training_seconds();
    return code;
}

enum tf_code tf_training_measure(struct tf_trainer *t, struct tf_err *err)
{
    if (t->measured == t->state.step)
        return TF_OK;
    tf_evaluator_run(t->evaluator, &t->result);
    t->measured = t->state.step;
    if (isfinite(t->result.nats_per_token))
        return TF_OK;
    char last[600];
    last_good(t, last);
    return tf_fail(err, TF_DIVERGED,
                   "step %" PRIu64 ": the validation loss is %g; last good checkpoint: %s",
                   t->state.step, t->result.nats_per_token, last);
}

/* Validation loss; the best so far is remembered, and kept when that is asked for. */
static enum tf_code evaluate(struct tf_trainer *t, struct tf_err *err)
{
    enum tf_code code = tf_training_measure(t, err);
    const double loss = t->result.nats_per_token;
    if (code)
        return code;
    const bool best = !(loss >= t->state.best_loss);
    if (best) {
        t->state.best_loss = loss;
        t->state.best_step = t->state.step;
    }
    if (t->options.events.eval) {
        const struct tf_eval_report report = {
            .step = t->state.step,
            .tokens = t->state.tokens,
            .loss = loss,
            .bits_per_byte = t->result.bits_per_byte,
            .seconds = tf_training_seconds() - t->began,
            .best = best,
            .flops = tf_lineage_spent(&t->lineage).flops,
        };
        t->options.events.eval(t->options.events.user, &report);
    }
    if (!best || !t->config.train.keep_best)
        return TF_OK;
    char *path = NULL;
    code = tf_keep_name(&path, t->options.output, "best", err);
    if (!code)
        code = save_to(t, path, err);
    tf_free(path);
    return code;
}

static bool every(uint64_t interval, uint64_t at)
{
    return interval && at % interval == 0;
}

/* What is due after a step: evaluation first, so that a save has its result. */
static enum tf_code after_step(struct tf_trainer *t, bool stop, struct tf_err *err)
{
    const struct tf_config *c = &t->config;
    const bool last = t->state.step == c->train.steps;
    enum tf_code code = TF_OK;
    if (t->evaluator && (last || every(c->train.eval_interval, t->state.step)))
        code = evaluate(t, err);
    const bool late = c->train.save_minutes > 0 &&
                      tf_training_seconds() - t->saved_at > 60 * c->train.save_minutes;
    if (!code && (last || stop || late || every(c->train.save_interval, t->state.step)))
        code = tf_training_save(t, err);
    return code;
}

/* A step and what is due after it, in which the run may be told to stop. *done: it was. */
static enum tf_code go_a_step(struct tf_trainer *t, bool *done, struct tf_err *err)
{
    const struct tf_trainer_options *o = &t->options;
    enum tf_code code = step(t, err);
    const bool told = o->stop && *o->stop;
    const bool out_of_time =
        o->max_seconds > 0 && tf_training_seconds() - t->began >= o->max_seconds;
    if (!code)
        code = after_step(t, told || out_of_time, err);
    *done = told || out_of_time || t->state.step == t->config.train.steps;
    if (!code && told && t->state.step < t->config.train.steps)
        code = tf_fail(err, TF_STOPPED,
                       "stopped at step %" PRIu64 " of %" PRIu64
                       "; saved: run again with --resume to go on",
                       t->state.step, t->config.train.steps);
    return code;
}

enum tf_code tf_trainer_run(struct tf_trainer *t, struct tf_err *err)
{
    bool done = t->state.step >= t->config.train.steps;
    t->began = t->saved_at = t->clocked_at = tf_training_seconds();
    t->began_tokens = t->state.tokens;
    /* A run that was killed may have saved and not come to keep; what it grew into is not kept. */
    const bool grew = t->state.stages && t->state.began == t->state.step;
    enum tf_code code = t->options.resume && !grew ? keep(t, err) : TF_OK;
    while (!code && !done) {
        if (tf_staging_due(t))
            code = tf_staging_grow(t, err);
        if (!code)
            code = go_a_step(t, &done, err);
    }
    return code;
}
