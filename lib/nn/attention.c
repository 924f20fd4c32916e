#include "nn/attention.h"

#include "base/fmath.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows of queries scored at a time: 84 is a multiple of every build's tile height but one, and 84 x
 * 1024 scores are 336 KiB, inside L2. */
#define QUERY_BLOCK 84

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

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

static void cache_append(const struct tf_heads *heads, const struct tf_kv *kv, size_t task,
                         size_t length, size_t start, struct tf_matrix k, struct tf_matrix v)
{
    const size_t D = heads->D, row = task / heads->H * length, column = task % heads->H * D;
    tf_pack_part(kv->keys + task * tf_kv_keys_size(heads), D, heads->capacity,
                 tf_view_transposed(k.at + row * k.stride + column, k.stride), 0, D, start,
                 start + length);
    tf_pack_part(kv->values + task * tf_kv_values_size(heads), heads->capacity, D,
                 tf_view(v.at + row * v.stride + column, v.stride), start, start + length, 0, D);
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

void tf_attention_forward(const struct tf_heads *heads, const struct tf_kv *kv, size_t streams,
                          size_t length, size_t start, struct tf_matrix q, struct tf_matrix k,
                          struct tf_matrix v, struct tf_matrix out, float *stats,
                          const struct tf_scratch *scratch)
{
    const size_t H = heads->H, D = heads->D, stride = tf_table_stride(heads->capacity);
    const size_t blocks = (length + QUERY_BLOCK - 1) / QUERY_BLOCK;
    const float scale = 1 / sqrtf((float)D);
#pragma omp parallel if (tf_worth_threads(streams * length * (start + length) * H * D))
    {
        float *p = scratch->thread + (size_t)omp_get_thread_num() * scratch->thread_size;
#pragma omp for schedule(static)
        for (size_t task = 0; task < streams * H; task++)
            cache_append(heads, kv, task, length, start, k, v);
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < streams * H * blocks; task++) {
            const size_t pair = task / blocks, b = pair / H, h = pair % H;
            const size_t first = (blocks - 1 - task % blocks) * QUERY_BLOCK; /* long rows first */
            const size_t rows = smaller(QUERY_BLOCK, length - first), keys = start + first + rows;
            const size_t row = b * length + first;
            tf_kernel->gemm(rows, keys, D, q.at + row * q.stride + h * D, q.stride, 1,
                            kv->keys + pair * tf_kv_keys_size(heads), D, heads->capacity, p, stride,
                            false);
            softmax_block(p, stride, rows, keys, start + first, scale,
                          stats ? stats + 2 * (row * H + h) : NULL, 2 * H);
            tf_kernel->gemm(rows, D, keys, p, stride, 1,
                            kv->values + pair * tf_kv_values_size(heads), heads->capacity, D,
                            out.at + row * out.stride + h * D, out.stride, false);
        }
    }
}

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
    s.p = scratch->thread + (size_t)omp_get_thread_num() * scratch->thread_size;
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

static struct tf_matrix head_of(struct tf_matrix rows, size_t first, size_t column)
{
    return (struct tf_matrix){rows.at + first * rows.stride + column, rows.stride};
}

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
#pragma omp parallel for schedule( \
    dynamic) if (tf_worth_threads(streams * length * length * heads->H * heads->D))
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

void tf_rope_apply(const struct tf_rope *rope, const struct tf_heads *heads, size_t streams,
                   size_t length, size_t start, struct tf_matrix x, float sign)
{
    const size_t half = rope->rotated / 2;
    if (!half)
        return;
#pragma omp parallel for schedule(static) if (tf_worth_threads(streams * length * half * heads->H))
    for (size_t row = 0; row < streams * length; row++) {
        const size_t at = (start + row % length) * half;
        for (size_t h = 0; h < heads->H; h++)
            tf_kernel->rotate(half, x.at + row * x.stride + h * heads->D, rope->cosine + at,
                              rope->sine + at, sign);
    }
}
