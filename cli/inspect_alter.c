/* Edits of whole tables, and of what goes with them: set, drop, cast, repack. */
#include "cli/inspect.h"
#include "train/surgery.h"
#include <string.h>

/* What a verb does, with the operands behind the checkpoint. */
typedef enum tf_code change_fn(struct tf_edit *edit, const char *const *operands, size_t count,
                               struct tf_err *err);

static enum tf_code alter(struct tf_inspect *inspect, change_fn *change, struct tf_err *err)
{
    struct tf_checkpoint from;
    struct tf_edit edit;
    enum tf_code code = tf_inspect_open_edit(inspect, &from, &edit, err);

    if (code)
        return code;
    edit.level = (int)inspect->level;
    code = change(&edit, (const char *const *)inspect->operands + 1,
                  (size_t)inspect->operand_count - 1, err);
    if (!code)
        code = tf_inspect_finish_edit(inspect, &edit, err);
    tf_edit_fini(&edit);
    tf_checkpoint_close(&from);
    return code;
}

static enum tf_code cast(struct tf_edit *edit, const char *const *operands, size_t count,
                         struct tf_err *err)
{
    static const enum tf_dtype dtypes[] = {TF_F32, TF_BF16, TF_F16};

    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(operands[0], tf_dtype_name(dtypes[i])) == 0)
            return tf_surgery_cast(edit, dtypes[i], operands + 1, count - 1, err);
    return tf_fail(err, TF_USAGE, "cast: '%s' is no type: write f32, bf16 or f16", operands[0]);
}

static enum tf_code repack(struct tf_edit *edit, const char *const *operands, size_t count,
                           struct tf_err *err)
{
    (void)operands, (void)count, (void)err;
    tf_surgery_repack(edit);
    return TF_OK;
}

enum tf_code tf_inspect_set(struct tf_inspect *inspect, struct tf_err *err)
{
    return alter(inspect, tf_surgery_set, err);
}

enum tf_code tf_inspect_drop(struct tf_inspect *inspect, struct tf_err *err)
{
    return alter(inspect, tf_surgery_drop, err);
}

enum tf_code tf_inspect_cast(struct tf_inspect *inspect, struct tf_err *err)
{
    return alter(inspect, cast, err);
}

enum tf_code tf_inspect_repack(struct tf_inspect *inspect, struct tf_err *err)
{
    return alter(inspect, repack, err);
}
