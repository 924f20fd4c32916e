/* The limits of one build of kernels: compiled once for each, as lib/kernel/variant.c is. */
#include "kernel/simd.h"

#include "limits.h"

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

/* Chains of multiply-adds under way at once: as many as registers hold, and more than the
 * multipliers' latency times their number. */
#define CHAINS (TF_WIDTH == 16 ? 24 : 12)
#define ROUNDS 200000

static double multiply_adds(void)
{
    vf sum[CHAINS];
    vf shrink = vf_set(0.999f), grow = vf_set(1e-6f);
    for (size_t i = 0; i < CHAINS; i++)
        sum[i] = vf_set((float)i);
    for (size_t r = 0; r < ROUNDS; r++) {
        __asm__ volatile("" : "+x"(shrink), "+x"(grow));
#pragma GCC unroll 32
        for (size_t i = 0; i < CHAINS; i++)
            sum[i] = vf_fma(sum[i], shrink, grow);
    }
    for (size_t i = 0; i < CHAINS; i++)
        __asm__ volatile("" ::"x"(sum[i]));
    return (double)ROUNDS * CHAINS * TF_WIDTH;
}

/* Four places side by side, each asked for ahead (1 KiB): one alone leaves memory waiting at every
 * page. */
#define PIECE 2048
#define AHEAD 256

static float read_all(const float *from, size_t n)
{
    const size_t whole = n / (4 * PIECE) * (4 * PIECE);
    vf sum[4] = {0};
    for (size_t p = 0; p < whole / 4; p += 16) {
        const float *at = from + p / PIECE * (4 * PIECE) + p % PIECE;
        const size_t next = p % PIECE + AHEAD < PIECE ? AHEAD : AHEAD + 3 * PIECE;
        for (size_t s = 0; s < 4; s++, at += PIECE) {
            __builtin_prefetch(at + next);
            for (size_t j = 0; j < 16; j += TF_WIDTH)
                sum[s] += vf_load(at + j);
        }
    }
    for (size_t i = whole; i < n; i += TF_WIDTH)
        sum[0] += vf_load(from + i);
    const vf all = sum[0] + sum[1] + sum[2] + sum[3];
    return all[0];
}

extern const struct limits JOIN(limits_, TF_VARIANT);
const struct limits JOIN(limits_, TF_VARIANT) = {TF_VARIANT_NAME, multiply_adds, read_all};
