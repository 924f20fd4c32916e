/* train/config: the stages of a run. */
#include "config_text.h"

static const char two_stages[] =
    "grow:\n"
    "  - {at: 400, qkv: x2, proj: 512, ffn: +64, layers: \"0-1,3\", keys: copy, values: zero,\n"
    "     scale: count, scale_ramp: 0}\n"
    "  - {at: 600, add_layers: 2, place: spread}\n";

static void stages(void **state)
{
    struct tf_config config = parse(two_stages);

    (void)state;
    assert_int_equal(config.grow.stages.count, 2);
    assert_int_equal(config.grow.stages.items[0].at, 400);
    struct tf_grow_options how = tf_stage_options(&config, 0);
    assert_int_equal(how.method, TF_GROW_TOKENS);
    assert_int_equal(how.qkv.kind, TF_TARGET_TIMES);
    assert_int_equal(how.qkv.number, 2);
    assert_int_equal(how.proj.kind, TF_TARGET_ABSOLUTE);
    assert_int_equal(how.ffn.kind, TF_TARGET_PLUS);
    assert_int_equal(how.width.kind, TF_TARGET_NONE);
    assert_string_equal(how.layers, "0-1,3");
    assert_int_equal(how.keys, TF_INIT_COPY);
    assert_int_equal(how.values, TF_INIT_ZERO);
    assert_int_equal(how.scale, TF_SCALE_COUNT);
    assert_int_equal(how.seed, 1);
    how = tf_stage_options(&config, 1);
    assert_null(how.layers);
    assert_int_equal(how.add_layers, 2);
    assert_int_equal(how.place, TF_PLACE_SPREAD);
    assert_int_equal(how.keys, TF_INIT_ZERO); /* the section's */
    assert_int_equal(how.values, TF_INIT_RANDOM);
    tf_config_fini(&config);
}

/* The ramp of the stage that the run is in; where it has none, the section's. */
static void ramps(void **state)
{
    struct tf_config config = parse(two_stages);

    (void)state;
    set(&config, "grow.scale_ramp=7");
    assert_int_equal(tf_stage_ramp(&config, 0), 7);
    assert_int_equal(tf_stage_ramp(&config, 1), 0);
    assert_int_equal(tf_stage_ramp(&config, 2), 7);
    tf_config_fini(&config);
}

/* A stage is written with what it was given, on one line, and --set takes that. */
static void stages_as_text(void **state)
{
    const char *line = "  stages: [{at: 400, qkv: x2, proj: 512, ffn: +64, layers: \"0-1,3\", "
                       "keys: copy, values: zero, scale: count, scale_ramp: 0}, "
                       "{at: 600, add_layers: 2, place: spread}]\n";
    struct tf_config config = parse(two_stages), back;
    char *text = print(&config), *again;

    (void)state;
    assert_non_null(strstr(text, line));
    back = parse(text);
    again = print(&back);
    assert_string_equal(again, text);
    tf_free(again);
    tf_free(text);
    set(&config, "grow.stages=[]");
    assert_int_equal(config.grow.stages.count, 0);
    set(&config, "grow.stages=[{at: 10, qkv: x2}]");
    assert_int_equal(config.grow.stages.count, 1);
    set(&config, "grow.stages={at: 10, method: hyperclone, width: x2}");
    assert_int_equal(config.grow.stages.count, 1);
    assert_int_equal(config.grow.stages.items[0].method, TF_GROW_HYPERCLONE);
    set(&config, "grow.stages=[{at: 10}, {at: 20}]");
    assert_int_equal(config.grow.stages.items[1].at, 20);
    tf_config_fini(&config);
    tf_config_fini(&back);
}

