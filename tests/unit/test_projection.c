/* Projections against their naive twin, forward and backward: Pattentions of all three
 * normalisations, an MLP, and a matrix. */
#include "twin.h"

#include "nn/attention.h"

#include <omp.h>

/* What a projection can be, beyond the values of enum tf_norm. */
enum { MATRIX = TF_GELU + 1 };

static const char *form_name(int form)
{
    return form == MATRIX ? "matrix" : tf_norm_name((enum tf_norm)form);
}

/* One layer, its input x, and g = dL/dy of L = sum(g y). */
struct fixture {
    enum tf_norm norm;
    size_t rows, N, C;
    struct tf_table keys, values;
    struct tf_projection layer;
    struct tf_projection_pack pack;
    struct tf_matrix x, y, g, dx;
    struct tf_scores scores;
    struct tf_projection_back back;
    float *packed_g, *packed_x;
    struct tf_scratch scratch;
    struct tf_arena memory;
};

static float *take(struct fixture *f, size_t rows, size_t stride)
{
    return tf_arena_take(&f->memory, rows, stride * sizeof(float));
}

static void take_all(struct fixture *f)
{
    const size_t rows = f->rows, N = f->N, C = f->C;
    struct tf_table *const tables[] = {&f->keys, &f->values};
    for (size_t i = 0; i < 2; i++) {
        tables[i]->value = take(f, N, tables[i]->stride);
        tables[i]->grad = take(f, N, tables[i]->stride);
    }
    struct tf_matrix *const all[] = {&f->x, &f->y, &f->g, &f->dx};
    for (size_t i = 0; i < 4; i++) /* strides of all kinds */
        *all[i] = (struct tf_matrix){take(f, rows, C + i), C + i};
    f->pack = (struct tf_projection_pack){.keys = take(f, 1, tf_projection_pack_size(N, C)),
                                          .values = take(f, 1, tf_projection_pack_size(N, C))};
    f->scores = (struct tf_scores){{take(f, rows, N + 3), N + 3}, take(f, rows, 2)};
    f->back = (struct tf_projection_back){take(f, 1, tf_left_size(rows, N)),
                                          take(f, 1, tf_left_size(rows, N)), rows};
    f->packed_g = take(f, 1, tf_packed_size(rows, C));
    f->packed_x = take(f, 1, tf_packed_size(rows, C));
    f->scratch.piece = ((rows < TF_BLOCK_ROWS ? rows : TF_BLOCK_ROWS) + 1) * tf_table_stride(N);
    f->scratch.all = take(f, (size_t)omp_get_max_threads(), f->scratch.piece);
}

static void fill(float *to, size_t rows, size_t cols, size_t stride, float size, uint64_t seed)
{
    for (size_t i = 0; i < rows * cols; i++)
        to[i / cols * stride + i % cols] = size * noise(seed * 100003 + i);
}

/* Random numbers everywhere; a scale that is not the count. A matrix is square. */
static void begin(struct fixture *f, int form, size_t rows, size_t N, size_t C)
{
    const enum tf_norm norm = form == MATRIX ? TF_GELU : (enum tf_norm)form;
    if (form == MATRIX)
        N = C;
    *f = (struct fixture){.norm = norm, .rows = rows, .N = N, .C = C};
    f->keys = f->values = (struct tf_table){
        .rows = N, .cols = C, .stride = tf_table_stride(C), .scale = 1.7 * (double)N};
    struct tf_err err = {0};
    take_all(f);
    assert_ok(tf_arena_alloc(&f->memory, "fixture", &err), &err);
    take_all(f);
    f->layer = (struct tf_projection){&f->keys, form == MATRIX ? NULL : &f->values};
    fill(f->keys.value, N, C, f->keys.stride, 1, 1);
    fill(f->values.value, N, C, f->values.stride, 1, 2);
    fill(f->x.at, rows, C, f->x.stride, 1, 3);
    fill(f->g.at, rows, C, f->g.stride, 1, 4);
}

static const struct tf_matrix none = {NULL, 0};

/* y = the layer's answer, plus the residual; the threads take blocks of rows. */
static void answer(struct fixture *f, struct tf_matrix y, struct tf_matrix residual,
                   struct tf_scores kept)
{
#pragma omp parallel
    {
        tf_projection_pack(&f->pack, &f->layer);
#pragma omp barrier
        const struct tf_blocks blocks = tf_row_blocks(f->rows);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < blocks.count; i++) {
            const size_t first = tf_block_start(&blocks, i);
            tf_projection_forward(&f->layer, f->norm, &f->pack,
                                  tf_block_start(&blocks, i + 1) - first, tf_rows_from(f->x, first),
                                  tf_rows_from(y, first), tf_rows_from(residual, first),
                                  tf_scores_from(kept, first), tf_scratch_piece(&f->scratch));
        }
    }
}

