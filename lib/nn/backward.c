/* The backward pass. One team of threads goes through all of it; within a layer its work is of two
 * kinds, with a barrier between them: what each block of rows does on its own (norms, projections,
 * residuals), and what takes all rows (attention, and the gradients of tables). */
#include "nn/run.h"

#include <string.h>

static const struct tf_matrix none = {NULL, 0};

/* Team: packs projections first..last of a layer. */
static void pack_layer_back(struct tf_run *run, size_t layer, int first, int last)
{
    for (int p = first; p <= last; p++)
        tf_projection_pack_back(tf_run_pack(run, layer, p), &run->model->layers[layer].at[p]);
}

/* The packed copy, for the gradients, of some rows of g or x. */
static void pack_rows(const struct tf_run *run, float *to, size_t first, size_t count,
                      struct tf_matrix rows)
{
    const size_t C = run->model->shape.width;
    tf_pack_part(to, run->streams * run->length, C, tf_view(rows.at, rows.stride), first,
                 first + count, 0, C);
}

/* dx (or +=) of a projection for some rows, where g begins; g is packed as well, unless a matrix's.
 */
static void project_back(const struct tf_run *run, size_t layer, int p, size_t first, size_t count,
                         struct tf_matrix g, struct tf_matrix dx, bool add)
{
    const struct tf_projection *at = &run->model->layers[layer].at[p];
    if (at->values)
        pack_rows(run, run->back.g[p], first, count, g);
    tf_projection_backward(at, run->model->shape.norm, tf_run_pack(run, layer, p), first, count, g,
                           dx, add, tf_scores_from(run->kept[layer].scores[p], first),
                           &run->back.at[p], tf_run_piece(run).scores);
}

/* Turns the gradients of q and k of some rows back. */
static void turn_back(const struct tf_run *run, size_t first, size_t count)
{
    for (size_t row = first; row < first + count; row++) {
        const size_t at = row % run->length;
        tf_rope_apply(&run->rope, &run->heads, at, 1, tf_rows_from(run->dq, row), -1);
        tf_rope_apply(&run->rope, &run->heads, at, 1, tf_rows_from(run->dk, row), -1);
    }
}

/* dq, dk, dv into dx. */
static void before_attention_back(const struct tf_run *run, size_t layer, size_t first,
                                  size_t count)
{
    const struct tf_kept *kept = &run->kept[layer];
    const struct tf_piece piece = tf_run_piece(run);
    const size_t C = run->model->shape.width;
    const struct tf_matrix g[] = {run->dq, run->dk, run->dv}, in = tf_rows_from(kept->in, first);
    float *stats = kept->stats_in + 2 * first;
    turn_back(run, first, count);
    /* Again: cheaper than keeping it. */
    tf_norm_forward(count, C, in, piece.normed, stats);
    pack_rows(run, run->back.in, first, count, piece.normed);
    for (int p = TF_Q; p <= TF_V; p++)
        project_back(run, layer, p, first, count, tf_rows_from(g[p], first), piece.dnormed,
                     p > TF_Q);
    tf_norm_backward(count, C, in, piece.dnormed, stats, tf_rows_from(run->dx, first));
}

/* dx through the ffn, and from it dmixed. */
static void after_attention_back(const struct tf_run *run, size_t layer, size_t first, size_t count)
{
    const struct tf_kept *kept = &run->kept[layer];
    const struct tf_piece piece = tf_run_piece(run);
    const size_t C = run->model->shape.width;
    const struct tf_matrix dx = tf_rows_from(run->dx, first),
                           middle = tf_rows_from(kept->middle, first);
    float *stats = kept->stats_middle + 2 * first;
    tf_norm_forward(count, C, middle, piece.normed, stats);
    pack_rows(run, run->back.middle, first, count, piece.normed);
    project_back(run, layer, TF_FFN, first, count, dx, piece.dnormed, false);
    tf_norm_backward(count, C, middle, piece.dnormed, stats, dx);
    pack_rows(run, run->back.mixed, first, count, tf_rows_from(kept->mixed, first));
    project_back(run, layer, TF_O, first, count, dx, tf_rows_from(run->dmixed, first), false);
}

