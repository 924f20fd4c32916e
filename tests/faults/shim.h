/* The shim's two halves: shim.c (system calls) and shim_memory.c (allocations) share one plan,
 * which the environment gives, and one report. */
#ifndef TF_FAULTS_SHIM_H
#define TF_FAULTS_SHIM_H

#include <stdbool.h>
#include <stddef.h>

/* What to do, see README.md. Nothing happens at call 0. */
struct plan {
    const char
        *at_what; /* TF_FAULT: "memory", "call" (any), or the name of one call; NULL: only count */
    const char
        *how; /* TF_FAULT_ERROR: the name of an error, "short", "shrink", "kill", "kill-after" */
    unsigned long at; /* TF_FAULT_AT: which call, from 1 */
    int error;        /* errno for `how`, 0 for none */
};

/* Set before main begins. */
extern struct plan shim_plan;

/* Has main begun? Before it only the loader, libc and libgomp run. */
extern bool shim_running;

/* A line of TF_FAULT_COUNT's file, written at once. */
void shim_report(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Notes where the libraries are whose allocations are not ours to fail. */
void shim_memory_start(void);
/* Reports how many allocations there were and which blocks are still live. */
void shim_memory_end(void);

#endif
