/* Integers on disk: little-endian, at any alignment. No struct is ever cast onto bytes. */
#ifndef TF_STORE_BYTES_H
#define TF_STORE_BYTES_H

#include <stdint.h>
#include <string.h>

/* Its own inverse: little-endian to this machine's order, and back. */
static inline uint16_t tf_le16(uint16_t x)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap16(x);
}
static inline uint32_t tf_le32(uint32_t x)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap32(x);
}
static inline uint64_t tf_le64(uint64_t x)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? x : __builtin_bswap64(x);
}

static inline uint16_t tf_get_u16(const void *from)
{
    uint16_t x;
    memcpy(&x, from, sizeof(x));
    return tf_le16(x);
}
static inline uint32_t tf_get_u32(const void *from)
{
    uint32_t x;
    memcpy(&x, from, sizeof(x));
    return tf_le32(x);
}
static inline uint64_t tf_get_u64(const void *from)
{
    uint64_t x;
    memcpy(&x, from, sizeof(x));
    return tf_le64(x);
}

static inline void tf_put_u16(void *to, uint16_t x)
{
    x = tf_le16(x);
    memcpy(to, &x, sizeof(x));
}
static inline void tf_put_u32(void *to, uint32_t x)
{
    x = tf_le32(x);
    memcpy(to, &x, sizeof(x));
}
static inline void tf_put_u64(void *to, uint64_t x)
{
    x = tf_le64(x);
    memcpy(to, &x, sizeof(x));
}

/* IEEE 754 binary64, as its bits. */
static inline double tf_get_f64(const void *from)
{
    uint64_t bits = tf_get_u64(from);
    double x;
    memcpy(&x, &bits, sizeof(x));
    return x;
}
static inline void tf_put_f64(void *to, double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof(bits));
    tf_put_u64(to, bits);
}

#endif
