#include "train/recover.h"

#include "base/mem.h"
#include <string.h>

/* The other moment of the same table, which has as many rows, or SIZE_MAX: m and v are zero
 * together, for an average of gradients over no average of their squares would throw the next step
 * far off. */
static size_t other_moment(const struct tf_store *store, const struct tf_table_info *info)
{
    char other[TF_MAX_NAME + 1];

    if (info->role != TF_MOMENT) /* a buffer may have such a name, and any rows */
        return SIZE_MAX;
    strcpy(other, info->name);
    other[6] = other[6] == 'm' ? 'v' : 'm'; /* optim.m/NAME or optim.v/NAME */
    return tf_store_find(store, other);
}

/* A walk down the chunks of a table. */
struct walk {
    const struct tf_store *store;
    const bool *good;
    uint32_t chunk;
    uint64_t end; /* of its rows */
};

static struct walk begin(const struct tf_store *store, const bool *good, size_t table)
{
    uint32_t first = tf_store_table(store, table)->first_chunk;

    return (struct walk){store, good, first, tf_store_chunk(store, first)->rows};
}

/* Is the chunk of this row lost? Rows come in ascending order. *end: the first row that may be
 * otherwise. */
static bool is_lost(struct walk *walk, uint64_t row, uint64_t *end)
{
    while (row >= walk->end)
        walk->end += tf_store_chunk(walk->store, ++walk->chunk)->rows;
    *end = walk->end < *end ? walk->end : *end;
    return !walk->good[walk->chunk];
}

static enum tf_code add_lost(struct tf_selected *lost, uint64_t first, uint64_t end,
                             struct tf_err *err)
{
    size_t count = lost->row_count;

    if (count > 0 && lost->rows[count - 1].end == first) {
        lost->rows[count - 1].end = end;
        return TF_OK;
    }
    struct tf_rows *rows = tf_more(lost->rows, count, sizeof *rows, "lost rows", err);
    if (!rows)
        return TF_MEMORY;
    lost->rows = rows;
    lost->rows[lost->row_count++] = (struct tf_rows){first, end};
    return TF_OK;
}

/* Good rows from the file, zeros for the others, which are added to `lost`. */
static enum tf_code mend_table(struct tf_edit_table *table, struct tf_selected *lost,
                               const struct tf_store *store, const bool *good, size_t index,
                               struct tf_err *err)
{
    size_t other = other_moment(store, &table->info);
    struct walk own = begin(store, good, index),
                beside = begin(store, good, other == SIZE_MAX ? index : other);
    uint64_t rows = table->info.rows, end;
    enum tf_code code = TF_OK;

    tf_edit_clear(table);
    for (uint64_t row = 0; !code && row < rows; row = end) {
        struct tf_piece piece = {.first = row};
        end = rows;
        bool gone = is_lost(&own, row, &end);
        gone |= is_lost(&beside, row, &end);
        if (!gone) {
            piece.store = store;
            piece.table = index;
        }
        piece.count = end - row;
        code = tf_edit_add(table, &piece, err);
        if (!code && gone)
            code = add_lost(lost, row, end, err);
    }
    return code;
}

static enum tf_code mend(struct tf_recovery *recovery, struct tf_edit *edit, const bool *good,
                         struct tf_err *err)
{
    struct tf_selection *lost = &recovery->lost;
    enum tf_code code = TF_OK;

    lost->items = tf_new(edit->table_count, sizeof *lost->items, "lost tables", err);
    if (!lost->items)
        return TF_MEMORY;
    for (size_t i = 0; !code && i < edit->table_count; i++) {
        struct tf_selected *item = &lost->items[lost->count];
        strcpy(item->name, edit->tables[i].info.name);
        item->table = i;
        code = mend_table(&edit->tables[i], item, recovery->checkpoint.store, good, i, err);
        lost->count += item->row_count > 0;
    }
    if (!code && lost->count > 0) {
        edit->verb = "recover";
        edit->unreadable = true;
        for (size_t i = 0; i < lost->count; i++)
            if (tf_edit_find(edit, lost->items[i].name)->info.role == TF_PARAMETER)
                tf_edit_worsen(edit, TF_EFFECT_CHANGED, "rows of %s are lost, and zeros now",
                               lost->items[i].name);
    }
    return code;
}

enum tf_code tf_recover_open(struct tf_recovery *recovery, struct tf_edit *edit, const char *path,
                             uint64_t max_memory, struct tf_err *err)
{
    struct tf_store *store = NULL;
    bool *good = NULL;
    enum tf_code code;

    memset(recovery, 0, sizeof *recovery);
    memset(edit, 0, sizeof *edit);
    code = tf_store_salvage(&store, &good, &recovery->found, path, max_memory, err);
    if (!code)
        code = tf_checkpoint_take(&recovery->checkpoint, store, err);
    if (!code)
        code = tf_store_editable(store, err);
    if (!code)
        code = tf_edit_init(edit, &recovery->checkpoint, err);
    if (!code)
        code = mend(recovery, edit, good, err);
    tf_free(good);
    if (code) {
        tf_edit_fini(edit);
        tf_recover_close(recovery);
    }
    return code;
}

void tf_recover_close(struct tf_recovery *recovery)
{
    tf_selection_fini(&recovery->lost);
    tf_checkpoint_close(&recovery->checkpoint);
    memset(recovery, 0, sizeof *recovery);
}
