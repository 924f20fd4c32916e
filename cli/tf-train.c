/* tf-train: trains a model as a config says. */
#include "base/mem.h"
#include "cli/opt.h"
#include "cli/ui.h"
#include "store/frame.h"
#include "text/json.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

static struct {
    bool resume, help_config;
    const char *init, *metrics;
    double max_time;
    struct tf_opt_seed seed;
} given;

static const struct tf_opt options[] = {
    {"resume", 'r', TF_OPT_FLAG, &given.resume, NULL,
     "go on with the run whose checkpoint OUT.tfck is", NULL, 0, 0},
    {"init", 0, TF_OPT_TEXT, &given.init, "FROM.tfck",
     "begin with the model of a checkpoint, grown or not", NULL, 0, 0},
    {"metrics", 0, TF_OPT_TEXT, &given.metrics, "FILE.jsonl",
     "write metrics there, a JSON record a line", NULL, 0, 0},
    {"max-time", 0, TF_OPT_TIME, &given.max_time, "TIME",
     "save and end after 90s, 10m or 2h; --resume goes on", NULL, 0, 0},
    {"seed", 0, TF_OPT_SEED, &given.seed, "S", "the same as --set train.seed=S", NULL, 0, INFINITY},
    {"help-config", 0, TF_OPT_FLAG, &given.help_config, NULL,
     "print all config keys with their defaults, and exit", NULL, 0, 0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-train",
    .synopsis = "CONFIG -o OUT.tfck [--resume | --init FROM.tfck] [OPTION]...\n--help-config",
    .summary = "Trains a TokenFormer as CONFIG says (see tf-config(5)) and writes its checkpoint.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_DRY_RUN | TF_TAKES_PROGRESS | TF_TAKES_SET,
    .options = options,
};

struct job {
    const struct tf_common *common;
    struct tf_config config;
    struct tf_trainer *trainer;
    FILE *metrics; /* NULL: none */
    bool to_stdout;
    struct tf_err lost; /* why metrics could not be written, if so */
    struct tf_progress progress;
    uint64_t first_step;
};

/* A valid config of all defaults, each key below its help and what it may be. */
static enum tf_code help_config(struct tf_err *err)
{
    struct tf_result result;
    const char *section = "";
    enum tf_code code = tf_result_open(&result, &(struct tf_common){0}, err);
    if (code)
        return code;
    for (size_t i = 0; i < tf_config_keys(); i++) {
        const struct tf_config_doc doc = tf_config_key(i);
        if (strcmp(section, doc.section))
            fprintf(result.file, "%s%s:\n", i ? "\n" : "", doc.section);
        fprintf(result.file, "  # %s\n  # %s%s%s\n  %s: %s\n", doc.help, doc.type,
                *doc.range ? " " : "", doc.range, doc.key, doc.fallback);
        section = doc.section;
    }
    return tf_result_close(&result, err);
}

static enum tf_code load_config(struct job *job, const char *path, struct tf_err *err)
{
    const struct tf_opt_list *sets = &job->common->sets;
    enum tf_code code = tf_config_load(&job->config, path, err);
    for (size_t i = 0; !code && i < sets->count; i++)
        code = tf_config_set(&job->config, sets->items[i], err);
    if (!code && given.seed.given)
        job->config.train.seed = given.seed.value;
    return code ? code : tf_config_check(&job->config, err) ? tf_context(err, "%s", path) : TF_OK;
}

/* ---- what the trainer tells ---- */

/* After each record. A run that cannot tell what it does is to end, saved. */
static void end_record(struct job *job)
{
    if (job->lost.code)
        return;
    if (job->to_stdout)
        (void)!tf_result_close(&(struct tf_result){.file = stdout}, &job->lost);
    else if (fflush(job->metrics) | ferror(job->metrics))
        tf_fail_errno(&job->lost, TF_IO, "%s: metrics could not all be written", given.metrics);
    if (job->lost.code)
        tf_stop = 1;
}

static void on_step(void *user, const struct tf_step_report *r)
{
    struct job *job = user;
    const uint64_t steps = job->config.train.steps, interval = job->config.train.log_interval;
    const double rate = r->seconds / (double)(r->step - job->first_step);
    char speed[32], eta[32];
    tf_progress_show(&job->progress, r->step == steps,
                     "step %" PRIu64 "/%" PRIu64 "  loss %.4f  %s tokens/s  %s left", r->step,
                     steps, r->loss, tf_ui_count(speed, r->tokens_per_second),
                     tf_ui_time(eta, rate * (double)(steps - r->step)));
    if (!job->metrics || (r->step != steps && r->step % (interval ? interval : 1)))
        return;
    struct tf_json json = {.file = job->metrics};
    tf_json_object(&json, NULL);
    tf_json_string(&json, "event", "step");
    tf_json_uint(&json, "step", r->step);
    tf_json_uint(&json, "tokens", r->tokens);
    tf_json_real(&json, "loss", r->loss);
    tf_json_real(&json, "lr", r->lr);
    tf_json_real(&json, "grad_norm", r->grad_norm);
    tf_json_real(&json, "tokens_per_second", r->tokens_per_second);
    tf_json_real(&json, "seconds", r->seconds);
    tf_json_real(&json, "flops", r->flops);
    tf_json_end_object(&json);
    end_record(job);
}

static void on_eval(void *user, const struct tf_eval_report *r)
{
    struct job *job = user;
    tf_progress_clear(&job->progress);
    tf_ui_note(&program, job->common, "step %" PRIu64 ": validation loss %.6f, %.6f bits a byte%s",
               r->step, r->loss, r->bits_per_byte, r->best ? "" : " (not the best)");
    if (!job->metrics)
        return;
    struct tf_json json = {.file = job->metrics};
    tf_json_object(&json, NULL);
    tf_json_string(&json, "event", "eval");
    tf_json_uint(&json, "step", r->step);
    tf_json_uint(&json, "tokens", r->tokens);
    tf_json_real(&json, "loss", r->loss);
    tf_json_real(&json, "bits_per_byte", r->bits_per_byte);
    tf_json_real(&json, "seconds", r->seconds);
    tf_json_bool(&json, "best", r->best);
    tf_json_real(&json, "flops", r->flops);
    tf_json_end_object(&json);
    end_record(job);
}

static void on_grown(void *user, const struct tf_stage_report *r)
{
    struct job *job = user;
    char before[32], after[32];
    tf_progress_clear(&job->progress);
    tf_ui_note(&program, job->common, "step %" PRIu64 ": grown from %s to %s parameters", r->step,
               tf_ui_count(before, (double)r->parameters[0]),
               tf_ui_count(after, (double)r->parameters[1]));
    if (!isnan(r->loss[0]))
        tf_ui_note(&program, job->common,
                   "step %" PRIu64 ": validation loss %.6f before, %.6f after", r->step, r->loss[0],
                   r->loss[1]);
    if (!job->metrics)
        return;
    struct tf_json json = {.file = job->metrics};
    tf_json_object(&json, NULL);
    tf_json_string(&json, "event", "grow");
    tf_json_uint(&json, "step", r->step);
    tf_json_string(&json, "method", r->method);
    tf_json_array(&json, "parameters");
    tf_json_uint(&json, NULL, r->parameters[0]);
    tf_json_uint(&json, NULL, r->parameters[1]);
    tf_json_end_array(&json);
    tf_json_real(&json, "loss_before", r->loss[0]);
    tf_json_real(&json, "loss_after", r->loss[1]);
    tf_json_real(&json, "flops", r->flops);
    tf_json_end_object(&json);
    end_record(job);
}

static void on_saved(void *user, const char *path, uint64_t step)
{
    struct job *job = user;
    if (job->common->verbose)
        tf_progress_clear(&job->progress);
    tf_ui_verbose(&program, job->common, "step %" PRIu64 ": saved %s", step, path);
}

/* ---- metrics ---- */

static void metrics_header(struct job *job)
{
    const struct tf_trainer_plan *plan = tf_trainer_plan(job->trainer);
    struct tf_json json = {.file = job->metrics};
    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-train/1");
    tf_json_string(&json, "output", job->common->output);
    tf_json_uint(&json, "parameters", plan->parameters);
    tf_json_uint(&json, "steps", job->config.train.steps);
    tf_json_uint(&json, "tokens_per_step",
                 job->config.train.batch_size * job->config.model.seq_length);
    tf_json_real(&json, "flops_per_step", plan->flops_per_step);
    tf_json_end_object(&json);
    end_record(job);
}

/* Is it the same file, or would it be, once both are made? */
static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    if (stat(a, &x) || stat(b, &y)) {
        const char *paths[] = {a, b}, *names[2];
        char folders[2][PATH_MAX];
        for (int i = 0; i < 2; i++) {
            const char *slash = strrchr(paths[i], '/');
            names[i] = slash ? slash + 1 : paths[i];
            snprintf(folders[i], sizeof folders[i], "%.*s.", (int)(names[i] - paths[i]), paths[i]);
        }
        if (strcmp(names[0], names[1]) || stat(folders[0], &x) || stat(folders[1], &y))
            return false;
    }
    return x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool is_checkpoint(const char *path)
{
    uint8_t magic[TF_MAGIC_SIZE];
    FILE *file = fopen(path, "re");
    const bool is = file && fread(magic, sizeof magic, 1, file) == 1 && tf_header_begins(magic);
    if (file)
        fclose(file);
    return is;
}

static bool metrics_exist(void)
{
    struct stat old;
    return !stat(given.metrics, &old) && S_ISREG(old.st_mode) && old.st_size;
}

/* Does the run read it? */
static bool is_input(const struct job *job, const char *config)
{
    const struct tf_strings *texts[] = {&job->config.data.train, &job->config.data.valid};
    bool is =
        same_file(given.metrics, config) || (given.init && same_file(given.metrics, given.init));
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < texts[i]->count; k++)
            is = is || same_file(given.metrics, texts[i]->items[k]);
    return is;
}

