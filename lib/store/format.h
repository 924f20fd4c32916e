/* The checkpoint format's constants, records and caps. The specification is tf-checkpoint(5). */
#ifndef TF_STORE_FORMAT_H
#define TF_STORE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

enum tf_dtype { TF_F32 = 1, TF_BF16 = 2, TF_F16 = 3 };
enum tf_role { TF_PARAMETER = 1, TF_MOMENT = 2, TF_BUFFER = 3 };
enum tf_filter { TF_FILTER_NONE = 0, TF_FILTER_PLANES = 1 };
enum tf_blob { TF_BLOB_CONFIG, TF_BLOB_TOKENIZER, TF_BLOB_STATE, TF_BLOB_LINEAGE, TF_BLOBS };

#define TF_MAJOR 1
#define TF_MINOR 0

/* Caps: no file, however made, gets past them. */
#define TF_MAX_TABLES 65536u
#define TF_MAX_CHUNKS (1u << 20)
#define TF_MAX_COLS (1u << 20)
#define TF_MAX_ROWS (1ull << 31)
#define TF_MAX_NAME 255u
#define TF_MAX_CHUNK_RAW (16u << 20)
#define TF_MAX_DIRECTORY_RAW (64u << 20)
/* A directory may decode to this much and a quarter of its file's size: that of a large file is a
 * ten-thousandth of it, and a small file must not cost a reader much memory. */
#define TF_SMALL_DIRECTORY_RAW (16u << 20)

/* What a table record says. rows x cols numbers; row_group ties tables whose row counts must agree
 * (0: none). */
struct tf_table_info {
    char name[TF_MAX_NAME + 1]; /* [a-z0-9._/-]+, unique; tables are sorted by it */
    enum tf_role role;
    enum tf_dtype dtype;
    enum tf_filter filter;
    uint32_t cols;
    uint64_t rows;
    uint32_t row_group;
    double scale; /* Pattention: tau^2; 0 for tables that have none */
    uint32_t first_chunk, chunk_count;
};

struct tf_chunk_info {
    uint64_t offset; /* of the zstd frame in the file */
    uint32_t coded;  /* bytes in the file */
    uint32_t raw;    /* bytes decoded: rows x cols x width */
    uint32_t rows;
    uint64_t coded_hash; /* XXH3-64 of the coded bytes */
    uint64_t raw_hash;   /* XXH3-64 of the raw rows, before the filter */
};

/* XXH3-128, canonical (big-endian) bytes. */
struct tf_digest {
    uint8_t bytes[16];
};
#define TF_DIGEST_TEXT 33
/* 32 hex digits and a 0; returns out. */
char *tf_digest_text(char out[TF_DIGEST_TEXT], const struct tf_digest *digest);

size_t tf_dtype_width(enum tf_dtype dtype); /* bytes; 0 for an unknown one */
const char *tf_dtype_name(enum tf_dtype dtype);
const char *tf_role_name(enum tf_role role);

#endif
