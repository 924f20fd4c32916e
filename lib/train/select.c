#include "train/select.h"

#include "base/mem.h"
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

/* One text, taken apart. */
struct query {
    const char *text;
    char name[TF_MAX_NAME + 1]; /* or pattern, before the rows */
    const char *rows;           /* "[...]", to the text's end; NULL: all */
    size_t ranges;              /* that it gives of each table, at most */
    bool found;                 /* something has its name */
    bool group;                 /* ... a Pattention, and so it means no tables */
};

bool tf_group_name(char out[TF_MAX_NAME + 1], const char *table)
{
    static const char *const ends[] = {".keys", ".values"};
    const char *slash = strrchr(table, '/'), *name = slash ? slash + 1 : table;
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        size_t end = strlen(ends[i]);
        if (n > end && strcmp(name + n - end, ends[i]) == 0) {
            memcpy(out, name, n - end);
            out[n - end] = '\0';
            return true;
        }
    }
    return false;
}

/* ---- texts ---- */

static enum tf_code not_rows(const struct query *query, struct tf_err *err)
{
    size_t n = strcspn(query->text, "[");

    return tf_fail(err, TF_USAGE, "'%s' is not a selection of rows: write %.*s[2:9]", query->text,
                   n > TF_MAX_NAME ? (int)TF_MAX_NAME : (int)n, query->text);
}

/* Names end in letters, rows have none: "attn.[qkv]" is a pattern, "ffn[2:9]" has rows. */
static bool has_letter(const char *text)
{
    while (*text && !((*text | 32) >= 'a' && (*text | 32) <= 'z'))
        text++;
    return *text != '\0';
}

/* The last brackets are rows, if they can be; those before them belong to the pattern. */
static enum tf_code split(struct query *query, const char *text, struct tf_err *err)
{
    size_t n = strlen(text);
    const char *open = n > 0 && text[n - 1] == ']' ? strrchr(text, '[') : NULL;

    if (open && has_letter(open))
        open = NULL;
    *query = (struct query){.text = text, .rows = open, .ranges = 1};
    if (open)
        n = (size_t)(open - text);
    for (const char *at = open; at && *at; at++)
        query->ranges += *at == ',';
    if (n == 0)
        return tf_fail(err, TF_USAGE, "'%s' names nothing: write NAME or NAME[2:9]", text);
    if (n > TF_MAX_NAME)
        return tf_fail(err, TF_USAGE, "'%s' is longer than any name: %zu bytes, at most %u", text,
                       n, TF_MAX_NAME);
    memcpy(query->name, text, n);
    return TF_OK;
}

/* Reads [-]DIGITS as a row of a table of `rows`: from its end when negative. *at is moved past it.
 * What is too large or before the first row becomes UINT64_MAX, which no table reaches. */
static bool take_row(const char **at, uint64_t rows, uint64_t *out)
{
    bool negative = **at == '-';
    const char *digits = *at + negative;
    uint64_t n = 0;
    bool fits = true;

    for (; *digits >= '0' && *digits <= '9'; digits++)
        fits = fits && !__builtin_mul_overflow(n, 10u, &n) &&
               !__builtin_add_overflow(n, (uint64_t)(*digits - '0'), &n);
    if (digits == *at + negative)
        return false;
    *at = digits;
    if (!fits || (negative && n > rows))
        *out = UINT64_MAX;
    else
        *out = negative ? rows - n : n;
    return true;
}

/* One of "5", "-1", "2:9", ":9", "2:", ":"; false when it is none. */
static bool take_range(const char **at, uint64_t rows, struct tf_rows *out)
{
    out->first = 0;
    out->end = rows;
    bool first = take_row(at, rows, &out->first), colon = **at == ':';

    if (colon) {
        ++*at;
        take_row(at, rows, &out->end);
    } else if (first) {
        out->end = out->first < rows ? out->first + 1 : UINT64_MAX;
    }
    return first || colon;
}

/* Adds the rows of a table of `rows` that a query gives to those of item. */
static enum tf_code add_rows(struct tf_selected *item, const struct query *query, uint64_t rows,
                             struct tf_err *err)
{
    const char *at = query->rows;

