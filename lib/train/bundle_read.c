/* Packing: a folder's files, opened and checked against each other, as the edit that makes a
 * checkpoint of them. */
#include "base/io.h"
#include "base/mem.h"
#include "base/path.h"
#include "store/digest.h"
#include "store/directory.h"
#include "text/yaml.h"
#include "train/bundle.h"
#include "train/bundle_files.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    MAX_BLOB = 16 << 20, /* bytes */
    BLOCK = 4 << 20      /* bytes of rows at a time, at least a row */
};

/* ---- files ---- */

static enum tf_code check_folder(const char *folder, struct tf_err *err)
{
    struct stat status;

    if (stat(folder, &status) < 0)
        return tf_fail_errno(err, TF_NOINPUT, "%s", folder[0] ? folder : "\"\"");
    if (!S_ISDIR(status.st_mode))
        return tf_fail(err, TF_NOINPUT, "%s: not a folder", folder);
    return TF_OK;
}

/* Freed with tf_free. */
static char *in_folder(const char *folder, const char *name, struct tf_err *err)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = tf_new(size, 1, "file name", err);

    if (path)
        snprintf(path, size, "%s%s%s", folder, folder[strlen(folder) - 1] == '/' ? "" : "/", name);
    return path;
}

/* A symbolic link might lead out of the folder. */
static enum tf_code check_file(const char *path, struct tf_err *err)
{
    struct stat status;

    if (lstat(path, &status) < 0)
        return tf_fail_errno(err, TF_NOINPUT, "%s", path);
    if (!S_ISREG(status.st_mode))
        return tf_fail(err, TF_NOINPUT, "%s: %s", path,
                       S_ISLNK(status.st_mode) ? "is a symbolic link" : "not a regular file");
    return TF_OK;
}

static enum tf_code read_file(const char *path, size_t max, char **out, size_t *size,
                              struct tf_err *err)
{
    enum tf_code code = check_file(path, err);

    return code ? code : tf_read_file(path, max, out, size, err);
}

static enum tf_code read_manifest(struct tf_manifest *manifest, const char *folder,
                                  struct tf_err *err)
{
    char *path = in_folder(folder, tf_bundle_manifest, err), *text = NULL;
    size_t size;
    enum tf_code code = path ? read_file(path, TF_YAML_MAX_BYTES, &text, &size, err) : TF_MEMORY;

    if (!code)
        code = tf_manifest_parse(manifest, path, text, size, err);
    tf_free(text);
    tf_free(path);
    return code;
}

/* A state or a lineage that is not there is an empty one. */
static enum tf_code read_blob(struct tf_bundle *bundle, enum tf_blob kind, const char *folder,
                              struct tf_err *err)
{
    bool optional = kind == TF_BLOB_STATE || kind == TF_BLOB_LINEAGE;
    char *path = in_folder(folder, tf_bundle_blobs[kind], err);
    struct stat status;
    enum tf_code code = TF_OK;

    if (!path)
        return TF_MEMORY;
    if (optional && lstat(path, &status) < 0 && errno == ENOENT)
        code = (bundle->blobs[kind] = tf_strdup("", err)) ? TF_OK : TF_MEMORY;
    else
        code = read_file(path, MAX_BLOB, &bundle->blobs[kind], &bundle->blob_sizes[kind], err);
    tf_free(path);
    return code;
}

static enum tf_code read_blobs(struct tf_bundle *bundle, const char *folder, struct tf_err *err)
{
    struct tf_checkpoint *checkpoint = &bundle->checkpoint;
    enum tf_code code = TF_OK;

    for (int kind = 0; !code && kind < TF_BLOBS; kind++)
        code = read_blob(bundle, (enum tf_blob)kind, folder, err);
    if (code)
        return code;
    if (tf_checkpoint_parse(checkpoint, (const char *const *)bundle->blobs, bundle->blob_sizes,
                            err) ||
        tf_shape_init(&checkpoint->shape, &checkpoint->config, checkpoint->tokenizer.size, err))
        return tf_context(err, "%s", folder);
    return TF_OK;
}

