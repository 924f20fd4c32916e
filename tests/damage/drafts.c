/* Tables, chunks and blobs that are each sound in form and wrong for a model, or made to exhaust
 * the reader. */
#include "cases.h"

#include <stdio.h>
#include <string.h>

/* ---- names ---- */

static void set_name(struct draft *draft, size_t table, const char *name)
{
    snprintf(draft->tables[table].info.name, sizeof(draft->tables[table].info.name), "%s", name);
}

static void name_upper(struct draft *draft)
{
    set_name(draft, EMBED, "Embed.tokens");
}

static void name_space(struct draft *draft)
{
    set_name(draft, EMBED, "embed tokens");
}

static void name_escape(struct draft *draft)
{
    set_name(draft, EMBED, "embed\033[2J\033]0;owned\a");
}

static void name_c1(struct draft *draft)
{
    set_name(draft, EMBED,
             "embed\x9b"
             "2J");
}

static void name_utf8(struct draft *draft)
{
    set_name(draft, EMBED, "embed\xc2\x9b.t\xc3\xb6kens");
}

static void name_duplicate(struct draft *draft)
{
    set_name(draft, K_VALUES, draft->tables[K_KEYS].info.name);
}

static void name_unsorted(struct draft *draft)
{
    set_name(draft, EMBED, "zembed.tokens");
}

/* Of the right characters, and a path that leads elsewhere. */
static void name_path(struct draft *draft)
{
    draft_add(draft, "zz/../../../tmp/owned", TF_BUFFER, 1, 1);
}

/* ---- tables ---- */

static void no_tables(struct draft *draft)
{
    draft->table_count = 0;
}

static void table_missing(struct draft *draft)
{
    draft_drop(draft, NORM_WEIGHT);
}

static void table_unknown(struct draft *draft)
{
    draft_add(draft, "zz.weight", TF_PARAMETER, 1, 4);
}

static void table_buffer(struct draft *draft)
{
    draft_add(draft, "zz.notes", TF_BUFFER, 1, 4);
}

static void moment_unknown(struct draft *draft)
{
    draft_add(draft, "optim.w/norm.weight", TF_MOMENT, 1, 4);
}

static void moment_second_missing(struct draft *draft)
{
    draft_drop(draft, SECOND_MOMENTS + NORM_WEIGHT);
}

static void moment_first_missing(struct draft *draft)
{
    draft_drop(draft, FIRST_MOMENTS + EMBED);
}

static void rows_unlike_config(struct draft *draft)
{
    draft->tables[K_KEYS].info.row_group = 0;
    draft_rows(draft, K_KEYS, 3);
}

static void rows_unlike_group(struct draft *draft)
{
    draft_rows(draft, K_KEYS, 3);
}

static void cols_unlike_config(struct draft *draft)
{
    draft->tables[K_KEYS].info.cols = 5;
    draft_rows(draft, K_KEYS, 2);
}

static void moment_rows(struct draft *draft)
{
    draft->tables[FIRST_MOMENTS + FFN_KEYS].info.row_group = 0;
    draft_rows(draft, FIRST_MOMENTS + FFN_KEYS, 4);
}

static void moment_cols(struct draft *draft)
{
    draft->tables[FIRST_MOMENTS + FFN_KEYS].info.cols = 3;
    draft_rows(draft, FIRST_MOMENTS + FFN_KEYS, 3);
}

static void embed_rows(struct draft *draft)
{
    draft_rows(draft, EMBED, 255);
}

/* ---- the other kind of model ---- */

/* Its tables from K_KEYS on: k, o, q, v and the MLP. */
enum { MATRIX_Q = K_KEYS + 2, UNITS = K_KEYS + 4 };

/* Keys become matrices, values go, and nothing has a scale. */
static void transformer(struct draft *draft)
{
    for (size_t i = BASE_TABLES; i-- > 0;) {
        size_t like = i % FIRST_MOMENTS;
        char *name = draft->tables[i].info.name;

        draft->tables[i].info.scale = 0;
        if (like < K_KEYS || like >= FFN_KEYS)
            continue;
        if ((like - K_KEYS) % 2 == 1) {
            draft_drop(draft, i);
            continue;
        }
        strcpy(strrchr(name, '.'), ".weight");
        draft_rows(draft, i, 4);
    }
    draft_blob(draft, TF_BLOB_CONFIG,
               "model:\n  kind: transformer\n  num_layers: 1\n  hidden_size: 4\n"
               "  num_attention_heads: 2\n  ffn_tokens: 3\n  seq_length: 8\n"
               "data:\n  separator: none\n");
}

static void transformer_rows(struct draft *draft)
{
    transformer(draft);
    draft_rows(draft, MATRIX_Q, 5);
}

static void transformer_scale(struct draft *draft)
{
    transformer(draft);
    draft->tables[UNITS].info.scale = draft->tables[UNITS + 1].info.scale = 3;
}