    if (!at) {
        item->rows[item->row_count++] = (struct tf_rows){0, rows};
        return TF_OK;
    }
    do {
        struct tf_rows *range = &item->rows[item->row_count++];
        at++;
        if (!take_range(&at, rows, range) || (*at != ',' && *at != ']'))
            return not_rows(query, err);
        if (range->first >= range->end || range->end > rows)
            return tf_fail(err, TF_USAGE, "'%s' is not within the %llu rows of %s", query->text,
                           (unsigned long long)rows, item->name);
    } while (*at == ',');
    return at[1] == '\0' ? TF_OK : not_rows(query, err);
}

static int compare_rows(const void *a, const void *b)
{
    uint64_t x = ((const struct tf_rows *)a)->first, y = ((const struct tf_rows *)b)->first;

    return (x > y) - (x < y);
}

/* Sorts; ranges that overlap or touch become one. */
static void merge_rows(struct tf_selected *item)
{
    size_t count = 0;

    qsort(item->rows, item->row_count, sizeof *item->rows, compare_rows);
    for (size_t i = 0; i < item->row_count; i++) {
        struct tf_rows next = item->rows[i], *last = &item->rows[count - (count > 0)];
        if (count == 0 || next.first > last->end)
            item->rows[count++] = next;
        else if (next.end > last->end)
            last->end = next.end;
    }
    item->row_count = count;
}

/* ---- what they mean ---- */

/* A selection under way. */
struct search {
    const struct tf_store *store;
    unsigned kinds;
    struct query *queries; /* owned */
    size_t count;
};

/* Table i under the name of one kind: its own, or the Pattention's whose keys it is. */
static bool candidate(const struct search *search, size_t i, unsigned kind,
                      char name[TF_MAX_NAME + 1])
{
    const struct tf_table_info *info = tf_store_table(search->store, i);
    char values[TF_MAX_NAME + 8];

    if (!(search->kinds & kind))
        return false;
    if (kind == TF_SELECT_TABLES) {
        strcpy(name, info->name);
        return true;
    }
    if (info->role != TF_PARAMETER || !tf_group_name(name, info->name) ||
        strcmp(info->name + strlen(name), ".keys") != 0)
        return false;
    strcat(strcpy(values, name), ".values");
    return tf_store_find(search->store, values) != SIZE_MAX;
}

static bool matches(const struct query *query, unsigned kind, const char *name)
{
    return !(kind == TF_SELECT_TABLES && query->group) && fnmatch(query->name, name, 0) == 0;
}

/* How many ranges the queries of a name give, at most; 0 when none is about it. They are marked as
 * found. */
static size_t ask(struct search *search, unsigned kind, const char *name)
{
    size_t ranges = 0;

    for (size_t q = 0; q < search->count; q++) {
        struct query *query = &search->queries[q];
        if (matches(query, kind, name)) {
            query->found = true;
            ranges += query->ranges;
        }
    }
    return ranges;
}

/* The candidates of a kind that queries are about. */
static size_t count_items(struct search *search, unsigned kind)
{
    char name[TF_MAX_NAME + 1];
    size_t count = 0;

    for (size_t i = 0; i < tf_store_tables(search->store); i++)
        count += candidate(search, i, kind, name) && ask(search, kind, name) > 0;
    return count;
}

/* Was the other kind meant? */
static const char *hint(const struct search *search, const struct query *query)
{
    const struct search other = {.store = search->store,
                                 .kinds = search->kinds ^ (TF_SELECT_TABLES | TF_SELECT_GROUPS)};
    char name[TF_MAX_NAME + 1];

    for (size_t i = 0; i < tf_store_tables(other.store); i++)
        if (candidate(&other, i, other.kinds, name) && matches(query, other.kinds, name))
            return other.kinds == TF_SELECT_GROUPS ? ", but a Pattention does"
                                                   : ", but a table does";
    return "";
}

/* A query that nothing matches: a bad row list after a good name, or a name that is not there. */
static enum tf_code not_found(const struct search *search, const struct query *query,
                              struct tf_err *err)
{
    static const char *const what[] = {[TF_SELECT_TABLES] = "table",
                                       [TF_SELECT_GROUPS] = "Pattention",
                                       [TF_SELECT_TABLES | TF_SELECT_GROUPS] =
                                           "table or Pattention"};
    struct query prefix = {0};
    char name[TF_MAX_NAME + 1];
    size_t n = strcspn(query->name, "[");

