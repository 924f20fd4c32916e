#include "operation.h"

#include "store/frame.h"
#include "train/bundle.h"
#include "train/surgery.h"
#include <sys/stat.h>

/* A test in an empty folder. */
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_scratch, leave_scratch)

/* ---- there and back ---- */

static void unpack(const char *path, const char *folder)
{
    struct tf_checkpoint from;

    open_checkpoint(&from, path);
    assert_ok(tf_bundle_check(&from, folder, &err), &err);
    assert_ok(tf_bundle_unpack(&from, folder, &err), &err);
    tf_checkpoint_close(&from);
}

static void pack(const char *folder, const char *path)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    assert_ok(tf_bundle_open(&bundle, &edit, folder, &err), &err);
    assert_ok(tf_edit_write(&edit, path, true, &err), &err);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
}

static void remove_folder(const char *folder)
{
    char command[64];

    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
}

/* The very bytes. */
static void assert_round_trip(const char *path)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    unpack(path, "dir");
    assert_ok(tf_bundle_open(&bundle, &edit, "dir/", &err), &err);
    assert_int_equal(edit.effect, TF_EFFECT_EXACT);
    assert_null(edit.verb);
    assert_int_equal(bundle.extra_count, 0);
    assert_ok(tf_edit_write(&edit, "back.tfck", true, &err), &err);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
    assert_same_file(path, "back.tfck");
    remove_folder("dir");
}

static void cast(const char *path, const char *name, enum tf_dtype dtype, const char *out)
{
    struct operation at;

    begin(&at, path);
    assert_ok(tf_surgery_cast(&at.edit, dtype, &name, 1, &err), &err);
    write_end(&at, out);
}

static void test_round_trips(void **state)
{
    (void)state;
    tiny_file("m.tfck", NULL, true);
    assert_round_trip("m.tfck");
    grow_file("m.tfck", "g.tfck");
    assert_round_trip("g.tfck");
    grow_file("g.tfck", "gg.tfck");
    assert_round_trip("gg.tfck");
    cast("g.tfck", "layers.*", TF_BF16, "b.tfck");
    cast("b.tfck", "*.keys", TF_F16, "f.tfck");
    assert_round_trip("f.tfck");
    tiny_file("p.tfck", NULL, false);
    assert_round_trip("p.tfck");
    tiny_file("s.tfck", "model.norm_activation=softmax", true);
    assert_round_trip("s.tfck");
    tiny_file("u.tfck", "model.tie_embeddings=false", true);
    assert_round_trip("u.tfck");
}

