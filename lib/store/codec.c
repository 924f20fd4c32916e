#include "store/codec.h"

#include "base/bf16.h"
#include "store/bytes.h"
#include "store/frame.h"
#include <omp.h>
#include <zstd_errors.h>

/* ---- numbers ---- */

static uint32_t float_bits(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof(bits));
    return bits;
}

static float bits_float(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof(x));
    return x;
}

/* f16: 1 sign, 5 exponent (bias 15), 10 mantissa bits. */
static uint16_t f16_from_f32(float x)
{
    uint32_t bits = float_bits(x), sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;

    if (size > 0x7f800000)
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x3ff));
    if (size >= 0x477ff000) /* 65520 and more: half way past the largest, 65504 */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) { /* below 2^-14: a multiple of 2^-24 */
        uint32_t shift = 126 - (size >> 23), mantissa = (size & 0x7fffff) | 0x800000, kept, rest,
                 half;

        if (shift > 24)
            return (uint16_t)sign; /* below 2^-25, half of the smallest */
        kept = mantissa >> shift;
        rest = mantissa & ((1u << shift) - 1);
        half = 1u << (shift - 1);
        kept += rest > half || (rest == half && (kept & 1));
        return (uint16_t)(sign | kept);
    }
    size -= (127 - 15) << 23;
    return (uint16_t)(sign | (size + 0xfff + (size >> 13 & 1)) >> 13);
}

static float f32_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31,
             mantissa = half & 0x3ff;

    if (exponent == 31)
        return bits_float(sign | 0x7f800000 | mantissa << 13);
    if (exponent == 0) { /* mantissa * 2^-24, exactly */
        float size = (float)mantissa * 0x1p-24f;
        return sign ? -size : size;
    }
    return bits_float(sign | (exponent + 127 - 15) << 23 | mantissa << 13);
}

void tf_dtype_pack(uint8_t *out, enum tf_dtype dtype, const float *in, size_t n)
{
    switch (dtype) {
    case TF_F32:
        for (size_t i = 0; i < n; i++)
            tf_put_u32(out + 4 * i, float_bits(in[i]));
        break;
    case TF_BF16:
        for (size_t i = 0; i < n; i++)
            tf_put_u16(out + 2 * i, tf_bf16(in[i]));
        break;
    case TF_F16:
        for (size_t i = 0; i < n; i++)
            tf_put_u16(out + 2 * i, f16_from_f32(in[i]));
        break;
    }
}

void tf_dtype_unpack(float *out, enum tf_dtype dtype, const uint8_t *in, size_t n)
{
    switch (dtype) {
    case TF_F32:
        for (size_t i = 0; i < n; i++)
            out[i] = bits_float(tf_get_u32(in + 4 * i));
        break;
    case TF_BF16:
        for (size_t i = 0; i < n; i++)
            out[i] = tf_bf16_float(tf_get_u16(in + 2 * i));
        break;
    case TF_F16:
        for (size_t i = 0; i < n; i++)
            out[i] = f32_from_f16(tf_get_u16(in + 2 * i));
        break;
    }
}

/* ---- byte planes ---- */

/* Plane p of n numbers holds byte width-1-p of each: signs and exponents, which compress, come
 * first and together. The planes of noise cost next to nothing: zstd sees them and stores them.
 * Widths are constants below, so that the compiler makes vectors of the loops. */
static inline void split(uint8_t *restrict planes, const uint8_t *restrict raw, size_t n,
                         size_t width)
{
    for (size_t p = 0; p < width; p++)
        for (size_t i = 0; i < n; i++)
            planes[p * n + i] = raw[i * width + width - 1 - p];
}

/* The first `count` numbers of planes of n bytes each. */
static void join_2(uint8_t *restrict raw, const uint8_t *restrict planes, size_t n, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tf_put_u16(raw + 2 * i, (uint16_t)(planes[i] << 8 | planes[n + i]));
}

static void join_4(uint8_t *restrict raw, const uint8_t *restrict planes, size_t n, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tf_put_u32(raw + 4 * i, (uint32_t)planes[i] << 24 | (uint32_t)planes[n + i] << 16 |
                                    (uint32_t)planes[2 * n + i] << 8 | planes[3 * n + i]);
}

