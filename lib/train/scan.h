/* Looking at the rows of pieces before an edit takes them, a block at a time. */
#ifndef TF_TRAIN_SCAN_H
#define TF_TRAIN_SCAN_H

#include "train/edit.h"

/* What a row of a table may be asked. */
typedef bool tf_row_test(const float *row, const struct tf_table_info *info);
bool tf_is_zero(const float *row, const struct tf_table_info *info);
bool tf_is_finite(const float *row, const struct tf_table_info *info);

/* The pieces are of a store or a .npy file, and have the table's columns. */

/* The first of a piece's rows that fails a test into *found; piece->count when all pass. */
TF_MUST_USE enum tf_code tf_scan_find(uint64_t *found, const struct tf_piece *piece,
                                      const struct tf_table_info *info, tf_row_test *test,
                                      struct tf_err *err);
/* Would the rows of one piece be, as the table stores them, those of the other? */
TF_MUST_USE enum tf_code tf_scan_same(bool *same, const struct tf_piece *one,
                                      const struct tf_piece *other,
                                      const struct tf_table_info *info, struct tf_err *err);
/* TF_DATA when a number would become infinite in the table's dtype. */
TF_MUST_USE enum tf_code tf_scan_fits(const struct tf_piece *piece,
                                      const struct tf_table_info *info, struct tf_err *err);

#endif
