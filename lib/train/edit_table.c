/* One table of an edit: runs of rows that are copied as they stand, or coded anew in full chunks.
 */
#include "train/edit_table.h"

#include "base/mem.h"
#include "store/codec.h"
#include <string.h>

enum { ROOM = 4 << 20 }; /* bytes of rows that wait to be coded: chunks for all threads */

/* ---- runs: what is copied, and what is coded ---- */

/* Rows of one piece: whole chunks of its store's table that can be copied, or rows to be coded. */
struct run {
    const struct tf_piece *piece;
    bool copy, cut;         /* whole chunks to be copied; rows of one chunk */
    uint32_t chunk, chunks; /* of the table, when either */
    uint64_t chunk_row;     /* the first of that chunk */
    uint64_t row, count;    /* of the piece's table or file */
};

/* Where a walk through a table's pieces stands. */
struct cursor {
    size_t piece;
    uint64_t done;      /* rows of the piece */
    uint32_t chunk;     /* of the piece's table */
    uint64_t chunk_row; /* its first */
};

/* Chunks as they stand would be this table's. */
static bool can_copy(const struct tf_edit_table *table, const struct tf_piece *piece)
{
    const struct tf_table_info *to = &table->info, *from;

    if (!piece->store || piece->step || table->again)
        return false;
    from = tf_store_table(piece->store, piece->table);
    return from->dtype == to->dtype && from->filter == to->filter && from->cols == to->cols;
}

/* The rows of a store's piece from run->row on: as many whole chunks as follow, or the rest of one
 * that is cut. */
static void cut_run(struct run *run, struct cursor *at)
{
    const struct tf_store *store = run->piece->store;
    const struct tf_table_info *from = tf_store_table(store, run->piece->table);
    uint64_t left = run->count, rows;

    for (;; at->chunk++, at->chunk_row += rows) {
        rows = tf_store_chunk(store, from->first_chunk + at->chunk)->rows;
        if (run->row < at->chunk_row + rows)
            break;
    }
    run->count = 0;
    run->chunk = at->chunk;
    run->chunk_row = at->chunk_row;
    run->copy = run->row == at->chunk_row && left >= rows;
    run->cut = !run->copy;
    if (run->cut) {
        uint64_t rest = at->chunk_row + rows - run->row;
        run->count = left < rest ? left : rest;
        return;
    }
    while (left >= rows) {
        run->count += rows;
        left -= rows;
        run->chunks++;
        at->chunk_row += rows;
        if (++at->chunk == from->chunk_count)
            break;
        rows = tf_store_chunk(store, from->first_chunk + at->chunk)->rows;
    }
}

/* The walk down a store's table goes on from one piece to the next, unless that lies before. */
static void next_piece(struct cursor *at, const struct tf_edit_table *table)
{
    const struct tf_piece *last = &table->pieces[at->piece++], *next = last + 1;

    at->done = 0;
    if (at->piece == table->piece_count || next->store != last->store ||
        next->table != last->table || next->first < at->chunk_row)
        *at = (struct cursor){.piece = at->piece};
}

static bool next_run(struct run *run, struct cursor *at, const struct tf_edit_table *table)
{
    if (at->piece == table->piece_count)
        return false;
    const struct tf_piece *piece = &table->pieces[at->piece];
    *run = (struct run){
        .piece = piece, .row = piece->first + at->done, .count = piece->count - at->done};
    if (can_copy(table, piece))
        cut_run(run, at);
    at->done += run->count;
    if (at->done == piece->count)
        next_piece(at, table);
    return true;
}

static size_t row_size(const struct tf_table_info *info)
{
    return (size_t)info->cols * tf_dtype_width(info->dtype);
}

/* Rows that wait together to be coded: a full chunk or more, of the table and of each piece that
 * wants its own. */
static uint64_t room_for(const struct tf_edit_table *table)
{
    uint64_t step = tf_chunk_rows(&table->info), room = ROOM / row_size(&table->info);

    room = room > step ? room : step;
    for (size_t i = 0; i < table->piece_count; i++)
        room = room > table->pieces[i].step ? room : table->pieces[i].step;
    return room;
}

void tf_edit_plan_table(struct tf_edit_plan *plan, const struct tf_edit_table *table)
{
    uint64_t memory = 4 * room_for(table) * row_size(&table->info); /* rows, planes and frames */
    struct cursor at = {0};
    struct run run;

    while (next_run(&run, &at, table)) {
        for (uint32_t c = 0; c < run.chunks; c++)
            plan->copied +=
                tf_store_chunk(run.piece->store,
                               tf_store_table(run.piece->store, run.piece->table)->first_chunk +
                                   run.chunk + c)
                    ->coded;
        plan->copied_chunks += run.chunks;
        plan->coded_rows += run.copy ? 0 : run.count;
        plan->coded += run.copy ? 0 : run.count * row_size(&table->info);
    }
    plan->memory = memory > plan->memory ? memory : plan->memory;
}

/* ---- rows as they will be stored ---- */

/* A table on its way to the writer. */
struct stream {
    struct tf_writer *writer;
    const struct tf_edit_table *table;
    size_t row_size;
    uint8_t *rows; /* room of them, as they will be stored; `held` wait */
    uint64_t held, room;
    float *floats; /* room of them, for pieces of another dtype */
    uint8_t *raw;  /* the same, as a .npy file has them */
    /* The chunk that a run cut last, decoded: many short runs may come from one. */
    const struct tf_store *cut_store;
    size_t cut_table;
    uint32_t cut_chunk;
    uint8_t *cut;
};

