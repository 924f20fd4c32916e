#include "base/fmath.h"
#include "nn/run.h"

#include <string.h>

/* Logits of rows [row, row+count) into the chunk's buffer. */
static void logits_chunk(struct tf_run *run, size_t row, size_t count)
{
    const size_t C = run->model->shape.width, V = run->model->shape.vocab;
    const struct tf_matrix h = run->hidden;
    tf_gemm(count, V, C, tf_view(h.at + row * h.stride, h.stride), run->head_keys, run->logits.at,
            run->logits.stride, false);
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

/* The chunk's part of dhidden and of the head's gradient. */
static void head_backward(struct tf_run *run, size_t row, size_t count)
{
    const struct tf_table *head = run->model->head;
    const size_t C = head->cols, V = head->rows;
    const struct tf_matrix h = run->hidden, d = run->dnormed;
    tf_gemm(count, C, V, tf_view(run->logits.at, run->logits.stride), run->head_values,
            d.at + row * d.stride, d.stride, false);
    if (head->frozen)
        return;
    tf_pack(run->head_chunk, tf_view(h.at + row * h.stride, h.stride), count, C);
    tf_gemm(V, C, count, tf_view_transposed(run->logits.at, run->logits.stride), run->head_chunk,
            head->grad, head->stride, true);
}

/* The head's tables as right-hand sides. In TF_RUN_CACHE they are kept. */
static void head_pack(struct tf_run *run)
{
    const struct tf_table *head = run->model->head;
    if (run->head_packed)
        return;
    run->head_packed = true;
    if (run->mode != TF_RUN_CACHE)
        tf_pack(run->head_keys, tf_view_transposed(head->value, head->stride), head->cols,
                head->rows);
    if (run->mode == TF_RUN_TRAIN)
        tf_pack(run->head_values, tf_view(head->value, head->stride), head->rows, head->cols);
}

void tf_loss(struct tf_run *run, const uint16_t *targets, float *losses, float weight)
{
    const size_t rows = run->streams * run->length, C = run->model->shape.width,
                 V = run->model->shape.vocab;
    const bool back = weight != 0;
    head_pack(run);
    for (size_t row = 0; row < rows; row += run->chunk) {
        const size_t count = rows - row < run->chunk ? rows - row : run->chunk;
        logits_chunk(run, row, count);
#pragma omp parallel for schedule(static) if (tf_worth_threads(count * V))
        for (size_t r = 0; r < count; r++)
            losses[row + r] =
                cross_entropy(V, run->logits.at + r * run->logits.stride, targets[row + r], weight);
        if (back)
            head_backward(run, row, count);
    }
    if (!back)
        return;
    /* Through the final norm: dnormed becomes the gradient of LN's output, dx that of the residual
     * stream. */
    tf_norm_forward(rows, C, run->last, run->normed, run->stats_last);
    tf_affine_backward(rows, run->dnormed, run->normed, run->model->norm_weight,
                       run->model->norm_bias);
    memset(run->dx.at, 0, rows * run->dx.stride * sizeof(float));
    tf_norm_backward(rows, C, run->last, run->dnormed, run->stats_last, run->dx);
}

void tf_logits(struct tf_run *run, size_t row, size_t count, float *out)
{
    const size_t V = run->model->shape.vocab;
    head_pack(run);
    for (size_t done = 0; done < count; done += run->chunk) {
        const size_t rows = count - done < run->chunk ? count - done : run->chunk;
        logits_chunk(run, row + done, rows);
        for (size_t r = 0; r < rows; r++)
            memcpy(out + (done + r) * V, run->logits.at + r * run->logits.stride, V * sizeof *out);
    }
}
