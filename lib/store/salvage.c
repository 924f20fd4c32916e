#include "store/salvage.h"

#include "base/mem.h"
#include "store/store.h"
#include <inttypes.h>
#include <string.h>

enum { BLOCK = 1 << 20 }; /* bytes of the file looked at in one go */

struct search {
    struct tf_store *store; /* its directory is filled in when a trailer is found */
    uint64_t max_memory;
    uint64_t budget; /* bytes of directories that may still be read */
    size_t trailers; /* whose own checksum holds */
    struct tf_trailer trailer;
    uint64_t at; /* of the trailer */
};

/* ---- the trailer ---- */

/* Is there a trailer at byte `at`, with a directory whose checksum holds before it? TF_OK: it was
 * opened. TF_NO: go on looking. Else the search is over: what checksums vouch for is no accident,
 * and will not become better. */
static enum tf_code try_trailer(struct search *search, uint64_t at, struct tf_err *err)
{
    struct tf_store *store = search->store;
    struct tf_trailer *trailer = &search->trailer;
    uint8_t bytes[TF_FRAME_SIZE];
    struct tf_err mine = {0};
    enum tf_code code = tf_in_read(&store->in, at, bytes, sizeof(bytes), err);

    if (code != TF_OK)
        return code;
    if (tf_trailer_unpack(trailer, bytes, store->in.size, &mine) != TF_OK)
        return TF_NO;
    search->trailers++;
    /* Directories do not overlap, so all that were ever written fit into the file. Trailers made to
     * share one cannot make the search take long. */
    if (trailer->directory_coded > at || trailer->directory_coded > search->budget)
        return TF_NO;
    search->budget -= trailer->directory_coded;
    search->at = at;
    code = tf_store_index(store, trailer, at - trailer->directory_coded, search->max_memory, &mine);
    if (code != TF_OK && code != TF_NO && err != NULL)
        *err = mine;
    return code;
}

/* Trailers that begin in the block's first `count` bytes, which stand at byte `at` of the file, the
 * last first. */
static enum tf_code search_block(struct search *search, const uint8_t *block, size_t count,
                                 uint64_t at, struct tf_err *err)
{
    enum tf_code code = TF_NO;

    while (count > 0 && code == TF_NO) {
        const uint8_t *found = memrchr(block, TF_TRAILER_FIRST, count);

        if (found == NULL)
            return TF_NO;
        count = (size_t)(found - block);
        if (tf_trailer_begins(found))
            code = try_trailer(search, at + count, err);
    }
    return code;
}

/* From the end of the file to its beginning. */
static enum tf_code find_trailer(struct search *search, struct tf_err *err)
{
    const struct tf_in *in = &search->store->in;
    uint8_t *block = tf_new(BLOCK + TF_FRAME_SIZE, 1, "block", err);
    uint64_t end = in->size < TF_FRAME_SIZE ? 0 : in->size - TF_FRAME_SIZE + 1;
    enum tf_code code = block == NULL ? TF_MEMORY : TF_NO;

    search->budget = in->size;
    while (end > 0 && code == TF_NO) {
        size_t count = end < BLOCK ? (size_t)end : BLOCK;

        end -= count;
        code = tf_in_read(in, end, block, count + TF_FRAME_SIZE - 1, err);
        if (code == TF_OK)
            code = search_block(search, block, count, end, err);
    }
    tf_free(block);
    if (code != TF_NO)
        return code;
    return tf_fail(err, TF_DATA,
                   "nothing to recover: no trailer with its directory before it in %" PRIu64
                   " bytes (%zu without)",
                   in->size, search->trailers);
}

/* ---- the header ---- */

/* Looks for it at byte `at`. One that is whole must be of a kind that we read. */
static enum tf_code try_header(struct tf_store *store, uint64_t at, bool *good, struct tf_err *err)
{
    uint8_t bytes[TF_FRAME_SIZE];

    if (at > store->in.size - TF_FRAME_SIZE)
        return TF_OK;
    enum tf_code code = tf_in_read(&store->in, at, bytes, sizeof(bytes), err);
    if (code != TF_OK || !tf_header_begins(bytes) || !tf_frame_intact(bytes))
        return code;
    code = tf_header_unpack(&store->header, bytes, err);
    *good = code == TF_OK;
    return code;
}

/* ---- the chunks ---- */

static size_t count_good(const bool *good, size_t count)
{
    size_t sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += good[i];
    return sum;
}

/* Moves the chunks that are not good by so many bytes, and looks whether they are good there. Sums
 * go round at 2^64: what then lies outside of the file cannot be read, and is not good. */
static enum tf_code try_moved(struct tf_store *store, uint64_t shift, bool *good,
                              struct tf_err *err)
{
    for (size_t c = 0; c < store->directory.chunk_count; c++)
        if (!good[c])
            store->directory.chunks[c].offset += shift;
    return tf_store_try_chunks(store, good, err);
}

/* Counted from the trailer, chunks are `shift` bytes from where they are recorded; counted from the
 * file's first byte, 0. *from_start: was any found only so? */
static enum tf_code find_chunks(struct tf_store *store, uint64_t shift, bool *good,
                                bool *from_start, struct tf_err *err)
{
    size_t all = store->directory.chunk_count, found;
    enum tf_code code = try_moved(store, shift, good, err);

    found = count_good(good, all);
    if (code != TF_OK || shift == 0 || found == all)
        return code;
    code = try_moved(store, 0 - shift, good, err);
    *from_start |= count_good(good, all) > found;
    return code;
}

/* ---- the whole ---- */

static enum tf_code salvage(struct search *search, bool **good, struct tf_salvage *found,
                            struct tf_err *err)
{
    struct tf_store *store = search->store;
    enum tf_code code = find_trailer(search, err);
    bool from_start = false;
    uint64_t end = search->at + TF_FRAME_SIZE, shift = end - search->trailer.file_size;

    if (code != TF_OK)
        return code;
    *found = (struct tf_salvage){
        .file_size = store->in.size, .trailer_at = search->at, .after = store->in.size - end};
    *good = tf_new(store->directory.chunk_count, sizeof(**good), "chunk states", err);
    if (*good == NULL)
        return TF_MEMORY;
    code = try_header(store, shift, &found->header_good, err);
    if (code == TF_OK && !found->header_good && shift != 0) {
        code = try_header(store, 0, &found->header_good, err);
        from_start = found->header_good;
    }
    if (code == TF_OK)
        code = find_chunks(store, shift, *good, &from_start, err);
    found->lost = store->directory.chunk_count - count_good(*good, store->directory.chunk_count);
    if (end < search->trailer.file_size)
        found->missing = search->trailer.file_size - end;
    else if (from_start)
        found->inside = shift;
    else
        found->before = shift;
    return code;
}

enum tf_code tf_store_salvage(struct tf_store **out, bool **good, struct tf_salvage *found,
                              const char *path, uint64_t max_memory, struct tf_err *err)
{
    struct search search = {.max_memory = max_memory};
    enum tf_code code;

    *out = NULL;
    *good = NULL;
    *found = (struct tf_salvage){0};
    search.store = tf_new(1, sizeof(*search.store), "store", err);
    if (search.store == NULL)
        return TF_MEMORY;
    code = tf_in_open(&search.store->in, path, err);
    if (code == TF_OK) {
        code = salvage(&search, good, found, err);
        if (code != TF_OK && code != TF_IO) /* a failed read names the path itself */
            tf_context(err, "%s", path);
    }
    if (code == TF_OK) {
        *out = search.store;
        return TF_OK;
    }
    tf_store_close(search.store);
    tf_free(*good);
    *good = NULL;
    return code;
}
