/* recover: what is left of a damaged checkpoint. */
#include "cli/inspect.h"
#include "train/recover.h"
#include <inttypes.h>

/* What was wrong with the file as a whole. */
static void print_found(FILE *file, const struct tf_salvage *found)
{
    if (!found->header_good)
        fprintf(file, "the header is damaged\n");
    if (found->before > 0)
        fprintf(file, "%" PRIu64 " bytes stand before the checkpoint\n", found->before);
    if (found->inside > 0)
        fprintf(file, "%" PRIu64 " bytes in it are no part of it\n", found->inside);
    if (found->after > 0)
        fprintf(file, "%" PRIu64 " bytes stand after its end\n", found->after);
    if (found->missing > 0)
        fprintf(file, "%" PRIu64 " bytes are missing\n", found->missing);
}

/* Lost rows, in the words that transplant takes. */
static void print_lost(FILE *file, const struct tf_selection *lost)
{
    for (size_t i = 0; i < lost->count; i++) {
        const struct tf_selected *item = &lost->items[i];
        fprintf(file, "lost: %s[", item->name);
        for (size_t k = 0; k < item->row_count; k++)
            fprintf(file, "%s%" PRIu64 ":%" PRIu64, k ? "," : "", item->rows[k].first,
                    item->rows[k].end);
        fprintf(file, "]\n");
    }
}

enum tf_code tf_inspect_recover(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_recovery recovery = {0};
    struct tf_edit edit = {0};
    enum tf_code code = tf_out_check(inspect->common->output, inspect->common->force, err);

    if (!code)
        code = tf_recover_open(&recovery, &edit, inspect->operands[0], inspect->common->max_memory,
                               err);
    if (!code)
        code = tf_inspect_finish_edit(inspect, &edit, err);
    if (!code) {
        print_found(inspect->file, &recovery.found);
        print_lost(inspect->file, &recovery.lost);
        if (recovery.lost.count > 0)
            code = TF_NO;
    }
    tf_edit_fini(&edit);
    tf_recover_close(&recovery);
    return code;
}
