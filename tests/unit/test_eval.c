/* Evaluation against a naive twin: one window at a time, log-softmax in double from whole logits.
 */
#include "unit.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/eval.h"

enum { SEQ = 16, VOCAB = 272 };

static struct tf_err err;

static void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance))
        fail_msg("%.17g is not within %g of %.17g", a, tolerance, b);
}

/* Random weights, large enough that tokens differ in what they cost. */
static struct tf_model *make_model(size_t seq, size_t vocab, uint64_t seed)
{
    struct tf_layer_shape layers[2] = {{{8, 8, 8, 4, 12}, {8, 8, 8, 4, 12}},
                                       {{8, 8, 8, 4, 12}, {8, 8, 8, 4, 12}}};
    struct tf_shape shape = {.layers = 2,
                             .width = 16,
                             .heads = 2,
                             .vocab = vocab,
                             .seq = seq,
                             .norm = TF_L2_NORM_GELU,
                             .rotary_pct = 0.5,
                             .rotary_base = 10000,
                             .tied = true,
                             .layer = layers};
    struct tf_model *model;

    assert_ok(tf_model_new(&model, &shape, false, &err), &err);
    tf_model_init(model, seed);
    for (size_t row = 0; row < model->embed->rows; row++)
        for (size_t col = 0; col < model->embed->cols; col++)
            tf_table_row(model->embed, row)[col] *= 20;
    return model;
}

static void make_corpus(struct tf_corpus *corpus, size_t count)
{
    *corpus = (struct tf_corpus){.count = count};
    corpus->tokens = tf_new(count, sizeof *corpus->tokens, "corpus", &err);
    assert_non_null(corpus->tokens);
    for (size_t i = 0; i < count; i++)
        corpus->tokens[i] = (uint16_t)(tf_rng_bits(7, 1, i) % 257);
}

static double log_softmax(const float *logits, size_t id)
{
    double top = logits[0], sum = 0;

    for (size_t v = 1; v < VOCAB; v++)
        top = fmax(top, logits[v]);
    for (size_t v = 0; v < VOCAB; v++)
        sum += exp(logits[v] - top);
    return logits[id] - top - log(sum);
}

/* Logits of every position of one window. */
static float *window_logits(const struct tf_model *model, const uint16_t *ids, size_t length)
{
    float *logits = tf_new(length * VOCAB, sizeof *logits, "logits", &err);
    struct tf_run *run;

    assert_non_null(logits);
    assert_ok(tf_run_new(&run, model, TF_RUN_SCORE, 1, length, &err), &err);
    tf_forward(run, ids, 1, length, 0);
    tf_logits(run, 0, length, logits);
    tf_run_free(run);
    return logits;
}

/* What a window adds; `from` is the first target scored, counted in the whole text. */
struct tally {
    double nats[64];
    size_t tokens[64], windows, bytes;
};

static void tally_window(struct tally *tally, const struct tf_model *model,
                         const struct tf_corpus *corpus, size_t start, size_t length, size_t from)
{
    float *logits = window_logits(model, corpus->tokens + start, length);

    for (size_t target = from; target <= start + length; target++) {
        uint16_t id = corpus->tokens[target];
        tally->nats[tally->windows] -= log_softmax(logits + (target - 1 - start) * VOCAB, id);
        tally->tokens[tally->windows]++;
        tally->bytes += id == 256 ? strlen("<|endoftext|>") : 1;
    }
    tally->windows++;
    tf_free(logits);
}

static void check_result(const struct tf_eval_result *result, const struct tally *tally)
{
    double nats = 0, square = 0, mean;
    size_t tokens = 0;

    for (size_t w = 0; w < tally->windows; w++) {
        nats += tally->nats[w];
        tokens += tally->tokens[w];
    }
    mean = nats / (double)tokens;
    for (size_t w = 0; w < tally->windows; w++)
        square += pow(tally->nats[w] - (double)tally->tokens[w] * mean, 2);
    assert_int_equal(result->tokens, tokens);
    assert_int_equal(result->bytes, tally->bytes);
    assert_near(result->nats_per_token, mean, 2e-6);
    assert_near(result->perplexity, exp(result->nats_per_token), 1e-10 * result->perplexity);
    assert_near(result->bits_per_byte, nats / log(2) / (double)tally->bytes, 4e-6);
    if (tally->windows == 1)
        assert_true(isnan(result->stderr_nats));
    else
        assert_near(result->stderr_nats, sqrt(square) / (double)tokens, 2e-6);
}

struct fixture {
    struct tf_model *model;
    struct tf_tokenizer tokenizer;
};

static void open_fixture(struct fixture *f)
{
    f->model = make_model(SEQ, VOCAB, 1);
    assert_ok(tf_tokenizer_init(&f->tokenizer, "bytes", "<|endoftext|>", &err), &err);
}

