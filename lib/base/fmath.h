/* Scalar functions in double, the same bits on every machine: only + - * / sqrt and fma, all
 * exactly rounded, in a fixed order. libm's differ between machines and versions. Within 2 ulp of
 * the true value unless said. */
#ifndef TF_BASE_FMATH_H
#define TF_BASE_FMATH_H

#include <stdint.h>

double tf_exp(double x);
double tf_log(double x); /* x > 0; 0 gives -inf, below gives NaN */
double tf_sin(double x); /* |x| <= 1e6; absolute error 1e-15 */
double tf_cos(double x);
double tf_pow_int(double base, uint64_t exponent); /* by squaring */

#endif
