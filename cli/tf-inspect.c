/* tf-inspect: what is in a checkpoint, and surgery on it. */
#include "base/mem.h"
#include "cli/inspect.h"
#include <string.h>

static struct {
    bool long_form, diffable, npy, keep, drop, append;
    struct tf_opt_list usage;
    const char *keep_top, *by;
    uint64_t level;
} given;

static const struct tf_opt options[] = {
    {"long", 'l', TF_OPT_FLAG, &given.long_form, NULL,
     "tables: role, filter, row group and chunks as well", NULL, 0, 0},
    {"diffable", 0, TF_OPT_FLAG, &given.diffable, NULL,
     "tables: one line each with its digest, for diff(1)", NULL, 0, 0},
    {"npy", 0, TF_OPT_FLAG, &given.npy, NULL, "dump: write a NumPy file", NULL, 0, 0},
    {"usage", 0, TF_OPT_LIST, &given.usage, "TEXT",
     "stats: what each parameter token contributes over a text; again for more", NULL, 0, 0},
    {"keep", 0, TF_OPT_FLAG, &given.keep, NULL, "slice: keep the selected tokens (the default)",
     NULL, 0, 0},
    {"drop", 0, TF_OPT_FLAG, &given.drop, NULL, "slice: drop the selected tokens", NULL, 0, 0},
    {"keep-top", 0, TF_OPT_TEXT, &given.keep_top, "N|P%",
     "slice: keep the N tokens, or P percent of them, that are used most", NULL, 0, 0},
    {"by", 0, TF_OPT_TEXT, &given.by, "FILE", "slice --keep-top: what stats --usage --json wrote",
     NULL, 0, 0},
    {"append", 0, TF_OPT_FLAG, &given.append, NULL,
     "transplant: put the tokens behind the last, not in place of others", NULL, 0, 0},
    {"level", 0, TF_OPT_UINT, &given.level, "N", "repack, pack: compression level, 1 to 9 (1)",
     NULL, 1, 9},
    {0},
};

static const struct tf_program program = {
    .name = "tf-inspect",
    .synopsis = "[show] MODEL.tfck\n"
                "tables [--long | --diffable] MODEL.tfck\n"
                "config | lineage | verify | digest MODEL.tfck\n"
                "stats MODEL.tfck [TABLE | PATTERN]...\n"
                "stats --usage TEXT MODEL.tfck [PATTENTION | PATTERN]...\n"
                "dump MODEL.tfck TABLE[FIRST:END] [--npy]\n"
                "diff A.tfck B.tfck\n"
                "set IN.tfck -o OUT.tfck KEY=VALUE...\n"
                "drop IN.tfck -o OUT.tfck optim | TABLE...\n"
                "slice IN.tfck -o OUT.tfck [--keep | --drop] PATTENTION[FIRST:END]...\n"
                "slice IN.tfck -o OUT.tfck --keep-top N|P% --by USAGE.json [PATTENTION]...\n"
                "replace IN.tfck -o OUT.tfck TABLE[FIRST:END] ROWS.npy\n"
                "append IN.tfck -o OUT.tfck PATTENTION KEYS.npy VALUES.npy\n"
                "transplant IN.tfck -o OUT.tfck [--append] FROM.tfck NAME[FIRST:END]...\n"
                "cast IN.tfck -o OUT.tfck f32 | bf16 | f16 [TABLE | PATTERN]...\n"
                "repack IN.tfck -o OUT.tfck [--level N]\n"
                "unpack IN.tfck -o FOLDER\n"
                "pack FOLDER -o OUT.tfck [--level N]\n"
                "recover DAMAGED.tfck -o OUT.tfck",
    .summary = "Shows what is in a checkpoint, and operates on it.",
    .takes = TF_TAKES_OUTPUT | TF_TAKES_JSON | TF_TAKES_MEMORY | TF_TAKES_DRY_RUN,
    .options = options,
    .epilogue = "Verbs that show:\n"
                "  show        model, tokenizer, training and lineage in short (the default)\n"
                "  tables      each table's shape and size\n"
                "  config      the config that the model was made with, as YAML\n"
                "  lineage     each stretch of training, each growth and each edit\n"
                "  stats       mean, rms, range and row norms of each table\n"
                "  dump        the numbers of a table, or of its rows FIRST to END-1\n"
                "  verify      checks every byte\n"
                "  digest      one line a table, the model's last\n"
                "  diff        compares two checkpoints: status 0 when they are the same, else 1\n"
                "Verbs that edit (the input stays as it is; -o names the result):\n"
                "  set         a key of the config, or the scale of a Pattention\n"
                "  drop        leaves out the optimizer's state, or tables\n"
                "  slice       keeps some parameter tokens, or drops them\n"
                "  replace     rows of a table by those of a NumPy file\n"
                "  append      new parameter tokens from NumPy files\n"
                "  transplant  rows from another checkpoint\n"
                "  cast        stores tables in another type\n"
                "  repack      compresses every table anew\n"
                "  unpack      a folder of NumPy files\n"
                "  pack        a checkpoint of such a folder\n"
                "  recover     saves what verifies of a damaged checkpoint\n",
};

