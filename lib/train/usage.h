/* How much each parameter token contributes over a text: mean |S_j| times ||V_j||, S = act(A) what
 * the token gets of each position (numerics in tokenformer(7)). */
#ifndef TF_TRAIN_USAGE_H
#define TF_TRAIN_USAGE_H

#include "nn/model.h"
#include "text/corpus.h"
#include "train/select.h"

struct tf_usage_group {
    char name[TF_MAX_NAME + 1]; /* layers.3.ffn */
    double *contribution;       /* of each of its tokens; owned */
    uint64_t tokens;
};
struct tf_usage {
    struct tf_usage_group *groups; /* layer after layer: q k v o ffn, of a transformer ffn; owned */
    size_t count;
    uint64_t positions; /* tokens of text that were run */
};

/* Runs the whole text in windows of the model's context, the last one shorter. The same bits at any
 * number of threads. */
TF_MUST_USE enum tf_code tf_usage_measure(struct tf_usage *out, const struct tf_model *model,
                                          const struct tf_corpus *corpus, struct tf_err *err);
/* Reads what tf-inspect stats --usage --json printed (n bytes; name stands for the file):
 * TF_DATA. */
TF_MUST_USE enum tf_code tf_usage_parse(struct tf_usage *out, const char *name, const char *text,
                                        size_t n, struct tf_err *err);
void tf_usage_fini(struct tf_usage *usage); /* a zeroed struct is fine */

/* The tokens used most of each Pattention that `texts` name (none: of all): "128" of them (all,
 * where there are fewer), or "90%" (rounded up). Among equals the older one. Token counts that are
 * not the store's, a Pattention that was not measured: TF_DATA. */
TF_MUST_USE enum tf_code tf_usage_select(struct tf_selection *out, const struct tf_usage *usage,
                                         const struct tf_store *store, const char *const *texts,
                                         size_t count, const char *top, struct tf_err *err);

#endif