/* Chunks that no writer of ours would choose, other filters, row groups that are none, no state. */
static void test_odd_file(void **state)
{
    static const uint32_t cuts[] = {1, 1, 2, 30};
    struct tf_checkpoint from;
    struct tf_writer *writer;
    float rows[44 * 32] = {0};
    size_t size;
    const char *text;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    open_checkpoint(&from, "m.tfck");
    assert_ok(tf_writer_open(&writer, "odd.tfck", true, 0, &err), &err);
    for (size_t i = 0; i < tf_store_tables(from.store); i++) {
        struct tf_table_info info = *tf_store_table(from.store, i);
        uint64_t at = 0;
        info.filter = i % 2 ? TF_FILTER_NONE : TF_FILTER_PLANES;
        info.row_group = 0;
        assert_ok(tf_writer_table(writer, &info, &err), &err);
        for (size_t k = 0; k < 4 && at + cuts[k] <= info.rows; at += cuts[k++])
            assert_ok(tf_writer_rows(writer, rows, cuts[k], 32, &err), &err);
        for (; at < info.rows; at++)
            assert_ok(tf_writer_rows(writer, rows, 1, 32, &err), &err);
    }
    for (int kind = TF_BLOB_CONFIG; kind <= TF_BLOB_TOKENIZER; kind++) {
        text = tf_store_blob(from.store, (enum tf_blob)kind, &size);
        assert_ok(tf_writer_blob(writer, (enum tf_blob)kind, text, size, &err), &err);
    }
    assert_ok(tf_writer_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_checkpoint_close(&from);
    assert_round_trip("odd.tfck");
}

/* Blobs are carried as they are, blanks and comments too. */
static void test_blobs_verbatim(void **state)
{
    static const char config[] = "# by hand\nmodel: {num_layers: 2, hidden_size: 32,\n"
                                 "  num_attention_heads: 2, qkv_tokens: 20, proj_tokens: 12,\n"
                                 "  ffn_tokens: [44, 40], seq_length: 16}\n";
    struct tf_bundle bundle;
    struct tf_edit edit;
    FILE *file;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    unpack("m.tfck", "first");
    file = fopen("first/config.yaml", "w");
    assert_non_null(file);
    assert_true(fputs(config, file) >= 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(remove("first/state.yaml"), 0);
    assert_int_equal(remove("first/lineage.yaml"), 0);
    pack("first", "a.tfck");
    assert_ok(tf_bundle_open(&bundle, &edit, "first", &err), &err);
    assert_string_equal(edit.blobs[TF_BLOB_CONFIG], config);
    assert_int_equal(edit.blob_sizes[TF_BLOB_STATE], 0);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
    assert_round_trip("a.tfck");
}

/* ---- rows that were changed ---- */

/* Writes rows x 32 numbers, each of them x. */
static void put_npy(const char *path, uint64_t rows, float x)
{
    const uint64_t shape[] = {rows, 32};
    struct tf_out out;

    assert_ok(tf_out_open(&out, path, true, &err), &err);
    assert_ok(tf_npy_write_header(&out, TF_NPY_F4, 2, shape, &err), &err);
    for (uint64_t i = 0; i < rows * 32; i++)
        assert_ok(tf_out_write(&out, &x, sizeof x, &err), &err);
    assert_ok(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
}

static void test_changed_rows(void **state)
{
    static const char *const files[] = {
        "dir/layers.1.ffn.keys.npy",         "dir/layers.1.ffn.values.npy",
        "dir/optim.m+layers.1.ffn.keys.npy", "dir/optim.m+layers.1.ffn.values.npy",
        "dir/optim.v+layers.1.ffn.keys.npy", "dir/optim.v+layers.1.ffn.values.npy"};
    struct tf_bundle bundle;
    struct tf_edit edit;
    struct tf_digest before;
    struct operation at;
    char text[TF_DIGEST_TEXT];

    (void)state;
    tiny_file("m.tfck", NULL, true);
    grow_file("m.tfck", "g.tfck");
    unpack("g.tfck", "dir");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        put_npy(files[i], 90, (float)i);
        if (i + 1 == sizeof files / sizeof *files)
            break;
        assert_int_equal(tf_bundle_open(&bundle, &edit, "dir", &err), TF_DATA);
        assert_memory_equal(err.text, "dir/", 4);
        assert_non_null(strstr(err.text, " rows, but layers.1.ffn.keys, which goes with it, has "));
    }
    assert_ok(tf_bundle_open(&bundle, &edit, "dir", &err), &err);
    assert_int_equal(edit.effect, TF_EFFECT_CHANGED);
    assert_string_equal(edit.why, "tables are not as they were unpacked");
    assert_ok(tf_edit_write(&edit, "out.tfck", true, &err), &err);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);

    begin(&at, "g.tfck");
    assert_ok(tf_store_model_digest(at.from.store, &before, &err), &err);
    end(&at);
    begin(&at, "out.tfck");
    assert_int_equal(at.from.config.model.ffn_tokens.items[0], 88);
    assert_int_equal(at.from.config.model.ffn_tokens.items[1], 90);
    assert_true(at.from.shape.layer[1].scale[TF_FFN] == 40);
    assert_int_equal(tf_edit_find(&at.edit, "layers.1.ffn.keys")->info.chunk_count, 1);
    assert_int_equal(tf_edit_find(&at.edit, "layers.0.ffn.keys")->info.chunk_count, 2);
    const struct tf_event *event = &at.from.lineage.events[at.from.lineage.count - 1];
    assert_string_equal(event->verb, "pack");
    assert_string_equal(event->effect, "changed");
    assert_string_equal(event->from, tf_digest_text(text, &before));
    assert_int_equal(event->row_count, 1);
    assert_string_equal(event->rows[0].name, "layers.1.ffn");
    assert_int_equal(event->rows[0].before, 80);
    assert_int_equal(event->rows[0].after, 90);
    end(&at);
}

static void test_mismatch_text(void **state)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    unpack("m.tfck", "dir");
    put_npy("dir/layers.0.ffn.values.npy", 43, 1);
    assert_int_equal(tf_bundle_open(&bundle, &edit, "dir", &err), TF_DATA);
    assert_string_equal(err.text, "dir/layers.0.ffn.values.npy: 43 rows, but layers.0.ffn.keys, "
                                  "which goes with it, has 44");
}

