/* train/config: the table of keys, reading, --set, checks, printing, and what may change on a
 * resume. */
#include "config_text.h"

#include "nn/model.h"
#include "text/corpus.h"
#include <unistd.h>

static void defaults(void **state)
{
    struct tf_config config = make();

    (void)state;
    assert_int_equal(config.model.num_layers, 4);
    assert_int_equal(config.model.qkv_tokens.count, 1);
    assert_int_equal(tf_config_tokens(&config.model.ffn_tokens, 3), 512);
    assert_int_equal(config.model.norm_activation, TF_L2_NORM_GELU);
    assert_true(config.model.rotary_pct == 0.25);
    assert_true(config.model.tie_embeddings);
    assert_int_equal(config.data.train.count, 0);
    assert_string_equal(config.data.separator, "<|endoftext|>");
    assert_int_equal(config.data.order, TF_ORDER_SHUFFLED);
    assert_int_equal(config.train.micro_batch, 0);
    assert_false(config.train.keep_best);
    assert_true(config.optimizer.betas[1] == 0.95);
    assert_true(config.optimizer.eps == 1e-8);
    assert_int_equal(config.optimizer.schedule, TF_COSINE);
    assert_int_equal(config.grow.values, TF_INIT_RANDOM);
    assert_int_equal(config.grow.scale, TF_SCALE_KEEP);
    assert_int_equal(config.model.kind, TF_TOKENFORMER);
    assert_int_equal(config.grow.stages.count, 0);
    checks_to("", NULL);
    tf_config_fini(&config);
    tf_config_fini(&config); /* a zeroed one may be */
}

/* The names of enumerated values stand in the order of their enums. */
static void choices(void **state)
{
    struct tf_config config = parse("model: {norm_activation: softmax, tie_embeddings: false}\n"
                                    "data: {order: sequential}\noptimizer: {schedule: constant}\n"
                                    "grow: {keys: copy, values: zero, scale: count}\n");

    (void)state;
    assert_int_equal(config.model.norm_activation, TF_SOFTMAX);
    assert_false(config.model.tie_embeddings);
    assert_int_equal(config.data.order, TF_ORDER_SEQUENTIAL);
    assert_int_equal(config.optimizer.schedule, TF_CONSTANT);
    assert_int_equal(config.grow.keys, TF_INIT_COPY);
    assert_int_equal(config.grow.values, TF_INIT_ZERO);
    assert_int_equal(config.grow.scale, TF_SCALE_COUNT);
    set(&config, "model.norm_activation=gelu_l2_norm");
    set(&config, "optimizer.schedule=wsd");
    assert_int_equal(config.model.norm_activation, TF_GELU_L2_NORM);
    assert_int_equal(config.optimizer.schedule, TF_WSD);
    set(&config, "optimizer.schedule=linear");
    assert_int_equal(config.optimizer.schedule, TF_LINEAR);
    tf_config_fini(&config);
}

static void values_of_every_type(void **state)
{
    struct tf_config config = parse("model:\n  qkv_tokens: [1, 2, 3, 4]\n  rotary_pct: .5\n"
                                    "data:\n  train: [a.txt, 'b c.txt', -]\n  valid: v.txt\n"
                                    "  separator: none\n"
                                    "train:\n  seed: 18446744073709551615\n  keep_best: true\n"
                                    "optimizer:\n  betas: [0.8, 9.9e-1]\n"
                                    "grow:\n");

    (void)state;
    assert_int_equal(config.model.qkv_tokens.count, 4);
    assert_int_equal(tf_config_tokens(&config.model.qkv_tokens, 2), 3);
    assert_true(config.model.rotary_pct == 0.5);
    assert_int_equal(config.data.train.count, 3);
    assert_string_equal(config.data.train.items[1], "b c.txt");
    assert_string_equal(config.data.train.items[2], "-");
    assert_int_equal(config.data.valid.count, 1);
    assert_string_equal(config.data.valid.items[0], "v.txt");
    assert_string_equal(config.data.separator, "none");
    assert_true(config.train.seed == UINT64_MAX);
    assert_true(config.train.keep_best);
    assert_true(config.optimizer.betas[0] == 0.8 && config.optimizer.betas[1] == 0.99);
    /* a second text goes over the first */
    parse_into(&config, "data: {train: []}\nmodel: {qkv_tokens: 7}\n");
    assert_int_equal(config.data.train.count, 0);
    assert_int_equal(config.model.qkv_tokens.count, 1);
    assert_string_equal(config.data.valid.items[0], "v.txt");
    tf_config_fini(&config);
}

