/* Sampling by known distributions; generation by models whose greedy continuation is written down
 * beforehand. */
#include "golden.h"

#include "base/mem.h"
#include "base/rng.h"
#include "train/generate.h"

static struct tf_err err;

/* ---- models that say what is written down ---- */

/* A model whose likeliest token after chain[i] is chain[i+1]; no token may occur twice. Its layers
 * do nothing, and channel i stands for chain[i]. */
static struct tf_model *make_chain(const uint16_t *chain, size_t count, uint64_t seq)
{
    struct tf_layer_shape layer = {{2, 2, 2, 2, 2}, {2, 2, 2, 2, 2}};
    struct tf_shape shape = {.layers = 1,
                             .width = 32,
                             .heads = 2,
                             .vocab = 272,
                             .seq = seq,
                             .norm = TF_L2_NORM_GELU,
                             .rotary_pct = 0.5,
                             .rotary_base = 10000,
                             .tied = false,
                             .layer = &layer};
    struct tf_model *model;

    assert_ok(tf_model_new(&model, &shape, false, &err), &err);
    assert_true(count <= shape.width);
    for (size_t i = 0; i < count; i++) {
        tf_table_row(model->embed, chain[i])[i] = 1;
        if (i + 1 < count)
            tf_table_row(model->head, chain[i + 1])[i] = 1;
    }
    return model;
}

/* What the callback heard: the pieces of sample 0, joined by '|'. */
struct heard {
    char text[512];
    size_t calls, enough; /* calls after which it says stop; 0: never */
};

static int hear(void *user, size_t sample, const char *bytes, size_t n)
{
    struct heard *heard = user;

    assert_int_equal(sample, 0);
    strncat(heard->text, bytes, n);
    strcat(heard->text, "|");
    return ++heard->calls == heard->enough;
}

/* Generates greedily from the chain's first token, at most `tokens`; separator: the string of token
 * 256. */
struct story {
    uint16_t chain[16]; /* ended by a 0 */
    size_t tokens, stop_count, enough;
    const char *separator, *stop[3];
    bool ignore_end;
};

static void tell(const struct story *story, struct heard *heard, struct tf_generated *out)
{
    size_t count = 0;
    while (story->chain[count] != 0)
        count++;
    struct tf_model *model = make_chain(story->chain, count, 40);
    struct tf_generate_options options = {.sampler = {.top_p = 1, .repeat_penalty = 1},
                                          .samples = 1,
                                          .max_tokens = story->tokens,
                                          .ignore_end = story->ignore_end,
                                          .stop = story->stop,
                                          .stop_count = story->stop_count,
                                          .text = hear,
                                          .user = heard};
    struct tf_generate_stats stats;
    struct tf_tokenizer tokenizer;

    *heard = (struct heard){.enough = story->enough};
    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", story->separator, &err), &err);
    assert_ok(tf_generate(out, model, &tokenizer, story->chain, 1, &options, &stats, &err), &err);
    assert_int_equal(stats.new_tokens, out->count);
    assert_int_equal(stats.prompt_tokens, 1);
    assert_memory_equal(out->ids, story->chain + 1, out->count * sizeof *out->ids);
    tf_model_free(model);
}

