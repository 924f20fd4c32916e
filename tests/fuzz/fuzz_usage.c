/* The usage.json that tf-inspect slice --by reads. */
#include "fuzz.h"

#include "text/json.h"
#include "train/usage.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_groups(const struct tf_usage *usage)
{
    must(usage->count > 0 && usage->positions > 0);
    for (size_t i = 0; i < usage->count; i++) {
        const struct tf_usage_group *group = &usage->groups[i];
        must(group->name[0] != '\0' && group->tokens > 0);
        for (uint64_t j = 0; j < group->tokens; j++)
            must(group->contribution[j] >= 0 && __builtin_isfinite(group->contribution[j]));
    }
}

/* As tf-inspect stats --usage --json writes it; freed with free. */
static char *print(const struct tf_usage *usage, size_t *size)
{
    char *text = NULL;
    struct tf_json json = {.file = open_memstream(&text, size)};

    must(json.file != NULL);
    tf_json_object(&json, NULL);
    tf_json_uint(&json, "positions", usage->positions);
    tf_json_array(&json, "usage");
    for (size_t i = 0; i < usage->count; i++) {
        tf_json_object(&json, NULL);
        tf_json_string(&json, "name", usage->groups[i].name);
        tf_json_array(&json, "contribution");
        for (uint64_t j = 0; j < usage->groups[i].tokens; j++)
            tf_json_real(&json, NULL, usage->groups[i].contribution[j]);
        tf_json_end_array(&json);
        tf_json_end_object(&json);
    }
    tf_json_end_array(&json);
    tf_json_end_object(&json);
    must(fclose(json.file) == 0);
    return text;
}

static void must_equal(const struct tf_usage *a, const struct tf_usage *b)
{
    must(a->count == b->count && a->positions == b->positions);
    for (size_t i = 0; i < a->count; i++) {
        const struct tf_usage_group *x = &a->groups[i], *y = &b->groups[i];
        must(strcmp(x->name, y->name) == 0 && x->tokens == y->tokens);
        for (uint64_t j = 0; j < x->tokens; j++)
            must(x->contribution[j] == y->contribution[j]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tf_usage usage, again;
    struct tf_err err = {0};
    enum tf_code code = tf_usage_parse(&usage, "usage.json", (const char *)data, size, &err);

    if (code == TF_OK) {
        size_t printed_size;
        char *printed = print(&usage, &printed_size);
        fuzz_taken++;
        check_groups(&usage);
        must_succeed(tf_usage_parse(&again, "again", printed, printed_size, &err), &err);
        must_equal(&usage, &again);
        tf_usage_fini(&again);
        free(printed);
    } else {
        must_refuse(code, TF_DATA, &err);
    }
    tf_usage_fini(&usage);
    return 0;
}
