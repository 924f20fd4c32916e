/* inject MODE SHIM INPUTS CASES SCRATCH: runs each case (a line of CASES) in a copy of the folder
 * INPUTS, first undisturbed and then with one fault after another, and says in TAP whether each
 * fault did what it must. README.md tells what that is. */
#include "inject.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum mode { MEMORY, CALLS, CRASH, RANDOM };

static const char *const mode_names[] = {"memory", "calls", "crash", "random"};

struct driver {
    enum mode mode;
    bool all;             /* every allocation, not only the first and last of each stack */
    unsigned long *sites; /* stacks of the cases so far, sorted */
    size_t site_count;
    const char *shim;
    struct tree inputs;
    struct slot slots[SLOTS];
    struct fault *faults; /* of the case at hand */
    size_t fault_count;
    size_t random_kills; /* of each case */
    uint64_t seed;
    size_t cases, bad_cases, runs;
};

/* ---- cases ---- */

/* name target options command...; false when the line is none. */
static bool parse_case(struct scenario *s, const char *line)
{
    static char threads[] = "--threads=1"; /* so that calls come in the same order in each run */
    char *words[ARGUMENTS + 3], *rest;
    size_t count = 0;

    *s = (struct scenario){.line = strdup(line)};
    rest = s->line;
    for (char *word; (word = strsep(&rest, " \t\n")) != NULL;)
        if (*word != '\0' && count < sizeof(words) / sizeof(*words))
            words[count++] = word;
    if (count < 4 || words[0][0] == '#' || count - 3 > ARGUMENTS - 6) {
        free(s->line);
        return false;
    }
    s->name = words[0];
    s->target = strcmp(words[1], "-") == 0 ? NULL : words[1];
    s->resume = strstr(words[2], "resume") != NULL;
    s->rolling = strstr(words[2], "rolling") != NULL;
    s->is_long = strstr(words[2], "long") != NULL;
    s->folder = strstr(words[2], "folder") != NULL;
    s->salvage = strstr(words[2], "salvage") != NULL;
    s->links = strstr(words[2], "links") != NULL;
    memcpy(s->argv, words + 3, (count - 3) * sizeof(*words));
    s->argv[count - 3] = threads;
    return true;
}

/* ---- the undisturbed run ---- */

/* Says what is wrong with it, if something is. */
static bool take_reference(struct driver *d, const struct scenario *s, struct reference *r)
{
    struct slot *slot = &d->slots[0];
    struct outcome o;

    tree_restore(&d->inputs, slot->work);
    slot_start(slot, s->argv, s, &(struct fault){0}, d->shim);
    slots_wait(slot, 1, &o);
    *r = (struct reference){.before = d->inputs,
                            .after = o.now,
                            .status = WEXITSTATUS(o.status),
                            .out = o.out,
                            .err = o.err};
    reference_read(r, o.report);
    free(o.report);
    if (WIFEXITED(o.status) && r->status <= 1 && r->leaks == 0)
        return true;
    printf("# undisturbed: status %x, %zu leaks: %.200s\n", (unsigned)o.status, r->leaks, o.err);
    return false;
}

/* How long a run takes without the shim: the shortest of three. */
static double measure(struct driver *d, const struct scenario *s)
{
    double least = TIMEOUT;

    for (int i = 0; i < 3; i++) {
        struct outcome o;
        tree_restore(&d->inputs, d->slots[0].work);
        slot_start(&d->slots[0], s->argv, s, &(struct fault){0}, NULL);
        slots_wait(d->slots, 1, &o);
        outcome_free(&o);
        double seconds = now_seconds() - d->slots[0].started;
        least = seconds < least ? seconds : least;
    }
    return least;
}

/* ---- which faults ---- */

static void add_fault(struct driver *d, struct fault fault)
{
    struct fault *faults = realloc(d->faults, (d->fault_count + 1) * sizeof(*faults));

    if (faults == NULL)
        give_up("faults");
    d->faults = faults;
    faults[d->fault_count++] = fault;
}

static int by_number(const void *a, const void *b)
{
    unsigned long x = *(const unsigned long *)a, y = *(const unsigned long *)b;

    return x < y ? -1 : x > y;
}

/* Was an allocation made from this stack in an earlier case? */
static bool is_known(const struct driver *d, unsigned long site)
{
    return d->site_count > 0 &&
           bsearch(&site, d->sites, d->site_count, sizeof(site), by_number) != NULL;
}

static void learn_sites(struct driver *d, const struct reference *r)
{
    unsigned long *sites = realloc(d->sites, (d->site_count + r->allocations) * sizeof(*sites));

    if (sites == NULL)
        give_up("sites");
    memcpy(sites + d->site_count, r->sites, r->allocations * sizeof(*sites));
    d->sites = sites;
    d->site_count += r->allocations;
    qsort(sites, d->site_count, sizeof(*sites), by_number);
}

/* All; or the first and the last of those that are made from the same stack, unless an earlier case
 * had them. */
