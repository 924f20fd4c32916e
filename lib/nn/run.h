/* The buffers of a pass. Private to lib/nn; what callers see is in nn/model.h. */
#ifndef TF_NN_RUN_H
#define TF_NN_RUN_H

#include "nn/attention.h"
#include "nn/model.h"

/* What a layer's forward pass leaves for its backward pass. In the other modes all layers share
 * one. */
struct tf_kept {
    struct tf_matrix in, middle;     /* the residual stream before the layer, and half way */
    struct tf_matrix q, k, v, mixed; /* q and k turned by RoPE; what attention gave */
    float *stats_in, *stats_middle;  /* rows x 2: of the two LayerNorms */
    float *attention;                /* rows x H x 2 */
    struct tf_scores scores[TF_PATTENTIONS];
};

struct tf_run {
    const struct tf_model *model; /* borrowed */
    enum tf_run_mode mode;
    size_t max_streams, max_length;
    size_t streams, length; /* of the last forward pass */
    struct tf_heads heads;
    struct tf_rope rope;
    struct tf_scratch scratch;
    struct tf_arena memory;

    struct tf_kept *kept; /* one a layer, in plain memory; they point into `memory` */
    struct tf_kv *kv;     /* one a layer; the same for all but in TF_RUN_CACHE */
    /* TF_RUN_CACHE: layers x TF_PATTENTIONS, kept; else one, filled before each use. */
    struct tf_pattention_pack *packs;
    struct tf_matrix normed; /* LN(x) of the half layer at hand */
    struct tf_matrix last;   /* the residual stream after the last layer */
    float *stats_last;
    struct tf_matrix hidden; /* norm(last) */

    /* The head: E^T (C,V) and E (V,C) packed, and the logits of a chunk of rows. */
    float *head_keys, *head_values;
    bool head_packed; /* since the last forward pass */
    struct tf_matrix logits;
    size_t chunk; /* rows */

    /* Backward. */
    struct tf_matrix dx, dnormed, dq, dk, dv, dmixed;
    struct tf_pattention_back back;
    float *head_chunk; /* packed hidden states of a chunk */
    /* A tied embedding's gradient as the input; joined at the end of the step, so that the order of
     * additions is that of one large batch. */
    struct tf_matrix embed_grad;
};

/* Gathers x[row] = embed[ids[row]], and adds dx[row] to grad[ids[row]] in the order of rows. */
void tf_embed_forward(const struct tf_table *embed, size_t rows, const uint16_t *ids,
                      struct tf_matrix x);
void tf_embed_backward(struct tf_matrix grad, size_t cols, size_t rows, const uint16_t *ids,
                       struct tf_matrix dx);

/* y = LN(x) without weights, eps 1e-5; stats rows x 2. And dx += its gradient. */
void tf_norm_forward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix y,
                     float *stats);
void tf_norm_backward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix dy,
                      const float *stats, struct tf_matrix dx);
/* y = x w + b, in place; and the way back: dw, db take each column's sum over the rows in order, dy
 * becomes dx. h: LN's output. */
void tf_affine_forward(size_t rows, struct tf_matrix x, const struct tf_table *w,
                       const struct tf_table *b);
void tf_affine_backward(size_t rows, struct tf_matrix dy, struct tf_matrix h,
                        const struct tf_table *w, const struct tf_table *b);

#endif
