/* Writing a checkpoint: tables in the order of their names, then blobs, then commit. The target
 * appears whole or not at all. */
#ifndef TF_STORE_WRITER_H
#define TF_STORE_WRITER_H

#include "base/err.h"
#include "store/format.h"
#include "store/reader.h"
#include <stdbool.h>

struct tf_writer;

/* force: replace an existing file. level: zstd's, 1..9 (0: the default, 1). */
TF_MUST_USE enum tf_code tf_writer_open(struct tf_writer **out, const char *path, bool force,
                                        int level, struct tf_err *err);
/* Begins a table; name, role, dtype, filter, cols, row_group and scale are read from info, rows and
 * chunks are counted. Names must ascend. */
TF_MUST_USE enum tf_code tf_writer_table(struct tf_writer *writer, const struct tf_table_info *info,
                                         struct tf_err *err);
/* Rows that a full chunk of this table has when the writer chooses: about 384 KiB raw, at least
 * one. */
uint64_t tf_chunk_rows(const struct tf_table_info *info);
/* Appends rows from f32 memory, `stride` floats from row to row, rounded to the table's dtype
 * (nearest even). Each call starts a fresh chunk; chunks have tf_chunk_rows, are compressed in
 * parallel and written in order. */
TF_MUST_USE enum tf_code tf_writer_rows(struct tf_writer *writer, const float *rows, uint64_t count,
                                        size_t stride, struct tf_err *err);
/* Appends rows as they are stored (little-endian, the dtype's width, no padding): `step` rows a
 * chunk, the last one shorter (0: tf_chunk_rows). Otherwise as tf_writer_rows. */
TF_MUST_USE enum tf_code tf_writer_raw(struct tf_writer *writer, const void *rows, uint64_t count,
                                       uint64_t step, struct tf_err *err);
/* A whole table in f32 memory: info.rows of them. */
struct tf_table_rows {
    struct tf_table_info info;
    const float *rows;
    size_t stride;
};
/* tf_writer_table and tf_writer_rows for each of `count` tables, but threads go on from one to the
 * next. */
TF_MUST_USE enum tf_code tf_writer_tables(struct tf_writer *writer,
                                          const struct tf_table_rows *tables, size_t count,
                                          struct tf_err *err);
/* Appends chunks first .. first+count of a table of an open checkpoint as they stand: coded hash
 * checked, never decoded. dtype, filter and cols must agree with the table begun. */
TF_MUST_USE enum tf_code tf_writer_copy(struct tf_writer *writer, const struct tf_store *from,
                                        size_t table, uint32_t first, uint32_t count,
                                        struct tf_err *err);
/* Sets a blob (copied). */
TF_MUST_USE enum tf_code tf_writer_blob(struct tf_writer *writer, enum tf_blob kind,
                                        const char *bytes, size_t size, struct tf_err *err);
/* Directory and trailer, all of it to the disk; the temporary is opened again and every byte of it
 * checked. Nothing can be added afterwards. *part (borrowed; may be NULL): its name, until commit.
 */
TF_MUST_USE enum tf_code tf_writer_finish(struct tf_writer *writer, const char **part,
                                          struct tf_err *err);
/* Finishes when that was not done; rename, fsync of the folder. */
TF_MUST_USE enum tf_code tf_writer_commit(struct tf_writer *writer, struct tf_err *err);
/* Frees; a writer that was not committed leaves nothing behind. NULL is fine. */
void tf_writer_close(struct tf_writer *writer);

#endif
