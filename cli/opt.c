#include "cli/opt.h"

#include "base/mem.h"
#include "cli/ui.h"
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_OPTIONS = 64,
    LONG = 256,      /* what getopt_long returns for a long option: LONG + its index */
    WIDTH = 79,      /* columns of --help */
    LEFT_WIDTH = 30, /* most columns for the options' names in it */
};

static const char whens[] = "auto|always|never";

#define AT(field) offsetof(struct tf_common, field)

static const struct {
    unsigned takes; /* 0: every program */
    size_t offset;  /* AT the value */
    struct tf_opt opt;
} common_options[] = {
    {TF_TAKES_OUTPUT,
     AT(output),
     {"output", 'o', TF_OPT_TEXT, NULL, "FILE", "write to FILE", NULL, 0, 0}},
    {TF_TAKES_OUTPUT,
     AT(force),
     {"force", 'f', TF_OPT_FLAG, NULL, NULL, "replace an existing output", NULL, 0, 0}},
    {TF_TAKES_DRY_RUN,
     AT(dry_run),
     {"dry-run", 'n', TF_OPT_FLAG, NULL, NULL, "check everything, do nothing", NULL, 0, 0}},
    {TF_TAKES_DRY_RUN_LONG,
     AT(dry_run),
     {"dry-run", 0, TF_OPT_FLAG, NULL, NULL, "check everything, do nothing", NULL, 0, 0}},
    {TF_TAKES_SET,
     AT(sets),
     {"set", 0, TF_OPT_LIST, NULL, "KEY=VALUE", "set a config key; may be repeated", NULL, 0, 0}},
    {TF_TAKES_JSON, AT(json), {"json", 0, TF_OPT_FLAG, NULL, NULL, "print JSON", NULL, 0, 0}},
    {0,
     AT(threads),
     {"threads", 0, TF_OPT_UINT, NULL, "N",
      "compute with N threads (0: all processors); the result is the same", NULL, 0, 1024}},
    {TF_TAKES_MEMORY,
     AT(max_memory),
     {"max-memory", 0, TF_OPT_SIZE, NULL, "SIZE",
      "refuse to use more than SIZE bytes (K, M, G; default: what the machine has)", NULL, 0, 0}},
    {TF_TAKES_PROGRESS,
     AT(progress),
     {"progress", 0, TF_OPT_CHOICE, NULL, "WHEN", "show progress", whens, 0, 0}},
    {0, AT(color), {"color", 0, TF_OPT_CHOICE, NULL, "WHEN", "use colours", whens, 0, 0}},
    {0,
     AT(quiet),
     {"quiet", 'q', TF_OPT_FLAG, NULL, NULL, "say nothing but errors and results", NULL, 0, 0}},
    {0, AT(verbose), {"verbose", 'v', TF_OPT_COUNT, NULL, NULL, "say more", NULL, 0, 0}},
};

/* All options of one program: its own, the common ones that it takes, --help and --version. */
struct parser {
    const struct tf_program *program;
    struct tf_common *common;
    struct tf_opt options[MOST_OPTIONS];
    size_t count, own;
    bool help, version;
    size_t argc; /* room that a list needs at most */
};

static void add_option(struct parser *parser, struct tf_opt opt, void *value)
{
    assert(parser->count < MOST_OPTIONS);
    opt.value = value;
    parser->options[parser->count++] = opt;
}

static void collect_options(struct parser *parser)
{
    static const struct tf_opt help = {.name = "help", .letter = 'h', .help = "show this help"};
    static const struct tf_opt version = {
        .name = "version", .letter = 'V', .help = "show the version"};

    for (const struct tf_opt *opt = parser->program->options; opt->name != NULL; opt++)
        add_option(parser, *opt, opt->value);
    parser->own = parser->count;
    for (size_t i = 0; i < sizeof(common_options) / sizeof(*common_options); i++)
        if (common_options[i].takes == 0 || (common_options[i].takes & parser->program->takes) != 0)
            add_option(parser, common_options[i].opt,
                       (char *)parser->common + common_options[i].offset);
    add_option(parser, help, &parser->help);
    add_option(parser, version, &parser->version);
}

static bool has_argument(const struct tf_opt *opt)
{
    return opt->kind != TF_OPT_FLAG && opt->kind != TF_OPT_COUNT;
}

/* ---- values ---- */

static enum tf_code refuse(const struct tf_opt *opt, const char *text, const char *why,
                           struct tf_err *err)
{
    return tf_fail(err, TF_USAGE, "--%s=%s: %s", opt->name, text, why);
}

