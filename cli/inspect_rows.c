/* slice, replace, append, transplant: rows of tables. */
#include "base/mem.h"
#include "cli/inspect.h"
#include "train/surgery.h"
#include "train/usage.h"

enum { MAX_USAGE = 256 << 20 }; /* bytes of a usage file: about 20 a token */

/* What an edit borrows beside the checkpoint that it is of. */
struct inputs {
    struct tf_checkpoint other;
    struct tf_npy npy[2];
};

/* The frame of all four verbs: `change` fills in the edit. */
static enum tf_code run(struct tf_inspect *inspect,
                        enum tf_code (*change)(const struct tf_inspect *inspect,
                                               struct tf_edit *edit, struct inputs *inputs,
                                               struct tf_err *err),
                        struct tf_err *err)
{
    struct tf_checkpoint from;
    struct tf_edit edit;
    struct inputs inputs = {0};
    enum tf_code code = tf_inspect_open_edit(inspect, &from, &edit, err);

    if (!code)
        code = change(inspect, &edit, &inputs, err);
    if (!code)
        code = tf_inspect_finish_edit(inspect, &edit, err);
    tf_edit_fini(&edit);
    tf_checkpoint_close(&inputs.other);
    tf_npy_close(&inputs.npy[0]);
    tf_npy_close(&inputs.npy[1]);
    tf_checkpoint_close(&from);
    return code;
}

/* The operands from number `first` on, as selections. */
static enum tf_code select_rest(struct tf_selection *out, const struct tf_inspect *inspect,
                                int first, const struct tf_store *store, unsigned kinds,
                                struct tf_err *err)
{
    return tf_select(out, store, kinds, (const char *const *)inspect->operands + first,
                     (size_t)(inspect->operand_count - first), err);
}

/* The most used tokens, by the file that stats --usage --json wrote. */
static enum tf_code select_top(struct tf_selection *out, const struct tf_inspect *inspect,
                               const struct tf_store *store, struct tf_err *err)
{
    struct tf_usage usage = {0};
    char *text = NULL;
    size_t size;
    enum tf_code code = tf_read_file(inspect->by, MAX_USAGE, &text, &size, err);

    if (!code)
        code = tf_usage_parse(&usage, inspect->by, text, size, err);
    if (!code)
        code = tf_usage_select(out, &usage, store, (const char *const *)inspect->operands + 1,
                               (size_t)inspect->operand_count - 1, inspect->keep_top, err);
    tf_usage_fini(&usage);
    tf_free(text);
    return code;
}

static enum tf_code slice(const struct tf_inspect *inspect, struct tf_edit *edit,
                          struct inputs *inputs, struct tf_err *err)
{
    const struct tf_store *store = edit->from->store;
    struct tf_selection selection = {0};
    enum tf_code code = inspect->keep_top
                            ? select_top(&selection, inspect, store, err)
                            : select_rest(&selection, inspect, 1, store, TF_SELECT_GROUPS, err);

    (void)inputs;
    if (!code)
        code = tf_surgery_slice(edit, &selection, !inspect->drop, err);
    tf_selection_fini(&selection);
    return code;
}

enum tf_code tf_inspect_slice(struct tf_inspect *inspect, struct tf_err *err)
{
    if (inspect->operand_count < 2 && !inspect->keep_top)
        return tf_fail(err, TF_USAGE, "slice: no tokens given: write 'layers.*.ffn[:64]'");
    return run(inspect, slice, err);
}

static enum tf_code replace(const struct tf_inspect *inspect, struct tf_edit *edit,
                            struct inputs *inputs, struct tf_err *err)
{
    struct tf_selection selection = {0};
    enum tf_code code =
        tf_inspect_one_table(&selection, edit->from->store, inspect->operands[1], err);

    if (!code)
        code = tf_npy_open(&inputs->npy[0], inspect->operands[2], err);
    if (!code)
        code = tf_surgery_replace(edit, &selection.items[0], &inputs->npy[0], err);
    tf_selection_fini(&selection);
    return code;
}

enum tf_code tf_inspect_replace(struct tf_inspect *inspect, struct tf_err *err)
{
    return run(inspect, replace, err);
}

static enum tf_code append(const struct tf_inspect *inspect, struct tf_edit *edit,
                           struct inputs *inputs, struct tf_err *err)
{
    enum tf_code code = tf_npy_open(&inputs->npy[0], inspect->operands[2], err);

    if (!code)
        code = tf_npy_open(&inputs->npy[1], inspect->operands[3], err);
    return code ? code
                : tf_surgery_append(edit, inspect->operands[1], &inputs->npy[0], &inputs->npy[1],
                                    err);
}

enum tf_code tf_inspect_append(struct tf_inspect *inspect, struct tf_err *err)
{
    return run(inspect, append, err);
}

static enum tf_code transplant(const struct tf_inspect *inspect, struct tf_edit *edit,
                               struct inputs *inputs, struct tf_err *err)
{
    struct tf_selection selection = {0};
    enum tf_code code = tf_checkpoint_open(&inputs->other, inspect->operands[1], 0, NULL, 0, err);

    if (!code)
        code = select_rest(&selection, inspect, 2, inputs->other.store,
                           inspect->append ? TF_SELECT_GROUPS : TF_SELECT_TABLES | TF_SELECT_GROUPS,
                           err);
    if (!code)
        code = tf_surgery_transplant(edit, inputs->other.store, &selection, inspect->append, err);
    tf_selection_fini(&selection);
    return code;
}

enum tf_code tf_inspect_transplant(struct tf_inspect *inspect, struct tf_err *err)
{
    return run(inspect, transplant, err);
}
