/* tf-grow: a larger checkpoint, of the same function. */
#include "base/mem.h"
#include "cli/grow_report.h"
#include "cli/ui.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

static struct {
    const char *qkv, *proj, *ffn, *layers, *width;
    uint64_t add_layers;
    int method;
    int at;                  /* -1: top */
    int keys, values, scale; /* -1: as the checkpoint's config says */
    double noise;            /* below 0: TF_GROW_NOISE */
    struct tf_opt_seed seed;
    bool verify;
} given = {.at = -1, .keys = -1, .values = -1, .scale = -1, .noise = -1};

static const struct tf_opt options[] = {
    {"qkv", 0, TF_OPT_TEXT, &given.qkv, "N",
     "tokens of each query, key and value Pattention: 512, x2 or +256", NULL, 0, 0},
    {"proj", 0, TF_OPT_TEXT, &given.proj, "N", "tokens of each attention's output Pattention", NULL,
     0, 0},
    {"ffn", 0, TF_OPT_TEXT, &given.ffn, "N",
     "tokens of each feed-forward Pattention; hidden units of a transformer's MLP", NULL, 0, 0},
    {"layers", 0, TF_OPT_TEXT, &given.layers, "LIST", "more tokens in these layers only: 0-3,7",
     NULL, 0, 0},
    {"add-layers", 0, TF_OPT_UINT, &given.add_layers, "N", "new layers, which change nothing yet",
     NULL, 1, TF_MAX_LAYERS},
    {"at", 0, TF_OPT_CHOICE, &given.at, "WHERE", "where they stand among the old ones",
     "top|middle|spread", 0, 0},
    {"method", 0, TF_OPT_CHOICE, &given.method, "METHOD",
     "add tokens, or duplicate a transformer's units", "tokens|net2net|hyperclone", 0, 0},
    {"width", 0, TF_OPT_TEXT, &given.width, "N", "a transformer's hidden size, in whole multiples",
     NULL, 0, 0},
    {"noise", 0, TF_OPT_REAL, &given.noise, "X",
     "on duplicates, as a share of a table's root mean square (default: 0.01)", NULL, 0, 1},
    {"keys", 0, TF_OPT_CHOICE, &given.keys, "HOW", "new keys: zero keeps the function exactly",
     "zero|random|copy", 0, 0},
    {"values", 0, TF_OPT_CHOICE, &given.values, "HOW", "new values", "zero|random|copy", 0, 0},
    {"scale", 0, TF_OPT_CHOICE, &given.scale, "HOW",
     "keep what the function needs, or set it to the token count", "keep|count", 0, 0},
    {"seed", 0, TF_OPT_SEED, &given.seed, "S",
     "seed of random rows and noise (default: the config's train.seed)", NULL, 0, INFINITY},
    {"verify", 0, TF_OPT_FLAG, &given.verify, NULL,
     "run both models on random tokens and print the largest difference", NULL, 0, 0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-grow",
    .synopsis = "IN.tfck -o OUT.tfck [--qkv N] [--proj N] [--ffn N] [--add-layers N]\n"
                "IN.tfck -o OUT.tfck --method net2net|hyperclone [--width N] [--ffn N]",
    .summary =
        "Makes a trained model larger, keeping the function that it computes: by parameter tokens, "
        "layers, or the width of a transformer.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_DRY_RUN | TF_TAKES_SET | TF_TAKES_MEMORY,
    .options = options,
};

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
        read_target(&how->ffn, "ffn", given.ffn, err) ||
        read_target(&how->width, "width", given.width, err))
        return TF_USAGE;
    how->method = (enum tf_grow_method)given.method;
    how->layers = given.layers;
    how->add_layers = given.add_layers;
    how->place = given.at < 0 ? TF_PLACE_TOP : (enum tf_grow_place)given.at;
    how->noise = given.noise < 0 ? TF_GROW_NOISE : given.noise;
    how->keys = (enum tf_row_init)(given.keys < 0 ? config->grow.keys : given.keys);
    how->values = (enum tf_row_init)(given.values < 0 ? config->grow.values : given.values);
    how->scale = (enum tf_grow_scale)(given.scale < 0 ? config->grow.scale : given.scale);
    how->seed = given.seed.given ? given.seed.value : config->train.seed;
    return TF_OK;
}

/* Options of another method say that something else was meant. */
static enum tf_code check_method(struct tf_err *err)
{
    const bool tokens = given.method == TF_GROW_TOKENS;
    const bool targets = given.qkv || given.proj || given.ffn;
    const char *rows = given.keys >= 0     ? "keys"
                       : given.values >= 0 ? "values"
                       : given.scale >= 0  ? "scale"
                                           : NULL;

    if (tokens && given.noise >= 0)
        return tf_fail(err, TF_USAGE, "--noise is for the methods net2net and hyperclone");
    if (!tokens && rows)
        return tf_fail(err, TF_USAGE, "--%s is for the method tokens", rows);
    if (given.at >= 0 && !given.add_layers)
        return tf_fail(err, TF_USAGE, "--at is for --add-layers");
    if (tokens && !targets && !given.add_layers && !given.width)
        return tf_fail(err, TF_USAGE,
                       "nothing to grow: give --qkv, --proj, --ffn, --add-layers or --width");
    if (tokens && !targets && rows)
        return tf_fail(err, TF_USAGE, "--%s is for --qkv, --proj and --ffn", rows);
    return TF_OK;
}

