/* Causal self-attention over cached keys and values, and RoPE.
 *
 *   P = softmax(q k^T / sqrt(D)) over the positions up to the row's own; out = P v, head by head.
 *
 * A block of rows is scored at a time, so that no T x T matrix of the batch is ever stored. */
#ifndef TF_NN_ATTENTION_H
#define TF_NN_ATTENTION_H

#include "nn/projection.h"

struct tf_heads {
    size_t H, D;     /* C = H D */
    size_t capacity; /* positions that a stream's cache holds */
};

/* RoPE (arXiv 2104.09864), rotate-half on the first `rotated` channels of each head: angles
 * position / base^(2i/rotated). */
struct tf_rope {
    size_t rotated;       /* even; 0: none */
    float *cosine, *sine; /* positions x rotated/2 */
};
void tf_rope_fill(struct tf_rope *rope, size_t positions, double base);
/* This thread: turns `length` rows of one stream, the first at position `start`; sign -1 turns
 * back. */
void tf_rope_apply(const struct tf_rope *rope, const struct tf_heads *heads, size_t start,
                   size_t length, struct tf_matrix x, float sign);

/* Keys and values of `streams` streams, kept as packed right-hand sides: for each stream and head
 * K^T (D,capacity) and V (capacity,D). */
struct tf_kv {
    float *keys, *values;
};
size_t tf_kv_keys_size(const struct tf_heads *heads); /* floats a stream and head */
size_t tf_kv_values_size(const struct tf_heads *heads);

/* This thread: k and v of `length` new positions of one stream, from position `start` on, into its
 * cache. */
void tf_kv_append(const struct tf_heads *heads, const struct tf_kv *kv, size_t stream, size_t start,
                  size_t length, struct tf_matrix k, struct tf_matrix v);

/* Memory that the threads of a team borrow: a piece each. */
struct tf_scratch {
    float *all;
    size_t piece; /* floats */
};
/* The calling thread's piece. */
float *tf_scratch_piece(const struct tf_scratch *scratch);
/* Floats that attention needs of a piece. */
size_t tf_attention_scratch(const struct tf_heads *heads, bool backward);

/* Team: q, out: streams x length rows of C, at positions start..start+length of each stream, whose
 * k and v are in the cache. stats (NULL in inference): a row's maximum and 1/sum for each head,
 * rows x H x 2. */
void tf_attention_forward(const struct tf_heads *heads, const struct tf_kv *kv, size_t streams,
                          size_t length, size_t start, struct tf_matrix q, struct tf_matrix out,
                          float *stats, const struct tf_scratch *scratch);

/* Team: the same without stats for at most 48 new rows a stream, whose q and k are not turned and
 * whose k and v are not yet in the cache: each head does that for itself, so that nobody waits for
 * it. */
void tf_attention_few(const struct tf_heads *heads, const struct tf_rope *rope,
                      const struct tf_kv *kv, size_t streams, size_t length, size_t start,
                      struct tf_matrix q, struct tf_matrix k, struct tf_matrix v,
                      struct tf_matrix out, const struct tf_scratch *scratch);

/* Team: whole sequences from position 0: dq, dk, dv from dout = dL/dout, out being the forward
 * pass's. */
void tf_attention_backward(const struct tf_heads *heads, size_t streams, size_t length,
                           struct tf_matrix q, struct tf_matrix k, struct tf_matrix v,
                           struct tf_matrix out, const float *stats, struct tf_matrix dout,
                           struct tf_matrix dq, struct tf_matrix dk, struct tf_matrix dv,
                           const struct tf_scratch *scratch);

#endif
