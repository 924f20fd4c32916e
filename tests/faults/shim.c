/* A library for LD_PRELOAD that counts system calls on files and makes one of them fail. It looks
 * only at names below the folder that the program was started in, and at descriptors that were
 * opened by such names, so that the loader, /proc and the standard streams are left alone.
 * README.md says how it is steered. */
/* NOLINTBEGIN(bugprone-reserved-identifier): some of the names of glibc begin so. */
#include "shim.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { DESCRIPTORS = 1024, NAME = 256, REPORT_FD = 1023 };

struct plan shim_plan;
bool shim_running;

static char start_folder[PATH_MAX];
static char names[DESCRIPTORS][NAME]; /* of what is open; "": not ours */
static bool is_output[DESCRIPTORS];
static int report = -1;
static atomic_ulong calls;
static bool without_renameat2;

/* ---- the plan and the report ---- */

static int error_of(const char *name)
{
    static const struct {
        const char *name;
        int number;
    } errors[] = {{"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EINTR", EINTR},
                  {"EINVAL", EINVAL}, {"EACCES", EACCES}, {"EMFILE", EMFILE}};

    for (size_t i = 0; name != NULL && i < sizeof(errors) / sizeof(*errors); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    return 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *at = getenv("TF_FAULT_AT"), *file = getenv("TF_FAULT_COUNT");

    shim_plan = (struct plan){.at_what = getenv("TF_FAULT"),
                              .how = getenv("TF_FAULT_ERROR"),
                              .at = at == NULL ? 0 : strtoul(at, NULL, 10),
                              .error = error_of(getenv("TF_FAULT_ERROR"))};
    without_renameat2 = getenv("TF_FAULT_NO_RENAMEAT2") != NULL;
    if (getcwd(start_folder, sizeof(start_folder)) == NULL)
        start_folder[0] = '\0';
    if (file != NULL) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                              0666);
        report = (int)syscall(SYS_dup3, fd, REPORT_FD,
                              O_CLOEXEC); /* out of the way of the program's own */
        syscall(SYS_close, fd);
    }
    shim_memory_start();
}

__attribute__((destructor)) static void end(void)
{
    shim_memory_end();
}

void shim_report(const char *format, ...)
{
    char line[512];
    va_list args;
    int size;

    if (report < 0)
        return;
    va_start(args, format);
    size = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    syscall(SYS_write, report, line, (size_t)size < sizeof(line) ? (size_t)size : sizeof(line) - 1);
}

/* main itself tells when the program begins. */
static int (*real_main)(int, char **, char **);

static int begin(int argc, char **argv, char **envp)
{
    shim_running = true;
    int status = real_main(argc, argv, envp);
    shim_running = false;
    return status;
}

typedef int start_main(int (*)(int, char **, char **), int, char **, void (*)(void), void (*)(void),
                       void (*)(void), void *);
start_main __libc_start_main;

int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv, void (*init)(void),
                      void (*fini)(void), void (*loader_fini)(void), void *stack)
{
    start_main *real;

    *(void **)&real = dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = main;
    return real(begin, argc, argv, init, fini, loader_fini, stack);
}

/* ---- one call ---- */

/* What is to happen to a call. */
struct turn {
    bool fail, shorten, kill_after;
};

static void kill_self(void)
{
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
}

/* As if somebody else cut the file to half its length. */
static void shrink(const char *name)
{
    struct stat status;
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%.*s/%s", PATH_MAX - NAME - 2, start_folder, name);
    if (syscall(SYS_newfstatat, AT_FDCWD, path, &status, 0) == 0)
        syscall(SYS_truncate, path, status.st_size / 2);
}

/* Counts a call of this kind on a file of ours (name NULL or "": not ours). */
static struct turn enter(const char *kind, const char *name)
{
    struct turn turn = {0};
    bool counts = shim_running && name != NULL && name[0] != '\0' &&
                  (shim_plan.at_what == NULL || strcmp(shim_plan.at_what, "call") == 0 ||
                   strcmp(shim_plan.at_what, kind) == 0);

