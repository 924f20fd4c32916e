#include "nn/pattention.h"

#include <math.h>
#include <omp.h>
#include <string.h>

const char *tf_norm_name(enum tf_norm norm)
{
    static const char *const names[] = {"l2_norm_gelu", "gelu_l2_norm", "softmax"};
    return names[norm];
}

void tf_pattention_pack(struct tf_pattention_pack *pack, const struct tf_pattention *layer)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    tf_pack(pack->keys, tf_view_transposed(k->value, k->stride), k->cols, k->rows);
    tf_pack(pack->values, tf_view(v->value, v->stride), v->rows, v->cols);
}

/* tau over the length of a row whose squares sum to `squares`; 0 for a row of zeros, which makes S and its gradients 0. */
static float row_rate(double scale, float squares)
{
    return squares > 0 ? (float)sqrt(scale) / sqrtf(squares) : 0;
}

/* s = act(a) along one row of n; s may be a. */
static void activate(enum tf_norm norm, double scale, size_t n, float *s, const float *a, float stats[2])
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
    }
}

/* The way back along one row: s = act(a) again, and d from dL/ds to dL/da. */
static void activate_back(enum tf_norm norm, double scale, size_t n, float *s, float *d, const float *a, const float stats[2])
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
    }
}

void tf_pattention_forward(const struct tf_pattention *layer, enum tf_norm norm, const struct tf_pattention_pack *pack,
                           size_t rows, struct tf_matrix x, struct tf_matrix y, struct tf_matrix residual,
                           const struct tf_scores *scores, const struct tf_scratch *scratch)
{
    const size_t N = layer->keys->rows, C = layer->keys->cols, block = tf_row_block(rows);
    const double scale = layer->keys->scale;
    const size_t stride = tf_table_stride(N);
#pragma omp parallel for schedule(dynamic) if (rows > block)
    for (size_t i = 0; i < rows; i += block) {
        const size_t m = rows - i < block ? rows - i : block;
        float *s = scratch->thread + (size_t)omp_get_thread_num() * scratch->thread_size;
        float *a = scores ? scores->a + i * scores->stride : s, unused[2];
        const size_t lda = scores ? scores->stride : stride;
        tf_kernel->gemm(m, N, C, x.at + i * x.stride, x.stride, 1, pack->keys, C, N, a, lda, false);
        for (size_t r = 0; r < m; r++)
            activate(norm, scale, N, s + r * stride, a + r * lda, scores ? scores->stats + 2 * (i + r) : unused);
        tf_kernel->gemm(m, C, N, s, stride, 1, pack->values, N, C, y.at + i * y.stride, y.stride, false);
        for (size_t r = i; residual.at && r < i + m; r++)
            tf_kernel->add(C, y.at + r * y.stride, residual.at + r * residual.stride);
    }
}

void tf_pattention_backward(const struct tf_pattention *layer, enum tf_norm norm, size_t rows, struct tf_matrix x,
                            struct tf_matrix g, struct tf_matrix dx, bool add, const struct tf_scores *scores,
                            const struct tf_pattention_back *back)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    const size_t N = k->rows, C = k->cols, block = tf_row_block(rows), stride = back->stride;
    tf_pack(back->values, tf_view_transposed(v->value, v->stride), C, N);
    tf_pack(back->keys, tf_view(k->value, k->stride), N, C);
#pragma omp parallel for schedule(dynamic) if (rows > block)
    for (size_t i = 0; i < rows; i += block) {
        const size_t m = rows - i < block ? rows - i : block;
        float *s = back->s + i * stride, *d = back->da + i * stride;
        tf_kernel->gemm(m, N, C, g.at + i * g.stride, g.stride, 1, back->values, C, N, d, stride, false);
        for (size_t r = 0; r < m; r++)
            activate_back(norm, k->scale, N, s + r * stride, d + r * stride, scores->a + (i + r) * scores->stride,
                          scores->stats + 2 * (i + r));
        tf_kernel->gemm(m, C, N, d, stride, 1, back->keys, N, C, dx.at + i * dx.stride, dx.stride, add);
    }
    if (!v->frozen) {
        tf_pack(back->g, tf_view(g.at, g.stride), rows, C);
        tf_gemm(N, C, rows, tf_view_transposed(back->s, stride), back->g, v->grad, v->stride, true);
    }
    if (!k->frozen) {
        tf_pack(back->x, tf_view(x.at, x.stride), rows, C);
        tf_gemm(N, C, rows, tf_view_transposed(back->da, stride), back->x, k->grad, k->stride, true);
    }
}
