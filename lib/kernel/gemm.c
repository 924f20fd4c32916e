#include "kernel/gemm.h"

#include <omp.h>
#include <string.h>

/* No build has deeper blocks of k. */
#define MOST_DEPTH 384
/* Blocks of rows a thread, where there is enough to share. */
#define PIECES 6
/* Side of the squares in which a transposed matrix is packed. */
#define SQUARE 4
/* Floats of a cache line: what is read of a column in one go, so that what is written meanwhile
 * stays in the L1 cache. */
#define LINE 16

typedef float quad __attribute__((vector_size(SQUARE * sizeof(float))));

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

/* ---- packing ---- */

/* to(i,j) = from(j,i), SQUARE of each; rows of `to` are `stride` apart, rows of `from` cs. */
static inline void transpose_square(float *to, size_t stride, const float *from, size_t cs)
{
    quad a, b, c, d;
    memcpy(&a, from, sizeof a);
    memcpy(&b, from + cs, sizeof b);
    memcpy(&c, from + 2 * cs, sizeof c);
    memcpy(&d, from + 3 * cs, sizeof d);
    const quad low = __builtin_shufflevector(a, b, 0, 4, 1, 5),
               high = __builtin_shufflevector(a, b, 2, 6, 3, 7),
               low2 = __builtin_shufflevector(c, d, 0, 4, 1, 5),
               high2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
    a = __builtin_shufflevector(low, low2, 0, 1, 4, 5);
    b = __builtin_shufflevector(low, low2, 2, 3, 6, 7);
    c = __builtin_shufflevector(high, high2, 0, 1, 4, 5);
    d = __builtin_shufflevector(high, high2, 2, 3, 6, 7);
    memcpy(to, &a, sizeof a);
    memcpy(to + stride, &b, sizeof b);
    memcpy(to + 2 * stride, &c, sizeof c);
    memcpy(to + 3 * stride, &d, sizeof d);
}

/* `count` columns of one panel, `rows` rows of its block, of a matrix that lies column by column.
 */
static void pack_columns(float *to, const float *from, size_t cs, size_t rows, size_t count)
{
    const size_t nr = tf_kernel->nr;
    const size_t whole_rows = rows / SQUARE * SQUARE, whole = count / SQUARE * SQUARE;
    for (size_t line = 0; line < whole_rows; line += LINE)
        for (size_t j = 0; j < whole; j += SQUARE)
            for (size_t p = line; p < smaller(line + LINE, whole_rows); p += SQUARE)
                transpose_square(to + p * nr + j, nr, from + j * cs + p, cs);
    for (size_t p = 0; p < rows; p++)
        for (size_t j = p < whole_rows ? whole : 0; j < count; j++)
            to[p * nr + j] = from[j * cs + p];
}

/* The same of any matrix. */
static void pack_panel(float *to, const float *from, size_t rs, size_t cs, size_t rows,
                       size_t count)
{
    const size_t nr = tf_kernel->nr;
    if (rs == 1) {
        pack_columns(to, from, cs, rows, count);
        return;
    }
    for (size_t p = 0; p < rows; p++, to += nr, from += rs)
        if (cs == 1)
            memcpy(to, from, count * sizeof *to);
        else
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
#pragma omp for schedule(static) nowait
    for (size_t task = 0; task < blocks * panels; task++) {
        /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): without panels there are no tasks */
        const size_t p = task / panels * kc, j = task % panels * nr;
        const size_t depth = smaller(kc, k - p), count = smaller(nr, n - j);
        float *at = to + p * columns + j * depth;
        pack_panel(at, b.data + p * b.rs + j * b.cs, b.rs, b.cs, depth, count);
        for (size_t i = 0; i < depth && count < nr; i++)
            memset(at + i * nr + count, 0, (nr - count) * sizeof *at);
    }
}

/* ---- sharing ---- */

struct tf_blocks tf_row_blocks(size_t rows)
{
    const size_t threads = (size_t)omp_get_num_threads(), mr = tf_kernel->mr;
    const size_t tiles = (rows + mr - 1) / mr, most = TF_BLOCK_ROWS / mr;
    /* High enough that B is not read too often, low enough that none waits long for the last. */
    size_t high = tiles / (threads * PIECES);
    high = high < most / 2 ? most / 2 : smaller(high, most);
    return (struct tf_blocks){rows, mr,
                              smaller(round_up((tiles + high - 1) / high, threads), tiles)};
}

