/* The loop of training: interruption, what is kept, divergence. */
#include "training_run.h"

/* ---- interruption ---- */

/* Stopped after any step and resumed, the run ends in the same bytes; what it tells is the same
 * too. */
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
        snprintf(text, sizeof text,
                 "stopped at step %ju of 12; saved: run again with --resume to go on",
                 (uintmax_t)at);
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
                                    more = {.output = "time.tfck",
                                            .max_seconds = 1e-9,
                                            .resume = "time.tfck"};
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

/* Without moments AdamW would begin anew at the t of a run long under way. */
static void test_resume_without_moments(void **state)
{
    struct tf_checkpoint from;
    struct tf_model *model;

    (void)state;
    seen.stop_at = 3;
    assert_int_equal(run("full.tfck", NULL), TF_STOPPED);
    seen.stop_at = 0;
    open_checkpoint(&from, "full.tfck");
    assert_ok(tf_model_load(&model, &from, false, &err), &err);
    assert_ok(tf_checkpoint_save("bare.tfck", model, &from.config, &from.tokenizer, &from.state,
                                 &from.lineage, &err),
              &err);
    tf_model_free(model);
    tf_checkpoint_close(&from);
    assert_says(resume("bare.tfck", NULL), TF_DATA,
                "bare.tfck: cannot be resumed: it has no optimizer state; --init begins from it");
}

static void test_resume_refused(void **state)
{
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
    assert_says(resume("stopped.tfck", SET("data.separator=none")), TF_CONFIG,
                "but stopped.tfck was trained with \"<|endoftext|>\"");
    assert_says(resume("stopped.tfck", SET("data.train=[valid.txt]")), TF_DATA,
                "stopped.tfck: the training text is not the one that this run began with");
    assert_says(resume("none.tfck", NULL), TF_NOINPUT, "none.tfck: No such file");
    assert_ok(resume("stopped.tfck", SET("optimizer.lr=0.002", "train.save_interval=1")), &err);
}

/* ---- what is kept ---- */

static void test_kept_files(void **state)
{
    double best = INFINITY;
    char expected[64];
    uint64_t best_step = 0;

    (void)state;
    assert_ok(run("kept.tfck",
                  SET("train.save_interval=2", "train.keep_last=3", "train.keep_best=true",
                      "train.eval_interval=1", "optimizer.lr=0.5", "train.divergence_factor=0")),
              &err);
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
    assert_ok(run("clock.tfck",
                  SET("train.steps=4", "train.save_interval=0", "train.save_minutes=1e-12")),
              &err);
    assert_string_equal(seen.saved, "clock.tfck@1 clock.tfck@2 clock.tfck@3 clock.tfck@4 ");
    assert_ok(
        run("clock.tfck", SET("train.steps=4", "train.save_interval=0", "train.save_minutes=60")),
        &err);
    assert_string_equal(seen.saved, "clock.tfck@4 ");
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
    assert_ok(tf_checkpoint_save(path, model, &from.config, &from.tokenizer, &from.state,
                                 &from.lineage, &err),
              &err);
    tf_checkpoint_close(&from);
    tf_model_free(model);
}

static void test_not_a_number(void **state)
{
    (void)state;
    spoil("nan.tfck", "norm.weight", NAN, 0);
    assert_says(run_from("x.tfck", NULL, "nan.tfck", NULL), TF_DIVERGED,
                "step 1: the loss is nan and the gradient's norm nan; last good checkpoint: none "
                "was saved");
    assert_false(exists("x.tfck"));
    assert_says(resume("nan.tfck", NULL), TF_DIVERGED,
                "step 11: the loss is nan and the gradient's norm nan; last good checkpoint: none: "
                "that of step 10 has this loss");
}

/* An update that spoils the model is found by the evaluation after it, which neither calls it the
 * best nor lets it be saved. */
static void test_bad_validation(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    spoil("wild.tfck", "norm.bias", 0, 3e38f);
    assert_says(resume("wild.tfck", SET("train.eval_interval=1", "train.save_interval=1",
                                        "train.keep_best=true", "optimizer.lr=1000")),
                TF_DIVERGED,
                "step 11: the validation loss is nan; last good checkpoint: wild.tfck, of step 10");
    assert_int_equal(seen.step_count, 1);
    assert_int_equal(seen.eval_count, 0);
    assert_string_equal(seen.saved, "");
    open_checkpoint(&checkpoint, "wild.tfck");
    assert_int_equal(checkpoint.state.step, 10);
    tf_checkpoint_close(&checkpoint);
}

/* The losses are about 5.6, 5.6, 2e4, 3e5, 8e5: in step 5 the median of four is there, and is
 * passed. */
#define RUNAWAY(...)                                                             \
    SET("optimizer.lr=300", "optimizer.warmup=7", "optimizer.schedule=constant", \
        "train.eval_interval=0", "train.divergence_factor=2", __VA_ARGS__)

static void test_running_median(void **state)
{
    char text[128];

    (void)state;
    enum tf_code code = run("away.tfck", RUNAWAY("train.save_interval=3"));
    assert_int_equal(seen.step_count, 4);
    snprintf(
        text, sizeof text,
        " is more than 2 times its running median %g; last good checkpoint: away.tfck, of step 3",
        (double)(float)seen.steps[2].loss);
    assert_says(code, TF_DIVERGED, text);
    assert_int_equal(strncmp(err.text, "step 5: the loss 8", 18), 0);
    assert_string_equal(seen.saved, "away.tfck@3 ");

    /* What was saved after step 4 is what has the loss of step 5. */
    assert_says(run("away.tfck", RUNAWAY("train.save_interval=2", "train.keep_last=2")),
                TF_DIVERGED, "last good checkpoint: away.step-2.tfck");
    assert_true(exists("away.step-2.tfck"));
    assert_says(run("away.tfck", RUNAWAY("train.save_interval=2", "train.keep_last=1")),
                TF_DIVERGED, "last good checkpoint: none: that of step 4 has this loss");

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
    assert_says(resume("away.tfck", RUNAWAY("train.save_interval=0")), TF_DIVERGED,
                "step 5: the loss 8");
    assert_int_equal(seen.step_count, 1);
}

/* whole.tfck: the run that others are compared with. */
static int set_up(void **state)
{
    return enter_texts(state) || run("whole.tfck", NULL) ? -1 : 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resume_anywhere),
        cmocka_unit_test(test_stop_at_the_end),
        cmocka_unit_test(test_out_of_time),
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_resume_without_moments),
        cmocka_unit_test(test_resume_refused),
        cmocka_unit_test(test_kept_files),
        cmocka_unit_test(test_saves_by_the_clock),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_bad_validation),
        cmocka_unit_test(test_running_median),
        cmocka_unit_test(test_median_goes_on),
    };

    return cmocka_run_group_tests_name("training", tests, set_up, leave_scratch);
}
