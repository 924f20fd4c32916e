/* train/state: the state of a run and the lineage of a model, to YAML and back. */
#include "train/state.h"

#include "base/mem.h"
#include "base/rng.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DIGEST "0123456789abcdef0123456789abcdef"

static char *print_state(const struct tf_state *state)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    assert_int_equal(tf_state_print(state, &text, &size, &err), TF_OK);
    assert_int_equal(strlen(text), size);
    return text;
}

static void state_as_text(void **unused)
{
    struct tf_state state = {.step = 500,
                             .tokens = 384000,
                             .updates = 700,
                             .data_hash = UINT64_MAX,
                             .best_loss = NAN,
                             .recent_count = 2,
                             .recent = {2.5f, 0.1f}};
    char *text = print_state(&state);

    (void)unused;
    assert_string_equal(text,
                        "step: 500\ntokens: 384000\nupdates: 700\ndata_hash: 18446744073709551615\n"
                        "best_loss: none\nbest_step: 0\n"
                        "recent: [2.5, 0.10000000149011612]\n");
    tf_free(text);
}

/* Every number comes back to the bit. */
static void state_reads_back(void **unused)
{
    struct tf_state state = {.step = 1,
                             .tokens = 2,
                             .updates = 5,
                             .data_hash = 3,
                             .best_loss = 1.0 / 3,
                             .best_step = 4,
                             .recent_count = 256};
    struct tf_state back;
    struct tf_err err = {0};

    (void)unused;
    for (uint64_t i = 0; i < 256; i++)
        state.recent[i] = (float)tf_rng_uniform(1, 2, i);
    char *text = print_state(&state);
    memset(&back, 0xff, sizeof(back));
    assert_int_equal(tf_state_parse(&back, text, strlen(text), &err), TF_OK);
    assert_int_equal(back.step, 1);
    assert_int_equal(back.tokens, 2);
    assert_int_equal(back.updates, 5);
    assert_int_equal(back.data_hash, 3);
    assert_true(back.best_loss == state.best_loss);
    assert_int_equal(back.best_step, 4);
    assert_int_equal(back.recent_count, 256);
    assert_memory_equal(back.recent, state.recent, sizeof(state.recent));
    char *again = print_state(&back);
    assert_string_equal(again, text);
    tf_free(text);
    tf_free(again);
}

/* Keys of growth are there when they say something. */
static void state_of_a_grown_model(void **unused)
{
    struct tf_state state = {.step = 9, .age = 4, .stages = 2, .began = 5, .best_loss = 1}, back;
    struct tf_err err = {0};
    char *text = print_state(&state);

    (void)unused;
    assert_string_equal(text, "step: 9\ntokens: 0\nupdates: 0\ndata_hash: 0\nbest_loss: 1\n"
                              "best_step: 0\nage: 4\nstages: 2\nbegan: 5\nrecent: []\n");
    assert_int_equal(tf_state_parse(&back, text, strlen(text), &err), TF_OK);
    assert_int_equal(back.age, 4);
    assert_int_equal(back.stages, 2);
    assert_int_equal(back.began, 5);
    tf_free(text);
}

static void empty_state(void **unused)
{
    struct tf_state state;
    struct tf_err err = {0};

    (void)unused;
    assert_int_equal(tf_state_parse(&state, "", 0, &err), TF_OK);
    assert_int_equal(state.step, 0);
    assert_int_equal(state.recent_count, 0);
    assert_true(isnan(state.best_loss));
}

static void refuse_state(const char *text, const char *message)
{
    struct tf_state state;
    struct tf_err err = {0};

    assert_int_equal(tf_state_parse(&state, text, strlen(text), &err), TF_DATA);
    assert_string_equal(err.text, message);
}

