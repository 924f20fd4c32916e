/* The checkpoint of a grown model: one table at a time, old chunks copied wherever they can be. */
#include "base/mem.h"
#include "train/grow_parts.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A table of the new file. */
struct entry {
    struct tf_table_info info; /* as it will be */
    struct tf_grown table;     /* of a buffer, `old` alone */
};
struct entries {
    struct entry *items; /* owned */
    size_t count;
};

/* prefix: of moments, or "". One that the old model has not, the new one has not either. */
static void add_entry(struct entries *list, const char *prefix, const struct tf_table *as,
                      const struct tf_growing *growing)
{
    const struct tf_store *store = growing->from->store;
    struct tf_grown table = tf_grown_of(growing, as);
    char name[TF_MAX_NAME + 1];

    snprintf(name, sizeof name, "%s%s", prefix, tf_store_table(store, table.old)->name);
    table.old = tf_store_find(store, name);
    if (table.old == SIZE_MAX)
        return;
    struct entry *entry = &list->items[list->count++];
    entry->table = table;
    entry->info = *tf_store_table(store, table.old);
    snprintf(entry->info.name, sizeof entry->info.name, "%s%s", prefix, as->name);
    entry->info.rows = as->rows;
    entry->info.cols = (uint32_t)as->cols;
    if (entry->info.role == TF_PARAMETER)
        entry->info.scale = as->scale;
    entry->info.row_group = as->row_group;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->info.name, ((const struct entry *)b)->info.name);
}

/* Weights; moments, unless the growth changes what they were moments of; buffers, which no number
 * ties to a table any more: row groups are numbered anew. */
static enum tf_code list_entries(struct entries *list, const struct tf_model *plan,
                                 const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_store *store = growing->from->store;
    const bool moments = growing->options->method == TF_GROW_TOKENS;
    const size_t old = tf_store_tables(store);

    list->items = tf_new(3 * plan->table_count + old, sizeof *list->items, "the tables", err);
    if (!list->items)
        return TF_MEMORY;
    for (size_t i = 0; i < old; i++) {
        struct tf_table_info info = *tf_store_table(store, i);
        info.row_group = 0;
        if (info.role == TF_BUFFER)
            list->items[list->count++] = (struct entry){info, {.old = i}};
    }
    for (size_t i = 0; i < plan->table_count; i++) {
        add_entry(list, "", &plan->tables[i], growing);
        if (moments) {
            add_entry(list, "optim.m/", &plan->tables[i], growing);
            add_entry(list, "optim.v/", &plan->tables[i], growing);
        }
    }
    qsort(list->items, list->count, sizeof *list->items, by_name);
    return TF_OK;
}

/* Moments of new rows: zeros, as at the start of training. */
static enum tf_code write_zeros(struct tf_writer *writer, const struct entry *entry, uint64_t count,
                                struct tf_err *err)
{
    const size_t stride = tf_table_stride(entry->info.cols);
    float *rows = tf_new(count, stride * sizeof *rows, entry->info.name, err);

    if (!rows)
        return TF_MEMORY;
    enum tf_code code = tf_writer_rows(writer, rows, count, stride, err);
    tf_free(rows);
    return code;
}

/* The rows of a weight from `first` on. */
static enum tf_code write_rows(struct tf_writer *writer, const struct entry *entry, uint64_t first,
                               const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_table *as = entry->table.as;
    float *rows = tf_new(as->rows, as->stride * sizeof *rows, as->name, err);

    if (!rows)
        return TF_MEMORY;
    enum tf_code code = tf_grown_rows(rows, &entry->table, first == 0, growing, err);
    if (!code)
        code = tf_writer_rows(writer, rows + first * as->stride, as->rows - first, as->stride, err);
    tf_free(rows);
    return code;
}

static enum tf_code write_entry(struct tf_writer *writer, const struct entry *entry,
                                const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_store *store = growing->from->store;
    const struct tf_table_info *old = tf_store_table(store, entry->table.old);
    const bool weight = entry->info.role == TF_PARAMETER;
    const bool anew = entry->table.fresh || (weight && tf_grown_is_changed(&entry->table, growing));
    const uint64_t kept = anew ? 0 : old->rows;
    enum tf_code code = tf_writer_table(writer, &entry->info, err);

    if (!code && !anew)
        code = tf_writer_copy(writer, store, entry->table.old, 0, old->chunk_count, err);
    if (code || kept == entry->info.rows)
        return code;
    return weight ? write_rows(writer, entry, kept, growing, err)
                  : write_zeros(writer, entry, entry->info.rows - kept, err);
}