void tf_codec_join(uint8_t *raw, enum tf_filter filter, size_t width, const uint8_t *decoded,
                   size_t size, size_t first, size_t count)
{
    if (filter == TF_FILTER_NONE)
        memcpy(raw, decoded + first * width, count * width);
    else if (width == 4)
        join_4(raw, decoded + first, size / 4, count);
    else
        join_2(raw, decoded + first, size / 2, count);
}

/* ---- zstd ---- */

/* An error that zstd reports: `code`, unless it is about memory. */
static enum tf_code fail_zstd(size_t error, enum tf_code code, struct tf_err *err)
{
    const bool memory = ZSTD_getErrorCode(error) == ZSTD_error_memory_allocation;

    return tf_fail(err, memory ? TF_MEMORY : code, "zstd: %s", ZSTD_getErrorName(error));
}

ZSTD_CCtx *tf_codec_compressor(int level, struct tf_err *err)
{
    ZSTD_CCtx *context = ZSTD_createCCtx();

    if (context != NULL &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) &&
        !ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)))
        return context;
    ZSTD_freeCCtx(context);
    tf_fail(err, TF_MEMORY, "out of memory: a zstd compressor");
    return NULL;
}

ZSTD_DCtx *tf_codec_decompressor(struct tf_err *err)
{
    ZSTD_DCtx *context = ZSTD_createDCtx();

    if (context == NULL)
        tf_fail(err, TF_MEMORY, "out of memory: a zstd decompressor");
    return context;
}

int tf_codec_threads(uint64_t bytes_each)
{
    int threads = omp_get_max_threads();

    while (threads > 1 && bytes_each > TF_CODEC_MEMORY / (unsigned)threads)
        threads--;
    return threads;
}

size_t tf_codec_bound(size_t raw)
{
    /* zstd's bound is for one run of full blocks; ending one early at each of up to four planes
     * costs 3 bytes. */
    return ZSTD_compressBound(raw) + 4 * 3;
}

enum tf_code tf_codec_encode(ZSTD_CCtx *context, enum tf_filter filter, size_t width,
                             const uint8_t *raw, size_t raw_size, uint8_t *planes, uint8_t *coded,
                             size_t *coded_size, struct tf_err *err)
{
    size_t count = filter == TF_FILTER_PLANES ? width : 1, n = raw_size / count, left;
    ZSTD_outBuffer out = {coded, tf_codec_bound(raw_size), 0};

    if (filter == TF_FILTER_PLANES && width == 4)
        split(planes, raw, n, 4);
    else if (filter == TF_FILTER_PLANES)
        split(planes, raw, n, 2);
    left = ZSTD_CCtx_reset(context, ZSTD_reset_session_only);
    if (!ZSTD_isError(left))
        left = ZSTD_CCtx_setPledgedSrcSize(context, raw_size);
    /* A flush ends the block, so that each plane has its own statistics. */
    for (size_t p = 0; p < count && !ZSTD_isError(left); p++) {
        ZSTD_inBuffer in = {count > 1 ? planes + p * n : raw, n, 0};
        left = ZSTD_compressStream2(context, &out, &in, p + 1 < count ? ZSTD_e_flush : ZSTD_e_end);
    }
    if (left != 0 && !ZSTD_isError(left))
        return tf_fail(err, TF_INTERNAL, "zstd: bound passed");
    if (left != 0)
        return fail_zstd(left, TF_INTERNAL, err);
    *coded_size = out.pos;
    return TF_OK;
}

enum tf_code tf_codec_decode(ZSTD_DCtx *context, const uint8_t *coded, size_t coded_size,
                             uint8_t *decoded, size_t size, struct tf_err *err)
{
    enum tf_code code = tf_frame_check(coded, coded_size, size, err);
    size_t got;

    if (code != TF_OK)
        return code;
    got = ZSTD_decompressDCtx(context, decoded, size, coded, coded_size);
    if (ZSTD_isError(got))
        return fail_zstd(got, TF_DATA, err);
    if (got != size)
        return tf_fail(err, TF_DATA, "%zu bytes decoded, the record says %zu", got, size);
    return TF_OK;
}
