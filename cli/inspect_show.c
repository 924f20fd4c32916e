/* show, config: what a checkpoint says about itself. Reads the directory alone. */
#include "cli/inspect.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static enum tf_code open_checkpoint(struct tf_checkpoint *checkpoint,
                                    const struct tf_inspect *inspect, struct tf_err *err)
{
    return tf_checkpoint_open(checkpoint, inspect->operands[0], inspect->common->max_memory, NULL,
                              0, err);
}

/* What show adds up over the tables. */
struct totals {
    uint64_t parameters, raw, coded;
    size_t tables, moments; /* of parameters; of the optimizer, two a table when all are there */
};

static struct totals add_up(const struct tf_store *store)
{
    struct totals totals = {0};

    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *info = tf_store_table(store, i);
        if (info->role == TF_PARAMETER) {
            totals.parameters += info->rows * info->cols;
            totals.tables++;
        }
        totals.moments += info->role == TF_MOMENT;
        totals.raw += tf_inspect_raw(info);
        totals.coded += tf_inspect_coded(store, info);
    }
    return totals;
}

static const struct {
    const char *name;
    int p;
} counts[] = {{"qkv", TF_Q}, {"proj", TF_O}, {"ffn", TF_FFN}};

/* qkv 128, or qkv 128-256 when layers differ; of matrices, which have no tokens, nothing */
static void print_tokens(FILE *file, const struct tf_shape *shape)
{
    const char *before = "";

    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint64_t least = UINT64_MAX, most = 0;
        if (tf_is_matrix(shape, counts[i].p))
            continue;
        for (uint64_t layer = 0; layer < shape->layers; layer++) {
            uint64_t tokens = shape->layer[layer].tokens[counts[i].p];
            least = tokens < least ? tokens : least;
            most = tokens > most ? tokens : most;
        }
        fprintf(file, "%s%s %" PRIu64, before, counts[i].name, least);
        before = ", ";
        if (most != least)
            fprintf(file, "-%" PRIu64, most);
    }
    fputc('\n', file);
}

/* grew 2 Pattentions; grew to 6 layers; grew to width 64 */
static void print_grown(FILE *file, const struct tf_event *event)
{
    if (event->width[0] != event->width[1])
        fprintf(file, "grew to width %" PRIu64, event->width[1]);
    else if (event->layers[0] != event->layers[1])
        fprintf(file, "grew to %" PRIu64 " layers", event->layers[1]);
    else
        fprintf(file, "grew %zu Pattentions", event->row_count);
}

static void print_lineage_short(FILE *file, const struct tf_lineage *lineage)
{
    for (size_t i = 0; i < lineage->count; i++) {
        const struct tf_event *event = &lineage->events[i];
        fputs(i ? ", " : "", file);
        if (event->kind == TF_EVENT_TRAIN)
            fprintf(file, "trained %" PRIu64 " steps", event->steps);
        else if (event->kind == TF_EVENT_GROW)
            print_grown(file, event);
        else
            tf_inspect_word(file, "edited (", event->verb, ")");
    }
    fprintf(file, "%s\n", lineage->count ? "" : "none");
}

static void print_training(FILE *file, const struct tf_state *state)
{
    fprintf(file, "step %" PRIu64 ", %" PRIu64 " tokens", state->step, state->tokens);
    if (!isnan(state->best_loss))
        fprintf(file, ", best validation loss %.4f at step %" PRIu64, state->best_loss,
                state->best_step);
    fputc('\n', file);
}

/* Of all training there was, where every part of it is known. */
static void print_compute(FILE *file, const struct tf_lineage *lineage)
{
    struct tf_spent spent = tf_lineage_spent(lineage);

    if (spent.steps > 0 && !isnan(spent.flops))
        fprintf(file, "compute     %.4g FLOPs in %" PRIu64 " steps, %" PRIu64 " tokens\n",
                spent.flops, spent.steps, spent.tokens);
}

static void show_text(FILE *file, const struct tf_checkpoint *checkpoint, const char *digest)
{
    const struct tf_shape *shape = &checkpoint->shape;
    const struct tf_tokenizer *tokenizer = &checkpoint->tokenizer;
    struct totals totals = add_up(checkpoint->store);
    char path[1024], separator[4 * sizeof tokenizer->separator + 1], size[32], raw[32], coded[32];

    tf_escape(path, sizeof path, tf_store_path(checkpoint->store),
              strlen(tf_store_path(checkpoint->store)));
    tf_escape(separator, sizeof separator, tokenizer->separator, strlen(tokenizer->separator));
    fprintf(file, "file        %s\n", path);
    fprintf(file, "format      %d.%u, %s\n", TF_MAJOR, tf_store_minor(checkpoint->store),
            tf_ui_bytes(size, tf_store_file_size(checkpoint->store)));
    fprintf(file, "kind        %s\n", tf_kind_name(shape->kind));
    fprintf(file, "layers      %" PRIu64 "\n", shape->layers);
    fprintf(file, "width       %" PRIu64 "\n", shape->width);
    fprintf(file, "heads       %" PRIu64 "\n", shape->heads);
    fprintf(file, "window      %" PRIu64 "\n", shape->seq);
    fprintf(file, "vocabulary  %" PRIu64 "%s\n", shape->vocab, shape->tied ? ", tied" : ", untied");
    fprintf(file, "activation  %s\n", tf_norm_name(shape->norm));
    fputs("tokens      ", file);
    print_tokens(file, shape);
    fprintf(file, "parameters  %" PRIu64 "\n", totals.parameters);
    fprintf(file, "tokenizer   bytes, %u ids%s%s\n", tokenizer->size,
            *separator ? ", separator " : "", separator);
    fputs("training    ", file);
    print_training(file, &checkpoint->state);
    print_compute(file, &checkpoint->lineage);
    fprintf(file, "optimizer   %s\n",
            totals.moments == 2 * totals.tables ? "state present"
            : totals.moments                    ? "state of some tables"
                                                : "no state");
    fprintf(file, "tables      %zu: %s of %s (%.3f)\n", tf_store_tables(checkpoint->store),
            tf_ui_bytes(coded, totals.coded), tf_ui_bytes(raw, totals.raw),
            (double)totals.coded / (double)totals.raw);
    fputs("lineage     ", file);
    print_lineage_short(file, &checkpoint->lineage);
    if (*digest)
        fprintf(file, "digest      %s\n", digest);
}

