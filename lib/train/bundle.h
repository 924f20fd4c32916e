/* A checkpoint as a folder that other tools can work on: manifest.yaml, one .npy a table, and the
 * blobs as files (config.yaml, tokenizer, state.yaml, lineage.yaml). The manifest is specified in
 * tf-inspect(1). */
#ifndef TF_TRAIN_BUNDLE_H
#define TF_TRAIN_BUNDLE_H

#include "train/edit.h"

/* A manifest, as text. */
struct tf_chunk_run {
    uint64_t rows, times; /* `times` chunks of `rows` rows each */
};
struct tf_manifest_table {
    struct tf_table_info info; /* rows, cols and dtype come from the .npy file */
    char *file;                /* a plain file name; owned */
    struct tf_chunk_run *runs; /* NULL: chunks as a writer chooses; owned */
    size_t run_count;
};
struct tf_manifest {
    struct tf_manifest_table *tables; /* sorted by name; owned */
    size_t count;
    char digest[TF_DIGEST_TEXT];   /* of the model that was unpacked; "": not said */
    char settings[TF_DIGEST_TEXT]; /* of its tf_bundle_settings; "": not said */
};
/* Reads n bytes; name stands for the file in messages. TF_DATA. Fini'd by the caller on failure,
 * too. */
TF_MUST_USE enum tf_code tf_manifest_parse(struct tf_manifest *out, const char *name,
                                           const char *text, size_t n, struct tf_err *err);
/* The text that reads back as this manifest; *out freed with tf_free. TF_MEMORY when it would be
 * more than the reader takes. */
TF_MUST_USE enum tf_code tf_manifest_print(const struct tf_manifest *manifest, char **out,
                                           size_t *size, struct tf_err *err);
/* The name of a table's file when the manifest gives none, freed with tf_free. */
TF_MUST_USE char *tf_manifest_file(const char *table, struct tf_err *err);
void tf_manifest_fini(struct tf_manifest *manifest); /* a zeroed struct is fine */

/* Writes the folder, whole or not at all; an existing path is refused. */
TF_MUST_USE enum tf_code tf_bundle_unpack(const struct tf_checkpoint *from, const char *folder,
                                          struct tf_err *err);
/* The checks of tf_bundle_unpack, making nothing. */
TF_MUST_USE enum tf_code tf_bundle_check(const struct tf_checkpoint *from, const char *folder,
                                         struct tf_err *err);

/* An open folder. */
struct tf_bundle {
    struct tf_checkpoint checkpoint; /* its blobs understood; no store */
    char *blobs[TF_BLOBS];           /* as the files have them; owned */
    size_t blob_sizes[TF_BLOBS];
    struct tf_npy *files; /* one a table; owned */
    size_t file_count;
    char digest[TF_DIGEST_TEXT];   /* of the model that was unpacked; "": not known */
    char settings[TF_DIGEST_TEXT]; /* of its tf_bundle_settings; "": not known */
    size_t extra_count; /* files that are no part of the checkpoint, .hidden ones aside */
    char extra[256];    /* the first of these by name */
};

/* Opens all files of a folder and plans the checkpoint that they make: byte for byte the one that
 * was unpacked, when nothing was changed and it was written at the default level. Rows may have
 * been added or taken away, the same in keys and values; then a chunk list is no longer followed
 * and the config's token counts are brought up to date. The edit borrows the bundle. */
TF_MUST_USE enum tf_code tf_bundle_open(struct tf_bundle *bundle, struct tf_edit *edit,
                                        const char *folder, struct tf_err *err);
void tf_bundle_close(struct tf_bundle *bundle); /* a zeroed struct is fine */

#endif
