/* The language model: a list of named tables, and the passes over them. Of kind tokenformer (arXiv
 * 2410.23168), or of kind transformer, the same but for its projections.
 *
 *   x = embed.tokens[ids]
 *   x += o(attention(q(h), k(h), v(h))), h = LN(x)       } num_layers times; q, k, v, o and ffn
 *   x += ffn(LN(x))                                      } are Pattentions; of a transformer, q, k,
 *                                                          v, o are matrices, ffn is an MLP
 *   logits = norm(x) E^T                                 E: embed.tokens; head.tokens if untied
 */
#ifndef TF_NN_MODEL_H
#define TF_NN_MODEL_H

#include "base/err.h"
#include "nn/projection.h"
#include "nn/table.h"
#include <stdint.h>

/* The five of a layer, in this order everywhere. */
enum { TF_Q, TF_K, TF_V, TF_O, TF_FFN, TF_PROJECTIONS };

enum tf_kind { TF_TOKENFORMER, TF_TRANSFORMER };
const char *tf_kind_name(enum tf_kind kind);

/* Tokens and tau^2 of each projection of one layer. A matrix has `width` rows; a transformer's
 * scale is 0 throughout. */
struct tf_layer_shape {
    uint64_t tokens[TF_PROJECTIONS];
    double scale[TF_PROJECTIONS];
};

struct tf_shape {
    enum tf_kind kind;
    uint64_t layers, width, heads, vocab, seq; /* L C H V T */
    enum tf_norm norm;                         /* TF_GELU just when a transformer */
    double rotary_pct, rotary_base;
    bool tied;
    struct tf_layer_shape *layer; /* `layers` of them, owned by who filled it in */
};

struct tf_layer {
    struct tf_projection at[TF_PROJECTIONS];
};

struct tf_model {
    struct tf_shape shape;       /* its own copy */
    enum tf_precision precision; /* that its weights are rounded to (nn/precision.h) */
    struct tf_table *tables;     /* all of them, sorted by name */
    size_t table_count;
    struct tf_layer *layers;
    /* Into tables; head == embed when tied. */
    struct tf_table *embed, *head, *norm_weight, *norm_bias;
    struct tf_arena memory; /* of the tables' numbers */
    uint64_t bytes_weights, bytes_gradients, bytes_moments;
};

/* Is projection p a matrix? */
static inline bool tf_is_matrix(const struct tf_shape *shape, int p)
{
    return shape->kind == TF_TRANSFORMER && p != TF_FFN;
}

/* Channels of each head that RoPE turns: int(D rotary_pct). */
size_t tf_rotated(const struct tf_shape *shape);

/* The tables of a projection: keys and values, or of a matrix its weight. */
enum tf_part { TF_KEYS, TF_VALUES, TF_WEIGHT };

/* Names a table of the p-th projection of layer `layer`: layers.3.attn.q.keys, layers.3.ffn.values,
 * layers.3.attn.o.weight. Returns out. */
char *tf_table_name(char out[TF_TABLE_NAME], uint64_t layer, int p, enum tf_part part);
/* layers.3.attn.q */
char *tf_projection_name(char out[TF_TABLE_NAME], uint64_t layer, int p);

/* All values zero (norm.weight one). train: with gradients and moments. TF_CONFIG for a shape that
 * is not one (heads that do not divide the width, sizes past the format's), TF_MEMORY. */
TF_MUST_USE enum tf_code tf_model_new(struct tf_model **out, const struct tf_shape *shape,
                                      bool train, struct tf_err *err);
/* The same without memory for the tables: names, shapes and byte counts are there, every value is
 * NULL. TF_MEMORY, too, when the bytes pass what a size_t holds. */
TF_MUST_USE enum tf_code tf_model_plan(struct tf_model **out, const struct tf_shape *shape,
                                       bool train, struct tf_err *err);
void tf_model_free(struct tf_model *model);
/* The table of a name, or NULL. */
struct tf_table *tf_model_find(const struct tf_model *model, const char *name);
uint64_t tf_model_parameters(const struct tf_model *model);
/* Leaves the first `share` (above 0, up to 1; rounded up) of the tokens of every Pattention and MLP
 * active, the others as if they were not there, until it is called again; scales stay. Changes the
 * rows of the tables, all of which are in shape; for runs that were made with all of them, between
 * two passes (TF_RUN_CACHE: tf_run_refresh after it). */
