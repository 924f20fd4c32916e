/* Edits of whole tables and of what goes with them: config keys and scales, tables left out, other
 * dtypes, full chunks. */
#include "base/mem.h"
#include "store/codec.h"
#include "text/yaml.h"
#include "train/surgery.h"
#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MAX_SCALE 1e12 /* as that of the config's keys */

/* ---- set ---- */

/* Keys of the config that only say again what is stored elsewhere. */
static const struct {
    const char *key, *reason;
} told[] = {
    {"model.kind", "the tables say it"},
    {"model.num_layers", "the tables say it"},
    {"model.hidden_size", "the tables say it"},
    {"model.vocab_multiple", "the tables say it"},
    {"model.tie_embeddings", "the tables say it"},
    {"model.qkv_tokens", "the tables say it; slice and append change them"},
    {"model.proj_tokens", "the tables say it; slice and append change them"},
    {"model.ffn_tokens", "the tables say it; slice and append change them"},
    {"model.qkv_scale", "it is for new models; set 'layers.*.attn.[qkv].scale'"},
    {"model.proj_scale", "it is for new models; set 'layers.*.attn.o.scale'"},
    {"model.ffn_scale", "it is for new models; set 'layers.*.ffn.scale'"},
    {"data.tokenizer", "the stored tokenizer says it"},
    {"data.separator", "the stored tokenizer says it"},
};

static bool is_config_key(const char *name, size_t n)
{
    for (size_t i = 0; i < tf_config_keys(); i++) {
        struct tf_config_doc key = tf_config_key(i);
        size_t section = strlen(key.section);
        if (n == section + 1 + strlen(key.key) && strncmp(name, key.section, section) == 0 &&
            name[section] == '.' && strncmp(name + section + 1, key.key, n - section - 1) == 0)
            return true;
    }
    return false;
}

static enum tf_code set_key(struct tf_edit *edit, const char *assignment, size_t name,
                            struct tf_err *err)
{
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (strlen(told[i].key) == name && strncmp(told[i].key, assignment, name) == 0)
            return tf_fail(err, TF_USAGE, "%s: cannot be set: %s", told[i].key, told[i].reason);
    edit->new_config = true;
    return tf_config_assign(&edit->config, "", assignment, err);
}

/* Both tables of a Pattention carry its scale. */
static void scale_group(struct tf_edit *edit, const char *group, double scale)
{
    static const char *const tables[] = {"keys", "values"};

    for (int i = 0; i < 2; i++) {
        char name[TF_MAX_NAME + 8];
        snprintf(name, sizeof name, "%s.%s", group, tables[i]);
        struct tf_edit_table *table = tf_edit_find(edit, name);
        if (!table || table->info.scale == scale)
            continue;
        table->info.scale = scale;
        edit->verb = "set";
        tf_edit_worsen(edit, TF_EFFECT_CHANGED, "%s has another scale", group);
    }
}

/* `name` bytes of the assignment are PATTENTION.scale. */
static enum tf_code set_scale(struct tf_edit *edit, const char *assignment, size_t name,
                              struct tf_err *err)
{
    struct tf_yaml value = {.kind = TF_YAML_SCALAR};
    struct tf_selection groups = {0};
    double scale;
    char *pattern = tf_strndup(assignment, name - strlen(".scale"), err);
    char *text = tf_strdup(assignment + name + 1, err);
    enum tf_code code = pattern && text ? TF_OK : TF_MEMORY;

    value.text = text;
    if (!code && edit->from->shape.kind == TF_TRANSFORMER)
        code =
            tf_fail(err, TF_USAGE, "%s.scale: cannot be set: a transformer has no scales", pattern);
    if (!code && !(tf_yaml_real(&value, &scale) && scale > 0 && scale <= MAX_SCALE))
        code = tf_fail(err, TF_USAGE, "%s.scale: expected a number above 0, up to %g, found \"%s\"",
                       pattern, MAX_SCALE, text);
    if (!code)
        code = tf_select(&groups, edit->from->store, TF_SELECT_GROUPS,
                         (const char *const[]){pattern}, 1, err);
    if (!code)
        code = tf_selection_whole(&groups, edit->from->store, err);
    for (size_t i = 0; !code && i < groups.count; i++)
        scale_group(edit, groups.items[i].name, scale);
    tf_selection_fini(&groups);
    tf_free(pattern);
    tf_free(text);
    return code;
}

static enum tf_code set_one(struct tf_edit *edit, const char *assignment, struct tf_err *err)
{
    static const char end[] = ".scale";
    size_t name = strcspn(assignment, "="), n = strlen(end);

