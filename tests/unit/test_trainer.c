/* Training: the golden run, interruption, freezing, divergence, what is kept and what is refused. */
#include "golden.h"
#include "tiny_model.h"

#include "base/io.h"
#include "nn/run.h"
#include "train/grow.h"
#include "train/training.h"

static struct tf_err err;

/* ---- running ---- */

/* What a run told its caller. */
static struct seen {
    struct tf_step_report steps[100];
    struct tf_eval_report evals[100];
    size_t step_count, eval_count;
    char saved[4096];  /* "path@step " of each checkpoint */
    uint64_t stop_at;  /* a signal comes in this step; 0: never */
    volatile sig_atomic_t stop;
} seen;

static void on_step(void *user, const struct tf_step_report *report)
{
    struct seen *s = user;

    assert_true(s->step_count < 100);
    s->steps[s->step_count++] = *report;
    s->stop = s->stop_at && report->step >= s->stop_at;
}

static void on_eval(void *user, const struct tf_eval_report *report)
{
    struct seen *s = user;

    assert_true(s->eval_count < 100);
    s->evals[s->eval_count++] = *report;
}

static void on_saved(void *user, const char *path, uint64_t step)
{
    char *saved = ((struct seen *)user)->saved;
    const size_t n = strlen(saved);

    snprintf(saved + n, sizeof seen.saved - n, "%s@%ju ", path, (uintmax_t)step);
}

/* A run of 12 steps on text.txt that takes milliseconds; 62 windows, so that it begins a second epoch. */
static const char yaml[] =
    "model: {num_layers: 2, hidden_size: 16, num_attention_heads: 2, qkv_tokens: 8, proj_tokens: 6, ffn_tokens: 12,"
    " seq_length: 16, rotary_pct: 0.5}\n"
    "data: {train: [text.txt], valid: [valid.txt]}\n"
    "train: {steps: 12, batch_size: 6, eval_interval: 4, eval_windows: 5, save_interval: 5, keep_last: 0,"
    " divergence_window: 4}\n";

/* The config above with assignments laid over it, the last of which is NULL. */
static void configure(struct tf_config *config, const char *const *sets)
{
    assert_ok(tf_config_init(config, &err), &err);
    assert_ok(tf_config_parse(config, "yaml", yaml, strlen(yaml), TF_CONFIG, &err), &err);
    for (; sets && *sets; sets++)
        assert_ok(tf_config_set(config, *sets, &err), &err);
}

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

static enum tf_code run_from(const char *output, const char *resume, const char *init, const char *const *sets)
{
    const struct tf_trainer_options options = {
        .output = output, .force = true, .resume = resume, .init = init, .stop = &seen.stop,
        .events = {.user = &seen, .step = on_step, .eval = on_eval, .saved = on_saved},
    };
    struct tf_config config;
    struct tf_trainer *trainer;

    memset(&err, 0, sizeof err);
    const uint64_t stop_at = seen.stop_at;
    seen = (struct seen){.stop_at = stop_at};
    configure(&config, sets);
    enum tf_code code = tf_trainer_new(&trainer, &config, &options, false, &err);
    if (!code)
        code = tf_trainer_run(trainer, &err);
    tf_trainer_free(trainer);
    tf_config_fini(&config);
    return code;
}

static enum tf_code run(const char *output, const char *const *sets)
{
    return run_from(output, NULL, NULL, sets);
}

static enum tf_code resume(const char *output, const char *const *sets)
{
    return run_from(output, output, NULL, sets);
}