static void json_shape(struct tf_json *json, const struct tf_shape *shape)
{
    tf_json_object(json, "model");
    tf_json_string(json, "kind", tf_kind_name(shape->kind));
    tf_json_uint(json, "layers", shape->layers);
    tf_json_uint(json, "width", shape->width);
    tf_json_uint(json, "heads", shape->heads);
    tf_json_uint(json, "window", shape->seq);
    tf_json_uint(json, "vocabulary", shape->vocab);
    tf_json_bool(json, "tied", shape->tied);
    tf_json_string(json, "norm_activation", tf_norm_name(shape->norm));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        char key[16];
        snprintf(key, sizeof key, "%s_tokens", counts[i].name);
        tf_json_array(json, key);
        for (uint64_t layer = 0; layer < shape->layers && !tf_is_matrix(shape, counts[i].p);
             layer++)
            tf_json_uint(json, NULL, shape->layer[layer].tokens[counts[i].p]);
        tf_json_end_array(json);
    }
    tf_json_end_object(json);
}

static void show_json(const struct tf_inspect *inspect, const struct tf_checkpoint *checkpoint,
                      const char *digest)
{
    struct tf_json json = tf_inspect_json(inspect, "show");
    struct totals totals = add_up(checkpoint->store);
    const struct tf_tokenizer *tokenizer = &checkpoint->tokenizer;
    const char *path = tf_store_path(checkpoint->store);

    tf_json_bytes(&json, "path", path, strlen(path));
    tf_json_uint(&json, "format_major", TF_MAJOR);
    tf_json_uint(&json, "format_minor", tf_store_minor(checkpoint->store));
    tf_json_uint(&json, "bytes", tf_store_file_size(checkpoint->store));
    json_shape(&json, &checkpoint->shape);
    tf_json_uint(&json, "parameters", totals.parameters);
    tf_json_object(&json, "tokenizer");
    tf_json_string(&json, "kind", "bytes");
    tf_json_uint(&json, "ids", tokenizer->size);
    tf_json_string_or_null(&json, "separator", tokenizer->separator);
    tf_json_end_object(&json);
    tf_json_uint(&json, "step", checkpoint->state.step);
    tf_json_uint(&json, "tokens", checkpoint->state.tokens);
    tf_json_real(&json, "best_loss", checkpoint->state.best_loss);
    tf_json_bool(&json, "optimizer_state", totals.moments == 2 * totals.tables);
    tf_json_uint(&json, "tables", tf_store_tables(checkpoint->store));
    tf_json_uint(&json, "raw_bytes", totals.raw);
    tf_json_uint(&json, "coded_bytes", totals.coded);
    tf_json_uint(&json, "events", checkpoint->lineage.count);
    tf_json_real(&json, "flops", tf_lineage_spent(&checkpoint->lineage).flops);
    if (*digest)
        tf_json_string(&json, "digest", digest);
    tf_json_end_object(&json);
}

enum tf_code tf_inspect_show(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_checkpoint checkpoint;
    struct tf_digest digest;
    char text[TF_DIGEST_TEXT] = "";
    enum tf_code code = open_checkpoint(&checkpoint, inspect, err);

    if (!code && inspect->common->verbose) { /* reads every table */
        code = tf_store_model_digest(checkpoint.store, &digest, err);
        if (!code)
            tf_digest_text(text, &digest);
    }
    if (!code && inspect->common->json)
        show_json(inspect, &checkpoint, text);
    else if (!code)
        show_text(inspect->file, &checkpoint, text);
    tf_checkpoint_close(&checkpoint);
    return code;
}

/* As it is stored. */
enum tf_code tf_inspect_config(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_checkpoint checkpoint;
    enum tf_code code = open_checkpoint(&checkpoint, inspect, err);

    if (!code) {
        size_t size;
        const char *text = tf_store_blob(checkpoint.store, TF_BLOB_CONFIG, &size);
        tf_ui_text(inspect->file, text, size);
    }
    tf_checkpoint_close(&checkpoint);
    return code;
}
