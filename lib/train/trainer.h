/* The training loop. All memory is taken by tf_trainer_new, and anew when the model grows inside
 * the run; a step allocates nothing. */
#ifndef TF_TRAIN_TRAINER_H
#define TF_TRAIN_TRAINER_H

#include "train/modelio.h"
#include <signal.h>

struct tf_step_report {
    uint64_t step;   /* steps done, this one included */
    uint64_t tokens; /* trained on so far */
    double loss;     /* nats a token, before this step's update */
    double lr, grad_norm;
    double flops;                      /* of the whole lineage so far; NaN: not known */
    double tokens_per_second, seconds; /* since the run began, or was resumed */
};
struct tf_eval_report {
    uint64_t step, tokens;
    double loss, bits_per_byte, seconds;
    bool best;
    double flops;
};
struct tf_stage_report {
    uint64_t step;
    const char *method;
    uint64_t parameters[2]; /* before, after */
    double loss[2];         /* of the validation text; NaN without one */
    double flops;
};

/* What the loop tells its caller; any may be NULL. */
struct tf_trainer_events {
    void *user;
    void (*step)(void *user, const struct tf_step_report *report);
    void (*eval)(void *user, const struct tf_eval_report *report);
    void (*grown)(void *user, const struct tf_stage_report *report);
    void (*saved)(void *user, const char *path, uint64_t step);
};

struct tf_trainer_options {
    const char *output; /* OUT.tfck */
    bool force;         /* may replace an existing output */
    const char *resume; /* the checkpoint to go on from (the output itself), or NULL */
    const char *init;   /* the checkpoint whose model to begin with, or NULL */
    double max_seconds; /* 0: none; then the run saves and ends, to be resumed */
    const volatile sig_atomic_t *stop; /* set by a signal: finish the step, save, TF_STOPPED */
    struct tf_trainer_events events;
};

struct tf_trainer;

/* Everything a dry run prints. Bytes, unless said; of a run that grows, of its largest model. */
struct tf_trainer_plan {
    uint64_t parameters, final_parameters; /* as it goes on now, and after the last growth */
    uint64_t weights, gradients, moments, activations, text, total;
    double flops_per_step; /* as it goes on now */
    uint64_t checkpoint;   /* before compression */
    uint64_t train_windows, valid_tokens, steps_per_epoch;
};

/* Checks config, texts, memory and output, and takes everything that the run needs: first of all
 * the output's lock (base/lock.h), until free. plan_only: works out the plan, takes no memory for
 * the model and no lock. config is borrowed until free. */
TF_MUST_USE enum tf_code tf_trainer_new(struct tf_trainer **out, const struct tf_config *config,
                                        const struct tf_trainer_options *options, bool plan_only,
                                        struct tf_err *err);
const struct tf_trainer_plan *tf_trainer_plan(const struct tf_trainer *trainer);
/* TF_MEMORY, with both figures, when the plan is more than this machine's memory; tf_trainer_new
 * asks before it takes any. */
TF_MUST_USE enum tf_code tf_trainer_fits(const struct tf_trainer *trainer, struct tf_err *err);
uint64_t tf_trainer_step(const struct tf_trainer *trainer); /* steps done */
/* Trains to the last step (or max_seconds) and saves. TF_STOPPED when told to stop (after saving),
 * TF_DIVERGED naming the last good checkpoint. */
TF_MUST_USE enum tf_code tf_trainer_run(struct tf_trainer *trainer, struct tf_err *err);
void tf_trainer_free(struct tf_trainer *trainer);

#endif
