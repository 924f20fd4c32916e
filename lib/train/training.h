/* The inside of a trainer, shared by what makes it (trainer.c) and what runs it (training.c). */
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
    struct tf_checkpoint from;     /* open while the trainer is made; zeroed otherwise */
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
};

#endif
