/* The files of a bundle beside the tables', for bundle.c and bundle_read.c alone. */
#ifndef TF_TRAIN_BUNDLE_FILES_H
#define TF_TRAIN_BUNDLE_FILES_H

#include "store/format.h"
#include "train/config.h"

extern const char tf_bundle_manifest[];
extern const char *const tf_bundle_blobs[TF_BLOBS];

/* The digest of what decides the function beside the tables: some keys of the config, and the
 * tokenizer's `size` bytes. */
TF_MUST_USE enum tf_code tf_bundle_settings(char out[TF_DIGEST_TEXT],
                                            const struct tf_config *config, const char *tokenizer,
                                            size_t size, struct tf_err *err);

#endif
