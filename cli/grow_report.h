/* What tf-grow says in the end. */
#ifndef TF_CLI_GROW_REPORT_H
#define TF_CLI_GROW_REPORT_H

#include "cli/opt.h"
#include "train/grow.h"

struct tf_grow_report {
    const struct tf_growth *growth;
    const struct tf_grow_options *options;
    const char *input, *output; /* output is NULL when none was written */
    uint64_t parameters_before, parameters_after;
    uint64_t bytes_before, bytes_after; /* of the files; after a dry run the most it could be */
    char digest_before[TF_DIGEST_TEXT];
    char digest_after[TF_DIGEST_TEXT]; /* "" when none was written */
    uint64_t memory;                   /* bytes taken at the height of it */
    double difference;                 /* -1: not measured */
};

/* To stdout, as text or JSON. */
TF_MUST_USE enum tf_code tf_grow_report_print(const struct tf_common *common,
                                              const struct tf_grow_report *report,
                                              struct tf_err *err);

#endif
