/* tf-grow: a checkpoint with more parameter tokens. */
#include "base/mem.h"
#include "cli/opt.h"
#include "cli/ui.h"
#include "text/json.h"
#include "train/grow.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static struct {
    const char *qkv, *proj, *ffn, *layers;
    int keys, values, scale; /* -1: as the checkpoint's config says */
    struct tf_opt_seed seed;
    bool verify;
} given = {.keys = -1, .values = -1, .scale = -1};

/* In the order of enum tf_row_init and enum tf_grow_scale. */
static const char *const init_names[] = {"zero", "random", "copy"};
static const char *const scale_names[] = {"keep", "count"};

static const struct tf_opt options[] = {
    {"qkv", 0, TF_OPT_TEXT, &given.qkv, "N",
     "tokens of each query, key and value Pattention: 512, x2 or +256", NULL, 0, 0},
    {"proj", 0, TF_OPT_TEXT, &given.proj, "N", "tokens of each attention's output Pattention", NULL,
     0, 0},
    {"ffn", 0, TF_OPT_TEXT, &given.ffn, "N", "tokens of each feed-forward Pattention", NULL, 0, 0},
    {"layers", 0, TF_OPT_TEXT, &given.layers, "LIST", "grow these layers only: 0-3,7", NULL, 0, 0},
    {"keys", 0, TF_OPT_CHOICE, &given.keys, "HOW", "new keys: zero keeps the function exactly",
     "zero|random|copy", 0, 0},
    {"values", 0, TF_OPT_CHOICE, &given.values, "HOW", "new values", "zero|random|copy", 0, 0},
    {"scale", 0, TF_OPT_CHOICE, &given.scale, "HOW",
     "keep what the function needs, or set it to the token count", "keep|count", 0, 0},
    {"seed", 0, TF_OPT_SEED, &given.seed, "S",
     "seed of random rows (default: the config's train.seed)", NULL, 0, INFINITY},
    {"verify", 0, TF_OPT_FLAG, &given.verify, NULL,
     "run both models on random tokens and print the largest difference", NULL, 0, 0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-grow",
    .synopsis = "IN.tfck -o OUT.tfck [--qkv N] [--proj N] [--ffn N] [OPTION]...",
    .summary = "Adds parameter tokens to a trained model, keeping the function that it computes.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_DRY_RUN | TF_TAKES_SET | TF_TAKES_MEMORY,
    .options = options,
};

/* What there is to say in the end. */
struct report {
    const struct tf_growth *growth;
    const struct tf_grow_options *options;
    const char *input, *output; /* output is NULL when none was written */
    uint64_t parameters_before, parameters_after;
    uint64_t bytes_before, bytes_after; /* of the files; after a dry run the most it could be */
    char digest_before[TF_DIGEST_TEXT];
    char digest_after[TF_DIGEST_TEXT]; /* "" when none was written */
    uint64_t memory;                   /* bytes taken at the height of it */
    double difference;                 /* -1: not measured */
};

static const struct {
    const char *name;
    int p;
} kinds[] = {{"qkv", TF_Q}, {"proj", TF_O}, {"ffn", TF_FFN}};

/* One line for each run of layers with the same counts. */
static void print_tokens(FILE *file, const struct tf_growth *growth, const char *name, int p)
{
    const struct tf_layer_shape *before = growth->before.layer, *after = growth->after.layer;
    uint64_t layers = growth->before.layers;

    for (uint64_t first = 0, next; first < layers; first = next) {
        for (next = first + 1; next < layers && before[next].tokens[p] == before[first].tokens[p] &&
                               after[next].tokens[p] == after[first].tokens[p];)
            next++;
        fprintf(file, "%-4s tokens   %" PRIu64 " -> %" PRIu64, name, before[first].tokens[p],
                after[first].tokens[p]);
        if (next - first == 1 && layers > 1)
            fprintf(file, "  (layer %" PRIu64 ")", first);
        else if (next - first < layers)
            fprintf(file, "  (layers %" PRIu64 "-%" PRIu64 ")", first, next - 1);
        fputc('\n', file);
    }
}

static const char *verdict(const struct tf_growth *growth)
{
    return growth->exact       ? "preserved to the bit"
           : growth->preserved ? "preserved to rounding"
                               : "not preserved";
}

static void print_text(FILE *file, const struct report *report)
{
    const struct tf_growth *growth = report->growth;
    char before[32], after[32];

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        print_tokens(file, growth, kinds[i].name, kinds[i].p);
    fprintf(file, "parameters    %" PRIu64 " -> %" PRIu64 "\n", report->parameters_before,
            report->parameters_after);
    fprintf(file, "model digest  %s%s%s\n", report->digest_before,
            *report->digest_after ? " -> " : "", report->digest_after);
    fprintf(file, "function      %s%s%s\n", verdict(growth), growth->exact ? "" : ": ",
            growth->why);
    fprintf(file, "file          %s -> %s%s\n", tf_ui_bytes(before, report->bytes_before),
            report->output ? "" : "at most ", tf_ui_bytes(after, report->bytes_after));
    if (!report->output)
        fprintf(file, "memory        %s\n", tf_ui_bytes(before, report->memory));
    if (report->difference >= 0)
        fprintf(file, "largest logit difference: %.3g\n", report->difference);
}

static void json_pair(struct tf_json *json, const char *key, uint64_t before, uint64_t after)
{
    tf_json_object(json, key);
    tf_json_uint(json, "before", before);
    tf_json_uint(json, "after", after);
    tf_json_end_object(json);
}

static void json_tokens(struct tf_json *json, const struct tf_growth *growth)
{
    tf_json_array(json, "layers");
    for (uint64_t layer = 0; layer < growth->before.layers; layer++) {
        tf_json_object(json, NULL);
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            json_pair(json, kinds[i].name, growth->before.layer[layer].tokens[kinds[i].p],
                      growth->after.layer[layer].tokens[kinds[i].p]);
        tf_json_end_object(json);
    }
    tf_json_end_array(json);
}

static void json_text(struct tf_json *json, const char *key, const char *text)
{
    if (text && *text)
        tf_json_bytes(json, key, text, strlen(text));
    else
        tf_json_null(json, key);
}

static void print_json(FILE *file, const struct report *report)
{
    struct tf_json json = {.file = file, .pretty = true};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-grow/1");
    json_text(&json, "input", report->input);
    json_text(&json, "output", report->output);
    tf_json_string(&json, "keys", init_names[report->options->keys]);
    tf_json_string(&json, "values", init_names[report->options->values]);
    tf_json_string(&json, "scale", scale_names[report->options->scale]);
    tf_json_uint(&json, "seed", report->options->seed);
    json_tokens(&json, report->growth);
    json_pair(&json, "parameters", report->parameters_before, report->parameters_after);
    json_pair(&json, "bytes", report->bytes_before, report->bytes_after);
    tf_json_uint(&json, "memory", report->memory);
    tf_json_object(&json, "digest");
    tf_json_string(&json, "before", report->digest_before);
    json_text(&json, "after", report->digest_after);
    tf_json_end_object(&json);
    tf_json_bool(&json, "exact", report->growth->exact);
    tf_json_bool(&json, "preserved", report->growth->preserved);
    json_text(&json, "why", report->growth->why);
    if (report->difference >= 0)
        tf_json_real(&json, "largest_logit_difference", report->difference);
    else
        tf_json_null(&json, "largest_logit_difference");
    tf_json_end_object(&json);
}

static enum tf_code print_report(const struct tf_common *common, const struct report *report,
                                 struct tf_err *err)
{
    struct tf_common to_stdout = *common;
    struct tf_result result;

    to_stdout.output = NULL; /* -o is the checkpoint's */
    enum tf_code code = tf_result_open(&result, &to_stdout, err);
    if (code)
        return code;
    if (common->json)
        print_json(result.file, report);
    else
        print_text(result.file, report);
    return tf_result_close(&result, err);
}

static enum tf_code read_target(struct tf_target *target, const char *option, const char *text,
                                struct tf_err *err)
{
    if (text && tf_target_parse(target, text, err))
        return tf_context(err, "--%s", option);
    return TF_OK;
}

/* What was given on the command line, and the rest from the checkpoint's config. */
static enum tf_code read_options(struct tf_grow_options *how, const struct tf_config *config,
                                 struct tf_err *err)
{
    memset(how, 0, sizeof *how);
    if (read_target(&how->qkv, "qkv", given.qkv, err) ||
        read_target(&how->proj, "proj", given.proj, err) ||
        read_target(&how->ffn, "ffn", given.ffn, err))
        return TF_USAGE;
    how->layers = given.layers;
    how->keys = (enum tf_row_init)(given.keys < 0 ? config->grow.keys : given.keys);
    how->values = (enum tf_row_init)(given.values < 0 ? config->grow.values : given.values);
    how->scale = (enum tf_grow_scale)(given.scale < 0 ? config->grow.scale : given.scale);
    how->seed = given.seed.given ? given.seed.value : config->train.seed;
    return TF_OK;
}

/* Growth changes the token counts and nothing else about the model. */
static enum tf_code check_call(const struct tf_common *common, int operands, struct tf_err *err)
{
    if (operands != 1)
        return tf_fail(err, TF_USAGE, "one checkpoint is wanted, not %d", operands);
    if (common->output ? strcmp(common->output, "-") == 0 : !common->dry_run)
        return tf_fail(err, TF_USAGE, "-o OUT.tfck is missing");
    if (!given.qkv && !given.proj && !given.ffn)
        return tf_fail(err, TF_USAGE, "nothing to grow: give --qkv, --proj or --ffn");
    for (size_t i = 0; i < common->sets.count; i++)
        if (strncmp(common->sets.items[i], "model.", 6) == 0)
            return tf_fail(err, TF_USAGE, "--set %s: the model is the checkpoint's",
                           common->sets.items[i]);
    return TF_OK;
}

static enum tf_code measure(double *difference, const struct tf_checkpoint *from,
                            struct tf_model *grown, uint64_t seed, struct tf_err *err)
{
    struct tf_model *model = NULL;
    enum tf_code code = tf_model_load(&model, from, false, err);

    if (!code)
        code = tf_grow_verify(difference, model, grown, seed, err);
    tf_model_free(model);
    return code;
}

/* Both models in memory, before anything is written: with -f the output may be the only copy of the
 * input. */
static enum tf_code verify_plan(struct report *report, const struct tf_checkpoint *from,
                                struct tf_err *err)
{
    struct tf_model *grown = NULL;
    enum tf_code code = tf_grow_model(&grown, from, report->growth, report->options, err);

    if (!code)
        code = measure(&report->difference, from, grown, report->options->seed, err);
    tf_model_free(grown);
    if (!code && report->growth->exact && report->difference != 0)
        return tf_fail(
            err, TF_INTERNAL,
            "the grown model's logits differ by up to %g, where they must not differ at all",
            report->difference);
    return code;
}

/* And once more with what is in the file, which holds the same model and does not have its final
 * name yet. */
static enum tf_code check_output(struct report *report, const struct tf_checkpoint *from,
                                 const char *part, uint64_t max_memory, struct tf_err *err)
{
    struct tf_checkpoint grown;
    struct tf_digest digest;
    struct tf_model *model = NULL;
    enum tf_code code = tf_checkpoint_open(&grown, part, max_memory, NULL, 0, err);

    if (code)
        return code;
    report->bytes_after = tf_store_file_size(grown.store);
    code = tf_store_model_digest(grown.store, &digest, err);
    if (!code)
        tf_digest_text(report->digest_after, &digest);
    if (!code && given.verify)
        code = tf_model_load(&model, &grown, false, err);
    if (!code && given.verify)
        code = measure(&report->difference, from, model, report->options->seed, err);
    if (!code && given.verify && report->growth->exact && report->difference != 0)
        code = tf_fail(err, TF_INTERNAL,
                       "%s: its logits differ by up to %g, where they must not differ at all",
                       report->output, report->difference);
    tf_model_free(model);
    tf_checkpoint_close(&grown);
    return code;
}

/* Parameters, and bytes of new rows before compression, from the tables and the plan. */
static void count(struct report *report, const struct tf_checkpoint *from)
{
    const struct tf_growth *growth = report->growth;
    uint64_t added = 0, moments = 0;

    for (size_t i = 0; i < tf_store_tables(from->store); i++) {
        const struct tf_table_info *info = tf_store_table(from->store, i);
        if (info->role == TF_PARAMETER)
            report->parameters_before += info->rows * info->cols;
        moments |= info->role == TF_MOMENT;
    }
    for (uint64_t layer = 0; layer < growth->before.layers; layer++)
        for (int p = 0; p < TF_PATTENTIONS; p++)
            added += growth->after.layer[layer].tokens[p] - growth->before.layer[layer].tokens[p];
    added *= 2 * growth->before.width;
    report->parameters_after = report->parameters_before + added;
    report->bytes_before = tf_store_file_size(from->store);
    report->bytes_after = report->bytes_before + added * sizeof(float) * (moments ? 3 : 1);
}

/* A model's weights, and what a pass over one window takes. */
static enum tf_code plan_model(uint64_t *bytes, const struct tf_shape *shape, struct tf_err *err)
{
    struct tf_model *plan = NULL;
    uint64_t run = 0;
    enum tf_code code = tf_model_plan(&plan, shape, false, err);

    if (!code)
        code = tf_run_plan(&run, plan, TF_RUN_SCORE, 1, shape->seq, err);
    if (!code)
        *bytes += plan->bytes_weights + run;
    tf_model_free(plan);
    return code;
}

/* Tables are written one at a time; to verify takes two whole models. */
static enum tf_code plan_memory(struct report *report, uint64_t max_memory, struct tf_err *err)
{
    const struct tf_growth *growth = report->growth;
    uint64_t most = 0;
    enum tf_code code = TF_OK;

    for (uint64_t layer = 0; layer < growth->after.layers; layer++)
        for (int p = 0; p < TF_PATTENTIONS; p++)
            if (growth->after.layer[layer].tokens[p] > most)
                most = growth->after.layer[layer].tokens[p];
    report->memory = most * tf_table_stride(growth->after.width) * sizeof(float);
    if (given.verify)
        code = plan_model(&report->memory, &growth->before, err);
    if (!code && given.verify)
        code = plan_model(&report->memory, &growth->after, err);
    if (!code && max_memory && report->memory > max_memory) {
        char needed[32], limit[32];
        code = tf_fail(err, TF_MEMORY, "the growth needs %s of memory; the limit is %s",
                       tf_ui_bytes(needed, report->memory), tf_ui_bytes(limit, max_memory));
    }
    return code;
}

static enum tf_code write_output(struct report *report, const struct tf_checkpoint *from,
                                 bool force, uint64_t max_memory, struct tf_err *err)
{
    struct tf_writer *writer = NULL;
    const char *part = NULL;
    enum tf_code code = tf_writer_open(&writer, report->output, force, 0, err);

    if (!code)
        code = tf_grow_write(writer, from, report->growth, report->options, err);
    if (!code)
        code = tf_writer_finish(writer, &part, err);
    if (!code)
        code = check_output(report, from, part, max_memory, err);
    if (!code)
        code = tf_writer_commit(writer, err);
    tf_writer_close(writer);
    return code;
}

static enum tf_code grow(const struct tf_common *common, const struct tf_checkpoint *from,
                         struct report *report, uint64_t max_memory, struct tf_err *err)
{
    struct tf_digest digest;
    enum tf_code code;

    count(report, from);
    code = plan_memory(report, max_memory, err);
    if (!code && given.verify)
        code = verify_plan(report, from, err);
    if (!code)
        code = tf_store_model_digest(from->store, &digest, err);
    if (code)
        return code;
    tf_digest_text(report->digest_before, &digest);
    if (!common->dry_run) {
        report->output = common->output;
        code = write_output(report, from, common->force, max_memory, err);
    }
    return code ? code : print_report(common, report, err);
}

static enum tf_code run(const struct tf_common *common, const char *input, struct tf_err *err)
{
    uint64_t max_memory = common->max_memory ? common->max_memory : tf_memory_physical();
    struct tf_checkpoint from;
    struct tf_grow_options how;
    struct tf_growth growth = {0};
    struct report report = {.growth = &growth, .options = &how, .input = input, .difference = -1};
    enum tf_code code =
        tf_checkpoint_open(&from, input, max_memory, common->sets.items, common->sets.count, err);

    if (code)
        return code;
    code = read_options(&how, &from.config, err);
    if (!code)
        code = tf_grow_plan(&growth, &from.shape, &how, err);
    if (!code)
        tf_ui_verbose(&program, common, "keys %s, values %s, scale %s, seed %" PRIu64,
                      init_names[how.keys], init_names[how.values], scale_names[how.scale],
                      how.seed);
    if (!code && common->output)
        code = tf_out_check(common->output, common->force, err);
    if (!code)
        code = grow(common, &from, &report, max_memory, err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    return code;
}

int main(int argc, char **argv)
{
    struct tf_common common = {0};
    struct tf_err err = {0};
    int rest;

    tf_opt_parse(&program, &common, argc, argv, &rest);
    enum tf_code code = check_call(&common, argc - rest, &err);
    if (!code)
        code = run(&common, argv[rest], &err);
    int status = code ? tf_ui_error(&program, &common, &err) : 0;
    tf_opt_fini(&common);
    return status;
}
