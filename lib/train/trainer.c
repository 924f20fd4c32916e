/* Making a trainer: everything is checked, and all memory taken, before the first step. */
#include "train/training.h"

#include "base/io.h"
#include "train/optim.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Did the run that is resumed begin with another checkpoint's model? */
static bool began_from_another(const struct tf_lineage *past)
{
    return past->count && past->events[past->count - 1].from[0];
}

/* The config of this run: the caller's; with --init the model is the checkpoint's, except for the
 * length of the context, which is in no table. */
static enum tf_code adopt_config(struct tf_trainer *t, const struct tf_config *config,
                                 struct tf_err *err)
{
    enum tf_code code = tf_config_init(&t->config, err);
    if (!code)
        code = tf_config_adopt(&t->config, config, NULL, err);
    if (!code && (t->options.init || (t->options.resume && began_from_another(&t->from.lineage)))) {
        code = tf_config_adopt(&t->config, &t->from.config, "model", err);
        t->config.model.seq_length = config->model.seq_length;
    }
    if (!code)
        code = tf_config_check(&t->config, err);
    if (!code && !t->config.data.train.count)
        code = tf_fail(err, TF_CONFIG, "data.train: names no text to train on");
    t->micro =
        t->config.train.micro_batch ? t->config.train.micro_batch : t->config.train.batch_size;
    t->config.train.micro_batch = 0; /* it changes no result, so it is no part of one */
    return code;
}

static bool same_tokenizer(const struct tf_tokenizer *a, const struct tf_tokenizer *b)
{
    return a->size == b->size && !strcmp(a->separator, b->separator);
}

/* Both moments of every table. */
static bool has_moments(const struct tf_checkpoint *from)
{
    for (size_t i = 0; i < tf_store_tables(from->store); i++) {
        const struct tf_table_info *table = tf_store_table(from->store, i);
        char m[TF_MAX_NAME + 16], v[TF_MAX_NAME + 16];
        snprintf(m, sizeof m, "optim.m/%s", table->name);
        snprintf(v, sizeof v, "optim.v/%s", table->name);
        if (table->role == TF_PARAMETER && (tf_store_find(from->store, m) == SIZE_MAX ||
                                            tf_store_find(from->store, v) == SIZE_MAX))
            return false;
    }
    return true;
}

/* Opens the checkpoint to go on from, and what it says about this run. */
static enum tf_code open_from(struct tf_trainer *t, const struct tf_config *config,
                              struct tf_err *err)
{
    const char *path = t->options.resume ? t->options.resume : t->options.init;
    enum tf_code code = path ? tf_checkpoint_open(&t->from, path, 0, NULL, 0, err) : TF_OK;
    if (!code)
        code = adopt_config(t, config, err);
    if (!code)
        code = tf_tokenizer_init(&t->tokenizer, t->config.data.tokenizer, t->config.data.separator,
                                 err);
    if (code || !path)
        return code;
    if (!same_tokenizer(&t->tokenizer, &t->from.tokenizer))
        return tf_fail(err, TF_CONFIG, "data.separator: \"%s\", but %s was trained with \"%s\"",
                       t->tokenizer.separator, path, t->from.tokenizer.separator);
    if (!t->options.resume)
        return TF_OK;
    const struct tf_lineage *past = &t->from.lineage;
    if (!past->count || past->events[past->count - 1].kind != TF_EVENT_TRAIN)
        return tf_fail(
            err, TF_DATA,
            "%s: cannot be resumed: nothing was trained since it was %s; --init begins from it",
            path,
            past->count && past->events[past->count - 1].kind == TF_EVENT_EDIT ? "edited"
                                                                               : "grown");
    if (!has_moments(&t->from))
        return tf_fail(err, TF_DATA,
                       "%s: cannot be resumed: it has no optimizer state; --init begins from it",
                       path);
    code = tf_config_resumable(&t->from.config, &t->config, err);
    if (!code && t->from.state.step > t->config.train.steps)
        code = tf_fail(err, TF_CONFIG,
                       "train.steps: %" PRIu64 ", but %s is at step %" PRIu64 " already",
                       t->config.train.steps, path, t->from.state.step);
    return code ? tf_context(err, "%s", path) : TF_OK;
}

