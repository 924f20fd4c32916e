/* The driver's parts: inject.c (which faults, and TAP), run.c (processes), judge.c (what is right),
 * tree.c (folders). */
#ifndef TF_FAULTS_INJECT_H
#define TF_FAULTS_INJECT_H

#include "tree.h"

#include <sys/types.h>

enum { ARGUMENTS = 40, SLOTS = 2, TIMEOUT = 60 /* seconds */ };

/* A line of the file of cases. */
struct scenario {
    char *line; /* holds what the others point to */
    char *name;
    char *target; /* what it writes; NULL: standard output alone */
    bool resume;  /* a later run goes on with --resume when the target is there */
    bool rolling; /* the target and others beside it pass through several versions */
    bool is_long; /* only killed at random moments, four times as often; its versions in between are
                     not known */
    bool folder;  /* the target is a folder, which is never replaced */
    bool salvage; /* what cannot be read is left out, with status 1 */
    bool links;   /* run as on a kernel without renameat2 */
    char *argv[ARGUMENTS];
};

/* One fault; all zero: none. */
struct fault {
    const char *what, *how; /* as TF_FAULT and TF_FAULT_ERROR */
    unsigned long at;
    double kill_at; /* seconds after the start */
};

/* A system call of the undisturbed run. */
struct call {
    char kind[16];
    char *name;
};

/* The undisturbed run, and what was there before it. */
struct reference {
    struct tree before, after;
    int status; /* of its exit: 0, or 1 for an answer that is no */
    char *out, *err;
    struct call *calls;
    size_t call_count;
    size_t first, last; /* of the calls that give an output its name, from 1; 0: none */
    unsigned long allocations;
    unsigned long *sites; /* for each allocation, what stands for the stack that it was made from */
    size_t leaks;
};

/* What a run left. */
struct outcome {
    int status; /* as waitpid says */
    bool timed_out;
    char *out, *err, *report;
    struct tree now;
};

/* ---- run.c ---- */

/* A place where one run at a time is made. */
struct slot {
    char *root; /* with work/, out, err, report */
    char *work; /* root/work: the folder that the program runs in */
    pid_t pid;  /* 0: free */
    double started, deadline;
    struct fault fault;
    bool again; /* the undisturbed run after a fault */
};

double now_seconds(void);
void slot_init(struct slot *slot, const char *base, size_t number);
/* Starts argv in the slot; shim NULL: without it. */
void slot_start(struct slot *slot, char *const argv[], const struct scenario *scenario,
                const struct fault *fault, const char *shim);
/* Waits until one of the slots has ended, and gives it; its outcome is to be freed. Those past
 * their deadline are killed. */
struct slot *slots_wait(struct slot *slots, size_t count, struct outcome *outcome);
void outcome_free(struct outcome *outcome);
/* Calls, allocations and leaks out of the shim's report. */
void reference_read(struct reference *reference, const char *report);
void reference_free(struct reference *reference);

/* ---- judge.c ---- */

/* What is wrong with an outcome: NULL, or a text that is valid until the next call. */
const char *judge_memory(const struct scenario *s, const struct reference *r,
                         const struct outcome *o);
const char *judge_call(const struct scenario *s, const struct reference *r, const struct fault *f,
                       const struct outcome *o);
const char *judge_killed(const struct scenario *s, const struct reference *r, const struct fault *f,
                         const struct outcome *o);
const char *judge_again(const struct reference *r, const struct outcome *o);
/* Must this error of this kind of call be survived? */
bool is_survived(const char *how);

#endif
