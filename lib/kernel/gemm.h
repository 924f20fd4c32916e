/* Matrix products in the three forms that forward and backward need, all through one packed
 * right-hand side.
 *
 * The dimension letters, everywhere: B batch (sequences), T tokens of a sequence (or rows of a
 * batch), C model width, N parameter tokens, H heads, D head width, V vocabulary, L layers.
 *
 *   A(T,N)  = x(T,C) K(N,C)^T        B = K^T: pack a view of K with its strides exchanged
 *   y(T,C)  = S(T,N) V(N,C)
 *   dV(N,C) += S(T,N)^T G(T,C)       A = S^T: a view of S with its strides exchanged
 *
 * Every element of C is one chain of fused multiply-adds over k ascending, so neither blocks nor
 * threads nor vector width show in it, and a sum that is continued later (add) is the sum that was
 * never interrupted.
 *
 * Team functions, here and in lib/nn: all threads of an OpenMP team call them together, with the
 * same arguments (outside of any, the one thread that there is). They share their work, and no
 * thread waits for another: whoever uses the results puts a barrier before. */
#ifndef TF_KERNEL_GEMM_H
#define TF_KERNEL_GEMM_H

#include "kernel/dispatch.h"

/* A matrix in memory: element (i, j) is data[i*rs + j*cs]. */
struct tf_view {
    const float *data;
    size_t rs, cs;
};

static inline struct tf_view tf_view(const float *data, size_t stride)
{
    return (struct tf_view){data, stride, 1};
}
static inline struct tf_view tf_view_transposed(const float *data, size_t stride)
{
    return (struct tf_view){data, 1, stride};
}

/* The most rows of A that a thread takes at a time: 96 x 384 floats of A are 144 KiB, well inside
 * L2 beside the panel of B. A whole number of every build's tiles. */
#define TF_BLOCK_ROWS 96

/* Floats that a packed B(k,n) takes: panels of nr columns, the last one padded with zeros. */
size_t tf_packed_size(size_t k, size_t n);
/* Team: packs B(k,n). `to` is aligned to 64 bytes. */
void tf_pack(float *to, struct tf_view b, size_t k, size_t n);
/* This thread: packs a block of rows [k0,k1) and columns [n0,n1) of B(k,n), element (i, j) of the
 * block from b's (i, j). The padding of a last panel is not touched: who fills a matrix in parts
 * begins with zeroed memory. */
void tf_pack_part(float *to, size_t k, size_t n, struct tf_view b, size_t k0, size_t k1, size_t n0,
                  size_t n1);

/* Team: C(m,n) [+]= A(m,k) B(k,n), B packed; rows of C are ldc apart. */
void tf_gemm(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
             size_t ldc, bool add);
/* Team: the same for a few rows, and a B whose numbers may be narrow (kernel/narrow.h). */
void tf_gemm_few(size_t m, size_t n, size_t k, struct tf_view a, const void *packed,
                 enum tf_precision precision, float *c, size_t ldc, bool add);
/* This thread: columns [j0,j1) of C alone, j0 where a panel begins. */
void tf_gemm_columns(size_t m, size_t n, size_t k, struct tf_view a, const void *packed,
                     enum tf_precision precision, float *c, size_t ldc, bool add, size_t j0,
                     size_t j1);

/* A left-hand side that comes row by row of its transpose: A(m,k) = L^T. Kept in panels of
 * TF_BLOCK_ROWS columns of L, each k rows high, so that a product reads it from end to end. */
size_t tf_left_size(size_t k, size_t m); /* floats */
/* This thread: row p of L, m floats. */
void tf_left_row(float *left, size_t k, size_t m, size_t p, const float *row);
/* Team: tf_gemm with such an A. */
void tf_gemm_left(size_t m, size_t n, size_t k, const float *left, const float *packed, float *c,
                  size_t ldc, bool add);

/* Is work of so many numbers touched (or multiply-adds done) worth waking the other threads for?
 * That costs some microseconds, and far more when the machine is busy. */
static inline bool tf_worth_threads(size_t work)
{
    return work > 1 << 15;
}

/* Rows or columns shared among the threads of a team: `count` blocks alike in size, each a whole
 * number of `unit` (the last but for what is left over). */
struct tf_blocks {
    size_t size, unit, count;
};
/* Rows of A and C: whole tiles, at most TF_BLOCK_ROWS. */
struct tf_blocks tf_row_blocks(size_t rows);
/* Columns of B and C: whole panels. */
struct tf_blocks tf_column_blocks(size_t columns);
/* Where block i begins; the size for i = count. There is a block. */
size_t tf_block_start(const struct tf_blocks *blocks, size_t i);

#endif
