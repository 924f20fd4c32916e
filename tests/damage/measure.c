/* measure KIB SECONDS COMMAND [ARGUMENT]...: runs a command; its exit status is the command's,
 * unless it took more memory (resident, at its peak) or more processor time than that: then 99, and
 * a line on stderr that says so. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FAILED = 98, OVER = 99 };

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

int main(int argc, char **argv)
{
    struct rusage use;
    double time;
    int status;
    pid_t child;

    if (argc < 4) {
        fputs("measure KIB SECONDS COMMAND [ARGUMENT]...\n", stderr);
        return FAILED;
    }
    child = vfork(); /* NOLINT(clang-analyzer-security.insecureAPI.vfork): all it does is exec */
    if (child == 0) {
        execvp(argv[3], argv + 3);
        _exit(FAILED);
    }
    if (child < 0 || wait4(child, &status, 0, &use) != child) {
        perror("measure");
        return FAILED;
    }
    time = seconds(use.ru_utime) + seconds(use.ru_stime);
    if (use.ru_maxrss > strtol(argv[1], NULL, 10) || time > strtod(argv[2], NULL)) {
        fprintf(stderr, "measure: %ld KiB and %.2f s, at most %s KiB and %s s\n", use.ru_maxrss,
                time, argv[1], argv[2]);
        return OVER;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
