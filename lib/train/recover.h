/* What can still be read of a damaged checkpoint, as a new one. */
#ifndef TF_TRAIN_RECOVER_H
#define TF_TRAIN_RECOVER_H

#include "store/salvage.h"
#include "train/edit.h"
#include "train/select.h"

struct tf_recovery {
    struct tf_salvage found;
    struct tf_checkpoint checkpoint; /* of the damaged file */
    struct tf_selection lost;        /* tables and rows that become zeros; nothing: all is there */
};

/* Looks for the last valid trailer in the file and plans the checkpoint that its good chunks make.
 * Every row stays where it is: those that are lost become zeros, so that transplant can put them
 * back from another checkpoint; where a moment is lost, both become zero. The edit borrows the
 * recovery. TF_DATA when no trailer with its directory is left. */
TF_MUST_USE enum tf_code tf_recover_open(struct tf_recovery *recovery, struct tf_edit *edit,
                                         const char *path, uint64_t max_memory, struct tf_err *err);
void tf_recover_close(struct tf_recovery *recovery); /* a zeroed struct is fine */

#endif
