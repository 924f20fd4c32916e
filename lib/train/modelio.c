#include "train/modelio.h"
#include "base/mem.h"
#include "store/digest.h"
#include <stdio.h>
#include <string.h>

/* A table's moments are tables of their own, under these prefixes. They carry no scale: that
 * belongs to the function. */
#define MOMENT_NAME (TF_TABLE_NAME + 8)
static const char moment_m[] = "optim.m/";
static const char moment_v[] = "optim.v/";

/* Tables of a checkpoint that are to be read, and where they go. */
struct reads {
    const struct tf_store *store;
    struct tf_table_read *at; /* owned; room for all that a model has */
    size_t count;
};

/* The file's table of that name, which must have just the shape of `table`, goes to out. */
static enum tf_code add_read(struct reads *reads, const char *name, const struct tf_table *table,
                             float *out, struct tf_err *err)
{
    const char *path = tf_store_path(reads->store);
    size_t index = tf_store_find(reads->store, name);
    if (index == SIZE_MAX)
        return tf_fail(err, TF_DATA, "%s: table %s: missing", path, name);

    const struct tf_table_info *info = tf_store_table(reads->store, index);
    if (info->rows != table->rows || info->cols != table->cols)
        return tf_fail(err, TF_DATA, "%s: table %s: %llu x %u numbers, but the model has %zu x %zu",
                       path, name, (unsigned long long)info->rows, info->cols, table->rows,
                       table->cols);
    reads->at[reads->count++] = (struct tf_table_read){index, out, table->stride};
    return TF_OK;
}

/* Moments that the file lacks are zero, as at the start of training. */
static enum tf_code add_moment(struct reads *reads, const char *prefix,
                               const struct tf_table *table, float *out, struct tf_err *err)
{
    char name[MOMENT_NAME];

    snprintf(name, sizeof name, "%s%s", prefix, table->name);
    if (tf_store_find(reads->store, name) != SIZE_MAX)
        return add_read(reads, name, table, out, err);
    memset(out, 0, table->rows * table->stride * sizeof *out);
    return TF_OK;
}

/* Weights and, when the model has them, moments. */
static enum tf_code add_table(struct reads *reads, const struct tf_table *table, struct tf_err *err)
{
    enum tf_code code = add_read(reads, table->name, table, table->value, err);
    if (!code && table->m)
        code = add_moment(reads, moment_m, table, table->m, err);
    if (!code && table->v)
        code = add_moment(reads, moment_v, table, table->v, err);
    if (code)
        return code;

    double scale = tf_store_table(reads->store, tf_store_find(reads->store, table->name))->scale;
    if (table->scale != scale)
        return tf_fail(err, TF_DATA, "%s: table %s: scale %.17g, but the model has %.17g",
                       tf_store_path(reads->store), table->name, scale, table->scale);
    return TF_OK;
}

enum tf_code tf_model_read(struct tf_model *model, const struct tf_store *store, struct tf_err *err)
{
    struct reads reads = {.store = store};
    enum tf_code code = TF_OK;

    reads.at = tf_new(3 * model->table_count, sizeof *reads.at, "the list of tables", err);
    if (!reads.at)
        return TF_MEMORY;
    for (size_t i = 0; !code && i < model->table_count; i++)
        code = add_table(&reads, &model->tables[i], err);
    if (!code)
        code = tf_store_read_tables(store, reads.at, reads.count, err);
    tf_free(reads.at);
    return code;
}

enum tf_code tf_model_load(struct tf_model **out, const struct tf_checkpoint *checkpoint,
                           bool train, struct tf_err *err)
{
    struct tf_model *model = NULL;
    enum tf_code code = tf_model_new(&model, &checkpoint->shape, train, err);

    *out = NULL;
    if (!code)
        code = tf_model_read(model, checkpoint->store, err);
    if (code) {
        tf_model_free(model);
        return code;
    }
    *out = model;
    return TF_OK;
}

/* A model's table as a checkpoint has it. */
static struct tf_table_info describe(const struct tf_table *table)
{
    struct tf_table_info info = {
        .role = TF_PARAMETER,
        .dtype = TF_F32,
        .filter = TF_FILTER_PLANES,
        .cols = (uint32_t)table->cols,
        .rows = table->rows,
        .row_group = table->row_group,
        .scale = table->scale,
    };
    strcpy(info.name, table->name);
    return info;
}

/* The first or the second moments, those that there are. */
static size_t list_moments(struct tf_table_rows *list, const struct tf_model *model,
                           const char *prefix)
{
    size_t count = 0;

    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *table = &model->tables[i];
        const float *rows = prefix == moment_m ? table->m : table->v;
        struct tf_table_info info = describe(table);
        info.role = TF_MOMENT;
        info.scale = 0;
        snprintf(info.name, sizeof info.name, "%s%s", prefix, table->name);
        if (rows)
            list[count++] = (struct tf_table_rows){info, rows, table->stride};
    }
    return count;
}

