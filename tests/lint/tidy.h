/* tidy.sh includes this before each file. The analyzer sees one file at a time: here it learns that a call which says
 * why it fails never returns TF_OK. */
#include "base/err.h"

static inline enum tf_code tidy_failed(enum tf_code code)
{
    if (code == TF_OK)
        __builtin_unreachable();
    return code;
}

#define tf_fail(err, ...) tidy_failed(tf_fail(err, __VA_ARGS__))
#define tf_fail_errno(err, ...) tidy_failed(tf_fail_errno(err, __VA_ARGS__))
#define tf_context(err, ...) tidy_failed(tf_context(err, __VA_ARGS__))
