#include "train/state.h"

#include "base/mem.h"
#include "text/json.h"
#include "text/yaml.h"
#include "train/config_keys.h"
#include <math.h>
#include <string.h>

#define MAX_RECENT (sizeof(((struct tf_state *)0)->recent) / sizeof(float))

/* ---- reading mappings ---- */

/* These keys, in any order, of which the first `needed` must be there; older files lack others. */
static enum tf_code expect_keys(const struct tf_yaml *map, const char *name,
                                const char *const *keys, size_t needed, size_t count,
                                struct tf_err *err)
{
    if (map->kind != TF_YAML_MAPPING)
        return tf_fail(err, TF_DATA, "%s:%d:%d: expected a mapping", name, map->line, map->column);
    for (size_t i = 0; i < needed; i++)
        if (tf_yaml_get(map, keys[i]) == NULL)
            return tf_fail(err, TF_DATA, "%s:%d:%d: the key %s is missing", name, map->line,
                           map->column, keys[i]);
    for (size_t i = 0; i < map->count; i++) {
        size_t k = 0;
        while (k < count && strcmp(keys[k], map->keys[i]->text) != 0)
            k++;
        if (k == count)
            return tf_fail(err, TF_DATA, "%s:%d:%d: unknown key %.80s", name, map->keys[i]->line,
                           map->keys[i]->column, map->keys[i]->text);
    }
    return TF_OK;
}

static enum tf_code expected(const struct tf_yaml *value, const char *name, const char *key,
                             const char *what, struct tf_err *err)
{
    char found[128];

    return tf_fail(err, TF_DATA, "%s:%d:%d: %s: expected %s, found %s", name, value->line,
                   value->column, key, what, tf_key_found(found, value));
}

static enum tf_code get_uint(const struct tf_yaml *map, const char *name, const char *key,
                             uint64_t *out, struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, key);
    unsigned long long number;

    if (!tf_yaml_uint(value, &number))
        return expected(value, name, key, "an integer", err);
    *out = number;
    return TF_OK;
}

/* A number that goes on counting: far enough below its end that it cannot wrap. Not there: as it
 * was. */
static enum tf_code get_count(const struct tf_yaml *map, const char *name, const char *key,
                              uint64_t *out, struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, key);
    unsigned long long number;

    if (value == NULL)
        return TF_OK;
    if (!tf_yaml_uint(value, &number) || number > INT64_MAX)
        return expected(value, name, key, "an integer below 2^63", err);
    *out = number;
    return TF_OK;
}

/* What was spent; not there: NaN. */
static enum tf_code get_amount(const struct tf_yaml *map, const char *name, const char *key,
                               double *out, struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, key);

    *out = NAN;
    if (value != NULL && (!tf_yaml_real(value, out) || !(*out >= 0)))
        return expected(value, name, key, "a number, 0 or more", err);
    return TF_OK;
}

static bool read_pair(const struct tf_yaml *pair, uint64_t out[2])
{
    unsigned long long numbers[2];

    if (pair->kind != TF_YAML_SEQUENCE || pair->count != 2 ||
        !tf_yaml_uint(pair->items[0], &numbers[0]) || !tf_yaml_uint(pair->items[1], &numbers[1]))
        return false;
    out[0] = numbers[0];
    out[1] = numbers[1];
    return true;
}

/* [before, after]; not there, or no change: both 0. */
static enum tf_code get_pair(const struct tf_yaml *map, const char *name, const char *key,
                             uint64_t out[2], struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, key);

    if (value != NULL && !read_pair(value, out))
        return expected(value, name, key, "the numbers before and after", err);
    if (out[0] == out[1])
        out[0] = out[1] = 0;
    return TF_OK;
}

/* A text that fits size bytes with its end; not there: as it was. */
static enum tf_code get_text(const struct tf_yaml *map, const char *name, const char *key,
                             char *out, size_t size, struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, key);

    if (value == NULL)
        return TF_OK;
    if (value->kind != TF_YAML_SCALAR || strlen(value->text) >= size)
        return expected(value, name, key, "a short text", err);
    strcpy(out, value->text);
    return TF_OK;
}

/* ---- the state of a run ---- */

