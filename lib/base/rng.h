/* Counter-based random numbers: (seed, stream, index) -> value. No state to carry, save or lose:
 * number i of a stream is the same whoever asks for it, in whatever order. */
#ifndef TF_BASE_RNG_H
#define TF_BASE_RNG_H

#include <stdint.h>

/* A stream's number from its name ("layers.0.ffn.keys", "order", "sample"). */
uint64_t tf_rng_stream(const char *name);

/* 64 uniform bits: Philox 4x32-10 (Salmon et al., SC 2011), key = seed, counter = (index, stream).
 */
uint64_t tf_rng_bits(uint64_t seed, uint64_t stream, uint64_t index);

/* Uniform in (0, 1), never 0 or 1. */
double tf_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index);

/* N(0, 1), by inversion of the distribution function (Wichura's AS 241). */
double tf_rng_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* A permutation of 0..n-1, evaluated at i: a Feistel network that walks its cycle until it falls
 * below n. */
uint64_t tf_rng_permute(uint64_t seed, uint64_t stream, uint64_t n, uint64_t i);

#endif
