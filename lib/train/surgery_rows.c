/* slice, replace, append, transplant: rows of tables. */
#include "base/mem.h"
#include "train/scan.h"
#include "train/surgery.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- new rows for old ---- */

/* Where a walk through the pieces of a table stands: at one of them, whose first row is `row`. */
struct walk {
    const struct tf_edit_table *table;
    size_t piece;
    uint64_t row;
};

/* Adds rows first .. end of the walked table; they only go forwards. */
static enum tf_code pass_on(struct tf_edit_table *to, struct walk *walk, uint64_t first,
                            uint64_t end, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    while (!code && first < end) {
        struct tf_piece piece = walk->table->pieces[walk->piece];
        uint64_t piece_end = walk->row + piece.count;
        if (first >= piece_end) {
            walk->row = piece_end;
            walk->piece++;
            continue;
        }
        piece.first += first - walk->row;
        piece.count = (end < piece_end ? end : piece_end) - first;
        first += piece.count;
        code = tf_edit_add(to, &piece, err);
    }
    return code;
}

/* Takes rows out of a table. Those of `with` (if not NULL) come in their place: the rows of the
 * same numbers, or, from a .npy file, its rows one after another. */
static enum tf_code splice(struct tf_edit_table *table, const struct tf_rows *rows, size_t count,
                           const struct tf_piece *with, struct tf_err *err)
{
    struct tf_edit_table old = *table;
    struct walk walk = {.table = &old};
    uint64_t done = 0, next = 0;
    enum tf_code code = TF_OK;

    table->pieces = NULL;
    tf_edit_clear(table);
    for (size_t i = 0; !code && i < count; i++) {
        code = pass_on(table, &walk, done, rows[i].first, err);
        if (!code && with) {
            struct tf_piece piece = *with;
            piece.first = with->npy ? next : rows[i].first;
            piece.count = rows[i].end - rows[i].first;
            next += piece.count;
            code = tf_edit_add(table, &piece, err);
        }
        done = rows[i].end;
    }
    if (!code)
        code = pass_on(table, &walk, done, old.info.rows, err);
    tf_edit_clear(&old);
    return code;
}

/* ---- tables that belong together ---- */

/* Of a Pattention its keys, values, and their moments; of a table itself and its moments. The i-th
 * of them, the moments from MOMENTS on; NULL when there is none. */
enum { MOMENTS = 2, PARTS = 6 };

static struct tf_edit_table *find_part(const struct tf_edit *edit, const struct tf_selected *item,
                                       int i)
{
    static const char *const prefixes[] = {"", "optim.m/", "optim.v/"};
    static const char *const suffixes[] = {".keys", ".values"};
    char name[TF_MAX_NAME + 32];

    if (!item->group && i % 2 != 0)
        return NULL;
    snprintf(name, sizeof name, "%s%s%s", prefixes[i / 2], item->name,
             item->group ? suffixes[i % 2] : "");
    return tf_edit_find(edit, name);
}

/* Rows first .. first+count of a table of a store; without a store when that has no such table. */
static struct tf_piece stored(const struct tf_store *store, const char *name, uint64_t first,
                              uint64_t count)
{
    size_t index = tf_store_find(store, name);

    return (struct tf_piece){
        .store = index == SIZE_MAX ? NULL : store, .table = index, .first = first, .count = count};
}

/* What it does that tokens come or go, of which the first is number `token`. One with a zero key
 * scores 0, and adds nothing to any sum; but 0 times infinity is no number. */
static enum tf_code judge_tokens(struct tf_edit *edit, const char *name,
                                 const struct tf_piece *keys, const struct tf_piece *values,
                                 uint64_t token, struct tf_err *err)
{
    struct tf_table_info info = {.cols = (uint32_t)edit->from->shape.width, .dtype = TF_F32};
    uint64_t key = 0, value = 0;
    enum tf_code code;

    if (edit->from->shape.norm == TF_SOFTMAX)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED,
                       "%s: softmax gives every token a weight, even one with a zero key", name);
    if (edit->effect == TF_EFFECT_CHANGED)
        return TF_OK;
    code = tf_scan_find(&key, keys, &info, tf_is_zero, err);
    if (!code && key == keys->count)
        code = tf_scan_find(&value, values, &info, tf_is_finite, err);
    if (code)
        return code;
    if (key < keys->count)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED,
                       "%s: the key of token %" PRIu64 " is not zero, and so %s", name, token + key,
                       edit->from->shape.norm == TF_GELU ? "the token counts"
                                                         : "counts in the norm");
    else if (value < values->count)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED, "%s: the value of token %" PRIu64 " is not finite",
                       name, token + value);
    return TF_OK;
}

