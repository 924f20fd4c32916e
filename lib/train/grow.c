/* Planning a growth: what the targets come to, and what they do to the function. */
#include "train/grow.h"
#include "base/mem.h"
#include "train/grow_parts.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

const char *tf_grow_method_name(enum tf_grow_method method)
{
    static const char *const names[] = {"tokens", "net2net", "hyperclone"};
    return names[method];
}

const char *tf_row_init_name(enum tf_row_init init)
{
    static const char *const names[] = {"zero", "random", "copy"};
    return names[init];
}

const char *tf_grow_scale_name(enum tf_grow_scale scale)
{
    static const char *const names[] = {"keep", "count"};
    return names[scale];
}

const char *tf_grow_place_name(enum tf_grow_place place)
{
    static const char *const names[] = {"top", "middle", "spread"};
    return names[place];
}

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
        return tf_fail(err, TF_USAGE, "'%s' is not a target: write 512, x2 or +256", text);
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

/* What a target is about, for messages. */
struct counted {
    const char *name, *unit; /* "layers.0.ffn", "tokens" */
    uint64_t limit;
};

static enum tf_code apply_target(uint64_t *count, const struct tf_target *target,
                                 const struct counted *what, struct tf_err *err)
{
    uint64_t before = *count;
    bool fits = true;

    if (target->kind == TF_TARGET_ABSOLUTE)
        *count = target->number;
    else if (target->kind == TF_TARGET_TIMES)
        fits = !__builtin_mul_overflow(before, target->number, count);
    else if (target->kind == TF_TARGET_PLUS)
        fits = !__builtin_add_overflow(before, target->number, count);
    if (!fits || *count > what->limit)
        return tf_fail(err, TF_USAGE, "%s: the target passes the limit of %llu %s", what->name,
                       (unsigned long long)what->limit, what->unit);
    if (*count < before)
        return tf_fail(err, TF_USAGE, "%s: the target of %llu %s is below the %llu that it has",
                       what->name, (unsigned long long)*count, what->unit,
                       (unsigned long long)before);
    return TF_OK;
}

/* The tokens of one layer. */
static enum tf_code apply_targets(struct tf_growth *growth, uint64_t layer,
                                  const struct tf_target targets[TF_PROJECTIONS],
                                  const struct tf_grow_options *options, struct tf_err *err)
{
    struct tf_layer_shape *at = &growth->after.layer[layer];

    for (int p = 0; p < TF_PROJECTIONS; p++) {
        char name[TF_TABLE_NAME];
        const struct counted what = {tf_projection_name(name, layer, p), "tokens", TF_MAX_ROWS};
        uint64_t before = at->tokens[p];
        if (apply_target(&at->tokens[p], &targets[p], &what, err))
            return TF_USAGE;
        if (at->tokens[p] == before || growth->before.kind == TF_TRANSFORMER)
            continue;
        at->scale[p] = options->scale == TF_SCALE_COUNT
                           ? (double)at->tokens[p]
                           : tf_kept_scale(at->scale[p], before, at->tokens[p], options->keys);
    }
    return TF_OK;
}

/* Channels, heads and matrices of a wider transformer; an MLP follows where nothing is said of it.
 */
static enum tf_code apply_width(struct tf_growth *growth, const struct tf_grow_options *options,
                                struct tf_target *ffn, struct tf_err *err)
{
    static const struct counted what = {"width", "channels", TF_MAX_COLS};
    static const struct tf_target twice = {TF_TARGET_TIMES, 2};
    struct tf_shape *after = &growth->after;
    const uint64_t before = after->width;
    const bool given = options->width.kind || options->ffn.kind;

    if (apply_target(&after->width, given ? &options->width : &twice, &what, err))
        return TF_USAGE;
    if (after->width % before != 0)
        return tf_fail(err, TF_USAGE,
                       "width: %llu channels are not a whole multiple of %llu: LayerNorm keeps "
                       "mean and variance only when each channel has equally many copies",
                       (unsigned long long)after->width, (unsigned long long)before);
    const uint64_t times = after->width / before;
    after->heads *= times;
    for (uint64_t layer = 0; layer < after->layers; layer++)
        for (int p = 0; p < TF_FFN; p++)
            after->layer[layer].tokens[p] = after->width;
    if (!options->ffn.kind)
        *ffn = (struct tf_target){TF_TARGET_TIMES, times};
    return TF_OK;
}

