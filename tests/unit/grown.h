/* A growth from file to file, as tf-grow does it. */
#ifndef TF_UNIT_GROWN_H
#define TF_UNIT_GROWN_H

#include "train/grow.h"

static enum tf_code grow_checkpoint(const struct tf_checkpoint *from, const char *path, bool force,
                                    const struct tf_growth *growth,
                                    const struct tf_grow_options *options, struct tf_err *err)
{
    struct tf_writer *writer = NULL;
    enum tf_code code = tf_writer_open(&writer, path, force, 0, err);

    if (!code)
        code = tf_grow_write(writer, from, growth, options, err);
    if (!code)
        code = tf_checkpoint_commit(writer, err);
    tf_writer_close(writer);
    return code;
}

#endif