    if (!counts)
        return turn;
    shim_report("call %s %s\n", kind, name);
    if (atomic_fetch_add(&calls, 1) + 1 != shim_plan.at || shim_plan.how == NULL)
        return turn;
    if (strcmp(shim_plan.how, "kill") == 0)
        kill_self();
    if (strcmp(shim_plan.how, "shrink") == 0)
        shrink(name);
    turn.kill_after = strcmp(shim_plan.how, "kill-after") == 0;
    turn.shorten = strcmp(shim_plan.how, "short") == 0;
    turn.fail = shim_plan.error != 0;
    return turn;
}

static long leave(struct turn turn, long result)
{
    if (turn.kill_after)
        kill_self();
    if (!turn.fail)
        return result;
    errno = shim_plan.error;
    return -1;
}

/* Half of what was asked for, but something. */
static size_t share(struct turn turn, size_t size)
{
    return turn.shorten && size > 1 ? size / 2 : size;
}

/* The name when it lies below the folder where the program was started, else NULL. */
static const char *ours(const char *path)
{
    size_t length = strlen(start_folder);

    if (path[0] != '/')
        return path;
    return strncmp(path, start_folder, length) == 0 && path[length] == '/' ? path + length + 1
                                                                           : NULL;
}

static const char *name_of(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS ? names[fd] : NULL;
}

/* A name below an open folder. */
static const char *ours_at(int folder, const char *path, char out[NAME])
{
    const char *base = name_of(folder);

    if (folder == AT_FDCWD || path[0] == '/')
        return ours(path);
    if (base == NULL || base[0] == '\0')
        return NULL;
    snprintf(out, NAME, "%.100s/%.100s", base, path);
    return out;
}

/* ---- opening ---- */

static int open_at(int folder, const char *path, int flags, mode_t mode)
{
    char joined[NAME];
    const char *name = ours_at(folder, path, joined);
    const char *kind = flags & O_CREAT ? "create" : "open";
    struct turn turn = enter(kind, name);
    int fd = turn.fail ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);

    if (fd >= 0 && fd < DESCRIPTORS) {
        snprintf(names[fd], NAME, "%s", name == NULL ? "" : name);
        is_output[fd] = (flags & O_ACCMODE) != O_RDONLY;
    }
    return (int)leave(turn, fd);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_at(AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return open_at(folder, path, flags, mode);
}

int __open_2(const char *path, int flags);
int __openat_2(int folder, const char *path, int flags);

int __open_2(const char *path, int flags)
{
    return open_at(AT_FDCWD, path, flags, 0);
}

int __openat_2(int folder, const char *path, int flags)
{
    return open_at(folder, path, flags, 0);
}

int close(int fd)
{
    char *name = fd >= 0 && fd < DESCRIPTORS ? names[fd] : NULL;
    struct turn turn = enter(name != NULL && is_output[fd] ? "close" : "close-input", name);
    int rc = (int)syscall(SYS_close, fd); /* one that fails has closed all the same */

    if (name != NULL)
        name[0] = '\0';
    return (int)leave(turn, rc);
}

int closedir(DIR *folder)
{
    int (*real)(DIR *);

    *(void **)&real = dlsym(RTLD_NEXT, "closedir");
    if (dirfd(folder) < DESCRIPTORS)
        names[dirfd(folder)][0] = '\0';
    return real(folder);
}

/* ---- reading and writing ---- */

ssize_t read(int fd, void *out, size_t size)
{
    struct turn turn = enter("read", name_of(fd));

    return leave(turn, turn.fail ? 0 : syscall(SYS_read, fd, out, share(turn, size)));
}

ssize_t pread(int fd, void *out, size_t size, off_t at)
{
    struct turn turn = enter("read", name_of(fd));

    return leave(turn, turn.fail ? 0 : syscall(SYS_pread64, fd, out, share(turn, size), at));
}

ssize_t __read_chk(int fd, void *out, size_t size, size_t room);
ssize_t __pread_chk(int fd, void *out, size_t size, off_t at, size_t room);

ssize_t __read_chk(int fd, void *out, size_t size, size_t room)
{
    return size > room ? -1 : read(fd, out, size);
}

