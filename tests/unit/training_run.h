/* Training runs that take milliseconds, and what they tell, for the tests of the trainer. */
#ifndef TF_TESTS_TRAINING_RUN_H
#define TF_TESTS_TRAINING_RUN_H

#include "tiny_model.h"

#include "base/io.h"
#include "train/training.h"

static struct tf_err err;

/* What a run told its caller. */
static struct seen {
    struct tf_step_report steps[100];
    struct tf_eval_report evals[100];
    size_t step_count, eval_count;
    char saved[4096]; /* "path@step " of each checkpoint */
    uint64_t stop_at; /* a signal comes in this step; 0: never */
    volatile sig_atomic_t stop;
} seen;

static inline void on_step(void *user, const struct tf_step_report *report)
{
    struct seen *s = user;

    assert_true(s->step_count < 100);
    s->steps[s->step_count++] = *report;
    s->stop = s->stop_at && report->step >= s->stop_at;
}

static inline void on_eval(void *user, const struct tf_eval_report *report)
{
    struct seen *s = user;

    assert_true(s->eval_count < 100);
    s->evals[s->eval_count++] = *report;
}

static inline void on_saved(void *user, const char *path, uint64_t step)
{
    char *saved = ((struct seen *)user)->saved;
    const size_t n = strlen(saved);

    snprintf(saved + n, sizeof seen.saved - n, "%s@%ju ", path, (uintmax_t)step);
}

/* A run of 12 steps on text.txt that takes milliseconds; 62 windows, so that it begins a second
 * epoch. */
static const char yaml[] = "model: {num_layers: 2, hidden_size: 16, num_attention_heads: 2, "
                           "qkv_tokens: 8, proj_tokens: 6, ffn_tokens: 12,"
                           " seq_length: 16, rotary_pct: 0.5}\n"
                           "data: {train: [text.txt], valid: [valid.txt]}\n"
                           "train: {steps: 12, batch_size: 6, eval_interval: 4, eval_windows: 5, "
                           "save_interval: 5, keep_last: 0,"
                           " divergence_window: 4}\n";

/* The config above with assignments laid over it, the last of which is NULL. */
static inline void configure(struct tf_config *config, const char *const *sets)
{
    assert_ok(tf_config_init(config, &err), &err);
    assert_ok(tf_config_parse(config, "yaml", yaml, strlen(yaml), TF_CONFIG, &err), &err);
    for (; sets && *sets; sets++)
        assert_ok(tf_config_set(config, *sets, &err), &err);
}

#define SET(...) ((const char *const[]){__VA_ARGS__, NULL})

static inline enum tf_code run_from(const char *output, const char *resume, const char *init,
                                    const char *const *sets)
{
    const struct tf_trainer_options options = {
        .output = output,
        .force = true,
        .resume = resume,
        .init = init,
        .stop = &seen.stop,
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

static inline enum tf_code run(const char *output, const char *const *sets)
{
    return run_from(output, NULL, NULL, sets);
}

static inline enum tf_code resume(const char *output, const char *const *sets)
{
    return run_from(output, output, NULL, sets);
}

static inline void assert_says(enum tf_code code, enum tf_code expected, const char *text)
{
    if (!strstr(err.text, text))
        fail_msg("\"%s\" lacks \"%s\"", err.text, text);
    assert_int_equal(code, expected);
    assert_int_equal(err.code, expected);
}

static inline struct tf_model *load(const char *path)
{
    struct tf_checkpoint checkpoint;
    struct tf_model *model;

    open_checkpoint(&checkpoint, path);
    assert_ok(tf_model_load(&model, &checkpoint, true, &err), &err);
    tf_checkpoint_close(&checkpoint);
    return model;
}

static inline bool same_rows(const struct tf_table *a, const struct tf_table *b, size_t first,
                             size_t last)
{
    const size_t at = first * a->stride, n = (last - first) * a->stride * sizeof *a->value;

    return !memcmp(a->value + at, b->value + at, n) && !memcmp(a->m + at, b->m + at, n) &&
           !memcmp(a->v + at, b->v + at, n);
}

static inline void put_text(const char *path, size_t size)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    for (size_t i = 0; i < size; i++)
        putc(" etaoinshrdlucmf"[(unsigned)((noise(i) + 1) * 8) & 15], file);
    assert_int_equal(fclose(file), 0);
}

/* A folder of its own with the two texts. */
static inline int enter_texts(void **state)
{
    if (enter_scratch(state))
        return -1;
    put_text("text.txt", 1000);
    put_text("valid.txt", 300);
    return 0;
}

#endif
