/* Loads the golden cases: models and numbers from an independent reference implementation
 * (tests/golden/README.md). */
#ifndef TF_TESTS_GOLDEN_H
#define TF_TESTS_GOLDEN_H

#include "unit.h"

#include "base/mem.h"
#include "nn/model.h"
#include "store/npy.h"

#include <jansson.h>

static inline const char *golden_path(char out[512], const char *dir, const char *file)
{
    const char *root = getenv("TF_GOLDEN");
    snprintf(out, 512, "%s/%s/%s", root ? root : "tests/golden", dir, file);
    return out;
}

static inline json_t *golden_case(const char *dir)
{
    char path[512];
    json_t *json = json_load_file(golden_path(path, dir, "case.json"), 0, NULL);
    assert_non_null(json);
    return json;
}

static inline double golden_number(const json_t *json, const char *key)
{
    const json_t *value = json_object_get(json, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

/* A whole array. */
struct golden_array {
    uint64_t shape[TF_NPY_DIMS];
    void *data; /* little-endian, C order; the caller frees it with tf_free */
};

static inline struct golden_array golden_npy(const char *dir, const char *file)
{
    char path[512];
    struct tf_npy npy;
    struct golden_array array;
    struct tf_err err = {0};
    assert_ok(tf_npy_open(&npy, golden_path(path, dir, file), &err), &err);
    array.data = tf_new(npy.in.size - npy.start, 1, file, &err);
    assert_non_null(array.data);
    assert_ok(tf_npy_read(&npy, 0, npy.shape[0], array.data, &err), &err);
    memcpy(array.shape, npy.shape, sizeof array.shape);
    tf_npy_close(&npy);
    return array;
}

static inline struct golden_array golden_table(const char *dir, const char *kind, const char *name)
{
    char file[256];
    snprintf(file, sizeof file, "%s/%s.npy", kind, name);
    return golden_npy(dir, file);
}

static inline enum tf_norm golden_norm(const json_t *json)
{
    const char *name = json_string_value(json_object_get(json, "normalisation"));
    for (enum tf_norm norm = TF_L2_NORM_GELU; norm <= TF_GELU; norm++)
        if (!strcmp(name, tf_norm_name(norm)))
            return norm;
    fail_msg("unknown normalisation %s", name);
    return TF_SOFTMAX;
}

/* The case's model with its weights; the caller frees it. */
static inline struct tf_model *golden_model(const char *dir, bool train)
{
    json_t *json = golden_case(dir);
    struct tf_layer_shape layer[8];
    const enum tf_norm norm = golden_norm(json);
    struct tf_shape shape = {
        .kind = norm == TF_GELU ? TF_TRANSFORMER : TF_TOKENFORMER,
        .layers = (uint64_t)golden_number(json, "layers"),
        .width = (uint64_t)golden_number(json, "width"),
        .heads = (uint64_t)golden_number(json, "heads"),
        .vocab = (uint64_t)golden_number(json, "vocab"),
        .seq = 32,
        .norm = norm,
        .rotary_pct = golden_number(json, "rotary_pct"),
        .rotary_base = 10000,
        .tied = true,
        .layer = layer,
    };
    const char *const counts[TF_PROJECTIONS] = {"qkv", "qkv", "qkv", "proj", "ffn"};
    for (uint64_t l = 0; l < shape.layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            layer[l].tokens[p] = (uint64_t)golden_number(json, counts[p]);
            layer[l].scale[p] = norm == TF_GELU ? 0 : (double)layer[l].tokens[p];
        }
    struct tf_model *model;
    struct tf_err err = {0};
    assert_ok(tf_model_new(&model, &shape, train, &err), &err);
    for (size_t i = 0; i < model->table_count; i++) {
        struct tf_table *t = &model->tables[i];
        struct golden_array array = golden_table(dir, "weights", t->name);
        assert_int_equal(array.shape[0] * array.shape[1], t->rows * t->cols);
        for (size_t r = 0; r < t->rows; r++)
            memcpy(tf_table_row(t, r), (const float *)array.data + r * t->cols,
                   t->cols * sizeof(float));
        tf_free(array.data);
    }
    json_decref(json);
    return model;
}

#endif
