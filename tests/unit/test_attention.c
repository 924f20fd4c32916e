/* Attention and RoPE against their naive twins; the cache against the whole pass, to the bit. */
#include "twin.h"

#include "nn/attention.h"

#include <omp.h>

enum { Q, K, V, OUT, DOUT, DQ, DK, DV, MATRICES };

struct fixture {
    struct tf_heads heads;
    size_t streams, length, rows, C;
    struct tf_kv kv;
    struct tf_matrix m[MATRICES];
    float *stats;
    struct tf_scratch scratch;
    struct tf_arena memory;
};

static float *take(struct fixture *f, size_t rows, size_t stride)
{
    return tf_arena_take(&f->memory, rows, stride * sizeof(float));
}

static void take_all(struct fixture *f)
{
    const size_t pairs = f->streams * f->heads.H, threads = (size_t)omp_get_max_threads();
    for (size_t i = 0; i < MATRICES; i++) /* strides of all kinds */
        f->m[i] = (struct tf_matrix){take(f, f->rows, f->C + i), f->C + i};
    f->kv = (struct tf_kv){take(f, pairs, tf_kv_keys_size(&f->heads)),
                           take(f, pairs, tf_kv_values_size(&f->heads))};
    f->stats = take(f, f->rows, 2 * f->heads.H);
    f->scratch.piece = tf_table_stride(tf_attention_scratch(&f->heads, true));
    f->scratch.all = take(f, threads, f->scratch.piece);
}

static void begin(struct fixture *f, size_t H, size_t D, size_t capacity, size_t streams,
                  size_t length)
{
    *f = (struct fixture){.heads = {H, D, capacity},
                          .streams = streams,
                          .length = length,
                          .rows = streams * length,
                          .C = H * D};
    struct tf_err err = {0};
    take_all(f);
    assert_ok(tf_arena_alloc(&f->memory, "fixture", &err), &err);
    take_all(f);
    for (size_t i = 0; i < MATRICES; i++)
        for (size_t r = 0; r < f->rows; r++)
            for (size_t c = 0; c < f->C; c++)
                f->m[i].at[r * f->m[i].stride + c] = 2 * noise((i * 1009 + r) * 1013 + c);
}

/* `length` new positions of each stream: into the cache, and their rows of out. */
static void attend(struct fixture *f, size_t length, size_t start, float *stats)
{
#pragma omp parallel
    {
#pragma omp for
        for (size_t b = 0; b < f->streams; b++)
            tf_kv_append(&f->heads, &f->kv, b, start, length, tf_rows_from(f->m[K], b * length),
                         tf_rows_from(f->m[V], b * length));
        tf_attention_forward(&f->heads, &f->kv, f->streams, length, start, f->m[Q], f->m[OUT],
                             stats, &f->scratch);
    }
}

static void forward(struct fixture *f)
{
    attend(f, f->length, 0, f->stats);
}

static void backward(struct fixture *f)
{
#pragma omp parallel
    tf_attention_backward(&f->heads, f->streams, f->length, f->m[Q], f->m[K], f->m[V], f->m[OUT],
                          f->stats, f->m[DOUT], f->m[DQ], f->m[DK], f->m[DV], &f->scratch);
}

static void assert_same_rows(struct tf_matrix a, size_t first_a, struct tf_matrix b, size_t first_b,
                             size_t rows, size_t cols)
{
    for (size_t r = 0; r < rows; r++)
        assert_memory_equal(a.at + (first_a + r) * a.stride, b.at + (first_b + r) * b.stride,
                            cols * sizeof(float));
}

/* The fixture in doubles. */
struct twin {
    const struct fixture *f;
    double *m[MATRICES]; /* up to DOUT */
};

static struct twin twin_of(const struct fixture *f)
{
    struct twin twin = {.f = f};
    for (size_t i = Q; i <= DOUT; i++)
        twin.m[i] = twin_copy(f->m[i].at, f->rows, f->C, f->m[i].stride);
    return twin;
}

static void twin_fini(struct twin *twin)
{
    for (size_t i = Q; i <= DOUT; i++)
        tf_free(twin->m[i]);
}

/* L = sum(dout out), leaving out. */
static double product(const void *with)
{
    const struct twin *twin = with;
    const struct fixture *f = twin->f;
    for (size_t b = 0; b < f->streams; b++) {
        const size_t at = b * f->length * f->C;
        twin_attention(f->heads.H, f->heads.D, f->length, twin->m[Q] + at, twin->m[K] + at,
                       twin->m[V] + at, twin->m[OUT] + at);
    }
    return twin_dot(f->rows * f->C, twin->m[DOUT], twin->m[OUT]);
}

