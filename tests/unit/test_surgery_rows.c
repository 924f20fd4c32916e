/* replace, append, transplant: the rows that come out, in keys, values and moments alike, and
 * whether what is said of the function holds. */
#include "surgery.h"

#include "store/bytes.h"
#include "store/frame.h"

/* ---- files ---- */

static void make_npy(const char *path, enum tf_npy_type type, uint64_t rows, uint64_t cols,
                     const void *data)
{
    struct tf_out out;

    assert_ok(tf_out_open(&out, path, true, &err), &err);
    assert_ok(tf_npy_write_header(&out, type, 2, (uint64_t[]){rows, cols}, &err), &err);
    assert_ok(tf_out_write(&out, data, rows * cols * tf_npy_width(type), &err), &err);
    assert_ok(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
}

/* Rows of noise of an amplitude. */
static void noise_npy(const char *path, uint64_t rows, uint64_t cols, float amplitude)
{
    float *data = malloc(rows * cols * sizeof *data);

    for (uint64_t i = 0; i < rows * cols; i++)
        data[i] = amplitude * noise(i + 77);
    make_npy(path, TF_NPY_F4, rows, cols, data);
    free(data);
}

/* The parameters in another dtype. */
static void cast_file(const char *from, const char *to, enum tf_dtype dtype)
{
    struct job job;

    begin(&job, from);
    for (size_t i = 0; i < job.edit.table_count; i++)
        job.edit.tables[i].info.dtype = dtype;
    assert_ok(tf_edit_write(&job.edit, to, true, &err), &err);
    end(&job);
}

/* ---- replace ---- */

static enum tf_code replace(struct job *job, const char *text, const char *npy)
{
    assert_ok(tf_select(&job->selection, job->from.store, TF_SELECT_TABLES, &text, 1, &err), &err);
    assert_int_equal(job->selection.count, 1);
    assert_ok(tf_npy_open(&job->npy[0], npy, &err), &err);
    return tf_surgery_replace(&job->edit, &job->selection.items[0], &job->npy[0], &err);
}

static void replace_rows(void **unused)
{
    struct job job;
    uint64_t rows;
    uint32_t cols;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    noise_npy("n.npy", 5, 32, 0.25f);
    begin(&job, "a.tfck");
    assert_ok(replace(&job, "layers.0.ffn.values[40,7:11]", "n.npy"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.values gets other numbers");
    same_rows("layers.0.ffn.values", "a.tfck", 0, "b.tfck", 0, 7);
    same_rows("layers.0.ffn.values", "a.tfck", 11, "b.tfck", 11, 29);
    same_rows("layers.0.ffn.values", "a.tfck", 41, "b.tfck", 41, 3);
    float *new = load("b.tfck", "layers.0.ffn.values", &rows, &cols);
    for (uint64_t i = 0; i < 5 * cols; i++) /* rows ascend, as the file's do */
        assert_true(new[(i < 4 * cols ? 7 : 36) * cols + i] == 0.25f * noise(i + 77));
    free(new);
    same_rows("optim.m/layers.0.ffn.values", "a.tfck", 0, "b.tfck", 0, 44);
}

/* The numbers that are there already change nothing; nor do moments. */
static void replace_by_the_same(void **unused)
{
    struct job job;
    uint64_t rows;
    uint32_t cols;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    float *old = load("a.tfck", "layers.1.ffn.keys", &rows, &cols);
    make_npy("same.npy", TF_NPY_F4, 10, cols, old + 20 * cols);
    begin(&job, "a.tfck");
    assert_ok(replace(&job, "layers.1.ffn.keys[20:30]", "same.npy"), &err);
    assert_null(job.edit.verb);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    begin(&job, "a.tfck");
    assert_ok(replace(&job, "optim.m/layers.1.ffn.keys[:10]", "same.npy"), &err);
    assert_string_equal(job.edit.verb, "replace");
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    old[29 * cols + 31] = nextafterf(old[29 * cols + 31], 2);
    make_npy("near.npy", TF_NPY_F4, 10, cols, old + 20 * cols);
    free(old);
    begin(&job, "a.tfck");
    assert_ok(replace(&job, "layers.1.ffn.keys[20:30]", "near.npy"), &err);
    assert_string_equal(job.edit.why, "layers.1.ffn.keys gets other numbers");
    end(&job);
}

/* Numbers are rounded to the table's dtype, or widened. */
static void replace_other_dtypes(void **unused)
{
    static const float wide[] = {1.0f, -2.5f, 1.00390625f, 1.01171875f}; /* 1 + 2^-8, 1 + 3 2^-8 */
    static const float rounded[] = {1.0f, -2.5f, 1.0f, 1.015625f};       /* to even */
    uint16_t half[32], brain[32];
    float row[32], expected[32];
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    cast_file("a.tfck", "b16.tfck", TF_BF16);
    for (int i = 0; i < 32; i++) {
        row[i] = wide[i % 4];
        expected[i] = rounded[i % 4];
        half[i] = tf_le16(i % 2 ? 0x3c01 : 0xc000);  /* f16: 1 + 2^-10, -2 */
        brain[i] = tf_le16(i % 2 ? 0x3f81 : 0xc000); /* bf16: 1 + 2^-7, -2 */
    }
    const struct {
        const char *file;
        enum tf_npy_type type;
        const void *data;
        float even, odd;
    } cases[] = {{"b16.tfck", TF_NPY_U2, brain, -2, 1.0078125f},
                 {"b16.tfck", TF_NPY_F2, half, -2, 1},
                 {"a.tfck", TF_NPY_F2, half, -2, 1.0009765625f},
                 {"a.tfck", TF_NPY_U2, brain, -2, 1.0078125f}};
    uint64_t rows;
    uint32_t cols;
    make_npy("row.npy", TF_NPY_F4, 1, 32, row);
    begin(&job, "b16.tfck");
    assert_ok(replace(&job, "norm.bias", "row.npy"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "norm.bias gets other numbers");
    float *got = load("b.tfck", "norm.bias", &rows, &cols);
    assert_memory_equal(got, expected, sizeof expected);
    free(got);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_npy("row.npy", cases[i].type, 1, 32, cases[i].data);
        begin(&job, cases[i].file);
        assert_ok(replace(&job, "norm.bias", "row.npy"), &err);
        finish(&job, "b.tfck", TF_EFFECT_CHANGED, "norm.bias gets other numbers");
        got = load("b.tfck", "norm.bias", &rows, &cols);
        for (int k = 0; k < 32; k++)
            assert_true(got[k] == (k % 2 ? cases[i].odd : cases[i].even));
        free(got);
    }
}

static void replace_refusals(void **unused)
{
    float data[64] = {[40] = 65520};
    struct tf_out out;
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    cast_file("a.tfck", "f16.tfck", TF_F16);
    noise_npy("n.npy", 5, 32, 1);
    begin(&job, "a.tfck");
    refused(&job, replace(&job, "embed.tokens[:6]", "n.npy"), TF_DATA,
            "n.npy: 5 rows for 6 of table embed.tokens");
    noise_npy("n.npy", 6, 31, 1);
    begin(&job, "a.tfck");
    refused(&job, replace(&job, "embed.tokens[:6]", "n.npy"), TF_DATA,
            "n.npy: 31 columns, table embed.tokens has 32");
    make_npy("i.npy", TF_NPY_I4, 1, 32, data);
    begin(&job, "a.tfck");
    refused(&job, replace(&job, "norm.bias", "i.npy"), TF_DATA,
            "i.npy: type '<i4', must be '<f4', '<f2' or '<u2' (bf16)");
    make_npy("big.npy", TF_NPY_F4, 2, 32, data);
    begin(&job, "f16.tfck");
    refused(&job, replace(&job, "embed.tokens[3:5]", "big.npy"), TF_DATA,
            "big.npy: row 1: a number is too large for f16 of table embed.tokens");
    begin(&job, "a.tfck");
    assert_ok(replace(&job, "embed.tokens[3:5]", "big.npy"), &err);
    end(&job);
    assert_ok(tf_out_open(&out, "one.npy", true, &err), &err);
    assert_ok(tf_npy_write_header(&out, TF_NPY_F4, 1, (uint64_t[]){32}, &err), &err);
    assert_ok(tf_out_write(&out, data, 32 * 4, &err), &err);
    assert_ok(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
    begin(&job, "a.tfck");
    refused(&job, replace(&job, "norm.bias", "one.npy"), TF_DATA,
            "one.npy: must have 2 dimensions (rows and columns), not 1");
}

/* ---- append ---- */

static enum tf_code append(struct job *job, const char *group, const char *keys, const char *values)
{
    assert_ok(tf_npy_open(&job->npy[0], keys, &err), &err);
    assert_ok(tf_npy_open(&job->npy[1], values, &err), &err);
    return tf_surgery_append(&job->edit, group, &job->npy[0], &job->npy[1], &err);
}

static void append_effects(void **unused)
{
    static const struct {
        const char *norm, *keys;
        enum tf_effect effect;
        const char *why;
    } cases[] = {
        {"l2_norm_gelu", "zeros.npy", TF_EFFECT_EXACT, ""},
        {"gelu_l2_norm", "zeros.npy", TF_EFFECT_EXACT, ""},
        {"l2_norm_gelu", "n.npy", TF_EFFECT_CHANGED, COUNTS("44")},
        {"l2_norm_gelu", "last.npy", TF_EFFECT_CHANGED, COUNTS("46")},
        {"softmax", "zeros.npy", TF_EFFECT_CHANGED,
         "layers.0.ffn: softmax gives every token a weight, even one with a zero key"},
    };
    float keys[3 * 32] = {0};

    (void)unused;
    noise_npy("n.npy", 3, 32, 0.5f);
    make_npy("zeros.npy", TF_NPY_F4, 3, 32, keys);
    keys[95] = 0.5f;
    make_npy("last.npy", TF_NPY_F4, 3, 32, keys);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char set[64];
        struct job job;
        snprintf(set, sizeof set, "model.norm_activation=%s", cases[i].norm);
        tiny_file("a.tfck", set, true);
        begin(&job, "a.tfck");
        assert_ok(append(&job, "layers.0.ffn", cases[i].keys, "n.npy"), &err);
        finish(&job, "b.tfck", cases[i].effect, cases[i].why);
        same_ffn_rows("a.tfck", 0, "b.tfck", 0, 44);
        for (int table = 2; table < 6; table++)
            same_rows(ffn_tables[table], NULL, 0, "b.tfck", 44, 3);
    }
}

/* One token is enough, without moments as well; the config follows, the scale does not. */
static void append_one(void **unused)
{
    struct tf_checkpoint to;
    struct job job;
    uint64_t rows;
    uint32_t cols;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    noise_npy("n.npy", 1, 32, 0.5f);
    begin(&job, "a.tfck");
    assert_ok(append(&job, "layers.1.attn.o", "n.npy", "n.npy"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED,
           "layers.1.attn.o: the key of token 12 is not zero, and so counts in the norm");
    float *values = load("b.tfck", "layers.1.attn.o.values", &rows, &cols);
    assert_int_equal(rows, 13);
    for (uint32_t i = 0; i < cols; i++)
        assert_true(values[12 * cols + i] == 0.5f * noise(i + 77));
    free(values);
    open_checkpoint(&to, "b.tfck");
    assert_int_equal(to.config.model.proj_tokens.items[0], 12);
    assert_int_equal(to.config.model.proj_tokens.items[1], 13);
    assert_true(to.shape.layer[1].scale[TF_O] == 12);
    tf_checkpoint_close(&to);
}

static void append_refusals(void **unused)
{
    float values[2 * 32] = {[33] = NAN};
    char name[400];
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    noise_npy("two.npy", 2, 32, 1);
    noise_npy("three.npy", 3, 32, 1);
    noise_npy("wide.npy", 2, 33, 1);
    begin(&job, "a.tfck");
    refused(&job, append(&job, "layers.0.ffn", "two.npy", "three.npy"), TF_DATA,
            "two.npy has 2 rows, three.npy has 3");
    begin(&job, "a.tfck");
    refused(&job, append(&job, "layers.0.ffn", "two.npy", "wide.npy"), TF_DATA,
            "wide.npy: 33 columns, table layers.0.ffn.values has 32");
    begin(&job, "a.tfck");
    refused(&job, append(&job, "layers.2.ffn", "two.npy", "two.npy"), TF_NOINPUT,
            "a.tfck: no Pattention 'layers.2.ffn'");
    begin(&job, "a.tfck");
    refused(&job, append(&job, "layers.0.ffn.keys", "two.npy", "two.npy"), TF_NOINPUT,
            "a.tfck: no Pattention 'layers.0.ffn.keys'");
    memset(name, 'x', 399);
    name[399] = '\0';
    begin(&job, "a.tfck");
    assert_int_equal(append(&job, name, "two.npy", "two.npy"), TF_NOINPUT);
    end(&job);
    begin(&job, "a.tfck");
    assert_ok(append(&job, "layers.0.attn.v", "two.npy", "two.npy"), &err);
    refused(&job, tf_edit_write(&job.edit, "no.tfck", false, &err), TF_DATA,
            "layers.0.attn: q, k and v must have one number of tokens (model.qkv_tokens), "
            "not 20, 20 and 22");
    make_npy("nan.npy", TF_NPY_F4, 2, 32, values);
    values[33] = 0;
    make_npy("zeros.npy", TF_NPY_F4, 2, 32, values);
    begin(&job, "a.tfck");
    assert_ok(append(&job, "layers.0.ffn", "zeros.npy", "nan.npy"), &err);
    assert_int_equal(job.edit.effect, TF_EFFECT_CHANGED);
    assert_string_equal(job.edit.why, "layers.0.ffn: the value of token 45 is not finite");
    end(&job);
}

/* ---- transplant ---- */

static enum tf_code transplant(struct job *job, const char *other, const char *text, bool behind)
{
    open_checkpoint(&job->other, other);
    assert_ok(tf_select(&job->selection, job->other.store, TF_SELECT_TABLES | TF_SELECT_GROUPS,
                        &text, 1, &err),
              &err);
    return tf_surgery_transplant(&job->edit, job->other.store, &job->selection, behind, &err);
}

/* A checkpoint of another seed's weights: the second layer's ffn has the same number of tokens. */
static void other_file(const char *path, const char *set, bool train)
{
    struct tiny tiny;

    tiny_make(&tiny, set, train);
    for (size_t i = 0; i < tiny.model->table_count; i++) {
        struct tf_table *table = &tiny.model->tables[i];
        for (size_t row = 0; row < table->rows; row++)
            for (size_t col = 0; col < table->cols; col++) {
                float x = noise(31 * row + col + i);
                tf_table_row(table, row)[col] = x;
                if (train) {
                    table->m[row * table->stride + col] = x / 2;
                    table->v[row * table->stride + col] = x * x;
                }
            }
    }
    tiny_save(&tiny, path);
    tiny_free(&tiny);
}

static void transplant_in_place(void **unused)
{
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    other_file("o.tfck", NULL, true);
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o.tfck", "layers.0.ffn[2:5,-1]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.keys gets other numbers");
    same_ffn_rows("a.tfck", 0, "b.tfck", 0, 2);
    same_ffn_rows("o.tfck", 2, "b.tfck", 2, 3);
    same_ffn_rows("a.tfck", 5, "b.tfck", 5, 38);
    same_ffn_rows("o.tfck", 43, "b.tfck", 43, 1);
    same_rows("layers.1.ffn.keys", "a.tfck", 0, "b.tfck", 0, 40);

    /* One table of a Pattention, with its moments. */
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o.tfck", "layers.0.ffn.values[40:]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.values gets other numbers");
    for (size_t i = 0; i < 6; i++)
        same_rows(ffn_tables[i], i % 2 ? "o.tfck" : "a.tfck", 40, "b.tfck", 40, 4);

    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o.tfck", "embed.tokens[:9]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "embed.tokens gets other numbers");
    same_rows("embed.tokens", "o.tfck", 0, "b.tfck", 0, 9);
    same_rows("optim.v/embed.tokens", "o.tfck", 0, "b.tfck", 0, 9);
    same_rows("embed.tokens", "a.tfck", 9, "b.tfck", 9, 200);
}

/* What is the same already changes nothing; a moment is no part of the function. */
static void transplant_the_same(void **unused)
{
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    other_file("o.tfck", NULL, true);
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "a.tfck", "*", false), &err);
    assert_null(job.edit.verb);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o.tfck", "optim.m/layers.0.ffn.keys[3:5]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    same_rows("optim.m/layers.0.ffn.keys", "o.tfck", 3, "b.tfck", 3, 2);
    same_rows("optim.v/layers.0.ffn.keys", "a.tfck", 0, "b.tfck", 0, 44);
}

/* Rows that meet from two texts are taken once. */
static void transplant_overlapping(void **unused)
{
    static const char *const texts[] = {"layers.0.ffn[4:8]", "layers.0.ffn.keys[6:12]"};
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    other_file("o.tfck", NULL, true);
    begin(&job, "a.tfck");
    open_checkpoint(&job.other, "o.tfck");
    assert_ok(tf_select(&job.selection, job.other.store, TF_SELECT_TABLES | TF_SELECT_GROUPS, texts,
                        2, &err),
              &err);
    assert_ok(tf_surgery_transplant(&job.edit, job.other.store, &job.selection, false, &err), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.keys gets other numbers");
    same_rows("layers.0.ffn.keys", "o.tfck", 4, "b.tfck", 4, 8);
    same_rows("layers.0.ffn.keys", "a.tfck", 12, "b.tfck", 12, 32);
    same_rows("layers.0.ffn.values", "o.tfck", 4, "b.tfck", 4, 4);
    same_rows("layers.0.ffn.values", "a.tfck", 8, "b.tfck", 8, 36);
}

/* Moments that only one file has: zeros in, or left behind. */
static void transplant_without_moments(void **unused)
{
    struct job job;
    struct tf_checkpoint to;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    other_file("o.tfck", NULL, false);
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o.tfck", "layers.0.ffn[10:20]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.keys gets other numbers");
    same_rows("layers.0.ffn.values", "o.tfck", 10, "b.tfck", 10, 10);
    for (int i = 2; i < 6; i++) {
        same_rows(ffn_tables[i], NULL, 0, "b.tfck", 10, 10);
        same_rows(ffn_tables[i], "a.tfck", 20, "b.tfck", 20, 24);
    }
    begin(&job, "o.tfck");
    assert_ok(transplant(&job, "a.tfck", "layers.0.ffn[10:20]", true), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, COUNTS("44"));
    open_checkpoint(&to, "b.tfck");
    assert_int_equal(tf_store_find(to.store, "optim.m/layers.0.ffn.keys"), SIZE_MAX);
    tf_checkpoint_close(&to);
    same_rows("layers.0.ffn.values", "a.tfck", 10, "b.tfck", 44, 10);
}

static void transplant_other_dtype(void **unused)
{
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    other_file("o.tfck", NULL, false);
    cast_file("o.tfck", "o16.tfck", TF_BF16);
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "o16.tfck", "layers.0.ffn[1:3]", false), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, "layers.0.ffn.keys gets other numbers");
    same_rows("layers.0.ffn.keys", "o16.tfck", 1, "b.tfck", 1, 2);
    begin(&job, "o16.tfck");
    assert_ok(transplant(&job, "o.tfck", "layers.0.ffn", false),
              &err); /* rounds to what is there */
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    begin(&job, "o16.tfck");
    assert_ok(transplant(&job, "a.tfck", "layers.0.ffn[:2]", true), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, COUNTS("44"));
}

