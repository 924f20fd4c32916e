/* tf-eval: what a model's loss is over a text, with all its tokens or fewer, and how two models
 * differ. */
#include "base/mem.h"
#include "cli/opt.h"
#include "cli/ui.h"
#include "nn/precision.h"
#include "text/json.h"
#include "train/eval.h"
#include "train/modelio.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct {
    uint64_t window, stride, batch;
    bool second_half;
    const char *compare, *keep;
    struct tf_opt_list fail_above;
    int weights; /* enum tf_precision */
} given;

static const struct tf_opt options[] = {
    {"window", 0, TF_OPT_UINT, &given.window, "W",
     "tokens of a window (default: the model's context)", NULL, 1, 1 << 20},
    {"stride", 0, TF_OPT_UINT, &given.stride, "S",
     "tokens from window to window (default: the window)", NULL, 1, 1 << 20},
    {"second-half", 0, TF_OPT_FLAG, &given.second_half, NULL,
     "disjoint windows, the second half of each scored", NULL, 0, 0},
    {"batch", 0, TF_OPT_UINT, &given.batch, "N", "windows at a time; never changes a result", NULL,
     1, 1 << 20},
    {"fail-above", 0, TF_OPT_LIST, &given.fail_above, "METRIC=X",
     "exit 1 when a metric is above X: loss, ppl, bpb; kl, logits", NULL, 0, 0},
    {"compare", 0, TF_OPT_TEXT, &given.compare, "OTHER.tfck",
     "say how far another model is from this one", NULL, 0, 0},
    {"keep", 0, TF_OPT_TEXT, &given.keep, "LIST",
     "also the loss with only the first tokens: 50%,25%", NULL, 0, 0},
    {"weights", 0, TF_OPT_CHOICE, &given.weights, "TYPE", "round this model's weights",
     "f32|bf16|int8", 0, 0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-eval",
    .synopsis = "MODEL.tfck FILE... [--window W] [--stride S | --second-half] [OPTION]...",
    .summary = "Measures a model's loss over a text: the FILEs one after the other, as cat would "
               "join them.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_DRY_RUN | TF_TAKES_SET | TF_TAKES_MEMORY,
    .options = options,
};

enum { MOST_KEPT = 64, WHOLE = 10000 };

/* The loss with a share of the tokens. */
struct kept {
    unsigned share; /* in hundredths of a percent, up to WHOLE */
    uint64_t parameters;
    struct tf_eval_result result;
};

/* Everything a run opens; zeroed, it may be closed. */
struct job {
    const struct tf_common *common;
    struct tf_checkpoint checkpoint, other; /* other: with --compare */
    struct tf_corpus corpus;
    struct tf_eval_options wanted, plan; /* as given; with every 0 filled in for the model */
    struct tf_model *model, *other_model;
    struct tf_eval_result result;
    struct tf_compare_result compared;
    struct kept kept[MOST_KEPT]; /* with --keep: as many as there are shares */
    size_t kept_count;
    char digest[TF_DIGEST_TEXT], other_digest[TF_DIGEST_TEXT];
    uint64_t memory, max_memory; /* bytes: what the run takes, and may take (0: any) */
};

/* ---- shares ---- */

/* "50", "12.5" or "0.25", in hundredths; *at is moved past it. */
static bool take_percent(const char **at, unsigned *out)
{
    unsigned unit = WHOLE / 100;
    bool digits = false;

    for (*out = 0; **at >= '0' && **at <= '9' && *out <= WHOLE; ++*at, digits = true)
        *out = 10 * *out + (unsigned)(**at - '0') * unit;
    if (!digits || **at != '.')
        return digits;
    for (digits = false, ++*at; **at >= '0' && **at <= '9' && unit > 1; ++*at, digits = true)
        *out += (unsigned)(**at - '0') * (unit /= 10);
    return digits;
}

/* Reads --keep: percentages with commas between them. */
static enum tf_code read_shares(struct job *job, struct tf_err *err)
{
    const char *at = given.keep;

    do {
        unsigned share;
        if (job->kept_count == MOST_KEPT)
            return tf_fail(err, TF_USAGE, "--keep: more than %d shares", MOST_KEPT);
        if (!take_percent(&at, &share) || share == 0 || share > WHOLE || *at != '%' ||
            (at[1] != ',' && at[1] != '\0'))
            return tf_fail(err, TF_USAGE,
                           "--keep %s: expected shares above 0%% and up to 100%%, like 50%%,12.5%%",
                           given.keep);
        job->kept[job->kept_count++].share = share;
        at++;
    } while (*at++ == ',');
    return TF_OK;
}

/* ---- limits ---- */

enum { METRICS = 5 };
static const struct {
    const char *name, *alias;
    bool compares;
} metrics[METRICS] = {{"nats_per_token", "loss", false},
                      {"perplexity", "ppl", false},
                      {"bits_per_byte", "bpb", false},
                      {"mean_kl", "kl", true},
                      {"max_logit_difference", "logits", true}};

/* Reads METRIC=X; *metric is a position in `metrics`. */
static enum tf_code read_limit(size_t *metric, double *limit, const char *text, struct tf_err *err)
{
    size_t name = strcspn(text, "=");
    char *end;

    for (*metric = 0; *metric < METRICS; ++*metric)
        if ((strlen(metrics[*metric].name) == name &&
             memcmp(metrics[*metric].name, text, name) == 0) ||
            (strlen(metrics[*metric].alias) == name &&
             memcmp(metrics[*metric].alias, text, name) == 0))
            break;
    if (*metric == METRICS || text[name] == '\0')
        return tf_fail(
            err, TF_USAGE,
            "--fail-above %s: not METRIC=X with a metric among loss, ppl, bpb, kl, logits", text);
    *limit = strtod(text + name + 1, &end);
    if (end == text + name + 1 || *end != '\0' || isnan(*limit))
        return tf_fail(err, TF_USAGE, "--fail-above %s: \"%s\" is not a number", text,
                       text + name + 1);
    if (metrics[*metric].compares && given.compare == NULL)
        return tf_fail(err, TF_USAGE, "--fail-above %s needs --compare", text);
    return TF_OK;
}

/* TF_NO, naming every metric that is above its limit or not a number. */
static enum tf_code check_limits(const struct job *job, struct tf_err *err)
{
    const double values[METRICS] = {job->result.nats_per_token, job->result.perplexity,
                                    job->result.bits_per_byte, job->compared.mean_kl,
                                    job->compared.max_logit_difference};
    char missed[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < given.fail_above.count && used < sizeof missed; i++) {
        char value[32], bound[32];
        double limit;
        size_t metric;
        enum tf_code code = read_limit(&metric, &limit, given.fail_above.items[i], err);
        if (code)
            return code;
        if (values[metric] <= limit)
            continue;
        used += (size_t)snprintf(missed + used, sizeof missed - used, "%s%s %s misses the limit %s",
                                 used ? "; " : "", metrics[metric].name,
                                 tf_real_text(value, values[metric]), tf_real_text(bound, limit));
    }
    return used ? tf_fail(err, TF_NO, "%s", missed) : TF_OK;
}

/* ---- results ---- */

static void print_count(FILE *file, const char *name, uint64_t value)
{
    fprintf(file, "%-22s%" PRIu64 "\n", name, value);
}

/* Nine digits: losses that are the same look the same, and others do not. */
static void print_real(FILE *file, const char *name, double value)
{
    if (isnan(value))
        fprintf(file, "%-22snan\n", name);
    else
        fprintf(file, "%-22s%.9g\n", name, value);
}

static void print_compared(FILE *file, const struct job *job)
{
    fprintf(file, "\n%-22s", "compared with");
    tf_ui_text(file, given.compare, strlen(given.compare));
    fputc('\n', file);
    print_count(file, "tokens", job->compared.tokens);
    print_real(file, "mean_kl", job->compared.mean_kl);
    print_real(file, "max_logit_difference", job->compared.max_logit_difference);
    print_real(file, "same_argmax", job->compared.same_argmax);
}

/* A line a share; nan has no sign. */
static void print_kept(FILE *file, const struct job *job)
{
    fprintf(file, "\n%-8s%12s%18s%18s\n", "kept", "parameters", "nats_per_token", "bits_per_byte");
    for (size_t i = 0; i < job->kept_count; i++) {
        const struct kept *kept = &job->kept[i];
        char share[16];
        snprintf(share, sizeof share, "%g%%", kept->share / 100.0);
        fprintf(file, "%-8s%12" PRIu64 "%18.9g%18.9g\n", share, kept->parameters,
                fabs(kept->result.nats_per_token), fabs(kept->result.bits_per_byte));
    }
}

static void print_text(FILE *file, const struct job *job)
{
    const struct tf_eval_result *result = &job->result;

    print_count(file, "tokens", result->tokens);
    print_count(file, "bytes", result->bytes);
    print_real(file, "nats_per_token", result->nats_per_token);
    print_real(file, "perplexity", result->perplexity);
    print_real(file, "bits_per_byte", result->bits_per_byte);
    print_real(file, "stderr", result->stderr_nats);
    print_count(file, "window", result->window);
    print_count(file, "stride", result->stride);
    fprintf(file, "%-22s%s\n", "scored", given.second_half ? "second-half" : "all");
    fprintf(file, "%-22s%s\n", "weights", tf_precision_name((enum tf_precision)given.weights));
    if (given.keep != NULL)
        print_kept(file, job);
    if (given.compare != NULL)
        print_compared(file, job);
}

static void json_kept(struct tf_json *json, const struct job *job)
{
    tf_json_array(json, "kept");
    for (size_t i = 0; i < job->kept_count; i++) {
        const struct kept *kept = &job->kept[i];
        tf_json_object(json, NULL);
        tf_json_real(json, "share", kept->share / (double)WHOLE);
        tf_json_uint(json, "parameters", kept->parameters);
        tf_json_real(json, "nats_per_token", kept->result.nats_per_token);
        tf_json_real(json, "perplexity", kept->result.perplexity);
        tf_json_real(json, "bits_per_byte", kept->result.bits_per_byte);
        tf_json_real(json, "stderr", kept->result.stderr_nats);
        tf_json_end_object(json);
    }
    tf_json_end_array(json);
}

static void print_json(FILE *file, const struct job *job)
{
    const struct tf_eval_result *result = &job->result;
    struct tf_json json = {.file = file, .pretty = true};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-eval/1");
    tf_json_string(&json, "model_digest", job->digest);
    tf_json_uint(&json, "tokens", result->tokens);
    tf_json_uint(&json, "bytes", result->bytes);
    tf_json_real(&json, "nats_per_token", result->nats_per_token);
    tf_json_real(&json, "perplexity", result->perplexity);
    tf_json_real(&json, "bits_per_byte", result->bits_per_byte);
    tf_json_real(&json, "stderr", result->stderr_nats);
    tf_json_uint(&json, "window", result->window);
    tf_json_uint(&json, "stride", result->stride);
    tf_json_string(&json, "scored", given.second_half ? "second-half" : "all");
    tf_json_string(&json, "weights", tf_precision_name((enum tf_precision)given.weights));
    if (given.keep != NULL)
        json_kept(&json, job);
    if (given.compare != NULL) {
        tf_json_object(&json, "compare");
        tf_json_string(&json, "model_digest", job->other_digest);
        tf_json_uint(&json, "tokens", job->compared.tokens);
        tf_json_real(&json, "mean_kl", job->compared.mean_kl);
        tf_json_real(&json, "max_logit_difference", job->compared.max_logit_difference);
        tf_json_real(&json, "same_argmax", job->compared.same_argmax);
        tf_json_end_object(&json);
    }
    tf_json_end_object(&json);
}

static enum tf_code print(const struct job *job, struct tf_err *err)
{
    struct tf_result result;
    enum tf_code code = tf_result_open(&result, job->common, err);

    if (code)
        return code;
    if (job->common->json)
        print_json(result.file, job);
    else
        print_text(result.file, job);
    return tf_result_close(&result, err);
}

/* ---- the run ---- */

/* Adds the bytes of a model's weights, and of the buffers of passes over them. */
static enum tf_code add_memory(struct job *job, const struct tf_checkpoint *checkpoint,
                               struct tf_err *err)
{
    struct tf_model *model = NULL;
    uint64_t pass;
    enum tf_code code = tf_model_plan(&model, &checkpoint->shape, false, err);

    if (!code)
        code = tf_run_plan(&pass, model, TF_RUN_SCORE, job->plan.batch, job->plan.window, err);
    if (!code)
        job->memory += model->bytes_weights + pass;
    tf_model_free(model);
    return code;
}

static enum tf_code plan_memory(struct job *job, struct tf_err *err)
{
    enum tf_code code = add_memory(job, &job->checkpoint, err);

    if (!code && given.compare != NULL)
        code = add_memory(job, &job->other, err);
    if (code)
        return code;
    job->memory += job->corpus.count * sizeof *job->corpus.tokens;
    if (job->max_memory != 0 && job->memory > job->max_memory)
        return tf_fail(err, TF_MEMORY, "%" PRIu64 " bytes are needed, the limit is %" PRIu64,
                       job->memory, job->max_memory);
    return TF_OK;
}

static void print_plan(FILE *file, const struct job *job)
{
    const struct tf_eval_options *plan = &job->plan;
    char text[32];

    fprintf(file, "text      %" PRIu64 " tokens\n", job->corpus.count);
    fprintf(file, "windows   %" PRIu64 " of %zu tokens, %zu at a time, stride %zu\n",
            plan->max_windows, plan->window, plan->batch, plan->stride);
    fprintf(file, "memory    %s\n", tf_ui_bytes(text, job->memory));
}

static void print_plan_json(FILE *file, const struct job *job)
{
    struct tf_json json = {.file = file, .pretty = true};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-eval-plan/1");
    tf_json_uint(&json, "text_tokens", job->corpus.count);
    tf_json_uint(&json, "windows", job->plan.max_windows);
    tf_json_uint(&json, "window", job->plan.window);
    tf_json_uint(&json, "stride", job->plan.stride);
    tf_json_uint(&json, "batch", job->plan.batch);
    tf_json_uint(&json, "memory", job->memory);
    tf_json_end_object(&json);
}

static enum tf_code dry_run(const struct job *job, struct tf_err *err)
{
    struct tf_result result;
    enum tf_code code = tf_result_open(&result, &(struct tf_common){0}, err);

    if (code)
        return code;
    if (job->common->json)
        print_plan_json(result.file, job);
    else
        print_plan(result.file, job);
    return tf_result_close(&result, err);
}

/* The comparison runs both models over one list of ids, which must mean the same to both. */
static enum tf_code open_other(struct job *job, struct tf_err *err)
{
    const struct tf_tokenizer *ours = &job->checkpoint.tokenizer, *theirs = &job->other.tokenizer;
    enum tf_code code = tf_checkpoint_open(&job->other, given.compare, job->max_memory,
                                           job->common->sets.items, job->common->sets.count, err);

    if (code)
        return code;
    if (theirs->size != ours->size || strcmp(theirs->separator, ours->separator) != 0)
        return tf_fail(
            err, TF_DATA,
            "%s: its tokenizer (%u tokens, separator \"%s\") is not that of %s (%u, \"%s\")",
            given.compare, theirs->size, theirs->separator, tf_store_path(job->checkpoint.store),
            ours->size, ours->separator);
    if (given.window > job->other.shape.seq)
        return tf_fail(err, TF_USAGE,
                       "%s: window %" PRIu64 " is longer than its context, %" PRIu64 " tokens",
                       given.compare, given.window, job->other.shape.seq);
    return TF_OK;
}

/* Opens and checks everything; reads no table. */
static enum tf_code open_all(struct job *job, char **operands, int count, struct tf_err *err)
{
    const struct tf_common *common = job->common;
    enum tf_code code = common->output ? tf_out_check(common->output, common->force, err) : TF_OK;

    if (!code)
        code = tf_checkpoint_open(&job->checkpoint, operands[0], job->max_memory,
                                  common->sets.items, common->sets.count, err);
    if (!code && given.compare != NULL)
        code = open_other(job, err);
    if (!code)
        code = tf_corpus_load(&job->corpus, &job->checkpoint.tokenizer,
                              (const char *const *)operands + 1, (size_t)count - 1, err);
    if (!code) {
        code = tf_eval_plan(&job->plan, &job->checkpoint.shape, &job->corpus, &job->wanted, err);
        if (code == TF_DATA) /* too short a text */
            code =
                tf_context(err, "%s%s", strcmp(operands[1], "-") ? operands[1] : "standard input",
                           count > 2 ? " and the texts after it" : "");
    }
    return code ? code : plan_memory(job, err);
}

static enum tf_code load(struct tf_model **model, char digest[TF_DIGEST_TEXT],
                         const struct tf_checkpoint *checkpoint, struct tf_err *err)
{
    struct tf_digest binary;
    enum tf_code code = tf_model_load(model, checkpoint, false, err);

    if (!code)
        code = tf_store_model_digest(checkpoint->store, &binary, err);
    if (!code)
        tf_digest_text(digest, &binary);
    return code;
}

/* The comparison first: it is what may still find that the models do not fit each other. */
static enum tf_code measure(struct job *job, struct tf_err *err)
{
    enum tf_code code = load(&job->model, job->digest, &job->checkpoint, err);

    if (!code)
        tf_model_round(job->model, (enum tf_precision)given.weights);
    if (!code && given.compare != NULL)
        code = load(&job->other_model, job->other_digest, &job->other, err);
    if (!code && given.compare != NULL)
        code = tf_compare(&job->compared, job->model, job->other_model, &job->corpus, &job->wanted,
                          err);
    if (!code)
        code = tf_eval(&job->result, job->model, &job->corpus, &job->checkpoint.tokenizer,
                       &job->plan, err);
    return code;
}

/* The same text once for each share. The scales stay, as tf-inspect slice leaves them. */
static enum tf_code measure_kept(struct job *job, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < job->kept_count; i++) {
        struct kept *kept = &job->kept[i];
        tf_model_keep(job->model, kept->share / (double)WHOLE);
        kept->parameters = tf_model_parameters(job->model);
        code = tf_eval(&kept->result, job->model, &job->corpus, &job->checkpoint.tokenizer,
                       &job->plan, err);
    }
    return code;
}