    if (assignment[name] == '\0')
        return tf_fail(err, TF_USAGE, "'%s': expected KEY=VALUE", assignment);
    if (!is_config_key(assignment, name) && name > n && strncmp(assignment + name - n, end, n) == 0)
        return set_scale(edit, assignment, name, err);
    return set_key(edit, assignment, name, err);
}

/* What model.* keys that can be set do to the function. The length of context does nothing to it:
 * positions count from the first token; nor does what a transformer does not use. */
static void judge_config(struct tf_edit *edit)
{
    const struct tf_config *old = &edit->from->config, *now = &edit->config;
    const struct {
        const char *key;
        bool changed, harmless;
    } keys[] = {
        {"num_attention_heads", old->model.num_attention_heads != now->model.num_attention_heads,
         false},
        {"norm_activation", old->model.norm_activation != now->model.norm_activation,
         edit->from->shape.kind == TF_TRANSFORMER},
        {"rotary_pct", old->model.rotary_pct != now->model.rotary_pct, false},
        {"rotary_base", old->model.rotary_base != now->model.rotary_base, false},
        {"seq_length", old->model.seq_length != now->model.seq_length, true},
    };

    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (!keys[i].changed)
            continue;
        edit->verb = "set";
        if (!keys[i].harmless)
            tf_edit_worsen(edit, TF_EFFECT_CHANGED, "model.%s is another", keys[i].key);
    }
}

enum tf_code tf_surgery_set(struct tf_edit *edit, const char *const *assignments, size_t count,
                            struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < count; i++)
        code = set_one(edit, assignments[i], err);
    if (!code)
        code = tf_config_check(&edit->config, err);
    if (!code)
        judge_config(edit);
    return code;
}

/* ---- drop ---- */

/* A table without its optimizer state is one that training starts afresh with: half of it would be
 * worse than none. */
static void drop_moments(struct tf_edit *edit, const char *table)
{
    static const char *const prefixes[] = {"optim.m/", "optim.v/"};

    for (int i = 0; i < 2; i++) {
        char name[TF_MAX_NAME + 16];
        snprintf(name, sizeof name, "%s%s", prefixes[i], table);
        struct tf_edit_table *moment = tf_edit_find(edit, name);
        if (moment)
            moment->dropped = true;
    }
}

static enum tf_code drop_table(struct tf_edit *edit, const char *name, struct tf_err *err)
{
    struct tf_edit_table *table = tf_edit_find(edit, name);

    if (table->info.role == TF_PARAMETER)
        return tf_fail(err, TF_USAGE, "%s: is a parameter; the model cannot be without it", name);
    table->dropped = true;
    if (table->info.role == TF_MOMENT && strchr(name, '/'))
        drop_moments(edit, strchr(name, '/') + 1);
    return TF_OK;
}

static enum tf_code drop_optimizer(struct tf_edit *edit, struct tf_err *err)
{
    bool any = false;

    for (size_t i = 0; i < edit->table_count; i++) {
        struct tf_edit_table *table = &edit->tables[i];
        if (table->info.role == TF_MOMENT)
            any = table->dropped = true;
    }
    if (any)
        return TF_OK;
    return tf_fail(err, TF_NOINPUT, "%s: has no optimizer state", tf_store_path(edit->from->store));
}

static enum tf_code drop_selection(struct tf_edit *edit, const char *text, struct tf_err *err)
{
    struct tf_selection tables = {0};
    enum tf_code code = tf_select(&tables, edit->from->store, TF_SELECT_TABLES, &text, 1, err);

    if (!code)
        code = tf_selection_whole(&tables, edit->from->store, err);
    for (size_t i = 0; !code && i < tables.count; i++)
        code = drop_table(edit, tables.items[i].name, err);
    tf_selection_fini(&tables);
    return code;
}

static bool has_moments(const struct tf_edit *edit)
{
    for (size_t i = 0; i < edit->table_count; i++)
        if (edit->tables[i].info.role == TF_MOMENT && !edit->tables[i].dropped)
            return true;
    return false;
}

enum tf_code tf_surgery_drop(struct tf_edit *edit, const char *const *names, size_t count,
                             struct tf_err *err)
{
    enum tf_code code = TF_OK;

    for (size_t i = 0; !code && i < count; i++)
        code = strcmp(names[i], "optim") == 0 ? drop_optimizer(edit, err)
                                              : drop_selection(edit, names[i], err);
    if (!code && edit->state.updates > 0 && !has_moments(edit)) {
        edit->state.updates = 0; /* they are behind the moments */
        edit->new_state = true;
    }
    return code;
}