static void wrong_stages(void **state)
{
    (void)state;
    refused("grow:\n  - {at: 4, qvk: x2}\n",
            "run.yaml:2:13: grow.stages: unknown key qvk (did you mean qkv?)");
    refused("grow:\n  - {at: 4,\n     qkv: 2x}\n",
            "run.yaml:3:11: grow.stages.qkv: expected a target 512, x2 or +256, found \"2x\"");
    refused("grow:\n  stages:\n    - {at: 0, qkv: x2}\n",
            "run.yaml:3:12: grow.stages.at: expected an integer from 1 to 1000000000000, found "
            "\"0\"");
    refused("grow: [{qkv: x2}]\n",
            "run.yaml:1:8: grow.stages: the key at is missing, the step before which to grow");
    refused("grow: [4]\n", "run.yaml:1:8: grow.stages: expected the keys of a growth, found \"4\"");
    refused("grow: {stages: x2}\n",
            "run.yaml:1:16: grow.stages: expected a list of growths like {at: 4000, qkv: x2}, "
            "found \"x2\"");
    refused("grow: [{at: 4, method: widen}]\n",
            "run.yaml:1:24: grow.stages.method: expected one of tokens, net2net, hyperclone, found "
            "\"widen\"");
    refused("grow: [{at: 4, layers: }]\n",
            "run.yaml:1:24: grow.stages.layers: expected a list of layers of up to 255 bytes, like "
            "0-3,7, found nothing");
    refused("train: [4]\n", "run.yaml:1:8: section train: expected keys, found [4]");
    set_refused("grow.stages=[{at: 10, place: up}]",
                "--set grow.stages.place: expected one of top, middle, spread, found \"up\"");
    set_refused("grow.stages=[{at: 10, plac: top}]",
                "--set grow.stages: unknown key plac (did you mean place?)");
    checks_to("grow: [{at: 2000, qkv: x2}]\n",
              "grow.stages: at 2000 is not below train.steps 2000");
    checks_to("grow: [{at: 20, qkv: x2}, {at: 20, qkv: x2}]\n",
              "grow.stages: at 20 comes after at 20; each stage is later than the one before it");
    checks_to("grow: [{at: 20, method: net2net, width: x2, scale: count}]\n",
              "grow.stages: at 20: scale is for the method tokens");
    checks_to("grow: [{at: 20, qkv: x2, place: spread}]\n",
              "grow.stages: at 20: place is for new layers: add_layers");
    checks_to("grow: [{at: 20, add_layers: 1, place: spread}]\n", NULL);
    checks_to("grow: [{at: 20, qkv: x2, values: zero, keys: copy}, {at: 21, ffn: x2}]\n", NULL);
    /* To know that these rows could not learn takes the model (train/grow.h). */
    checks_to("grow: [{at: 20, qkv: x2, values: zero}]\n", NULL);
}

static void stages_behind(const char *text, uint64_t behind, uint64_t step, const char *message)
{
    struct tf_config saved = parse(two_stages), now = parse(text);
    struct tf_err err = {0};

    assert_int_equal(tf_stages_resumable(&saved, &now, behind, step, &err),
                     message == NULL ? TF_OK : TF_CONFIG);
    assert_string_equal(err.text, message == NULL ? "" : message);
    tf_config_fini(&saved);
    tf_config_fini(&now);
}

/* What is behind stays as it was; what is to come may change. */
static void stages_on_resume(void **state)
{
    (void)state;
    stages_behind(two_stages, 2, 700, NULL);
    stages_behind("", 0, 300, NULL);
    stages_behind("grow: [{at: 300, ffn: x4}]\n", 0, 300, NULL);
    stages_behind("grow: [{at: 300, ffn: x4}]\n", 0, 301,
                  "grow.stages: at 300 is past: the run is at step 301");
    stages_behind("grow: [{at: 300, ffn: x4}]\n", 1, 500,
                  "grow.stages: the run has grown by [{at: 400, qkv: x2, proj: 512, ffn: +64, "
                  "layers: \"0-1,3\", keys: copy, values: zero, scale: count, scale_ramp: 0}], and "
                  "cannot go on with [{at: 300, ffn: x4}]");
    stages_behind("", 1, 500,
                  "grow.stages: the run has grown by [{at: 400, qkv: x2, proj: 512, ffn: +64, "
                  "layers: \"0-1,3\", keys: copy, values: zero, scale: count, scale_ramp: 0}], and "
                  "cannot go on with []");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stages),           cmocka_unit_test(ramps),
        cmocka_unit_test(stages_as_text),   cmocka_unit_test(wrong_stages),
        cmocka_unit_test(stages_on_resume),
    };

    return cmocka_run_group_tests_name("stages", tests, NULL, NULL);
}
