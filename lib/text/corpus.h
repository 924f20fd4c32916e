/* A corpus: the token ids of one or more texts, and the order in which training reads its windows.
 */
#ifndef TF_TEXT_CORPUS_H
#define TF_TEXT_CORPUS_H

#include "base/err.h"
#include "text/tokenizer.h"
#include <stdbool.h>
#include <stdint.h>

struct tf_corpus {
    uint16_t *tokens; /* owned, unless a part of another */
    uint64_t count;
    bool borrowed;
};

/* Reads the texts one after the other, as cat would: plain files, .zst files (decoded), "-" for
 * stdin. Missing or a directory: TF_NOINPUT; empty altogether, or damaged zstd: TF_DATA, naming the
 * file. */
TF_MUST_USE enum tf_code tf_corpus_load(struct tf_corpus *corpus,
                                        const struct tf_tokenizer *tokenizer,
                                        const char *const *paths, size_t count, struct tf_err *err);
void tf_corpus_fini(struct tf_corpus *corpus);
/* Splits the last `fraction` of whole off into tail (which borrows). 0 < fraction < 1. */
void tf_corpus_split(struct tf_corpus *whole, double fraction, struct tf_corpus *tail);
/* XXH3-64 of the ids, as little-endian 16-bit words: tells a resumed run that its text is the one
 * it began with. */
uint64_t tf_corpus_hash(const struct tf_corpus *corpus);
/* The number of bytes that tokens from..to (exclusive) stand for. */
uint64_t tf_corpus_bytes(const struct tf_corpus *corpus, const struct tf_tokenizer *tokenizer,
                         uint64_t from, uint64_t to);

/* Windows of T tokens, each predicting the one further on: floor((count - 1) / T). */
uint64_t tf_corpus_windows(const struct tf_corpus *corpus, uint64_t T);

enum tf_order { TF_ORDER_SHUFFLED, TF_ORDER_SEQUENTIAL };
/* The window that row b of a step of B rows reads, a pure function of its arguments: i = step*B +
 * b; sequential i mod W; shuffled: permutation number (i div W) of the seed, at i mod W, so that
 * each epoch sees every window once. */
uint64_t tf_corpus_window(enum tf_order order, uint64_t seed, uint64_t windows, uint64_t B,
                          uint64_t step, uint64_t b);

#endif
