/* Products of few rows, which take as long as reading B does: several panels side by side, each
 * asked for ahead of its use. Compiled once for each build, by variant.c alone. */
#ifndef TF_KERNEL_FEW_H
#define TF_KERNEL_FEW_H

#include "kernel/dispatch.h"
#include "kernel/tile.h"

/* Rows that count as few: some tiles. Without an instruction for multiply-adds no product waits for
 * memory. */
#if defined(__FMA__) || defined(__aarch64__)
#define TF_FEW (3 * TF_MR)
#else
#define TF_FEW 0
#endif
/* Panels that are read side by side by one row, and by so many rows that their sums fit: more
 * streams from memory are under way at once than one panel alone would have, and more chains of
 * multiply-adds. */
#define TF_SIDE 4
#define TF_SIDE_ROWS (TF_MR / 2)
/* Bytes that are asked for ahead, in all panels together: into the L2 cache more than memory
 * delivers during its latency, and on into L1 what L2 does. One of the two alone leaves memory
 * waiting: L1 keeps account of too few lines at once, and L2 by itself is asked too late. */
#define TF_AHEAD_L1 4096
#define TF_AHEAD_L2 8192
/* Rows of B that go together: a cache line of the narrowest panel. */
#define TF_STRIP (TF_NR < 64 ? 64 / TF_NR : 1)

/* TF_WIDTH numbers of B as floats, exactly. */
TF_INLINE vf vf_load_as(enum tf_precision type, const uint8_t *from)
{
    typedef uint16_t vh __attribute__((vector_size(TF_WIDTH * 2)));
    if (type == TF_PRECISION_F32)
        return vf_load((const float *)(const void *)from);
    if (type == TF_PRECISION_BF16) {
        vh upper;
        memcpy(&upper, from, sizeof upper);
        return vi_float(__builtin_convertvector(upper, vi) << 16);
    }
#if TF_WIDTH == 16
    return (vf)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)from)));
#elif TF_WIDTH == 8
    return (vf)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)from)));
#elif defined(__aarch64__)
    uint32_t four;
    memcpy(&four, from, sizeof four);
    return (vf)vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four)))));
#else
    int8_t four[4];
    memcpy(four, from, sizeof four);
    return (vf){four[0], four[1], four[2], four[3]};
#endif
}

/* One row of each panel, x(mr) times it added to the sums of mr rows. */
TF_INLINE void few_step(enum tf_precision type, size_t mr, size_t side, const float *x,
                        const uint8_t *at, size_t next, vf *sum)
{
    const size_t size = tf_precision_size(type);
    for (size_t q = 0; q < side; q++, at += next) {
        vf column[TF_NV];
        for (size_t j = 0; j < TF_NV; j++)
            column[j] = vf_load_as(type, at + j * TF_WIDTH * size);
        for (size_t i = 0; i < mr; i++)
            for (size_t j = 0; j < TF_NV; j++, sum++)
                *sum = vf_fma(vf_set(x[i]), column[j], *sum);
    }
}

/* What lies `ahead` bytes behind `offset` in a panel of `bytes`. Behind its end comes the panel
 * that is `side` further on. */
TF_INLINE const uint8_t *few_ahead(const uint8_t *at, size_t offset, size_t ahead, size_t bytes,
                                   size_t side, size_t next)
{
    return at + offset + ahead + (offset + ahead < bytes ? 0 : side * next - bytes);
}

/* Asks for `bytes` of each panel. The level is a constant at each call. */
TF_INLINE void few_fetch(const uint8_t *at, size_t side, size_t next, size_t bytes, int level)
{
    for (size_t q = 0; q < side; q++)
        for (size_t line = 0; line < bytes; line += 64)
            if (level == 1)
                __builtin_prefetch(at + q * next + line, 0, 3);
            else
                __builtin_prefetch(at + q * next + line, 0, 2);
}

