/* What every unit test includes first: cmocka and its prerequisites. */
#ifndef TF_TESTS_UNIT_H
#define TF_TESTS_UNIT_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "kernel/dispatch.h"

/* Fails with the error's own words. */
#define assert_ok(call, err)                        \
    do {                                            \
        if ((call) != TF_OK)                        \
            fail_msg("%s: %s", #call, (err)->text); \
    } while (0)

/* Runs a test once for each build of the kernels that this machine can run. */
static inline void each_kernel(void (*test)(void))
{
    const struct tf_kernels *list[8], *before = tf_kernel;
    const size_t count = tf_kernel_list(list, 8);
    for (size_t i = 0; i < count; i++) {
        tf_kernel = list[i];
        test();
    }
    tf_kernel = before;
}

/* A float between -1 and 1 that is the same every time. */
static inline float noise(uint64_t i)
{
    i = (i + 1) * 0x9e3779b97f4a7c15u;
    i = (i ^ i >> 30) * 0xbf58476d1ce4e5b9u;
    i = (i ^ i >> 27) * 0x94d049bb133111ebu;
    return (float)((double)((i ^ i >> 31) >> 11) * 0x1p-52 - 1);
}

#endif
