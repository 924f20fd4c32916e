/* The verbs of tf-inspect: those that show read, print to `file`, and return; those that edit write
 * a new checkpoint or folder to the name given with -o. */
#ifndef TF_CLI_INSPECT_H
#define TF_CLI_INSPECT_H

#include "cli/opt.h"
#include "cli/ui.h"
#include "text/json.h"
#include "train/edit.h"
#include "train/select.h"

struct tf_inspect {
    const struct tf_program *program;
    const struct tf_common *common;
    char **operands; /* after the verb, as many as it takes */
    int operand_count;
    bool long_form, diffable, npy;
    struct tf_opt_list usage;  /* stats: texts; borrowed */
    bool keep, drop, append;   /* slice; transplant */
    const char *keep_top, *by; /* slice */
    uint64_t level;            /* repack, pack; 0: the default */
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
/* stats --usage */
TF_MUST_USE enum tf_code tf_inspect_usage(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_dump(struct tf_inspect *inspect, struct tf_err *err);
/* TF_NO, without a message, when there is a difference. */
TF_MUST_USE enum tf_code tf_inspect_diff(struct tf_inspect *inspect, struct tf_err *err);

/* Edits: each writes -o, of which it says on stderr what became; or, with --dry-run, checks all and
 * prints the plan. */
TF_MUST_USE enum tf_code tf_inspect_set(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_drop(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_slice(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_replace(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_append(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_transplant(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_cast(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_repack(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_unpack(struct tf_inspect *inspect, struct tf_err *err);
TF_MUST_USE enum tf_code tf_inspect_pack(struct tf_inspect *inspect, struct tf_err *err);
/* TF_NO, without a message, when something was lost; what is left is written. */
TF_MUST_USE enum tf_code tf_inspect_recover(struct tf_inspect *inspect, struct tf_err *err);

/* Opens the first operand, and an edit of it (inspect_edit.c). Both are zeroed on failure; the
 * caller ends the edit before the checkpoint. */
TF_MUST_USE enum tf_code tf_inspect_open_edit(const struct tf_inspect *inspect,
                                              struct tf_checkpoint *from, struct tf_edit *edit,
                                              struct tf_err *err);
/* Writes the edit to -o, or prints its plan. */
TF_MUST_USE enum tf_code tf_inspect_finish_edit(const struct tf_inspect *inspect,
                                                const struct tf_edit *edit, struct tf_err *err);

/* What the operands after the checkpoint mean; without any, all there is. kinds: TF_SELECT_... */
TF_MUST_USE enum tf_code tf_inspect_select(struct tf_selection *out,
                                           const struct tf_inspect *inspect,
                                           const struct tf_store *store, unsigned kinds,
                                           struct tf_err *err);
/* Rows of one table: a selection of a single item. */
TF_MUST_USE enum tf_code tf_inspect_one_table(struct tf_selection *out,
                                              const struct tf_store *store, const char *text,
                                              struct tf_err *err);

/* Begins the one object of --json: {"schema":"tf-inspect/1","verb":verb, ... */
struct tf_json tf_inspect_json(const struct tf_inspect *inspect, const char *verb);
/* Words out of the file, made safe for a terminal. */
void tf_inspect_word(FILE *file, const char *before, const char *word, const char *after);
/* Does the name of the output end like this (".npy")? It then says what kind of file is wanted. */
bool tf_inspect_names(const struct tf_inspect *inspect, const char *end);
/* Around a heading: bold on a terminal, nothing in a file. */
const char *tf_inspect_bold(const struct tf_inspect *inspect);
const char *tf_inspect_plain(const struct tf_inspect *inspect);
/* Bytes of a table in the file. */
uint64_t tf_inspect_coded(const struct tf_store *store, const struct tf_table_info *info);
/* Bytes of a table before coding. */
uint64_t tf_inspect_raw(const struct tf_table_info *info);
/* How many rows of a table to hold at a time: those of any chunk, or more. */
uint64_t tf_inspect_block(const struct tf_store *store, const struct tf_table_info *info);

#endif
