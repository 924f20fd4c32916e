/* AdamW with clipping by the global norm (arXiv 1711.05101; the order of its parts is that of
 * tests/golden/README.md). */
#ifndef TF_TRAIN_OPTIM_H
#define TF_TRAIN_OPTIM_H

#include "nn/model.h"
#include "train/config.h"

/* The square root of the sum of squares of all gradients that will be used: frozen tables and rows
 * are left out. Rows are summed on their own, then in order, so that threads do not show. */
double tf_gradient_norm(const struct tf_model *model, double *row_sums);
/* Doubles that row_sums needs: the rows of all tables. */
size_t tf_gradient_norm_room(const struct tf_model *model);

/* One update of every table that is not frozen, with t = step + 1. norm: what tf_gradient_norm
 * gave; above grad_clip the gradients are scaled by grad_clip / (norm + 1e-6). age: steps since the
 * last growth, whose rows (new_from on) learn at rate x new_lr, rising over new_warmup steps, and
 * decay by new_decay times as much of that. */
void tf_optim_step(const struct tf_model *model, const struct tf_config *config, uint64_t step,
                   uint64_t age, double rate, double norm);

#endif