static enum tf_code load_texts(struct tf_trainer *t, struct tf_err *err)
{
    const struct tf_strings *train = &t->config.data.train, *valid = &t->config.data.valid;
    const uint64_t T = t->config.model.seq_length;
    enum tf_code code = tf_corpus_load(&t->train, &t->tokenizer, (const char *const *)train->items,
                                       train->count, err);
    if (!code && valid->count)
        code = tf_corpus_load(&t->valid, &t->tokenizer, (const char *const *)valid->items,
                              valid->count, err);
    if (code)
        return code;
    if (t->config.data.valid_fraction > 0)
        tf_corpus_split(&t->train, t->config.data.valid_fraction, &t->valid);
    if (!tf_corpus_windows(&t->train, T))
        return tf_fail(err, TF_DATA,
                       "%s: the training text has %" PRIu64 " tokens; a window takes %" PRIu64,
                       train->items[0], t->train.count, T + 1);
    if ((valid->count || t->config.data.valid_fraction > 0) && !tf_corpus_windows(&t->valid, T))
        return tf_fail(
            err, TF_DATA, "%s: the validation text has %" PRIu64 " tokens; a window takes %" PRIu64,
            valid->count ? valid->items[0] : "data.valid_fraction", t->valid.count, T + 1);
    return TF_OK;
}

/* State and lineage: those of the run that goes on, or a new stretch after what came before. */
static enum tf_code begin_or_go_on(struct tf_trainer *t, struct tf_err *err)
{
    const uint64_t hash = tf_corpus_hash(&t->train);
    enum tf_code code = tf_lineage_copy(&t->lineage, &t->from.lineage, err);
    if (code)
        return code;
    if (t->options.resume) {
        t->state = t->from.state;
        return hash == t->state.data_hash
                   ? TF_OK
                   : tf_fail(err, TF_DATA,
                             "%s: the training text is not the one that this run began with (hash "
                             "%016" PRIx64 ", then %016" PRIx64 ")",
                             t->options.resume, hash, t->state.data_hash);
    }
    t->state = (struct tf_state){.data_hash = hash, .best_loss = NAN};
    if (t->options.init && has_moments(&t->from))
        t->state.updates = t->from.state.updates;
    struct tf_event *event = tf_lineage_add(&t->lineage, err);
    if (!event)
        return TF_MEMORY;
    event->kind = TF_EVENT_TRAIN;
    struct tf_digest digest;
    if (t->options.init) {
        code = tf_store_model_digest(t->from.store, &digest, err);
        if (!code)
            tf_digest_text(event->from, &digest);
    }
    return code;
}

/* The last event that added tokens, by growth or by hand. Rows taken away since then leave it
 * unknown which are old. */
static enum tf_code last_growth(const struct tf_event **growth, const struct tf_lineage *lineage,
                                struct tf_err *err)
{
    *growth = NULL;
    for (size_t i = 0; i < lineage->count; i++) {
        const struct tf_event *event = &lineage->events[i];
        for (size_t k = 0; k < event->row_count; k++) {
            const struct tf_row_change *rows = &event->rows[k];
            if (rows->after > rows->before)
                *growth = event;
            else if (*growth && rows->after < rows->before)
                return tf_fail(
                    err, TF_CONFIG,
                    "train.freeze: old-tokens: %s lost tokens since it was grown (%" PRIu64
                    " to %" PRIu64 "), so which are old is not known",
                    rows->name, rows->before, rows->after);
        }
    }
    return *growth
               ? TF_OK
               : tf_fail(err, TF_CONFIG, "train.freeze: old-tokens: this model was never grown");
}

