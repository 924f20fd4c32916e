#include "models.h"

#include "bench.h"

/* Two small ones, the smallest published one (arXiv 2410.23168), and a transformer as wide as the
 * first. */
const struct size sizes[SIZES] = {
    {"a", TF_TOKENFORMER, 4, 128, 4, 128, 512, 64, 12, 256},
    {"b", TF_TOKENFORMER, 6, 384, 6, 384, 1536, 256, 8, 256},
    {"c", TF_TOKENFORMER, 12, 768, 12, 768, 3072, 256, 4, 50304},
    {"d", TF_TRANSFORMER, 4, 128, 4, 128, 512, 64, 12, 256},
};

enum { MOST_LAYERS = 12 };

struct tf_model *bench_model(const struct size *size, uint64_t length, bool train)
{
    struct tf_err err = {0};
    struct tf_model *model;
    struct tf_layer_shape layers[MOST_LAYERS];
    for (uint64_t l = 0; l < size->layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            layers[l].tokens[p] = p == TF_FFN ? size->ffn : size->tokens;
            layers[l].scale[p] = size->kind == TF_TRANSFORMER ? 0 : (double)layers[l].tokens[p];
        }
    const struct tf_shape shape = {
        .kind = size->kind,
        .layers = size->layers,
        .width = size->width,
        .heads = size->heads,
        .vocab = size->vocab,
        .seq = length,
        .norm = size->kind == TF_TRANSFORMER ? TF_GELU : TF_L2_NORM_GELU,
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
        for (int p = 0; p < TF_PROJECTIONS; p++)
            sum += (tf_is_matrix(&model->shape, p) ? 1.0 : 2.0) *
                   (double)model->shape.layer[l].tokens[p] * (double)model->shape.width;
    return sum;
}
