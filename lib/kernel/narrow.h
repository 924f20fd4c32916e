/* Weights narrower than f32: what numbers become, and packed right-hand sides of them. */
#ifndef TF_KERNEL_NARROW_H
#define TF_KERNEL_NARROW_H

#include "base/bf16.h"
#include "kernel/gemm.h"

/* The scale of int8 row x(n): the least power of two that max|x| is at most 127 of. Being a power
 * of two, it may be multiplied in before or after a sum of products without changing a bit of it
 * (short of the smallest numbers there are). NaN when a number of the row is not finite. */
float tf_int8_scale(size_t n, const float *x);

/* Team: the scales of `rows` rows of n numbers, `stride` apart. */
void tf_int8_scales(float *scales, const float *x, size_t stride, size_t rows, size_t n);

/* x / scale to the nearest integer, ties to even; inverse = 1 / scale. */
static inline int8_t tf_int8(float x, float inverse)
{
    /* Adding 1.5 x 2^23 leaves it in the low bits. */
    const float shifted = x * inverse + 0x1.8p23f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    return (int8_t)(uint8_t)bits;
}

/* Team: packs B(k,n) as tf_pack does, of tf_packed_size numbers that are narrower: each is B's to
 * nearest, ties to even, of int8 in units of its scale. Element (i, j) has the scale
 * scales.data[i*scales.rs + j*scales.cs], from tf_int8_scales; rs or cs is 0, the other 1. Only
 * int8 looks at scales. A product with a packed int8 matrix is that of the integers: who asks for
 * it multiplies the scales of columns into C's columns, or those of rows into A's columns. */
void tf_pack_narrow(void *to, enum tf_precision precision, struct tf_view b, struct tf_view scales,
                    size_t k, size_t n);

#endif
