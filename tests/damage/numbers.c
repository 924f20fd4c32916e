/* One wrong number, or two that hide each other, and every checksum right. */
#include "cases.h"

/* clang-format off */

/* Offsets as tf-checkpoint(5) gives them. */
enum { /* header */ MAJOR = 16, MINOR = 18, COMPAT = 20, RO_COMPAT = 24, INCOMPAT = 28 };
enum { /* trailer */ DIRECTORY_OFFSET = 16, DIRECTORY_CODED = 24, DIRECTORY_RAW = 28,
       FILE_SIZE = 40 };
enum { /* counts */ TABLES = 0, CHUNKS = 4, NAME_BYTES = 8, BLOBS = 12 };
enum { /* table record */ ROWS = 0, SCALE = 8, COLS = 16, FIRST_CHUNK = 20, CHUNK_COUNT = 24,
       ROW_GROUP = 28, NAME_LENGTH = 32, ROLE = 34, DTYPE = 35, FILTER = 36, TABLE_RESERVED = 37 };
enum { /* chunk record */ OFFSET = 0, CODED = 8, RAW = 12, CHUNK_ROWS = 16, FLAGS = 20,
       CODED_HASH = 24, RAW_HASH = 32 };
enum { /* blob record */ KIND = 0, SIZE = 4 };

/* Chunks of tables; ffn.keys has two. */
enum { EMBED_CHUNK = EMBED, K_KEYS_CHUNK = K_KEYS, LAST_KEYS_CHUNK = FFN_KEYS + 1 };

#define MINUS_ONE 0xbff0000000000000
#define MINUS_ZERO 0x8000000000000000
#define INFINITE 0x7ff0000000000000
#define NOT_A_NUMBER 0x7ff8000000000000

