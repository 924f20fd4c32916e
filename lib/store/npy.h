/* NumPy's .npy files, versions 1.0 to 3.0, C order, little-endian, one to three dimensions: '<f4',
 * '<f2', '<i4', and '<u2' (which is how bf16 travels: its bits).
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#ifndef TF_STORE_NPY_H
#define TF_STORE_NPY_H

#include "base/err.h"
#include "base/io.h"
#include "store/format.h"

#define TF_NPY_DIMS 3

enum tf_npy_type { TF_NPY_F4, TF_NPY_F2, TF_NPY_I4, TF_NPY_U2 };

struct tf_npy {
    enum tf_npy_type type;
    int dims;                    /* 1 to TF_NPY_DIMS */
    uint64_t shape[TF_NPY_DIMS]; /* 1 or more each; 1 past dims */
    struct tf_in in;             /* the open file */
    uint64_t start;              /* where its data begins; it reaches to the end */
};

/* Bytes of one number. */
size_t tf_npy_width(enum tf_npy_type type);
/* How a table of a dtype is stored, and back (integers have no dtype: TF_F32). NumPy has no bf16:
 * its bits are unsigned integers. */
enum tf_npy_type tf_npy_type_of(enum tf_dtype dtype);
enum tf_dtype tf_npy_dtype(enum tf_npy_type type);

/* Opens a regular file and checks its header, and that its data has exactly the bytes that shape
 * and type need. Errors name the path. */
TF_MUST_USE enum tf_code tf_npy_open(struct tf_npy *out, const char *path, struct tf_err *err);
/* Entries row .. row+count along the first dimension, as they are stored: little-endian, C order.
 * Thread-safe. */
TF_MUST_USE enum tf_code tf_npy_read(const struct tf_npy *npy, uint64_t row, uint64_t count,
                                     void *out, struct tf_err *err);
void tf_npy_close(struct tf_npy *npy); /* a zeroed struct is fine */
/* The header (magic, dictionary, padding to 64 bytes), after which the caller writes the data. */
TF_MUST_USE enum tf_code tf_npy_write_header(struct tf_out *out, enum tf_npy_type type, int dims,
                                             const uint64_t *shape, struct tf_err *err);

#endif
