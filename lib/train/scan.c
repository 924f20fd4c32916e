#include "train/scan.h"

#include "base/mem.h"
#include "store/codec.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Rows of a store or of a .npy file as f32, and the same as they stand in the file. */
struct block {
    uint64_t room; /* rows */
    float *rows;
    uint8_t *raw;
};

static enum tf_code block_init(struct block *block, const struct tf_table_info *info,
                               struct tf_err *err)
{
    block->room = tf_chunk_rows(info);
    block->rows = tf_new(block->room * info->cols, sizeof *block->rows, "rows", err);
    block->raw = tf_new(block->room * info->cols, sizeof *block->rows, "rows", err);
    return block->rows && block->raw ? TF_OK : TF_MEMORY;
}

static void block_fini(struct block *block)
{
    tf_free(block->rows);
    tf_free(block->raw);
}

/* Rows `row` .. row+count of those of the piece. */
static enum tf_code block_read(struct block *block, const struct tf_piece *piece, uint32_t cols,
                               uint64_t row, uint64_t count, struct tf_err *err)
{
    return tf_piece_read(piece, cols, piece->first + row, count, block->rows, block->raw, err);
}

bool tf_is_zero(const float *row, const struct tf_table_info *info)
{
    for (uint32_t i = 0; i < info->cols; i++)
        if (row[i] != 0)
            return false;
    return true;
}

bool tf_is_finite(const float *row, const struct tf_table_info *info)
{
    for (uint32_t i = 0; i < info->cols; i++)
        if (!isfinite(row[i]))
            return false;
    return true;
}

/* Does each number stay one in the table's dtype? */
static bool fits(const float *row, const struct tf_table_info *info)
{
    for (uint32_t i = 0; i < info->cols; i++) {
        uint8_t packed[4];
        float rounded;
        tf_dtype_pack(packed, info->dtype, &row[i], 1);
        tf_dtype_unpack(&rounded, info->dtype, packed, 1);
        if (isinf(rounded) && !isinf(row[i]))
            return false;
    }
    return true;
}

enum tf_code tf_scan_find(uint64_t *found, const struct tf_piece *piece,
                          const struct tf_table_info *info, tf_row_test *test, struct tf_err *err)
{
    struct block block;
    enum tf_code code = block_init(&block, info, err);
    uint64_t row = 0;

    for (uint64_t count, i; !code && row < piece->count; row += i) {
        count = piece->count - row < block.room ? piece->count - row : block.room;
        code = block_read(&block, piece, info->cols, row, count, err);
        for (i = 0; !code && i < count && test(block.rows + i * info->cols, info);)
            i++;
        if (i < count) {
            row += i;
            break;
        }
    }
    block_fini(&block);
    *found = row;
    return code;
}

enum tf_code tf_scan_same(bool *same, const struct tf_piece *one, const struct tf_piece *other,
                          const struct tf_table_info *info, struct tf_err *err)
{
    struct block ours = {0}, theirs = {0};
    enum tf_code code = block_init(&ours, info, err);

    if (!code)
        code = block_init(&theirs, info, err);
    *same = true;
    for (uint64_t row = 0, count; !code && *same && row < one->count; row += count) {
        count = one->count - row < ours.room ? one->count - row : ours.room;
        size_t n = count * info->cols;
        code = block_read(&ours, one, info->cols, row, count, err);
        if (!code)
            code = block_read(&theirs, other, info->cols, row, count, err);
        if (!code) {
            tf_dtype_pack(ours.raw, info->dtype, ours.rows, n);
            tf_dtype_pack(theirs.raw, info->dtype, theirs.rows, n);
            *same = memcmp(ours.raw, theirs.raw, n * tf_dtype_width(info->dtype)) == 0;
        }
    }
    block_fini(&ours);
    block_fini(&theirs);
    return code;
}

enum tf_code tf_scan_fits(const struct tf_piece *piece, const struct tf_table_info *info,
                          struct tf_err *err)
{
    uint64_t row = piece->count;
    enum tf_code code = TF_OK;

    if (tf_piece_dtype(piece) != info->dtype && info->dtype != TF_F32)
        code = tf_scan_find(&row, piece, info, fits, err);
    if (code || row == piece->count)
        return code;
    return tf_fail(err, TF_DATA, "%s: row %" PRIu64 ": a number is too large for %s of table %s",
                   piece->npy ? piece->npy->in.path : tf_store_path(piece->store),
                   piece->first + row, tf_dtype_name(info->dtype), info->name);
}
