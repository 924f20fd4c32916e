/* Generation: sampling tokens from a model, one stream a sample, through the KV cache. */
#ifndef TF_TRAIN_GENERATE_H
#define TF_TRAIN_GENERATE_H

#include "nn/model.h"
#include "text/tokenizer.h"
#include <stddef.h>

struct tf_sampler {
    double temperature;    /* 0: greedy, the lowest id among equals */
    uint64_t top_k;        /* 0: off */
    double top_p;          /* 1: off */
    double min_p;          /* 0: off */
    double repeat_penalty; /* 1: off */
    uint64_t repeat_last;  /* tokens looked back at */
};

/* Picks the next id from logits (vocab of them, finite; overwritten). In this order: repetition
 * penalty, temperature, top-k, min-p, top-p, draw, all with larger logits first and lower ids first
 * among equals. recent: the ids so far, `count` of them. Random number `index` of the stream
 * `stream` decides. scratch: vocab numbers of room. */
uint32_t tf_sample(const struct tf_sampler *sampler, float *logits, uint32_t vocab,
                   const uint16_t *recent, size_t count, uint64_t seed, uint64_t stream,
                   uint64_t index, uint64_t *scratch);

enum tf_finish {
    TF_FINISH_LENGTH, /* -n reached */
    TF_FINISH_STOP,   /* a stop text */
    TF_FINISH_END     /* the separator */
};

struct tf_generate_options {
    struct tf_sampler sampler;
    uint64_t seed;
    uint64_t first_stream; /* sample s draws from the stream "sample" + first_stream + s, for each
                              token the number of its position */
    size_t samples;
    size_t max_tokens;
    bool ignore_end;         /* go on past the separator */
    const char *const *stop; /* borrowed */
    size_t stop_count;
    /* New text of a sample (never splits a UTF-8 sequence that is whole; bytes that are not UTF-8
     * come as U+FFFD; stop texts are left out). May be NULL. Called for each new token, with n 0
     * when it gave no text yet. A non-zero return ends generation quietly; unfinished samples then
     * get one last call, with what was held back. */
    int (*text)(void *user, size_t sample, const char *bytes, size_t n);
    void *user;
};

struct tf_generated {
    uint16_t *ids; /* new tokens, owned; those that ended the sample are among them */
    size_t count;
    char *text; /* what `text` was given, joined; terminated; owned */
    size_t text_size;
    enum tf_finish finish;
};

struct tf_generate_stats {
    uint64_t prompt_tokens, new_tokens;
    double prompt_seconds, decode_seconds;
    bool slid; /* the context was full, and its older half was let go */
};

/* One prompt (count ids; 0 begins with the separator, or with byte 10 where there is none),
 * options->samples continuations. out: room for options->samples, each to be fini'd, also after an
 * error. */
TF_MUST_USE enum tf_code tf_generate(struct tf_generated *out, const struct tf_model *model,
                                     const struct tf_tokenizer *tokenizer, const uint16_t *prompt,
                                     size_t count, const struct tf_generate_options *options,
                                     struct tf_generate_stats *stats, struct tf_err *err);
void tf_generated_fini(struct tf_generated *generated);
/* The bytes that so many samples of at most `tokens` ids, prompt included, take beside the model:
 * passes, ids and logits. */
TF_MUST_USE enum tf_code tf_generate_plan(uint64_t *bytes, const struct tf_model *model,
                                          size_t samples, size_t tokens, struct tf_err *err);

#endif