static void forward(struct fixture *f)
{
    answer(f, f->y, none, f->scores);
}

/* dx and the tables' gradients are set, or added to. */
static void backward(struct fixture *f, bool add)
{
#pragma omp parallel
    {
        tf_projection_pack_back(&f->pack, &f->layer);
        tf_pack(f->packed_g, tf_view(f->g.at, f->g.stride), f->rows, f->C);
        tf_pack(f->packed_x, tf_view(f->x.at, f->x.stride), f->rows, f->C);
#pragma omp barrier
        const struct tf_blocks blocks = tf_row_blocks(f->rows);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < blocks.count; i++) {
            const size_t first = tf_block_start(&blocks, i);
            tf_projection_backward(
                &f->layer, f->norm, &f->pack, first, tf_block_start(&blocks, i + 1) - first,
                tf_rows_from(f->g, first), tf_rows_from(f->dx, first), add,
                tf_scores_from(f->scores, first), &f->back, tf_scratch_piece(&f->scratch));
        }
        tf_projection_gradients(&f->layer, &f->back, f->packed_g, f->packed_x, add);
    }
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
        .values = f->layer.values ? twin_copy(f->values.value, f->N, f->C, f->values.stride) : NULL,
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
    twin_project(f->norm, &tokens, f->rows, twin->x, twin->y);
    return twin_dot(f->rows * f->C, twin->g, twin->y);
}

static void check_forward(void)
{
    static const size_t shapes[][3] = {{1, 1, 1},    {1, 40, 16},  {3, 5, 4},  {31, 33, 19},
                                       {14, 16, 32}, {230, 70, 9}, {5, 3, 300}};
    for (int form = TF_L2_NORM_GELU; form <= MATRIX; form++)
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            struct fixture f;
            begin(&f, form, shapes[i][0], shapes[i][1], shapes[i][2]);
            struct twin twin = twin_of(&f);
            product(&twin);
            forward(&f);
            assert_close(form_name(form), f.y.at, f.y.stride, twin.y, f.rows, f.C, 1e-5);
            twin_fini(&twin);
            tf_arena_fini(&f.memory);
        }
}

static void forward_equals_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_forward);
}

static void check_backward_shape(int form, size_t rows, size_t N, size_t C, size_t step)
{
    struct fixture f;
    begin(&f, form, rows, N, C);
    N = f.N;
    memset(f.x.at + (rows - 1) / 2 * f.x.stride, 0,
           C * sizeof(float)); /* a row whose scores are all zero */
    struct twin twin = twin_of(&f);
    forward(&f);
    backward(&f, false);
    if (form >= TF_SOFTMAX) {
        assert_slopes("dx", f.dx.at, f.dx.stride, product, &twin, twin.x, rows, C, step);
    } else { /* the twin has no slope at a row of zeros: zero_scores_give_zeros looks at that */
        const size_t half = (rows - 1) / 2, rest = half + 1;
        assert_slopes("dx", f.dx.at, f.dx.stride, product, &twin, twin.x, half, C, step);
        assert_slopes("dx", f.dx.at + rest * f.dx.stride, f.dx.stride, product, &twin,
                      twin.x + rest * C, rows - rest, C, step);
    }
    assert_slopes("dK", f.keys.grad, f.keys.stride, product, &twin, twin.keys, N, C, step);
    if (twin.values)
        assert_slopes("dV", f.values.grad, f.values.stride, product, &twin, twin.values, N, C,
                      step);
    twin_fini(&twin);
    tf_arena_fini(&f.memory);
}

