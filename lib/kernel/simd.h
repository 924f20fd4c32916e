/* Vectors of floats as wide as the machine that this file is compiled for, over GCC's and Clang's
 * vector types: + - * / and comparisons are the language's, and the dozen operations below are what
 * it lacks. Every one is exactly rounded or moves bits, so that all widths give the same results.
 */
#ifndef TF_KERNEL_SIMD_H
#define TF_KERNEL_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define TF_WIDTH 16
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define TF_WIDTH 8
#else
#define TF_WIDTH 4
#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif
#endif

typedef float vf __attribute__((vector_size(TF_WIDTH * 4)));
typedef int32_t vi __attribute__((vector_size(TF_WIDTH * 4)));

#define TF_INLINE static inline __attribute__((always_inline, unused))

TF_INLINE vf vf_load(const float *from)
{
    vf v;
    memcpy(&v, from, sizeof v);
    return v;
}

TF_INLINE void vf_store(float *to, vf v)
{
    memcpy(to, &v, sizeof v);
}

/* The first n < TF_WIDTH floats, `rest` in the lanes beyond. */
TF_INLINE vf vf_load_part(const float *from, size_t n, float rest)
{
    float lanes[TF_WIDTH];
    for (size_t i = 0; i < TF_WIDTH; i++)
        lanes[i] = i < n ? from[i] : rest;
    return vf_load(lanes);
}

TF_INLINE void vf_store_part(float *to, vf v, size_t n)
{
    float lanes[TF_WIDTH];
    vf_store(lanes, v);
    for (size_t i = 0; i < n; i++)
        to[i] = lanes[i];
}

TF_INLINE vf vf_set(float x)
{
#if TF_WIDTH == 16
    return (vf)_mm512_set1_ps(x);
#elif TF_WIDTH == 8
    return (vf)_mm256_set1_ps(x);
#else
    return (vf){x, x, x, x};
#endif
}

/* a*b + c, rounded once. Without the instruction this is the C library's fmaf a lane: slow, and the
 * same bits. */
TF_INLINE vf vf_fma(vf a, vf b, vf c)
{
#if TF_WIDTH == 16
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif TF_WIDTH == 8
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return (vf){fmaf(a[0], b[0], c[0]), fmaf(a[1], b[1], c[1]), fmaf(a[2], b[2], c[2]),
                fmaf(a[3], b[3], c[3])};
#endif
}

TF_INLINE vf vf_sqrt(vf x)
{
#if TF_WIDTH == 16
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif TF_WIDTH == 8
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__aarch64__)
    return (vf)vsqrtq_f32((float32x4_t)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#else
    return (vf){sqrtf(x[0]), sqrtf(x[1]), sqrtf(x[2]), sqrtf(x[3])};
#endif
}

TF_INLINE vi vf_bits(vf x)
{
    return (vi)x;
}
TF_INLINE vf vi_float(vi bits)
{
    return (vf)bits;
}

/* yes where mask is all ones, no where it is all zeros. */
TF_INLINE vf vf_select(vi mask, vf yes, vf no)
{
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
TF_INLINE vf vf_abs(vf x)
{
    return (vf)((vi)x & 0x7fffffff);
}

#endif
