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
 * never interrupted. */
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

/* Floats that a packed B(k,n) takes: panels of nr columns, the last one padded with zeros. */
size_t tf_packed_size(size_t k, size_t n);
/* Packs B(k,n); all threads. `to` is aligned to 64 bytes. */
void tf_pack(float *to, struct tf_view b, size_t k, size_t n);
/* Packs a block of rows [k0,k1) and columns [n0,n1) of B(k,n), element (i, j) of the block from b's
 * (i, j); this thread. The padding of a last panel is not touched: who fills a matrix in parts
 * begins with zeroed memory. */
void tf_pack_part(float *to, size_t k, size_t n, struct tf_view b, size_t k0, size_t k1, size_t n0,
                  size_t n1);

/* C(m,n) [+]= A(m,k) B(k,n), B packed; rows of C are ldc apart. All threads; tf_kernel->gemm is the
 * same on one. */
void tf_gemm(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
             size_t ldc, bool add);

/* Is work of so many numbers touched (or multiply-adds done) worth waking the other threads for?
 * That costs some microseconds, and far more when the machine is busy. */
static inline bool tf_worth_threads(size_t work)
{
    return work > 1 << 15;
}

/* Rows that one thread should take at a time, of `rows` shared by all threads: a whole number of
 * tiles, few enough to stay in L2. */
size_t tf_row_block(size_t rows);

#endif
