/* What each token contributes: measured against a plain sum, read back, and chosen by. */
#include "tiny_model.h"

#include "text/json.h"
#include "train/usage.h"
#include <omp.h>

static void make_corpus(struct tf_corpus *corpus, size_t count)
{
    corpus->tokens = malloc(count * sizeof *corpus->tokens);
    corpus->count = count;
    corpus->borrowed = true;
    for (size_t i = 0; i < count; i++)
        corpus->tokens[i] = (uint16_t)(97 + i * i % 26);
}

static void measure(struct tf_usage *usage, const struct tf_model *model,
                    const struct tf_corpus *corpus)
{
    struct tf_err err;

    assert_ok(tf_usage_measure(usage, model, corpus, &err), &err);
}

/* One window at a time, from the scores of a run, in doubles. */
static void agrees_with_plain_sum(void **unused)
{
    struct tiny tiny;
    struct tf_corpus corpus = {0};
    struct tf_usage usage;
    struct tf_run *run;
    struct tf_err err;
    float s[64];

    (void)unused;
    tiny_make(&tiny, NULL, false);
    make_corpus(&corpus, 1000); /* 62 windows of 16 and 8 more */
    measure(&usage, tiny.model, &corpus);
    assert_int_equal(usage.positions, 1000);
    assert_int_equal(usage.count, 2 * TF_PROJECTIONS);
    assert_string_equal(usage.groups[TF_PROJECTIONS + TF_FFN].name, "layers.1.ffn");
    assert_int_equal(usage.groups[TF_PROJECTIONS + TF_FFN].tokens, 40);

    double sums[40] = {0};
    assert_ok(tf_run_new(&run, tiny.model, TF_RUN_TRAIN, 1, 16, &err), &err);
    for (size_t at = 0; at < 1000; at += 16) {
        size_t length = 1000 - at < 16 ? 1000 - at : 16;
        tf_forward(run, corpus.tokens + at, 1, length, 0);
        for (size_t row = 0; row < length; row++) {
            tf_run_scores(run, 1, TF_FFN, row, s);
            for (int j = 0; j < 40; j++)
                sums[j] += fabs((double)s[j]);
        }
    }
    const struct tf_table *values = tiny.model->layers[1].at[TF_FFN].values;
    for (size_t j = 0; j < 40; j++) {
        double squares = 0;
        for (size_t c = 0; c < values->cols; c++)
            squares += pow((double)tf_table_row(values, j)[c], 2);
        double expected = sums[j] / 1000 * sqrt(squares);
        assert_true(fabs(usage.groups[9].contribution[j] - expected) < 1e-12 * expected);
        assert_true(expected > 0);
    }
    tf_run_free(run);
    tf_usage_fini(&usage);
    free(corpus.tokens);
    tiny_free(&tiny);
}

/* The scores of a run are what its output is made of: y = S V. */
static void scores_make_the_output(void **unused)
{
    struct tiny tiny;
    struct tf_corpus corpus = {0};
    struct tf_usage before, after;

    (void)unused;
    tiny_make(&tiny, NULL, false);
    make_corpus(&corpus, 64);
    measure(&before, tiny.model, &corpus);
    /* A token without a value gives nothing; one without a key gets nothing. */
    const struct tf_projection *ffn = &tiny.model->layers[1].at[TF_FFN];
    memset(tf_table_row(ffn->values, 3), 0, ffn->values->cols * sizeof(float));
    memset(tf_table_row(ffn->keys, 5), 0, ffn->keys->cols * sizeof(float));
    measure(&after, tiny.model, &corpus);
    assert_true(after.groups[9].contribution[3] == 0);
    assert_true(after.groups[9].contribution[5] == 0);
    assert_true(before.groups[9].contribution[3] > 0);
    assert_memory_equal(before.groups[0].contribution, after.groups[0].contribution,
                        20 * sizeof(double));
    tf_usage_fini(&before);
    tf_usage_fini(&after);
    free(corpus.tokens);
    tiny_free(&tiny);
}

/* Of a transformer, the units of each layer's MLP alone. */
static void of_a_transformer(void **unused)
{
    struct tiny tiny;
    struct tf_corpus corpus = {0};
    struct tf_usage usage;

    (void)unused;
    tiny_make(&tiny, "model.kind=transformer", false);
    const struct tf_projection *mlp = &tiny.model->layers[1].at[TF_FFN];
    memset(tf_table_row(mlp->keys, 7), 0, mlp->keys->cols * sizeof(float));
    make_corpus(&corpus, 100);
    measure(&usage, tiny.model, &corpus);
    assert_int_equal(usage.count, 2);
    assert_string_equal(usage.groups[0].name, "layers.0.ffn");
    assert_int_equal(usage.groups[0].tokens, 44);
    assert_string_equal(usage.groups[1].name, "layers.1.ffn");
    assert_int_equal(usage.groups[1].tokens, 40);
    for (size_t j = 0; j < 40; j++)
        assert_int_equal(usage.groups[1].contribution[j] > 0, j != 7);
    tf_usage_fini(&usage);
    free(corpus.tokens);
    tiny_free(&tiny);
}

static void same_at_any_threads(void **unused)
{
    struct tiny tiny;
    struct tf_corpus corpus = {0};
    struct tf_usage one, many;
    int threads = omp_get_max_threads();

    (void)unused;
    tiny_make(&tiny, "model.norm_activation=softmax", false);
    make_corpus(&corpus, 700);
    omp_set_num_threads(1);
    measure(&one, tiny.model, &corpus);
    omp_set_num_threads(3);
    measure(&many, tiny.model, &corpus);
    omp_set_num_threads(threads);
    for (size_t i = 0; i < one.count; i++)
        assert_memory_equal(one.groups[i].contribution, many.groups[i].contribution,
                            one.groups[i].tokens * sizeof(double));
    tf_usage_fini(&one);
    tf_usage_fini(&many);
    free(corpus.tokens);
    tiny_free(&tiny);
}

