/* The matrix product's innermost three loops: a tile of C in registers, over a packed panel of B.
 * Compiled once for each build, by variant.c alone. */
#ifndef TF_KERNEL_TILE_H
#define TF_KERNEL_TILE_H

#include "kernel/simd.h"
#include <stdbool.h>

/* A tile of MR rows and NV vectors of columns keeps MR*NV sums, NV vectors of B and one of A in
 * registers: 31 of AVX-512's 32, 15 of AVX2's 16, 28 of NEON's 32. More rows than that spill; fewer
 * leave the multipliers waiting for loads. */
#if TF_WIDTH == 16
#define TF_MR 14
#define TF_NV 2
#elif TF_WIDTH == 8
#define TF_MR 6
#define TF_NV 2
#elif defined(__aarch64__)
#define TF_MR 8
#define TF_NV 3
#else
#define TF_MR 4
#define TF_NV 2
#endif
#define TF_NR (TF_NV * TF_WIDTH)
/* Rows of B that are multiplied in one go: a panel of 256 x NR floats (32 KiB at the widest) stays
 * in the L1 cache while all row tiles pass over it. */
#define TF_KC 256

/* C(MR',NR) [+]= A(MR',k) B(k,NR). mr is a constant at each call below, so that the sums are
 * registers. */
TF_INLINE void tile(size_t mr, size_t k, const float *a, size_t rs, size_t cs, const float *b,
                    float *c, size_t ldc, bool add)
{
    vf sum[TF_MR][TF_NV];
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < TF_NV; j++)
            sum[i][j] = add ? vf_load(c + i * ldc + j * TF_WIDTH) : vf_set(0);
    for (size_t p = 0; p < k; p++, a += cs, b += TF_NR) {
        vf column[TF_NV];
        for (size_t j = 0; j < TF_NV; j++)
            column[j] = vf_load(b + j * TF_WIDTH);
        for (size_t i = 0; i < mr; i++) {
            vf x = vf_set(a[i * rs]);
            for (size_t j = 0; j < TF_NV; j++)
                sum[i][j] = vf_fma(x, column[j], sum[i][j]);
        }
    }
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < TF_NV; j++)
            vf_store(c + i * ldc + j * TF_WIDTH, sum[i][j]);
}

/* tile() with its row count made a constant. */
static void tile_rows(size_t mr, size_t k, const float *a, size_t rs, size_t cs, const float *b,
                      float *c, size_t ldc, bool add)
{
    switch (mr) {
        /* clang-format off */
#define TF_CASE(n) case n: tile(n, k, a, rs, cs, b, c, ldc, add); break;
#if TF_MR >= 14
        TF_CASE(14) TF_CASE(13) TF_CASE(12) TF_CASE(11) TF_CASE(10) TF_CASE(9)
#endif
#if TF_MR >= 8
        TF_CASE(8) TF_CASE(7)
#endif
#if TF_MR >= 6
        TF_CASE(6) TF_CASE(5)
#endif
        TF_CASE(4) TF_CASE(3) TF_CASE(2) TF_CASE(1)
        /* clang-format on */
#undef TF_CASE
    }
}

/* The last columns of C, fewer than a tile's: through a tile on the stack. */
static void tile_edge(size_t mr, size_t nr, size_t k, const float *a, size_t rs, size_t cs,
                      const float *b, float *c, size_t ldc, bool add)
{
    float edge[TF_MR * TF_NR] = {0};
    for (size_t i = 0; add && i < mr; i++)
        memcpy(edge + i * TF_NR, c + i * ldc, nr * sizeof *c);
    tile_rows(mr, k, a, rs, cs, b, edge, TF_NR, add);
    for (size_t i = 0; i < mr; i++)
        memcpy(c + i * ldc, edge + i * TF_NR, nr * sizeof *c);
}

static void kernel_gemm(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                        const float *b, size_t bk, size_t bn, float *c, size_t ldc, bool add)
{
    const size_t panels = (bn + TF_NR - 1) / TF_NR;
    if (!k) /* nothing to add up; the packed block below it may not exist */
        for (size_t i = 0; !add && i < m; i++)
            memset(c + i * ldc, 0, n * sizeof *c);
    for (size_t p = 0; p < k; p += TF_KC) {
        const size_t depth = bk - p < TF_KC ? bk - p : TF_KC; /* of the packed block */
        const size_t use = k - p < depth ? k - p : depth;
        for (size_t j = 0; j < n; j += TF_NR) {
            const float *panel = b + p * panels * TF_NR + j * depth;
            for (size_t i = 0; i < m; i += TF_MR) {
                const size_t mr = m - i < TF_MR ? m - i : TF_MR;
                const float *at = a + i * rs + p * cs;
                if (n - j >= TF_NR)
                    tile_rows(mr, use, at, rs, cs, panel, c + i * ldc + j, ldc, add || p);
                else
                    tile_edge(mr, n - j, use, at, rs, cs, panel, c + i * ldc + j, ldc, add || p);
            }
        }
    }
}

#endif
