/* Chunks: rows of f32 to the table's dtype, to byte planes, to one zstd frame; and back. */
#ifndef TF_STORE_CODEC_H
#define TF_STORE_CODEC_H

#include "base/err.h"
#include "store/format.h"
#include <zstd.h>

/* n numbers to and from little-endian bytes of a dtype. To a narrower one: to nearest, ties to
 * even; NaN stays NaN, too large becomes infinite. */
void tf_dtype_pack(uint8_t *out, enum tf_dtype dtype, const float *in, size_t n);
void tf_dtype_unpack(float *out, enum tf_dtype dtype, const uint8_t *in, size_t n);

/* NULL after setting err. */
TF_MUST_USE ZSTD_CCtx *tf_codec_compressor(int level, struct tf_err *err);
TF_MUST_USE ZSTD_DCtx *tf_codec_decompressor(struct tf_err *err);

/* Threads for work on chunks that costs each of them so many bytes of buffers: no more than OpenMP
 * gives, and no more than stay within TF_CODEC_MEMORY together; at least one. */
#define TF_CODEC_MEMORY (32u << 20)
int tf_codec_threads(uint64_t bytes_each);

/* The bytes that the frame of `raw` bytes may need, at most; more for more of them. */
size_t tf_codec_bound(size_t raw);

/* raw bytes, numbers of `width` bytes each, into one zstd frame. `planes` has room for raw_size
 * bytes, `coded` for tf_codec_bound of them. */
TF_MUST_USE enum tf_code tf_codec_encode(ZSTD_CCtx *context, enum tf_filter filter, size_t width,
                                         const uint8_t *raw, size_t raw_size, uint8_t *planes,
                                         uint8_t *coded, size_t *coded_size, struct tf_err *err);

/* The reverse, in two steps. What a frame holds, filtered as it is; the frame is checked to hold
 * `size` bytes exactly before anything is decoded. */
TF_MUST_USE enum tf_code tf_codec_decode(ZSTD_DCtx *context, const uint8_t *coded,
                                         size_t coded_size, uint8_t *decoded, size_t size,
                                         struct tf_err *err);
/* Numbers first .. first+count of the `size` decoded bytes, as raw bytes. */
void tf_codec_join(uint8_t *raw, enum tf_filter filter, size_t width, const uint8_t *decoded,
                   size_t size, size_t first, size_t count);

#endif
