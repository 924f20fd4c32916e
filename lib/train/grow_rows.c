/* The rows of a grown model, table by table; and all of them in memory. */
#include "base/mem.h"
#include "store/codec.h"
#include "train/grow_parts.h"
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 256 /* numbers that are rounded at once */

/* Row i is a copy of old row i mod before. A split (copied keys with copied values) shares each old
 * value out among its copies. */
static void copy_rows(float *rows, size_t stride, uint64_t before, uint64_t after, uint64_t cols,
                      bool share)
{
    for (uint64_t row = 0; share && row < before; row++) {
        uint64_t copies = after / before + (row < after % before);
        for (uint64_t col = 0; col < cols; col++)
            rows[row * stride + col] /= (float)copies;
    }
    for (uint64_t row = before; row < after; row++)
        memcpy(rows + row * stride, rows + row % before * stride, cols * sizeof *rows);
}

void tf_grow_rows(float *rows, size_t stride, uint64_t before, uint64_t after, uint64_t cols,
                  const char *name, bool values, const struct tf_shape *shape,
                  const struct tf_grow_options *options)
{
    switch (values ? options->values : options->keys) {
    case TF_INIT_ZERO:
        for (uint64_t row = before; row < after; row++)
            memset(rows + row * stride, 0, cols * sizeof *rows);
        break;
    case TF_INIT_RANDOM:
        tf_init_rows(rows, stride, before, after, cols, name,
                     tf_init_deviation(shape, TF_FFN, values ? TF_VALUES : TF_KEYS), options->seed);
        break;
    case TF_INIT_COPY:
        copy_rows(rows, stride, before, after, cols, values && tf_grow_splits(options));
        break;
    }
}

/* Which table of a layer the name is of; false: of none. */
static bool locate(struct tf_grown *out, const char *name)
{
    if (strncmp(name, "layers.", 7) != 0)
        return false;
    out->layer = strtoull(name + 7, NULL, 10);
    for (out->p = 0; out->p < TF_PROJECTIONS; out->p++)
        for (int part = TF_KEYS; part <= TF_WEIGHT; part++) {
            char here[TF_TABLE_NAME];
            out->part = (enum tf_part)part;
            if (strcmp(name, tf_table_name(here, out->layer, out->p, out->part)) == 0)
                return true;
        }
    return false;
}

struct tf_grown tf_grown_of(const struct tf_growing *growing, const struct tf_table *as)
{
    struct tf_grown table = {.as = as, .p = TF_PROJECTIONS};
    char name[TF_TABLE_NAME];

    strcpy(name, as->name);
    if (locate(&table, name)) {
        table.fresh = growing->growth->origin[table.layer] == UINT64_MAX;
        tf_table_name(name, tf_grow_like(growing->growth, table.layer), table.p, table.part);
    }
    table.old = tf_store_find(growing->from->store, name);
    return table;
}

bool tf_grown_is_changed(const struct tf_grown *table, const struct tf_growing *growing)
{
    const struct tf_table_info *old = tf_store_table(growing->from->store, table->old);

    return tf_grown_is_wider(table, growing) ||
           (!table->fresh && table->as->rows != old->rows && table->part == TF_VALUES &&
            tf_grow_splits(growing->options));
}

/* As a new model has them, but for what goes into the residual stream: nothing does yet. */
static void fresh_rows(float *rows, const struct tf_grown *table, const struct tf_growing *growing)
{
    const struct tf_table *as = table->as;
    const bool goes_out = (table->p == TF_O || table->p == TF_FFN) && table->part != TF_KEYS;

    if (goes_out)
        return;
    tf_init_rows(rows, as->stride, 0, as->rows, as->cols, as->name,
                 tf_init_deviation(&growing->growth->after, table->p, table->part),
                 growing->options->seed);
}

static enum tf_code continue_rows(float *rows, const struct tf_grown *table, bool all,
                                  const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_table *as = table->as;
    const struct tf_grow_options *options = growing->options;
    const uint64_t before = tf_store_table(growing->from->store, table->old)->rows;
    const bool values = table->part == TF_VALUES, grows = before < as->rows;
    const bool copies = grows && (values ? options->values : options->keys) == TF_INIT_COPY;
    enum tf_code code = TF_OK;

    if (all || copies)
        code = tf_store_read(growing->from->store, table->old, 0, before, rows, as->stride, err);
    if (!code && grows)
        tf_grow_rows(rows, as->stride, before, as->rows, as->cols, as->name, values,
                     &growing->growth->after, options);
    return code;
}

/* Rounds to what a file of that type would hold. */
static void round_rows(float *rows, const struct tf_table *as, enum tf_dtype dtype)
{
    for (size_t row = 0; dtype != TF_F32 && row < as->rows; row++) {
        uint8_t stored[AT_ONCE * sizeof(float)];
        float *at = rows + row * as->stride;
        for (size_t col = 0; col < as->cols; col += AT_ONCE) {
            size_t n = as->cols - col < AT_ONCE ? as->cols - col : AT_ONCE;
            tf_dtype_pack(stored, dtype, at + col, n);
            tf_dtype_unpack(at + col, dtype, stored, n);
        }
    }
}

enum tf_code tf_grown_rows(float *rows, const struct tf_grown *table, bool all,
                           const struct tf_growing *growing, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    if (table->fresh)
        fresh_rows(rows, table, growing);
    else if (tf_grown_is_wider(table, growing))
        code = tf_widen_rows(rows, table, growing, err);
    else
        code = continue_rows(rows, table, all, growing, err);
    if (!code)
        round_rows(rows, table->as, tf_store_table(growing->from->store, table->old)->dtype);
    return code;
}

enum tf_code tf_grow_model(struct tf_model **out, const struct tf_checkpoint *from,
                           const struct tf_growth *growth, const struct tf_grow_options *options,
                           struct tf_err *err)
{
    const struct tf_growing growing = {from, growth, options};
    struct tf_model *model = NULL;
    enum tf_code code = tf_model_new(&model, &growth->after, false, err);

    *out = NULL;
    for (size_t i = 0; !code && i < model->table_count; i++) {
        const struct tf_grown table = tf_grown_of(&growing, &model->tables[i]);
        code = tf_grown_rows(model->tables[i].value, &table, true, &growing, err);
    }
    if (code) {
        tf_model_free(model);
        return code;
    }
    *out = model;
    return TF_OK;
}
