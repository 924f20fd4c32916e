/* LayerNorm, the final norm's weight and bias, and the embedding: against naive twins, forward and
 * backward. */
#include "twin.h"

#include "nn/run.h"

#include <omp.h>

enum { MOST = 1000 * 56 }; /* numbers in a test's matrix */

static float x[MOST], y[MOST], dy[MOST], dx[MOST], before[MOST], stats[2 * 1000];

static void fill(float *to, float size, float shift, uint64_t seed)
{
    for (size_t i = 0; i < MOST; i++)
        to[i] = shift + size * noise(seed * 100003 + i);
}

/* L = sum(dy LN(x)). */
struct norm_twin {
    size_t rows, cols;
    double *x, *y, *dy;
};

static double norm_product(const void *with)
{
    const struct norm_twin *twin = with;
    twin_norm(twin->rows, twin->cols, twin->x, twin->y);
    return twin_dot(twin->rows * twin->cols, twin->dy, twin->y);
}

static void check_norm_shape(size_t rows, size_t cols, float shift)
{
    const size_t stride = cols + 3;
    const struct tf_matrix mx = {x, stride}, my = {y, cols}, mdy = {dy, stride}, mdx = {dx, stride};
    fill(x, 1, shift, 1);
    fill(dy, 1, 0, 2);
    struct norm_twin twin = {rows, cols, twin_copy(x, rows, cols, stride), twin_new(rows * cols),
                             twin_copy(dy, rows, cols, stride)};
    norm_product(&twin);
    tf_norm_forward(rows, cols, mx, my, stats);
    /* A mean of 30 leaves 5 bits less for what differs from it. */
    assert_close("LN", y, cols, twin.y, rows, cols, shift == 0 ? 2e-6 : 2e-5);
    memset(dx, 0, sizeof dx);
    tf_norm_backward(rows, cols, mx, mdy, stats, mdx);
    if (cols > 2) /* of two numbers, LN is +-1 whatever they are, but for eps */
        assert_slopes("dx", dx, stride, norm_product, &twin, twin.x, rows, cols, 1);
    fill(before, 1, 0, 3); /* and it adds to what is there */
    fill(y, 1, 0, 3);
    tf_norm_backward(rows, cols, mx, mdy, stats, (struct tf_matrix){y, stride});
    for (size_t i = 0; i < rows * stride; i++)
        assert_true(fabsf(y[i] - (before[i] + (i % stride < cols ? dx[i] : 0))) < 1e-5f);
    tf_free(twin.x);
    tf_free(twin.y);
    tf_free(twin.dy);
}

static void check_norms(void)
{
    check_norm_shape(1, 2, 0);
    check_norm_shape(4, 3, 0);
    check_norm_shape(7, 16, 0);
    check_norm_shape(5, 37, 0);
    check_norm_shape(3, 64, 30);
}

static void layer_norm_equals_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_norms);
}

/* A row without variance: nothing to divide by but eps. */
static void check_constant_row(void)
{
    enum { COLS = 24 };
    const struct tf_matrix mx = {x, COLS}, my = {y, COLS}, mdy = {dy, COLS}, mdx = {dx, COLS};
    for (size_t i = 0; i < COLS; i++)
        x[i] = 0.5f;
    fill(dy, 1, 0, 2);
    memset(dx, 0, sizeof dx);
    tf_norm_forward(1, COLS, mx, my, stats);
    tf_norm_backward(1, COLS, mx, mdy, stats, mdx);
    double mean = 0;
    for (size_t i = 0; i < COLS; i++)
        mean += dy[i] / (double)COLS;
    for (size_t i = 0; i < COLS; i++) {
        assert_true(y[i] == 0);
        assert_true(fabs(dx[i] - (dy[i] - mean) / sqrt(1e-5)) < 1e-3);
    }
}

static void a_constant_row_gives_zeros(void **state)
{
    (void)state;
    each_kernel(check_constant_row);
}

static struct tf_table new_table(size_t rows, size_t cols, uint64_t seed)
{
    struct tf_table t = {.rows = rows, .cols = cols, .stride = tf_table_stride(cols)};
    t.value = tf_new(rows * t.stride, sizeof(float), "table", NULL);
    t.grad = tf_new(rows * t.stride, sizeof(float), "table", NULL);
    assert_true(t.value && t.grad);
    for (size_t i = 0; i < rows * cols; i++)
        t.value[i / cols * t.stride + i % cols] = noise(seed * 100003 + i);
    return t;
}

static void free_table(struct tf_table *t)
{
    tf_free(t->value);
    tf_free(t->grad);
}

