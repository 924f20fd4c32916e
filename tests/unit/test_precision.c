/* Rounding of numbers and of a model's tables. */
#include "small_model.h"

#include "kernel/narrow.h"
#include "nn/precision.h"

#include <omp.h>

static void names(void **state)
{
    (void)state;
    assert_string_equal(tf_precision_name(TF_PRECISION_F32), "f32");
    assert_string_equal(tf_precision_name(TF_PRECISION_BF16), "bf16");
    assert_string_equal(tf_precision_name(TF_PRECISION_INT8), "int8");
}

/* The least power of two with max|x| <= 127 scale: by trying them all. */
static float scale_by_search(float most)
{
    float scale = 0x1p-126f;
    while (most > 127.0 * (double)scale)
        scale *= 2;
    return scale;
}

static void int8_scales(void **state)
{
    (void)state;
    const float edges[] = {0,
                           0x1p-149f,
                           0x1p-126f,
                           127 * 0x1p-126f,
                           128 * 0x1p-126f,
                           126.99f,
                           127,
                           127.0001f,
                           128,
                           253.999f,
                           254,
                           254.001f,
                           1e30f,
                           0x1.fffffep127f,
                           0x1.fcp127f};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) {
        const float row[] = {0, -edges[i], edges[i] / 2};
        assert_true(tf_int8_scale(3, row) == scale_by_search(edges[i]));
    }
    for (uint64_t i = 0; i < 10000; i++) {
        const float x = ldexpf(noise(i), (int)(i % 250) - 125);
        assert_true(tf_int8_scale(1, &x) == scale_by_search(fabsf(x)));
    }
    assert_true(tf_int8_scale(0, NULL) == 0x1p-126f);
}

static void numbers_that_are_not_finite_have_no_scale(void **state)
{
    (void)state;
    const float rows[][3] = {{1, NAN, 2}, {1, INFINITY, 2}, {-INFINITY, 1, 0}, {1, 2, -NAN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(isnan(tf_int8_scale(3, rows[i])));
}

static void int8_to_nearest_even(void **state)
{
    (void)state;
    const struct {
        float x;
        int q;
    } cases[] = {{0, 0},        {-0.0f, 0},    {0.5f, 0},       {0.50001f, 1},
                 {1.5f, 2},     {2.5f, 2},     {-0.5f, 0},      {-1.5f, -2},
                 {126.5f, 126}, {126.6f, 127}, {-126.9f, -127}, {1e-40f, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tf_int8(cases[i].x, 1), cases[i].q);
        assert_int_equal(tf_int8(cases[i].x * 0x1p-20f, 0x1p20f), cases[i].q);
    }
}

static void bf16_to_nearest_even(void **state)
{
    (void)state;
    const struct {
        float x, rounded;
    } cases[] = {{1, 1},
                 {0x1.01p0f, 0x1p0f}, /* half way: to even */
                 {0x1.03p0f, 0x1.04p0f},
                 {0x1.010002p0f, 0x1.02p0f},
                 {-0x1.fffffep0f, -2},
                 {0x1.fffffep127f, INFINITY},
                 {INFINITY, INFINITY},
                 {0x1p-149f, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(tf_bf16_float(tf_bf16(cases[i].x)) == cases[i].rounded);
    assert_true(isnan(tf_bf16_float(tf_bf16(NAN))));
    const uint32_t bits = 0x7f800001; /* a NaN that cutting would make an infinity */
    float x;
    memcpy(&x, &bits, sizeof x);
    assert_true(isnan(tf_bf16_float(tf_bf16(x))));
    assert_true(signbit(tf_bf16_float(tf_bf16(-0.0f))));
}

/* What a number of a table becomes, in doubles. */
static double rounded(const float *row, size_t n, size_t c, enum tf_precision precision)
{
    float most = 0;
    if (precision == TF_PRECISION_F32)
        return (double)row[c];
    if (precision == TF_PRECISION_BF16)
        return (double)tf_bf16_float(tf_bf16(row[c]));
    for (size_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(row[i]));
    const double scale = (double)scale_by_search(most);
    return rint((double)row[c] / scale) * scale;
}

/* Every table but the final norm's; a second time changes nothing; nor do threads. */
static void check_model(bool tied, enum tf_precision precision)
{
    struct tf_model *exact = small_model(TF_L2_NORM_GELU, tied, false, 1),
                    *model = small_model(TF_L2_NORM_GELU, tied, false, 1);
    memset(tf_table_row(exact->embed, 3), 0, SMALL_WIDTH * sizeof(float));
    memset(tf_table_row(model->embed, 3), 0, SMALL_WIDTH * sizeof(float));
    for (int again = 0; again < 2; again++) {
        tf_model_round(model, precision);
        for (size_t i = 0; i < model->table_count; i++) {
            const struct tf_table *was = &exact->tables[i], *is = &model->tables[i];
            const bool norm = was == exact->norm_weight || was == exact->norm_bias;
            for (size_t r = 0; r < was->rows; r++)
                for (size_t c = 0; c < was->cols; c++)
                    assert_true((double)tf_table_row(is, r)[c] ==
                                rounded(tf_table_row(was, r), was->cols, c,
                                        norm ? TF_PRECISION_F32 : precision));
        }
    }
    tf_model_free(exact);
    tf_model_free(model);
}

static void models_are_rounded_by_rows(void **state)
{
    (void)state;
    const int before = omp_get_max_threads();
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        for (int form = 0; form < 6; form++)
            check_model(form % 2, (enum tf_precision)(form / 2));
    }
    omp_set_num_threads(before);
}

/* It must be seen that a table holds no numbers, not rounded away. */
static void a_row_that_is_not_finite_stays_so(void **state)
{
    (void)state;
    const float bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        struct tf_model *model = small_model(TF_L2_NORM_GELU, true, false, 1);
        tf_table_row(model->embed, 5)[2] = bad[i];
        tf_model_round(model, TF_PRECISION_INT8);
        for (size_t c = 0; c < SMALL_WIDTH; c++) {
            assert_true(isnan(tf_table_row(model->embed, 5)[c]));
            assert_true(isfinite(tf_table_row(model->embed, 4)[c]));
        }
        tf_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(int8_scales),
        cmocka_unit_test(numbers_that_are_not_finite_have_no_scale),
        cmocka_unit_test(int8_to_nearest_even),
        cmocka_unit_test(bf16_to_nearest_even),
        cmocka_unit_test(models_are_rounded_by_rows),
        cmocka_unit_test(a_row_that_is_not_finite_stays_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
