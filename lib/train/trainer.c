/* Making a trainer: everything is checked, and all memory taken, before the first step. */
#include "train/training.h"

#include "base/io.h"
#include "train/aging.h"
#include "train/optim.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Does the run that is resumed have another model than its config began with: that of a checkpoint,
 * or one that grew? */
static bool has_another(const struct tf_lineage *past)
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
    if (!code && (t->options.init || (t->options.resume && has_another(&t->from.lineage)))) {
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

bool tf_training_moments(const struct tf_checkpoint *from)
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

/* May the run go on with what is in the checkpoint? */
static enum tf_code check_resume(struct tf_trainer *t, const char *path, struct tf_err *err)
{
    const struct tf_lineage *past = &t->from.lineage;
    const struct tf_event *last = past->count ? &past->events[past->count - 1] : NULL;
    const bool grew = tf_staging_grew(&t->from);
    if (!grew && (!last || last->kind != TF_EVENT_TRAIN))
        return tf_fail(
            err, TF_DATA,
            "%s: cannot be resumed: nothing was trained since it was %s; --init begins from it",
            path, last && last->kind == TF_EVENT_EDIT ? "edited" : "grown");
    if (!grew && !tf_training_moments(&t->from))
        return tf_fail(err, TF_DATA,
                       "%s: cannot be resumed: it has no optimizer state; --init begins from it",
                       path);
    enum tf_code code = tf_config_resumable(&t->from.config, &t->config, err);
    if (!code && t->from.state.step > t->config.train.steps)
        code = tf_fail(err, TF_CONFIG,
                       "train.steps: %" PRIu64 ", but %s is at step %" PRIu64 " already",
                       t->config.train.steps, path, t->from.state.step);
    if (!code)
        code = tf_stages_resumable(&t->from.config, &t->config, t->from.state.stages,
                                   t->from.state.step, err);
    return code ? tf_context(err, "%s", path) : TF_OK;
}

/* The checkpoint to go on from, or NULL. */
static const char *from_path(const struct tf_trainer *t)
{
    return t->options.resume ? t->options.resume : t->options.init;
}

/* Opens the checkpoint to go on from, and what it says about this run. */
static enum tf_code open_from(struct tf_trainer *t, const struct tf_config *config,
                              struct tf_err *err)
{
    const char *path = from_path(t);
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
    return t->options.resume ? check_resume(t, path, err) : TF_OK;
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

/* Adds an event to the lineage, from what there was. */
static enum tf_code add_stretch(struct tf_trainer *t, struct tf_err *err)
{
    struct tf_event *event = tf_lineage_add(&t->lineage, err);
    struct tf_digest digest;
    if (!event)
        return TF_MEMORY;
    event->kind = TF_EVENT_TRAIN;
    event->seconds = t->config.train.clock ? 0 : NAN;
    if (!t->from.store)
        return TF_OK;
    const enum tf_code code = tf_store_model_digest(t->from.store, &digest, err);
    if (!code)
        tf_digest_text(event->from, &digest);
    return code;
}

enum tf_code tf_training_begin(struct tf_trainer *t, struct tf_err *err)
{
    const struct tf_lineage *past = &t->from.lineage;
    tf_lineage_fini(&t->lineage);
    const enum tf_code code = tf_lineage_copy(&t->lineage, past, err);
    if (code)
        return code;
    t->grown = tf_aging_grown(past);
    if (tf_aging_fresh(past))
        t->state.age = 0;
    if (!t->from.store || !tf_training_moments(&t->from))
        t->state.updates = 0;
    t->state.began = t->state.step;
    return add_stretch(t, err);
}

/* Goes on with the lineage's last stretch. */
static enum tf_code go_on(struct tf_trainer *t, struct tf_err *err)
{
    const enum tf_code code = tf_lineage_copy(&t->lineage, &t->from.lineage, err);
    if (code)
        return code;
    t->grown = tf_aging_grown(&t->lineage);
    if (!t->config.train.clock) /* only all of the seconds are worth telling */
        t->lineage.events[t->lineage.count - 1].seconds = NAN;
    return TF_OK;
}

/* State and lineage: those of the run that goes on, or a new stretch after what came before. */
static enum tf_code begin_or_go_on(struct tf_trainer *t, struct tf_err *err)
{
    const uint64_t hash = tf_corpus_hash(&t->train);
    t->state = t->from.state;
    if (!t->options.resume) {
        t->state = (struct tf_state){.data_hash = hash,
                                     .best_loss = NAN,
                                     .updates = t->from.state.updates,
                                     .age = t->from.state.age};
        return tf_training_begin(t, err);
    }
    if (hash != t->state.data_hash)
        return tf_fail(err, TF_DATA,
                       "%s: the training text is not the one that this run began with (hash "
                       "%016" PRIx64 ", then %016" PRIx64 ")",
                       t->options.resume, hash, t->state.data_hash);
    return tf_staging_grew(&t->from) ? tf_training_begin(t, err) : go_on(t, err);
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

/* Works out what training this model needs. */
static enum tf_code plan_model(struct tf_trainer *t, struct tf_trainer_plan *plan,
                               const struct tf_model *model, struct tf_err *err)
{
    const uint64_t T = t->config.model.seq_length;
    uint64_t evaluation = 0;
    enum tf_code code = tf_run_plan(&plan->activations, model, TF_RUN_TRAIN, t->micro, T, err);
    if (!code && evaluates(t)) {
        const struct tf_eval_options options = eval_options(&t->config);
        code = tf_evaluator_plan(&evaluation, model, &t->valid, &options, err);
    }
    if (code)
        return code;
    t->memory = (struct tf_arena){0};
    take_buffers(t, model);
    plan->activations += evaluation + t->memory.used;
    plan->weights = model->bytes_weights;
    plan->gradients = model->bytes_gradients;
    plan->moments = model->bytes_moments;
    plan->text =
        (t->train.count + (t->valid.borrowed ? 0 : t->valid.count)) * sizeof *t->train.tokens;
    plan->checkpoint = tf_checkpoint_bytes(model);
    return add_up(plan, err);
}

/* Plans one of the shapes that the run goes through, the first or a larger one. */
static enum tf_code plan_shape(struct tf_trainer *t, const struct tf_shape *shape, bool first,
                               struct tf_err *err)
{
    const uint64_t B = t->config.train.batch_size, T = t->config.model.seq_length;
    struct tf_trainer_plan plan = {0};
    struct tf_model *model = NULL;
    enum tf_code code = tf_model_plan(&model, shape, true, err);
    if (!code && first && tf_aging_mark(model, &t->lineage, err))
        code = tf_context(err, "%s", from_path(t));
    if (!code && first)
        code = tf_aging_freeze(model, &t->config, &t->lineage, t->state.age, err);
    if (!code)
        code = plan_model(t, &plan, model, err);
    if (!code) {
        plan.final_parameters = tf_model_parameters(model);
        plan.parameters = first ? plan.final_parameters : t->plan.parameters;
        plan.flops_per_step =
            first ? tf_model_flops(model) * (double)B * (double)T : t->plan.flops_per_step;
        t->plan = plan;
    }
    tf_model_free(model);
    return code;
}

/* Works out what the run needs; growth only ever adds to it. */
static enum tf_code make_plan(struct tf_trainer *t, struct tf_err *err)
{
    const uint64_t B = t->config.train.batch_size;
    struct tf_shape *shapes = NULL;
    size_t count = 0;
    enum tf_code code = tf_staging_shapes(&shapes, &count, &t->config, t->state.stages,
                                          t->from.store ? &t->from.shape : &t->shape, err);
    for (size_t i = 0; !code && i < count; i++)
        code = plan_shape(t, &shapes[i], i == 0, err);
    tf_staging_shapes_free(shapes, count);
    t->plan.train_windows = tf_corpus_windows(&t->train, t->config.model.seq_length);
    t->plan.valid_tokens = t->valid.count;
    t->plan.steps_per_epoch = (t->plan.train_windows + B - 1) / B;
    return code;
}

enum tf_code tf_training_take(struct tf_trainer *t, struct tf_err *err)
{
    enum tf_code code = t->from.store ? tf_model_load(&t->model, &t->from, true, err)
                                      : tf_model_new(&t->model, &t->shape, true, err);
    if (code)
        return code;
    if (!t->from.store)
        tf_model_init(t->model, t->config.train.seed);
    t->memory = (struct tf_arena){0};
    take_buffers(t, t->model);
    code = tf_arena_alloc(&t->memory, "training buffers", err);
    if (code)
        return code;
    take_buffers(t, t->model);
    code = tf_aging_mark(t->model, &t->lineage, err);
    if (!code)
        code = tf_aging_freeze(t->model, &t->config, &t->lineage, t->state.age, err);
    if (!code)
        code =
            tf_run_new(&t->run, t->model, TF_RUN_TRAIN, t->micro, t->config.model.seq_length, err);
    if (!code && evaluates(t)) {
        const struct tf_eval_options options = eval_options(&t->config);
        code = tf_evaluator_new(&t->evaluator, t->model, &t->valid, &t->tokenizer, &options, err);
    }
    return code;
}

void tf_training_release(struct tf_trainer *t)
{
    tf_evaluator_free(t->evaluator);
    tf_run_free(t->run);
    tf_model_free(t->model);
    tf_arena_fini(&t->memory);
    t->evaluator = NULL;
    t->run = NULL;
    t->model = NULL;
    t->measured = UINT64_MAX;
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
        code = tf_training_take(t, err);
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
    t->saved_step = t->measured = UINT64_MAX;
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
    tf_training_release(t);
    tf_lineage_fini(&t->lineage);
    tf_shape_fini(&t->shape);
    tf_checkpoint_close(&t->from);
    tf_corpus_fini(&t->valid);
    tf_corpus_fini(&t->train);
    tf_config_fini(&t->config);
    tf_lock_release(&t->lock);
    tf_free(t);
}