/* Most runs know no growth: a key of 0 is left out. */
static void put_count(FILE *out, const char *key, uint64_t count)
{
    if (count > 0)
        fprintf(out, "%s: %ju\n", key, (uintmax_t)count);
}

enum tf_code tf_state_print(const struct tf_state *state, char **out, size_t *size,
                            struct tf_err *err)
{
    struct tf_yaml_text yaml;
    char real[32];
    bool evaluated = !__builtin_isnan(state->best_loss);

    *out = NULL;
    if (tf_yaml_begin(&yaml, err) != TF_OK)
        return TF_MEMORY;
    fprintf(yaml.file, "step: %ju\ntokens: %ju\nupdates: %ju\ndata_hash: %ju\n",
            (uintmax_t)state->step, (uintmax_t)state->tokens, (uintmax_t)state->updates,
            (uintmax_t)state->data_hash);
    fprintf(yaml.file, "best_loss: %s\nbest_step: %ju\n",
            evaluated ? tf_real_text(real, state->best_loss) : "none", (uintmax_t)state->best_step);
    put_count(yaml.file, "age", state->age);
    put_count(yaml.file, "stages", state->stages);
    put_count(yaml.file, "began", state->began);
    fputs("recent: [", yaml.file);
    for (size_t i = 0; i < state->recent_count; i++)
        fprintf(yaml.file, "%s%s", i > 0 ? ", " : "", tf_real_text(real, (double)state->recent[i]));
    fputs("]\n", yaml.file);
    return tf_yaml_end(&yaml, out, size, err);
}

static enum tf_code get_best_loss(const struct tf_yaml *map, double *out, struct tf_err *err)
{
    const struct tf_yaml *value = tf_yaml_get(map, "best_loss");

    if (value->kind == TF_YAML_SCALAR && strcmp(value->text, "none") == 0)
        *out = __builtin_nan("");
    else if (!tf_yaml_real(value, out))
        return expected(value, "state", "best_loss", "a number or none", err);
    return TF_OK;
}

static enum tf_code get_recent(const struct tf_yaml *map, struct tf_state *state,
                               struct tf_err *err)
{
    const struct tf_yaml *list = tf_yaml_get(map, "recent");
    double loss;

    if (list->kind != TF_YAML_SEQUENCE || list->count > MAX_RECENT)
        return expected(list, "state", "recent", "a list of at most 256 numbers", err);
    for (size_t i = 0; i < list->count; i++) {
        if (!tf_yaml_real(list->items[i], &loss) || !__builtin_isfinite((float)loss))
            return expected(list->items[i], "state", "recent", "a number", err);
        state->recent[state->recent_count++] = (float)loss;
    }
    return TF_OK;
}

static enum tf_code read_state(struct tf_state *state, const struct tf_yaml *map,
                               struct tf_err *err)
{
    static const char *const keys[] = {"step",      "tokens", "updates", "data_hash", "best_loss",
                                       "best_step", "recent", "age",     "stages",    "began"};
    enum tf_code code = TF_OK;

    if (map->kind == TF_YAML_MAPPING && map->count == 0)
        return TF_OK;
    code = expect_keys(map, "state", keys, 7, sizeof(keys) / sizeof(*keys), err);
    if (code == TF_OK)
        code = get_count(map, "state", "step", &state->step, err);
    if (code == TF_OK)
        code = get_count(map, "state", "tokens", &state->tokens, err);
    if (code == TF_OK)
        code = get_count(map, "state", "updates", &state->updates, err);
    if (code == TF_OK)
        code = get_uint(map, "state", "data_hash", &state->data_hash, err);
    if (code == TF_OK)
        code = get_best_loss(map, &state->best_loss, err);
    if (code == TF_OK)
        code = get_count(map, "state", "best_step", &state->best_step, err);
    if (code == TF_OK)
        code = get_count(map, "state", "age", &state->age, err);
    if (code == TF_OK)
        code = get_count(map, "state", "stages", &state->stages, err);
    if (code == TF_OK)
        code = get_count(map, "state", "began", &state->began, err);
    if (code == TF_OK && state->began > state->step)
        code = tf_fail(err, TF_DATA, "state: began at step %ju, but is at step %ju",
                       (uintmax_t)state->began, (uintmax_t)state->step);
    return code == TF_OK ? get_recent(map, state, err) : code;
}