static enum tf_code run(struct job *job, char **operands, int count, struct tf_err *err)
{
    enum tf_code code = open_all(job, operands, count, err);

    if (!code && job->common->dry_run)
        return dry_run(job, err);
    if (!code && job->common->verbose > 0)
        print_plan(stderr, job);
    if (!code)
        code = measure(job, err);
    if (!code)
        code = measure_kept(job, err);
    if (!code)
        code = print(job, err);
    return code ? code : check_limits(job, err);
}

static void job_close(struct job *job)
{
    tf_model_free(job->other_model);
    tf_model_free(job->model);
    tf_corpus_fini(&job->corpus);
    tf_checkpoint_close(&job->other);
    tf_checkpoint_close(&job->checkpoint);
}

static enum tf_code check_call(struct job *job, int operands, struct tf_err *err)
{
    if (operands < 2)
        return tf_fail(err, TF_USAGE, "a checkpoint and a text are wanted");
    if (given.second_half && given.stride)
        return tf_fail(err, TF_USAGE, "--stride and --second-half exclude each other");
    if (given.keep && given.compare)
        return tf_fail(err, TF_USAGE, "--keep and --compare exclude each other");
    for (size_t i = 0; i < given.fail_above.count; i++) {
        size_t metric;
        double limit;
        enum tf_code code = read_limit(&metric, &limit, given.fail_above.items[i], err);
        if (code)
            return code;
    }
    return given.keep ? read_shares(job, err) : TF_OK;
}

int main(int argc, char **argv)
{
    struct tf_common common = {0};
    struct job job = {.common = &common};
    struct tf_err err = {0};
    int rest;

    tf_opt_parse(&program, &common, argc, argv, &rest);
    enum tf_code code = check_call(&job, argc - rest, &err);
    job.max_memory = common.max_memory ? common.max_memory : tf_memory_physical();
    job.wanted = (struct tf_eval_options){.window = given.window,
                                          .stride = given.stride,
                                          .second_half = given.second_half,
                                          .batch = given.batch};
    if (!code)
        code = run(&job, argv + rest, argc - rest, &err);
    int status = code ? tf_ui_error(&program, &common, &err) : 0;
    job_close(&job);
    tf_free(given.fail_above.items);
    tf_opt_fini(&common);
    return status;
}
