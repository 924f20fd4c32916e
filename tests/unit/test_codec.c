#include "checkpoint_fixture.h"

#include <math.h>
#include <omp.h>

/* ---- numbers ---- */

static uint16_t packed(enum tf_dtype dtype, float x)
{
    uint8_t bytes[2];

    tf_dtype_pack(bytes, dtype, &x, 1);
    return tf_get_u16(bytes);
}

static float unpacked(enum tf_dtype dtype, uint16_t bits)
{
    uint8_t bytes[2];
    float x;

    tf_put_u16(bytes, bits);
    tf_dtype_unpack(&x, dtype, bytes, 1);
    return x;
}

/* Every narrow number survives the way through f32; half way between two neighbours goes to the
 * even one, a little more or less to the nearer. */
static void check_narrow(enum tf_dtype dtype, uint16_t infinity)
{
    for (uint32_t bits = 0; bits < infinity; bits++) {
        float low = unpacked(dtype, (uint16_t)bits), high = unpacked(dtype, (uint16_t)(bits + 1)),
              middle;

        assert_int_equal(packed(dtype, low), bits);
        assert_int_equal(packed(dtype, -low), bits | 0x8000);
        if (bits + 1 == infinity) /* where the next number would be, had the exponent room */
            high = 2 * low - unpacked(dtype, (uint16_t)(bits - 1));
        middle = (float)(((double)low + high) / 2);
        if (isinf(high) || middle == low)
            continue;
        assert_int_equal(packed(dtype, middle), bits + (bits & 1));
        assert_int_equal(packed(dtype, nextafterf(middle, 0)), bits);
        assert_int_equal(packed(dtype, nextafterf(middle, INFINITY)), bits + 1);
    }
    assert_int_equal(packed(dtype, INFINITY), infinity);
    assert_int_equal(packed(dtype, -INFINITY), infinity | 0x8000);
    assert_true(isinf(unpacked(dtype, infinity)));
    for (uint32_t bits = infinity + 1u; bits < 0x8000; bits++) {
        assert_true(isnan(unpacked(dtype, (uint16_t)bits)));
        assert_true(packed(dtype, unpacked(dtype, (uint16_t)bits)) > infinity);
    }
}

static void test_bf16(void **state)
{
    (void)state;
    check_narrow(TF_BF16, 0x7f80);
}

static void test_f16(void **state)
{
    (void)state;
    check_narrow(TF_F16, 0x7c00);
    assert_int_equal(packed(TF_F16, 65519.996f), 0x7bff);
    assert_int_equal(packed(TF_F16, 65520.0f), 0x7c00);
    assert_int_equal(packed(TF_F16, 1e30f), 0x7c00);
    assert_int_equal(packed(TF_F16, 0x1p-149f), 0);
}

/* A NaN whose payload is only in the low bits must not become an infinity; f32 keeps its bits. */
static void test_nan(void **state)
{
    uint32_t bits = 0xff800001, back;
    uint8_t bytes[4];
    float x;

    (void)state;
    memcpy(&x, &bits, sizeof(x));
    assert_int_equal(packed(TF_BF16, x), 0xffc0);
    assert_int_equal(packed(TF_F16, x), 0xfe00);
    tf_dtype_pack(bytes, TF_F32, &x, 1);
    assert_int_equal(tf_get_u32(bytes), bits);
    tf_dtype_unpack(&x, TF_F32, bytes, 1);
    memcpy(&back, &x, sizeof(back));
    assert_int_equal(back, bits);
}

/* ---- chunks ---- */

/* Any range of a chunk's numbers comes back out of its planes. */
static void check_join(enum tf_filter filter, size_t width)
{
    enum { SIZE = 300 }; /* longer than vectors, and no multiple of them */
    uint8_t raw[SIZE], planes[SIZE], coded[1024], decoded[SIZE], out[SIZE + 1];
    struct tf_err err = {0};
    ZSTD_CCtx *compressor = tf_codec_compressor(1, &err);
    ZSTD_DCtx *decompressor = tf_codec_decompressor(&err);
    size_t size, n = SIZE / width;

    for (size_t i = 0; i < SIZE; i++)
        raw[i] = (uint8_t)(i * 7 + i / 256);
    assert_fine(tf_codec_encode(compressor, filter, width, raw, SIZE, planes, coded, &size, &err),
                err);
    assert_fine(tf_codec_decode(decompressor, coded, size, decoded, SIZE, &err), err);
    for (size_t first = 0; first <= n; first++) {
        for (size_t count = 0; first + count <= n; count++) {
            memset(out, 0xee, sizeof(out));
            tf_codec_join(out, filter, width, decoded, SIZE, first, count);
            assert_memory_equal(out, raw + first * width, count * width);
            assert_int_equal(out[count * width], 0xee);
        }
    }
    ZSTD_freeCCtx(compressor);
    ZSTD_freeDCtx(decompressor);
}

static void test_join(void **state)
{
    (void)state;
    check_join(TF_FILTER_NONE, 2);
    check_join(TF_FILTER_NONE, 4);
    check_join(TF_FILTER_PLANES, 2);
    check_join(TF_FILTER_PLANES, 4);
}

/* Large chunks get fewer threads, so that their buffers stay within bounds. */
static void test_threads(void **state)
{
    int threads = omp_get_max_threads();

    (void)state;
    omp_set_num_threads(8);
    assert_int_equal(tf_codec_threads(1), 8);
    assert_int_equal(tf_codec_threads(4 << 20), 8);
    assert_int_equal(tf_codec_threads((4 << 20) + 1), 7);
    assert_int_equal(tf_codec_threads(16 << 20), 2);
    assert_int_equal(tf_codec_threads(TF_CODEC_MEMORY), 1);
    assert_int_equal(tf_codec_threads(UINT64_MAX), 1);
    omp_set_num_threads(threads);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bf16), cmocka_unit_test(test_f16),     cmocka_unit_test(test_nan),
        cmocka_unit_test(test_join), cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
