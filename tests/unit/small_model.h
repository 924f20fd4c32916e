/* A model of a few hundred numbers with every kind of table: two layers of different sizes, scales
 * that are not the counts, a width and a vocabulary that fill no vector. With TF_GELU it is a
 * transformer. And the same model in doubles (twin.h). */
#ifndef TF_TESTS_SMALL_MODEL_H
#define TF_TESTS_SMALL_MODEL_H

#include "twin.h"

#include "base/rng.h"

enum { SMALL_LAYERS = 2, SMALL_WIDTH = 12, SMALL_VOCAB = 37, SMALL_SEQ = 12 };

/* The same for ever: a row of a name is what it is in a larger table too. */
static inline void small_fill(struct tf_model *model)
{
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        const float size = t == model->embed || t == model->head ? 1 : 0.5f,
                    shift = t == model->norm_weight;
        for (size_t r = 0; r < t->rows; r++)
            for (size_t c = 0; c < t->cols; c++)
                tf_table_row(t, r)[c] =
                    shift + size * noise(tf_rng_stream(t->name) + r * t->cols + c);
    }
}

/* A layer of a transformer: its hidden units stay, and nothing else does. */
static inline void small_transformer_layer(struct tf_layer_shape *layer)
{
    for (int p = 0; p < TF_PROJECTIONS; p++) {
        layer->tokens[p] = p == TF_FFN ? layer->tokens[p] : SMALL_WIDTH;
        layer->scale[p] = 0;
    }
}

/* `times` as many tokens at the same scales. */
static inline struct tf_model *small_model(enum tf_norm norm, bool tied, bool train, uint64_t times)
{
    struct tf_layer_shape layer[SMALL_LAYERS] = {
        {{9, 9, 9, 5, 21}, {9, 9, 9, 5, 21}},
        {{7, 7, 7, 20, 18}, {12.5, 7, 3, 20, 30}},
    };
    for (int l = 0; l < SMALL_LAYERS; l++) {
        for (int p = 0; p < TF_PROJECTIONS; p++)
            layer[l].tokens[p] *= times;
        if (norm == TF_GELU)
            small_transformer_layer(&layer[l]);
    }
    const struct tf_shape shape = {
        .kind = norm == TF_GELU ? TF_TRANSFORMER : TF_TOKENFORMER,
        .layers = SMALL_LAYERS,
        .width = SMALL_WIDTH,
        .heads = 2,
        .vocab = SMALL_VOCAB,
        .seq = SMALL_SEQ,
        .norm = norm,
        .rotary_pct = 0.7,
        .rotary_base = 10000,
        .tied = tied,
        .layer = layer,
    };
    struct tf_model *model;
    struct tf_err err = {0};
    assert_ok(tf_model_new(&model, &shape, train, &err), &err);
    small_fill(model);
    return model;
}

/* Ids that repeat. */
static inline void small_ids(uint16_t *ids, size_t count, size_t vocab, uint64_t seed)
{
    for (size_t i = 0; i < count; i++)
        ids[i] = (uint16_t)(tf_rng_bits(seed, 1, i) % vocab);
}

/* Zeroes the gradients, and sums them and the losses of a batch in pieces of at most `micro`
 * sequences. */
static inline void small_step(struct tf_run *run, const uint16_t *ids, const uint16_t *targets,
                              size_t streams, size_t length, size_t micro, float *losses)
{
    tf_gradients_clear(run);
    for (size_t b = 0; b < streams; b += micro) {
        const size_t count = streams - b < micro ? streams - b : micro;
        tf_forward(run, ids + b * length, count, length, 0);
        tf_loss(run, targets + b * length, losses + b * length, 1.0f / (float)(streams * length));
        tf_backward(run, ids + b * length);
    }
    tf_gradients_finish(run);
}

/* A run of it, freed by the caller. */
static inline struct tf_run *small_run(const struct tf_model *model, enum tf_run_mode mode,
                                       size_t streams, size_t length)
{
    struct tf_run *run;
    struct tf_err err = {0};
    assert_ok(tf_run_new(&run, model, mode, streams, length, &err), &err);
    return run;
}

/* To the bit. */
static inline void assert_same_gradients(const struct tf_model *a, const struct tf_model *b)
{
    for (size_t i = 0; i < a->table_count; i++) {
        const struct tf_table *t = &a->tables[i];
        if (memcmp(t->grad, b->tables[i].grad, t->rows * t->stride * sizeof(float)))
            fail_msg("%s: gradients of %s differ", tf_kernel->name, t->name);
    }
}

