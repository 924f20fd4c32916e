#include "nn/projection.h"

#include "kernel/narrow.h"

#include <math.h>
#include <string.h>

const char *tf_norm_name(enum tf_norm norm)
{
    static const char *const names[] = {"l2_norm_gelu", "gelu_l2_norm", "softmax", "gelu"};
    return names[norm];
}

size_t tf_projection_pack_size(size_t N, size_t C)
{
    const size_t wide = tf_packed_size(C, N), high = tf_packed_size(N, C);
    return wide > high ? wide : high;
}

void tf_projection_pack(const struct tf_projection_pack *pack, const struct tf_projection *layer)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    if (pack->precision == TF_PRECISION_INT8) {
        tf_int8_scales(pack->key_scales, k->value, k->stride, k->rows, k->cols);
        if (v)
            tf_int8_scales(pack->value_scales, v->value, v->stride, v->rows, v->cols);
#pragma omp barrier
    }
    tf_pack_narrow(pack->keys, pack->precision, tf_view_transposed(k->value, k->stride),
                   tf_view(pack->key_scales, 0), k->cols, k->rows);
    if (v)
        tf_pack_narrow(pack->values, pack->precision, tf_view(v->value, v->stride),
                       tf_view_transposed(pack->value_scales, 0), v->rows, v->cols);
}

void tf_projection_pack_back(const struct tf_projection_pack *pack,
                             const struct tf_projection *layer)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    tf_pack(pack->keys, tf_view(k->value, k->stride), k->rows, k->cols);
    if (v)
        tf_pack(pack->values, tf_view_transposed(v->value, v->stride), v->cols, v->rows);
}

/* tau over the length of a row whose squares sum to `squares`; 0 for a row of zeros, which makes S
 * and its gradients 0. */
static float row_rate(double scale, float squares)
{
    return squares > 0 ? (float)sqrt(scale) / sqrtf(squares) : 0;
}

/* s = act(a) along one row of n; s may be a. */
static void activate(enum tf_norm norm, double scale, size_t n, float *s, const float *a,
                     float stats[2])
{
    switch (norm) {
    case TF_L2_NORM_GELU:
        stats[0] = row_rate(scale, tf_kernel->dot(n, a, a));
        tf_kernel->gelu(n, s, a, stats[0]);
        break;
    case TF_GELU_L2_NORM:
        tf_kernel->gelu(n, s, a, 1);
        stats[0] = row_rate(scale, tf_kernel->dot(n, s, s));
        tf_kernel->scale(n, s, s, stats[0]);
        break;
    case TF_SOFTMAX:
        stats[0] = tf_kernel->max(n, a);
        stats[1] = (float)scale / tf_kernel->exp_sum(n, s, a, stats[0], 1);
        tf_kernel->scale(n, s, s, stats[1]);
        break;
    case TF_GELU:
        stats[0] = 1;
        tf_kernel->gelu(n, s, a, stats[0]);
        break;
    }
}

/* The way back along one row: s = act(a) again, and d from dL/ds to dL/da. */
static void activate_back(enum tf_norm norm, double scale, size_t n, float *s, float *d,
                          const float *a, const float stats[2])
{
    const float r = stats[0];
    float c;
    switch (norm) {
    case TF_L2_NORM_GELU: /* dA = r (dZ - Z (Z.dZ)/scale), Z = r A */
        c = tf_kernel->gelu_back(n, s, d, a, r, d);
        tf_kernel->blend(n, d, r, a, -(r * r * (c / (float)scale)));
        break;
    case TF_GELU_L2_NORM: /* dG = r (dS - S (S.dS)/scale), dA = dG gelu'(A) */
        tf_kernel->gelu(n, s, a, 1);
        tf_kernel->scale(n, s, s, r);
        c = tf_kernel->dot(n, s, d);
        tf_kernel->blend(n, d, r, s, -(r * (c / (float)scale)));
        tf_kernel->gelu_back(n, s, d, a, 1, d);
        tf_kernel->scale(n, s, s, r);
        break;
    case TF_SOFTMAX: /* dA = S (dS - (S.dS)/scale) */
        tf_kernel->exp_sum(n, s, a, stats[0], 1);
        tf_kernel->scale(n, s, s, stats[1]);
        c = tf_kernel->dot(n, s, d);
        tf_kernel->softmax_back(n, d, s, c / (float)scale, 1);
        break;
    case TF_GELU: /* dA = dS gelu'(A) */
        tf_kernel->gelu_back(n, s, d, a, r, d);
        break;
    }
}