/* One row a story: what was heard piece by piece, how it ended, after how many tokens. */
static const struct {
    struct story story;
    const char *heard;
    enum tf_finish finish;
    size_t tokens;
} told[] = {
    /* Whole UTF-8 sequences only, of 2, 3 and 4 bytes; the separator ends it. */
    {{.chain = {'A', 0xc3, 0xa9, 'B', 0xe2, 0x82, 0xac, 0xf0, 0x9f, 0x98, 0x80, 256, 'x'},
      .tokens = 20,
      .separator = "<e>"},
     "|\u00e9|B|||\u20ac||||\U0001f600||",
     TF_FINISH_END,
     11},
    /* Bytes that are not UTF-8: a lone lead, a broken sequence, one that cannot begin. */
    {{.chain = {'A', 0xc3, 'B', 0xe2, 0x82, 'C', 0xff, 0xed, 0xa0, 'D'},
      .tokens = 9,
      .separator = ""},
     "|\ufffdB|||\ufffd\ufffdC|\ufffd||\ufffd\ufffd|D|",
     TF_FINISH_LENGTH,
     9},
    /* A sequence that the length cuts. */
    {{.chain = {'A', 'B', 0xe2, 0x82, 0xac}, .tokens = 3, .separator = ""},
     "B||\ufffd\ufffd|",
     TF_FINISH_LENGTH,
     3},
    /* The separator in the text. */
    {{.chain = {'A', 'B', 256, 'C'}, .tokens = 3, .separator = "<e>", .ignore_end = true},
     "B|<e>|C|",
     TF_FINISH_LENGTH,
     3},
    {{.chain = {'A', 'B', 256, 'C'}, .tokens = 2, .separator = "<e>"}, "B||", TF_FINISH_END, 2},
    /* A stop text over several tokens is held back, and left out. */
    {{.chain = {'A', 'x', 'b', 'c', 'd', 'y'},
      .tokens = 9,
      .separator = "",
      .stop = {"bcd"},
      .stop_count = 1},
     "x||||",
     TF_FINISH_STOP,
     4},
    /* Held back in vain. */
    {{.chain = {'A', 'b', 'c', 'x', 'y'},
      .tokens = 4,
      .separator = "",
      .stop = {"bcd"},
      .stop_count = 1},
     "||bcx|y|",
     TF_FINISH_LENGTH,
     4},
    {{.chain = {'A', 'x', 'b', 'c'},
      .tokens = 3,
      .separator = "",
      .stop = {"bcd"},
      .stop_count = 1},
     "x||bc|",
     TF_FINISH_LENGTH,
     3},
    {{.chain = {'A', 'x', 'b', 256},
      .tokens = 9,
      .separator = "<e>",
      .stop = {"bcd"},
      .stop_count = 1},
     "x||b|",
     TF_FINISH_END,
     3},
    /* The first to be whole wins; of those that end together, the longest. */
    {{.chain = {'A', 'x', 'b', 'c', 'd'},
      .tokens = 9,
      .separator = "",
      .stop = {"xbcd", "bc"},
      .stop_count = 2},
     "||x|",
     TF_FINISH_STOP,
     3},
    {{.chain = {'A', 'x', 'b', 'c', 'd'},
      .tokens = 9,
      .separator = "",
      .stop = {"c", "xbc", "bc"},
      .stop_count = 3},
     "|||",
     TF_FINISH_STOP,
     3},
    /* In the middle of a token's bytes, after a beginning that came to nothing. */
    {{.chain = {'A', 'x', 256, 'y'},
      .tokens = 9,
      .separator = "aaabc",
      .ignore_end = true,
      .stop = {"aab"},
      .stop_count = 1},
     "x|a|",
     TF_FINISH_STOP,
     2},
    /* Begun UTF-8 before a beginning stop text. */
    {{.chain = {'A', 0xc3, 'b', 'x'},
      .tokens = 3,
      .separator = "",
      .stop = {"bcd"},
      .stop_count = 1},
     "||\ufffdbx|",
     TF_FINISH_LENGTH,
     3},
    {{.chain = {'A', 0xc3, 0xa9, 'x'},
      .tokens = 3,
      .separator = "",
      .stop = {"\u00e9"},
      .stop_count = 1},
     "||",
     TF_FINISH_STOP,
     2},
    /* The callback has heard enough: what is held back comes last. */
    {{.chain = {'A', 'x', 'y', 'b', 'c', 'z'},
      .tokens = 5,
      .separator = "",
      .stop = {"bcd"},
      .stop_count = 1,
      .enough = 3},
     "x|y||b|",
     TF_FINISH_LENGTH,
     3},
    {{.chain = {'A', 'x'}, .tokens = 0, .separator = ""}, "|", TF_FINISH_LENGTH, 0},
};

