/* The inside of a trainer, shared by what makes it (trainer.c), what runs it (training.c) and what
 * makes it grow (staging.c). */
#ifndef TF_TRAIN_TRAINING_H
#define TF_TRAIN_TRAINING_H

#include "base/lock.h"
#include "text/corpus.h"
#include "train/eval.h"
#include "train/trainer.h"

struct tf_trainer {
    struct tf_trainer_options options; /* strings are borrowed */
    struct tf_lock lock;               /* on the output */
    struct tf_config config;           /* its own: the caller's, with the model of --init */
    struct tf_tokenizer tokenizer;
    struct tf_corpus train, valid; /* valid.count 0: none */
    struct tf_checkpoint from;     /* open while a model is taken from it; zeroed otherwise */
    struct tf_shape shape;         /* of a model that begins here; `layer` is owned */
    struct tf_state state;
    struct tf_lineage lineage; /* its last event is this stretch of training */
    struct tf_trainer_plan plan;
    struct tf_model *model;
    struct tf_run *run;
    struct tf_evaluator *evaluator; /* NULL: no validation */
    struct tf_arena memory;         /* of what follows */
    uint16_t *ids, *targets;        /* micro-batch x T */
    float *losses;                  /* batch x T */
    double *row_sums;
    uint64_t micro;         /* sequences a pass */
    uint64_t saved_step;    /* of the last checkpoint written; UINT64_MAX: none */
    uint64_t good_step;     /* of the last whose model had a good loss in the step after; 0: none */
    double began, saved_at; /* monotonic seconds */
    uint64_t began_tokens;
    double clocked_at; /* seconds up to here are in the lineage */
    bool grown;        /* has the model ever: does it have an age? */
    uint64_t measured; /* the step of the last evaluation of this model; UINT64_MAX: none */
    struct tf_eval_result result; /* of it */
};

/* trainer.c: begins a stretch of training with the model of `from`, or with a new one. */
TF_MUST_USE enum tf_code tf_training_begin(struct tf_trainer *t, struct tf_err *err);
/* Takes the memory of that model's training, and lets it go. */
TF_MUST_USE enum tf_code tf_training_take(struct tf_trainer *t, struct tf_err *err);
void tf_training_release(struct tf_trainer *t);
/* Does the file have both moments of every table? */
bool tf_training_moments(const struct tf_checkpoint *from);

/* training.c: monotonic seconds. */
double tf_training_seconds(void);
/* Writes the run as it stands to the output. */
TF_MUST_USE enum tf_code tf_training_save(struct tf_trainer *t, struct tf_err *err);
/* The loss over the validation text, into t->result. */
TF_MUST_USE enum tf_code tf_training_measure(struct tf_trainer *t, struct tf_err *err);

/* staging.c: the shapes that a run still goes through, the first given: *count of them. Refuses
 * what cannot be (TF_CONFIG). */
TF_MUST_USE enum tf_code tf_staging_shapes(struct tf_shape **out, size_t *count,
                                           const struct tf_config *config, uint64_t behind,
                                           const struct tf_shape *first, struct tf_err *err);
void tf_staging_shapes_free(struct tf_shape *shapes, size_t count);
/* Did the checkpoint grow inside its run, and was not trained since? */
bool tf_staging_grew(const struct tf_checkpoint *from);
/* Is it time to grow? */
bool tf_staging_due(const struct tf_trainer *t);
/* Saves, grows the saved checkpoint, and goes on with that. */
TF_MUST_USE enum tf_code tf_staging_grow(struct tf_trainer *t, struct tf_err *err);

#endif