/* A matrix that is one of tokens as well. */
static void transformer_keys(struct draft *draft)
{
    transformer(draft);
    set_name(draft, MATRIX_Q, "layers.0.attn.q.keys");
}

/* ---- what takes memory or time ---- */

/* A table of zeros, far larger than its file. */
static void add_zeros(struct draft *draft, uint32_t chunks, uint32_t rows)
{
    struct table *table = draft_add(draft, "zz.zeros", TF_BUFFER, 1, 4);
    struct chunk zeros = {.rows = rows, .raw = {take((size_t)rows * 16), (size_t)rows * 16}};

    zeros.coded = make_frame(zeros.raw);
    table->chunks = take(chunks * sizeof(zeros));
    table->chunk_count = chunks;
    for (uint32_t i = 0; i < chunks; i++)
        table->chunks[i] = zeros;
}

static void chunks_of_zeros(struct draft *draft)
{
    add_zeros(draft, 8, (16 << 20) / 16);
}

/* Four GiB of zeros that no model wants: refused before one of them is made. */
static void zeros_unknown(struct draft *draft)
{
    add_zeros(draft, 256, (16 << 20) / 16);
    draft->tables[draft->table_count - 1].info.role = TF_PARAMETER;
}

static void chunk_over_cap(struct draft *draft)
{
    add_zeros(draft, 1, (16 << 20) / 16 + 1);
}

static void many_chunks(struct draft *draft)
{
    struct table *table = draft_add(draft, "zz.many", TF_BUFFER, 1, 1);
    struct chunk one = table->chunks[0];

    one.coded = make_frame(one.raw);
    table->chunk_count = 1 << 18;
    table->chunks = take(table->chunk_count * sizeof(one));
    for (uint32_t i = 0; i < table->chunk_count; i++)
        table->chunks[i] = one;
}

static void many_tables(struct draft *draft)
{
    struct table *few = draft->tables;
    struct chunk one;

    draft->tables = take(TF_MAX_TABLES * sizeof(*few));
    memcpy(draft->tables, few, BASE_TABLES * sizeof(*few));
    one = draft_add(draft, "zz.00000", TF_BUFFER, 1, 1)->chunks[0];
    one.coded = make_frame(one.raw);
    while (draft->table_count < TF_MAX_TABLES) {
        struct table *table = &draft->tables[draft->table_count];

        *table = table[-1];
        snprintf(table->info.name, sizeof(table->info.name), "zz.%05zu", draft->table_count++);
        table->chunks = take(sizeof(one));
        table->chunks[0] = one;
    }
}

static void long_names(struct draft *draft)
{
    for (int i = 0; i < 3; i++) {
        struct table *table = draft_add(draft, "", TF_BUFFER, 1, 1);

        memset(table->info.name, 'z', TF_MAX_NAME);
        table->info.name[TF_MAX_NAME - 1] = (char)('a' + i);
    }
}

/* The directory's frame says and holds other bytes; the trailer agrees with it. */
static void other_directory(struct draft *draft, void (*recode)(struct bytes *, struct bytes),
                            uint32_t size)
{
    struct patch *patches = take(2 * sizeof(*patches));

    patches[0] = (struct patch){TRAILER, 0, 28, 4, size};
    draft->patches = patches;
    draft->recode = recode;
}

enum { ZEROS = 60 << 20, SHORT = 15 };

static void recode_zeros(struct bytes *coded, struct bytes raw)
{
    (void)raw;
    *coded = make_frame((struct bytes){take(ZEROS), ZEROS});
}

static void directory_zeros(struct draft *draft)
{
    other_directory(draft, recode_zeros, ZEROS);
}

static void recode_short(struct bytes *coded, struct bytes raw)
{
    raw.size = SHORT;
    *coded = make_frame(raw);
}

static void directory_short(struct draft *draft)
{
    other_directory(draft, recode_short, SHORT);
}

static void directory_spare(struct draft *draft)
{
    draft->spare = make_bytes("spare", 5);
}

/* ---- blobs ---- */

static void config_missing(struct draft *draft)
{
    draft->blobs[TF_BLOB_CONFIG].size = 0;
}

static void tokenizer_missing(struct draft *draft)
{
    draft->blobs[TF_BLOB_TOKENIZER].size = 0;
}

/* A good checkpoint whose separator is a command to a terminal. */
static void tokenizer_escape(struct draft *draft)
{
    static const size_t embeds[] = {EMBED, FIRST_MOMENTS, SECOND_MOMENTS};

    for (size_t i = 0; i < sizeof(embeds) / sizeof(*embeds); i++)
        draft_rows(draft, embeds[i], 272);
    draft_blob(draft, TF_BLOB_TOKENIZER, "kind: bytes\nseparator: \"\\e]0;owned\\a\\e[2J\\x9b\"\n");
}

