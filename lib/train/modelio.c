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

/* Fills rows x cols from the file's table of that name, which must have just that shape. */
static enum tf_code read_table(const struct tf_store *store, const char *name,
                               const struct tf_table *table, float *out, struct tf_err *err)
{
    size_t index = tf_store_find(store, name);
    if (index == SIZE_MAX)
        return tf_fail(err, TF_DATA, "%s: table %s: missing", tf_store_path(store), name);

    const struct tf_table_info *info = tf_store_table(store, index);
    if (info->rows != table->rows || info->cols != table->cols)
        return tf_fail(err, TF_DATA, "%s: table %s: %llu x %u numbers, but the model has %zu x %zu",
                       tf_store_path(store), name, (unsigned long long)info->rows, info->cols,
                       table->rows, table->cols);
    return tf_store_read(store, index, 0, table->rows, out, table->stride, err);
}

/* Moments that the file lacks are zero, as at the start of training. */
static enum tf_code read_moment(const struct tf_store *store, const char *prefix,
                                const struct tf_table *table, float *out, struct tf_err *err)
{
    char name[MOMENT_NAME];

    snprintf(name, sizeof name, "%s%s", prefix, table->name);
    if (tf_store_find(store, name) != SIZE_MAX)
        return read_table(store, name, table, out, err);
    memset(out, 0, table->rows * table->stride * sizeof *out);
    return TF_OK;
}

enum tf_code tf_model_read(struct tf_model *model, const struct tf_store *store, struct tf_err *err)
{
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *table = &model->tables[i];
        enum tf_code code = read_table(store, table->name, table, table->value, err);
        if (!code && table->m)
            code = read_moment(store, moment_m, table, table->m, err);
        if (!code && table->v)
            code = read_moment(store, moment_v, table, table->v, err);
        if (code)
            return code;

        double scale = tf_store_table(store, tf_store_find(store, table->name))->scale;
        if (table->scale != scale)
            return tf_fail(err, TF_DATA, "%s: table %s: scale %.17g, but the model has %.17g",
                           tf_store_path(store), table->name, scale, table->scale);
    }
    return TF_OK;
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

static enum tf_code save_table(struct tf_writer *writer, const struct tf_table_info *info,
                               const float *rows, const struct tf_table *table, struct tf_err *err)
{
    enum tf_code code = tf_writer_table(writer, info, err);

    return code ? code : tf_writer_rows(writer, rows, table->rows, table->stride, err);
}

/* All first moments, or all second. */
static enum tf_code save_moments(struct tf_writer *writer, const struct tf_model *model,
                                 const char *prefix, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < model->table_count; i++) {
        const struct tf_table *table = &model->tables[i];
        const float *rows = prefix == moment_m ? table->m : table->v;
        struct tf_table_info info = describe(table);
        info.role = TF_MOMENT;
        info.scale = 0;
        snprintf(info.name, sizeof info.name, "%s%s", prefix, table->name);
        if (rows)
            code = save_table(writer, &info, rows, table, err);
    }
    return code;
}

static enum tf_code save_tables(struct tf_writer *writer, const struct tf_model *model,
                                struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < model->table_count; i++) {
        struct tf_table_info info = describe(&model->tables[i]);
        code = save_table(writer, &info, model->tables[i].value, &model->tables[i], err);
    }
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
        code = save_moments(writer, model, moment_m, err);
    if (!code)
        code = save_moments(writer, model, moment_v, err);
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
