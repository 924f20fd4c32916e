/* What a trainer is made of: the golden run, beginning from another model, freezing, the plan, and
 * what is refused. */
#include "golden.h"
#include "grown.h"
#include "training_run.h"

#include "nn/run.h"

/* ---- the golden run ---- */

static void save_golden(void)
{
    struct tf_model *model = golden_model("train", false);
    struct tf_tokenizer tokenizer;
    struct tf_config config;

    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
    configure(&config, SET("model.hidden_size=48", "model.num_attention_heads=3",
                           "model.qkv_tokens=48", "model.proj_tokens=48", "model.ffn_tokens=144",
                           "model.seq_length=32", "model.rotary_pct=0.25", "data.separator=none"));
    assert_ok(tf_checkpoint_save("golden.tfck", model, &config, &tokenizer,
                                 &(struct tf_state){.best_loss = NAN}, &(struct tf_lineage){0},
                                 &err),
              &err);
    tf_config_fini(&config);
    tf_model_free(model);
}

/* The reference computes in double. Each step leaves float's rounding, 2^-24, in the weights, and
 * AdamW, which divides gradients by their own size, carries the relative errors of small gradients
 * over. Measured: 5e-6 of the way that training moved a table at most; ten times that is allowed. A
 * wrong schedule, decay, clip or t is off by percents. */
static void check_final(void)
{
    struct tf_model *before = load("golden.tfck"), *after = load("out.tfck");

    for (size_t i = 0; i < after->table_count; i++) {
        const struct tf_table *table = &after->tables[i], *first = &before->tables[i];
        struct golden_array final = golden_table("train", "final", table->name);
        const float *expected = final.data;
        double moved = 0, off = 0;
        for (size_t r = 0; r < table->rows; r++)
            for (size_t c = 0; c < table->cols; c++) {
                const double e = (double)expected[r * table->cols + c];
                moved += pow(e - (double)tf_table_row(first, r)[c], 2);
                off += pow(e - (double)tf_table_row(table, r)[c], 2);
            }
        if (!(sqrt(off) < 5e-5 * sqrt(moved)))
            fail_msg("%s: training moved it by %g, and it is off by %g", table->name, sqrt(moved),
                     sqrt(off));
        tf_free(final.data);
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
                       SET(text, "data.valid=[]", "data.separator=none", "data.order=sequential",
                           "model.seq_length=32", "train.steps=80", "train.batch_size=4",
                           "train.save_interval=0", "optimizer.lr=0.002", "optimizer.min_lr=0.0002",
                           "optimizer.warmup=0.1")),
              &err);
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
    each_kernel(golden_run);
}

/* ---- beginning from another model ---- */

static void test_init(void **state)
{
    struct tf_checkpoint from, to;

    (void)state;
    assert_ok(run_from("next.tfck", NULL, "whole.tfck",
                       SET("model.ffn_tokens=99", "model.seq_length=8", "train.steps=2")),
              &err);
    open_checkpoint(&from, "whole.tfck");
    open_checkpoint(&to, "next.tfck");
    assert_int_equal(to.config.model.ffn_tokens.items[0],
                     12);                            /* the model is the checkpoint's... */
    assert_int_equal(to.config.model.seq_length, 8); /* ...but for its context */
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

    assert_ok(
        run_from("out.tfck", NULL, "golden.tfck", SET("data.separator=none", "train.steps=2")),
        &err);
    open_checkpoint(&to, "out.tfck");
    assert_int_equal(to.state.updates, 2); /* no moments: t begins anew */
    tf_checkpoint_close(&to);
    assert_says(run_from("x.tfck", NULL, "golden.tfck", NULL), TF_CONFIG,
                "data.separator: \"<|endoftext|>\", but golden.tfck was trained with \"\"");
}