/* A run that goes on adds to its metrics; one that begins wants a file of its own. No input and no
 * checkpoint is that. */
static enum tf_code metrics_check(const struct job *job, const char *config, struct tf_err *err)
{
    if (!given.metrics || !strcmp(given.metrics, "-"))
        return TF_OK;
    if (same_file(given.metrics, job->common->output))
        return tf_fail(err, TF_USAGE, "--metrics %s: is the output", given.metrics);
    if (is_input(job, config))
        return tf_fail(err, TF_USAGE, "--metrics %s: is an input", given.metrics);
    if (!metrics_exist())
        return TF_OK;
    if (is_checkpoint(given.metrics))
        return tf_fail(err, TF_CANTCREATE, "%s: is a checkpoint; metrics go elsewhere",
                       given.metrics);
    return given.resume || job->common->force
               ? TF_OK
               : tf_fail(err, TF_CANTCREATE, "%s: exists already; --force replaces it",
                         given.metrics);
}

static enum tf_code metrics_open(struct job *job, struct tf_err *err)
{
    job->to_stdout = job->common->json || (given.metrics && !strcmp(given.metrics, "-"));
    if (!job->to_stdout && !given.metrics)
        return TF_OK;
    const bool header = job->to_stdout || !given.resume || !metrics_exist();
    job->metrics = job->to_stdout ? stdout : fopen(given.metrics, given.resume ? "ae" : "we");
    if (!job->metrics)
        return tf_fail_errno(err, TF_CANTCREATE, "%s: cannot be written", given.metrics);
    if (header)
        metrics_header(job);
    return TF_OK;
}

