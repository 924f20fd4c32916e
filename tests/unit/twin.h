/* The model again, in plain loops of doubles: the naive twin that the fast passes are held against,
 * and slopes of it by central differences. Matrices are row after row, without padding. */
#ifndef TF_TESTS_TWIN_H
#define TF_TESTS_TWIN_H

#include "unit.h"

#include "base/mem.h"
#include "nn/model.h"

static inline double *twin_new(size_t n)
{
    double *x = tf_new(n, sizeof *x, "twin", NULL);
    assert_non_null(x);
    return x;
}

static inline double *twin_copy(const float *from, size_t rows, size_t cols, size_t stride)
{
    double *to = twin_new(rows * cols);
    for (size_t i = 0; i < rows * cols; i++)
        to[i] = from[i / cols * stride + i % cols];
    return to;
}

static inline double twin_dot(size_t n, const double *x, const double *y)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

static inline double twin_gelu(double z)
{
    return 0.5 * z * erfc(-z / sqrt(2));
}

/* a = softmax(a) */
static inline void twin_softmax(size_t n, double *a)
{
    double max = a[0], sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, a[i]);
    for (size_t i = 0; i < n; i++)
        sum += a[i] = exp(a[i] - max);
    for (size_t i = 0; i < n; i++)
        a[i] /= sum;
}

/* a becomes S. */
static inline void twin_activate(enum tf_norm norm, double scale, size_t n, double *a)
{
    if (norm == TF_SOFTMAX)
        twin_softmax(n, a);
    for (size_t i = 0; i < n && (norm == TF_GELU_L2_NORM || norm == TF_GELU); i++)
        a[i] = twin_gelu(a[i]);
    if (norm == TF_GELU)
        return;
    const double squares = twin_dot(n, a, a);
    const double rate = norm == TF_SOFTMAX ? scale : squares > 0 ? sqrt(scale / squares) : 0;
    for (size_t i = 0; i < n; i++)
        a[i] = norm == TF_L2_NORM_GELU ? twin_gelu(a[i] * rate) : a[i] * rate;
}

struct twin_tokens {
    size_t N, C;
    double scale;
    const double *keys, *values; /* values NULL: a matrix */
};

/* y += projection(x) */
static inline void twin_project(enum tf_norm norm, const struct twin_tokens *with, size_t rows,
                                const double *x, double *y)
{
    const size_t N = with->N, C = with->C;
    double *s = twin_new(N);
    for (size_t r = 0; r < rows; r++) {
        for (size_t n = 0; n < N; n++)
            s[n] = twin_dot(C, x + r * C, with->keys + n * C);
        for (size_t n = 0; !with->values && n < N; n++)
            y[r * N + n] += s[n];
        if (!with->values)
            continue;
        twin_activate(norm, with->scale, N, s);
        for (size_t n = 0; n < N; n++)
            for (size_t c = 0; c < C; c++)
                y[r * C + c] += s[n] * with->values[n * C + c];
    }
    tf_free(s);
}

/* Causal attention of one sequence: out = P v. */
static inline void twin_attention(size_t H, size_t D, size_t length, const double *q,
                                  const double *k, const double *v, double *out)
{
    const size_t C = H * D;
    double *p = twin_new(length);
    for (size_t at = 0; at < length * C; at += D) {
        const size_t t = at / C, head = at % C;
        for (size_t i = 0; i <= t; i++)
            p[i] = twin_dot(D, q + at, k + i * C + head) / sqrt((double)D);
        twin_softmax(t + 1, p);
        for (size_t d = 0; d < D; d++) {
            out[at + d] = 0;
            for (size_t i = 0; i <= t; i++)
                out[at + d] += p[i] * v[i * C + head + d];
        }
    }
    tf_free(p);
}

/* Turns the rows of one sequence, the first of which is at position `start`. */
static inline void twin_rope(size_t rotated, double base, size_t H, size_t D, size_t length,
                             size_t start, double *x)
{
    const size_t half = rotated / 2;
    for (size_t r = 0; r < length * H; r++)
        for (size_t i = 0; i < half; i++) {
            double *a = x + r * D + i, *b = a + half;
            const double angle =
                (double)(start + r / H) * pow(base, -2.0 * (double)i / (double)rotated);
            const double turned = *a * cos(angle) - *b * sin(angle);
            *b = *b * cos(angle) + *a * sin(angle);
            *a = turned;
        }
}

/* y = LN(x) without weights */
static inline void twin_norm(size_t rows, size_t cols, const double *x, double *y)
{
    for (size_t r = 0; r < rows; r++, x += cols, y += cols) {
        double mean = 0, variance = 0;
        for (size_t i = 0; i < cols; i++)
            mean += x[i] / (double)cols;
        for (size_t i = 0; i < cols; i++)
            variance += (x[i] - mean) * (x[i] - mean) / (double)cols;
        for (size_t i = 0; i < cols; i++)
            y[i] = (x[i] - mean) / sqrt(variance + 1e-5);
    }
}

/* -log softmax(logits)[target] */
static inline double twin_cross_entropy(size_t n, const double *logits, size_t target)
{
    double max = logits[0], sum = 0;
    for (size_t i = 0; i < n; i++)
        max = fmax(max, logits[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp(logits[i] - max);
    return max + log(sum) - logits[target];
}

/* f's slope along *x; its error is some 1e-8 of f's third derivative. */
static inline double twin_slope(double (*f)(const void *), const void *with, double *x)
{
    const double at = *x, h = 1e-4;
    *x = at + h;
    const double above = f(with);
    *x = at - h;
    const double below = f(with);
    *x = at;
    return (above - below) / (2 * h);
}

/* The numbers of got, `stride` floats from row to row, are want's within `tolerance` of the
 * largest. */
static inline void assert_close(const char *what, const float *got, size_t stride,
                                const double *want, size_t rows, size_t cols, double tolerance)
{
    double largest = 0, worst = 0;
    for (size_t i = 0; i < rows * cols; i++) {
        const double off = fabs(got[i / cols * stride + i % cols] - want[i]);
        largest = fmax(largest, fabs(want[i]));
        worst = off > worst || isnan(off) ? off : worst;
    }
    if (!(worst <= tolerance * largest))
        fail_msg("%s, %s: off by %g, the largest being %g", tf_kernel->name, what, worst, largest);
}

/* Every step-th number of got is f's slope along the same number of x, within 1e-4 of got's
 * largest. */
static inline void assert_slopes(const char *what, const float *got, size_t stride,
                                 double (*f)(const void *), const void *with, double *x,
                                 size_t rows, size_t cols, size_t step)
{
    double largest = 0;
    for (size_t i = 0; i < rows * cols; i++)
        largest = fmax(largest, fabs((double)got[i / cols * stride + i % cols]));
    for (size_t i = 0; i < rows * cols; i += step) {
        const double slope = twin_slope(f, with, x + i);
        const float is = got[i / cols * stride + i % cols];
        if (!(fabs(is - slope) <= 1e-4 * largest))
            fail_msg("%s, %s: number %zu is %g, the slope %g, the largest %g", tf_kernel->name,
                     what, i, is, slope, largest);
    }
}

#endif
