/* The parts of a growth. For grow*.c. */
#ifndef TF_TRAIN_GROW_PARTS_H
#define TF_TRAIN_GROW_PARTS_H

#include "train/grow.h"

/* Judges what growth->after, which does not have its new layers yet, does to the function: exact,
 * preserved, why (grow_effect.c). */
void tf_grow_judge(struct tf_growth *growth, const struct tf_grow_options *options);
/* The scale under which the old tokens weigh as before. m copies of every key make the squared norm
 * (or the sum of the softmax) m times as large, and tau^2 must follow; other keys ask for no
 * change. */
static inline double tf_kept_scale(double scale, uint64_t before, uint64_t after,
                                   enum tf_row_init keys)
{
    return keys == TF_INIT_COPY ? scale * ((double)after / (double)before) : scale;
}
/* Tokens that are copied key and value: each old value is shared out among its copies. */
static inline bool tf_grow_splits(const struct tf_grow_options *options)
{
    return options->keys == TF_INIT_COPY && options->values == TF_INIT_COPY;
}

/* Puts the new layers into growth->after, and fills in growth->origin (grow_layers.c). */
TF_MUST_USE enum tf_code tf_grow_place_layers(struct tf_growth *growth,
                                              const struct tf_grow_options *options,
                                              struct tf_err *err);
/* The old layer that the tables of a layer after continue, or, when it is new, are shaped after. */
uint64_t tf_grow_like(const struct tf_growth *growth, uint64_t layer);

/* A growth at hand. All borrowed. */
struct tf_growing {
    const struct tf_checkpoint *from;
    const struct tf_growth *growth;
    const struct tf_grow_options *options;
};

/* A table of the grown model, and the old one that it continues. */
struct tf_grown {
    const struct tf_table *as; /* of the grown model, whose memory may be planned only */
    size_t old;                /* in the old file; of a new layer, the table that is shaped alike */
    bool fresh;                /* of a new layer */
    uint64_t layer;            /* after the growth */
    int p;                     /* TF_PROJECTIONS: not of a layer */
    enum tf_part part;
};
struct tf_grown tf_grown_of(const struct tf_growing *growing, const struct tf_table *as);
/* Are its old rows, too, other than they were? */
bool tf_grown_is_changed(const struct tf_grown *table, const struct tf_growing *growing);
/* Fills in its rows, as->stride floats apart, in zeroed memory: all of them, or only those behind
 * the old ones (`rows` is the whole table in either case). */
TF_MUST_USE enum tf_code tf_grown_rows(float *rows, const struct tf_grown *table, bool all,
                                       const struct tf_growing *growing, struct tf_err *err);

/* Does the growth give it wider rows, or more units by duplicating them? */
bool tf_grown_is_wider(const struct tf_grown *table, const struct tf_growing *growing);
/* All rows of such a table (grow_widen.c). */
TF_MUST_USE enum tf_code tf_widen_rows(float *rows, const struct tf_grown *table,
                                       const struct tf_growing *growing, struct tf_err *err);

#endif
