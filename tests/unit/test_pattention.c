/* Pattention against its naive twin, forward and backward, for all three normalisations. */
#include "twin.h"

#include "nn/pattention.h"

#include <omp.h>

/* One layer, its input x, and g = dL/dy of L = sum(g y). */
struct fixture {
    enum tf_norm norm;
    size_t rows, N, C;
    struct tf_table keys, values;
    struct tf_pattention layer;
    struct tf_pattention_pack pack;
    struct tf_matrix x, y, g, dx;
    struct tf_scores scores;
    struct tf_pattention_back back;
    struct tf_scratch scratch;
    struct tf_arena memory;
};

static float *take(struct fixture *f, size_t rows, size_t stride)
{
    return tf_arena_take(&f->memory, rows, stride * sizeof(float));
}

static void take_all(struct fixture *f)
{
    const size_t rows = f->rows, N = f->N, C = f->C, wide = tf_table_stride(N);
    const size_t threads = (size_t)omp_get_max_threads();
    struct tf_table *const tables[] = {&f->keys, &f->values};
    for (size_t i = 0; i < 2; i++) {
        tables[i]->value = take(f, N, tables[i]->stride);
        tables[i]->grad = take(f, N, tables[i]->stride);
    }
    struct tf_matrix *const all[] = {&f->x, &f->y, &f->g, &f->dx};
    for (size_t i = 0; i < 4; i++) /* strides of all kinds */
        *all[i] = (struct tf_matrix){take(f, rows, C + i), C + i};
    f->pack = (struct tf_pattention_pack){take(f, 1, tf_packed_size(C, N)),
                                          take(f, 1, tf_packed_size(N, C))};
    f->scores = (struct tf_scores){take(f, rows, wide), wide, take(f, rows, 2)};
    f->back = (struct tf_pattention_back){
        .s = take(f, rows, wide),
        .da = take(f, rows, wide),
        .stride = wide,
        .values = take(f, 1, tf_packed_size(C, N)),
        .keys = take(f, 1, tf_packed_size(N, C)),
        .g = take(f, 1, tf_packed_size(rows, C)),
        .x = take(f, 1, tf_packed_size(rows, C)),
    };
    f->scratch.thread_size = (rows < 112 ? rows : 112) * wide;
    f->scratch.thread = take(f, threads, f->scratch.thread_size);
}

static void fill(float *to, size_t rows, size_t cols, size_t stride, float size, uint64_t seed)
{
    for (size_t i = 0; i < rows * cols; i++)
        to[i / cols * stride + i % cols] = size * noise(seed * 100003 + i);
}

/* Random numbers everywhere; a scale that is not the count. */
static void begin(struct fixture *f, enum tf_norm norm, size_t rows, size_t N, size_t C)
{
    *f = (struct fixture){.norm = norm, .rows = rows, .N = N, .C = C};
    f->keys = f->values = (struct tf_table){
        .rows = N, .cols = C, .stride = tf_table_stride(C), .scale = 1.7 * (double)N};
    struct tf_err err = {0};
    take_all(f);
    assert_ok(tf_arena_alloc(&f->memory, "fixture", &err), &err);
    take_all(f);
    f->layer = (struct tf_pattention){&f->keys, &f->values};
    fill(f->keys.value, N, C, f->keys.stride, 1, 1);
    fill(f->values.value, N, C, f->values.stride, 1, 2);
    fill(f->x.at, rows, C, f->x.stride, 1, 3);
    fill(f->g.at, rows, C, f->g.stride, 1, 4);
}

static void forward(struct fixture *f)
{
    const struct tf_matrix none = {NULL, 0};
    tf_pattention_pack(&f->pack, &f->layer);
    tf_pattention_forward(&f->layer, f->norm, &f->pack, f->rows, f->x, f->y, none, &f->scores,
                          &f->scratch);
}

static void backward(struct fixture *f, bool add)
{
    tf_pattention_backward(&f->layer, f->norm, f->rows, f->x, f->g, f->dx, add, &f->scores,
                           &f->back);
}

/* The fixture in doubles. */
struct twin {
    const struct fixture *f;
    double *x, *keys, *values, *g, *y;
};