static enum tf_code check_range(const struct tf_opt *opt, const char *text, double value,
                                struct tf_err *err)
{
    if ((opt->min == 0 && opt->max == 0) || (value >= opt->min && value <= opt->max))
        return TF_OK;
    if (isinf(opt->max))
        return tf_fail(err, TF_USAGE, "--%s=%s: must be at least %.15g", opt->name, text, opt->min);
    return tf_fail(err, TF_USAGE, "--%s=%s: must be from %.15g to %.15g", opt->name, text, opt->min,
                   opt->max);
}

/* A whole number, and for sizes its unit. */
static enum tf_code parse_uint(const struct tf_opt *opt, const char *text, struct tf_err *err)
{
    bool is_size = opt->kind == TF_OPT_SIZE;
    const char *wanted =
        is_size ? "must be a whole number of bytes, or of K, M or G" : "must be a whole number";
    uint64_t value, unit = 1;
    enum tf_code code;
    char *end;

    if (!isdigit((unsigned char)text[0])) /* strtoull would take spaces and signs */
        return refuse(opt, text, wanted, err);
    errno = 0;
    value = strtoull(text, &end, 10);
    if (is_size && *end != '\0' && strchr("KMG", toupper((unsigned char)*end)) != NULL) {
        unit = toupper((unsigned char)*end) == 'K' ? 1 << 10
               : *end == 'M' || *end == 'm'        ? 1 << 20
                                                   : 1 << 30;
        end++;
    }
    if (*end != '\0')
        return refuse(opt, text, wanted, err);
    if (errno != 0 || __builtin_mul_overflow(value, unit, &value))
        return refuse(opt, text, "is too large", err);
    code = check_range(opt, text, (double)value, err);
    if (code == TF_OK)
        *(uint64_t *)opt->value = value;
    return code;
}

/* A decimal number, and for times its unit. */
static enum tf_code parse_real(const struct tf_opt *opt, const char *text, struct tf_err *err)
{
    bool is_time = opt->kind == TF_OPT_TIME;
    const char *wanted =
        is_time ? "must be a time such as 90, 90s, 5m or 1.5h" : "must be a number";
    size_t length = strspn(text, "0123456789.+-eE"); /* strtod would take spaces, nan and hex */
    enum tf_code code;
    double value;
    char *end;

    value = strtod(text, &end);
    if (end == text || end > text + length)
        return refuse(opt, text, wanted, err);
    if (is_time && *end != '\0' && strchr("smh", *end) != NULL) {
        value *= *end == 's' ? 1 : *end == 'm' ? 60 : 3600;
        end++;
    }
    if (*end != '\0' || (is_time && value < 0))
        return refuse(opt, text, wanted, err);
    if (!isfinite(value))
        return refuse(opt, text, "is too large", err);
    code = check_range(opt, text, value, err);
    if (code == TF_OK)
        *(double *)opt->value = value;
    return code;
}

/* Choices "a|b|c" as "a, b or c". */
static const char *choices_text(char *out, size_t size, const char *choices)
{
    size_t used = 0;

    for (; *choices != '\0'; choices++) {
        const char *joint = strchr(choices + 1, '|') != NULL ? ", " : " or ";
        used += (size_t)snprintf(out + used, size - used, "%.*s", *choices == '|' ? 4 : 1,
                                 *choices == '|' ? joint : choices);
        assert(used < size);
    }
    return out;
}

static enum tf_code parse_choice(const struct tf_opt *opt, const char *text, struct tf_err *err)
{
    const char *choice = opt->choices;
    char wanted[256];

    for (int i = 0;; i++) {
        size_t length = strcspn(choice, "|");
        if (strlen(text) == length && strncmp(text, choice, length) == 0) {
            *(int *)opt->value = i;
            return TF_OK;
        }
        if (choice[length] == '\0')
            break;
        choice += length + 1;
    }
    return tf_fail(err, TF_USAGE, "--%s=%s: must be %s", opt->name, text,
                   choices_text(wanted, sizeof(wanted), opt->choices));
}

static enum tf_code append(struct tf_opt_list *list, const char *text, size_t most,
                           struct tf_err *err)
{
    if (list->items == NULL)
        list->items = tf_new(most, sizeof(*list->items), "list of options", err);
    if (list->items == NULL)
        return TF_MEMORY;
    list->items[list->count++] = text;
    return TF_OK;
}