/* ---- cast ---- */

/* Rows on their way to another dtype, and back. */
struct trial {
    enum tf_dtype dtype;
    float *floats;
    uint8_t *packed;
    float *back;
    bool exact; /* every number so far survived */
};

/* n numbers, `cols` a row, from row `row` of a table. */
static enum tf_code try_numbers(struct trial *trial, const struct tf_table_info *info, uint64_t row,
                                size_t n, struct tf_err *err)
{
    tf_dtype_pack(trial->packed, trial->dtype, trial->floats, n);
    tf_dtype_unpack(trial->back, trial->dtype, trial->packed, n);
    if (memcmp(trial->back, trial->floats, n * sizeof *trial->back) == 0)
        return TF_OK;
    trial->exact = false;
    for (size_t i = 0; i < n; i++)
        if (isinf(trial->back[i]) && !isinf(trial->floats[i]))
            return tf_fail(err, TF_DATA, "table %s: row %" PRIu64 ": %g is too large for %s",
                           info->name, row + i / info->cols, (double)trial->floats[i],
                           tf_dtype_name(trial->dtype));
    return TF_OK;
}

/* Reads a table chunk by chunk. */
static enum tf_code try_table(struct trial *trial, const struct tf_store *store, size_t index,
                              struct tf_err *err)
{
    const struct tf_table_info *info = tf_store_table(store, index);
    uint64_t row = 0, rows, most = 0;
    enum tf_code code;

    for (uint32_t c = 0; c < info->chunk_count; c++) {
        rows = tf_store_chunk(store, info->first_chunk + c)->rows;
        most = rows > most ? rows : most;
    }
    trial->floats = tf_new(most * info->cols, sizeof *trial->floats, "rows", err);
    trial->packed = tf_new(most * info->cols, tf_dtype_width(trial->dtype), "rows", err);
    trial->back = tf_new(most * info->cols, sizeof *trial->back, "rows", err);
    code = trial->floats && trial->packed && trial->back ? TF_OK : TF_MEMORY;
    for (uint32_t c = 0; !code && c < info->chunk_count; c++, row += rows) {
        rows = tf_store_chunk(store, info->first_chunk + c)->rows;
        code = tf_store_read(store, index, row, rows, trial->floats, info->cols, err);
        if (!code && try_numbers(trial, info, row, rows * info->cols, err))
            code = tf_context(err, "%s", tf_store_path(store));
    }
    tf_free(trial->floats);
    tf_free(trial->packed);
    tf_free(trial->back);
    return code;
}

static enum tf_code cast_table(struct tf_edit *edit, size_t index, enum tf_dtype dtype,
                               struct tf_err *err)
{
    const struct tf_table_info *from = tf_store_table(edit->from->store, index);
    struct trial trial = {.dtype = dtype, .exact = true};
    enum tf_code code = TF_OK;

    if (from->dtype == dtype)
        return TF_OK;
    if (dtype != TF_F32) /* which holds all that the others do */
        code = try_table(&trial, edit->from->store, index, err);
    if (code)
        return code;
    tf_edit_find(edit, from->name)->info.dtype = dtype;
    if (from->role == TF_PARAMETER)
        edit->verb = "cast";
    if (from->role == TF_PARAMETER && !trial.exact)
        tf_edit_worsen(edit, TF_EFFECT_CHANGED, "numbers of %s are rounded to %s", from->name,
                       tf_dtype_name(dtype));
    return TF_OK;
}

enum tf_code tf_surgery_cast(struct tf_edit *edit, enum tf_dtype dtype, const char *const *names,
                             size_t count, struct tf_err *err)
{
    const struct tf_store *store = edit->from->store;
    struct tf_selection tables = {0};
    enum tf_code code = TF_OK;

    if (count > 0)
        code = tf_select(&tables, store, TF_SELECT_TABLES, names, count, err);
    if (!code)
        code = tf_selection_whole(&tables, store, err);
    for (size_t i = 0; !code && i < tables.count; i++)
        code = cast_table(edit, tables.items[i].table, dtype, err);
    for (size_t i = 0; !code && count == 0 && i < tf_store_tables(store); i++)
        if (tf_store_table(store, i)->role == TF_PARAMETER)
            code = cast_table(edit, i, dtype, err);
    tf_selection_fini(&tables);
    return code;
}

/* ---- repack ---- */

void tf_surgery_repack(struct tf_edit *edit)
{
    for (size_t i = 0; i < edit->table_count; i++)
        edit->tables[i].again = true;
}
