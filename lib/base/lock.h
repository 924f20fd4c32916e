/* One writer for an output, for as long as a run lasts that writes it again and again. */
#ifndef TF_BASE_LOCK_H
#define TF_BASE_LOCK_H

#include "base/err.h"
#include <stdbool.h>

/* ".NAME.lock" beside the output, locked with flock and holding our process number. The lock ends
 * with the process: the file that a killed run leaves is taken over. */
struct tf_lock {
    int fd;
    char *file; /* owned; NULL: no lock */
};

/* Another process that holds the lock, or is writing the output now: TF_CANTCREATE, "out.tfck:
 * process 1234 is writing it". */
TF_MUST_USE enum tf_code tf_lock_take(struct tf_lock *lock, const char *path, struct tf_err *err);
/* Removes the file while it is still locked. A zeroed struct is fine. */
void tf_lock_release(struct tf_lock *lock);

/* Refuses, as tf_lock_take does, an output on which another process holds the lock; one of our own
 * is no hindrance. clear: a file that a killed run left is removed, which only who has the output's
 * .part may do. */
TF_MUST_USE enum tf_code tf_lock_check(const char *path, bool clear, struct tf_err *err);

#endif
