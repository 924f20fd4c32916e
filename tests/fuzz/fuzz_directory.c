/* A checkpoint made after a recipe, so that every checksum, size and place is right unless the
 * recipe wants it wrong, and mutations reach the directory's parser, the blobs and the decoder of
 * chunks.
 *
 *   0   u8        flags of the whole, see below
 *   4   40 bytes  bytes 16 to 55 of the header
 *   44  40 bytes  XORed onto bytes 16 to 55 of the trailer
 *   84  u32 n     bytes of the directory
 *   88  n bytes   the directory, raw
 *   then pieces, which become the chunks in turn:
 *       u8 flags, u16 n, n bytes
 *
 * Sizes that pass the input's end are cut. Records are found by the layout of tf-checkpoint(5),
 * which is spelt out here once more: this is a second reading of that page. */
#include "fuzz.h"

#include "base/mem.h"
#include "store/bytes.h"
#include "store/codec.h"
#include "store/frame.h"
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum {                      /* flags of the whole */
       DIRECTORY_CODED = 1, /* the directory is a frame already: it stays as it is */
       TABLES_KEPT = 2 /* the tables' rows and first chunks stay, too; else they are summed up */
};

enum {                  /* flags of a piece */
       PIECE_CODED = 1, /* is a frame already, else rows */
       PLACE_KEPT = 2,  /* what the chunk's record says of offset and coded size stays as it is */
       SIZES_KEPT = 4,  /* likewise raw size and rows */
       CODED_HASH_KEPT = 8,
       RAW_HASH_KEPT = 16
};

enum { HEAD = 88, FIELDS_AT = 16, FIELDS = 40, HASH_AT = 56 };
enum { COUNTS = 16, TABLE = 40, CHUNK = 40, MAX_FILE = 1 << 20, MAX_DECODED = 4 << 20 };

/* A checkpoint in the making. */
struct image {
    uint8_t *bytes;
    size_t size;
    uint8_t *directory; /* a copy of the recipe's, with its records filled in */
    size_t directory_size;
    uint32_t tables, chunks; /* whose records are whole */
    uint8_t *table_at, *chunk_at;
};

static void append(struct image *image, const void *bytes, size_t size)
{
    must(size <= MAX_FILE - image->size);
    memcpy(image->bytes + image->size, bytes, size);
    image->size += size;
}

/* Where the records of a raw directory are. What does not fit is left to the parser to refuse. */
static void find_records(struct image *image)
{
    uint64_t at = COUNTS, left;

    if (image->directory_size < COUNTS)
        return;
    at += tf_get_u32(image->directory + 8);
    left = at < image->directory_size ? image->directory_size - at : 0;
    image->table_at = image->directory + (left > 0 ? at : 0);
    image->tables = tf_get_u32(image->directory);
    if (image->tables > left / TABLE) {
        image->tables = (uint32_t)(left / TABLE);
        return;
    }
    left -= (uint64_t)image->tables * TABLE;
    image->chunk_at = image->table_at + (size_t)image->tables * TABLE;
    image->chunks = tf_get_u32(image->directory + 4);
    if (image->chunks > left / CHUNK)
        image->chunks = (uint32_t)(left / CHUNK);
}

/* ---- chunks ---- */

/* What the record of the table that owns a chunk says of its rows. */
struct format {
    enum tf_filter filter;
    size_t width, row_size; /* bytes of a number and of a row; 0 where the record is wrong */
};

static struct format find_format(const struct image *image, uint64_t chunk)
{
    const uint8_t *table = image->table_at, *end = table + (size_t)image->tables * TABLE;
    struct format format = {0};

    for (; table < end && chunk >= tf_get_u32(table + 24); table += TABLE)
        chunk -= tf_get_u32(table + 24);
    if (table == end)
        return format;
    format.width = tf_dtype_width(table[35]);
    format.row_size = format.width * tf_get_u32(table + 16);
    format.filter = table[36] == TF_FILTER_PLANES ? TF_FILTER_PLANES : TF_FILTER_NONE;
    return format;
}

/* Rows into a frame; bytes that are not whole numbers go in as they are. Returns its size. */
static size_t encode(struct format format, const uint8_t *raw, size_t size, uint8_t *coded)
{
    static ZSTD_CCtx *context;
    struct tf_err err = {0};
    bool whole = format.width > 0 && size % format.width == 0;
    uint8_t *planes = tf_new(size, 1, "planes", &err);
    size_t coded_size = 0;

    if (context == NULL)
        context = tf_codec_compressor(1, &err);
    must(planes != NULL && context != NULL);
    must_succeed(tf_codec_encode(context, whole ? format.filter : TF_FILTER_NONE,
                                 whole ? format.width : 1, raw, size, planes, coded, &coded_size,
                                 &err),
                 &err);
    tf_free(planes);
    return coded_size;
}

/* The hash of the rows that a frame holds; 0 when it does not hold `size` bytes of rows. */
static uint64_t hash_decoded(struct format format, const uint8_t *coded, size_t coded_size,
                             size_t size)
{
    static ZSTD_DCtx *context;
    struct tf_err err = {0};
    uint8_t *decoded = tf_new(size, 1, "decoded", &err), *raw = tf_new(size, 1, "raw", &err);
    uint64_t hash = 0;

    if (context == NULL)
        context = tf_codec_decompressor(&err);
    must(context != NULL && decoded != NULL && raw != NULL);
    if (format.width > 0 && size % format.width == 0 &&
        tf_codec_decode(context, coded, coded_size, decoded, size, &err) == TF_OK) {
        tf_codec_join(raw, format.filter, format.width, decoded, size, 0, size / format.width);
        hash = XXH3_64bits(raw, size);
    }
    tf_free(decoded);
    tf_free(raw);
    return hash;
}

