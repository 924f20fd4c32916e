#include "store/digest.h"
#include "store/bytes.h"
#include "store/codec.h"
#include <string.h>
#include <xxhash.h>

struct tf_hash *tf_hash_new(struct tf_err *err)
{
    XXH3_state_t *state = XXH3_createState();

    if (state == NULL)
        tf_fail(err, TF_MEMORY, "out of memory: a digest");
    else
        XXH3_128bits_reset(state);
    return (struct tf_hash *)state;
}

void tf_hash_free(struct tf_hash *hash)
{
    XXH3_freeState((XXH3_state_t *)hash);
}

void tf_hash_update(struct tf_hash *hash, const void *bytes, size_t size)
{
    XXH3_128bits_update((XXH3_state_t *)hash, bytes, size);
}

void tf_hash_rows(struct tf_hash *hash, const float *rows, uint64_t count, size_t cols,
                  size_t stride)
{
    uint8_t raw[4096];
    size_t part = sizeof(raw) / sizeof(float), n;

    for (uint64_t row = 0; row < count; row++) {
        for (size_t col = 0; col < cols; col += n) {
            n = cols - col < part ? cols - col : part;
            tf_dtype_pack(raw, TF_F32, rows + row * stride + col, n);
            tf_hash_update(hash, raw, n * sizeof(float));
        }
    }
}

void tf_hash_table(struct tf_hash *hash, const struct tf_table_info *info,
                   const struct tf_digest *digest)
{
    size_t length = strlen(info->name);
    uint8_t record[28];

    tf_put_u32(record, (uint32_t)length);
    tf_hash_update(hash, record, 4);
    tf_hash_update(hash, info->name, length);
    tf_put_u32(record, info->dtype);
    tf_put_u64(record + 4, info->rows);
    tf_put_u64(record + 12, info->cols);
    tf_put_f64(record + 20, info->scale);
    tf_hash_update(hash, record, sizeof(record));
    tf_hash_update(hash, digest->bytes, sizeof(digest->bytes));
}

void tf_hash_finish(struct tf_hash *hash, struct tf_digest *out)
{
    XXH128_canonical_t canonical;

    XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest((XXH3_state_t *)hash));
    memcpy(out->bytes, canonical.digest, sizeof(out->bytes));
    XXH3_128bits_reset((XXH3_state_t *)hash);
}
