/* Planning a growth: what the targets come to, and what they do to the function. */
#include "train/grow.h"
#include "base/mem.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Decimal digits from *text on, which is moved past them. */
static bool take_number(const char **text, uint64_t *out)
{
    if (!isdigit((unsigned char)**text))
        return false;
    for (*out = 0; isdigit((unsigned char)**text); (*text)++)
        if (__builtin_mul_overflow(*out, 10u, out) ||
            __builtin_add_overflow(*out, (uint64_t)(**text - '0'), out))
            return false;
    return true;
}

enum tf_code tf_target_parse(struct tf_target *out, const char *text, struct tf_err *err)
{
    const char *at = text;

    out->kind = TF_TARGET_ABSOLUTE;
    if (*at == 'x' || *at == '+')
        out->kind = *at++ == 'x' ? TF_TARGET_TIMES : TF_TARGET_PLUS;
    if (!take_number(&at, &out->number) || *at != '\0' || out->number == 0)
        return tf_fail(err, TF_USAGE, "'%s' is not a token count: write 512, x2 or +256", text);
    return TF_OK;
}

/* "0-3,7" marks layers 0 to 3 and 7; NULL marks all. */
static enum tf_code choose_layers(bool *chosen, uint64_t layers, const char *list,
                                  struct tf_err *err)
{
    for (uint64_t i = 0; !list && i < layers; i++)
        chosen[i] = true;
    for (const char *at = list; at;) {
        uint64_t first = 0, last;
        bool good = take_number(&at, &first);
        last = first;
        if (good && *at == '-') {
            at++;
            good = take_number(&at, &last) && first <= last;
        }
        if (!good || (*at != ',' && *at != '\0'))
            return tf_fail(err, TF_USAGE, "'%s' is not a list of layers: write 0-3,7", list);
        if (last >= layers)
            return tf_fail(err, TF_USAGE,
                           "layer %llu does not exist: the model's layers are 0 to %llu",
                           (unsigned long long)last, (unsigned long long)layers - 1);
        memset(chosen + first, true, last - first + 1);
        at = *at == ',' ? at + 1 : NULL;
    }
    return TF_OK;
}

static enum tf_code apply_target(uint64_t *tokens, const struct tf_target *target, const char *name,
                                 struct tf_err *err)
{
    uint64_t before = *tokens;
    bool fits = true;

    if (target->kind == TF_TARGET_ABSOLUTE)
        *tokens = target->number;
    else if (target->kind == TF_TARGET_TIMES)
        fits = !__builtin_mul_overflow(before, target->number, tokens);
    else if (target->kind == TF_TARGET_PLUS)
        fits = !__builtin_add_overflow(before, target->number, tokens);
    if (!fits || *tokens > TF_MAX_ROWS)
        return tf_fail(err, TF_USAGE, "%s: the target passes the limit of %llu tokens", name,
                       (unsigned long long)TF_MAX_ROWS);
    if (*tokens < before)
        return tf_fail(err, TF_USAGE, "%s: the target of %llu tokens is below the %llu that it has",
                       name, (unsigned long long)*tokens, (unsigned long long)before);
    return TF_OK;
}

/* The scale under which the old tokens weigh as before. m copies of every key make the squared norm
 * (or the sum of the softmax) m times as large, and tau^2 must follow; other keys ask for no
 * change. */
static double kept_scale(double scale, uint64_t before, uint64_t after, enum tf_row_init keys)
{
    return keys == TF_INIT_COPY ? scale * ((double)after / (double)before) : scale;
}

static enum tf_code apply_targets(struct tf_growth *growth, const struct tf_grow_options *options,
                                  const bool *chosen, struct tf_err *err)
{
    bool any = false;

    for (uint64_t layer = 0; layer < growth->after.layers; layer++) {
        struct tf_layer_shape *at = &growth->after.layer[layer];
        for (int p = 0; p < TF_PATTENTIONS && chosen[layer]; p++) {
            const struct tf_target *target = p == TF_FFN ? &options->ffn
                                             : p == TF_O ? &options->proj
                                                         : &options->qkv;
            char name[TF_TABLE_NAME];
            uint64_t before = at->tokens[p];
            if (apply_target(&at->tokens[p], target, tf_pattention_name(name, layer, p), err))
                return TF_USAGE;
            if (at->tokens[p] == before)
                continue;
            any = true;
            at->scale[p] = options->scale == TF_SCALE_COUNT
                               ? (double)at->tokens[p]
                               : kept_scale(at->scale[p], before, at->tokens[p], options->keys);
        }
    }
    return any ? TF_OK
               : tf_fail(err, TF_USAGE, "nothing to grow: no target is above what is there");
}