/* Freezes every parameter token that was there before the last growth. */
static enum tf_code freeze_old_tokens(const struct tf_trainer *t, struct tf_model *model,
                                      struct tf_err *err)
{
    const struct tf_event *growth;
    const enum tf_code code = last_growth(&growth, &t->lineage, err);
    if (code)
        return code;
    for (size_t i = 0; i < model->table_count; i++)
        model->tables[i].frozen |= model->tables[i].scale > 0;
    for (size_t i = 0; i < growth->row_count; i++)
        for (int values = 0; values < 2; values++) {
            char name[TF_TABLE_NAME + 8];
            snprintf(name, sizeof name, "%s.%s", growth->rows[i].name, values ? "values" : "keys");
            struct tf_table *table = tf_model_find(model, name);
            if (!table || growth->rows[i].before > table->rows)
                return tf_fail(err, TF_DATA,
                               "lineage: a growth of %s to %" PRIu64
                               " tokens does not fit the model",
                               name, growth->rows[i].after);
            table->frozen = false;
            table->frozen_rows = growth->rows[i].before;
        }
    return TF_OK;
}

static enum tf_code freeze(const struct tf_trainer *t, struct tf_model *model, struct tf_err *err)
{
    const struct tf_strings *patterns = &t->config.train.freeze;
    for (size_t p = 0; p < patterns->count; p++) {
        size_t found = 0;
        enum tf_code code = TF_OK;
        if (!strcmp(patterns->items[p], "old-tokens")) {
            code = freeze_old_tokens(t, model, err);
            found = 1;
        }
        for (size_t i = 0; i < model->table_count; i++)
            if (!fnmatch(patterns->items[p], model->tables[i].name, 0)) {
                model->tables[i].frozen = true;
                found++;
            }
        if (!code && !found)
            code =
                tf_fail(err, TF_CONFIG, "train.freeze: no table is called %s", patterns->items[p]);
        if (code)
            return code;
    }
    return TF_OK;
}

static struct tf_eval_options eval_options(const struct tf_config *config)
{
    return (struct tf_eval_options){.window = config->model.seq_length,
                                    .max_windows = config->train.eval_windows};
}

static bool evaluates(const struct tf_trainer *t)
{
    return t->valid.count && t->config.train.eval_interval;
}

/* One walk of the plan for the loop's own buffers. */
static void take_buffers(struct tf_trainer *t, const struct tf_model *model)
{
    const uint64_t T = t->config.model.seq_length;
    t->ids = tf_arena_take(&t->memory, t->micro, T * sizeof *t->ids);
    t->targets = tf_arena_take(&t->memory, t->micro, T * sizeof *t->targets);
    t->losses = tf_arena_take(&t->memory, t->config.train.batch_size, T * sizeof *t->losses);
    t->row_sums = tf_arena_take(&t->memory, tf_gradient_norm_room(model), sizeof *t->row_sums);
}

/* Sums up what memory the run needs. */
static enum tf_code add_up(struct tf_trainer_plan *plan, struct tf_err *err)
{
    const uint64_t parts[] = {plan->weights, plan->gradients, plan->moments, plan->activations,
                              plan->text};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (__builtin_add_overflow(plan->total, parts[i], &plan->total))
            return tf_fail(err, TF_MEMORY, "this run needs more than memory can be");
    return TF_OK;
}

/* Works out what the run needs. */
static enum tf_code make_plan(struct tf_trainer *t, struct tf_err *err)
{
    const uint64_t B = t->config.train.batch_size, T = t->config.model.seq_length;
    struct tf_trainer_plan *plan = &t->plan;
    struct tf_model *model = NULL;
    uint64_t evaluation = 0;
    enum tf_code code =
        tf_model_plan(&model, t->from.store ? &t->from.shape : &t->shape, true, err);
    if (!code)
        code = freeze(t, model, err);
    if (!code)
        code = tf_run_plan(&plan->activations, model, TF_RUN_TRAIN, t->micro, T, err);
    if (!code && evaluates(t)) {
        const struct tf_eval_options options = eval_options(&t->config);
        code = tf_evaluator_plan(&evaluation, model, &t->valid, &options, err);
    }
    if (!code) {
        take_buffers(t, model);
        plan->activations += evaluation + t->memory.used;
        plan->parameters = tf_model_parameters(model);
        plan->weights = model->bytes_weights;
        plan->gradients = model->bytes_gradients;
        plan->moments = model->bytes_moments;
        plan->text =
            (t->train.count + (t->valid.borrowed ? 0 : t->valid.count)) * sizeof *t->train.tokens;
        plan->flops_per_step = tf_model_flops(model) * (double)B * (double)T;
        plan->checkpoint = tf_checkpoint_bytes(model);
        plan->train_windows = tf_corpus_windows(&t->train, T);
        plan->valid_tokens = t->valid.count;
        plan->steps_per_epoch = (plan->train_windows + B - 1) / B;
        code = add_up(plan, err);
    }
    tf_model_free(model);
    return code;
}

