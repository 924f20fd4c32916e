/* Files: whole reads, positioned reads, and outputs that appear whole or not at all. */
#ifndef TF_BASE_IO_H
#define TF_BASE_IO_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Reads a whole file, or stdin for "-", of at most max bytes. *out is terminated by a 0 that *size
 * does not count; the caller frees it with tf_free. A directory or a missing file: TF_NOINPUT. Over
 * max: TF_MEMORY. */
TF_MUST_USE enum tf_code tf_read_file(const char *path, size_t max, char **out, size_t *size,
                                      struct tf_err *err);

/* An input read at positions. */
struct tf_in {
    int fd;
    uint64_t size; /* bytes, when it was opened */
    char *path;    /* owned */
};

TF_MUST_USE enum tf_code tf_in_open(struct tf_in *in, const char *path, struct tf_err *err);
/* Exactly size bytes from offset; a shorter file is TF_DATA (it shrank, or the caller did not
 * check). Thread-safe. */
TF_MUST_USE enum tf_code tf_in_read(const struct tf_in *in, uint64_t offset, void *out, size_t size,
                                    struct tf_err *err);
void tf_in_close(struct tf_in *in); /* a zeroed struct is fine */

/* An output file that replaces its target only when it is whole: bytes go to ".NAME.part" beside
 * it, locked against a second writer; commit does fsync, rename, fsync of the directory. A .part
 * that a killed run left is taken over. Once it is open it must not be moved: its stream points to
 * it. */
struct tf_out {
    FILE *file;   /* NULL when closed; write with tf_out_write; no descriptor of stdio's own */
    int fd;       /* of the .part; the stream writes to it */
    int error;    /* errno of the first call that failed, which later ones repeat; 0: none */
    char *buffer; /* owned: the stream's */
    char *path;   /* owned: the target */
    char *part;   /* owned: the temporary beside it */
    bool force;   /* may replace an existing target */
    uint64_t at;  /* bytes written so far */
};

/* Refuses (TF_CANTCREATE) an existing target unless force, a directory, a folder that cannot be
 * written, a target that another process has locked (base/lock.h). */
TF_MUST_USE enum tf_code tf_out_open(struct tf_out *out, const char *path, bool force,
                                     struct tf_err *err);
/* The check of tf_out_open without making anything: for dry runs, and before long work starts. */
TF_MUST_USE enum tf_code tf_out_check(const char *path, bool force, struct tf_err *err);
TF_MUST_USE enum tf_code tf_out_write(struct tf_out *out, const void *data, size_t size,
                                      struct tf_err *err);
/* Writes all bytes to the disk and leaves them in the .part: what is there can be read back and
 * checked. */
TF_MUST_USE enum tf_code tf_out_flush(struct tf_out *out, struct tf_err *err);
/* Flush, rename over the target, close, fsync of the directory. TF_IO from the last two: the target
 * is there, whole. */
TF_MUST_USE enum tf_code tf_out_commit(struct tf_out *out, struct tf_err *err);
/* Closes; what was not committed is removed. A zeroed struct is fine. */
void tf_out_close(struct tf_out *out);

#endif
