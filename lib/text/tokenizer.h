/* Tokenizers: text <-> token ids. `bytes`: ids 0..255 are the bytes; a separator string, where
 * there is one, is token 256. */
#ifndef TF_TEXT_TOKENIZER_H
#define TF_TEXT_TOKENIZER_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TF_NO_TOKEN UINT32_MAX
#define TF_MAX_VOCAB 65536u /* token ids fit uint16_t */

struct tf_tokenizer {
    char separator[64];    /* "" when there is none */
    uint32_t separator_id; /* TF_NO_TOKEN when there is none */
    uint32_t size;         /* ids in use, before the model pads its vocabulary */
};

/* kind: "bytes". separator: NULL, "" or "none" for none. */
TF_MUST_USE enum tf_code tf_tokenizer_init(struct tf_tokenizer *tokenizer, const char *kind,
                                           const char *separator, struct tf_err *err);
/* The tokenizer as the YAML of a checkpoint's blob (returns the length, as snprintf does), and back
 * (TF_DATA). */
size_t tf_tokenizer_print(const struct tf_tokenizer *tokenizer, char *out, size_t size);
TF_MUST_USE enum tf_code tf_tokenizer_parse(struct tf_tokenizer *tokenizer, const char *text,
                                            size_t n, struct tf_err *err);

/* Encodes n bytes; out has room for n ids. Returns how many were written. Every byte string has one
 * encoding: the separator is taken wherever it occurs, from the left. */
size_t tf_tokenizer_encode(const struct tf_tokenizer *tokenizer, const char *text, size_t n,
                           uint16_t *out);
/* The same for a piece of a longer text: encodes what no later byte can change, *used bytes of it;
 * the rest (shorter than a separator) must come again at the head of the next piece. */
size_t tf_tokenizer_encode_piece(const struct tf_tokenizer *tokenizer, const char *text, size_t n,
                                 size_t *used, uint16_t *out);
/* The bytes of a token (borrowed, *n of them); an id past `size` has none. */
const char *tf_tokenizer_decode(const struct tf_tokenizer *tokenizer, uint32_t id, size_t *n);

#endif