/* The bytes that a frame says it holds; 0 when it says nothing, or too much. */
static size_t declared_size(const uint8_t *coded, size_t size)
{
    unsigned long long declared = ZSTD_getFrameContentSize(coded, size);

    return declared <= MAX_DECODED ? (size_t)declared : 0;
}

static void fill_record(uint8_t *record, struct format format, uint8_t flags, uint64_t offset,
                        const uint8_t *coded, size_t coded_size)
{
    size_t raw = declared_size(coded, coded_size);

    if (!(flags & PLACE_KEPT)) {
        tf_put_u64(record, offset);
        tf_put_u32(record + 8, (uint32_t)coded_size);
    }
    if (!(flags & SIZES_KEPT)) {
        tf_put_u32(record + 12, (uint32_t)raw);
        tf_put_u32(record + 16, format.row_size > 0 ? (uint32_t)(raw / format.row_size) : 0);
    }
    if (!(flags & CODED_HASH_KEPT))
        tf_put_u64(record + 24, XXH3_64bits(coded, coded_size));
    if (!(flags & RAW_HASH_KEPT))
        tf_put_u64(record + 32, hash_decoded(format, coded, coded_size, raw));
}

static void put_piece(struct image *image, uint32_t index, uint8_t flags, const uint8_t *bytes,
                      size_t size)
{
    struct format format = find_format(image, index);
    uint8_t *frame = image->bytes + image->size;
    uint64_t offset = image->size;

    if (flags & PIECE_CODED) {
        append(image, bytes, size);
    } else {
        must(tf_codec_bound(size) <= MAX_FILE - image->size);
        image->size += encode(format, bytes, size, frame);
    }
    if (index < image->chunks)
        fill_record(image->chunk_at + (size_t)index * CHUNK, format, flags, offset, frame,
                    image->size - offset);
}

static void put_pieces(struct image *image, const uint8_t *in, const uint8_t *end)
{
    for (uint32_t index = 0; end - in >= 3; index++) {
        size_t size = tf_get_u16(in + 1), left = (size_t)(end - in) - 3;
        size = size < left ? size : left;
        put_piece(image, index, in[0], in + 3, size);
        in += 3 + size;
    }
}

/* ---- tables, directory, both ends ---- */

/* Each table's rows are those of its chunks, which follow the last table's. */
static void sum_up(struct image *image)
{
    uint64_t chunk = 0;

    for (uint32_t i = 0; i < image->tables; i++) {
        uint8_t *table = image->table_at + (size_t)i * TABLE;
        uint64_t rows = 0, end = chunk + tf_get_u32(table + 24);
        tf_put_u32(table + 20, (uint32_t)chunk);
        for (; chunk < end && chunk < image->chunks; chunk++)
            rows += tf_get_u32(image->chunk_at + chunk * CHUNK + 16);
        chunk = end;
        tf_put_u64(table, rows);
    }
}

static void put_directory(struct image *image, uint8_t flags, struct tf_trailer *trailer)
{
    uint8_t *frame = image->bytes + image->size;
    size_t size = image->directory_size;

    trailer->directory_offset = image->size;
    trailer->directory_raw = (uint32_t)size;
    if (flags & DIRECTORY_CODED) {
        trailer->directory_raw = (uint32_t)declared_size(image->directory, size);
        append(image, image->directory, size);
    } else {
        must(tf_codec_bound(size) <= MAX_FILE - image->size);
        image->size += encode((struct format){0}, image->directory, size, frame);
    }
    trailer->directory_coded = (uint32_t)(image->size - trailer->directory_offset);
    trailer->directory_hash = XXH3_64bits(frame, trailer->directory_coded);
}

static void put_trailer(struct image *image, struct tf_trailer *trailer, const uint8_t *wrong)
{
    uint8_t bytes[TF_FRAME_SIZE];

    trailer->file_size = image->size + TF_FRAME_SIZE;
    tf_trailer_pack(bytes, trailer);
    for (size_t i = 0; i < FIELDS; i++)
        bytes[FIELDS_AT + i] ^= wrong[i];
    tf_put_u64(bytes + HASH_AT, XXH3_64bits(bytes, HASH_AT));
    append(image, bytes, sizeof(bytes));
}

static void put_header(struct image *image, const uint8_t *fields)
{
    uint8_t bytes[TF_FRAME_SIZE];

    tf_header_pack(bytes, &(struct tf_header){0});
    memcpy(bytes + FIELDS_AT, fields, FIELDS);
    tf_put_u64(bytes + HASH_AT, XXH3_64bits(bytes, HASH_AT));
    append(image, bytes, sizeof(bytes));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct image image = {0};
    struct tf_trailer trailer;

    if (size < HEAD)
        return 0;
    image.directory_size = tf_get_u32(data + 84);
    if (image.directory_size > size - HEAD)
        image.directory_size = size - HEAD;
    image.bytes = malloc(MAX_FILE);
    image.directory = malloc(image.directory_size + 1);
    must(image.bytes != NULL && image.directory != NULL);
    memcpy(image.directory, data + HEAD, image.directory_size);
    image.table_at = image.chunk_at = image.directory;
    put_header(&image, data + 4);
    if (!(data[0] & DIRECTORY_CODED))
        find_records(&image);
    put_pieces(&image, data + HEAD + image.directory_size, data + size);
    if (!(data[0] & TABLES_KEPT))
        sum_up(&image);
    put_directory(&image, data[0], &trailer);
    put_trailer(&image, &trailer, data + 44);
    examine_checkpoint(memory_file(image.bytes, image.size));
    free(image.bytes);
    free(image.directory);
    return 0;
}