static void test_stories(void **state)
{
    (void)state;

    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        struct tf_generated out;
        struct heard heard;
        char joined[512] = "";
        size_t n = 0;
        tell(&told[i].story, &heard, &out);
        assert_string_equal(heard.text, told[i].heard);
        assert_int_equal(out.finish, told[i].finish);
        assert_int_equal(out.count, told[i].tokens);
        for (const char *c = heard.text; *c != '\0'; c++)
            if (*c != '|')
                joined[n++] = *c;
        assert_string_equal(out.text, joined);
        assert_int_equal(out.text_size, n);
        tf_generated_fini(&out);
    }
}

/* Without a prompt: after the separator, or after a newline. */
static void test_no_prompt(void **state)
{
    static const uint16_t after_separator[] = {256, 'S', 'x'}, after_newline[] = {'\n', 'N', 'y'};
    struct tf_generate_options options = {
        .sampler = {.top_p = 1, .repeat_penalty = 1}, .samples = 1, .max_tokens = 2};
    struct tf_generate_stats stats;
    (void)state;

    for (int has = 0; has < 2; has++) {
        struct tf_model *model = make_chain(has ? after_separator : after_newline, 3, 8);
        struct tf_tokenizer tokenizer;
        struct tf_generated out;
        assert_ok(tf_tokenizer_init(&tokenizer, "bytes", has ? "<e>" : "none", &err), &err);
        assert_ok(tf_generate(&out, model, &tokenizer, NULL, 0, &options, &stats, &err), &err);
        assert_string_equal(out.text, has ? "Sx" : "Ny");
        assert_int_equal(stats.prompt_tokens, 1);
        tf_generated_fini(&out);
        tf_model_free(model);
    }
}

/* Padding is never drawn, however likely. */
static void test_padding(void **state)
{
    static const uint16_t chain[] = {'A', 270};
    struct tf_generate_options options = {
        .sampler = {.temperature = 1, .top_p = 1, .repeat_penalty = 1},
        .samples = 3,
        .max_tokens = 20,
        .ignore_end = true};
    struct tf_model *model = make_chain(chain, 2, 8);
    struct tf_generate_stats stats;
    struct tf_tokenizer tokenizer;
    struct tf_generated out[3];
    (void)state;

    tf_table_row(model->head, 270)[0] = 100;
    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "<e>", &err), &err);
    assert_ok(tf_generate(out, model, &tokenizer, chain, 1, &options, &stats, &err), &err);
    for (size_t s = 0; s < 3; s++) {
        for (size_t i = 0; i < out[s].count; i++)
            assert_true(out[s].ids[i] <= 256);
        tf_generated_fini(&out[s]);
    }
    tf_model_free(model);
}

static void test_refused(void **state)
{
    static const uint16_t chain[] = {'A', 'B'};
    const char *empty = "";
    struct tf_generate_options options = {
        .sampler = {.temperature = 1, .top_p = 1, .repeat_penalty = 1},
        .samples = 1,
        .max_tokens = 4,
        .stop = &empty,
        .stop_count = 1};
    struct tf_model *model = make_chain(chain, 2, 8);
    struct tf_generate_stats stats;
    struct tf_tokenizer tokenizer;
    struct tf_generated out;
    (void)state;

    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
    assert_int_equal(tf_generate(&out, model, &tokenizer, chain, 1, &options, &stats, &err),
                     TF_USAGE);
    assert_string_equal(err.text, "a stop text is empty");
    tf_generated_fini(&out);
    options.stop_count = 0;
    tf_table_row(model->head, 7)[3] = INFINITY;
    assert_int_equal(tf_generate(&out, model, &tokenizer, chain, 1, &options, &stats, &err),
                     TF_DATA);
    assert_string_equal(err.text, "sample 0, token 0: logit 7 is -inf, not a finite number");
    tf_generated_fini(&out);
    options.max_tokens = SIZE_MAX;
    assert_int_equal(tf_generate(&out, model, &tokenizer, chain, 1, &options, &stats, &err),
                     TF_MEMORY);
    tf_generated_fini(&out);
    options.samples = 0;
    assert_ok(tf_generate(NULL, model, &tokenizer, chain, 1, &options, &stats, &err), &err);
    tf_model_free(model);
}

/* ---- models that say anything ---- */

