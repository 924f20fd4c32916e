/* base/io: whole reads, positioned reads, and outputs that appear whole or not at all. */
#include "scratch.h"

#include "base/io.h"
#include "base/mem.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* ---- reading ---- */

static void expect_unreadable(const char *path, size_t max, enum tf_code code, const char *text)
{
    struct tf_err err = {0};
    char *out = (char *)&err;
    size_t size = 1;

    assert_int_equal(tf_read_file(path, max, &out, &size, &err), code);
    assert_int_equal(err.code, code);
    assert_string_equal(err.text, text);
    assert_null(out);
    assert_int_equal(size, 0);
}

static void test_read_file(void **state)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    (void)state;
    put("empty", "");
    expect_file("empty", "");
    put("text", "a parameter token");
    expect_file("text", "a parameter token");
    assert_int_equal(tf_read_file("text", SIZE_MAX, &text, &size, &err), TF_OK);
    assert_int_equal(size, 17);
    tf_free(text);
    assert_int_equal(tf_read_file("text", 17, &text, &size, &err), TF_OK);
    assert_int_equal(size, 17);
    tf_free(text);
}

static void test_read_file_refusals(void **state)
{
    (void)state;
    put("text", "a parameter token");
    mkdir("folder", 0777);
    expect_unreadable("text", 16, TF_MEMORY, "text: larger than 16 bytes");
    expect_unreadable("text", 0, TF_MEMORY, "text: larger than 0 bytes");
    expect_unreadable("folder", 16, TF_NOINPUT, "folder: is a directory");
    expect_unreadable("none", 16, TF_NOINPUT, "none: No such file or directory");
    expect_unreadable("text/x", 16, TF_NOINPUT, "text/x: Not a directory");
    expect_unreadable("", 16, TF_NOINPUT, ": No such file or directory");
}

/* Puts the output of a shell command in place of stdin. */
static void set_stdin(const char *command)
{
    FILE *pipe = popen(command, "r");

    assert_non_null(pipe);
    assert_int_equal(dup2(fileno(pipe), STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(pclose(pipe), 0);
}

static void test_read_stdin(void **state)
{
    struct tf_err err = {0};
    char *text;
    size_t size;

    (void)state;
    /* A pipe's size is not known beforehand: the buffer has to grow, several times. */
    put("long", "");
    assert_int_equal(truncate("long", 1000000), 0);
    FILE *pipe = popen("cat long; printf end", "r");
    assert_non_null(pipe);
    assert_int_equal(dup2(fileno(pipe), STDIN_FILENO), STDIN_FILENO);
    assert_int_equal(tf_read_file("-", 1000003, &text, &size, &err), TF_OK);
    assert_int_equal(pclose(pipe), 0);
    assert_int_equal(size, 1000003);
    assert_string_equal(text + 1000000, "end");
    tf_free(text);

    set_stdin("printf 12345");
    expect_unreadable("-", 4, TF_MEMORY, "standard input: larger than 4 bytes");
    assert_int_equal(dup2(open(".", O_RDONLY), STDIN_FILENO), STDIN_FILENO);
    expect_unreadable("-", 4, TF_NOINPUT, "standard input: is a directory");
    close(STDIN_FILENO);
    expect_unreadable("-", 4, TF_NOINPUT, "standard input: Bad file descriptor");
    assert_int_equal(open("/dev/null", O_RDONLY), STDIN_FILENO);
}

static void test_in_reads_at_positions(void **state)
{
    struct tf_err err = {0};
    struct tf_in in;
    char text[8] = "";

    (void)state;
    put("m", "0123456789");
    assert_int_equal(tf_in_open(&in, "m", &err), TF_OK);
    assert_int_equal(in.size, 10);
    assert_int_equal(tf_in_read(&in, 3, text, 4, &err), TF_OK);
    assert_string_equal(text, "3456");
    assert_int_equal(tf_in_read(&in, 10, text, 0, &err), TF_OK);
    assert_int_equal(tf_in_read(&in, 8, text, 3, &err), TF_DATA);
    assert_string_equal(err.text, "m: 3 bytes wanted at byte 8, but the file has 10");
    assert_int_equal(tf_in_read(&in, UINT64_MAX, text, 2, &err), TF_DATA);
    assert_int_equal(tf_in_read(&in, 2, text, SIZE_MAX, &err), TF_DATA);

    assert_int_equal(truncate("m", 5), 0);
    assert_int_equal(tf_in_read(&in, 3, text, 4, &err), TF_DATA);
    assert_string_equal(err.text, "m: ends at byte 5, but had 10 when it was opened");
    tf_in_close(&in);
    tf_in_close(&in);
}

static void expect_unopened(const char *path, const char *text)
{
    struct tf_err err = {0};
    struct tf_in in;

    assert_int_equal(tf_in_open(&in, path, &err), TF_NOINPUT);
    assert_string_equal(err.text, text);
    tf_in_close(&in);
}

static void test_in_open_refusals(void **state)
{
    (void)state;
    mkdir("folder", 0777);
    mkfifo("fifo", 0666);
    expect_unopened("none", "none: No such file or directory");
    expect_unopened("folder", "folder: is a directory");
    expect_unopened("fifo", "fifo: not a regular file");
}

/* ---- writing ---- */

static void test_out_appears_whole(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    mkdir("d", 0777);
    assert_int_equal(tf_out_open(&out, "d/m.tfck", false, &err), TF_OK);
    assert_string_equal(out.part, "d/.m.tfck.part");
    assert_int_equal(tf_out_write(&out, "abc", 3, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "", 0, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "de", 2, &err), TF_OK);
    assert_int_equal(out.at, 5);
    assert_false(exists("d/m.tfck"));
    assert_int_equal(tf_out_flush(&out, &err), TF_OK);
    expect_file("d/.m.tfck.part", "abcde");
    assert_int_equal(tf_out_write(&out, "f", 1, &err), TF_OK);
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    expect_file("d/m.tfck", "abcdef");
    assert_false(exists("d/.m.tfck.part"));
    tf_out_close(&out);
    expect_file("d/m.tfck", "abcdef");
    tf_out_close(&out);
}

static void test_out_not_committed_leaves_nothing(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    put("m", "old");
    assert_int_equal(tf_out_open(&out, "m", true, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "new", 3, &err), TF_OK);
    tf_out_close(&out);
    assert_false(exists(".m.part"));
    expect_file("m", "old");
}

static void test_out_takes_over_what_a_killed_run_left(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    put(".m.part", "a long rest of an earlier run");
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "new", 3, &err), TF_OK);
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    expect_file("m", "new");
}