/* ---- slice ---- */

/* Tokens i, i+16, i+32, ... of a row of scores are added up in one partial sum of its norm
 * (numerics in tokenformer(7)): tokens that move by another number join another one. */
enum { PARTIAL_SUMS = 16 };

static enum tf_code judge_drop(struct tf_edit *edit, const struct tf_selected *dropped,
                               struct tf_err *err)
{
    const struct tf_table_info *keys = &find_part(edit, dropped, 0)->info,
                               *values = &find_part(edit, dropped, 1)->info;
    const struct tf_store *store = edit->from->store;
    uint64_t gone = 0;
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < dropped->row_count; i++) {
        uint64_t first = dropped->rows[i].first, end = dropped->rows[i].end;
        struct tf_piece old_keys = stored(store, keys->name, first, end - first),
                        old_values = stored(store, values->name, first, end - first);
        code = judge_tokens(edit, dropped->name, &old_keys, &old_values, first, err);
        gone += end - first;
        if (!code && end < keys->rows && gone % PARTIAL_SUMS != 0 &&
            edit->from->shape.norm != TF_GELU)
            tf_edit_worsen(edit, TF_EFFECT_ROUNDED,
                           "%s: token %" PRIu64 " and those behind it move up, so that sums over "
                           "tokens round differently",
                           dropped->name, end);
    }
    return code;
}

/* The rows of a table of `rows` that are not in item. out->rows is the caller's to free. */
static enum tf_code invert(struct tf_selected *out, const struct tf_selected *item, uint64_t rows,
                           struct tf_err *err)
{
    uint64_t done = 0;

    *out = *item;
    out->row_count = 0;
    out->rows = tf_new(item->row_count + 1, sizeof *out->rows, "row ranges", err);
    if (!out->rows)
        return TF_MEMORY;
    for (size_t i = 0; i <= item->row_count; i++) {
        uint64_t first = i < item->row_count ? item->rows[i].first : rows;
        if (done < first)
            out->rows[out->row_count++] = (struct tf_rows){done, first};
        done = i < item->row_count ? item->rows[i].end : rows;
    }
    return TF_OK;
}

static enum tf_code drop_rows(struct tf_edit *edit, const struct tf_selected *dropped,
                              struct tf_err *err)
{
    uint64_t rows = find_part(edit, dropped, 0)->info.rows;
    enum tf_code code;

    if (tf_selected_rows(dropped) >= rows)
        return tf_fail(err, TF_USAGE, "%s: none of its %" PRIu64 " tokens would be left",
                       dropped->name, rows);
    if (dropped->row_count > 0)
        edit->verb = "slice";
    code = judge_drop(edit, dropped, err);
    for (int i = 0; !code && i < PARTS; i++) {
        struct tf_edit_table *table = find_part(edit, dropped, i);
        if (table)
            code = splice(table, dropped->rows, dropped->row_count, NULL, err);
    }
    return code;
}

enum tf_code tf_surgery_slice(struct tf_edit *edit, const struct tf_selection *selection, bool keep,
                              struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < selection->count; i++) {
        const struct tf_selected *item = &selection->items[i];
        struct tf_selected others = {0};
        if (!item->group)
            return tf_fail(err, TF_USAGE, "%s is a table: tokens are sliced by their Pattention",
                           item->name);
        if (keep)
            code = invert(&others, item, find_part(edit, item, 0)->info.rows, err);
        if (!code)
            code = drop_rows(edit, keep ? &others : item, err);
        tf_free(others.rows);
    }
    return code;
}

/* ---- replace and append: rows of .npy files ---- */

