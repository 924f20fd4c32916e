/* Writes the recipe of a checkpoint for fuzz_directory.c, after which it makes that checkpoint
 * again: recipe IN.tfck >OUT. Chunks must be of 65,535 bytes at most. */
#include "base/mem.h"
#include "store/bytes.h"
#include "store/directory.h"
#include "store/frame.h"
#include "store/reader.h"
#include <stdio.h>
#include <stdlib.h>

/* Writes a chunk's rows, as one piece. */
static enum tf_code put_chunk(const struct tf_store *store, size_t table, uint64_t row,
                              const struct tf_chunk_info *chunk, struct tf_err *err)
{
    uint8_t head[3] = {0}, *rows = tf_new(chunk->raw, 1, "rows", err);
    enum tf_code code = TF_MEMORY;

    if (rows != NULL)
        code = tf_store_read_raw(store, table, row, chunk->rows, rows, err);
    if (code == TF_OK && chunk->raw > UINT16_MAX)
        code = tf_fail(err, TF_DATA, "a chunk of %u bytes", (unsigned)chunk->raw);
    if (code == TF_OK) {
        tf_put_u16(head + 1, (uint16_t)chunk->raw);
        fwrite(head, 1, sizeof(head), stdout);
        fwrite(rows, 1, chunk->raw, stdout);
    }
    tf_free(rows);
    return code;
}

static enum tf_code put_chunks(const struct tf_store *store, struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        uint64_t row = 0;
        for (uint32_t c = 0; c < table->chunk_count && code == TF_OK; c++) {
            const struct tf_chunk_info *chunk = tf_store_chunk(store, table->first_chunk + c);
            code = put_chunk(store, i, row, chunk, err);
            row += chunk->rows;
        }
    }
    return code;
}

/* Flags, header, trailer, and the directory, whose raw bytes the reader has not kept. */
static enum tf_code put_head(const struct tf_store *store, struct tf_err *err)
{
    const struct tf_table_info *tables = tf_store_table(store, 0);
    size_t count = tf_store_tables(store);
    struct tf_directory directory = {.tables = (struct tf_table_info *)tables,
                                     .chunks = (struct tf_chunk_info *)tf_store_chunk(store, 0),
                                     .table_count = count};
    uint8_t head[88] = {0}, header[TF_FRAME_SIZE], *raw;
    size_t size;

    if (count > 0)
        directory.chunk_count = tables[count - 1].first_chunk + tables[count - 1].chunk_count;
    for (int kind = 0; kind < TF_BLOBS; kind++)
        directory.blobs[kind] = (char *)tf_store_blob(store, kind, &directory.blob_sizes[kind]);
    enum tf_code code = tf_directory_pack(&directory, &raw, &size, err);
    if (code != TF_OK)
        return code;
    tf_header_pack(header, &(struct tf_header){.major = TF_MAJOR, .minor = TF_MINOR});
    memcpy(head + 4, header + 16, 40);
    tf_put_u32(head + 84, (uint32_t)size);
    fwrite(head, 1, sizeof(head), stdout);
    fwrite(raw, 1, size, stdout);
    tf_free(raw);
    return TF_OK;
}

int main(int argc, char **argv)
{
    struct tf_store *store = NULL;
    struct tf_err err = {0};
    enum tf_code code = argc == 2 ? tf_store_open(&store, argv[1], 0, &err)
                                  : tf_fail(&err, TF_USAGE, "usage: recipe IN.tfck >OUT");

    if (code == TF_OK)
        code = put_head(store, &err);
    if (code == TF_OK)
        code = put_chunks(store, &err);
    if (code == TF_OK && fflush(stdout) != 0)
        code = tf_fail_errno(&err, TF_IO, "standard output");
    if (code != TF_OK)
        fprintf(stderr, "recipe: %s\n", err.text);
    tf_store_close(store);
    return code;
}