static void damaged_states(void **unused)
{
#define REST "tokens: 1\nupdates: 1\ndata_hash: 1\nbest_step: 1\n"
    static char many[2048];
    size_t at = (size_t)snprintf(many, sizeof(many), "step: 1\n" REST "best_loss: 1\nrecent: [0");

    (void)unused;
    refuse_state("[]\n", "state:1:1: expected a mapping");
    refuse_state("x\n", "state:1:1: expected a mapping");
    refuse_state("step: 1\n", "state:1:1: the key tokens is missing");
    refuse_state("step: 1\n" REST "best_loss: none\nrecent: []\nmore: 1\n",
                 "state:8:1: unknown key more");
    refuse_state("step: 1\n" REST "best_loss: none\nrecent: []\nage: x\n",
                 "state:8:6: age: expected an integer below 2^63, found \"x\"");
    refuse_state("step: 1\n" REST "best_loss: none\nrecent: []\nbegan: 2\n",
                 "state: began at step 2, but is at step 1");
    refuse_state("step: -1\n" REST "best_loss: none\nrecent: []\n",
                 "state:1:7: step: expected an integer below 2^63, found \"-1\"");
    /* t = updates + 1 would be 0, and AdamW divide by 1 - beta^0 */
    refuse_state("step: 1\ntokens: 1\nupdates: 18446744073709551615\ndata_hash: 1\n"
                 "best_step: 1\nbest_loss: 1\nrecent: []\n",
                 "state:3:10: updates: expected an integer below 2^63, found "
                 "\"18446744073709551615\"");
    refuse_state("step: 1\n" REST "best_loss: nan\nrecent: []\n",
                 "state:6:12: best_loss: expected a number or none, found \"nan\"");
    refuse_state("step: 1\n" REST "best_loss: 1\nrecent: 1\n",
                 "state:7:9: recent: expected a list of at most 256 numbers, found \"1\"");
    refuse_state("step: 1\n" REST "best_loss: 1\nrecent: [1, x]\n",
                 "state:7:13: recent: expected a number, found \"x\"");
    refuse_state("step: 1\n" REST "best_loss: 1\nrecent: [1e300]\n",
                 "state:7:10: recent: expected a number, found \"1e300\"");
    for (int i = 0; i < 256; i++)
        at += (size_t)snprintf(many + at, sizeof(many) - at, ",0");
    snprintf(many + at, sizeof(many) - at, "]\n");
    refuse_state(many, "state:7:9: recent: expected a list of at most 256 numbers, found "
                       "[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ...]");
}

static struct tf_event *add(struct tf_lineage *lineage)
{
    struct tf_err err = {0};
    struct tf_event *event = tf_lineage_add(lineage, &err);

    assert_non_null(event);
    event->flops = event->seconds = NAN;
    return event;
}

/* Trained, grown, trained on. */
static struct tf_lineage sample(void)
{
    struct tf_lineage lineage = {0};
    struct tf_err err = {0};
    struct tf_event *event = add(&lineage);

    event->steps = 500;
    event->tokens = 384000;
    event = add(&lineage);
    event->kind = TF_EVENT_GROW;
    strcpy(event->from, DIGEST);
    strcpy(event->keys, "zero");
    strcpy(event->values, "random");
    strcpy(event->scale, "keep");
    event->seed = 7;
    event->row_count = 2;
    event->rows = tf_new(2, sizeof(*event->rows), "rows", &err);
    assert_non_null(event->rows);
    strcpy(event->rows[0].name, "layers.0.attn.q");
    event->rows[0].before = 128;
    event->rows[0].after = 256;
    strcpy(event->rows[1].name, "layers.0.ffn");
    event->rows[1].before = 512;
    event->rows[1].after = 1024;
    event = add(&lineage);
    strcpy(event->from, "00000000000000000000000000000001");
    event->steps = 3;
    event->tokens = UINT64_MAX;
    event->flops = 1.5e20;
    return lineage;
}

static const char sample_text[] = "- event: train\n"
                                  "  from: \"\"\n"
                                  "  steps: 500\n"
                                  "  tokens: 384000\n"
                                  "- event: grow\n"
                                  "  from: \"" DIGEST "\"\n"
                                  "  keys: zero\n"
                                  "  values: random\n"
                                  "  scale: keep\n"
                                  "  seed: 7\n"
                                  "  rows:\n"
                                  "    layers.0.attn.q: [128, 256]\n"
                                  "    layers.0.ffn: [512, 1024]\n"
                                  "- event: train\n"
                                  "  from: \"00000000000000000000000000000001\"\n"
                                  "  steps: 3\n"
                                  "  tokens: 18446744073709551615\n"
                                  "  flops: 1.5e20\n";

static void prints_as(const struct tf_lineage *lineage, const char *expected)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    assert_int_equal(tf_lineage_print(lineage, &text, &size, &err), TF_OK);
    assert_string_equal(text, expected);
    assert_int_equal(size, strlen(expected));
    tf_free(text);
}