static void test_strided(void **state)
{
    static const struct {
        size_t count, window, stride;
    } cases[] = {{17, 16, 16}, {33, 16, 16}, {34, 16, 16}, {50, 0, 0}, {50, 16, 4}, {51, 16, 4},
                 {40, 16, 1},  {45, 8, 3},   {45, 7, 0},   {10, 1, 1}, {20, 16, 15}};
    struct fixture f;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t window = cases[i].window ? cases[i].window : SEQ,
               stride = cases[i].stride ? cases[i].stride : window;
        struct tf_eval_options options = {.window = cases[i].window, .stride = cases[i].stride};
        struct tf_eval_result result;
        struct tf_corpus corpus;
        struct tally tally = {0};
        size_t last = cases[i].count - 1, scored = 0; /* the last target; targets scored so far */
        make_corpus(&corpus, cases[i].count);
        for (size_t start = 0; scored < last; start += stride) {
            size_t length = start + window <= last ? window : last - start;
            tally_window(&tally, f.model, &corpus, start, length, scored + 1);
            scored = start + length;
        }
        assert_ok(tf_eval(&result, f.model, &corpus, &f.tokenizer, &options, &err), &err);
        check_result(&result, &tally);
        assert_int_equal(result.tokens, last);
        assert_int_equal(result.window, window);
        assert_int_equal(result.stride, stride);
        tf_corpus_fini(&corpus);
    }
    tf_model_free(f.model);
}

static void test_second_half(void **state)
{
    static const struct {
        size_t count, window, windows, scored; /* scored: of each window */
    } cases[] = {{33, 16, 2, 8}, {32, 16, 1, 8}, {48, 16, 2, 8}, {30, 7, 4, 4}, {5, 1, 4, 1}};
    struct fixture f;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_eval_options options = {
            .window = cases[i].window, .stride = 3, .second_half = true};
        struct tf_eval_result result;
        struct tf_corpus corpus;
        struct tally tally = {0};
        make_corpus(&corpus, cases[i].count);
        for (size_t w = 0; w < cases[i].windows; w++) {
            size_t start = w * cases[i].window;
            tally_window(&tally, f.model, &corpus, start, cases[i].window,
                         start + cases[i].window - cases[i].scored + 1);
        }
        assert_ok(tf_eval(&result, f.model, &corpus, &f.tokenizer, &options, &err), &err);
        check_result(&result, &tally);
        assert_int_equal(result.stride, cases[i].window);
        tf_corpus_fini(&corpus);
    }
    tf_model_free(f.model);
}

static void test_max_windows(void **state)
{
    static const size_t starts[] = {0, 32, 80, 112}; /* windows 0, 2, 5 and 7 of 10 */
    struct tf_eval_options options = {.max_windows = 4};
    struct tf_eval_result some, all, most;
    struct tf_corpus corpus;
    struct tally tally = {0};
    struct fixture f;

    (void)state;
    open_fixture(&f);
    make_corpus(&corpus, 161);
    for (size_t i = 0; i < 4; i++)
        tally_window(&tally, f.model, &corpus, starts[i], SEQ, starts[i] + 1);
    assert_ok(tf_eval(&some, f.model, &corpus, &f.tokenizer, &options, &err), &err);
    check_result(&some, &tally);
    options.max_windows = 0;
    assert_ok(tf_eval(&all, f.model, &corpus, &f.tokenizer, &options, &err), &err);
    assert_int_equal(all.tokens, 160);
    options.max_windows = 11;
    assert_ok(tf_eval(&most, f.model, &corpus, &f.tokenizer, &options, &err), &err);
    assert_memory_equal(&most, &all, sizeof all);
    tf_corpus_fini(&corpus);
    tf_model_free(f.model);
}

/* Whatever the batch: the same bits. */
static void test_batch(void **state)
{
    static const size_t batches[] = {2, 3, 7, 1000, SIZE_MAX, 0};
    struct tf_eval_options options = {.stride = 6, .batch = 1};
    struct tf_eval_result one, other;
    struct tf_corpus corpus;
    struct fixture f;

    (void)state;
    open_fixture(&f);
    make_corpus(&corpus, 150);
    assert_ok(tf_eval(&one, f.model, &corpus, &f.tokenizer, &options, &err), &err);
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        options.batch = batches[i];
        assert_ok(tf_eval(&other, f.model, &corpus, &f.tokenizer, &options, &err), &err);
        assert_memory_equal(&other, &one, sizeof one);
    }
    tf_corpus_fini(&corpus);
    tf_model_free(f.model);
}