static void check_shape(size_t H, size_t D, size_t streams, size_t length, size_t step)
{
    struct fixture f;
    begin(&f, H, D, length + 5, streams, length);
    struct twin twin = twin_of(&f);
    product(&twin);
    forward(&f);
    assert_close("out", f.m[OUT].at, f.m[OUT].stride, twin.m[OUT], f.rows, f.C, 1e-5);
    backward(&f);
    static const char *const names[] = {"dq", "dk", "dv"};
    for (size_t i = 0; i < 3; i++)
        assert_slopes(names[i], f.m[DQ + i].at, f.m[DQ + i].stride, product, &twin, twin.m[Q + i],
                      f.rows, f.C, step);
    twin_fini(&twin);
    tf_arena_fini(&f.memory);
}

/* Lengths below, at and past a block of 48 queries. */
static void check_shapes(void)
{
    check_shape(1, 1, 1, 1, 1);
    check_shape(2, 5, 1, 7, 1);
    check_shape(3, 4, 2, 5, 1);
    check_shape(1, 33, 2, 9, 13);
    check_shape(1, 6, 1, 48, 61);
    check_shape(2, 3, 1, 49, 61);
    check_shape(1, 5, 1, 96, 61);
    check_shape(1, 4, 2, 171, 331);
}

static void passes_equal_the_naive_twin(void **state)
{
    (void)state;
    each_kernel(check_shapes);
}

/* Scores far apart: the maximum is taken out first. */
static void check_large_scores(void)
{
    struct fixture f;
    begin(&f, 2, 5, 20, 1, 20);
    for (size_t r = 0; r < f.rows; r++)
        for (size_t c = 0; c < f.C; c++)
            f.m[Q].at[r * f.m[Q].stride + c] *= 500;
    struct twin twin = twin_of(&f);
    product(&twin);
    forward(&f);
    assert_close("out", f.m[OUT].at, f.m[OUT].stride, twin.m[OUT], f.rows, f.C, 1e-3);
    twin_fini(&twin);
    tf_arena_fini(&f.memory);
}

static void large_scores_stay_finite(void **state)
{
    (void)state;
    each_kernel(check_large_scores);
}

/* Rows fed piece by piece into a larger cache give the bits of one pass over all of them. */
static void check_cache(void)
{
    enum { LENGTH = 190, STREAMS = 3 };
    static const size_t pieces[] = {1, 5, 90, 1, 92, 1};
    struct fixture whole, cached;
    begin(&whole, 2, 7, LENGTH, STREAMS, LENGTH);
    begin(&cached, 2, 7, 301, STREAMS, 92);
    forward(&whole);
    for (size_t i = 0, start = 0; i < sizeof pieces / sizeof *pieces; start += pieces[i++]) {
        for (size_t b = 0; b < STREAMS; b++)
            for (size_t m = Q; m <= V; m++)
                for (size_t r = 0; r < pieces[i]; r++)
                    memcpy(cached.m[m].at + (b * pieces[i] + r) * cached.m[m].stride,
                           whole.m[m].at + (b * LENGTH + start + r) * whole.m[m].stride,
                           whole.C * sizeof(float));
        attend(&cached, pieces[i], start, NULL);
        for (size_t b = 0; b < STREAMS; b++)
            assert_same_rows(cached.m[OUT], b * pieces[i], whole.m[OUT], b * LENGTH + start,
                             pieces[i], whole.C);
    }
    tf_arena_fini(&whole.memory);
    tf_arena_fini(&cached.memory);
}

static void the_cache_equals_the_whole_pass(void **state)
{
    (void)state;
    each_kernel(check_cache);
}

/* Streams know nothing of each other: alone, each gives the bits that it gives among others. */
static void streams_stand_alone(void **state)
{
    (void)state;
    struct fixture all, one;
    begin(&all, 2, 5, 90, 3, 90);
    begin(&one, 2, 5, 90, 1, 90);
    forward(&all);
    backward(&all);
    for (size_t b = 0; b < 3; b++) {
        for (size_t i = 0; i < MATRICES; i++)
            for (size_t r = 0; r < 90; r++)
                memcpy(one.m[i].at + r * one.m[i].stride,
                       all.m[i].at + (b * 90 + r) * all.m[i].stride, all.C * sizeof(float));
        forward(&one);
        backward(&one);
        for (size_t i = OUT; i < MATRICES; i++)
            assert_same_rows(one.m[i], 0, all.m[i], b * 90, 90, all.C);
    }
    tf_arena_fini(&all.memory);
    tf_arena_fini(&one.memory);
}