/* ---- reading ---- */

static void refuse(const char *text, const char *message)
{
    struct tf_usage usage;
    struct tf_err err = {0};

    assert_int_equal(tf_usage_parse(&usage, "u.json", text, strlen(text), &err), TF_DATA);
    assert_string_equal(err.text, message);
    assert_null(usage.groups);
}

#define USAGE(list) "{\"positions\": 5, \"usage\": [" list "]}"

static void parsing(void **unused)
{
    static const char text[] =
        USAGE("{\"name\": \"layers.0.ffn\", \"tokens\": 3, \"contribution\": [0.5, 0, 1e-3]}");
    static const char none[] =
        "u.json: no list \"usage\", as tf-inspect stats --usage --json writes it";
    struct tf_usage usage;
    struct tf_err err;

    (void)unused;
    assert_ok(tf_usage_parse(&usage, "u.json", text, strlen(text), &err), &err);
    assert_int_equal(usage.count, 1);
    assert_int_equal(usage.positions, 5);
    assert_int_equal(usage.groups[0].tokens, 3);
    assert_true(usage.groups[0].contribution[2] == 1e-3);
    tf_usage_fini(&usage);

    refuse("{", "u.json: line 1, column 1: not JSON: string or '}' expected near end of file");
    refuse("[]", none);
    refuse("{\"usage\": 3}", none);
    refuse("{\"usage\": [{}]}", "u.json: no number \"positions\"");
    refuse("{\"usage\": [{}], \"positions\": 1e300}", "u.json: no number \"positions\"");
    refuse(USAGE("3"), "u.json: usage[0]: no name");
    refuse(USAGE("{\"name\": \"a\", \"contribution\": []}"),
           "u.json: usage[0]: a: no list of contributions");
    refuse(USAGE("{\"name\": \"a\", \"contribution\": [1, -1]}"),
           "u.json: usage[0]: a: contribution[1] is not a number from 0 up");
    refuse(USAGE("{\"name\": \"a\", \"contribution\": [1, null]}"),
           "u.json: usage[0]: a: contribution[1] is not a number from 0 up");
    refuse(USAGE("{\"name\": \"a\", \"contribution\": [1]}, {\"name\": \"a\", \"contribution\": "
                 "[1]}"),
           "u.json: usage[1]: a is there twice");
}

/* ---- choosing ---- */

static void rows_are(const struct tf_selected *item, const uint64_t (*rows)[2], size_t count)
{
    assert_int_equal(item->row_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(item->rows[i].first, rows[i][0]);
        assert_int_equal(item->rows[i].end, rows[i][1]);
    }
}

static void choosing(void **unused)
{
    static const char *const proj[] = {"layers.0.attn.o"}, *const ffn[] = {"layers.0.ffn"};
    struct tf_checkpoint checkpoint;
    struct tf_selection chosen;
    struct tf_usage usage;
    struct tf_err err;
    static const char text[] =
        USAGE("{\"name\": \"layers.0.attn.o\", \"contribution\": [1,2,3,3,2,1,9,9,0,1,1,1]}");

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    open_checkpoint(&checkpoint, "a.tfck");
    assert_ok(tf_usage_parse(&usage, "u", text, strlen(text), &err), &err);
    assert_ok(tf_usage_select(&chosen, &usage, checkpoint.store, proj, 1, "5", &err), &err);
    assert_int_equal(chosen.count, 1);
    rows_are(&chosen.items[0], (const uint64_t[][2]){{1, 4}, {6, 8}}, 2); /* 1 before 4 */
    tf_selection_fini(&chosen);
    assert_ok(tf_usage_select(&chosen, &usage, checkpoint.store, proj, 1, "90%", &err), &err);
    rows_are(&chosen.items[0], (const uint64_t[][2]){{0, 8}, {9, 12}}, 2); /* 10.8: 11 */
    tf_selection_fini(&chosen);
    assert_ok(tf_usage_select(&chosen, &usage, checkpoint.store, proj, 1, "400", &err), &err);
    rows_are(&chosen.items[0], (const uint64_t[][2]){{0, 12}}, 1);
    tf_selection_fini(&chosen);

    static const char *const wrong[] = {"", "0", "-1", "1.5", "x", "0%", "101%", "90%%", "1e999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(
            tf_usage_select(&chosen, &usage, checkpoint.store, proj, 1, wrong[i], &err), TF_USAGE);
    assert_int_equal(tf_usage_select(&chosen, &usage, checkpoint.store, ffn, 1, "5", &err),
                     TF_DATA);
    assert_string_equal(err.text, "layers.0.ffn was not measured");
    strcpy(usage.groups[0].name, "layers.0.ffn");
    assert_int_equal(tf_usage_select(&chosen, &usage, checkpoint.store, ffn, 1, "5", &err),
                     TF_DATA);
    assert_string_equal(err.text, "layers.0.ffn: measured with 12 tokens, but a.tfck has 44");
    tf_usage_fini(&usage);
    tf_checkpoint_close(&checkpoint);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_plain_sum),
        cmocka_unit_test(scores_make_the_output),
        cmocka_unit_test(of_a_transformer),
        cmocka_unit_test(same_at_any_threads),
        cmocka_unit_test(parsing),
        cmocka_unit_test(choosing),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
