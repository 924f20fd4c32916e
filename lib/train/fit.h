/* Are these the tables of that model? */
#ifndef TF_TRAIN_FIT_H
#define TF_TRAIN_FIT_H

#include "nn/model.h"
#include "store/format.h"

/* Tables (sorted by name, borrowed) must be those of a model of this shape, neither more nor fewer,
 * but for buffers; a table has both of its moments or none. The scales are the tables' to say, and
 * go into the shape; a transformer's are 0. TF_DATA, naming table and config key. */
TF_MUST_USE enum tf_code tf_fit_tables(struct tf_shape *shape,
                                       const struct tf_table_info *const *tables, size_t count,
                                       struct tf_err *err);

#endif
