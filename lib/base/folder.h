/* A folder that appears whole or not at all. */
#ifndef TF_BASE_FOLDER_H
#define TF_BASE_FOLDER_H

#include "base/err.h"

/* Files are made in ".NAME.part/" beside it, which is locked against a second writer and gets its
 * name in the end. */
struct tf_folder {
    int fd;     /* of the .part, locked; below 0 when there is none, or it was committed */
    char *path; /* owned: the target, without slashes at its end */
    char *part; /* owned: the temporary beside it */
};

/* What a killed run left in the .part is removed: plain files; anything else in it is refused, and
 * nothing removed. So is a path that exists (TF_CANTCREATE): a folder is never replaced. */
TF_MUST_USE enum tf_code tf_folder_open(struct tf_folder *folder, const char *path,
                                        struct tf_err *err);
/* The same checks, making and removing nothing. */
TF_MUST_USE enum tf_code tf_folder_check(const char *path, struct tf_err *err);
/* The path, for now, of a file in it, freed with tf_free; NULL after setting err. Only the name of
 * a plain file will do, without folders. */
TF_MUST_USE char *tf_folder_file(const struct tf_folder *folder, const char *name,
                                 struct tf_err *err);
/* fsync, rename unless the path exists by now, close, fsync of the folder above. TF_IO from the
 * last two: it is there, whole. The files must be on the disk already. */
TF_MUST_USE enum tf_code tf_folder_commit(struct tf_folder *folder, struct tf_err *err);
/* Closes; what was not committed is removed. A zeroed struct is fine. */
void tf_folder_close(struct tf_folder *folder);

#endif
