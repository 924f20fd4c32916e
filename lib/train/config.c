#include "train/config.h"

#include "base/io.h"
#include "base/mem.h"
#include "text/tokenizer.h"
#include "train/config_keys.h"
#include <string.h>

#define MAX_FILE (1u << 20) /* bytes of a config */
#define MAX_NAME 64         /* bytes of "section.key" that are compared with the known ones */

/* ---- names ---- */

enum name_part { SECTION, KEY, FULL };

char *tf_key_hint(char out[128], const char *name, const char *const *names, size_t count)
{
    const char *nearest = tf_nearest(name, names, count);

    out[0] = '\0';
    if (nearest != NULL)
        snprintf(out, 128, " (did you mean %s?)", nearest);
    return out;
}

/* The nearest known name. section: only its keys; NULL: all. */
static char *suggest(char out[128], const char *section, const char *name, enum name_part part)
{
    const char *names[TF_MOST_KEYS];
    size_t count = 0;

    for (size_t i = 0; i < tf_config_keys(); i++) {
        const struct tf_key *key = tf_key_at(i);
        if (section == NULL || strcmp(section, key->section) == 0)
            names[count++] = part == SECTION ? key->section : part == KEY ? key->name : key->full;
    }
    return tf_key_hint(out, name, names, count);
}

/* The key of this very name in another section; else what is near. */
static char *suggest_key(char out[128], const char *section, const char *name, const char *given,
                         enum name_part part)
{
    for (size_t i = 0; i < tf_config_keys(); i++)
        if (strcmp(tf_key_at(i)->name, name) == 0) {
            snprintf(out, 128, " (did you mean %s?)", tf_key_at(i)->full);
            return out;
        }
    return suggest(out, section, given, part);
}

static const struct tf_key *find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < tf_config_keys(); i++)
        if (strcmp(tf_key_at(i)->section, section) == 0 && strcmp(tf_key_at(i)->name, name) == 0)
            return tf_key_at(i);
    return NULL;
}

static bool is_section(const char *name)
{
    for (size_t i = 0; i < tf_config_keys(); i++)
        if (strcmp(tf_key_at(i)->section, name) == 0)
            return true;
    return false;
}

/* ---- life ---- */

/* Reads text as the value of key, from between the brackets of a list: there "-" is a text like any
 * other, "a, b" are two, and nothing is an empty list. */
static enum tf_code read_text(struct tf_config *config, const struct tf_key *key, const char *text,
                              const char *place, struct tf_err *err)
{
    size_t n = strlen(text) + 3;
    struct tf_yaml *root = NULL;
    enum tf_code code = TF_MEMORY;
    char *list = tf_new(n, 1, "value", err);

    if (list != NULL) {
        snprintf(list, n, "[%s]", text);
        code = tf_yaml_parse(&root, "value", list, n - 1, TF_CONFIG, err);
        tf_free(list);
    }
    if (code == TF_OK)
        code = tf_key_read(key, config, root->count == 1 ? root->items[0] : root,
                           &(struct tf_origin){place, false, TF_CONFIG}, err);
    else if (code == TF_CONFIG)
        tf_fail(err, code, "%s%s.%s: \"%.80s\" cannot be read as YAML", place, key->section,
                key->name, text);
    tf_yaml_free(root);
    return code;
}

enum tf_code tf_config_init(struct tf_config *config, struct tf_err *err)
{
    *config = (struct tf_config){0};
    for (size_t i = 0; i < tf_config_keys(); i++) {
        enum tf_code code = read_text(config, tf_key_at(i), tf_key_at(i)->fallback, "", err);
        if (code != TF_OK)
            return code;
    }
    return TF_OK;
}

void tf_config_fini(struct tf_config *config)
{
    for (size_t i = 0; i < tf_config_keys(); i++)
        tf_key_fini(tf_key_at(i), config);
    *config = (struct tf_config){0};
}

/* ---- reading ---- */

/* The key whose value a whole section that is a list is, or NULL. */
static const struct tf_key *list_key(const char *section)
{
    for (size_t i = 0; i < tf_config_keys(); i++)
        if (strcmp(tf_key_at(i)->section, section) == 0 && tf_key_at(i)->kind == TF_KEY_STAGES)
            return tf_key_at(i);
    return NULL;
}

