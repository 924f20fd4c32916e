/* A wider transformer: unit j of a wider layer is a copy of an old one, and what goes out of a unit
 * with c copies is divided by c (Net2WiderNet, arXiv 1511.05641; HyperCloning, arXiv 2409.12903).
 * Units are the channels of the residual stream, in whole heads, and the hidden units of an MLP. */
#include "base/mem.h"
#include "base/rng.h"
#include "train/grow_parts.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* The units along one side of a table. Unit j is a copy of unit j mod before, unless `of` says
 * otherwise. */
struct units {
    uint64_t before, after;
    uint64_t *of;     /* `after` of them, or NULL; owned */
    uint64_t *copies; /* of each old unit, with `of`; owned */
    bool divided;     /* what is in the table goes out of these units */
};

/* How a table is made. */
struct widening {
    struct units rows, cols;
    bool noisy, cancels; /* noise on copies; it sums to 0 over the copies of one unit */
    double deviation;    /* of the noise on numbers that are not divided */
    uint64_t seed, stream;
};

static uint64_t unit_of(const struct units *units, uint64_t j)
{
    return units->of ? units->of[j] : j % units->before;
}

static uint64_t copies_of(const struct units *units, uint64_t old)
{
    return units->copies ? units->copies[old]
                         : units->after / units->before + (old < units->after % units->before);
}

/* The next copy of the same unit, in a circle. */
static uint64_t next_copy(const struct units *units, uint64_t j)
{
    return j + units->before < units->after ? j + units->before : j % units->before;
}

/* Copies of units drawn at random; keys and values of one MLP agree. */
static enum tf_code draw_units(struct units *units, const struct tf_grown *table, uint64_t seed,
                               struct tf_err *err)
{
    char name[TF_TABLE_NAME], text[TF_TABLE_NAME + 8];

    snprintf(text, sizeof text, "units/%s", tf_projection_name(name, table->layer, table->p));
    const uint64_t stream = tf_rng_stream(text), before = units->before;
    units->of = tf_new(units->after, sizeof *units->of, "the wider layer's units", err);
    units->copies = tf_new(units->before, sizeof *units->copies, "the wider layer's units", err);
    if (!units->of || !units->copies)
        return TF_MEMORY;
    for (uint64_t j = 0; before > 0 && j < units->after; j++) {
        units->of[j] = j < before ? j : tf_rng_bits(seed, stream, j) % before;
        units->copies[units->of[j]]++;
    }
    return TF_OK;
}

static double root_mean_square(const float *rows, const struct tf_table_info *info, size_t stride)
{
    double sum = 0;

    for (uint64_t row = 0; row < info->rows; row++)
        for (uint32_t col = 0; col < info->cols; col++)
            sum += (double)rows[row * stride + col] * (double)rows[row * stride + col];
    return sqrt(sum / ((double)info->rows * (double)info->cols));
}

/* Sides that divide, and noise, by what the table is. Noise on an embedding would reach the logits
 * undivided; a norm has too few numbers for it to matter. */
static enum tf_code set_up(struct widening *how, const struct tf_grown *table,
                           const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_table_info *old = tf_store_table(growing->from->store, table->old);
    const struct tf_grow_options *options = growing->options;
    const bool layer = table->p != TF_PROJECTIONS, head = strcmp(old->name, "head.tokens") == 0;
    const bool norm = strncmp(old->name, "norm.", 5) == 0;
    char stream[TF_TABLE_NAME + 8];

    how->rows = (struct units){.before = old->rows, .after = table->as->rows};
    how->cols = (struct units){.before = old->cols, .after = table->as->cols};
    how->rows.divided = table->part == TF_VALUES;
    how->cols.divided = layer ? !how->rows.divided : head || (norm && growing->growth->before.tied);
    how->noisy = (layer || head) && options->noise > 0;
    how->cancels = options->method == TF_GROW_HYPERCLONE;
    how->seed = options->seed;
    snprintf(stream, sizeof stream, "noise/%s", table->as->name);
    how->stream = tf_rng_stream(stream);
    if (options->method == TF_GROW_NET2NET && table->p == TF_FFN)
        return draw_units(&how->rows, table, options->seed, err);
    return TF_OK;
}

static double draw(const struct widening *how, uint64_t row, uint64_t col)
{
    return tf_rng_normal(how->seed, how->stream, row * how->cols.after + col);
}

/* Of variance 1, or 0 where there is nothing to tell apart. */
static double noise_at(const struct widening *how, uint64_t row, uint64_t col)
{
    const bool copy = row >= how->rows.before || col >= how->cols.before;

    if (!how->cancels)
        return copy ? draw(how, row, col) : 0;
    const uint64_t next_row = how->rows.divided ? next_copy(&how->rows, row) : row;
    const uint64_t next_col = how->cols.divided ? next_copy(&how->cols, col) : col;
    if (next_row == row && next_col == col)
        return 0;
    return (draw(how, row, col) - draw(how, next_row, next_col)) * sqrt(0.5);
}

static void fill_row(float *out, const struct widening *how, uint64_t row, const float *old)
{
    const uint64_t row_copies =
        how->rows.divided ? copies_of(&how->rows, unit_of(&how->rows, row)) : 1;

    for (uint64_t col = 0; col < how->cols.after; col++) {
        const uint64_t from = unit_of(&how->cols, col);
        const uint64_t copies = row_copies * (how->cols.divided ? copies_of(&how->cols, from) : 1);
        double value = (double)old[from];
        if (how->noisy)
            value += how->deviation * noise_at(how, row, col);
        out[col] = (float)(value / (double)copies);
    }
}

bool tf_grown_is_wider(const struct tf_grown *table, const struct tf_growing *growing)
{
    const struct tf_table_info *old = tf_store_table(growing->from->store, table->old);

    return !table->fresh && growing->options->method != TF_GROW_TOKENS &&
           (table->as->rows != old->rows || table->as->cols != old->cols);
}

enum tf_code tf_widen_rows(float *rows, const struct tf_grown *table,
                           const struct tf_growing *growing, struct tf_err *err)
{
    const struct tf_store *store = growing->from->store;
    const struct tf_table_info *info = tf_store_table(store, table->old);
    const size_t stride = tf_table_stride(info->cols);
    struct widening how = {0};
    float *old = tf_new(info->rows, stride * sizeof *old, info->name, err);
    enum tf_code code = old ? set_up(&how, table, growing, err) : TF_MEMORY;

    if (!code)
        code = tf_store_read(store, table->old, 0, info->rows, old, stride, err);
    if (!code) {
        how.deviation = growing->options->noise * root_mean_square(old, info, stride);
#pragma omp parallel for schedule(static)
        for (uint64_t row = 0; row < how.rows.after; row++)
            fill_row(rows + row * table->as->stride, &how, row,
                     old + unit_of(&how.rows, row) * stride);
    }
    tf_free(how.rows.of);
    tf_free(how.rows.copies);
    tf_free(old);
    return code;
}
