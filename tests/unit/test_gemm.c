#include "unit.h"

#include "base/mem.h"
#include "kernel/gemm.h"
#include "kernel/narrow.h"

#include <omp.h>

/* The naive twin: one chain of fused multiply-adds an element. */
static void naive(size_t m, size_t n, size_t k, struct tf_view a, struct tf_view b, float *c,
                  size_t ldc, bool add)
{
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = add ? c[i * ldc + j] : 0;
            for (size_t p = 0; p < k; p++)
                sum = fmaf(a.data[i * a.rs + p * a.cs], b.data[p * b.rs + j * b.cs], sum);
            c[i * ldc + j] = sum;
        }
}

static float *filled(size_t n, uint64_t seed)
{
    float *x = tf_new(n, sizeof *x, "test", NULL);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = noise(seed * 1000003 + i);
    return x;
}

/* All forms of a product of one shape, against the naive twin, to the bit. */
static void check_shape(size_t m, size_t n, size_t k)
{
    const size_t ldc = n + 3;
    float *a = filled(m * k + 1, 1), *b = filled(k * n + 1, 2);
    float *packed = filled(tf_packed_size(k, n) + 1, 3);
    for (int form = 0; form < 8; form++) {
        const struct tf_view va = form & 1 ? tf_view_transposed(a, m) : tf_view(a, k);
        const struct tf_view vb = form & 2 ? tf_view_transposed(b, k) : tf_view(b, n);
        float *want = filled(m * ldc, 4), *got = filled(m * ldc, 4);
        naive(m, n, k, va, vb, want, ldc, form & 4);
#pragma omp parallel
        {
            tf_pack(packed, vb, k, n);
#pragma omp barrier
            tf_gemm(m, n, k, va, packed, got, ldc, form & 4);
        }
        assert_memory_equal(got, want, m * ldc * sizeof *got); /* what lies between the rows too */
        tf_free(want);
        tf_free(got);
    }
    tf_free(a);
    tf_free(b);
    tf_free(packed);
}

static void check_shapes(void)
{
    static const size_t shapes[][3] = {{1, 1, 1},    {1, 33, 7},   {2, 16, 256},  {3, 31, 257},
                                       {6, 16, 300}, {7, 17, 513}, {13, 48, 40},  {15, 70, 12},
                                       {29, 5, 260}, {97, 33, 9},  {200, 64, 31}, {3, 600, 5},
                                       {5, 8, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
}

static void products_equal_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_shapes);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        check_shapes();
    }
    omp_set_num_threads(before);
}

/* A product of the first rows and columns of a larger packed matrix; and a sum continued over
 * blocks of k. */