static void assert_same_file(const char *a, const char *b)
{
    char *text[2];
    size_t size[2];

    assert_ok(tf_read_file(a, 1 << 24, &text[0], &size[0], &err), &err);
    assert_ok(tf_read_file(b, 1 << 24, &text[1], &size[1], &err), &err);
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(text[0], text[1], size[0]);
    tf_free(text[0]);
    tf_free(text[1]);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void assert_says(enum tf_code code, enum tf_code expected, const char *text)
{
    if (!strstr(err.text, text))
        fail_msg("\"%s\" lacks \"%s\"", err.text, text);
    assert_int_equal(code, expected);
    assert_int_equal(err.code, expected);
}

static struct tf_model *load(const char *path)
{
    struct tf_checkpoint checkpoint;
    struct tf_model *model;

    open_checkpoint(&checkpoint, path);
    assert_ok(tf_model_load(&model, &checkpoint, true, &err), &err);
    tf_checkpoint_close(&checkpoint);
    return model;
}

static bool same_rows(const struct tf_table *a, const struct tf_table *b, size_t first, size_t last)
{
    const size_t at = first * a->stride, n = (last - first) * a->stride * sizeof *a->value;

    return !memcmp(a->value + at, b->value + at, n) && !memcmp(a->m + at, b->m + at, n) &&
           !memcmp(a->v + at, b->v + at, n);
}

/* ---- the golden run ---- */

static void save_golden(void)
{
    struct tf_model *model = golden_model("train", false);
    struct tf_tokenizer tokenizer;
    struct tf_config config;

    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
    configure(&config, SET("model.hidden_size=48", "model.num_attention_heads=3", "model.qkv_tokens=48",
                           "model.proj_tokens=48", "model.ffn_tokens=144", "model.seq_length=32",
                           "model.rotary_pct=0.25", "data.separator=none"));
    assert_ok(tf_checkpoint_save("golden.tfck", model, &config, &tokenizer, &(struct tf_state){.best_loss = NAN},
                                 &(struct tf_lineage){0}, &err), &err);
    tf_config_fini(&config);
    tf_model_free(model);
}

/* The reference computes in double. Each step leaves float's rounding, 2^-24, in the weights, and AdamW, which divides gradients by
 * their own size, carries the relative errors of small gradients over. Measured: 5e-6 of the way that training moved a table at most; ten times that
 * is allowed. A wrong schedule, decay, clip or t is off by percents. */
static void check_final(void)
{
    struct tf_model *before = load("golden.tfck"), *after = load("out.tfck");

    for (size_t i = 0; i < after->table_count; i++) {
        const struct tf_table *table = &after->tables[i], *first = &before->tables[i];
        struct tf_npy final = golden_table("train", "final", table->name);
        const float *expected = final.data;
        double moved = 0, off = 0;
        for (size_t r = 0; r < table->rows; r++)
            for (size_t c = 0; c < table->cols; c++) {
                const double e = (double)expected[r * table->cols + c];
                moved += pow(e - (double)tf_table_row(first, r)[c], 2);
                off += pow(e - (double)tf_table_row(table, r)[c], 2);
            }
        if (!(sqrt(off) < 5e-5 * sqrt(moved)))
            fail_msg("%s: training moved it by %g, and it is off by %g", table->name, sqrt(moved), sqrt(off));
        tf_npy_fini(&final);
    }
    tf_model_free(before);
    tf_model_free(after);
}

static void golden_run(void)
{
    char text[600], path[512], line[256];
    unsigned step;
    double lr, loss, norm;

    snprintf(text, sizeof text, "data.train=[\"%s\"]", golden_path(path, "train", "data.txt"));
    assert_ok(run_from("out.tfck", NULL, "golden.tfck",
                       SET(text, "data.valid=[]", "data.separator=none", "data.order=sequential", "model.seq_length=32",
                           "train.steps=80", "train.batch_size=4", "train.save_interval=0", "optimizer.lr=0.002",
                           "optimizer.min_lr=0.0002", "optimizer.warmup=0.1")), &err);
    FILE *losses = fopen(golden_path(path, "train", "losses.csv"), "r");
    assert_non_null(losses);
    assert_non_null(fgets(line, sizeof line, losses));
    assert_int_equal(seen.step_count, 80);
    for (unsigned i = 0; i < 80; i++) {
        const struct tf_step_report *report = &seen.steps[i];
        assert_int_equal(fscanf(losses, "%u,%lf,%lf,%lf", &step, &lr, &loss, &norm), 4);
        assert_int_equal(step, i);
        assert_int_equal(report->step, i + 1);
        assert_int_equal(report->tokens, (i + 1) * 4 * 32);
        assert_true(fabs(report->lr - lr) < 1e-12);
        assert_true(fabs(report->loss - loss) < (i == 0 ? 1e-5 : i < 20 ? 5e-5 : 5e-4));
        assert_true(fabs(report->grad_norm - norm) < 1e-4 * norm);
    }
    fclose(losses);
    check_final();
}

static void test_golden(void **state)
{
    (void)state;
    save_golden();
    each_kernel(golden_run);
}

/* ---- interruption ---- */

/* Stopped after any step and resumed, the run ends in the same bytes; what it tells is the same too. */
static void test_resume_anywhere(void **state)
{
    double losses[12];

    (void)state;
    seen.stop_at = 0;
    assert_ok(run("whole.tfck", NULL), &err);
    assert_string_equal(seen.saved, "whole.tfck@5 whole.tfck@10 whole.tfck@12 ");
    assert_int_equal(seen.eval_count, 3);
    assert_int_equal(seen.evals[2].step, 12);
    for (int i = 0; i < 12; i++)
        losses[i] = seen.steps[i].loss;
    for (uint64_t at = 1; at < 12; at++) {
        seen.stop_at = at;
        char text[128];
        snprintf(text, sizeof text, "stopped at step %ju of 12; saved: run again with --resume to go on", (uintmax_t)at);
        assert_says(run("part.tfck", NULL), TF_STOPPED, text);
        seen.stop_at = 0;
        assert_ok(resume("part.tfck", NULL), &err);
        assert_int_equal(seen.step_count, 12 - at);
        for (size_t i = 0; i < seen.step_count; i++)
            assert_true(seen.steps[i].loss == losses[at + i]);
        assert_same_file("whole.tfck", "part.tfck");
    }
    assert_ok(resume("part.tfck", NULL), &err); /* nothing is left to do */
    assert_int_equal(seen.step_count, 0);
    assert_string_equal(seen.saved, "");
    assert_same_file("whole.tfck", "part.tfck");
}

/* A signal in the last step stops nothing. */
static void test_stop_at_the_end(void **state)
{
    (void)state;
    seen.stop_at = 12;
    assert_ok(run("part.tfck", NULL), &err);
    seen.stop_at = 0;
    assert_same_file("whole.tfck", "part.tfck");
}

static void test_out_of_time(void **state)
{
    const struct tf_trainer_options first = {.output = "time.tfck", .max_seconds = 1e-9},
                                    more = {.output = "time.tfck", .max_seconds = 1e-9, .resume = "time.tfck"};
    struct tf_config config;
    struct tf_trainer *trainer;

    (void)state;
    configure(&config, NULL);
    for (uint64_t i = 1; i <= 12; i++) {
        assert_ok(tf_trainer_new(&trainer, &config, i == 1 ? &first : &more, false, &err), &err);
        assert_ok(tf_trainer_run(trainer, &err), &err);
        assert_int_equal(tf_trainer_step(trainer), i);
        tf_trainer_free(trainer);
    }
    tf_config_fini(&config);
    assert_same_file("whole.tfck", "time.tfck");
}

static void test_micro_batches(void **state)
{
    static const char *const sizes[] = {"1", "2", "4", "5", "6"};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char set[64];
        snprintf(set, sizeof set, "train.micro_batch=%s", sizes[i]);
        assert_ok(run("part.tfck", SET(set)), &err);
        assert_same_file("whole.tfck", "part.tfck");
    }
}