static void lineage_there_and_back(void **unused)
{
    struct tf_lineage lineage = sample(), back, copy;
    struct tf_err err = {0};

    (void)unused;
    prints_as(&lineage, sample_text);
    assert_int_equal(tf_lineage_parse(&back, sample_text, strlen(sample_text), &err), TF_OK);
    assert_int_equal(back.count, 3);
    assert_int_equal(back.events[1].kind, TF_EVENT_GROW);
    assert_int_equal(back.events[1].rows[1].after, 1024);
    prints_as(&back, sample_text);
    assert_int_equal(tf_lineage_copy(&copy, &lineage, &err), TF_OK);
    assert_ptr_not_equal(copy.events[1].rows, lineage.events[1].rows);
    tf_lineage_fini(&lineage);
    prints_as(&copy, sample_text);
    tf_lineage_fini(&back);
    tf_lineage_fini(&copy);
}

/* Growths of other kinds than the first have keys of their own; files without them are read as
 * before. */
static void growths_of_all_kinds(void **unused)
{
    struct tf_lineage lineage;
    struct tf_err err = {0};
    const char *text = "- event: grow\n  from: \"\"\n  method: net2net\n  keys: zero\n"
                       "  values: random\n  scale: keep\n  layers: [2, 4]\n  width: [16, 32]\n"
                       "  place: middle\n  seed: 1\n  rows:\n    layers.0.attn.q: [16, 32]\n";

    (void)unused;
    assert_int_equal(tf_lineage_parse(&lineage, text, strlen(text), &err), TF_OK);
    assert_string_equal(lineage.events[0].method, "net2net");
    assert_string_equal(lineage.events[0].place, "middle");
    assert_int_equal(lineage.events[0].layers[1], 4);
    assert_int_equal(lineage.events[0].width[0], 16);
    prints_as(&lineage, text);
    tf_lineage_fini(&lineage);
    assert_int_equal(tf_lineage_parse(&lineage, sample_text, strlen(sample_text), &err), TF_OK);
    assert_string_equal(lineage.events[1].method, "tokens");
    assert_int_equal(lineage.events[1].layers[1], 0);
    assert_true(isnan(lineage.events[0].flops));
    assert_true(isnan(lineage.events[2].seconds));
    tf_lineage_fini(&lineage);
}

/* The sums over all training; what one stretch does not know, the whole does not. */
static void spent(void **unused)
{
    struct tf_lineage lineage = sample();

    (void)unused;
    struct tf_spent all = tf_lineage_spent(&lineage);
    assert_int_equal(all.steps, 503);
    assert_true(all.tokens == UINT64_MAX); /* and not around the corner */
    assert_true(isnan(all.flops));
    lineage.events[0].flops = 1e18;
    all = tf_lineage_spent(&lineage);
    assert_true(all.flops == 1e18 + 1.5e20);
    assert_true(isnan(all.seconds));
    lineage.events[0].seconds = 2;
    lineage.events[2].seconds = 0.5;
    assert_true(tf_lineage_spent(&lineage).seconds == 2.5);
    tf_lineage_fini(&lineage);
    all = tf_lineage_spent(&lineage);
    assert_int_equal(all.steps, 0);
    assert_true(all.flops == 0);
}

static void empty_lineage(void **unused)
{
    struct tf_lineage lineage = {0}, copy;
    struct tf_err err = {0};

    (void)unused;
    prints_as(&lineage, "");
    assert_int_equal(tf_lineage_copy(&copy, &lineage, &err), TF_OK);
    assert_int_equal(copy.count, 0);
    assert_int_equal(tf_lineage_parse(&lineage, "", 0, &err), TF_OK);
    assert_int_equal(lineage.count, 0);
    tf_lineage_fini(&lineage);
    tf_lineage_fini(&copy);
}

/* A growth that changed nothing is written, and read, like any other. */
static void no_rows(void **unused)
{
    struct tf_lineage lineage = {0}, back;
    struct tf_err err = {0};
    const char *text = "- event: grow\n  from: \"\"\n  keys: zero\n  values: zero\n  scale: count\n"
                       "  seed: 0\n  rows: {}\n";

    (void)unused;
    struct tf_event *event = add(&lineage);
    event->kind = TF_EVENT_GROW;
    strcpy(event->keys, "zero");
    strcpy(event->values, "zero");
    strcpy(event->scale, "count");
    prints_as(&lineage, text);
    assert_int_equal(tf_lineage_parse(&back, text, strlen(text), &err), TF_OK);
    prints_as(&back, text);
    tf_lineage_fini(&lineage);
    tf_lineage_fini(&back);
}