struct tf_blocks tf_column_blocks(size_t columns)
{
    const size_t nr = tf_kernel->nr, panels = (columns + nr - 1) / nr;
    /* One a thread: neighbouring panels are read together. */
    return (struct tf_blocks){columns, nr, smaller(panels, (size_t)omp_get_num_threads())};
}

size_t tf_block_start(const struct tf_blocks *blocks, size_t i)
{
    const size_t units = (blocks->size + blocks->unit - 1) / blocks->unit;
    return smaller(i * units / blocks->count * blocks->unit, blocks->size);
}

/* ---- products ---- */

/* m columns of k rows, into a copy that lies together: a transposed A is read down its columns, and
 * rows that are far apart in memory cost a page-table and a cache line each. */
static void gather(float *to, const float *from, size_t stride, size_t m, size_t k)
{
    for (size_t p = 0; p < k; p++)
        memcpy(to + p * m, from + p * stride, m * sizeof *to);
}

void tf_gemm_columns(size_t m, size_t n, size_t k, struct tf_view a, const void *packed,
                     enum tf_precision precision, float *c, size_t ldc, bool add, size_t j0,
                     size_t j1)
{
    const size_t columns = round_up(n, tf_kernel->nr), size = tf_precision_size(precision);
    /* A block of columns of a packed B is itself a packed B only within one block of k. */
    for (size_t p = 0; p == 0 || p < k; p += tf_kernel->kc) {
        const size_t depth = smaller(tf_kernel->kc, k - p);
        tf_kernel->gemm_narrow(m, j1 - j0, depth, a.data + p * a.cs, a.rs, a.cs,
                               (const uint8_t *)packed + (p * columns + j0 * depth) * size,
                               precision, depth, columns, c + j0, ldc, add || p);
    }
}

void tf_gemm_few(size_t m, size_t n, size_t k, struct tf_view a, const void *packed,
                 enum tf_precision precision, float *c, size_t ldc, bool add)
{
    const struct tf_blocks columns = tf_column_blocks(n);
#pragma omp for schedule(static) nowait
    for (size_t i = 0; i < columns.count; i++)
        tf_gemm_columns(m, n, k, a, packed, precision, c, ldc, add, tf_block_start(&columns, i),
                        tf_block_start(&columns, i + 1));
}

/* Rows [0, m) of C: a transposed A by blocks of k, gathered. */
static void gemm_rows(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
                      size_t ldc, bool add)
{
    const size_t columns = round_up(n, tf_kernel->nr), kc = tf_kernel->kc;
    float together[TF_BLOCK_ROWS * MOST_DEPTH];
    if (a.rs != 1 || a.cs == 1) {
        tf_kernel->gemm(m, n, k, a.data, a.rs, a.cs, packed, k, n, c, ldc, add);
        return;
    }
    for (size_t p = 0; p == 0 || p < k; p += kc) {
        const size_t depth = smaller(kc, k - p);
        gather(together, a.data + p * a.cs, a.cs, m, depth);
        tf_kernel->gemm(m, n, depth, together, 1, m, packed + p * columns, depth, n, c, ldc,
                        add || p);
    }
}

void tf_gemm(size_t m, size_t n, size_t k, struct tf_view a, const float *packed, float *c,
             size_t ldc, bool add)
{
    const struct tf_blocks rows = tf_row_blocks(m);
#pragma omp for schedule(dynamic) nowait
    for (size_t block = 0; block < rows.count; block++) {
        const size_t i = tf_block_start(&rows, block);
        gemm_rows(tf_block_start(&rows, block + 1) - i, n, k,
                  (struct tf_view){a.data + i * a.rs, a.rs, a.cs}, packed, c + i * ldc, ldc, add);
    }
}

size_t tf_left_size(size_t k, size_t m)
{
    return k * m;
}

void tf_left_row(float *left, size_t k, size_t m, size_t p, const float *row)
{
    for (size_t i = 0; i < m; i += TF_BLOCK_ROWS) {
        const size_t width = smaller(TF_BLOCK_ROWS, m - i);
        memcpy(left + i * k + p * width, row + i, width * sizeof *row);
    }
}

void tf_gemm_left(size_t m, size_t n, size_t k, const float *left, const float *packed, float *c,
                  size_t ldc, bool add)
{
#pragma omp for schedule(dynamic) nowait
    for (size_t i = 0; i < m; i += TF_BLOCK_ROWS) {
        const size_t width = smaller(TF_BLOCK_ROWS, m - i);
        tf_kernel->gemm(width, n, k, left + i * k, 1, width, packed, k, n, c + i * ldc, ldc, add);
    }
}
