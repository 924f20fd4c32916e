/* Models to checkpoints and back: the one place that knows both lib/nn and lib/store. */
#ifndef TF_TRAIN_MODELIO_H
#define TF_TRAIN_MODELIO_H

#include "nn/model.h"
#include "store/reader.h"
#include "store/writer.h"
#include "text/tokenizer.h"
#include "train/config.h"
#include "train/state.h"

/* An open checkpoint with its blobs understood. */
struct tf_checkpoint {
    struct tf_store *store; /* owned */
    struct tf_config config;
    struct tf_tokenizer tokenizer;
    struct tf_state state;
    struct tf_lineage lineage;
    struct tf_shape shape; /* from the tables and the config, which agree; shape.layer is owned */
};

/* Opens and understands everything but the tables' bytes. `sets` ("section.key=value", set_count of
 * them) are laid over the stored config before it is checked. Tables that do not fit the config:
 * TF_DATA naming table, rows and config key. */
TF_MUST_USE enum tf_code tf_checkpoint_open(struct tf_checkpoint *checkpoint, const char *path,
                                            uint64_t max_memory, const char *const *sets,
                                            size_t set_count, struct tf_err *err);
/* The same with a store that is open already; it is the checkpoint's from then on, even when this
 * fails. */
TF_MUST_USE enum tf_code tf_checkpoint_take(struct tf_checkpoint *checkpoint,
                                            struct tf_store *store, struct tf_err *err);
/* Understands config, tokenizer, state and lineage alone; a size of 0 is none. On failure, too, the
 * caller closes the checkpoint. */
TF_MUST_USE enum tf_code tf_checkpoint_parse(struct tf_checkpoint *checkpoint,
                                             const char *const blobs[TF_BLOBS],
                                             const size_t sizes[TF_BLOBS], struct tf_err *err);
void tf_checkpoint_close(struct tf_checkpoint *checkpoint); /* a zeroed struct is fine */

/* Fills in a shape from a config (scales 0 become the token counts; a transformer has none) and the
 * tokenizer's size (padded to vocab_multiple). shape->layer is allocated: tf_shape_fini. */
TF_MUST_USE enum tf_code tf_shape_init(struct tf_shape *shape, const struct tf_config *config,
                                       uint32_t tokens, struct tf_err *err);
void tf_shape_fini(struct tf_shape *shape);
/* A shape of its own. */
TF_MUST_USE enum tf_code tf_shape_copy(struct tf_shape *to, const struct tf_shape *from,
                                       struct tf_err *err);
/* The three token counts of a config as a shape has them: one number when all layers agree, else
 * one a layer; of matrices, which have no tokens, one number that the config has. They are owned by
 * the caller, as a config's are. */
struct tf_token_counts {
    struct tf_counts qkv, proj, ffn;
};
TF_MUST_USE enum tf_code tf_shape_counts(struct tf_token_counts *counts,
                                         const struct tf_shape *shape,
                                         const struct tf_config *config, struct tf_err *err);
/* Fills in the rows of a lineage event: every projection that has another number of them. origin:
 * of each layer after, the layer before, or UINT64_MAX when it is new (its rows were 0); NULL: the
 * layers are the same. */
TF_MUST_USE enum tf_code tf_event_rows(struct tf_event *event, const struct tf_shape *before,
                                       const struct tf_shape *after, const uint64_t *origin,
                                       struct tf_err *err);
void tf_token_counts_fini(struct tf_token_counts *counts); /* a zeroed struct is fine */

/* A model with the checkpoint's weights. train: with gradients, and moments read where the file has
 * them, else zero. */
TF_MUST_USE enum tf_code tf_model_load(struct tf_model **out,
                                       const struct tf_checkpoint *checkpoint, bool train,
                                       struct tf_err *err);
/* Copies weights (and moments, when the model has them) into a model of the very same shape. */
TF_MUST_USE enum tf_code tf_model_read(struct tf_model *model, const struct tf_store *store,
                                       struct tf_err *err);

/* Writes model, moments when it has them, and blobs to path, whole or not at all; replaces what is
 * there. */
TF_MUST_USE enum tf_code tf_checkpoint_save(const char *path, const struct tf_model *model,
                                            const struct tf_config *config,
                                            const struct tf_tokenizer *tokenizer,
                                            const struct tf_state *state,
                                            const struct tf_lineage *lineage, struct tf_err *err);
/* The model digest of weights in memory: equal to tf_store_model_digest of the file they are saved
 * to. */
TF_MUST_USE enum tf_code tf_model_digest(const struct tf_model *model, struct tf_digest *out,
                                         struct tf_err *err);
/* What a checkpoint of this model takes before compression: bytes of its tables. */
uint64_t tf_checkpoint_bytes(const struct tf_model *model);
/* Ends the file, opens it as a checkpoint, and gives it its name when it is one. */
TF_MUST_USE enum tf_code tf_checkpoint_commit(struct tf_writer *writer, struct tf_err *err);
/* Adds the four blobs to a writer. */
TF_MUST_USE enum tf_code tf_checkpoint_blobs(struct tf_writer *writer,
                                             const struct tf_config *config,
                                             const struct tf_tokenizer *tokenizer,
                                             const struct tf_state *state,
                                             const struct tf_lineage *lineage, struct tf_err *err);

#endif
