#include "base/io.h"

#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *irregular(const struct stat *status)
{
    return S_ISDIR(status->st_mode) ? "is a directory" : "not a regular file";
}

static int open_retry(const char *path, int flags)
{
    int fd;

    do {
        fd = open(path, flags | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

/* ---- reading ---- */

static ssize_t read_retry(int fd, void *out, size_t size)
{
    ssize_t got;

    do {
        got = read(fd, out, size);
    } while (got < 0 && errno == EINTR);
    return got;
}

/* Everything from fd. The buffer has one byte more than `room`, for the terminator or to see that
 * there is more. */
static enum tf_code read_all(int fd, const char *name, size_t room, size_t max, char **out,
                             size_t *size, struct tf_err *err)
{
    char *text = tf_new(room + 1, 1, name, err);
    size_t used = 0;

    while (text != NULL) {
        ssize_t got = read_retry(fd, text + used, room + 1 - used);
        if (got < 0) {
            tf_free(text);
            return tf_fail_errno(err, TF_IO, "%s: cannot read", name);
        }
        if (got == 0)
            break;
        used += (size_t)got;
        if (used <= room)
            continue;
        if (room == max) {
            tf_free(text);
            return tf_fail(err, TF_MEMORY, "%s: larger than %zu bytes", name, max);
        }
        room = room < max / 2 ? 2 * room + 1 : max;
        char *larger = tf_new(room + 1, 1, name, err);
        if (larger != NULL)
            memcpy(larger, text, used);
        tf_free(text);
        text = larger;
    }
    if (text == NULL)
        return TF_MEMORY;
    text[used] = '\0';
    *out = text;
    *size = used;
    return TF_OK;
}

enum tf_code tf_read_file(const char *path, size_t max, char **out, size_t *size,
                          struct tf_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    int fd = is_stdin ? STDIN_FILENO : open_retry(path, O_RDONLY);
    size_t room = 1 << 16; /* for pipes; a regular file says its size */
    struct stat status;
    enum tf_code code;

    *out = NULL;
    *size = 0;
    if (fd < 0 || fstat(fd, &status) < 0) {
        code = tf_fail_errno(err, TF_NOINPUT, "%s", name);
        goto done;
    }
    if (S_ISDIR(status.st_mode)) {
        code = tf_fail(err, TF_NOINPUT, "%s: is a directory", name);
        goto done;
    }
    if (max > PTRDIFF_MAX)
        max = PTRDIFF_MAX; /* no object is larger; room + 1 cannot overflow */
    if (S_ISREG(status.st_mode) && status.st_size > 0) {
        if ((uint64_t)status.st_size > max && !is_stdin) {
            code = tf_fail(err, TF_MEMORY, "%s: larger than %zu bytes", name, max);
            goto done;
        }
        room = (size_t)status.st_size;
    }
    code = read_all(fd, name, room < max ? room : max, max, out, size, err);
done:
    if (fd >= 0 && !is_stdin)
        close(fd);
    return code;
}

enum tf_code tf_in_open(struct tf_in *in, const char *path, struct tf_err *err)
{
    /* O_NONBLOCK: a FIFO without a writer must be refused, not waited for. */
    int fd = open_retry(path, O_RDONLY | O_NONBLOCK);
    enum tf_code code = TF_OK;
    struct stat status;

    *in = (struct tf_in){0};
    if (fd < 0 || fstat(fd, &status) < 0)
        code = tf_fail_errno(err, TF_NOINPUT, "%s", path);
    else if (!S_ISREG(status.st_mode))
        code = tf_fail(err, TF_NOINPUT, "%s: %s", path, irregular(&status));
    else if ((in->path = tf_strdup(path, err)) == NULL)
        code = TF_MEMORY;
    if (code != TF_OK) {
        if (fd >= 0)
            close(fd);
        return code;
    }
    in->fd = fd;
    in->size = (uint64_t)status.st_size;
    return TF_OK;
}

enum tf_code tf_in_read(const struct tf_in *in, uint64_t offset, void *out, size_t size,
                        struct tf_err *err)
{
    uint8_t *to = out;

    if (offset > in->size || size > in->size - offset)
        return tf_fail(err, TF_DATA, "%s: %zu bytes wanted at byte %ju, but the file has %ju",
                       in->path, size, (uintmax_t)offset, (uintmax_t)in->size);
    while (size > 0) {
        ssize_t got = pread(in->fd, to, size, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return tf_fail_errno(err, TF_IO, "%s: cannot read at byte %ju", in->path,
                                 (uintmax_t)offset);
        if (got == 0)
            return tf_fail(err, TF_DATA, "%s: ends at byte %ju, but had %ju when it was opened",
                           in->path, (uintmax_t)offset, (uintmax_t)in->size);
        to += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return TF_OK;
}

void tf_in_close(struct tf_in *in)
{
    if (in->path != NULL)
        close(in->fd);
    tf_free(in->path);
    *in = (struct tf_in){0};
}

/* ---- writing ---- */

/* Bytes of path up to and with its last slash; 0 for a bare name. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? 0 : (size_t)(slash - path) + 1;
}

/* prefix + name + suffix, in the folder of path. */
static char *beside(const char *path, const char *prefix, const char *name, const char *suffix,
                    struct tf_err *err)
{
    size_t folder = folder_length(path);
    size_t size = folder + strlen(prefix) + strlen(name) + strlen(suffix) + 1;
    char *out = tf_new(size, 1, "file name", err);

    if (out != NULL)
        snprintf(out, size, "%.*s%s%s%s", (int)folder, path, prefix, name, suffix);
    return out;
}

static enum tf_code refuse_existing(const char *path, struct tf_err *err)
{
    return tf_fail(err, TF_CANTCREATE, "%s: exists already; --force replaces it", path);
}

enum tf_code tf_out_check(const char *path, bool force, struct tf_err *err)
{
    struct stat status;
    char *folder;
    int rc;

    if (path[folder_length(path)] == '\0')
        return tf_fail(err, TF_CANTCREATE, "\"%s\": not the name of a file", path);
    if (lstat(path, &status) == 0) {
        /* Renaming over a device would remove it; through a link the file behind it is replaced. */
        if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
            return tf_fail(err, TF_CANTCREATE, "%s: %s", path, irregular(&status));
        if (!force)
            return refuse_existing(path, err);
    } else if (errno != ENOENT) {
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", path);
    }
    folder = beside(path, ".", "", "", err);
    if (folder == NULL)
        return TF_MEMORY;
    rc = faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS);
    tf_free(folder);
    if (rc < 0)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", path);
    return TF_OK;
}

/* Does path still name the file behind fd? Its last owner may have renamed it before letting go of
 * the lock. */
static bool is_same_file(int fd, const char *path)
{
    struct stat ours, named;

    return fstat(fd, &ours) == 0 && lstat(path, &named) == 0 && ours.st_dev == named.st_dev &&
           ours.st_ino == named.st_ino;
}

static int flock_retry(int fd)
{
    int rc;

    do {
        rc = flock(fd, LOCK_EX | LOCK_NB);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

/* The .part, open and locked, or -1 with errno. */
static int open_locked(const char *part)
{
    for (;;) {
        int fd = open_retry(part, O_CREAT | O_RDWR | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            return -1;
        if (flock_retry(fd) < 0) {
            int saved = errno;
            close(fd);
            errno = saved;
            return -1;
        }
        if (is_same_file(fd, part))
            return fd;
        close(fd);
    }
}

/* Opens, locks and empties the .part. */
static enum tf_code open_part(struct tf_out *out, struct tf_err *err)
{
    int fd = open_locked(out->part);

    if (fd < 0 && errno == EWOULDBLOCK)
        return tf_fail(err, TF_CANTCREATE, "%s: another program is writing it", out->path);
    /* ftruncate refuses what is not a regular file. */
    if (fd >= 0 && ftruncate(fd, 0) == 0)
        out->file = fdopen(fd, "w");
    if (out->file != NULL)
        return TF_OK;
    tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create %s", out->path, out->part);
    if (fd >= 0)
        close(fd);
    return TF_CANTCREATE;
}

/* The name behind symbolic links, so that it is the file that is replaced and not the link; the
 * name itself where there is none. */
static char *follow(const char *path, struct tf_err *err)
{
    char real[PATH_MAX];

    return tf_strdup(realpath(path, real) == NULL ? path : real, err);
}

enum tf_code tf_out_open(struct tf_out *out, const char *path, bool force, struct tf_err *err)
{
    enum tf_code code;
    struct stat status;

    *out = (struct tf_out){.force = force};
    code = tf_out_check(path, force, err);
    if (code != TF_OK)
        return code;
    out->path = lstat(path, &status) == 0 && S_ISLNK(status.st_mode) ? follow(path, err)
                                                                     : tf_strdup(path, err);
    if (out->path != NULL)
        out->part = beside(out->path, ".", out->path + folder_length(out->path), ".part", err);
    code = out->path == NULL || out->part == NULL ? TF_MEMORY : open_part(out, err);
    if (code != TF_OK)
        tf_out_close(out);
    return code;
}

enum tf_code tf_out_write(struct tf_out *out, const void *data, size_t size, struct tf_err *err)
{
    /* stdio goes on after short writes; EINTR does not reach writers of regular files. */
    if (fwrite(data, 1, size, out->file) != size)
        return tf_fail_errno(err, TF_IO, "%s: cannot write", out->path);
    out->at += size;
    return TF_OK;
}

static int fsync_retry(int fd)
{
    int rc;

    do {
        rc = fsync(fd);
    } while (rc < 0 && errno == EINTR);
    return rc;
}

enum tf_code tf_out_flush(struct tf_out *out, struct tf_err *err)
{
    /* After a failed write the bytes are still there, and fail again, with the reason. */
    if (fflush(out->file) != 0 || fsync_retry(fileno(out->file)) < 0)
        return tf_fail_errno(err, TF_IO, "%s: cannot write", out->path);
    if (ferror(out->file))
        return tf_fail(err, TF_IO, "%s: an earlier write failed", out->path);
    return TF_OK;
}

/* Gives the .part its final name, unless that name is taken. Not every file system knows the flag;
 * there a hard link does the same, and where those are unknown too, a look before the leap has to
 * do. */
static int rename_new(const char *part, const char *path)
{
    struct stat status;

    if (renameat2(AT_FDCWD, part, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(part, path) == 0)
        return unlink(part);
    if (errno == EEXIST)
        return -1;
    if (lstat(path, &status) == 0) {
        errno = EEXIST;
        return -1;
    }
    return rename(part, path);
}

/* So that the new name, too, survives a power cut. A folder that may not be read, or a file system
 * that cannot do it to folders, is no reason to fail. */
static enum tf_code sync_folder(const char *path, struct tf_err *err)
{
    char *folder = beside(path, ".", "", "", err);
    enum tf_code code = TF_OK;
    int fd;

    if (folder == NULL)
        return TF_MEMORY;
    fd = open_retry(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0 ? errno != EACCES : fsync_retry(fd) < 0 && errno != EINVAL)
        code = tf_fail_errno(err, TF_IO, "%s: cannot sync its folder", path);
    if (fd >= 0)
        close(fd);
    tf_free(folder);
    return code;
}

enum tf_code tf_out_commit(struct tf_out *out, struct tf_err *err)
{
    enum tf_code code = tf_out_flush(out, err);
    int rc;

    if (code != TF_OK)
        return code;
    rc = out->force ? rename(out->part, out->path) : rename_new(out->part, out->path);
    if (rc < 0 && errno == EEXIST)
        return refuse_existing(out->path, err);
    if (rc < 0)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", out->path);
    fclose(out->file); /* ends the lock; nothing is left to write */
    out->file = NULL;
    return sync_folder(out->path, err);
}

void tf_out_close(struct tf_out *out)
{
    if (out->file != NULL) {
        unlink(out->part); /* while the lock is held: it is still ours */
        fclose(out->file);
    }
    tf_free(out->path);
    tf_free(out->part);
    *out = (struct tf_out){0};
}