static void check_affine_shape(size_t rows, size_t cols)
{
    const size_t stride = cols + 1;
    struct tf_table w = new_table(1, cols, 5), b = new_table(1, cols, 6);
    fill(x, 1, 0, 1);
    fill(dy, 1, 0, 2);
    memcpy(y, x, sizeof y);
    memcpy(before, dy, sizeof before);
    tf_affine_forward(rows, (struct tf_matrix){y, stride}, &w, &b);
#pragma omp parallel
    tf_affine_backward(rows, (struct tf_matrix){dy, stride}, (struct tf_matrix){x, stride}, &w, &b);
    for (size_t c = 0; c < cols; c++) {
        float dw = 0, db = 0;
        for (size_t r = 0; r < rows; r++) {
            const size_t i = r * stride + c;
            assert_true(y[i] == fmaf(x[i], w.value[c], b.value[c]));
            assert_true(dy[i] == before[i] * w.value[c]);
            dw = fmaf(before[i], x[i], dw); /* in the order of rows, to the bit */
            db += before[i];
        }
        assert_true(w.grad[c] == dw && b.grad[c] == db);
    }
    for (size_t i = 0; i < rows * stride; i++)
        if (i % stride >= cols)
            assert_true(y[i] == x[i] && dy[i] == before[i]);
    for (size_t c = cols; c < w.stride; c++)
        assert_true(w.grad[c] == 0 && b.grad[c] == 0);
    free_table(&w);
    free_table(&b);
}

static void check_affines(void)
{
    check_affine_shape(1, 1);
    check_affine_shape(9, 16);
    check_affine_shape(70, 37);
}

/* The chain's rule is exact here: each number of the gradients is one product or one sum. */
static void affine_forward_and_backward(void **state)
{
    (void)state;
    each_kernel(check_affines);
}

/* Rows of ids that repeat, the last of the table among them, some of the table's not. */
static void check_embedding(size_t rows, size_t cols)
{
    enum { MOST_ROWS = 1000, TABLE = 7 };
    uint16_t ids[MOST_ROWS];
    uint32_t into[MOST_ROWS];
    for (size_t r = 0; r < rows; r++)
        into[r] = ids[r] = "\3\6\3\0\3\6\1"[r % 7];
    struct tf_table embed = new_table(TABLE, cols, 1);
    const size_t stride = embed.stride;
#pragma omp parallel
    tf_embed_forward(&embed, rows, ids, (struct tf_matrix){x, stride});
    for (size_t r = 0; r < rows; r++)
        assert_memory_equal(x + r * stride, tf_table_row(&embed, ids[r]), stride * sizeof(float));
    fill(dy, 1, 0, 2);
    for (size_t i = 0; i < TABLE * cols; i++)
        before[i / cols * stride + i % cols] = embed.grad[i / cols * stride + i % cols] =
            noise(i + 77);
#pragma omp parallel
    tf_embed_backward((struct tf_matrix){embed.grad, stride}, cols, rows, into,
                      (struct tf_matrix){dy, stride + 5});
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            before[ids[r] * stride + c] += dy[r * (stride + 5) + c];
    for (size_t i = 0; i < TABLE * stride; i++)
        assert_true(embed.grad[i] == (i % stride < cols ? before[i] : 0));
    free_table(&embed);
}

static void check_embeddings(void)
{
    check_embedding(1, 1);
    check_embedding(7, 16);
    check_embedding(9, 37);
}

static void embedding_gathers_and_scatters(void **state)
{
    (void)state;
    each_kernel(check_embeddings);
}

/* LN of blocks of rows, forward and backward, each by whichever thread comes. */
static void norm_blocks(size_t rows, size_t cols, struct tf_matrix mx, struct tf_matrix my,
                        struct tf_matrix mdy, struct tf_matrix mdx)
{
#pragma omp parallel
    {
        const struct tf_blocks blocks = tf_row_blocks(rows);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < blocks.count; i++) {
            const size_t first = tf_block_start(&blocks, i);
            const size_t count = tf_block_start(&blocks, i + 1) - first;
            tf_norm_forward(count, cols, tf_rows_from(mx, first), tf_rows_from(my, first),
                            stats + 2 * first);
            tf_norm_backward(count, cols, tf_rows_from(mx, first), tf_rows_from(mdy, first),
                             stats + 2 * first, tf_rows_from(mdx, first));
        }
    }
}

/* Enough numbers for threads to share. What is held against naive chains to the bit need only be
 * run with more of them. */
static void threads_do_not_show(void **state)
{
    (void)state;
    enum { ROWS = 1000, COLS = 40 };
    const int threads_before = omp_get_max_threads();
    const struct tf_matrix mx = {x, COLS}, my = {y, COLS}, mdy = {dy, COLS}, mdx = {dx, COLS};
    static float want[2][ROWS * COLS];
    fill(x, 1, 0, 1);
    fill(dy, 1, 0, 2);
    tf_norm_forward(ROWS, COLS, mx, (struct tf_matrix){want[0], COLS}, stats);
    tf_norm_backward(ROWS, COLS, mx, mdy, stats, (struct tf_matrix){want[1], COLS});
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        check_affine_shape(ROWS, COLS);
        check_embedding(ROWS, COLS);
        fill(x, 1, 0, 1);
        fill(dy, 1, 0, 2);
        memset(dx, 0, sizeof dx);
        norm_blocks(ROWS, COLS, mx, my, mdy, mdx);
        assert_memory_equal(y, want[0], sizeof want[0]);
        assert_memory_equal(dx, want[1], sizeof want[1]);
    }
    omp_set_num_threads(threads_before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layer_norm_equals_the_naive_twin),
        cmocka_unit_test(a_constant_row_gives_zeros),
        cmocka_unit_test(affine_forward_and_backward),
        cmocka_unit_test(embedding_gathers_and_scatters),
        cmocka_unit_test(threads_do_not_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
