/* Growth inside a run: the saved checkpoint is grown as tf-grow would, and the run goes on with it.
 */
#include "base/mem.h"
#include "train/aging.h"
#include "train/grow.h"
#include "train/training.h"

#include <inttypes.h>
#include <math.h>

/* What the training after a growth asks of it. */
static enum tf_code check_freeze(const struct tf_config *config, const struct tf_grow_options *how,
                                 struct tf_err *err)
{
    if (how->method == TF_GROW_TOKENS || !tf_aging_spares_old(config))
        return TF_OK;
    return tf_fail(err, TF_CONFIG, "train.freeze: old-tokens: %s changes old tokens too",
                   tf_grow_method_name(how->method));
}

/* The growth of a stage; what cannot be is the config's fault. */
static enum tf_code plan_stage(struct tf_growth *growth, const struct tf_config *config,
                               uint64_t stage, const struct tf_shape *shape, struct tf_err *err)
{
    const struct tf_grow_options how = tf_stage_options(config, stage);
    struct tf_err why = {0};
    enum tf_code code = check_freeze(config, &how, &why);
    if (!code)
        code = tf_grow_plan(growth, shape, &how, &why);
    return code ? tf_fail(err, code == TF_USAGE ? TF_CONFIG : code,
                          "grow.stages: at %" PRIu64 ": %s", config->grow.stages.items[stage].at,
                          why.text)
                : TF_OK;
}

enum tf_code tf_staging_shapes(struct tf_shape **out, size_t *count, const struct tf_config *config,
                               uint64_t behind, const struct tf_shape *first, struct tf_err *err)
{
    const size_t stages = config->grow.stages.count;
    struct tf_shape *shapes = *out =
        tf_new(1 + stages - behind, sizeof *shapes, "the stages' shapes", err);
    *count = 0;
    if (!shapes)
        return TF_MEMORY;
    enum tf_code code = tf_shape_copy(&shapes[0], first, err);
    *count += !code;
    for (uint64_t i = behind; !code && i < stages; i++) {
        struct tf_growth growth;
        code = plan_stage(&growth, config, i, &shapes[*count - 1], err);
        if (code)
            break;
        code = tf_shape_copy(&shapes[*count], &growth.after, err);
        *count += !code;
        tf_growth_fini(&growth);
    }
    return code;
}

void tf_staging_shapes_free(struct tf_shape *shapes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tf_shape_fini(&shapes[i]);
    tf_free(shapes);
}

bool tf_staging_grew(const struct tf_checkpoint *from)
{
    const struct tf_lineage *past = &from->lineage;
    const struct tf_stages *stages = &from->config.grow.stages;
    const struct tf_state *state = &from->state;
    return past->count >= 2 && past->events[past->count - 1].kind == TF_EVENT_GROW &&
           past->events[past->count - 2].kind == TF_EVENT_TRAIN && state->stages &&
           state->stages <= stages->count && state->began < state->step &&
           stages->items[state->stages - 1].at == state->step;
}

bool tf_staging_due(const struct tf_trainer *t)
{
    const struct tf_stages *stages = &t->config.grow.stages;
    return t->state.stages < stages->count && stages->items[t->state.stages].at == t->state.step;
}

/* Puts the grown checkpoint in the place of the one that is open. */
static enum tf_code write_grown(struct tf_trainer *t, const struct tf_growth *growth,
                                const struct tf_grow_options *how, struct tf_err *err)
{
    struct tf_writer *writer = NULL;
    enum tf_code code = tf_writer_open(&writer, t->options.output, true, 0, err);
    if (!code)
        code = tf_grow_write(writer, &t->from, growth, how, err);
    if (!code)
        code = tf_checkpoint_commit(writer, err);
    tf_writer_close(writer);
    return code;
}

static enum tf_code open_output(struct tf_trainer *t, struct tf_err *err)
{
    const enum tf_code code = tf_checkpoint_open(&t->from, t->options.output, 0, NULL, 0, err);
    t->from.shape.seq = t->config.model.seq_length;
    return code;
}

/* The saved checkpoint, a stage further. */
static enum tf_code grow_output(struct tf_trainer *t, struct tf_err *err)
{
    const struct tf_grow_options how = tf_stage_options(&t->config, t->state.stages);
    struct tf_growth growth = {0};
    enum tf_code code = open_output(t, err);
    if (!code)
        code = plan_stage(&growth, &t->config, t->state.stages, &t->from.shape, err);
    t->from.state.stages++;
    if (!code)
        code = write_grown(t, &growth, &how, err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&t->from);
    return code;
}

/* Goes on with the grown checkpoint that the output is. */
static enum tf_code take_output(struct tf_trainer *t, struct tf_err *err)
{
    enum tf_code code = open_output(t, err);
    if (!code)
        code = tf_config_adopt(&t->config, &t->from.config, "model", err);
    if (!code) {
        t->state = t->from.state;
        code = tf_training_begin(t, err);
    }
    if (!code)
        code = tf_training_take(t, err);
    tf_checkpoint_close(&t->from);
    return code;
}

static enum tf_code measure(struct tf_trainer *t, double *loss, struct tf_err *err)
{
    const enum tf_code code = t->evaluator ? tf_training_measure(t, err) : TF_OK;
    *loss = t->evaluator ? t->result.nats_per_token : NAN;
    return code;
}

enum tf_code tf_staging_grow(struct tf_trainer *t, struct tf_err *err)
{
    struct tf_stage_report report = {.step = t->state.step,
                                     .parameters = {tf_model_parameters(t->model)}};
    /* What was saved by a run before this one may have the config of that. */
    const bool saved = t->saved_step == t->state.step && t->began_tokens < t->state.tokens;
    enum tf_code code = saved ? TF_OK : tf_training_save(t, err);
    if (!code)
        code = measure(t, &report.loss[0], err);
    if (code)
        return code;
    tf_training_release(t);
    code = grow_output(t, err);
    if (!code)
        code = take_output(t, err);
    if (!code)
        code = measure(t, &report.loss[1], err);
    if (code || !t->options.events.grown)
        return code;
    report.method = t->lineage.events[t->lineage.count - 2].method;
    report.parameters[1] = tf_model_parameters(t->model);
    report.flops = tf_lineage_spent(&t->lineage).flops;
    t->options.events.grown(t->options.events.user, &report);
    return TF_OK;
}
