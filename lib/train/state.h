/* Where a training run stands, and where a model came from: the two blobs that a checkpoint carries
 * as YAML. */
#ifndef TF_TRAIN_STATE_H
#define TF_TRAIN_STATE_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything a resumed run needs besides tables and config; random numbers and the data cursor are
 * functions of seed and step. */
struct tf_state {
    uint64_t step;      /* optimizer steps done in this stretch of training */
    uint64_t tokens;    /* tokens trained on in this stretch */
    uint64_t updates;   /* optimizer steps behind the moments, of this stretch and those before it:
                           AdamW's t */
    uint64_t data_hash; /* tf_corpus_hash of the training text; 0: none yet */
    double best_loss;   /* lowest validation loss; NaN before the first evaluation */
    uint64_t best_step;
    uint64_t age;        /* optimizer steps since the last growth, of any stretch */
    uint64_t stages;     /* of the config's grow.stages: those behind */
    uint64_t began;      /* the step at which the lineage's last training began */
    size_t recent_count; /* the divergence guard's window, oldest first */
    float recent[256];
};

/* A Pattention that gained or lost tokens. */
struct tf_row_change {
    char name[64]; /* layers.3.ffn */
    uint64_t before, after;
};
/* One thing that happened to a model. */
struct tf_event {
    enum tf_event_kind { TF_EVENT_TRAIN, TF_EVENT_GROW, TF_EVENT_EDIT } kind;
    char from[33];          /* model digest before it; "" for a model that began here */
    uint64_t steps, tokens; /* train */
    double flops;           /* train: by tf_model_flops; NaN: not known (an older file) */
    double seconds;         /* train: of the clock, with train.clock; else NaN */
    char method[16];        /* grow: tokens, net2net, hyperclone */
    char keys[16], values[16], scale[16]; /* grow: how new rows were made; "" where no old table has
                                             any, or no scale */
    uint64_t layers[2], width[2];         /* grow: before, after; both 0 when they did not change */
    char place[16];                       /* grow: of new layers; "" without */
    uint64_t seed;
    char verb[16], effect[16];  /* edit: of tf-inspect, and what it did to the function */
    size_t row_count;           /* grow, edit: the Pattentions that changed */
    struct tf_row_change *rows; /* owned */
};
const char *tf_event_name(enum tf_event_kind kind); /* train, grow, edit */
struct tf_lineage {
    size_t count;
    struct tf_event *events; /* owned; oldest first */
};

/* All training of a lineage. */
struct tf_spent {
    uint64_t steps, tokens;
    double flops, seconds; /* NaN when any stretch does not know */
};
struct tf_spent tf_lineage_spent(const struct tf_lineage *lineage);

/* As YAML (deterministic; reads back the same), *out freed with tf_free; and back: TF_DATA. An
 * empty text is a zero state or no lineage. */
TF_MUST_USE enum tf_code tf_state_print(const struct tf_state *state, char **out, size_t *size,
                                        struct tf_err *err);
TF_MUST_USE enum tf_code tf_state_parse(struct tf_state *state, const char *text, size_t n,
                                        struct tf_err *err);
TF_MUST_USE enum tf_code tf_lineage_print(const struct tf_lineage *lineage, char **out,
                                          size_t *size, struct tf_err *err);
TF_MUST_USE enum tf_code tf_lineage_parse(struct tf_lineage *lineage, const char *text, size_t n,
                                          struct tf_err *err);
void tf_lineage_fini(struct tf_lineage *lineage);
/* Appends a zeroed event; borrowed, valid until the next call. NULL after setting err. */
TF_MUST_USE struct tf_event *tf_lineage_add(struct tf_lineage *lineage, struct tf_err *err);
/* A copy of its own. */
TF_MUST_USE enum tf_code tf_lineage_copy(struct tf_lineage *to, const struct tf_lineage *from,
                                         struct tf_err *err);

#endif
