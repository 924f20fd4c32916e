/* Timing of contenders side by side: every round runs each of them once, so that a machine whose
 * speed drifts drifts for all, and what is compared is the median of the rounds' ratios. */
#ifndef TF_BENCH_H
#define TF_BENCH_H

#include "limits.h"
#include <stddef.h>

enum { BENCH_ROUNDS = 64 }; /* at most */

/* One of several that do the same work, or a limit that they are held against. */
struct contender {
    const char *name;
    void (*run)(void *arg);
    void *arg;
    double work;               /* of one run, in the table's unit; 0: not taking part */
    size_t repeats;            /* runs that take about a round's time; found by bench_race */
    double rate[BENCH_ROUNDS]; /* work a second, round by round */
};

/* Runs all contenders `rounds` times in turn, about `seconds` each time. */
void bench_race(struct contender *all, size_t count, size_t rounds, double seconds);

/* Median, least and largest of n numbers. */
struct spread {
    double median, least, most;
};
struct spread bench_spread(const double *numbers, size_t n);
/* The spread of a's rates over b's, round by round. */
struct spread bench_ratio(const struct contender *a, const struct contender *b, size_t rounds);

/* How many to measure after so many: twice as many, and in the end as many as there may be. */
int bench_more_threads(int threads, int most);

/* Monotonic. */
double bench_seconds(void);

/* Says why on stderr, and ends the program. */
_Noreturn void bench_give_up(const char *why);

/* Floats between -1 and 1, the same every time, aligned for the kernels; never freed. Ends the
 * program when there is no memory. */
float *bench_numbers(size_t count);

/* What the build of kernels at hand (tf_kernel) could do at best on this machine. */
const struct limits *bench_limits(void);
/* A contender: all threads do nothing but multiply-adds; its work is in GFLOP. */
struct contender bench_peak(void);

#endif
