#include "store/frame.h"

#include "store/bytes.h"
#include "store/format.h"
#include <inttypes.h>
#include <xxhash.h>
#include <zstd.h>

/* Two of the sixteen magics of skippable frames, then the size of what follows (64 - 8 bytes), then
 * our own magic. Its bytes show what mangled them: \r\n and \n a transfer in text mode, \x1a a
 * reader that stops at an end-of-file mark. */
static const uint8_t header_magic[TF_MAGIC_SIZE] = "\x54\x2a\x4d\x18\x38\0\0\0TFCK\r\n\x1a\n";
static const uint8_t trailer_magic[TF_MAGIC_SIZE] = "\x55\x2a\x4d\x18\x38\0\0\0TFCK\r\n\x1a\n";

enum { HASH_AT = TF_FRAME_SIZE - 8 }; /* in header and trailer alike */
enum { WINDOW_LOG_MAX = 24 };         /* 16 MiB, the largest raw chunk */

enum tf_code tf_checksum_fail(struct tf_err *err, uint64_t stored, uint64_t computed)
{
    return tf_fail(err, TF_DATA,
                   "checksum mismatch (stored %016" PRIx64 ", computed %016" PRIx64 ")", stored,
                   computed);
}

bool tf_frame_intact(const uint8_t in[TF_FRAME_SIZE])
{
    return tf_get_u64(in + HASH_AT) == XXH3_64bits(in, HASH_AT);
}

static enum tf_code check_hash(const uint8_t *in, struct tf_err *err)
{
    return tf_frame_intact(in)
               ? TF_OK
               : tf_checksum_fail(err, tf_get_u64(in + HASH_AT), XXH3_64bits(in, HASH_AT));
}

static enum tf_code check_zero(const uint8_t *in, size_t from, size_t to, struct tf_err *err)
{
    for (size_t i = from; i < to; i++)
        if (in[i] != 0)
            return tf_fail(err, TF_DATA, "reserved byte %zu is 0x%02x, not 0", i, in[i]);
    return TF_OK;
}

/* ---- header ---- */

enum { /* offsets */
       MAJOR = 16,
       MINOR = 18,
       COMPAT = 20,
       RO_COMPAT = 24,
       INCOMPAT = 28,
       HEADER_RESERVED = 32
};

void tf_header_pack(uint8_t out[TF_FRAME_SIZE], const struct tf_header *header)
{
    memset(out, 0, TF_FRAME_SIZE);
    memcpy(out, header_magic, TF_MAGIC_SIZE);
    tf_put_u16(out + MAJOR, header->major);
    tf_put_u16(out + MINOR, header->minor);
    tf_put_u32(out + COMPAT, header->compat);
    tf_put_u32(out + RO_COMPAT, header->ro_compat);
    tf_put_u32(out + INCOMPAT, header->incompat);
    tf_put_u64(out + HASH_AT, XXH3_64bits(out, HASH_AT));
}

enum tf_code tf_header_unpack(struct tf_header *header, const uint8_t in[TF_FRAME_SIZE],
                              struct tf_err *err)
{
    if (!tf_header_begins(in))
        return tf_fail(err, TF_DATA, "not a TokenFormer checkpoint");
    /* Before the checksum: a later major version may lay out all that follows in another way. */
    header->major = tf_get_u16(in + MAJOR);
    if (header->major != TF_MAJOR)
        return tf_fail(err, TF_DATA, "format version %u, this program reads %u", header->major,
                       TF_MAJOR);
    if (check_hash(in, err) != TF_OK)
        return tf_context(err, "header");
    header->minor = tf_get_u16(in + MINOR);
    header->compat = tf_get_u32(in + COMPAT);
    header->ro_compat = tf_get_u32(in + RO_COMPAT);
    header->incompat = tf_get_u32(in + INCOMPAT);
    if ((header->incompat & ~TF_KNOWN_INCOMPAT) != 0)
        return tf_fail(
            err, TF_DATA,
            "header: needs features that this program does not know (incompat bits 0x%" PRIx32 ")",
            header->incompat & ~TF_KNOWN_INCOMPAT);
    if (check_zero(in, HEADER_RESERVED, HASH_AT, err) != TF_OK)
        return tf_context(err, "header");
    return TF_OK;
}

