#include "train/usage.h"

#include "base/mem.h"
#include "text/json.h"
#include "train/config.h"
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

enum { PASS_TOKENS = 512 }; /* positions a pass, about: enough rows to share among threads */

void tf_usage_fini(struct tf_usage *usage)
{
    for (size_t i = 0; i < usage->count; i++)
        tf_free(usage->groups[i].contribution);
    tf_free(usage->groups);
    memset(usage, 0, sizeof *usage);
}

static enum tf_code add_group(struct tf_usage *usage, const char *name, uint64_t tokens,
                              struct tf_err *err)
{
    struct tf_usage_group *group = &usage->groups[usage->count];

    snprintf(group->name, sizeof group->name, "%s", name);
    group->tokens = tokens;
    group->contribution = tf_new(tokens, sizeof *group->contribution, "usage", err);
    usage->count += group->contribution != NULL;
    return group->contribution ? TF_OK : TF_MEMORY;
}

/* ---- measuring ---- */

/* A projection that has tokens. */
struct place {
    uint64_t layer;
    int p;
};

/* How many a layer has: of a transformer it is the MLP alone, the rest being matrices. */
static size_t in_a_layer(const struct tf_shape *shape)
{
    return shape->kind == TF_TRANSFORMER ? 1 : TF_PROJECTIONS;
}

/* The i-th of a model: layer after layer. */
static struct place place_of(const struct tf_shape *shape, size_t i)
{
    size_t each = in_a_layer(shape);

    return (struct place){i / each, (int)(i % each + (TF_PROJECTIONS - each))};
}

/* Adds |S| of each of the pass's rows, in their order; a Pattention is one thread's. */
static void add_scores(struct tf_usage *usage, const struct tf_shape *shape,
                       const struct tf_run *run, size_t rows, float *s, size_t stride)
{
#pragma omp parallel for schedule(dynamic)
    for (size_t i = 0; i < usage->count; i++) {
        struct tf_usage_group *group = &usage->groups[i];
        struct place at = place_of(shape, i);
        float *mine = s + (size_t)omp_get_thread_num() * stride;
        for (size_t row = 0; row < rows; row++) {
            tf_run_scores(run, at.layer, at.p, row, mine);
            for (uint64_t j = 0; j < group->tokens; j++)
                group->contribution[j] += fabs((double)mine[j]);
        }
    }
}

/* From sums of |S_j| to their mean, times ||V_j||. */
static void weigh(struct tf_usage *usage, const struct tf_model *model)
{
    for (size_t i = 0; i < usage->count; i++) {
        struct place at = place_of(&model->shape, i);
        const struct tf_table *values = model->layers[at.layer].at[at.p].values;
        for (uint64_t j = 0; j < usage->groups[i].tokens; j++) {
            const float *row = tf_table_row(values, j);
            double squares = 0;
            for (size_t c = 0; c < values->cols; c++)
                squares += (double)row[c] * (double)row[c];
            usage->groups[i].contribution[j] *= sqrt(squares) / (double)usage->positions;
        }
    }
}

static void run_text(struct tf_usage *usage, const struct tf_shape *shape, struct tf_run *run,
                     const struct tf_corpus *corpus, size_t window, size_t streams, float *s,
                     size_t stride)
{
    for (uint64_t at = 0; at < corpus->count; at = usage->positions) {
        uint64_t left = corpus->count - at;
        size_t length = left < window ? left : window, n = left < window             ? 1
                                                           : left < window * streams ? left / window
                                                                                     : streams;
        tf_forward(run, corpus->tokens + at, n, length, 0);
        add_scores(usage, shape, run, n * length, s, stride);
        usage->positions += n * length;
    }
}

static enum tf_code name_groups(struct tf_usage *usage, const struct tf_model *model,
                                size_t *widest, struct tf_err *err)
{
    size_t count = model->shape.layers * in_a_layer(&model->shape);
    enum tf_code code = TF_OK;

    usage->groups = tf_new(count, sizeof *usage->groups, "usage", err);
    if (!usage->groups)
        return TF_MEMORY;
    *widest = 0;
    for (size_t i = 0; !code && i < count; i++) {
        char name[TF_TABLE_NAME];
        struct place at = place_of(&model->shape, i);
        size_t tokens = model->layers[at.layer].at[at.p].keys->rows;
        code = add_group(usage, tf_projection_name(name, at.layer, at.p), tokens, err);
        *widest = tokens > *widest ? tokens : *widest;
    }
    return code;
}

