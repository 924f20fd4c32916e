/* Runs whose model grows, or has grown: stages, what age does to training, token dropout, and what
 * the lineage counts. */
#include "grown.h"
#include "training_run.h"

#define STAGES \
    "grow.stages=[{at: 4, ffn: x2, scale_ramp: 3}, {at: 7, qkv: +4, layers: 1, add_layers: 1}]"

/* ---- stages ---- */

static void test_stages(void **state)
{
    struct tf_checkpoint checkpoint;
    struct tf_model *model;

    (void)state;
    seen.stop_at = 0;
    assert_ok(run("staged.tfck", SET(STAGES)), &err);
    assert_string_equal(seen.saved, "staged.tfck@4 staged.tfck@5 staged.tfck@7 staged.tfck@10 "
                                    "staged.tfck@12 ");
    open_checkpoint(&checkpoint, "staged.tfck");
    assert_int_equal(checkpoint.state.step, 12);
    assert_int_equal(checkpoint.state.stages, 2);
    assert_int_equal(checkpoint.state.age, 5);
    assert_int_equal(checkpoint.state.began, 7);
    assert_int_equal(checkpoint.state.updates, 12);
    assert_int_equal(checkpoint.config.model.num_layers, 3);
    const struct tf_lineage *past = &checkpoint.lineage;
    assert_int_equal(past->count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(past->events[i].kind, i % 2 ? TF_EVENT_GROW : TF_EVENT_TRAIN);
    assert_int_equal(past->events[0].steps, 4);
    assert_int_equal(past->events[2].steps, 3);
    assert_int_equal(past->events[2].tokens, 3 * 6 * 16);
    assert_int_equal(past->events[4].steps, 5);
    assert_int_equal(tf_lineage_spent(past).tokens, checkpoint.state.tokens);
    tf_checkpoint_close(&checkpoint);
    /* 12 x 2 after the first; of 3 layers the second old one has 12 in q, k and v */
    model = load("staged.tfck");
    assert_int_equal(tf_model_find(model, "layers.0.ffn.keys")->rows, 24);
    assert_int_equal(tf_model_find(model, "layers.0.attn.q.keys")->rows, 8);
    assert_int_equal(tf_model_find(model, "layers.1.attn.q.keys")->rows, 12);
    assert_non_null(tf_model_find(model, "layers.2.ffn.keys"));
    assert_true(model->shape.layer[0].scale[TF_FFN] == 24); /* the ramp's end */
    assert_true(model->shape.layer[1].scale[TF_Q] == 8);    /* no ramp */
    tf_model_free(model);
}

/* The next step after growth has the old scale; the ramp's steps are in every checkpoint. */
static void test_ramp_in_checkpoints(void **state)
{
    static const double scales[] = {12, 16, 20, 24, 24};

    (void)state;
    assert_ok(run("ramp.tfck", SET("grow.stages=[{at: 4, ffn: x2}]", "grow.scale_ramp=3",
                                   "train.save_interval=1", "train.keep_last=20")),
              &err);
    for (unsigned step = 4; step <= 8; step++) {
        char path[64];
        snprintf(path, sizeof path, "ramp.step-%u.tfck", step);
        struct tf_model *model = load(path);
        assert_true(fabs(model->shape.layer[1].scale[TF_FFN] - scales[step - 4]) < 1e-12);
        assert_true(step != 7 || model->shape.layer[1].scale[TF_FFN] == 24);
        assert_true(model->shape.layer[1].scale[TF_Q] == 8);
        /* The numbered copy is the model before it grew. */
        assert_int_equal(model->layers[1].at[TF_FFN].keys->rows, step == 4 ? 12 : 24);
        tf_model_free(model);
    }
}

/* Stopped after any step, around a growth too, the run ends in the same bytes. */
static void test_resume_stages(void **state)
{
    (void)state;
    for (uint64_t at = 1; at < 12; at++) {
        seen.stop_at = at;
        assert_int_equal(run("part.tfck", SET(STAGES)), TF_STOPPED);
        seen.stop_at = 0;
        assert_ok(resume("part.tfck", SET(STAGES)), &err);
        assert_int_equal(seen.step_count, 12 - at);
        assert_same_file("staged.tfck", "part.tfck");
    }
}

/* Called between the growth and the step after it: what a run leaves that is killed there. */
static void copy_output(void *user, const struct tf_stage_report *report)
{
    (void)user;
    char command[128];
    snprintf(command, sizeof command, "cp fresh.tfck fresh-%u.tfck", (unsigned)report->step);
    assert_int_equal(system(command), 0);
}

static void test_killed_after_growth(void **state)
{
    const struct tf_trainer_options options = {
        .output = "fresh.tfck", .force = true, .events = {.grown = copy_output}};
    struct tf_config config;
    struct tf_trainer *trainer;
    struct tf_checkpoint checkpoint;

    (void)state;
    configure(&config, SET(STAGES));
    assert_ok(tf_trainer_new(&trainer, &config, &options, false, &err), &err);
    assert_ok(tf_trainer_run(trainer, &err), &err);
    tf_trainer_free(trainer);
    assert_same_file("staged.tfck", "fresh.tfck");
    open_checkpoint(&checkpoint, "fresh-4.tfck");
    assert_int_equal(checkpoint.state.stages, 1);
    assert_int_equal(checkpoint.lineage.events[checkpoint.lineage.count - 1].kind, TF_EVENT_GROW);
    tf_checkpoint_close(&checkpoint);
    assert_ok(resume("fresh-4.tfck", SET(STAGES)), &err);
    assert_int_equal(seen.step_count, 8);
    assert_same_file("staged.tfck", "fresh-4.tfck");
    assert_ok(resume("fresh-7.tfck", SET(STAGES)), &err);
    assert_same_file("staged.tfck", "fresh-7.tfck");
    tf_config_fini(&config);
}

/* A width that grows takes the moments with it: AdamW begins anew, and so it does when the run was
 * killed right there. */
static void test_widened(void **state)
{
#define WIDER "model.kind=transformer", "grow.stages=[{at: 4, method: net2net, width: 32, ffn: x2}]"
    struct tf_checkpoint checkpoint;

    (void)state;
    const struct tf_trainer_options options = {
        .output = "fresh.tfck", .force = true, .events = {.grown = copy_output}};
    struct tf_config config;
    struct tf_trainer *trainer;
    configure(&config, SET(WIDER));
    assert_ok(tf_trainer_new(&trainer, &config, &options, false, &err), &err);
    assert_ok(tf_trainer_run(trainer, &err), &err);
    tf_trainer_free(trainer);
    tf_config_fini(&config);
    open_checkpoint(&checkpoint, "fresh.tfck");
    assert_int_equal(checkpoint.state.updates, 8);
    assert_int_equal(checkpoint.state.step, 12);
    assert_int_equal(checkpoint.config.model.hidden_size, 32);
    tf_checkpoint_close(&checkpoint);
    assert_ok(resume("fresh-4.tfck", SET(WIDER)), &err);
    assert_same_file("fresh.tfck", "fresh-4.tfck");
    seen.stop_at = 6;
    assert_int_equal(run("part.tfck", SET(WIDER)), TF_STOPPED);
    seen.stop_at = 0;
    assert_ok(resume("part.tfck", SET(WIDER)), &err);
    assert_same_file("fresh.tfck", "part.tfck");
}

/* Grown once more by hand, it is no longer that run's. */
static void test_grown_by_hand(void **state)
{
    struct tf_checkpoint from;
    struct tf_growth growth;
    struct tf_grow_options how = {.values = TF_INIT_RANDOM};

    (void)state;
    seen.stop_at = 4;
    assert_int_equal(run("hand.tfck", SET("grow.stages=[{at: 2, ffn: x2}]")), TF_STOPPED);
    seen.stop_at = 0;
    open_checkpoint(&from, "hand.tfck");
    assert_ok(tf_target_parse(&how.ffn, "x2", &err), &err);
    assert_ok(tf_grow_plan(&growth, &from.shape, &how, &err), &err);
    assert_ok(grow_checkpoint(&from, "hand.tfck", true, &growth, &how, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    assert_says(resume("hand.tfck", SET("grow.stages=[{at: 2, ffn: x2}]")), TF_DATA,
                "hand.tfck: cannot be resumed: nothing was trained since it was grown; --init "
                "begins from it");
}

/* Stages behind stay, those to come may change: they may even be new. */
static void test_other_stages(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    seen.stop_at = 5;
    assert_int_equal(run("other.tfck", SET("grow.stages=[{at: 4, ffn: x2}]")), TF_STOPPED);
    seen.stop_at = 0;
    assert_says(resume("other.tfck", SET("grow.stages=[{at: 4, ffn: x3}]")), TF_CONFIG,
                "other.tfck: grow.stages: the run has grown by [{at: 4, ffn: x2}], and cannot go "
                "on with [{at: 4, ffn: x3}]");
    assert_says(resume("other.tfck", SET("grow.stages=[{at: 4, ffn: x2}, {at: 5, ffn: 8}]")),
                TF_CONFIG,
                "grow.stages: at 5: layers.0.ffn: the target of 8 tokens is below the 24");
    assert_ok(resume("other.tfck", SET("grow.stages=[{at: 4, ffn: x2}, {at: 5, proj: x2}]")), &err);
    open_checkpoint(&checkpoint, "other.tfck");
    assert_int_equal(checkpoint.state.stages, 2);
    assert_int_equal(checkpoint.config.model.proj_tokens.items[0], 12);
    assert_int_equal(checkpoint.config.grow.stages.count, 2);
    tf_checkpoint_close(&checkpoint);
}

static void test_refused_at_the_start(void **state)
{
    (void)state;
    assert_says(run("x.tfck", SET("grow.stages=[{at: 4, ffn: x2}, {at: 8, ffn: 20}]")), TF_CONFIG,
                "grow.stages: at 8: layers.0.ffn: the target of 20 tokens is below the 24 that it "
                "has");
    assert_says(run("x.tfck", SET("grow.stages=[{at: 4, ffn: x2, values: zero}]")), TF_CONFIG,
                "grow.stages: at 4: zero keys with zero values can never learn");
    assert_says(run("x.tfck", SET("model.kind=transformer", "train.freeze=old-tokens",
                                  "grow.stages=[{at: 2, ffn: x2}, {at: 4, method: net2net}]")),
                TF_CONFIG,
                "grow.stages: at 4: train.freeze: old-tokens: net2net changes old tokens too");
    assert_says(run("x.tfck", SET("grow.stages=[{at: 4}]")), TF_CONFIG,
                "grow.stages: at 4: nothing");
    assert_says(run("x.tfck", SET("grow.stages=[{at: 4, ffn: 2000000000}]")), TF_MEMORY,
                "this run needs ");
    assert_false(exists("x.tfck"));
}

/* Zero keys with zero values are no fault where no such rows come to be, or where these learn. */
static void test_zeros_that_are_none(void **state)
{
    (void)state;
    assert_ok(run("zero.tfck", SET("grow.stages=[{at: 4, add_layers: 1, values: zero}]")), &err);
    assert_ok(run("zero.tfck", SET("model.norm_activation=softmax",
                                   "grow.stages=[{at: 4, ffn: x2, values: zero}]")),
              &err);
}

/* The plan is that of the largest model. */
static void test_plan_of_stages(void **state)
{
    const struct tf_trainer_options options = {.output = "x.tfck"};
    struct tf_config small, large, staged;
    struct tf_trainer *a, *b, *c;

    (void)state;
    configure(&small, NULL);
    configure(&large, SET("model.ffn_tokens=24"));
    configure(&staged, SET("grow.stages=[{at: 4, ffn: x2}]"));
    assert_ok(tf_trainer_new(&a, &small, &options, true, &err), &err);
    assert_ok(tf_trainer_new(&b, &large, &options, true, &err), &err);
    assert_ok(tf_trainer_new(&c, &staged, &options, true, &err), &err);
    assert_int_equal(c->plan.total, b->plan.total);
    assert_int_equal(c->plan.checkpoint, b->plan.checkpoint);
    assert_int_equal(c->plan.parameters, a->plan.parameters);
    assert_int_equal(c->plan.final_parameters, b->plan.parameters);
    assert_true(c->plan.flops_per_step == a->plan.flops_per_step);
    tf_trainer_free(a);
    tf_trainer_free(b);
    tf_trainer_free(c);
    tf_config_fini(&small);
    tf_config_fini(&large);
    tf_config_fini(&staged);
}

static struct tf_stage_report told;
static void keep_report(void *user, const struct tf_stage_report *report)
{
    (void)user;
    told = *report;
}

/* An exact growth is told with the same loss before and after it. */
static void test_report_of_growth(void **state)
{
    const struct tf_trainer_options options = {
        .output = "told.tfck", .force = true, .events = {.grown = keep_report}};
    struct tf_config config;
    struct tf_trainer *trainer;

    (void)state;
    configure(&config, SET("grow.stages=[{at: 4, ffn: x2}]"));
    assert_ok(tf_trainer_new(&trainer, &config, &options, false, &err), &err);
    assert_ok(tf_trainer_run(trainer, &err), &err);
    assert_int_equal(told.step, 4);
    assert_int_equal(told.parameters[0], trainer->plan.parameters);
    assert_int_equal(told.parameters[1], trainer->plan.final_parameters);
    assert_true(told.loss[0] > 0 && told.loss[0] == told.loss[1]);
    assert_true(told.flops == 4 * trainer->plan.flops_per_step);
    tf_trainer_free(trainer);
    tf_config_fini(&config);
}

/* ---- the same as three commands ---- */

/* The text has 62 windows; 31 steps of two are an epoch, and then the order is the same again. */
#define EPOCH(...)                                                                    \
    SET("train.batch_size=2", "data.order=sequential", "optimizer.schedule=constant", \
        "optimizer.warmup=0", "train.eval_interval=0", "train.save_interval=0", __VA_ARGS__)

static void test_as_three_commands(void **state)
{
    struct tf_checkpoint from;
    struct tf_growth growth;
    struct tf_grow_options how = {.values = TF_INIT_RANDOM, .seed = 1};
    struct tf_digest a, b;

    (void)state;
    assert_ok(run("whole.tfck", EPOCH("train.steps=40", "grow.stages=[{at: 31, ffn: x2}]",
                                      "grow.scale_ramp=5", "grow.new_lr=2")),
              &err);
    assert_ok(run("first.tfck", EPOCH("train.steps=31")), &err);
    open_checkpoint(&from, "first.tfck");
    assert_ok(tf_target_parse(&how.ffn, "x2", &err), &err);
    assert_ok(tf_grow_plan(&growth, &from.shape, &how, &err), &err);
    assert_ok(grow_checkpoint(&from, "second.tfck", true, &growth, &how, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
    assert_ok(run_from("third.tfck", NULL, "second.tfck",
                       EPOCH("train.steps=9", "grow.scale_ramp=5", "grow.new_lr=2")),
              &err);
    open_checkpoint(&from, "whole.tfck");
    assert_ok(tf_store_model_digest(from.store, &a, &err), &err);
    tf_checkpoint_close(&from);
    open_checkpoint(&from, "third.tfck");
    assert_ok(tf_store_model_digest(from.store, &b, &err), &err);
    assert_int_equal(from.state.age, 9);
    assert_int_equal(from.lineage.count, 3);
    tf_checkpoint_close(&from);
    assert_memory_equal(&a, &b, sizeof a);
}

/* ---- what follows a growth ---- */

/* For two steps old tokens stay as they were, moments too; then they learn. */
static void test_freeze_steps(void **state)
{
    struct tf_model *models[4];

    (void)state;
    assert_ok(run("frozen.tfck", SET("grow.stages=[{at: 4, ffn: x2}]", "grow.freeze_steps=2",
                                     "train.save_interval=1", "train.keep_last=20")),
              &err);
    for (int i = 0; i < 4; i++) {
        char path[64];
        snprintf(path, sizeof path, "frozen.step-%d.tfck", 4 + i);
        models[i] = load(path);
    }
    const char *const names[] = {"layers.0.ffn.keys", "layers.1.ffn.values",
                                 "layers.0.attn.q.keys"};
    for (int i = 1; i < 4; i++)
        for (size_t k = 0; k < 3; k++) {
            const struct tf_table *a = tf_model_find(models[i - 1], names[k]),
                                  *b = tf_model_find(models[i], names[k]);
            assert_int_equal(same_rows(a, b, 0, k < 2 ? 12 : a->rows), i < 3);
            assert_true(k == 2 || i == 1 || !same_rows(a, b, 12, 24));
        }
    for (int i = 0; i < 4; i++)
        tf_model_free(models[i]);
}

/* Before the first growth nothing is old; after it all that was there is. */
static void test_old_tokens_of_a_stage(void **state)
{
    (void)state;
    assert_ok(run("old.tfck", SET("grow.stages=[{at: 4, ffn: x2}]", "train.freeze=old-tokens",
                                  "train.save_interval=2", "train.keep_last=20")),
              &err);
    struct tf_model *first = load("old.step-2.tfck"), *grown = load("old.step-4.tfck"),
                    *last = load("old.step-12.tfck");
    const struct tf_table *a = tf_model_find(first, "layers.0.ffn.keys"),
                          *b = tf_model_find(grown, "layers.0.ffn.keys"),
                          *c = tf_model_find(last, "layers.0.ffn.keys");
    assert_false(same_rows(a, b, 0, 12));
    assert_true(same_rows(b, c, 0, 12));
    tf_model_free(first);
    tf_model_free(grown);
    tf_model_free(last);
}

/* ---- token dropout ---- */

static void test_token_dropout(void **state)
{
    struct tf_checkpoint with, without;

    (void)state;
    assert_ok(run("dropped.tfck", SET("train.token_dropout=0.7")), &err);
    assert_ok(run("none.tfck", NULL), &err);
    open_checkpoint(&with, "dropped.tfck");
    open_checkpoint(&without, "none.tfck");
    assert_true(with.lineage.events[0].flops < without.lineage.events[0].flops);
    assert_true(with.lineage.events[0].flops > without.lineage.events[0].flops / 8);
    tf_checkpoint_close(&with);
    tf_checkpoint_close(&without);
    for (uint64_t at = 1; at < 12; at += 3) {
        seen.stop_at = at;
        assert_int_equal(run("part.tfck", SET("train.token_dropout=0.7")), TF_STOPPED);
        seen.stop_at = 0;
        assert_ok(resume("part.tfck", SET("train.token_dropout=0.7", "train.micro_batch=2")), &err);
        assert_same_file("dropped.tfck", "part.tfck");
    }
    assert_ok(run("part.tfck", SET("train.token_dropout=0.7", "train.micro_batch=5")), &err);
    assert_same_file("dropped.tfck", "part.tfck");
}

/* In a step with few tokens the last ones take no update; in one with all of them they do. */
static void test_dropped_tokens_rest(void **state)
{
    unsigned rested = 0;

    (void)state;
    assert_ok(run("rest.tfck",
                  SET("train.token_dropout=1", "train.save_interval=1", "train.keep_last=20")),
              &err);
    struct tf_model *before = load("rest.step-1.tfck");
    for (unsigned step = 2; step <= 12; step++) {
        char path[64];
        snprintf(path, sizeof path, "rest.step-%u.tfck", step);
        struct tf_model *after = load(path);
        const struct tf_table *a = tf_model_find(before, "layers.1.ffn.keys"),
                              *b = tf_model_find(after, "layers.1.ffn.keys");
        assert_int_equal(b->rows, 12);
        rested += same_rows(a, b, 11, 12);
        assert_false(same_rows(a, b, 0, 1)); /* the first is always there */
        tf_model_free(before);
        before = after;
    }
    tf_model_free(before);
    assert_in_range(rested, 6, 11); /* a share above 11/12 is rare */
}

/* ---- what training took ---- */

static void test_flops(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    assert_ok(run("flops.tfck", SET(STAGES)), &err);
    open_checkpoint(&checkpoint, "flops.tfck");
    const struct tf_lineage *past = &checkpoint.lineage;
    double sum = 0;
    for (size_t i = 0; i < past->count; i++)
        sum += past->events[i].flops;
    assert_true(seen.steps[11].flops == sum && seen.evals[seen.eval_count - 1].flops == sum);
    for (int i = 0; i < 12; i++) { /* a step costs the same but for growth */
        const double step = seen.steps[i].flops - (i ? seen.steps[i - 1].flops : 0),
                     last = i > 1 ? seen.steps[i - 1].flops - seen.steps[i - 2].flops
                                  : seen.steps[0].flops;
        assert_true(i == 4 || i == 7 ? step > last : step == last);
    }
    assert_int_equal(seen.evals[0].tokens, 4 * 6 * 16);
    assert_true(isnan(past->events[0].seconds));
    tf_checkpoint_close(&checkpoint);
}

static void test_clock(void **state)
{
    struct tf_checkpoint checkpoint;

    (void)state;
    seen.stop_at = 6;
    assert_int_equal(run("clock.tfck", SET("train.clock=true")), TF_STOPPED);
    seen.stop_at = 0;
    open_checkpoint(&checkpoint, "clock.tfck");
    const double first = checkpoint.lineage.events[0].seconds;
    assert_true(first > 0 && first < 60);
    tf_checkpoint_close(&checkpoint);
    assert_ok(resume("clock.tfck", SET("train.clock=true")), &err);
    open_checkpoint(&checkpoint, "clock.tfck");
    assert_true(checkpoint.lineage.events[0].seconds > first);
    tf_checkpoint_close(&checkpoint);
    assert_ok(resume("clock.tfck", SET("train.steps=13")), &err); /* no longer all of it */
    open_checkpoint(&checkpoint, "clock.tfck");
    assert_true(isnan(checkpoint.lineage.events[0].seconds));
    tf_checkpoint_close(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_ramp_in_checkpoints),
        cmocka_unit_test(test_resume_stages),
        cmocka_unit_test(test_killed_after_growth),
        cmocka_unit_test(test_widened),
        cmocka_unit_test(test_grown_by_hand),
        cmocka_unit_test(test_other_stages),
        cmocka_unit_test(test_refused_at_the_start),
        cmocka_unit_test(test_zeros_that_are_none),
        cmocka_unit_test(test_plan_of_stages),
        cmocka_unit_test(test_report_of_growth),
        cmocka_unit_test(test_as_three_commands),
        cmocka_unit_test(test_freeze_steps),
        cmocka_unit_test(test_old_tokens_of_a_stage),
        cmocka_unit_test(test_token_dropout),
        cmocka_unit_test(test_dropped_tokens_rest),
        cmocka_unit_test(test_flops),
        cmocka_unit_test(test_clock),
    };

    return cmocka_run_group_tests_name("staging", tests, enter_texts, leave_scratch);
}
