/* A checkpoint in parts, small and right, to be damaged at any of them and put together with every
 * checksum, size and offset made to fit, so that a reader reaches the fault itself. The bytes
 * depend on no compressor: frames are written here, in stored and run-length blocks. */
#ifndef TF_TESTS_DAMAGE_DRAFT_H
#define TF_TESTS_DAMAGE_DRAFT_H

#include "store/directory.h"
#include "store/frame.h"
#include <stddef.h>
#include <stdint.h>

struct bytes {
    uint8_t *at;
    size_t size;
};

/* The base checkpoint's tables, in the order of their names; each moment's place is that of its
 * table, plus FIRST_MOMENTS or SECOND_MOMENTS. */
enum {
    EMBED,
    K_KEYS,
    K_VALUES,
    O_KEYS,
    O_VALUES,
    Q_KEYS,
    Q_VALUES,
    V_KEYS,
    V_VALUES,
    FFN_KEYS, /* in two chunks; all others in one */
    FFN_VALUES,
    NORM_BIAS,
    NORM_WEIGHT,
    FIRST_MOMENTS,
    SECOND_MOMENTS = 2 * FIRST_MOMENTS,
    BASE_TABLES = 3 * FIRST_MOMENTS
};

struct chunk {
    uint32_t rows;
    struct bytes raw, coded; /* coded.at is NULL until it is made from raw */
};

struct table {
    struct tf_table_info info; /* rows and chunks are counted from what follows */
    struct chunk *chunks;
    uint32_t chunk_count;
};

/* A number in a record of the packed directory, in the header or in the trailer. */
enum part { NOTHING, HEADER, COUNTS, NAMES, TABLE, CHUNK, BLOB, TRAILER };
struct patch {
    enum part part;
    unsigned index, offset, width; /* which record; where in it; bytes */
    uint64_t value;
};

struct draft {
    struct tf_header header;
    struct table *tables;
    size_t table_count;
    struct bytes blobs[TF_BLOBS];
    const struct patch *patches; /* ended by NOTHING; NULL: none */
    /* Changes the directory's frame before its checksum is taken; raw is what it holds. NULL: none.
     */
    void (*recode)(struct bytes *coded, struct bytes raw);
    struct bytes spare; /* bytes after the directory's records */
};

/* Memory for one draft; taken all together by the next draft_begin. Ends the program when there is
 * too little. */
void *take(size_t size);
struct bytes make_bytes(const void *from, size_t size);
struct bytes join(struct bytes a, struct bytes b);

/* A zstd frame of single segment with size and checksum: blocks of one byte repeated where they
 * are that, else stored. */
struct bytes make_frame(struct bytes raw);

/* The base: a model of one layer and width 4 with its moments, config, tokenizer, state and
 * lineage. */
void draft_begin(struct draft *draft);
void draft_blob(struct draft *draft, enum tf_blob kind, const char *text);
/* Some rows of a table as one chunk. */
struct chunk make_chunk(uint32_t rows, uint32_t cols);
/* Gives a table other rows, in one chunk. */
void draft_rows(struct draft *draft, size_t table, uint32_t rows);
void draft_drop(struct draft *draft, size_t table);
/* At the end; returns it. */
struct table *draft_add(struct draft *draft, const char *name, enum tf_role role, uint32_t rows,
                        uint32_t cols);
/* The whole file. */
struct bytes draft_finish(struct draft *draft);

#endif
