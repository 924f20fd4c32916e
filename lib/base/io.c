#include "base/io.h"

#include "base/lock.h"
#include "base/mem.h"
#include "base/path.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *irregular(const struct stat *status)
{
    return S_ISDIR(status->st_mode) ? "is a directory" : "not a regular file";
}

/* ---- reading ---- */

/* Everything from fd. The buffer has one byte more than `room`, for the terminator or to see that
 * there is more. */
static enum tf_code read_all(int fd, const char *name, size_t room, size_t max, char **out,
                             size_t *size, struct tf_err *err)
{
    char *text = tf_new(room + 1, 1, name, err);
    size_t used = 0;

    while (text != NULL) {
        ssize_t got = tf_path_read(fd, text + used, room + 1 - used);
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

/* What was read is a part that nobody meant to be read. */
static enum tf_code shrunk(const char *name, char **out, size_t *size, uintmax_t before,
                           struct tf_err *err)
{
    tf_fail(err, TF_DATA, "%s: ends at byte %zu, but had %ju when it was opened", name, *size,
            before);
    tf_free(*out);
    *out = NULL;
    *size = 0;
    return TF_DATA;
}

enum tf_code tf_read_file(const char *path, size_t max, char **out, size_t *size,
                          struct tf_err *err)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    int fd = is_stdin ? STDIN_FILENO : tf_path_open(path, O_RDONLY);
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
    if (code == TF_OK && !is_stdin && S_ISREG(status.st_mode) && (off_t)*size < status.st_size)
        code = shrunk(name, out, size, (uintmax_t)status.st_size, err);
done:
    if (fd >= 0 && !is_stdin)
        close(fd);
    return code;
}

enum tf_code tf_in_open(struct tf_in *in, const char *path, struct tf_err *err)
{
    /* O_NONBLOCK: a FIFO without a writer must be refused, not waited for. */
    int fd = tf_path_open(path, O_RDONLY | O_NONBLOCK);
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

enum { BUFFER = 64 << 10 }; /* bytes; what is larger passes by it */

static enum tf_code refuse_existing(const char *path, struct tf_err *err)
{
    return tf_fail(err, TF_CANTCREATE, "%s: exists already; --force replaces it", path);
}

enum tf_code tf_out_check(const char *path, bool force, struct tf_err *err)
{
    struct stat status;
    enum tf_code code;

    if (path[tf_path_folder(path)] == '\0')
        return tf_fail(err, TF_CANTCREATE, "\"%s\": not the name of a file", path);
    const bool exists = lstat(path, &status) == 0;
    if (!exists && errno != ENOENT)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", path);
    /* Renaming over a device would remove it; through a link the file behind it is replaced. */
    if (exists && stat(path, &status) == 0 && !S_ISREG(status.st_mode))
        return tf_fail(err, TF_CANTCREATE, "%s: %s", path, irregular(&status));
    code = tf_path_creatable(path, err);
    if (code == TF_OK)
        code = tf_lock_check(path, false, err);
    if (code == TF_OK && exists && !force)
        code = refuse_existing(path, err);
    return code;
}

/* What the stream writes with: as fopencookie wants it, 0 for a failure. The first one stays. */
static ssize_t write_through(void *cookie, const char *data, size_t size)
{
    struct tf_out *out = cookie;

    if (out->error == 0 && tf_path_write(out->fd, data, size) < 0)
        out->error = errno;
    errno = out->error;
    return out->error == 0 ? (ssize_t)size : 0;
}

/* The stream over a descriptor that is still to come. */
static enum tf_code open_stream(struct tf_out *out, struct tf_err *err)
{
    const cookie_io_functions_t calls = {.write = write_through};

    out->buffer = tf_new(BUFFER, 1, "output buffer", err);
    if (out->buffer == NULL)
        return TF_MEMORY;
    out->file = fopencookie(out, "w", calls);
    if (out->file == NULL)
        return tf_fail(err, TF_MEMORY, "%s: out of memory for a stream", out->path);
    setvbuf(out->file, out->buffer, _IOFBF, BUFFER);
    return TF_OK;
}

/* Opens, locks and empties the .part. */
static enum tf_code open_part(struct tf_out *out, struct tf_err *err)
{
    out->fd = tf_path_take(out->part);
    if (out->fd >= 0)
        return TF_OK;
    if (errno == EWOULDBLOCK)
        return tf_fail(err, TF_CANTCREATE, "%s: another program is writing it", out->path);
    return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create %s", out->path, out->part);
}

enum tf_code tf_out_open(struct tf_out *out, const char *path, bool force, struct tf_err *err)
{
    enum tf_code code;

    *out = (struct tf_out){.force = force, .fd = -1};
    code = tf_out_check(path, force, err);
    if (code != TF_OK)
        return code;
    out->path = tf_path_target(path, err);
    if (out->path != NULL)
        out->part = tf_path_beside(out->path, ".", ".part", err);
    code = out->path == NULL || out->part == NULL ? TF_MEMORY : open_stream(out, err);
    if (code == TF_OK)
        code = open_part(out, err);
    /* Once more, now that who takes the lock sees our .part. */
    if (code == TF_OK)
        code = tf_lock_check(out->path, true, err);
    if (code != TF_OK)
        tf_out_close(out);
    return code;
}

enum tf_code tf_out_write(struct tf_out *out, const void *data, size_t size, struct tf_err *err)
{
    if (fwrite(data, 1, size, out->file) != size)
        return tf_fail_errno(err, TF_IO, "%s: cannot write", out->path);
    out->at += size;
    return TF_OK;
}

enum tf_code tf_out_flush(struct tf_out *out, struct tf_err *err)
{
    (void)fflush(out->file); /* what fails is in out->error */
    if (out->error == 0 && tf_path_fsync(out->fd) < 0)
        out->error = errno;
    if (out->error == 0)
        return TF_OK;
    errno = out->error;
    return tf_fail_errno(err, TF_IO, "%s: cannot write", out->path);
}

/* Ends the stream, the descriptor and with it the lock. */
static int close_both(struct tf_out *out)
{
    fclose(out->file);
    out->file = NULL;
    return out->fd < 0 ? 0 : tf_path_close(out->fd);
}

enum tf_code tf_out_commit(struct tf_out *out, struct tf_err *err)
{
    enum tf_code code = tf_out_flush(out, err);
    int rc;

    if (code != TF_OK)
        return code;
    rc = out->force ? rename(out->part, out->path) : tf_path_rename_new(out->part, out->path);
    if (rc < 0 && errno == EEXIST)
        return refuse_existing(out->path, err);
    if (rc < 0)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", out->path);
    if (close_both(out) < 0)
        return tf_fail_errno(err, TF_IO, "%s: cannot close", out->path);
    return tf_path_sync_folder(out->path, err);
}

void tf_out_close(struct tf_out *out)
{
    if (out->file != NULL) {
        if (out->fd >= 0 && out->part != NULL)
            unlink(out->part); /* while the lock is held: it is still ours */
        (void)close_both(out);
    }
    tf_free(out->buffer);
    tf_free(out->path);
    tf_free(out->part);
    *out = (struct tf_out){0};
}