/* A manifest that was written by hand has no digest: what it makes is new. */
static void test_no_digest(void **state)
{
    struct tf_bundle bundle;
    struct tf_edit edit;
    char *text, *line;
    size_t size;
    FILE *file;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    unpack("m.tfck", "dir");
    assert_ok(tf_read_file("dir/manifest.yaml", 1 << 20, &text, &size, &err), &err);
    line = strstr(text, "digest");
    file = fopen("dir/manifest.yaml", "w");
    assert_true(fprintf(file, "%.*s%s", (int)(line - text), text, strchr(line, '\n') + 1) > 0);
    assert_int_equal(fclose(file), 0);
    tf_free(text);
    assert_ok(tf_bundle_open(&bundle, &edit, "dir", &err), &err);
    assert_string_equal(edit.why, "the manifest has no digest to compare it with");
    assert_string_equal(edit.verb, "pack");
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
}

/* ---- folders that are none ---- */

/* A shell command upon dir; then what opening it says. */
static void assert_spoilt(const char *command, enum tf_code code, const char *says)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    unpack("m.tfck", "dir");
    assert_int_equal(system(command), 0);
    err.text[0] = '\0';
    assert_int_equal(tf_bundle_open(&bundle, &edit, "dir", &err), code);
    assert_string_equal(err.text, says);
    remove_folder("dir");
}

static void test_spoilt(void **state)
{
    (void)state;
    tiny_file("m.tfck", NULL, false);
    assert_spoilt("rm dir/norm.bias.npy", TF_NOINPUT,
                  "dir/norm.bias.npy: No such file or directory");
    assert_spoilt("rm dir/manifest.yaml", TF_NOINPUT,
                  "dir/manifest.yaml: No such file or directory");
    assert_spoilt("rm dir/config.yaml", TF_NOINPUT, "dir/config.yaml: No such file or directory");
    assert_spoilt(": >dir/config.yaml", TF_DATA, "dir: no config in it");
    assert_spoilt(": >dir/tokenizer", TF_DATA, "dir: no tokenizer in it");
    assert_spoilt("mv dir/norm.bias.npy x; ln -s ../x dir/norm.bias.npy", TF_NOINPUT,
                  "dir/norm.bias.npy: is a symbolic link");
    assert_spoilt("rm dir/norm.bias.npy; mkdir dir/norm.bias.npy", TF_NOINPUT,
                  "dir/norm.bias.npy: not a regular file");
    assert_spoilt("rm dir/state.yaml; ln -s nowhere dir/state.yaml", TF_NOINPUT,
                  "dir/state.yaml: is a symbolic link");
    assert_spoilt("rm dir/manifest.yaml; mkfifo dir/manifest.yaml", TF_NOINPUT,
                  "dir/manifest.yaml: not a regular file");
    assert_spoilt("echo 'model: {hidden_sise: 3}' >dir/config.yaml", TF_DATA,
                  "dir: config:1:9: unknown key model.hidden_sise (did you mean "
                  "hidden_size?)");
    assert_spoilt("truncate -s -1 dir/norm.bias.npy", TF_DATA,
                  "dir/norm.bias.npy: its shape needs 128 bytes of data, it has 127");
}

