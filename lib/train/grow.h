/* Growth: more parameter tokens, more layers, or a wider transformer, the function kept (numerics
 * in tokenformer(7), "Growth"). */
#ifndef TF_TRAIN_GROW_H
#define TF_TRAIN_GROW_H

#include "train/modelio.h"

const char *tf_grow_method_name(enum tf_grow_method method);
const char *tf_row_init_name(enum tf_row_init init);
const char *tf_grow_scale_name(enum tf_grow_scale scale);
const char *tf_grow_place_name(enum tf_grow_place place);

TF_MUST_USE enum tf_code tf_target_parse(struct tf_target *out, const char *text,
                                         struct tf_err *err);

struct tf_growth {
    struct tf_shape before, after; /* `layer` owned */
    uint64_t *origin; /* of each layer after: the layer before; UINT64_MAX: new. Owned */
    bool depth_only;  /* new layers and nothing else: the old ones are as they were */
    bool exact;       /* every logit the same to the bit */
    bool preserved;   /* the same to rounding */
    char why[256];    /* when not exact: the reason, in a sentence */
};

/* Works out what growth would do, and refuses what cannot be (TF_USAGE: a target below the count,
 * the dead combination of zero keys with zero values (but for softmax), a layer that does not
 * exist, or is chosen for nothing, tokens of a matrix, the width of a tokenformer, nothing to
 * grow).
 *
 * New layers stand above the last ("top"), above the first half of the old ones, rounded down
 * ("middle"), or the k-th of N above the first ceil(k L / N) of L old ones ("spread"). They are
 * shaped after the old layer next below, as it has grown, or the first where none is below. Net2net
 * and hyperclone make the width twice as large where neither width nor ffn is given, and the MLP of
 * each chosen layer as many times larger as the width where ffn is not. */
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
