/* The engine of surgery: tables made of pieces, and what goes with them. */
#include "train/edit.h"

#include "base/mem.h"
#include "store/codec.h"
#include "train/edit_table.h"
#include "train/fit.h"
#include "train/select.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *tf_effect_name(enum tf_effect effect)
{
    static const char *const names[] = {"exact", "rounded", "changed"};

    return names[effect];
}

/* ---- pieces ---- */

enum tf_dtype tf_piece_dtype(const struct tf_piece *piece)
{
    return piece->store ? tf_store_table(piece->store, piece->table)->dtype
           : piece->npy ? tf_npy_dtype(piece->npy->type)
                        : TF_F32;
}

enum tf_code tf_piece_read(const struct tf_piece *piece, uint32_t cols, uint64_t row,
                           uint64_t count, float *out, void *raw, struct tf_err *err)
{
    if (piece->store)
        return tf_store_read(piece->store, piece->table, row, count, out, cols, err);
    enum tf_code code = tf_npy_read(piece->npy, row, count, raw, err);
    if (!code)
        tf_dtype_unpack(out, tf_piece_dtype(piece), raw, count * cols);
    return code;
}

/* ---- the edit ---- */

enum tf_code tf_edit_init(struct tf_edit *edit, const struct tf_checkpoint *from,
                          struct tf_err *err)
{
    size_t count = from->store ? tf_store_tables(from->store) : 0;
    enum tf_code code;

    memset(edit, 0, sizeof *edit);
    edit->from = from;
    edit->state = from->state;
    code = tf_config_init(&edit->config, err);
    if (!code)
        code = tf_config_adopt(&edit->config, &from->config, NULL, err);
    if (!code && !(edit->tables = tf_new(count, sizeof *edit->tables, "the tables", err)))
        code = TF_MEMORY;
    for (size_t i = 0; !code && i < count; i++) {
        struct tf_edit_table *table = &edit->tables[edit->table_count++];
        table->info = *tf_store_table(from->store, i);
        struct tf_piece all = {.store = from->store, .table = i, .count = table->info.rows};
        table->info.rows = 0;
        code = tf_edit_add(table, &all, err);
    }
    for (int kind = 0; !code && from->store && kind < TF_BLOBS; kind++)
        edit->blobs[kind] = tf_store_blob(from->store, (enum tf_blob)kind, &edit->blob_sizes[kind]);
    if (code)
        tf_edit_fini(edit);
    return code;
}

void tf_edit_fini(struct tf_edit *edit)
{
    for (size_t i = 0; edit->tables && i < edit->table_count; i++)
        tf_edit_clear(&edit->tables[i]);
    tf_free(edit->tables);
    tf_config_fini(&edit->config);
    memset(edit, 0, sizeof *edit);
}

static int compare_name(const void *name, const void *table)
{
    return strcmp(name, ((const struct tf_edit_table *)table)->info.name);
}

struct tf_edit_table *tf_edit_find(const struct tf_edit *edit, const char *name)
{
    return bsearch(name, edit->tables, edit->table_count, sizeof *edit->tables, compare_name);
}

/* Does b go on where a ends? */
static bool adjoins(const struct tf_piece *a, const struct tf_piece *b)
{
    return a->store == b->store && a->npy == b->npy && a->table == b->table && !a->step &&
           !b->step && ((!a->store && !a->npy) || a->first + a->count == b->first);
}

enum tf_code tf_edit_add(struct tf_edit_table *table, const struct tf_piece *piece,
                         struct tf_err *err)
{
    size_t count = table->piece_count;

    if (piece->count == 0)
        return TF_OK;
    if (piece->count > TF_MAX_ROWS - table->info.rows)
        return tf_fail(err, TF_DATA, "table %s: more than %llu rows", table->info.name,
                       TF_MAX_ROWS);
    if (count > 0 && adjoins(&table->pieces[count - 1], piece)) {
        table->pieces[count - 1].count += piece->count;
        table->info.rows += piece->count;
        return TF_OK;
    }
    struct tf_piece *pieces = tf_more(table->pieces, count, sizeof *pieces, "pieces", err);
    if (!pieces)
        return TF_MEMORY;
    table->pieces = pieces;
    table->pieces[table->piece_count++] = *piece;
    table->info.rows += piece->count;
    return TF_OK;
}

void tf_edit_clear(struct tf_edit_table *table)
{
    tf_free(table->pieces);
    table->pieces = NULL;
    table->piece_count = 0;
    table->info.rows = 0;
}

