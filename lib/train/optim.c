#include "train/optim.h"

#include "base/fmath.h"

#include <float.h>
#include <math.h>

size_t tf_gradient_norm_room(const struct tf_model *model)
{
    size_t rows = 0;
    for (size_t i = 0; i < model->table_count; i++)
        rows += model->tables[i].rows;
    return rows;
}

/* One team for all tables, and no waiting from table to table: most of them are small. */
double tf_gradient_norm(const struct tf_model *model, double *row_sums)
{
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model)))
    {
        double *sums = row_sums;
        for (size_t i = 0; i < model->table_count; sums += model->tables[i++].rows) {
            const struct tf_table *t = &model->tables[i];
#pragma omp for schedule(static) nowait
            for (size_t r = t->frozen_rows; r < (t->frozen ? 0 : t->rows); r++)
                sums[r] = (double)tf_kernel->dot(t->cols, t->grad + r * t->stride,
                                                 t->grad + r * t->stride);
        }
    }
    double sum = 0;
    for (size_t i = 0; i < model->table_count; row_sums += model->tables[i++].rows) {
        const struct tf_table *t = &model->tables[i];
        for (size_t r = t->frozen_rows; r < (t->frozen ? 0 : t->rows); r++)
            sum += row_sums[r];
    }
    return sqrt(sum);
}

/* Updates this thread's share of a table's rows: the old ones as the first says, new ones as the
 * second. */
static void update_table(const struct tf_table *t, const struct tf_adamw with[2])
{
#pragma omp for schedule(static) nowait
    for (size_t r = t->frozen_rows; r < (t->frozen ? 0 : t->rows); r++) {
        const size_t at = r * t->stride;
        tf_kernel->adamw(t->cols, t->value + at, t->grad + at, t->m + at, t->v + at,
                         &with[r >= t->new_from]);
    }
}

/* The learning rate of new rows at that age, as a multiple. */
static double new_factor(const struct tf_config *config, uint64_t age)
{
    const uint64_t warmup = config->grow.new_warmup;
    const double share = age < warmup ? (double)(age + 1) / (double)warmup : 1;
    return config->grow.new_lr * share;
}

void tf_optim_step(const struct tf_model *model, const struct tf_config *config, uint64_t step,
                   uint64_t age, double rate, double norm)
{
    const double *betas = config->optimizer.betas, limit = config->optimizer.grad_clip,
                 over = norm + 1e-6;
    const struct tf_adamw all = {
        .clip = (float)(limit > 0 && over > limit ? limit / over : 1),
        .beta1 = (float)betas[0],
        .beta2 = (float)betas[1],
        .eps = fmaxf((float)config->optimizer.eps, FLT_MIN), /* 0 would give 0/0 */
    };
    const double rates[] = {rate, rate * new_factor(config, age)},
                 decays[] = {1, config->grow.new_decay};
    struct tf_adamw with[2] = {all, all}, decaying[2];
    /* Of the betas as the kernel has them: near 1, rounding moves 1 - beta by up to a hundredth. */
    const double correct1 = 1 - tf_pow_int((double)all.beta1, step + 1),
                 correct2 = 1 - tf_pow_int((double)all.beta2, step + 1);
    for (int i = 0; i < 2; i++) {
        with[i].rate = (float)(rates[i] / correct1);
        with[i].correct2 = (float)(1 / correct2);
        decaying[i] = with[i];
        decaying[i].decay = (float)(rates[i] * config->optimizer.weight_decay * decays[i]);
    }
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model)))
    for (size_t i = 0; i < model->table_count; i++)
        update_table(&model->tables[i], model->tables[i].decay ? decaying : with);
}