static void test_spoilt_types(void **state)
{
    (void)state;
    tiny_file("m.tfck", NULL, false);
    assert_spoilt("sed -i 's/<f4/<i4/' dir/norm.bias.npy", TF_DATA,
                  "dir/norm.bias.npy: integers of 32 bits, must be '<f4', '<f2' or '<u2' (bf16)");
    assert_spoilt("sed -i 's/(1, 32), }/(32,), }  /' dir/norm.bias.npy", TF_DATA,
                  "dir/norm.bias.npy: its shape has 1 dimension, must have 2: rows and columns");
    assert_spoilt("sed -i 's/(1, 32), }   /(1, 4, 8), } /' dir/norm.bias.npy", TF_DATA,
                  "dir/norm.bias.npy: its shape has 3 dimensions, must have 2: rows and columns");
    assert_spoilt("sed -i 's/: False,/: True, /' dir/norm.bias.npy", TF_DATA,
                  "dir/norm.bias.npy: fortran_order is not False: only C order is read, as "
                  "numpy.ascontiguousarray makes it");
}

static void test_no_folder(void **state)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    assert_int_equal(tf_bundle_open(&bundle, &edit, "m.tfck", &err), TF_NOINPUT);
    assert_string_equal(err.text, "m.tfck: not a folder");
    assert_int_equal(tf_bundle_open(&bundle, &edit, "none", &err), TF_NOINPUT);
    assert_string_equal(err.text, "none: No such file or directory");
    assert_int_equal(tf_bundle_open(&bundle, &edit, "", &err), TF_NOINPUT);
    assert_string_equal(err.text, "\"\": No such file or directory");
}

static void test_extra_files(void **state)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    unpack("m.tfck", "dir");
    assert_int_equal(system("touch dir/notes.txt dir/.hidden dir/edit.py dir/zz"), 0);
    assert_ok(tf_bundle_open(&bundle, &edit, "dir", &err), &err);
    assert_int_equal(bundle.extra_count, 3);
    assert_string_equal(bundle.extra, "edit.py");
    assert_null(edit.verb);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
}

/* Tables that make no model are refused when the file is there to be opened; it gets no name. */
static void test_no_model(void **state)
{
    struct tf_bundle bundle;
    struct tf_edit edit;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    unpack("m.tfck", "dir");
    assert_int_equal(system("sed -i /norm.bias/d dir/manifest.yaml"), 0);
    assert_ok(tf_bundle_open(&bundle, &edit, "dir", &err), &err);
    assert_int_equal(bundle.extra_count, 1);
    assert_int_equal(tf_edit_write(&edit, "out.tfck", false, &err), TF_DATA);
    assert_non_null(strstr(err.text, "table norm.bias: missing, but the config needs it"));
    assert_int_not_equal(access("out.tfck", F_OK), 0);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
}

/* Packs dir with another list of chunks for a table of 140,000 rows of 128 bytes; how many it has
 * then. */
static uint32_t pack_chunks(const char *list)
{
    struct tf_bundle bundle;
    struct tf_edit edit;
    struct tf_checkpoint to;
    char command[256];

    snprintf(command, sizeof command,
             "sed 's/layers.0.ffn.keys: {/&chunks: [%s], /' plain >dir/manifest.yaml &&"
             " grep -q chunks dir/manifest.yaml",
             list);
    assert_int_equal(system(command), 0);
    assert_ok(tf_bundle_open(&bundle, &edit, "dir", &err), &err);
    assert_ok(tf_edit_write(&edit, "out.tfck", true, &err), &err);
    tf_edit_fini(&edit);
    tf_bundle_close(&bundle);
    assert_true(same_model("m.tfck", "out.tfck"));
    open_checkpoint(&to, "out.tfck");
    size_t index = tf_store_find(to.store, "layers.0.ffn.keys");
    uint32_t count = tf_store_table(to.store, index)->chunk_count;
    tf_checkpoint_close(&to);
    return count;
}

