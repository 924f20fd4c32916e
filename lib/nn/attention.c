#include "nn/attention.h"

#include "base/fmath.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows of queries scored at a time: whole tiles of every build, few enough that little is scored in
 * vain beyond the diagonal. */
#define QUERY_BLOCK 48

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static struct tf_matrix head_of(struct tf_matrix rows, size_t first, size_t column)
{
    return (struct tf_matrix){rows.at + first * rows.stride + column, rows.stride};
}

/* ---- RoPE ---- */

void tf_rope_fill(struct tf_rope *rope, size_t positions, double base)
{
    const size_t half = rope->rotated / 2;
    for (size_t i = 0; i < half; i++) {
        const double turn = tf_exp(-2.0 * (double)i / (double)rope->rotated * tf_log(base));
        for (size_t t = 0; t < positions; t++) {
            rope->cosine[t * half + i] = (float)tf_cos((double)t * turn);
            rope->sine[t * half + i] = (float)tf_sin((double)t * turn);
        }
    }
}

/* One head: `length` rows of D. */
static void turn(const struct tf_rope *rope, size_t start, size_t length, struct tf_matrix x,
                 float sign)
{
    const size_t half = rope->rotated / 2;
    for (size_t r = 0; half && r < length; r++)
        tf_kernel->rotate(half, x.at + r * x.stride, rope->cosine + (start + r) * half,
                          rope->sine + (start + r) * half, sign);
}

void tf_rope_apply(const struct tf_rope *rope, const struct tf_heads *heads, size_t start,
                   size_t length, struct tf_matrix x, float sign)
{
    for (size_t h = 0; h < heads->H; h++)
        turn(rope, start, length, head_of(x, 0, h * heads->D), sign);
}

/* ---- forward ---- */

size_t tf_kv_keys_size(const struct tf_heads *heads)
{
    return tf_packed_size(heads->D, heads->capacity);
}

size_t tf_kv_values_size(const struct tf_heads *heads)
{
    return tf_packed_size(heads->capacity, heads->D);
}

size_t tf_attention_scratch(const struct tf_heads *heads, bool backward)
{
    const size_t scores = QUERY_BLOCK * tf_table_stride(heads->capacity);
    if (!backward)
        return scores;
    return 2 * scores + 2 * tf_kv_keys_size(heads) + tf_kv_values_size(heads) +
           2 * tf_packed_size(QUERY_BLOCK, heads->D);
}

float *tf_scratch_piece(const struct tf_scratch *scratch)
{
    return scratch->all + (size_t)omp_get_thread_num() * scratch->piece;
}

/* One head's k and v, `length` rows of D, into a pair's cache. */
static void append(const struct tf_heads *heads, const struct tf_kv *kv, size_t pair, size_t start,
                   size_t length, struct tf_matrix k, struct tf_matrix v)
{
    const size_t D = heads->D;
    tf_pack_part(kv->keys + pair * tf_kv_keys_size(heads), D, heads->capacity,
                 tf_view_transposed(k.at, k.stride), 0, D, start, start + length);
    tf_pack_part(kv->values + pair * tf_kv_values_size(heads), heads->capacity, D,
                 tf_view(v.at, v.stride), start, start + length, 0, D);
}

void tf_kv_append(const struct tf_heads *heads, const struct tf_kv *kv, size_t stream, size_t start,
                  size_t length, struct tf_matrix k, struct tf_matrix v)
{
    for (size_t h = 0; h < heads->H; h++)
        append(heads, kv, stream * heads->H + h, start, length, head_of(k, 0, h * heads->D),
               head_of(v, 0, h * heads->D));
}

/* P of a block of rows, each up to its own position, zero beyond: rows [first, first+rows) at
 * positions start+first...; stats may be NULL. */
static void softmax_block(float *p, size_t stride, size_t rows, size_t keys, size_t position,
                          float scale, float *stats, size_t stats_stride)
{
    for (size_t r = 0; r < rows; r++) {
        float *row = p + r * stride;
        const size_t seen = position + r + 1;
        const float max = tf_kernel->max(seen, row),
                    rate = 1 / tf_kernel->exp_sum(seen, row, row, max, scale);
        tf_kernel->scale(seen, row, row, rate);
        memset(row + seen, 0, (keys - seen) * sizeof *row);
        if (stats) {
            stats[r * stats_stride] = max;
            stats[r * stats_stride + 1] = rate;
        }
    }
}