static struct twin twin_of(const struct fixture *f)
{
    return (struct twin){
        .f = f,
        .x = twin_copy(f->x.at, f->rows, f->C, f->x.stride),
        .g = twin_copy(f->g.at, f->rows, f->C, f->g.stride),
        .keys = twin_copy(f->keys.value, f->N, f->C, f->keys.stride),
        .values = twin_copy(f->values.value, f->N, f->C, f->values.stride),
        .y = twin_new(f->rows * f->C),
    };
}

static void twin_fini(struct twin *twin)
{
    double *const all[] = {twin->x, twin->g, twin->keys, twin->values, twin->y};
    for (size_t i = 0; i < 5; i++)
        tf_free(all[i]);
}

/* L = sum(g y), leaving y. */
static double product(const void *with)
{
    const struct twin *twin = with;
    const struct fixture *f = twin->f;
    const struct twin_tokens tokens = {f->N, f->C, f->keys.scale, twin->keys, twin->values};
    memset(twin->y, 0, f->rows * f->C * sizeof(double));
    twin_pattention(f->norm, &tokens, f->rows, twin->x, twin->y);
    return twin_dot(f->rows * f->C, twin->g, twin->y);
}

static void check_forward(void)
{
    static const size_t shapes[][3] = {{1, 1, 1},    {1, 40, 16},  {3, 5, 4},  {31, 33, 19},
                                       {14, 16, 32}, {230, 70, 9}, {5, 3, 300}};
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_SOFTMAX; norm++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct fixture f;
            begin(&f, norm, shapes[i][0], shapes[i][1], shapes[i][2]);
            struct twin twin = twin_of(&f);
            product(&twin);
            forward(&f);
            assert_close(tf_norm_name(norm), f.y.at, f.y.stride, twin.y, f.rows, f.C, 1e-5);
            twin_fini(&twin);
            tf_arena_fini(&f.memory);
        }
}

static void forward_equals_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_forward);
}

static void check_backward_shape(enum tf_norm norm, size_t rows, size_t N, size_t C, size_t step)
{
    struct fixture f;
    begin(&f, norm, rows, N, C);
    memset(f.x.at + (rows - 1) / 2 * f.x.stride, 0,
           C * sizeof(float)); /* a row whose scores are all zero */
    struct twin twin = twin_of(&f);
    forward(&f);
    backward(&f, false);
    if (norm == TF_SOFTMAX) {
        assert_slopes("dx", f.dx.at, f.dx.stride, product, &twin, twin.x, rows, C, step);
    } else { /* the twin has no slope at a row of zeros: zero_scores_give_zeros looks at that */
        const size_t half = (rows - 1) / 2, rest = half + 1;
        assert_slopes("dx", f.dx.at, f.dx.stride, product, &twin, twin.x, half, C, step);
        assert_slopes("dx", f.dx.at + rest * f.dx.stride, f.dx.stride, product, &twin,
                      twin.x + rest * C, rows - rest, C, step);
    }
    assert_slopes("dK", f.keys.grad, f.keys.stride, product, &twin, twin.keys, N, C, step);
    assert_slopes("dV", f.values.grad, f.values.stride, product, &twin, twin.values, N, C, step);
    twin_fini(&twin);
    tf_arena_fini(&f.memory);
}

static void check_backward(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_SOFTMAX; norm++) {
        check_backward_shape(norm, 3, 2, 2, 1);
        check_backward_shape(norm, 5, 7, 6, 1);
        check_backward_shape(norm, 31, 33, 19, 37);
        check_backward_shape(norm, 7, 50, 40, 211);
        check_backward_shape(norm, 130, 17, 5, 53);
    }
}

static void backward_equals_the_twins_slopes(void **state)
{
    (void)state;
    each_kernel(check_backward);
}

static void assert_zeros(const float *x, size_t rows, size_t cols, size_t stride)
{
    for (size_t i = 0; i < rows * cols; i++)
        assert_true(x[i / cols * stride + i % cols] == 0);
}

/* No key answers: S = 0 and no gradient, whatever x, V and g are; never NaN. `size` of the keys is
 * 0, or so small that the squares of the scores are. */
