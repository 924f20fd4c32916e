/* The YAML texts: configs, what --set takes, and the three other blobs of a checkpoint. The first
 * byte says which; the rest is the text. */
#include "fuzz.h"

#include "base/mem.h"
#include "nn/model.h"
#include "text/tokenizer.h"
#include "train/config.h"
#include "train/config_keys.h"
#include "train/modelio.h"
#include "train/state.h"
#include <stdlib.h>
#include <string.h>

/* ---- are two values the same, to the bit ---- */

static bool same_texts(const struct tf_strings *a, const struct tf_strings *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; i < a->count && same; i++)
        same = strcmp(a->items[i], b->items[i]) == 0;
    return same;
}

static bool same_counts(const struct tf_counts *a, const struct tf_counts *b)
{
    return a->count == b->count && memcmp(a->items, b->items, a->count * sizeof(*a->items)) == 0;
}

static bool same_target(const struct tf_target *a, const struct tf_target *b)
{
    return a->kind == b->kind && (a->kind == TF_TARGET_NONE || a->number == b->number);
}

static bool same_stages(const struct tf_stages *a, const struct tf_stages *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; i < a->count && same; i++) {
        const struct tf_stage *x = &a->items[i], *y = &b->items[i];
        same = x->at == y->at && x->method == y->method && same_target(&x->qkv, &y->qkv) &&
               same_target(&x->proj, &y->proj) && same_target(&x->ffn, &y->ffn) &&
               same_target(&x->width, &y->width) && strcmp(x->layers, y->layers) == 0 &&
               x->add_layers == y->add_layers && x->place == y->place && x->keys == y->keys &&
               x->values == y->values && x->scale == y->scale && x->scale_ramp == y->scale_ramp;
    }
    return same;
}

static bool same_value(const struct tf_key *key, const void *a, const void *b)
{
    switch (key->kind) {
    case TF_KEY_UINT:
        return memcmp(a, b, sizeof(uint64_t)) == 0;
    case TF_KEY_REAL:
        return memcmp(a, b, sizeof(double)) == 0;
    case TF_KEY_PAIR:
        return memcmp(a, b, 2 * sizeof(double)) == 0;
    case TF_KEY_CHOICE:
        return memcmp(a, b, sizeof(int)) == 0;
    case TF_KEY_BOOL:
        return memcmp(a, b, sizeof(bool)) == 0;
    case TF_KEY_TEXT:
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
    case TF_KEY_TEXTS:
        return same_texts(a, b);
    case TF_KEY_COUNTS:
        return same_counts(a, b);
    case TF_KEY_TARGET:
        return same_target(a, b);
    case TF_KEY_LAYERS:
        return strcmp(a, b) == 0;
    case TF_KEY_STAGES:
        return same_stages(a, b);
    }
    return false;
}

static void must_equal(const struct tf_config *a, const struct tf_config *b)
{
    for (size_t i = 0; i < tf_config_keys(); i++) {
        const struct tf_key *key = tf_key_at(i);
        must(same_value(key, tf_key_field(key, a), tf_key_field(key, b)));
    }
}

/* ---- configs ---- */

static void must_print(const struct tf_config *config, char **text, size_t *size)
{
    struct tf_err err = {0};

    must_succeed(tf_config_print(config, text, size, &err), &err);
}

/* What is printed reads back as the same config; so does what a config gives another. */
static void config_round_trip(const struct tf_config *config)
{
    struct tf_config again, adopted;
    struct tf_err err = {0};
    char *text, *other;
    size_t size, other_size;

    must_print(config, &text, &size);
    must_succeed(tf_config_init(&again, &err), &err);
    must_succeed(tf_config_parse(&again, "again", text, size, TF_CONFIG, &err), &err);
    must_equal(config, &again);
    must_succeed(tf_config_resumable(config, &again, &err), &err);
    must_print(&again, &other, &other_size);
    must_agree(text, size, other, other_size);

    must_succeed(tf_config_init(&adopted, &err), &err);
    must_succeed(tf_config_adopt(&adopted, config, NULL, &err), &err);
    must_equal(config, &adopted);
    tf_config_fini(&adopted);
    tf_config_fini(&again);
}

/* A config that passes the check describes a model: one too large at most. */
static void plan_model(const struct tf_config *config)
{
    struct tf_shape shape = {0};
    struct tf_model *model = NULL;
    struct tf_err err = {0};
    enum tf_code code = tf_config_check(config, &err);

    if (code == TF_OK) {
        code = tf_shape_init(&shape, config, 257, &err);
        if (code == TF_OK)
            code = tf_model_plan(&model, &shape, true, &err);
    }
    if (code == TF_OK)
        must(model->table_count >=
             3 + (shape.kind == TF_TRANSFORMER ? 6 : 10) * config->model.num_layers);
    else
        must_refuse(code, TF_CONFIG, &err);
    tf_model_free(model);
    tf_shape_fini(&shape);
}

static void end_config(struct tf_config *config, enum tf_code code, const struct tf_err *err)
{
    if (code == TF_OK) {
        fuzz_taken++;
        config_round_trip(config);
        plan_model(config);
    } else {
        must_refuse(code, TF_CONFIG, err);
    }
    tf_config_fini(config);
}

static void read_config(const char *text, size_t size)
{
    struct tf_config config;
    struct tf_err err = {0};

    must_succeed(tf_config_init(&config, &err), &err);
    end_config(&config, tf_config_parse(&config, "fuzz.yaml", text, size, TF_CONFIG, &err), &err);
}

