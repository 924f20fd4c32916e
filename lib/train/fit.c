#include "train/fit.h"

#include "base/mem.h"
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The tables at hand. */
struct tables {
    const struct tf_table_info *const *items; /* sorted by name */
    size_t count;
    bool *known; /* one each: the model has it */
};

static int compare_name(const void *name, const void *table)
{
    return strcmp(name, (*(const struct tf_table_info *const *)table)->name);
}

/* The index of a name, or SIZE_MAX. */
static size_t find(const struct tables *tables, const char *name)
{
    const struct tf_table_info *const *found =
        bsearch(name, tables->items, tables->count, sizeof *tables->items, compare_name);

    return found ? (size_t)(found - tables->items) : SIZE_MAX;
}

/* What it is that a table's row count comes from. */
static const char *rows_from(const char *name)
{
    return strstr(name, ".ffn.")     ? "model.ffn_tokens"
           : strstr(name, "norm.")   ? "the model"
           : strstr(name, ".weight") ? "model.hidden_size"
           : strstr(name, ".attn.o") ? "model.proj_tokens"
           : strstr(name, ".attn.")  ? "model.qkv_tokens"
                                     : "the padded vocabulary";
}

static enum tf_code check_rows(const struct tf_table_info *info, uint64_t rows, struct tf_err *err)
{
    return info->rows == rows ? TF_OK
                              : tf_fail(err, TF_DATA, "table %s: %llu rows, but %s makes it %llu",
                                        info->name, (unsigned long long)info->rows,
                                        rows_from(info->name), (unsigned long long)rows);
}

/* The first table of a projection says how many rows it has. */
static enum tf_part first_part(const struct tf_shape *shape, int p)
{
    return tf_is_matrix(shape, p) ? TF_WEIGHT : TF_KEYS;
}

/* Before a model is planned: no count that the tables do not have is multiplied. */
static enum tf_code check_counts(const struct tf_shape *shape, const struct tables *tables,
                                 struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (uint64_t i = 0; !code && i < shape->layers * TF_PROJECTIONS; i++) {
        uint64_t layer = i / TF_PROJECTIONS;
        int p = (int)(i % TF_PROJECTIONS);
        char name[TF_TABLE_NAME];
        size_t index = find(tables, tf_table_name(name, layer, p, first_part(shape, p)));
        if (index != SIZE_MAX)
            code = check_rows(tables->items[index], shape->layer[layer].tokens[p], err);
    }
    return code;
}

/* Checks one table against what the shape makes it; marks it, and the moments that it may have, as
 * known. */
static enum tf_code check_table(struct tables *tables, const struct tf_table *table,
                                struct tf_err *err)
{
    static const char *const prefixes[] = {"", "optim.m/", "optim.v/"};
    unsigned missing = 0; /* moments, a bit each */

    for (int i = 0; i < 3; i++) {
        char name[TF_TABLE_NAME + 8];
        snprintf(name, sizeof name, "%s%s", prefixes[i], table->name);
        size_t index = find(tables, name);
        if (index == SIZE_MAX) {
            if (i == 0)
                return tf_fail(err, TF_DATA, "table %s: missing, but the config needs it", name);
            missing |= 1u << i;
            continue;
        }
        const struct tf_table_info *info = tables->items[index];
        enum tf_role role = i == 0 ? TF_PARAMETER : TF_MOMENT;
        if (info->role != role)
            return tf_fail(err, TF_DATA, "table %s: its role is %s, not %s", name,
                           tf_role_name(info->role), tf_role_name(role));
        if (check_rows(info, table->rows, err))
            return TF_DATA;
        if (info->cols != table->cols)
            return tf_fail(err, TF_DATA, "table %s: %u columns, but model.hidden_size makes it %zu",
                           name, info->cols, table->cols);
        tables->known[index] = true;
    }
    /* One moment without the other would make the first update enormous. */
    for (int i = 1; i < 3; i++)
        if (missing == 1u << i)
            return tf_fail(err, TF_DATA, "table %s%s: missing, but %s%s is there", prefixes[i],
                           table->name, prefixes[3 - i], table->name);
    return TF_OK;
}

static enum tf_code check_unknown(const struct tables *tables, struct tf_err *err)
{
    for (size_t i = 0; i < tables->count; i++)
        if (!tables->known[i] && tables->items[i]->role != TF_BUFFER)
            return tf_fail(err, TF_DATA, "table %s: the config has no such table",
                           tables->items[i]->name);
    return TF_OK;
}

/* Keys and values of a Pattention have one scale, which is taken; a transformer has none. */
static enum tf_code take_scale(struct tf_shape *shape, const struct tables *tables, uint64_t layer,
                               int p, struct tf_err *err)
{
    const bool scaled = shape->kind != TF_TRANSFORMER;
    double *taken = &shape->layer[layer].scale[p];
    const enum tf_part first = first_part(shape, p), last = first == TF_WEIGHT ? first : TF_VALUES;

    for (enum tf_part part = first; part <= last; part++) {
        char name[TF_TABLE_NAME];
        tf_table_name(name, layer, p, part);
        double scale = tables->items[find(tables, name)]->scale;
        if (scaled && !(isfinite(scale) && scale > 0))
            return tf_fail(err, TF_DATA, "table %s: scale %g is not a positive number", name,
                           scale);
        if (!scaled && scale != 0)
            return tf_fail(err, TF_DATA, "table %s: scale %g, but a transformer's tables have none",
                           name, scale);
        if (part == TF_VALUES && scale != *taken)
            return tf_fail(err, TF_DATA, "table %s: scale %.17g, but its keys have %.17g", name,
                           scale, *taken);
        *taken = scale;
    }
    return TF_OK;
}

enum tf_code tf_fit_tables(struct tf_shape *shape, const struct tf_table_info *const *items,
                           size_t count, struct tf_err *err)
{
    struct tables tables = {items, count,
                            tf_new(count, sizeof *tables.known, "the table check", err)};
    struct tf_model *plan = NULL;
    enum tf_code code = tables.known ? check_counts(shape, &tables, err) : TF_MEMORY;

    if (!code)
        code = tf_model_plan(&plan, shape, false, err);
    for (size_t i = 0; !code && i < plan->table_count; i++)
        code = check_table(&tables, &plan->tables[i], err);
    if (!code)
        code = check_unknown(&tables, err);
    for (uint64_t i = 0; !code && i < shape->layers * TF_PROJECTIONS; i++)
        code = take_scale(shape, &tables, i / TF_PROJECTIONS, (int)(i % TF_PROJECTIONS), err);
    tf_model_free(plan);
    tf_free(tables.known);
    return code;
}
