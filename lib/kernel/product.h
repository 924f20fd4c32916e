/* The matrix product of one thread: which tiles pass over which panels. Compiled once for each
 * build, by variant.c alone. */
#ifndef TF_KERNEL_PRODUCT_H
#define TF_KERNEL_PRODUCT_H

#include "kernel/few.h"
#include "kernel/tile.h"

/* A product of many rows with one narrow panel, which becomes floats once for all of them. */
static __attribute__((noinline)) void narrow_product(enum tf_precision type, size_t m, size_t n,
                                                     size_t k, const float *a, size_t rs, size_t cs,
                                                     const uint8_t *panel, float *c, size_t ldc,
                                                     bool add)
{
    float wide[TF_KC * TF_NR];
    for (size_t i = 0; i < k * TF_NR; i += TF_WIDTH)
        vf_store(wide + i, type == TF_PRECISION_BF16
                               ? vf_load_as(TF_PRECISION_BF16, panel + i * sizeof(uint16_t))
                               : vf_load_as(TF_PRECISION_INT8, panel + i));
    panel_gemm(m, n, k, a, rs, cs, wide, k, c, ldc, add);
}

static void kernel_gemm_narrow(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                               const void *b, enum tf_precision type, size_t bk, size_t bn,
                               float *c, size_t ldc, bool add)
{
    const size_t size = tf_precision_size(type), columns = (bn + TF_NR - 1) / TF_NR * TF_NR;
    const uint8_t *block = b;
    if (!k) /* nothing to add up; the packed block below it may not exist */
        for (size_t i = 0; !add && i < m; i++)
            memset(c + i * ldc, 0, n * sizeof *c);
    for (size_t p = 0; p < k; p += TF_KC, a += TF_KC * cs, add = true) {
        const size_t depth = bk - p < TF_KC ? bk - p : TF_KC; /* of the packed block */
        const size_t use = k - p < depth ? k - p : depth,
                     few = TF_FEW && m <= TF_FEW ? n / TF_NR : 0;
        if (few)
            few_rows(type, m, few, use, a, rs, cs, block, depth * TF_NR * size, c, ldc, add);
        for (size_t j = few * TF_NR; j < n; j += TF_NR) {
            const size_t width = n - j < TF_NR ? n - j : TF_NR;
            const uint8_t *panel = block + j * depth * size;
            if (type == TF_PRECISION_F32)
                panel_gemm(m, width, use, a, rs, cs, (const float *)(const void *)panel, depth,
                           c + j, ldc, add);
            else
                narrow_product(type, m, width, use, a, rs, cs, panel, c + j, ldc, add);
        }
        block += depth * columns * size;
    }
}

static void kernel_gemm(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                        const float *b, size_t bk, size_t bn, float *c, size_t ldc, bool add)
{
    kernel_gemm_narrow(m, n, k, a, rs, cs, b, TF_PRECISION_F32, bk, bn, c, ldc, add);
}

#endif
