/* Carrying a growth out: new rows, a grown model in memory, a grown checkpoint, and the proof that
 * they answer alike. */
#include "base/mem.h"
#include "base/rng.h"
#include "train/grow.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static bool is_split(const struct tf_grow_options *options)
{
    return options->keys == TF_INIT_COPY && options->values == TF_INIT_COPY;
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
        tf_init_rows(rows, stride, before, after, cols, name, tf_init_deviation(shape, values),
                     options->seed);
        break;
    case TF_INIT_COPY:
        copy_rows(rows, stride, before, after, cols, values && is_split(options));
        break;
    }
}

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

enum tf_code tf_grow_model(struct tf_model **out, const struct tf_checkpoint *from,
                           const struct tf_growth *growth, const struct tf_grow_options *options,
                           struct tf_err *err)
{
    struct tf_model *model = NULL;
    enum tf_code code = tf_model_new(&model, &growth->after, false, err);

    *out = NULL;
    for (size_t i = 0; !code && i < model->table_count; i++) {
        struct tf_table *table = &model->tables[i];
        size_t index = tf_store_find(from->store, table->name);
        uint64_t before = tf_store_table(from->store, index)->rows;
        code = tf_store_read(from->store, index, 0, before, table->value, table->stride, err);
        if (!code && before < table->rows)
            tf_grow_rows(table->value, table->stride, before, table->rows, table->cols, table->name,
                         ends_with(table->name, ".values"), &growth->after, options);
    }
    if (code) {
        tf_model_free(model);
        return code;
    }
    *out = model;
    return TF_OK;
}

/* The Pattention that a table, or the moments of a table, belongs to; false when to none. */
static bool locate(const struct tf_shape *shape, const char *table, uint64_t *layer, int *p)
{
    const char *slash = strrchr(table, '/'), *name = slash ? slash + 1 : table;

    if (strncmp(name, "layers.", 7) != 0)
        return false;
    *layer = strtoull(name + 7, NULL, 10);
    for (*p = 0; *p < TF_PATTENTIONS && *layer < shape->layers; (*p)++) {
        char prefix[TF_TABLE_NAME];
        size_t n = strlen(tf_pattention_name(prefix, *layer, *p));
        if (strncmp(name, prefix, n) == 0 && name[n] == '.')
            return true;
    }
    return false;
}

/* Writes what a table gains: the new rows behind the copied chunks, or the whole table when the old
 * rows change as well. */
static enum tf_code write_grown(struct tf_writer *writer, const struct tf_checkpoint *from,
                                size_t index, uint64_t after, const struct tf_grow_options *options,
                                struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(from->store, index);
    bool moment = info->role == TF_MOMENT, values = ends_with(info->name, ".values");
    bool rewrite = !moment && values && is_split(options);
    bool read = !moment && (values ? options->values : options->keys) == TF_INIT_COPY;
    size_t stride = tf_table_stride(info->cols), count;
    enum tf_code code = TF_OK;

    if (!tf_mul(&count, after, stride))
        return tf_fail(err, TF_MEMORY, "table %s: %llu rows do not fit memory", info->name,
                       (unsigned long long)after);
    float *rows = tf_new(count, sizeof *rows, info->name, err);
    if (!rows)
        return TF_MEMORY;
    if (read)
        code = tf_store_read(from->store, index, 0, info->rows, rows, stride, err);
    if (!code && !moment)
        tf_grow_rows(rows, stride, info->rows, after, info->cols, info->name, values, &from->shape,
                     options);
    if (!code && !rewrite)
        code = tf_writer_copy(writer, from->store, index, 0, info->chunk_count, err);
    if (!code) {
        uint64_t first = rewrite ? 0 : info->rows;
        code = tf_writer_rows(writer, rows + first * stride, after - first, stride, err);
    }
    tf_free(rows);
    return code;
}

static enum tf_code write_table(struct tf_writer *writer, const struct tf_checkpoint *from,
                                size_t index, const struct tf_growth *growth,
                                const struct tf_grow_options *options, struct tf_err *err)
{
    struct tf_table_info info = *tf_store_table(from->store, index);
    uint64_t layer, after = info.rows;
    int p;

    if (info.role != TF_BUFFER && locate(&growth->after, info.name, &layer, &p)) {
        after = growth->after.layer[layer].tokens[p];
        if (info.role == TF_PARAMETER)
            info.scale = growth->after.layer[layer].scale[p];
    }
    enum tf_code code = tf_writer_table(writer, &info, err);
    if (code)
        return code;
    if (after == info.rows)
        return tf_writer_copy(writer, from->store, index, 0, info.chunk_count, err);
    return write_grown(writer, from, index, after, options, err);
}

