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
/* Appends rows from f32 memory, `stride` floats from row to row, rounded to the table's dtype
 * (nearest even). Each call starts a fresh chunk; chunks are about 384 KiB raw, compressed in
 * parallel, written in order. */
TF_MUST_USE enum tf_code tf_writer_rows(struct tf_writer *writer, const float *rows, uint64_t count,
                                        size_t stride, struct tf_err *err);
/* Appends all of a table's chunks from an open checkpoint as they stand: coded hash checked, never
 * decoded. dtype, filter and cols must agree with the table begun. */
TF_MUST_USE enum tf_code tf_writer_copy(struct tf_writer *writer, const struct tf_store *from,
                                        size_t table, struct tf_err *err);
/* Sets a blob (copied). */
TF_MUST_USE enum tf_code tf_writer_blob(struct tf_writer *writer, enum tf_blob kind,
                                        const char *bytes, size_t size, struct tf_err *err);
/* Directory and trailer, fsync; the whole of the temporary is opened again and checked; rename,
 * fsync of the folder. */
TF_MUST_USE enum tf_code tf_writer_commit(struct tf_writer *writer, struct tf_err *err);
/* Frees; a writer that was not committed leaves nothing behind. NULL is fine. */
void tf_writer_close(struct tf_writer *writer);

#endif
