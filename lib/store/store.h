/* The inside of an open checkpoint, for this layer alone. */
#ifndef TF_STORE_STORE_H
#define TF_STORE_STORE_H

#include "base/io.h"
#include "store/directory.h"
#include "store/frame.h"
#include "store/reader.h"
#include <stdbool.h>

struct tf_store {
    struct tf_in in;
    struct tf_header header;
    struct tf_directory directory;
    uint64_t *first_rows; /* of each chunk, in its table */
};

/* Reads and checks the directory of a trailer; its frame stands at byte `at` of the file, which is
 * directory_offset in a file that is whole. Of several trailers tried, TF_NO says that the checksum
 * of this one's directory is wrong, and nothing was made of it. */
TF_MUST_USE enum tf_code tf_store_index(struct tf_store *store, const struct tf_trailer *trailer,
                                        uint64_t at, uint64_t max_memory, struct tf_err *err);

/* Reads the coded bytes of all chunks and checks them; decodes nothing. */
TF_MUST_USE enum tf_code tf_store_check_coded(const struct tf_store *store, struct tf_err *err);

/* Checks all chunks for which good[] is false, and sets it for those that verify. Fails only for
 * want of memory. */
TF_MUST_USE enum tf_code tf_store_try_chunks(const struct tf_store *store, bool *good,
                                             struct tf_err *err);

#endif