/* Chunks of any size that the format has; a list of larger ones, as when numbers became wider, is
 * followed no more. */
static void test_large_chunks(void **state)
{
    (void)state;
    tiny_file("m.tfck", "model.ffn_tokens=[140000, 40]", false);
    unpack("m.tfck", "dir");
    assert_int_equal(rename("dir/manifest.yaml", "plain"), 0);
    assert_int_equal(pack_chunks("40000*3, 20000"), 4);
    assert_int_equal(pack_chunks("131072, 8928"), 2);  /* 16 MiB */
    assert_int_equal(pack_chunks("131073, 8927"), 46); /* 384 KiB */
    assert_int_equal(pack_chunks("140000"), 46);
}

/* ---- unpacking that fails ---- */

static void test_existing_folder(void **state)
{
    struct tf_checkpoint from;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    assert_int_equal(mkdir("dir", 0777), 0);
    open_checkpoint(&from, "m.tfck");
    assert_int_equal(tf_bundle_check(&from, "dir", &err), TF_CANTCREATE);
    assert_int_equal(tf_bundle_unpack(&from, "dir", &err), TF_CANTCREATE);
    tf_checkpoint_close(&from);
    assert_int_equal(rmdir("dir"), 0);
}

/* What a later version put into the file would be lost on the way. */
static void test_unknown_feature(void **state)
{
    struct tf_checkpoint from;
    uint8_t header[TF_FRAME_SIZE];
    FILE *file;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    tf_header_pack(header, &(struct tf_header){.major = TF_MAJOR, .ro_compat = 4});
    file = fopen("m.tfck", "r+");
    assert_non_null(file);
    assert_int_equal(fwrite(header, sizeof header, 1, file), 1);
    assert_int_equal(fclose(file), 0);
    open_checkpoint(&from, "m.tfck");
    assert_int_equal(tf_bundle_check(&from, "dir", &err), TF_DATA);
    assert_int_equal(tf_bundle_unpack(&from, "dir", &err), TF_DATA);
    assert_non_null(strstr(err.text, "ro_compat"));
    tf_checkpoint_close(&from);
    assert_int_not_equal(access("dir", F_OK), 0);
}

/* A damaged chunk: nothing is left of the folder. */
static void test_damaged(void **state)
{
    struct tf_checkpoint from;
    FILE *file;

    (void)state;
    tiny_file("m.tfck", NULL, false);
    file = fopen("m.tfck", "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, 20000, SEEK_SET), 0); /* in embed.tokens */
    assert_int_not_equal(fputs("damage", file), EOF);
    assert_int_equal(fclose(file), 0);
    open_checkpoint(&from, "m.tfck");
    assert_int_equal(tf_bundle_unpack(&from, "dir", &err), TF_DATA);
    tf_checkpoint_close(&from);
    assert_int_not_equal(access("dir", F_OK), 0);
    assert_int_not_equal(access(".dir.part", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_round_trips),     IN_FOLDER(test_odd_file),
        IN_FOLDER(test_blobs_verbatim),  IN_FOLDER(test_changed_rows),
        IN_FOLDER(test_mismatch_text),   IN_FOLDER(test_no_digest),
        IN_FOLDER(test_spoilt),          IN_FOLDER(test_spoilt_types),
        IN_FOLDER(test_no_folder),       IN_FOLDER(test_extra_files),
        IN_FOLDER(test_no_model),        IN_FOLDER(test_large_chunks),
        IN_FOLDER(test_existing_folder), IN_FOLDER(test_unknown_feature),
        IN_FOLDER(test_damaged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