static void read_assignment(const char *text, size_t size)
{
    struct tf_config config;
    struct tf_err err = {0};
    char *assignment = tf_strndup(text, size, &err);

    must(assignment != NULL);
    must_succeed(tf_config_init(&config, &err), &err);
    end_config(&config, tf_config_set(&config, assignment, &err), &err);
    tf_free(assignment);
}

/* ---- state and lineage ---- */

static void read_state(const char *text, size_t size)
{
    struct tf_state state, again;
    struct tf_err err = {0};
    char *printed, *other;
    size_t printed_size, other_size;
    enum tf_code code = tf_state_parse(&state, text, size, &err);

    if (code != TF_OK) {
        must_refuse(code, TF_DATA, &err);
        return;
    }
    fuzz_taken++;
    must_succeed(tf_state_print(&state, &printed, &printed_size, &err), &err);
    must_succeed(tf_state_parse(&again, printed, printed_size, &err), &err);
    must(again.step == state.step && again.tokens == state.tokens);
    must(again.updates == state.updates && again.data_hash == state.data_hash);
    must(memcmp(&again.best_loss, &state.best_loss, sizeof(double)) == 0);
    must(again.best_step == state.best_step && again.recent_count == state.recent_count);
    must(again.age == state.age && again.stages == state.stages && again.began == state.began);
    must(memcmp(again.recent, state.recent, sizeof(state.recent)) == 0);
    must_succeed(tf_state_print(&again, &other, &other_size, &err), &err);
    must_agree(printed, printed_size, other, other_size);
}

static void must_be_same_event(const struct tf_event *a, const struct tf_event *b)
{
    /* Events are zeroed before they are filled in, so what lies between the fields is the same. */
    must(memcmp(a, b, offsetof(struct tf_event, rows)) == 0);
    for (size_t i = 0; i < a->row_count; i++) {
        must(strcmp(a->rows[i].name, b->rows[i].name) == 0);
        must(a->rows[i].before == b->rows[i].before && a->rows[i].after == b->rows[i].after);
    }
}

static void read_lineage(const char *text, size_t size)
{
    struct tf_lineage lineage, again, copy;
    struct tf_err err = {0};
    char *printed, *other;
    size_t printed_size, other_size;
    enum tf_code code = tf_lineage_parse(&lineage, text, size, &err);

    if (code != TF_OK) {
        must_refuse(code, TF_DATA, &err);
        return;
    }
    fuzz_taken++;
    must_succeed(tf_lineage_print(&lineage, &printed, &printed_size, &err), &err);
    must_succeed(tf_lineage_parse(&again, printed, printed_size, &err), &err);
    must(again.count == lineage.count);
    for (size_t i = 0; i < lineage.count; i++)
        must_be_same_event(&lineage.events[i], &again.events[i]);
    must_succeed(tf_lineage_copy(&copy, &again, &err), &err);
    must_succeed(tf_lineage_print(&copy, &other, &other_size, &err), &err);
    must_agree(printed, printed_size, other, other_size);
    tf_lineage_fini(&copy);
    tf_lineage_fini(&again);
    tf_lineage_fini(&lineage);
}

/* ---- tokenizers ---- */

/* A text's tokens stand for its bytes again; and a text that comes in two pieces has the same. */
static void encode(const struct tf_tokenizer *tokenizer, const char *text, size_t size)
{
    uint16_t *whole = calloc(size + 1, sizeof(*whole)), *pieces = calloc(size + 1, sizeof(*pieces));
    size_t count, parts, used, at = 0;

    must(whole != NULL && pieces != NULL);
    count = tf_tokenizer_encode(tokenizer, text, size, whole);
    must(count <= size);
    for (size_t i = 0; i < count; i++) {
        size_t n;
        const char *bytes = tf_tokenizer_decode(tokenizer, whole[i], &n);
        must(n > 0 && n <= size - at && memcmp(text + at, bytes, n) == 0);
        at += n;
    }
    must(at == size);
    parts = tf_tokenizer_encode_piece(tokenizer, text, size / 2, &used, pieces);
    must(used <= size / 2);
    parts += tf_tokenizer_encode(tokenizer, text + used, size - used, pieces + parts);
    must(parts == count && memcmp(whole, pieces, count * sizeof(*whole)) == 0);
    free(whole);
    free(pieces);
}

/* The YAML ends at the first 0; after it comes a text to encode. */
static void read_tokenizer(const char *text, size_t size)
{
    struct tf_tokenizer tokenizer, again;
    struct tf_err err = {0};
    char printed[512], other[512];
    const char *zero = memchr(text, '\0', size);
    size_t length = zero == NULL ? size : (size_t)(zero - text), printed_length;
    enum tf_code code = tf_tokenizer_parse(&tokenizer, text, length, &err);

    if (code != TF_OK) {
        must_refuse(code, TF_DATA, &err);
        return;
    }
    fuzz_taken++;
    printed_length = tf_tokenizer_print(&tokenizer, printed, sizeof(printed));
    must(printed_length < sizeof(printed));
    must_succeed(tf_tokenizer_parse(&again, printed, printed_length, &err), &err);
    must(tf_tokenizer_print(&again, other, sizeof(other)) == printed_length);
    must(strcmp(printed, other) == 0);
    if (zero != NULL)
        encode(&tokenizer, zero + 1, size - length - 1);
}

/* ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data + 1;

    switch (size == 0 ? 0 : data[0]) {
    case 'c':
        read_config(text, size - 1);
        break;
    case '=':
        read_assignment(text, size - 1);
        break;
    case 's':
        read_state(text, size - 1);
        break;
    case 'l':
        read_lineage(text, size - 1);
        break;
    case 't':
        read_tokenizer(text, size - 1);
        break;
    }
    return 0;
}