/* What is lost counts for more than that the run was stopped, which it may be for that reason. */
static enum tf_code metrics_close(struct job *job, enum tf_code code, struct tf_err *err)
{
    if (job->metrics && !job->to_stdout && fclose(job->metrics) && !job->lost.code)
        tf_fail_errno(&job->lost, TF_IO, "%s: metrics could not all be written", given.metrics);
    job->metrics = NULL;
    if (!job->lost.code || (code && code != TF_STOPPED))
        return code;
    if (code)
        tf_ui_note(&program, job->common, "%s", err->text);
    *err = job->lost;
    return job->lost.code;
}

/* ---- dry run ---- */

static void plan_text(FILE *out, const struct tf_trainer_plan *plan)
{
    const struct {
        const char *name;
        uint64_t bytes;
    } memory[] = {{"weights", plan->weights}, {"gradients", plan->gradients},
                  {"moments", plan->moments}, {"activations", plan->activations},
                  {"text", plan->text},       {"total", plan->total}};
    char text[32];
    fprintf(out, "parameters         %" PRIu64 "\n", plan->parameters);
    if (plan->final_parameters != plan->parameters)
        fprintf(out, "parameters, grown  %" PRIu64 "\n", plan->final_parameters);
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        fprintf(out, "memory %-11s %s\n", memory[i].name, tf_ui_bytes(text, memory[i].bytes));
    fprintf(out, "FLOPs a step       %.4g\n", plan->flops_per_step);
    fprintf(out, "disk a checkpoint  %s before compression\n", tf_ui_bytes(text, plan->checkpoint));
    fprintf(out, "training windows   %" PRIu64 ", %" PRIu64 " steps an epoch\n",
            plan->train_windows, plan->steps_per_epoch);
    fprintf(out, "validation tokens  %" PRIu64 "\n", plan->valid_tokens);
}

static void plan_json(FILE *out, const struct tf_trainer_plan *plan)
{
    struct tf_json json = {.file = out, .pretty = true};
    tf_json_object(&json, NULL);
    tf_json_string(&json, "schema", "tf-train-plan/1");
    tf_json_uint(&json, "parameters", plan->parameters);
    tf_json_uint(&json, "final_parameters", plan->final_parameters);
    tf_json_object(&json, "memory");
    tf_json_uint(&json, "weights", plan->weights);
    tf_json_uint(&json, "gradients", plan->gradients);
    tf_json_uint(&json, "moments", plan->moments);
    tf_json_uint(&json, "activations", plan->activations);
    tf_json_uint(&json, "text", plan->text);
    tf_json_uint(&json, "total", plan->total);
    tf_json_end_object(&json);
    tf_json_real(&json, "flops_per_step", plan->flops_per_step);
    tf_json_uint(&json, "checkpoint", plan->checkpoint);
    tf_json_uint(&json, "train_windows", plan->train_windows);
    tf_json_uint(&json, "valid_tokens", plan->valid_tokens);
    tf_json_uint(&json, "steps_per_epoch", plan->steps_per_epoch);
    tf_json_end_object(&json);
}