/* C(mr, side panels) [+]= x(k,mr)^T B; type, mr and side are constants at each call below. */
TF_INLINE void few_tile(enum tf_precision type, size_t mr, size_t side, size_t k, const float *x,
                        const uint8_t *at, size_t next, float *c, size_t ldc, bool add)
{
    const size_t row = TF_NR * tf_precision_size(type), bytes = k * row;
    size_t p = 0;
    vf sum[TF_SIDE * TF_MR * TF_NV];
    for (size_t q = 0, s = 0; q < side; q++)
        for (size_t i = 0; i < mr; i++)
            for (size_t j = 0; j < TF_NV; j++, s++)
                sum[s] = add ? vf_load(c + i * ldc + q * TF_NR + j * TF_WIDTH) : vf_set(0);
    for (; p + TF_STRIP <= k; p += TF_STRIP) {
        few_fetch(few_ahead(at, p * row, TF_AHEAD_L1 / side, bytes, side, next), side, next,
                  TF_STRIP * row, 1);
        few_fetch(few_ahead(at, p * row, TF_AHEAD_L2 / side, bytes, side, next), side, next,
                  TF_STRIP * row, 2);
#pragma GCC unroll 8
        for (size_t r = p; r < p + TF_STRIP; r++)
            few_step(type, mr, side, x + r * mr, at + r * row, next, sum);
    }
    for (; p < k; p++)
        few_step(type, mr, side, x + p * mr, at + p * row, next, sum);
    for (size_t q = 0, s = 0; q < side; q++)
        for (size_t i = 0; i < mr; i++)
            for (size_t j = 0; j < TF_NV; j++, s++)
                vf_store(c + i * ldc + q * TF_NR + j * TF_WIDTH, sum[s]);
}

/* few_tile() for as many panels as go together, of `left`; returns how many. */
TF_INLINE size_t few_panels(enum tf_precision type, size_t m, size_t left, size_t k, const float *x,
                            const uint8_t *at, size_t next, float *c, size_t ldc, bool add)
{
    if (m == 1 && left >= TF_SIDE) {
        few_tile(type, 1, TF_SIDE, k, x, at, next, c, ldc, add);
        return TF_SIDE;
    }
    switch (left >= 2 ? m : 0) {
        /* clang-format off */
#define TF_CASE(n) case n: few_tile(type, n, 2, k, x, at, next, c, ldc, add); return 2;
#if TF_SIDE_ROWS >= 4
        TF_CASE(4)
#endif
#if TF_SIDE_ROWS >= 3
        TF_CASE(3)
#endif
        TF_CASE(2) TF_CASE(1)
        /* clang-format on */
#undef TF_CASE
    }
    switch (m) {
        /* clang-format off */
#define TF_CASE(n) case n: few_tile(type, n, 1, k, x, at, next, c, ldc, add); break;
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
    return 1;
}

/* few_panels() with its type made a constant. */
static size_t few_panels_of(enum tf_precision type, size_t m, size_t left, size_t k, const float *x,
                            const uint8_t *at, size_t next, float *c, size_t ldc, bool add)
{
    switch (type) {
    case TF_PRECISION_BF16:
        return few_panels(TF_PRECISION_BF16, m, left, k, x, at, next, c, ldc, add);
    case TF_PRECISION_INT8:
        return few_panels(TF_PRECISION_INT8, m, left, k, x, at, next, c, ldc, add);
    default:
        return few_panels(TF_PRECISION_F32, m, left, k, x, at, next, c, ldc, add);
    }
}

/* C(m,n) [+]= A(m,k) B(k,n) for m <= TF_FEW rows and whole panels, `next` bytes from one to the
 * next. More rows than a tile has go one tile after another over each panel, which then comes from
 * the cache. */
static void few_rows(enum tf_precision type, size_t m, size_t panels, size_t k, const float *a,
                     size_t rs, size_t cs, const uint8_t *b, size_t next, float *c, size_t ldc,
                     bool add)
{
    float x[TF_KC * (TF_FEW + 1)]; /* A^T, tile after tile: one address for all rows of a tile */
    for (size_t i = 0; i < m; i++) {
        const size_t first = i / TF_MR * TF_MR, rows = m - first < TF_MR ? m - first : TF_MR;
        for (size_t p = 0; p < k; p++)
            x[first * k + p * rows + i - first] = a[i * rs + p * cs];
    }
    for (size_t j = 0, together = 1; j < panels; j += together)
        for (size_t i = 0; i < m; i += TF_MR)
            together =
                few_panels_of(type, m - i < TF_MR ? m - i : TF_MR, m > TF_MR ? 1 : panels - j, k,
                              x + i * k, b + j * next, next, c + i * ldc + j * TF_NR, ldc, add);
}

#endif
