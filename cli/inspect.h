/* The verbs of tf-inspect: each reads, prints to `file`, and returns. */
#ifndef TF_CLI_INSPECT_H
#define TF_CLI_INSPECT_H

#include "cli/opt.h"
#include "cli/ui.h"
#include "text/json.h"
#include "train/modelio.h"

struct tf_inspect {
    const struct tf_common *common;
    char **operands; /* after the verb, as many as it takes */
    int operand_count;
    bool long_form, diffable, npy;
    struct tf_result result;
    FILE *file; /* result.file */
};

TF_MUST_USE enum tf_code tf_inspect_show(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_config(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_lineage(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_tables(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_digest(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_verify(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_stats(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_dump(struct tf_inspect *inspect, struct tf_err *err);
/* TF_NO, without a message, when there is a difference. */
TF_MUST_USE enum tf_code tf_inspect_diff(struct tf_inspect *inspect, struct tf_err *err);

/* Begins the one object of --json: {"schema":"tf-inspect/1","verb":verb, ... */
struct tf_json tf_inspect_json(const struct tf_inspect *inspect, const char *verb);
/* Around a heading: bold on a terminal, nothing in a file. */
const char *tf_inspect_bold(const struct tf_inspect *inspect);
const char *tf_inspect_plain(const struct tf_inspect *inspect);
/* Bytes of a table in the file. */
uint64_t tf_inspect_coded(const struct tf_store *store, const struct tf_table_info *info);
/* Bytes of a table before coding. */
uint64_t tf_inspect_raw(const struct tf_table_info *info);
/* How many rows of a table to hold at a time. */
uint64_t tf_inspect_block(const struct tf_table_info *info);

#endif