/* grown.tfck: whole.tfck with 24 ffn tokens in place of 12. */
static void make_grown(void)
{
    struct tf_checkpoint from;
    struct tf_growth growth;
    struct tf_grow_options how = {.values = TF_INIT_RANDOM};

    open_checkpoint(&from, "whole.tfck");
    assert_ok(tf_target_parse(&how.ffn, "x2", &err), &err);
    assert_ok(tf_grow_plan(&growth, &from.shape, &how, &err), &err);
    assert_ok(grow_checkpoint(&from, "grown.tfck", true, &growth, &how, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&from);
}

static void test_grown(void **state)
{
    (void)state;
    assert_says(resume("grown.tfck", SET("model.ffn_tokens=24")), TF_DATA,
                "grown.tfck: cannot be resumed: nothing was trained since it was grown; --init "
                "begins from it");
}

/* ---- freezing ---- */

static void test_freeze_patterns(void **state)
{
    struct tf_model *before, *after;

    (void)state;
    seen.stop_at = 1;
    assert_int_equal(run("one.tfck", NULL), TF_STOPPED);
    seen.stop_at = 0;
    assert_ok(run_from("frozen.tfck", NULL, "one.tfck",
                       SET("train.freeze=[layers.0.*, embed.tokens, norm.?ias]")),
              &err);
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
    assert_says(run("x.tfck", SET("train.freeze=[layers.7.*]")), TF_CONFIG,
                "train.freeze: no table is called layers.7.*");
    assert_says(run("x.tfck", SET("train.freeze=old-tokens")), TF_CONFIG,
                "train.freeze: old-tokens: this model was never grown");
    assert_false(exists("x.tfck"));
}

/* The old tokens of grown.tfck stay as they are, moments too; new ones are trained, and what is no
 * token. */
static void test_freeze_old_tokens(void **state)
{
    struct tf_model *before, *after;

    (void)state;
    assert_ok(run_from("new.tfck", NULL, "grown.tfck", SET("train.freeze=old-tokens")), &err);
    assert_int_equal(
        resume("new.tfck", SET("train.freeze=old-tokens", "model.ffn_tokens=24", "train.steps=14")),
        TF_OK);
    before = load("grown.tfck");
    after = load("new.tfck");
    for (size_t i = 0; i < after->table_count; i++) {
        const struct tf_table *a = &before->tables[i], *b = &after->tables[i];
        const bool grown = strstr(a->name, "ffn"), token = strstr(a->name, "layers.");
        assert_int_equal(a->rows, b->rows);
        for (size_t r = 0; grown && r < a->rows; r++)
            assert_int_equal(same_rows(a, b, r, r + 1), r < 12);
        if (!grown)
            assert_int_equal(same_rows(a, b, 0, a->rows), token);
    }
    tf_model_free(before);
    tf_model_free(after);
}

/* A lineage that tells of other tables is named with its file. */
static void test_lineage_of_another(void **state)
{
    struct tf_checkpoint from;

    (void)state;
    open_checkpoint(&from, "grown.tfck");
    struct tf_model *model = load("grown.tfck");
    strcpy(from.lineage.events[from.lineage.count - 1].rows[0].name, "layers.7.ffn");
    assert_ok(tf_checkpoint_save("odd.tfck", model, &from.config, &from.tokenizer, &from.state,
                                 &from.lineage, &err),
              &err);
    assert_says(run_from("x.tfck", NULL, "odd.tfck", NULL), TF_DATA,
                "odd.tfck: lineage: a growth of layers.7.ffn to 24 tokens does not fit the model");
    assert_false(exists("x.tfck"));
    tf_model_free(model);
    tf_checkpoint_close(&from);
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
    assert_null(dry->model);
    const struct tf_model *model = trainer->model;
    assert_int_equal(plan->weights + plan->gradients + plan->moments, model->memory.size);
    assert_int_equal(plan->activations, trainer->run->memory.size + trainer->memory.size);
    assert_int_equal(trainer->memory.used, trainer->memory.size);
    assert_int_equal(plan->text, trainer->train.count * sizeof(uint16_t));
    assert_int_equal(plan->total, plan->weights + plan->gradients + plan->moments +
                                      plan->activations + plan->text);
    /* 272 x 16 embedding; a layer: three times 8 tokens, 6 and 12, of keys and values; the final
     * norm. */
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

/* Every part fits 64 bits; their sum does not. */
static void test_plan_overflow(void **state)
{
    const struct tf_trainer_options options = {.output = "x.tfck"};
    struct tf_config config;
    struct tf_trainer *trainer;

    (void)state;
    configure(&config, SET("model.hidden_size=1048576", "model.num_layers=255",
                           "model.ffn_tokens=2147483648", "train.batch_size=65536"));
    assert_says(tf_trainer_new(&trainer, &config, &options, true, &err), TF_MEMORY,
                "this run needs more than memory can be");
    assert_null(trainer);
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
    assert_says(run("x.tfck", SET("data.train=[]")), TF_CONFIG,
                "data.train: names no text to train on");
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
    assert_says(run("x.tfck", SET("model.hidden_size=65536", "model.ffn_tokens=2000000000")),
                TF_MEMORY, "this run needs ");
    assert_false(exists("x.tfck"));
}

static int set_up(void **state)
{
    const char *root = getenv("TF_GOLDEN");
    char *golden = realpath(root ? root : "tests/golden", NULL);

    if (!golden || setenv("TF_GOLDEN", golden, 1) || enter_texts(state))
        return -1;
    free(golden);
    save_golden();
    if (run("whole.tfck", NULL))
        return -1;
    make_grown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_grown),
        cmocka_unit_test(test_freeze_patterns),
        cmocka_unit_test(test_freeze_old_tokens),
        cmocka_unit_test(test_lineage_of_another),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_plan_overflow),
        cmocka_unit_test(test_evaluation_plan),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests_name("trainer", tests, set_up, leave_scratch);
}
