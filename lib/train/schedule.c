#include "train/schedule.h"

#include "base/fmath.h"

#define PI 3.14159265358979323846

/* How far `step` is on the way from first to last: 0 to 1. */
static double share(double step, double first, double last)
{
    if (step <= first)
        return 0;
    return step < last ? (step - first) / (last - first) : 1;
}

double tf_schedule_rate(const struct tf_config *config, uint64_t step)
{
    const double lr = config->optimizer.lr, min_lr = config->optimizer.min_lr,
                 steps = (double)config->train.steps;
    const double warmup =
        config->optimizer.warmup < 1 ? config->optimizer.warmup * steps : config->optimizer.warmup;
    const double at = (double)step;
    if (at < warmup)
        return lr * at / warmup;
    switch ((enum tf_schedule)config->optimizer.schedule) {
    case TF_COSINE:
        return min_lr + (lr - min_lr) / 2 * (1 + tf_cos(PI * share(at, warmup, steps)));
    case TF_LINEAR:
        return lr - (lr - min_lr) * share(at, warmup, steps);
    case TF_WSD:
        return lr - (lr - min_lr) * share(at, steps - config->optimizer.decay * steps, steps);
    case TF_CONSTANT:
        break;
    }
    return lr;
}
