/* Digests: XXH3-128 over the raw rows of a table, and over the tables of a model. Specified in
 * tf-checkpoint(5). */
#ifndef TF_STORE_DIGEST_H
#define TF_STORE_DIGEST_H

#include "base/err.h"
#include "store/format.h"

struct tf_hash; /* a digest under way */

/* NULL after setting err. */
TF_MUST_USE struct tf_hash *tf_hash_new(struct tf_err *err);
void tf_hash_free(struct tf_hash *hash);
void tf_hash_update(struct tf_hash *hash, const void *bytes, size_t size);
/* Rows in memory as a table of f32 holds them on disk; `stride` floats from row to row. */
void tf_hash_rows(struct tf_hash *hash, const float *rows, uint64_t count, size_t cols,
                  size_t stride);
/* A table's part of the model digest: tables come in the order of their names. */
void tf_hash_table(struct tf_hash *hash, const struct tf_table_info *info,
                   const struct tf_digest *digest);
/* What was hashed up to here; then begins anew. */
void tf_hash_finish(struct tf_hash *hash, struct tf_digest *out);

#endif