void tf_edit_worsen(struct tf_edit *edit, enum tf_effect effect, const char *format, ...)
{
    va_list args;

    if (effect <= edit->effect)
        return;
    edit->effect = effect;
    va_start(args, format);
    vsnprintf(edit->why, sizeof edit->why, format, args);
    va_end(args);
}

void tf_edit_plan(struct tf_edit_plan *plan, const struct tf_edit *edit)
{
    memset(plan, 0, sizeof *plan);
    for (size_t i = 0; i < edit->table_count; i++) {
        if (edit->tables[i].dropped) {
            plan->dropped++;
            continue;
        }
        plan->tables++;
        tf_edit_plan_table(plan, &edit->tables[i]);
    }
}

/* ---- what goes with the tables ---- */

/* Keys speak for a Pattention: values and moments have their rows. */
static enum tf_code check_rows(const struct tf_edit *edit, struct tf_err *err)
{
    for (size_t i = 0; i < edit->table_count; i++) {
        const struct tf_table_info *info = &edit->tables[i].info;
        char name[TF_MAX_NAME + 1];
        if (info->role == TF_BUFFER || edit->tables[i].dropped ||
            !tf_group_name(name, info->name) || strlen(name) + strlen(".keys") > TF_MAX_NAME)
            continue;
        const struct tf_edit_table *keys = tf_edit_find(edit, strcat(name, ".keys"));
        if (keys && keys->info.rows != info->rows)
            return tf_fail(err, TF_DATA, "table %s: %" PRIu64 " rows, but %s has %" PRIu64,
                           info->name, info->rows, keys->info.name, keys->info.rows);
    }
    return TF_OK;
}

/* The token counts that the tables have now, of what has any. Those of q, k and v are one key of
 * the config. */
static enum tf_code count_tokens(struct tf_shape *shape, const struct tf_edit *edit,
                                 struct tf_err *err)
{
    for (uint64_t layer = 0; layer < shape->layers; layer++) {
        uint64_t *tokens = shape->layer[layer].tokens;
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            char name[TF_TABLE_NAME];
            const struct tf_edit_table *keys =
                tf_edit_find(edit, tf_table_name(name, layer, p, TF_KEYS));
            if (keys && !tf_is_matrix(shape, p))
                tokens[p] = keys->info.rows;
        }
        if (tokens[TF_Q] != tokens[TF_K] || tokens[TF_Q] != tokens[TF_V])
            return tf_fail(err, TF_DATA,
                           "layers.%" PRIu64 ".attn: q, k and v must have one number of tokens "
                           "(model.qkv_tokens), not %" PRIu64 ", %" PRIu64 " and %" PRIu64,
                           layer, tokens[TF_Q], tokens[TF_K], tokens[TF_V]);
    }
    return TF_OK;
}

/* Would the tables be those of a model of this shape? */
static enum tf_code fit(struct tf_shape *after, const struct tf_edit *edit, struct tf_err *err)
{
    const struct tf_table_info **tables =
        tf_new(edit->table_count, sizeof *tables, "the table check", err);
    size_t count = 0;

    if (!tables)
        return TF_MEMORY;
    for (size_t i = 0; i < edit->table_count; i++)
        if (!edit->tables[i].dropped)
            tables[count++] = &edit->tables[i].info;
    enum tf_code code = tf_fit_tables(after, tables, count, err);
    tf_free(tables);
    return code;
}

/* The shape after the edit. */
static enum tf_code plan_shape(struct tf_shape *after, const struct tf_edit *edit,
                               struct tf_err *err)
{
    enum tf_code code = check_rows(edit, err);

    if (!code)
        code = tf_shape_copy(after, &edit->from->shape, err);
    if (!code)
        code = count_tokens(after, edit, err);
    return code ? code : fit(after, edit, err);
}

enum tf_code tf_edit_check(const struct tf_edit *edit, struct tf_err *err)
{
    struct tf_shape after = {0};
    enum tf_code code = plan_shape(&after, edit, err);

    tf_shape_fini(&after);
    return code;
}

static bool same_tokens(const struct tf_shape *a, const struct tf_shape *b)
{
    for (uint64_t layer = 0; layer < a->layers; layer++)
        if (memcmp(a->layer[layer].tokens, b->layer[layer].tokens, sizeof a->layer->tokens) != 0)
            return false;
    return true;
}