/* No number is left of the gradients that a step has to write. */
static inline void litter_gradients(const struct tf_model *model)
{
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        for (size_t k = 0; k < t->rows * t->cols && !t->frozen; k++)
            t->grad[k / t->cols * t->stride + k % t->cols] = NAN;
    }
}

/* The model and a batch in doubles. */
struct model_twin {
    const struct tf_model *model;
    double **tables; /* of model->tables */
    const uint16_t *ids, *targets;
    size_t streams, length;
};

static inline void model_twin_init(struct model_twin *twin, const struct tf_model *model)
{
    twin->model = model;
    twin->tables = tf_new(model->table_count, sizeof *twin->tables, "twin", NULL);
    assert_non_null(twin->tables);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        twin->tables[i] = twin_copy(t->value, t->rows, t->cols, t->stride);
    }
}

static inline void model_twin_fini(struct model_twin *twin)
{
    for (size_t i = 0; i < twin->model->table_count; i++)
        tf_free(twin->tables[i]);
    tf_free(twin->tables);
}

static inline const double *model_twin_table(const struct model_twin *twin,
                                             const struct tf_table *table)
{
    return twin->tables[table - twin->model->tables];
}

/* y += the projection of x */
static inline void model_twin_project(const struct model_twin *twin, size_t layer, int p,
                                      const double *x, double *y)
{
    const struct tf_projection *at = &twin->model->layers[layer].at[p];
    const struct twin_tokens tokens = {
        at->keys->rows,
        at->keys->cols,
        twin->model->shape.layer[layer].scale[p],
        model_twin_table(twin, at->keys),
        at->values ? model_twin_table(twin, at->values) : NULL,
    };
    twin_project(twin->model->shape.norm, &tokens, twin->length, x, y);
}

/* x += layer(x) of one sequence. */
static inline void model_twin_layer(const struct model_twin *twin, size_t layer, double *x)
{
    const struct tf_shape *s = &twin->model->shape;
    const size_t C = s->width, D = C / s->heads, T = twin->length;
    double *h = twin_new(T * C), *qkv[3], *mixed = twin_new(T * C);
    twin_norm(T, C, x, h);
    for (int p = TF_Q; p <= TF_V; p++) {
        qkv[p] = twin_new(T * C);
        model_twin_project(twin, layer, p, h, qkv[p]);
        if (p != TF_V)
            twin_rope(tf_rotated(s), s->rotary_base, s->heads, D, T, 0, qkv[p]);
    }
    twin_attention(s->heads, D, T, qkv[TF_Q], qkv[TF_K], qkv[TF_V], mixed);
    model_twin_project(twin, layer, TF_O, mixed, x);
    twin_norm(T, C, x, h);
    model_twin_project(twin, layer, TF_FFN, h, x);
    double *const all[] = {h, qkv[0], qkv[1], qkv[2], mixed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

/* The final norm's output of sequence `b`, length x width; freed by the caller. */
static inline double *model_twin_hidden(const struct model_twin *twin, size_t b)
{
    const struct tf_model *m = twin->model;
    const size_t C = m->shape.width, T = twin->length;
    const double *embed = model_twin_table(twin, m->embed),
                 *w = model_twin_table(twin, m->norm_weight),
                 *bias = model_twin_table(twin, m->norm_bias);
    double *x = twin_new(T * C), *h = twin_new(T * C);
    for (size_t t = 0; t < T; t++)
        memcpy(x + t * C, embed + twin->ids[b * T + t] * C, C * sizeof *x);
    for (size_t l = 0; l < m->shape.layers; l++)
        model_twin_layer(twin, l, x);
    twin_norm(T, C, x, h);
    for (size_t i = 0; i < T * C; i++)
        h[i] = h[i] * w[i % C] + bias[i % C];
    tf_free(x);
    return h;
}

/* The mean loss of the batch. */
static inline double model_twin_loss(const void *with)
{
    const struct model_twin *twin = with;
    const size_t C = twin->model->shape.width, V = twin->model->shape.vocab, T = twin->length;
    const double *head = model_twin_table(twin, twin->model->head);
    double *logits = twin_new(V), sum = 0;
    for (size_t b = 0; b < twin->streams; b++) {
        double *h = model_twin_hidden(twin, b);
        for (size_t t = 0; t < T; t++) {
            for (size_t v = 0; v < V; v++)
                logits[v] = twin_dot(C, h + t * C, head + v * C);
            sum += twin_cross_entropy(V, logits, twin->targets[b * T + t]);
        }
        tf_free(h);
    }
    tf_free(logits);
    return sum / (double)(twin->streams * T);
}

#endif