/* Rows of a chunk that is cut; the chunk is decoded once. */
static enum tf_code fetch_cut(struct stream *stream, const struct run *run, uint64_t row,
                              uint64_t count, uint8_t *out, struct tf_err *err)
{
    const struct tf_piece *piece = run->piece;
    const struct tf_table_info *from = tf_store_table(piece->store, piece->table);
    const struct tf_chunk_info *chunk =
        tf_store_chunk(piece->store, from->first_chunk + run->chunk);
    enum tf_code code = TF_OK;

    if (!stream->cut || stream->cut_store != piece->store || stream->cut_table != piece->table ||
        stream->cut_chunk != run->chunk) {
        tf_free(stream->cut);
        stream->cut = tf_new(chunk->raw, 1, "chunk", err);
        if (!stream->cut)
            return TF_MEMORY;
        stream->cut_store = piece->store;
        stream->cut_table = piece->table;
        stream->cut_chunk = run->chunk;
        code = tf_store_read_raw(piece->store, piece->table, run->chunk_row, chunk->rows,
                                 stream->cut, err);
    }
    if (!code)
        memcpy(out, stream->cut + (row - run->chunk_row) * stream->row_size,
               count * stream->row_size);
    return code;
}

/* Rows of the piece in the dtype of the table, into out. */
static enum tf_code fetch(struct stream *stream, const struct run *run, uint64_t row,
                          uint64_t count, uint8_t *out, struct tf_err *err)
{
    const struct tf_piece *piece = run->piece;
    const struct tf_table_info *info = &stream->table->info;

    if (!piece->store && !piece->npy) {
        memset(out, 0, count * stream->row_size);
        return TF_OK;
    }
    if (run->cut)
        return fetch_cut(stream, run, row, count, out, err);
    if (tf_piece_dtype(piece) == info->dtype)
        return piece->store ? tf_store_read_raw(piece->store, piece->table, row, count, out, err)
                            : tf_npy_read(piece->npy, row, count, out, err);
    enum tf_code code =
        tf_piece_read(piece, info->cols, row, count, stream->floats, stream->raw, err);
    if (!code)
        tf_dtype_pack(out, info->dtype, stream->floats, count * info->cols);
    return code;
}

/* Codes the rows that wait; `step` a chunk, 0: as suits. */
static enum tf_code flush(struct stream *stream, uint64_t step, struct tf_err *err)
{
    uint64_t held = stream->held;

    stream->held = 0;
    return held ? tf_writer_raw(stream->writer, stream->rows, held, step, err) : TF_OK;
}

/* Rows of several pieces share chunks, but for those of a piece with chunks of its own. */
static enum tf_code put_rows(struct stream *stream, const struct run *run, struct tf_err *err)
{
    uint64_t step = run->piece->step, full = step ? step : tf_chunk_rows(&stream->table->info),
             room = stream->room / full * full;
    enum tf_code code = step ? flush(stream, 0, err) : TF_OK;

    for (uint64_t done = 0, count; !code && done < run->count; done += count) {
        count = run->count - done;
        if (count > room - stream->held)
            count = room - stream->held;
        code = fetch(stream, run, run->row + done, count,
                     stream->rows + stream->held * stream->row_size, err);
        stream->held += count;
        if (!code && stream->held == room)
            code = flush(stream, step, err);
    }
    return !code && step ? flush(stream, step, err) : code;
}

static bool converts(const struct tf_edit_table *table)
{
    for (size_t i = 0; i < table->piece_count; i++) {
        const struct tf_piece *piece = &table->pieces[i];
        if ((piece->store || piece->npy) && tf_piece_dtype(piece) != table->info.dtype)
            return true;
    }
    return false;
}

static enum tf_code stream_init(struct stream *stream, struct tf_writer *writer,
                                const struct tf_edit_table *table, struct tf_err *err)
{
    uint64_t room = room_for(table), rows = table->info.rows;
    size_t floats;

    *stream = (struct stream){.writer = writer, .table = table, .row_size = row_size(&table->info)};
    stream->room = room;
    room = room < rows ? room : rows; /* no more than these ever wait */
    floats = converts(table) ? room * table->info.cols : 0;
    stream->rows = tf_new(room, stream->row_size, "rows", err);
    stream->floats = tf_new(floats, sizeof(float), "rows", err);
    stream->raw = tf_new(floats, sizeof(float), "rows", err);
    return stream->rows && stream->floats && stream->raw ? TF_OK : TF_MEMORY;
}

static void stream_fini(struct stream *stream)
{
    tf_free(stream->rows);
    tf_free(stream->floats);
    tf_free(stream->raw);
    tf_free(stream->cut);
}

enum tf_code tf_edit_write_table(struct tf_writer *writer, const struct tf_edit_table *table,
                                 struct tf_err *err)
{
    struct stream stream = {0};
    struct cursor at = {0};
    struct run run;
    enum tf_code code = tf_writer_table(writer, &table->info, err);

    if (!code)
        code = stream_init(&stream, writer, table, err);
    while (!code && next_run(&run, &at, table)) {
        if (!run.copy) {
            code = put_rows(&stream, &run, err);
            continue;
        }
        code = flush(&stream, 0, err);
        if (!code)
            code = tf_writer_copy(writer, run.piece->store, run.piece->table, run.chunk, run.chunks,
                                  err);
    }
    if (!code)
        code = flush(&stream, 0, err);
    stream_fini(&stream);
    return code;
}
