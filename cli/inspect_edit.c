/* What the editing verbs share: opening the input, the plan of a dry run, writing, the note on what
 * became of it. */
#include "base/mem.h"
#include "cli/inspect.h"
#include <inttypes.h>
#include <string.h>

enum tf_code tf_inspect_open_edit(const struct tf_inspect *inspect, struct tf_checkpoint *from,
                                  struct tf_edit *edit, struct tf_err *err)
{
    enum tf_code code = tf_out_check(inspect->common->output, inspect->common->force, err);

    memset(from, 0, sizeof *from);
    memset(edit, 0, sizeof *edit);
    /* Tables are never in memory as a whole: --max-memory limits the plan instead. */
    if (!code)
        code = tf_checkpoint_open(from, inspect->operands[0], 0, NULL, 0, err);
    if (!code)
        code = tf_store_editable(from->store, err);
    if (!code)
        code = tf_edit_init(edit, from, err);
    if (code)
        tf_checkpoint_close(from);
    return code;
}

/* The table as it was; NULL when it is new. */
static const struct tf_table_info *before(const struct tf_edit *edit,
                                          const struct tf_edit_table *table)
{
    const struct tf_store *store = edit->from->store;
    size_t index = store ? tf_store_find(store, table->info.name) : SIZE_MAX;

    return index == SIZE_MAX ? NULL : tf_store_table(store, index);
}

/* Is this the table that speaks for a Pattention, its keys? name: the Pattention's. */
static bool is_keys(const struct tf_edit_table *table, char name[TF_MAX_NAME + 1])
{
    return table->info.role == TF_PARAMETER && tf_group_name(name, table->info.name) &&
           strcmp(table->info.name + strlen(name), ".keys") == 0;
}

/* A line for each Pattention whose tokens change in number, and for each table whose kind does. */
static void print_changes(FILE *file, const struct tf_edit *edit)
{
    for (size_t i = 0; i < edit->table_count; i++) {
        const struct tf_edit_table *table = &edit->tables[i];
        const struct tf_table_info *old = before(edit, table), *now = &table->info;
        char name[TF_MAX_NAME + 1];
        if (!old)
            continue;
        if (table->dropped) {
            fprintf(file, "%-34s dropped\n", now->name);
            continue;
        }
        if (old->rows != now->rows && is_keys(table, name))
            fprintf(file, "%-34s %" PRIu64 " -> %" PRIu64 " tokens\n", name, old->rows, now->rows);
        if (old->dtype != now->dtype)
            fprintf(file, "%-34s %s -> %s\n", now->name, tf_dtype_name(old->dtype),
                    tf_dtype_name(now->dtype));
        if (old->scale != now->scale)
            fprintf(file, "%-34s scale %.17g -> %.17g\n", now->name, old->scale, now->scale);
    }
}

/* "changed (why)", into out */
static char *effect(char out[512], const struct tf_edit *edit)
{
    bool exact = edit->effect == TF_EFFECT_EXACT;

    snprintf(out, 512, "%s%s%s%s", tf_effect_name(edit->effect), exact ? "" : " (", edit->why,
             exact ? "" : ")");
    return out;
}

static void print_plan(FILE *file, const struct tf_edit *edit, const struct tf_edit_plan *plan)
{
    char bytes[32], text[512];

    print_changes(file, edit);
    fprintf(file, "tables      %zu written, %zu left out\n", plan->tables, plan->dropped);
    fprintf(file, "copied      %" PRIu64 " chunks, %s\n", plan->copied_chunks,
            tf_ui_bytes(bytes, plan->copied));
    fprintf(file, "coded anew  %" PRIu64 " rows, %s before compression\n", plan->coded_rows,
            tf_ui_bytes(bytes, plan->coded));
    fprintf(file, "memory      %s\n", tf_ui_bytes(bytes, plan->memory));
    fprintf(file, "function    %s\n", effect(text, edit));
}

/* One line: "layers.0.ffn and 3 more: 176 -> 128 tokens; function: exact". */
static void note(const struct tf_inspect *inspect, const struct tf_edit *edit)
{
    uint64_t old_tokens = 0, tokens = 0;
    size_t changed = 0;
    char first[TF_MAX_NAME + 1] = "", more[32] = "", name[TF_MAX_NAME + 1], text[512];

    for (size_t i = 0; i < edit->table_count; i++) {
        const struct tf_edit_table *table = &edit->tables[i];
        const struct tf_table_info *old = before(edit, table);
        if (!old || old->rows == table->info.rows || !is_keys(table, name))
            continue;
        if (changed++ == 0)
            strcpy(first, name);
        old_tokens += old->rows;
        tokens += table->info.rows;
    }
    if (changed > 1)
        snprintf(more, sizeof more, " and %zu more", changed - 1);
    effect(text, edit);
    if (changed > 0)
        tf_ui_note(inspect->program, inspect->common,
                   "%s%s: %" PRIu64 " -> %" PRIu64 " tokens; function: %s", first, more, old_tokens,
                   tokens, text);
    else
        tf_ui_note(inspect->program, inspect->common, "function: %s", text);
}

enum tf_code tf_inspect_finish_edit(const struct tf_inspect *inspect, const struct tf_edit *edit,
                                    struct tf_err *err)
{
    const struct tf_common *common = inspect->common;
    uint64_t limit = common->max_memory ? common->max_memory : tf_memory_physical();
    struct tf_edit_plan plan;
    enum tf_code code = tf_out_check(common->output, common->force, err);

    if (!code)
        code = tf_edit_check(edit, err);
    if (code)
        return code;
    tf_edit_plan(&plan, edit);
    if (limit && plan.memory > limit) {
        char needed[32], most[32];
        return tf_fail(err, TF_MEMORY, "the edit needs %s of memory; the limit is %s",
                       tf_ui_bytes(needed, plan.memory), tf_ui_bytes(most, limit));
    }
    if (common->dry_run) {
        print_plan(inspect->file, edit, &plan);
        return TF_OK;
    }
    code = tf_edit_write(edit, common->output, common->force, err);
    if (!code)
        note(inspect, edit);
    return code;
}
