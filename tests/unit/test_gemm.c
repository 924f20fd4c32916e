#include "unit.h"

#include "base/mem.h"
#include "kernel/gemm.h"

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
        tf_pack(packed, vb, k, n);
        tf_gemm(m, n, k, va, packed, got, ldc, form & 4);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_equal_the_naive_twin),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(parts_of_a_packed_matrix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
