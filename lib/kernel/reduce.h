/* Kernels that sum along a row. Compiled once for each build, by variant.c alone.
 *
 * A sum is 16 partial sums, element i going to sum i mod 16, joined in the tree below: the same on
 * every width, and appended zeros change nothing. */
#ifndef TF_KERNEL_REDUCE_H
#define TF_KERNEL_REDUCE_H

#include "kernel/vec.h"

#define TF_LANES 16
#define TF_VECTORS (TF_LANES / TF_WIDTH) /* vectors that hold the partial sums */

/* Runs the body for each vector of a row of n, i its place, j the partial sums it goes to; the last
 * 16 may be short. */
#define TF_EACH_PARTIAL(n, i, j, lanes, ...)                         \
    do {                                                             \
        const size_t n_ = (n), whole_ = n_ / TF_LANES * TF_LANES;    \
        size_t i = 0;                                                \
        while (i < whole_)                                           \
            for (size_t j = 0; j < TF_VECTORS; j++, i += TF_WIDTH) { \
                const size_t lanes = TF_WIDTH;                       \
                __VA_ARGS__;                                         \
            }                                                        \
        for (size_t j = 0; i < n_; j++, i += TF_WIDTH) {             \
            const size_t lanes = n_ - i;                             \
            __VA_ARGS__;                                             \
        }                                                            \
    } while (0)

TF_INLINE float lanes_join(const vf sums[TF_VECTORS])
{
    typedef float four __attribute__((vector_size(16)));
    four part[4];
    memcpy(part, sums, sizeof part);
    four s = (part[0] + part[2]) + (part[1] + part[3]);
    return (s[0] + s[2]) + (s[1] + s[3]);
}

static float kernel_sum(size_t n, const float *x)
{
    vf sums[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes, sums[j] += row_load(x + i, lanes, 0));
    return lanes_join(sums);
}

static float kernel_dot(size_t n, const float *x, const float *y)
{
    vf sums[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes,
                    sums[j] =
                        vf_fma(row_load(x + i, lanes, 0), row_load(y + i, lanes, 0), sums[j]));
    return lanes_join(sums);
}

/* Any order finds the same number, so four vectors at once. NaN is passed over, except in x[0]. */
static float kernel_max(size_t n, const float *x)
{
    vf most[4] = {vf_set(x[0]), vf_set(x[0]), vf_set(x[0]), vf_set(x[0])};
    size_t i = 0;
    for (; i + 4 * TF_WIDTH <= n; i += 4 * TF_WIDTH)
        for (size_t j = 0; j < 4; j++)
            most[j] = vf_at_least(vf_load(x + i + j * TF_WIDTH), most[j]);
    for (; i < n; i += TF_WIDTH)
        most[0] = vf_at_least(row_load(x + i, n - i, x[0]), most[0]);
    most[0] = vf_at_least(vf_at_least(most[0], most[1]), vf_at_least(most[2], most[3]));
    float lane[TF_WIDTH];
    vf_store(lane, most[0]);
    for (size_t half = TF_WIDTH / 2; half; half /= 2)
        for (size_t k = 0; k < half; k++)
            lane[k] = lane[k + half] > lane[k] ? lane[k + half] : lane[k];
    return lane[0];
}

static float kernel_exp_sum(size_t n, float *y, const float *x, float max, float scale)
{
    vf sums[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes, {
        vf e = vf_exp((row_load(x + i, lanes, -INFINITY) - max) * scale);
        row_store(y + i, e, lanes);
        sums[j] += e;
    });
    return lanes_join(sums);
}

static float kernel_gelu_back(size_t n, float *s, float *dz, const float *x, float r,
                              const float *ds)
{
    vf sums[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes, {
        vf slope;
        vf z = row_load(x + i, lanes, 0) * r;
        vf d = row_load(ds + i, lanes, 0);
        row_store(s + i, vf_gelu(z, &slope), lanes);
        d *= slope;
        row_store(dz + i, d, lanes);
        sums[j] = vf_fma(z, d, sums[j]);
    });
    return lanes_join(sums);
}

/* The mean of (x - mean)^2. */
static float variance(size_t n, const float *x, float mean)
{
    vf sums[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes, {
        vf d = row_load(x + i, lanes, mean) - mean;
        sums[j] = vf_fma(d, d, sums[j]);
    });
    return lanes_join(sums) / (float)n;
}

static void kernel_normalise(size_t n, float *y, const float *x, float eps, float stats[2])
{
    float mean = kernel_sum(n, x) / (float)n;
    float rstd = 1.0f / sqrtf(variance(n, x, mean) + eps);
    TF_EACH_VECTOR(n, i, lanes, row_store(y + i, (row_load(x + i, lanes, 0) - mean) * rstd, lanes));
    stats[0] = mean;
    stats[1] = rstd;
}

static void kernel_normalise_back(size_t n, float *dx, const float *x, const float *dy,
                                  const float stats[2])
{
    const float mean = stats[0], rstd = stats[1];
    vf sums_dy[TF_VECTORS] = {0}, sums_dyh[TF_VECTORS] = {0};
    TF_EACH_PARTIAL(n, i, j, lanes, {
        vf d = row_load(dy + i, lanes, 0);
        vf h = (row_load(x + i, lanes, mean) - mean) * rstd;
        sums_dy[j] += d;
        sums_dyh[j] = vf_fma(d, h, sums_dyh[j]);
    });
    const float mean_dyh = lanes_join(sums_dyh) / (float)n,
                mean_dy = lanes_join(sums_dy) / (float)n;
    TF_EACH_VECTOR(n, i, lanes, {
        vf h = (row_load(x + i, lanes, mean) - mean) * rstd;
        vf d = row_load(dy + i, lanes, 0) - mean_dy - h * mean_dyh;
        row_store(dx + i, vf_fma(d, vf_set(rstd), row_load(dx + i, lanes, 0)), lanes);
    });
}

#endif
