/* What a growth does to the function that a model computes. */
#include "train/grow_parts.h"
#include <stdio.h>
#include <string.h>

/* Worst last. */
enum effect { SAME_BITS, SAME_ROUNDED, DIFFERENT };

static const char another_order[] =
    "the copies make the same sums in another order, so they round differently";

/* Units of an MLP do not touch each other: what matters is what the new ones add. */
static enum effect judge_mlp(char *why, size_t size, const struct tf_grow_options *options)
{
    if (options->keys == TF_INIT_ZERO || options->values == TF_INIT_ZERO)
        return SAME_BITS;
    if (tf_grow_splits(options)) {
        snprintf(why, size, "%s", another_order);
        return SAME_ROUNDED;
    }
    snprintf(why, size, "%s keys answer, and bring %s values with them",
             options->keys == TF_INIT_COPY ? "copied" : "random",
             options->values == TF_INIT_COPY ? "copied" : "random");
    return DIFFERENT;
}

static enum effect judge_pattention(char *why, size_t size, const char *name,
                                    const struct tf_growth *growth, uint64_t layer, int p,
                                    const struct tf_grow_options *options)
{
    uint64_t before = growth->before.layer[layer].tokens[p];
    uint64_t after = growth->after.layer[layer].tokens[p];
    double old = growth->before.layer[layer].scale[p], scale = growth->after.layer[layer].scale[p];
    double kept = tf_kept_scale(old, before, after, options->keys);
    bool softmax = growth->before.norm == TF_SOFTMAX;

    if (options->keys == TF_INIT_RANDOM)
        snprintf(why, size,
                 "random keys add to the %s over all tokens, by which the old ones are divided",
                 softmax ? "sum" : "norm");
    else if (options->keys == TF_INIT_ZERO && softmax)
        snprintf(why, size, "softmax gives a zero key the weight e^0, which the old tokens lose");
    else if (options->keys == TF_INIT_COPY && after % before != 0)
        snprintf(why, size,
                 "%s: %llu tokens are not a whole multiple of %llu, so some keys count more often "
                 "than others",
                 name, (unsigned long long)after, (unsigned long long)before);
    else if (options->keys == TF_INIT_COPY && options->values == TF_INIT_RANDOM)
        snprintf(why, size,
                 "copied keys answer as the old ones do and bring random values with them");
    else if (scale != kept)
        snprintf(why, size,
                 "%s: the scale becomes %g, the token count, where %g would keep the function",
                 name, scale, kept);
    else if (options->keys == TF_INIT_COPY) {
        snprintf(why, size, "%s", another_order);
        return SAME_ROUNDED;
    } else
        return SAME_BITS;
    return DIFFERENT;
}

/* The effect on the model is that of its worst projection, whose reason is kept. */
static enum effect judge_tokens(struct tf_growth *growth, const struct tf_grow_options *options)
{
    enum effect worst = SAME_BITS;

    for (uint64_t layer = 0; layer < growth->before.layers; layer++) {
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            char why[sizeof growth->why] = "", name[TF_TABLE_NAME];
            if (growth->before.layer[layer].tokens[p] == growth->after.layer[layer].tokens[p])
                continue;
            tf_projection_name(name, layer, p);
            enum effect effect =
                growth->before.norm == TF_GELU
                    ? judge_mlp(why, sizeof why, options)
                    : judge_pattention(why, sizeof why, name, growth, layer, p, options);
            if (effect > worst) {
                worst = effect;
                memcpy(growth->why, why, sizeof why);
            }
        }
    }
    return worst;
}

static enum effect judge_width(struct tf_growth *growth, const struct tf_grow_options *options)
{
    if (options->method == TF_GROW_NET2NET && options->noise > 0) {
        snprintf(growth->why, sizeof growth->why,
                 "net2net adds noise to the copies: %g of each table's root mean square",
                 options->noise);
        return DIFFERENT;
    }
    snprintf(growth->why, sizeof growth->why,
             "the copies make the same sums in parts, so they round differently");
    return SAME_ROUNDED;
}

void tf_grow_judge(struct tf_growth *growth, const struct tf_grow_options *options)
{
    enum effect effect = growth->depth_only                  ? SAME_BITS
                         : options->method == TF_GROW_TOKENS ? judge_tokens(growth, options)
                                                             : judge_width(growth, options);

    growth->exact = effect == SAME_BITS;
    growth->preserved = effect != DIFFERENT;
}