static enum tf_code dry_run(const struct job *job, struct tf_err *err)
{
    struct tf_result result;
    enum tf_code code = tf_result_open(&result, &(struct tf_common){0}, err);
    if (code)
        return code;
    if (job->common->json)
        plan_json(result.file, tf_trainer_plan(job->trainer));
    else
        plan_text(result.file, tf_trainer_plan(job->trainer));
    code = tf_result_close(&result, err);
    return code ? code : tf_trainer_fits(job->trainer, err);
}

/* ---- the run ---- */

/* With --init the model is the checkpoint's: what --set says of it would be lost, but for the
 * length of the context. */
static enum tf_code check_sets(const struct tf_opt_list *sets, struct tf_err *err)
{
    for (size_t i = 0; given.init && i < sets->count; i++)
        if (!strncmp(sets->items[i], "model.", 6) &&
            strncmp(sets->items[i], "model.seq_length=", 17))
            return tf_fail(err, TF_USAGE, "--set %s: with --init the model is that of %s",
                           sets->items[i], given.init);
    return TF_OK;
}

static enum tf_code make_trainer(struct job *job, struct tf_err *err)
{
    const struct tf_trainer_options with = {
        .output = job->common->output,
        .force = job->common->force,
        .resume = given.resume ? job->common->output : NULL,
        .init = given.init,
        .max_seconds = given.max_time,
        .stop = &tf_stop,
        .events =
            {.user = job, .step = on_step, .eval = on_eval, .grown = on_grown, .saved = on_saved},
    };
    return tf_trainer_new(&job->trainer, &job->config, &with, job->common->dry_run, err);
}

static enum tf_code train(struct job *job, struct tf_err *err)
{
    enum tf_code code = metrics_open(job, err);
    const struct tf_trainer_plan *plan = tf_trainer_plan(job->trainer);
    char parameters[32], memory[32];
    if (code || job->lost.code)
        return metrics_close(job, code, err);
    tf_ui_note(&program, job->common, "%s parameters, %s of memory%s",
               tf_ui_count(parameters, (double)plan->parameters), tf_ui_bytes(memory, plan->total),
               given.resume ? ", going on" : "");
    job->first_step = tf_trainer_step(job->trainer);
    tf_progress_init(&job->progress, job->common);
    tf_ui_catch_signals();
    code = tf_trainer_run(job->trainer, err);
    tf_progress_clear(&job->progress);
    const uint64_t step = tf_trainer_step(job->trainer);
    if (!code && step < job->config.train.steps)
        tf_ui_note(&program, job->common,
                   "time is up at step %" PRIu64 " of %" PRIu64
                   "; saved: run again with --resume to go on",
                   step, job->config.train.steps);
    return metrics_close(job, code, err);
}

static enum tf_code run(struct job *job, char **operands, int count, struct tf_err *err)
{
    if (given.help_config)
        return help_config(err);
    if (count != 1)
        return tf_fail(err, TF_USAGE, "one CONFIG is needed, %d are given", count);
    if (!job->common->output || !strcmp(job->common->output, "-"))
        return tf_fail(err, TF_USAGE, "-o OUT.tfck is needed");
    if (given.resume && given.init)
        return tf_fail(err, TF_USAGE,
                       "--resume goes on with a run, --init begins one: only one can be");
    if (job->common->json && given.metrics)
        return tf_fail(
            err, TF_USAGE,
            "--json writes the metrics to standard output, --metrics to a file: only one can be");
    enum tf_code code = check_sets(&job->common->sets, err);
    if (!code)
        code = load_config(job, operands[0], err);
    if (!code)
        code = metrics_check(job, operands[0], err);
    if (!code)
        code = make_trainer(job, err);
    if (!code)
        code = job->common->dry_run ? dry_run(job, err) : train(job, err);
    return code;
}

int main(int argc, char **argv)
{
    struct tf_common common = {0};
    struct tf_err err = {0};
    int rest;
    tf_opt_parse(&program, &common, argc, argv, &rest);
    struct job job = {.common = &common};
    const enum tf_code code = run(&job, argv + rest, argc - rest, &err);
    tf_trainer_free(job.trainer);
    tf_config_fini(&job.config);
    const int status = code ? tf_ui_error(&program, &common, &err) : 0;
    tf_opt_fini(&common);
    return status;
}
