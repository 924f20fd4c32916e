/* What the programs say: errors, notes, progress and results. */
#ifndef TF_CLI_UI_H
#define TF_CLI_UI_H

#include "base/err.h"
#include "base/io.h"
#include "cli/opt.h"
#include <signal.h>
#include <stdio.h>

/* The part of tf_opt_parse that is not parsing: standard streams, signals of output, threads,
 * kernels (TF_CPU). */
TF_MUST_USE enum tf_code tf_ui_start(const struct tf_common *common, struct tf_err *err);

/* "tf-grow: error: ..." on stderr, one line, and err's code as the exit status. */
int tf_ui_error(const struct tf_program *program, const struct tf_common *common,
                const struct tf_err *err);
/* "tf-grow: ..." on stderr, unless quiet. */
void tf_ui_note(const struct tf_program *program, const struct tf_common *common,
                const char *format, ...) TF_PRINTF(3, 4);
/* The same, only with -v. */
void tf_ui_verbose(const struct tf_program *program, const struct tf_common *common,
                   const char *format, ...) TF_PRINTF(3, 4);

/* One line of progress on stderr: on a terminal redrawn in place, at most 6 times a second; else a
 * plain line now and then (every 30 s), and none when quiet. */
struct tf_progress {
    bool enabled, redraw, shown;
    double last; /* seconds, monotonic */
};
void tf_progress_init(struct tf_progress *progress, const struct tf_common *common);
void tf_progress_show(struct tf_progress *progress, bool force, const char *format, ...)
    TF_PRINTF(3, 4);
void tf_progress_clear(struct tf_progress *progress); /* before other output */

/* Is stdout a terminal? Then binary is refused. */
bool tf_ui_binary_ok(FILE *file);
/* Text out of a file or of a model, into results: as it is, but to a terminal with control
 * characters escaped, all but newline and tab. */
void tf_ui_text(FILE *file, const char *text, size_t n);
/* Bold (or nothing) around a label on stdout; and its end. */
const char *tf_ui_bold(const struct tf_common *common);
const char *tf_ui_plain(const struct tf_common *common);

/* The stream that results go to: stdout, or the atomic file of -o. */
struct tf_result {
    FILE *file;
    struct tf_out out; /* used when -o names a file */
    bool to_file;
};
TF_MUST_USE enum tf_code tf_result_open(struct tf_result *result, const struct tf_common *common,
                                        struct tf_err *err);
/* Flushes and checks what was written: a full disk or a closed descriptor is TF_IO; a closed pipe
 * is TF_IO with an empty message, which tf_ui_error does not print. Commits -o. */
TF_MUST_USE enum tf_code tf_result_close(struct tf_result *result, struct tf_err *err);

/* Bytes or counts for people: 1.2 MiB, 3.4M. out has 32 bytes; returns out. */
char *tf_ui_bytes(char *out, uint64_t bytes);
char *tf_ui_count(char *out, double count);
/* 1h02m, 3m07s, 12s */
char *tf_ui_time(char *out, double seconds);

/* First SIGINT or SIGTERM sets tf_stop; the second ends the process at once by the default action.
 */
extern volatile sig_atomic_t tf_stop;
void tf_ui_catch_signals(void);

#endif