/* ---- files that are no part of it ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The names of all files of the checkpoint, sorted; freed with tf_free, the names are borrowed. */
static const char **list_known(const struct tf_manifest *manifest, size_t *count,
                               struct tf_err *err)
{
    const char **names = tf_new(manifest->count + TF_BLOBS + 1, sizeof *names, "file names", err);

    if (!names)
        return NULL;
    *count = 0;
    for (size_t i = 0; i < manifest->count; i++)
        names[(*count)++] = manifest->tables[i].file;
    for (int kind = 0; kind < TF_BLOBS; kind++)
        names[(*count)++] = tf_bundle_blobs[kind];
    names[(*count)++] = tf_bundle_manifest;
    qsort(names, *count, sizeof *names, compare_names);
    return names;
}

/* What they are is for the user to judge: they are counted, and the first is named. */
static enum tf_code count_extra(struct tf_bundle *bundle, const struct tf_manifest *manifest,
                                const char *folder, struct tf_err *err)
{
    size_t count;
    const char **known = list_known(manifest, &count, err);
    DIR *entries;

    if (!known)
        return TF_MEMORY;
    entries = tf_path_list(AT_FDCWD, folder);
    if (!entries) {
        tf_free(known);
        return tf_fail_errno(err, TF_NOINPUT, "%s", folder);
    }
    for (const struct dirent *entry; (entry = readdir(entries));) {
        const char *name = entry->d_name;
        if (name[0] == '.' || bsearch(&name, known, count, sizeof name, compare_names))
            continue;
        if (bundle->extra_count++ == 0 || strcmp(name, bundle->extra) < 0)
            snprintf(bundle->extra, sizeof bundle->extra, "%s", name);
    }
    closedir(entries);
    tf_free(known);
    return TF_OK;
}

/* ---- tables ---- */

/* Takes rows, columns and dtype over from an open file. */
static enum tf_code take_shape(struct tf_table_info *info, const struct tf_npy *npy,
                               struct tf_err *err)
{
    if (npy->dims != 2)
        return tf_fail(err, TF_DATA, "its shape has %d dimension%s, must have 2: rows and columns",
                       npy->dims, npy->dims == 1 ? "" : "s");
    if (npy->shape[1] > TF_MAX_COLS)
        return tf_fail(err, TF_DATA, "%" PRIu64 " columns, must be 1 to %u", npy->shape[1],
                       TF_MAX_COLS);
    info->rows = npy->shape[0];
    info->cols = (uint32_t)npy->shape[1];
    info->dtype = tf_npy_dtype(npy->type);
    if (npy->type != TF_NPY_I4)
        return TF_OK;
    return tf_fail(err, TF_DATA, "integers of 32 bits, must be '<f4', '<f2' or '<u2' (bf16)");
}

static enum tf_code open_table(struct tf_bundle *bundle, struct tf_manifest_table *table,
                               const char *folder, struct tf_err *err)
{
    struct tf_npy *npy = &bundle->files[bundle->file_count];
    char *path = in_folder(folder, table->file, err);
    enum tf_code code = path ? check_file(path, err) : TF_MEMORY;

    if (!code)
        code = tf_npy_open(npy, path, err);
    if (!code)
        bundle->file_count++;
    if (!code && (code = take_shape(&table->info, npy, err)))
        tf_context(err, "%s", path);
    tf_free(path);
    return code;
}

static enum tf_code open_tables(struct tf_bundle *bundle, struct tf_manifest *manifest,
                                const char *folder, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    bundle->files = tf_new(manifest->count, sizeof *bundle->files, "files", err);
    if (!bundle->files)
        return TF_MEMORY;
    for (size_t i = 0; !code && i < manifest->count; i++)
        code = open_table(bundle, &manifest->tables[i], folder, err);
    return code;
}

/* Tables of one row group have one number of rows. */
static enum tf_code check_groups(const struct tf_bundle *bundle, const struct tf_manifest *manifest,
                                 struct tf_err *err)
{
    size_t *first = tf_new(TF_MAX_TABLES + 1, sizeof *first, "row groups", err); /* and one */
    enum tf_code code = first ? TF_OK : TF_MEMORY;

