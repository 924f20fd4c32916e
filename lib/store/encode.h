/* Making chunks ready for the file, many at a time. For this layer alone. */
#ifndef TF_STORE_ENCODE_H
#define TF_STORE_ENCODE_H

#include "base/err.h"
#include "store/store.h"
#include <stdbool.h>

/* Rows to write: numbers that are yet to be packed, bytes as they go into chunks, or chunks of
 * another checkpoint. */
struct tf_rows {
    const struct tf_table_info *table; /* that they are for */
    bool begins;                       /* the table does with them */
    const float *floats;
    size_t stride;               /* floats from row to row */
    const uint8_t *bytes;        /* packed */
    const struct tf_store *from; /* not NULL: chunks first_chunk .. of its table from_table */
    size_t from_table;
    uint32_t first_chunk;
    size_t row_size;      /* bytes on disk */
    uint64_t count, step; /* rows in all, and a chunk */
    uint64_t start, end;  /* their chunks, among those of all rows in a list */
};

/* Bytes of an encoder's buffers. */
struct tf_crew_room {
    size_t raw, coded;
};

struct tf_encoder; /* what one thread needs */

/* Threads that encode together, for one list of rows after another. Zeroed at first, but for path
 * and level. */
struct tf_crew {
    const char *path; /* borrowed: the file's, for messages */
    int level;        /* zstd's */
    struct tf_crew_room room;
    struct tf_encoder *encoders; /* one a thread */
    int threads;
};

/* Encoders with so much room at least: fewer when chunks are large. */
TF_MUST_USE enum tf_code tf_crew_fit(struct tf_crew *crew, struct tf_crew_room room,
                                     struct tf_err *err);
void tf_crew_fini(struct tf_crew *crew);

/* Takes chunk `i` of some rows, ready for the file. */
typedef enum tf_code tf_put(void *arg, const struct tf_rows *rows, uint64_t i,
                            const struct tf_chunk_info *info, const uint8_t *coded,
                            struct tf_err *err);

/* Makes all chunks of a list of rows ready in parallel, and puts them in their order. The first
 * error in that order is the one, and nothing is put after it. */
TF_MUST_USE enum tf_code tf_crew_run(struct tf_crew *crew, const struct tf_rows *list, size_t count,
                                     tf_put *put, void *arg, struct tf_err *err);

#endif
