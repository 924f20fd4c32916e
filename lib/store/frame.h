/* The frames that a checkpoint is made of: its header and trailer, and the rules that its zstd
 * frames keep. */
#ifndef TF_STORE_FRAME_H
#define TF_STORE_FRAME_H

#include "base/err.h"
#include "base/io.h"

#define TF_FRAME_SIZE 64 /* bytes of the header, and of the trailer */
#define TF_MAGIC_SIZE 16 /* bytes that begin each, always the same */

/* The feature bits that this program knows: none yet. (Unknown compat bits are ignored.) */
#define TF_KNOWN_RO_COMPAT 0u
#define TF_KNOWN_INCOMPAT 0u

struct tf_header {
    uint16_t major, minor;
    uint32_t compat, ro_compat, incompat;
};

struct tf_trailer {
    uint64_t directory_offset;
    uint32_t directory_coded, directory_raw; /* bytes */
    uint64_t directory_hash;                 /* XXH3-64 of the coded bytes */
    uint64_t file_size;
};

void tf_header_pack(uint8_t out[TF_FRAME_SIZE], const struct tf_header *header);
/* Checks magic, version, checksum, feature bits, reserved bytes. */
TF_MUST_USE enum tf_code tf_header_unpack(struct tf_header *header, const uint8_t in[TF_FRAME_SIZE],
                                          struct tf_err *err);

void tf_trailer_pack(uint8_t out[TF_FRAME_SIZE], const struct tf_trailer *trailer);
/* Checks checksum, reserved bytes, that header, directory and trailer fit exactly in the bytes that
 * it says the file has, and that a file of `have` bytes may have such a directory. */
TF_MUST_USE enum tf_code tf_trailer_unpack(struct tf_trailer *trailer,
                                           const uint8_t in[TF_FRAME_SIZE], uint64_t have,
                                           struct tf_err *err);
/* Do these TF_MAGIC_SIZE bytes begin a header, or a trailer? */
bool tf_header_begins(const uint8_t *in);
bool tf_trailer_begins(const uint8_t *in);
#define TF_TRAILER_FIRST 0x55 /* the first of them */
/* Is the checksum of this header, or trailer, right? */
bool tf_frame_intact(const uint8_t in[TF_FRAME_SIZE]);

/* Reads and checks both. Where there is no trailer, walks the frames to say why. */
TF_MUST_USE enum tf_code tf_frames_open(const struct tf_in *in, struct tf_header *header,
                                        struct tf_trailer *trailer, struct tf_err *err);

/* Can a zstd frame of `coded` bytes hold `raw` bytes at all? A block takes 4 bytes or more and
 * holds 128 KiB at most, so no file makes us allocate more than 32,768 times its size. */
bool tf_frame_can_hold(uint64_t coded, uint64_t raw);
/* Is this one zstd frame of the kind that we write, holding raw bytes: no more, no less, nothing
 * after it? */
TF_MUST_USE enum tf_code tf_frame_check(const uint8_t *coded, size_t coded_size, size_t raw,
                                        struct tf_err *err);
/* A stored and a computed checksum differ. */
enum tf_code tf_checksum_fail(struct tf_err *err, uint64_t stored, uint64_t computed);

#endif
