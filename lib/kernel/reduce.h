/* Kernels that sum along a row. Compiled once for each build, by variant.c alone.
 *
 * A sum is 16 partial sums, element i going to sum i mod 16, joined in the tree below: the same on
 * every width, and appended zeros change nothing. */
#ifndef TF_KERNEL_REDUCE_H
#define TF_KERNEL_REDUCE_H

#include "kernel/vec.h"

#define TF_LANES 16
#define TF_VECTORS (TF_LANES / TF_WIDTH) /* vectors that hold the partial sums */

TF_INLINE float lanes_join(const vf sums[TF_VECTORS])
{
    float lane[TF_LANES];
    memcpy(lane, sums, sizeof lane);
    for (size_t half = TF_LANES / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++)
            lane[i] += lane[i + half];
    return lane[0];
}

static float kernel_sum(size_t n, const float *x)
{
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++)
            sums[j] += row_load(x, i + j * TF_WIDTH, n, 0);
    return lanes_join(sums);
}

static float kernel_dot(size_t n, const float *x, const float *y)
{
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++) {
            size_t at = i + j * TF_WIDTH;
            sums[j] = vf_fma(row_load(x, at, n, 0), row_load(y, at, n, 0), sums[j]);
        }
    return lanes_join(sums);
}

static float kernel_max(size_t n, const float *x)
{
    vf most = vf_set(x[0]);
    for (size_t i = 0; i < n; i += TF_WIDTH)
        most = vf_max(row_load(x, i, n, x[0]), most);
    float lane[TF_WIDTH], max = x[0];
    vf_store(lane, most);
    for (size_t i = 0; i < TF_WIDTH; i++)
        max = lane[i] > max ? lane[i] : max;
    return max;
}

static float kernel_exp_sum(size_t n, float *y, const float *x, float max, float scale)
{
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++) {
            size_t at = i + j * TF_WIDTH;
            vf e = vf_exp((row_load(x, at, n, -INFINITY) - max) * scale);
            row_store(y, e, at, n);
            sums[j] += e;
        }
    return lanes_join(sums);
}

static float kernel_gelu_back(size_t n, float *s, float *dz, const float *x, float r,
                              const float *ds)
{
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++) {
            size_t at = i + j * TF_WIDTH;
            vf slope, z = row_load(x, at, n, 0) * r;
            row_store(s, vf_gelu(z, &slope), at, n);
            vf d = row_load(ds, at, n, 0) * slope;
            row_store(dz, d, at, n);
            sums[j] = vf_fma(z, d, sums[j]);
        }
    return lanes_join(sums);
}

/* The mean of (x - mean)^2. */
static float variance(size_t n, const float *x, float mean)
{
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++) {
            vf d = row_load(x, i + j * TF_WIDTH, n, mean) - mean;
            sums[j] = vf_fma(d, d, sums[j]);
        }
    return lanes_join(sums) / (float)n;
}

static void kernel_normalise(size_t n, float *y, const float *x, float eps, float stats[2])
{
    float mean = kernel_sum(n, x) / (float)n;
    float rstd = 1.0f / sqrtf(variance(n, x, mean) + eps);
    for (size_t i = 0; i < n; i += TF_WIDTH)
        row_store(y, (row_load(x, i, n, 0) - mean) * rstd, i, n);
    stats[0] = mean;
    stats[1] = rstd;
}

static void kernel_normalise_back(size_t n, float *dx, const float *x, const float *dy,
                                  const float stats[2])
{
    const float mean = stats[0], rstd = stats[1];
    vf sums[TF_VECTORS] = {0};
    for (size_t i = 0; i < n; i += TF_LANES)
        for (size_t j = 0; j < TF_VECTORS; j++) {
            size_t at = i + j * TF_WIDTH;
            vf h = (row_load(x, at, n, mean) - mean) * rstd;
            sums[j] = vf_fma(row_load(dy, at, n, 0), h, sums[j]);
        }
    const float mean_dyh = lanes_join(sums) / (float)n, mean_dy = kernel_sum(n, dy) / (float)n;
    for (size_t i = 0; i < n; i += TF_WIDTH) {
        vf h = (row_load(x, i, n, mean) - mean) * rstd;
        vf d = row_load(dy, i, n, 0) - mean_dy - h * mean_dyh;
        row_store(dx, vf_fma(d, vf_set(rstd), row_load(dx, i, n, 0)), i, n);
    }
}

#endif
