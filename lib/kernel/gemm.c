#include "kernel/gemm.h"

#include <omp.h>
#include <string.h>

/* Rows of A and C that a thread works on at a time: 96 x 256 floats of A are 96 KiB, well inside L2
 * beside the panel of B. */
#define ROW_BLOCK 96
/* No build has higher tiles, or deeper blocks of k. */
#define MOST_ROWS 16
#define MOST_DEPTH 256
/* Pieces of work a thread, where columns are shared out as well because there are too few blocks of
 * rows: enough that none waits long for the last. */
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
static void pack_panel(float *to, const float *from, size_t rs, size_t cs, size_t rows,
                       size_t count)
{
    const size_t nr = tf_kernel->nr;
    for (size_t p = 0; p < rows; p++, to += nr, from += rs)
        for (size_t j = 0; j < count; j++)
            to[j] = from[j * cs];
}

void tf_pack_part(float *to, size_t k, size_t n, struct tf_view b, size_t k0, size_t k1, size_t n0,
                  size_t n1)
{
    const size_t nr = tf_kernel->nr, kc = tf_kernel->kc, columns = round_up(n, nr);
    for (size_t p = k0; p < k1;) {
        const size_t block = p / kc * kc, depth = smaller(kc, k - block);
        const size_t end = smaller(block + depth, k1);
        for (size_t j = n0; j < n1;) {
            const size_t panel = j / nr * nr, stop = smaller(panel + nr, n1);
            float *at = to + block * columns + panel * depth + (p - block) * nr + (j - panel);
            pack_panel(at, b.data + (p - k0) * b.rs + (j - n0) * b.cs, b.rs, b.cs, end - p,
                       stop - j);
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
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): without panels there are no tasks */
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
    const size_t threads = (size_t)omp_get_max_threads(), mr = tf_kernel->mr;
    const size_t tiles = (rows + mr - 1) / mr, most = (ROW_BLOCK + mr - 1) / mr;
    /* Enough blocks that no thread waits long for another's last, each high enough that B is not
     * read too often. */
    size_t block = tiles / (threads * PIECES);
    block = block < most / 2 ? most / 2 : smaller(block, most);
    return smaller(block, (tiles + threads - 1) / threads) * mr;
}

/* Columns of C that go together, a whole number of panels. */
static size_t column_block(size_t n, size_t row_blocks)
{
    const size_t nr = tf_kernel->nr, pieces = PIECES * (size_t)omp_get_max_threads();
    return row_blocks >= pieces ? round_up(n, nr) : round_up(n * row_blocks / pieces + 1, nr);
}

/* Rows [0, m) of one block of k, into a copy that lies together: a transposed A is read down its
 * columns, and rows that are far apart in memory cost a page-table and a cache line each. */
static struct tf_view gather_block(float *to, struct tf_view a, size_t m, size_t k)
{
    if (a.rs != 1 || a.cs == 1)
        return a;
    for (size_t p = 0; p < k; p++)
        memcpy(to + p * m, a.data + p * a.cs, m * sizeof *to);
    return (struct tf_view){to, 1, m};
}

/* One piece of tf_gemm: m rows and n columns of C from row i and column j on. */
static void gemm_piece(size_t i, size_t m, size_t j, size_t n, size_t columns, size_t k,
                       struct tf_view a, const float *packed, float *c, size_t ldc, bool add)
{
    float together[(ROW_BLOCK + MOST_ROWS) * MOST_DEPTH];
    /* A block of columns of a packed B is itself a packed B only within one block of k. */
    for (size_t p = 0; p == 0 || p < k; p += tf_kernel->kc) {
        const size_t depth = smaller(tf_kernel->kc, k - p);
        const struct tf_view part = gather_block(
            together, (struct tf_view){a.data + i * a.rs + p * a.cs, a.rs, a.cs}, m, depth);
        tf_kernel->gemm(m, n, depth, part.data, part.rs, part.cs, packed + p * columns + j * depth,
                        depth, columns, c + i * ldc + j, ldc, add || p);
    }
}

void tf_gemm(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
             size_t ldc, bool add)
{
    const size_t nr = tf_kernel->nr, rows = tf_row_block(m);
    const size_t row_blocks = (m + rows - 1) / rows;
    const size_t columns = column_block(n, row_blocks);
    const size_t column_blocks = (n + columns - 1) / columns;
#pragma omp parallel for schedule(dynamic) if (tf_worth_threads(m * n * k))
    for (size_t task = 0; task < row_blocks * column_blocks; task++) {
        const size_t i = task / column_blocks * rows, j = task % column_blocks * columns;
        gemm_piece(i, smaller(rows, m - i), j, smaller(columns, n - j), round_up(n, nr), k, a,
                   packed, c, ldc, add);
    }
}
