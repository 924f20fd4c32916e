#include "base/lock.h"

#include "base/mem.h"
#include "base/path.h"
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { LOOK = O_RDONLY | O_NOFOLLOW | O_NONBLOCK };

/* The file beside what an output of this name replaces. */
static char *temporary(const char *path, const char *suffix, struct tf_err *err)
{
    char *target = tf_path_target(path, err);
    char *file = target == NULL ? NULL : tf_path_beside(target, ".", suffix, err);

    tf_free(target);
    return file;
}

/* The process that holds a lock; 0 when it has not written its number yet, or has just ended. Below
 * 0: errno tells why nobody knows. */
static long holder(const char *file)
{
    char text[24] = "";
    int fd = tf_path_open(file, LOOK), saved;
    ssize_t got;

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    got = tf_path_read(fd, text, sizeof(text) - 1);
    saved = errno;
    close(fd);
    errno = saved;
    return got < 0 ? -1 : strtol(text, NULL, 10);
}

static enum tf_code refuse(const char *path, long process, struct tf_err *err)
{
    if (process <= 0)
        return tf_fail(err, TF_CANTCREATE, "%s: another program is writing it", path);
    return tf_fail(err, TF_CANTCREATE, "%s: process %ld is writing it", path, process);
}

static enum tf_code unknown(const char *path, const char *file, struct tf_err *err)
{
    return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot look at %s", path, file);
}

/* 0: nobody holds the lock of this file, if there is one; clear removes it. */
static int look(const char *file, int lock, bool clear)
{
    int fd = tf_path_open_locked(file, LOOK, lock);

    if (fd < 0)
        return errno == ENOENT ? 0 : -1;
    if (clear)
        unlink(file);
    close(fd);
    return 0;
}

enum tf_code tf_lock_check(const char *path, bool clear, struct tf_err *err)
{
    char *file = temporary(path, ".lock", err);
    enum tf_code code = TF_OK;
    long process;

    if (file == NULL)
        return TF_MEMORY;
    if (look(file, clear ? LOCK_EX : LOCK_SH, clear) < 0) {
        if (errno != EWOULDBLOCK || (process = holder(file)) < 0)
            code = unknown(path, file, err);
        else if (process != getpid())
            code = refuse(path, process, err);
    }
    tf_free(file);
    return code;
}

/* The lock file, locked and empty; EWOULDBLOCK: another process writes the output. Those who only
 * look hold the lock too, shared and for an instant. */
static int take(const char *file)
{
    for (;;) {
        int fd = tf_path_take(file);
        if (fd >= 0 || errno != EWOULDBLOCK || look(file, LOCK_SH, false) < 0)
            return fd;
        sched_yield();
    }
}

static int write_number(int fd)
{
    char text[24];

    snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    return tf_path_write(fd, text, strlen(text));
}

/* An output that is open already: it looked for our lock either before we had it, and then its
 * .part is locked, or after, and then it was refused. */
static enum tf_code refuse_open_output(const char *path, struct tf_err *err)
{
    char *part = temporary(path, ".part", err);
    enum tf_code code = TF_OK;

    if (part == NULL)
        return TF_MEMORY;
    if (look(part, LOCK_SH, false) < 0)
        code = errno == EWOULDBLOCK ? refuse(path, 0, err) : unknown(path, part, err);
    tf_free(part);
    return code;
}

enum tf_code tf_lock_take(struct tf_lock *lock, const char *path, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    *lock = (struct tf_lock){0};
    if (path[tf_path_folder(path)] == '\0')
        return tf_fail(err, TF_CANTCREATE, "\"%s\": not the name of a file", path);
    lock->file = temporary(path, ".lock", err);
    if (lock->file == NULL)
        return TF_MEMORY;
    lock->fd = take(lock->file);
    if (lock->fd < 0 && errno == EWOULDBLOCK)
        code = refuse(path, holder(lock->file), err);
    else if (lock->fd < 0 || write_number(lock->fd) < 0)
        code = tf_fail_errno(err, TF_CANTCREATE, "%s: cannot create", path);
    else
        code = refuse_open_output(path, err);
    if (code != TF_OK)
        tf_lock_release(lock);
    return code;
}

void tf_lock_release(struct tf_lock *lock)
{
    if (lock->file != NULL && lock->fd >= 0) {
        unlink(lock->file);
        close(lock->fd);
    }
    tf_free(lock->file);
    *lock = (struct tf_lock){0};
}
