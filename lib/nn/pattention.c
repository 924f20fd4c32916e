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
    }
}

/* A forward pass, as its blocks of rows see it. */
struct block {
    const struct tf_pattention *layer;
    enum tf_norm norm;
    const struct tf_pattention_pack *pack;
    struct tf_matrix x, y, residual;
    const struct tf_scores *scores;
};

/* Where A of row i goes: to the scores that are kept, or to the scratch that S will overwrite. */
static struct tf_matrix score_rows(const struct block *b, size_t i, float *s)
{
    return b->scores ? (struct tf_matrix){b->scores->a + i * b->scores->stride, b->scores->stride}
                     : (struct tf_matrix){s, tf_table_stride(b->layer->keys->rows)};
}

static void activate_rows(const struct block *b, size_t i, size_t m, float *s)
{
    const size_t N = b->layer->keys->rows;
    const struct tf_matrix a = score_rows(b, i, s);
    float unused[2];
    for (size_t r = 0; r < m; r++)
        activate(b->norm, b->layer->keys->scale, N, s + r * tf_table_stride(N), a.at + r * a.stride,
                 b->scores ? b->scores->stats + 2 * (i + r) : unused);
}

static void add_residual(const struct block *b, size_t i, size_t m)
{
    for (size_t r = i; b->residual.at && r < i + m; r++)
        tf_kernel->add(b->layer->keys->cols, b->y.at + r * b->y.stride,
                       b->residual.at + r * b->residual.stride);
}

/* A block of rows on this thread, its scores in cache from the first product to the second. */
static void forward_block(const struct block *b, size_t i, size_t m, float *s)
{
    const size_t N = b->layer->keys->rows, C = b->layer->keys->cols;
    const struct tf_matrix a = score_rows(b, i, s);
    tf_kernel->gemm(m, N, C, b->x.at + i * b->x.stride, b->x.stride, 1, b->pack->keys, C, N, a.at,
                    a.stride, false);
    activate_rows(b, i, m, s);
    tf_kernel->gemm(m, C, N, s, tf_table_stride(N), 1, b->pack->values, N, C,
                    b->y.at + i * b->y.stride, b->y.stride, false);
    add_residual(b, i, m);
}

/* Rows too few to share: all threads share the tables' columns instead. */
static void forward_few(const struct block *b, size_t m, float *s)
{
    const size_t N = b->layer->keys->rows, C = b->layer->keys->cols;
    const struct tf_matrix a = score_rows(b, 0, s);
    tf_gemm(m, N, C, tf_view(b->x.at, b->x.stride), b->pack->keys, a.at, a.stride, false);
    activate_rows(b, 0, m, s);
    tf_gemm(m, C, N, tf_view(s, tf_table_stride(N)), b->pack->values, b->y.at, b->y.stride, false);
    add_residual(b, 0, m);
}

void tf_pattention_forward(const struct tf_pattention *layer, enum tf_norm norm,
                           const struct tf_pattention_pack *pack, size_t rows, struct tf_matrix x,
                           struct tf_matrix y, struct tf_matrix residual,
                           const struct tf_scores *scores, const struct tf_scratch *scratch)
{
    const struct block b = {layer, norm, pack, x, y, residual, scores};
    const size_t block = tf_row_block(rows);
    if (rows <= block) {
        forward_few(&b, rows, scratch->thread);
        return;
    }
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < rows; i += block)
        forward_block(&b, i, rows - i < block ? rows - i : block,
                      scratch->thread + (size_t)omp_get_thread_num() * scratch->thread_size);
}

void tf_pattention_scores(const struct tf_pattention *layer, enum tf_norm norm,
                          const struct tf_scores *scores, size_t row, float *s)
{
    float unused[2];
    activate(norm, layer->keys->scale, layer->keys->rows, s, scores->a + row * scores->stride,
             unused);
}

void tf_pattention_backward(const struct tf_pattention *layer, enum tf_norm norm, size_t rows,
                            struct tf_matrix x, struct tf_matrix g, struct tf_matrix dx, bool add,
                            const struct tf_scores *scores, const struct tf_pattention_back *back)
{
    const struct tf_table *k = layer->keys, *v = layer->values;
    const size_t N = k->rows, C = k->cols, block = tf_row_block(rows), stride = back->stride;
    tf_pack(back->values, tf_view_transposed(v->value, v->stride), C, N);
    tf_pack(back->keys, tf_view(k->value, k->stride), N, C);
#pragma omp parallel for schedule(dynamic) if (rows > block)
    for (size_t i = 0; i < rows; i += block) {
        const size_t m = rows - i < block ? rows - i : block;
        float *s = back->s + i * stride, *d = back->da + i * stride;
        tf_kernel->gemm(m, N, C, g.at + i * g.stride, g.stride, 1, back->values, C, N, d, stride,
                        false);
        for (size_t r = 0; r < m; r++)
            activate_back(norm, k->scale, N, s + r * stride, d + r * stride,
                          scores->a + (i + r) * scores->stride, scores->stats + 2 * (i + r));
        tf_kernel->gemm(m, C, N, d, stride, 1, back->keys, N, C, dx.at + i * dx.stride, dx.stride,
                        add);
    }
    if (!v->frozen) {
        tf_pack(back->g, tf_view(g.at, g.stride), rows, C);
        tf_gemm(N, C, rows, tf_view_transposed(back->s, stride), back->g, v->grad, v->stride, true);
    }
    if (!k->frozen) {
        tf_pack(back->x, tf_view(x.at, x.stride), rows, C);
        tf_gemm(N, C, rows, tf_view_transposed(back->da, stride), back->x, k->grad, k->stride,
                true);
    }
}
