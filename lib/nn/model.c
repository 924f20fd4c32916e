#include "nn/model.h"

#include "base/fmath.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EMBEDDING_DEVIATION 0.02

static const char *const projection_names[TF_PROJECTIONS] = {"attn.q", "attn.k", "attn.v", "attn.o",
                                                             "ffn"};

const char *tf_kind_name(enum tf_kind kind)
{
    static const char *const names[] = {"tokenformer", "transformer"};
    return names[kind];
}

char *tf_projection_name(char out[TF_TABLE_NAME], uint64_t layer, int p)
{
    snprintf(out, TF_TABLE_NAME, "layers.%llu.%s", (unsigned long long)layer, projection_names[p]);
    return out;
}

char *tf_table_name(char out[TF_TABLE_NAME], uint64_t layer, int p, enum tf_part part)
{
    static const char *const parts[] = {"keys", "values", "weight"};
    snprintf(out, TF_TABLE_NAME, "layers.%llu.%s.%s", (unsigned long long)layer,
             projection_names[p], parts[part]);
    return out;
}

static enum tf_code projection_check(const struct tf_shape *s, uint64_t l, int p,
                                     struct tf_err *err)
{
    const uint64_t tokens = s->layer[l].tokens[p];
    const double scale = s->layer[l].scale[p];
    const bool scaled = s->kind == TF_TOKENFORMER ? scale > 0 && isfinite(scale) : scale == 0;
    if (!tokens || tokens > 1ull << 31 || !scaled)
        return tf_fail(err, TF_CONFIG, "layers.%llu.%s: %llu tokens at scale %g",
                       (unsigned long long)l, projection_names[p], (unsigned long long)tokens,
                       scale);
    if (tf_is_matrix(s, p) && tokens != s->width)
        return tf_fail(err, TF_CONFIG, "layers.%llu.%s: %llu rows of a matrix, but a width of %llu",
                       (unsigned long long)l, projection_names[p], (unsigned long long)tokens,
                       (unsigned long long)s->width);
    return TF_OK;
}

static enum tf_code shape_check(const struct tf_shape *s, struct tf_err *err)
{
    enum tf_code code = TF_OK;
    if ((s->norm == TF_GELU) != (s->kind == TF_TRANSFORMER))
        return tf_fail(err, TF_CONFIG, "a %s has no %s", tf_kind_name(s->kind),
                       tf_norm_name(s->norm));
    if (!s->layers || !s->width || !s->heads || !s->vocab || !s->seq)
        return tf_fail(err, TF_CONFIG,
                       "a model needs at least one layer, channel, head, token id and position");
    if (s->width % s->heads)
        return tf_fail(err, TF_CONFIG, "%llu heads do not divide a width of %llu",
                       (unsigned long long)s->heads, (unsigned long long)s->width);
    if (!(s->rotary_pct >= 0 && s->rotary_pct <= 1))
        return tf_fail(err, TF_CONFIG, "a share of %g rotated channels: 0 to 1 is needed",
                       s->rotary_pct);
    if (tf_rotated(s) % 2)
        return tf_fail(err, TF_CONFIG,
                       "%zu rotated channels in each head: an even number is needed",
                       tf_rotated(s));
    if (s->width > 1u << 20 || s->vocab > 1u << 16 || s->seq > 1u << 24)
        return tf_fail(
            err, TF_CONFIG, "width %llu, vocabulary %llu, length %llu: at most 2^20, 2^16, 2^24",
            (unsigned long long)s->width, (unsigned long long)s->vocab, (unsigned long long)s->seq);
    for (uint64_t l = 0; l < s->layers && !code; l++)
        for (int p = 0; p < TF_PROJECTIONS && !code; p++)
            code = projection_check(s, l, p, err);
    return code;
}

size_t tf_rotated(const struct tf_shape *shape)
{
    const size_t head_width = shape->width / shape->heads;
    return (size_t)((double)head_width * shape->rotary_pct);
}

static struct tf_table *describe(struct tf_model *model, const char *name, size_t rows, size_t cols,
                                 bool decay)
{
    struct tf_table *table = &model->tables[model->table_count++];
    snprintf(table->name, sizeof table->name, "%s", name);
    table->rows = table->new_from = rows;
    table->cols = cols;
    table->stride = tf_table_stride(cols);
    table->decay = decay;
    return table;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tf_table *)a)->name, ((const struct tf_table *)b)->name);
}

