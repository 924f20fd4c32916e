/* Edits in unit tests: one begun on a file, written to another, and held against what it says of
 * the function; rows of files compared. */
#ifndef TF_TESTS_SURGERY_H
#define TF_TESTS_SURGERY_H

#include "tiny_model.h"

#include "grown.h"
#include "train/surgery.h"

static struct tf_err err;

/* Why a token with such a key changes the function. */
#define COUNTS(token) \
    "layers.0.ffn: the key of token " token " is not zero, and so counts in the norm"

/* ---- edits ---- */

struct job {
    struct tf_checkpoint from, other;
    struct tf_edit edit;
    struct tf_selection selection;
    struct tf_npy npy[2];
};

static inline void begin(struct job *job, const char *path)
{
    memset(job, 0, sizeof *job);
    open_checkpoint(&job->from, path);
    assert_ok(tf_edit_init(&job->edit, &job->from, &err), &err);
}

static inline void end(struct job *job)
{
    tf_selection_fini(&job->selection);
    tf_edit_fini(&job->edit);
    tf_npy_close(&job->npy[0]);
    tf_npy_close(&job->npy[1]);
    if (job->other.store)
        tf_checkpoint_close(&job->other);
    tf_checkpoint_close(&job->from);
}

static inline double difference(const char *before, const char *after)
{
    struct tf_checkpoint files[2];
    struct tf_model *models[2];
    double largest;

    open_checkpoint(&files[0], before);
    open_checkpoint(&files[1], after);
    for (int i = 0; i < 2; i++)
        assert_ok(tf_model_load(&models[i], &files[i], false, &err), &err);
    assert_ok(tf_grow_verify(&largest, models[0], models[1], 3, &err), &err);
    for (int i = 0; i < 2; i++) {
        tf_model_free(models[i]);
        tf_checkpoint_close(&files[i]);
    }
    return largest;
}

/* Writes the edit, and measures whether it does to the function what it says. */
static inline void finish(struct job *job, const char *path, enum tf_effect effect, const char *why)
{
    char before[64];

    snprintf(before, sizeof before, "%s", tf_store_path(job->from.store));
    assert_string_equal(tf_effect_name(job->edit.effect), tf_effect_name(effect));
    assert_string_equal(job->edit.why, why);
    assert_ok(tf_edit_write(&job->edit, path, true, &err), &err);
    end(job);
    double largest = difference(before, path);
    if (effect == TF_EFFECT_EXACT     ? largest != 0
        : effect == TF_EFFECT_ROUNDED ? largest == 0 || largest > 1e-4
                                      : largest < 1e-3)
        fail_msg("%s (%s), but logits differ by %g", tf_effect_name(effect), why, largest);
}

static inline void refused(struct job *job, enum tf_code code, enum tf_code expected,
                           const char *text)
{
    assert_int_equal(code, expected);
    assert_string_equal(err.text, text);
    end(job);
}

/* ---- rows ---- */

/* All rows of a table; freed by the caller. */
static inline float *load(const char *path, const char *name, uint64_t *rows, uint32_t *cols)
{
    struct tf_store *store;

    assert_ok(tf_store_open(&store, path, 0, &err), &err);
    size_t index = tf_store_find(store, name);
    assert_true(index != SIZE_MAX);
    *rows = tf_store_table(store, index)->rows;
    *cols = tf_store_table(store, index)->cols;
    float *out = malloc(*rows * *cols * sizeof *out);
    assert_ok(tf_store_read(store, index, 0, *rows, out, *cols, &err), &err);
    tf_store_close(store);
    return out;
}

/* count rows of b's table from `at` on are those of a's from `first` on; of zeros, without a. */
static inline void same_rows(const char *name, const char *a, uint64_t first, const char *b,
                             uint64_t at, uint64_t count)
{
    uint64_t rows;
    uint32_t cols;
    float *old = a ? load(a, name, &rows, &cols) : NULL, *new = load(b, name, &rows, &cols);

    assert_true(at + count <= rows);
    for (uint64_t i = 0; i < count * cols; i++)
        if (new[at * cols + i] != (old ? old[first * cols + i] : 0))
            fail_msg("%s: row %d of %s", name, (int)(at + i / cols), b);
    free(old);
    free(new);
}

static const char *const ffn_tables[] = {
    "layers.0.ffn.keys",           "layers.0.ffn.values",       "optim.m/layers.0.ffn.keys",
    "optim.m/layers.0.ffn.values", "optim.v/layers.0.ffn.keys", "optim.v/layers.0.ffn.values"};

static inline void same_ffn_rows(const char *a, uint64_t first, const char *b, uint64_t at,
                                 uint64_t count)
{
    for (size_t i = 0; i < sizeof ffn_tables / sizeof *ffn_tables; i++)
        same_rows(ffn_tables[i], a, first, b, at, count);
}

/* ---- files ---- */

/* ffn x2 and q, k, v to 24, with zero keys. */
static inline void grow_file(const char *from, const char *to, uint64_t seed)
{
    struct tf_grow_options options = {.values = TF_INIT_RANDOM, .seed = seed};
    struct tf_checkpoint checkpoint;
    struct tf_growth growth;

    assert_ok(tf_target_parse(&options.ffn, "x2", &err), &err);
    assert_ok(tf_target_parse(&options.qkv, "24", &err), &err);
    open_checkpoint(&checkpoint, from);
    assert_ok(tf_grow_plan(&growth, &checkpoint.shape, &options, &err), &err);
    assert_ok(grow_checkpoint(&checkpoint, to, true, &growth, &options, &err), &err);
    tf_growth_fini(&growth);
    tf_checkpoint_close(&checkpoint);
}

#endif