/* s = act(a) along a row of scores that came from these packed keys, for these packed values; s may
 * be a. The scales of int8 are powers of two: wherever they are multiplied in, the bits are the
 * same. */
static void activate_row(const struct tf_projection *layer, enum tf_norm norm,
                         const struct tf_projection_pack *pack, float *s, const float *a,
                         float stats[2])
{
    const size_t N = layer->keys->rows;
    const bool scaled = pack->precision == TF_PRECISION_INT8;
    for (size_t i = 0; scaled && i < N; i++)
        s[i] = a[i] * pack->key_scales[i];
    activate(norm, layer->keys->scale, N, s, scaled ? s : a, stats);
    for (size_t i = 0; scaled && i < N; i++)
        s[i] *= pack->value_scales[i];
}

/* What follows the last product, column by column: the scales of an int8 matrix, then the
 * residual. */
static void finish(const struct tf_projection *layer, const struct tf_projection_pack *pack,
                   size_t rows, struct tf_matrix y, struct tf_matrix residual, size_t j0, size_t j1)
{
    const bool scaled = !layer->values && pack->precision == TF_PRECISION_INT8;
    for (size_t r = 0; r < rows; r++) {
        for (size_t j = j0; scaled && j < j1; j++)
            y.at[r * y.stride + j] *= pack->key_scales[j];
        if (residual.at)
            tf_kernel->add(j1 - j0, y.at + r * y.stride + j0,
                           residual.at + r * residual.stride + j0);
    }
}

/* S = act(x K^T) into s, rows of stride(N); A where it is kept. */
static struct tf_matrix score(const struct tf_projection *layer, enum tf_norm norm,
                              const struct tf_projection_pack *pack, size_t rows,
                              struct tf_matrix x, struct tf_scores kept, float *s)
{
    const size_t N = layer->keys->rows, C = layer->keys->cols;
    const struct tf_matrix scores = {s, tf_table_stride(N)}, a = kept.a.at ? kept.a : scores;
    float unused[2];
    tf_kernel->gemm_narrow(rows, N, C, x.at, x.stride, 1, pack->keys, pack->precision, C, N, a.at,
                           a.stride, false);
    for (size_t r = 0; r < rows; r++)
        activate_row(layer, norm, pack, s + r * scores.stride, a.at + r * a.stride,
                     kept.stats ? kept.stats + 2 * r : unused);
    return scores;
}

/* The right-hand side of the last product, y = S V or, of a matrix, y = x K^T; *k: its rows. */
static const void *last_factor(const struct tf_projection *layer,
                               const struct tf_projection_pack *pack, size_t *k)
{
    *k = layer->values ? layer->keys->rows : layer->keys->cols;
    return layer->values ? pack->values : pack->keys;
}

void tf_projection_forward(const struct tf_projection *layer, enum tf_norm norm,
                           const struct tf_projection_pack *pack, size_t rows, struct tf_matrix x,
                           struct tf_matrix y, struct tf_matrix residual, struct tf_scores kept,
                           float *s)
{
    const struct tf_matrix left = layer->values ? score(layer, norm, pack, rows, x, kept, s) : x;
    const size_t C = layer->keys->cols;
    size_t k;
    const void *packed = last_factor(layer, pack, &k);
    tf_kernel->gemm_narrow(rows, C, k, left.at, left.stride, 1, packed, pack->precision, k, C, y.at,
                           y.stride, false);
    finish(layer, pack, rows, y, residual, 0, C);
}