enum tf_code tf_usage_measure(struct tf_usage *out, const struct tf_model *model,
                              const struct tf_corpus *corpus, struct tf_err *err)
{
    size_t window = model->shape.seq < corpus->count ? model->shape.seq : corpus->count,
           streams = window < PASS_TOKENS ? PASS_TOKENS / window : 1, widest = 0, stride;
    struct tf_run *run = NULL;
    float *s = NULL;
    enum tf_code code = name_groups(memset(out, 0, sizeof *out), model, &widest, err);

    if (!code)
        code = tf_run_new(&run, model, TF_RUN_TRAIN, streams, window, err);
    stride = tf_table_stride(widest);
    if (!code && !(s = tf_new((size_t)omp_get_max_threads() * stride, sizeof *s, "scores", err)))
        code = TF_MEMORY;
    if (!code) {
        run_text(out, &model->shape, run, corpus, window, streams, s, stride);
        weigh(out, model);
    }
    tf_free(s);
    tf_run_free(run);
    if (code)
        tf_usage_fini(out);
    return code;
}

/* ---- reading ---- */

static enum tf_code read_group(struct tf_usage *usage, const struct tf_json_value *item,
                               size_t index, struct tf_err *err)
{
    const char *name = tf_json_text(tf_json_get(item, "name"));
    const struct tf_json_value *list = tf_json_get(item, "contribution");
    size_t tokens = tf_json_count(list);
    enum tf_code code;

    if (!name || !*name || strlen(name) > TF_MAX_NAME)
        return tf_fail(err, TF_DATA, "usage[%zu]: no name", index);
    if (tokens == 0)
        return tf_fail(err, TF_DATA, "usage[%zu]: %s: no list of contributions", index, name);
    for (size_t i = 0; i < usage->count; i++)
        if (strcmp(usage->groups[i].name, name) == 0)
            return tf_fail(err, TF_DATA, "usage[%zu]: %s is there twice", index, name);
    code = add_group(usage, name, tokens, err);
    for (size_t i = 0; !code && i < tokens; i++) {
        double *value = &usage->groups[usage->count - 1].contribution[i];
        if (!tf_json_number(tf_json_at(list, i), value) || !(*value >= 0) || isinf(*value))
            code =
                tf_fail(err, TF_DATA, "usage[%zu]: %s: contribution[%zu] is not a number from 0 up",
                        index, name, i);
    }
    return code;
}

static enum tf_code read_usage(struct tf_usage *usage, const struct tf_json_value *root,
                               struct tf_err *err)
{
    const struct tf_json_value *list = tf_json_get(root, "usage");
    size_t count = tf_json_count(list);
    double positions;
    enum tf_code code = TF_OK;

    if (count == 0 || count > (size_t)TF_MAX_LAYERS * TF_PROJECTIONS)
        return tf_fail(err, TF_DATA,
                       "no list \"usage\", as tf-inspect stats --usage --json writes it");
    if (!tf_json_number(tf_json_get(root, "positions"), &positions) || !(positions >= 1) ||
        positions > 0x1p53)
        return tf_fail(err, TF_DATA, "no number \"positions\"");
    usage->positions = (uint64_t)positions;
    usage->groups = tf_new(count, sizeof *usage->groups, "usage", err);
    if (!usage->groups)
        return TF_MEMORY;
    for (size_t i = 0; !code && i < count; i++)
        code = read_group(usage, tf_json_at(list, i), i, err);
    return code;
}

enum tf_code tf_usage_parse(struct tf_usage *out, const char *name, const char *text, size_t n,
                            struct tf_err *err)
{
    struct tf_json_value *root = NULL;
    enum tf_code code = tf_json_parse(&root, text, n, err);

    memset(out, 0, sizeof *out);
    if (!code)
        code = read_usage(out, root, err);
    tf_json_free(root);
    if (!code)
        return TF_OK;
    tf_usage_fini(out);
    return tf_context(err, "%s", name);
}

/* ---- choosing ---- */

/* "128" or "90%": a share, when *share. */
static enum tf_code read_top(double *number, bool *share, const char *text, struct tf_err *err)
{
    char *end;

