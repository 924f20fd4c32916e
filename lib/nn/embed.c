#include "nn/run.h"

#include <string.h>

void tf_embed_forward(const struct tf_table *embed, size_t rows, const uint16_t *ids,
                      struct tf_matrix x)
{
#pragma omp for schedule(static) nowait
    for (size_t r = 0; r < rows; r++)
        memcpy(x.at + r * x.stride, tf_table_row(embed, ids[r]), embed->stride * sizeof(float));
}

void tf_embed_backward(struct tf_matrix grad, size_t cols, size_t rows, const uint32_t *into,
                       struct tf_matrix dx)
{
    /* Threads share columns, not rows: a token that comes twice is added in the order of rows. */
#pragma omp for schedule(static) nowait
    for (size_t c = 0; c < cols; c += 16) {
        const size_t count = cols - c < 16 ? cols - c : 16;
        for (size_t r = 0; r < rows; r++)
            tf_kernel->add(count, grad.at + into[r] * grad.stride + c, dx.at + r * dx.stride + c);
    }
}
