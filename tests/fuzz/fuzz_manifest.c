/* The manifest.yaml that tf-inspect pack reads. */
#include "fuzz.h"

#include "base/mem.h"
#include "train/bundle.h"
#include <string.h>

static void check_tables(const struct tf_manifest *manifest)
{
    uint64_t chunks = 0;

    for (size_t i = 0; i < manifest->count; i++) {
        const struct tf_manifest_table *table = &manifest->tables[i];
        must(i == 0 || strcmp(table[-1].info.name, table->info.name) < 0);
        must(table->file[0] != '\0' && strchr(table->file, '/') == NULL);
        must(strcmp(table->file, ".") != 0 && strcmp(table->file, "..") != 0);
        must((table->runs == NULL) == (table->run_count == 0));
        for (size_t run = 0; run < table->run_count; run++) {
            must(table->runs[run].rows > 0 && table->runs[run].rows <= TF_MAX_ROWS);
            must(table->runs[run].times > 0);
            chunks += table->runs[run].times;
        }
    }
    must(chunks <= TF_MAX_CHUNKS);
}

static void must_equal(const struct tf_manifest *a, const struct tf_manifest *b)
{
    must(a->count == b->count && strcmp(a->digest, b->digest) == 0);
    must(strcmp(a->settings, b->settings) == 0);
    for (size_t i = 0; i < a->count; i++) {
        const struct tf_manifest_table *x = &a->tables[i], *y = &b->tables[i];
        must(strcmp(x->info.name, y->info.name) == 0 && strcmp(x->file, y->file) == 0);
        must(x->info.role == y->info.role && x->info.filter == y->info.filter);
        must(x->info.row_group == y->info.row_group && x->info.scale == y->info.scale);
        must(x->run_count == y->run_count);
        for (size_t run = 0; run < x->run_count; run++) {
            must(x->runs[run].rows == y->runs[run].rows);
            must(x->runs[run].times == y->runs[run].times);
        }
    }
}

/* What is printed reads back as the same manifest. */
static void round_trip(const struct tf_manifest *manifest)
{
    struct tf_manifest again;
    struct tf_err err = {0};
    char *text, *other;
    size_t size, other_size;

    must_succeed(tf_manifest_print(manifest, &text, &size, &err), &err);
    must_succeed(tf_manifest_parse(&again, "again", text, size, &err), &err);
    must_equal(manifest, &again);
    must_succeed(tf_manifest_print(&again, &other, &other_size, &err), &err);
    must_agree(text, size, other, other_size);
    tf_manifest_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tf_manifest manifest;
    struct tf_err err = {0};
    enum tf_code code =
        tf_manifest_parse(&manifest, "manifest.yaml", (const char *)data, size, &err);

    if (code == TF_OK) {
        fuzz_taken++;
        check_tables(&manifest);
        round_trip(&manifest);
    } else {
        must_refuse(code, TF_DATA, &err);
    }
    tf_manifest_fini(&manifest);
    return 0;
}
