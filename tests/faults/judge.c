#include "inject.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char complaint[1024];

#define COMPLAIN(...) (snprintf(complaint, sizeof(complaint), __VA_ARGS__), complaint)

/* ---- folders ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A name that outputs have while they are made, or a lock; or a file in such a folder. */
static bool is_temporary(const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t first = strcspn(path, "/");
    const char *name = slash == NULL ? path : slash + 1;

    return (name[0] == '.' && (ends_with(name, ".part") || ends_with(name, ".lock"))) ||
           (path[0] == '.' && first >= 5 && strncmp(path + first - 5, ".part", 5) == 0);
}

static bool same_file(const struct tree *tree, const struct entry *entry)
{
    const struct entry *found = tree_find(tree, entry->path);

    return found != NULL && entry_equal(found, entry);
}

static const char *differ(const struct tree *wanted, const struct tree *now, const char *when)
{
    for (size_t i = 0; i < now->count; i++)
        if (!same_file(wanted, &now->entries[i]))
            return COMPLAIN("%s is not as %s the run", now->entries[i].path, when);
    for (size_t i = 0; i < wanted->count; i++)
        if (tree_find(now, wanted->entries[i].path) == NULL)
            return COMPLAIN("%s is missing", wanted->entries[i].path);
    return NULL;
}

/* Is a file one that the undisturbed run had there, at its beginning, at its end or, when it rolls,
 * in between? */
static bool is_version(const struct scenario *s, const struct reference *r,
                       const struct entry *entry)
{
    if (same_file(&r->before, entry) || same_file(&r->after, entry))
        return true;
    if (s->is_long &&
        ends_with(entry->path, ".tfck")) /* that it is whole shows when it is gone on with */
        return tree_find(&r->before, entry->path) == NULL;
    for (size_t i = 0; s->rolling && i < r->after.count; i++)
        if (ends_with(entry->path, ".tfck") && entry_equal(&r->after.entries[i], entry))
            return true;
    return false;
}

/* Every file old or new, and whole; what was there before and stays is still there. */
static const char *broken(const struct scenario *s, const struct reference *r,
                          const struct tree *now, bool temporaries)
{
    for (size_t i = 0; i < now->count; i++) {
        const struct entry *entry = &now->entries[i];
        if (is_temporary(entry->path) ? !temporaries : !is_version(s, r, entry))
            return COMPLAIN("%s is left%s", entry->path,
                            is_temporary(entry->path) ? "" : ", neither old nor new");
    }
    for (size_t i = 0; i < r->before.count; i++) {
        const char *path = r->before.entries[i].path;
        if (tree_find(&r->after, path) != NULL && tree_find(now, path) == NULL)
            return COMPLAIN("%s is gone", path);
    }
    return NULL;
}

/* The target is there, whatever is in it, and nothing else has changed. */
static const char *only_target(const struct scenario *s, const struct reference *r,
                               const struct tree *now)
{
    for (size_t i = 0; i < now->count; i++)
        if (strcmp(now->entries[i].path, s->target) != 0 &&
            !same_file(&r->before, &now->entries[i]))
            return COMPLAIN("%s is left", now->entries[i].path);
    return tree_find(now, s->target) != NULL ? NULL : COMPLAIN("%s is missing", s->target);
}

/* ---- what a run says ---- */

static const char *ended_badly(const struct outcome *o)
{
    if (o->timed_out)
        return COMPLAIN("hangs");
    if (WIFSIGNALED(o->status))
        return COMPLAIN("dies by signal %d: %s", WTERMSIG(o->status), o->err);
    return NULL;
}

/* A program that fails says why in one line, and has printed at most a beginning of its results. */
static const char *said_badly(const struct reference *r, const struct outcome *o)
{
    size_t lines = 0;

    for (const char *c = o->err; *c != '\0'; c++)
        lines += *c == '\n';
    if (lines != 1 || !ends_with(o->err, "\n") || strstr(o->err, ": error: ") == NULL)
        return COMPLAIN("status %d, and says: \"%s\"", WEXITSTATUS(o->status), o->err);
    if (strncmp(r->out, o->out, strlen(o->out)) != 0)
        return COMPLAIN("prints other results");
    return NULL;
}