static void describe_projection(struct tf_model *model, uint64_t l, int p)
{
    const struct tf_shape *s = &model->shape;
    const struct tf_layer_shape *layer = &s->layer[l];
    char name[TF_TABLE_NAME];
    for (int part = TF_KEYS; part <= TF_WEIGHT; part++)
        if (tf_is_matrix(s, p) == (part == TF_WEIGHT)) {
            tf_table_name(name, l, p, (enum tf_part)part);
            describe(model, name, layer->tokens[p], s->width, true)->scale = layer->scale[p];
        }
}

/* Lists every table, sorted, with its row group; rows and scales come from the shape. */
static void describe_all(struct tf_model *model)
{
    const struct tf_shape *s = &model->shape;
    describe(model, "embed.tokens", s->vocab, s->width, true);
    if (!s->tied)
        describe(model, "head.tokens", s->vocab, s->width, true);
    describe(model, "norm.weight", 1, s->width, false);
    describe(model, "norm.bias", 1, s->width, false);
    for (uint64_t l = 0; l < s->layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++)
            describe_projection(model, l, p);
    qsort(model->tables, model->table_count, sizeof *model->tables, by_name);
    unsigned group = 0; /* keys and values of one projection stand next to each other, keys first */
    for (size_t i = 0; i < model->table_count; i++)
        model->tables[i].row_group =
            i && strstr(model->tables[i].name, ".values") ? group : ++group;
}

static void link_tables(struct tf_model *model)
{
    char name[TF_TABLE_NAME];
    model->embed = tf_model_find(model, "embed.tokens");
    model->head = model->shape.tied ? model->embed : tf_model_find(model, "head.tokens");
    model->norm_weight = tf_model_find(model, "norm.weight");
    model->norm_bias = tf_model_find(model, "norm.bias");
    for (uint64_t l = 0; l < model->shape.layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            struct tf_projection *at = &model->layers[l].at[p];
            const enum tf_part first = tf_is_matrix(&model->shape, p) ? TF_WEIGHT : TF_KEYS;
            at->keys = tf_model_find(model, tf_table_name(name, l, p, first));
            at->values = tf_model_find(model, tf_table_name(name, l, p, TF_VALUES));
        }
}

/* One walk of the plan: counts while memory.base is NULL, hands out after. */
static void take_tables(struct tf_model *model, bool train)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        t->value = tf_arena_take(&model->memory, t->rows, t->stride * sizeof(float));
        bytes += t->rows * t->stride * sizeof(float);
    }
    model->bytes_weights = bytes;
    model->bytes_gradients = train ? bytes : 0;
    model->bytes_moments = train ? 2 * bytes : 0;
    for (size_t i = 0; train && i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        t->grad = tf_arena_take(&model->memory, t->rows, t->stride * sizeof(float));
        t->m = tf_arena_take(&model->memory, t->rows, t->stride * sizeof(float));
        t->v = tf_arena_take(&model->memory, t->rows, t->stride * sizeof(float));
    }
}

enum tf_code tf_model_plan(struct tf_model **out, const struct tf_shape *shape, bool train,
                           struct tf_err *err)
{
    *out = NULL;
    enum tf_code code = shape_check(shape, err);
    if (code)
        return code;
    struct tf_model *model = tf_new(1, sizeof *model, "model", err);
    if (!model)
        return TF_MEMORY;
    model->shape = *shape;
    model->shape.layer = tf_new(shape->layers, sizeof *shape->layer, "layer shapes", err);
    model->layers = tf_new(shape->layers, sizeof *model->layers, "layers", err);
    model->tables =
        tf_new(4 + 2 * TF_PROJECTIONS * shape->layers, sizeof *model->tables, "table list", err);
    if (!model->shape.layer || !model->layers || !model->tables) {
        tf_model_free(model);
        return TF_MEMORY;
    }
    memcpy(model->shape.layer, shape->layer, shape->layers * sizeof *shape->layer);
    describe_all(model);
    link_tables(model);
    take_tables(model, train);
    if (model->memory.overflow) {
        tf_model_free(model);
        return tf_fail(err, TF_MEMORY, "the model's tables need more than memory can be");
    }
    *out = model;
    return TF_OK;
}

