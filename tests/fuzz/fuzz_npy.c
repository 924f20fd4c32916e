/* An .npy file: what its header says must be what its bytes have. */
#include "fuzz.h"

#include "base/mem.h"
#include "store/npy.h"
#include <string.h>

/* Rows row .. row+count are those bytes of the file, which ends with the last row. */
static void read_rows(const struct tf_npy *npy, uint64_t row, uint64_t count, const uint8_t *data,
                      size_t size)
{
    size_t row_size = (size_t)((size - npy->start) / npy->shape[0]);
    struct tf_err err = {0};
    uint8_t *rows = tf_new(count, row_size, "rows", &err);

    must(rows != NULL);
    must_succeed(tf_npy_read(npy, row, count, rows, &err), &err);
    must(memcmp(rows, data + npy->start + row * row_size, count * row_size) == 0);
    tf_free(rows);
}

static void examine(const struct tf_npy *npy, const uint8_t *data, size_t size)
{
    uint64_t numbers = 1, rows = npy->shape[0];

    must(npy->dims >= 1 && npy->dims <= TF_NPY_DIMS);
    for (int i = 0; i < TF_NPY_DIMS; i++) {
        must(npy->shape[i] >= 1 && (i < npy->dims || npy->shape[i] == 1));
        must(npy->shape[i] <= size / numbers);
        numbers *= npy->shape[i];
    }
    must(npy->start <= size && numbers * tf_npy_width(npy->type) == size - npy->start);
    read_rows(npy, 0, rows, data, size);
    read_rows(npy, rows / 3, rows - rows / 3 - rows / 4, data, size);
    read_rows(npy, rows, 0, data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tf_npy npy;
    struct tf_err err = {0};
    enum tf_code code = tf_npy_open(&npy, memory_file(data, size), &err);

    if (code == TF_OK) {
        fuzz_taken++;
        examine(&npy, data, size);
    } else {
        must_refuse(code, TF_DATA, &err);
    }
    tf_npy_close(&npy);
    return 0;
}
