/* Selections: which rows of which tables, in one syntax everywhere.
 *
 *   NAME           all rows          NAME[128:256]  rows 128 to 255
 *   NAME[:64]      the first 64      NAME[-64:]     the last 64
 *   NAME[5]        row 5             NAME[0:8,-1]   the first eight and the last
 *
 * NAME is a table (embed.tokens), a Pattention (layers.3.ffn: its keys, its values and their
 * moments), or a pattern of glob(7) over these names, where * matches dots and slashes too. */
#ifndef TF_TRAIN_SELECT_H
#define TF_TRAIN_SELECT_H

#include "store/reader.h"
#include <stdbool.h>

struct tf_rows {
    uint64_t first, end; /* rows first .. end-1 */
};

struct tf_selected {
    char name[TF_MAX_NAME + 1]; /* of the table, or the Pattention */
    bool group;                 /* a Pattention */
    size_t table;               /* in the store: the table, or the Pattention's keys */
    struct tf_rows *rows;       /* sorted, not empty, with a gap between each two; owned */
    size_t row_count;           /* of these ranges */
};

/* Sorted by name; nothing is in it twice. */
struct tf_selection {
    struct tf_selected *items; /* owned */
    size_t count;
};

/* What a name may mean. With both, a text that matches a Pattention means just that. */
enum { TF_SELECT_TABLES = 1, TF_SELECT_GROUPS = 2 };

/* Texts that meet in a table add up. A text that is no selection, or rows that a table does not
 * have: TF_USAGE. A name that nothing matches: TF_NOINPUT. */
TF_MUST_USE enum tf_code tf_select(struct tf_selection *out, const struct tf_store *store,
                                   unsigned kinds, const char *const *texts, size_t count,
                                   struct tf_err *err);
void tf_selection_fini(struct tf_selection *selection);
/* How many rows an item chooses. */
uint64_t tf_selected_rows(const struct tf_selected *item);

/* The Pattention that a table, or a moment of it, belongs to (layers.3.ffn of
 * optim.m/layers.3.ffn.keys) into out; false when it belongs to none. */
bool tf_group_name(char out[TF_MAX_NAME + 1], const char *table);

/* TF_USAGE where rows were chosen: for what takes tables or Pattentions whole. */
TF_MUST_USE enum tf_code tf_selection_whole(const struct tf_selection *selection,
                                            const struct tf_store *store, struct tf_err *err);

#endif
