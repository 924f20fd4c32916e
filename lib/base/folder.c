#include "base/folder.h"

#include "base/mem.h"
#include "base/path.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN = O_RDONLY | O_DIRECTORY | O_NOFOLLOW };

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* ---- what is in the .part ---- */

/* What a killed run leaves is plain files. */
static enum tf_code check_entry(const struct tf_folder *folder, int fd, const char *name,
                                struct tf_err *err)
{
    struct stat status;

    if (fstatat(fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot look at %s/%s", folder->path,
                             folder->part, name);
    if (!S_ISREG(status.st_mode))
        return tf_fail(err, TF_CANTCREATE, "%s: %s/%s is in the way: not a plain file",
                       folder->path, folder->part, name);
    return TF_OK;
}

static enum tf_code remove_entry(const struct tf_folder *folder, int fd, const char *name,
                                 struct tf_err *err)
{
    if (unlinkat(fd, name, 0) == 0)
        return TF_OK;
    return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot remove %s/%s", folder->path, folder->part,
                         name);
}

/* Does one of the two for all that is in the .part, which is open as fd, until one fails. */
static enum tf_code each_entry(const struct tf_folder *folder, int fd,
                               enum tf_code (*visit)(const struct tf_folder *, int, const char *,
                                                     struct tf_err *),
                               struct tf_err *err)
{
    DIR *list = tf_path_list(fd, ".");
    const struct dirent *entry;
    enum tf_code code = TF_OK;

    while (list != NULL && code == TF_OK && (errno = 0, entry = readdir(list)) != NULL)
        if (!is_dots(entry->d_name))
            code = visit(folder, fd, entry->d_name, err);
    if (code == TF_OK && errno != 0)
        code = tf_fail_errno(err, TF_CANTCREATE, "%s: cannot list %s", folder->path, folder->part);
    if (list != NULL)
        closedir(list);
    return code;
}

/* ---- opening ---- */

static enum tf_code refuse_existing(const char *path, struct tf_err *err)
{
    return tf_fail(err, TF_CANTCREATE, "%s: exists already; a folder is never replaced", path);
}

/* Why there is no .part, after tf_path_open_locked. */
static enum tf_code refuse_part(const struct tf_folder *folder, struct tf_err *err)
{
    if (errno == EWOULDBLOCK)
        return tf_fail(err, TF_CANTCREATE, "%s: another program is writing it", folder->path);
    return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create %s", folder->path, folder->part);
}

/* Sets the names, and checks that the folder may be made. */
static enum tf_code begin(struct tf_folder *folder, const char *path, struct tf_err *err)
{
    size_t length = strlen(path);
    struct stat status;

    *folder = (struct tf_folder){.fd = -1};
    while (length > 0 && path[length - 1] == '/')
        length--;
    if (length == 0 || strcmp(path, "-") == 0) /* which stands for a stream */
        return tf_fail(err, TF_CANTCREATE, "\"%s\": not the name of a folder", path);
    folder->path = tf_strndup(path, length, err);
    if (folder->path == NULL)
        return TF_MEMORY;
    if (lstat(folder->path, &status) == 0)
        return refuse_existing(folder->path, err);
    if (errno != ENOENT)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", folder->path);
    folder->part = tf_path_beside(folder->path, ".", ".part", err);
    return folder->part == NULL ? TF_MEMORY : tf_path_creatable(folder->path, err);
}

/* The .part, open and locked. */
static int claim(const char *part)
{
    for (;;) {
        if (mkdir(part, 0777) < 0 && errno != EEXIST)
            return -1;
        int fd = tf_path_open_locked(part, OPEN, LOCK_EX);
        if (fd >= 0 || errno == EWOULDBLOCK)
            return fd;
        if (errno == ENOENT) /* its last owner removed it just now */
            continue;
        int saved = errno;
        rmdir(part); /* only what is empty */
        errno = saved;
        return -1;
    }
}

enum tf_code tf_folder_open(struct tf_folder *folder, const char *path, struct tf_err *err)
{
    enum tf_code code = begin(folder, path, err);
    int fd = -1;

    if (code == TF_OK && (fd = claim(folder->part)) < 0)
        code = refuse_part(folder, err);
    if (code == TF_OK)
        code = each_entry(folder, fd, check_entry, err);
    if (code == TF_OK)
        code = each_entry(folder, fd, remove_entry, err);
    if (code == TF_OK) {
        folder->fd = fd;
        return TF_OK;
    }
    if (fd >= 0) {
        rmdir(folder->part); /* what is in it is not ours */
        close(fd);
    }
    tf_folder_close(folder);
    return code;
}

enum tf_code tf_folder_check(const char *path, struct tf_err *err)
{
    struct tf_folder folder;
    enum tf_code code = begin(&folder, path, err);

    if (code == TF_OK) {
        int fd = tf_path_open_locked(folder.part, OPEN, LOCK_SH);
        if (fd >= 0)
            code = each_entry(&folder, fd, check_entry, err);
        else if (errno != ENOENT)
            code = refuse_part(&folder, err);
        if (fd >= 0)
            close(fd);
    }
    tf_folder_close(&folder);
    return code;
}

/* ---- use ---- */

char *tf_folder_file(const struct tf_folder *folder, const char *name, struct tf_err *err)
{
    size_t size = strlen(folder->part) + strlen(name) + 2;

    if (*name == '\0' || is_dots(name) || strchr(name, '/') != NULL) {
        tf_fail(err, TF_CANTCREATE, "%s: \"%s\" is not the name of a file in it", folder->path,
                name);
        return NULL;
    }
    char *file = tf_new(size, 1, "file name", err);
    if (file != NULL)
        snprintf(file, size, "%s/%s", folder->part, name);
    return file;
}

/* Lets go of the .part, and of its lock. */
static int close_part(struct tf_folder *folder)
{
    int fd = folder->fd;

    folder->fd = -1;
    return tf_path_close(fd);
}

enum tf_code tf_folder_commit(struct tf_folder *folder, struct tf_err *err)
{
    if (tf_path_fsync(folder->fd) < 0 && errno != EINVAL) /* not every file system can */
        return tf_fail_errno(err, TF_IO, "%s: cannot write", folder->path);
    if (tf_path_rename_new(folder->part, folder->path) < 0)
        return errno == EEXIST
                   ? refuse_existing(folder->path, err)
                   : tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", folder->path);
    if (close_part(folder) < 0)
        return tf_fail_errno(err, TF_IO, "%s: cannot close", folder->path);
    return tf_path_sync_folder(folder->path, err);
}

void tf_folder_close(struct tf_folder *folder)
{
    if (folder->part != NULL && folder->fd >= 0) {
        (void)!each_entry(folder, folder->fd, remove_entry, NULL);
        rmdir(folder->part); /* while the lock is held: it is still ours */
        (void)close_part(folder);
    }
    tf_free(folder->part);
    tf_free(folder->path);
    *folder = (struct tf_folder){0};
}
