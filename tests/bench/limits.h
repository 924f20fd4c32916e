/* What a machine can do at best with the instructions of one build of kernels. */
#ifndef TF_BENCH_LIMITS_H
#define TF_BENCH_LIMITS_H

#include <stddef.h>

struct limits {
    const char *name; /* of the build */
    /* Does nothing but multiply-adds on one thread; returns how many. */
    double (*multiply_adds)(void);
    /* Reads n floats (a multiple of 64) on one thread, and returns a sum of some of them. */
    float (*read)(const float *from, size_t n);
};

#endif