static void unknown_names(void **state)
{
    (void)state;
    refused("# a\nmodel:\n    hiden_size: 3\n",
            "run.yaml:3:5: unknown key model.hiden_size (did you mean hidden_size?)");
    refused("model:\n  seed: 3\n",
            "run.yaml:2:3: unknown key model.seed (did you mean train.seed?)");
    refused("model:\n  zebra: 3\n", "run.yaml:2:3: unknown key model.zebra");
    refused("modle:\n  num_layers: 3\n",
            "run.yaml:1:1: unknown section modle (did you mean model?)");
    refused("hyperparameters: {}\n", "run.yaml:1:1: unknown section hyperparameters");
    refused("model: 4\n", "run.yaml:1:8: section model: expected keys, found \"4\"");
    refused("- model\n", "run.yaml:1:1: expected sections, found [model]");
    refused("model:\n  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: 3\n",
            "run.yaml:2:3: unknown key "
            "model.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    refused("train:\n  steps: 3\n  seed: 2\n  steps: 4\n",
            "run.yaml:4:3: duplicate key steps (first at 2:3)");
    refused("train:\n  steps: *a\n", "run.yaml:2:10: aliases are not allowed");
}

static void wrong_values(void **state)
{
    (void)state;
    refused("model:\n\n\n    num_layers: four\n",
            "run.yaml:4:17: model.num_layers: expected an integer from 1 to 1024, found \"four\"");
    refused("model: {num_layers: 0}\n",
            "run.yaml:1:21: model.num_layers: expected an integer from 1 to 1024, found \"0\"");
    refused("model: {num_layers: 1025}\n",
            "run.yaml:1:21: model.num_layers: expected an integer from 1 to 1024, found \"1025\"");
    refused("model: {num_layers: '4'}\n", "run.yaml:1:21: model.num_layers: expected an integer "
                                          "from 1 to 1024, found the text \"4\"");
    refused("model: {num_layers: [4]}\n",
            "run.yaml:1:21: model.num_layers: expected an integer from 1 to 1024, found [4]");
    refused(
        "train: {steps: 1e6}\n",
        "run.yaml:1:16: train.steps: expected an integer from 1 to 1000000000000, found \"1e6\"");
    refused(
        "train: {steps: }\n",
        "run.yaml:1:16: train.steps: expected an integer from 1 to 1000000000000, found nothing");
    refused("train: {keep_best: yes}\n",
            "run.yaml:1:20: train.keep_best: expected one of true, false, found \"yes\"");
    refused("model: {rotary_pct: 1.01}\n",
            "run.yaml:1:21: model.rotary_pct: expected a number from 0 to 1, found \"1.01\"");
    refused("model: {rotary_pct: -0.1}\n",
            "run.yaml:1:21: model.rotary_pct: expected a number from 0 to 1, found \"-0.1\"");
    refused("optimizer: {eps: 0}\n",
            "run.yaml:1:18: optimizer.eps: expected a number above 0, up to 1, found \"0\"");
    refused("optimizer: {lr: nan}\n",
            "run.yaml:1:17: optimizer.lr: expected a number from 0 to 1000, found \"nan\"");
    refused("optimizer: {betas: [0.9]}\n",
            "run.yaml:1:20: optimizer.betas: expected a list of two numbers from 0 to 0.999999, "
            "found [0.9]");
    refused("optimizer: {betas: [0.9, 1]}\n",
            "run.yaml:1:20: optimizer.betas: expected a list of two numbers from 0 to 0.999999, "
            "found [0.9, 1]");
    refused("optimizer: {schedule: cos}\n",
            "run.yaml:1:23: optimizer.schedule: expected one of cosine, wsd, linear, constant, "
            "found \"cos\"");
    refused("data: {order: \"shuffled, sequential\"}\n",
            "run.yaml:1:15: data.order: expected one of shuffled, sequential, "
            "found the text \"shuffled, sequential\"");
    refused("data: {train: [a, [b]]}\n", "run.yaml:1:15: data.train: expected a list of texts of "
                                         "up to 1023 bytes, found [a, [...]]");
    refused("data: {train: ['']}\n", "run.yaml:1:15: data.train: expected a list of texts of up to "
                                     "1023 bytes, found ['']");
    refused(
        "data: {train: {a: b}}\n",
        "run.yaml:1:15: data.train: expected a list of texts of up to 1023 bytes, found a mapping");
    refused("model: {qkv_tokens: []}\n",
            "run.yaml:1:21: model.qkv_tokens: expected an integer or a list of integers from 1 to "
            "2147483648, found an empty list");
    refused("model: {qkv_tokens: [1, x]}\n",
            "run.yaml:1:21: model.qkv_tokens: expected an integer or a list of integers from 1 to "
            "2147483648, found [1, x]");
    refused("model: {ffn_tokens: [10000000001, 10000000002, 10000000003, 10000000004, 10000000005, "
            "10000000006]}\n",
            "run.yaml:1:21: model.ffn_tokens: expected an integer or a list of integers from 1 to "
            "2147483648, found [10000000001, 10000000002, 10000000003, 10000000004, 10000000005, "
            "...]");
}

