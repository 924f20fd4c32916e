/* The config of a run: one table of keys with type, range, default and help, from which parsing,
 * --set, --help-config, the copy inside a checkpoint and the key list of tf-config(5) all come. */
#ifndef TF_TRAIN_CONFIG_H
#define TF_TRAIN_CONFIG_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TF_MAX_LAYERS 1024

struct tf_strings {
    size_t count;
    char **items; /* owned */
};

struct tf_counts { /* parameter tokens: one number for all layers, or one a layer */
    size_t count;
    uint64_t *items; /* owned */
};

enum tf_schedule { TF_COSINE, TF_WSD, TF_LINEAR, TF_CONSTANT };
enum tf_row_init { TF_INIT_ZERO, TF_INIT_RANDOM, TF_INIT_COPY };
enum tf_grow_scale { TF_SCALE_KEEP, TF_SCALE_COUNT };

struct tf_config {
    struct {
        uint64_t num_layers, hidden_size, num_attention_heads;
        struct tf_counts qkv_tokens, proj_tokens, ffn_tokens;
        uint64_t seq_length;
        uint64_t vocab_multiple; /* the vocabulary is padded up to a multiple of it */
        int norm_activation;     /* enum tf_norm of nn/pattention.h, by position: l2_norm_gelu,
                                    gelu_l2_norm, softmax */
        double rotary_pct, rotary_base;
        bool tie_embeddings;
        double qkv_scale, proj_scale, ffn_scale; /* tau^2 of new tables; 0: their token count */
    } model;
    struct {
        struct tf_strings train, valid;
        double valid_fraction; /* 0: none; used when valid is empty */
        char *tokenizer;       /* "bytes" */
        char *separator;       /* "none": no separator */
        int order;             /* enum tf_order */
    } data;
    struct {
        uint64_t steps, batch_size, micro_batch; /* micro_batch 0: the batch size */
        uint64_t seed;
        uint64_t eval_interval, eval_windows; /* 0: never; 0: all windows */
        uint64_t save_interval;               /* steps; 0: only at the end */
        double save_minutes;                  /* 0: never by the clock */
        uint64_t keep_last;       /* numbered checkpoints kept beside the output; 0: none */
        bool keep_best;           /* OUT.best.tfck at the lowest validation loss */
        uint64_t log_interval;    /* steps between metrics records */
        double divergence_factor; /* stop when the loss passes this multiple of its running median;
                                     0: off */
        uint64_t divergence_window; /* steps in that median */
        struct tf_strings freeze;   /* table-name patterns, or old-tokens */
    } train;
    struct {
        double lr, min_lr;
        int schedule;  /* enum tf_schedule */
        double warmup; /* below 1: a fraction of the steps; else steps */
        double decay;  /* wsd: the last fraction */
        double betas[2], eps, weight_decay;
        double grad_clip; /* 0: off */
    } optimizer;
    struct {
        int keys, values; /* enum tf_row_init */
        int scale;        /* enum tf_grow_scale */
    } grow;
};

/* Every key at its default. A config is always fini'd; a zeroed one may be. */
TF_MUST_USE enum tf_code tf_config_init(struct tf_config *config, struct tf_err *err);
void tf_config_fini(struct tf_config *config);

/* Reads a YAML text over what is there; name stands for the file in messages. Errors: `code`,
 * "name:line:column: ..." with what was expected and the nearest known key. */
TF_MUST_USE enum tf_code tf_config_parse(struct tf_config *config, const char *name,
                                         const char *text, size_t n, enum tf_code code,
                                         struct tf_err *err);
/* tf_config_init, then the file at path ("-": stdin), then tf_config_parse. Missing: TF_NOINPUT;
 * else TF_CONFIG. */
TF_MUST_USE enum tf_code tf_config_load(struct tf_config *config, const char *path,
                                        struct tf_err *err);
/* One "section.key=value" of the command line; lists are written [a, b]. TF_CONFIG, place "--set
 * section.key". */
TF_MUST_USE enum tf_code tf_config_set(struct tf_config *config, const char *assignment,
                                       struct tf_err *err);
/* The same; `place` begins its messages. */
TF_MUST_USE enum tf_code tf_config_assign(struct tf_config *config, const char *place,
                                          const char *assignment, struct tf_err *err);
/* What keys must be to each other: heads divide the width, an even number of rotated channels, list
 * lengths, min_lr <= lr ... */
TF_MUST_USE enum tf_code tf_config_check(const struct tf_config *config, struct tf_err *err);

/* Writes every key with its value as YAML (deterministic; parses back to the same config). *out
 * freed with tf_free. */
TF_MUST_USE enum tf_code tf_config_print(const struct tf_config *config, char **out, size_t *size,
                                         struct tf_err *err);
/* The first key, of those that must not change when a run is resumed, whose values differ:
 * TF_CONFIG with both values. Any other key may change. */
TF_MUST_USE enum tf_code tf_config_resumable(const struct tf_config *saved,
                                             const struct tf_config *now, struct tf_err *err);
/* Takes the values of a section's keys (NULL: of all) over from another config. */
TF_MUST_USE enum tf_code tf_config_adopt(struct tf_config *config, const struct tf_config *from,
                                         const char *section, struct tf_err *err);
/* The tokens of a layer (a list of one holds for all). */
uint64_t tf_config_tokens(const struct tf_counts *counts, uint64_t layer);

/* The key table, for --help-config and the check of the man page. */
struct tf_config_doc {
    const char *section, *key, *type, *range, *fallback, *help; /* fallback: the default as text */
};
size_t tf_config_keys(void);
struct tf_config_doc tf_config_key(size_t index);

#endif
