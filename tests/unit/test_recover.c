/* Damaged checkpoints, and what is made of them. */
#include "tiny_model.h"

#include "base/io.h"
#include "train/recover.h"

static void load(const char *path, char **bytes, size_t *size)
{
    struct tf_err err;

    assert_ok(tf_read_file(path, 64 << 20, bytes, size, &err), &err);
}

static void save(const char *path, const char *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

/* Flips a bit in the chunk of a table of a.tfck, into bad.tfck. */
static void damage(const char *const *tables, size_t count)
{
    struct tf_checkpoint checkpoint;
    char *bytes;
    size_t size;

    load("a.tfck", &bytes, &size);
    open_checkpoint(&checkpoint, "a.tfck");
    for (size_t i = 0; i < count; i++) {
        size_t table = tf_store_find(checkpoint.store, tables[i]);
        const struct tf_chunk_info *chunk =
            tf_store_chunk(checkpoint.store, tf_store_table(checkpoint.store, table)->first_chunk);
        bytes[chunk->offset + chunk->coded / 2] ^= 16;
    }
    tf_checkpoint_close(&checkpoint);
    save("bad.tfck", bytes, size);
    tf_free(bytes);
}

static void recover(struct tf_recovery *recovery, struct tf_edit *edit)
{
    struct tf_err err;

    assert_ok(tf_recover_open(recovery, edit, "bad.tfck", 0, &err), &err);
    assert_ok(tf_edit_write(edit, "good.tfck", true, &err), &err);
}

/* What stands around a checkpoint costs nothing. */
static void nothing_lost(void **unused)
{
    struct tf_recovery recovery;
    struct tf_edit edit;
    char *bytes, *around;
    size_t size;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    load("a.tfck", &bytes, &size);
    around = malloc(size + 200);
    memset(around, 'x', size + 200);
    memcpy(around + 100, bytes, size);
    around[100 + 20] ^= 1; /* the header */
    save("bad.tfck", around, size + 200);
    recover(&recovery, &edit);
    assert_int_equal(recovery.lost.count, 0);
    assert_int_equal(recovery.found.before, 100);
    assert_int_equal(recovery.found.after, 100);
    assert_false(recovery.found.header_good);
    assert_null(edit.verb);
    tf_edit_fini(&edit);
    tf_recover_close(&recovery);
    assert_same_file("a.tfck", "good.tfck");
    free(around);
    tf_free(bytes);
}

static float first_number(const struct tf_checkpoint *checkpoint, const char *name)
{
    size_t index = tf_store_find(checkpoint->store, name);
    float row[32];
    struct tf_err err;

    assert_ok(tf_store_read(checkpoint->store, index, 0, 1, row, 32, &err), &err);
    return row[0];
}

/* Lost rows are zeros; of moments both are. */
static void lost_rows(void **unused)
{
    static const char *const tables[] = {"layers.0.ffn.values", "optim.m/norm.bias"};
    struct tf_recovery recovery;
    struct tf_edit edit;
    struct tf_checkpoint before, after;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    damage(tables, 2);
    recover(&recovery, &edit);
    assert_int_equal(recovery.lost.count, 3);
    assert_string_equal(recovery.lost.items[0].name, "layers.0.ffn.values");
    assert_int_equal(recovery.lost.items[0].row_count, 1);
    assert_int_equal(recovery.lost.items[0].rows[0].first, 0);
    assert_int_equal(recovery.lost.items[0].rows[0].end, 44);
    assert_string_equal(recovery.lost.items[1].name, "optim.m/norm.bias");
    assert_string_equal(recovery.lost.items[2].name, "optim.v/norm.bias");
    assert_int_equal(edit.effect, TF_EFFECT_CHANGED);
    assert_string_equal(edit.why, "rows of layers.0.ffn.values are lost, and zeros now");
    tf_edit_fini(&edit);
    tf_recover_close(&recovery);

    open_checkpoint(&before, "a.tfck");
    open_checkpoint(&after, "good.tfck");
    assert_true(first_number(&after, "layers.0.ffn.values") == 0);
    assert_true(first_number(&after, "optim.m/norm.bias") == 0);
    assert_true(first_number(&after, "optim.v/norm.bias") == 0);
    assert_true(first_number(&after, "layers.0.ffn.keys") ==
                first_number(&before, "layers.0.ffn.keys"));
    assert_true(first_number(&before, "optim.v/norm.bias") > 0);
    const struct tf_event *event = &after.lineage.events[after.lineage.count - 1];
    assert_int_equal(event->kind, TF_EVENT_EDIT);
    assert_string_equal(event->verb, "recover");
    assert_string_equal(event->from, "");
    assert_int_equal(event->row_count, 0);
    tf_checkpoint_close(&before);
    tf_checkpoint_close(&after);
}

/* Optimizer state alone: the function is what it was. */
static void lost_moment(void **unused)
{
    static const char *const tables[] = {"optim.v/layers.1.attn.q.keys"};
    struct tf_recovery recovery;
    struct tf_edit edit;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    damage(tables, 1);
    recover(&recovery, &edit);
    assert_int_equal(recovery.lost.count, 2);
    assert_int_equal(edit.effect, TF_EFFECT_EXACT);
    tf_edit_fini(&edit);
    tf_recover_close(&recovery);
}

static void put_buffer(struct tf_writer *writer, const char *name, uint64_t rows)
{
    struct tf_table_info info = {.role = TF_BUFFER, .dtype = TF_F32, .cols = 1};
    const float numbers[4] = {1, 2, 3, 4};
    struct tf_err err;

    strcpy(info.name, name);
    assert_ok(tf_writer_table(writer, &info, &err), &err);
    assert_ok(tf_writer_rows(writer, numbers, rows, 1, &err), &err);
}

/* A copy of a.tfck with two buffers more, whose names are like those of moments. */
static void add_buffers(const char *path)
{
    struct tf_checkpoint from;
    struct tf_writer *writer;
    struct tf_err err;
    bool put = false;

    open_checkpoint(&from, "a.tfck");
    assert_ok(tf_writer_open(&writer, path, true, 0, &err), &err);
    for (size_t i = 0; i < tf_store_tables(from.store); i++) {
        const struct tf_table_info *info = tf_store_table(from.store, i);
        if (!put && strcmp(info->name, "optim.m/zzz") > 0) {
            put_buffer(writer, "optim.m/zzz", 4);
            put = true;
        }
        assert_ok(tf_writer_table(writer, info, &err), &err);
        assert_ok(tf_writer_copy(writer, from.store, i, 0, info->chunk_count, &err), &err);
    }
    put_buffer(writer, "optim.v/zzz", 1);
    assert_ok(tf_checkpoint_blobs(writer, &from.config, &from.tokenizer, &from.state, &from.lineage,
                                  &err),
              &err);
    assert_ok(tf_checkpoint_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_checkpoint_close(&from);
}

/* Buffers may have any names and rows: they are no moments, and do not go together. */
static void buffers_like_moments(void **unused)
{
    static const char *const tables[] = {"optim.v/zzz"};
    struct tf_recovery recovery;
    struct tf_edit edit;

    (void)unused;
    tiny_file("a.tfck", NULL, true);
    add_buffers("b.tfck");
    assert_int_equal(rename("b.tfck", "a.tfck"), 0);
    damage(tables, 1);
    recover(&recovery, &edit);
    assert_int_equal(recovery.lost.count, 1);
    assert_string_equal(recovery.lost.items[0].name, "optim.v/zzz");
    tf_edit_fini(&edit);
    tf_recover_close(&recovery);
}

static void nothing_left(void **unused)
{
    struct tf_recovery recovery;
    struct tf_edit edit;
    struct tf_err err;
    char *bytes;
    size_t size;

    (void)unused;
    tiny_file("a.tfck", NULL, false);
    load("a.tfck", &bytes, &size);
    save("bad.tfck", bytes, size - 1);
    assert_int_equal(tf_recover_open(&recovery, &edit, "bad.tfck", 0, &err), TF_DATA);
    tf_free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_lost), cmocka_unit_test(lost_rows),
        cmocka_unit_test(lost_moment),  cmocka_unit_test(buffers_like_moments),
        cmocka_unit_test(nothing_left),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
