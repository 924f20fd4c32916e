#include "train/config_keys.h"

#include "store/format.h"
#include "train/state.h"

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
#define STAGES .kind = TF_KEY_STAGES, .range = "like {at: 4000, qkv: x2}"
#define FIXED .fixed = true

/* The limits below are spelt out, for they are printed; these are where they come from. */
_Static_assert(TF_MAX_COLS == 1048576, "hidden_size");
_Static_assert(TF_MAX_ROWS == 2147483648, "qkv_tokens, proj_tokens, ffn_tokens");
_Static_assert(TF_MAX_LAYERS == 1024, "num_layers");
_Static_assert(sizeof(((struct tf_state *)0)->recent) / sizeof(float) == 256, "divergence_window");

static const struct tf_key table[] = {
    /* in the order of enum tf_kind */
    {AT(model, kind), CHOICE("tokenformer, transformer"), FIXED, .fallback = "tokenformer",
     .help = "What projects: Pattentions; or, to compare with, matrices and an MLP"},
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
    {AT(train, token_dropout), REAL(0, 1), .fallback = "0",
     .help = "The share of steps in which only a random prefix of the parameter tokens is active"},
    {AT(train, clock), BOOL, .fallback = "false",
     .help = "The lineage tells the seconds that training took, which no two runs share"},

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
     .help = "How growth fills the keys of new parameter tokens"},
    {AT(grow, values), CHOICE("zero, random, copy"), .fallback = "random",
     .help = "How growth fills their values"},
    /* in the order of enum tf_grow_scale */
    {AT(grow, scale), CHOICE("keep, count"), .fallback = "keep",
     .help = "The square of tau after growth: as it was, or the new number of parameter tokens"},
    {AT(grow, scale_ramp), UINT(0, 1000000000000), .fallback = "0",
     .help = "The steps after growth in which the square of tau moves to that number; 0: it stays"},
    {AT(grow, new_lr), REAL(0, 1000), .fallback = "1",
     .help = "The learning rate of the last growth's parameter tokens, as a multiple"},
    {AT(grow, new_warmup), UINT(0, 1000000000000), .fallback = "100",
     .help = "The steps after growth in which their learning rate rises from 0"},
    {AT(grow, new_decay), REAL(0, 1000), .fallback = "1",
     .help = "Their weight decay, as a multiple"},
    {AT(grow, freeze_steps), UINT(0, 1000000000000), .fallback = "0",
     .help = "The steps after growth in which older parameter tokens take no update"},
    {AT(grow, stages), STAGES, .fallback = "[]",
     .help = "Growths inside the run; a section that is a list is a list of these"},
};

_Static_assert(sizeof(table) / sizeof(*table) <= TF_MOST_KEYS, "the keys");

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
    [TF_KEY_TARGET] = {"a ", "target"},
    [TF_KEY_LAYERS] = {"a ", "list of layers"},
    [TF_KEY_STAGES] = {"a ", "list of growths"},
};

const char *tf_key_type(enum tf_key_kind kind, const char **article)
{
    *article = types[kind].article;
    return types[kind].name;
}

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