    *number = strtod(text, &end);
    *share = *end == '%';
    if (text[0] < '0' || text[0] > '9' || !(*number > 0) || end[*share] != '\0' ||
        (*share ? *number > 100 : *number != floor(*number) || *number > 0x1p53))
        return tf_fail(err, TF_USAGE,
                       "'%s' tokens to keep: expected a number like 128, or a share like 90%%",
                       text);
    return TF_OK;
}

struct ranked {
    double contribution;
    uint64_t token;
};

static int by_contribution(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;

    if (x->contribution != y->contribution)
        return x->contribution < y->contribution ? 1 : -1;
    return x->token < y->token ? -1 : x->token > y->token;
}

/* The selection's rows: runs of the tokens that are kept. */
static enum tf_code fill_rows(struct tf_selected *item, const bool *kept, uint64_t tokens,
                              struct tf_err *err)
{
    uint64_t runs = 0;

    for (uint64_t i = 0; i < tokens; i++)
        runs += kept[i] && (i == 0 || !kept[i - 1]);
    struct tf_rows *rows = tf_new(runs, sizeof *rows, "a selection", err);
    if (!rows)
        return TF_MEMORY;
    tf_free(item->rows);
    item->rows = rows;
    item->row_count = 0;
    for (uint64_t i = 0; i < tokens; i++) {
        if (!kept[i])
            continue;
        if (i == 0 || !kept[i - 1])
            rows[item->row_count++].first = i;
        rows[item->row_count - 1].end = i + 1;
    }
    return TF_OK;
}

static enum tf_code choose(struct tf_selected *item, const struct tf_usage_group *group,
                           uint64_t keep, struct tf_err *err)
{
    struct ranked *ranked = tf_new(group->tokens, sizeof *ranked, "a ranking", err);
    bool *kept = tf_new(group->tokens, sizeof *kept, "a ranking", err);
    enum tf_code code = ranked && kept ? TF_OK : TF_MEMORY;

    for (uint64_t i = 0; !code && i < group->tokens; i++)
        ranked[i] = (struct ranked){group->contribution[i], i};
    if (!code) {
        qsort(ranked, group->tokens, sizeof *ranked, by_contribution);
        for (uint64_t i = 0; i < keep; i++)
            kept[ranked[i].token] = true;
        code = fill_rows(item, kept, group->tokens, err);
    }
    tf_free(ranked);
    tf_free(kept);
    return code;
}

/* Percent of rows, rounded up: but 55% of 100 are 55, and 33.3% of 1000 are 333, although doubles
 * make them a little more. */
static uint64_t share_of(double percent, uint64_t rows)
{
    double exact = percent * (double)rows / 100;

    return (uint64_t)ceil(exact - exact * 0x1p-50);
}

static enum tf_code choose_all(struct tf_selection *selection, const struct tf_usage *usage,
                               const struct tf_store *store, double number, bool share,
                               struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < selection->count; i++) {
        struct tf_selected *item = &selection->items[i];
        uint64_t rows = tf_store_table(store, item->table)->rows, keep;
        const struct tf_usage_group *group = NULL;
        for (size_t k = 0; k < usage->count && !group; k++)
            if (strcmp(usage->groups[k].name, item->name) == 0)
                group = &usage->groups[k];
        if (!group)
            return tf_fail(err, TF_DATA, "%s was not measured", item->name);
        if (group->tokens != rows)
            return tf_fail(err, TF_DATA,
                           "%s: measured with %" PRIu64 " tokens, but %s has %" PRIu64, item->name,
                           group->tokens, tf_store_path(store), rows);
        keep = share ? share_of(number, rows) : (uint64_t)number;
        code = choose(item, group, keep < rows ? keep : rows, err);
    }
    return code;
}

enum tf_code tf_usage_select(struct tf_selection *out, const struct tf_usage *usage,
                             const struct tf_store *store, const char *const *texts, size_t count,
                             const char *top, struct tf_err *err)
{
    static const char *const all[] = {"*"};
    double number;
    bool share;
    enum tf_code code = read_top(&number, &share, top, err);

    memset(out, 0, sizeof *out);
    if (!code)
        code = tf_select(out, store, TF_SELECT_GROUPS, count ? texts : all, count ? count : 1, err);
    if (!code)
        code = tf_selection_whole(out, store, err);
    if (!code)
        code = choose_all(out, usage, store, number, share, err);
    if (code)
        tf_selection_fini(out);
    return code;
}
