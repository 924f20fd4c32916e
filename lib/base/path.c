#include "base/path.h"

#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- names ---- */

size_t tf_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* The folder of path, with name in it. */
static char *in_folder_of(const char *path, const char *prefix, const char *name,
                          const char *suffix, struct tf_err *err)
{
    size_t folder = tf_path_folder(path);
    size_t size = folder + strlen(prefix) + strlen(name) + strlen(suffix) + 1;
    char *out = tf_new(size, 1, "file name", err);

    if (out != NULL)
        snprintf(out, size, "%.*s%s%s%s", (int)folder, path, prefix, name, suffix);
    return out;
}

char *tf_path_beside(const char *path, const char *prefix, const char *suffix, struct tf_err *err)
{
    return in_folder_of(path, prefix, path + tf_path_folder(path), suffix, err);
}

char *tf_path_target(const char *path, struct tf_err *err)
{
    struct stat status;
    char real[PATH_MAX];

    if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && realpath(path, real) != NULL)
        return tf_strdup(real, err);
    return tf_strdup(path, err);
}

enum tf_code tf_path_creatable(const char *path, struct tf_err *err)
{
    char *folder = in_folder_of(path, ".", "", "", err);
    int rc;

    if (folder == NULL)
        return TF_MEMORY;
    rc = faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS);
    tf_free(folder);
    return rc < 0 ? tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", path) : TF_OK;
}

/* ---- calls ---- */

int tf_path_open(const char *path, int flags)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

ssize_t tf_path_read(int fd, void *out, size_t size)
{
    ssize_t got;

    do {
        got = read(fd, out, size);
    } while (got < 0 && errno == EINTR);
    return got;
}

int tf_path_write(int fd, const void *data, size_t size)
{
    const char *from = data;

    while (size > 0) {
        ssize_t put = write(fd, from, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = EIO; /* no file does that; to ask again could take for ever */
        if (put <= 0)
            return -1;
        from += put;
        size -= (size_t)put;
    }
    return 0;
}

int tf_path_fsync(int fd)
{
    int rc;

    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

DIR *tf_path_list(int at, const char *path)
{
    DIR *list;
    int fd;

    do {
        fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    list = fd < 0 ? NULL : fdopendir(fd);
    if (list == NULL && fd >= 0)
        close(fd);
    return list;
}

int tf_path_close(int fd)
{
    return close(fd) < 0 && errno != EINTR ? -1 : 0;
}

/* Closes after a failure, whose errno stays. An empty file that we may have made is removed. */
static int give_up(int fd, const char *made)
{
    struct stat status;
    int saved = errno;

    if (made != NULL && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size == 0)
        unlink(made);
    close(fd);
    errno = saved;
    return -1;
}

/* ---- locks ---- */

static int lock_now(int fd, int lock)
{
    int rc;

    do {
        rc = flock(fd, lock | LOCK_NB);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

/* 1: path names the file behind fd; 0: it does not. */
static int is_same_file(int fd, const char *path)
{
    struct stat ours, named;

    if (fstat(fd, &ours) < 0)
        return -1;
    if (lstat(path, &named) < 0)
        return errno == ENOENT ? 0 : -1;
    return ours.st_dev == named.st_dev && ours.st_ino == named.st_ino;
}

int tf_path_open_locked(const char *path, int flags, int lock)
{
    for (;;) {
        int fd = tf_path_open(path, flags), same = -1;
        if (fd < 0)
            return -1;
        if (lock_now(fd, lock) == 0)
            same = is_same_file(fd, path);
        if (same < 0)
            return give_up(fd, errno != EWOULDBLOCK && (flags & O_CREAT) ? path : NULL);
        if (same)
            return fd;
        close(fd);
    }
}

static int empty(int fd)
{
    int rc;

    do {
        rc = ftruncate(fd, 0);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

int tf_path_take(const char *path)
{
    for (;;) {
        const int flags = O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK;
        int fd = tf_path_open_locked(path, flags, LOCK_EX);
        struct stat status;
        if (fd < 0)
            return -1;
        if (fstat(fd, &status) < 0)
            return give_up(fd, path);
        if (status.st_nlink == 1)
            return empty(fd) == 0 ? fd : give_up(fd, path); /* ftruncate refuses what is no file */
        /* A run was killed while it gave its file the final name, which is to keep its bytes. */
        if (unlink(path) < 0)
            return give_up(fd, NULL);
        close(fd);
    }
}

/* ---- new names ---- */

/* Not every file system knows the flag; there a hard link does the same, and where those are
 * unknown too, a look before the leap has to do. */
int tf_path_rename_new(const char *from, const char *to)
{
    struct stat status;

    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(from, to) == 0) {
        unlink(from); /* where that fails, tf_path_take will do it */
        return 0;
    }
    if (errno == EEXIST)
        return -1;
    if (lstat(to, &status) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(from, to);
}

/* A folder that may not be read, or a file system that cannot do it to folders, is no reason to
 * fail. Takes no memory: the new name is there already, and only what the disk says may count. */
enum tf_code tf_path_sync_folder(const char *path, struct tf_err *err)
{
    char folder[PATH_MAX];
    enum tf_code code = TF_OK;
    int fd;

    snprintf(folder, sizeof(folder), "%.*s.", (int)tf_path_folder(path), path);
    fd = tf_path_open(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0 ? errno != EACCES : tf_path_fsync(fd) < 0 && errno != EINVAL)
        code = tf_fail_errno(err, TF_IO, "%s: cannot sync its folder", path);
    if (fd >= 0)
        close(fd);
    return code;
}