static void test_resume_refused(void **state)
{
    struct tf_checkpoint from;
    struct tf_growth growth;
    struct tf_grow_options how = {.values = TF_INIT_RANDOM};

    (void)state;
    seen.stop_at = 3;
    assert_int_equal(run("stopped.tfck", NULL), TF_STOPPED);
    seen.stop_at = 0;
    assert_says(resume("stopped.tfck", SET("model.ffn_tokens=14")), TF_CONFIG,
                "stopped.tfck: model.ffn_tokens: the run began with 12, and cannot go on with 14");
    assert_says(resume("stopped.tfck", SET("train.seed=2")), TF_CONFIG,
                "stopped.tfck: train.seed: the run began with 1, and cannot go on with 2");
    assert_says(resume("stopped.tfck", SET("train.steps=2")), TF_CONFIG,
                "train.steps: 2, but stopped.tfck is at step 3 already");
    assert_says(resume("stopped.tfck", SET("data.separator=none")), TF_CONFIG, "but stopped.tfck was trained with \"<|endoftext|>\"");
    assert_says(resume("stopped.tfck", SET("data.train=[valid.txt]")), TF_DATA,
                "stopped.tfck: the training text is not the one that this run began with");
    assert_says(resume("none.tfck", NULL), TF_NOINPUT, "none.tfck: No such file");
    assert_ok(resume("stopped.tfck", SET("optimizer.lr=0.002", "train.save_interval=1")), &err);

    open_checkpoint(&from, "stopped.tfck");
    assert_ok(tf_target_parse(&how.ffn, "x2", &err), &err);
    assert_ok(tf_grow_plan(&growth, &from.shape, &how, &err), &err);
    assert_ok(tf_grow_checkpoint(&from, "grown.tfck", true, &growth, &how, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    assert_says(resume("grown.tfck", SET("model.ffn_tokens=24")), TF_DATA,
                "grown.tfck: cannot be resumed: nothing was trained since it was grown; --init begins from it");
}

/* ---- what is kept ---- */

static void test_kept_files(void **state)
{
    double best = INFINITY;
    char expected[64];
    uint64_t best_step = 0;

    (void)state;
    assert_ok(run("kept.tfck", SET("train.save_interval=2", "train.keep_last=3", "train.keep_best=true",
                                   "train.eval_interval=1", "optimizer.lr=0.5", "train.divergence_factor=0")), &err);
    for (unsigned step = 1; step <= 12; step++) {
        snprintf(expected, sizeof expected, "kept.step-%u.tfck", step);
        assert_int_equal(exists(expected), step == 8 || step == 10 || step == 12);
    }
    assert_same_file("kept.tfck", "kept.step-12.tfck");
    for (size_t i = 0; i < seen.eval_count; i++) {
        assert_int_equal(seen.evals[i].best, seen.evals[i].loss < best);
        if (seen.evals[i].best) {
            best = seen.evals[i].loss;
            best_step = seen.evals[i].step;
            snprintf(expected, sizeof expected, "kept.best.tfck@%ju ", (uintmax_t)best_step);
            assert_non_null(strstr(seen.saved, expected));
        }
    }
    struct tf_checkpoint checkpoint;
    open_checkpoint(&checkpoint, "kept.best.tfck");
    assert_int_equal(checkpoint.state.step, best_step);
    assert_true(checkpoint.state.best_loss == best);
    tf_checkpoint_close(&checkpoint);
    open_checkpoint(&checkpoint, "kept.tfck");
    assert_int_equal(checkpoint.state.best_step, best_step);
    assert_int_equal(checkpoint.state.step, 12);
    assert_int_equal(checkpoint.lineage.events[0].tokens, 12 * 6 * 16);
    tf_checkpoint_close(&checkpoint);
}

static void test_saves_by_the_clock(void **state)
{
    (void)state;
    assert_ok(run("clock.tfck", SET("train.steps=4", "train.save_interval=0", "train.save_minutes=1e-12")), &err);
    assert_string_equal(seen.saved, "clock.tfck@1 clock.tfck@2 clock.tfck@3 clock.tfck@4 ");
    assert_ok(run("clock.tfck", SET("train.steps=4", "train.save_interval=0", "train.save_minutes=60")), &err);
    assert_string_equal(seen.saved, "clock.tfck@4 ");
}

/* ---- freezing ---- */

static void test_freeze_patterns(void **state)
{
    struct tf_model *before, *after;

    (void)state;
    seen.stop_at = 1;
    assert_int_equal(run("one.tfck", NULL), TF_STOPPED);
    seen.stop_at = 0;
    assert_ok(run_from("frozen.tfck", NULL, "one.tfck", SET("train.freeze=[layers.0.*, embed.tokens, norm.?ias]")), &err);
    before = load("one.tfck");
    after = load("frozen.tfck");
    for (size_t i = 0; i < after->table_count; i++) {
        const struct tf_table *a = &before->tables[i], *b = &after->tables[i];
        const bool frozen = !strncmp(a->name, "layers.0.", 9) || !strcmp(a->name, "embed.tokens") ||
                            !strcmp(a->name, "norm.bias");
        assert_int_equal(same_rows(a, b, 0, a->rows), frozen);
    }
    tf_model_free(before);
    tf_model_free(after);
    assert_says(run("x.tfck", SET("train.freeze=[layers.7.*]")), TF_CONFIG, "train.freeze: no table is called layers.7.*");
    assert_says(run("x.tfck", SET("train.freeze=old-tokens")), TF_CONFIG, "train.freeze: old-tokens: this model was never grown");
    assert_false(exists("x.tfck"));
}

/* grown.tfck: 12 ffn tokens became 24. Its old rows stay as they are, moments too; all else is trained. */
static void test_freeze_old_tokens(void **state)
{
    struct tf_model *before, *after;

    (void)state;
    assert_ok(run_from("new.tfck", NULL, "grown.tfck", SET("train.freeze=old-tokens")), &err);
    assert_int_equal(resume("new.tfck", SET("train.freeze=old-tokens", "model.ffn_tokens=24", "train.steps=14")), TF_OK);
    before = load("grown.tfck");
    after = load("new.tfck");
    for (size_t i = 0; i < after->table_count; i++) {
        const struct tf_table *a = &before->tables[i], *b = &after->tables[i];
        const bool grown = strstr(a->name, "ffn");
        assert_int_equal(a->rows, b->rows);
        for (size_t r = 0; grown && r < a->rows; r++)
            assert_int_equal(same_rows(a, b, r, r + 1), r < 12);
        if (!grown)
            assert_false(same_rows(a, b, 0, a->rows));
    }
    tf_model_free(before);
    tf_model_free(after);
}

/* ---- beginning from another model ---- */

static void test_init(void **state)
{
    struct tf_checkpoint from, to;

    (void)state;
    assert_ok(run_from("next.tfck", NULL, "whole.tfck", SET("model.ffn_tokens=99", "model.seq_length=8", "train.steps=2")), &err);
    open_checkpoint(&from, "whole.tfck");
    open_checkpoint(&to, "next.tfck");
    assert_int_equal(to.config.model.ffn_tokens.items[0], 12); /* the model is the checkpoint's... */
    assert_int_equal(to.config.model.seq_length, 8);           /* ...but for its context */
    assert_int_equal(to.state.step, 2);
    assert_int_equal(to.state.updates, 14); /* moments were carried, so AdamW's t goes on */
    assert_int_equal(to.lineage.count, 2);
    struct tf_digest digest;
    char text[33];
    assert_ok(tf_store_model_digest(from.store, &digest, &err), &err);
    tf_digest_text(text, &digest);
    assert_string_equal(to.lineage.events[1].from, text);
    assert_int_equal(to.lineage.events[1].steps, 2);
    assert_int_equal(to.lineage.events[0].steps, 12);
    tf_checkpoint_close(&to);
    tf_checkpoint_close(&from);

    assert_ok(run_from("out.tfck", NULL, "golden.tfck", SET("data.separator=none", "train.steps=2")), &err);
    open_checkpoint(&to, "out.tfck");
    assert_int_equal(to.state.updates, 2); /* no moments: t begins anew */
    tf_checkpoint_close(&to);
    assert_says(run_from("x.tfck", NULL, "golden.tfck", NULL), TF_CONFIG,
                "data.separator: \"<|endoftext|>\", but golden.tfck was trained with \"\"");
}

/* ---- divergence ---- */

/* whole.tfck at step 10 with one weight and its moment replaced. */
static void spoil(const char *path, const char *name, float value, float m)
{
    struct tf_checkpoint from;
    struct tf_model *model = load("whole.tfck");

    open_checkpoint(&from, "whole.tfck");
    tf_model_find(model, name)->value[0] = value;
    tf_model_find(model, name)->m[0] = m;
    from.state.step = 10;
    assert_ok(tf_checkpoint_save(path, model, &from.config, &from.tokenizer, &from.state, &from.lineage, &err), &err);
    tf_checkpoint_close(&from);
    tf_model_free(model);
}

static void test_not_a_number(void **state)
{
    (void)state;
    spoil("nan.tfck", "norm.weight", NAN, 0);
    assert_says(run_from("x.tfck", NULL, "nan.tfck", NULL), TF_DIVERGED,
                "step 1: the loss is nan and the gradient's norm nan; last good checkpoint: none was saved");
    assert_false(exists("x.tfck"));
    assert_says(resume("nan.tfck", NULL), TF_DIVERGED,
                "step 11: the loss is nan and the gradient's norm nan; last good checkpoint: none: that of step 10 has this loss");
}

/* An update that spoils the model is found by the evaluation after it, which neither calls it the best nor lets it be saved. */
static void test_bad_validation(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    spoil("wild.tfck", "norm.bias", 0, 3e38f);
    assert_says(resume("wild.tfck", SET("train.eval_interval=1", "train.save_interval=1", "train.keep_best=true",
                                        "optimizer.lr=1000")), TF_DIVERGED,
                "step 11: the validation loss is nan; last good checkpoint: wild.tfck, of step 10");
    assert_int_equal(seen.step_count, 1);
    assert_int_equal(seen.eval_count, 0);
    assert_string_equal(seen.saved, "");
    open_checkpoint(&checkpoint, "wild.tfck");
    assert_int_equal(checkpoint.state.step, 10);
    tf_checkpoint_close(&checkpoint);
}

/* The losses are about 5.6, 5.6, 2e4, 3e5, 8e5: in step 5 the median of four is there, and is passed. */
#define RUNAWAY(...) \
    SET("optimizer.lr=300", "optimizer.warmup=7", "optimizer.schedule=constant", "train.eval_interval=0", \
        "train.divergence_factor=2", __VA_ARGS__)

static void test_running_median(void **state)
{
    char text[128];

    (void)state;
    enum tf_code code = run("away.tfck", RUNAWAY("train.save_interval=3"));
    assert_int_equal(seen.step_count, 4);
    snprintf(text, sizeof text, " is more than 2 times its running median %g; last good checkpoint: away.tfck, of step 3",
             (double)(float)seen.steps[2].loss);
    assert_says(code, TF_DIVERGED, text);
    assert_int_equal(strncmp(err.text, "step 5: the loss 8", 18), 0);
    assert_string_equal(seen.saved, "away.tfck@3 ");

    /* What was saved after step 4 is what has the loss of step 5. */
    assert_says(run("away.tfck", RUNAWAY("train.save_interval=2", "train.keep_last=2")), TF_DIVERGED,
                "last good checkpoint: away.step-2.tfck");
    assert_true(exists("away.step-2.tfck"));
    assert_says(run("away.tfck", RUNAWAY("train.save_interval=2", "train.keep_last=1")), TF_DIVERGED,
                "last good checkpoint: none: that of step 4 has this loss");

    /* A window of five is not full yet; then it is off. */
    run("away.tfck", RUNAWAY("train.divergence_window=5"));
    assert_true(seen.step_count > 4);
    assert_ok(run("away.tfck", RUNAWAY("train.divergence_factor=0", "train.steps=8")), &err);
}

/* The window is part of the run: interrupted, it diverges in the same step. */
static void test_median_goes_on(void **state)
{
    (void)state;
    seen.stop_at = 3;
    assert_int_equal(run("away.tfck", RUNAWAY("train.save_interval=0")), TF_STOPPED);
    seen.stop_at = 0;
    assert_says(resume("away.tfck", RUNAWAY("train.save_interval=0")), TF_DIVERGED, "step 5: the loss 8");
    assert_int_equal(seen.step_count, 1);
}

/* ---- the plan ---- */

static void test_plan(void **state)
{
    const struct tf_trainer_options options = {.output = "plan.tfck"};
    struct tf_config config;
    struct tf_trainer *dry, *trainer;
    struct tf_checkpoint checkpoint;

    (void)state;
    configure(&config, SET("data.valid=[]", "train.micro_batch=4"));
    assert_ok(tf_trainer_new(&dry, &config, &options, true, &err), &err);
    assert_ok(tf_trainer_new(&trainer, &config, &options, false, &err), &err);
    const struct tf_trainer_plan *plan = tf_trainer_plan(dry);
    assert_memory_equal(plan, tf_trainer_plan(trainer), sizeof *plan);
    assert_null(tf_trainer_model(dry));
    const struct tf_model *model = tf_trainer_model(trainer);
    assert_int_equal(plan->weights + plan->gradients + plan->moments, model->memory.size);
    assert_int_equal(plan->activations, trainer->run->memory.size + trainer->memory.size);
    assert_int_equal(trainer->memory.used, trainer->memory.size);
    assert_int_equal(plan->text, trainer->train.count * sizeof(uint16_t));
    assert_int_equal(plan->total, plan->weights + plan->gradients + plan->moments + plan->activations + plan->text);
    /* 272 x 16 embedding; a layer: three times 8 tokens, 6 and 12, of keys and values; the final norm. */
    assert_int_equal(plan->parameters, 272 * 16 + 2 * (3 * 8 + 6 + 12) * 2 * 16 + 2 * 16);
    assert_int_equal(plan->train_windows, (trainer->train.count - 1) / 16);
    assert_int_equal(plan->steps_per_epoch, (plan->train_windows + 5) / 6);
    assert_false(exists("plan.tfck"));
    assert_ok(tf_trainer_run(trainer, &err), &err);
    tf_trainer_free(trainer);

    open_checkpoint(&checkpoint, "plan.tfck");
    uint64_t bytes = 0;
    for (size_t i = 0; i < tf_store_tables(checkpoint.store); i++) {
        const struct tf_table_info *info = tf_store_table(checkpoint.store, i);
        bytes += info->rows * info->cols * sizeof(float);
    }
    assert_int_equal(plan->checkpoint, bytes);
    tf_checkpoint_close(&checkpoint);
    tf_trainer_free(dry);
    tf_config_fini(&config);
}

static void test_evaluation_plan(void **state)
{
    const struct tf_trainer_options options = {.output = "x.tfck"};
    const struct tf_eval_options windows = {.window = 16, .max_windows = 5};
    struct tf_config with, without;
    struct tf_trainer *a, *b;
    uint64_t bytes;

    (void)state;
    configure(&with, NULL);
    configure(&without, SET("train.eval_interval=0"));
    assert_ok(tf_trainer_new(&a, &with, &options, false, &err), &err);
    assert_ok(tf_trainer_new(&b, &without, &options, true, &err), &err);
    assert_ok(tf_evaluator_plan(&bytes, a->model, &a->valid, &windows, &err), &err);
    assert_int_equal(a->plan.activations, b->plan.activations + bytes);
    assert_int_equal(a->plan.text, (a->train.count + a->valid.count) * sizeof(uint16_t));
    tf_trainer_free(a);
    tf_trainer_free(b);
    tf_config_fini(&with);
    tf_config_fini(&without);
}

/* ---- texts and outputs ---- */

static void test_refused(void **state)
{
    (void)state;
    assert_says(run("x.tfck", SET("data.train=[]")), TF_CONFIG, "data.train: names no text to train on");
    assert_says(run("x.tfck", SET("model.seq_length=1000")), TF_DATA,
                "text.txt: the training text has 1000 tokens; a window takes 1001");
    assert_says(run("x.tfck", SET("model.seq_length=300")), TF_DATA,
                "valid.txt: the validation text has 300 tokens; a window takes 301");
    assert_says(run("x.tfck", SET("data.valid=[]", "data.valid_fraction=0.01")), TF_DATA,
                "data.valid_fraction: the validation text has 10 tokens; a window takes 17");
    assert_says(run("x.tfck", SET("data.valid=[]", "data.valid_fraction=0.0001")), TF_DATA,
                "data.valid_fraction: the validation text has 0 tokens; a window takes 17");
    assert_says(run("x.tfck", SET("data.train=[none.txt]")), TF_NOINPUT, "none.txt: No such file");
    assert_says(run("nowhere/x.tfck", NULL), TF_CANTCREATE, "nowhere/x.tfck: cannot create");
    assert_says(run("x.tfck", SET("model.hidden_size=65536", "model.ffn_tokens=2000000000")), TF_MEMORY,
                "this run needs ");
    assert_false(exists("x.tfck"));
}

static void put_text(const char *path, size_t size)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        putc(" etaoinshrdlucmf"[(unsigned)((noise(i) + 1) * 8) & 15], file);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    const char *root = getenv("TF_GOLDEN");
    char *golden = realpath(root ? root : "tests/golden", NULL);

    if (!golden || setenv("TF_GOLDEN", golden, 1) || enter_folder(state))
        return -1;
    free(golden);
    put_text("text.txt", 1000);
    put_text("valid.txt", 300);
    return 0;
}

int main(void)
{
    /* In this order: later ones use files of earlier ones. */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),          cmocka_unit_test(test_resume_anywhere),
        cmocka_unit_test(test_stop_at_the_end), cmocka_unit_test(test_out_of_time),
        cmocka_unit_test(test_micro_batches),   cmocka_unit_test(test_resume_refused),
        cmocka_unit_test(test_kept_files),      cmocka_unit_test(test_saves_by_the_clock),
        cmocka_unit_test(test_freeze_patterns), cmocka_unit_test(test_freeze_old_tokens),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_not_a_number),    cmocka_unit_test(test_bad_validation),
        cmocka_unit_test(test_running_median),  cmocka_unit_test(test_median_goes_on),
        cmocka_unit_test(test_plan),            cmocka_unit_test(test_evaluation_plan),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("trainer", tests, set_up, leave_folder);
}