static enum tf_code read_keys(struct tf_config *config, const struct tf_yaml *name,
                              const struct tf_yaml *section, const struct tf_origin *from,
                              struct tf_err *err)
{
    char hint[128], place[512];
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < section->count && code == TF_OK; i++) {
        const struct tf_yaml *at = section->keys[i];
        const struct tf_key *key = find_key(name->text, at->text);
        if (key == NULL)
            return tf_fail(err, from->code, "%sunknown key %s.%s%s",
                           tf_origin_place(place, from, at), name->text, at->text,
                           suggest_key(hint, name->text, at->text, at->text, KEY));
        code = tf_key_read(key, config, section->items[i], from, err);
    }
    return code;
}

static enum tf_code read_section(struct tf_config *config, const struct tf_yaml *name,
                                 const struct tf_yaml *section, const struct tf_origin *from,
                                 struct tf_err *err)
{
    char hint[128], place[512];

    if (!is_section(name->text))
        return tf_fail(err, from->code, "%sunknown section %s%s",
                       tf_origin_place(place, from, name), name->text,
                       suggest(hint, NULL, name->text, SECTION));
    if (section->kind == TF_YAML_SCALAR && section->text[0] == '\0' && !section->quoted)
        return TF_OK; /* all its keys are commented out */
    if (section->kind == TF_YAML_SEQUENCE && list_key(name->text) != NULL)
        return tf_key_read(list_key(name->text), config, section, from, err);
    if (section->kind != TF_YAML_MAPPING)
        return tf_fail(err, from->code, "%ssection %s: expected keys, found %s",
                       tf_origin_place(place, from, section), name->text,
                       tf_key_found(hint, section));
    return read_keys(config, name, section, from, err);
}

enum tf_code tf_config_parse(struct tf_config *config, const char *name, const char *text, size_t n,
                             enum tf_code code, struct tf_err *err)
{
    const struct tf_origin from = {name, true, code};
    struct tf_yaml *root;
    char place[512], found[128];

    code = tf_yaml_parse(&root, name, text, n, code, err);
    if (code != TF_OK)
        return code;
    if (root->kind != TF_YAML_MAPPING)
        code = tf_fail(err, from.code, "%sexpected sections, found %s",
                       tf_origin_place(place, &from, root), tf_key_found(found, root));
    for (size_t i = 0; code == TF_OK && i < root->count; i++)
        code = read_section(config, root->keys[i], root->items[i], &from, err);
    tf_yaml_free(root);
    return code;
}

enum tf_code tf_config_load(struct tf_config *config, const char *path, struct tf_err *err)
{
    enum tf_code code = tf_config_init(config, err);
    char *text;
    size_t size;

    if (code == TF_OK)
        code = tf_read_file(path, MAX_FILE, &text, &size, err);
    if (code != TF_OK)
        return code;
    code = tf_config_parse(config, strcmp(path, "-") == 0 ? "standard input" : path, text, size,
                           TF_CONFIG, err);
    tf_free(text);
    return code;
}

enum tf_code tf_config_assign(struct tf_config *config, const char *place, const char *assignment,
                              struct tf_err *err)
{
    const char *equals = strchr(assignment, '=');
    char name[MAX_NAME], hint[128];
    const char *key;

    if (equals == NULL)
        return tf_fail(err, TF_CONFIG, "%s%.80s: expected section.key=value", place, assignment);
    snprintf(name, sizeof(name), "%.*s", (int)(equals - assignment), assignment);
    for (size_t i = 0; i < tf_config_keys(); i++)
        if (strcmp(tf_key_at(i)->full, name) == 0)
            return read_text(config, tf_key_at(i), equals + 1, place, err);
    key = strchr(name, '.') == NULL ? name : strchr(name, '.') + 1;
    return tf_fail(err, TF_CONFIG, "%s%s: unknown key%s", place, name,
                   suggest_key(hint, NULL, key, name, FULL));
}

enum tf_code tf_config_set(struct tf_config *config, const char *assignment, struct tf_err *err)
{
    return tf_config_assign(config, "--set ", assignment, err);
}