static enum tf_code set_option(const struct parser *parser, const struct tf_opt *opt,
                               const char *text, struct tf_err *err)
{
    switch (opt->kind) {
    case TF_OPT_FLAG:
        *(bool *)opt->value = true;
        return TF_OK;
    case TF_OPT_COUNT:
        ++*(uint64_t *)opt->value;
        return TF_OK;
    case TF_OPT_TEXT:
        *(const char **)opt->value = text;
        return TF_OK;
    case TF_OPT_UINT:
    case TF_OPT_SIZE:
        return parse_uint(opt, text, err);
    case TF_OPT_SEED:
        ((struct tf_opt_seed *)opt->value)->given = true;
        return parse_uint(opt, text, err);
    case TF_OPT_REAL:
    case TF_OPT_TIME:
        return parse_real(opt, text, err);
    case TF_OPT_LIST:
        return append(opt->value, text, parser->argc, err);
    case TF_OPT_CHOICE:
        return parse_choice(opt, text, err);
    }
    return tf_fail(err, TF_INTERNAL, "--%s: unknown kind of option", opt->name);
}

/* ---- --help and --version ---- */

/* Prints text from column `at`, broken between words before WIDTH; further lines start at column
 * `indent`. */
static void print_wrapped(const char *text, int at, int indent)
{
    const char *word = text;

    while (*word != '\0') {
        int length = (int)strcspn(word, " ");
        if (word != text && at + 1 + length > WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
        } else if (word != text) {
            putchar(' ');
            at++;
        }
        printf("%.*s", length, word);
        at += length;
        word += length + (word[length] == ' ');
    }
    putchar('\n');
}

/* "  -o, --output=FILE" */
static int option_left(char *out, size_t size, const struct tf_opt *opt)
{
    char letter[] = "    ";

    if (opt->letter != '\0') {
        letter[0] = '-';
        letter[1] = opt->letter;
        letter[2] = ',';
    }
    return snprintf(out, size, "  %s--%s%s%s", letter, opt->name, has_argument(opt) ? "=" : "",
                    has_argument(opt) ? opt->argument : "");
}

static void print_options(const char *title, const struct tf_opt *options, size_t count, int column)
{
    char left[128], choices[256], help[512];

    if (count == 0)
        return;
    printf("\n%s:\n", title);
    for (size_t i = 0; i < count; i++) {
        const struct tf_opt *opt = &options[i];
        int used = option_left(left, sizeof(left), opt);
        if (opt->kind == TF_OPT_CHOICE)
            snprintf(help, sizeof(help), "%s (%s)", opt->help,
                     choices_text(choices, sizeof(choices), opt->choices));
        else
            snprintf(help, sizeof(help), "%s", opt->help);
        if (used + 2 <= column)
            printf("%-*s", column, left);
        else
            printf("%s\n%*s", left, column, "");
        print_wrapped(help, column, column);
    }
}

/* The column where explanations start: two past the longest name, if that is not too far right. */
static int help_column(const struct parser *parser)
{
    char left[128];
    int column = 0;

    for (size_t i = 0; i < parser->count; i++) {
        int used = option_left(left, sizeof(left), &parser->options[i]) + 2;
        if (used > column)
            column = used;
    }
    return column < LEFT_WIDTH ? column : LEFT_WIDTH;
}

static void print_usage(const struct tf_program *program)
{
    const char *line = program->synopsis;

    for (;;) {
        int length = (int)strcspn(line, "\n");
        printf("%s %s %.*s\n", line == program->synopsis ? "Usage:" : "   or:", program->name,
               length, line);
        if (line[length] == '\0')
            break;
        line += length + 1;
    }
}

static void print_help(const struct parser *parser)
{
    const struct tf_program *program = parser->program;
    int column = help_column(parser);

    print_usage(program);
    putchar('\n');
    print_wrapped(program->summary, 0, 0);
    print_options("Options", parser->options, parser->own, column);
    print_options("Common options", parser->options + parser->own, parser->count - parser->own,
                  column);
    putchar('\n');
    print_wrapped("Exit status: 0 done, 1 the answer is no, 64 usage, 65 bad data, 66 no input, "
                  "70 internal or diverged, 71 memory, 73 cannot create, 74 input or output, "
                  "75 stopped and saved, 78 bad configuration.",
                  0, 0);
    if (program->epilogue != NULL)
        printf("\n%s\n", program->epilogue);
}

/* ---- the command line ---- */

static _Noreturn void finish(const struct parser *parser, enum tf_code code,
                             const struct tf_err *err)
{
    if (code != TF_OK)
        tf_ui_error(parser->program, parser->common, err);
    tf_opt_fini(parser->common);
    exit((int)code);
}

