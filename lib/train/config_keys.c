#include "train/config_keys.h"

#include "base/mem.h"
#include "store/format.h"
#include "text/json.h"
#include "train/state.h"
#include <string.h>

#define MAX_TEXT 1023  /* bytes of one text */
#define MAX_TEXTS 1024 /* texts of one list */

/* ---- the table ---- */

#define AT(part, key)                                       \
    .section = #part, .name = #key, .full = #part "." #key, \
    .offset = offsetof(struct tf_config, part.key)
#define UINTS(lo, hi) .least = lo, .most = hi##ull, .range = "from " #lo " to " #hi
#define UINT(lo, hi) .kind = TF_KEY_UINT, UINTS(lo, hi)
#define COUNTS(lo, hi) .kind = TF_KEY_COUNTS, UINTS(lo, hi)
#define REALS(lo, hi) .low = lo, .high = hi, .range = "from " #lo " to " #hi
#define REAL(lo, hi) .kind = TF_KEY_REAL, REALS(lo, hi)
#define PAIR(lo, hi) .kind = TF_KEY_PAIR, REALS(lo, hi)
#define ABOVE(lo, hi) \
    .kind = TF_KEY_REAL, .low = lo, .high = hi, .open = true, .range = "above " #lo ", up to " #hi
#define CHOICE(names) .kind = TF_KEY_CHOICE, .range = names
#define BOOL .kind = TF_KEY_BOOL, .range = "true, false"
#define TEXT .kind = TF_KEY_TEXT, .range = "of up to 1023 bytes"
#define TEXTS .kind = TF_KEY_TEXTS, .range = "of up to 1023 bytes"
#define FIXED .fixed = true

/* The limits below are spelt out, for they are printed; these are where they come from. */
_Static_assert(TF_MAX_COLS == 1048576, "hidden_size");
_Static_assert(TF_MAX_ROWS == 2147483648, "qkv_tokens, proj_tokens, ffn_tokens");
_Static_assert(TF_MAX_LAYERS == 1024, "num_layers");
_Static_assert(sizeof(((struct tf_state *)0)->recent) / sizeof(float) == 256, "divergence_window");

