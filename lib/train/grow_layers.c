/* Growth in depth: where new layers stand, and what they are shaped after. */
#include "base/mem.h"
#include "train/grow_parts.h"

/* Old layers below the k-th of `added` new ones, k from 1. */
static uint64_t layers_below(enum tf_grow_place place, uint64_t layers, uint64_t added, uint64_t k)
{
    switch (place) {
    case TF_PLACE_MIDDLE:
        return layers / 2;
    case TF_PLACE_SPREAD:
        return (k * layers + added - 1) / added;
    case TF_PLACE_TOP:
        break;
    }
    return layers;
}

/* The layers of `after`, old ones in their order: which each was, in origin. */
static void place_all(uint64_t *origin, const struct tf_grow_options *options, uint64_t layers)
{
    uint64_t added = options->add_layers, old = 0;

    for (uint64_t k = 1; k <= added; k++) {
        while (old < layers_below(options->place, layers, added, k))
            *origin++ = old++;
        *origin++ = UINT64_MAX;
    }
    while (old < layers)
        *origin++ = old++;
}

uint64_t tf_grow_like(const struct tf_growth *growth, uint64_t layer)
{
    while (layer > 0 && growth->origin[layer] == UINT64_MAX)
        layer--;
    return growth->origin[layer] == UINT64_MAX ? 0 : growth->origin[layer];
}

enum tf_code tf_grow_place_layers(struct tf_growth *growth, const struct tf_grow_options *options,
                                  struct tf_err *err)
{
    uint64_t layers = growth->before.layers, count = layers + options->add_layers;

    if (count < layers || count > TF_MAX_LAYERS)
        return tf_fail(err, TF_USAGE, "%llu new layers on %llu pass the limit of %d layers",
                       (unsigned long long)options->add_layers, (unsigned long long)layers,
                       TF_MAX_LAYERS);
    struct tf_layer_shape *grown = growth->after.layer;
    struct tf_layer_shape *all = tf_new(count, sizeof *all, "the shape's layers", err);
    growth->origin = tf_new(count, sizeof *growth->origin, "the layers' origins", err);
    if (!all || !growth->origin) {
        tf_free(all);
        return TF_MEMORY;
    }
    place_all(growth->origin, options, layers);
    for (uint64_t layer = 0; layer < count; layer++)
        all[layer] = grown[tf_grow_like(growth, layer)];
    tf_free(grown);
    growth->after.layer = all;
    growth->after.layers = count;
    return TF_OK;
}
