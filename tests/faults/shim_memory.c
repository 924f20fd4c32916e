/* Allocations: the n-th fails, and those still live at the end are told. They are those that main
 * and what it calls make; the loader's and libgomp's are let through, for these end the process
 * themselves when they get nothing. */
#include "shim.h"

#include <errno.h>
#include <execinfo.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* NOLINTBEGIN(bugprone-reserved-identifier): glibc's own, under names that nobody takes over. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *block, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *block);
/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- where code is ---- */

enum { OBJECTS = 64 };

/* The code of each program and library. */
static struct object {
    uintptr_t begin, end;
    bool is_spared; /* its allocations are let through */
} objects[OBJECTS];
static size_t object_count;
static bool with_stacks;

static int note_object(struct dl_phdr_info *info, size_t size, void *own_code)
{
    const uintptr_t *self = own_code;
    const char *slash = strrchr(info->dlpi_name, '/'),
               *name = slash == NULL ? info->dlpi_name : slash + 1;
    bool is_spared = strncmp(name, "ld-linux", 8) == 0 || strncmp(name, "libgomp", 7) == 0;

    (void)size;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + part->p_vaddr, end = begin + part->p_memsz;
        bool is_self = *self >= begin && *self < end;
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) && object_count < OBJECTS)
            objects[object_count++] = (struct object){begin, end, is_spared || is_self};
    }
    return 0;
}

void shim_memory_start(void)
{
    with_stacks = getenv("TF_FAULT_STACKS") != NULL;
    backtrace(&(void *){NULL}, 1); /* the first call allocates */
    dl_iterate_phdr(note_object, &(uintptr_t){(uintptr_t)note_object});
}

static const struct object *object_of(const void *code)
{
    for (size_t i = 0; i < object_count; i++)
        if ((uintptr_t)code >= objects[i].begin && (uintptr_t)code < objects[i].end)
            return &objects[i];
    return NULL;
}

static bool is_counted(const void *caller)
{
    const struct object *object = shim_running ? object_of(caller) : NULL;

    return object != NULL && !object->is_spared;
}

/* ---- the live blocks: a hash table with linear probing ---- */

enum { SLOTS = 1 << 16 };

static struct block {
    uintptr_t at; /* 0: free */
    size_t size;
    unsigned long number; /* which allocation it was */
} blocks[SLOTS];
static atomic_flag busy = ATOMIC_FLAG_INIT;
static atomic_ulong allocations;

static size_t home(uintptr_t at)
{
    return (size_t)((at >> 4) * 0x9e3779b97f4a7c15u >> 48) % SLOTS;
}

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        ;
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static void remember(void *memory, size_t size, unsigned long number)
{
    size_t i = home((uintptr_t)memory);

    lock();
    while (blocks[i].at != 0)
        i = (i + 1) % SLOTS;
    blocks[i] = (struct block){(uintptr_t)memory, size, number};
    unlock();
}

/* Takes a block out and moves those behind it up, so that no probe ends too early. */
static struct block forget(const void *memory)
{
    size_t i = home((uintptr_t)memory);
    struct block found;

    lock();
    while (blocks[i].at != 0 && blocks[i].at != (uintptr_t)memory)
        i = (i + 1) % SLOTS;
    found = blocks[i];
    if (found.at != 0) {
        for (size_t j = (i + 1) % SLOTS; blocks[j].at != 0; j = (j + 1) % SLOTS) {
            size_t from = home(blocks[j].at);
            if ((j - from) % SLOTS < (j - i) % SLOTS)
                continue; /* it would come to stand before its home */
            blocks[i] = blocks[j];
            i = j;
        }
        blocks[i].at = 0;
    }
    unlock();
    return found;
}

void shim_memory_end(void)
{
    size_t leaks = 0;

    for (size_t i = 0; i < SLOTS; i++) {
        const struct block *block = &blocks[i];
        /* libc keeps the buffers of its standard streams until the process ends. */
        if (block->at == 0 || block->at == (uintptr_t)stdout->_IO_buf_base ||
            block->at == (uintptr_t)stderr->_IO_buf_base)
            continue;
        shim_report("live: %zu bytes of allocation %lu\n", block->size, block->number);
        leaks++;
    }
    shim_report("allocations %lu\nleaks %zu\n", atomic_load(&allocations), leaks);
}

/* ---- the calls ---- */

enum { DEPTH = 40 };

/* Reports a number that stands for the stack of callers. */
static void report_stack(void)
{
    void *callers[DEPTH];
    int depth = backtrace(callers, DEPTH);
    uint64_t sum = 0;

    for (int i = 0; i < depth; i++) {
        const struct object *object =
            object_of(callers[i]); /* which stands elsewhere in each run */
        uintptr_t place = (uintptr_t)callers[i] - (object == NULL ? 0 : object->begin);
        sum = (sum ^ sum >> 29 ^ place) * 0x9e3779b97f4a7c15u;
    }
    shim_report("allocation %llx\n", (unsigned long long)sum);
}

/* The number of a counted allocation; 0 when it is not counted. *fail: it is the one. */
static unsigned long count(const void *caller, bool *fail)
{
    unsigned long number = is_counted(caller) ? atomic_fetch_add(&allocations, 1) + 1 : 0;

    if (number != 0 && with_stacks)
        report_stack();
    *fail = number != 0 && number == shim_plan.at && shim_plan.at_what != NULL &&
            strcmp(shim_plan.at_what, "memory") == 0;
    if (*fail)
        errno = ENOMEM;
    return number;
}

static void *keep(void *memory, size_t size, unsigned long number)
{
    if (number != 0 && memory != NULL)
        remember(memory, size, number);
    return memory;
}

void *malloc(size_t size)
{
    bool fail;
    unsigned long number = count(__builtin_return_address(0), &fail);

    return fail ? NULL : keep(__libc_malloc(size), size, number);
}

void *calloc(size_t n, size_t size)
{
    bool fail;
    unsigned long number = count(__builtin_return_address(0), &fail);

    return fail ? NULL : keep(__libc_calloc(n, size), n * size, number);
}

void *realloc(void *block, size_t size)
{
    bool fail;
    unsigned long number = count(__builtin_return_address(0), &fail);
    struct block old = {0};
    void *moved;

    if (fail)
        return NULL;
    if (block != NULL)
        old = forget(block); /* before another thread may be given its place */
    moved = __libc_realloc(block, size);
    if (moved == NULL && size != 0)
        keep(block, old.size, old.number);
    return keep(moved, size, number);
}

static void *align(size_t alignment, size_t size, const void *caller)
{
    bool fail;
    unsigned long number = count(caller, &fail);

    return fail ? NULL : keep(__libc_memalign(alignment, size), size, number);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return align(alignment, size, __builtin_return_address(0));
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = align(alignment, size, __builtin_return_address(0));

    if (memory == NULL)
        return ENOMEM;
    *out = memory;
    return 0;
}

void free(void *block)
{
    if (block != NULL)
        forget(block);
    __libc_free(block);
}
