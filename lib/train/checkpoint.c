/* Opening a checkpoint: its blobs understood, its tables checked against its config. Reads the
 * directory alone. */
#include "base/mem.h"
#include "train/fit.h"
#include "train/modelio.h"
#include <math.h>
#include <string.h>

/* What the config says of projection p's tokens. */
static const struct tf_counts *counts_of(const struct tf_config *config, int p)
{
    return p == TF_FFN ? &config->model.ffn_tokens
           : p == TF_O ? &config->model.proj_tokens
                       : &config->model.qkv_tokens;
}

static void init_projection(struct tf_shape *shape, const struct tf_config *config, uint64_t layer,
                            int p)
{
    struct tf_layer_shape *at = &shape->layer[layer];
    double scale = p == TF_FFN ? config->model.ffn_scale
                   : p == TF_O ? config->model.proj_scale
                               : config->model.qkv_scale;

    at->tokens[p] =
        tf_is_matrix(shape, p) ? shape->width : tf_config_tokens(counts_of(config, p), layer);
    at->scale[p] = shape->kind == TF_TRANSFORMER ? 0 : scale > 0 ? scale : (double)at->tokens[p];
}

enum tf_code tf_shape_init(struct tf_shape *shape, const struct tf_config *config, uint32_t tokens,
                           struct tf_err *err)
{
    uint64_t multiple = config->model.vocab_multiple ? config->model.vocab_multiple : 1;
    uint64_t vocab = (tokens + multiple - 1) / multiple * multiple;

    memset(shape, 0, sizeof *shape);
    if (multiple > TF_MAX_VOCAB || vocab > TF_MAX_VOCAB)
        return tf_fail(
            err, TF_CONFIG,
            "model.vocab_multiple: %u ids padded to a multiple of %llu pass the limit of %u",
            tokens, (unsigned long long)multiple, TF_MAX_VOCAB);
    shape->layer =
        tf_new(config->model.num_layers, sizeof *shape->layer, "the shape's layers", err);
    if (!shape->layer)
        return TF_MEMORY;
    shape->kind = (enum tf_kind)config->model.kind;
    shape->layers = config->model.num_layers;
    shape->width = config->model.hidden_size;
    shape->heads = config->model.num_attention_heads;
    shape->vocab = vocab;
    shape->seq = config->model.seq_length;
    shape->norm =
        shape->kind == TF_TRANSFORMER ? TF_GELU : (enum tf_norm)config->model.norm_activation;
    shape->rotary_pct = config->model.rotary_pct;
    shape->rotary_base = config->model.rotary_base;
    shape->tied = config->model.tie_embeddings;
    for (uint64_t layer = 0; layer < shape->layers; layer++)
        for (int p = 0; p < TF_PROJECTIONS; p++)
            init_projection(shape, config, layer, p);
    return TF_OK;
}

enum tf_code tf_shape_copy(struct tf_shape *to, const struct tf_shape *from, struct tf_err *err)
{
    *to = *from;
    to->layer = tf_new(from->layers, sizeof *to->layer, "the shape's layers", err);
    if (!to->layer)
        return TF_MEMORY;
    memcpy(to->layer, from->layer, from->layers * sizeof *to->layer);
    return TF_OK;
}

void tf_shape_fini(struct tf_shape *shape)
{
    tf_free(shape->layer);
    memset(shape, 0, sizeof *shape);
}

/* Of projection p. */
static enum tf_code fill_counts(struct tf_counts *counts, const struct tf_shape *shape,
                                const struct tf_config *config, int p, struct tf_err *err)
{
    counts->count = 1;
    for (uint64_t layer = 1; layer < shape->layers; layer++)
        if (shape->layer[layer].tokens[p] != shape->layer[0].tokens[p])
            counts->count = shape->layers;
    counts->items = tf_new(counts->count, sizeof *counts->items, "token counts", err);
    if (!counts->items)
        return TF_MEMORY;
    for (size_t i = 0; i < counts->count; i++)
        counts->items[i] = tf_is_matrix(shape, p) ? tf_config_tokens(counts_of(config, p), i)
                                                  : shape->layer[i].tokens[p];
    return TF_OK;
}

enum tf_code tf_shape_counts(struct tf_token_counts *counts, const struct tf_shape *shape,
                             const struct tf_config *config, struct tf_err *err)
{
    memset(counts, 0, sizeof *counts);
    if (fill_counts(&counts->qkv, shape, config, TF_Q, err) ||
        fill_counts(&counts->proj, shape, config, TF_O, err) ||
        fill_counts(&counts->ffn, shape, config, TF_FFN, err)) {
        tf_token_counts_fini(counts);
        return TF_MEMORY;
    }
    return TF_OK;
}

void tf_token_counts_fini(struct tf_token_counts *counts)
{
    tf_free(counts->qkv.items);
    tf_free(counts->proj.items);
    tf_free(counts->ffn.items);
    memset(counts, 0, sizeof *counts);
}

