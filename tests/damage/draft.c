#include "draft.h"

#include "base/mem.h"
#include "store/bytes.h"
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

/* ---- memory ---- */

enum { ROOM = 192 << 20 };
static uint8_t *memory;
static size_t used;

void *take(size_t size)
{
    void *at;

    if (memory == NULL)
        memory = malloc(ROOM);
    if (memory == NULL || size > ROOM - used) {
        fputs("damage: out of memory\n", stderr);
        exit(TF_MEMORY);
    }
    at = memory + used;
    used += (size + 15) / 16 * 16;
    return memset(at, 0, size);
}

struct bytes make_bytes(const void *from, size_t size)
{
    struct bytes bytes = {take(size), size};

    if (size > 0)
        memcpy(bytes.at, from, size);
    return bytes;
}

struct bytes join(struct bytes a, struct bytes b)
{
    struct bytes both = {take(a.size + b.size), a.size + b.size};

    if (a.size > 0)
        memcpy(both.at, a.at, a.size);
    if (b.size > 0)
        memcpy(both.at + a.size, b.at, b.size);
    return both;
}

/* ---- frames ---- */

/* One block of at most 128 KiB; returns where it ends. */
static uint8_t *put_block(uint8_t *out, const uint8_t *raw, size_t n, bool last)
{
    enum { STORED = 0, REPEATED = 1 };
    bool same = n > 4 && memcmp(raw, raw + 1, n - 1) == 0;
    uint32_t head = (uint32_t)n << 3 | (uint32_t)(same ? REPEATED : STORED) << 1 | last;
    size_t size = same ? 1 : n;

    for (int i = 0; i < 3; i++)
        out[i] = (uint8_t)(head >> 8 * i);
    memcpy(out + 3, raw, size);
    return out + 3 + size;
}

struct bytes make_frame(struct bytes raw)
{
    enum { MOST = 128 << 10, SIZE_OF_4 = 2 << 6, SINGLE_SEGMENT = 0x20, CHECKSUM = 0x04 };
    struct bytes frame = {take(raw.size + 3 * (raw.size / MOST + 1) + 13), 0};
    uint8_t *at = frame.at;
    size_t done = 0;

    tf_put_u32(at, 0xfd2fb528);
    at[4] = SIZE_OF_4 | SINGLE_SEGMENT | CHECKSUM;
    tf_put_u32(at + 5, (uint32_t)raw.size);
    at += 9;
    do {
        size_t n = raw.size - done < MOST ? raw.size - done : MOST;
        at = put_block(at, raw.at + done, n, done + n == raw.size);
        done += n;
    } while (done < raw.size);
    tf_put_u32(at, (uint32_t)XXH64(raw.at, raw.size, 0));
    frame.size = (size_t)(at + 4 - frame.at);
    return frame;
}

/* ---- the base ---- */

enum { LAYER_WIDTH = 4, QKV = 2, PROJ = 2, FFN = 3, ROOM_TO_ADD = 4 /* tables */ };

static const struct {
    const char *name;
    uint32_t rows, cols, row_group, scale;
} base_tables[FIRST_MOMENTS] = {
    [EMBED] = {"embed.tokens", 256, LAYER_WIDTH, 1, 0},
    [K_KEYS] = {"layers.0.attn.k.keys", QKV, LAYER_WIDTH, 2, QKV},
    [K_VALUES] = {"layers.0.attn.k.values", QKV, LAYER_WIDTH, 2, QKV},
    [O_KEYS] = {"layers.0.attn.o.keys", PROJ, LAYER_WIDTH, 3, PROJ},
    [O_VALUES] = {"layers.0.attn.o.values", PROJ, LAYER_WIDTH, 3, PROJ},
    [Q_KEYS] = {"layers.0.attn.q.keys", QKV, LAYER_WIDTH, 4, QKV},
    [Q_VALUES] = {"layers.0.attn.q.values", QKV, LAYER_WIDTH, 4, QKV},
    [V_KEYS] = {"layers.0.attn.v.keys", QKV, LAYER_WIDTH, 5, QKV},
    [V_VALUES] = {"layers.0.attn.v.values", QKV, LAYER_WIDTH, 5, QKV},
    [FFN_KEYS] = {"layers.0.ffn.keys", FFN, LAYER_WIDTH, 6, FFN},
    [FFN_VALUES] = {"layers.0.ffn.values", FFN, LAYER_WIDTH, 6, FFN},
    [NORM_BIAS] = {"norm.bias", 1, LAYER_WIDTH, 7, 0},
    [NORM_WEIGHT] = {"norm.weight", 1, LAYER_WIDTH, 8, 0},
};

