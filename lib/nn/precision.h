/* How precisely weights are held while a model runs. A precision is a rounding of the tables: the
 * narrow products of kernel/narrow.h give the bits of f32 products with rounded tables. */
#ifndef TF_NN_PRECISION_H
#define TF_NN_PRECISION_H

#include "kernel/dispatch.h"
#include "nn/model.h"

/* f32, bf16, int8 */
const char *tf_precision_name(enum tf_precision precision);

/* Rounds the tables of parameter tokens, the embedding and the head: bf16 each number to nearest,
 * int8 each row to integers from -127 to 127 times tf_int8_scale. The final norm stays as it is.
 * Rounding again changes nothing. Runs of TF_RUN_CACHE that are made afterwards hold such weights
 * narrow. */
void tf_model_round(struct tf_model *model, enum tf_precision precision);

#endif
