/* train/aging: which rows are new, what is frozen at which age, and the ramp of the scales. */
#include "small_model.h"

#include "train/aging.h"

#include <stdio.h>

static struct tf_err err;

/* A lineage from YAML: one event a line of "kind name before after". */
static struct tf_lineage lineage_of(const char *const *events)
{
    struct tf_lineage lineage;
    char text[4096] = "";
    for (; *events; events++) {
        char kind[16], name[32];
        unsigned before = 0, after = 0;
        const int n = sscanf(*events, "%15s %31s %u %u", kind, name, &before, &after);
        char *at = text + strlen(text);
        const size_t room = sizeof text - strlen(text);
        if (!strcmp(kind, "train"))
            snprintf(at, room, "- {event: train, from: \"\", steps: 1, tokens: 1}\n");
        else if (!strcmp(kind, "edit"))
            snprintf(at, room,
                     "- {event: edit, from: \"\", verb: slice, effect: changed, "
                     "rows: {%s: [%u, %u]}}\n",
                     name, before, after);
        else
            snprintf(at, room,
                     "- {event: grow, from: \"\", method: %s, keys: zero, values: random, "
                     "scale: keep, seed: 1, rows: {%s: [%u, %u]}}\n",
                     kind, name, before, after);
        assert_true(n == 1 || n == 4);
    }
    if (tf_lineage_parse(&lineage, text, strlen(text), &err))
        fail_msg("%s: %s", err.text, text);
    return lineage;
}
#define EVENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* The first new row of layers.1.ffn, and of no other Pattention, is that; `none`: it has none. */
#define NONE SIZE_MAX
static void marks(const char *const *events, size_t expected)
{
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_lineage lineage = lineage_of(events);
    if (tf_aging_mark(model, &lineage, &err))
        fail_msg("%s", err.text);
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        const bool grown = expected != NONE && !strncmp(t->name, "layers.1.ffn.", 13);
        assert_int_equal(t->new_from, grown ? expected : t->rows);
    }
    tf_lineage_fini(&lineage);
    tf_model_free(model);
}

static void new_rows_are_those_of_the_last_growth(void **state)
{
    (void)state;
    marks(EVENTS(NULL), NONE);
    marks(EVENTS("train"), NONE);
    marks(EVENTS("train", "tokens layers.1.ffn 3 5"), 3);
    marks(EVENTS("train", "tokens layers.1.ffn 3 5", "train", "train"), 3);
    marks(EVENTS("tokens layers.0.ffn 3 5", "train", "tokens layers.1.ffn 4 5"), 4);
    marks(EVENTS("tokens layers.1.ffn 0 5"), 0); /* a layer that is new */
    marks(EVENTS("edit layers.1.ffn 2 5"), 2);   /* by hand */
    marks(EVENTS("tokens layers.1.ffn 3 6", "edit layers.1.ffn 6 5"), NONE);
    marks(EVENTS("tokens layers.1.ffn 3 6", "edit layers.0.ffn 6 5"), 3);
    marks(EVENTS("net2net layers.1.ffn 3 5"), NONE); /* old ones changed, too */
}

static void a_lineage_of_another_model(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_lineage lineage = lineage_of(EVENTS("tokens layers.7.ffn 3 5"));
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_DATA);
    assert_string_equal(err.text,
                        "lineage: a growth of layers.7.ffn to 5 tokens does not fit the model");
    tf_lineage_fini(&lineage);
    lineage = lineage_of(EVENTS("tokens layers.1.ffn 3000 5000"));
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_DATA);
    tf_lineage_fini(&lineage);
    tf_model_free(model);
}