void tf_projection_ask(const struct tf_projection *layer, const struct tf_projection_pack *pack,
                       size_t rows, struct tf_matrix x, struct tf_matrix a)
{
    tf_gemm_few(rows, layer->keys->rows, layer->keys->cols, tf_view(x.at, x.stride), pack->keys,
                pack->precision, a.at, a.stride, false);
}

void tf_projection_activate(const struct tf_projection *layer, enum tf_norm norm,
                            const struct tf_projection_pack *pack, size_t rows, struct tf_matrix a,
                            struct tf_matrix s)
{
    float unused[2];
    for (size_t r = 0; r < rows; r++)
        activate_row(layer, norm, pack, s.at + r * s.stride, a.at + r * a.stride, unused);
}

void tf_projection_answer(const struct tf_projection *layer, const struct tf_projection_pack *pack,
                          size_t rows, struct tf_matrix s, struct tf_matrix y,
                          struct tf_matrix residual)
{
    const size_t C = layer->keys->cols;
    const struct tf_blocks columns = tf_column_blocks(C);
    size_t k;
    const void *packed = last_factor(layer, pack, &k);
#pragma omp for schedule(static) nowait
    for (size_t i = 0; i < columns.count; i++) {
        const size_t j0 = tf_block_start(&columns, i), j1 = tf_block_start(&columns, i + 1);
        tf_gemm_columns(rows, C, k, tf_view(s.at, s.stride), packed, pack->precision, y.at,
                        y.stride, false, j0, j1);
        finish(layer, pack, rows, y, residual, j0, j1);
    }
}

void tf_projection_scores(const struct tf_projection *layer, enum tf_norm norm,
                          struct tf_scores kept, size_t row, float *s)
{
    float unused[2];
    activate(norm, layer->keys->scale, layer->keys->rows, s, kept.a.at + row * kept.a.stride,
             unused);
}

/* d = dL/dA of the rows that g and kept begin with, and the left-hand sides for the gradients. */
static void score_back(const struct tf_projection *layer, enum tf_norm norm,
                       const struct tf_projection_pack *pack, size_t first, size_t count,
                       struct tf_matrix g, struct tf_scores kept,
                       const struct tf_projection_back *back, struct tf_matrix d)
{
    const size_t N = layer->keys->rows, C = layer->keys->cols;
    float *s = d.at + count * d.stride;
    tf_kernel->gemm(count, N, C, g.at, g.stride, 1, pack->values, C, N, d.at, d.stride, false);
    for (size_t r = 0; r < count; r++) {
        activate_back(norm, layer->keys->scale, N, s, d.at + r * d.stride,
                      kept.a.at + r * kept.a.stride, kept.stats + 2 * r);
        tf_left_row(back->s, back->rows, N, first + r, s);
    }
}

void tf_projection_backward(const struct tf_projection *layer, enum tf_norm norm,
                            const struct tf_projection_pack *pack, size_t first, size_t count,
                            struct tf_matrix g, struct tf_matrix dx, bool add,
                            struct tf_scores kept, const struct tf_projection_back *back, float *d)
{
    const size_t N = layer->keys->rows, C = layer->keys->cols;
    const struct tf_matrix scores = {d, tf_table_stride(N)}, da = layer->values ? scores : g;
    if (layer->values)
        score_back(layer, norm, pack, first, count, g, kept, back, scores);
    for (size_t r = 0; r < count; r++)
        tf_left_row(back->da, back->rows, N, first + r, da.at + r * da.stride);
    tf_kernel->gemm(count, C, N, da.at, da.stride, 1, pack->keys, N, C, dx.at, dx.stride, add);
}

void tf_projection_gradients(const struct tf_projection *layer,
                             const struct tf_projection_back *back, const float *g, const float *x,
                             bool add)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    if (v && !v->frozen)
        tf_gemm_left(v->rows, v->cols, back->rows, back->s, g, v->grad, v->stride, add);
    if (!k->frozen)
        tf_gemm_left(k->rows, k->cols, back->rows, back->da, x, k->grad, k->stride, add);
}
