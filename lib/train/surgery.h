/* The editing verbs of tf-inspect: each makes its changes to an edit of the checkpoint, which
 * tf_edit_write carries out. */
#ifndef TF_TRAIN_SURGERY_H
#define TF_TRAIN_SURGERY_H

#include "train/edit.h"
#include "train/select.h"

/* Rows (surgery_rows.c). Keys, values and moments of a Pattention stay in step, and the scale as it
 * is. What is borrowed must outlive the edit. */

/* Keeps the selected rows of each selected Pattention, or drops them; others stay whole. At least
 * one row must be left. The dropped keys are read, to tell whether the function is preserved. */
TF_MUST_USE enum tf_code tf_surgery_slice(struct tf_edit *edit,
                                          const struct tf_selection *selection, bool keep,
                                          struct tf_err *err);
/* The selected rows of one table become those of a .npy file, of the same shape. */
TF_MUST_USE enum tf_code tf_surgery_replace(struct tf_edit *edit,
                                            const struct tf_selected *selected,
                                            const struct tf_npy *npy, struct tf_err *err);
/* Puts new tokens behind those of a Pattention, with moments of zero. */
TF_MUST_USE enum tf_code tf_surgery_append(struct tf_edit *edit, const char *group,
                                           const struct tf_npy *keys, const struct tf_npy *values,
                                           struct tf_err *err);
/* Takes the selected rows (of `other`'s tables) over into the same rows of the same tables, or
 * behind the Pattentions' last. Moments go with their rows where both have them, else are zero. */
TF_MUST_USE enum tf_code tf_surgery_transplant(struct tf_edit *edit, const struct tf_store *other,
                                               const struct tf_selection *selection, bool append,
                                               struct tf_err *err);

/* Tables (surgery_tables.c) */

/* "section.key=value" of the config, or "PATTENTION.scale=value" (tau^2; patterns, too). What the
 * tables alone can say (token counts, widths, layers) is refused. */
TF_MUST_USE enum tf_code tf_surgery_set(struct tf_edit *edit, const char *const *assignments,
                                        size_t count, struct tf_err *err);
/* Leaves tables out: "optim" is all optimizer state; else selections of whole tables. Both moments
 * of a table go together; parameters cannot. */
TF_MUST_USE enum tf_code tf_surgery_drop(struct tf_edit *edit, const char *const *names,
                                         size_t count, struct tf_err *err);
/* Stores tables in another dtype; without names, all parameters. A number too large for f16:
 * TF_DATA. */
TF_MUST_USE enum tf_code tf_surgery_cast(struct tf_edit *edit, enum tf_dtype dtype,
                                         const char *const *names, size_t count,
                                         struct tf_err *err);
/* Codes every table anew in full chunks. */
void tf_surgery_repack(struct tf_edit *edit);

#endif