static const char config[] = "model:\n"
                             "  num_layers: 1\n"
                             "  hidden_size: 4\n"
                             "  num_attention_heads: 2\n"
                             "  qkv_tokens: 2\n"
                             "  proj_tokens: 2\n"
                             "  ffn_tokens: 3\n"
                             "  seq_length: 8\n"
                             "data:\n"
                             "  separator: none\n"
                             "train:\n"
                             "  steps: 2\n";
static const char tokenizer[] = "kind: bytes\nseparator: none\n";
static const char state[] = "step: 1\ntokens: 8\nupdates: 1\ndata_hash: 1\n"
                            "best_loss: none\nbest_step: 0\nrecent: [5.5]\n";
static const char lineage[] = "- event: train\n  from: \"\"\n  steps: 1\n  tokens: 8\n";

void draft_blob(struct draft *draft, enum tf_blob kind, const char *text)
{
    draft->blobs[kind] = make_bytes(text, strlen(text));
}

struct chunk make_chunk(uint32_t rows, uint32_t cols)
{
    struct chunk chunk = {.rows = rows};

    chunk.raw.size = (size_t)rows * cols * 4;
    chunk.raw.at = take(chunk.raw.size);
    for (size_t i = 0; i < chunk.raw.size; i += 4) /* floats of 1/128 to 2 */
        tf_put_u32(chunk.raw.at + i, 0x3c000000 + (uint32_t)(i % 1021) * 0x10101);
    return chunk;
}

static void set_chunks(struct table *table, uint32_t count)
{
    table->chunks = take(count * sizeof(*table->chunks));
    table->chunk_count = count;
}

void draft_rows(struct draft *draft, size_t table, uint32_t rows)
{
    set_chunks(&draft->tables[table], 1);
    draft->tables[table].chunks[0] = make_chunk(rows, draft->tables[table].info.cols);
}

void draft_drop(struct draft *draft, size_t table)
{
    draft->table_count--;
    memmove(draft->tables + table, draft->tables + table + 1,
            (draft->table_count - table) * sizeof(*draft->tables));
}

struct table *draft_add(struct draft *draft, const char *name, enum tf_role role, uint32_t rows,
                        uint32_t cols)
{
    struct table *table = &draft->tables[draft->table_count++];

    *table = (struct table){.info = {.role = role, .dtype = TF_F32, .cols = cols}};
    snprintf(table->info.name, sizeof(table->info.name), "%s", name);
    set_chunks(table, 1);
    table->chunks[0] = make_chunk(rows, cols);
    return table;
}

void draft_begin(struct draft *draft)
{
    static const char *const prefixes[] = {"", "optim.m/", "optim.v/"};

    used = 0;
    *draft = (struct draft){.header = {.major = TF_MAJOR, .minor = TF_MINOR}};
    draft->tables = take((BASE_TABLES + ROOM_TO_ADD) * sizeof(*draft->tables));
    for (size_t i = 0; i < BASE_TABLES; i++) {
        size_t like = i % FIRST_MOMENTS;
        bool moment = i >= FIRST_MOMENTS;
        char name[64];
        struct table *table;

        snprintf(name, sizeof(name), "%s%s", prefixes[i / FIRST_MOMENTS], base_tables[like].name);
        table = draft_add(draft, name, moment ? TF_MOMENT : TF_PARAMETER, base_tables[like].rows,
                          base_tables[like].cols);
        table->info.row_group = base_tables[like].row_group;
        table->info.scale = moment ? 0 : base_tables[like].scale;
    }
    set_chunks(&draft->tables[FFN_KEYS], 2);
    draft->tables[FFN_KEYS].chunks[0] = make_chunk(FFN - 1, LAYER_WIDTH);
    draft->tables[FFN_KEYS].chunks[1] = make_chunk(1, LAYER_WIDTH);
    draft_blob(draft, TF_BLOB_CONFIG, config);
    draft_blob(draft, TF_BLOB_TOKENIZER, tokenizer);
    draft_blob(draft, TF_BLOB_STATE, state);
    draft_blob(draft, TF_BLOB_LINEAGE, lineage);
}

/* ---- putting it together ---- */

enum { RECORD = 40, BLOB_RECORD = 8, COUNTS_SIZE = 16, HASH_AT = TF_FRAME_SIZE - 8 };

static size_t count_chunks(const struct draft *draft)
{
    size_t count = 0;

    for (size_t i = 0; i < draft->table_count; i++)
        count += draft->tables[i].chunk_count;
    return count;
}

/* The record of a chunk whose frame begins at byte `offset`. */
static struct tf_chunk_info describe(struct chunk *chunk, uint64_t offset)
{
    if (chunk->coded.at == NULL)
        chunk->coded = make_frame(chunk->raw);
    return (struct tf_chunk_info){.offset = offset,
                                  .coded = (uint32_t)chunk->coded.size,
                                  .raw = (uint32_t)chunk->raw.size,
                                  .rows = chunk->rows,
                                  .coded_hash = XXH3_64bits(chunk->coded.at, chunk->coded.size),
                                  .raw_hash = XXH3_64bits(chunk->raw.at, chunk->raw.size)};
}

