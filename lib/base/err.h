/* Errors: a code and a fixed message buffer that travel up the call chain together. */
#ifndef TF_BASE_ERR_H
#define TF_BASE_ERR_H

#include <stddef.h>
#include <stdint.h>

#define TF_MUST_USE __attribute__((warn_unused_result))
#define TF_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* What went wrong. The values are the programs' exit statuses (sysexits.h where it has a word for
 * it). */
enum tf_code {
    TF_OK = 0,
    TF_NO = 1,          /* the answer is no: a difference was found, a threshold missed */
    TF_USAGE = 64,      /* the command line */
    TF_DATA = 65,       /* bad text or a bad checkpoint */
    TF_NOINPUT = 66,    /* an input is missing or cannot be read */
    TF_INTERNAL = 70,   /* a fault of ours */
    TF_DIVERGED = 70,   /* the loss is not a number, or ran away */
    TF_MEMORY = 71,     /* out of memory, or over a limit */
    TF_CANTCREATE = 73, /* an output cannot be made */
    TF_IO = 74,         /* reading or writing failed half way */
    TF_STOPPED = 75,    /* stopped by a signal after saving */
    TF_CONFIG = 78      /* bad configuration */
};

/* Caller owns it, on the stack; a zeroed one says "no error". Never on the heap. */
struct tf_err {
    enum tf_code code;
    char text[1024]; /* one line, printable, no trailing newline */
};

/* Sets code and message, and returns code. err may be NULL. Control bytes in the result are
 * escaped, so that a name out of a file can be put into a message as it is. */
enum tf_code tf_fail(struct tf_err *err, enum tf_code code, const char *format, ...)
    TF_PRINTF(3, 4);

/* As tf_fail, with ": " and the system's word for errno at the end. ENOMEM is TF_MEMORY, whatever
 * was being done. */
enum tf_code tf_fail_errno(struct tf_err *err, enum tf_code code, const char *format, ...)
    TF_PRINTF(3, 4);

/* Puts "<format>: " before the message as the error rises; returns the code that was set. */
enum tf_code tf_context(struct tf_err *err, const char *format, ...) TF_PRINTF(2, 3);

/* Copies n bytes of text into out (size bytes, always terminated), writing control characters (C0,
 * DEL, C1, and those that turn the direction of writing) and bytes that are not valid UTF-8 as
 * \xNN. What does not fit is cut. Returns out. */
char *tf_escape(char *out, size_t size, const char *text, size_t n);

/* Of count names, the one that text most likely means (fewest letters inserted, removed or
 * replaced); NULL when none is near. For "did you mean". */
const char *tf_nearest(const char *text, const char *const names[], size_t count);

/* Bytes of the well-formed UTF-8 sequence at s, of which n (at least 1) bytes exist; 0 when there
 * is none. */
size_t tf_utf8_length(const uint8_t *s, size_t n);

#endif
