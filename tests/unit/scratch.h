/* For unit tests that make files: a folder of its own for each test, and short words for files. */
#ifndef TF_TESTS_SCRATCH_H
#define TF_TESTS_SCRATCH_H

#include "unit.h"

#include "base/io.h"
#include "base/mem.h"

#include <sys/stat.h>
#include <unistd.h>

/* A test that runs in an empty folder. */
#define IN_SCRATCH(test) cmocka_unit_test_setup_teardown(test, enter_scratch, leave_scratch)

static inline int enter_scratch(void **state)
{
    char *folder = strdup("/tmp/tf-test-XXXXXX");

    *state = folder;
    return folder == NULL || mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static inline int leave_scratch(void **state)
{
    char command[128];
    int rc;

    snprintf(command, sizeof(command), "chmod -R u+rwx '%s' && rm -r '%s'", (char *)*state,
             (char *)*state);
    rc = chdir("/") != 0 || system(command) != 0;
    free(*state);
    return rc;
}

static inline void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline void expect_file(const char *path, const char *expected)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    assert_int_equal(tf_read_file(path, 1 << 20, &text, &size, &err), TF_OK);
    assert_int_equal(size, strlen(expected));
    assert_string_equal(text, expected);
    tf_free(text);
}

static inline bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline void assert_same_file(const char *one, const char *other)
{
    char *texts[2];
    size_t sizes[2];
    struct tf_err err = {0};

    assert_ok(tf_read_file(one, 64 << 20, &texts[0], &sizes[0], &err), &err);
    assert_ok(tf_read_file(other, 64 << 20, &texts[1], &sizes[1], &err), &err);
    assert_int_equal(sizes[0], sizes[1]);
    assert_memory_equal(texts[0], texts[1], sizes[0]);
    tf_free(texts[0]);
    tf_free(texts[1]);
}

#endif