static void transplant_refusals(void **unused)
{
    struct tiny tiny;
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    tiny_file("wide.tfck", "model.hidden_size=64", false);
    tiny_file("deep.tfck", "model.ffn_tokens=50", false);
    tiny_file("untied.tfck", "model.tie_embeddings=false", false);
    begin(&job, "a.tfck");
    refused(&job, transplant(&job, "wide.tfck", "layers.0.ffn[3]", true), TF_DATA,
            "wide.tfck: table layers.0.ffn.keys: 64 columns, must be 32 as in the input");
    begin(&job, "a.tfck");
    refused(&job, transplant(&job, "deep.tfck", "layers.0.ffn[40:]", false), TF_USAGE,
            "table layers.0.ffn.keys: row 49 is chosen, but a.tfck has 44 rows");
    begin(&job, "a.tfck");
    refused(&job, transplant(&job, "untied.tfck", "head.tokens", false), TF_NOINPUT,
            "a.tfck: no table 'head.tokens'");
    begin(&job, "a.tfck");
    refused(&job, transplant(&job, "deep.tfck", "layers.0.ffn.keys", true), TF_USAGE,
            "layers.0.ffn.keys is a table: tokens are appended to their Pattention");
    begin(&job, "a.tfck");
    assert_ok(transplant(&job, "deep.tfck", "layers.0.attn.q[:3]", true), &err);
    refused(&job, tf_edit_write(&job.edit, "no.tfck", false, &err), TF_DATA,
            "layers.0.attn: q, k and v must have one number of tokens (model.qkv_tokens), "
            "not 23, 20 and 20");

    tiny_make(&tiny, NULL, false);
    tf_table_row(tiny.model->layers[0].at[TF_FFN].values, 7)[3] = 1e6f;
    tiny_save(&tiny, "large.tfck");
    tiny_free(&tiny);
    cast_file("a.tfck", "f16.tfck", TF_F16);
    begin(&job, "f16.tfck");
    refused(&job, transplant(&job, "large.tfck", "layers.0.ffn[2,6:9]", true), TF_DATA,
            "large.tfck: row 7: a number is too large for f16 of table layers.0.ffn.values");
}