    for (size_t i = 0; !code && i < manifest->count; i++) {
        const struct tf_table_info *info = &manifest->tables[i].info, *other;
        if (info->row_group == 0)
            continue;
        if (first[info->row_group] == 0)
            first[info->row_group] = i + 1;
        other = &manifest->tables[first[info->row_group] - 1].info;
        if (info->rows != other->rows)
            code = tf_fail(err, TF_DATA,
                           "%s: %" PRIu64 " rows, but %s, which goes with it, has %" PRIu64,
                           bundle->files[i].in.path, info->rows, other->name, other->rows);
    }
    tf_free(first);
    return code;
}

/* The model's digest, as it is now. Rows of one table after the other; `block` has room for BLOCK
 * bytes. */
static enum tf_code hash_tables(const struct tf_bundle *bundle, const struct tf_manifest *manifest,
                                struct tf_hash *rows, struct tf_hash *model, uint8_t *block,
                                struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < manifest->count; i++) {
        const struct tf_table_info *info = &manifest->tables[i].info;
        size_t row_size = info->cols * tf_dtype_width(info->dtype);
        uint64_t step = BLOCK / row_size;
        struct tf_digest digest;
        if (info->role != TF_PARAMETER)
            continue;
        for (uint64_t row = 0; !code && row < info->rows; row += step) {
            uint64_t count = info->rows - row < step ? info->rows - row : step;
            code = tf_npy_read(&bundle->files[i], row, count, block, err);
            if (!code)
                tf_hash_update(rows, block, count * row_size);
        }
        tf_hash_finish(rows, &digest);
        tf_hash_table(model, info, &digest);
    }
    return code;
}
_Static_assert(BLOCK >= TF_MAX_COLS * 4, "a row fits a block");

/* The edit makes another model than the one that was unpacked. */
static void differ(const struct tf_bundle *bundle, struct tf_edit *edit, const char *why)
{
    edit->verb = "pack";
    edit->digest = bundle->digest;
    tf_edit_worsen(edit, TF_EFFECT_CHANGED, "%s", why);
}

static enum tf_code compare_tables(const struct tf_bundle *bundle,
                                   const struct tf_manifest *manifest, struct tf_edit *edit,
                                   struct tf_err *err)
{
    struct tf_hash *rows = tf_hash_new(err), *model = tf_hash_new(err);
    uint8_t *block = tf_new(BLOCK, 1, "rows", err);
    struct tf_digest digest;
    char text[TF_DIGEST_TEXT];
    enum tf_code code = rows && model && block ? TF_OK : TF_MEMORY;

    if (!code)
        code = hash_tables(bundle, manifest, rows, model, block, err);
    if (!code) {
        tf_hash_finish(model, &digest);
        if (strcmp(tf_digest_text(text, &digest), bundle->digest) != 0)
            differ(bundle, edit,
                   bundle->digest[0] ? "tables are not as they were unpacked"
                                     : "the manifest has no digest to compare it with");
    }
    tf_hash_free(rows);
    tf_hash_free(model);
    tf_free(block);
    return code;
}

static enum tf_code compare_settings(const struct tf_bundle *bundle, struct tf_edit *edit,
                                     struct tf_err *err)
{
    char text[TF_DIGEST_TEXT];
    enum tf_code code =
        tf_bundle_settings(text, &bundle->checkpoint.config, bundle->blobs[TF_BLOB_TOKENIZER],
                           bundle->blob_sizes[TF_BLOB_TOKENIZER], err);

    if (!code && strcmp(text, bundle->settings) != 0)
        differ(bundle, edit,
               bundle->settings[0] ? "config.yaml or tokenizer is not as it was unpacked"
                                   : "the manifest has no settings to compare it with");
    return code;
}