void tf_model_keep(struct tf_model *model, double share);
/* Multiply-adds count two: 6 x (parameters that enter a matrix product; of tokens, the active ones)
 * + 12 L T C, for each token trained on; a third of it for a forward pass. The first part is what
 * the kernels do, to the number; the attention's is that of whole T x T squares, of which the
 * kernels leave out most of what lies after a row's position and make one product of six again. */
double tf_model_flops(const struct tf_model *model);

/* Embedding and keys N(0, 0.02^2), values N(0, (2/(L sqrt(C)))^2), norm 1 and 0. Of a transformer:
 * q, k, v and the ffn's keys N(0, 2/(5C)) (arXiv 1910.05895), o and the ffn's values as values
 * above. Number (row, col) of a table is number row*cols + col of the stream of its name, so a
 * larger table begins with the smaller one. */
void tf_model_init(struct tf_model *model, uint64_t seed);
/* Fills rows first..last of a table of that name with N(0, deviation^2), numbered as above. */
void tf_init_rows(float *rows, size_t stride, uint64_t first, uint64_t last, uint64_t cols,
                  const char *name, double deviation, uint64_t seed);
/* The standard deviation that init gives one table of projection p. */
double tf_init_deviation(const struct tf_shape *shape, int p, enum tf_part part);

/* The buffers of a pass over at most `streams` sequences of at most `length` new tokens; in
 * TF_RUN_CACHE also of one over fewer and longer ones, no more tokens in all. For as many threads
 * as OpenMP would start (omp_get_max_threads) when it is made; later passes may have fewer. */
enum tf_run_mode {
    TF_RUN_TRAIN, /* forward and backward: every layer keeps what its backward needs */
    TF_RUN_SCORE, /* forward only, whole sequences from position 0 */
    TF_RUN_CACHE  /* forward only, keys and values kept from call to call for shape.seq positions of
                     each stream */
};
struct tf_run;

TF_MUST_USE enum tf_code tf_run_new(struct tf_run **out, const struct tf_model *model,
                                    enum tf_run_mode mode, size_t streams, size_t length,
                                    struct tf_err *err);
void tf_run_free(struct tf_run *run);
/* The bytes that tf_run_new would take. */
TF_MUST_USE enum tf_code tf_run_plan(uint64_t *bytes, const struct tf_model *model,
                                     enum tf_run_mode mode, size_t streams, size_t length,
                                     struct tf_err *err);

/* Weights changed: pack them again before the next pass. Called by whoever changes them; tf_run_new
 * calls it once. */
void tf_run_refresh(struct tf_run *run);

/* Runs `streams` sequences of `length` tokens each (ids: streams x length, row after row) from
 * position `start` (0 unless TF_RUN_CACHE, where start + length <= shape.seq). Leaves the final
 * normed hidden states in the run: row s*length + t. */
void tf_forward(struct tf_run *run, const uint16_t *ids, size_t streams, size_t length,
                size_t start);

/* Cross entropy in nats of each row's target, into losses (streams x length). With a weight
 * (TF_RUN_TRAIN only): also begins the backward pass of sum(losses) * weight, leaving the residual
 * stream's gradient in the run and adding to the head's. */
void tf_loss(struct tf_run *run, const uint16_t *targets, float *losses, float weight);
/* The rest of the backward pass; adds to the tables' gradients, chain of row after row, so that
 * several small batches give the bits of one large. */
void tf_backward(struct tf_run *run, const uint16_t *ids);
/* Forgets the gradients (before the first tf_loss of a step): those that the step does not add to
 * are set by its first pass, and those of frozen tables mean nothing. */
void tf_gradients_clear(struct tf_run *run);
/* After the last tf_backward of a step: joins the two gradients of a tied embedding. */
void tf_gradients_finish(struct tf_run *run);

/* Logits of rows row .. row+count of the last forward pass: out is count x vocab, row after row. */
void tf_logits(struct tf_run *run, size_t row, size_t count, float *out);

/* TF_RUN_TRAIN: what the tokens of projection p of a layer, not a matrix, got of one row of the
 * last forward pass: S = act(A), N floats into out. */
void tf_run_scores(const struct tf_run *run, size_t layer, int p, size_t row, float *out);

/* TF_RUN_CACHE: stream `to` continues from the cached positions 0..length of stream `from`. */
void tf_cache_copy(struct tf_run *run, size_t from, size_t to, size_t length);

#endif