static void choose_allocations(struct driver *d, const struct reference *r)
{
    for (unsigned long i = 0; i < r->allocations; i++) {
        bool before = false, after = false;
        for (unsigned long j = 0; j < i && !before; j++)
            before = r->sites[j] == r->sites[i];
        for (unsigned long j = i + 1; j < r->allocations && before && !after; j++)
            after = r->sites[j] == r->sites[i];
        if (d->all || ((!before || !after) && !is_known(d, r->sites[i])))
            add_fault(d, (struct fault){.what = "memory", .at = i + 1});
    }
    learn_sites(d, r);
}

/* Which errors a kind of call may give. */
static const char *errors_of(const char *kind)
{
    static const struct {
        const char *kind, *errors;
    } table[] = {
        {"open", "EIO EINTR"},
        {"read", "EIO EINTR short"},
        {"stat", "EIO"},
        {"create", "EIO ENOSPC EINTR"},
        {"write", "EIO ENOSPC EINTR short"},
        {"fsync", "EIO ENOSPC EINTR"},
        {"close", "EIO EINTR"},
        {"close-input", "EIO EINTR"},
        {"ftruncate", "EIO EINTR"},
        {"flock", "EIO EINTR"},
        {"rename", "EIO ENOSPC"},
        {"link", "EIO ENOSPC"},
        {"unlink", "EIO"},
        {"mkdir", "EIO ENOSPC"},
        {"rmdir", "EIO"},
    };

    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        if (strcmp(table[i].kind, kind) == 0)
            return table[i].errors;
    return "";
}

/* An input, read by somebody who does not write it. */
static bool is_input_read(const struct reference *r, const struct call *call)
{
    return strcmp(call->kind, "read") == 0 && tree_find(&r->before, call->name) != NULL;
}

static void choose_calls(struct driver *d, const struct reference *r)
{
    static const char *const all[] = {"EIO", "ENOSPC", "EINTR", "short"};

    for (size_t i = 0; i < r->call_count; i++)
        for (size_t j = 0; j < sizeof(all) / sizeof(*all); j++)
            if (strstr(errors_of(r->calls[i].kind), all[j]) != NULL)
                add_fault(d, (struct fault){.what = "call", .how = all[j], .at = i + 1});
    for (size_t i = 0; i < r->call_count; i++)
        if (is_input_read(r, &r->calls[i]))
            add_fault(d, (struct fault){.what = "call", .how = "shrink", .at = i + 1});
}

/* Between two calls that only look, nothing changes; they are left out unless all are wanted. */
static bool is_look(const struct call *call)
{
    static const char *const looks[] = {"open", "read", "stat", "close-input"};

    for (size_t i = 0; i < sizeof(looks) / sizeof(*looks); i++)
        if (strcmp(call->kind, looks[i]) == 0)
            return true;
    return false;
}

static void choose_kills(struct driver *d, const struct reference *r)
{
    for (size_t i = 0; i < r->call_count; i++) {
        if (!d->all && is_look(&r->calls[i]))
            continue;
        add_fault(d, (struct fault){.what = "call", .how = "kill", .at = i + 1});
        add_fault(d, (struct fault){.what = "call", .how = "kill-after", .at = i + 1});
    }
}

/* Moments spread evenly over the run and a little beyond its end. */
static void choose_moments(struct driver *d, size_t count, double seconds)
{
    for (size_t i = 0; i < count; i++) {
        d->seed = d->seed * 6364136223846793005u + 1442695040888963407u;
        add_fault(
            d, (struct fault){.kill_at = 1e-6 + 1.05 * seconds * (double)(d->seed >> 11) / 0x1p53});
    }
}

static void choose_faults(struct driver *d, const struct scenario *s, const struct reference *r)
{
    if (d->mode == MEMORY)
        choose_allocations(d, r);
    else if (d->mode == CALLS)
        choose_calls(d, r);
    else if (d->mode == CRASH)
        choose_kills(d, r);
    else
        choose_moments(d, s->is_long ? 4 * d->random_kills : d->random_kills, measure(d, s));
}

/* ---- a case ---- */

static void start_fault(struct driver *d, const struct scenario *s, struct slot *slot,
                        const struct fault *fault)
{
    tree_restore(&d->inputs, slot->work);
    slot->again = false;
    slot_start(slot, s->argv, s, fault, d->mode == RANDOM ? NULL : d->shim);
    d->runs++;
}

/* The run that a user makes after a crash: the same, or the way to go on. */
static void start_again(struct driver *d, const struct scenario *s, struct slot *slot,
                        const struct tree *now)
{
    static char force[] = "--force", go_on[] = "--resume";
    bool exists = tree_find(now, s->target) != NULL;
    char *argv[ARGUMENTS + 1], path[4096];
    size_t count = 0;

    for (; s->argv[count] != NULL; count++)
        argv[count] = s->argv[count];
    if (exists && !s->folder)
        argv[count++] = s->resume ? go_on : force;
    argv[count] = NULL;
    if (exists && s->folder) { /* what is there is whole, and is never replaced */
        for (size_t i = now->count; i-- > 0;) {
            const char *name = now->entries[i].path;
            snprintf(path, sizeof(path), "%s/%s", slot->work, name);
            if (strncmp(name, s->target, strlen(s->target)) == 0 && remove(path) < 0)
                give_up(path);
        }
    }
    slot->again = true;
    slot_start(slot, argv, s, &(struct fault){0}, NULL);
    d->runs++;
}

