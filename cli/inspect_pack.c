/* unpack and pack: a checkpoint as a folder that other tools can work on, and back. */
#include "cli/inspect.h"
#include "train/bundle.h"
#include <inttypes.h>
#include <sys/resource.h>

/* How many tables there are, and their bytes. */
static const char *size_text(char out[96], const struct tf_store *store)
{
    uint64_t bytes = 0;
    char text[32];

    for (size_t i = 0; i < tf_store_tables(store); i++)
        bytes += tf_inspect_raw(tf_store_table(store, i));
    snprintf(out, 96, "%zu tables, %s", tf_store_tables(store), tf_ui_bytes(text, bytes));
    return out;
}

enum tf_code tf_inspect_unpack(struct tf_inspect *inspect, struct tf_err *err)
{
    const struct tf_common *common = inspect->common;
    struct tf_checkpoint from = {0};
    char text[96];
    enum tf_code code;

    if (common->force)
        return tf_fail(err, TF_USAGE, "unpack takes no --force: a folder is never replaced");
    code = tf_checkpoint_open(&from, inspect->operands[0], 0, NULL, 0, err);
    if (!code)
        code = tf_bundle_check(&from, common->output, err);
    if (!code && common->dry_run)
        fprintf(inspect->file, "%s  %s\n", common->output, size_text(text, from.store));
    if (!code && !common->dry_run) {
        code = tf_bundle_unpack(&from, common->output, err);
        if (!code)
            tf_ui_note(inspect->program, common, "%s: %s", common->output,
                       size_text(text, from.store));
    }
    tf_checkpoint_close(&from);
    return code;
}

/* Every table's file is open at a time: models of many layers have more than most shells let a
 * program open unless it asks. */
static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit); /* else opening tells */
    }
}

static void note_extra(const struct tf_inspect *inspect, const struct tf_bundle *bundle)
{
    if (bundle->extra_count == 1)
        tf_ui_note(inspect->program, inspect->common, "%s: the manifest does not name %s",
                   inspect->operands[0], bundle->extra);
    else if (bundle->extra_count > 1)
        tf_ui_note(inspect->program, inspect->common,
                   "%s: the manifest does not name %s and %zu more files", inspect->operands[0],
                   bundle->extra, bundle->extra_count - 1);
}

enum tf_code tf_inspect_pack(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_bundle bundle;
    struct tf_edit edit;
    enum tf_code code = tf_out_check(inspect->common->output, inspect->common->force, err);

    if (code)
        return code;
    allow_files();
    code = tf_bundle_open(&bundle, &edit, inspect->operands[0], err);
    if (code)
        return code;
    edit.level = (int)inspect->level;
    note_extra(inspect, &bundle);
    code = tf_inspect_finish_edit(inspect, &edit, err);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
    return code;
}
