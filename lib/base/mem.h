/* Memory: checked allocation, and planned memory (an arena whose size is known before it is
 * taken). */
#ifndef TF_BASE_MEM_H
#define TF_BASE_MEM_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>

#define TF_ALIGN 64 /* bytes: a cache line, and the widest vector */

/* *out = a * b (or a + b); false when it does not fit. */
static inline bool tf_mul(size_t *out, size_t a, size_t b)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool tf_add(size_t *out, size_t a, size_t b)
{
    return !__builtin_add_overflow(a, b, out);
}

/* count objects of size bytes, zeroed, aligned to TF_ALIGN; the caller frees with tf_free. NULL
 * after setting err (TF_MEMORY, naming `what` and the bytes). A count of 0 gives a valid
 * pointer. */
TF_MUST_USE void *tf_new(size_t count, size_t size, const char *what, struct tf_err *err);
void tf_free(void *memory);
/* Room for one more in an array of `count` objects whose room was made by this function alone
 * (NULL: none yet): it doubles whenever count is a power of two. The array, which may have moved,
 * what is new of it zeroed; NULL after setting err, and the old one stays. */
TF_MUST_USE void *tf_more(void *array, size_t count, size_t size, const char *what,
                          struct tf_err *err);

/* A copy of a string, or of its first n bytes; freed with tf_free. */
TF_MUST_USE char *tf_strdup(const char *text, struct tf_err *err);
TF_MUST_USE char *tf_strndup(const char *text, size_t n, struct tf_err *err);

/* Planned memory. A plan is walked twice by the same code: first with base NULL, where every take
 * only counts and returns NULL; then, after tf_arena_alloc, handing out the pieces. Sizes past
 * SIZE_MAX set `overflow`. */
struct tf_arena {
    uint8_t *base;
    size_t used; /* bytes handed out, or counted */
    size_t size; /* bytes owned */
    bool overflow;
};

/* count objects of size bytes, zeroed, aligned to TF_ALIGN. NULL while counting. */
void *tf_arena_take(struct tf_arena *arena, size_t count, size_t size);
/* Ends the counting pass: takes what was counted, and rewinds. */
TF_MUST_USE enum tf_code tf_arena_alloc(struct tf_arena *arena, const char *what,
                                        struct tf_err *err);
void tf_arena_fini(struct tf_arena *arena);

/* Bytes of physical memory that this machine has; 0 when it does not say. */
uint64_t tf_memory_physical(void);

#endif