/* Rows [first, first+rows) of a stream's new ones, for one head. */
static void forward_block(const struct tf_heads *heads, const struct tf_kv *kv, size_t pair,
                          size_t position, size_t rows, struct tf_matrix q, struct tf_matrix out,
                          float *stats, float *p)
{
    const size_t D = heads->D, stride = tf_table_stride(heads->capacity), keys = position + rows;
    tf_kernel->gemm(rows, keys, D, q.at, q.stride, 1, kv->keys + pair * tf_kv_keys_size(heads), D,
                    heads->capacity, p, stride, false);
    softmax_block(p, stride, rows, keys, position, 1 / sqrtf((float)D), stats, 2 * heads->H);
    tf_kernel->gemm(rows, D, keys, p, stride, 1, kv->values + pair * tf_kv_values_size(heads),
                    heads->capacity, D, out.at, out.stride, false);
}

void tf_attention_forward(const struct tf_heads *heads, const struct tf_kv *kv, size_t streams,
                          size_t length, size_t start, struct tf_matrix q, struct tf_matrix out,
                          float *stats, const struct tf_scratch *scratch)
{
    const size_t H = heads->H, blocks = (length + QUERY_BLOCK - 1) / QUERY_BLOCK;
#pragma omp for schedule(dynamic) nowait
    for (size_t task = 0; task < streams * H * blocks; task++) {
        const size_t pair = task / blocks, b = pair / H, h = pair % H;
        const size_t first = (blocks - 1 - task % blocks) * QUERY_BLOCK; /* long rows first */
        const size_t row = b * length + first;
        forward_block(heads, kv, pair, start + first, smaller(QUERY_BLOCK, length - first),
                      head_of(q, row, h * heads->D), head_of(out, row, h * heads->D),
                      stats ? stats + 2 * (row * H + h) : NULL, tf_scratch_piece(scratch));
    }
}

void tf_attention_few(const struct tf_heads *heads, const struct tf_rope *rope,
                      const struct tf_kv *kv, size_t streams, size_t length, size_t start,
                      struct tf_matrix q, struct tf_matrix k, struct tf_matrix v,
                      struct tf_matrix out, const struct tf_scratch *scratch)
{
#pragma omp for schedule(dynamic) nowait
    for (size_t pair = 0; pair < streams * heads->H; pair++) {
        const size_t row = pair / heads->H * length, column = pair % heads->H * heads->D;
        const struct tf_matrix head_q = head_of(q, row, column), head_k = head_of(k, row, column);
        turn(rope, start, length, head_q, 1);
        turn(rope, start, length, head_k, 1);
        append(heads, kv, pair, start, length, head_k, head_of(v, row, column));
        forward_block(heads, kv, pair, start, length, head_q, head_of(out, row, column), NULL,
                      tf_scratch_piece(scratch));
    }
}

/* ---- backward ---- */

/* The pieces of a thread's scratch in the backward pass. */
struct back_scratch {
    float *p, *d;               /* (QUERY_BLOCK, T): P and dL/dscore */
    float *keys_t, *values_t;   /* packed K^T, V^T (D,T) */
    float *keys;                /* packed K (T,D) */
    float *queries, *gradients; /* packed q and dout of the block */
};

static struct back_scratch back_scratch(const struct tf_heads *heads,
                                        const struct tf_scratch *scratch)
{
    const size_t scores = QUERY_BLOCK * tf_table_stride(heads->capacity),
                 block = tf_packed_size(QUERY_BLOCK, heads->D);
    struct back_scratch s;
    s.p = tf_scratch_piece(scratch);
    s.d = s.p + scores;
    s.keys_t = s.d + scores;
    s.values_t = s.keys_t + tf_kv_keys_size(heads);
    s.keys = s.values_t + tf_kv_keys_size(heads);
    s.queries = s.keys + tf_kv_values_size(heads);
    s.gradients = s.queries + block;
    return s;
}

/* One head of one sequence, seen as matrices of `length` rows of D. */
struct head_rows {
    struct tf_matrix q, k, v, out, dout, dq, dk, dv;
    const float *stats;
};