/* Team: all rows from the attention of layer l back to that of layer l-1. */
static void backward_rows(const struct tf_run *run, size_t l)
{
    const struct tf_blocks blocks = tf_row_blocks(run->streams * run->length);
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < blocks.count; i++) {
        const size_t first = tf_block_start(&blocks, i);
        const size_t count = tf_block_start(&blocks, i + 1) - first;
        if (l < run->model->shape.layers)
            before_attention_back(run, l, first, count);
        if (l > 0)
            after_attention_back(run, l - 1, first, count);
    }
}

/* Team. */
static void gradients(const struct tf_run *run, size_t layer, int p, const float *x)
{
    tf_projection_gradients(&run->model->layers[layer].at[p], &run->back.at[p], run->back.g[p], x,
                            !run->fresh);
}

/* Team: what backward_rows(l) has left to do: the gradients of q, k, v of layer l, and of o and ffn
 * of layer l-1 with the attention before them. */
static void backward_tables(struct tf_run *run, size_t l)
{
    if (l > 0) {
        const struct tf_kept *kept = &run->kept[l - 1];
        tf_attention_backward(&run->heads, run->streams, run->length, kept->q, kept->k, kept->v,
                              kept->mixed, kept->attention, run->dmixed, run->dq, run->dk, run->dv,
                              &run->scratch);
        pack_layer_back(run, l - 1, TF_Q, TF_V);
        gradients(run, l - 1, TF_FFN, run->back.middle);
        gradients(run, l - 1, TF_O, run->back.mixed);
    }
    for (int p = TF_Q; l < run->model->shape.layers && p <= TF_V; p++)
        gradients(run, l, p, run->back.in);
    if (l > 1)
        pack_layer_back(run, l - 2, TF_O, TF_FFN);
}

/* Where each row's part of the input's gradient goes: to its id's row; a tied embedding has rows of
 * its own for the ids of this step. */
static struct tf_matrix place_input(struct tf_run *run, const uint16_t *ids)
{
    const struct tf_table *embed = run->model->embed;
    struct tf_input_gradient *input = &run->input;
    for (size_t r = 0; r < run->streams * run->length; r++) {
        const uint16_t id = ids[r];
        run->into[r] = id;
        if (!input->row)
            continue;
        if (!input->row[id]) {
            memset(input->rows.at + input->count * input->rows.stride, 0,
                   input->rows.stride * sizeof(float));
            input->ids[input->count++] = id;
            input->row[id] = (uint32_t)input->count;
        }
        run->into[r] = input->row[id] - 1;
    }
    return input->row ? input->rows : (struct tf_matrix){embed->grad, embed->stride};
}

void tf_backward(struct tf_run *run, const uint16_t *ids)
{
    const struct tf_model *model = run->model;
    const size_t rows = run->streams * run->length, L = model->shape.layers;
    const bool frozen = model->embed->frozen;
    const struct tf_matrix input = frozen ? none : place_input(run, ids);
    for (int p = 0; p < TF_PROJECTIONS; p++)
        run->back.at[p].rows = rows;
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model) * rows))
    {
        pack_layer_back(run, L - 1, TF_O, TF_FFN);
#pragma omp barrier
        for (size_t l = L + 1; l-- > 0;) {
            backward_rows(run, l);
            backward_tables(run, l);
#pragma omp barrier
        }
        if (!frozen)
            tf_embed_backward(input, model->embed->cols, rows, run->into, run->dx);
    }
    run->fresh = false;
}

/* Tables that a pass adds to one row or column at a time; it sets the others, when fresh. */
static bool added_to(const struct tf_run *run, const struct tf_table *t)
{
    const struct tf_model *model = run->model;
    return t == model->norm_weight || t == model->norm_bias ||
           (t == model->embed && t != model->head);
}

void tf_gradients_clear(struct tf_run *run)
{
    const struct tf_model *model = run->model;
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        if (added_to(run, t))
            memset(t->grad, 0, t->rows * t->stride * sizeof(float));
    }
    while (run->input.count)
        run->input.row[run->input.ids[--run->input.count]] = 0;
    run->fresh = true;
}

void tf_gradients_finish(struct tf_run *run)
{
    const struct tf_table *embed = run->model->embed;
    const struct tf_input_gradient *input = &run->input;
#pragma omp parallel for schedule(static) if (tf_worth_threads(input->count * embed->cols))
    for (size_t r = 0; r < input->count; r++)
        tf_kernel->add(embed->cols, embed->grad + input->ids[r] * embed->stride,
                       input->rows.at + r * input->rows.stride);
}
