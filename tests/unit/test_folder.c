/* base/folder: folders that appear whole or not at all. */
#include "scratch.h"

#include "base/folder.h"

#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

/* Makes a file in a folder that is being made, as its users do. */
static enum tf_code add(const struct tf_folder *folder, const char *name, const char *text,
                        struct tf_err *err)
{
    char *path = tf_folder_file(folder, name, err);
    enum tf_code code = TF_MEMORY;
    struct tf_out out = {0};

    if (path != NULL)
        code = tf_out_open(&out, path, false, err);
    if (code == TF_OK)
        code = tf_out_write(&out, text, strlen(text), err);
    if (code == TF_OK)
        code = tf_out_commit(&out, err);
    tf_out_close(&out);
    tf_free(path);
    return code;
}

static void expect_refused(const char *path, const char *text)
{
    struct tf_err err = {0};
    struct tf_folder folder;

    assert_int_equal(tf_folder_check(path, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    err = (struct tf_err){0};
    assert_int_equal(tf_folder_open(&folder, path, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    assert_null(folder.part);
    tf_folder_close(&folder);
}

static void test_appears_whole(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    mkdir("d", 0777);
    assert_ok(tf_folder_check("d/model", &err), &err);
    assert_false(exists("d/model") || exists("d/.model.part"));
    assert_ok(tf_folder_open(&folder, "d/model", &err), &err);
    assert_string_equal(folder.path, "d/model");
    assert_string_equal(folder.part, "d/.model.part");
    assert_ok(add(&folder, "a.npy", "one", &err), &err);
    assert_ok(add(&folder, ".hidden", "two", &err), &err);
    assert_false(exists("d/model"));
    assert_ok(tf_folder_commit(&folder, &err), &err);
    expect_file("d/model/a.npy", "one");
    expect_file("d/model/.hidden", "two");
    assert_false(exists("d/.model.part"));
    tf_folder_close(&folder);
    tf_folder_close(&folder);
    expect_file("d/model/a.npy", "one");
}

static void test_empty_folder(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    assert_ok(tf_folder_open(&folder, "model", &err), &err);
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    assert_int_equal(rmdir("model"), 0);
}

static void test_not_committed_leaves_nothing(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    assert_ok(tf_folder_open(&folder, "model", &err), &err);
    assert_ok(add(&folder, "a", "one", &err), &err);
    put(".model.part/.b.part", "half of it");
    tf_folder_close(&folder);
    assert_false(exists("model") || exists(".model.part"));
}

static void test_slashes_at_the_end(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    mkdir("d", 0777);
    assert_ok(tf_folder_check("d/model//", &err), &err);
    assert_ok(tf_folder_open(&folder, "d/model//", &err), &err);
    assert_string_equal(folder.path, "d/model");
    assert_ok(add(&folder, "a", "one", &err), &err);
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    expect_file("d/model/a", "one");
    expect_refused("d/model/", "d/model: exists already; a folder is never replaced");
}

static void test_refusals(void **state)
{
    (void)state;
    put("file", "mine");
    mkdir("folder", 0777);
    assert_int_equal(symlink("folder", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    expect_refused("file", "file: exists already; a folder is never replaced");
    expect_refused("folder", "folder: exists already; a folder is never replaced");
    expect_refused("link", "link: exists already; a folder is never replaced");
    expect_refused("link/", "link: exists already; a folder is never replaced");
    expect_refused("dangling", "dangling: exists already; a folder is never replaced");
    expect_refused("dangling/", "dangling: exists already; a folder is never replaced");
    expect_refused(".", ".: exists already; a folder is never replaced");
    expect_refused("..", "..: exists already; a folder is never replaced");
    expect_refused("none/.", "none/.: cannot create: No such file or directory");
    expect_refused("", "\"\": not the name of a folder");
    expect_refused("-", "\"-\": not the name of a folder");
    expect_refused("/", "\"/\": not the name of a folder");
    expect_refused("///", "\"///\": not the name of a folder");
    expect_refused("none/model", "none/model: cannot create: No such file or directory");
    expect_refused("file/model", "file/model: cannot create: Not a directory");
    expect_file("file", "mine");
    assert_false(exists("nowhere"));
}

/* A link on the way is followed; "-" is a name like any other where it is a part of a path. */
static void test_ways(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    mkdir("far", 0777);
    assert_int_equal(symlink("far", "near"), 0);
    assert_ok(tf_folder_open(&folder, "near/-", &err), &err);
    assert_true(exists("far/.-.part"));
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    assert_true(exists("far/-"));
}

static void test_folder_above_that_may_not_be_written(void **state)
{
    uid_t user = geteuid();

    (void)state;
    assert_int_equal(chmod(".", 0755), 0);
    mkdir("closed", 0555);
    if (user == 0) /* who may write everywhere */
        assert_int_equal(seteuid(65534), 0);
    expect_refused("closed/model", "closed/model: cannot create: Permission denied");
    assert_int_equal(seteuid(user), 0);
}

static void test_takes_over_what_a_killed_run_left(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    mkdir(".model.part", 0777);
    put(".model.part/old", "a rest");
    put(".model.part/.b.npy.part", "half of it");
    assert_ok(tf_folder_check("model", &err), &err);
    expect_file(".model.part/old", "a rest");
    assert_ok(tf_folder_open(&folder, "model", &err), &err);
    assert_false(exists(".model.part/old") || exists(".model.part/.b.npy.part"));
    assert_ok(add(&folder, "a", "one", &err), &err);
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    expect_file("model/a", "one");
    assert_false(exists("model/old"));
}

/* What cannot be of ours is not removed, and nothing beside it. */
static void test_spares_what_is_not_a_file(void **state)
{
    (void)state;
    put("victim", "precious");
    mkdir(".m.part", 0777);
    put(".m.part/a", "one");
    mkdir(".m.part/sub", 0777);
    expect_refused("m", "m: .m.part/sub is in the way: not a plain file");
    expect_file(".m.part/a", "one");
    assert_int_equal(rmdir(".m.part/sub"), 0);
    assert_int_equal(symlink("../victim", ".m.part/link"), 0);
    expect_refused("m", "m: .m.part/link is in the way: not a plain file");
    expect_file(".m.part/a", "one");

    put(".n.part", "a file");
    expect_refused("n", "n: cannot create .n.part: Not a directory");
    expect_file(".n.part", "a file");
    mkdir("elsewhere", 0777);
    put("elsewhere/a", "one");
    assert_int_equal(symlink("elsewhere", ".l.part"), 0);
    expect_refused("l", "l: cannot create .l.part: Not a directory");
    expect_file("elsewhere/a", "one");
    expect_file("victim", "precious");
}

static void test_names_of_files(void **state)
{
    static const char *const bad[] = {"", ".", "..", "a/b", "/a", "a/", "../a"};
    struct tf_folder folder;
    struct tf_err err = {0};
    char text[64];

    (void)state;
    assert_ok(tf_folder_open(&folder, "model", &err), &err);
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        snprintf(text, sizeof(text), "model: \"%s\" is not the name of a file in it", bad[i]);
        assert_null(tf_folder_file(&folder, bad[i], &err));
        assert_int_equal(err.code, TF_CANTCREATE);
        assert_string_equal(err.text, text);
    }
    char *path = tf_folder_file(&folder, "..a", &err);
    assert_string_equal(path, ".model.part/..a");
    tf_free(path);
    tf_folder_close(&folder);
}

/* A path that appears in the meantime is not lost. */
static void test_commit_looks_again(void **state)
{
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    assert_ok(tf_folder_open(&folder, "m", &err), &err);
    mkdir("m", 0777);
    assert_int_equal(tf_folder_commit(&folder, &err), TF_CANTCREATE);
    assert_string_equal(err.text, "m: exists already; a folder is never replaced");
    tf_folder_close(&folder);
    assert_true(exists("m"));
    assert_false(exists(".m.part"));

    assert_ok(tf_folder_open(&folder, "n", &err), &err);
    put("n", "theirs");
    assert_int_equal(tf_folder_commit(&folder, &err), TF_CANTCREATE);
    tf_folder_close(&folder);
    expect_file("n", "theirs");
    assert_false(exists(".n.part"));
}

static void test_long_names(void **state)
{
    char name[NAME_MAX + 1];
    struct tf_folder folder;
    struct tf_err err = {0};

    (void)state;
    memset(name, 'm', sizeof(name));
    name[NAME_MAX - strlen("..part")] = '\0';
    assert_ok(tf_folder_open(&folder, name, &err), &err);
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    assert_int_equal(rmdir(name), 0);
    name[NAME_MAX - strlen("..part")] = 'm';
    name[NAME_MAX] = '\0';
    assert_int_equal(tf_folder_check(name, &err), TF_CANTCREATE);
    assert_int_equal(tf_folder_open(&folder, name, &err), TF_CANTCREATE);
    assert_non_null(strstr(err.text, "File name too long"));
}

/* ---- many at once ---- */

static void test_has_one_writer(void **state)
{
    struct tf_folder first;
    struct tf_err err = {0};

    (void)state;
    assert_ok(tf_folder_open(&first, "m", &err), &err);
    assert_ok(add(&first, "a", "one", &err), &err);
    expect_refused("m", "m: another program is writing it");
    expect_file(".m.part/a", "one");
    assert_ok(tf_folder_commit(&first, &err), &err);
    tf_folder_close(&first);
    expect_file("m/a", "one");
}

/* Tries to make the folder until one is there; the status says whether all went well. */
static void compete(char letter)
{
    const char text[] = {letter, '\0'};

    for (;;) {
        struct tf_err err = {0};
        struct tf_folder folder;
        enum tf_code code = tf_folder_open(&folder, "m", &err);
        if (code == TF_OK)
            code = add(&folder, "a", text, &err);
        if (code == TF_OK)
            code = add(&folder, "b", text, &err);
        if (code == TF_OK && err.text[0] == '\0')
            code = tf_folder_commit(&folder, &err);
        tf_folder_close(&folder);
        if (strcmp(err.text, "m: exists already; a folder is never replaced") == 0)
            _exit(0);
        if (code != TF_OK && strcmp(err.text, "m: another program is writing it") != 0)
            _exit(1);
    }
}

static void test_writers_compete(void **state)
{
    char *a, *b;
    size_t size;

    (void)state;
    for (int round = 0; round < 30; round++) {
        struct tf_err err = {0};
        for (int i = 0; i < 3; i++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                alarm(60);
                compete((char)('a' + i));
            }
        }
        for (int i = 0; i < 3; i++) {
            int status;
            assert_true(wait(&status) > 0);
            assert_int_equal(status, 0);
        }
        assert_false(exists(".m.part"));
        assert_ok(tf_read_file("m/a", 10, &a, &size, &err), &err);
        assert_ok(tf_read_file("m/b", 10, &b, &size, &err), &err);
        assert_string_equal(a, b);
        tf_free(a);
        tf_free(b);
        assert_int_equal(unlink("m/a") | unlink("m/b") | rmdir("m"), 0);
    }
}

static void test_lock_ends_with_its_process(void **state)
{
    struct tf_err err = {0};
    int ready[2], status;
    char byte;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct tf_folder folder;
        alarm(60); /* should the test fail, and nobody end it */
        if (tf_folder_open(&folder, "m", NULL) != TF_OK ||
            add(&folder, "a", "one", NULL) != TF_OK || write(ready[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    expect_refused("m", "m: another program is writing it");
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    expect_file(".m.part/a", "one");
    struct tf_folder folder;
    assert_ok(tf_folder_open(&folder, "m", &err), &err);
    assert_ok(tf_folder_commit(&folder, &err), &err);
    tf_folder_close(&folder);
    assert_true(exists("m"));
    assert_false(exists("m/a") || exists(".m.part"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_appears_whole),
        IN_SCRATCH(test_empty_folder),
        IN_SCRATCH(test_not_committed_leaves_nothing),
        IN_SCRATCH(test_slashes_at_the_end),
        IN_SCRATCH(test_refusals),
        IN_SCRATCH(test_ways),
        IN_SCRATCH(test_folder_above_that_may_not_be_written),
        IN_SCRATCH(test_takes_over_what_a_killed_run_left),
        IN_SCRATCH(test_spares_what_is_not_a_file),
        IN_SCRATCH(test_names_of_files),
        IN_SCRATCH(test_commit_looks_again),
        IN_SCRATCH(test_long_names),
        IN_SCRATCH(test_has_one_writer),
        IN_SCRATCH(test_writers_compete),
        IN_SCRATCH(test_lock_ends_with_its_process),
    };

    return cmocka_run_group_tests_name("folder", tests, NULL, NULL);
}
