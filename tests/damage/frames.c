/* Frames that are not what a chunk or a directory must be, vouched for by the checksum of their
 * bytes. */
#include "cases.h"

#include "store/bytes.h"

enum { DESCRIPTOR = 4, FRAME_SIZE = 5, BLOCKS = 9, CHECKSUM_SIZE = 4 };
enum { SINGLE_SEGMENT = 0x20, RESERVED = 0x08, CHECKSUM = 0x04, DICTIONARY = 0x01 };

/* The frame with one byte put in at an offset. */
static void insert(struct bytes *coded, size_t offset, uint8_t byte)
{
    struct bytes head = {coded->at, offset}, tail = {coded->at + offset, coded->size - offset};

    *coded = join(join(head, make_bytes(&byte, 1)), tail);
}

static void not_zstd(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    memcpy(coded->at, "GGUF", 4);
}

static void skippable(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    tf_put_u32(coded->at, 0x184d2a50);
    tf_put_u32(coded->at + 4, (uint32_t)coded->size - 8);
}

static void no_checksum(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[DESCRIPTOR] &= (uint8_t)~CHECKSUM;
    coded->size -= CHECKSUM_SIZE;
}

/* A window of 16 MiB instead of a size. */
static void no_size(struct bytes *coded, struct bytes raw)
{
    struct bytes tail = {coded->at + BLOCKS, coded->size - BLOCKS};

    (void)raw;
    coded->at[DESCRIPTOR] = CHECKSUM;
    coded->at[FRAME_SIZE] = 14 << 3;
    *coded = join((struct bytes){coded->at, FRAME_SIZE + 1}, tail);
}

static void dictionary(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[DESCRIPTOR] |= DICTIONARY;
    insert(coded, FRAME_SIZE, 7);
}

static void reserved_bit(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[DESCRIPTOR] |= RESERVED;
}

static void window(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[DESCRIPTOR] &= (uint8_t)~SINGLE_SEGMENT;
    insert(coded, FRAME_SIZE, 0xf8);
}

static void says_more(struct bytes *coded, struct bytes raw)
{
    tf_put_u32(coded->at + FRAME_SIZE, (uint32_t)raw.size + 1);
}

static void says_most(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    tf_put_u32(coded->at + FRAME_SIZE, UINT32_MAX);
}

/* Its size is right, its blocks hold a byte less. */
static void holds_less(struct bytes *coded, struct bytes raw)
{
    size_t size = raw.size--;

    *coded = make_frame(raw);
    tf_put_u32(coded->at + FRAME_SIZE, (uint32_t)size);
}

/* Its size is right, its blocks hold a byte more. */
static void holds_more(struct bytes *coded, struct bytes raw)
{
    *coded = make_frame(join(raw, make_bytes("x", 1)));
    tf_put_u32(coded->at + FRAME_SIZE, (uint32_t)raw.size);
}

static void trailing(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    *coded = join(*coded, make_bytes("\0", 1));
}

static void two_frames(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    *coded = join(*coded, *coded);
}

static void cut(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->size -= 6;
}

static void wrong_checksum(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[coded->size - 1] ^= 1;
}

static void block_type(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    coded->at[BLOCKS] |= 3 << 1;
}

const struct frame_case frame_cases[] = {
    {"not-zstd", not_zstd},
    {"skippable", skippable},
    {"no-checksum", no_checksum},
    {"no-size", no_size},
    {"dictionary", dictionary},
    {"reserved-bit", reserved_bit},
    {"window", window},
    {"says-more", says_more},
    {"says-most", says_most},
    {"holds-less", holds_less},
    {"holds-more", holds_more},
    {"trailing", trailing},
    {"two-frames", two_frames},
    {"cut", cut},
    {"wrong-checksum", wrong_checksum},
    {"block-type", block_type},
    {0},
};
