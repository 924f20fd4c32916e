/* tf-generate: text from a model. */
#include "base/io.h"
#include "base/mem.h"
#include "cli/opt.h"
#include "cli/ui.h"
#include "nn/precision.h"
#include "text/json.h"
#include "train/generate.h"
#include "train/modelio.h"
#include <inttypes.h>
#include <string.h>

#define MAX_PROMPTS ((size_t)64 << 20) /* bytes of a file of prompts */
#define STREAMS ((uint64_t)1 << 32)    /* random streams set aside for the samples of one prompt */

static struct {
    const char *prompt, *prompts;
    uint64_t tokens, samples, seed;
    struct tf_sampler sampler;
    struct tf_opt_list stop;
    bool ignore_end, echo;
    int weights; /* enum tf_precision */
} given = {.tokens = 256,
           .samples = 1,
           .seed = 1,
           .sampler = {.temperature = 0.8, .top_p = 1, .repeat_penalty = 1, .repeat_last = 64}};

static const struct tf_opt options[] = {
    {"prompt", 'p', TF_OPT_TEXT, &given.prompt, "TEXT", "what to continue", NULL, 0, 0},
    {"prompts", 0, TF_OPT_TEXT, &given.prompts, "FILE",
     "one prompt a line, or one JSON object with \"prompt\"", NULL, 0, 0},
    {"tokens", 'n', TF_OPT_UINT, &given.tokens, "N", "new tokens at most (default 256)", NULL, 0,
     1 << 24},
    {"samples", 0, TF_OPT_UINT, &given.samples, "K", "continuations of each prompt (default 1)",
     NULL, 1, 4096},
    {"temperature", 0, TF_OPT_REAL, &given.sampler.temperature, "T",
     "0: always the likeliest token (default 0.8)", NULL, 0, 100},
    {"top-k", 0, TF_OPT_UINT, &given.sampler.top_k, "K",
     "draw among the K likeliest tokens (default 0: all)", NULL, 0, 65536},
    {"top-p", 0, TF_OPT_REAL, &given.sampler.top_p, "P",
     "draw among the likeliest tokens that reach P together (default 1)", NULL, 0, 1},
    {"min-p", 0, TF_OPT_REAL, &given.sampler.min_p, "P",
     "leave out tokens below P times the likeliest (default 0)", NULL, 0, 1},
    {"repeat-penalty", 0, TF_OPT_REAL, &given.sampler.repeat_penalty, "R",
     "above 1: tokens lately used become less likely", NULL, 0.01, 100},
    {"repeat-last", 0, TF_OPT_UINT, &given.sampler.repeat_last, "N",
     "how many tokens count as lately used (default 64)", NULL, 0, 1 << 24},
    {"stop", 0, TF_OPT_LIST, &given.stop, "TEXT", "end before this text; may be given again", NULL,
     0, 0},
    {"seed", 0, TF_OPT_UINT, &given.seed, "S", "same seed, same text (default 1)", NULL, 0, 0},
    {"weights", 0, TF_OPT_CHOICE, &given.weights, "TYPE",
     "hold the weights as this; the narrower, the faster (default f32)", "f32|bf16|int8", 0, 0},
    {"ignore-end", 0, TF_OPT_FLAG, &given.ignore_end, NULL, "go on past the document separator",
     NULL, 0, 0},
    {"echo", 0, TF_OPT_FLAG, &given.echo, NULL, "print the prompt before its continuation", NULL, 0,
     0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-generate",
    .synopsis = "MODEL.tfck [-p TEXT | --prompts FILE] [-n TOKENS] [OPTION]...",
    .summary = "Continues a text, or begins one when no prompt is given.",
    .takes =
        TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_DRY_RUN_LONG | TF_TAKES_SET | TF_TAKES_MEMORY,
    .options = options,
};

struct prompt {
    const char *text;
    size_t size;
    char *owned; /* the text, when it came out of JSON */
};

/* Everything a run opens; zeroed, it may be closed. */
struct job {
    const struct tf_common *common;
    struct tf_checkpoint checkpoint;
    struct tf_model *model;
    char *file; /* the bytes of --prompts */
    struct prompt *prompts;
    size_t prompt_count;
    struct tf_generated *generated; /* --samples of them */
    struct tf_result result;
    uint64_t memory; /* bytes of weights and passes */
    bool slid;
};

/* ---- prompts ---- */

static const char *prompts_name(void)
{
    return strcmp(given.prompts, "-") == 0 ? "standard input" : given.prompts;
}

/* One line of a file of prompts. */
static enum tf_code read_line(struct prompt *prompt, const char *line, size_t size,
                              struct tf_err *err)
{
    prompt->text = line;
    prompt->size = size;
    if (line[0] != '{')
        return TF_OK;
    enum tf_code code =
        tf_json_get_string(line, size, "prompt", &prompt->owned, &prompt->size, err);
    prompt->text = prompt->owned;
    return code;
}

/* Every line that is not empty. */
static enum tf_code split_prompts(struct job *job, size_t size, struct tf_err *err)
{
    const char *end = job->file + size, *next;
    size_t number = 1;

    for (const char *line = job->file; line < end; line = next + 1, number++) {
        next = memchr(line, '\n', (size_t)(end - line));
        if (next == NULL)
            next = end;
        if (next > line) {
            enum tf_code code =
                read_line(&job->prompts[job->prompt_count++], line, (size_t)(next - line), err);
            if (code) {
                tf_context(err, "%s:%zu", prompts_name(), number);
                return code;
            }
        }
    }
    if (job->prompt_count == 0)
        return tf_fail(err, TF_DATA, "%s: no prompt in it", prompts_name());
    return TF_OK;
}

static enum tf_code read_prompts(struct job *job, struct tf_err *err)
{
    size_t size = 0, lines = 1;

    if (given.prompts != NULL) {
        enum tf_code code = tf_read_file(given.prompts, MAX_PROMPTS, &job->file, &size, err);
        if (code)
            return code;
    }
    for (size_t i = 0; i < size; i++)
        lines += job->file[i] == '\n';
    job->prompts = tf_new(lines, sizeof *job->prompts, "prompts", err);
    if (job->prompts == NULL)
        return TF_MEMORY;
    if (given.prompts != NULL)
        return split_prompts(job, size, err);
    const char *text = given.prompt ? given.prompt : "";
    job->prompts[0] = (struct prompt){.text = text, .size = strlen(text)};
    job->prompt_count = 1;
    return TF_OK;
}

/* ---- what is printed ---- */

static bool single(const struct job *job)
{
    return job->prompt_count == 1 && given.samples == 1;
}

/* Before a continuation in plain text: which one it is, when there are several, and the prompt with
 * --echo. */
static void print_opening(const struct job *job, size_t p, size_t s)
{
    FILE *file = job->result.file;

    if (!single(job))
        fprintf(file, "%s==> prompt %zu sample %zu <==\n", p + s > 0 ? "\n" : "", p, s);
    if (given.echo)
        tf_ui_text(file, job->prompts[p].text, job->prompts[p].size);
}

/* Text as it comes, when there is one sample; and the place where a signal is noticed. */
static int hear(void *user, size_t sample, const char *bytes, size_t n)
{
    struct job *job = user;

    (void)sample;
    if (given.samples == 1 && !job->common->json && n > 0) {
        tf_ui_text(job->result.file, bytes, n);
        fflush(job->result.file);
    }
    return tf_stop || ferror(job->result.file);
}

static void print_plain(const struct job *job, size_t p)
{
    for (size_t s = 0; s < given.samples; s++) {
        if (given.samples > 1) {
            print_opening(job, p, s);
            tf_ui_text(job->result.file, job->generated[s].text, job->generated[s].text_size);
        }
        fputc('\n', job->result.file);
    }
}

static const char *finish_name(const struct tf_generated *generated)
{
    static const char *const names[] = {"length", "stop", "end"};

    if (generated->finish == TF_FINISH_LENGTH && generated->count < given.tokens)
        return "interrupted";
    return names[generated->finish];
}

static void print_json(const struct job *job, size_t p)
{
    for (size_t s = 0; s < given.samples; s++) {
        const struct tf_generated *generated = &job->generated[s];
        struct tf_json json = {.file = job->result.file};
        tf_json_object(&json, NULL);
        tf_json_string(&json, "schema", "tf-generate/1");
        tf_json_uint(&json, "prompt_index", p);
        tf_json_uint(&json, "sample", s);
        tf_json_bytes(&json, "prompt", job->prompts[p].text, job->prompts[p].size);
        tf_json_bytes(&json, "text", generated->text, generated->text_size);
        tf_json_array(&json, "tokens");
        for (size_t i = 0; i < generated->count; i++)
            tf_json_uint(&json, NULL, generated->ids[i]);
        tf_json_end_array(&json);
        tf_json_string(&json, "finish", finish_name(generated));
        tf_json_end_object(&json);
    }
    fflush(job->result.file);
}

static void print_speed(struct job *job, const struct tf_generate_stats *stats)
{
    if (stats->slid && !job->slid)
        tf_ui_note(&program, job->common,
                   "longer than the context of %" PRIu64 " tokens: the oldest are forgotten",
                   job->checkpoint.shape.seq);
    job->slid |= stats->slid;
    if (stats->new_tokens > 0)
        tf_ui_verbose(&program, job->common,
                      "prompt: %" PRIu64 " tokens in %.3f s; new: %" PRIu64
                      " in %.3f s, %.0f tokens/s",
                      stats->prompt_tokens, stats->prompt_seconds, stats->new_tokens,
                      stats->decode_seconds, (double)stats->new_tokens / stats->decode_seconds);
}

/* ---- the run ---- */

static enum tf_code plan_memory(struct job *job, uint64_t limit, struct tf_err *err)
{
    struct tf_model *model = NULL;
    uint64_t pass;
    size_t longest = 1; /* bytes of a prompt, which are not fewer than its tokens */
    enum tf_code code = tf_model_plan(&model, &job->checkpoint.shape, false, err);

    for (size_t p = 0; p < job->prompt_count; p++)
        longest = job->prompts[p].size > longest ? job->prompts[p].size : longest;
    if (!code) {
        model->precision = (enum tf_precision)given.weights;
        code = tf_generate_plan(&pass, model, given.samples, longest + given.tokens, err);
    }
    if (!code)
        job->memory = model->bytes_weights + pass;
    tf_model_free(model);
    if (!code && limit != 0 && job->memory > limit)
        return tf_fail(err, TF_MEMORY, "%" PRIu64 " bytes are needed, the limit is %" PRIu64,
                       job->memory, limit);
    return code;
}

/* Opens and checks everything; reads no table. */
static enum tf_code open_all(struct job *job, const char *path, struct tf_err *err)
{
    const struct tf_common *common = job->common;
    uint64_t limit = common->max_memory ? common->max_memory : tf_memory_physical();
    enum tf_code code = common->output ? tf_out_check(common->output, common->force, err) : TF_OK;

    if (!code)
        code = tf_checkpoint_open(&job->checkpoint, path, limit, common->sets.items,
                                  common->sets.count, err);
    if (!code)
        code = read_prompts(job, err);
    return code ? code : plan_memory(job, limit, err);
}

static void print_plan(FILE *file, const struct job *job)
{
    char text[32];

    fprintf(file, "prompts   %zu, samples of each %" PRIu64 "\n", job->prompt_count, given.samples);
    fprintf(file, "tokens    at most %" PRIu64 " a sample, with a context of %" PRIu64 "\n",
            given.tokens, job->checkpoint.shape.seq);
    fprintf(file, "memory    %s\n", tf_ui_bytes(text, job->memory));
}

static void print_plan_json(FILE *file, const struct job *job)
{
    struct tf_json json = {.file = file};

    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-generate-plan/1");
    tf_json_uint(&json, "prompts", job->prompt_count);
    tf_json_uint(&json, "samples", given.samples);
    tf_json_uint(&json, "tokens", given.tokens);
    tf_json_uint(&json, "context", job->checkpoint.shape.seq);
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

static enum tf_code generate(struct job *job, size_t p, const uint16_t *ids, size_t count,
                             struct tf_err *err)
{
    struct tf_generate_options how = {.sampler = given.sampler,
                                      .seed = given.seed,
                                      .first_stream = p * STREAMS,
                                      .samples = given.samples,
                                      .max_tokens = given.tokens,
                                      .ignore_end = given.ignore_end,
                                      .stop = given.stop.items,
                                      .stop_count = given.stop.count,
                                      .text = hear,
                                      .user = job};
    struct tf_generate_stats stats;
    enum tf_code code;

    if (given.samples == 1 && !job->common->json)
        print_opening(job, p, 0);
    code = tf_generate(job->generated, job->model, &job->checkpoint.tokenizer, ids, count, &how,
                       &stats, err);
    if (!code) {
        if (job->common->json)
            print_json(job, p);
        else
            print_plain(job, p);
        print_speed(job, &stats);
    }
    for (size_t s = 0; s < given.samples; s++)
        tf_generated_fini(&job->generated[s]);
    return code;
}

static enum tf_code continue_prompt(struct job *job, size_t p, struct tf_err *err)
{
    const struct prompt *prompt = &job->prompts[p];
    uint16_t *ids = tf_new(prompt->size, sizeof *ids, "a prompt", err);

    if (ids == NULL)
        return TF_MEMORY;
    size_t count = tf_tokenizer_encode(&job->checkpoint.tokenizer, prompt->text, prompt->size, ids);
    enum tf_code code = generate(job, p, ids, count, err);
    tf_free(ids);
    return code;
}

static enum tf_code run(struct job *job, const char *path, struct tf_err *err)
{
    enum tf_code code = open_all(job, path, err);

    if (code || job->common->dry_run)
        return code ? code : dry_run(job, err);
    code = tf_model_load(&job->model, &job->checkpoint, false, err);
    if (code)
        return code;
    tf_model_round(job->model, (enum tf_precision)given.weights);
    job->generated = tf_new(given.samples, sizeof *job->generated, "samples", err);
    if (job->generated == NULL)
        return TF_MEMORY;
    code = tf_result_open(&job->result, job->common, err);
    if (code)
        return code;
    for (size_t p = 0; p < job->prompt_count && !code && !tf_stop && !ferror(job->result.file); p++)
        code = continue_prompt(job, p, err);
    if (code) {
        tf_out_close(&job->result.out);
        return code;
    }
    code = tf_result_close(&job->result, err);
    if (!code && tf_stop)
        return tf_fail(err, TF_STOPPED, "stopped by a signal");
    return code;
}

static void job_close(struct job *job)
{
    tf_free(job->generated);
    tf_model_free(job->model);
    for (size_t p = 0; p < job->prompt_count; p++)
        tf_free(job->prompts[p].owned);
    tf_free(job->prompts);
    tf_free(job->file);
    tf_checkpoint_close(&job->checkpoint);
}

static enum tf_code check_call(int operands, struct tf_err *err)
{
    if (operands != 1)
        return tf_fail(err, TF_USAGE, "one checkpoint is wanted, not %d", operands);
    if (given.prompt != NULL && given.prompts != NULL)
        return tf_fail(err, TF_USAGE, "-p and --prompts exclude each other");
    for (size_t i = 0; i < given.stop.count; i++)
        if (given.stop.items[i][0] == '\0')
            return tf_fail(err, TF_USAGE, "--stop: the text is empty");
    return TF_OK;
}

int main(int argc, char **argv)
{
    struct tf_common common = {0};
    struct job job = {.common = &common};
    struct tf_err err = {0};
    int rest;

    tf_opt_parse(&program, &common, argc, argv, &rest);
    tf_ui_catch_signals();
    enum tf_code code = check_call(argc - rest, &err);
    if (!code)
        code = run(&job, argv[rest], &err);
    int status = code ? tf_ui_error(&program, &common, &err) : 0;
    job_close(&job);
    tf_free(given.stop.items);
    tf_opt_fini(&common);
    return status;
}
