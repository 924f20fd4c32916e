/* The directory: what tables and chunks there are, and the blobs. Its bytes are specified in
 * tf-checkpoint(5). */
#ifndef TF_STORE_DIRECTORY_H
#define TF_STORE_DIRECTORY_H

#include "base/err.h"
#include "store/format.h"

struct tf_directory {
    struct tf_table_info *tables; /* owned, as all below */
    struct tf_chunk_info *chunks;
    size_t table_count, chunk_count;
    char *blobs[TF_BLOBS]; /* each followed by a 0; NULL: none */
    size_t blob_sizes[TF_BLOBS];
};

/* Is a table's own description sound: name, role, dtype, filter, cols, row group, scale? */
TF_MUST_USE enum tf_code tf_table_check(const struct tf_table_info *table, struct tf_err *err);

/* Serialises; *out is freed with tf_free. */
TF_MUST_USE enum tf_code tf_directory_pack(const struct tf_directory *directory, uint8_t **out,
                                           size_t *size, struct tf_err *err);

/* Parses and checks every record; the chunks must tile the file's bytes start .. end, and the
 * tables' raw bytes together be no more than max_memory (0: no limit). On failure, too, the caller
 * calls tf_directory_fini. */
TF_MUST_USE enum tf_code tf_directory_unpack(struct tf_directory *directory, const uint8_t *in,
                                             size_t size, uint64_t start, uint64_t end,
                                             uint64_t max_memory, struct tf_err *err);
void tf_directory_fini(struct tf_directory *directory); /* a zeroed struct is fine */

#endif