/* What growing one Pattention does to the function that it computes; worst last. */
enum effect { SAME_BITS, SAME_ROUNDED, DIFFERENT };

static enum effect judge(char *why, size_t size, const char *name, const struct tf_growth *growth,
                         uint64_t layer, int p, const struct tf_grow_options *options)
{
    uint64_t before = growth->before.layer[layer].tokens[p];
    uint64_t after = growth->after.layer[layer].tokens[p];
    double old = growth->before.layer[layer].scale[p], scale = growth->after.layer[layer].scale[p];
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
    else if (scale != kept_scale(old, before, after, options->keys))
        snprintf(why, size,
                 "%s: the scale becomes %g, the token count, where %g would keep the function",
                 name, scale, kept_scale(old, before, after, options->keys));
    else if (options->keys == TF_INIT_COPY) {
        snprintf(why, size,
                 "the copies make the same sums in another order, so they round differently");
        return SAME_ROUNDED;
    } else
        return SAME_BITS;
    return DIFFERENT;
}

/* The effect on the model is that of its worst Pattention, whose reason is kept. */
static void judge_all(struct tf_growth *growth, const struct tf_grow_options *options)
{
    enum effect worst = SAME_BITS;

    for (uint64_t layer = 0; layer < growth->before.layers; layer++) {
        for (int p = 0; p < TF_PATTENTIONS; p++) {
            char why[sizeof growth->why], name[TF_TABLE_NAME];
            if (growth->before.layer[layer].tokens[p] == growth->after.layer[layer].tokens[p])
                continue;
            tf_pattention_name(name, layer, p);
            enum effect effect = judge(why, sizeof why, name, growth, layer, p, options);
            if (effect > worst) {
                worst = effect;
                memcpy(growth->why, why, sizeof why);
            }
        }
    }
    growth->exact = worst == SAME_BITS;
    growth->preserved = worst != DIFFERENT;
}

/* With zero keys and zero values each gradient has the other as a factor. Softmax is spared: it
 * gives zero keys a weight, so their values learn. */
static enum tf_code check_alive(const struct tf_shape *shape, const struct tf_grow_options *options,
                                struct tf_err *err)
{
    if (options->keys == TF_INIT_ZERO && options->values == TF_INIT_ZERO &&
        shape->norm != TF_SOFTMAX)
        return tf_fail(err, TF_USAGE,
                       "zero keys with zero values can never learn: "
                       "the gradient of either is zero while the other is");
    return TF_OK;
}

enum tf_code tf_grow_plan(struct tf_growth *growth, const struct tf_shape *shape,
                          const struct tf_grow_options *options, struct tf_err *err)
{
    memset(growth, 0, sizeof *growth);
    bool *chosen = tf_new(shape->layers, sizeof *chosen, "the choice of layers", err);
    enum tf_code code = chosen ? check_alive(shape, options, err) : TF_MEMORY;

    if (!code)
        code = choose_layers(chosen, shape->layers, options->layers, err);
    if (!code)
        code = tf_shape_copy(&growth->before, shape, err);
    if (!code)
        code = tf_shape_copy(&growth->after, shape, err);
    if (!code)
        code = apply_targets(growth, options, chosen, err);
    tf_free(chosen);
    if (code)
        tf_growth_fini(growth);
    else
        judge_all(growth, options);
    return code;
}

void tf_growth_fini(struct tf_growth *growth)
{
    tf_shape_fini(&growth->before);
    tf_shape_fini(&growth->after);
    memset(growth, 0, sizeof *growth);
}
