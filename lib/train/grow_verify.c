/* The proof that a grown model answers as the one before it. */
#include "base/mem.h"
#include "base/rng.h"
#include "train/grow.h"
#include <math.h>
#include <string.h>

/* The same bits, and zeros of either sign, differ by 0; a NaN differs from anything else without
 * bound. */
static double largest_difference(const float *a, const float *b, size_t n, double largest)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i] == b[i] || memcmp(&a[i], &b[i], sizeof *a) == 0)
            continue;
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = isnan(difference) ? INFINITY : fmax(largest, difference);
    }
    return largest;
}

static enum tf_code compare_runs(double *largest, struct tf_run *a, struct tf_run *b,
                                 const uint16_t *ids, size_t seq, size_t vocab, struct tf_err *err)
{
    float *logits = tf_new(2 * vocab, sizeof *logits, "logits", err);

    if (!logits)
        return TF_MEMORY;
    tf_forward(a, ids, 1, seq, 0);
    tf_forward(b, ids, 1, seq, 0);
    for (size_t row = 0; row < seq; row++) {
        tf_logits(a, row, 1, logits);
        tf_logits(b, row, 1, logits + vocab);
        *largest = largest_difference(logits, logits + vocab, vocab, *largest);
    }
    tf_free(logits);
    return TF_OK;
}

enum tf_code tf_grow_verify(double *largest, const struct tf_model *a, const struct tf_model *b,
                            uint64_t seed, struct tf_err *err)
{
    uint64_t seq = a->shape.seq < b->shape.seq ? a->shape.seq : b->shape.seq,
             vocab = a->shape.vocab;
    struct tf_run *runs[2] = {NULL, NULL};
    enum tf_code code;

    *largest = 0;
    if (vocab != b->shape.vocab)
        return tf_fail(err, TF_DATA, "vocabularies differ: %llu ids, and %llu",
                       (unsigned long long)vocab, (unsigned long long)b->shape.vocab);
    uint16_t *ids = tf_new(seq, sizeof *ids, "random ids", err);
    if (!ids)
        return TF_MEMORY;
    for (uint64_t i = 0; i < seq; i++)
        ids[i] = (uint16_t)(tf_rng_bits(seed, tf_rng_stream("verify"), i) % vocab);
    code = tf_run_new(&runs[0], a, TF_RUN_SCORE, 1, seq, err);
    if (!code)
        code = tf_run_new(&runs[1], b, TF_RUN_SCORE, 1, seq, err);
    if (!code)
        code = compare_runs(largest, runs[0], runs[1], ids, seq, vocab, err);
    tf_run_free(runs[0]);
    tf_run_free(runs[1]);
    tf_free(ids);
    return code;
}