static const char *leaked(const struct outcome *o)
{
    const char *line = strstr(o->report, "leaks ");

    if (line == NULL)
        return COMPLAIN("no report");
    return strcmp(line, "leaks 0\n") == 0 ? NULL : COMPLAIN("%s", o->report);
}

/* A run that says that nothing went wrong must have done everything. */
static const char *undone(const struct reference *r, const struct outcome *o)
{
    if (WEXITSTATUS(o->status) != r->status)
        return COMPLAIN("status %d: %s", WEXITSTATUS(o->status), o->err);
    if (strcmp(r->out, o->out) != 0 || strcmp(r->err, o->err) != 0)
        return COMPLAIN("says other things: \"%s\"", o->err);
    return differ(&r->after, &o->now, "after");
}

/* ---- memory ---- */

const char *judge_memory(const struct scenario *s, const struct reference *r,
                         const struct outcome *o)
{
    const char *wrong = ended_badly(o);

    if (wrong == NULL)
        wrong = leaked(o);
    if (wrong != NULL || WEXITSTATUS(o->status) == r->status)
        return wrong != NULL ? wrong : undone(r, o);
    if (WEXITSTATUS(o->status) != 71)
        return COMPLAIN("status %d: %s", WEXITSTATUS(o->status), o->err);
    if (strstr(o->err, "memory") == NULL)
        return COMPLAIN("says: %s", o->err);
    wrong = said_badly(r, o);
    if (wrong != NULL)
        return wrong;
    return s->rolling ? broken(s, r, &o->now, false) : differ(&r->before, &o->now, "before");
}

/* ---- system calls ---- */

bool is_survived(const char *how)
{
    return strcmp(how, "EINTR") == 0 || strcmp(how, "short") == 0;
}

