/* The centre of it all: a table of rows that can grow. Row i never moves when rows are added. */
#ifndef TF_NN_TABLE_H
#define TF_NN_TABLE_H

#include "base/mem.h"
#include <stdbool.h>
#include <stddef.h>

#define TF_TABLE_NAME 64

/* rows x cols floats; `stride` floats from row to row, a multiple of 16 (64 bytes), the padding
 * always zero. */
struct tf_table {
    char name[TF_TABLE_NAME];
    size_t rows, cols, stride;
    float *value;
    /* Training only, else NULL; the same shape as value. */
    float *grad, *m, *v;
    double scale; /* tau^2 of the Pattention that it belongs to; 0 elsewhere. Stored, never derived
                     from rows */
    unsigned row_group; /* tables of one group have one row count; 0: none */
    bool decay;         /* weight decay applies */
    bool frozen;        /* takes no update at all */
    size_t frozen_rows; /* rows before this one take no update */
    size_t new_from;    /* rows from this one on came with the last growth and learn at a rate of
                           their own (train/optim.h); `rows`: none did */
};

/* Floats that a row of cols takes. */
static inline size_t tf_table_stride(size_t cols)
{
    return (cols + 15) / 16 * 16;
}
static inline float *tf_table_row(const struct tf_table *table, size_t row)
{
    return table->value + row * table->stride;
}

#endif