/* ---- writing ---- */

enum tf_code tf_config_print(const struct tf_config *config, char **out, size_t *size,
                             struct tf_err *err)
{
    const char *section = "";
    struct tf_yaml_text yaml;

    *out = NULL;
    if (tf_yaml_begin(&yaml, err) != TF_OK)
        return TF_MEMORY;
    for (size_t i = 0; i < tf_config_keys(); i++) {
        const struct tf_key *key = tf_key_at(i);
        if (strcmp(section, key->section) != 0)
            fprintf(yaml.file, "%s:\n", key->section);
        section = key->section;
        fprintf(yaml.file, "  %s: ", key->name);
        tf_key_print(key, config, yaml.file);
        fputc('\n', yaml.file);
    }
    return tf_yaml_end(&yaml, out, size, err);
}

/* ---- resuming ---- */

uint64_t tf_config_tokens(const struct tf_counts *counts, uint64_t layer)
{
    return counts->items[counts->count == 1 ? 0 : layer];
}

/* One number for all layers is the same as a list that repeats it. */
static bool same_counts(const struct tf_counts *a, const struct tf_counts *b)
{
    size_t longest = a->count > b->count ? a->count : b->count;

    if (a->count != b->count && a->count != 1 && b->count != 1)
        return false;
    for (size_t i = 0; i < longest; i++)
        if (tf_config_tokens(a, i) != tf_config_tokens(b, i))
            return false;
    return true;
}

static bool is_same_list(const struct tf_key *key, const struct tf_config *a,
                         const struct tf_config *b)
{
    return key->kind == TF_KEY_COUNTS && same_counts(tf_key_field(key, a), tf_key_field(key, b));
}

/* The value of key as text, freed with tf_free; NULL after setting err. */
static char *value_text(const struct tf_key *key, const struct tf_config *config,
                        struct tf_err *err)
{
    struct tf_yaml_text yaml;
    size_t size;
    char *text;

    if (tf_yaml_begin(&yaml, err) != TF_OK)
        return NULL;
    tf_key_print(key, config, yaml.file);
    return tf_yaml_end(&yaml, &text, &size, err) == TF_OK ? text : NULL;
}

enum tf_code tf_config_resumable(const struct tf_config *saved, const struct tf_config *now,
                                 struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < tf_config_keys() && code == TF_OK; i++) {
        const struct tf_key *key = tf_key_at(i);
        char *before, *after;
        if (!key->fixed || is_same_list(key, saved, now))
            continue;
        before = value_text(key, saved, err);
        after = before == NULL ? NULL : value_text(key, now, err);
        if (after == NULL)
            code = TF_MEMORY;
        else if (strcmp(before, after) != 0)
            code = tf_fail(err, TF_CONFIG,
                           "%s.%s: the run began with %.200s, and cannot go on with %.200s",
                           key->section, key->name, before, after);
        tf_free(before);
        tf_free(after);
    }
    return code;
}

enum tf_code tf_config_adopt(struct tf_config *config, const struct tf_config *from,
                             const char *section, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < tf_config_keys() && code == TF_OK; i++) {
        const struct tf_key *key = tf_key_at(i);
        char *text;
        if (section != NULL && strcmp(key->section, section) != 0)
            continue;
        text = value_text(key, from, err);
        code = text == NULL ? TF_MEMORY : read_text(config, key, text, "", err);
        tf_free(text);
    }
    return code;
}

/* ---- what keys must be to each other ---- */

static enum tf_code check_list(const char *name, const struct tf_counts *counts, uint64_t layers,
                               struct tf_err *err)
{
    if (counts->count == 1 || counts->count == layers)
        return TF_OK;
    return tf_fail(err, TF_CONFIG, "model.%s: list has %zu entries, num_layers is %ju", name,
                   counts->count, (uintmax_t)layers);
}

static enum tf_code check_model(const struct tf_config *config, struct tf_err *err)
{
    uint64_t width = config->model.hidden_size, heads = config->model.num_attention_heads;
    uint64_t head = width / heads;
    uint64_t rotated = (uint64_t)((double)head * config->model.rotary_pct);
    uint64_t layers = config->model.num_layers;