/* ---- trailer ---- */

enum { /* offsets */
       DIRECTORY_OFFSET = 16,
       DIRECTORY_CODED = 24,
       DIRECTORY_RAW = 28,
       DIRECTORY_HASH = 32,
       FILE_SIZE = 40,
       TRAILER_RESERVED = 48
};

bool tf_header_begins(const uint8_t *in)
{
    return memcmp(in, header_magic, TF_MAGIC_SIZE) == 0;
}

bool tf_trailer_begins(const uint8_t *in)
{
    return memcmp(in, trailer_magic, TF_MAGIC_SIZE) == 0;
}

void tf_trailer_pack(uint8_t out[TF_FRAME_SIZE], const struct tf_trailer *trailer)
{
    memset(out, 0, TF_FRAME_SIZE);
    memcpy(out, trailer_magic, TF_MAGIC_SIZE);
    tf_put_u64(out + DIRECTORY_OFFSET, trailer->directory_offset);
    tf_put_u32(out + DIRECTORY_CODED, trailer->directory_coded);
    tf_put_u32(out + DIRECTORY_RAW, trailer->directory_raw);
    tf_put_u64(out + DIRECTORY_HASH, trailer->directory_hash);
    tf_put_u64(out + FILE_SIZE, trailer->file_size);
    tf_put_u64(out + HASH_AT, XXH3_64bits(out, HASH_AT));
}

enum tf_code tf_trailer_unpack(struct tf_trailer *trailer, const uint8_t in[TF_FRAME_SIZE],
                               uint64_t have, struct tf_err *err)
{
    uint64_t end; /* of the directory */

    if (check_hash(in, err) != TF_OK || check_zero(in, TRAILER_RESERVED, HASH_AT, err) != TF_OK)
        return tf_context(err, "trailer");
    trailer->directory_offset = tf_get_u64(in + DIRECTORY_OFFSET);
    trailer->directory_coded = tf_get_u32(in + DIRECTORY_CODED);
    trailer->directory_raw = tf_get_u32(in + DIRECTORY_RAW);
    trailer->directory_hash = tf_get_u64(in + DIRECTORY_HASH);
    trailer->file_size = tf_get_u64(in + FILE_SIZE);
    end = trailer->file_size - TF_FRAME_SIZE;
    if (trailer->file_size < 2 * TF_FRAME_SIZE || trailer->directory_offset < TF_FRAME_SIZE ||
        trailer->directory_offset > end ||
        trailer->directory_coded != end - trailer->directory_offset)
        return tf_fail(err, TF_DATA,
                       "trailer: directory of %" PRIu32 " bytes at byte %" PRIu64
                       " does not end at the trailer, at byte %" PRIu64,
                       trailer->directory_coded, trailer->directory_offset, end);
    if (trailer->directory_raw > TF_MAX_DIRECTORY_RAW ||
        trailer->directory_raw > TF_SMALL_DIRECTORY_RAW + have / 4 ||
        !tf_frame_can_hold(trailer->directory_coded, trailer->directory_raw))
        return tf_fail(err, TF_DATA,
                       "trailer: a directory of %" PRIu32 " bytes in %" PRIu32
                       ", in a file of %" PRIu64 ", is out of bounds",
                       trailer->directory_raw, trailer->directory_coded, have);
    return TF_OK;
}

/* ---- zstd frames ---- */

/* The frame header descriptor: RFC 8878, 3.1.1.1.1. */
enum { CHECKSUM = 0x04, SINGLE_SEGMENT = 0x20, DICTIONARY_OR_RESERVED = 0x0b };

bool tf_frame_can_hold(uint64_t coded, uint64_t raw)
{
    return raw <= coded / 4 * ZSTD_BLOCKSIZE_MAX;
}