/* Growth changes the model's size and nothing else about it. */
static enum tf_code check_call(const struct tf_common *common, int operands, struct tf_err *err)
{
    if (operands != 1)
        return tf_fail(err, TF_USAGE, "one checkpoint is wanted, not %d", operands);
    if (common->output ? strcmp(common->output, "-") == 0 : !common->dry_run)
        return tf_fail(err, TF_USAGE, "-o OUT.tfck is missing");
    for (size_t i = 0; i < common->sets.count; i++)
        if (strncmp(common->sets.items[i], "model.", 6) == 0)
            return tf_fail(err, TF_USAGE, "--set %s: the model is the checkpoint's",
                           common->sets.items[i]);
    return check_method(err);
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
static enum tf_code verify_plan(struct tf_grow_report *report, const struct tf_checkpoint *from,
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
static enum tf_code check_output(struct tf_grow_report *report, const struct tf_checkpoint *from,
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

/* Bytes of the largest table; layers: of those of layers alone. */
static uint64_t largest_table(const struct tf_model *plan, bool layers)
{
    uint64_t most = 0;

    for (size_t i = 0; i < plan->table_count; i++) {
        const struct tf_table *table = &plan->tables[i];
        uint64_t bytes = table->rows * table->stride * sizeof(float);
        if ((!layers || strncmp(table->name, "layers.", 7) == 0) && bytes > most)
            most = bytes;
    }
    return most;
}

static bool has_moments(const struct tf_checkpoint *from)
{
    for (size_t i = 0; i < tf_store_tables(from->store); i++)
        if (tf_store_table(from->store, i)->role == TF_MOMENT)
            return true;
    return false;
}

/* Bytes that a table takes in a file besides its rows, at most: its frame's ends, what the
 * directory says of it, a line of the lineage. */
enum { BESIDES_ROWS = 256 };

/* Parameters; bytes of the file, of which those that are new count before compression. Old tables
 * are copied by chunks, but for a wider model, whose tables are all made anew. */
static void count(struct tf_grow_report *report, const struct tf_checkpoint *from,
                  const struct tf_model *before, const struct tf_model *after)
{
    const bool tokens = report->options->method == TF_GROW_TOKENS;

    report->parameters_before = tf_model_parameters(before);
    report->parameters_after = tf_model_parameters(after);
    report->bytes_before = tf_store_file_size(from->store);
    const uint64_t made = report->parameters_after - (tokens ? report->parameters_before : 0),
                   copies = tokens && has_moments(from) ? 3 : 1;
    report->bytes_after =
        report->bytes_before + copies * (made * sizeof(float) + after->table_count * BESIDES_ROWS);
    report->memory = largest_table(after, tokens) + (tokens ? 0 : largest_table(before, false));
}

/* To verify takes a whole model, and a pass over one window. */
static enum tf_code add_model(uint64_t *bytes, const struct tf_model *plan, struct tf_err *err)
{
    uint64_t run = 0;
    enum tf_code code = tf_run_plan(&run, plan, TF_RUN_SCORE, 1, plan->shape.seq, err);

    *bytes += plan->bytes_weights + run;
    return code;
}

/* What it comes to, and whether there is room for it. */
static enum tf_code reckon(struct tf_grow_report *report, const struct tf_checkpoint *from,
                           uint64_t max_memory, struct tf_err *err)
{
    struct tf_model *before = NULL, *after = NULL;
    enum tf_code code = tf_model_plan(&before, &report->growth->before, false, err);

    if (!code)
        code = tf_model_plan(&after, &report->growth->after, false, err);
    if (!code)
        count(report, from, before, after);
    if (!code && given.verify)
        code = add_model(&report->memory, before, err);
    if (!code && given.verify)
        code = add_model(&report->memory, after, err);
    tf_model_free(before);
    tf_model_free(after);
    if (!code && max_memory && report->memory > max_memory) {
        char needed[32], limit[32];
        code = tf_fail(err, TF_MEMORY, "the growth needs %s of memory; the limit is %s",
                       tf_ui_bytes(needed, report->memory), tf_ui_bytes(limit, max_memory));
    }
    return code;
}

static enum tf_code write_output(struct tf_grow_report *report, const struct tf_checkpoint *from,
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
                         struct tf_grow_report *report, uint64_t max_memory, struct tf_err *err)
{
    struct tf_digest digest;
    enum tf_code code;

    code = reckon(report, from, max_memory, err);
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
    return code ? code : tf_grow_report_print(common, report, err);
}

static void tell_options(const struct tf_common *common, const struct tf_growth *growth,
                         const struct tf_grow_options *how)
{
    if (growth->depth_only)
        tf_ui_verbose(&program, common, "new layers, seed %" PRIu64, how->seed);
    else if (how->method == TF_GROW_TOKENS)
        tf_ui_verbose(&program, common, "keys %s, values %s, scale %s, seed %" PRIu64,
                      tf_row_init_name(how->keys), tf_row_init_name(how->values),
                      tf_grow_scale_name(how->scale), how->seed);
    else
        tf_ui_verbose(&program, common, "%s, noise %g, seed %" PRIu64,
                      tf_grow_method_name(how->method), how->noise, how->seed);
}

static enum tf_code run(const struct tf_common *common, const char *input, struct tf_err *err)
{
    uint64_t max_memory = common->max_memory ? common->max_memory : tf_memory_physical();
    struct tf_checkpoint from;
    struct tf_grow_options how;
    struct tf_growth growth = {0};
    struct tf_grow_report report = {
        .growth = &growth, .options = &how, .input = input, .difference = -1};
    enum tf_code code =
        tf_checkpoint_open(&from, input, max_memory, common->sets.items, common->sets.count, err);

    if (code)
        return code;
    code = read_options(&how, &from.config, err);
    if (!code)
        code = tf_grow_plan(&growth, &from.shape, &how, err);
    if (!code)
        tell_options(common, &growth, &how);
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