/* Are these rows for the table: two dimensions, its columns, real numbers that it can hold? */
static enum tf_code check_npy(const struct tf_npy *npy, uint64_t rows,
                              const struct tf_table_info *info, struct tf_err *err)
{
    struct tf_piece all = {.npy = npy, .count = rows};
    const char *path = npy->in.path;

    if (npy->dims != 2)
        return tf_fail(err, TF_DATA, "%s: must have 2 dimensions (rows and columns), not %d", path,
                       npy->dims);
    if (npy->shape[0] != rows)
        return tf_fail(err, TF_DATA, "%s: %" PRIu64 " rows for %" PRIu64 " of table %s", path,
                       npy->shape[0], rows, info->name);
    if (npy->shape[1] != info->cols)
        return tf_fail(err, TF_DATA, "%s: %" PRIu64 " columns, table %s has %" PRIu32, path,
                       npy->shape[1], info->name, info->cols);
    if (npy->type == TF_NPY_I4)
        return tf_fail(err, TF_DATA, "%s: type '<i4', must be '<f4', '<f2' or '<u2' (bf16)", path);
    return tf_scan_fits(&all, info, err);
}

enum tf_code tf_surgery_replace(struct tf_edit *edit, const struct tf_selected *selected,
                                const struct tf_npy *npy, struct tf_err *err)
{
    struct tf_edit_table *table = find_part(edit, selected, 0);
    struct tf_piece new = {.npy = npy};
    bool same = true;
    enum tf_code code = check_npy(npy, tf_selected_rows(selected), &table->info, err);

    for (size_t i = 0; !code && same && i < selected->row_count; i++) {
        const struct tf_rows *rows = &selected->rows[i];
        struct tf_piece old =
            stored(edit->from->store, selected->name, rows->first, rows->end - rows->first);
        code = tf_scan_same(&same, &old, &new, &table->info, err);
        new.first += old.count;
    }
    if (code || same)
        return code;
    edit->verb = "replace";
    if (table->info.role == TF_PARAMETER)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED, "%s gets other numbers", selected->name);
    return splice(table, selected->rows, selected->row_count, &new, err);
}

enum tf_code tf_surgery_append(struct tf_edit *edit, const char *group, const struct tf_npy *keys,
                               const struct tf_npy *values, struct tf_err *err)
{
    struct tf_selected item = {.group = true};
    struct tf_piece pieces[PARTS] = {{.npy = keys}, {.npy = values}};
    enum tf_code code = TF_OK;

    edit->verb = "append";
    snprintf(item.name, sizeof item.name, "%s", group);
    if (strlen(group) > TF_MAX_NAME || !find_part(edit, &item, 0) || !find_part(edit, &item, 1))
        return tf_fail(err, TF_NOINPUT, "%s: no Pattention '%s'", tf_store_path(edit->from->store),
                       group);
    if (keys->shape[0] != values->shape[0])
        return tf_fail(err, TF_DATA, "%s has %" PRIu64 " rows, %s has %" PRIu64, keys->in.path,
                       keys->shape[0], values->in.path, values->shape[0]);
    for (int i = 0; !code && i < MOMENTS; i++)
        code = check_npy(pieces[i].npy, keys->shape[0], &find_part(edit, &item, i)->info, err);
    for (int i = 0; i < PARTS; i++)
        pieces[i].count = keys->shape[0];
    if (!code)
        code = judge_tokens(edit, group, &pieces[0], &pieces[1],
                            find_part(edit, &item, 0)->info.rows, err);
    for (int i = 0; !code && i < PARTS; i++) {
        struct tf_edit_table *table = find_part(edit, &item, i);
        if (table)
            code = tf_edit_add(table, &pieces[i], err);
    }
    return code;
}

/* ---- transplant: rows of another checkpoint ---- */

/* The same rows of a table of ours, unless they are what it has already. */
static enum tf_code put_in_place(struct tf_edit *edit, struct tf_edit_table *table,
                                 const struct tf_selected *item, const struct tf_piece *from,
                                 struct tf_err *err)
{
    uint64_t end = item->rows[item->row_count - 1].end;
    bool same = from->store != NULL;
    enum tf_code code = TF_OK;

