#include "nn/run.h"

#include <string.h>

/* The packed tables of a Pattention: kept ones, or packed now. */
static const struct tf_pattention_pack *packed(struct tf_run *run, size_t layer, int p)
{
    if (run->mode == TF_RUN_CACHE)
        return &run->packs[layer * TF_PATTENTIONS + (size_t)p];
    tf_pattention_pack(&run->packs[0], &run->model->layers[layer].at[p]);
    return &run->packs[0];
}

/* y = pattention(x) [+ residual]. */
static void project(struct tf_run *run, size_t layer, int p, struct tf_matrix x, struct tf_matrix y,
                    struct tf_matrix residual)
{
    tf_pattention_forward(&run->model->layers[layer].at[p], run->model->shape.norm,
                          packed(run, layer, p), run->streams * run->length, x, y, residual,
                          run->mode == TF_RUN_TRAIN ? &run->kept[layer].scores[p] : NULL,
                          &run->scratch);
}

static void layer_forward(struct tf_run *run, size_t layer, size_t start)
{
    const struct tf_kept *kept = &run->kept[layer];
    const struct tf_shape *s = &run->model->shape;
    const size_t rows = run->streams * run->length;
    const struct tf_matrix out = layer + 1 < s->layers ? run->kept[layer + 1].in : run->last,
                           none = {NULL, 0};

    tf_norm_forward(rows, s->width, kept->in, run->normed, kept->stats_in);
    project(run, layer, TF_Q, run->normed, kept->q, none);
    project(run, layer, TF_K, run->normed, kept->k, none);
    project(run, layer, TF_V, run->normed, kept->v, none);
    tf_rope_apply(&run->rope, &run->heads, run->streams, run->length, start, kept->q, 1);
    tf_rope_apply(&run->rope, &run->heads, run->streams, run->length, start, kept->k, 1);
    tf_attention_forward(&run->heads, &run->kv[layer], run->streams, run->length, start, kept->q,
                         kept->k, kept->v, kept->mixed, kept->attention, &run->scratch);
    project(run, layer, TF_O, kept->mixed, kept->middle, kept->in);

    tf_norm_forward(rows, s->width, kept->middle, run->normed, kept->stats_middle);
    project(run, layer, TF_FFN, run->normed, out, kept->middle);
}

void tf_forward(struct tf_run *run, const uint16_t *ids, size_t streams, size_t length,
                size_t start)
{
    const struct tf_model *model = run->model;
    const size_t rows = streams * length;
    run->streams = streams;
    run->length = length;
    run->head_packed = false;
    tf_embed_forward(model->embed, rows, ids, run->kept[0].in);
    for (size_t l = 0; l < model->shape.layers; l++)
        layer_forward(run, l, start);
    tf_norm_forward(rows, model->shape.width, run->last, run->hidden, run->stats_last);
    tf_affine_forward(rows, run->hidden, model->norm_weight, model->norm_bias);
}

void tf_run_scores(const struct tf_run *run, size_t layer, int p, size_t row, float *out)
{
    tf_pattention_scores(&run->model->layers[layer].at[p], run->model->shape.norm,
                         &run->kept[layer].scores[p], row, out);
}

/* dx of a Pattention into `dx` (or added to it), and its tables' gradients. */
static void project_back(struct tf_run *run, size_t layer, int p, struct tf_matrix x,
                         struct tf_matrix g, struct tf_matrix dx, bool add)
{
    tf_pattention_backward(&run->model->layers[layer].at[p], run->model->shape.norm,
                           run->streams * run->length, x, g, dx, add, &run->kept[layer].scores[p],
                           &run->back);
}

/* run->dx: dL/d(layer's output) in, dL/d(layer's input) out. */
static void layer_backward(struct tf_run *run, size_t layer)
{
    struct tf_kept *kept = &run->kept[layer];
    const size_t rows = run->streams * run->length, C = run->model->shape.width;

    /* Again: cheaper than keeping it. */
    tf_norm_forward(rows, C, kept->middle, run->normed, kept->stats_middle);
    project_back(run, layer, TF_FFN, run->normed, run->dx, run->dnormed, false);
    tf_norm_backward(rows, C, kept->middle, run->dnormed, kept->stats_middle, run->dx);

    project_back(run, layer, TF_O, kept->mixed, run->dx, run->dmixed, false);
    tf_attention_backward(&run->heads, run->streams, run->length, kept->q, kept->k, kept->v,
                          kept->mixed, kept->attention, run->dmixed, run->dq, run->dk, run->dv,
                          &run->scratch);
    tf_rope_apply(&run->rope, &run->heads, run->streams, run->length, 0, run->dq, -1);
    tf_rope_apply(&run->rope, &run->heads, run->streams, run->length, 0, run->dk, -1);
    tf_norm_forward(rows, C, kept->in, run->normed, kept->stats_in);
    project_back(run, layer, TF_Q, run->normed, run->dq, run->dnormed, false);
    project_back(run, layer, TF_K, run->normed, run->dk, run->dnormed, true);
    project_back(run, layer, TF_V, run->normed, run->dv, run->dnormed, true);
    tf_norm_backward(rows, C, kept->in, run->dnormed, kept->stats_in, run->dx);
}

void tf_backward(struct tf_run *run, const uint16_t *ids)
{
    const struct tf_table *embed = run->model->embed;
    for (size_t l = run->model->shape.layers; l-- > 0;)
        layer_backward(run, l);
    if (!embed->frozen)
        tf_embed_backward(run->embed_grad.at ? run->embed_grad
                                             : (struct tf_matrix){embed->grad, embed->stride},
                          embed->cols, run->streams * run->length, ids, run->dx);
}

void tf_gradients_clear(struct tf_run *run)
{
    const struct tf_model *model = run->model;
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model)))
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
#pragma omp for schedule(static) nowait
        for (size_t r = 0; r < t->rows; r++)
            memset(t->grad + r * t->stride, 0, t->stride * sizeof(float));
    }
    if (run->embed_grad.at)
        memset(run->embed_grad.at, 0, model->embed->rows * run->embed_grad.stride * sizeof(float));
}

void tf_gradients_finish(struct tf_run *run)
{
    const struct tf_table *embed = run->model->embed;
    if (!run->embed_grad.at)
        return;
#pragma omp parallel for schedule(static) if (tf_worth_threads(embed->rows * embed->cols))
    for (size_t r = 0; r < embed->rows; r++)
        tf_kernel->add(embed->cols, embed->grad + r * embed->stride,
                       run->embed_grad.at + r * run->embed_grad.stride);
}