enum {
    LONG = 1,
    DIFFABLE = 2,
    NPY = 4,
    JSON = 8,
    USAGE = 16,
    CHOICE = 32, /* --keep, --drop, --keep-top, --by */
    APPEND = 64,
    LEVEL = 128,
    EDITS = 256 /* writes to -o by itself; takes --dry-run */
};

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
    {"stats", 1, 1 << 16, JSON | USAGE, tf_inspect_stats},
    {"dump", 2, 2, NPY, tf_inspect_dump},
    {"verify", 1, 1, JSON, tf_inspect_verify},
    {"digest", 1, 1, JSON, tf_inspect_digest},
    {"diff", 2, 2, JSON, tf_inspect_diff},
    {"set", 2, 1 << 16, EDITS, tf_inspect_set},
    {"drop", 2, 1 << 16, EDITS, tf_inspect_drop},
    {"slice", 1, 1 << 16, EDITS | CHOICE, tf_inspect_slice},
    {"replace", 3, 3, EDITS, tf_inspect_replace},
    {"append", 4, 4, EDITS, tf_inspect_append},
    {"transplant", 3, 1 << 16, EDITS | APPEND, tf_inspect_transplant},
    {"cast", 2, 1 << 16, EDITS, tf_inspect_cast},
    {"repack", 1, 1, EDITS | LEVEL, tf_inspect_repack},
    {"unpack", 1, 1, EDITS, tf_inspect_unpack},
    {"pack", 1, 1, EDITS | LEVEL, tf_inspect_pack},
    {"recover", 1, 1, EDITS, tf_inspect_recover},
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

static enum tf_code check_flags(const struct tf_inspect *inspect, const struct verb *verb,
                                struct tf_err *err)
{
    const struct {
        const char *name;
        bool given;
        unsigned bit;
    } flags[] = {{"--long", inspect->long_form, LONG},
                 {"--diffable", inspect->diffable, DIFFABLE},
                 {"--npy", inspect->npy, NPY},
                 {"--json", inspect->common->json, JSON},
                 {"--usage", inspect->usage.count > 0, USAGE},
                 {"--keep", inspect->keep, CHOICE},
                 {"--drop", inspect->drop, CHOICE},
                 {"--keep-top", inspect->keep_top != NULL, CHOICE},
                 {"--by", inspect->by != NULL, CHOICE},
                 {"--append", inspect->append, APPEND},
                 {"--level", inspect->level > 0, LEVEL},
                 {"--dry-run", inspect->common->dry_run, EDITS}};

    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (flags[i].given && !(verb->takes & flags[i].bit))
            return tf_fail(err, TF_USAGE, "%s takes no %s", verb->name, flags[i].name);
    if (inspect->long_form + inspect->diffable + inspect->common->json > 1)
        return tf_fail(err, TF_USAGE, "%s: --long, --diffable and --json exclude each other",
                       verb->name);
    if (inspect->keep + inspect->drop + (inspect->keep_top != NULL) > 1)
        return tf_fail(err, TF_USAGE, "%s: --keep, --drop and --keep-top exclude each other",
                       verb->name);
    if ((inspect->keep_top == NULL) != (inspect->by == NULL))
        return tf_fail(err, TF_USAGE, "%s: --keep-top and --by go together", verb->name);
    return TF_OK;
}

static enum tf_code check_call(const struct tf_inspect *inspect, const struct verb *verb,
                               struct tf_err *err)
{
    const char *output = inspect->common->output;

    if (inspect->operand_count < verb->least)
        return tf_fail(err, TF_USAGE, "%s: %s", verb->name,
                       inspect->operand_count == 0 ? "no checkpoint given"
                                                   : "an operand is missing");
    if (inspect->operand_count > verb->most)
        return tf_fail(err, TF_USAGE, "%s: one operand too many: '%s'", verb->name,
                       inspect->operands[verb->most]);
    if ((verb->takes & EDITS) && (output == NULL || strcmp(output, "-") == 0))
        return tf_fail(err, TF_USAGE, "%s: -o with the name of the result is needed", verb->name);
    return check_flags(inspect, verb, err);
}

/* A difference found is an answer like any other: its output is kept. */
static enum tf_code show(struct tf_inspect *inspect, const struct verb *verb, struct tf_err *err)
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

/* Standard output is for what a dry run says. */
static enum tf_code edit(struct tf_inspect *inspect, const struct verb *verb, struct tf_err *err)
{
    enum tf_code code = tf_result_open(&inspect->result, &(struct tf_common){0}, err);

    if (code)
        return code;
    inspect->file = inspect->result.file;
    code = verb->run(inspect, err);
    if (code && code != TF_NO)
        return code;
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
        .program = &program,
        .common = &common,
        .operands = argv + rest,
        .operand_count = argc - rest,
        .long_form = given.long_form,
        .diffable = given.diffable,
        .npy = given.npy,
        .usage = given.usage,
        .keep = given.keep,
        .drop = given.drop,
        .keep_top = given.keep_top,
        .by = given.by,
        .append = given.append,
        .level = given.level,
    };
    const struct verb *verb = find_verb(&inspect);
    enum tf_code code = check_call(&inspect, verb, &err);
    if (!code)
        code = verb->takes & EDITS ? edit(&inspect, verb, &err) : show(&inspect, verb, &err);
    int status = code == TF_NO ? TF_NO : code ? tf_ui_error(&program, &common, &err) : 0;
    tf_free(given.usage.items);
    tf_opt_fini(&common);
    return status;
}
