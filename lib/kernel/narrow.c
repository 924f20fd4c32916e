#include "kernel/narrow.h"

#include <math.h>

float tf_int8_scale(size_t n, const float *x)
{
    uint32_t most = 0; /* the bits of max|x|: they are in the order of the numbers, NaN the last */
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    if (most >= 0x7f800000)
        return NAN;
    /* 127 is 2^6 x 1.984375: a mantissa past that of 127, 0x7e0000, carries into the exponent. */
    const uint32_t exponent = (most + 0x1ffff) >> 23;
    const uint32_t scale = (exponent > 7 ? exponent - 6 : 1) << 23; /* 2^-126 at least */
    float power;
    memcpy(&power, &scale, sizeof power);
    return power;
}

void tf_int8_scales(float *scales, const float *x, size_t stride, size_t rows, size_t n)
{
#pragma omp for schedule(static) nowait
    for (size_t i = 0; i < rows; i++)
        scales[i] = tf_int8_scale(n, x + i * stride);
}

/* Numbers that are packed as floats before they become narrow: they stay in the L1 cache. */
#define STRIP 4096
/* No build has wider panels. */
#define MOST_COLUMNS 64

/* rows x nr numbers of a panel, of which `count` columns have scales. */
static void narrow_int8(int8_t *to, const float *from, struct tf_view scales, size_t rows,
                        size_t count)
{
    const size_t nr = tf_kernel->nr;
    float inverse[MOST_COLUMNS] = {0};
    for (size_t i = 0; i < rows; i++, from += nr, to += nr) {
        const float first = 1 / scales.data[i * scales.rs];
        for (size_t j = 0; (!i || scales.rs) && j < count; j++)
            inverse[j] = scales.cs ? 1 / scales.data[j] : first;
        for (size_t j = 0; j < nr; j++)
            to[j] = tf_int8(from[j], inverse[j]);
    }
}

/* b's elements from (i, j) on, if there are any: only int8 has scales. */
static struct tf_view view_from(struct tf_view b, size_t i, size_t j)
{
    if (b.data)
        b.data += i * b.rs + j * b.cs;
    return b;
}

/* One panel of `depth` rows; columns from `count` on are zeros. */
static void pack_panel(uint8_t *to, enum tf_precision precision, struct tf_view b,
                       struct tf_view scales, size_t depth, size_t count)
{
    const size_t nr = tf_kernel->nr, strip = STRIP / nr;
    float wide[STRIP] = {0};
    for (size_t i = 0; i < depth; i += strip) {
        const size_t rows = depth - i < strip ? depth - i : strip;
        tf_pack_part(wide, rows, nr, view_from(b, i, 0), 0, rows, 0, count);
        if (precision == TF_PRECISION_INT8)
            narrow_int8((int8_t *)to + i * nr, wide, view_from(scales, i, 0), rows, count);
        else
            for (size_t x = 0; x < rows * nr; x++)
                ((uint16_t *)(void *)to)[i * nr + x] = tf_bf16(wide[x]);
    }
}

void tf_pack_narrow(void *to, enum tf_precision precision, struct tf_view b, struct tf_view scales,
                    size_t k, size_t n)
{
    const size_t nr = tf_kernel->nr, kc = tf_kernel->kc;
    const size_t panels = (n + nr - 1) / nr, blocks = (k + kc - 1) / kc;
    if (precision == TF_PRECISION_F32) {
        tf_pack(to, b, k, n);
        return;
    }
#pragma omp for schedule(static) nowait
    for (size_t task = 0; task < blocks * panels; task++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): without panels there are no tasks */
        const size_t p = task / panels * kc, j = task % panels * nr;
        const size_t depth = k - p < kc ? k - p : kc, count = n - j < nr ? n - j : nr;
        uint8_t *at = (uint8_t *)to + (p * panels * nr + j * depth) * tf_precision_size(precision);
        pack_panel(at, precision, view_from(b, p, j), view_from(scales, p, j), depth, count);
    }
}