/* Rows [first, first+rows): dq, and what they add to dk and dv of the positions they see. */
static void backward_block(const struct tf_heads *heads, const struct back_scratch *s,
                           const struct head_rows *x, size_t length, size_t first, size_t rows)
{
    const size_t D = heads->D, keys = first + rows, stride = tf_table_stride(heads->capacity);
    const float scale = 1 / sqrtf((float)D);
    const struct tf_matrix q = head_of(x->q, first, 0), dout = head_of(x->dout, first, 0),
                           out = head_of(x->out, first, 0);
    tf_kernel->gemm(rows, keys, D, q.at, q.stride, 1, s->keys_t, D, length, s->p, stride, false);
    tf_kernel->gemm(rows, keys, D, dout.at, dout.stride, 1, s->values_t, D, length, s->d, stride,
                    false);
    for (size_t r = 0; r < rows; r++) {
        float *p = s->p + r * stride, *d = s->d + r * stride;
        const float *stats = x->stats + (first + r) * 2 * heads->H;
        const size_t seen = first + r + 1;
        tf_kernel->exp_sum(seen, p, p, stats[0], scale);
        tf_kernel->scale(seen, p, p, stats[1]);
        tf_kernel->softmax_back(
            seen, d, p, tf_kernel->dot(D, dout.at + r * dout.stride, out.at + r * out.stride),
            scale);
        memset(p + seen, 0, (keys - seen) * sizeof *p);
        memset(d + seen, 0, (keys - seen) * sizeof *d);
    }
    tf_kernel->gemm(rows, D, keys, s->d, stride, 1, s->keys, length, D,
                    x->dq.at + first * x->dq.stride, x->dq.stride, false);
    tf_pack_part(s->queries, rows, D, tf_view(q.at, q.stride), 0, rows, 0, D);
    tf_pack_part(s->gradients, rows, D, tf_view(dout.at, dout.stride), 0, rows, 0, D);
    tf_kernel->gemm(keys, D, rows, s->d, 1, stride, s->queries, rows, D, x->dk.at, x->dk.stride,
                    true);
    tf_kernel->gemm(keys, D, rows, s->p, 1, stride, s->gradients, rows, D, x->dv.at, x->dv.stride,
                    true);
}

static void backward_head(const struct tf_heads *heads, const struct back_scratch *s,
                          const struct head_rows *x, size_t length)
{
    const size_t D = heads->D;
    tf_pack_part(s->keys_t, D, length, tf_view_transposed(x->k.at, x->k.stride), 0, D, 0, length);
    tf_pack_part(s->values_t, D, length, tf_view_transposed(x->v.at, x->v.stride), 0, D, 0, length);
    tf_pack_part(s->keys, length, D, tf_view(x->k.at, x->k.stride), 0, length, 0, D);
    for (size_t t = 0; t < length; t++) {
        memset(x->dk.at + t * x->dk.stride, 0, D * sizeof(float));
        memset(x->dv.at + t * x->dv.stride, 0, D * sizeof(float));
    }
    for (size_t first = 0; first < length; first += QUERY_BLOCK)
        backward_block(heads, s, x, length, first, smaller(QUERY_BLOCK, length - first));
}

void tf_attention_backward(const struct tf_heads *heads, size_t streams, size_t length,
                           struct tf_matrix q, struct tf_matrix k, struct tf_matrix v,
                           struct tf_matrix out, const float *stats, struct tf_matrix dout,
                           struct tf_matrix dq, struct tf_matrix dk, struct tf_matrix dv,
                           const struct tf_scratch *scratch)
{
#pragma omp for schedule(dynamic) nowait
    for (size_t pair = 0; pair < streams * heads->H; pair++) {
        const size_t row = pair / heads->H * length, h = pair % heads->H, column = h * heads->D;
        const struct back_scratch s = back_scratch(heads, scratch);
        const struct head_rows x = {
            .q = head_of(q, row, column),
            .k = head_of(k, row, column),
            .v = head_of(v, row, column),
            .out = head_of(out, row, column),
            .dout = head_of(dout, row, column),
            .dq = head_of(dq, row, column),
            .dk = head_of(dk, row, column),
            .dv = head_of(dv, row, column),
            .stats = stats + 2 * (row * heads->H + h),
        };
        backward_head(heads, &s, &x, length);
    }
}