/* What a later version put into the other file would be lost on the way, whether chunks are copied
 * or rows coded. */
static void transplant_unknown_feature(void **unused)
{
    uint8_t header[TF_FRAME_SIZE];
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    other_file("o.tfck", NULL, false);
    tf_header_pack(header, &(struct tf_header){.major = TF_MAJOR, .ro_compat = 4});
    FILE *file = fopen("o.tfck", "r+");
    assert_non_null(file);
    assert_int_equal(fwrite(header, sizeof header, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    begin(&job, "a.tfck");
    refused(&job, transplant(&job, "o.tfck", "layers.0.ffn[1:3]", false), TF_DATA,
            "o.tfck: has features that this program can read but not write (ro_compat bits 0x4)");
}

/* The new tokens of two models that grew from one base, in one: the base's function still, and
 * each other's tokens behind. */
static void merge_growths(void **unused)
{
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    grow_file("a.tfck", "g1.tfck", 1);
    grow_file("a.tfck", "g2.tfck", 2);
    begin(&job, "g1.tfck");
    assert_ok(transplant(&job, "g2.tfck", "layers.0.ffn[44:]", true), &err);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    assert_true(difference("a.tfck", "b.tfck") == 0);
    same_ffn_rows("a.tfck", 0, "b.tfck", 0, 44);
    same_ffn_rows("g1.tfck", 44, "b.tfck", 44, 44);
    same_ffn_rows("g2.tfck", 44, "b.tfck", 88, 44);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replace_rows),
        cmocka_unit_test(replace_by_the_same),
        cmocka_unit_test(replace_other_dtypes),
        cmocka_unit_test(replace_refusals),
        cmocka_unit_test(append_effects),
        cmocka_unit_test(append_one),
        cmocka_unit_test(append_refusals),
        cmocka_unit_test(transplant_in_place),
        cmocka_unit_test(transplant_the_same),
        cmocka_unit_test(transplant_overlapping),
        cmocka_unit_test(transplant_without_moments),
        cmocka_unit_test(transplant_other_dtype),
        cmocka_unit_test(transplant_refusals),
        cmocka_unit_test(transplant_unknown_feature),
        cmocka_unit_test(merge_growths),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
