/* slice: the rows that are left, in keys, values and moments alike, and whether what is said of the
 * function holds. */
#include "surgery.h"

static enum tf_code slice(struct job *job, bool keep, const char *text)
{
    assert_ok(tf_select(&job->selection, job->from.store, TF_SELECT_GROUPS, &text, 1, &err), &err);
    return tf_surgery_slice(&job->edit, &job->selection, keep, &err);
}

/* A tiny checkpoint, of whose layers.0.ffn (44 tokens) the keys 4 to 11, 16 to 31 and 40 to 43 are
 * zero. */
static void gapped_file(const char *path, const char *set)
{
    struct tiny tiny;

    tiny_make(&tiny, set, true);
    struct tf_table *keys = tiny.model->layers[0].at[TF_FFN].keys;
    for (size_t row = 0; row < keys->rows; row++)
        if ((row >= 4 && row < 12) || (row >= 16 && row < 32) || row >= 40)
            for (size_t col = 0; col < keys->cols; col++)
                tf_table_row(keys, row)[col] = col % 2 ? -0.0f : 0;
    tiny_save(&tiny, path);
    tiny_free(&tiny);
}

#define MOVE_UP(token)                                               \
    "layers.0.ffn: token " token " and those behind it move up, so " \
    "that sums over tokens round differently"

static void slice_effects(void **unused)
{
    static const struct {
        bool keep;
        const char *text;
        enum tf_effect effect;
        const char *why;
    } cases[] = {
        {false, "layers.0.ffn[40:]", TF_EFFECT_EXACT, ""},
        {true, "layers.0.ffn[:40]", TF_EFFECT_EXACT, ""},
        {true, "layers.*.ffn", TF_EFFECT_EXACT, ""},
        {false, "layers.0.ffn[16:32]", TF_EFFECT_EXACT, ""},
        {false, "layers.0.ffn[4:8,16:32]", TF_EFFECT_ROUNDED, MOVE_UP("8")},
        {false, "layers.0.ffn[16:32,42:]", TF_EFFECT_EXACT, ""},
        {false, "layers.0.ffn[4:8]", TF_EFFECT_ROUNDED, MOVE_UP("8")},
        {false, "layers.0.ffn[16:24,24:31]", TF_EFFECT_ROUNDED, MOVE_UP("31")},
        {false, "layers.0.ffn[4:9,20:31]", TF_EFFECT_ROUNDED, MOVE_UP("9")},
        {false, "layers.0.ffn[0]", TF_EFFECT_CHANGED, COUNTS("0")},
        {false, "layers.0.ffn[6:14]", TF_EFFECT_CHANGED, COUNTS("12")},
        {true, "layers.0.ffn[0:38]", TF_EFFECT_CHANGED, COUNTS("38")},
    };
    static const char *const norms[] = {"l2_norm_gelu", "gelu_l2_norm"};

    (void)unused;
    for (size_t n = 0; n < 2; n++) {
        char set[64];
        snprintf(set, sizeof set, "model.norm_activation=%s", norms[n]);
        gapped_file("z.tfck", set);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct job job;
            begin(&job, "z.tfck");
            assert_ok(slice(&job, cases[i].keep, cases[i].text), &err);
            finish(&job, "b.tfck", cases[i].effect, cases[i].why);
        }
    }
}

