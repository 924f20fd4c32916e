/* Command lines: one table of options a program, from which parsing and --help come. GNU style
 * through getopt_long. */
#ifndef TF_CLI_OPT_H
#define TF_CLI_OPT_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tf_opt_kind {
    TF_OPT_FLAG,  /* bool *                      */
    TF_OPT_COUNT, /* uint64_t *: how often it was given */
    TF_OPT_TEXT,  /* const char ** (borrows argv) */
    TF_OPT_UINT,  /* uint64_t *                  */
    TF_OPT_REAL,  /* double *                    */
    TF_OPT_SIZE,  /* uint64_t *: bytes, with K, M, G (powers of 1024) */
    TF_OPT_TIME,  /* double *: seconds, with s, m, h */
    TF_OPT_SEED,  /* struct tf_opt_seed *        */
    TF_OPT_LIST,  /* struct tf_opt_list *: may be given again */
    TF_OPT_CHOICE /* int *: position in `choices` ("a|b|c") */
};

/* Every number is a seed, so none can stand for "not given". */
struct tf_opt_seed {
    uint64_t value; /* the first member: it is parsed as a TF_OPT_UINT */
    bool given;
};

struct tf_opt_list {
    const char **items; /* owned; the strings are argv's */
    size_t count;
};

struct tf_opt {
    const char *name; /* long name, without dashes */
    char letter;      /* 0: none */
    enum tf_opt_kind kind;
    void *value;
    const char *argument; /* what stands for it in --help: FILE, N, K=V */
    const char *help;     /* one line */
    const char *choices;  /* TF_OPT_CHOICE */
    double min, max;      /* numbers; both 0: any */
};

/* What every program has. */
struct tf_common {
    bool quiet, force, json, dry_run;
    uint64_t verbose; /* how often -v was given */
    const char *output;
    uint64_t threads;    /* 0: all processors that we may run on */
    uint64_t max_memory; /* 0: physical memory */
    int color, progress; /* enum tf_when */
    struct tf_opt_list sets;
};
enum tf_when { TF_AUTO, TF_ALWAYS, TF_NEVER };

/* Which of the common options a program takes, beside -h, -V, -q, -v, --color and --threads, which
 * all do. */
enum {
    TF_TAKES_OUTPUT = 1,       /* -o, -f        */
    TF_TAKES_JSON = 2,         /* --json        */
    TF_TAKES_DRY_RUN = 4,      /* --dry-run, with -n */
    TF_TAKES_DRY_RUN_LONG = 8, /* --dry-run alone, where -n is taken */
    TF_TAKES_PROGRESS = 16,
    TF_TAKES_SET = 32,
    TF_TAKES_MEMORY = 64 /* --max-memory  */
};

struct tf_program {
    const char *name;     /* tf-grow */
    const char *synopsis; /* lines of usage without the name, '\n' between them */
    const char *summary;  /* one sentence */
    unsigned takes;
    const struct tf_opt *options; /* its own, ended by a NULL name */
    const char *epilogue;         /* more for --help, or NULL */
};

/* Parses; fills in common; *rest is the index of the first operand in argv (operands may stand
 * between options; argv is permuted). --help and
 * --version print to stdout and exit 0 there; a wrong call prints one line and "try --help" on
 * stderr and exits 64. These are the only exits outside main. Also sets up the rest of the program:
 * threads, kernels (environment TF_CPU), colours, locale C. */
void tf_opt_parse(const struct tf_program *program, struct tf_common *common, int argc, char **argv,
                  int *rest);
void tf_opt_fini(struct tf_common *common);

#endif
