/* exp and GELU on vectors, and the elementwise kernels. Compiled once for each build, by variant.c
 * alone. */
#ifndef TF_KERNEL_VEC_H
#define TF_KERNEL_VEC_H

#include "kernel/dispatch.h"
#include "kernel/simd.h"

/* The vector at x[i] of a row of n; lanes past the end are `rest`. */
TF_INLINE vf row_load(const float *x, size_t i, size_t n, float rest)
{
    if (i + TF_WIDTH <= n)
        return vf_load(x + i);
    return vf_load_part(x + i, i < n ? n - i : 0, rest);
}

TF_INLINE void row_store(float *y, vf v, size_t i, size_t n)
{
    if (i + TF_WIDTH <= n)
        vf_store(y + i, v);
    else if (i < n)
        vf_store_part(y + i, v, n - i);
}

/* e^x, within 1.1 ulp: x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 q(r), q a minimax
 * polynomial (3e-9). 2^n goes on in two factors, so that results below the normal range round as
 * they should. */
TF_INLINE vf vf_exp(vf x)
{
    const vf magic = vf_set(0x1.8p23f); /* adding it leaves an integer in the low bits */
    x = vf_select(x < -104.0f, vf_set(-104.0f), x);
    x = vf_select(x > 89.0f, vf_set(89.0f), x);
    vf shifted = vf_fma(x, vf_set(0x1.715476p0f), magic);
    vf n = shifted - magic;
    vf r = vf_fma(n, vf_set(-0x1.62e4p-1f), x); /* ln 2 in two parts; the first times n is exact */
    r = vf_fma(n, vf_set(-0x1.7f7d1cp-20f), r);
    vf q = vf_set(0x1.6a1a6ep-10f);
    q = vf_fma(q, r, vf_set(0x1.123fc6p-7f));
    q = vf_fma(q, r, vf_set(0x1.555916p-5f));
    q = vf_fma(q, r, vf_set(0x1.55548ap-3f));
    q = vf_fma(q, r, vf_set(0x1.fffffcp-2f));
    vf y = vf_fma(q * r, r, r) + 1.0f;
    vi exponent = vf_bits(shifted) - vf_bits(magic);
    vi half = exponent >> 1;
    return y * vi_float((half + 127) << 23) * vi_float((exponent - half + 127) << 23);
}

/* Q = Phi(-|z|), the normal distribution's tail, with relative accuracy to the last normal number,
 * and *density = e^(-z^2/2). Q = e^(-z^2/2) u P(u - 0.625), u = 1/(1 + 0.296875|z|): u P is Mills'
 * ratio / sqrt(2 pi), P a minimax polynomial (5e-9) about the middle of u's range, where its terms
 * hardly cancel. */
TF_INLINE vf vf_normal_tail(vf z, vf *density)
{
    vf a = vf_abs(z);
    a = vf_select(a > 15.0f, vf_set(15.0f), a); /* Q is 0 there */
    vf square = a * a;
    vf low = vf_fma(a, a, -square); /* what rounding the square lost matters where it is large */
    vf e = vf_exp(square * -0.5f);
    e = vf_fma(e * -0.5f, low, e);
    *density = e;
    const vf c = vf_set(0.296875f);
    vf d = vf_fma(a, c, vf_set(1.0f)), u = 1.0f / d;
    /* What rounding took from d and u, as a share of u: P's slope would magnify it. */
    vf lost = vf_fma(-d, u, vf_set(1.0f)) - u * vf_fma(a, c, 1.0f - d);
    vf w = vf_fma(u, lost, u - 0.625f);
    vf p = vf_set(-0x1.57100ep-6f);
    p = vf_fma(p, w, vf_set(-0x1.c6da72p-12f));
    p = vf_fma(p, w, vf_set(0x1.6b0064p-5f));
    p = vf_fma(p, w, vf_set(-0x1.9b13f6p-8f));
    p = vf_fma(p, w, vf_set(-0x1.7eb9bcp-4f));
    p = vf_fma(p, w, vf_set(-0x1.de0a72p-7f));
    p = vf_fma(p, w, vf_set(0x1.e7bd3cp-3f));
    p = vf_fma(p, w, vf_set(0x1.c0e64ap-2f));
    p = vf_fma(p, w, vf_set(0x1.b497c8p-2f));
    p = vf_fma(p, w, vf_set(0x1.11450ap-2f));
    p *= u;
    return e * vf_fma(p, lost, p);
}

/* z Phi(z); *slope = Phi(z) + z phi(z). */
TF_INLINE vf vf_gelu(vf z, vf *slope)
{
    vf density, q = vf_normal_tail(z, &density);
    vi negative = z < 0.0f;
    vf phi = vf_select(negative, q, 1.0f - q);
    *slope = vf_fma(z * 0x1.988454p-2f, density, phi); /* 1/sqrt(2 pi) */
    return vf_select(negative, z * q, vf_fma(-z, q, z));
}

static void kernel_exp(size_t n, float *y, const float *x)
{
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, vf_exp(row_load(x, i, n, 0)), i, n);
}

static void kernel_gelu(size_t n, float *y, const float *x, float r)
{
    vf slope;
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, vf_gelu(row_load(x, i, n, 0) * r, &slope), i, n);
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
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, vf_fma(row_load(x, i, n, 0), row_load(w, i, n, 0), row_load(y, i, n, 0)), i,
                  n);
}

static void kernel_blend(size_t n, float *y, float a, const float *x, float b)
{
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, vf_fma(row_load(y, i, n, 0), vf_set(a), row_load(x, i, n, 0) * b), i, n);
}

static void kernel_softmax_back(size_t n, float *dx, const float *y, float c, float scale)
{
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(dx, row_load(y, i, n, 0) * (row_load(dx, i, n, 0) - c) * scale, i, n);
}

static void kernel_affine(size_t n, float *y, const float *x, const float *w, const float *b)
{
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, vf_fma(row_load(x, i, n, 0), row_load(w, i, n, 0), row_load(b, i, n, 0)), i,
                  n);
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
    for (size_t i = 0; i < n; i += TF_WIDTH) {
        vf grad = row_load(g, i, n, 0) * with->clip;
        vf first = vf_fma(row_load(m, i, n, 0), vf_set(with->beta1), one_less_beta1 * grad);
        vf second = vf_fma(row_load(v, i, n, 0), vf_set(with->beta2), one_less_beta2 * grad * grad);
        vf weight = row_load(p, i, n, 0);
        weight = vf_fma(weight, vf_set(-with->decay), weight);
        vf root = vf_sqrt(second * with->correct2) + with->eps;
        row_store(m, first, i, n);
        row_store(v, second, i, n);
        row_store(p, weight - with->rate * first / root, i, n);
    }
}

#endif