static const struct tf_key table[] = {
    {AT(model, num_layers), UINT(1, 1024), FIXED, .fallback = "4",
     .help = "Layers, each an attention block and a feed-forward block"},
    {AT(model, hidden_size), UINT(1, 1048576), FIXED, .fallback = "128",
     .help = "Channels of the residual stream"},
    {AT(model, num_attention_heads), UINT(1, 65536), FIXED, .fallback = "4",
     .help = "Attention heads; they divide hidden_size"},
    {AT(model, qkv_tokens), COUNTS(1, 2147483648), FIXED, .fallback = "128",
     .help = "Parameter tokens in each of q, k and v: one number, or a list with one a layer"},
    {AT(model, proj_tokens), COUNTS(1, 2147483648), FIXED, .fallback = "128",
     .help = "Parameter tokens in the attention's output projection, likewise"},
    {AT(model, ffn_tokens), COUNTS(1, 2147483648), FIXED, .fallback = "512",
     .help = "Parameter tokens in the feed-forward block, likewise"},
    {AT(model, seq_length), UINT(1, 65536), FIXED, .fallback = "64",
     .help = "Tokens of context: the length of a training window"},
    {AT(model, vocab_multiple), UINT(1, 65536), FIXED, .fallback = "16",
     .help = "The vocabulary is padded up to a multiple of this"},
    /* in the order of enum tf_norm */
    {AT(model, norm_activation), CHOICE("l2_norm_gelu, gelu_l2_norm, softmax"), FIXED,
     .fallback = "l2_norm_gelu", .help = "What stands between a Pattention's keys and its values"},
    {AT(model, rotary_pct), REAL(0, 1), FIXED, .fallback = "0.25",
     .help = "The share of each head's channels that is rotated by position"},
    {AT(model, rotary_base), REAL(1, 1000000000), FIXED, .fallback = "10000",
     .help = "The base of the rotation's frequencies"},
    {AT(model, tie_embeddings), BOOL, FIXED, .fallback = "true",
     .help = "The output head is the embedding table; false gives it a table of its own"},
    {AT(model, qkv_scale), REAL(0, 1000000000000), FIXED, .fallback = "0",
     .help = "The square of tau in new q, k and v; 0 takes the number of their parameter tokens"},
    {AT(model, proj_scale), REAL(0, 1000000000000), FIXED, .fallback = "0",
     .help = "The same for the output projection"},
    {AT(model, ffn_scale), REAL(0, 1000000000000), FIXED, .fallback = "0",
     .help = "The same for the feed-forward block"},

    {AT(data, train), TEXTS, .fallback = "[]",
     .help = "Files to train on, one after the other; .zst is decoded, - is standard input"},
    {AT(data, valid), TEXTS, .fallback = "[]", .help = "Files to evaluate on while training"},
    {AT(data, valid_fraction), REAL(0, 0.9), .fallback = "0",
     .help = "Without valid: this last part of the training text is kept for evaluation"},
    {AT(data, tokenizer), TEXT, FIXED, .fallback = "bytes",
     .help = "How text becomes tokens; bytes: each byte is one"},
    {AT(data, separator), TEXT, FIXED, .fallback = "\"<|endoftext|>\"",
     .help = "The text between documents, one token of its own; none: there is no such token"},
    /* in the order of enum tf_order */
    {AT(data, order), CHOICE("shuffled, sequential"), FIXED, .fallback = "shuffled",
     .help = "The order of the training windows"},

    {AT(train, steps), UINT(1, 1000000000000), .fallback = "2000", .help = "Optimizer steps"},
    {AT(train, batch_size), UINT(1, 65536), FIXED, .fallback = "12", .help = "Windows a step"},
    {AT(train, micro_batch), UINT(0, 65536), .fallback = "0",
     .help = "Windows at once: less takes less memory and never changes a result; 0: batch_size"},
    {AT(train, seed), UINT(0, 18446744073709551615), FIXED, .fallback = "1",
     .help = "Where all random numbers come from"},
    {AT(train, eval_interval), UINT(0, 1000000000000), .fallback = "250",
     .help = "Steps between evaluations; 0: never"},
    {AT(train, eval_windows), UINT(0, 1000000000000), .fallback = "200",
     .help = "Windows of an evaluation, spread evenly over the text; 0: all"},
    {AT(train, save_interval), UINT(0, 1000000000000), .fallback = "500",
     .help = "Steps between checkpoints; 0: only at the end"},
    {AT(train, save_minutes), REAL(0, 1000000), .fallback = "0",
     .help = "Minutes between checkpoints; 0: never by the clock"},
    {AT(train, keep_last), UINT(0, 1000), .fallback = "2",
     .help = "Numbered checkpoints that are kept beside the output; 0: none"},
    {AT(train, keep_best), BOOL, .fallback = "false",
     .help = "Keep the checkpoint of the lowest validation loss as well"},
    {AT(train, log_interval), UINT(1, 1000000000000), .fallback = "10",
     .help = "Steps between records in the metrics"},
    {AT(train, divergence_factor), REAL(0, 1000000), .fallback = "10",
     .help = "Stop when the loss passes this multiple of its running median; 0: off"},
    {AT(train, divergence_window), UINT(1, 256), .fallback = "50",
     .help = "The number of steps in that median"},
    {AT(train, freeze), TEXTS, .fallback = "[]",
     .help = "Tables without updates, by patterns of names; old-tokens: parameter tokens "
             "older than the last growth"},

    {AT(optimizer, lr), REAL(0, 1000), .fallback = "0.001", .help = "The highest learning rate"},
    {AT(optimizer, min_lr), REAL(0, 1000), .fallback = "0.0001",
     .help = "The learning rate that the schedule ends at"},
    /* in the order of enum tf_schedule */
    {AT(optimizer, schedule), CHOICE("cosine, wsd, linear, constant"), .fallback = "cosine",
     .help = "How lr goes down to min_lr after the warmup; wsd: stable, then a linear decay"},
    {AT(optimizer, warmup), REAL(0, 1000000000000), .fallback = "0.05",
     .help = "The linear warmup; below 1: a fraction of the steps, else steps"},
    {AT(optimizer, decay), REAL(0, 1), .fallback = "0.1",
     .help = "wsd: the last fraction of the steps, in which the learning rate falls"},
    {AT(optimizer, betas), PAIR(0, 0.999999), .fallback = "[0.9, 0.95]",
     .help = "AdamW: how much of the two moments is kept from step to step"},
    {AT(optimizer, eps), ABOVE(0, 1), .fallback = "1e-8",
     .help = "AdamW: added to the root of the second moment"},
    {AT(optimizer, weight_decay), REAL(0, 1000), .fallback = "0.1",
     .help = "Decoupled decay of the embedding and of all parameter tokens"},
    {AT(optimizer, grad_clip), REAL(0, 1000000), .fallback = "1",
     .help = "The largest norm of all gradients together; 0: off"},

    /* in the order of enum tf_row_init */
    {AT(grow, keys), CHOICE("zero, random, copy"), .fallback = "zero",
     .help = "How tf-grow fills the keys of new parameter tokens"},
    {AT(grow, values), CHOICE("zero, random, copy"), .fallback = "random",
     .help = "How tf-grow fills their values"},
    /* in the order of enum tf_grow_scale */
    {AT(grow, scale), CHOICE("keep, count"), .fallback = "keep",
     .help = "The square of tau after growth: as it was, or the new number of parameter tokens"},
};