/* All tables: weights, first moments, second moments, which is the order of their names. */
static enum tf_code save_tables(struct tf_writer *writer, const struct tf_model *model,
                                struct tf_err *err)
{
    size_t count = model->table_count;
    struct tf_table_rows *list = tf_new(3 * count, sizeof *list, "the list of tables", err);
    if (!list)
        return TF_MEMORY;

    for (size_t i = 0; i < count; i++) {
        const struct tf_table *table = &model->tables[i];
        list[i] = (struct tf_table_rows){describe(table), table->value, table->stride};
    }
    count += list_moments(list + count, model, moment_m);
    count += list_moments(list + count, model, moment_v);
    enum tf_code code = tf_writer_tables(writer, list, count, err);
    tf_free(list);
    return code;
}

enum tf_code tf_checkpoint_save(const char *path, const struct tf_model *model,
                                const struct tf_config *config,
                                const struct tf_tokenizer *tokenizer, const struct tf_state *state,
                                const struct tf_lineage *lineage, struct tf_err *err)
{
    struct tf_writer *writer = NULL;
    enum tf_code code = tf_writer_open(&writer, path, true, 0, err);

    if (!code)
        code = save_tables(writer, model, err);
    if (!code)
        code = tf_checkpoint_blobs(writer, config, tokenizer, state, lineage, err);
    if (!code)
        code = tf_checkpoint_commit(writer, err);
    tf_writer_close(writer);
    return code;
}

enum tf_code tf_checkpoint_commit(struct tf_writer *writer, struct tf_err *err)
{
    struct tf_checkpoint checkpoint = {0};
    const char *part = NULL;
    enum tf_code code = tf_writer_finish(writer, &part, err);

    if (!code)
        code = tf_checkpoint_open(&checkpoint, part, 0, NULL, 0, err);
    tf_checkpoint_close(&checkpoint);
    return code ? code : tf_writer_commit(writer, err);
}

static enum tf_code take_blob(struct tf_writer *writer, enum tf_blob kind, char *text, size_t size,
                              struct tf_err *err)
{
    enum tf_code code = tf_writer_blob(writer, kind, text, size, err);

    tf_free(text);
    return code;
}

static enum tf_code tokenizer_blob(struct tf_writer *writer, const struct tf_tokenizer *tokenizer,
                                   struct tf_err *err)
{
    size_t size = tf_tokenizer_print(tokenizer, NULL, 0);
    char *text = tf_new(size + 1, 1, "the tokenizer's text", err);

    if (!text)
        return TF_MEMORY;
    tf_tokenizer_print(tokenizer, text, size + 1);
    return take_blob(writer, TF_BLOB_TOKENIZER, text, size, err);
}

enum tf_code tf_checkpoint_blobs(struct tf_writer *writer, const struct tf_config *config,
                                 const struct tf_tokenizer *tokenizer, const struct tf_state *state,
                                 const struct tf_lineage *lineage, struct tf_err *err)
{
    char *text = NULL;
    size_t size = 0;
    enum tf_code code = tf_config_print(config, &text, &size, err);

    if (!code)
        code = take_blob(writer, TF_BLOB_CONFIG, text, size, err);
    if (!code)
        code = tokenizer_blob(writer, tokenizer, err);
    if (!code)
        code = tf_state_print(state, &text, &size, err);
    if (!code)
        code = take_blob(writer, TF_BLOB_STATE, text, size, err);
    if (!code)
        code = tf_lineage_print(lineage, &text, &size, err);
    if (!code)
        code = take_blob(writer, TF_BLOB_LINEAGE, text, size, err);
    return code;
}

uint64_t tf_checkpoint_bytes(const struct tf_model *model)
{
    return tf_model_parameters(model) * sizeof(float) * (model->bytes_moments ? 3 : 1);
}

enum tf_code tf_model_digest(const struct tf_model *model, struct tf_digest *out,
                             struct tf_err *err)
{
    struct tf_hash *rows = tf_hash_new(err), *all = tf_hash_new(err);
    enum tf_code code = rows && all ? TF_OK : TF_MEMORY;

    for (size_t i = 0; !code && i < model->table_count; i++) {
        const struct tf_table *table = &model->tables[i];
        struct tf_table_info info = describe(table);
        struct tf_digest digest;
        tf_hash_rows(rows, table->value, table->rows, table->cols, table->stride);
        tf_hash_finish(rows, &digest);
        tf_hash_table(all, &info, &digest);
    }
    if (!code)
        tf_hash_finish(all, out);
    tf_hash_free(rows);
    tf_hash_free(all);
    return code;
}
