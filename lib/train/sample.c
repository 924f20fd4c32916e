/* Picking the next token. The order of the logits matters only where a count or a share of them
 * ends, and that id is found by quickselect: nothing is sorted but a handful. */
#include "train/generate.h"

#include "base/rng.h"
#include "kernel/dispatch.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* Divides (or, below zero, multiplies) the logits of the ids lately used, each once. seen: vocab
 * flags of room. */
static void penalise(const struct tf_sampler *sampler, float *logits, uint32_t vocab,
                     const uint16_t *recent, size_t count, uint64_t *seen)
{
    size_t from = count > sampler->repeat_last ? count - sampler->repeat_last : 0;
    float penalty = (float)sampler->repeat_penalty;

    if (sampler->repeat_penalty == 1)
        return;
    for (size_t i = from; i < count; i++)
        if (recent[i] < vocab)
            seen[recent[i]] = 0;
    for (size_t i = from; i < count; i++) {
        uint32_t id = recent[i];
        if (id >= vocab || seen[id])
            continue;
        seen[id] = 1;
        logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
    }
}

/* The lowest id that has this logit. */
static uint32_t lowest_at(const float *logits, uint32_t vocab, float logit)
{
    for (uint32_t id = 0; id < vocab; id++)
        if (logits[id] == logit)
            return id;
    return 0;
}

/* An id and its logit as one number, a place: higher for larger logits, and among equals for lower
 * ids, so that no two are the same. */
static uint64_t place(float logit, uint32_t id)
{
    float number = logit + 0.0f; /* -0 is 0 */
    uint32_t bits;

    memcpy(&bits, &number, sizeof(bits));
    bits = bits >> 31 ? ~bits : bits | 0x80000000;
    return (uint64_t)bits << 32 | (uint32_t)~id;
}

static uint32_t id_at(uint64_t place)
{
    return ~(uint32_t)place;
}

/* A weight, 0 to 1, as an integer: these add up to the same in any order, and 65,536 of them still
 * fit a double. Without weights each counts 1. */
static int64_t mass(const float *weights, uint64_t place)
{
    return weights == NULL ? 1 : (int64_t)(weights[id_at(place)] * 0x1p36f);
}

static int64_t add_up(const float *weights, const uint64_t *places, size_t n)
{
    int64_t sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += mass(weights, places[i]);
    return sum;
}

static uint64_t median(uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t low = a < b ? a : b, high = a < b ? b : a;

    return c < low ? low : c > high ? high : c;
}

/* Half way between the lowest and the highest of two or more: a pivot that leaves some on either
 * side, and half of their range. */
static uint64_t middle(const uint64_t *places, size_t n)
{
    uint64_t lowest = places[0], highest = places[0];

    for (size_t i = 1; i < n; i++) {
        lowest = places[i] < lowest ? places[i] : lowest;
        highest = places[i] > highest ? places[i] : highest;
    }
    return lowest + (highest - lowest) / 2;
}

/* Moves the places above the pivot to the front; how many. Without a branch, since the outcome
 * cannot be foreseen. */
static size_t split(uint64_t *places, size_t n, uint64_t pivot)
{
    size_t above = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t moved = places[i];
        places[i] = places[above];
        places[above] = moved;
        above += moved > pivot;
    }
    return above;
}

/* Highest first. */
static void sort_few(uint64_t *places, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t moved = places[i];
        size_t at = i;
        for (; at > 0 && places[at - 1] < moved; at--)
            places[at] = places[at - 1];
        places[at] = moved;
    }
}

/* Moves to the front the fewest of the highest places whose masses together exceed `goal` (all n
 * when they do not), the lowest of them last. Returns how many; *sum: their masses. However the
 * places lie, 64 pivots at most are from the middle, and as many rule out little. */
static size_t reach(uint64_t *places, size_t n, const float *weights, int64_t goal, int64_t *sum)
{
    enum { FEW = 16 };
    size_t low = 0, high = n; /* the last one is in between; *sum is the mass before low */
    bool stuck = false;       /* the last pivot ruled out little */

    *sum = 0;
    while (high - low > FEW) {
        uint64_t *at = places + low;
        size_t range = high - low;
        uint64_t pivot = stuck ? middle(at, range) : median(at[0], at[range / 2], at[range - 1]);
        size_t above = split(at, range, pivot);
        int64_t more = add_up(weights, at, above);
        if (*sum + more > goal) {
            high = low + above;
        } else {
            low += above;
            *sum += more;
        }
        stuck = high - low > range - range / 8;
    }
    sort_few(places + low, high - low);
    for (; low < high && *sum <= goal; low++)
        *sum += mass(weights, places[low]);
    return low;
}

/* Those that weigh at least min_p move to the front; how many. */
static size_t heavy(uint64_t *places, size_t n, const float *weights, double min_p)
{
    size_t kept = 0;

    for (size_t i = 0; i < n; i++) {
        uint64_t moved = places[i];
        places[kept] = moved;
        kept += weights[id_at(moved)] >= min_p;
    }
    return kept;
}

uint32_t tf_sample(const struct tf_sampler *sampler, float *logits, uint32_t vocab,
                   const uint16_t *recent, size_t count, uint64_t seed, uint64_t stream,
                   uint64_t index, uint64_t *scratch)
{
    uint64_t *places = scratch;
    size_t kept = vocab;
    double goal;
    int64_t sum;
    float top;

    penalise(sampler, logits, vocab, recent, count, scratch);
    top = tf_kernel->max(vocab, logits);
    if (sampler->temperature == 0 || isinf(top)) /* a penalty below 1 can make it infinite */
        return lowest_at(logits, vocab, top);
    for (uint32_t id = 0; id < vocab; id++)
        places[id] = place(logits[id], id);
    if (sampler->top_k > 0 && sampler->top_k < vocab)
        kept = reach(places, vocab, NULL, (int64_t)sampler->top_k - 1, &sum);
    tf_kernel->exp_sum(vocab, logits, logits, top, (float)fmin(1 / sampler->temperature, FLT_MAX));
    if (sampler->min_p > 0)
        kept = heavy(places, kept, logits, sampler->min_p);
    sum = add_up(logits, places, kept);
    goal = ceil(sampler->top_p * (double)sum) - 1; /* integers: to reach is to exceed one less */
    if (sampler->top_p < 1)
        kept = reach(places, kept, logits, goal > 0 ? (int64_t)goal : 0, &sum);
    goal = tf_rng_uniform(seed, stream, index) * (double)sum;
    kept = reach(places, kept, logits, (int64_t)goal, &sum);
    return id_at(places[kept - 1]);
}
