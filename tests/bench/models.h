/* The models that are measured. */
#ifndef TF_BENCH_MODELS_H
#define TF_BENCH_MODELS_H

#include "nn/model.h"

struct size {
    const char *name;
    enum tf_kind kind;
    uint64_t layers, width, heads;
    uint64_t tokens, ffn; /* parameter tokens of q, k, v and o each (a transformer's: the width);
                             of ffn */
    uint64_t length, batch, vocab;
};

/* TokenFormers by size, then the transformers. */
enum { LARGEST = 2, TOKENFORMERS, SIZES = 4 };
extern const struct size sizes[SIZES];

/* A model of random weights for sequences of at most `length`. Ends the program when there is no
 * memory. */
struct tf_model *bench_model(const struct size *size, uint64_t length, bool train);
/* Parameters that a forward pass multiplies each row with, the head's left out. */
double bench_multiplied(const struct tf_model *model);

#endif
