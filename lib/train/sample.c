#include "train/generate.h"

#include "base/fmath.h"
#include "base/rng.h"

#include <stdlib.h>
#include <string.h>

/* Divides (or, below zero, multiplies) the logits of the ids lately used, each once. seen: vocab
 * flags of room. */
static void penalise(const struct tf_sampler *sampler, float *logits, uint32_t vocab,
                     const uint16_t *recent, size_t count, uint32_t *seen)
{
    size_t from = count > sampler->repeat_last ? count - sampler->repeat_last : 0;
    float penalty = (float)sampler->repeat_penalty;

    if (sampler->repeat_penalty == 1)
        return;
    memset(seen, 0, vocab * sizeof(*seen));
    for (size_t i = from; i < count; i++) {
        uint32_t id = recent[i];
        if (id >= vocab || seen[id])
            continue;
        seen[id] = 1;
        logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
}

static uint32_t largest(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;

    for (uint32_t id = 1; id < vocab; id++)
        if (logits[id] > logits[best])
            best = id;
    return best;
}

/* Larger logits first, lower ids first among equals: a total order, so that any sort gives one
 * result. */
static int by_logit(const void *a, const void *b, void *logits)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    float at_x = ((const float *)logits)[x], at_y = ((const float *)logits)[y];

    if (at_x != at_y)
        return at_x > at_y ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Turns the logits of the first `kept` sorted ids into weights relative to the first, and returns
 * how many min-p leaves (those that are too small for a float go as well). */
static uint32_t weigh(const struct tf_sampler *sampler, float *logits, const uint32_t *ids,
                      uint32_t kept)
{
    double top = logits[ids[0]];

    for (uint32_t i = 0; i < kept; i++) {
        float weight = (float)tf_exp((logits[ids[i]] - top) / sampler->temperature);
        if (i > 0 && (weight < sampler->min_p || weight == 0))
            return i;
        logits[ids[i]] = weight;
    }
    return kept;
}

/* The smallest number of ids whose weights reach top_p of the total of `kept`; *total becomes
 * theirs. */
static uint32_t nucleus(const struct tf_sampler *sampler, const float *weights, const uint32_t *ids,
                        uint32_t kept, double *total)
{
    double all = 0, sum = 0;

    for (uint32_t i = 0; i < kept; i++)
        all += weights[ids[i]];
    *total = all;
    if (sampler->top_p >= 1)
        return kept;
    for (uint32_t i = 0; i < kept; i++) {
        sum += weights[ids[i]];
        if (sum >= sampler->top_p * all) {
            *total = sum;
            return i + 1;
        }
    }
    return kept;
}

uint32_t tf_sample(const struct tf_sampler *sampler, float *logits, uint32_t vocab,
                   const uint16_t *recent, size_t count, uint64_t seed, uint64_t stream,
                   uint64_t index, uint32_t *scratch)
{
    uint32_t *ids = scratch, kept = vocab;
    double total, goal, sum = 0;

    penalise(sampler, logits, vocab, recent, count, scratch);
    if (sampler->temperature == 0)
        return largest(logits, vocab);
    for (uint32_t id = 0; id < vocab; id++)
        ids[id] = id;
    qsort_r(ids, vocab, sizeof(*ids), by_logit, logits);
    if (sampler->top_k > 0 && sampler->top_k < kept)
        kept = (uint32_t)sampler->top_k;
    kept = weigh(sampler, logits, ids, kept);
    kept = nucleus(sampler, logits, ids, kept, &total);
    goal = tf_rng_uniform(seed, stream, index) * total;
    for (uint32_t i = 0; i < kept; i++) {
        sum += logits[ids[i]];
        if (sum > goal)
            return ids[i];
    }
    return ids[kept - 1];
}