static enum tf_code take_text(struct tf_writer *writer, enum tf_blob kind, enum tf_code code,
                              char *text, size_t size, struct tf_err *err)
{
    if (!code)
        code = tf_writer_blob(writer, kind, text, size, err);
    tf_free(text);
    return code;
}

static enum tf_code write_config(struct tf_writer *writer, const struct tf_edit *edit,
                                 const struct tf_shape *after, struct tf_err *err)
{
    struct tf_config config = edit->config; /* borrows all but the three counts */
    struct tf_token_counts counts;
    char *text = NULL;
    size_t size = 0;
    enum tf_code code = tf_shape_counts(&counts, after, &edit->config, err);

    if (code)
        return code;
    config.model.qkv_tokens = counts.qkv;
    config.model.proj_tokens = counts.proj;
    config.model.ffn_tokens = counts.ffn;
    code = tf_config_print(&config, &text, &size, err);
    tf_token_counts_fini(&counts);
    return take_text(writer, TF_BLOB_CONFIG, code, text, size, err);
}

/* What happened, as the lineage tells it. */
static enum tf_code fill_event(struct tf_event *event, const struct tf_edit *edit,
                               const struct tf_shape *after, struct tf_err *err)
{
    struct tf_digest digest;

    event->kind = TF_EVENT_EDIT;
    snprintf(event->verb, sizeof event->verb, "%s", edit->verb);
    strcpy(event->effect, tf_effect_name(edit->effect));
    if (edit->from->store && !edit->unreadable) {
        if (tf_store_model_digest(edit->from->store, &digest, err))
            return err ? err->code : TF_DATA;
        tf_digest_text(event->from, &digest);
    } else if (edit->digest) {
        snprintf(event->from, sizeof event->from, "%s", edit->digest);
    }
    return tf_event_rows(event, &edit->from->shape, after, NULL, err);
}

static enum tf_code write_lineage(struct tf_writer *writer, const struct tf_edit *edit,
                                  const struct tf_shape *after, struct tf_err *err)
{
    struct tf_lineage lineage = {0};
    struct tf_event *event = NULL;
    char *text = NULL;
    size_t size = 0;
    enum tf_code code = tf_lineage_copy(&lineage, &edit->from->lineage, err);

    if (!code && !(event = tf_lineage_add(&lineage, err)))
        code = TF_MEMORY;
    if (!code)
        code = fill_event(event, edit, after, err);
    if (!code)
        code = tf_lineage_print(&lineage, &text, &size, err);
    tf_lineage_fini(&lineage);
    return take_text(writer, TF_BLOB_LINEAGE, code, text, size, err);
}

static enum tf_code write_state(struct tf_writer *writer, const struct tf_edit *edit,
                                struct tf_err *err)
{
    char *text = NULL;
    size_t size = 0;
    enum tf_code code = tf_state_print(&edit->state, &text, &size, err);

    return take_text(writer, TF_BLOB_STATE, code, text, size, err);
}

/* Bytes as they were, but for what the edit changes. */
static enum tf_code write_blobs(struct tf_writer *writer, const struct tf_edit *edit,
                                const struct tf_shape *after, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (int kind = 0; !code && kind < TF_BLOBS; kind++)
        code = tf_writer_blob(writer, (enum tf_blob)kind, edit->blobs[kind], edit->blob_sizes[kind],
                              err);
    if (!code && (edit->new_config || !same_tokens(&edit->from->shape, after)))
        code = write_config(writer, edit, after, err);
    if (!code && edit->new_state)
        code = write_state(writer, edit, err);
    if (!code && edit->verb)
        code = write_lineage(writer, edit, after, err);
    return code;
}

enum tf_code tf_edit_write(const struct tf_edit *edit, const char *path, bool force,
                           struct tf_err *err)
{
    struct tf_writer *writer = NULL;
    struct tf_shape after = {0};
    enum tf_code code = plan_shape(&after, edit, err);

    if (!code)
        code = tf_writer_open(&writer, path, force, edit->level, err);
    for (size_t i = 0; !code && i < edit->table_count; i++)
        if (!edit->tables[i].dropped)
            code = tf_edit_write_table(writer, &edit->tables[i], err);
    if (!code)
        code = write_blobs(writer, edit, &after, err);
    if (!code)
        code = tf_checkpoint_commit(writer, err);
    tf_writer_close(writer);
    tf_shape_fini(&after);
    return code;
}