static void long_texts(void **state)
{
    char text[2048];
    struct tf_config config;
    struct tf_err err = {0};

    (void)state;
    snprintf(text, sizeof(text), "data: {train: [%01023d]}", 0);
    config = parse(text);
    assert_int_equal(strlen(config.data.train.items[0]), 1023);
    tf_config_fini(&config);
    config = make();
    snprintf(text, sizeof(text), "data: {train: [%01024d]}", 0);
    assert_int_equal(tf_config_parse(&config, "x", text, strlen(text), TF_DATA, &err), TF_DATA);
    tf_config_fini(&config);
}

static void assignments(void **state)
{
    struct tf_config config = make();

    (void)state;
    set(&config, "train.steps=10");
    assert_int_equal(config.train.steps, 10);
    set(&config, "data.train=a.txt");
    assert_int_equal(config.data.train.count, 1);
    set(&config, "data.train=[a.txt, b=c.txt]");
    assert_int_equal(config.data.train.count, 2);
    assert_string_equal(config.data.train.items[1], "b=c.txt");
    set(&config, "data.train=a.txt,b.txt, c.txt");
    assert_int_equal(config.data.train.count, 3);
    set(&config, "data.train=-");
    assert_string_equal(config.data.train.items[0], "-");
    set(&config, "data.train=");
    assert_int_equal(config.data.train.count, 0);
    set(&config, "data.separator=<|endoftext|>");
    assert_string_equal(config.data.separator, "<|endoftext|>");
    set(&config, "data.separator=\"\\n\"");
    assert_string_equal(config.data.separator, "\n");
    set(&config, "model.ffn_tokens=[1,2,3,4]");
    assert_int_equal(config.model.ffn_tokens.count, 4);
    set(&config, "optimizer.betas=[0.5, 0.6]");
    assert_true(config.optimizer.betas[0] == 0.5);
    set(&config, "train.freeze=layers.*.ffn.*");
    assert_string_equal(config.train.freeze.items[0], "layers.*.ffn.*");
    tf_config_fini(&config);
}

static void wrong_assignments(void **state)
{
    (void)state;
    set_refused("train.step=3", "--set train.step: unknown key (did you mean train.steps?)");
    set_refused("steps=3", "--set steps: unknown key (did you mean train.steps?)");
    set_refused("model.seed=3", "--set model.seed: unknown key (did you mean train.seed?)");
    set_refused("zebra=3", "--set zebra: unknown key");
    set_refused("modle.num_layers=3",
                "--set modle.num_layers: unknown key (did you mean model.num_layers?)");
    set_refused("train.steps", "--set train.steps: expected section.key=value");
    set_refused("=3", "--set : unknown key");
    set_refused("train.steps=x",
                "--set train.steps: expected an integer from 1 to 1000000000000, found \"x\"");
    set_refused(
        "train.steps=",
        "--set train.steps: expected an integer from 1 to 1000000000000, found an empty list");
    set_refused("data.train=[a", "--set data.train: \"[a\" cannot be read as YAML");
    set_refused("data.train=a: b",
                "--set data.train: expected a list of texts of up to 1023 bytes, found a mapping");
}

