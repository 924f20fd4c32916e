/* bf16 is the upper half of f32. */
#ifndef TF_BASE_BF16_H
#define TF_BASE_BF16_H

#include <stdint.h>
#include <string.h>

/* To nearest, ties to even; too large becomes infinite. */
static inline uint16_t tf_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    /* NaN: quiet, so that it is no infinity when its payload is cut. */
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    /* Just under half a unit, plus one when the kept part is odd: ties go to even. */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static inline float tf_bf16_float(uint16_t upper)
{
    const uint32_t bits = (uint32_t)upper << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

#endif
