/* Opening a damaged checkpoint: what of it is still there. */
#ifndef TF_STORE_SALVAGE_H
#define TF_STORE_SALVAGE_H

#include "base/err.h"
#include "store/reader.h"
#include <stdbool.h>

/* What was found, in bytes of the file unless said. */
struct tf_salvage {
    uint64_t file_size, trailer_at;
    bool header_good;
    uint64_t before, inside, after; /* that are no part of the checkpoint */
    uint64_t missing;               /* that the checkpoint should have, and the file has not */
    size_t lost;                    /* chunks */
};

/* Looks for the last valid trailer in a file (its own checksum, and a directory before it whose
 * checksum holds), wherever it stands, and opens what it describes. good (owned by the caller,
 * tf_free): one bool a chunk: was its frame found, and do its checksum, its decoded rows and their
 * checksum verify? Chunks are looked for both counted from where the trailer is and from where the
 * file begins, so that bytes put in, left out or put before the checkpoint lose only what they
 * touch. A chunk that cannot be read at all is lost, too.
 *
 * The store reads good chunks through the ordinary functions; lost ones fail. A damaged header does
 * not matter, but one that is whole and tells of a version or of features that this program does
 * not know does. No such trailer: TF_DATA. */
TF_MUST_USE enum tf_code tf_store_salvage(struct tf_store **out, bool **good,
                                          struct tf_salvage *found, const char *path,
                                          uint64_t max_memory, struct tf_err *err);

#endif