/* Is this the model that was unpacked? What is not known to be the same is another. */
static enum tf_code compare_model(const struct tf_bundle *bundle,
                                  const struct tf_manifest *manifest, struct tf_edit *edit,
                                  struct tf_err *err)
{
    enum tf_code code = compare_tables(bundle, manifest, edit, err);

    return code ? code : compare_settings(bundle, edit, err);
}

/* ---- the edit ---- */

/* The file's rows in chunks as they were; as a writer chooses when there are more or fewer now, or
 * they became too wide for such chunks. */
static enum tf_code add_rows(struct tf_edit_table *table, const struct tf_manifest_table *from,
                             const struct tf_npy *npy, struct tf_err *err)
{
    struct tf_piece piece = {.npy = npy, .count = npy->shape[0]};
    uint64_t listed = 0, most = TF_MAX_CHUNK_RAW / (tf_npy_width(npy->type) * npy->shape[1]);
    bool fit = true;
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < from->run_count; i++) {
        listed += from->runs[i].rows * from->runs[i].times; /* 2^31 by 2^20 in all, at most */
        fit = fit && from->runs[i].rows <= most;
    }
    if (listed != piece.count || !fit)
        return tf_edit_add(table, &piece, err);
    for (size_t i = 0; !code && i < from->run_count; i++) {
        piece.step = from->runs[i].rows;
        piece.count = from->runs[i].rows * from->runs[i].times;
        code = tf_edit_add(table, &piece, err);
        piece.first += piece.count;
    }
    return code;
}

static enum tf_code plan_edit(struct tf_bundle *bundle, const struct tf_manifest *manifest,
                              struct tf_edit *edit, struct tf_err *err)
{
    enum tf_code code = tf_edit_init(edit, &bundle->checkpoint, err);

    if (code)
        return code;
    tf_free(edit->tables);
    edit->tables = tf_new(manifest->count, sizeof *edit->tables, "the tables", err);
    code = edit->tables ? TF_OK : TF_MEMORY;
    for (size_t i = 0; !code && i < manifest->count; i++) {
        struct tf_edit_table *table = &edit->tables[edit->table_count++];
        table->info = manifest->tables[i].info;
        table->info.rows = 0;
        code = add_rows(table, &manifest->tables[i], &bundle->files[i], err);
    }
    for (int kind = 0; kind < TF_BLOBS; kind++) {
        edit->blobs[kind] = bundle->blobs[kind];
        edit->blob_sizes[kind] = bundle->blob_sizes[kind];
    }
    return code ? code : compare_model(bundle, manifest, edit, err);
}

enum tf_code tf_bundle_open(struct tf_bundle *bundle, struct tf_edit *edit, const char *folder,
                            struct tf_err *err)
{
    struct tf_manifest manifest = {0};
    enum tf_code code;

    memset(bundle, 0, sizeof *bundle);
    memset(edit, 0, sizeof *edit);
    code = check_folder(folder, err);
    if (!code)
        code = read_manifest(&manifest, folder, err);
    memcpy(bundle->digest, manifest.digest, sizeof bundle->digest);
    memcpy(bundle->settings, manifest.settings, sizeof bundle->settings);
    if (!code)
        code = read_blobs(bundle, folder, err);
    if (!code)
        code = open_tables(bundle, &manifest, folder, err);
    if (!code)
        code = check_groups(bundle, &manifest, err);
    if (!code)
        code = count_extra(bundle, &manifest, folder, err);
    if (!code)
        code = plan_edit(bundle, &manifest, edit, err);
    tf_manifest_fini(&manifest);
    if (code) {
        tf_edit_fini(edit);
        tf_bundle_close(bundle);
    }
    return code;
}

void tf_bundle_close(struct tf_bundle *bundle)
{
    for (size_t i = 0; i < bundle->file_count; i++)
        tf_npy_close(&bundle->files[i]);
    tf_free(bundle->files);
    for (int kind = 0; kind < TF_BLOBS; kind++)
        tf_free(bundle->blobs[kind]);
    tf_checkpoint_close(&bundle->checkpoint);
    memset(bundle, 0, sizeof *bundle);
}
