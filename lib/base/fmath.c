#include "base/fmath.h"

#include <math.h>
#include <string.h>

/* Constants split in a head, the nearest double, and the tail that the head leaves out. A small
 * integer times the head, taken from x by one fma, leaves an exact remainder; the tail then mends
 * its last bits. */
static const double ln2_head = 0x1.62e42fefa39efp-1, ln2_tail = 0x1.abc9e3b39803fp-56;
static const double half_pi_head = 0x1.921fb54442d18p+0, half_pi_tail = 0x1.1a62633145c07p-54;
static const double inverse_ln2 = 0x1.71547652b82fep+0, inverse_half_pi = 0x1.45f306dc9c883p-1;

/* c[0] x^(n-1) + ... + c[n-1] */
static double polynomial(const double *c, int n, double x)
{
    double y = c[0];

    for (int i = 1; i < n; i++)
        y = fma(y, x, c[i]);
    return y;
}
#define POLYNOMIAL(c, x) polynomial(c, (int)(sizeof(c) / sizeof((c)[0])), x)

/* 2^exponent, which must be a normal number. */
static double power_of_two(int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;

    memcpy(&value, &bits, sizeof(value));
    return value;
}

/* x = k ln 2 + r, |r| <= ln 2 / 2; e^x = 2^k e^r, and e^r from its Taylor series. */
double tf_exp(double x)
{
    static const double c[] = {
        1.0 / 6227020800, 1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
        1.0 / 5040,       1.0 / 720,       1.0 / 120,      1.0 / 24,      1.0 / 6,      1.0 / 2,
    };
    double k, r, y;
    int half;

    if (isnan(x))
        return x;
    if (x > 710)
        return INFINITY;
    if (x < -746)
        return 0;
    k = rint(x * inverse_ln2);
    r = fma(-k, ln2_head, x);
    r = fma(-k, ln2_tail, r);
    y = 1 + fma(r * r, POLYNOMIAL(c, r), r);
    /* In two steps, since 2^k alone may be outside the normal range; only the second can round. */
    half = (int)k / 2;
    return y * power_of_two(half) * power_of_two((int)k - half);
}

/* x = 2^k (1 + f), 1 + f in [sqrt(1/2), sqrt(2)). With s = f / (2 + f), log(1 + f) = 2 artanh(s)
 * = f - (f^2/2 - s (f^2/2 + R)), R = 2/3 s^2 + 2/5 s^4 + ..., whose leading term f is exact. */
double tf_log(double x)
{
    static const double c[] = {
        2.0 / 21, 2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13,
        2.0 / 11, 2.0 / 9,  2.0 / 7,  2.0 / 5,  2.0 / 3,
    };
    const uint64_t sqrt_half = 0x3fe6a09e667f3bcd; /* as bits */
    double k = 0, f, s, half_square, rest;
    uint64_t bits, shift;

    if (isnan(x) || x < 0)
        return NAN;
    if (x == 0)
        return -INFINITY;
    if (isinf(x))
        return x;
    if (x < 0x1p-1022) {
        x *= 0x1p54;
        k = -54;
    }
    memcpy(&bits, &x, sizeof(bits));
    shift = (bits - sqrt_half + ((uint64_t)1023 << 52)) >> 52; /* 1023 + exponent */
    k += (double)shift - 1023;
    bits -= (shift - 1023) << 52;
    memcpy(&f, &bits, sizeof(f));
    f -= 1;
    s = f / (2 + f);
    half_square = 0.5 * f * f;
    rest = s * fma(s * s, POLYNOMIAL(c, s * s), half_square);
    rest = fma(k, ln2_tail, rest);
    return fma(k, ln2_head, f - (half_square - rest));
}

/* Both on |r| <= pi/4. */
static double sin_near_zero(double r)
{
    static const double c[] = {
        1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
        1.0 / 362880,          -1.0 / 5040,          1.0 / 120,        -1.0 / 6,
    };

    return fma(r * r * r, POLYNOMIAL(c, r * r), r);
}

static double cos_near_zero(double r)
{
    static const double c[] = {
        1.0 / 20922789888000,
        -1.0 / 87178291200,
        1.0 / 479001600,
        -1.0 / 3628800,
        1.0 / 40320,
        -1.0 / 720,
        1.0 / 24,
        -1.0 / 2,
        1,
    };

    return POLYNOMIAL(c, r * r);
}

/* sin(x + quarters pi/2). x = k pi/2 + r; the two parts of pi/2 hold 106 bits, so that k up to 2^20
 * leaves r with an absolute error of a rounding. The quarter is kept as a double: no conversion can
 * overflow, and NaN stays NaN. */
static double sin_turned(double x, double quarters)
{
    double k = rint(x * inverse_half_pi);
    double r = fma(-k, half_pi_tail, fma(-k, half_pi_head, x));
    double turned = k + quarters;
    double quarter = turned - 4 * floor(turned / 4);

    if (quarter == 1)
        return cos_near_zero(r);
    if (quarter == 2)
        return -sin_near_zero(r);
    if (quarter == 3)
        return -cos_near_zero(r);
    return sin_near_zero(r);
}

double tf_sin(double x)
{
    return sin_turned(x, 0);
}

double tf_cos(double x)
{
    return sin_turned(x, 1);
}

double tf_pow_int(double base, uint64_t exponent)
{
    double y = 1;

    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            y *= base;
        base *= base;
    }
    return y;
}
