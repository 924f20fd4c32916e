#include "nn/run.h"

#define EPS 1e-5f /* inside the root (numerics in tokenformer(7)) */

void tf_norm_forward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix y, float *stats)
{
    for (size_t r = 0; r < rows; r++)
        tf_kernel->normalise(cols, y.at + r * y.stride, x.at + r * x.stride, EPS, stats + 2 * r);
}

void tf_norm_backward(size_t rows, size_t cols, struct tf_matrix x, struct tf_matrix dy,
                      const float *stats, struct tf_matrix dx)
{
    for (size_t r = 0; r < rows; r++)
        tf_kernel->normalise_back(cols, dx.at + r * dx.stride, x.at + r * x.stride,
                                  dy.at + r * dy.stride, stats + 2 * r);
}

void tf_affine_forward(size_t rows, struct tf_matrix x, const struct tf_table *w,
                       const struct tf_table *b)
{
    for (size_t r = 0; r < rows; r++)
        tf_kernel->affine(w->cols, x.at + r * x.stride, x.at + r * x.stride, w->value, b->value);
}

void tf_affine_backward(size_t rows, struct tf_matrix dy, struct tf_matrix h,
                        const struct tf_table *w, const struct tf_table *b)
{
    /* Threads share columns, so that each column is summed in the order of rows. */
#pragma omp for schedule(static) nowait
    for (size_t c = 0; c < w->cols; c += 16) {
        const size_t count = w->cols - c < 16 ? w->cols - c : 16;
        for (size_t r = 0; r < rows; r++) {
            float *d = dy.at + r * dy.stride + c;
            tf_kernel->multiply_add(count, w->grad + c, d, h.at + r * h.stride + c);
            tf_kernel->add(count, b->grad + c, d);
            for (size_t i = 0; i < count; i++)
                d[i] *= w->value[c + i];
        }
    }
}