enum tf_code tf_model_new(struct tf_model **out, const struct tf_shape *shape, bool train,
                          struct tf_err *err)
{
    enum tf_code code = tf_model_plan(out, shape, train, err);
    if (code)
        return code;
    code = tf_arena_alloc(&(*out)->memory, "model tables", err);
    if (code) {
        tf_model_free(*out);
        *out = NULL;
        return code;
    }
    take_tables(*out, train);
    for (size_t c = 0; c < shape->width; c++)
        (*out)->norm_weight->value[c] = 1;
    return TF_OK;
}

void tf_model_free(struct tf_model *model)
{
    if (!model)
        return;
    tf_arena_fini(&model->memory);
    tf_free(model->shape.layer);
    tf_free(model->layers);
    tf_free(model->tables);
    tf_free(model);
}

struct tf_table *tf_model_find(const struct tf_model *model, const char *name)
{
    struct tf_table key;
    if (strlen(name) >= sizeof key.name)
        return NULL;
    strcpy(key.name, name);
    return bsearch(&key, model->tables, model->table_count, sizeof key, by_name);
}

uint64_t tf_model_parameters(const struct tf_model *model)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < model->table_count; i++)
        sum += model->tables[i].rows * model->tables[i].cols;
    return sum;
}

void tf_model_keep(struct tf_model *model, double share)
{
    for (uint64_t l = 0; l < model->shape.layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            const struct tf_projection *at = &model->layers[l].at[p];
            /* Rounded up, but 0.55 of 100 are 55, although doubles make them a little more. */
            const double exact = share * (double)model->shape.layer[l].tokens[p];
            if (at->values)
                at->keys->rows = at->values->rows = (size_t)ceil(exact - exact * 0x1p-50);
        }
}

double tf_model_flops(const struct tf_model *model)
{
    const struct tf_shape *s = &model->shape;
    double matrices = (double)model->head->rows * (double)s->width;
    for (size_t i = 0; i < model->table_count; i++)
        if (strncmp(model->tables[i].name, "layers.", 7) == 0)
            matrices += (double)model->tables[i].rows * (double)s->width;
    return 6 * matrices + 12.0 * (double)s->layers * (double)s->seq * (double)s->width;
}

double tf_init_deviation(const struct tf_shape *shape, int p, enum tf_part part)
{
    const double width = (double)shape->width;
    if (part == TF_VALUES || (part == TF_WEIGHT && p == TF_O))
        return 2 / ((double)shape->layers * sqrt(width));
    return shape->kind == TF_TOKENFORMER ? EMBEDDING_DEVIATION : sqrt(2 / (5 * width));
}

void tf_init_rows(float *rows, size_t stride, uint64_t first, uint64_t last, uint64_t cols,
                  const char *name, double deviation, uint64_t seed)
{
    const uint64_t stream = tf_rng_stream(name);
#pragma omp parallel for schedule(static)
    for (uint64_t r = first; r < last; r++)
        for (uint64_t c = 0; c < cols; c++)
            rows[r * stride + c] = (float)(deviation * tf_rng_normal(seed, stream, r * cols + c));
}

static void init_table(struct tf_table *t, double deviation, uint64_t seed)
{
    tf_init_rows(t->value, t->stride, 0, t->rows, t->cols, t->name, deviation, seed);
}

void tf_model_init(struct tf_model *model, uint64_t seed)
{
    const struct tf_shape *s = &model->shape;
    init_table(model->embed, EMBEDDING_DEVIATION, seed);
    if (!s->tied)
        init_table(model->head, EMBEDDING_DEVIATION, seed);
    for (uint64_t l = 0; l < s->layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            const struct tf_projection *at = &model->layers[l].at[p];
            const enum tf_part first = at->values ? TF_KEYS : TF_WEIGHT;
            init_table(at->keys, tf_init_deviation(s, p, first), seed);
            if (at->values)
                init_table(at->values, tf_init_deviation(s, p, TF_VALUES), seed);
        }
}
