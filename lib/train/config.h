/* The config of a run: one table of keys with type, range, default and help, from which parsing,
 * --set, --help-config, the copy inside a checkpoint and the key list of tf-config(5) all come. */
#ifndef TF_TRAIN_CONFIG_H
#define TF_TRAIN_CONFIG_H

#include "base/err.h"
#include "train/grow_options.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define TF_MAX_LAYERS 1024
#define TF_LAYER_LIST 256 /* bytes of a list of layers, its end included */

struct tf_strings {
    size_t count;
    char **items; /* owned */
};

struct tf_counts { /* parameter tokens: one number for all layers, or one a layer */
    size_t count;
    uint64_t *items; /* owned */
};

enum tf_schedule { TF_COSINE, TF_WSD, TF_LINEAR, TF_CONSTANT };

/* A growth inside a run, before step `at` (counted from 0): what tf-grow would do to the checkpoint
 * of that step. -1, and targets of kind TF_TARGET_NONE: not given. */
struct tf_stage {
    uint64_t at;
    int method;                             /* enum tf_grow_method; tokens when not given */
    struct tf_target qkv, proj, ffn, width; /* as in tf_grow_options */
    char layers[TF_LAYER_LIST];             /* "": all */
    uint64_t add_layers;
    int place;               /* enum tf_grow_place; top when not given */
    int keys, values, scale; /* else those of the section */
    int64_t scale_ramp;      /* else that of the section */
};
struct tf_stages {
    size_t count;
    struct tf_stage *items; /* owned; `at` ascends */
};

struct tf_config {
    struct {
        int kind; /* enum tf_kind of nn/model.h */
        uint64_t num_layers, hidden_size, num_attention_heads;
        struct tf_counts qkv_tokens, proj_tokens, ffn_tokens;
        uint64_t seq_length;
        uint64_t vocab_multiple; /* the vocabulary is padded up to a multiple of it */
        int norm_activation;     /* enum tf_norm of nn/projection.h, by position: l2_norm_gelu,
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
        double token_dropout;       /* the share of steps in which only a random prefix of tokens is
                                       active */
        bool clock;                 /* the lineage says how many seconds training took */
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
        /* Of the training that follows a growth; age: steps since it. */
        uint64_t
            scale_ramp; /* steps in which tau^2 of what grew moves to the token count; 0: stays */
        double new_lr;  /* the learning rate of new rows, as a multiple */
        uint64_t new_warmup;     /* steps in which it rises from 0 */
        double new_decay;        /* their weight decay, as a multiple */
        uint64_t freeze_steps;   /* steps in which old tokens take no update */
        struct tf_stages stages; /* a section that is a list is a list of these */
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
/* The stages that are behind must be as they were: TF_CONFIG with both; and none that is to come
 * may lie before `step`. */
TF_MUST_USE enum tf_code tf_stages_resumable(const struct tf_config *saved,
                                             const struct tf_config *now, uint64_t behind,
                                             uint64_t step, struct tf_err *err);
/* How a stage grows; strings are borrowed. */
struct tf_grow_options tf_stage_options(const struct tf_config *config, size_t stage);
/* The scale ramp of the training after that many stages. */
uint64_t tf_stage_ramp(const struct tf_config *config, uint64_t behind);
/* The tokens of a layer (a list of one holds for all). */
uint64_t tf_config_tokens(const struct tf_counts *counts, uint64_t layer);

/* The key table, for --help-config and the check of the man page. */
struct tf_config_doc {
    const char *section, *key, *type, *range, *fallback, *help; /* fallback: the default as text */
};
size_t tf_config_keys(void);
struct tf_config_doc tf_config_key(size_t index);

#endif
