/* Names of files, and the system's calls on them, for io, lock and folder. A call that a signal
 * interrupts is made again. An int below 0 says that errno tells why. */
#ifndef TF_BASE_PATH_H
#define TF_BASE_PATH_H

#include "base/err.h"
#include <dirent.h>
#include <sys/types.h>

/* Bytes of path up to and with its last slash; 0 for a bare name. */
size_t tf_path_folder(const char *path);
/* prefix + the name in path + suffix, in the folder of path; freed with tf_free. */
TF_MUST_USE char *tf_path_beside(const char *path, const char *prefix, const char *suffix,
                                 struct tf_err *err);
/* What an output of this name replaces: the name behind symbolic links, and path itself where there
 * is none. Freed with tf_free. */
TF_MUST_USE char *tf_path_target(const char *path, struct tf_err *err);
/* May a file be made in the folder of path? TF_CANTCREATE: no. */
TF_MUST_USE enum tf_code tf_path_creatable(const char *path, struct tf_err *err);

int tf_path_open(const char *path, int flags);
ssize_t tf_path_read(int fd, void *out, size_t size);     /* as read(2) */
int tf_path_write(int fd, const void *data, size_t size); /* all of it */
int tf_path_fsync(int fd);
/* A folder's entries; path is relative to the open folder `at`, as in openat(2). NULL: errno. */
DIR *tf_path_list(int at, const char *path);
/* A descriptor whose close was interrupted is closed. */
int tf_path_close(int fd);

/* Opens and locks (flock's LOCK_EX or LOCK_SH) without waiting; EWOULDBLOCK: another has it. What
 * is returned is what path names: the last owner may have removed or renamed its file before it let
 * go of the lock. */
int tf_path_open_locked(const char *path, int flags, int lock);
/* Makes a temporary, or takes over what a killed run left: locked, empty, for reading and
 * writing. */
int tf_path_take(const char *path);

/* Renames, unless `to` exists already. */
int tf_path_rename_new(const char *from, const char *to);
/* So that a new name in the folder of path survives a power cut. */
TF_MUST_USE enum tf_code tf_path_sync_folder(const char *path, struct tf_err *err);

#endif
