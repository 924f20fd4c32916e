/* tf-inspect: what is in a checkpoint. */
#include "cli/inspect.h"
#include <string.h>

static struct {
    bool long_form, diffable, npy;
} given;

static const struct tf_opt options[] = {
    {"long", 'l', TF_OPT_FLAG, &given.long_form, NULL,
     "tables: role, filter, row group and chunks as well", NULL, 0, 0},
    {"diffable", 0, TF_OPT_FLAG, &given.diffable, NULL,
     "tables: one line each with its digest, for diff(1)", NULL, 0, 0},
    {"npy", 0, TF_OPT_FLAG, &given.npy, NULL, "dump: write a NumPy file", NULL, 0, 0},
    {0},
};

static const struct tf_program program = {
    .name = "tf-inspect",
    .synopsis = "[show] MODEL.tfck\n"
                "tables [--long | --diffable] MODEL.tfck\n"
                "config | lineage | verify | digest MODEL.tfck\n"
                "stats MODEL.tfck [TABLE | PATTERN]...\n"
                "dump MODEL.tfck TABLE[FIRST:END] [--npy]\n"
                "diff A.tfck B.tfck",
    .summary = "Shows what is in a checkpoint.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_MEMORY,
    .options = options,
    .epilogue = "Verbs:\n"
                "  show       model, tokenizer, training and lineage in short (the default)\n"
                "  tables     each table's shape and size\n"
                "  config     the config that the model was made with, as YAML\n"
                "  lineage    each stretch of training and each growth\n"
                "  stats      mean, rms, range and row norms of each table\n"
                "  dump       the numbers of a table, or of its rows FIRST to END-1\n"
                "  verify     checks every byte\n"
                "  digest     one line a table, the model's last\n"
                "  diff       compares two checkpoints: status 0 when they are the same, else 1\n",
};

enum { LONG = 1, DIFFABLE = 2, NPY = 4, JSON = 8 };

static const struct verb {
    const char *name;
    int least, most; /* operands */
    unsigned takes;
    enum tf_code (*run)(struct tf_inspect *inspect, struct tf_err *err);
} verbs[] = {
    {"show", 1, 1, JSON, tf_inspect_show},
    {"tables", 1, 1, LONG | DIFFABLE | JSON, tf_inspect_tables},
    {"config", 1, 1, 0, tf_inspect_config},
    {"lineage", 1, 1, JSON, tf_inspect_lineage},
    {"stats", 1, 1 << 16, JSON, tf_inspect_stats},
    {"dump", 2, 2, NPY, tf_inspect_dump},
    {"verify", 1, 1, JSON, tf_inspect_verify},
    {"digest", 1, 1, JSON, tf_inspect_digest},
    {"diff", 2, 2, JSON, tf_inspect_diff},
};

/* The verb that the first operand names, which is then passed over; else the first of them. */
static const struct verb *find_verb(struct tf_inspect *inspect)
{
    for (size_t i = 0; inspect->operand_count > 0 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(inspect->operands[0], verbs[i].name) == 0) {
            inspect->operands++;
            inspect->operand_count--;
            return &verbs[i];
        }
    }
    return &verbs[0];
}

static enum tf_code check_call(const struct tf_inspect *inspect, const struct verb *verb,
                               struct tf_err *err)
{
    const struct {
        const char *name;
        bool given;
        unsigned bit;
    } flags[] = {{"--long", inspect->long_form, LONG},
                 {"--diffable", inspect->diffable, DIFFABLE},
                 {"--npy", inspect->npy, NPY},
                 {"--json", inspect->common->json, JSON}};

    if (inspect->operand_count < verb->least)
        return tf_fail(err, TF_USAGE, "%s: %s", verb->name,
                       inspect->operand_count == 0 ? "no checkpoint given"
                                                   : "an operand is missing");
    if (inspect->operand_count > verb->most)
        return tf_fail(err, TF_USAGE, "%s: one operand too many: '%s'", verb->name,
                       inspect->operands[verb->most]);
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given && !(verb->takes & flags[i].bit))
            return tf_fail(err, TF_USAGE, "%s takes no %s", verb->name, flags[i].name);
    if (inspect->long_form + inspect->diffable + inspect->common->json > 1)
        return tf_fail(err, TF_USAGE, "%s: --long, --diffable and --json exclude each other",
                       verb->name);
    return TF_OK;
}

/* A difference found is an answer like any other: its output is kept. */
static enum tf_code run(struct tf_inspect *inspect, const struct verb *verb, struct tf_err *err)
{
    enum tf_code code = tf_result_open(&inspect->result, inspect->common, err);

    if (code)
        return code;
    inspect->file = inspect->result.file;
    code = verb->run(inspect, err);
    if (code && code != TF_NO) {
        tf_out_close(&inspect->result.out);
        return code;
    }
    enum tf_code closed = tf_result_close(&inspect->result, err);
    return closed ? closed : code;
}

int main(int argc, char **argv)
{
    struct tf_common common = {0};
    struct tf_err err = {0};
    int rest;

    tf_opt_parse(&program, &common, argc, argv, &rest);
    struct tf_inspect inspect = {
        .common = &common,
        .operands = argv + rest,
        .operand_count = argc - rest,
        .long_form = given.long_form,
        .diffable = given.diffable,
        .npy = given.npy,
    };
    const struct verb *verb = find_verb(&inspect);
    enum tf_code code = check_call(&inspect, verb, &err);
    if (!code)
        code = run(&inspect, verb, &err);
    int status = code == TF_NO ? TF_NO : code ? tf_ui_error(&program, &common, &err) : 0;
    tf_opt_fini(&common);
    return status;
}