static const char *judge(const struct driver *d, const struct scenario *s,
                         const struct reference *r, const struct slot *slot,
                         const struct outcome *o)
{
    if (slot->again)
        return judge_again(r, o);
    if (d->mode == MEMORY)
        return judge_memory(s, r, o);
    return d->mode == CALLS ? judge_call(s, r, &slot->fault, o)
                            : judge_killed(s, r, &slot->fault, o);
}

static void tell(const struct reference *r, const struct fault *f, const char *complaint)
{
    if (f->kill_at > 0)
        printf("# killed after %.6f s: ", f->kill_at);
    else if (f->how == NULL)
        printf("# allocation %lu: ", f->at);
    else
        printf("# %s in call %lu (%s %s): ", f->how, f->at, r->calls[f->at - 1].kind,
               r->calls[f->at - 1].name);
    for (; *complaint != '\0'; complaint++)
        putchar(*complaint == '\n' ? ' ' : *complaint);
    putchar('\n');
}

enum { TOLD = 10 }; /* complaints of a case that are printed */

/* Every fault of a case; returns how many went wrong. */
static size_t run_faults(struct driver *d, const struct scenario *s, const struct reference *r)
{
    struct fault faults[SLOTS]; /* of the slots: a later run has none of its own */
    size_t next = 0, active = 0, bad = 0;

    while (next < d->fault_count || active > 0) {
        for (size_t i = 0; i < SLOTS && next < d->fault_count; i++) {
            if (d->slots[i].pid != 0)
                continue;
            faults[i] = d->faults[next++];
            start_fault(d, s, &d->slots[i], &faults[i]);
            active++;
        }
        struct outcome o;
        struct slot *slot = slots_wait(d->slots, SLOTS, &o);
        const char *wrong = judge(d, s, r, slot, &o);
        if (wrong != NULL && ++bad <= TOLD)
            tell(r, &faults[slot - d->slots], wrong);
        if (wrong == NULL && d->mode >= CRASH && !slot->again)
            start_again(d, s, slot, &o.now);
        else
            active--;
        outcome_free(&o);
    }
    return bad;
}

static void run_case(struct driver *d, const struct scenario *s)
{
    struct reference r;
    double begun = now_seconds();
    size_t bad = take_reference(d, s, &r) ? 0 : 1;

    d->fault_count = 0;
    if (bad == 0) {
        choose_faults(d, s, &r);
        bad = run_faults(d, s, &r);
    }
    d->cases++;
    d->bad_cases += bad > 0;
    printf("%s %zu - %s: %s: %zu faults, %zu went wrong # %.1f s\n", bad > 0 ? "not ok" : "ok",
           d->cases, mode_names[d->mode], s->name, d->fault_count, bad, now_seconds() - begun);
    fflush(stdout);
    reference_free(&r);
}

/* Cases that write nothing have nothing to be killed over. */
static bool is_wanted(const struct driver *d, const struct scenario *s)
{
    const char *only = getenv("TF_FAULTS_ONLY");

    if (only != NULL && strcmp(only, s->name) != 0)
        return false;
    if (s->is_long)
        return d->mode == RANDOM;
    return d->mode == MEMORY ? !s->links : d->mode == CALLS || s->target != NULL;
}

static void run_cases(struct driver *d, const char *file)
{
    char *text = read_whole(file, NULL), *rest = text;

    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        struct scenario s;
        if (!parse_case(&s, line))
            continue;
        if (is_wanted(d, &s))
            run_case(d, &s);
        free(s.line);
    }
    free(text);
}

static enum mode mode_of(const char *name)
{
    for (int i = MEMORY; i <= RANDOM; i++)
        if (strcmp(mode_names[i], name) == 0)
            return (enum mode)i;
    errno = EINVAL;
    give_up(name);
}

int main(int argc, char **argv)
{
    const char *seed = getenv("TF_FAULTS_SEED"), *kills = getenv("TF_FAULTS_KILLS");
    sigset_t child;

    if (argc != 6) {
        fputs("usage: inject memory|calls|crash|random SHIM.so INPUTS CASES SCRATCH\n", stderr);
        return 2;
    }
    struct driver d = {.mode = mode_of(argv[1]),
                       .shim = argv[2],
                       .all = getenv("TF_FAULTS_ALL") != NULL,
                       .seed = seed != NULL ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL),
                       .random_kills = kills != NULL ? strtoul(kills, NULL, 10) : 25};
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    tree_load(&d.inputs, argv[3]);
    for (size_t i = 0; i < SLOTS; i++)
        slot_init(&d.slots[i], argv[5], i);
    printf("# seed %llu\n", (unsigned long long)d.seed);
    run_cases(&d, argv[4]);
    printf("1..%zu\n# %zu runs\n", d.cases, d.runs);
    tree_free(&d.inputs);
    free(d.faults);
    free(d.sites);
    return d.bad_cases > 0;
}