enum tf_code tf_frame_check(const uint8_t *coded, size_t coded_size, size_t raw, struct tf_err *err)
{
    unsigned long long declared;

    if (coded_size < 9 || tf_get_u32(coded) != ZSTD_MAGICNUMBER)
        return tf_fail(err, TF_DATA, "not a zstd frame");
    if ((coded[4] & (CHECKSUM | DICTIONARY_OR_RESERVED)) != CHECKSUM)
        return tf_fail(err, TF_DATA,
                       "zstd frame descriptor 0x%02x: a checksum and no dictionary are required",
                       coded[4]);
    if (!(coded[4] & SINGLE_SEGMENT) && (coded[5] >> 3) + 10 > WINDOW_LOG_MAX)
        return tf_fail(err, TF_DATA, "zstd window of 2^%d bytes, at most 2^%d",
                       (coded[5] >> 3) + 10, WINDOW_LOG_MAX);
    declared = ZSTD_getFrameContentSize(coded, coded_size);
    if (declared == ZSTD_CONTENTSIZE_UNKNOWN || declared == ZSTD_CONTENTSIZE_ERROR)
        return tf_fail(err, TF_DATA, "zstd frame declares no size, the record %zu bytes", raw);
    if (declared != raw)
        return tf_fail(err, TF_DATA, "zstd frame declares %llu bytes, the record %zu", declared,
                       raw);
    if (ZSTD_findFrameCompressedSize(coded, coded_size) != coded_size)
        return tf_fail(err, TF_DATA, "zstd frame does not have the recorded %zu bytes", coded_size);
    return TF_OK;
}

/* ---- both ends of a file ---- */

/* A window on the file. */
struct view {
    const struct tf_in *in;
    uint64_t at; /* of its first byte */
    size_t have;
    uint8_t bytes[4096];
};

/* `count` bytes of the file, a few, from byte `at` on; TF_NO: it ends before. */
static enum tf_code look(struct view *view, uint64_t at, size_t count, const uint8_t **bytes,
                         struct tf_err *err)
{
    uint64_t size = view->in->size;
    enum tf_code code = TF_OK;

    if (at > size || count > size - at)
        return TF_NO;
    if (at < view->at || at + count > view->at + view->have) {
        view->at = at;
        view->have = size - at < sizeof(view->bytes) ? size - at : sizeof(view->bytes);
        code = tf_in_read(view->in, at, view->bytes, view->have, err);
    }
    *bytes = view->bytes + (at - view->at);
    return code;
}

static enum tf_code no_frame(const struct view *view, uint64_t at, struct tf_err *err)
{
    return tf_fail(err, TF_DATA, "no trailer, and no frame begins at byte %" PRIu64 " of %" PRIu64,
                   at, view->in->size);
}

/* Where the zstd frame at byte `at` ends: RFC 8878, 3.1.1. */
static enum tf_code pass_blocks(struct view *view, uint64_t at, uint64_t *end, struct tf_err *err)
{
    static const uint8_t dictionary_sizes[] = {0, 1, 2, 4}, content_sizes[] = {0, 2, 4, 8};
    enum { LAST = 1, RLE = 1, RESERVED = 3 };
    const uint8_t *in;
    uint32_t block = 0, type;
    enum tf_code code = look(view, at, 5, &in, err);

    if (code != TF_OK)
        return code;
    const uint8_t descriptor = in[4], content = descriptor >> 6;
    const bool single = descriptor & SINGLE_SEGMENT;
    *end = at + 5 + !single + dictionary_sizes[descriptor & 3] + content_sizes[content] +
           (single && content == 0);
    while (!(block & LAST)) {
        code = look(view, *end, 3, &in, err);
        if (code != TF_OK)
            return code;
        block = in[0] | (uint32_t)in[1] << 8 | (uint32_t)in[2] << 16;
        type = block >> 1 & 3;
        if (type == RESERVED)
            return no_frame(view, at, err);
        *end += 3 + (type == RLE ? 1 : block >> 3);
    }
    *end += descriptor & CHECKSUM ? 4 : 0;
    return TF_OK;
}