    if (width % heads != 0)
        return tf_fail(err, TF_CONFIG,
                       "model.num_attention_heads: %ju does not divide hidden_size %ju",
                       (uintmax_t)heads, (uintmax_t)width);
    if (rotated % 2 != 0)
        return tf_fail(
            err, TF_CONFIG,
            "model.rotary_pct: rotates %ju of the %ju channels of a head, which must be an "
            "even number",
            (uintmax_t)rotated, (uintmax_t)head);
    if (check_list("qkv_tokens", &config->model.qkv_tokens, layers, err) != TF_OK ||
        check_list("proj_tokens", &config->model.proj_tokens, layers, err) != TF_OK ||
        check_list("ffn_tokens", &config->model.ffn_tokens, layers, err) != TF_OK)
        return TF_CONFIG;
    return TF_OK;
}

static enum tf_code check_data(const struct tf_config *config, struct tf_err *err)
{
    struct tf_tokenizer tokenizer;
    struct tf_err why = {0};

    if (tf_tokenizer_init(&tokenizer, config->data.tokenizer, config->data.separator, &why) !=
        TF_OK)
        return tf_fail(err, TF_CONFIG, "data.%s", why.text);
    if (config->data.valid.count > 0 && config->data.valid_fraction > 0)
        return tf_fail(err, TF_CONFIG,
                       "data.valid_fraction: data.valid is given too; only one can be");
    return TF_OK;
}

static enum tf_code check_train(const struct tf_config *config, struct tf_err *err)
{
    if (config->train.micro_batch > config->train.batch_size)
        return tf_fail(err, TF_CONFIG, "train.micro_batch: %ju is above batch_size %ju",
                       (uintmax_t)config->train.micro_batch, (uintmax_t)config->train.batch_size);
    if (config->train.divergence_factor > 0 && config->train.divergence_factor <= 1)
        return tf_fail(err, TF_CONFIG,
                       "train.divergence_factor: expected 0 or more than 1, found %g",
                       config->train.divergence_factor);
    if (config->train.keep_best && config->data.valid.count == 0 &&
        config->data.valid_fraction == 0)
        return tf_fail(err, TF_CONFIG, "train.keep_best: needs data.valid or data.valid_fraction");
    return TF_OK;
}

static enum tf_code check_optimizer(const struct tf_config *config, struct tf_err *err)
{
    double steps = (double)config->train.steps, warmup = config->optimizer.warmup;
    double fraction = warmup < 1 ? warmup : warmup / steps;

    if (config->optimizer.min_lr > config->optimizer.lr)
        return tf_fail(err, TF_CONFIG, "optimizer.min_lr: %g is above lr %g",
                       config->optimizer.min_lr, config->optimizer.lr);
    if (warmup >= 1 && warmup != (double)(uint64_t)warmup)
        return tf_fail(err, TF_CONFIG,
                       "optimizer.warmup: expected a fraction below 1 or whole steps, found %g",
                       warmup);
    if (warmup > steps)
        return tf_fail(err, TF_CONFIG,
                       "optimizer.warmup: %.0f steps are more than train.steps %.0f", warmup,
                       steps);
    if (config->optimizer.schedule == TF_WSD && fraction + config->optimizer.decay > 1)
        return tf_fail(
            err, TF_CONFIG,
            "optimizer.decay: warmup (%g of the steps) and decay %g are more than the run",
            fraction, config->optimizer.decay);
    return TF_OK;
}

static enum tf_code check_grow(const struct tf_config *config, struct tf_err *err)
{
    if (config->grow.keys == TF_INIT_ZERO && config->grow.values == TF_INIT_ZERO)
        return tf_fail(
            err, TF_CONFIG,
            "grow.values: zero values with zero keys never learn: the gradient of each is zero "
            "while the other is");
    return tf_stages_check(config, err);
}

enum tf_code tf_config_check(const struct tf_config *config, struct tf_err *err)
{
    enum tf_code (*const checks[])(const struct tf_config *, struct tf_err *) = {
        check_model, check_data, check_train, check_optimizer, check_grow};
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < sizeof(checks) / sizeof(*checks) && code == TF_OK; i++)
        code = checks[i](config, err);
    return code;
}