static void check_parts(void)
{
    const size_t K = 300, N = 50, m = 9, n = 37, k = 290;
    float *a = filled(m * K, 1), *b = filled(K * N, 2), *want = filled(m * n, 3),
          *got = filled(m * n, 3);
    float *whole = filled(tf_packed_size(K, N), 4),
          *parts = tf_new(tf_packed_size(K, N), sizeof *parts, "test", NULL);
    tf_pack(whole, tf_view(b, N), K, N);
    for (size_t p = 0; p < K; p += 7)
        for (size_t j = 0; j < N; j += 11) {
            const size_t p1 = p + 7 < K ? p + 7 : K, j1 = j + 11 < N ? j + 11 : N;
            tf_pack_part(parts, K, N, tf_view(b + p * N + j, N), p, p1, j, j1);
        }
    assert_memory_equal(parts, whole, tf_packed_size(K, N) * sizeof *parts);
    naive(m, n, k, tf_view(a, K), tf_view(b, N), want, n, false);
    tf_kernel->gemm(m, n, k, a, K, 1, whole, K, N, got, n, false);
    assert_memory_equal(got, want, m * n * sizeof *got);

    naive(m, n, K, tf_view(a, K), tf_view(b, N), want, n, false);
    tf_pack(parts, tf_view(b, N), 101, n);
    tf_gemm(m, n, 101, tf_view(a, K), parts, got, n, false);
    tf_pack(parts, tf_view(b + 101 * N, N), K - 101, n);
    tf_gemm(m, n, K - 101, tf_view(a + 101, K), parts, got, n, true);
    assert_memory_equal(got, want, m * n * sizeof *got);
    float *const all[] = {a, b, want, got, whole, parts};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void parts_of_a_packed_matrix(void **state)
{
    (void)state;
    each_kernel(check_parts);
}

/* B in parts of odd sizes, whichever way it lies in memory, is B packed at once. */
static void check_packing(void)
{
    const size_t K = 300, N = 50, apart = 3;
    float *b = filled(K * N, 1), *other = filled(K * N * apart, 2);
    float *whole = filled(tf_packed_size(K, N), 3), *parts = filled(tf_packed_size(K, N), 4);
    tf_pack(whole, tf_view(b, N), K, N);
    for (int form = 0; form < 2; form++) {
        /* By columns; and with gaps both ways. */
        const struct tf_view view =
            form ? (struct tf_view){other, N * apart, apart} : tf_view_transposed(other, K);
        for (size_t i = 0; i < K * N; i++)
            other[i / N * view.rs + i % N * view.cs] = b[i];
        memset(parts, 0, tf_packed_size(K, N) * sizeof *parts);
        for (size_t p = 0; p < K; p += 13)
            for (size_t j = 0; j < N; j += 7) {
                const size_t p1 = p + 13 < K ? p + 13 : K, j1 = j + 7 < N ? j + 7 : N;
                const struct tf_view part = {other + p * view.rs + j * view.cs, view.rs, view.cs};
                tf_pack_part(parts, K, N, part, p, p1, j, j1);
            }
        assert_memory_equal(parts, whole, tf_packed_size(K, N) * sizeof *parts);
        memset(parts, 0xff, tf_packed_size(K, N) * sizeof *parts);
        tf_pack(parts, view, K, N);
        assert_memory_equal(parts, whole, tf_packed_size(K, N) * sizeof *parts);
    }
    float *const all[] = {b, other, whole, parts};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void packing_of_any_view(void **state)
{
    (void)state;
    each_kernel(check_packing);
}

/* A left-hand side that came row by row of its transpose. */
static void check_left_shape(size_t m, size_t n, size_t k)
{
    const size_t ldc = n + 3;
    float *l = filled(k * m, 1), *b = filled(k * n, 2), *packed = filled(tf_packed_size(k, n), 3);
    float *left = filled(tf_left_size(k, m), 4);
    for (size_t p = k; p-- > 0;)
        tf_left_row(left, k, m, p, l + p * m);
    for (int add = 0; add < 2; add++) {
        float *want = filled(m * ldc, 5), *got = filled(m * ldc, 5);
        naive(m, n, k, tf_view_transposed(l, m), tf_view(b, n), want, ldc, add);
#pragma omp parallel
        {
            tf_pack(packed, tf_view(b, n), k, n);
#pragma omp barrier
            tf_gemm_left(m, n, k, left, packed, got, ldc, add);
        }
        assert_memory_equal(got, want, m * ldc * sizeof *got);
        tf_free(want);
        tf_free(got);
    }
    float *const all[] = {l, b, packed, left};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void check_lefts(void)
{
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        check_left_shape(1, 1, 1);
        check_left_shape(95, 17, 31);
        check_left_shape(96, 33, 300);
        check_left_shape(97, 5, 2);
        check_left_shape(290, 40, 390);
    }
    omp_set_num_threads(before);
}

static void left_hand_sides_by_rows(void **state)
{
    (void)state;
    each_kernel(check_lefts);
}

/* Blocks tile the whole in order, none empty, each of whole units, none longer than another by more
 * than one unit; as many as shares the work evenly, or each of one unit. */
static void check_blocks(const struct tf_blocks *blocks, size_t size, size_t unit, size_t most,
                         size_t threads)
{
    const size_t units = (size + unit - 1) / unit;
    size_t longest = 0, shortest = SIZE_MAX, next = 0;
    for (size_t i = 0; i < blocks->count; i++) {
        const size_t start = tf_block_start(blocks, i), end = tf_block_start(blocks, i + 1);
        const size_t length = (end - start + unit - 1) / unit;
        assert_int_equal(start, next);
        assert_int_equal(start % unit, 0);
        assert_in_range(end, start + 1, start + most);
        longest = length > longest ? length : longest;
        shortest = length < shortest ? length : shortest;
        next = end;
    }
    assert_int_equal(next, size);
    assert_true(!size || longest - shortest <= 1);
    assert_true(blocks->count == units || blocks->count % threads == 0);
}

static void check_sharing(void)
{
    static const size_t sizes[] = {0,  1,  2,  5,   6,   7,    8,    15,   16,
                                   95, 96, 97, 200, 767, 1000, 2049, 4096, 50304};
    const int before = omp_get_max_threads();
    assert_int_equal(TF_BLOCK_ROWS % tf_kernel->mr, 0);
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            struct tf_blocks rows, columns;
#pragma omp parallel
#pragma omp single
            {
                rows = tf_row_blocks(sizes[i]);
                columns = tf_column_blocks(sizes[i]);
            }
            check_blocks(&rows, sizes[i], tf_kernel->mr, TF_BLOCK_ROWS, (size_t)threads);
            check_blocks(&columns, sizes[i], tf_kernel->nr, SIZE_MAX / 2, (size_t)threads);
        }
    }
    omp_set_num_threads(before);
}

static void blocks_share_the_whole(void **state)
{
    (void)state;
    each_kernel(check_sharing);
}

/* B(k,n), packed narrow, on one thread and on all: the bits of f32 products with what its numbers
 * became. tokens: the rows of B, else its columns, are those that have a scale each. */