    memcpy(prefix.name, query->name, n);
    for (size_t i = 0; query->name[n] != '\0' && i < tf_store_tables(search->store); i++)
        for (unsigned kind = TF_SELECT_TABLES; kind <= TF_SELECT_GROUPS; kind *= 2)
            if (candidate(search, i, kind, name) && matches(&prefix, kind, name))
                return not_rows(query, err);
    return tf_fail(err, TF_NOINPUT, "%s: no %s matches '%s'%s", tf_store_path(search->store),
                   what[search->kinds], query->name, hint(search, query));
}

/* The rows that all queries together give of a candidate: `room` ranges at most. */
static enum tf_code fill_item(struct tf_selected *item, size_t room, const struct search *search,
                              struct tf_err *err)
{
    uint64_t rows = tf_store_table(search->store, item->table)->rows;
    unsigned kind = item->group ? TF_SELECT_GROUPS : TF_SELECT_TABLES;
    enum tf_code code = TF_OK;

    item->rows = tf_new(room, sizeof *item->rows, "row ranges", err);
    if (!item->rows)
        return TF_MEMORY;
    for (size_t q = 0; !code && q < search->count; q++)
        if (matches(&search->queries[q], kind, item->name))
            code = add_rows(item, &search->queries[q], rows, err);
    if (!code)
        merge_rows(item);
    return code;
}

static enum tf_code fill(struct tf_selection *out, struct search *search, unsigned kind,
                         struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < tf_store_tables(search->store); i++) {
        struct tf_selected *item = &out->items[out->count];
        char name[TF_MAX_NAME + 1];
        size_t room = candidate(search, i, kind, name) ? ask(search, kind, name) : 0;
        if (room == 0)
            continue;
        out->count++;
        item->table = i;
        item->group = kind == TF_SELECT_GROUPS;
        strcpy(item->name, name);
        code = fill_item(item, room, search, err);
    }
    return code;
}

static int compare_items(const void *a, const void *b)
{
    const struct tf_selected *x = a, *y = b;
    int order = strcmp(x->name, y->name);

    return order ? order : x->group - y->group;
}

static enum tf_code run(struct tf_selection *out, struct search *search, const char *const *texts,
                        struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t q = 0; !code && q < search->count; q++)
        code = split(&search->queries[q], texts[q], err);
    if (code)
        return code;
    size_t count = count_items(search, TF_SELECT_GROUPS);
    for (size_t q = 0; q < search->count; q++)
        search->queries[q].group = search->queries[q].found;
    count += count_items(search, TF_SELECT_TABLES);
    for (size_t q = 0; q < search->count; q++)
        if (!search->queries[q].found)
            return not_found(search, &search->queries[q], err);
    out->items = tf_new(count, sizeof *out->items, "a selection", err);
    code = out->items ? fill(out, search, TF_SELECT_GROUPS, err) : TF_MEMORY;
    if (!code)
        code = fill(out, search, TF_SELECT_TABLES, err);
    if (!code)
        qsort(out->items, out->count, sizeof *out->items, compare_items);
    return code;
}

enum tf_code tf_select(struct tf_selection *out, const struct tf_store *store, unsigned kinds,
                       const char *const *texts, size_t count, struct tf_err *err)
{
    struct search search = {.store = store, .kinds = kinds, .count = count};
    enum tf_code code = TF_MEMORY;

    memset(out, 0, sizeof *out);
    search.queries = tf_new(count, sizeof *search.queries, "selections", err);
    if (search.queries)
        code = run(out, &search, texts, err);
    tf_free(search.queries);
    if (code)
        tf_selection_fini(out);
    return code;
}

void tf_selection_fini(struct tf_selection *selection)
{
    for (size_t i = 0; i < selection->count; i++)
        tf_free(selection->items[i].rows);
    tf_free(selection->items);
    memset(selection, 0, sizeof *selection);
}

uint64_t tf_selected_rows(const struct tf_selected *item)
{
    uint64_t count = 0;

    for (size_t i = 0; i < item->row_count; i++)
        count += item->rows[i].end - item->rows[i].first;
    return count;
}

enum tf_code tf_selection_whole(const struct tf_selection *selection, const struct tf_store *store,
                                struct tf_err *err)
{
    for (size_t i = 0; i < selection->count; i++) {
        const struct tf_selected *item = &selection->items[i];
        uint64_t rows = tf_store_table(store, item->table)->rows;
        if (item->rows[0].end - item->rows[0].first != rows)
            return tf_fail(err, TF_USAGE, "%s: rows cannot be chosen here, it is taken whole",
                           item->name);
    }
    return TF_OK;
}
