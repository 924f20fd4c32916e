#include "nn/precision.h"

#include "kernel/narrow.h"

const char *tf_precision_name(enum tf_precision precision)
{
    static const char *const names[] = {"f32", "bf16", "int8"};
    return names[precision];
}

static void round_row(size_t n, float *x, enum tf_precision precision)
{
    if (precision == TF_PRECISION_BF16) {
        for (size_t i = 0; i < n; i++)
            x[i] = tf_bf16_float(tf_bf16(x[i]));
    } else {
        const float scale = tf_int8_scale(n, x), inverse = 1 / scale;
        for (size_t i = 0; i < n; i++)
            x[i] = (float)tf_int8(x[i], inverse) * scale;
    }
}

void tf_model_round(struct tf_model *model, enum tf_precision precision)
{
    model->precision = precision;
    if (precision == TF_PRECISION_F32)
        return;
    for (size_t i = 0; i < model->table_count; i++) {
        const struct tf_table *t = &model->tables[i];
        if (t == model->norm_weight || t == model->norm_bias)
            continue;
#pragma omp parallel for schedule(static) if (tf_worth_threads(t->rows * t->cols))
        for (size_t r = 0; r < t->rows; r++)
            round_row(t->cols, tf_table_row(t, r), precision);
    }
}
