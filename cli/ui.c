#include "cli/ui.h"

#include "kernel/dispatch.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <omp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* ---- start ---- */

/* A standard stream that came closed must not become the first file that is opened. In its place
 * stands a descriptor that gives the errors of a closed one. */
static void guard_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

enum tf_code tf_ui_start(const struct tf_common *common, struct tf_err *err)
{
    guard_standard_streams();
    /* So that a closed pipe and a limit on file sizes come back from write as errors. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    omp_set_num_threads(common->threads != 0 ? (int)common->threads : omp_get_num_procs());
    if (tf_kernel_select(getenv("TF_CPU"), err) != TF_OK)
        return tf_context(err, "TF_CPU");
    return TF_OK;
}

/* ---- colours ---- */

static bool is_dumb(void)
{
    const char *term = getenv("TERM");

    return term == NULL || strcmp(term, "dumb") == 0;
}

static bool use_color(const struct tf_common *common, int fd)
{
    const char *no_color = getenv("NO_COLOR");

    if (common->color != TF_AUTO)
        return common->color == TF_ALWAYS;
    return (no_color == NULL || *no_color == '\0') && !is_dumb() && isatty(fd);
}

/* For results, which -o may send elsewhere. */
static bool use_color_in_results(const struct tf_common *common)
{
    bool is_stdout = common->output == NULL || strcmp(common->output, "-") == 0;

    return (is_stdout || common->color == TF_ALWAYS) && use_color(common, STDOUT_FILENO);
}

const char *tf_ui_bold(const struct tf_common *common)
{
    return use_color_in_results(common) ? "\033[1m" : "";
}

const char *tf_ui_plain(const struct tf_common *common)
{
    return use_color_in_results(common) ? "\033[0m" : "";
}

/* ---- messages ---- */

int tf_ui_error(const struct tf_program *program, const struct tf_common *common,
                const struct tf_err *err)
{
    bool color = use_color(common, STDERR_FILENO);
    /* A no, and a stop that was asked for, are not faults. */
    bool is_fault = err->code != TF_NO && err->code != TF_STOPPED;

    if (err->text[0] == '\0')
        return (int)err->code;
    fprintf(stderr, "%s: %s%s%s%s\n", program->name, is_fault && color ? "\033[1;31m" : "",
            is_fault ? "error: " : "", is_fault && color ? "\033[0m" : "", err->text);
    if (err->code == TF_USAGE)
        fprintf(stderr, "Try '%s --help' for more.\n", program->name);
    return (int)err->code;
}

static void TF_PRINTF(2, 0) say(const struct tf_program *program, const char *format, va_list args)
{
    char raw[1024], text[1024];

    vsnprintf(raw, sizeof(raw), format, args);
    fprintf(stderr, "%s: %s\n", program->name, tf_escape(text, sizeof(text), raw, strlen(raw)));
}

void tf_ui_note(const struct tf_program *program, const struct tf_common *common,
                const char *format, ...)
{
    va_list args;

    if (common->quiet)
        return;
    va_start(args, format);
    say(program, format, args);
    va_end(args);
}

void tf_ui_verbose(const struct tf_program *program, const struct tf_common *common,
                   const char *format, ...)
{
    va_list args;

    if (common->verbose == 0)
        return;
    va_start(args, format);
    say(program, format, args);
    va_end(args);
}

/* ---- progress ---- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void tf_progress_init(struct tf_progress *progress, const struct tf_common *common)
{
    bool wanted = common->progress == TF_ALWAYS || (common->progress == TF_AUTO && !common->quiet);

    *progress =
        (struct tf_progress){.enabled = wanted, .redraw = isatty(STDERR_FILENO) && !is_dumb()};
    progress->last = progress->redraw ? -INFINITY : now(); /* plain lines wait for their time */
}