static void check_silent(enum tf_norm norm, float size)
{
    struct fixture f;
    begin(&f, norm, 6, 21, 18);
    fill(f.keys.value, f.N, f.C, f.keys.stride, size, 1);
    forward(&f);
    backward(&f, false);
    assert_zeros(f.y.at, f.rows, f.C, f.y.stride);
    assert_zeros(f.dx.at, f.rows, f.C, f.dx.stride);
    assert_zeros(f.keys.grad, f.N, f.C, f.keys.stride);
    assert_zeros(f.values.grad, f.N, f.C, f.values.stride);
    tf_arena_fini(&f.memory);
}

/* A row of zeros among others adds nothing to the gradients: they are those of the other rows, to
 * the bit. */
static void check_silent_row(enum tf_norm norm)
{
    struct fixture with, without;
    begin(&with, norm, 6, 21, 18);
    begin(&without, norm, 5, 21, 18);
    memset(with.x.at + 5 * with.x.stride, 0, with.C * sizeof(float));
    struct fixture *const both[] = {&with, &without};
    for (size_t i = 0; i < 2; i++) {
        forward(both[i]);
        backward(both[i], false);
    }
    assert_zeros(with.y.at + 5 * with.y.stride, 1, with.C, 0);
    assert_zeros(with.dx.at + 5 * with.dx.stride, 1, with.C, 0);
    assert_memory_equal(with.keys.grad, without.keys.grad,
                        with.N * with.keys.stride * sizeof(float));
    assert_memory_equal(with.values.grad, without.values.grad,
                        with.N * with.values.stride * sizeof(float));
    tf_arena_fini(&with.memory);
    tf_arena_fini(&without.memory);
}

static void check_zero_scores(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm < TF_SOFTMAX; norm++) {
        check_silent(norm, 0);
        check_silent(norm, 1e-30f);
        check_silent_row(norm);
    }
    struct fixture f; /* softmax of zeros is even */
    begin(&f, TF_SOFTMAX, 6, 21, 18);
    fill(f.keys.value, f.N, f.C, f.keys.stride, 0, 1);
    forward(&f);
    for (size_t c = 0; c < f.C; c++) {
        double sum = 0;
        for (size_t n = 0; n < f.N; n++)
            sum += f.values.value[n * f.values.stride + c] * 1.7;
        assert_true(fabs(f.y.at[c] - sum) < 1e-5);
    }
    tf_arena_fini(&f.memory);
}

static void zero_scores_give_zeros(void **state)
{
    (void)state;
    each_kernel(check_zero_scores);
}

/* Scores far apart: softmax neither overflows nor gives NaN, and GELU's far tails are silent. */
static void check_large_scores(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_SOFTMAX; norm++) {
        struct fixture f;
        begin(&f, norm, 6, 21, 18);
        fill(f.keys.value, f.N, f.C, f.keys.stride, 1000, 1);
        struct twin twin = twin_of(&f);
        product(&twin);
        forward(&f);
        assert_close(tf_norm_name(norm), f.y.at, f.y.stride, twin.y, f.rows, f.C, 2e-4);
        backward(&f, false);
        for (size_t i = 0; i < f.rows * f.C; i++)
            assert_true(isfinite(f.dx.at[i / f.C * f.dx.stride + i % f.C]));
        twin_fini(&twin);
        tf_arena_fini(&f.memory);
    }
}

static void large_scores_stay_finite(void **state)
{
    (void)state;
    each_kernel(check_large_scores);
}

/* Inference without stored scores gives the bits of training; a residual is added last. */
static void check_inference(void)
{
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_SOFTMAX; norm++) {
        struct fixture f;
        begin(&f, norm, 101, 37, 18);
        forward(&f);
        tf_pattention_forward(&f.layer, norm, &f.pack, f.rows, f.x, f.dx, f.g, NULL, &f.scratch);
        for (size_t r = 0; r < f.rows; r++)
            for (size_t c = 0; c < f.C; c++)
                assert_true(f.dx.at[r * f.dx.stride + c] ==
                            f.y.at[r * f.y.stride + c] + f.g.at[r * f.g.stride + c]);
        tf_arena_fini(&f.memory);
    }
}

static void inference_gives_the_same_bits(void **state)
{
    (void)state;
    each_kernel(check_inference);
}

