/* base/mem: checked allocation and arenas. */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN
#include <sanitizer/asan_interface.h>
#endif
#endif

/* With the address sanitizer, an allocation that fails must fail as it does without. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void assert_zeroed(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_int_equal(bytes[i], 0);
}

static void test_new_is_zeroed_and_aligned(void **state)
{
    struct tf_err err = {0};

    (void)state;
    for (size_t size = 0; size < 300; size += 7) {
        uint8_t *bytes = tf_new(size, 1, "bytes", &err);
        assert_non_null(bytes);
        assert_int_equal((uintptr_t)bytes % TF_ALIGN, 0);
        assert_zeroed(bytes, size);
        memset(bytes, 0xff, size);
        tf_free(bytes);
    }
    tf_free(NULL);
}

/* Else reads just past a block would go unseen in the build that is there to see them. */
static void test_new_ends_where_it_should(void **state)
{
    (void)state;
#ifdef ASAN
    struct tf_err err = {0};

    for (size_t size = 1; size < 300; size += 7) {
        uint8_t *bytes = tf_new(size, 1, "bytes", &err);
        assert_non_null(bytes);
        assert_false(__asan_address_is_poisoned(bytes + size - 1));
        assert_true(__asan_address_is_poisoned(bytes + size));
        tf_free(bytes);
    }
#else
    skip();
#endif
}

static void test_new_names_what_did_not_fit(void **state)
{
    struct tf_err err = {0};
    char expected[128];

    (void)state;
    assert_null(tf_new(SIZE_MAX / 2, 3, "key table", &err));
    assert_int_equal(err.code, TF_MEMORY);
    snprintf(expected, sizeof(expected), "out of memory: key table needs %zu times 3 bytes",
             SIZE_MAX / 2);
    assert_string_equal(err.text, expected);

    assert_null(tf_new(SIZE_MAX - 8, 1, "key table", &err)); /* fits, but not with its alignment */
    snprintf(expected, sizeof(expected), "out of memory: key table needs %zu times 1 bytes",
             SIZE_MAX - 8);
    assert_string_equal(err.text, expected);

    assert_null(tf_new(SIZE_MAX / 4, 1, "key table", &err));
    snprintf(expected, sizeof(expected), "out of memory: key table needs %zu bytes", SIZE_MAX / 4);
    assert_string_equal(err.text, expected);
    assert_null(tf_new(SIZE_MAX, SIZE_MAX, "key table", NULL));
}

/* Bytes of memory that this process has in use. */
static size_t resident(void)
{
    unsigned long total, pages;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &pages), 2);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void test_new_leaves_fresh_pages_alone(void **state)
{
    const size_t size = (size_t)256 << 20;
    struct tf_err err = {0};
    size_t before = resident();
    uint8_t *bytes = tf_new(size, 1, "bytes", &err);

    (void)state;
    assert_non_null(bytes);
    if (getenv("MALLOC_PERTURB_") == NULL) /* meson test sets it: glibc then fills every block */
        assert_true(resident() < before + size / 4);
    assert_int_equal(bytes[size - 1], 0);
    tf_free(bytes);
}

static void test_strings(void **state)
{
    struct tf_err err = {0};
    const char open_ended[3] = {'a', 'b', 'c'};
    char *text = tf_strdup("parameter", &err);

    (void)state;
    assert_string_equal(text, "parameter");
    tf_free(text);
    text = tf_strdup("", &err);
    assert_string_equal(text, "");
    tf_free(text);
    text = tf_strndup(open_ended, 3, &err);
    assert_string_equal(text, "abc");
    tf_free(text);
    text = tf_strndup("ab", 100, &err);
    assert_string_equal(text, "ab");
    tf_free(text);
}

static void test_mul_and_add(void **state)
{
    size_t out;

    (void)state;
    assert_true(tf_mul(&out, SIZE_MAX / 2, 2));
    assert_int_equal(out, SIZE_MAX - 1);
    assert_false(tf_mul(&out, SIZE_MAX / 2 + 1, 2));
    assert_true(tf_mul(&out, 0, SIZE_MAX));
    assert_int_equal(out, 0);
    assert_true(tf_add(&out, SIZE_MAX - 1, 1));
    assert_int_equal(out, SIZE_MAX);
    assert_false(tf_add(&out, SIZE_MAX, 1));
}

