#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, size) ((void)(at), (void)(size))
#endif

/* calloc's block is larger than asked for: the aligned bytes begin somewhere in it, and the pointer
 * to free stands just before them. So pages that calloc got fresh from the system stay untouched
 * until they are used. */
void *tf_new(size_t count, size_t size, const char *what, struct tf_err *err)
{
    size_t bytes, total;
    uint8_t *raw, *aligned;

    if (!tf_mul(&bytes, count, size) || !tf_add(&total, bytes, sizeof(raw) + TF_ALIGN)) {
        tf_fail(err, TF_MEMORY, "out of memory: %s needs %zu times %zu bytes", what, count, size);
        return NULL;
    }
    raw = calloc(1, total);
    if (raw == NULL) {
        tf_fail(err, TF_MEMORY, "out of memory: %s needs %zu bytes", what, bytes);
        return NULL;
    }
    aligned = raw + sizeof(raw);
    aligned += -(uintptr_t)aligned % TF_ALIGN;
    memcpy(aligned - sizeof(raw), &raw, sizeof(raw));
    /* What alignment leaves over is out of bounds, too, where AddressSanitizer looks on. */
    ASAN_POISON_MEMORY_REGION(aligned + bytes, (size_t)(raw + total - (aligned + bytes)));
    return aligned;
}

void tf_free(void *memory)
{
    void *raw;

    if (memory == NULL)
        return;
    memcpy(&raw, (uint8_t *)memory - sizeof(raw), sizeof(raw));
    free(raw);
}

void *tf_more(void *array, size_t count, size_t size, const char *what, struct tf_err *err)
{
    void *larger;

    if ((count & (count - 1)) != 0)
        return array;
    larger = tf_new(count == 0 ? 1 : 2 * count, size, what, err);
    if (larger == NULL)
        return NULL;
    if (count > 0)
        memcpy(larger, array, count * size);
    tf_free(array);
    return larger;
}

char *tf_strdup(const char *text, struct tf_err *err)
{
    return tf_strndup(text, strlen(text), err);
}

char *tf_strndup(const char *text, size_t n, struct tf_err *err)
{
    size_t length = strnlen(text, n);
    char *copy = tf_new(length + 1, 1, "text", err);

    if (copy != NULL)
        memcpy(copy, text, length);
    return copy;
}

void *tf_arena_take(struct tf_arena *arena, size_t count, size_t size)
{
    size_t bytes, end, start = arena->used;

    /* Each piece is rounded up, so every piece starts aligned. */
    if (!tf_mul(&bytes, count, size) || !tf_add(&bytes, bytes, -bytes % TF_ALIGN) ||
        !tf_add(&end, start, bytes) || (arena->base != NULL && end > arena->size)) {
        arena->overflow = true;
        return NULL;
    }
    arena->used = end;
    return arena->base == NULL ? NULL : arena->base + start;
}

enum tf_code tf_arena_alloc(struct tf_arena *arena, const char *what, struct tf_err *err)
{
    if (arena->overflow)
        return tf_fail(err, TF_MEMORY, "out of memory: %s needs more than %zu bytes", what,
                       SIZE_MAX);
    arena->base = tf_new(arena->used, 1, what, err);
    if (arena->base == NULL)
        return TF_MEMORY;
    arena->size = arena->used;
    arena->used = 0;
    return TF_OK;
}

void tf_arena_fini(struct tf_arena *arena)
{
    tf_free(arena->base);
    *arena = (struct tf_arena){0};
}

uint64_t tf_memory_physical(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    return pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
}