ssize_t __pread_chk(int fd, void *out, size_t size, off_t at, size_t room)
{
    return size > room ? -1 : pread(fd, out, size, at);
}

ssize_t write(int fd, const void *data, size_t size)
{
    struct turn turn = enter("write", name_of(fd));

    return leave(turn, turn.fail ? 0 : syscall(SYS_write, fd, data, share(turn, size)));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    struct turn turn = enter("write", name_of(fd));

    return leave(turn, turn.fail ? 0 : syscall(SYS_pwrite64, fd, data, share(turn, size), at));
}

int fsync(int fd)
{
    struct turn turn = enter("fsync", name_of(fd));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_fsync, fd));
}

int ftruncate(int fd, off_t size)
{
    struct turn turn = enter("ftruncate", name_of(fd));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_ftruncate, fd, size));
}

int flock(int fd, int operation)
{
    struct turn turn = enter("flock", name_of(fd));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_flock, fd, operation));
}

int fstat(int fd, struct stat *status)
{
    struct turn turn = enter("stat", name_of(fd));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_newfstatat, fd, "", status, AT_EMPTY_PATH));
}

/* ---- names ---- */

int fstatat(int folder, const char *path, struct stat *status, int flags)
{
    char joined[NAME];
    struct turn turn = enter("stat", ours_at(folder, path, joined));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_newfstatat, folder, path, status, flags));
}

int stat(const char *path, struct stat *status)
{
    return fstatat(AT_FDCWD, path, status, 0);
}

int lstat(const char *path, struct stat *status)
{
    return fstatat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    char joined[NAME];

    if (without_renameat2 && flags != 0) {
        errno = EINVAL;
        return -1;
    }
    struct turn turn = enter("rename", ours_at(to_folder, to, joined));
    return (int)leave(
        turn, turn.fail ? 0 : syscall(SYS_renameat2, from_folder, from, to_folder, to, flags));
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    return renameat2(from_folder, from, to_folder, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags)
{
    char joined[NAME];
    struct turn turn = enter("link", ours_at(to_folder, to, joined));

    return (int)leave(turn,
                      turn.fail ? 0 : syscall(SYS_linkat, from_folder, from, to_folder, to, flags));
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int folder, const char *path, int flags)
{
    char joined[NAME];
    const char *kind = flags & AT_REMOVEDIR ? "rmdir" : "unlink";
    struct turn turn = enter(kind, ours_at(folder, path, joined));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_unlinkat, folder, path, flags));
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    char joined[NAME];
    struct turn turn = enter("mkdir", ours_at(folder, path, joined));

    return (int)leave(turn, turn.fail ? 0 : syscall(SYS_mkdirat, folder, path, mode));
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* ---- the names for 64-bit offsets, which are the same here ---- */

#define SAME(type, name, as, arguments) type name arguments __attribute__((alias(as)))

_Static_assert(sizeof(off_t) == 8, "pread64 and the like are aliases");
SAME(int, open64, "open", (const char *path, int flags, ...));
SAME(int, openat64, "openat", (int folder, const char *path, int flags, ...));
SAME(int, __open64_2, "__open_2", (const char *path, int flags));
SAME(int, __openat64_2, "__openat_2", (int folder, const char *path, int flags));
SAME(ssize_t, pread64, "pread", (int fd, void *out, size_t size, off_t at));
SAME(ssize_t, __pread64_chk, "__pread_chk",
     (int fd, void *out, size_t size, off_t at, size_t room));
SAME(ssize_t, pwrite64, "pwrite", (int fd, const void *data, size_t size, off_t at));
SAME(int, ftruncate64, "ftruncate", (int fd, off_t size));
SAME(int, fstat64, "fstat", (int fd, struct stat64 *status));
SAME(int, stat64, "stat", (const char *path, struct stat64 *status));
SAME(int, lstat64, "lstat", (const char *path, struct stat64 *status));
SAME(int, fstatat64, "fstatat", (int folder, const char *path, struct stat64 *status, int flags));
/* NOLINTEND(bugprone-reserved-identifier) */
