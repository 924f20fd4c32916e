/* The learning rate of a step. */
#ifndef TF_TRAIN_SCHEDULE_H
#define TF_TRAIN_SCHEDULE_H

#include "train/config.h"

/* The rate of step `step` (from 0) of config->train.steps. Warm-up rises from 0 in a straight line;
 * then, until the last step: cosine falls from lr to min_lr along half a wave; linear in a straight
 * line; wsd stays at lr and falls to min_lr in a straight line over the last `decay` of all steps;
 * constant stays. */
double tf_schedule_rate(const struct tf_config *config, uint64_t step);

#endif