/* Records of all tables and chunks; the chunks' frames follow the header. Returns where they end.
 */
static uint64_t lay_out(struct tf_directory *directory, struct draft *draft)
{
    uint64_t offset = TF_FRAME_SIZE;

    directory->tables = take(draft->table_count * sizeof(*directory->tables));
    directory->chunks = take(count_chunks(draft) * sizeof(*directory->chunks));
    directory->table_count = draft->table_count;
    for (size_t i = 0; i < draft->table_count; i++) {
        struct table *table = &draft->tables[i];
        struct tf_table_info *info = &directory->tables[i];

        *info = table->info;
        info->first_chunk = (uint32_t)directory->chunk_count;
        info->chunk_count = table->chunk_count;
        for (uint32_t c = 0; c < table->chunk_count; c++) {
            directory->chunks[directory->chunk_count++] = describe(&table->chunks[c], offset);
            offset += table->chunks[c].coded.size;
            info->rows += table->chunks[c].rows;
        }
    }
    for (size_t kind = 0; kind < TF_BLOBS; kind++) {
        directory->blobs[kind] = (char *)draft->blobs[kind].at;
        directory->blob_sizes[kind] = draft->blobs[kind].size;
    }
    return offset;
}

static void put_number(uint8_t *at, const struct patch *patch)
{
    for (unsigned i = 0; i < patch->width; i++)
        at[i] = (uint8_t)(patch->value >> 8 * i);
}

/* A header or trailer, with its patches and then its checksum. */
static void patch_frame(uint8_t *frame, enum part part, const struct patch *patches)
{
    for (const struct patch *p = patches; p != NULL && p->part != NOTHING; p++)
        if (p->part == part)
            put_number(frame + p->offset, p);
    tf_put_u64(frame + HASH_AT, XXH3_64bits(frame, HASH_AT));
}

static void patch_directory(uint8_t *raw, const struct tf_directory *directory,
                            const struct patch *patches)
{
    size_t names = tf_get_u32(raw + 8);
    uint8_t *tables = raw + COUNTS_SIZE + names, *chunks = tables + directory->table_count * RECORD,
            *blobs = chunks + directory->chunk_count * RECORD;

    for (const struct patch *p = patches; p != NULL && p->part != NOTHING; p++) {
        uint8_t *at = p->part == COUNTS  ? raw
                      : p->part == NAMES ? raw + COUNTS_SIZE
                      : p->part == TABLE ? tables + p->index * RECORD
                      : p->part == CHUNK ? chunks + p->index * RECORD
                      : p->part == BLOB  ? blobs + p->index * BLOB_RECORD
                                         : NULL;
        if (at != NULL)
            put_number(at + p->offset, p);
    }
}

static struct bytes make_directory(struct draft *draft, const struct tf_directory *directory)
{
    struct tf_err err = {0};
    struct bytes raw;
    uint8_t *packed;
    size_t size;

    if (tf_directory_pack(directory, &packed, &size, &err) != TF_OK) {
        fprintf(stderr, "damage: %s\n", err.text);
        exit(err.code);
    }
    raw = join(make_bytes(packed, size), draft->spare);
    tf_free(packed);
    patch_directory(raw.at, directory, draft->patches);
    return raw;
}

struct bytes draft_finish(struct draft *draft)
{
    struct tf_directory directory = {0};
    uint64_t offset = lay_out(&directory, draft);
    struct bytes raw = make_directory(draft, &directory), coded = make_frame(raw), file;
    uint8_t *at;

    if (draft->recode != NULL)
        draft->recode(&coded, raw);
    file.size = offset + coded.size + TF_FRAME_SIZE;
    file.at = at = take(file.size);
    tf_header_pack(at, &draft->header);
    patch_frame(at, HEADER, draft->patches);
    at += TF_FRAME_SIZE;
    for (size_t i = 0; i < draft->table_count; i++)
        for (uint32_t c = 0; c < draft->tables[i].chunk_count; c++) {
            const struct bytes *frame = &draft->tables[i].chunks[c].coded;
            memcpy(at, frame->at, frame->size);
            at += frame->size;
        }
    memcpy(at, coded.at, coded.size);
    at += coded.size;
    tf_trailer_pack(at, &(struct tf_trailer){.directory_offset = offset,
                                             .directory_coded = (uint32_t)coded.size,
                                             .directory_raw = (uint32_t)raw.size,
                                             .directory_hash = XXH3_64bits(coded.at, coded.size),
                                             .file_size = file.size});
    patch_frame(at, TRAILER, draft->patches);
    return file;
}
