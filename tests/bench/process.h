/* A peer that is a program of its own: a process that works when it is told to. */
#ifndef TF_BENCH_PROCESS_H
#define TF_BENCH_PROCESS_H

#include <stdio.h>
#include <sys/types.h>

struct process {
    pid_t pid; /* 0: there is none */
    FILE *to, *from;
};

/* Runs a command of the shell until it says that it is ready, by a line; without one (NULL), or
 * when it ends before that, there is no process. To be called before this program takes much
 * memory: Linux counts what a process had before it became another program. */
void process_start(struct process *process, const char *command);
/* Has it do its work once: "1" and a newline there, any line back. */
void process_run(struct process *process);
/* Ends it; the most memory that it had, in MiB. */
double process_stop(struct process *process);

#endif
