/* What a model's age does to its training: which rows came with its last growth, what is frozen,
 * and how scales move. Age is counted in optimizer steps since that growth. */
#ifndef TF_TRAIN_AGING_H
#define TF_TRAIN_AGING_H

#include "nn/model.h"
#include "train/config.h"
#include "train/state.h"

/* Has it ever grown; and since it was last trained? By hand counts too. */
bool tf_aging_grown(const struct tf_lineage *lineage);
bool tf_aging_fresh(const struct tf_lineage *lineage);

/* Sets new_from of every table: the rows that the last growth appended. Of a model that was
 * widened, and of a Pattention that lost tokens since, no row is known to be new. TF_DATA: the
 * lineage is not of this model. */
TF_MUST_USE enum tf_code tf_aging_mark(struct tf_model *model, const struct tf_lineage *lineage,
                                       struct tf_err *err);
/* Does train.freeze name old-tokens? */
bool tf_aging_spares_old(const struct tf_config *config);
/* After tf_aging_mark: freezes what train.freeze names, and old tokens until grow.freeze_steps. To
 * be called again when those are over. TF_CONFIG: train.freeze cannot be. */
TF_MUST_USE enum tf_code tf_aging_freeze(struct tf_model *model, const struct tf_config *config,
                                         const struct tf_lineage *lineage, uint64_t age,
                                         struct tf_err *err);
/* After a step at that age: the scale of every Pattention that grew takes its share of the way to
 * its number of tokens, where it is after `steps` steps. */
void tf_aging_ramp(struct tf_model *model, uint64_t steps, uint64_t age);

#endif
