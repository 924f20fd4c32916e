#include "base/fmath.h"
#include "nn/run.h"

#include <string.h>

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Team: into the chunk's buffer, packing some of the table at a time. */
static void logits_chunk(struct tf_run *run, size_t row, size_t count)
{
    const struct tf_table *head = run->model->head;
    const size_t C = head->cols, V = head->rows;
    const struct tf_matrix h = tf_rows_from(run->hidden, row);
    for (size_t v = 0; v < V; v += TF_HEAD_PIECE) {
        const size_t ids = smaller(TF_HEAD_PIECE, V - v);
        tf_pack(run->head, tf_view_transposed(tf_table_row(head, v), head->stride), C, ids);
#pragma omp barrier
        tf_gemm(count, ids, C, tf_view(h.at, h.stride), run->head, run->logits.at + v,
                run->logits.stride, false);
#pragma omp barrier
    }
}

/* Team: the same with the kept table, which may be narrow. */
static void logits_kept(struct tf_run *run, size_t row, size_t count)
{
    const size_t C = run->model->shape.width, V = run->model->shape.vocab;
    const struct tf_matrix h = tf_rows_from(run->hidden, row);
    const struct tf_blocks columns = tf_column_blocks(V);
#pragma omp for schedule(static)
    for (size_t i = 0; i < columns.count; i++) {
        const size_t j0 = tf_block_start(&columns, i), j1 = tf_block_start(&columns, i + 1);
        tf_gemm_columns(count, V, C, tf_view(h.at, h.stride), run->head, run->model->precision,
                        run->logits.at, run->logits.stride, false, j0, j1);
        for (size_t r = 0; r < count && run->model->precision == TF_PRECISION_INT8; r++)
            for (size_t v = j0; v < j1; v++)
                run->logits.at[r * run->logits.stride + v] *= run->head_scales[v];
    }
}

/* Team: logits of rows [row, row+count), complete when it returns. */
static void logits(struct tf_run *run, size_t row, size_t count)
{
    if (run->mode == TF_RUN_CACHE)
        logits_kept(run, row, count);
    else
        logits_chunk(run, row, count);
}

/* A row of logits to its loss; with a weight, to dL/dlogit = weight (softmax - one-hot) as well. */
static float cross_entropy(size_t V, float *logits, uint16_t target, float weight)
{
    const float max = tf_kernel->max(V, logits), right = logits[target];
    const float sum = tf_kernel->exp_sum(V, logits, logits, max, 1);
    if (weight != 0) {
        tf_kernel->scale(V, logits, logits, weight / sum);
        logits[target] -= weight;
    }
    return (float)((double)max - (double)right + tf_log((double)sum));
}

/* Team: the chunk's part of dhidden (into dmixed, which attention does not need yet) and of the
 * head's gradient, complete when it returns. */
static void head_backward(struct tf_run *run, size_t row, size_t count)
{
    const struct tf_table *head = run->model->head;
    const size_t C = head->cols, V = head->rows;
    const struct tf_matrix h = tf_rows_from(run->hidden, row), d = tf_rows_from(run->dmixed, row);
    if (!head->frozen)
        tf_pack(run->head_hidden, tf_view(h.at, h.stride), count, C);
    for (size_t v = 0; v < V; v += TF_HEAD_PIECE) {
        const size_t ids = smaller(TF_HEAD_PIECE, V - v);
        tf_pack(run->head, tf_view(tf_table_row(head, v), head->stride), ids, C);
#pragma omp barrier
        tf_gemm(count, C, ids, tf_view(run->logits.at + v, run->logits.stride), run->head, d.at,
                d.stride, v > 0);
#pragma omp barrier
    }
    if (!head->frozen)
        tf_gemm(V, C, count, tf_view_transposed(run->logits.at, run->logits.stride),
                run->head_hidden, head->grad, head->stride, !run->fresh || row > 0);
#pragma omp barrier
}

/* Team: from dhidden, through the final norm, to the gradient of the residual stream in dx. */
static void final_norm_back(struct tf_run *run)
{
    const struct tf_model *model = run->model;
    const size_t C = model->shape.width;
    const struct tf_blocks blocks = tf_row_blocks(run->streams * run->length);
    const struct tf_matrix normed = run->dq; /* free until the attention's backward pass */
#pragma omp for schedule(static)
    for (size_t i = 0; i < blocks.count; i++) {
        const size_t first = tf_block_start(&blocks, i);
        tf_norm_forward(tf_block_start(&blocks, i + 1) - first, C, tf_rows_from(run->last, first),
                        tf_rows_from(normed, first), run->stats_last + 2 * first);
    }
    tf_affine_backward(blocks.size, run->dmixed, normed, model->norm_weight, model->norm_bias);
#pragma omp barrier
#pragma omp for schedule(static)
    for (size_t i = 0; i < blocks.count; i++) {
        const size_t first = tf_block_start(&blocks, i);
        const size_t count = tf_block_start(&blocks, i + 1) - first;
        const struct tf_matrix dx = tf_rows_from(run->dx, first);
        memset(dx.at, 0, count * dx.stride * sizeof(float));
        tf_norm_backward(count, C, tf_rows_from(run->last, first), tf_rows_from(run->dmixed, first),
                         run->stats_last + 2 * first, dx);
    }
}

void tf_loss(struct tf_run *run, const uint16_t *targets, float *losses, float weight)
{
    const size_t rows = run->streams * run->length, V = run->model->shape.vocab;
#pragma omp parallel if (tf_worth_threads(rows * V))
    {
        for (size_t row = 0; row < rows; row += run->chunk) {
            const size_t count = smaller(rows - row, run->chunk);
            logits(run, row, count);
#pragma omp for schedule(dynamic, 4)
            for (size_t r = 0; r < count; r++)
                losses[row + r] = cross_entropy(V, run->logits.at + r * run->logits.stride,
                                                targets[row + r], weight);
            if (weight != 0)
                head_backward(run, row, count);
        }
        if (weight != 0)
            final_norm_back(run);
    }
}

void tf_logits(struct tf_run *run, size_t row, size_t count, float *out)
{
    const size_t V = run->model->shape.vocab;
    for (size_t done = 0; done < count; done += run->chunk) {
        const size_t rows = smaller(count - done, run->chunk);
#pragma omp parallel if (tf_worth_threads(rows * V))
        logits(run, row + done, rows);
        for (size_t r = 0; r < rows; r++)
            memcpy(out + (done + r) * V, run->logits.at + r * run->logits.stride, V * sizeof *out);
    }
}
