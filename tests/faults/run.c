#include "inject.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

double now_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static char *join(const char *a, const char *b)
{
    char *text;

    if (asprintf(&text, "%s%s", a, b) < 0)
        give_up(a);
    return text;
}

void slot_init(struct slot *slot, const char *base, size_t number)
{
    char name[32];

    snprintf(name, sizeof(name), "/%zu", number);
    *slot = (struct slot){.root = join(base, name)};
    slot->work = join(slot->root, "/work");
    if (mkdir(slot->root, 0777) < 0 || mkdir(slot->work, 0777) < 0)
        give_up(slot->work);
}

enum { OWN_VARIABLES = 7 };

/* The environment after `*owned` variables that steer the shim; ends with NULL. */
static char **make_environment(const struct slot *slot, const struct scenario *scenario,
                               const char *shim, size_t *owned)
{
    const struct fault *fault = &slot->fault;
    size_t count = 0, own = 0;
    char at[24], **all;

    while (environ[count] != NULL)
        count++;
    all = calloc(count + OWN_VARIABLES + 1, sizeof(*all));
    if (all == NULL)
        give_up("environment");
    if (shim != NULL) {
        char *report = join(slot->root, "/report");
        snprintf(at, sizeof(at), "%lu", fault->at);
        all[own++] = join("LD_PRELOAD=", shim);
        all[own++] = join("TF_FAULT_COUNT=", report);
        if (fault->what != NULL)
            all[own++] = join("TF_FAULT=", fault->what);
        if (fault->how != NULL)
            all[own++] = join("TF_FAULT_ERROR=", fault->how);
        all[own++] = join("TF_FAULT_AT=", at);
        if (fault->what == NULL)
            all[own++] = join("TF_FAULT_STACKS=", "1");
        if (scenario->links)
            all[own++] = join("TF_FAULT_NO_RENAMEAT2=", "1");
        free(report);
    }
    memcpy(all + own, environ, count * sizeof(*all));
    *owned = own;
    return all;
}

void slot_start(struct slot *slot, char *const argv[], const struct scenario *scenario,
                const struct fault *fault, const char *shim)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *out = join(slot->root, "/out"), *err = join(slot->root, "/err");
    size_t owned;
    sigset_t none;

    slot->fault = *fault;
    char **environment = make_environment(slot, scenario, shim, &owned);
    sigemptyset(&none);
    if (posix_spawn_file_actions_init(&actions) != 0 || posix_spawnattr_init(&attributes) != 0 ||
        posix_spawnattr_setsigmask(&attributes, &none) != 0 ||
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) != 0 ||
        posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0666) !=
            0 ||
        posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0666) !=
            0 ||
        posix_spawn_file_actions_addchdir_np(&actions, slot->work) != 0)
        give_up("spawn");
    slot->started = now_seconds();
    slot->deadline = slot->started + (fault->kill_at > 0 ? fault->kill_at : TIMEOUT);
    errno = posix_spawnp(&slot->pid, argv[0], &actions, &attributes, argv, environment);
    if (errno != 0)
        give_up(argv[0]);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    for (size_t i = 0; i < owned; i++)
        free(environment[i]);
    free(environment);
    free(out);
    free(err);
}

/* ---- waiting ---- */

static void take_outcome(const struct slot *slot, struct outcome *outcome)
{
    char *out = join(slot->root, "/out"), *err = join(slot->root, "/err"),
         *report = join(slot->root, "/report");

    outcome->out = read_whole(out, NULL);
    outcome->err = read_whole(err, NULL);
    outcome->report = read_whole(report, NULL);
    tree_load(&outcome->now, slot->work);
    free(out);
    free(err);
    free(report);
}

void outcome_free(struct outcome *outcome)
{
    free(outcome->out);
    free(outcome->err);
    free(outcome->report);
    tree_free(&outcome->now);
}

/* Sleeps until a process ends or the first deadline comes. */
static void sleep_until_news(const struct slot *slots, size_t count)
{
    double left = TIMEOUT;
    sigset_t child;

    for (size_t i = 0; i < count; i++)
        if (slots[i].pid != 0 && slots[i].deadline - now_seconds() < left)
            left = slots[i].deadline - now_seconds();
    if (left <= 0)
        return;
    struct timespec wait = {.tv_sec = (time_t)left,
                            .tv_nsec = (long)((left - (double)(time_t)left) * 1e9)};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, NULL, &wait);
}

struct slot *slots_wait(struct slot *slots, size_t count, struct outcome *outcome)
{
    for (;;) {
        for (size_t i = 0; i < count; i++) {
            struct slot *slot = &slots[i];
            if (slot->pid == 0)
                continue;
            *outcome = (struct outcome){.timed_out = now_seconds() >= slot->deadline &&
                                                     slot->fault.kill_at == 0};
            bool late = now_seconds() >= slot->deadline;
            if (late)
                kill(slot->pid, SIGKILL);
            if (waitpid(slot->pid, &outcome->status, late ? 0 : WNOHANG) != slot->pid)
                continue;
            slot->pid = 0;
            take_outcome(slot, outcome);
            return slot;
        }
        sleep_until_news(slots, count);
    }
}

/* ---- the undisturbed run ---- */

static void add_call(struct reference *r, const char *kind, const char *name)
{
    struct call *calls = realloc(r->calls, (r->call_count + 1) * sizeof(*calls));

    if (calls == NULL)
        give_up("calls");
    r->calls = calls;
    calls[r->call_count] = (struct call){.name = strdup(name)};
    snprintf(calls[r->call_count++].kind, sizeof(calls->kind), "%s", kind);
    if (strcmp(kind, "rename") != 0 && strcmp(kind, "link") != 0)
        return;
    if (r->first == 0)
        r->first = r->call_count;
    r->last = r->call_count;
}

static void add_site(struct reference *r, unsigned long site)
{
    unsigned long *sites = realloc(r->sites, (r->allocations + 1) * sizeof(*sites));

    if (sites == NULL)
        give_up("sites");
    r->sites = sites;
    sites[r->allocations++] = site;
}

void reference_read(struct reference *r, const char *report)
{
    char *copy = strdup(report), *rest = copy;

    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        const char *word = strsep(&line, " "), *next = line == NULL ? "" : strsep(&line, " ");
        if (strcmp(word, "call") == 0 && line != NULL)
            add_call(r, next, line);
        else if (strcmp(word, "allocation") == 0)
            add_site(r, strtoul(next, NULL, 16));
        else if (strcmp(word, "leaks") == 0)
            r->leaks = strtoul(next, NULL, 10);
    }
    free(copy);
}

void reference_free(struct reference *r)
{
    for (size_t i = 0; i < r->call_count; i++)
        free(r->calls[i].name);
    free(r->calls);
    free(r->sites);
    free(r->out);
    free(r->err);
    tree_free(&r->after);
    *r = (struct reference){0};
}
