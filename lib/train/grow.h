/* Growth: more parameter tokens, the function kept (numerics in tokenformer(7), "Growth"). */
#ifndef TF_TRAIN_GROW_H
#define TF_TRAIN_GROW_H

#include "train/modelio.h"

/* A target of the command line: 512, x2 or +256. */
struct tf_target {
    enum { TF_TARGET_NONE, TF_TARGET_ABSOLUTE, TF_TARGET_TIMES, TF_TARGET_PLUS } kind;
    uint64_t number;
};
TF_MUST_USE enum tf_code tf_target_parse(struct tf_target *out, const char *text,
                                         struct tf_err *err);

struct tf_grow_options {
    struct tf_target qkv, proj, ffn;
    const char *layers; /* "0-3,7"; NULL: all */
    enum tf_row_init keys, values;
    enum tf_grow_scale scale;
    uint64_t seed;
};

struct tf_growth {
    struct tf_shape before, after; /* `layer` owned */
    bool exact;                    /* every logit the same to the bit */
    bool preserved;                /* the same to rounding */
    char why[256];                 /* when not exact: the reason, in a sentence */
};

/* Works out what growth would do, and refuses what cannot be (TF_USAGE: a target below the count,
 * the dead combination of zero keys with zero values (but for softmax), a layer that does not
 * exist, nothing to grow). */
TF_MUST_USE enum tf_code tf_grow_plan(struct tf_growth *growth, const struct tf_shape *shape,
                                      const struct tf_grow_options *options, struct tf_err *err);
void tf_growth_fini(struct tf_growth *growth);

/* Fills rows before..after of one table: keys or values of a Pattention of a model of `shape`, old
 * rows (before x stride) given when they are copied; with copies the old values are changed too
 * (shared out), which is why `rows` is the whole table, after x stride. */
void tf_grow_rows(float *rows, size_t stride, uint64_t before, uint64_t after, uint64_t cols,
                  const char *name, bool values, const struct tf_shape *shape,
                  const struct tf_grow_options *options);

/* The grown model in memory, without gradients. */
TF_MUST_USE enum tf_code tf_grow_model(struct tf_model **out, const struct tf_checkpoint *from,
                                       const struct tf_growth *growth,
                                       const struct tf_grow_options *options, struct tf_err *err);

/* Writes what the grown checkpoint holds: old chunks copied as they stand wherever the old rows do
 * not change, moments carried with zeros for new rows, config, state and lineage brought up to
 * date. To finish and to commit is the caller's. */
TF_MUST_USE enum tf_code tf_grow_write(struct tf_writer *writer, const struct tf_checkpoint *from,
                                       const struct tf_growth *growth,
                                       const struct tf_grow_options *options, struct tf_err *err);

/* The largest difference of any logit between two models on the same random ids; 0 means identical
 * to the bit (signs of zero aside). Vocabularies must agree. */
TF_MUST_USE enum tf_code tf_grow_verify(double *largest, const struct tf_model *a,
                                        const struct tf_model *b, uint64_t seed,
                                        struct tf_err *err);

#endif
