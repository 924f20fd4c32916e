/* The names of a run's checkpoints, and which are kept: OUT.tfck is the newest, OUT.step-N.tfck the
 * last few, OUT.best.tfck the best. */
#ifndef TF_TRAIN_KEEP_H
#define TF_TRAIN_KEEP_H

#include "base/err.h"
#include <stdint.h>

/* OUT.tfck and "best" give OUT.best.tfck (a name that does not end in .tfck gives NAME.best.tfck).
 * *out freed with tf_free. */
TF_MUST_USE enum tf_code tf_keep_name(char **out, const char *output, const char *word,
                                      struct tf_err *err);
/* Gives the checkpoint at output a second name with its step, replacing one of that name, and
 * removes all but the `last` newest of those of steps up to this one. */
TF_MUST_USE enum tf_code tf_keep_step(const char *output, uint64_t step, uint64_t last,
                                      struct tf_err *err);

#endif