    if (end > table->info.rows)
        return tf_fail(
            err, TF_USAGE, "table %s: row %" PRIu64 " is chosen, but %s has %" PRIu64 " rows",
            table->info.name, end - 1, tf_store_path(edit->from->store), table->info.rows);
    for (size_t i = 0; !code && same && i < item->row_count; i++) {
        uint64_t first = item->rows[i].first, count = item->rows[i].end - first;
        struct tf_piece old = stored(edit->from->store, table->info.name, first, count),
                        new = *from;
        new.first = first;
        code = tf_scan_same(&same, &old, &new, &table->info, err);
    }
    if (code || same)
        return code;
    edit->verb = "transplant";
    if (table->info.role == TF_PARAMETER)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED, "%s gets other numbers", table->info.name);
    return splice(table, item->rows, item->row_count, from, err);
}

/* What is chosen of another store's table, or zeros where it lacks the moments. */
static enum tf_code open_part(struct tf_piece *piece, const struct tf_store *other,
                              const struct tf_edit_table *table, const struct tf_selected *item,
                              struct tf_err *err)
{
    const struct tf_table_info *info, *to = &table->info;
    uint64_t end = item->rows[item->row_count - 1].end;
    enum tf_code code = TF_OK;

    *piece = stored(other, to->name, 0, 0);
    if (!piece->store)
        return TF_OK;
    info = tf_store_table(other, piece->table);
    if (info->cols != to->cols)
        return tf_fail(err, TF_DATA,
                       "%s: table %s: %" PRIu32 " columns, must be %" PRIu32 " as in the input",
                       tf_store_path(other), to->name, info->cols, to->cols);
    if (end > info->rows)
        return tf_fail(err, TF_DATA, "%s: table %s: %" PRIu64 " rows, %s has %" PRIu64 " or more",
                       tf_store_path(other), to->name, info->rows, item->name, end);
    for (size_t i = 0; !code && i < item->row_count; i++) {
        struct tf_piece rows = *piece;
        rows.first = item->rows[i].first;
        rows.count = item->rows[i].end - rows.first;
        code = tf_scan_fits(&rows, to, err);
    }
    return code;
}

static enum tf_code put_behind(struct tf_edit *edit, struct tf_edit_table *const tables[PARTS],
                               const struct tf_selected *item, struct tf_piece pieces[PARTS],
                               struct tf_err *err)
{
    enum tf_code code = TF_OK;

    edit->verb = "transplant";
    for (size_t i = 0; !code && i < item->row_count; i++) {
        for (int part = 0; part < PARTS; part++) {
            pieces[part].first = item->rows[i].first;
            pieces[part].count = item->rows[i].end - item->rows[i].first;
        }
        code = judge_tokens(edit, item->name, &pieces[0], &pieces[1], tables[0]->info.rows, err);
        for (int part = 0; !code && part < PARTS; part++)
            if (tables[part])
                code = tf_edit_add(tables[part], &pieces[part], err);
    }
    return code;
}

static enum tf_code transplant_item(struct tf_edit *edit, const struct tf_store *other,
                                    const struct tf_selected *item, bool append, struct tf_err *err)
{
    struct tf_edit_table *tables[PARTS];
    struct tf_piece pieces[PARTS] = {{0}};
    enum tf_code code = TF_OK;

    if (append && !item->group)
        return tf_fail(err, TF_USAGE, "%s is a table: tokens are appended to their Pattention",
                       item->name);
    for (int i = 0; !code && i < PARTS; i++) {
        tables[i] = find_part(edit, item, i);
        if (tables[i])
            code = open_part(&pieces[i], other, tables[i], item, err);
        else if (i == 0 || (i < MOMENTS && item->group))
            code = tf_fail(err, TF_NOINPUT, "%s: no %s '%s'", tf_store_path(edit->from->store),
                           item->group ? "Pattention" : "table", item->name);
    }
    if (!code && append)
        return put_behind(edit, tables, item, pieces, err);
    for (int i = 0; !code && i < PARTS; i++)
        if (tables[i])
            code = put_in_place(edit, tables[i], item, &pieces[i], err);
    return code;
}

enum tf_code tf_surgery_transplant(struct tf_edit *edit, const struct tf_store *other,
                                   const struct tf_selection *selection, bool append,
                                   struct tf_err *err)
{
    enum tf_code code = tf_store_editable(other, err);

    for (size_t i = 0; !code && i < selection->count; i++)
        code = transplant_item(edit, other, &selection->items[i], append, err);
    return code;
}