static enum tf_code fill_event(struct tf_event *event, const struct tf_checkpoint *from,
                               const struct tf_growth *growth,
                               const struct tf_grow_options *options, struct tf_err *err)
{
    static const char *const inits[] = {
        [TF_INIT_ZERO] = "zero", [TF_INIT_RANDOM] = "random", [TF_INIT_COPY] = "copy"};
    struct tf_digest digest;
    enum tf_code code = tf_store_model_digest(from->store, &digest, err);

    if (code)
        return code;
    event->kind = TF_EVENT_GROW;
    tf_digest_text(event->from, &digest);
    strcpy(event->keys, inits[options->keys]);
    strcpy(event->values, inits[options->values]);
    strcpy(event->scale, options->scale == TF_SCALE_COUNT ? "count" : "keep");
    event->seed = options->seed;
    return tf_event_rows(event, &growth->before, &growth->after, err);
}

/* The four blobs, with the token counts and the lineage brought up to date. The state stays: the
 * training that follows begins a stretch of its own. */
static enum tf_code write_blobs(struct tf_writer *writer, const struct tf_checkpoint *from,
                                const struct tf_growth *growth,
                                const struct tf_grow_options *options, struct tf_err *err)
{
    struct tf_config config = from->config; /* borrows all but the three counts */
    struct tf_token_counts counts;
    struct tf_lineage lineage = {0};
    struct tf_event *event = NULL;
    enum tf_code code = tf_shape_counts(&counts, &growth->after, err);

    if (!code)
        code = tf_lineage_copy(&lineage, &from->lineage, err);
    if (!code && !(event = tf_lineage_add(&lineage, err)))
        code = TF_MEMORY;
    if (!code)
        code = fill_event(event, from, growth, options, err);
    if (!code) {
        config.model.qkv_tokens = counts.qkv;
        config.model.proj_tokens = counts.proj;
        config.model.ffn_tokens = counts.ffn;
        code = tf_checkpoint_blobs(writer, &config, &from->tokenizer, &from->state, &lineage, err);
    }
    tf_token_counts_fini(&counts);
    tf_lineage_fini(&lineage);
    return code;
}

enum tf_code tf_grow_write(struct tf_writer *writer, const struct tf_checkpoint *from,
                           const struct tf_growth *growth, const struct tf_grow_options *options,
                           struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < tf_store_tables(from->store); i++)
        code = write_table(writer, from, i, growth, options, err);
    return code ? code : write_blobs(writer, from, growth, options, err);
}

/* The same bits, and zeros of either sign, differ by 0; a NaN differs from anything else without
 * bound. */
static double largest_difference(const float *a, const float *b, size_t n, double largest)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i] || memcmp(&a[i], &b[i], sizeof *a) == 0)
            continue;
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = isnan(difference) ? INFINITY : fmax(largest, difference);
    }
    return largest;
}

static enum tf_code compare_runs(double *largest, struct tf_run *a, struct tf_run *b,
                                 const uint16_t *ids, size_t seq, size_t vocab, struct tf_err *err)
{
    float *logits = tf_new(2 * vocab, sizeof *logits, "logits", err);

    if (!logits)
        return TF_MEMORY;
    tf_forward(a, ids, 1, seq, 0);
    tf_forward(b, ids, 1, seq, 0);
    for (size_t row = 0; row < seq; row++) {
        tf_logits(a, row, 1, logits);
        tf_logits(b, row, 1, logits + vocab);
        *largest = largest_difference(logits, logits + vocab, vocab, *largest);
    }
    tf_free(logits);
    return TF_OK;
}

enum tf_code tf_grow_verify(double *largest, const struct tf_model *a, const struct tf_model *b,
                            uint64_t seed, struct tf_err *err)
{
    uint64_t seq = a->shape.seq < b->shape.seq ? a->shape.seq : b->shape.seq,
             vocab = a->shape.vocab;
    struct tf_run *runs[2] = {NULL, NULL};
    enum tf_code code;

    *largest = 0;
    if (vocab != b->shape.vocab)
        return tf_fail(err, TF_DATA, "vocabularies differ: %llu ids, and %llu",
                       (unsigned long long)vocab, (unsigned long long)b->shape.vocab);
    uint16_t *ids = tf_new(seq, sizeof *ids, "random ids", err);
    if (!ids)
        return TF_MEMORY;
    for (uint64_t i = 0; i < seq; i++)
        ids[i] = (uint16_t)(tf_rng_bits(seed, tf_rng_stream("verify"), i) % vocab);
    code = tf_run_new(&runs[0], a, TF_RUN_SCORE, 1, seq, err);
    if (!code)
        code = tf_run_new(&runs[1], b, TF_RUN_SCORE, 1, seq, err);
    if (!code)
        code = compare_runs(largest, runs[0], runs[1], ids, seq, vocab, err);
    tf_run_free(runs[0]);
    tf_run_free(runs[1]);
    tf_free(ids);
    return code;
}