/* A run that was killed between giving its file the final name and removing the .part, where that
 * takes two calls, left one file of two names. */
static void test_out_spares_a_file_that_is_linked_to_the_part(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    put("m", "whole");
    assert_int_equal(link("m", ".m.part"), 0);
    assert_int_equal(tf_out_open(&out, "m", true, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "new", 3, &err), TF_OK);
    assert_int_equal(tf_out_flush(&out, &err), TF_OK);
    expect_file("m", "whole");
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    expect_file("m", "new");
}

/* Writes of all sizes, below and above the buffer's, keep their order; what is printed to the
 * stream too. */
static void test_out_writes_of_all_sizes(void **state)
{
    static char expected[1 << 20];
    struct tf_err err = {0};
    struct tf_out out;
    size_t size, used = 0;
    char *text;

    (void)state;
    for (size_t i = 0; i < sizeof(expected); i++)
        expected[i] = (char)('a' + i * i % 23);
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_OK);
    for (size_t n = 1; used + n + 8 < sizeof(expected); n = n * 3 % 200003) {
        assert_int_equal(tf_out_write(&out, expected + used, n, &err), TF_OK);
        used += n;
        assert_int_equal(fprintf(out.file, "%.7s", expected + used), 7);
        used += 7;
    }
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    assert_int_equal(tf_read_file("m", SIZE_MAX, &text, &size, &err), TF_OK);
    assert_true(used > 500000);
    assert_int_equal(size, used);
    assert_memory_equal(text, expected, used);
    tf_free(text);
}

static void test_out_has_one_writer(void **state)
{
    struct tf_err err = {0};
    struct tf_out first, second;

    (void)state;
    assert_int_equal(tf_out_open(&first, "m", false, &err), TF_OK);
    assert_int_equal(tf_out_write(&first, "first", 5, &err), TF_OK);
    assert_int_equal(tf_out_flush(&first, &err), TF_OK);
    assert_int_equal(tf_out_open(&second, "m", false, &err), TF_CANTCREATE);
    assert_string_equal(err.text, "m: another program is writing it");
    tf_out_close(&second);
    expect_file(".m.part", "first"); /* untouched by the one that was refused */
    assert_int_equal(tf_out_commit(&first, &err), TF_OK);

    /* The lock ends with the commit, before the close. */
    assert_int_equal(tf_out_open(&second, "m", true, &err), TF_OK);
    tf_out_close(&first);
    assert_true(exists(".m.part"));
    tf_out_close(&second);
    expect_file("m", "first");
}