static void test_refused(void **state)
{
    static const struct {
        size_t window, stride, count;
        enum tf_code code;
        const char *text;
    } cases[] = {
        {0, 0, 16, TF_DATA,
         "the text has 16 tokens, fewer than one window of 16 and the token after it"},
        {4, 0, 0, TF_DATA,
         "the text has 0 tokens, fewer than one window of 4 and the token after it"},
        {17, 0, 100, TF_USAGE, "window 17 is longer than the model's context, 16 tokens"},
        {8, 9, 100, TF_USAGE,
         "stride 9 is longer than the window, 8: tokens between windows would not be scored"},
    };
    struct tf_eval_result result;
    struct fixture f;

    (void)state;
    open_fixture(&f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_eval_options options = {.window = cases[i].window, .stride = cases[i].stride};
        struct tf_corpus corpus;
        make_corpus(&corpus, cases[i].count);
        assert_int_equal(tf_eval(&result, f.model, &corpus, &f.tokenizer, &options, &err),
                         cases[i].code);
        assert_string_equal(err.text, cases[i].text);
        tf_corpus_fini(&corpus);
    }
    tf_model_free(f.model);
}

/* A plan fills in every 0, and never a batch larger than there are windows. */
static void test_plan(void **state)
{
    struct tf_shape shape = {.seq = 16};
    struct tf_corpus corpus = {.count = 100};
    struct tf_eval_options plan, options = {.stride = 4};

    (void)state;
    assert_ok(tf_eval_plan(&plan, &shape, &corpus, &options, &err), &err);
    assert_int_equal(plan.window, 16);
    assert_int_equal(plan.stride, 4);
    assert_int_equal(plan.max_windows, 22); /* targets 1..16, then 83 more, 4 a window */
    assert_int_equal(plan.batch, 22);
    corpus.count = 100000;
    assert_ok(tf_eval_plan(&plan, &shape, &corpus, &options, &err), &err);
    assert_int_equal(plan.batch, 64);
}

static void test_compare(void **state)
{
    struct tf_eval_options options = {.stride = 5, .second_half = true}; /* neither is used */
    struct tf_compare_result result;
    struct tf_corpus corpus;
    struct tf_model *model = make_model(SEQ, VOCAB, 1), *other = make_model(40, VOCAB, 1);
    double kl = 0, largest = 0;
    size_t same = 0;

    (void)state;
    make_corpus(&corpus, 41);
    tf_table_row(other->embed, 5)[3] += 0.5f;
    for (size_t start = 0; start < 40; start += SEQ) {
        size_t length = start + SEQ <= 40 ? SEQ : 40 - start;
        float *p = window_logits(model, corpus.tokens + start, length);
        float *q = window_logits(other, corpus.tokens + start, length);
        for (size_t row = 0; row < length * VOCAB; row += VOCAB) {
            size_t top_p = 0, top_q = 0;
            for (size_t v = 0; v < VOCAB; v++) {
                double log_p = log_softmax(p + row, v);
                kl += exp(log_p) * (log_p - log_softmax(q + row, v));
                largest = fmax(largest, fabs((double)p[row + v] - q[row + v]));
                top_p = p[row + v] > p[row + top_p] ? v : top_p;
                top_q = q[row + v] > q[row + top_q] ? v : top_q;
            }
            same += top_p == top_q;
        }
        tf_free(p);
        tf_free(q);
    }
    assert_true(kl > 1e-5 && largest > 1e-3);
    assert_ok(tf_compare(&result, model, other, &corpus, &options, &err), &err);
    assert_int_equal(result.tokens, 40);
    assert_near(result.mean_kl, kl / 40, 1e-10);
    assert_near(result.max_logit_difference, largest, 0);
    assert_near(result.same_argmax, (double)same / 40, 1e-15);
    assert_ok(tf_compare(&result, model, model, &corpus, &options, &err), &err);
    assert_near(result.mean_kl, 0, 0);
    assert_near(result.max_logit_difference, 0, 0);
    assert_near(result.same_argmax, 1, 0);
    tf_corpus_fini(&corpus);
    tf_model_free(model);
    tf_model_free(other);
}

static void test_compare_refused(void **state)
{
    struct tf_model *model = make_model(SEQ, VOCAB, 1), *other = make_model(8, 256, 1),
                    *shorter = make_model(8, VOCAB, 1);
    struct tf_eval_options options = {.window = 9};
    struct tf_compare_result result;
    struct tf_corpus corpus;

    (void)state;
    make_corpus(&corpus, 41);
    assert_int_equal(tf_compare(&result, model, other, &corpus, &options, &err), TF_DATA);
    assert_string_equal(err.text, "vocabularies of 272 and 256 tokens cannot be compared");
    assert_int_equal(tf_compare(&result, model, shorter, &corpus, &options, &err), TF_USAGE);
    assert_string_equal(err.text, "window 9 is longer than the model's context, 8 tokens");
    tf_corpus_fini(&corpus);
    tf_model_free(model);
    tf_model_free(other);
    tf_model_free(shorter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strided),     cmocka_unit_test(test_second_half),
        cmocka_unit_test(test_max_windows), cmocka_unit_test(test_batch),
        cmocka_unit_test(test_refused),     cmocka_unit_test(test_plan),
        cmocka_unit_test(test_compare),     cmocka_unit_test(test_compare_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
