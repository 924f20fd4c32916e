/* A projection of rows x: a Pattention, which is attention over a resizable table of parameter
 * tokens (arXiv 2410.23168, equation 4; numerics in tokenformer(7)), or a plain matrix.
 *
 *   A = x K^T            x (T,C)  K (N,C)  V (N,C)
 *   S = act(A)           act by tf_norm, along each row
 *   y = S V              a matrix has no V: y = A
 *
 * A pass takes a block of rows at a time on one thread, whose scores stay in its cache from the
 * first product to the second. */
#ifndef TF_NN_PROJECTION_H
#define TF_NN_PROJECTION_H

#include "kernel/gemm.h"
#include "nn/table.h"

enum tf_norm {
    TF_L2_NORM_GELU, /* S = gelu(A tau/||A||)         */
    TF_GELU_L2_NORM, /* S = G tau/||G||, G = gelu(A)  */
    TF_SOFTMAX,      /* S = softmax(A) tau^2          */
    TF_GELU /* S = gelu(A): the MLP of kind transformer, whose hidden units are its tokens */
};
const char *tf_norm_name(enum tf_norm norm);

struct tf_projection {
    struct tf_table *keys, *values; /* borrowed from the model; one row count, one scale. A matrix
                                       is keys alone (C,C), values NULL: y = x K^T */
};

/* The tables packed as right-hand sides: K^T (C,N) and V (N,C) of the forward products, or K (N,C)
 * and V^T (C,N) of the backward ones. Room for either; NULL for the values of a matrix. For
 * inference the numbers may be narrow, the tables being rounded to that precision (nn/precision.h).
 */
struct tf_projection_pack {
    void *keys, *values;
    enum tf_precision precision;
    float *key_scales, *value_scales; /* N each; of int8 alone */
};
/* Numbers that keys, or values, need for N tokens of width C. */
size_t tf_projection_pack_size(size_t N, size_t C);
/* Team; of int8, the threads wait for the scales. */
void tf_projection_pack(const struct tf_projection_pack *pack, const struct tf_projection *layer);
void tf_projection_pack_back(const struct tf_projection_pack *pack,
                             const struct tf_projection *layer);

/* Rows of activations, `stride` floats apart. */
struct tf_matrix {
    float *at;
    size_t stride;
};
static inline struct tf_matrix tf_rows_from(struct tf_matrix m, size_t first)
{
    return (struct tf_matrix){m.at ? m.at + first * m.stride : NULL, m.stride};
}

/* What the backward pass needs of a forward one; at NULL: inference, A is never stored, or a
 * matrix, which has none. */
struct tf_scores {
    struct tf_matrix a; /* A (T,N) */
    float *stats; /* T x 2: tau/||A|| or tau/||G||; for softmax the row's maximum and scale/sum; for
                     an MLP 1 */
};
static inline struct tf_scores tf_scores_from(struct tf_scores s, size_t first)
{
    return (struct tf_scores){tf_rows_from(s.a, first), s.stats ? s.stats + 2 * first : NULL};
}

/* This thread: y = projection(x) for `rows` rows; plus residual's rows where residual.at is set.
 * s: room for rows x stride(N) floats, unless a matrix. */
void tf_projection_forward(const struct tf_projection *layer, enum tf_norm norm,
                           const struct tf_projection_pack *pack, size_t rows, struct tf_matrix x,
                           struct tf_matrix y, struct tf_matrix residual, struct tf_scores kept,
                           float *s);

/* The same in three steps, for rows too few to be shared: a team shares the tables' columns in the
 * first and the last, with a barrier after each; in between, S = act(A) by this thread, s being a
 * or not. A matrix takes the last alone, its s being x. */
void tf_projection_ask(const struct tf_projection *layer, const struct tf_projection_pack *pack,
                       size_t rows, struct tf_matrix x, struct tf_matrix a);
void tf_projection_activate(const struct tf_projection *layer, enum tf_norm norm,
                            const struct tf_projection_pack *pack, size_t rows, struct tf_matrix a,
                            struct tf_matrix s);
void tf_projection_answer(const struct tf_projection *layer, const struct tf_projection_pack *pack,
                          size_t rows, struct tf_matrix s, struct tf_matrix y,
                          struct tf_matrix residual);

/* S = act(A) of one row of a forward pass that kept its scores, into s (N floats). Not of a matrix.
 */
void tf_projection_scores(const struct tf_projection *layer, enum tf_norm norm,
                          struct tf_scores kept, size_t row, float *s);

/* What a backward pass over T rows leaves for the gradients of the tables, as left-hand sides
 * (kernel/gemm.h) of T rows. */
struct tf_projection_back {
    float *s, *da; /* S, which a matrix has not, and dL/dA */
    size_t rows;   /* T */
};

/* This thread: given g = dL/dy of `count` rows from row `first` on, dx = (or +=, when add) dL/dx,
 * and these rows of `back`. g, dx and kept begin there. d: room for count + 1 rows of stride(N)
 * floats, unless a matrix. */
void tf_projection_backward(const struct tf_projection *layer, enum tf_norm norm,
                            const struct tf_projection_pack *pack, size_t first, size_t count,
                            struct tf_matrix g, struct tf_matrix dx, bool add,
                            struct tf_scores kept, const struct tf_projection_back *back, float *d);

/* Team: the gradients of values and keys become (or take, when add) S^T G and dA^T x; the chain of
 * each number runs over the rows in order. g (not of a matrix), x: (T,C) packed. */
void tf_projection_gradients(const struct tf_projection *layer,
                             const struct tf_projection_back *back, const float *g, const float *x,
                             bool add);

#endif