/* Replaces "m" again and again by 100 equal letters; the exit status says whether all went well. */
static void compete(char letter)
{
    char text[100];

    memset(text, letter, sizeof(text));
    for (int done = 0; done < 100;) {
        struct tf_err err = {0};
        struct tf_out out;
        enum tf_code code = tf_out_open(&out, "m", true, &err);
        if (code == TF_OK)
            code = tf_out_write(&out, text, sizeof(text), &err);
        if (code == TF_OK)
            code = tf_out_commit(&out, &err);
        tf_out_close(&out);
        if (code == TF_OK)
            done++;
        else if (strcmp(err.text, "m: another program is writing it") != 0)
            _exit(1);
    }
    _exit(0);
}

/* Two programs that keep replacing a file: whoever looks finds it whole. */
static void test_out_writers_compete(void **state)
{
    struct tf_err err = {0};
    int status, running = 2;
    pid_t child;

    (void)state;
    put("m", "");
    assert_int_equal(truncate("m", 100), 0);
    for (int i = 0; i < 2; i++) {
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            compete((char)('a' + i));
    }
    while (running > 0) {
        char *text;
        size_t size;
        assert_int_equal(tf_read_file("m", 1000, &text, &size, &err), TF_OK);
        assert_int_equal(size, 100);
        assert_memory_equal(text, text + 1, 99);
        tf_free(text);
        child = waitpid(-1, &status, WNOHANG);
        if (child > 0) {
            assert_int_equal(status, 0);
            running--;
        }
    }
}

static void expect_refused(const char *path, bool force, const char *text)
{
    struct tf_err err = {0};
    struct tf_out out;

    assert_int_equal(tf_out_check(path, force, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    err = (struct tf_err){0};
    assert_int_equal(tf_out_open(&out, path, force, &err), TF_CANTCREATE);
    assert_string_equal(err.text, text);
    assert_null(out.file);
    tf_out_close(&out);
}

static void test_out_refusals(void **state)
{
    struct tf_err err = {0};

    (void)state;
    put("m", "old");
    mkdir("folder", 0777);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_int_equal(symlink("folder", "link"), 0);
    expect_refused("m", false, "m: exists already; --force replaces it");
    expect_refused("dangling", false, "dangling: exists already; --force replaces it");
    expect_refused("folder", true, "folder: is a directory");
    expect_refused("link", true, "link: is a directory");
    expect_refused("folder/", true, "\"folder/\": not the name of a file");
    expect_refused("", true, "\"\": not the name of a file");
    expect_refused("none/m", false, "none/m: cannot create: No such file or directory");
    expect_refused("m/m", false, "m/m: cannot create: Not a directory");
    expect_refused("/dev/null", true, "/dev/null: not a regular file");
    assert_int_equal(tf_out_check("m", true, &err), TF_OK);
    assert_int_equal(tf_out_check("new", false, &err), TF_OK);
    assert_false(exists("new") || exists(".new.part"));
    expect_file("m", "old");
}

/* What is replaced is the file behind a link; the link stays. */
static void test_out_follows_links(void **state)
{
    struct tf_out out;
    struct tf_err err = {0};
    char target[64];

    (void)state;
    mkdir("far", 0777);
    put("far/m", "old");
    assert_int_equal(symlink("far/m", "near"), 0);
    assert_int_equal(tf_out_open(&out, "near", true, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "new", 3, &err), TF_OK);
    assert_true(exists("far/.m.part"));
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    expect_file("far/m", "new");
    assert_int_equal(readlink("near", target, sizeof target), 5);
    assert_false(exists("far/.m.part"));
}

static void test_out_needs_a_folder_that_may_be_written(void **state)
{
    uid_t user = geteuid();

    (void)state;
    assert_int_equal(chmod(".", 0755), 0);
    mkdir("locked", 0555);
    if (user == 0) /* who may write everywhere */
        assert_int_equal(seteuid(65534), 0);
    expect_refused("locked/m", false, "locked/m: cannot create: Permission denied");
    assert_int_equal(seteuid(user), 0);
}

static void test_out_does_not_follow_a_planted_link(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    put("victim", "precious");
    assert_int_equal(symlink("victim", ".m.part"), 0);
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_CANTCREATE);
    assert_string_equal(err.text, "m: cannot create .m.part: Too many levels of symbolic links");
    expect_file("victim", "precious");
    assert_int_equal(unlink(".m.part"), 0);
    assert_int_equal(mkfifo(".m.part", 0666), 0);
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_CANTCREATE);
}