static bool is_same(const struct tf_shape *a, const struct tf_shape *b)
{
    for (uint64_t layer = 0; layer < a->layers; layer++)
        if (memcmp(a->layer[layer].tokens, b->layer[layer].tokens, sizeof a->layer->tokens) != 0)
            return false;
    return a->width == b->width;
}

/* Everything but new layers. */
static enum tf_code apply(struct tf_growth *growth, const struct tf_grow_options *options,
                          struct tf_err *err)
{
    struct tf_target targets[TF_PROJECTIONS] = {options->qkv, options->qkv, options->qkv,
                                                options->proj, options->ffn};
    const uint64_t layers = growth->before.layers;
    bool *chosen = tf_new(layers, sizeof *chosen, "the choice of layers", err);
    enum tf_code code = chosen ? choose_layers(chosen, layers, options->layers, err) : TF_MEMORY;

    if (!code && options->method != TF_GROW_TOKENS)
        code = apply_width(growth, options, &targets[TF_FFN], err);
    for (uint64_t layer = 0; !code && layer < layers; layer++)
        if (chosen[layer])
            code = apply_targets(growth, layer, targets, options, err);
    growth->depth_only = is_same(&growth->before, &growth->after);
    if (!code && growth->depth_only && !options->add_layers)
        code = tf_fail(err, TF_USAGE, "nothing to grow: no target is above what is there");
    tf_free(chosen);
    return code;
}

static bool has_targets(const struct tf_grow_options *options)
{
    return options->qkv.kind || options->proj.kind || options->ffn.kind;
}

/* What the kind of model has, and the method can do. */
static enum tf_code check_method(const struct tf_shape *shape,
                                 const struct tf_grow_options *options, struct tf_err *err)
{
    const bool widens = options->method != TF_GROW_TOKENS;

    if (shape->kind == TF_TOKENFORMER && (widens || options->width.kind))
        return tf_fail(err, TF_USAGE,
                       "a tokenformer does not grow in width: more tokens make it larger at the "
                       "same cost of attention");
    if (!widens && options->width.kind)
        return tf_fail(err, TF_USAGE,
                       "the method tokens keeps the width: net2net and hyperclone make it larger");
    if (shape->kind == TF_TRANSFORMER && (options->qkv.kind || options->proj.kind))
        return tf_fail(err, TF_USAGE,
                       "a transformer's q, k, v and o are matrices, which have no tokens: of "
                       "tokens, only those of ffn can grow");
    if (!widens && options->layers && !has_targets(options))
        return tf_fail(err, TF_USAGE, "layers '%s': nothing is said of how their tokens grow",
                       options->layers);
    if (widens && !(options->noise >= 0 && isfinite(options->noise)))
        return tf_fail(err, TF_USAGE, "noise %g: a share from 0 on is needed", options->noise);
    return TF_OK;
}

/* With zero keys and zero values each gradient has the other as a factor. Softmax is spared: it
 * gives zero keys a weight, so their values learn. */
static enum tf_code check_alive(const struct tf_shape *shape, const struct tf_grow_options *options,
                                struct tf_err *err)
{
    if (options->method == TF_GROW_TOKENS && has_targets(options) &&
        options->keys == TF_INIT_ZERO && options->values == TF_INIT_ZERO &&
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
    enum tf_code code = check_method(shape, options, err);

    if (!code)
        code = check_alive(shape, options, err);
    if (!code)
        code = tf_shape_copy(&growth->before, shape, err);
    if (!code)
        code = tf_shape_copy(&growth->after, shape, err);
    if (!code)
        code = apply(growth, options, err);
    if (!code)
        tf_grow_judge(growth, options);
    if (!code)
        code = tf_grow_place_layers(growth, options, err);
    if (code)
        tf_growth_fini(growth);
    return code;
}

void tf_growth_fini(struct tf_growth *growth)
{
    tf_shape_fini(&growth->before);
    tf_shape_fini(&growth->after);
    tf_free(growth->origin);
    memset(growth, 0, sizeof *growth);
}
