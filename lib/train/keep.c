#include "train/keep.h"

#include "base/mem.h"
#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUFFIX ".tfck"

/* The length of output without its .tfck. */
static size_t stem(const char *output)
{
    const size_t n = strlen(output), suffix = strlen(SUFFIX);
    return n > suffix && !strcmp(output + n - suffix, SUFFIX) ? n - suffix : n;
}

enum tf_code tf_keep_name(char **out, const char *output, const char *word, struct tf_err *err)
{
    const size_t size = strlen(output) + strlen(word) + 8;
    *out = tf_new(size, 1, "file name", err);
    if (!*out)
        return TF_MEMORY;
    snprintf(*out, size, "%.*s.%s" SUFFIX, (int)stem(output), output, word);
    return TF_OK;
}

/* BASE.step-N.tfck, of a base_length bytes long base. */
static void step_name(char out[512], const char *base, size_t base_length, uint64_t step)
{
    snprintf(out, 512, "%.*s.step-%llu" SUFFIX, (int)base_length, base, (unsigned long long)step);
}

/* The step of a numbered checkpoint of base's, or 0 when `name` is not, to the letter, the name of
 * one. */
static uint64_t step_of(const char *name, const char *base, size_t base_length)
{
    static const char mark[] = ".step-";
    const size_t number = base_length + sizeof mark - 1;
    char own[512];
    if (strncmp(name, base, base_length) || strncmp(name + base_length, mark, sizeof mark - 1))
        return 0;
    const uint64_t step = strtoull(name + number, NULL, 10);
    step_name(own, base, base_length, step);
    return strcmp(name, own) ? 0 : step;
}

/* One pass over the folder: how many numbered checkpoints up to `step` there are, and the oldest of
 * them. */
static size_t oldest(DIR *folder, const char *base, size_t base_length, uint64_t step,
                     uint64_t *first)
{
    size_t count = 0;
    rewinddir(folder);
    for (const struct dirent *entry; (entry = readdir(folder));) {
        const uint64_t found = step_of(entry->d_name, base, base_length);
        if (!found || found > step)
            continue;
        *first = !count++ || found < *first ? found : *first;
    }
    return count;
}

static enum tf_code prune(const char *output, uint64_t step, uint64_t last, struct tf_err *err)
{
    const char *slash = strrchr(output, '/'), *base = slash ? slash + 1 : output;
    const size_t base_length = stem(output) - (size_t)(base - output);
    char *path = slash ? tf_strndup(output, (size_t)(base - output), err) : tf_strdup(".", err);
    if (!path)
        return TF_MEMORY;
    DIR *folder = tf_path_list(AT_FDCWD, path);
    enum tf_code code = TF_OK;
    if (!folder)
        code = tf_fail_errno(err, TF_IO, "%s: cannot list its folder", output);
    for (uint64_t first = 0; !code && oldest(folder, base, base_length, step, &first) > last;) {
        char name[512];
        step_name(name, base, base_length, first);
        if (unlinkat(dirfd(folder), name, 0))
            code = tf_fail_errno(err, TF_IO, "%s: cannot remove an old checkpoint", name);
    }
    if (folder)
        closedir(folder);
    tf_free(path);
    return code;
}

enum tf_code tf_keep_step(const char *output, uint64_t step, uint64_t last, struct tf_err *err)
{
    char word[32], *name = NULL;
    snprintf(word, sizeof word, "step-%llu", (unsigned long long)step);
    enum tf_code code = tf_keep_name(&name, output, word, err);
    if (!code && unlink(name) && errno != ENOENT)
        code = tf_fail_errno(err, TF_IO, "%s: cannot replace", name);
    if (!code && linkat(AT_FDCWD, output, AT_FDCWD, name, AT_SYMLINK_FOLLOW))
        code = tf_fail_errno(err, TF_IO, "%s: cannot link to %s", name, output);
    tf_free(name);
    return code ? code : prune(output, step, last, err);
}
