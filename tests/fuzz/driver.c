/* Replays inputs through a harness without libFuzzer: each argument is a file, or a folder of
 * files, and one TAP case. */
#include "fuzz.h"

#include "base/io.h"
#include "base/mem.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LARGEST = 64 << 20 }; /* input, in bytes */

static bool replay_file(const char *path)
{
    struct tf_err err = {0};
    char *text;
    size_t size;
    enum tf_code code = tf_read_file(path, LARGEST, &text, &size, &err);
    uint8_t *input;

    /* So that the last line of a log tells which input ended the program. */
    printf("# %s\n", code == TF_OK ? path : err.text);
    fflush(stdout);
    if (code != TF_OK)
        return false;
    /* Without the 0 that text ends with, so that AddressSanitizer sees a read past the end. */
    input = malloc(size > 0 ? size : 1);
    must(input != NULL);
    memcpy(input, text, size);
    tf_free(text);
    LLVMFuzzerTestOneInput(input, size);
    free(input);
    return true;
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* In the order of their names. There must be some, and some must be taken. */
static bool replay_folder(const char *path)
{
    struct dirent **entries;
    size_t taken = fuzz_taken;
    int count = scandir(path, &entries, is_visible, alphasort);
    bool read = count > 0;

    for (int i = 0; i < count; i++) {
        char name[4096];
        snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
        read = replay_file(name) && read;
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    printf("# %s: %d inputs, %zu taken\n", path, count, fuzz_taken - taken);
    return read && fuzz_taken > taken;
}

int main(int argc, char **argv)
{
    bool passed = argc > 1;

    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        struct stat status;
        bool folder = stat(argv[i], &status) == 0 && S_ISDIR(status.st_mode);
        bool ok = folder ? replay_folder(argv[i]) : replay_file(argv[i]);
        printf("%s %d - %s\n", ok ? "ok" : "not ok", i, argv[i]);
        passed = passed && ok;
    }
    return passed ? EXIT_SUCCESS : EXIT_FAILURE;
}
