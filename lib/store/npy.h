/* NumPy's .npy files, versions 1.0 to 3.0, C order, little-endian, one to three dimensions: '<f4',
 * '<f2', '<i4', and '<u2' (which is how bf16 travels: its bits).
 * https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html */
#ifndef TF_STORE_NPY_H
#define TF_STORE_NPY_H

#include "base/err.h"
#include "base/io.h"

#define TF_NPY_DIMS 3

enum tf_npy_type { TF_NPY_F4, TF_NPY_F2, TF_NPY_I4, TF_NPY_U2 };

struct tf_npy {
    enum tf_npy_type type;
    int dims;                    /* 1 to TF_NPY_DIMS */
    uint64_t shape[TF_NPY_DIMS]; /* 1 or more each; 1 past dims */
    void *data;                  /* little-endian, C order; owned */
    size_t size;                 /* bytes of data */
};

/* A whole regular file, of at most max bytes of data. */
TF_MUST_USE enum tf_code tf_npy_load(struct tf_npy *out, const char *path, size_t max,
                                     struct tf_err *err);
void tf_npy_fini(struct tf_npy *npy);
/* The header (magic, dictionary, padding to 64 bytes), after which the caller writes the data. */
TF_MUST_USE enum tf_code tf_npy_write_header(struct tf_out *out, enum tf_npy_type type, int dims,
                                             const uint64_t *shape, struct tf_err *err);

#endif
