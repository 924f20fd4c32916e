/* stats --usage: what each parameter token contributes over a text. */
#include "cli/inspect.h"
#include "train/usage.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

/* The sum over a Pattention's tokens, the least and the most of one, and how many give nothing. */
struct summary {
    double sum, least, most;
    uint64_t idle;
};

static struct summary summarise(const struct tf_usage_group *group)
{
    struct summary summary = {.least = INFINITY};

    for (uint64_t j = 0; j < group->tokens; j++) {
        double x = group->contribution[j];
        summary.sum += x;
        summary.least = fmin(summary.least, x);
        summary.most = fmax(summary.most, x);
        summary.idle += x == 0;
    }
    return summary;
}

static void print_group(FILE *file, const struct tf_usage_group *group)
{
    struct summary summary = summarise(group);

    fprintf(file, "%-34s %8" PRIu64 " %11.4g %11.4g %11.4g %11.4g %6" PRIu64 "\n", group->name,
            group->tokens, summary.sum, summary.least, summary.sum / (double)group->tokens,
            summary.most, summary.idle);
}

static void json_group(struct tf_json *json, const struct tf_usage_group *group)
{
    tf_json_object(json, NULL);
    tf_json_string(json, "name", group->name);
    tf_json_uint(json, "tokens", group->tokens);
    tf_json_array(json, "contribution");
    for (uint64_t j = 0; j < group->tokens; j++)
        tf_json_real(json, NULL, group->contribution[j]);
    tf_json_end_array(json);
    tf_json_end_object(json);
}

static bool is_chosen(const struct tf_selection *chosen, const char *name)
{
    for (size_t i = 0; i < chosen->count; i++)
        if (strcmp(chosen->items[i].name, name) == 0)
            return true;
    return false;
}

static void print_usage(const struct tf_inspect *inspect, const struct tf_usage *usage,
                        const struct tf_selection *chosen)
{
    bool as_json = inspect->common->json || tf_inspect_names(inspect, ".json");
    struct tf_json json = {0};

    if (as_json) {
        json = tf_inspect_json(inspect, "stats");
        tf_json_uint(&json, "positions", usage->positions);
        tf_json_array(&json, "usage");
    } else {
        fprintf(inspect->file, "%s%-34s %8s %11s %11s %11s %11s %6s%s\n", tf_inspect_bold(inspect),
                "Pattention", "tokens", "sum", "least", "mean", "most", "idle",
                tf_inspect_plain(inspect));
    }
    for (size_t i = 0; i < usage->count; i++) {
        if (!is_chosen(chosen, usage->groups[i].name))
            continue;
        if (as_json)
            json_group(&json, &usage->groups[i]);
        else
            print_group(inspect->file, &usage->groups[i]);
    }
    if (as_json) {
        tf_json_end_array(&json);
        tf_json_end_object(&json);
    }
}

enum tf_code tf_inspect_usage(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_checkpoint checkpoint = {0};
    struct tf_corpus corpus = {0};
    struct tf_selection chosen = {0};
    struct tf_model *model = NULL;
    struct tf_usage usage = {0};
    enum tf_code code = tf_checkpoint_open(&checkpoint, inspect->operands[0],
                                           inspect->common->max_memory, NULL, 0, err);

    if (!code)
        code = tf_inspect_select(&chosen, inspect, checkpoint.store, TF_SELECT_GROUPS, err);
    if (!code)
        code = tf_selection_whole(&chosen, checkpoint.store, err);
    if (!code)
        code = tf_corpus_load(&corpus, &checkpoint.tokenizer, inspect->usage.items,
                              inspect->usage.count, err);
    if (!code)
        code = tf_model_load(&model, &checkpoint, false, err);
    if (!code)
        code = tf_usage_measure(&usage, model, &corpus, err);
    if (!code)
        print_usage(inspect, &usage, &chosen);
    tf_usage_fini(&usage);
    tf_model_free(model);
    tf_corpus_fini(&corpus);
    tf_selection_fini(&chosen);
    tf_checkpoint_close(&checkpoint);
    return code;
}
