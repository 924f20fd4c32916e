#include "cli/grow_report.h"
#include "cli/ui.h"
#include "text/json.h"
#include <inttypes.h>
#include <math.h>

static const struct {
    const char *name;
    int p;
} kinds[] = {{"qkv", TF_Q}, {"proj", TF_O}, {"ffn", TF_FFN}};

/* Does the model have tokens there? A transformer has matrices instead, but for its MLP. */
static bool has_tokens(const struct tf_growth *growth, int p)
{
    return !tf_is_matrix(&growth->before, p);
}

/* Of a layer after the growth; a new one had none. */
static uint64_t tokens_before(const struct tf_growth *growth, uint64_t layer, int p)
{
    uint64_t old = growth->origin[layer];

    return old == UINT64_MAX ? 0 : growth->before.layer[old].tokens[p];
}

static bool is_alike(const struct tf_growth *growth, uint64_t a, uint64_t b, int p)
{
    return tokens_before(growth, a, p) == tokens_before(growth, b, p) &&
           growth->after.layer[a].tokens[p] == growth->after.layer[b].tokens[p];
}

/* One line for each run of layers with the same counts. */
static void print_tokens(FILE *file, const struct tf_growth *growth, const char *name, int p)
{
    uint64_t layers = growth->after.layers;

    for (uint64_t first = 0, next; first < layers; first = next) {
        for (next = first + 1; next < layers && is_alike(growth, first, next, p);)
            next++;
        fprintf(file, "%-4s tokens   %" PRIu64 " -> %" PRIu64, name,
                tokens_before(growth, first, p), growth->after.layer[first].tokens[p]);
        if (next - first == 1 && layers > 1)
            fprintf(file, "  (layer %" PRIu64 ")", first);
        else if (next - first < layers)
            fprintf(file, "  (layers %" PRIu64 "-%" PRIu64 ")", first, next - 1);
        fputc('\n', file);
    }
}

/* "(new: 2-3,5)" */
static void print_new_layers(FILE *file, const struct tf_growth *growth)
{
    const uint64_t *origin = growth->origin, layers = growth->after.layers;
    const char *before = "  (new: ";

    for (uint64_t first = 0, next; first < layers; first = next) {
        next = first + 1;
        if (origin[first] != UINT64_MAX)
            continue;
        while (next < layers && origin[next] == UINT64_MAX)
            next++;
        fprintf(file, "%s%" PRIu64, before, first);
        if (next - first > 1)
            fprintf(file, "-%" PRIu64, next - 1);
        before = ",";
    }
    fputs(")\n", file);
}

/* What grew besides tokens. */
static void print_size(FILE *file, const struct tf_growth *growth)
{
    const struct tf_shape *before = &growth->before, *after = &growth->after;

    if (before->layers != after->layers) {
        fprintf(file, "layers        %" PRIu64 " -> %" PRIu64, before->layers, after->layers);
        print_new_layers(file, growth);
    }
    if (before->width != after->width) {
        fprintf(file, "width         %" PRIu64 " -> %" PRIu64 "\n", before->width, after->width);
        fprintf(file, "heads         %" PRIu64 " -> %" PRIu64 "\n", before->heads, after->heads);
    }
}

static const char *verdict(const struct tf_growth *growth)
{
    return growth->exact       ? "preserved to the bit"
           : growth->preserved ? "preserved to rounding"
                               : "not preserved";
}

static void print_text(FILE *file, const struct tf_grow_report *report)
{
    const struct tf_growth *growth = report->growth;
    char before[32], after[32];

    print_size(file, growth);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (has_tokens(growth, kinds[i].p))
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

/* One object a layer after the growth. */
static void json_layers(struct tf_json *json, const struct tf_growth *growth)
{
    tf_json_array(json, "layers");
    for (uint64_t layer = 0; layer < growth->after.layers; layer++) {
        tf_json_object(json, NULL);
        for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
            if (has_tokens(growth, kinds[i].p))
                json_pair(json, kinds[i].name, tokens_before(growth, layer, kinds[i].p),
                          growth->after.layer[layer].tokens[kinds[i].p]);
        tf_json_bool(json, "new", growth->origin[layer] == UINT64_MAX);
        tf_json_end_object(json);
    }
    tf_json_end_array(json);
}

/* null: what the growth does not use. */
static void json_options(struct tf_json *json, const struct tf_growth *growth,
                         const struct tf_grow_options *options)
{
    const bool widens = options->method != TF_GROW_TOKENS && !growth->depth_only;
    const bool tokens = !widens && !growth->depth_only;
    const bool scaled = tokens && growth->before.kind == TF_TOKENFORMER;

    tf_json_string(json, "method", tf_grow_method_name(options->method));
    tf_json_string_or_null(json, "keys", tokens ? tf_row_init_name(options->keys) : NULL);
    tf_json_string_or_null(json, "values", tokens ? tf_row_init_name(options->values) : NULL);
    tf_json_string_or_null(json, "scale", scaled ? tf_grow_scale_name(options->scale) : NULL);
    tf_json_real(json, "noise", widens ? options->noise : NAN);
    tf_json_uint(json, "seed", options->seed);
    tf_json_string_or_null(json, "place",
                           options->add_layers ? tf_grow_place_name(options->place) : NULL);
}

static void json_size(struct tf_json *json, const struct tf_growth *growth)
{
    json_pair(json, "num_layers", growth->before.layers, growth->after.layers);
    json_pair(json, "width", growth->before.width, growth->after.width);
    json_pair(json, "heads", growth->before.heads, growth->after.heads);
}

static void print_json(FILE *file, const struct tf_grow_report *report)
{
    struct tf_json json = {.file = file, .pretty = true};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-grow/1");
    tf_json_string_or_null(&json, "input", report->input);
    tf_json_string_or_null(&json, "output", report->output);
    json_options(&json, report->growth, report->options);
    json_size(&json, report->growth);
    json_layers(&json, report->growth);
    json_pair(&json, "parameters", report->parameters_before, report->parameters_after);
    json_pair(&json, "bytes", report->bytes_before, report->bytes_after);
    tf_json_uint(&json, "memory", report->memory);
    tf_json_object(&json, "digest");
    tf_json_string(&json, "before", report->digest_before);
    tf_json_string_or_null(&json, "after", report->digest_after);
    tf_json_end_object(&json);
    tf_json_bool(&json, "exact", report->growth->exact);
    tf_json_bool(&json, "preserved", report->growth->preserved);
    tf_json_string_or_null(&json, "why", report->growth->why);
    tf_json_real(&json, "largest_logit_difference",
                 report->difference >= 0 ? report->difference : NAN);
    tf_json_end_object(&json);
}

enum tf_code tf_grow_report_print(const struct tf_common *common,
                                  const struct tf_grow_report *report, struct tf_err *err)
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
