/* Decoding chunks, many at a time. For this layer alone. */
#ifndef TF_STORE_DECODE_H
#define TF_STORE_DECODE_H

#include "base/err.h"
#include "store/digest.h"
#include "store/store.h"
#include <stdbool.h>

/* Rows of a table, and where they go: as f32, as they are stored, into a digest, or nowhere when
 * they are only checked. Of chunks that hold only some of them, all is checked. */
struct tf_request {
    const struct tf_store *store;
    size_t table;
    uint64_t row, count;
    float *floats;
    size_t stride;        /* floats from row to row */
    uint8_t *bytes;       /* packed */
    struct tf_hash *hash; /* only for the rows of a single chunk, since it wants them in order */
    bool *good; /* of each chunk of the table: those that are not are tried, and none is an error */
    bool coded; /* the coded bytes are checked, and nothing is decoded */
};

struct tf_decoder; /* what one thread needs */

/* Bytes of a decoder's buffers. */
struct tf_room {
    size_t coded, decoded, piece;
};

/* Threads that decode together, for some requests after others. Zeroed at first. */
struct tf_team {
    struct tf_room room;
    struct tf_decoder *decoders; /* one a thread: `made` of `most` that there may be */
    int made, most;
    int threads;     /* for these requests */
    uint64_t failed; /* request and chunk: of several errors that of the lowest is reported */
    struct tf_err err;
};

/* Carries requests for tables of one store out; threads go on from one to the next. Memory stays in
 * bounds: there are fewer threads when chunks are large. */
TF_MUST_USE enum tf_code tf_team_read(struct tf_team *team, const struct tf_request *requests,
                                      size_t count, struct tf_err *err);
void tf_team_fini(struct tf_team *team);

#endif