static struct tf_model *make_random(uint64_t seq)
{
    struct tf_layer_shape layers[2] = {{{8, 8, 8, 4, 12}, {8, 8, 8, 4, 12}},
                                       {{8, 8, 8, 4, 12}, {8, 8, 8, 4, 12}}};
    struct tf_shape shape = {.layers = 2,
                             .width = 16,
                             .heads = 2,
                             .vocab = 256,
                             .seq = seq,
                             .norm = TF_L2_NORM_GELU,
                             .rotary_pct = 0.5,
                             .rotary_base = 10000,
                             .tied = true,
                             .layer = layers};
    struct tf_model *model;

    assert_ok(tf_model_new(&model, &shape, false, &err), &err);
    tf_model_init(model, 3);
    for (size_t i = 0; i < model->table_count; i++)
        for (size_t row = 0; model->tables[i].rows > 1 && row < model->tables[i].rows; row++)
            for (size_t col = 0; col < model->tables[i].cols; col++)
                tf_table_row(&model->tables[i], row)[col] *= 10;
    return model;
}

/* A sample depends on its number, not on how many are asked for, nor on the others' ends. */
static void check_samples(uint64_t seq, size_t prompt, size_t samples, size_t tokens)
{
    enum { MOST = 300, ALONE = 5 };
    const char *stop = "a";
    struct tf_generate_options options = {
        .sampler = {.temperature = 1, .top_p = 1, .repeat_penalty = 1},
        .seed = 9,
        .samples = samples,
        .max_tokens = tokens,
        .stop = &stop,
        .stop_count = 1};
    struct tf_model *model = make_random(seq);
    struct tf_generate_stats stats;
    struct tf_tokenizer tokenizer;
    struct tf_generated many[MOST];
    uint16_t ids[256];
    bool differ = false;

    for (size_t i = 0; i < prompt; i++)
        ids[i] = (uint16_t)(tf_rng_bits(5, 5, i) % 256);
    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
    assert_ok(tf_generate(many, model, &tokenizer, ids, prompt, &options, &stats, &err), &err);
    assert_true(stats.slid);
    options.samples = 1;
    for (size_t s = 0; s < ALONE; s++) {
        struct tf_generated one;
        options.first_stream = s;
        assert_ok(tf_generate(&one, model, &tokenizer, ids, prompt, &options, &stats, &err), &err);
        assert_int_equal(one.count, many[s].count);
        assert_memory_equal(one.ids, many[s].ids, one.count * sizeof *one.ids);
        assert_string_equal(one.text, many[s].text);
        assert_int_equal(one.finish, many[s].finish);
        differ |= s > 0 && (one.count != many[0].count ||
                            memcmp(one.ids, many[0].ids, one.count * sizeof *one.ids) != 0);
        tf_generated_fini(&one);
    }
    assert_true(differ);
    for (size_t s = 0; s < samples; s++)
        tf_generated_fini(&many[s]);
    tf_model_free(model);
}

/* Also more samples than a pass has rows, and prompts of several passes. */
static void test_samples(void **state)
{
    (void)state;
    check_samples(24, 4, 5, 60);
    check_samples(140, 130, 5, 40);
    check_samples(30, 29, 300, 4);
}

/* What many samples of a large vocabulary take, their logits more than all else, is in the plan. */
static void test_plan(void **state)
{
    struct tf_model *model = make_random(4);
    uint64_t one, many;
    (void)state;

    assert_ok(tf_generate_plan(&one, model, 1, 10, &err), &err);
    assert_ok(tf_generate_plan(&many, model, 4097, 10, &err), &err);
    assert_true(many - one >= 4096 * (model->shape.vocab * sizeof(float) + 10 * sizeof(uint16_t)));
    assert_int_equal(tf_generate_plan(&many, model, 4096, SIZE_MAX / 4096, &err), TF_MEMORY);
    assert_string_equal(err.text, "4096 samples of 4503599627370495 tokens do not fit memory");
    tf_model_free(model);
}

