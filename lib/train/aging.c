#include "train/aging.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool adds_rows(const struct tf_event *event)
{
    for (size_t i = 0; i < event->row_count; i++)
        if (event->rows[i].after > event->rows[i].before)
            return true;
    return false;
}

/* The index of the last event that added tokens, by growth or by hand; or the number of events. */
static size_t last_growth(const struct tf_lineage *lineage)
{
    for (size_t i = lineage->count; i > 0; i--)
        if (adds_rows(&lineage->events[i - 1]))
            return i - 1;
    return lineage->count;
}

bool tf_aging_grown(const struct tf_lineage *lineage)
{
    return last_growth(lineage) < lineage->count;
}

bool tf_aging_fresh(const struct tf_lineage *lineage)
{
    for (size_t i = last_growth(lineage); i < lineage->count; i++)
        if (lineage->events[i].kind == TF_EVENT_TRAIN)
            return false;
    return tf_aging_grown(lineage);
}

/* Did it put rows behind the old ones, and leave those? */
static bool appends(const struct tf_event *growth)
{
    return growth->kind != TF_EVENT_GROW || !strcmp(growth->method, "tokens");
}

/* Rows that were taken away after the event `growth`: of that name, or of any (NULL). */
static const struct tf_row_change *lost_since(const struct tf_lineage *lineage, size_t growth,
                                              const char *name)
{
    for (size_t i = growth + 1; i < lineage->count; i++)
        for (size_t k = 0; k < lineage->events[i].row_count; k++) {
            const struct tf_row_change *rows = &lineage->events[i].rows[k];
            if (rows->after < rows->before && (!name || !strcmp(rows->name, name)))
                return rows;
        }
    return NULL;
}

static enum tf_code mark_rows(struct tf_model *model, const struct tf_row_change *rows,
                              struct tf_err *err)
{
    static const char *const parts[] = {"keys", "values", "weight"};
    bool found = false;
    for (int i = 0; i < 3; i++) {
        char name[TF_TABLE_NAME + 8];
        snprintf(name, sizeof name, "%s.%s", rows->name, parts[i]);
        struct tf_table *table = tf_model_find(model, name);
        if (!table || rows->before > table->rows)
            continue;
        table->new_from = rows->before;
        found = true;
    }
    return found ? TF_OK
                 : tf_fail(err, TF_DATA,
                           "lineage: a growth of %s to %" PRIu64 " tokens does not fit the model",
                           rows->name, rows->after);
}

enum tf_code tf_aging_mark(struct tf_model *model, const struct tf_lineage *lineage,
                           struct tf_err *err)
{
    const size_t at = last_growth(lineage);
    enum tf_code code = TF_OK;
    for (size_t i = 0; i < model->table_count; i++)
        model->tables[i].new_from = model->tables[i].rows;
    if (at == lineage->count || !appends(&lineage->events[at]))
        return TF_OK;
    const struct tf_event *growth = &lineage->events[at];
    for (size_t i = 0; !code && i < growth->row_count; i++)
        if (growth->rows[i].after > growth->rows[i].before &&
            !lost_since(lineage, at, growth->rows[i].name))
            code = mark_rows(model, &growth->rows[i], err);
    return code;
}

/* Freezes every row of a projection that is not new. */
static void freeze_old(struct tf_model *model)
{
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        if (t == model->embed || t == model->head || t == model->norm_weight ||
            t == model->norm_bias)
            continue;
        t->frozen_rows = t->new_from;
        t->frozen |= t->new_from == t->rows;
    }
}

/* Are the tokens known that are older than the last growth? */
static enum tf_code check_old(const struct tf_config *config, const struct tf_lineage *lineage,
                              struct tf_err *err)
{
    const size_t at = last_growth(lineage);
    if (at == lineage->count)
        return config->grow.stages.count
                   ? TF_OK
                   : tf_fail(err, TF_CONFIG,
                             "train.freeze: old-tokens: this model was never grown");
    if (!appends(&lineage->events[at]))
        return tf_fail(err, TF_CONFIG,
                       "train.freeze: old-tokens: the last growth, by %s, changed old tokens too",
                       lineage->events[at].method);
    const struct tf_row_change *lost = lost_since(lineage, at, NULL);
    return lost ? tf_fail(err, TF_CONFIG,
                          "train.freeze: old-tokens: %s lost tokens since it was grown (%" PRIu64
                          " to %" PRIu64 "), so which are old is not known",
                          lost->name, lost->before, lost->after)
                : TF_OK;
}

static enum tf_code freeze_tables(struct tf_model *model, const char *pattern, struct tf_err *err)
{
    bool found = false;
    for (size_t i = 0; i < model->table_count; i++)
        if (!fnmatch(pattern, model->tables[i].name, 0))
            found = model->tables[i].frozen = true;
    return found ? TF_OK : tf_fail(err, TF_CONFIG, "train.freeze: no table is called %s", pattern);
}

static bool is_old(const char *pattern)
{
    return !strcmp(pattern, "old-tokens");
}

bool tf_aging_spares_old(const struct tf_config *config)
{
    const struct tf_strings *patterns = &config->train.freeze;
    for (size_t i = 0; i < patterns->count; i++)
        if (is_old(patterns->items[i]))
            return true;
    return false;
}

enum tf_code tf_aging_freeze(struct tf_model *model, const struct tf_config *config,
                             const struct tf_lineage *lineage, uint64_t age, struct tf_err *err)
{
    const struct tf_strings *patterns = &config->train.freeze;
    const size_t at = last_growth(lineage);
    const bool has_old = at < lineage->count && appends(&lineage->events[at]);
    const bool spared = tf_aging_spares_old(config);
    enum tf_code code = spared ? check_old(config, lineage, err) : TF_OK;
    for (size_t i = 0; i < model->table_count; i++) {
        model->tables[i].frozen = false;
        model->tables[i].frozen_rows = 0;
    }
    for (size_t i = 0; !code && i < patterns->count; i++)
        if (!is_old(patterns->items[i]))
            code = freeze_tables(model, patterns->items[i], err);
    if (!code && has_old && (spared || age < config->grow.freeze_steps))
        freeze_old(model);
    return code;
}

void tf_aging_ramp(struct tf_model *model, uint64_t steps, uint64_t age)
{
    for (uint64_t i = 0; age < steps && i < model->shape.layers * TF_PROJECTIONS; i++) {
        struct tf_projection *at = &model->layers[i / TF_PROJECTIONS].at[i % TF_PROJECTIONS];
        if (at->keys->new_from >= at->keys->rows || at->keys->scale == 0)
            continue;
        const double count = (double)at->keys->rows, scale = at->keys->scale;
        const uint64_t left = steps - age;
        at->keys->scale = left == 1 ? count : scale + (count - scale) / (double)left;
        at->values->scale = at->keys->scale;
        model->shape.layer[i / TF_PROJECTIONS].scale[i % TF_PROJECTIONS] = at->keys->scale;
    }
}
