/* The names of a run's checkpoints, and which of them are removed. */
#include "tiny_model.h"

#include "base/io.h"
#include "train/keep.h"

#include <sys/stat.h>

static struct tf_err err;

static void assert_name(const char *output, const char *word, const char *name)
{
    char *out;

    assert_ok(tf_keep_name(&out, output, word, &err), &err);
    assert_string_equal(out, name);
    tf_free(out);
}

static void test_names(void **state)
{
    (void)state;
    assert_name("m.tfck", "best", "m.best.tfck");
    assert_name("a/b.tfck/m.tfck", "step-7", "a/b.tfck/m.step-7.tfck");
    assert_name("model", "best", "model.best.tfck");
    assert_name("m.tfck.old", "best", "m.tfck.old.best.tfck");
    assert_name(".tfck", "best", ".tfck.best.tfck");
    assert_name("m.TFCK", "best", "m.TFCK.best.tfck");
}

/* The newest `last` of this run's numbered checkpoints stay, and each is what the output was then.
 */
static void assert_keeps(const char *output, const char *stem)
{
    char name[64], text[16];

    for (unsigned step = 5; step <= 120; step += 5) {
        snprintf(text, sizeof text, "at %u", step);
        put("new", text);
        assert_int_equal(rename("new", output), 0);
        assert_ok(tf_keep_step(output, step, 3, &err), &err);
        for (unsigned other = 5; other <= 120; other += 5) {
            snprintf(name, sizeof name, "%s.step-%u.tfck", stem, other);
            assert_int_equal(exists(name), other <= step && other + 15 > step);
        }
        snprintf(name, sizeof name, "%s.step-%u.tfck", stem, step);
        expect_file(name, text);
    }
    expect_file(output, "at 120");
}

static void test_pruning(void **state)
{
    (void)state;
    assert_int_equal(mkdir("folder", 0777), 0);
    assert_keeps("m.tfck", "m");
    assert_keeps("folder/m.tfck", "folder/m");
    assert_keeps("bare", "bare");
    assert_true(exists("m.step-120.tfck")); /* the others did not touch it */
}

/* What only looks like one of the run's files is left alone, and is not counted. */
static void test_others(void **state)
{
    static const char *const others[] = {
        "o.step-1.tfck.bak", "oo.step-1.tfck", "o.step-.tfck",  "o.step-1.tfc", "o.step-01.tfck",
        "o.step-+1.tfck",    "o.step- 1.tfck", "o.step-1",      "o.best.tfck",  "o.step-1x.tfck",
        "o.step-0.tfck",     "step-1.tfck",    "o.step-99.tfck"};

    (void)state;
    put("o.tfck", "10");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        put(others[i], "other");
    put("o.step-2.tfck", "2");
    assert_ok(tf_keep_step("o.tfck", 10, 1, &err), &err);
    assert_false(exists("o.step-2.tfck"));
    expect_file("o.step-10.tfck", "10");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        expect_file(others[i], "other"); /* 99: of a step to come */
}

/* A name that a run before this one left is taken over, and its file may have another name still.
 */
static void test_replaces(void **state)
{
    (void)state;
    put("r.tfck", "new");
    put("r.step-4.tfck", "old");
    assert_int_equal(link("r.step-4.tfck", "held"), 0);
    assert_ok(tf_keep_step("r.tfck", 4, 1, &err), &err);
    assert_ok(tf_keep_step("r.tfck", 4, 1, &err), &err);
    expect_file("r.step-4.tfck", "new");
    expect_file("held", "old");
}

static void test_errors(void **state)
{
    (void)state;
    assert_int_equal(tf_keep_step("none.tfck", 4, 1, &err), TF_IO);
    assert_string_equal(err.text,
                        "none.step-4.tfck: cannot link to none.tfck: No such file or directory");
    put("e.tfck", "");
    assert_int_equal(mkdir("e.step-4.tfck", 0777), 0);
    assert_int_equal(tf_keep_step("e.tfck", 4, 1, &err), TF_IO);
    assert_string_equal(err.text, "e.step-4.tfck: cannot replace: Is a directory");
    assert_int_equal(tf_keep_step("e.tfck", 5, 1, &err), TF_IO);
    assert_string_equal(err.text, "e.step-4.tfck: cannot remove an old checkpoint: Is a directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),  cmocka_unit_test(test_pruning),
        cmocka_unit_test(test_others), cmocka_unit_test(test_replaces),
        cmocka_unit_test(test_errors),
    };

    return cmocka_run_group_tests_name("keep", tests, enter_scratch, leave_scratch);
}