static void slice_softmax(void **unused)
{
    struct job job;

    (void)unused;
    gapped_file("z.tfck", "model.norm_activation=softmax");
    begin(&job, "z.tfck");
    assert_ok(slice(&job, false, "layers.0.ffn[40:]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED,
           "layers.0.ffn: softmax gives every token a weight, even one with a zero key");
    begin(&job, "z.tfck");
    assert_ok(slice(&job, true, "*"), &err);
    assert_null(job.edit.verb);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
}

/* Units of an MLP have no norm to share: those of zero keys leave from anywhere. */
static void slice_units(void **unused)
{
    struct job job;
    struct tf_checkpoint to;

    (void)unused;
    gapped_file("z.tfck", "model.kind=transformer");
    begin(&job, "z.tfck");
    assert_ok(slice(&job, false, "layers.0.ffn[4:9,20:31]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");
    same_ffn_rows("z.tfck", 9, "b.tfck", 4, 11);
    open_checkpoint(&to, "b.tfck");
    assert_int_equal(to.config.model.ffn_tokens.items[0], 28);
    assert_int_equal(to.config.model.qkv_tokens.count, 1);
    assert_int_equal(to.config.model.qkv_tokens.items[0], 20); /* what it was, though not used */
    assert_int_equal(to.lineage.events[1].row_count, 1);
    tf_checkpoint_close(&to);
    begin(&job, "z.tfck");
    assert_ok(slice(&job, true, "layers.*.ffn[:16]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED,
           "layers.0.ffn: the key of token 32 is not zero, and so the token counts");
}

static void slice_keeps_step(void **unused)
{
    struct job job;
    struct tf_checkpoint to;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    begin(&job, "a.tfck");
    assert_ok(slice(&job, true, "layers.0.ffn[30:36,3,-1]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED, COUNTS("0"));
    same_ffn_rows("a.tfck", 3, "b.tfck", 0, 1);
    same_ffn_rows("a.tfck", 30, "b.tfck", 1, 6);
    same_ffn_rows("a.tfck", 43, "b.tfck", 7, 1);
    same_rows("layers.1.ffn.keys", "a.tfck", 0, "b.tfck", 0, 40);
    open_checkpoint(&to, "b.tfck");
    assert_int_equal(to.config.model.ffn_tokens.count, 2);
    assert_int_equal(to.config.model.ffn_tokens.items[0], 8);
    assert_int_equal(to.config.model.ffn_tokens.items[1], 40);
    assert_true(to.shape.layer[0].scale[TF_FFN] == 44);
    assert_int_equal(to.lineage.count, 2);
    assert_string_equal(to.lineage.events[1].verb, "slice");
    tf_checkpoint_close(&to);
}

/* A cut through one chunk leaves the bytes of the others as they were. */
static void slice_copies_chunks(void **unused)
{
    struct tf_checkpoint from, to;
    struct job job;

    (void)unused;
    tiny_file("a.tfck", "model.ffn_tokens=10000", false);
    begin(&job, "a.tfck");
    assert_ok(slice(&job, false, "layers.1.ffn[3100:3200]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_CHANGED,
           "layers.1.ffn: the key of token 3100 is not zero, and so counts in the norm");
    open_checkpoint(&from, "a.tfck");
    open_checkpoint(&to, "b.tfck");
    const struct tf_table_info *old =
        tf_store_table(from.store, tf_store_find(from.store, "layers.1.ffn.values"));
    const struct tf_table_info *new =
        tf_store_table(to.store, tf_store_find(to.store, "layers.1.ffn.values"));
    assert_int_equal(old->chunk_count, 4); /* of 3,072 rows */
    assert_int_equal(new->chunk_count, 4);
    for (uint32_t i = 0; i < 4; i++) {
        const struct tf_chunk_info *a = tf_store_chunk(from.store, old->first_chunk + i);
        const struct tf_chunk_info *b = tf_store_chunk(to.store, new->first_chunk + i);
        assert_int_equal(a->rows - b->rows, i == 1 ? 100 : 0);
        assert_int_equal(a->coded_hash == b->coded_hash, i != 1);
    }
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

static void same_blob(const struct tf_store *a, const struct tf_store *b, enum tf_blob kind)
{
    size_t sizes[2];
    const char *one = tf_store_blob(a, kind, &sizes[0]), *two = tf_store_blob(b, kind, &sizes[1]);

    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(one, two, sizes[0]);
}

/* Undone, a growth leaves the lineage alone behind: each chunk's bytes are what they were. */
static void undo_growth(void **unused)
{
    struct tf_checkpoint from, to;
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    grow_file("a.tfck", "g.tfck", 1);
    begin(&job, "g.tfck");
    assert_ok(slice(&job, true, "layers.0.ffn[:44]"), &err);
    tf_selection_fini(&job.selection);
    assert_ok(slice(&job, true, "layers.1.ffn[:40]"), &err);
    tf_selection_fini(&job.selection);
    assert_ok(slice(&job, true, "layers.*.attn.[qkv][:20]"), &err);
    finish(&job, "b.tfck", TF_EFFECT_EXACT, "");

    open_checkpoint(&from, "a.tfck");
    open_checkpoint(&to, "b.tfck");
    assert_int_equal(tf_store_tables(from.store), tf_store_tables(to.store));
    for (size_t i = 0; i < tf_store_tables(from.store); i++) {
        const struct tf_table_info *a = tf_store_table(from.store, i);
        assert_memory_equal(a, tf_store_table(to.store, i), sizeof *a);
        for (uint32_t c = a->first_chunk; c < a->first_chunk + a->chunk_count; c++) {
            const struct tf_chunk_info *chunk = tf_store_chunk(from.store, c);
            assert_memory_equal(chunk, tf_store_chunk(to.store, c), sizeof *chunk);
        }
    }
    same_blob(from.store, to.store, TF_BLOB_CONFIG);
    same_blob(from.store, to.store, TF_BLOB_STATE);
    same_blob(from.store, to.store, TF_BLOB_TOKENIZER);
    assert_int_equal(to.lineage.count, from.lineage.count + 2);
    assert_string_equal(to.lineage.events[2].effect, "exact");
    tf_checkpoint_close(&from);
    tf_checkpoint_close(&to);
}

static void slice_refusals(void **unused)
{
    struct tf_selection tables;
    struct job job;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    begin(&job, "a.tfck");
    refused(&job, slice(&job, false, "layers.*.ffn"), TF_USAGE,
            "layers.0.ffn: none of its 44 tokens would be left");
    begin(&job, "a.tfck");
    assert_ok(tf_select(&tables, job.from.store, TF_SELECT_TABLES,
                        (const char *const[]){"embed.tokens[:9]"}, 1, &err),
              &err);
    enum tf_code code = tf_surgery_slice(&job.edit, &tables, true, &err);
    tf_selection_fini(&tables);
    refused(&job, code, TF_USAGE, "embed.tokens is a table: tokens are sliced by their Pattention");
    begin(&job, "a.tfck");
    assert_ok(slice(&job, true, "layers.1.attn.k[2:9]"), &err);
    refused(&job, tf_edit_write(&job.edit, "no.tfck", false, &err), TF_DATA,
            "layers.1.attn: q, k and v must have one number of tokens (model.qkv_tokens), "
            "not 20, 7 and 20");
    assert_int_equal(access("no.tfck", F_OK), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slice_effects),    cmocka_unit_test(slice_softmax),
        cmocka_unit_test(slice_keeps_step), cmocka_unit_test(slice_copies_chunks),
        cmocka_unit_test(undo_growth),      cmocka_unit_test(slice_refusals),
        cmocka_unit_test(slice_units),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