static void state_missing(struct draft *draft)
{
    draft->blobs[TF_BLOB_STATE].size = draft->blobs[TF_BLOB_LINEAGE].size = 0;
}

/* Kept, head and tail of a text with `count` times `piece` between them. */
static void repeat(struct draft *draft, enum tf_blob kind, const char *head, const char *piece,
                   size_t count, const char *tail)
{
    size_t n = strlen(piece);
    struct bytes middle = {take(n * count), n * count};

    for (size_t i = 0; i < count; i++)
        memcpy(middle.at + i * n, piece, n);
    draft->blobs[kind] =
        join(join(make_bytes(head, strlen(head)), middle), make_bytes(tail, strlen(tail)));
}

/* `count` lines "    layers.N.ffn: [1, 2]" after head. */
static void number_lines(struct draft *draft, enum tf_blob kind, const char *head,
                         const char *format, unsigned count)
{
    size_t used = strlen(head), room = used + 64 * (size_t)count;
    char *text = take(room);

    strcpy(text, head);
    for (unsigned i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, room - used, format, i);
    draft->blobs[kind] = make_bytes(text, used);
}

static void config_blanks(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model:\n", " ", 12 << 20, "\n");
}

static void config_long_line(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model: # ", "x", 2 << 20, "\n");
}

static void config_deep(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model: ", "[", 16, "]]]]]]]]]]]]]]]]\n");
}

static void config_deep_bomb(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model: ", "[", 1 << 20, "\n");
}

static void config_deep_keys(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "", "{a: ", 1 << 18, "\n");
}

static void config_many_keys(struct draft *draft)
{
    number_lines(draft, TF_BLOB_CONFIG, "model:\n", "  key%u: 1\n", 49000);
}

static void config_many_values(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model:\n  qkv_tokens: [2", ", 2", 1 << 18, "]\n");
}

static void config_long_name(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model:\n  ", "x", 900, ": 1\n");
}

static void config_long_value(struct draft *draft)
{
    repeat(draft, TF_BLOB_CONFIG, "model:\n  num_layers: ", "9", 1 << 20, "\n");
}

static void config_nul(struct draft *draft)
{
    draft->blobs[TF_BLOB_CONFIG].at[6] = 0;
}

static void lineage_long(struct draft *draft)
{
    number_lines(draft, TF_BLOB_LINEAGE,
                 "- event: grow\n  from: \"\"\n  keys: zero\n  values: random\n  scale: keep\n"
                 "  seed: 1\n  rows:\n",
                 "    layers.%u.ffn: [1, 2]\n", 24000);
}

const struct draft_case draft_cases[] = {
    {"base", NULL},
    {"name-upper", name_upper},
    {"name-space", name_space},
    {"name-escape", name_escape},
    {"name-c1", name_c1},
    {"name-utf8", name_utf8},
    {"name-duplicate", name_duplicate},
    {"name-unsorted", name_unsorted},
    {"name-path", name_path},
    {"no-tables", no_tables},
    {"table-missing", table_missing},
    {"table-unknown", table_unknown},
    {"table-buffer", table_buffer},
    {"moment-unknown", moment_unknown},
    {"moment-first-missing", moment_first_missing},
    {"moment-second-missing", moment_second_missing},
    {"rows-unlike-config", rows_unlike_config},
    {"rows-unlike-group", rows_unlike_group},
    {"cols-unlike-config", cols_unlike_config},
    {"moment-rows", moment_rows},
    {"moment-cols", moment_cols},
    {"embed-rows", embed_rows},
    {"transformer", transformer},
    {"transformer-rows", transformer_rows},
    {"transformer-scale", transformer_scale},
    {"transformer-keys", transformer_keys},
    {"chunks-of-zeros", chunks_of_zeros},
    {"zeros-unknown", zeros_unknown},
    {"chunk-over-cap", chunk_over_cap},
    {"many-chunks", many_chunks},
    {"many-tables", many_tables},
    {"long-names", long_names},
    {"directory-zeros", directory_zeros},
    {"directory-short", directory_short},
    {"directory-spare", directory_spare},
    {"config-missing", config_missing},
    {"tokenizer-missing", tokenizer_missing},
    {"tokenizer-escape", tokenizer_escape},
    {"state-missing", state_missing},
    {"config-blanks", config_blanks},
    {"config-long-line", config_long_line},
    {"config-deep", config_deep},
    {"config-deep-bomb", config_deep_bomb},
    {"config-deep-keys", config_deep_keys},
    {"config-many-keys", config_many_keys},
    {"config-many-values", config_many_values},
    {"config-long-name", config_long_name},
    {"config-long-value", config_long_value},
    {"config-nul", config_nul},
    {"lineage-long", lineage_long},
    {0},
};
