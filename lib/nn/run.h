/* The buffers of a pass. Private to lib/nn; what callers see is in nn/model.h. */
#ifndef TF_NN_RUN_H
#define TF_NN_RUN_H

#include "nn/attention.h"
#include "nn/model.h"

/* Rows of a pass that threads do not share: they share the tables' columns instead. */
#define TF_FEW_ROWS 16
/* Token ids whose part of the head is packed at a time: 3 MiB at a width of 768. */
#define TF_HEAD_PIECE 1024

/* What a layer's forward pass leaves for its backward pass. In the other modes all layers share
 * one. */
struct tf_kept {
    struct tf_matrix in, middle;     /* the residual stream before the layer, and half way */
    struct tf_matrix q, k, v, mixed; /* q and k turned by RoPE; what attention gave */
    float *stats_in, *stats_middle;  /* rows x 2: of the two LayerNorms */
    float *attention;                /* rows x H x 2 */
    struct tf_scores scores[TF_PROJECTIONS]; /* TF_RUN_TRAIN; none of a matrix */
};

/* What a backward pass leaves for the gradients of a layer's tables. */
struct tf_back {
    struct tf_projection_back at[TF_PROJECTIONS];
    float *g[TF_PROJECTIONS];   /* packed dL/dy (T,C), unless a matrix's */
    float *in, *mixed, *middle; /* packed x (T,C) of q, k and v; of o; of ffn */
};

/* A tied embedding's gradient as the input, joined to the head's at the end of the step, so that
 * the order of additions is that of one large batch. A row for each id that the step has seen. */
struct tf_input_gradient {
    struct tf_matrix rows; /* V; memory beyond the most ids of a step is never touched */
    uint32_t *row;         /* V: an id's row plus one; 0: none yet */
    uint16_t *ids;         /* V: the id of each row */
    size_t count;
};

struct tf_run {
    const struct tf_model *model; /* borrowed */
    enum tf_run_mode mode;
    size_t max_streams, max_length;
    size_t streams, length, start; /* of the last forward pass */
    struct tf_heads heads;
    struct tf_rope rope;
    struct tf_scratch scratch;
    struct tf_arena memory;

    struct tf_kept *kept; /* one a layer, in plain memory; they point into `memory` */
    struct tf_kv *kv;     /* one a layer; the same for all but in TF_RUN_CACHE */
    /* TF_RUN_CACHE: layers x TF_PROJECTIONS, kept; else TF_PROJECTIONS, filled before each use. */
    struct tf_projection_pack *packs;
    struct tf_matrix few[TF_PROJECTIONS]; /* TF_RUN_CACHE: scores of a few rows; none of a matrix */
    struct tf_matrix last;                /* the residual stream after the last layer */
    float *stats_last;
    struct tf_matrix hidden; /* norm(last) */

    /* The head: logits of a chunk of rows, made with some of the vocabulary at a time. */
    struct tf_matrix logits;
    size_t chunk; /* rows */
    /* Packed: all of E^T (C,V), narrow as the model is, in TF_RUN_CACHE, else of a piece of E. */
    void *head;
    float *head_scales; /* V, of an int8 model's E^T */
    float *head_hidden; /* packed hidden states of a chunk */

    /* Backward. */
    bool fresh; /* no gradient since tf_gradients_clear: they are set, not added to */
    struct tf_matrix dx, dq, dk, dv, dmixed;
    struct tf_back back;
    struct tf_input_gradient input;
    uint32_t *into; /* rows of this pass: where in the input's gradient each belongs */
};

/* A thread's piece of scratch in the passes over rows. */
struct tf_piece {
    struct tf_matrix normed, dnormed; /* TF_BLOCK_ROWS x C */
    float *scores;                    /* TF_BLOCK_ROWS + 1 rows of stride(N) */
};

static inline struct tf_piece tf_run_piece(const struct tf_run *run)
{
    const size_t stride = tf_table_stride(run->model->shape.width);
    float *at = tf_scratch_piece(&run->scratch);
    return (struct tf_piece){.normed = {at, stride},
                             .dnormed = {at + TF_BLOCK_ROWS * stride, stride},
                             .scores = at + 2 * TF_BLOCK_ROWS * stride};
}

/* Projection p of a layer, packed. */
static inline struct tf_projection_pack *tf_run_pack(const struct tf_run *run, size_t layer, int p)
{
    return &run->packs[(run->mode == TF_RUN_CACHE ? layer * TF_PROJECTIONS : 0) + (size_t)p];
}

/* Team: gathers x[row] = embed[ids[row]], and adds dx[row] to grad[into[row]] in the order of
 * rows. */
void tf_embed_forward(const struct tf_table *embed, size_t rows, const uint16_t *ids,
                      struct tf_matrix x);
void tf_embed_backward(struct tf_matrix grad, size_t cols, size_t rows, const uint32_t *into,
                       struct tf_matrix dx);

/* This thread: y = LN(x) without weights, eps 1e-5; stats rows x 2. And dx += its gradient. */
void tf_norm_forward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix y,
                     float *stats);
void tf_norm_backward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix dy,
                      const float *stats, struct tf_matrix dx);
/* This thread: y = x w + b, in place. Team, the way back: dw, db take each column's sum over the
 * rows in order, dy becomes dx. h: LN's output. */
void tf_affine_forward(size_t rows, struct tf_matrix x, const struct tf_table *w,
                       const struct tf_table *b);
void tf_affine_backward(size_t rows, struct tf_matrix dy, struct tf_matrix h,
                        const struct tf_table *w, const struct tf_table *b);

#endif