/* The likeliest token after ids, all of them read at once. */
static uint32_t likeliest(const struct tf_model *model, const uint16_t *ids, size_t count)
{
    float logits[256];
    uint32_t best = 0;
    struct tf_run *run;

    assert_ok(tf_run_new(&run, model, TF_RUN_SCORE, 1, count, &err), &err);
    tf_forward(run, ids, 1, count, 0);
    tf_logits(run, count - 1, 1, logits);
    tf_run_free(run);
    for (uint32_t id = 1; id < 256; id++)
        best = logits[id] > logits[best] ? id : best;
    return best;
}

/* Greedy, beyond the context: as if every context had been read anew. A prompt longer than one
 * pass, and than the context. */
static void test_sliding(void **state)
{
    static const struct {
        size_t seq, prompt, tokens;
        bool slid;
    } cases[] = {{16, 5, 11, false}, {16, 5, 12, false},  {16, 5, 13, true}, {16, 5, 60, true},
                 {16, 16, 1, false}, {16, 17, 1, true},   {16, 16, 2, true}, {7, 30, 30, true},
                 {1, 1, 5, true},    {150, 140, 30, true}};
    (void)state;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_generate_options options = {.sampler = {.top_p = 1, .repeat_penalty = 1},
                                              .samples = 1,
                                              .max_tokens = cases[i].tokens};
        struct tf_model *model = make_random(cases[i].seq);
        size_t count = cases[i].prompt, start = count > cases[i].seq ? count - cases[i].seq : 0;
        size_t half = cases[i].seq > 1 ? cases[i].seq / 2 : 1;
        struct tf_generate_stats stats;
        struct tf_tokenizer tokenizer;
        struct tf_generated out;
        uint16_t ids[256];
        for (size_t j = 0; j < count; j++)
            ids[j] = (uint16_t)(tf_rng_bits(5, 5, j) % 256);
        assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
        assert_ok(tf_generate(&out, model, &tokenizer, ids, count, &options, &stats, &err), &err);
        assert_int_equal(out.count, cases[i].tokens);
        assert_int_equal(stats.slid, cases[i].slid);
        for (; count < cases[i].prompt + cases[i].tokens; count++) {
            if (count - start > cases[i].seq)
                start = count - half;
            ids[count] = (uint16_t)likeliest(model, ids + start, count - start);
        }
        assert_memory_equal(out.ids, ids + cases[i].prompt, out.count * sizeof *ids);
        tf_generated_fini(&out);
        tf_model_free(model);
    }
}

static void golden_greedy(const char *dir)
{
    json_t *json = golden_case(dir), *prompt = json_object_get(json, "greedy_prompt"),
           *whole = json_object_get(json, "greedy_16");
    struct tf_model *model = golden_model(dir, false);
    struct tf_generate_options options = {
        .sampler = {.top_p = 1, .repeat_penalty = 1}, .samples = 2, .max_tokens = 16};
    struct tf_generate_stats stats;
    struct tf_tokenizer tokenizer;
    struct tf_generated out[2];
    uint16_t ids[32];
    size_t count = json_array_size(prompt);

    assert_int_equal(json_array_size(whole), count + 16);
    for (size_t i = 0; i < count; i++)
        ids[i] = (uint16_t)json_integer_value(json_array_get(prompt, i));
    assert_ok(tf_tokenizer_init(&tokenizer, "bytes", "none", &err), &err);
    assert_ok(tf_generate(out, model, &tokenizer, ids, count, &options, &stats, &err), &err);
    for (size_t s = 0; s < 2; s++) {
        assert_int_equal(out[s].count, 16);
        for (size_t i = 0; i < 16; i++)
            assert_int_equal(out[s].ids[i], json_integer_value(json_array_get(whole, count + i)));
        tf_generated_fini(&out[s]);
    }
    tf_model_free(model);
    json_decref(json);
}

static void golden_all(void)
{
    golden_greedy("lm-l2_norm_gelu");
    golden_greedy("lm-gelu_l2_norm");
    golden_greedy("lm-softmax");
}

static void test_golden(void **state)
{
    (void)state;
    each_kernel(golden_all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stories), cmocka_unit_test(test_no_prompt),
        cmocka_unit_test(test_padding), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_samples), cmocka_unit_test(test_plan),
        cmocka_unit_test(test_sliding), cmocka_unit_test(test_golden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