static enum tf_code write_tables(struct tf_writer *writer, const struct tf_growing *growing,
                                 struct tf_err *err)
{
    struct entries list = {0};
    struct tf_model *plan = NULL;
    enum tf_code code = tf_model_plan(&plan, &growing->growth->after, false, err);

    if (!code)
        code = list_entries(&list, plan, growing, err);
    for (size_t i = 0; !code && i < list.count; i++)
        code = write_entry(writer, &list.items[i], growing, err);
    tf_free(list.items);
    tf_model_free(plan);
    return code;
}

/* How new rows of old tables were made. */
static void fill_method(struct tf_event *event, const struct tf_growing *growing)
{
    const struct tf_grow_options *options = growing->options;
    const bool tokens = options->method == TF_GROW_TOKENS;

    strcpy(event->method, tf_grow_method_name(options->method));
    if (!growing->growth->depth_only) {
        strcpy(event->keys, tf_row_init_name(tokens ? options->keys : TF_INIT_COPY));
        strcpy(event->values, tf_row_init_name(tokens ? options->values : TF_INIT_COPY));
        if (growing->growth->before.kind == TF_TOKENFORMER)
            strcpy(event->scale, tf_grow_scale_name(options->scale));
    }
    if (options->add_layers)
        strcpy(event->place, tf_grow_place_name(options->place));
    event->seed = options->seed;
}

static enum tf_code fill_event(struct tf_event *event, const struct tf_growing *growing,
                               struct tf_err *err)
{
    const struct tf_shape *before = &growing->growth->before, *after = &growing->growth->after;
    struct tf_digest digest;
    enum tf_code code = tf_store_model_digest(growing->from->store, &digest, err);

    if (code)
        return code;
    event->kind = TF_EVENT_GROW;
    tf_digest_text(event->from, &digest);
    fill_method(event, growing);
    if (before->layers != after->layers) {
        event->layers[0] = before->layers;
        event->layers[1] = after->layers;
    }
    if (before->width != after->width) {
        event->width[0] = before->width;
        event->width[1] = after->width;
    }
    return tf_event_rows(event, before, after, growing->growth->origin, err);
}

/* The training that follows begins a stretch of its own; what a resumed one needs stays. */
static struct tf_state grown_state(const struct tf_growing *growing)
{
    struct tf_state state = growing->from->state;

    state.age = 0;
    if (growing->options->method != TF_GROW_TOKENS)
        state.updates = 0; /* moments are left out */
    return state;
}

/* The four blobs, with the model's shape and the lineage brought up to date. */
static enum tf_code write_blobs(struct tf_writer *writer, const struct tf_growing *growing,
                                struct tf_err *err)
{
    const struct tf_checkpoint *from = growing->from;
    const struct tf_shape *after = &growing->growth->after;
    const struct tf_state state = grown_state(growing);
    struct tf_config config = from->config; /* borrows all but the three counts */
    struct tf_token_counts counts;
    struct tf_lineage lineage = {0};
    struct tf_event *event = NULL;
    enum tf_code code = tf_shape_counts(&counts, after, &from->config, err);

    if (!code)
        code = tf_lineage_copy(&lineage, &from->lineage, err);
    if (!code && !(event = tf_lineage_add(&lineage, err)))
        code = TF_MEMORY;
    if (!code)
        code = fill_event(event, growing, err);
    if (!code) {
        config.model.num_layers = after->layers;
        config.model.hidden_size = after->width;
        config.model.num_attention_heads = after->heads;
        config.model.qkv_tokens = counts.qkv;
        config.model.proj_tokens = counts.proj;
        config.model.ffn_tokens = counts.ffn;
        code = tf_checkpoint_blobs(writer, &config, &from->tokenizer, &state, &lineage, err);
    }
    tf_token_counts_fini(&counts);
    tf_lineage_fini(&lineage);
    return code;
}

enum tf_code tf_grow_write(struct tf_writer *writer, const struct tf_checkpoint *from,
                           const struct tf_growth *growth, const struct tf_grow_options *options,
                           struct tf_err *err)
{
    const struct tf_growing growing = {from, growth, options};
    enum tf_code code = write_tables(writer, &growing, err);

    return code ? code : write_blobs(writer, &growing, err);
}
