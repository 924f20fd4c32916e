/* The matrix product's innermost three loops: a tile of C in registers, over a packed panel of B.
 * Compiled once for each build, by variant.c alone. */
#ifndef TF_KERNEL_TILE_H
#define TF_KERNEL_TILE_H

#include "kernel/simd.h"
#include <stdbool.h>

/* A tile of MR rows and NV vectors of columns keeps MR*NV sums, NV vectors of B and one of A in
 * registers: 29 of AVX-512's 32, 15 of AVX2's 16, 28 of NEON's 32. For each multiply-add it issues
 * 1 + 1/NV + 1/MR instructions: near a square, they are fewest, and what else runs on the core
 * (another thread of it, say) takes least from the multipliers. */
#if TF_WIDTH == 16
#define TF_MR 6
#define TF_NV 4
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
/* Rows of B that are multiplied in one go: a panel of 384 x NR floats stays in the L1 cache (24
 * KiB) or in L2 (96 KiB at the widest, read at a third of its speed) while all row tiles pass over
 * it, and C is read and written once in 384. */
#define TF_KC 384
/* Steps of k that are written out one after the other. */
#define TF_STEPS 4
/* Floats of a cache line. */
#define TF_LINE 16

/* Rows of A that share a pointer: the processor's addresses reach base, base + rs and base + 2 rs.
 */
#define ROWS_A_POINTER 3
/* Or the compiler makes a pointer for each row, and another for each step, and keeps sums in memory
 * for want of registers. */
#define ONE_POINTER(p) __asm__("" : "+r"(p))

/* sum += A(mr,1) B(1,NR): one step of k. */
TF_INLINE void tile_step(size_t mr, size_t nv, vf sum[TF_MR][TF_NV], const float *rows[], size_t rs,
                         size_t cs, const float *b)
{
    vf column[TF_NV];
    for (size_t j = 0; j < nv; j++)
        column[j] = vf_load(b + j * TF_WIDTH);
    for (size_t i = 0; i < mr; i++) {
        vf x = vf_set(rows[i / ROWS_A_POINTER][i % ROWS_A_POINTER * rs]);
        for (size_t j = 0; j < nv; j++)
            sum[i][j] = vf_fma(x, column[j], sum[i][j]);
    }
    for (size_t i = 0; i < mr; i += ROWS_A_POINTER) {
        rows[i / ROWS_A_POINTER] += cs;
        ONE_POINTER(rows[i / ROWS_A_POINTER]);
    }
}

/* C(mr,NV') [+]= A(mr,k) B(k,NR), NV' vectors wide. mr and nv are constants at each call below, so
 * that the sums are registers. next: memory that will be wanted after this tile, `lines` cache
 * lines of it asked for every TF_STEPS steps. */
TF_INLINE void tile(size_t mr, size_t nv, size_t k, const float *a, size_t rs, size_t cs,
                    const float *b, const float *next, size_t lines, float *c, size_t ldc, bool add)
{
    vf sum[TF_MR][TF_NV];
    const float *rows[TF_MR / ROWS_A_POINTER + 1];
    size_t p = 0;
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < nv; j++)
            sum[i][j] = add ? vf_load(c + i * ldc + j * TF_WIDTH) : vf_set(0);
    for (size_t i = 0; i < mr; i += ROWS_A_POINTER) {
        rows[i / ROWS_A_POINTER] = a + i * rs;
        ONE_POINTER(rows[i / ROWS_A_POINTER]);
    }
    for (; p + TF_STEPS <= k; p += TF_STEPS) {
        for (size_t line = 0; line < lines; line++, next += TF_LINE)
            __builtin_prefetch(next, 0, 2);
#pragma GCC unroll 4
        for (size_t q = 0; q < TF_STEPS; q++, b += TF_NR)
            tile_step(mr, nv, sum, rows, rs, cs, b);
    }
    for (; p < k; p++, b += TF_NR)
        tile_step(mr, nv, sum, rows, rs, cs, b);
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < nv; j++)
            vf_store(c + i * ldc + j * TF_WIDTH, sum[i][j]);
}

/* tile() with its row count made a constant. */
TF_INLINE void tile_rows(size_t mr, size_t nv, size_t k, const float *a, size_t rs, size_t cs,
                         const float *b, const float *next, size_t lines, float *c, size_t ldc,
                         bool add)
{
    switch (mr) {
        /* clang-format off */
#define TF_CASE(n) case n: tile(n, nv, k, a, rs, cs, b, next, lines, c, ldc, add); break;
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

/* And its width. */
static void tile_any(size_t mr, size_t nv, size_t k, const float *a, size_t rs, size_t cs,
                     const float *b, const float *next, size_t lines, float *c, size_t ldc,
                     bool add)
{
    switch (nv) {
        /* clang-format off */
#define TF_CASE(n) case n: tile_rows(mr, n, k, a, rs, cs, b, next, lines, c, ldc, add); break;
#if TF_NV >= 4
        TF_CASE(4)
#endif
#if TF_NV >= 3
        TF_CASE(3)
#endif
        TF_CASE(2) TF_CASE(1)
        /* clang-format on */
#undef TF_CASE
    }
}

/* The last columns of C, fewer than whole vectors: through a tile on the stack. */
static void tile_edge(size_t mr, size_t nr, size_t k, const float *a, size_t rs, size_t cs,
                      const float *b, const float *next, size_t lines, float *c, size_t ldc,
                      bool add)
{
    float edge[TF_MR * TF_NR] = {0};
    for (size_t i = 0; add && i < mr; i++)
        memcpy(edge + i * TF_NR, c + i * ldc, nr * sizeof *c);
    tile_any(mr, (nr + TF_WIDTH - 1) / TF_WIDTH, k, a, rs, cs, b, next, lines, edge, TF_NR, add);
    for (size_t i = 0; i < mr; i++)
        memcpy(c + i * ldc, edge + i * TF_NR, nr * sizeof *c);
}

/* Asks for a tile of C that will be wanted next. */
TF_INLINE void tile_fetch(size_t mr, const float *c, size_t ldc)
{
    for (size_t i = 0; i < mr; i++)
        for (size_t j = 0; j < TF_NR; j += 16)
            __builtin_prefetch(c + i * ldc + j, 1);
}

/* All row tiles of C over one panel of B. The panel after it is asked for meanwhile. */
static void panel_gemm(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                       const float *panel, size_t depth, float *c, size_t ldc, bool add)
{
    const float *const end = panel + depth * TF_NR, *next = end;
    const size_t steps = (m + TF_MR - 1) / TF_MR * (k / TF_STEPS);
    size_t lines = steps ? (depth * TF_NR / TF_LINE + steps - 1) / steps : 0;
    for (size_t i = 0; i < m; i += TF_MR, a += TF_MR * rs, c += TF_MR * ldc) {
        const size_t mr = m - i < TF_MR ? m - i : TF_MR;
        if (m - i > mr)
            tile_fetch(TF_MR, c + mr * ldc, ldc);
        if (n % TF_WIDTH == 0)
            tile_any(mr, n / TF_WIDTH, k, a, rs, cs, panel, next, lines, c, ldc, add);
        else
            tile_edge(mr, n, k, a, rs, cs, panel, next, lines, c, ldc, add);
        next += k / TF_STEPS * lines * TF_LINE;
        if (next >= end + depth * TF_NR)
            lines = 0; /* all of it was asked for */
    }
}

#endif