static void run_threads(struct fixture *f, int threads)
{
    omp_set_num_threads(threads);
    begin(f, 3, 5, 100, 2, 100);
    forward(f);
    backward(f);
}

static void threads_do_not_show(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    struct fixture one, more;
    run_threads(&one, 1);
    for (int threads = 2; threads <= 3; threads++) {
        run_threads(&more, threads);
        for (size_t i = OUT; i < MATRICES; i++)
            assert_same_rows(one.m[i], 0, more.m[i], 0, one.rows, one.C);
        tf_arena_fini(&more.memory);
    }
    tf_arena_fini(&one.memory);
    omp_set_num_threads(before);
}

/* Rows that are turned: 30 positions, 3 heads of 11 channels, the first 8 turned. */
enum { H = 3, D = 11, ROTATED = 8, LENGTH = 30, START = 970, STRIDE = H * D + 4 };

static struct tf_rope new_rope(size_t rotated, size_t positions)
{
    struct tf_rope rope = {.rotated = rotated};
    rope.cosine = tf_new(positions * rotated / 2, sizeof(float), "rope", NULL);
    rope.sine = tf_new(positions * rotated / 2, sizeof(float), "rope", NULL);
    assert_true(rope.cosine && rope.sine);
    tf_rope_fill(&rope, positions, 10000);
    return rope;
}

static void free_rope(struct tf_rope *rope)
{
    tf_free(rope->cosine);
    tf_free(rope->sine);
}

static void check_rope(void)
{
    static const struct tf_heads heads = {H, D, LENGTH};
    float x[(LENGTH + 1) * STRIDE], before[(LENGTH + 1) * STRIDE];
    struct tf_rope rope = new_rope(ROTATED, START + LENGTH), none = {0};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        x[i] = before[i] = noise(i);
    const struct tf_matrix rows = {x, STRIDE};
    tf_rope_apply(&none, &heads, START, LENGTH, rows, 1);
    assert_memory_equal(x, before, sizeof x);
    tf_rope_apply(&rope, &heads, START, LENGTH, rows, 1);
    double *want = twin_copy(before, LENGTH, H * D, STRIDE);
    twin_rope(ROTATED, 10000, H, D, LENGTH, START, want);
    assert_close("rope", x, STRIDE, want, LENGTH, H * D, 3e-7);
    tf_free(want);
    /* The rest of each head, what lies between the rows, and the row after the last. */
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        if (i >= LENGTH * STRIDE || i % STRIDE >= H * D || i % STRIDE % D >= ROTATED)
            assert_true(x[i] == before[i]);
    tf_rope_apply(&rope, &heads, START, LENGTH, rows, -1);
    for (size_t i = 0; i < sizeof x / sizeof *x; i++)
        assert_true(fabs((double)x[i] - before[i]) < 5e-7);
    free_rope(&rope);
}

static void rope_turns_and_turns_back(void **state)
{
    (void)state;
    each_kernel(check_rope);
}

/* The product of a turned query and a turned key depends on how far apart they stand, not on where:
 * RoPE's point. */
static void rope_depends_on_distance_alone(void **state)
{
    (void)state;
    static const struct tf_heads heads = {1, ROTATED, LENGTH};
    struct tf_rope rope = new_rope(ROTATED, 500);
    double first = 0;
    for (size_t at = 0; at < 400; at += 57) {
        float q[ROTATED], k[ROTATED];
        for (size_t i = 0; i < ROTATED; i++) {
            q[i] = noise(i);
            k[i] = noise(i + 100);
        }
        tf_rope_apply(&rope, &heads, at + 13, 1, (struct tf_matrix){q, ROTATED}, 1);
        tf_rope_apply(&rope, &heads, at, 1, (struct tf_matrix){k, ROTATED}, 1);
        const double score = tf_kernel->dot(ROTATED, q, k);
        first = at ? first : score;
        assert_true(fabs(score - first) < 1e-6);
    }
    free_rope(&rope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes_equal_the_naive_twin),
        cmocka_unit_test(large_scores_stay_finite),
        cmocka_unit_test(the_cache_equals_the_whole_pass),
        cmocka_unit_test(streams_stand_alone),
        cmocka_unit_test(threads_do_not_show),
        cmocka_unit_test(rope_turns_and_turns_back),
        cmocka_unit_test(rope_depends_on_distance_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