enum tf_code tf_event_rows(struct tf_event *event, const struct tf_shape *before,
                           const struct tf_shape *after, const uint64_t *origin, struct tf_err *err)
{
    event->rows =
        tf_new(after->layers * TF_PROJECTIONS, sizeof *event->rows, "a lineage event", err);
    if (!event->rows)
        return TF_MEMORY;
    for (uint64_t layer = 0; layer < after->layers; layer++) {
        uint64_t old = origin ? origin[layer] : layer;
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            struct tf_row_change *rows = &event->rows[event->row_count];
            rows->before = old == UINT64_MAX ? 0 : before->layer[old].tokens[p];
            rows->after = after->layer[layer].tokens[p];
            if (rows->before == rows->after)
                continue;
            tf_projection_name(rows->name, layer, p);
            event->row_count++;
        }
    }
    return TF_OK;
}

/* The file's tables must be those that its config asks for. */
static enum tf_code check_tables(struct tf_checkpoint *checkpoint, struct tf_err *err)
{
    size_t count = tf_store_tables(checkpoint->store);
    const struct tf_table_info **tables = tf_new(count, sizeof *tables, "the table check", err);

    if (!tables)
        return TF_MEMORY;
    for (size_t i = 0; i < count; i++)
        tables[i] = tf_store_table(checkpoint->store, i);
    enum tf_code code = tf_fit_tables(&checkpoint->shape, tables, count, err);
    tf_free(tables);
    return code;
}

/* A stored config that is wrong is bad data, not a bad config of the user's. */
static enum tf_code read_config(struct tf_checkpoint *checkpoint, const char *text, size_t size,
                                struct tf_err *err)
{
    enum tf_code code;

    if (!size)
        return tf_fail(err, TF_DATA, "no config in it");
    code = tf_config_init(&checkpoint->config, err);
    if (!code)
        code = tf_config_parse(&checkpoint->config, "config", text, size, TF_DATA, err);
    if (code)
        return code;
    if (tf_config_check(&checkpoint->config, err)) {
        if (err)
            err->code = TF_DATA;
        tf_context(err, "config");
        return TF_DATA;
    }
    return TF_OK;
}

enum tf_code tf_checkpoint_parse(struct tf_checkpoint *checkpoint,
                                 const char *const blobs[TF_BLOBS], const size_t sizes[TF_BLOBS],
                                 struct tf_err *err)
{
    enum tf_code code = read_config(checkpoint, blobs[TF_BLOB_CONFIG], sizes[TF_BLOB_CONFIG], err);

    if (code)
        return code;
    if (!sizes[TF_BLOB_TOKENIZER])
        return tf_fail(err, TF_DATA, "no tokenizer in it");
    /* What each has to say begins with its name. */
    code = tf_tokenizer_parse(&checkpoint->tokenizer, blobs[TF_BLOB_TOKENIZER],
                              sizes[TF_BLOB_TOKENIZER], err);
    if (!code)
        code = tf_state_parse(&checkpoint->state, blobs[TF_BLOB_STATE], sizes[TF_BLOB_STATE], err);
    if (!code)
        code = tf_lineage_parse(&checkpoint->lineage, blobs[TF_BLOB_LINEAGE],
                                sizes[TF_BLOB_LINEAGE], err);
    return code;
}

static enum tf_code read_all(struct tf_checkpoint *checkpoint, const char *path,
                             const char *const *sets, size_t set_count, struct tf_err *err)
{
    const char *blobs[TF_BLOBS];
    size_t sizes[TF_BLOBS];

    for (int kind = 0; kind < TF_BLOBS; kind++)
        blobs[kind] = tf_store_blob(checkpoint->store, (enum tf_blob)kind, &sizes[kind]);
    if (tf_checkpoint_parse(checkpoint, blobs, sizes, err))
        return tf_context(err, "%s", path);
    for (size_t i = 0; i < set_count; i++)
        if (tf_config_set(&checkpoint->config, sets[i], err))
            return err ? err->code : TF_CONFIG;
    enum tf_code code = set_count ? tf_config_check(&checkpoint->config, err) : TF_OK;
    if (code)
        return code;
    if (tf_shape_init(&checkpoint->shape, &checkpoint->config, checkpoint->tokenizer.size, err) ||
        check_tables(checkpoint, err))
        return tf_context(err, "%s", path);
    return TF_OK;
}

enum tf_code tf_checkpoint_open(struct tf_checkpoint *checkpoint, const char *path,
                                uint64_t max_memory, const char *const *sets, size_t set_count,
                                struct tf_err *err)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    enum tf_code code = tf_store_open(&checkpoint->store, path, max_memory, err);
    if (!code)
        code = read_all(checkpoint, path, sets, set_count, err);
    if (code)
        tf_checkpoint_close(checkpoint);
    return code;
}

enum tf_code tf_checkpoint_take(struct tf_checkpoint *checkpoint, struct tf_store *store,
                                struct tf_err *err)
{
    memset(checkpoint, 0, sizeof *checkpoint);
    checkpoint->store = store;
    enum tf_code code = read_all(checkpoint, tf_store_path(store), NULL, 0, err);
    if (code)
        tf_checkpoint_close(checkpoint);
    return code;
}

void tf_checkpoint_close(struct tf_checkpoint *checkpoint)
{
    tf_store_close(checkpoint->store);
    tf_config_fini(&checkpoint->config);
    tf_lineage_fini(&checkpoint->lineage);
    tf_shape_fini(&checkpoint->shape);
    memset(checkpoint, 0, sizeof *checkpoint);
}