_Static_assert(sizeof(table) / sizeof(*table) <= TF_MOST_KEYS, "the keys");

/* Type names, with the article that they take in a message. */
static const struct {
    const char *article, *name;
} types[] = {
    [TF_KEY_UINT] = {"an ", "integer"},
    [TF_KEY_REAL] = {"a ", "number"},
    [TF_KEY_BOOL] = {"", "one of"},
    [TF_KEY_CHOICE] = {"", "one of"},
    [TF_KEY_TEXT] = {"a ", "text"},
    [TF_KEY_TEXTS] = {"a ", "list of texts"},
    [TF_KEY_COUNTS] = {"an ", "integer or a list of integers"},
    [TF_KEY_PAIR] = {"a ", "list of two numbers"},
};

size_t tf_config_keys(void)
{
    return sizeof(table) / sizeof(*table);
}

const struct tf_key *tf_key_at(size_t index)
{
    return &table[index];
}

struct tf_config_doc tf_config_key(size_t index)
{
    const struct tf_key *key = &table[index];

    return (struct tf_config_doc){key->section, key->name,     types[key->kind].name,
                                  key->range,   key->fallback, key->help};
}

/* ---- reading: TF_NO when the value does not fit, which needs no message yet ---- */

static void *field(const struct tf_key *key, struct tf_config *config)
{
    return (char *)config + key->offset;
}

const void *tf_key_field(const struct tf_key *key, const struct tf_config *config)
{
    return (const char *)config + key->offset;
}

static enum tf_code read_uint(const struct tf_key *key, const struct tf_yaml *value, uint64_t *out)
{
    unsigned long long number;

    if (!tf_yaml_uint(value, &number) || number < key->least || number > key->most)
        return TF_NO;
    *out = number;
    return TF_OK;
}

static enum tf_code read_real(const struct tf_key *key, const struct tf_yaml *value, double *out)
{
    double number;

    if (!tf_yaml_real(value, &number) || number < key->low || number > key->high ||
        (key->open && number <= key->low))
        return TF_NO;
    *out = number == 0 ? 0 : number; /* no negative zero */
    return TF_OK;
}

static enum tf_code read_pair(const struct tf_key *key, const struct tf_yaml *value, double out[2])
{
    double pair[2];

    if (value->kind != TF_YAML_SEQUENCE || value->count != 2 ||
        read_real(key, value->items[0], &pair[0]) != TF_OK ||
        read_real(key, value->items[1], &pair[1]) != TF_OK)
        return TF_NO;
    memcpy(out, pair, sizeof(pair));
    return TF_OK;
}

/* The position of the scalar's text among names, "a, b, c"; -1 when it is not there. */
static int position(const char *names, const struct tf_yaml *value)
{
    size_t length;

    if (value->kind != TF_YAML_SCALAR)
        return -1;
    for (int i = 0; *names != '\0'; i++) {
        length = strcspn(names, ",");
        if (strlen(value->text) == length && memcmp(names, value->text, length) == 0)
            return i;
        names += length;
        names += strspn(names, ", ");
    }
    return -1;
}

static enum tf_code read_choice(const struct tf_key *key, const struct tf_yaml *value, int *out)
{
    int at = position(key->range, value);

