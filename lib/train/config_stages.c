/* The stages of a run: growths inside it, and the list of them in a config. */
#include "base/mem.h"
#include "train/config_keys.h"
#include <string.h>

#define MAX_STAGES 256
#define MAX_STEP 1000000000000

#define AT(key) \
    .section = "grow.stages", .name = #key, .full = #key, .offset = offsetof(struct tf_stage, key)
#define TARGET .kind = TF_KEY_TARGET, .range = "512, x2 or +256"
#define CHOICE(names) .kind = TF_KEY_CHOICE, .range = names

/* In the order of printing; enumerated names are in the order of their enums. */
static const struct tf_key table[] = {
    {AT(at), .kind = TF_KEY_UINT, .least = 1, .most = MAX_STEP, .range = "from 1 to 1000000000000"},
    {AT(method), CHOICE("tokens, net2net, hyperclone")},
    {AT(qkv), TARGET},
    {AT(proj), TARGET},
    {AT(ffn), TARGET},
    {AT(width), TARGET},
    {AT(layers), .kind = TF_KEY_LAYERS, .range = "of up to 255 bytes, like 0-3,7"},
    {AT(add_layers), .kind = TF_KEY_UINT, .least = 1, .most = TF_MAX_LAYERS,
     .range = "from 1 to 1024"},
    {AT(place), CHOICE("top, middle, spread")},
    {AT(keys), CHOICE("zero, random, copy")},
    {AT(values), CHOICE("zero, random, copy")},
    {AT(scale), CHOICE("keep, count")},
    {AT(scale_ramp), .kind = TF_KEY_UINT, .most = MAX_STEP, .range = "from 0 to 1000000000000"},
};
#define KEYS (sizeof(table) / sizeof(*table))

_Static_assert(sizeof(((struct tf_stage *)0)->layers) == 256, "the range of layers");
_Static_assert(TF_MAX_LAYERS == 1024, "the range of add_layers");

static const struct tf_stage nothing_given = {
    .keys = -1, .values = -1, .scale = -1, .scale_ramp = -1};

/* ---- reading ---- */

