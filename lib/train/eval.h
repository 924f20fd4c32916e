/* Evaluation: the loss of a model over a text, and two models side by side. */
#ifndef TF_TRAIN_EVAL_H
#define TF_TRAIN_EVAL_H

#include "nn/model.h"
#include "text/corpus.h"

struct tf_eval_options {
    size_t window; /* tokens of context and prediction in a pass; 0: shape.seq */
    size_t stride; /* tokens from window to window; each token but the first is scored once, with as
                      much context as its window gives. 0: the window */
    bool second_half; /* disjoint windows, the second half of each scored (stride is not used) */
    size_t batch;     /* windows a pass; never changes a result. 0: chosen */
    uint64_t max_windows; /* 0: all. Spread evenly over the text */
};

struct tf_eval_result {
    uint64_t tokens, bytes; /* scored */
    double nats_per_token, perplexity, bits_per_byte;
    double stderr_nats; /* of nats_per_token, windows taken as independent; NaN when there is one
                           alone */
    size_t window, stride;
};

/* Checks options against shape and text and fills in every 0, max_windows with the windows that
 * will be run: what tf_eval does first. Text shorter than one window: TF_DATA. A window past the
 * context, a stride past the window: TF_USAGE. */
TF_MUST_USE enum tf_code tf_eval_plan(struct tf_eval_options *plan, const struct tf_shape *shape,
                                      const struct tf_corpus *corpus,
                                      const struct tf_eval_options *options, struct tf_err *err);

/* An evaluation whose memory is taken beforehand, to be run again and again. Everything given is
 * borrowed. */
struct tf_evaluator;
TF_MUST_USE enum tf_code tf_evaluator_new(struct tf_evaluator **out, const struct tf_model *model,
                                          const struct tf_corpus *corpus,
                                          const struct tf_tokenizer *tokenizer,
                                          const struct tf_eval_options *options,
                                          struct tf_err *err);
/* The bytes that tf_evaluator_new would take. */
TF_MUST_USE enum tf_code tf_evaluator_plan(uint64_t *bytes, const struct tf_model *model,
                                           const struct tf_corpus *corpus,
                                           const struct tf_eval_options *options,
                                           struct tf_err *err);
void tf_evaluator_run(struct tf_evaluator *evaluator, struct tf_eval_result *result);
void tf_evaluator_free(struct tf_evaluator *evaluator);

/* The three in one. */
TF_MUST_USE enum tf_code tf_eval(struct tf_eval_result *result, const struct tf_model *model,
                                 const struct tf_corpus *corpus,
                                 const struct tf_tokenizer *tokenizer,
                                 const struct tf_eval_options *options, struct tf_err *err);

struct tf_compare_result {
    uint64_t tokens;
    double mean_kl;              /* nats a token, KL(model || other) */
    double max_logit_difference; /* over all logits, those of padding included */
    double same_argmax;          /* share of positions */
};
/* Both over the same disjoint windows of the text, the last one shorter; stride and second_half are
 * not used. Vocabularies that differ: TF_DATA. */
TF_MUST_USE enum tf_code tf_compare(struct tf_compare_result *result, const struct tf_model *model,
                                    const struct tf_model *other, const struct tf_corpus *corpus,
                                    const struct tf_eval_options *options, struct tf_err *err);

#endif