/* Help and version are results too: a full disk must show in the exit status. */
static _Noreturn void finish_printing(const struct parser *parser)
{
    struct tf_result result = {.file = stdout};
    struct tf_err err = {0};

    finish(parser, tf_result_close(&result, &err), &err);
}

/* getopt's two descriptions of the options. letters begins with ':', so that a missing argument is
 * told apart. */
static void describe(const struct parser *parser, struct option *longs, char *letters)
{
    *letters++ = ':';
    for (size_t i = 0; i < parser->count; i++) {
        const struct tf_opt *opt = &parser->options[i];
        longs[i] = (struct option){opt->name, has_argument(opt), NULL, LONG + (int)i};
        if (opt->letter == '\0')
            continue;
        *letters++ = opt->letter;
        if (has_argument(opt))
            *letters++ = ':';
    }
    longs[parser->count] = (struct option){0};
    *letters = '\0';
}

/* The option behind what getopt_long returned, or left in optopt; NULL when there is none. */
static const struct tf_opt *find_option(const struct parser *parser, int got)
{
    if (got >= LONG)
        return &parser->options[got - LONG];
    for (size_t i = 0; i < parser->count; i++)
        if (got != 0 && parser->options[i].letter == got)
            return &parser->options[i];
    return NULL;
}

/* An unknown long option, or the beginning of several. given is without its dashes. */
static enum tf_code refuse_name(const struct parser *parser, const char *given, struct tf_err *err)
{
    const char *names[MOST_OPTIONS], *nearest, *first = NULL;
    int length = (int)strcspn(given, "=");
    char name[64];

    for (size_t i = 0; i < parser->count; i++) {
        names[i] = parser->options[i].name;
        if (strncmp(names[i], given, (size_t)length) != 0)
            continue;
        if (first != NULL)
            return tf_fail(err, TF_USAGE, "option --%.*s may mean --%s or --%s", length, given,
                           first, names[i]);
        first = names[i];
    }
    snprintf(name, sizeof(name), "%.*s", length, given);
    nearest = tf_nearest(name, names, parser->count);
    if (nearest == NULL)
        return tf_fail(err, TF_USAGE, "unknown option --%.*s", length, given);
    return tf_fail(err, TF_USAGE, "unknown option --%.*s; did you mean --%s?", length, given,
                   nearest);
}

/* What getopt_long refused: ':' an argument is missing; '?' all else. argument is the word that it
 * was reading. */
static enum tf_code refuse_option(const struct parser *parser, int got, const char *argument,
                                  struct tf_err *err)
{
    const struct tf_opt *opt = find_option(parser, optopt);

    if (got == ':')
        return tf_fail(err, TF_USAGE, "option --%s needs an argument %s", opt->name, opt->argument);
    if (opt != NULL)
        return tf_fail(err, TF_USAGE, "option --%s takes no argument", opt->name);
    if (optopt != 0)
        return tf_fail(err, TF_USAGE, "unknown option -%c", optopt);
    return refuse_name(parser, argument + 2, err);
}

static enum tf_code parse(struct parser *parser, char **argv, struct tf_err *err)
{
    struct option longs[MOST_OPTIONS + 1];
    char letters[2 * MOST_OPTIONS + 2];
    enum tf_code code = TF_OK;
    int got;

    describe(parser, longs, letters);
    opterr = 0;
    while (code == TF_OK &&
           (got = getopt_long((int)parser->argc, argv, letters, longs, NULL)) != -1) {
        if (got == '?' || got == ':')
            return refuse_option(parser, got, argv[optind - 1], err);
        code = set_option(parser, find_option(parser, got), optarg, err);
        if (parser->help)
            print_help(parser);
        else if (parser->version)
            printf("%s (tokenformer) %s\n", parser->program->name, TF_VERSION);
        if (parser->help || parser->version)
            finish_printing(parser);
    }
    return code;
}

void tf_opt_parse(const struct tf_program *program, struct tf_common *common, int argc, char **argv,
                  int *rest)
{
    struct parser parser = {.program = program, .common = common, .argc = (size_t)argc};
    struct tf_err err = {0};
    enum tf_code code;

    *common = (struct tf_common){0};
    collect_options(&parser);
    code = parse(&parser, argv, &err);
    if (code == TF_OK)
        code = tf_ui_start(common, &err);
    if (code != TF_OK)
        finish(&parser, code, &err);
    *rest = optind;
}

void tf_opt_fini(struct tf_common *common)
{
    tf_free(common->sets.items);
    common->sets = (struct tf_opt_list){0};
}