static const struct tf_key *find_key(const char *name)
{
    for (size_t i = 0; i < KEYS; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static enum tf_code unknown_key(const struct tf_yaml *at, const struct tf_origin *from,
                                struct tf_err *err)
{
    const char *names[KEYS];
    char place[512], hint[128];

    for (size_t i = 0; i < KEYS; i++)
        names[i] = table[i].name;
    return tf_fail(err, from->code, "%sgrow.stages: unknown key %.80s%s",
                   tf_origin_place(place, from, at), at->text,
                   tf_key_hint(hint, at->text, names, KEYS));
}

static enum tf_code read_stage(struct tf_stage *out, const struct tf_yaml *map,
                               const struct tf_origin *from, struct tf_err *err)
{
    enum tf_code code = TF_OK;
    char place[512], found[128];

    *out = nothing_given;
    if (map->kind != TF_YAML_MAPPING)
        return tf_fail(err, from->code, "%sgrow.stages: expected the keys of a growth, found %s",
                       tf_origin_place(place, from, map), tf_key_found(found, map));
    for (size_t i = 0; i < map->count && code == TF_OK; i++) {
        const struct tf_key *key = find_key(map->keys[i]->text);
        code = key == NULL ? unknown_key(map->keys[i], from, err)
                           : tf_key_read(key, out, map->items[i], from, err);
    }
    if (code == TF_OK && out->at == 0)
        code = tf_fail(err, from->code,
                       "%sgrow.stages: the key at is missing, the step before which to grow",
                       tf_origin_place(place, from, map));
    return code;
}

enum tf_code tf_stages_read(struct tf_stages *out, const struct tf_yaml *value,
                            const struct tf_origin *from, struct tf_err *err)
{
    const bool one = value->kind == TF_YAML_MAPPING;
    size_t count = one ? 1 : value->count;
    struct tf_stages list = {0};
    enum tf_code code = TF_OK;

    if (value->kind == TF_YAML_SCALAR || count > MAX_STAGES)
        return TF_NO;
    list.items = tf_new(count, sizeof(*list.items), "list", err);
    if (list.items == NULL)
        return TF_MEMORY;
    for (; list.count < count && code == TF_OK; list.count++)
        code =
            read_stage(&list.items[list.count], one ? value : value->items[list.count], from, err);
    tf_free(code == TF_OK ? out->items : list.items);
    if (code == TF_OK)
        *out = list;
    return code;
}

/* ---- writing ---- */

/* Does the value say more than that none was given? */
static bool is_given(const struct tf_key *key, const struct tf_stage *stage)
{
    const void *value = tf_key_field(key, stage), *none = tf_key_field(key, &nothing_given);

    switch (key->kind) {
    case TF_KEY_UINT:
        return *(const uint64_t *)value != *(const uint64_t *)none;
    case TF_KEY_CHOICE:
        return *(const int *)value != *(const int *)none;
    case TF_KEY_TARGET:
        return ((const struct tf_target *)value)->kind != TF_TARGET_NONE;
    default:
        return *(const char *)value != '\0';
    }
}

void tf_stages_print(const struct tf_stages *stages, FILE *out)
{
    fputc('[', out);
    for (size_t i = 0; i < stages->count; i++) {
        const char *before = i > 0 ? ", {" : "{";
        for (size_t k = 0; k < KEYS; k++) {
            if (!is_given(&table[k], &stages->items[i]))
                continue;
            fprintf(out, "%s%s: ", before, table[k].name);
            tf_key_print(&table[k], &stages->items[i], out);
            before = ", ";
        }
        fputc('}', out);
    }
    fputc(']', out);
}

/* ---- what a stage does ---- */

struct tf_grow_options tf_stage_options(const struct tf_config *config, size_t stage)
{
    const struct tf_stage *s = &config->grow.stages.items[stage];

    return (struct tf_grow_options){
        .method = (enum tf_grow_method)s->method,
        .qkv = s->qkv,
        .proj = s->proj,
        .ffn = s->ffn,
        .width = s->width,
        .layers = s->layers[0] != '\0' ? s->layers : NULL,
        .add_layers = s->add_layers,
        .place = (enum tf_grow_place)s->place,
        .keys = (enum tf_row_init)(s->keys < 0 ? config->grow.keys : s->keys),
        .values = (enum tf_row_init)(s->values < 0 ? config->grow.values : s->values),
        .scale = (enum tf_grow_scale)(s->scale < 0 ? config->grow.scale : s->scale),
        .noise = TF_GROW_NOISE,
        .seed = config->train.seed,
    };
}

uint64_t tf_stage_ramp(const struct tf_config *config, uint64_t behind)
{
    const struct tf_stages *stages = &config->grow.stages;
    const struct tf_stage *last = behind > 0 ? &stages->items[behind - 1] : NULL;

    return last != NULL && last->scale_ramp >= 0 ? (uint64_t)last->scale_ramp
                                                 : config->grow.scale_ramp;
}

/* What a stage says and its growth has no use for: something else was meant. */
static enum tf_code check_unused(const struct tf_stage *stage, struct tf_err *err)
{
    const char *rows = stage->keys >= 0         ? "keys"
                       : stage->values >= 0     ? "values"
                       : stage->scale >= 0      ? "scale"
                       : stage->scale_ramp >= 0 ? "scale_ramp"
                                                : NULL;

    if (stage->method != TF_GROW_TOKENS && rows != NULL)
        return tf_fail(err, TF_CONFIG, "grow.stages: at %ju: %s is for the method tokens",
                       (uintmax_t)stage->at, rows);
    if (stage->place != TF_PLACE_TOP && stage->add_layers == 0)
        return tf_fail(err, TF_CONFIG, "grow.stages: at %ju: place is for new layers: add_layers",
                       (uintmax_t)stage->at);
    return TF_OK;
}

enum tf_code tf_stages_check(const struct tf_config *config, struct tf_err *err)
{
    const struct tf_stages *stages = &config->grow.stages;

    for (size_t i = 0; i < stages->count; i++) {
        const struct tf_stage *stage = &stages->items[i];
        if (stage->at >= config->train.steps)
            return tf_fail(err, TF_CONFIG, "grow.stages: at %ju is not below train.steps %ju",
                           (uintmax_t)stage->at, (uintmax_t)config->train.steps);
        if (i > 0 && stage->at <= stages->items[i - 1].at)
            return tf_fail(err, TF_CONFIG,
                           "grow.stages: at %ju comes after at %ju; each stage is later than the "
                           "one before it",
                           (uintmax_t)stage->at, (uintmax_t)stages->items[i - 1].at);
        if (check_unused(stage, err))
            return TF_CONFIG;
    }
    return TF_OK;
}

/* A stage alone, as text, freed with tf_free; NULL after setting err. */
static char *stage_text(const struct tf_stages *stages, uint64_t index, struct tf_err *err)
{
    const struct tf_stages one = {index < stages->count, stages->items + index};
    struct tf_yaml_text yaml;
    size_t size;
    char *text;

    if (tf_yaml_begin(&yaml, err) != TF_OK)
        return NULL;
    tf_stages_print(&one, yaml.file);
    return tf_yaml_end(&yaml, &text, &size, err) == TF_OK ? text : NULL;
}

static enum tf_code same_stage(const struct tf_stages *saved, const struct tf_stages *now,
                               uint64_t index, struct tf_err *err)
{
    char *before = stage_text(saved, index, err);
    char *after = before != NULL ? stage_text(now, index, err) : NULL;
    enum tf_code code = after != NULL ? TF_OK : TF_MEMORY;

    if (code == TF_OK && strcmp(before, after) != 0)
        code = tf_fail(err, TF_CONFIG,
                       "grow.stages: the run has grown by %.200s, and cannot go on with %.200s",
                       before, after);
    tf_free(before);
    tf_free(after);
    return code;
}

enum tf_code tf_stages_resumable(const struct tf_config *saved, const struct tf_config *now,
                                 uint64_t behind, uint64_t step, struct tf_err *err)
{
    const struct tf_stages *stages = &now->grow.stages;
    enum tf_code code = TF_OK;

    if (behind > saved->grow.stages.count)
        return tf_fail(err, TF_DATA, "state: %ju stages are behind, but grow.stages has %zu",
                       (uintmax_t)behind, saved->grow.stages.count);
    for (uint64_t i = 0; i < behind && code == TF_OK; i++)
        code = same_stage(&saved->grow.stages, stages, i, err);
    if (code == TF_OK && stages->count > behind && stages->items[behind].at < step)
        code = tf_fail(err, TF_CONFIG, "grow.stages: at %ju is past: the run is at step %ju",
                       (uintmax_t)stages->items[behind].at, (uintmax_t)step);
    return code;
}