const struct number_case number_cases[] = {
    {"header-magic", {{HEADER, 0, 8, 4, 0x46554747}}},
    {"header-major-0", {{HEADER, 0, MAJOR, 2, 0}}},
    {"header-major-2", {{HEADER, 0, MAJOR, 2, 2}}},
    {"header-minor", {{HEADER, 0, MINOR, 2, 7}}},
    {"header-compat", {{HEADER, 0, COMPAT, 4, 0xffffffff}}},
    {"header-ro-compat", {{HEADER, 0, RO_COMPAT, 4, 0x80000001}}},
    {"header-incompat", {{HEADER, 0, INCOMPAT, 4, 0x80000001}}},
    {"header-reserved", {{HEADER, 0, 55, 1, 0x9b}}},

    {"trailer-magic", {{TRAILER, 0, 8, 4, 0}}},
    {"trailer-reserved", {{TRAILER, 0, 48, 1, 1}}},
    {"trailer-file-size", {{TRAILER, 0, FILE_SIZE, 8, UINT64_MAX}}},
    {"trailer-offset-0", {{TRAILER, 0, DIRECTORY_OFFSET, 8, 0}}},
    {"trailer-offset-past-end", {{TRAILER, 0, DIRECTORY_OFFSET, 8, 1ull << 40}}},
    {"trailer-offset-wraps", {{TRAILER, 0, DIRECTORY_OFFSET, 8, UINT64_MAX - 10},
                              {TRAILER, 0, DIRECTORY_CODED, 4, UINT32_MAX}}},
    {"trailer-directory-longer", {{TRAILER, 0, DIRECTORY_CODED, 4, UINT32_MAX}}},
    {"trailer-directory-bomb", {{TRAILER, 0, DIRECTORY_RAW, 4, UINT32_MAX}}},
    {"trailer-directory-raw", {{TRAILER, 0, DIRECTORY_RAW, 4, 1 << 20}}},
    {"trailer-directory-empty", {{TRAILER, 0, DIRECTORY_RAW, 4, 0}}},

    {"tables-too-many", {{COUNTS, 0, TABLES, 4, 65537}}},
    {"tables-wrap", {{COUNTS, 0, TABLES, 4, UINT32_MAX / 40 + 1}}},
    {"tables-past-end", {{COUNTS, 0, TABLES, 4, 65536}}},
    {"chunks-too-many", {{COUNTS, 0, CHUNKS, 4, (1 << 20) + 1}}},
    {"chunks-past-end", {{COUNTS, 0, CHUNKS, 4, 1 << 20}}},
    {"chunks-one-less", {{COUNTS, 0, CHUNKS, 4, BASE_TABLES}}},
    {"names-past-end", {{COUNTS, 0, NAME_BYTES, 4, UINT32_MAX}}},
    {"blobs-past-end", {{COUNTS, 0, BLOBS, 4, UINT32_MAX}}},
    {"blobs-one-less", {{COUNTS, 0, BLOBS, 4, 3}}},

    {"name-empty", {{TABLE, EMBED, NAME_LENGTH, 2, 0}}},
    {"name-too-long", {{TABLE, EMBED, NAME_LENGTH, 2, 256}}},
    {"name-past-end", {{TABLE, BASE_TABLES - 1, NAME_LENGTH, 2, 255}}},
    {"name-short-of-its-bytes", {{TABLE, BASE_TABLES - 1, NAME_LENGTH, 2, 10}}},
    {"name-nul", {{NAMES, 0, 5, 1, 0}}},
    {"rows-0", {{TABLE, EMBED, ROWS, 8, 0}}},
    {"rows-too-many", {{TABLE, EMBED, ROWS, 8, UINT64_MAX}}},
    {"rows-wrap", {{TABLE, EMBED, ROWS, 8, (1ull << 60) + 256}}}, /* times 16 bytes: 2^64 + 4096 */
    {"rows-unlike-chunks", {{TABLE, EMBED, ROWS, 8, 1ull << 31}}},
    {"cols-0", {{TABLE, EMBED, COLS, 4, 0}}},
    {"cols-too-many", {{TABLE, EMBED, COLS, 4, (1 << 20) + 1}}},
    {"cols-wrap", {{TABLE, EMBED, COLS, 4, (1u << 30) + 4}}}, /* times 4 bytes: 2^32 + 16 */
    {"cols-unlike-chunk", {{TABLE, EMBED, COLS, 4, 1 << 20}}},
    {"scale-negative", {{TABLE, K_KEYS, SCALE, 8, MINUS_ONE}}},
    {"scale-minus-0", {{TABLE, EMBED, SCALE, 8, MINUS_ZERO}}},
    {"scale-infinite", {{TABLE, K_KEYS, SCALE, 8, INFINITE}}},
    {"scale-nan", {{TABLE, K_KEYS, SCALE, 8, NOT_A_NUMBER}}},
    {"scale-0", {{TABLE, K_KEYS, SCALE, 8, 0}}},
    {"scale-differs", {{TABLE, K_VALUES, SCALE, 8, 0x4008000000000000}}}, /* 3 */
    {"first-chunk-past-end", {{TABLE, EMBED, FIRST_CHUNK, 4, UINT32_MAX}}},
    {"first-chunk-shared", {{TABLE, K_VALUES, FIRST_CHUNK, 4, K_KEYS_CHUNK}}},
    {"chunk-count-0", {{TABLE, EMBED, CHUNK_COUNT, 4, 0}}},
    {"chunk-count-past-end", {{TABLE, EMBED, CHUNK_COUNT, 4, UINT32_MAX}}},
    {"row-group-too-large", {{TABLE, EMBED, ROW_GROUP, 4, 65537}}},
    {"row-group-mismatch", {{TABLE, NORM_BIAS, ROW_GROUP, 4, 2}}},
    {"role-0", {{TABLE, EMBED, ROLE, 1, 0}}},
    {"role-4", {{TABLE, EMBED, ROLE, 1, 4}}},
    {"role-moment", {{TABLE, EMBED, ROLE, 1, TF_MOMENT}}},
    {"role-parameter", {{TABLE, FIRST_MOMENTS, ROLE, 1, TF_PARAMETER}}},
    {"dtype-0", {{TABLE, EMBED, DTYPE, 1, 0}}},
    {"dtype-4", {{TABLE, EMBED, DTYPE, 1, 4}}},
    {"dtype-narrower", {{TABLE, EMBED, DTYPE, 1, TF_BF16}}},
    {"filter-2", {{TABLE, EMBED, FILTER, 1, 2}}},
    {"table-reserved", {{TABLE, EMBED, TABLE_RESERVED + 1, 1, 0x80}}},

    {"chunk-gap", {{CHUNK, EMBED_CHUNK, OFFSET, 8, TF_FRAME_SIZE + 8}}},
    {"chunk-overlap", {{CHUNK, K_KEYS_CHUNK, OFFSET, 8, TF_FRAME_SIZE}}},
    {"chunk-over-header", {{CHUNK, EMBED_CHUNK, OFFSET, 8, 0}}},
    {"chunk-past-end", {{CHUNK, EMBED_CHUNK, OFFSET, 8, UINT64_MAX}}},
    {"chunk-coded-0", {{CHUNK, EMBED_CHUNK, CODED, 4, 0}}},
    {"chunk-coded-too-long", {{CHUNK, BASE_TABLES, CODED, 4, UINT32_MAX}}},
    {"chunk-raw-0", {{CHUNK, EMBED_CHUNK, RAW, 4, 0}}},
    {"chunk-raw-too-long", {{CHUNK, EMBED_CHUNK, RAW, 4, UINT32_MAX}}},
    {"chunk-rows-0", {{CHUNK, EMBED_CHUNK, CHUNK_ROWS, 4, 0}}},
    {"chunk-rows-wrap", {{CHUNK, EMBED_CHUNK, CHUNK_ROWS, 4, (1u << 28) + 256}}}, /* times 16 */
    {"chunk-bomb", {{CHUNK, LAST_KEYS_CHUNK, CHUNK_ROWS, 4, 1 << 20},
                    {CHUNK, LAST_KEYS_CHUNK, RAW, 4, 16 << 20}}},
    {"chunk-flags", {{CHUNK, EMBED_CHUNK, FLAGS, 4, 0x80000000}}},
    {"chunk-coded-hash", {{CHUNK, LAST_KEYS_CHUNK, CODED_HASH, 8, 1}}},
    {"chunk-raw-hash", {{CHUNK, LAST_KEYS_CHUNK, RAW_HASH, 8, 1}}},

    {"blob-duplicate", {{BLOB, 1, KIND, 4, TF_BLOB_CONFIG}}},
    {"blob-order", {{BLOB, 1, KIND, 4, TF_BLOB_LINEAGE}}},
    {"blob-empty", {{BLOB, 0, SIZE, 4, 0}}},
    {"blob-past-end", {{BLOB, 0, SIZE, 4, UINT32_MAX}}},
    {"blob-short", {{BLOB, 3, SIZE, 4, 1}}},
    {"blob-unknown-kind", {{BLOB, 3, KIND, 4, UINT32_MAX}}},
    {0},
};
