#include "kernel/gemm.h"

#include <omp.h>

/* Rows of A and C that a thread works on at a time: 96 x 256 floats of A are 96 KiB, well inside L2 beside the panel of B. */
#define ROW_BLOCK 96
/* Pieces of work a thread, where columns are shared out as well because there are too few blocks of rows: enough that none waits long for the
 * last. */
#define PIECES 4

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t tf_packed_size(size_t k, size_t n)
{
    return k * round_up(n, tf_kernel->nr);
}

/* Columns [j, j+count) of one panel, rows [p, p+rows) of its block: `to` is where (p, j) goes. */
static void pack_panel(float *to, const float *from, size_t rs, size_t cs, size_t rows, size_t count)
{
    const size_t nr = tf_kernel->nr;
    for (size_t p = 0; p < rows; p++, to += nr, from += rs)
        for (size_t j = 0; j < count; j++)
            to[j] = from[j * cs];
}

void tf_pack_part(float *to, size_t k, size_t n, struct tf_view b, size_t k0, size_t k1, size_t n0, size_t n1)
{
    const size_t nr = tf_kernel->nr, kc = tf_kernel->kc, columns = round_up(n, nr);
    for (size_t p = k0; p < k1;) {
        const size_t block = p / kc * kc, depth = smaller(kc, k - block);
        const size_t end = smaller(block + depth, k1);
        for (size_t j = n0; j < n1;) {
            const size_t panel = j / nr * nr, stop = smaller(panel + nr, n1);
            float *at = to + block * columns + panel * depth + (p - block) * nr + (j - panel);
            pack_panel(at, b.data + (p - k0) * b.rs + (j - n0) * b.cs, b.rs, b.cs, end - p, stop - j);
            j = stop;
        }
        p = end;
    }
}

void tf_pack(float *to, struct tf_view b, size_t k, size_t n)
{
    const size_t nr = tf_kernel->nr, kc = tf_kernel->kc, columns = round_up(n, nr);
    const size_t panels = columns / nr, blocks = (k + kc - 1) / kc;
#pragma omp parallel for schedule(static) if (tf_worth_threads(k * n))
    for (size_t task = 0; task < blocks * panels; task++) {
        const size_t p = task / panels * kc, j = task % panels * nr;
        const size_t depth = smaller(kc, k - p), count = smaller(nr, n - j);
        float *at = to + p * columns + j * depth;
        pack_panel(at, b.data + p * b.rs + j * b.cs, b.rs, b.cs, depth, count);
        for (size_t i = 0; i < depth; i++)
            for (size_t c = count; c < nr; c++)
                at[i * nr + c] = 0;
    }
}

size_t tf_row_block(size_t rows)
{
    const size_t threads = (size_t)omp_get_max_threads();
    return smaller(round_up((rows + threads - 1) / threads, tf_kernel->mr), round_up(ROW_BLOCK, tf_kernel->mr));
}

/* Columns of C that go together, a whole number of panels. */
static size_t column_block(size_t n, size_t row_blocks)
{
    const size_t nr = tf_kernel->nr, pieces = PIECES * (size_t)omp_get_max_threads();
    return row_blocks >= pieces ? round_up(n, nr) : round_up(n * row_blocks / pieces + 1, nr);
}

void tf_gemm(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c, size_t ldc, bool add)
{
    const size_t nr = tf_kernel->nr, rows = tf_row_block(m);
    const size_t row_blocks = (m + rows - 1) / rows;
    const size_t columns = column_block(n, row_blocks);
    const size_t column_blocks = (n + columns - 1) / columns;
#pragma omp parallel for schedule(dynamic) if (tf_worth_threads(m * n * k))
    for (size_t task = 0; task < row_blocks * column_blocks; task++) {
        const size_t i = task / column_blocks * rows, j = task % column_blocks * columns;
        /* A column block of a packed B is its own packed B only when B is one block deep; so go block by block. */
        for (size_t p = 0; p < k || (!k && !p); p += tf_kernel->kc) {
            const size_t depth = smaller(tf_kernel->kc, k - p);
            const float *b = packed + p * round_up(n, nr) + j * depth;
            tf_kernel->gemm(smaller(rows, m - i), smaller(columns, n - j), depth, a.data + i * a.rs + p * a.cs, a.rs,
                            a.cs, b, depth, n, c + i * ldc + j, ldc, add || p);
            if (!k)
                break;
        }
    }
}