    if (at < 0)
        return TF_NO;
    *out = at;
    return TF_OK;
}

static enum tf_code read_bool(const struct tf_key *key, const struct tf_yaml *value, bool *out)
{
    int at = value->quoted ? -1 : position(key->range, value);

    if (at < 0)
        return TF_NO;
    *out = at == 0;
    return TF_OK;
}

static bool is_text(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SCALAR && strlen(value->text) <= MAX_TEXT &&
           (value->quoted || value->text[0] != '\0');
}

static enum tf_code read_text(const struct tf_yaml *value, char **out, struct tf_err *err)
{
    char *copy;

    if (!is_text(value))
        return TF_NO;
    copy = tf_strdup(value->text, err);
    if (copy == NULL)
        return TF_MEMORY;
    tf_free(*out);
    *out = copy;
    return TF_OK;
}

static void strings_fini(struct tf_strings *strings)
{
    for (size_t i = 0; i < strings->count; i++)
        tf_free(strings->items[i]);
    tf_free(strings->items);
    *strings = (struct tf_strings){0};
}

/* A list's items, one by one; a scalar stands for a list of one, and a mapping has none. */
static size_t item_count(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SEQUENCE ? value->count : value->kind == TF_YAML_SCALAR;
}

static const struct tf_yaml *item(const struct tf_yaml *value, size_t i)
{
    return value->kind == TF_YAML_SEQUENCE ? value->items[i] : value;
}

static bool is_blank(const struct tf_yaml *value)
{
    return value->kind == TF_YAML_SCALAR && value->text[0] == '\0';
}

static enum tf_code read_texts(const struct tf_yaml *value, struct tf_strings *out,
                               struct tf_err *err)
{
    struct tf_strings list = {0};
    size_t count = item_count(value);
    enum tf_code code = TF_OK;

    if (value->kind == TF_YAML_MAPPING || count > MAX_TEXTS)
        return TF_NO;
    list.items = tf_new(count, sizeof(*list.items), "list", err);
    if (list.items == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count && code == TF_OK; i++) {
        list.count++;
        code = is_blank(item(value, i)) ? TF_NO : read_text(item(value, i), &list.items[i], err);
    }
    if (code != TF_OK) {
        strings_fini(&list);
        return code;
    }
    strings_fini(out);
    *out = list;
    return TF_OK;
}

static enum tf_code read_counts(const struct tf_key *key, const struct tf_yaml *value,
                                struct tf_counts *out, struct tf_err *err)
{
    size_t count = item_count(value);
    uint64_t *numbers;
    enum tf_code code = TF_OK;

    if (count == 0 || count > TF_MAX_LAYERS)
        return TF_NO;
    numbers = tf_new(count, sizeof(*numbers), "list", err);
    if (numbers == NULL)
        return TF_MEMORY;
    for (size_t i = 0; i < count && code == TF_OK; i++)
        code = read_uint(key, item(value, i), &numbers[i]);
    if (code != TF_OK) {
        tf_free(numbers);
        return code;
    }
    tf_free(out->items);
    *out = (struct tf_counts){count, numbers};
    return TF_OK;
}

static enum tf_code read_value(const struct tf_key *key, void *to, const struct tf_yaml *value,
                               struct tf_err *err)
{
    switch (key->kind) {
    case TF_KEY_UINT:
        return read_uint(key, value, to);
    case TF_KEY_REAL:
        return read_real(key, value, to);
    case TF_KEY_PAIR:
        return read_pair(key, value, to);
    case TF_KEY_CHOICE:
        return read_choice(key, value, to);
    case TF_KEY_BOOL:
        return read_bool(key, value, to);
    case TF_KEY_TEXT:
        return read_text(value, to, err);
    case TF_KEY_TEXTS:
        return read_texts(value, to, err);
    case TF_KEY_COUNTS:
        return read_counts(key, value, to, err);
    }
    return TF_NO;
}

/* "[1, x]"; long lists and texts are cut, lists and mappings within are only hinted at. */
static void list_found(char out[128], const struct tf_yaml *list)
{
    size_t at = 0;

    for (size_t i = 0; i < list->count && at < 60; i++) {
        const struct tf_yaml *value = list->items[i];
        at += snprintf(out + at, 48, "%s%.40s", i == 0 ? "[" : ", ",
                       value->kind == TF_YAML_MAPPING    ? "{...}"
                       : value->kind == TF_YAML_SEQUENCE ? "[...]"
                       : value->text[0] == '\0'          ? "''"
                                                         : value->text);
        if (at >= 60 && i + 1 < list->count)
            at += snprintf(out + at, 8, ", ...");
    }
    strcpy(out + at, "]");
}