static void what_keys_are_to_each_other(void **state)
{
    (void)state;
    checks_to("model: {num_attention_heads: 3}\n",
              "model.num_attention_heads: 3 does not divide hidden_size 128");
    checks_to(
        "model: {rotary_pct: 0.3}\n",
        "model.rotary_pct: rotates 9 of the 32 channels of a head, which must be an even number");
    checks_to("model: {rotary_pct: 0}\n", NULL);
    checks_to("model: {qkv_tokens: [1, 2, 3]}\n",
              "model.qkv_tokens: list has 3 entries, num_layers is 4");
    checks_to("model: {proj_tokens: [1, 2]}\n",
              "model.proj_tokens: list has 2 entries, num_layers is 4");
    checks_to("model: {ffn_tokens: [1, 2, 3, 4, 5]}\n",
              "model.ffn_tokens: list has 5 entries, num_layers is 4");
    checks_to("model: {ffn_tokens: [1, 2, 3, 4]}\n", NULL);
    checks_to("data: {tokenizer: bpe}\n", "data.tokenizer: expected bytes, found \"bpe\"");
    checks_to(
        "data: {separator: 0123456789012345678901234567890123456789012345678901234567890123}\n",
        "data.separator: 64 bytes long, the limit is 63");
    checks_to("data: {valid: a, valid_fraction: 0.1}\n",
              "data.valid_fraction: data.valid is given too; only one can be");
    checks_to("train: {micro_batch: 13}\n", "train.micro_batch: 13 is above batch_size 12");
    checks_to("train: {micro_batch: 5}\n", NULL);
    checks_to("train: {divergence_factor: 0.5}\n",
              "train.divergence_factor: expected 0 or more than 1, found 0.5");
    checks_to("train: {divergence_factor: 0}\n", NULL);
    checks_to("train: {keep_best: true}\n",
              "train.keep_best: needs data.valid or data.valid_fraction");
    checks_to("train: {keep_best: true}\ndata: {valid_fraction: 0.1}\n", NULL);
    checks_to("optimizer: {lr: 1e-5}\n", "optimizer.min_lr: 0.0001 is above lr 1e-05");
    checks_to("optimizer: {warmup: 2.5}\n",
              "optimizer.warmup: expected a fraction below 1 or whole steps, found 2.5");
    checks_to("optimizer: {warmup: 2001}\n",
              "optimizer.warmup: 2001 steps are more than train.steps 2000");
    checks_to("optimizer: {warmup: 2000}\n", NULL);
    checks_to("optimizer: {schedule: wsd, warmup: 1000, decay: 0.6}\n",
              "optimizer.decay: warmup (0.5 of the steps) and decay 0.6 are more than the run");
    checks_to("optimizer: {schedule: wsd, warmup: 1000, decay: 0.5}\n", NULL);
    checks_to(
        "grow: {values: zero}\n",
        "grow.values: zero values with zero keys never learn: the gradient of each is zero while "
        "the other is");
    checks_to("grow: {values: zero, keys: random}\n", NULL);
}

static void printing(void **state)
{
    struct tf_config config =
        parse("model: {qkv_tokens: [1, 2, 3, 4], tie_embeddings: false}\n"
              "data: {train: [a.txt, -, 'x y'], separator: \"\\n\\u2028\"}\n"
              "train: {seed: 18446744073709551615, freeze: [layers.*.ffn.*, old-tokens]}\n"
              "optimizer: {lr: 0.30000000000000004, schedule: linear, warmup: 100}\n");
    char *text = print(&config), *again;
    struct tf_config back = parse(text);

    (void)state;
    again = print(&back);
    assert_string_equal(again, text);
    assert_non_null(strstr(text, "model:\n  kind: tokenformer\n  num_layers: 4\n"));
    assert_non_null(strstr(text, "  qkv_tokens: [1, 2, 3, 4]\n"));
    assert_non_null(strstr(text, "\ndata:\n  train: [a.txt, \"-\", \"x y\"]\n  valid: []\n"));
    assert_non_null(strstr(text, "  separator: \"\\n\\u2028\"\n"));
    assert_non_null(strstr(text, "  lr: 0.30000000000000004\n"));
    assert_non_null(strstr(text, "  freeze: [\"layers.*.ffn.*\", old-tokens]\n"));
    assert_true(back.optimizer.lr == config.optimizer.lr);
    tf_free(text);
    tf_free(again);
    tf_config_fini(&config);
    tf_config_fini(&back);
}

