/* base/lock: one writer for an output as long as a run lasts. */
#include "scratch.h"

#include "base/lock.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

static void expect_untakeable(const char *path, const char *text)
{
    struct tf_err err = {0};
    struct tf_lock lock;

    assert_int_equal(tf_lock_take(&lock, path, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    assert_null(lock.file);
    tf_lock_release(&lock);
}

/* Neither opening the output nor the check for it is allowed. */
static void expect_unwritable(const char *path, const char *text)
{
    struct tf_err err = {0};
    struct tf_out out;

    assert_int_equal(tf_out_check(path, true, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    err = (struct tf_err){0};
    assert_int_equal(tf_out_open(&out, path, true, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
}

static void write_output(const char *path, const char *text)
{
    struct tf_err err = {0};
    struct tf_out out;

    assert_ok(tf_out_open(&out, path, true, &err), &err);
    assert_ok(tf_out_write(&out, text, strlen(text), &err), &err);
    assert_ok(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
    expect_file(path, text);
}

/* A process that holds the lock, and has nothing to do but to be killed. */
static pid_t other_holder(const char *path)
{
    int ready[2];
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct tf_lock lock;
        alarm(60); /* should the test fail, and nobody end it */
        if (tf_lock_take(&lock, path, NULL) != TF_OK || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void end(pid_t child)
{
    int status;

    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void test_taken_and_released(void **state)
{
    struct tf_lock lock, again = {0};
    struct tf_err err = {0};
    char number[32], text[64];

    (void)state;
    mkdir("d", 0777);
    snprintf(number, sizeof(number), "%ld\n", (long)getpid());
    snprintf(text, sizeof(text), "d/m: process %ld is writing it", (long)getpid());
    assert_ok(tf_lock_take(&lock, "d/m", &err), &err);
    assert_string_equal(lock.file, "d/.m.lock");
    expect_file("d/.m.lock", number);
    expect_untakeable("d/m", text);
    expect_file("d/.m.lock", number);
    tf_lock_release(&lock);
    assert_false(exists("d/.m.lock"));
    tf_lock_release(&lock);
    assert_ok(tf_lock_take(&again, "d/m", &err), &err);
    tf_lock_release(&again);
    assert_int_equal(rmdir("d"), 0);
}

static void test_own_lock_is_no_hindrance(void **state)
{
    struct tf_err err = {0};
    struct tf_lock lock;

    (void)state;
    assert_ok(tf_lock_take(&lock, "m", &err), &err);
    write_output("m", "one");
    write_output("m", "two");
    assert_true(exists(".m.lock"));
    tf_lock_release(&lock);
    assert_false(exists(".m.lock") || exists(".m.part"));
}

static void test_other_process_has_it(void **state)
{
    char text[64];

    (void)state;
    put("m", "theirs");
    pid_t child = other_holder("m");
    snprintf(text, sizeof(text), "m: process %ld is writing it", (long)child);
    expect_untakeable("m", text);
    expect_unwritable("m", text);
    assert_false(exists(".m.part"));
    assert_int_equal(truncate(".m.lock", 0), 0); /* as before the number is written */
    expect_untakeable("m", "m: another program is writing it");
    expect_unwritable("m", "m: another program is writing it");
    expect_file("m", "theirs");
    end(child);
}

static void test_lock_ends_with_its_process(void **state)
{
    struct tf_err err = {0};
    struct tf_lock lock;

    (void)state;
    end(other_holder("m"));
    assert_true(exists(".m.lock"));
    assert_ok(tf_out_check("m", false, &err), &err);
    assert_true(exists(".m.lock")); /* a check changes nothing */
    assert_ok(tf_lock_take(&lock, "m", &err), &err);
    tf_lock_release(&lock);
    assert_false(exists(".m.lock"));

    end(other_holder("m"));
    write_output("m", "whole");
    assert_false(exists(".m.lock") || exists(".m.part"));
}

static void test_open_output_is_not_locked(void **state)
{
    struct tf_err err = {0};
    struct tf_lock lock;
    struct tf_out out;

    (void)state;
    assert_ok(tf_out_open(&out, "m", false, &err), &err);
    expect_untakeable("m", "m: another program is writing it");
    assert_false(exists(".m.lock"));
    assert_ok(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
    put(".m.part", "left by a killed run");
    assert_ok(tf_lock_take(&lock, "m", &err), &err);
    tf_lock_release(&lock);
    expect_file(".m.part", "left by a killed run");
}

/* The lock stands beside the file behind a link, so that both names have the same one. */
static void test_links(void **state)
{
    struct tf_err err = {0};
    struct tf_lock lock;
    char text[64];

    (void)state;
    mkdir("far", 0777);
    put("far/m", "");
    assert_int_equal(symlink("far/m", "near"), 0);
    assert_int_equal(symlink("nowhere/m", "dangling"), 0);
    assert_ok(tf_lock_take(&lock, "near", &err), &err);
    assert_true(exists("far/.m.lock"));
    assert_false(exists(".near.lock"));
    tf_lock_release(&lock);
    pid_t child = other_holder("far/m");
    snprintf(text, sizeof(text), "near: process %ld is writing it", (long)child);
    expect_untakeable("near", text);
    expect_unwritable("near", text);
    end(child);
    assert_ok(tf_lock_take(&lock, "dangling", &err), &err);
    assert_true(exists(".dangling.lock"));
    tf_lock_release(&lock);
}

static void test_refusals(void **state)
{
    (void)state;
    put("victim", "precious");
    mkdir("folder", 0777);
    mkdir(".n.lock", 0777);
    assert_int_equal(symlink("victim", ".m.lock"), 0);
    assert_int_equal(mkfifo(".f.lock", 0666), 0);
    expect_untakeable("", "\"\": not the name of a file");
    expect_untakeable("folder/", "\"folder/\": not the name of a file");
    expect_untakeable("none/m", "none/m: cannot create: No such file or directory");
    expect_untakeable("victim/m", "victim/m: cannot create: Not a directory");
    expect_untakeable("m", "m: cannot create: Too many levels of symbolic links");
    expect_unwritable("m", "m: cannot look at .m.lock: Too many levels of symbolic links");
    expect_untakeable("n", "n: cannot create: Is a directory");
    expect_untakeable("f", "f: cannot create: Invalid argument");
    expect_file("victim", "precious");
    assert_true(exists(".f.lock"));
}

/* ---- many at once ---- */

enum { ROUNDS = 300 };

/* Takes the lock again and again; while it has it nobody else may. The status says whether all went
 * well. */
static void compete(void)
{
    for (int done = 0; done < ROUNDS;) {
        struct tf_err err = {0};
        struct tf_lock lock;
        if (tf_lock_take(&lock, "m", &err) == TF_OK) {
            int alone = open("alone", O_CREAT | O_EXCL | O_WRONLY, 0666);
            if (alone < 0 || close(alone) != 0 || unlink("alone") != 0)
                _exit(1);
            done++;
        } else if (strstr(err.text, " is writing it") == NULL) {
            _exit(2);
        }
        tf_lock_release(&lock);
    }
    _exit(0);
}

/* The only one to take the lock gets it each time, whoever looks; half of the time a file is there
 * that a killed run left. */
static void take_alone(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        struct tf_lock lock;
        if (i % 2 && mknod(".m.lock", S_IFREG | 0666, 0) != 0)
            _exit(1);
        if (tf_lock_take(&lock, "m", NULL) != TF_OK)
            _exit(2);
        tf_lock_release(&lock);
    }
    _exit(0);
}

static void look_on(void)
{
    for (;;) {
        struct tf_err err = {0};
        if (tf_out_check("m", true, &err) != TF_OK && strstr(err.text, " is writing it") == NULL)
            _exit(3);
    }
}

static pid_t start(void (*body)(void))
{
    pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        body();
    }
    return child;
}

static void expect_good_end(pid_t child)
{
    int status;

    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void test_takers_compete(void **state)
{
    (void)state;
    pid_t first = start(compete), second = start(compete), third = start(compete);
    expect_good_end(first);
    expect_good_end(second);
    expect_good_end(third);
    assert_false(exists(".m.lock"));
}

static void test_who_looks_is_in_nobodys_way(void **state)
{
    (void)state;
    pid_t first = start(look_on), second = start(look_on);
    expect_good_end(start(take_alone));
    end(first);
    end(second);
    assert_false(exists(".m.lock"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_taken_and_released),
        IN_SCRATCH(test_own_lock_is_no_hindrance),
        IN_SCRATCH(test_other_process_has_it),
        IN_SCRATCH(test_lock_ends_with_its_process),
        IN_SCRATCH(test_open_output_is_not_locked),
        IN_SCRATCH(test_links),
        IN_SCRATCH(test_refusals),
        IN_SCRATCH(test_takers_compete),
        IN_SCRATCH(test_who_looks_is_in_nobodys_way),
    };

    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
