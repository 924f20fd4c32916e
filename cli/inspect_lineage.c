/* lineage: where a model came from, and what its training took. Reads the directory alone. */
#include "cli/inspect.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

void tf_inspect_word(FILE *file, const char *before, const char *word, const char *after)
{
    char safe[4 * 64 + 1];

    fprintf(file, "%s%s%s", before, tf_escape(safe, sizeof safe, word, strlen(word)), after);
}

/* ---- text ---- */

/* ", 1.234e+09 FLOPs" */
static void print_flops(FILE *file, double flops)
{
    if (isnan(flops))
        fputs(", FLOPs not known", file);
    else
        fprintf(file, ", %.4g FLOPs", flops);
}

static void print_training(FILE *file, const struct tf_event *event)
{
    fprintf(file, "%" PRIu64 " steps, %" PRIu64 " tokens", event->steps, event->tokens);
    print_flops(file, event->flops);
    if (!isnan(event->seconds))
        fprintf(file, ", %.1f seconds", event->seconds);
}

/* How new rows were made. The usual method goes without saying. */
static void print_growth(FILE *file, const struct tf_event *event)
{
    const struct {
        const char *before, *word;
    } words[] = {{"", strcmp(event->method, "tokens") == 0 ? "" : event->method},
                 {"keys ", event->keys},
                 {"values ", event->values},
                 {"scale ", event->scale}};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (*words[i].word)
            tf_inspect_word(file, words[i].before, words[i].word, ", ");
    fprintf(file, "seed %" PRIu64, event->seed);
}

/* A line each: layers, width and rows, before and after. */
static void print_changes(FILE *file, const struct tf_event *event)
{
    if (event->layers[0] != event->layers[1]) {
        fprintf(file, "         layers  %" PRIu64 " -> %" PRIu64, event->layers[0],
                event->layers[1]);
        if (*event->place)
            tf_inspect_word(file, ", at ", event->place, "");
        fputc('\n', file);
    }
    if (event->width[0] != event->width[1])
        fprintf(file, "         width  %" PRIu64 " -> %" PRIu64 "\n", event->width[0],
                event->width[1]);
    for (size_t i = 0; i < event->row_count; i++) {
        const struct tf_row_change *rows = &event->rows[i];
        tf_inspect_word(file, "         ", rows->name, "");
        fprintf(file, "  %" PRIu64 " -> %" PRIu64 "\n", rows->before, rows->after);
    }
}

static void print_event(FILE *file, size_t number, const struct tf_event *event)
{
    fprintf(file, "%zu %-7s", number, tf_event_name(event->kind));
    switch (event->kind) {
    case TF_EVENT_TRAIN:
        print_training(file, event);
        break;
    case TF_EVENT_GROW:
        print_growth(file, event);
        break;
    case TF_EVENT_EDIT:
        tf_inspect_word(file, "", event->verb, ", ");
        tf_inspect_word(file, "function ", event->effect, "");
        break;
    }
    tf_inspect_word(file, *event->from ? ", from " : ", from the start", event->from, "\n");
    print_changes(file, event);
}

static void print_total(FILE *file, const struct tf_spent *spent)
{
    fprintf(file, "total    %" PRIu64 " steps, %" PRIu64 " tokens", spent->steps, spent->tokens);
    print_flops(file, spent->flops);
    if (isnan(spent->seconds))
        fputs(", seconds not known\n", file);
    else
        fprintf(file, ", %.1f seconds\n", spent->seconds);
}

/* ---- JSON ---- */

/* {"before": .., "after": ..}, or null where there was no change. */
static void json_change(struct tf_json *json, const char *key, const uint64_t change[2])
{
    if (change[0] == change[1]) {
        tf_json_null(json, key);
        return;
    }
    tf_json_object(json, key);
    tf_json_uint(json, "before", change[0]);
    tf_json_uint(json, "after", change[1]);
    tf_json_end_object(json);
}

static void json_rows(struct tf_json *json, const struct tf_event *event)
{
    tf_json_array(json, "rows");
    for (size_t i = 0; i < event->row_count; i++) {
        tf_json_object(json, NULL);
        tf_json_string(json, "name", event->rows[i].name);
        tf_json_uint(json, "before", event->rows[i].before);
        tf_json_uint(json, "after", event->rows[i].after);
        tf_json_end_object(json);
    }
    tf_json_end_array(json);
}

static void json_growth(struct tf_json *json, const struct tf_event *event)
{
    tf_json_string(json, "method", event->method);
    tf_json_string_or_null(json, "keys", event->keys);
    tf_json_string_or_null(json, "values", event->values);
    tf_json_string_or_null(json, "scale", event->scale);
    tf_json_uint(json, "seed", event->seed);
    json_change(json, "layers", event->layers);
    tf_json_string_or_null(json, "place", event->place);
    json_change(json, "width", event->width);
    json_rows(json, event);
}

static void json_event(struct tf_json *json, const struct tf_event *event)
{
    tf_json_object(json, NULL);
    tf_json_string(json, "kind", tf_event_name(event->kind));
    tf_json_string_or_null(json, "from", event->from);
    switch (event->kind) {
    case TF_EVENT_TRAIN:
        tf_json_uint(json, "steps", event->steps);
        tf_json_uint(json, "tokens", event->tokens);
        tf_json_real(json, "flops", event->flops);
        tf_json_real(json, "seconds", event->seconds);
        break;
    case TF_EVENT_GROW:
        json_growth(json, event);
        break;
    case TF_EVENT_EDIT:
        tf_json_string(json, "verb", event->verb);
        tf_json_string(json, "effect", event->effect);
        json_rows(json, event);
        break;
    }
    tf_json_end_object(json);
}

static void print_json(const struct tf_inspect *inspect, const struct tf_lineage *lineage,
                       const struct tf_spent *spent)
{
    struct tf_json json = tf_inspect_json(inspect, "lineage");

    tf_json_array(&json, "events");
    for (size_t i = 0; i < lineage->count; i++)
        json_event(&json, &lineage->events[i]);
    tf_json_end_array(&json);
    tf_json_object(&json, "total");
    tf_json_uint(&json, "steps", spent->steps);
    tf_json_uint(&json, "tokens", spent->tokens);
    tf_json_real(&json, "flops", spent->flops);
    tf_json_real(&json, "seconds", spent->seconds);
    tf_json_end_object(&json);
    tf_json_end_object(&json);
}

enum tf_code tf_inspect_lineage(struct tf_inspect *inspect, struct tf_err *err)
{
    struct tf_checkpoint checkpoint;
    enum tf_code code = tf_checkpoint_open(&checkpoint, inspect->operands[0],
                                           inspect->common->max_memory, NULL, 0, err);

    if (code)
        return code;
    struct tf_spent spent = tf_lineage_spent(&checkpoint.lineage);
    if (inspect->common->json) {
        print_json(inspect, &checkpoint.lineage, &spent);
    } else {
        for (size_t i = 0; i < checkpoint.lineage.count; i++)
            print_event(inspect->file, i + 1, &checkpoint.lineage.events[i]);
        print_total(inspect->file, &spent);
    }
    tf_checkpoint_close(&checkpoint);
    return TF_OK;
}