/* Where the frame at byte `at` ends, of which the file may have only a part: TF_NO then. Reads what
 * tells sizes alone, so that the time is in no proportion to the bytes of a large file. */
static enum tf_code pass_frame(struct view *view, uint64_t at, uint64_t *end, struct tf_err *err)
{
    const uint8_t *in;
    enum tf_code code = look(view, at, 4, &in, err);

    if (code != TF_OK)
        return code;
    if (tf_get_u32(in) == ZSTD_MAGICNUMBER) {
        code = pass_blocks(view, at, end, err);
    } else if ((tf_get_u32(in) & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START) {
        code = look(view, at, 8, &in, err);
        *end = code == TF_OK ? at + 8 + tf_get_u32(in + 4) : at;
    } else {
        return no_frame(view, at, err);
    }
    return code == TF_OK && *end > view->in->size ? TF_NO : code;
}

/* The file does not end in a trailer: was it cut, or was something put after it? */
static enum tf_code explain_ending(const struct tf_in *in, struct tf_err *err)
{
    struct view view = {.in = in};

    for (uint64_t at = TF_FRAME_SIZE, end = at; at < in->size; at = end) {
        const uint8_t *magic;
        enum tf_code code = pass_frame(&view, at, &end, err);

        if (code == TF_NO)
            return tf_fail(err, TF_DATA,
                           "truncated: the file ends at byte %" PRIu64
                           ", inside the frame that begins at byte %" PRIu64,
                           in->size, at);
        if (code != TF_OK)
            return code;
        if (end - at != TF_FRAME_SIZE)
            continue;
        code = look(&view, at, TF_MAGIC_SIZE, &magic, err);
        if (code != TF_OK)
            return code;
        if (tf_trailer_begins(magic))
            return tf_fail(err, TF_DATA,
                           "the checkpoint ends at byte %" PRIu64 ", the file at byte %" PRIu64
                           ": something was appended",
                           end, in->size);
    }
    return tf_fail(err, TF_DATA,
                   "no trailer in the last %d of %" PRIu64
                   " bytes: truncated between two frames, or damaged",
                   TF_FRAME_SIZE, in->size);
}

enum tf_code tf_frames_open(const struct tf_in *in, struct tf_header *header,
                            struct tf_trailer *trailer, struct tf_err *err)
{
    uint8_t bytes[TF_FRAME_SIZE] = {0};
    size_t have = in->size < TF_MAGIC_SIZE ? (size_t)in->size : TF_MAGIC_SIZE;
    enum tf_code code = tf_in_read(in, 0, bytes, have, err);

    if (code != TF_OK)
        return code;
    if (have == 0 || memcmp(bytes, header_magic, have) != 0)
        return tf_fail(err, TF_DATA, "not a TokenFormer checkpoint");
    if (in->size < 2 * TF_FRAME_SIZE)
        return tf_fail(err, TF_DATA,
                       "truncated: the file has %" PRIu64 " bytes, header and trailer alone %d",
                       in->size, 2 * TF_FRAME_SIZE);
    code = tf_in_read(in, 0, bytes, sizeof(bytes), err);
    if (code == TF_OK)
        code = tf_header_unpack(header, bytes, err);
    if (code == TF_OK)
        code = tf_in_read(in, in->size - TF_FRAME_SIZE, bytes, sizeof(bytes), err);
    if (code != TF_OK)
        return code;
    if (!tf_trailer_begins(bytes))
        return explain_ending(in, err);
    code = tf_trailer_unpack(trailer, bytes, in->size, err);
    if (code == TF_OK && trailer->file_size != in->size)
        return tf_fail(err, TF_DATA,
                       "trailer: says the file has %" PRIu64 " bytes, it has %" PRIu64,
                       trailer->file_size, in->size);
    return code;
}