static void check_backward(void)
{
    for (int form = TF_L2_NORM_GELU; form <= MATRIX; form++) {
        check_backward_shape(form, 3, 2, 2, 1);
        check_backward_shape(form, 5, 7, 6, 1);
        check_backward_shape(form, 31, 33, 19, 37);
        check_backward_shape(form, 7, 50, 40, 211);
        check_backward_shape(form, 130, 17, 5, 53);
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
    for (int form = TF_L2_NORM_GELU; form <= MATRIX; form++) {
        struct fixture f;
        begin(&f, form, 6, 21, 18);
        fill(f.keys.value, f.N, f.C, f.keys.stride, 1000, 1);
        struct twin twin = twin_of(&f);
        product(&twin);
        forward(&f);
        assert_close(form_name(form), f.y.at, f.y.stride, twin.y, f.rows, f.C, 2e-4);
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
    for (int form = TF_L2_NORM_GELU; form <= MATRIX; form++) {
        struct fixture f;
        begin(&f, form, 101, 37, 18);
        forward(&f);
        answer(&f, f.dx, f.g, (struct tf_scores){none, NULL});
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

/* A few rows in three steps, or a matrix in one, into y. S goes over A, or into memory of each
 * thread's own. */
static void answer_few(struct fixture *f, struct tf_matrix residual, float *own)
{
    const struct tf_matrix a = f->scores.a;
#pragma omp parallel
    {
        float *mine = own ? own + (size_t)omp_get_thread_num() * f->rows * a.stride : a.at;
        const struct tf_matrix s = {mine, a.stride};
        if (f->layer.values)
            tf_projection_ask(&f->layer, &f->pack, f->rows, f->x, a);
#pragma omp barrier
        if (f->layer.values && (own || !omp_get_thread_num()))
            tf_projection_activate(&f->layer, f->norm, &f->pack, f->rows, a, s);
#pragma omp barrier
        tf_projection_answer(&f->layer, &f->pack, f->rows, f->layer.values ? s : f->x, f->y,
                             residual);
    }
}

static void check_few_rows_of(struct fixture *f, struct tf_matrix residual)
{
    const int before = omp_get_max_threads();
    const size_t size = f->rows * f->y.stride * sizeof(float);
    float *want = tf_new(f->rows * f->y.stride, sizeof *want, "test", NULL);
    float *own = tf_new(3 * f->rows * f->scores.a.stride + 1, sizeof *own, "test", NULL);
    assert_non_null(want);
    assert_non_null(own);
    fill(f->y.at, f->rows, f->y.stride, f->y.stride, 1, 5);
    answer(f, f->y, residual, f->scores);
    memcpy(want, f->y.at, size);
    for (int threads = 1; threads <= 3; threads++)
        for (int apart = 0; apart < 2; apart++) {
            omp_set_num_threads(threads);
            fill(f->y.at, f->rows, f->y.stride, f->y.stride, 1, 5);
            answer_few(f, residual, apart ? own : NULL);
            assert_memory_equal(f->y.at, want, size); /* what lies between the rows too */
        }
    omp_set_num_threads(before);
    tf_free(want);
    tf_free(own);
}

static void check_few_rows(void)
{
    for (int form = TF_L2_NORM_GELU; form <= MATRIX; form++)
        for (size_t rows = 1; rows <= 16; rows++) {
            struct fixture f; /* many tokens or few, wide or narrow */
            begin(&f, form, rows, rows % 2 ? 301 : 5, rows % 3 ? 130 : 3);
            check_few_rows_of(&f, none);
            check_few_rows_of(&f, f.g);
            tf_arena_fini(&f.memory);
        }
}

static void few_rows_give_the_same_bits(void **state)
{
    (void)state;
    each_kernel(check_few_rows);
}

/* dx and gradients are set or added to; frozen tables' stay as they are. */
static void gradients_add_up_and_frozen_ones_rest(void **state)
{
    (void)state;
    struct fixture once, twice;
    begin(&once, TF_L2_NORM_GELU, 9, 21, 18);
    begin(&twice, TF_L2_NORM_GELU, 9, 21, 18);
    forward(&once);
    forward(&twice);
    fill(once.dx.at, once.rows, once.C, once.dx.stride, NAN, 1); /* set, not added to */
    fill(once.keys.grad, once.N, once.C, once.keys.stride, NAN, 1);
    fill(once.values.grad, once.N, once.C, once.values.stride, NAN, 1);
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

/* Everything of one pass, with so many threads: many rows or many tokens. */
static void run_threads(struct fixture *f, int form, bool many, int threads)
{
    omp_set_num_threads(threads);
    begin(f, form, many ? 131 : 3, many ? 45 : 600, 40);
    forward(f);
    backward(f, false);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    for (int i = 0; i < 2 * (MATRIX + 1); i++) {
        struct fixture one, more;
        run_threads(&one, i / 2, i % 2, 1);
        for (int threads = 2; threads <= 3; threads++) {
            run_threads(&more, i / 2, i % 2, threads);
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
    assert_string_equal(tf_norm_name(TF_GELU), "gelu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forward_equals_the_naive_twin),
        cmocka_unit_test(backward_equals_the_twins_slopes),
        cmocka_unit_test(zero_scores_give_zeros),
        cmocka_unit_test(large_scores_stay_finite),
        cmocka_unit_test(inference_gives_the_same_bits),
        cmocka_unit_test(few_rows_give_the_same_bits),
        cmocka_unit_test(gradients_add_up_and_frozen_ones_rest),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(names_are_the_papers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