enum tf_code tf_state_parse(struct tf_state *state, const char *text, size_t n, struct tf_err *err)
{
    struct tf_yaml *root;
    enum tf_code code = tf_yaml_parse(&root, "state", text, n, TF_DATA, err);

    *state = (struct tf_state){.best_loss = __builtin_nan("")};
    if (code == TF_OK)
        code = read_state(state, root, err);
    tf_yaml_free(root);
    return code;
}

/* ---- lineage: life ---- */

static const char *const event_names[] = {
    [TF_EVENT_TRAIN] = "train", [TF_EVENT_GROW] = "grow", [TF_EVENT_EDIT] = "edit"};

const char *tf_event_name(enum tf_event_kind kind)
{
    return event_names[kind];
}

void tf_lineage_fini(struct tf_lineage *lineage)
{
    for (size_t i = 0; i < lineage->count; i++)
        tf_free(lineage->events[i].rows);
    tf_free(lineage->events);
    *lineage = (struct tf_lineage){0};
}

struct tf_event *tf_lineage_add(struct tf_lineage *lineage, struct tf_err *err)
{
    struct tf_event *events =
        tf_more(lineage->events, lineage->count, sizeof(*events), "lineage", err);

    if (events == NULL)
        return NULL;
    lineage->events = events;
    return &events[lineage->count++];
}

enum tf_code tf_lineage_copy(struct tf_lineage *to, const struct tf_lineage *from,
                             struct tf_err *err)
{
    *to = (struct tf_lineage){0};
    for (size_t i = 0; i < from->count; i++) {
        const struct tf_event *event = &from->events[i];
        struct tf_event *copy = tf_lineage_add(to, err);
        if (copy == NULL)
            goto fail;
        *copy = *event;
        copy->rows = tf_new(event->row_count, sizeof(*copy->rows), "lineage", err);
        if (copy->rows == NULL)
            goto fail;
        if (event->row_count > 0)
            memcpy(copy->rows, event->rows, event->row_count * sizeof(*copy->rows));
    }
    return TF_OK;
fail:
    tf_lineage_fini(to);
    return TF_MEMORY;
}