static void check_narrow_shape(size_t m, size_t n, size_t k, enum tf_precision type, bool rows)
{
    const size_t ldc = n + 3, tokens = rows ? k : n, width = rows ? n : k;
    float *a = filled(m * k + 1, 1), *b = filled(k * n + 1, 2), *scales = filled(tokens + 1, 3);
    float *want = filled(m * ldc, 4), *got = filled(m * ldc, 4);
    void *packed = filled(tf_packed_size(k, n) + 1, 5);
    const struct tf_view vb = rows ? tf_view(b, n) : tf_view_transposed(b, k);
    for (size_t i = 0; i < tokens * width; i++)
        b[i] *= i / width % 3 ? 0.01f * (float)(i / width) : 1;
#pragma omp parallel
    {
        tf_int8_scales(scales, b, width, tokens, width);
#pragma omp barrier
        tf_pack_narrow(packed, type, vb, (struct tf_view){scales, rows, !rows}, k, n);
    }
    for (size_t i = 0; i < tokens * width; i++)
        if (type == TF_PRECISION_BF16)
            b[i] = tf_bf16_float(tf_bf16(b[i]));
        else if (type == TF_PRECISION_INT8)
            b[i] = rintf(b[i] / scales[i / width]);
    for (int add = 0; add < 2; add++) {
        naive(m, n, k, tf_view(a, k), vb, want, ldc, add);
        tf_kernel->gemm_narrow(m, n, k, a, k, 1, packed, type, k, n, got, ldc, add);
        assert_memory_equal(got, want, m * ldc * sizeof *got);
    }
    if (m > 1 && n > 1) { /* A down its columns, and not all of B */
        naive(m, n - 1, k / 2, tf_view_transposed(a, m), vb, want, ldc, false);
        tf_kernel->gemm_narrow(m, n - 1, k / 2, a, 1, m, packed, type, k, n, got, ldc, false);
        assert_memory_equal(got, want, m * ldc * sizeof *got);
    }
    float *const all[] = {a, b, scales, want, got, packed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void check_narrow_shapes(void)
{
    static const size_t shapes[][3] = {{1, 1, 1},   {1, 33, 7},    {1, 700, 513}, {2, 16, 256},
                                       {2, 300, 5}, {3, 130, 800}, {6, 64, 300},  {8, 129, 90},
                                       {9, 128, 1}, {29, 70, 410}, {4, 65, 0}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int form = 0; form < 6; form++)
            check_narrow_shape(shapes[i][0], shapes[i][1], shapes[i][2],
                               (enum tf_precision)(form / 2), form % 2);
}

static void narrow_products_equal_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_narrow_shapes);
}

/* A product with scales taken out of its sums has the bits of one with them in. */
static void check_scales(void)
{
    enum { M = 3, N = 70, K = 390 };
    float *a = filled(M * K, 1), *b = filled(K * N, 2), *want = filled(M * N, 3);
    float *got = filled(M * N, 4), scales[K];
    void *packed = filled(tf_packed_size(K, N), 5);
    for (size_t i = 0; i < K * N; i++)
        b[i] *= 0.37f * (float)(i / N);
    for (size_t r = 0; r < K; r++) {
        scales[r] = tf_int8_scale(N, b + r * N);
        for (size_t c = 0; c < N; c++)
            b[r * N + c] = (float)tf_int8(b[r * N + c], 1 / scales[r]) * scales[r];
    }
    naive(M, N, K, tf_view(a, K), tf_view(b, N), want, N, false);
    tf_pack_narrow(packed, TF_PRECISION_INT8, tf_view(b, N), (struct tf_view){scales, 1, 0}, K, N);
    for (size_t i = 0; i < M * K; i++)
        a[i] *= scales[i % K];
    tf_kernel->gemm_narrow(M, N, K, a, K, 1, packed, TF_PRECISION_INT8, K, N, got, N, false);
    assert_memory_equal(got, want, M * N * sizeof *got);

    memcpy(a, want, M * N * sizeof *a); /* and with B^T: C(M,K) = A(M,N) B^T */
    float *wide = filled(M * K, 6), *narrow = filled(M * K, 7);
    void *keys = filled(tf_packed_size(N, K), 8);
    naive(M, K, N, tf_view(a, N), tf_view_transposed(b, N), wide, K, false);
    tf_pack_narrow(keys, TF_PRECISION_INT8, tf_view_transposed(b, N),
                   (struct tf_view){scales, 0, 1}, N, K);
    tf_kernel->gemm_narrow(M, K, N, a, N, 1, keys, TF_PRECISION_INT8, N, K, narrow, K, false);
    for (size_t i = 0; i < M * K; i++)
        narrow[i] *= scales[i % K];
    assert_memory_equal(narrow, wide, M * K * sizeof *wide);
    void *const all[] = {a, b, want, got, packed, wide, narrow, keys};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tf_free(all[i]);
}

static void scales_of_two_leave_every_bit(void **state)
{
    (void)state;
    each_kernel(check_scales);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_naive_twin),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(parts_of_a_packed_matrix),
        cmocka_unit_test(packing_of_any_view),
        cmocka_unit_test(left_hand_sides_by_rows),
        cmocka_unit_test(blocks_share_the_whole),
        cmocka_unit_test(narrow_products_equal_the_naive_twin),
        cmocka_unit_test(scales_of_two_leave_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