static bool one_of(const char *kind, const char *const kinds[])
{
    for (size_t i = 0; kinds[i] != NULL; i++)
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    return false;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* May a run come to the right end without this call? What was read, or a lock, need not close well,
 * there is another way to link, and a look at a name may be no more than a precaution. */
static bool is_dispensable(const struct call *call)
{
    static const char *const kinds[] = {"close-input", "link", "stat", NULL};

    return one_of(call->kind, kinds) ||
           (strcmp(call->kind, "close") == 0 && ends_with(call->name, ".lock"));
}

/* Is one of the outputs named? */
static bool names_output(const struct reference *r, const char *text)
{
    for (size_t i = 0; i < r->after.count; i++) {
        const struct entry *entry = &r->after.entries[i];
        if (!same_file(&r->before, entry) && strstr(text, entry->path) != NULL)
            return true;
    }
    return false;
}

/* The line must name the file or what it becomes, and the error. */
static const char *unclear(const struct reference *r, const struct call *call, int error,
                           const struct outcome *o)
{
    const char *name = base_name(call->name);
    char hidden[256];

    snprintf(hidden, sizeof(hidden), "%.200s", name[0] == '.' && name[1] != '\0' ? name + 1 : name);
    hidden[strlen(hidden) - (is_temporary(name) ? 5 : 0)] = '\0'; /* .NAME.part: NAME */
    if (strcmp(call->name, ".") == 0 ? !names_output(r, o->err) : strstr(o->err, hidden) == NULL)
        return COMPLAIN("does not name %s: %s", hidden, o->err);
    return strstr(o->err, strerror(error)) != NULL ? NULL
                                                   : COMPLAIN("does not say why: %s", o->err);
}

/* Where the outputs stand after a call that failed: before the first rename nothing has changed. */
static const char *misplaced(const struct scenario *s, const struct reference *r, size_t at,
                             const struct tree *now, bool temporaries)
{
    const char *wrong = broken(s, r, now, temporaries);

    if (wrong != NULL || s->rolling)
        return wrong;
    for (size_t i = 0; i < now->count; i++) {
        const struct entry *entry = &now->entries[i];
        const struct tree *wanted = at <= r->first || r->first == 0 ? &r->before : &r->after;
        if (!is_temporary(entry->path) && (at <= r->first || at > r->last) &&
            !same_file(wanted, entry))
            return COMPLAIN("%s is not as %s the run", entry->path,
                            wanted == &r->before ? "before" : "after");
    }
    return NULL;
}

/* An input became shorter while it was read: it is refused as it is now, or all of it had been
 * read. */
static const char *judge_shrunk(const struct scenario *s, const struct reference *r,
                                const struct call *call, const struct outcome *o)
{
    int status = WEXITSTATUS(o->status);
    const char *wrong = NULL;

    if (status == r->status && strcmp(r->out, o->out) != 0)
        return COMPLAIN("prints other results");
    if (status != r->status && !(s->salvage && status == 1)) {
        if (status != 65)
            return COMPLAIN("status %d: %s", status, o->err);
        wrong = said_badly(r, o);
        if (wrong == NULL && strstr(o->err, call->name) == NULL)
            return COMPLAIN("does not name %s: %s", call->name, o->err);
    }
    const struct tree *wanted = status == r->status ? &r->after : &r->before;
    for (size_t i = 0; i < o->now.count && wrong == NULL && !s->rolling && !s->salvage; i++) {
        const struct entry *entry = &o->now.entries[i];
        if (strcmp(entry->path, call->name) != 0 && !same_file(wanted, entry))
            return COMPLAIN("%s is not as %s the run", entry->path,
                            wanted == &r->after ? "after" : "before");
    }
    return wrong;
}

const char *judge_call(const struct scenario *s, const struct reference *r, const struct fault *f,
                       const struct outcome *o)
{
    static const char *const reads[] = {"open", "read", "stat", NULL};
    static const char *const removals[] = {"unlink", "rmdir", NULL};
    const struct call *call = &r->calls[f->at - 1];
    const int error = strcmp(f->how, "ENOSPC") == 0 ? ENOSPC : EIO;
    const char *wrong = ended_badly(o);

    if (wrong == NULL)
        wrong = leaked(o);
    if (wrong != NULL)
        return wrong;
    if (strcmp(f->how, "shrink") == 0)
        return judge_shrunk(s, r, call, o);
    int status = WEXITSTATUS(o->status);
    bool removal = one_of(call->kind, removals);
    if (is_survived(f->how) || (status == r->status && is_dispensable(call)))
        return undone(r, o);
    if (status == r->status && removal)
        return broken(s, r, &o->now, true);
    if (s->salvage && strcmp(call->kind, "read") == 0 && status == 1)
        return only_target(s, r, &o->now);
    if (status != 73 && status != 74 && !(status == 66 && one_of(call->kind, reads)))
        return COMPLAIN("status %d: %s", status, o->err);
    wrong = said_badly(r, o);
    if (wrong == NULL)
        wrong = unclear(r, call, error, o);
    return wrong != NULL ? wrong : misplaced(s, r, f->at, &o->now, removal);
}

/* ---- kills ---- */

const char *judge_killed(const struct scenario *s, const struct reference *r, const struct fault *f,
                         const struct outcome *o)
{
    bool killed = WIFSIGNALED(o->status) && WTERMSIG(o->status) == SIGKILL;

    if (o->timed_out)
        return COMPLAIN("hangs");
    if (!killed) /* at a moment when the run was over already */
        return f->kill_at > 0 ? undone(r, o) : COMPLAIN("not killed: %s", o->err);
    if (f->at == 0)
        return broken(s, r, &o->now, true);
    bool after = strcmp(f->how, "kill-after") == 0;
    return misplaced(s, r, f->at + after, &o->now, true);
}

const char *judge_again(const struct reference *r, const struct outcome *o)
{
    if (o->timed_out || !WIFEXITED(o->status) || WEXITSTATUS(o->status) != r->status)
        return COMPLAIN("a later run ends with status %x: %s", (unsigned)o->status, o->err);
    return differ(&r->after, &o->now, "after");
}
