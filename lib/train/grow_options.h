/* How a model is grown: what the command line of tf-grow says, and a stage of a run. */
#ifndef TF_TRAIN_GROW_OPTIONS_H
#define TF_TRAIN_GROW_OPTIONS_H

#include <stdint.h>

/* A target: 512, x2 or +256. */
struct tf_target {
    enum { TF_TARGET_NONE, TF_TARGET_ABSOLUTE, TF_TARGET_TIMES, TF_TARGET_PLUS } kind;
    uint64_t number;
};

enum tf_grow_method {
    TF_GROW_TOKENS,    /* rows are appended to keys and values */
    TF_GROW_NET2NET,   /* a transformer's width and MLP: units are duplicated, what goes out of them
                          is divided (Net2WiderNet, arXiv 1511.05641), noise on the duplicates */
    TF_GROW_HYPERCLONE /* the same in whole multiples, with noise that cancels (arXiv 2409.12903) */
};
/* The noise of net2net and hyperclone where none is given. */
#define TF_GROW_NOISE 0.01

enum tf_row_init { TF_INIT_ZERO, TF_INIT_RANDOM, TF_INIT_COPY };
enum tf_grow_scale { TF_SCALE_KEEP, TF_SCALE_COUNT };
enum tf_grow_place { TF_PLACE_TOP, TF_PLACE_MIDDLE, TF_PLACE_SPREAD };

struct tf_grow_options {
    enum tf_grow_method method;
    struct tf_target qkv, proj, ffn; /* tokens; ffn also of an MLP */
    struct tf_target width;          /* hidden size, for net2net and hyperclone */
    const char *layers;       /* whose tokens grow, "0-3,7" of the layers before; NULL: all */
    uint64_t add_layers;      /* new layers, that change nothing yet */
    enum tf_grow_place place; /* of the new layers */
    enum tf_row_init keys, values;
    enum tf_grow_scale scale;
    double noise; /* net2net, hyperclone: as a share of each table's root mean square */
    uint64_t seed;
};

#endif
