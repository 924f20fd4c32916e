/* Reading a checkpoint. Nothing in the file is trusted: see "A reader that trusts nothing" in
 * tf-checkpoint(5). */
#ifndef TF_STORE_READER_H
#define TF_STORE_READER_H

#include "base/err.h"
#include "store/format.h"

struct tf_store; /* an open checkpoint; read-only, so safe to read from several threads */

/* Checks header, trailer, directory and every record against the file's size; decodes no chunk.
 * Errors name path, object and both values: TF_NOINPUT (missing, a directory), TF_DATA (damaged,
 * unknown version or incompat bits), TF_MEMORY (tables larger than max_memory bytes; 0: no limit of
 * our own). */
TF_MUST_USE enum tf_code tf_store_open(struct tf_store **out, const char *path, uint64_t max_memory,
                                       struct tf_err *err);
void tf_store_close(struct tf_store *store);

/* All of these borrow from the store. */
const char *tf_store_path(const struct tf_store *store);
unsigned tf_store_minor(const struct tf_store *store); /* the file's version is TF_MAJOR and this */
uint64_t tf_store_file_size(const struct tf_store *store);
size_t tf_store_tables(const struct tf_store *store);
const struct tf_table_info *tf_store_table(const struct tf_store *store, size_t index);
/* The index of a table by name, or SIZE_MAX. */
size_t tf_store_find(const struct tf_store *store, const char *name);
const struct tf_chunk_info *tf_store_chunk(const struct tf_store *store, size_t index);
/* A blob's bytes, followed by a 0 that *size does not count; size 0 when the file has none. size
 * may be NULL. */
const char *tf_store_blob(const struct tf_store *store, enum tf_blob kind, size_t *size);

/* May what this file holds be carried into a new one? TF_DATA when it has ro_compat bits that this
 * program does not know. */
TF_MUST_USE enum tf_code tf_store_editable(const struct tf_store *store, struct tf_err *err);

/* Rows row .. row+count of a table as f32 into out, `stride` floats from row to row (stride >=
 * cols). Checks coded hash, decode, raw hash of each chunk that it touches. Chunks are decoded in
 * parallel. */
TF_MUST_USE enum tf_code tf_store_read(const struct tf_store *store, size_t table, uint64_t row,
                                       uint64_t count, float *out, size_t stride,
                                       struct tf_err *err);
/* All rows of a table, and where they go. */
struct tf_table_read {
    size_t table;
    float *out;
    size_t stride;
};
/* As tf_store_read for each of `count` tables, but threads go on from one table to the next. */
TF_MUST_USE enum tf_code tf_store_read_tables(const struct tf_store *store,
                                              const struct tf_table_read *reads, size_t count,
                                              struct tf_err *err);
/* Rows as tf_store_read gives them, but as they are stored: little-endian, dtype's width, no
 * padding. */
TF_MUST_USE enum tf_code tf_store_read_raw(const struct tf_store *store, size_t table, uint64_t row,
                                           uint64_t count, void *out, struct tf_err *err);
/* XXH3-128 over a table's raw rows in order: independent of chunking, filter and level. Decodes it
 * all. */
TF_MUST_USE enum tf_code tf_store_digest(const struct tf_store *store, size_t table,
                                         struct tf_digest *out, struct tf_err *err);
/* Over the sorted (name, dtype, shape, scale, table digest) of every table whose role is
 * TF_PARAMETER: two checkpoints with one model digest are the same model, with or without optimizer
 * state. */
TF_MUST_USE enum tf_code tf_store_model_digest(const struct tf_store *store, struct tf_digest *out,
                                               struct tf_err *err);
/* A chunk's bytes as they stand in the file (chunk->coded of them), their checksum checked; nothing
 * is decoded. `chunk` counts from the table's first. */
TF_MUST_USE enum tf_code tf_store_read_coded(const struct tf_store *store, size_t table,
                                             uint32_t chunk, void *out, struct tf_err *err);
/* Reads and checks every byte of every chunk. */
TF_MUST_USE enum tf_code tf_store_verify(const struct tf_store *store, struct tf_err *err);

#endif