/* dx is set or added to; gradients are added to; frozen tables' stay as they are. */
static void gradients_add_up_and_frozen_ones_rest(void **state)
{
    (void)state;
    struct fixture once, twice;
    begin(&once, TF_L2_NORM_GELU, 9, 21, 18);
    begin(&twice, TF_L2_NORM_GELU, 9, 21, 18);
    forward(&once);
    forward(&twice);
    fill(once.dx.at, once.rows, once.C, once.dx.stride, NAN, 1); /* set, not added to */
    backward(&once, false);
    backward(&twice, true);
    backward(&twice, true);
    double *dx = twin_copy(once.dx.at, once.rows, once.C, once.dx.stride);
    double *dk = twin_copy(once.keys.grad, once.N, once.C, once.keys.stride);
    double *dv = twin_copy(once.values.grad, once.N, once.C, once.values.stride);
    double *const all[] = {dx, dk, dv};
    const size_t counts[] = {once.rows * once.C, once.N * once.C, once.N * once.C};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < counts[i]; j++)
            all[i][j] *= 2;
    assert_close("dx", twice.dx.at, twice.dx.stride, dx, once.rows, once.C, 1e-6);
    assert_close("dK", twice.keys.grad, twice.keys.stride, dk, once.N, once.C, 1e-6);
    assert_close("dV", twice.values.grad, twice.values.stride, dv, once.N, once.C, 1e-6);

    once.keys.frozen = once.values.frozen = true;
    memcpy(twice.keys.grad, once.keys.grad, once.N * once.keys.stride * sizeof(float));
    memcpy(twice.values.grad, once.values.grad, once.N * once.values.stride * sizeof(float));
    memcpy(twice.dx.at, once.dx.at, once.rows * once.dx.stride * sizeof(float));
    backward(&once, false);
    assert_memory_equal(once.keys.grad, twice.keys.grad, once.N * once.keys.stride * sizeof(float));
    assert_memory_equal(once.values.grad, twice.values.grad,
                        once.N * once.values.stride * sizeof(float));
    assert_memory_equal(once.dx.at, twice.dx.at, once.rows * once.dx.stride * sizeof(float));
    for (size_t i = 0; i < 3; i++)
        tf_free(all[i]);
    tf_arena_fini(&once.memory);
    tf_arena_fini(&twice.memory);
}

/* Everything of one pass, with so many threads. Of many rows each thread takes some; of few they
 * share the columns. */
static void run_threads(struct fixture *f, enum tf_norm norm, bool many, int threads)
{
    omp_set_num_threads(threads);
    begin(f, norm, many ? 131 : 3, many ? 45 : 600, 40);
    forward(f);
    backward(f, false);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    for (int i = 0; i < 6; i++) {
        struct fixture one, more;
        run_threads(&one, (enum tf_norm)(i / 2), i % 2, 1);
        for (int threads = 2; threads <= 3; threads++) {
            run_threads(&more, (enum tf_norm)(i / 2), i % 2, threads);
            assert_memory_equal(one.y.at, more.y.at, one.rows * one.y.stride * sizeof(float));
            assert_memory_equal(one.dx.at, more.dx.at, one.rows * one.dx.stride * sizeof(float));
            assert_memory_equal(one.keys.grad, more.keys.grad,
                                one.N * one.keys.stride * sizeof(float));
            assert_memory_equal(one.values.grad, more.values.grad,
                                one.N * one.values.stride * sizeof(float));
            tf_arena_fini(&more.memory);
        }
        tf_arena_fini(&one.memory);
    }
    omp_set_num_threads(before);
}

static void names_are_the_papers(void **state)
{
    (void)state;
    assert_string_equal(tf_norm_name(TF_L2_NORM_GELU), "l2_norm_gelu");
    assert_string_equal(tf_norm_name(TF_GELU_L2_NORM), "gelu_l2_norm");
    assert_string_equal(tf_norm_name(TF_SOFTMAX), "softmax");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_naive_twin),
        cmocka_unit_test(backward_equals_the_twins_slopes),
        cmocka_unit_test(zero_scores_give_zeros),
        cmocka_unit_test(large_scores_stay_finite),
        cmocka_unit_test(inference_gives_the_same_bits),
        cmocka_unit_test(gradients_add_up_and_frozen_ones_rest),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(names_are_the_papers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