struct plan {
    float *rows;
    char *none;
    uint64_t *ids;
};

static void walk(struct plan *plan, struct tf_arena *arena)
{
    plan->rows = tf_arena_take(arena, 5, sizeof(float));
    plan->none = tf_arena_take(arena, 0, 1);
    plan->ids = tf_arena_take(arena, 9, sizeof(uint64_t));
}

static void test_arena_counts_then_hands_out(void **state)
{
    struct tf_arena arena = {0};
    struct tf_err err = {0};
    struct plan plan;

    (void)state;
    walk(&plan, &arena);
    assert_null(plan.rows);
    assert_null(plan.ids);
    assert_int_equal(arena.used, 64 + 128);
    assert_int_equal(tf_arena_alloc(&arena, "plan", &err), TF_OK);
    assert_int_equal(arena.used, 0);
    assert_int_equal(arena.size, 64 + 128);
    walk(&plan, &arena);
    assert_ptr_equal(plan.rows, arena.base);
    assert_non_null(plan.none);
    assert_ptr_equal(plan.ids, arena.base + 64);
    assert_zeroed(arena.base, arena.size);
    assert_false(arena.overflow);
    assert_int_equal(arena.used, arena.size);

    assert_null(tf_arena_take(&arena, 1, 1)); /* more than was planned */
    assert_true(arena.overflow);
    tf_arena_fini(&arena);
    assert_null(arena.base);
    tf_arena_fini(&arena);
}

static void expect_overflow(size_t first, size_t count, size_t size)
{
    struct tf_arena arena = {0};
    struct tf_err err = {0};
    char expected[128];

    tf_arena_take(&arena, first, 1);
    assert_false(arena.overflow);
    assert_null(tf_arena_take(&arena, count, size));
    assert_true(arena.overflow);
    tf_arena_take(&arena, 1, 1); /* does not make it good again */
    assert_int_equal(tf_arena_alloc(&arena, "plan", &err), TF_MEMORY);
    snprintf(expected, sizeof(expected), "out of memory: plan needs more than %zu bytes", SIZE_MAX);
    assert_string_equal(err.text, expected);
    tf_arena_fini(&arena);
}

static void test_arena_notices_overflow(void **state)
{
    (void)state;
    expect_overflow(0, SIZE_MAX / 2, 3);
    expect_overflow(0, SIZE_MAX, 1); /* only the rounding up overflows */
    expect_overflow(SIZE_MAX / 2, SIZE_MAX / 2 + 1, 1);
}

static void test_physical_memory(void **state)
{
    (void)state;
    assert_true(tf_memory_physical() > (uint64_t)16 << 20);
}

/* What is there stays, what is new is zero, whatever the count. */
static void test_more_grows(void **unused)
{
    struct tf_err err = {0};
    uint64_t *numbers = NULL;

    (void)unused;
    for (size_t count = 0; count < 1000; count++) {
        uint64_t *more = tf_more(numbers, count, sizeof(*more), "numbers", &err);
        assert_non_null(more);
        numbers = more;
        assert_int_equal(numbers[count], 0);
        numbers[count] = count + 7;
        for (size_t i = 0; i <= count; i++)
            assert_int_equal(numbers[i], i + 7);
    }
    assert_null(tf_more(numbers, 512, SIZE_MAX / 2, "numbers", &err));
    assert_int_equal(err.code, TF_MEMORY);
    assert_int_equal(numbers[999], 1006); /* still there */
    tf_free(numbers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_more_grows),
        cmocka_unit_test(test_new_is_zeroed_and_aligned),
        cmocka_unit_test(test_new_ends_where_it_should),
        cmocka_unit_test(test_new_names_what_did_not_fit),
        cmocka_unit_test(test_new_leaves_fresh_pages_alone),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_mul_and_add),
        cmocka_unit_test(test_arena_counts_then_hands_out),
        cmocka_unit_test(test_arena_notices_overflow),
        cmocka_unit_test(test_physical_memory),
    };

    return cmocka_run_group_tests_name("mem", tests, NULL, NULL);
}