static void edits(void **unused)
{
    struct tf_lineage lineage = {0}, back;
    struct tf_err err = {0};
    const char *text = "- event: edit\n  from: \"0123\"\n  verb: slice\n  effect: changed\n"
                       "  rows:\n    layers.0.ffn: [44, 12]\n";

    (void)unused;
    assert_int_equal(tf_lineage_parse(&lineage, text, strlen(text), &err), TF_OK);
    assert_int_equal(lineage.events[0].kind, TF_EVENT_EDIT);
    assert_string_equal(lineage.events[0].verb, "slice");
    assert_string_equal(lineage.events[0].effect, "changed");
    assert_int_equal(lineage.events[0].rows[0].after, 12);
    prints_as(&lineage, text);
    tf_lineage_fini(&lineage);
    text = "- event: edit\n  from: \"\"\n  verb: a verb that is too long\n  effect: exact\n"
           "  rows: {}\n";
    assert_int_equal(tf_lineage_parse(&back, text, strlen(text), &err), TF_DATA);
    assert_string_equal(
        err.text, "lineage:3:9: verb: expected a short text, found \"a verb that is too long\"");
}

/* What could not be read again is not written. */
static void too_long_a_lineage(void **unused)
{
    struct tf_lineage lineage = {0}, back;
    struct tf_err err = {0};
    char *text;
    size_t size;

    (void)unused;
    for (int i = 0; i < 11111; i++) /* 11111 * 9 values and the list: exactly 100000 */
        add(&lineage);
    assert_int_equal(tf_lineage_print(&lineage, &text, &size, &err), TF_OK);
    assert_int_equal(tf_lineage_parse(&back, text, size, &err), TF_OK);
    assert_int_equal(back.count, 11111);
    tf_lineage_fini(&back);
    tf_free(text);
    add(&lineage);
    assert_int_equal(tf_lineage_print(&lineage, &text, &size, &err), TF_MEMORY);
    assert_string_equal(err.text, "lineage: 100009 values, the limit is 100000");
    assert_null(text);
    tf_lineage_fini(&lineage);
}

static void refuse_lineage(const char *text, const char *message)
{
    struct tf_lineage lineage;
    struct tf_err err = {0};

    assert_int_equal(tf_lineage_parse(&lineage, text, strlen(text), &err), TF_DATA);
    assert_string_equal(err.text, message);
    assert_null(lineage.events);
}

static void damaged_lineages(void **unused)
{
#define GROW "- {event: grow, from: '', keys: a, values: b, scale: c, seed: 1, rows: "

    (void)unused;
    refuse_lineage("x\n", "lineage:1:1: expected a list");
    refuse_lineage("a: 1\n", "lineage:1:1: expected a list");
    refuse_lineage("- x\n", "lineage:1:3: event: expected train, grow or edit, found \"x\"");
    refuse_lineage("- {event: shrink}\n",
                   "lineage:1:11: event: expected train, grow or edit, found \"shrink\"");
    refuse_lineage("- {event: train}\n", "lineage:1:3: the key from is missing");
    refuse_lineage("- {event: train, from: '', steps: 1, tokens: x}\n",
                   "lineage:1:46: tokens: expected an integer, found \"x\"");
    refuse_lineage(
        "- {event: train, from: 012345678901234567890123456789012, steps: 1, tokens: 1}\n",
        "lineage:1:24: from: expected a short text, found \"012345678901234567890123456789012\"");
    refuse_lineage(GROW "1}\n", "lineage:1:72: rows: expected a mapping, found \"1\"");
    refuse_lineage(GROW "{a: 1}}\n",
                   "lineage:1:76: a: expected the rows before and after, found \"1\"");
    refuse_lineage(GROW "{a: [1, x]}}\n",
                   "lineage:1:76: a: expected the rows before and after, found [1, x]");
    refuse_lineage(GROW "{A: [1, 2]}}\n",
                   "lineage:1:73: rows: expected the name of a Pattention, found \"A\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_as_text),
        cmocka_unit_test(state_reads_back),
        cmocka_unit_test(state_of_a_grown_model),
        cmocka_unit_test(empty_state),
        cmocka_unit_test(damaged_states),
        cmocka_unit_test(lineage_there_and_back),
        cmocka_unit_test(growths_of_all_kinds),
        cmocka_unit_test(spent),
        cmocka_unit_test(empty_lineage),
        cmocka_unit_test(no_rows),
        cmocka_unit_test(edits),
        cmocka_unit_test(too_long_a_lineage),
        cmocka_unit_test(damaged_lineages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
