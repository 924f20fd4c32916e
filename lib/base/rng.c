#include "base/rng.h"

#include "base/fmath.h"
#include <math.h>

/* FNV-1a. */
uint64_t tf_rng_stream(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325;

    for (; *name != '\0'; name++)
        hash = (hash ^ (uint8_t)*name) * 0x100000001b3;
    return hash;
}

uint64_t tf_rng_bits(uint64_t seed, uint64_t stream, uint64_t index)
{
    uint32_t c[4] = {(uint32_t)index, (uint32_t)(index >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xd2511f53 * c[0], b = (uint64_t)0xcd9e8d57 * c[2];
        c[0] = (uint32_t)(b >> 32) ^ c[1] ^ key[0];
        c[1] = (uint32_t)b;
        c[2] = (uint32_t)(a >> 32) ^ c[3] ^ key[1];
        c[3] = (uint32_t)a;
        key[0] += 0x9e3779b9; /* the golden ratio */
        key[1] += 0xbb67ae85; /* sqrt(3) - 1 */
    }
    return (uint64_t)c[1] << 32 | c[0];
}

double tf_rng_uniform(uint64_t seed, uint64_t stream, uint64_t index)
{
    /* The middle of one of 2^52 equal cells: exact, and so neither 0 nor 1. */
    return ((double)(tf_rng_bits(seed, stream, index) >> 12) + 0.5) * 0x1p-52;
}

/* AS 241, routine PPND16: a/b serve the middle of the curve, c/d the flanks, e/f the tails. */
static const double quantile_a[8] = {
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
    1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
    3.3430575583588128105e4, 2.5090809287301226727e3,
};
static const double quantile_b[8] = {
    1.0,
    4.2313330701600911252e1,
    6.8718700749205790830e2,
    5.3941960214247511077e3,
    2.1213794301586595867e4,
    3.9307895800092710610e4,
    2.8729085735721942674e4,
    5.2264952788528545610e3,
};
static const double quantile_c[8] = {
    1.42343711074968357734e0,  4.63033784615654529590e0,  5.76949722146069140550e0,
    3.64784832476320460504e0,  1.27045825245236838258e0,  2.41780725177450611770e-1,
    2.27238449892691845833e-2, 7.74545014278341407640e-4,
};
static const double quantile_d[8] = {
    1.0,
    2.05319162663775882187e0,
    1.67638483018380384940e0,
    6.89767334985100004550e-1,
    1.48103976427480074590e-1,
    1.51986665636164571966e-2,
    5.47593808499534494600e-4,
    1.05075007164441684324e-9,
};
static const double quantile_e[8] = {
    6.65790464350110377720e0,  5.46378491116411436990e0,  1.78482653991729133580e0,
    2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
    2.71155556874348757815e-5, 2.01033439929228813265e-7,
};
static const double quantile_f[8] = {
    1.0,
    5.99832206555887937690e-1,
    1.36929880922735805310e-1,
    1.48753612908506148525e-2,
    7.86869131145613259100e-4,
    1.84631831751005468180e-5,
    1.42151175831644588870e-7,
    2.04426310338993978564e-15,
};

/* p(x) / q(x), both of degree 7, coefficients from the constant up. */
static double ratio(const double p[8], const double q[8], double x)
{
    double above = p[7], below = q[7];

    for (int i = 6; i >= 0; i--) {
        above = fma(above, x, p[i]);
        below = fma(below, x, q[i]);
    }
    return above / below;
}

/* The quantile function of N(0, 1). */
static double normal_quantile(double p)
{
    double q = p - 0.5, r, z;

    if (fabs(q) <= 0.425)
        return q * ratio(quantile_a, quantile_b, 0.180625 - q * q);
    r = sqrt(-tf_log(q < 0 ? p : 1 - p));
    z = r <= 5 ? ratio(quantile_c, quantile_d, r - 1.6) : ratio(quantile_e, quantile_f, r - 5);
    return q < 0 ? -z : z;
}

double tf_rng_normal(uint64_t seed, uint64_t stream, uint64_t index)
{
    return normal_quantile(tf_rng_uniform(seed, stream, index));
}

/* A permutation of the numbers of 2 * half bits: each round xors one half with a random function of
 * the other. */
static uint64_t feistel(uint64_t seed, uint64_t stream, int half, uint64_t i)
{
    uint64_t mask = ((uint64_t)1 << half) - 1, left = i >> half, right = i & mask;

    for (uint64_t round = 0; round < 8; round++) {
        uint64_t next = left ^ (tf_rng_bits(seed, stream, round << 32 | right) & mask);
        left = right;
        right = next;
    }
    return left << half | right;
}

uint64_t tf_rng_permute(uint64_t seed, uint64_t stream, uint64_t n, uint64_t i)
{
    int half;

    if (n < 2)
        return 0;
    half = (64 - __builtin_clzll(n - 1) + 1) / 2;
    do {
        i = feistel(seed, stream, half, i);
    } while (i >= n);
    return i;
}