static void grown_and_fresh(void **state)
{
    (void)state;
    static const struct {
        const char *const events[4];
        bool grown, fresh;
    } cases[] = {{{"train"}, false, false},
                 {{"train", "tokens a 1 2"}, true, true},
                 {{"train", "tokens a 1 2", "edit a 2 1"}, true, true},
                 {{"train", "tokens a 1 2", "train"}, true, false},
                 {{"train", "edit a 2 1"}, false, false},
                 {{"edit a 1 2"}, true, true},
                 {{"hyperclone a 1 2"}, true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tf_lineage lineage = lineage_of(cases[i].events);
        assert_int_equal(tf_aging_grown(&lineage), cases[i].grown);
        assert_int_equal(tf_aging_fresh(&lineage), cases[i].fresh);
        tf_lineage_fini(&lineage);
    }
}

/* ---- freezing ---- */

/* Rows of that table that take no update. */
static size_t frozen(const struct tf_model *model, const char *name)
{
    const struct tf_table *t = tf_model_find(model, name);
    assert_non_null(t);
    return t->frozen ? t->rows : t->frozen_rows;
}

static void old_tokens_thaw(void **state)
{
    (void)state;
    char *patterns[] = {(char[]){"layers.0.attn.o.*"}};
    struct tf_config config = {.grow.freeze_steps = 3, .train.freeze = {1, patterns}};
    struct tf_model *model = small_model(TF_L2_NORM_GELU, false, true, 1);
    struct tf_lineage lineage = lineage_of(EVENTS("train", "tokens layers.1.ffn 3 5"));
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_OK);
    for (uint64_t age = 0; age < 5; age++) {
        assert_int_equal(tf_aging_freeze(model, &config, &lineage, age, &err), TF_OK);
        assert_int_equal(frozen(model, "layers.1.ffn.keys"), age < 3 ? 3 : 0);
        assert_int_equal(frozen(model, "layers.1.ffn.values"), age < 3 ? 3 : 0);
        assert_int_equal(frozen(model, "layers.0.ffn.keys") > 0, age < 3);
        assert_true(frozen(model, "layers.0.attn.o.keys") > 0);
        assert_int_equal(frozen(model, "embed.tokens"), 0);
        assert_int_equal(frozen(model, "head.tokens"), 0);
        assert_int_equal(frozen(model, "norm.weight"), 0);
    }
    tf_lineage_fini(&lineage);
    lineage = lineage_of(EVENTS("train", "net2net layers.1.ffn 3 5")); /* none are old */
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_OK);
    assert_int_equal(tf_aging_freeze(model, &config, &lineage, 0, &err), TF_OK);
    assert_int_equal(frozen(model, "layers.1.ffn.keys"), 0);
    tf_lineage_fini(&lineage);
    tf_model_free(model);
}

static void freezing_refused(const char *const *events, const char *message)
{
    char *patterns[] = {(char[]){"old-tokens"}};
    const struct tf_config config = {.train.freeze = {1, patterns}};
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_lineage lineage = lineage_of(events);
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_OK);
    assert_int_equal(tf_aging_freeze(model, &config, &lineage, 0, &err), TF_CONFIG);
    assert_string_equal(err.text, message);
    tf_lineage_fini(&lineage);
    tf_model_free(model);
}

static void old_tokens_unknown(void **state)
{
    (void)state;
    freezing_refused(EVENTS("train"), "train.freeze: old-tokens: this model was never grown");
    freezing_refused(EVENTS("tokens layers.1.ffn 3 6", "edit layers.1.ffn 6 5"),
                     "train.freeze: old-tokens: layers.1.ffn lost tokens since it was grown (6 to "
                     "5), so which are old is not known");
    freezing_refused(EVENTS("net2net layers.1.ffn 3 5"),
                     "train.freeze: old-tokens: the last growth, by net2net, changed old tokens "
                     "too");
}

/* ---- the ramp ---- */

/* Each step goes an equal part of what is left, and the last ends at the count, to the bit. */
static void scales_ramp(void **state)
{
    (void)state;
    struct tf_model *model = small_model(TF_L2_NORM_GELU, true, true, 1);
    struct tf_lineage lineage = lineage_of(EVENTS("tokens layers.1.ffn 3 5"));
    const struct tf_projection *grown = &model->layers[1].at[TF_FFN],
                               *old = &model->layers[1].at[TF_O];
    const double count = (double)grown->keys->rows, start = count / 3, other = old->keys->scale;
    assert_int_equal(tf_aging_mark(model, &lineage, &err), TF_OK);
    grown->keys->scale = grown->values->scale = model->shape.layer[1].scale[TF_FFN] = start;
    for (uint64_t age = 0; age < 9; age++) {
        const double done = age < 7 ? (double)age / 7 : 1,
                     expected = start + (count - start) * done;
        assert_true(fabs(grown->keys->scale - expected) < 1e-12 * count);
        assert_true(grown->values->scale == grown->keys->scale);
        assert_true(model->shape.layer[1].scale[TF_FFN] == grown->keys->scale);
        assert_true(age == 0 ? grown->keys->scale == start
                             : age < 7 || grown->keys->scale == count);
        tf_aging_ramp(model, 7, age);
    }
    assert_true(old->keys->scale == other);
    grown->keys->scale = grown->values->scale = start;
    tf_aging_ramp(model, 0, 0); /* no ramp */
    assert_true(grown->keys->scale == start);
    tf_lineage_fini(&lineage);
    tf_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_rows_are_those_of_the_last_growth),
        cmocka_unit_test(a_lineage_of_another_model),
        cmocka_unit_test(grown_and_fresh),
        cmocka_unit_test(old_tokens_thaw),
        cmocka_unit_test(old_tokens_unknown),
        cmocka_unit_test(scales_ramp),
    };

    return cmocka_run_group_tests_name("aging", tests, NULL, NULL);
}