/* Columns of the terminal behind stderr. */
static int terminal_width(void)
{
    struct winsize size;

    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

void tf_progress_show(struct tf_progress *progress, bool force, const char *format, ...)
{
    const double interval = progress->redraw ? 1.0 / 6 : 30;
    char text[512];
    va_list args;
    double time;

    if (!progress->enabled)
        return;
    time = now();
    if (!force && time - progress->last < interval)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (progress->redraw)
        fprintf(stderr, "\r%.*s\033[K", terminal_width() - 1, text);
    else
        fprintf(stderr, "%s\n", text);
    progress->last = time;
    progress->shown = true;
}

void tf_progress_clear(struct tf_progress *progress)
{
    if (progress->shown && progress->redraw)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}

/* ---- results ---- */

bool tf_ui_binary_ok(FILE *file)
{
    return !isatty(fileno(file));
}

void tf_ui_text(FILE *file, const char *text, size_t n)
{
    if (!isatty(fileno(file))) {
        fwrite(text, 1, n, file);
        return;
    }
    while (n > 0) {
        char safe[4 * 4 + 1]; /* a character has four bytes at most */
        size_t length = tf_utf8_length((const uint8_t *)text, n);

        if (length == 0)
            length = 1;
        if (*text == '\n' || *text == '\t')
            fputc(*text, file);
        else
            fputs(tf_escape(safe, sizeof safe, text, length), file);
        text += length;
        n -= length;
    }
}

enum tf_code tf_result_open(struct tf_result *result, const struct tf_common *common,
                            struct tf_err *err)
{
    enum tf_code code;

    *result = (struct tf_result){.file = stdout};
    if (common->output == NULL || strcmp(common->output, "-") == 0)
        return TF_OK;
    code = tf_out_open(&result->out, common->output, common->force, err);
    result->file = result->out.file;
    result->to_file = code == TF_OK;
    return code;
}

/* Has the reader of the pipe behind fd gone? */
static bool is_broken_pipe(int fd)
{
    struct pollfd end = {.fd = fd, .events = POLLOUT};

    return poll(&end, 1, 0) == 1 && (end.revents & POLLERR) != 0;
}

static enum tf_code flush_stdout(struct tf_err *err)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return TF_OK;
    if (is_broken_pipe(STDOUT_FILENO)) {
        *err = (struct tf_err){.code = TF_IO};
        return TF_IO;
    }
    if (errno == 0) /* an earlier write failed, and its reason is gone */
        errno = EIO;
    return tf_fail_errno(err, TF_IO, "standard output: cannot write");
}

enum tf_code tf_result_close(struct tf_result *result, struct tf_err *err)
{
    enum tf_code code;

    if (!result->to_file)
        return flush_stdout(err);
    code = tf_out_commit(&result->out, err);
    tf_out_close(&result->out);
    return code;
}

/* ---- numbers for people ---- */

char *tf_ui_bytes(char *out, uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes / 1024;
    size_t i = 0;

    if (bytes < 1024) {
        snprintf(out, 32, "%d B", (int)bytes);
        return out;
    }
    for (; value >= 1023.95; i++) /* what would be printed as 1024.0 */
        value /= 1024;
    snprintf(out, 32, "%.1f %s", value, units[i]);
    return out;
}

char *tf_ui_count(char *out, double count)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;

    for (; count >= (i == 0 ? 999.5 : 999.95) && i < 6; i++)
        count /= 1000;
    snprintf(out, 32, i == 0 ? "%.0f%s" : "%.1f%s", count, units[i]);
    return out;
}

char *tf_ui_time(char *out, double seconds)
{
    if (!(seconds >= 0 && seconds < 1e9)) { /* nothing is known yet */
        snprintf(out, 32, "?");
        return out;
    }
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(out, 32, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(out, 32, "%ldm%02lds", s / 60, s % 60);
    else
        snprintf(out, 32, "%lds", s);
    return out;
}

/* ---- signals ---- */

volatile sig_atomic_t tf_stop;

/* The second signal ends the program at once. One that follows within a tenth of a second is still
 * the first: timeout(1) sends its own to the process and again to its group. */
static void stop(int number)
{
    static double first; /* 0: none was there; tf_stop may be set for other reasons */
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    const double at = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    if (first == 0)
        first = at;
    else if (at - first > 0.1) {
        signal(number, SIG_DFL);
        raise(number);
    }
    tf_stop = 1;
}

static void catch_signal(int number)
{
    struct sigaction action = {.sa_handler = stop, .sa_flags = SA_RESTART}, before;

    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGTERM);
    /* What the caller has set to be ignored (nohup, a shell's background job) stays so. */
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

void tf_ui_catch_signals(void)
{
    catch_signal(SIGINT);
    catch_signal(SIGTERM);
}