static uint64_t add_up(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

struct tf_spent tf_lineage_spent(const struct tf_lineage *lineage)
{
    struct tf_spent spent = {0};

    for (size_t i = 0; i < lineage->count; i++) {
        const struct tf_event *event = &lineage->events[i];
        if (event->kind != TF_EVENT_TRAIN)
            continue;
        spent.steps = add_up(spent.steps, event->steps);
        spent.tokens = add_up(spent.tokens, event->tokens);
        spent.flops += event->flops;
        spent.seconds += event->seconds;
    }
    return spent;
}

/* ---- lineage: writing ---- */

static void put_text(FILE *out, const char *key, const char *text)
{
    char quoted[4 * 64 + 3]; /* no text of an event is longer */

    tf_yaml_quote(quoted, sizeof(quoted), text);
    fprintf(out, "  %s: %s\n", key, quoted);
}

static void put_rows(FILE *out, const struct tf_event *event)
{
    fprintf(out, "  rows:%s\n", event->row_count == 0 ? " {}" : "");
    for (size_t i = 0; i < event->row_count; i++)
        fprintf(out, "    %s: [%ju, %ju]\n", event->rows[i].name, (uintmax_t)event->rows[i].before,
                (uintmax_t)event->rows[i].after);
}

static void put_amount(FILE *out, const char *key, double amount)
{
    char real[32];

    if (!isnan(amount))
        fprintf(out, "  %s: %s\n", key, tf_real_text(real, amount));
}

static void put_pair(FILE *out, const char *key, const uint64_t pair[2])
{
    if (pair[0] != pair[1])
        fprintf(out, "  %s: [%ju, %ju]\n", key, (uintmax_t)pair[0], (uintmax_t)pair[1]);
}

/* One other than that of all older files. */
static bool has_method(const struct tf_event *event)
{
    return event->method[0] != '\0' && strcmp(event->method, "tokens") != 0;
}

/* What only some growths have is left out of the others. */
static void put_growth(FILE *out, const struct tf_event *event)
{
    if (has_method(event))
        put_text(out, "method", event->method);
    put_text(out, "keys", event->keys);
    put_text(out, "values", event->values);
    put_text(out, "scale", event->scale);
    put_pair(out, "layers", event->layers);
    put_pair(out, "width", event->width);
    if (event->place[0] != '\0')
        put_text(out, "place", event->place);
    fprintf(out, "  seed: %ju\n", (uintmax_t)event->seed);
    put_rows(out, event);
}

static void put_event(FILE *out, const struct tf_event *event)
{
    fprintf(out, "- event: %s\n", tf_event_name(event->kind));
    put_text(out, "from", event->from);
    switch (event->kind) {
    case TF_EVENT_TRAIN:
        fprintf(out, "  steps: %ju\n  tokens: %ju\n", (uintmax_t)event->steps,
                (uintmax_t)event->tokens);
        put_amount(out, "flops", event->flops);
        put_amount(out, "seconds", event->seconds);
        break;
    case TF_EVENT_GROW:
        put_growth(out, event);
        break;
    case TF_EVENT_EDIT:
        put_text(out, "verb", event->verb);
        put_text(out, "effect", event->effect);
        put_rows(out, event);
        break;
    }
}

/* The values that an event takes in YAML at most, keys counted too. */
static size_t event_nodes(const struct tf_event *event)
{
    if (event->kind == TF_EVENT_TRAIN)
        return 9 + 2u * !isnan(event->flops) + 2u * !isnan(event->seconds);
    return 15 + 4 * event->row_count + 2u * has_method(event) + 2u * (event->place[0] != '\0') +
           4u * (event->layers[0] != event->layers[1]) + 4u * (event->width[0] != event->width[1]);
}

enum tf_code tf_lineage_print(const struct tf_lineage *lineage, char **out, size_t *size,
                              struct tf_err *err)
{
    struct tf_yaml_text yaml;
    size_t nodes = 1;

    *out = NULL;
    for (size_t i = 0; i < lineage->count; i++)
        nodes += event_nodes(&lineage->events[i]);
    if (nodes > TF_YAML_MAX_NODES) /* could be written, but never be read */
        return tf_fail(err, TF_MEMORY, "lineage: %zu values, the limit is %u", nodes,
                       TF_YAML_MAX_NODES);
    if (tf_yaml_begin(&yaml, err) != TF_OK)
        return TF_MEMORY;
    for (size_t i = 0; i < lineage->count; i++)
        put_event(yaml.file, &lineage->events[i]);
    return tf_yaml_end(&yaml, out, size, err);
}

/* ---- lineage: reading ---- */

static enum tf_code read_rows(struct tf_event *event, const struct tf_yaml *rows,
                              struct tf_err *err)
{
    if (rows->kind != TF_YAML_MAPPING)
        return expected(rows, "lineage", "rows", "a mapping", err);
    event->rows = tf_new(rows->count, sizeof(*event->rows), "lineage", err);
    if (event->rows == NULL)
        return TF_MEMORY;
    event->row_count = rows->count;
    for (size_t i = 0; i < rows->count; i++) {
        const struct tf_yaml *key = rows->keys[i], *pair = rows->items[i];
        struct tf_row_change *row = &event->rows[i];
        uint64_t counts[2];
        if (strlen(key->text) >= sizeof(row->name) ||
            key->text[strspn(key->text, "abcdefghijklmnopqrstuvwxyz0123456789._/-")] != '\0')
            return expected(key, "lineage", "rows", "the name of a Pattention", err);
        if (!read_pair(pair, counts))
            return expected(pair, "lineage", key->text, "the rows before and after", err);
        strcpy(row->name, key->text);
        row->before = counts[0];
        row->after = counts[1];
    }
    return TF_OK;
}

static enum tf_code read_growth(struct tf_event *event, const struct tf_yaml *map,
                                struct tf_err *err)
{
    static const char *const keys[] = {"event", "from",   "keys",   "values", "scale", "seed",
                                       "rows",  "method", "layers", "width",  "place"};
    enum tf_code code = expect_keys(map, "lineage", keys, 7, sizeof(keys) / sizeof(*keys), err);

    if (code == TF_OK)
        code = get_text(map, "lineage", "method", event->method, sizeof(event->method), err);
    if (event->method[0] == '\0')
        strcpy(event->method, "tokens");
    if (code == TF_OK)
        code = get_text(map, "lineage", "place", event->place, sizeof(event->place), err);
    if (code == TF_OK)
        code = get_pair(map, "lineage", "layers", event->layers, err);
    if (code == TF_OK)
        code = get_pair(map, "lineage", "width", event->width, err);
    if (code == TF_OK)
        code = get_text(map, "lineage", "keys", event->keys, sizeof(event->keys), err);
    if (code == TF_OK)
        code = get_text(map, "lineage", "values", event->values, sizeof(event->values), err);
    if (code == TF_OK)
        code = get_text(map, "lineage", "scale", event->scale, sizeof(event->scale), err);
    if (code == TF_OK)
        code = get_uint(map, "lineage", "seed", &event->seed, err);
    return code == TF_OK ? read_rows(event, tf_yaml_get(map, "rows"), err) : code;
}

static enum tf_code read_training(struct tf_event *event, const struct tf_yaml *map,
                                  struct tf_err *err)
{
    static const char *const keys[] = {"event", "from", "steps", "tokens", "flops", "seconds"};
    enum tf_code code = expect_keys(map, "lineage", keys, 4, sizeof(keys) / sizeof(*keys), err);

    if (code == TF_OK)
        code = get_uint(map, "lineage", "steps", &event->steps, err);
    if (code == TF_OK)
        code = get_uint(map, "lineage", "tokens", &event->tokens, err);
    if (code == TF_OK)
        code = get_amount(map, "lineage", "flops", &event->flops, err);
    return code == TF_OK ? get_amount(map, "lineage", "seconds", &event->seconds, err) : code;
}

static enum tf_code read_edit(struct tf_event *event, const struct tf_yaml *map, struct tf_err *err)
{
    static const char *const keys[] = {"event", "from", "verb", "effect", "rows"};
    enum tf_code code = expect_keys(map, "lineage", keys, 5, sizeof(keys) / sizeof(*keys), err);

    if (code == TF_OK)
        code = get_text(map, "lineage", "verb", event->verb, sizeof(event->verb), err);
    if (code == TF_OK)
        code = get_text(map, "lineage", "effect", event->effect, sizeof(event->effect), err);
    return code == TF_OK ? read_rows(event, tf_yaml_get(map, "rows"), err) : code;
}

static enum tf_code read_event(struct tf_event *event, const struct tf_yaml *map,
                               struct tf_err *err)
{
    static enum tf_code (*const read[])(struct tf_event *, const struct tf_yaml *,
                                        struct tf_err *) = {[TF_EVENT_TRAIN] = read_training,
                                                            [TF_EVENT_GROW] = read_growth,
                                                            [TF_EVENT_EDIT] = read_edit};
    const struct tf_yaml *kind = tf_yaml_get(map, "event");
    enum tf_code code;

    for (int i = 0; kind != NULL && kind->kind == TF_YAML_SCALAR && i <= TF_EVENT_EDIT; i++) {
        if (strcmp(kind->text, event_names[i]) != 0)
            continue;
        event->kind = (enum tf_event_kind)i;
        code = read[i](event, map, err);
        return code == TF_OK
                   ? get_text(map, "lineage", "from", event->from, sizeof(event->from), err)
                   : code;
    }
    return expected(kind == NULL ? map : kind, "lineage", "event", "train, grow or edit", err);
}

enum tf_code tf_lineage_parse(struct tf_lineage *lineage, const char *text, size_t n,
                              struct tf_err *err)
{
    struct tf_yaml *root;
    enum tf_code code = tf_yaml_parse(&root, "lineage", text, n, TF_DATA, err);

    *lineage = (struct tf_lineage){0};
    if (code != TF_OK)
        return code;
    if (root->kind != TF_YAML_SEQUENCE && (root->kind != TF_YAML_MAPPING || root->count > 0))
        code = tf_fail(err, TF_DATA, "lineage:%d:%d: expected a list", root->line, root->column);
    for (size_t i = 0; code == TF_OK && i < root->count; i++) {
        struct tf_event *event = tf_lineage_add(lineage, err);
        code = event == NULL ? TF_MEMORY : read_event(event, root->items[i], err);
    }
    if (code != TF_OK)
        tf_lineage_fini(lineage);
    tf_yaml_free(root);
    return code;
}