char *tf_key_found(char out[128], const struct tf_yaml *value)
{
    if (value->kind == TF_YAML_MAPPING)
        strcpy(out, "a mapping");
    else if (value->kind == TF_YAML_SEQUENCE && value->count == 0)
        strcpy(out, "an empty list");
    else if (value->kind == TF_YAML_SEQUENCE)
        list_found(out, value);
    else if (value->text[0] == '\0' && !value->quoted)
        strcpy(out, "nothing");
    else
        snprintf(out, 128, "%s\"%.80s\"", value->quoted ? "the text " : "", value->text);
    return out;
}

enum tf_code tf_key_read(const struct tf_key *key, struct tf_config *config,
                         const struct tf_yaml *value, const char *place, enum tf_code code,
                         struct tf_err *err)
{
    enum tf_code result = read_value(key, field(key, config), value, err);
    char found[128];

    if (result != TF_NO)
        return result;
    return tf_fail(err, code, "%s%s.%s: expected %s%s %s, found %s", place, key->section, key->name,
                   types[key->kind].article, types[key->kind].name, key->range,
                   tf_key_found(found, value));
}

/* ---- writing ---- */

static void print_uint(FILE *out, uint64_t value)
{
    fprintf(out, "%ju", (uintmax_t)value);
}

static void print_real(FILE *out, double value)
{
    char text[32];

    fputs(tf_real_text(text, value), out);
}

static void print_text(FILE *out, const char *text)
{
    char quoted[4 * MAX_TEXT + 3];

    tf_yaml_quote(quoted, sizeof(quoted), text);
    fputs(quoted, out);
}

static void print_choice(FILE *out, const char *names, int at)
{
    for (; at > 0; at--) {
        names += strcspn(names, ",");
        names += strspn(names, ", ");
    }
    fprintf(out, "%.*s", (int)strcspn(names, ","), names);
}

static void print_texts(FILE *out, const struct tf_strings *list)
{
    fputc('[', out);
    for (size_t i = 0; i < list->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_text(out, list->items[i]);
    }
    fputc(']', out);
}

static void print_counts(FILE *out, const struct tf_counts *counts)
{
    fputs(counts->count == 1 ? "" : "[", out);
    for (size_t i = 0; i < counts->count; i++) {
        fputs(i > 0 ? ", " : "", out);
        print_uint(out, counts->items[i]);
    }
    fputs(counts->count == 1 ? "" : "]", out);
}

static void print_pair(FILE *out, const double pair[2])
{
    fputc('[', out);
    print_real(out, pair[0]);
    fputs(", ", out);
    print_real(out, pair[1]);
    fputc(']', out);
}

void tf_key_print(const struct tf_key *key, const struct tf_config *config, FILE *out)
{
    const void *from = tf_key_field(key, config);

    switch (key->kind) {
    case TF_KEY_UINT:
        print_uint(out, *(const uint64_t *)from);
        break;
    case TF_KEY_REAL:
        print_real(out, *(const double *)from);
        break;
    case TF_KEY_PAIR:
        print_pair(out, from);
        break;
    case TF_KEY_BOOL:
        print_choice(out, key->range, *(const bool *)from ? 0 : 1);
        break;
    case TF_KEY_CHOICE:
        print_choice(out, key->range, *(const int *)from);
        break;
    case TF_KEY_TEXT:
        print_text(out, *(char *const *)from);
        break;
    case TF_KEY_TEXTS:
        print_texts(out, from);
        break;
    case TF_KEY_COUNTS:
        print_counts(out, from);
        break;
    }
}

void tf_key_fini(const struct tf_key *key, struct tf_config *config)
{
    if (key->kind == TF_KEY_TEXT)
        tf_free(*(char **)field(key, config));
    else if (key->kind == TF_KEY_TEXTS)
        strings_fini(field(key, config));
    else if (key->kind == TF_KEY_COUNTS)
        tf_free(((struct tf_counts *)field(key, config))->items);
}
