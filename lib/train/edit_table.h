/* The tables of an edit, one by one. For edit.c alone. */
#ifndef TF_TRAIN_EDIT_TABLE_H
#define TF_TRAIN_EDIT_TABLE_H

#include "train/edit.h"

/* Adds what writing the table takes. */
void tf_edit_plan_table(struct tf_edit_plan *plan, const struct tf_edit_table *table);
TF_MUST_USE enum tf_code tf_edit_write_table(struct tf_writer *writer,
                                             const struct tf_edit_table *table, struct tf_err *err);

#endif