/* The documented default of every key is what a fresh config prints. */
static void table_of_keys(void **state)
{
    struct tf_config config = make();
    char *text = print(&config), line[256];

    (void)state;
    assert_true(tf_config_keys() > 40);
    for (size_t i = 0; i < tf_config_keys(); i++) {
        struct tf_config_doc doc = tf_config_key(i);
        snprintf(line, sizeof(line), "\n  %s: %s\n", doc.key, doc.fallback);
        assert_non_null(strstr(text, line));
        assert_non_null(doc.section);
        assert_true(doc.type[0] != '\0' && doc.range[0] != '\0' && doc.help[0] != '\0');
        assert_true(doc.help[strlen(doc.help) - 1] != '.');
    }
    tf_free(text);
    tf_config_fini(&config);
}

static void resume_to(const char *assignment, const char *message)
{
    struct tf_config saved = make(), now = make();
    struct tf_err err = {0};

    set(&now, assignment);
    assert_int_equal(tf_config_resumable(&saved, &now, &err), message == NULL ? TF_OK : TF_CONFIG);
    assert_string_equal(err.text, message == NULL ? "" : message);
    tf_config_fini(&saved);
    tf_config_fini(&now);
}

static void resuming(void **state)
{
    (void)state;
    resume_to("train.steps=5000", NULL);
    resume_to("data.train=[other.txt]", NULL);
    resume_to("train.micro_batch=4", NULL);
    resume_to("optimizer.lr=0.1", NULL);
    resume_to("grow.keys=copy", NULL);
    resume_to("model.qkv_tokens=[128, 128, 128, 128]", NULL);
    resume_to(
        "model.qkv_tokens=[128, 128, 128, 129]",
        "model.qkv_tokens: the run began with 128, and cannot go on with [128, 128, 128, 129]");
    resume_to("model.ffn_tokens=64",
              "model.ffn_tokens: the run began with 512, and cannot go on with 64");
    resume_to(
        "model.norm_activation=softmax",
        "model.norm_activation: the run began with l2_norm_gelu, and cannot go on with softmax");
    resume_to("data.separator=none",
              "data.separator: the run began with \"<|endoftext|>\", and cannot go on with none");
    resume_to("data.order=sequential",
              "data.order: the run began with shuffled, and cannot go on with sequential");
    resume_to("train.batch_size=24",
              "train.batch_size: the run began with 12, and cannot go on with 24");
    resume_to("train.seed=2", "train.seed: the run began with 1, and cannot go on with 2");
}

static void loading(void **state)
{
    struct tf_config config;
    struct tf_err err = {0};
    char path[] = "/tmp/tf-test-config-XXXXXX", expected[128];
    const char *text = "train:\n  steps: 7\n  bad: 1\n";
    int fd = mkstemp(path);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
    assert_int_equal(tf_config_load(&config, path, &err), TF_CONFIG);
    snprintf(expected, sizeof(expected), "%s:3:3: unknown key train.bad", path);
    assert_string_equal(err.text, expected);
    tf_config_fini(&config);
    assert_int_equal(truncate(path, 18), 0);
    assert_int_equal(tf_config_load(&config, path, &err), TF_OK);
    assert_int_equal(config.train.steps, 7);
    tf_config_fini(&config);
    unlink(path);
    assert_int_equal(tf_config_load(&config, path, &err), TF_NOINPUT);
    tf_config_fini(&config);
}

/* The configs that come with the project. */
static void shipped_configs(void **state)
{
    const char *const names[] = {
        "quick",           "series-124m",      "series-354m",      "series-757m",
        "series-1.4b",     "tokenformer-150m", "tokenformer-450m", "tokenformer-900m",
        "tokenformer-1.5b"};
    const char *folder = getenv("TF_DATA");
    struct tf_config config;
    struct tf_err err = {0};
    char path[512];

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        snprintf(path, sizeof(path), "%s/configs/%s.yaml", folder == NULL ? "data" : folder,
                 names[i]);
        if (tf_config_load(&config, path, &err) != TF_OK || tf_config_check(&config, &err) != TF_OK)
            fail_msg("%s: %s", path, err.text);
        assert_true(config.data.train.count > 0);
        tf_config_fini(&config);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(choices),
        cmocka_unit_test(values_of_every_type),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(wrong_values),
        cmocka_unit_test(long_texts),
        cmocka_unit_test(assignments),
        cmocka_unit_test(wrong_assignments),
        cmocka_unit_test(what_keys_are_to_each_other),
        cmocka_unit_test(printing),
        cmocka_unit_test(table_of_keys),
        cmocka_unit_test(resuming),
        cmocka_unit_test(loading),
        cmocka_unit_test(shipped_configs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
