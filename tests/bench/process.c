#include "process.h"

#include "bench.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static bool answers(struct process *process)
{
    char line[64];
    return fgets(line, sizeof line, process->from) != NULL;
}

void process_start(struct process *process, const char *command)
{
    int in[2], out[2];
    *process = (struct process){0};
    if (!command)
        return;
    if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) || (process->pid = fork()) < 0)
        bench_give_up("no process for the peer");
    if (!process->pid) {
        if (dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0)
            execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    process->to = fdopen(in[1], "w");
    process->from = fdopen(out[0], "r");
    if (!process->to || !process->from)
        bench_give_up("no pipe to the peer");
    if (!answers(process)) {
        fprintf(stderr, "bench: without the peer (%s)\n", command);
        process_stop(process);
    }
}

void process_run(struct process *process)
{
    fputs("1\n", process->to);
    if (fflush(process->to) || !answers(process))
        bench_give_up("the peer ended early");
}

double process_stop(struct process *process)
{
    struct rusage usage = {0};
    fclose(process->to);
    fclose(process->from);
    if (wait4(process->pid, NULL, 0, &usage) < 0)
        bench_give_up("the peer is lost");
    process->pid = 0;
    return (double)usage.ru_maxrss / 1024;
}
