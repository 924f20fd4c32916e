/* Pattention: attention of x over a resizable table of parameter tokens (arXiv 2410.23168, equation
 * 4; numerics in tokenformer(7)).
 *
 *   A = x K^T            x (T,C)  K (N,C)  V (N,C)
 *   S = act(A)           act by tf_norm, along each row
 *   y = S V
 */
#ifndef TF_NN_PATTENTION_H
#define TF_NN_PATTENTION_H

#include "kernel/gemm.h"
#include "nn/table.h"

enum tf_norm {
    TF_L2_NORM_GELU, /* S = gelu(A tau/||A||)         */
    TF_GELU_L2_NORM, /* S = G tau/||G||, G = gelu(A)  */
    TF_SOFTMAX       /* S = softmax(A) tau^2          */
};
const char *tf_norm_name(enum tf_norm norm);

struct tf_pattention {
    struct tf_table *keys, *values; /* borrowed from the model; one row count, one scale */
};

/* Both tables packed as right-hand sides of the forward products. */
struct tf_pattention_pack {
    float *keys;   /* K^T (C,N) */
    float *values; /* V (N,C)   */
};
void tf_pattention_pack(struct tf_pattention_pack *pack, const struct tf_pattention *layer);

/* What the backward pass needs of a forward one. */
struct tf_scores {
    float *a; /* A (T,N), rows `stride` apart */
    size_t stride;
    float *stats; /* T x 2: tau/||A|| or tau/||G||; for softmax the row's maximum and scale/sum */
};

/* Rows of activations, `stride` floats apart. */
struct tf_matrix {
    float *at;
    size_t stride;
};

/* Memory that passes borrow from the run. */
struct tf_scratch {
    float *thread;      /* one piece a thread */
    size_t thread_size; /* floats in each: at least rows_block x stride(N) */
};

/* y = pattention(x) for `rows` rows; plus residual's rows where residual.at is set. scores NULL:
 * inference, A is never stored. */
void tf_pattention_forward(const struct tf_pattention *layer, enum tf_norm norm,
                           const struct tf_pattention_pack *pack, size_t rows, struct tf_matrix x,
                           struct tf_matrix y, struct tf_matrix residual,
                           const struct tf_scores *scores, const struct tf_scratch *scratch);

/* S = act(A) of one row of a forward pass that kept its scores, into s (N floats). */
void tf_pattention_scores(const struct tf_pattention *layer, enum tf_norm norm,
                          const struct tf_scores *scores, size_t row, float *s);

/* Buffers of a backward pass, shared by all layers. */
struct tf_pattention_back {
    float *s, *da; /* (T,N) each, `stride` apart */
    size_t stride;
    float *values, *keys; /* packed V^T (C,N) and K (N,C) */
    float *g, *x;         /* packed G and x (T,C) */
};

/* Given g = dL/dy: dx = (or +=, when add) dL/dx, and adds to the gradients of keys and values. */
void tf_pattention_backward(const struct tf_pattention *layer, enum tf_norm norm, size_t rows,
                            struct tf_matrix x, struct tf_matrix g, struct tf_matrix dx, bool add,
                            const struct tf_scores *scores, const struct tf_pattention_back *back);

#endif
