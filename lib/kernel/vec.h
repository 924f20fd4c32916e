/* exp and GELU on vectors, and the elementwise kernels. Compiled once for each build, by variant.c
 * alone. */
#ifndef TF_KERNEL_VEC_H
#define TF_KERNEL_VEC_H

#include "kernel/dispatch.h"
#include "kernel/simd.h"

/* The smaller of a bound and x; x where x is NaN. */
TF_INLINE vf vf_at_most(vf bound, vf x)
{
#if TF_WIDTH == 16
    return (vf)_mm512_min_ps((__m512)bound, (__m512)x);
#elif TF_WIDTH == 8
    return (vf)_mm256_min_ps((__m256)bound, (__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_min_ps((__m128)bound, (__m128)x);
#else
    return vf_select(bound < x, bound, x);
#endif
}

/* The larger of a bound and x; x where x is NaN. */
TF_INLINE vf vf_at_least(vf bound, vf x)
{
#if TF_WIDTH == 16
    return (vf)_mm512_max_ps((__m512)bound, (__m512)x);
#elif TF_WIDTH == 8
    return (vf)_mm256_max_ps((__m256)bound, (__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_max_ps((__m128)bound, (__m128)x);
#else
    return vf_select(bound > x, bound, x);
#endif
}

/* `negative` where z has its sign bit set, `positive` elsewhere. */
TF_INLINE vf vf_by_sign(vf z, vf negative, vf positive)
{
#if TF_WIDTH == 16
    return (vf)_mm512_mask_blend_ps(_mm512_movepi32_mask((__m512i)z), (__m512)positive,
                                    (__m512)negative);
#elif TF_WIDTH == 8
    return (vf)_mm256_blendv_ps((__m256)positive, (__m256)negative, (__m256)z);
#else
    return vf_select(vf_bits(z) >> 31, negative, positive);
#endif
}

#if TF_WIDTH == 16
#define LANES_MASK(lanes) ((__mmask16)((1u << (lanes)) - 1))
#elif TF_WIDTH == 8
#define LANES_MASK(lanes) \
    _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(lanes)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
#endif

/* The first `lanes` floats from x, `rest` beyond them; all if there are as many. A constant count
 * makes this a plain load. */
TF_INLINE vf row_load(const float *x, size_t lanes, float rest)
{
    if (lanes >= TF_WIDTH)
        return vf_load(x);
#if TF_WIDTH == 16
    return (vf)_mm512_mask_loadu_ps((__m512)vf_set(rest), LANES_MASK(lanes), x);
#elif TF_WIDTH == 8
    const __m256i mask = LANES_MASK(lanes);
    return (vf)_mm256_blendv_ps((__m256)vf_set(rest), _mm256_maskload_ps(x, mask), (__m256)mask);
#else
    return vf_load_part(x, lanes, rest);
#endif
}

TF_INLINE void row_store(float *y, vf v, size_t lanes)
{
    if (lanes >= TF_WIDTH) {
        vf_store(y, v);
        return;
    }
#if TF_WIDTH == 16
    _mm512_mask_storeu_ps(y, LANES_MASK(lanes), (__m512)v);
#elif TF_WIDTH == 8
    _mm256_maskstore_ps(y, LANES_MASK(lanes), (__m256)v);
#else
    vf_store_part(y, v, lanes);
#endif
}

/* Runs the body for each vector of a row of n, i its place: `lanes` is the constant TF_WIDTH except
 * for what is left over at the end. */
#define TF_EACH_VECTOR(n, i, lanes, ...)            \
    do {                                            \
        const size_t n_ = (n);                      \
        size_t i = 0;                               \
        for (; i + TF_WIDTH <= n_; i += TF_WIDTH) { \
            const size_t lanes = TF_WIDTH;          \
            __VA_ARGS__;                            \
        }                                           \
        if (i < n_) {                               \
            const size_t lanes = n_ - i;            \
            __VA_ARGS__;                            \
        }                                           \
    } while (0)

/* Added to x, |x| < 2^22, it leaves 127 plus the integer n nearest x in the low bits; shifted by 23
 * places they are 2^n. */
#define TF_MAGIC (0x1.8p23f + 127)
/* ln 2 in two parts; the first times an integer below 512 is exact. */
#define TF_LN2_HIGH 0x1.62e4p-1f
#define TF_LN2_LOW 0x1.7f7d1cp-20f

/* e^r where r = unit x, |r| <= ln 2 / 2, and unit is plus or minus a power of two: 1 + r + r^2
 * q(r), q minimax in relative error (3.2e-9). */
TF_INLINE vf exp_near_0(vf x, float unit)
{
    const float u2 = unit * unit, u3 = u2 * unit;
    vf y = vf_set(0x1.6a4d6p-10f * u3 * u3);
    y = vf_fma(y, x, vf_set(0x1.12398ep-7f * u2 * u3));
    y = vf_fma(y, x, vf_set(0x1.5558bp-5f * u2 * u2));
    y = vf_fma(y, x, vf_set(0x1.555492p-3f * u3));
    y = vf_fma(y, x, vf_set(0x1.fffffcp-2f * u2));
    y = vf_fma(y, x, vf_set(unit));
    return vf_fma(y, x, vf_set(1));
}

/* e^x, within 1.1 ulp: x = n ln 2 + r. 2^n goes on in two factors, so that results below the normal
 * range round as they should. */
TF_INLINE vf vf_exp(vf x)
{
    const vf inverse_ln2 = vf_set(0x1.715476p0f);
    x = vf_at_most(vf_set(89), vf_at_least(vf_set(-104), x));
    vf whole = vf_fma(x, inverse_ln2, vf_set(TF_MAGIC + 127));
    vf half = vf_fma(x, inverse_ln2 * 0.5f, vf_set(TF_MAGIC));
    vf n = whole - (TF_MAGIC + 127);
    vf r = vf_fma(n, vf_set(-TF_LN2_HIGH), x);
    r = vf_fma(n, vf_set(-TF_LN2_LOW), r);
    return exp_near_0(r, 1) * vi_float(vf_bits(half) << 23) *
           vi_float((vf_bits(whole) - vf_bits(half)) << 23);
}

/* e^(-a^2/2), 0 <= a < 13.29: a^2 = -2 n ln 2 - 2 r by exact products, so that large squares lose
 * nothing. 0 from a = 13.25 on, where n + 127 is 0. */
TF_INLINE vf bell(vf a)
{
    vf shifted = vf_fma(a * -0x1.715476p-1f, a, vf_set(TF_MAGIC)); /* 1 / (2 ln 2) */
    vf n = shifted - TF_MAGIC;
    vf r = vf_fma(a, a, n * (2 * TF_LN2_HIGH));
    r = vf_fma(n, vf_set(2 * TF_LN2_LOW), r);
    return exp_near_0(r, -0.5f) * vi_float(vf_bits(shifted) << 23);
}

/* Phi(-a) e^(a^2/2), 0 <= a < 13.29, Phi the normal distribution: Mills' ratio over sqrt(2 pi), as
 * N / (2 + a (s N + R)), minimax in relative error (2.0e-8). That is exact at 0 and nears
 * 1 / (sqrt(2 pi) a); N's own roundings nearly cancel where a is large. */
TF_INLINE vf mills(vf a)
{
    vf n = vf_set(0x1.3d485p-7f);
    n = vf_fma(n, a, vf_set(0x1.74d612p-4f));
    n = vf_fma(n, a, vf_set(0x1.94d96cp-2f));
    n = vf_fma(n, a, vf_set(0x1.d4b7a6p-1f));
    n = vf_fma(n, a, vf_set(1));
    vf r = vf_set(0x1.8c3fa2p-6f);
    r = vf_fma(r, a, vf_set(0x1.d7354cp-3f));
    r = vf_fma(r, a, vf_set(0x1.d7128ep-1f));
    vf d = vf_fma(n, vf_set(0x1.40d962p+1f), r);
    return n / vf_fma(d, a, vf_set(2));
}

/* z Phi(z) = max(z, 0) - |z| Q, Q = Phi(-|z|), with relative accuracy as long as Q is a normal
 * number. *slope = Phi(z) + z phi(z): for z < 0 that is Q - |z| phi(z), else 1 less that. */
TF_INLINE vf vf_gelu(vf z, vf *slope)
{
    vf a = vf_at_most(vf_set(13.28f), vf_abs(z)), e = bell(a), m = mills(a);
    vf below = e * vf_fma(a, vf_set(-0x1.988454p-2f), m); /* 1/sqrt(2 pi) */
    *slope = vf_by_sign(z, below, 1.0f - below);
    return vf_fma(-a, e * m, vf_at_least(vf_set(0), z));
}

static void kernel_exp(size_t n, float *y, const float *x)
{
    TF_EACH_VECTOR(n, i, lanes, row_store(y + i, vf_exp(row_load(x + i, lanes, 0)), lanes));
}

static void kernel_gelu(size_t n, float *y, const float *x, float r)
{
    vf slope;
    TF_EACH_VECTOR(n, i, lanes,
                   row_store(y + i, vf_gelu(row_load(x + i, lanes, 0) * r, &slope), lanes));
}

static void kernel_scale(size_t n, float *y, const float *x, float a)
{
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] * a;
}

static void kernel_add(size_t n, float *y, const float *x)
{
    for (size_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void kernel_multiply_add(size_t n, float *y, const float *x, const float *w)
{
    TF_EACH_VECTOR(n, i, lanes, {
        vf product = row_load(x + i, lanes, 0), sum = row_load(y + i, lanes, 0);
        row_store(y + i, vf_fma(product, row_load(w + i, lanes, 0), sum), lanes);
    });
}

static void kernel_blend(size_t n, float *y, float a, const float *x, float b)
{
    TF_EACH_VECTOR(n, i, lanes, {
        vf other = row_load(x + i, lanes, 0) * b;
        row_store(y + i, vf_fma(row_load(y + i, lanes, 0), vf_set(a), other), lanes);
    });
}

static void kernel_softmax_back(size_t n, float *dx, const float *y, float c, float scale)
{
    TF_EACH_VECTOR(n, i, lanes, {
        vf d = row_load(dx + i, lanes, 0) - c;
        row_store(dx + i, row_load(y + i, lanes, 0) * d * scale, lanes);
    });
}

static void kernel_affine(size_t n, float *y, const float *x, const float *w, const float *b)
{
    TF_EACH_VECTOR(n, i, lanes, {
        vf scaled = row_load(x + i, lanes, 0), shift = row_load(b + i, lanes, 0);
        row_store(y + i, vf_fma(scaled, row_load(w + i, lanes, 0), shift), lanes);
    });
}

static void kernel_rotate(size_t half, float *x, const float *cosine, const float *sine, float sign)
{
    float *low = x, *high = x + half;
    size_t i = 0;
    for (; i + TF_WIDTH <= half; i += TF_WIDTH) {
        vf a = vf_load(low + i), b = vf_load(high + i), c = vf_load(cosine + i),
           s = vf_load(sine + i) * sign;
        vf_store(low + i, vf_fma(a, c, -b * s));
        vf_store(high + i, vf_fma(b, c, a * s));
    }
    for (; i < half; i++) { /* often all there is: a quarter of a head */
        const float a = low[i], b = high[i], s = sine[i] * sign;
        low[i] = fmaf(a, cosine[i], -b * s);
        high[i] = fmaf(b, cosine[i], a * s);
    }
}

static void kernel_adamw(size_t n, float *p, const float *g, float *m, float *v,
                         const struct tf_adamw *with)
{
    const vf one_less_beta1 = vf_set(1.0f - with->beta1),
             one_less_beta2 = vf_set(1.0f - with->beta2);
    TF_EACH_VECTOR(n, i, lanes, {
        vf grad = row_load(g + i, lanes, 0) * with->clip;
        vf first = one_less_beta1 * grad, second = one_less_beta2 * grad * grad;
        first = vf_fma(row_load(m + i, lanes, 0), vf_set(with->beta1), first);
        second = vf_fma(row_load(v + i, lanes, 0), vf_set(with->beta2), second);
        vf weight = row_load(p + i, lanes, 0);
        weight = vf_fma(weight, vf_set(-with->decay), weight);
        vf root = vf_sqrt(second * with->correct2) + with->eps;
        row_store(m + i, first, lanes);
        row_store(v + i, second, lanes);
        row_store(p + i, weight - with->rate * first / root, lanes);
    });
}

#endif