/* A target that appears while the output is written is not lost, unless force was given. */
static void test_out_commit_looks_again(void **state)
{
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_OK);
    put("m", "theirs");
    assert_int_equal(tf_out_commit(&out, &err), TF_CANTCREATE);
    assert_string_equal(err.text, "m: exists already; --force replaces it");
    tf_out_close(&out);
    expect_file("m", "theirs");
    assert_false(exists(".m.part"));

    assert_int_equal(tf_out_open(&out, "m", true, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "ours", 4, &err), TF_OK);
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    expect_file("m", "ours");

    assert_int_equal(tf_out_open(&out, "n", true, &err), TF_OK);
    mkdir("n", 0777);
    assert_int_equal(tf_out_commit(&out, &err), TF_CANTCREATE);
    assert_string_equal(err.text, "n: cannot create: Is a directory");
    tf_out_close(&out);
}

/* The longest name that a file can have, and one for which the temporary's name is too long. */
static void test_out_long_names(void **state)
{
    char name[NAME_MAX + 1];
    struct tf_err err = {0};
    struct tf_out out;

    (void)state;
    memset(name, 'm', sizeof(name));
    name[NAME_MAX - strlen("..part")] = '\0';
    assert_int_equal(tf_out_open(&out, name, false, &err), TF_OK);
    assert_int_equal(tf_out_commit(&out, &err), TF_OK);
    tf_out_close(&out);
    assert_true(exists(name));
    name[NAME_MAX - strlen("..part")] = 'm';
    name[NAME_MAX] = '\0';
    assert_int_equal(tf_out_open(&out, name, false, &err), TF_CANTCREATE);
    assert_non_null(strstr(err.text, "File name too long"));
}

/* A limit on the size of files stands in for a full disk. */
static void test_out_disk_full(void **state)
{
    const struct rlimit small = {65536, RLIM_INFINITY}, open_end = {RLIM_INFINITY, RLIM_INFINITY};
    static const char block[32768];
    struct tf_err err = {0};
    enum tf_code code = TF_OK;
    struct tf_out out;

    (void)state;
    put("m", "old");
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(tf_out_open(&out, "m", true, &err), TF_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 8 && code == TF_OK; i++)
        code = tf_out_write(&out, block, sizeof(block), &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &open_end), 0);
    assert_int_equal(code, TF_IO);
    assert_string_equal(err.text, "m: cannot write: File too large");
    err = (struct tf_err){0};
    assert_int_equal(tf_out_commit(&out, &err), TF_IO); /* what failed once stays failed */
    assert_string_equal(err.text, "m: cannot write: File too large");
    tf_out_close(&out);
    expect_file("m", "old");
    assert_false(exists(".m.part"));
}

/* What stays in stdio's buffer must not be lost in silence either. */
static void test_out_disk_full_at_the_flush(void **state)
{
    const struct rlimit none = {0, RLIM_INFINITY}, open_end = {RLIM_INFINITY, RLIM_INFINITY};
    struct tf_err err = {0};
    enum tf_code code;
    struct tf_out out;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(tf_out_open(&out, "m", false, &err), TF_OK);
    assert_int_equal(tf_out_write(&out, "abc", 3, &err), TF_OK);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    code = tf_out_commit(&out, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &open_end), 0);
    assert_int_equal(code, TF_IO);
    assert_string_equal(err.text, "m: cannot write: File too large");
    tf_out_close(&out);
    assert_false(exists("m") || exists(".m.part"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_SCRATCH(test_read_file),
        IN_SCRATCH(test_read_file_refusals),
        IN_SCRATCH(test_read_stdin),
        IN_SCRATCH(test_in_reads_at_positions),
        IN_SCRATCH(test_in_open_refusals),
        IN_SCRATCH(test_out_appears_whole),
        IN_SCRATCH(test_out_not_committed_leaves_nothing),
        IN_SCRATCH(test_out_takes_over_what_a_killed_run_left),
        IN_SCRATCH(test_out_spares_a_file_that_is_linked_to_the_part),
        IN_SCRATCH(test_out_writes_of_all_sizes),
        IN_SCRATCH(test_out_has_one_writer),
        IN_SCRATCH(test_out_writers_compete),
        IN_SCRATCH(test_out_refusals),
        IN_SCRATCH(test_out_follows_links),
        IN_SCRATCH(test_out_needs_a_folder_that_may_be_written),
        IN_SCRATCH(test_out_does_not_follow_a_planted_link),
        IN_SCRATCH(test_out_commit_looks_again),
        IN_SCRATCH(test_out_long_names),
        IN_SCRATCH(test_out_disk_full),
        IN_SCRATCH(test_out_disk_full_at_the_flush),
    };

    return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