static enum tf_code take_memory(struct tf_trainer *t, struct tf_err *err)
{
    enum tf_code code = tf_arena_alloc(&t->memory, "training buffers", err);
    if (!code)
        code = t->from.store ? tf_model_load(&t->model, &t->from, true, err)
                             : tf_model_new(&t->model, &t->shape, true, err);
    if (code)
        return code;
    if (!t->from.store)
        tf_model_init(t->model, t->config.train.seed);
    take_buffers(t, t->model);
    code = freeze(t, t->model, err);
    if (!code)
        code =
            tf_run_new(&t->run, t->model, TF_RUN_TRAIN, t->micro, t->config.model.seq_length, err);
    if (!code && evaluates(t)) {
        const struct tf_eval_options options = eval_options(&t->config);
        code = tf_evaluator_new(&t->evaluator, t->model, &t->valid, &t->tokenizer, &options, err);
    }
    return code;
}

static enum tf_code set_up(struct tf_trainer *t, const struct tf_config *config, bool plan_only,
                           struct tf_err *err)
{
    const struct tf_trainer_options *o = &t->options;
    enum tf_code code = plan_only ? TF_OK : tf_lock_take(&t->lock, o->output, err);
    if (!code)
        code = tf_out_check(o->output, o->force || o->resume, err);
    if (!code)
        code = open_from(t, config, err);
    if (!code)
        code = load_texts(t, err);
    if (!code && !t->from.store)
        code = tf_shape_init(&t->shape, &t->config, t->tokenizer.size, err);
    t->from.shape.seq = t->config.model.seq_length;
    if (!code)
        code = begin_or_go_on(t, err);
    if (!code)
        code = make_plan(t, err);
    if (!code && !plan_only)
        code = tf_trainer_fits(t, err);
    if (!code && !plan_only)
        code = take_memory(t, err);
    tf_checkpoint_close(&t->from);
    t->from = (struct tf_checkpoint){0};
    return code;
}

enum tf_code tf_trainer_new(struct tf_trainer **out, const struct tf_config *config,
                            const struct tf_trainer_options *options, bool plan_only,
                            struct tf_err *err)
{
    struct tf_trainer *t = *out = tf_new(1, sizeof *t, "trainer", err);
    if (!t)
        return TF_MEMORY;
    t->options = *options;
    t->saved_step = UINT64_MAX;
    const enum tf_code code = set_up(t, config, plan_only, err);
    if (code) {
        tf_trainer_free(t);
        *out = NULL;
        return code;
    }
    if (options->resume)
        t->saved_step = t->state.step;
    return TF_OK;
}

const struct tf_trainer_plan *tf_trainer_plan(const struct tf_trainer *trainer)
{
    return &trainer->plan;
}

enum tf_code tf_trainer_fits(const struct tf_trainer *trainer, struct tf_err *err)
{
    const uint64_t physical = tf_memory_physical(), total = trainer->plan.total;
    if (!physical || total <= physical)
        return TF_OK;
    return tf_fail(err, TF_MEMORY,
                   "this run needs %" PRIu64 " MiB of memory; the machine has %" PRIu64 " MiB",
                   total >> 20, physical >> 20);
}

uint64_t tf_trainer_step(const struct tf_trainer *trainer)
{
    return trainer->state.step;
}

void tf_trainer_free(struct tf_trainer *t)
{
    if (!t)
        return;
    tf_evaluator_free(t->evaluator);
    tf_run_free(t->run);
    tf_model_free(t->model);
    tf_arena_fini(&t->memory);
    tf_lineage_fini(&t->lineage);
    tf_shape_fini(&t->shape);
    tf_checkpoint_close(&t->from);
    tf_corpus_fini(&t->valid);
    tf_corpus_fini(&t->train);
    tf_config_fini(&t->config);
    tf_lock_release(&t->lock);
    tf_free(t);
}
