#include "models.h"

#include "bench.h"

/* Two small ones, and the smallest published one (arXiv 2410.23168). */
const struct size sizes[SIZES] = {
    {"a", 4, 128, 4, 128, 512, 64, 12, 256},
    {"b", 6, 384, 6, 384, 1536, 256, 8, 256},
    {"c", 12, 768, 12, 768, 3072, 256, 4, 50304},
};

enum { MOST_LAYERS = 12 };

struct tf_model *bench_model(const struct size *size, uint64_t length, bool train)
{
    struct tf_err err = {0};
    struct tf_model *model;
    struct tf_layer_shape layers[MOST_LAYERS];
    for (uint64_t l = 0; l < size->layers; l++)
        for (int p = 0; p < TF_PATTENTIONS; p++) {
            layers[l].tokens[p] = p == TF_FFN ? size->ffn : size->tokens;
            layers[l].scale[p] = (double)layers[l].tokens[p];
        }
    const struct tf_shape shape = {
        .layers = size->layers,
        .width = size->width,
        .heads = size->heads,
        .vocab = size->vocab,
        .seq = length,
        .norm = TF_L2_NORM_GELU,
        .rotary_pct = 0.25,
        .rotary_base = 10000,
        .tied = true,
        .layer = layers,
    };
    if (tf_model_new(&model, &shape, train, &err))
        bench_give_up(err.text);
    tf_model_init(model, 1);
    return model;
}

double bench_multiplied(const struct tf_model *model)
{
    double sum = 0;
    for (uint64_t l = 0; l < model->shape.layers; l++)
        for (int p = 0; p < TF_PATTENTIONS; p++)
            sum += 2.0 * (double)model->shape.layer[l].tokens[p] * (double)model->shape.width;
    return sum;
}
