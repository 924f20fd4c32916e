#include "fuzz.h"

#include "base/mem.h"
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

size_t fuzz_taken;

_Noreturn void fuzz_finding(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}

void must_succeed(enum tf_code code, const struct tf_err *err)
{
    if (code == TF_OK)
        return;
    fprintf(stderr, "refused: %s\n", err->text);
    abort();
}

/* Well-formed UTF-8, and nothing in it that a terminal obeys. */
static bool is_printable(const char *text)
{
    const uint8_t *s = (const uint8_t *)text;
    size_t left = strlen(text), length;

    for (; left > 0; s += length, left -= length) {
        length = tf_utf8_length(s, left);
        if (length == 0 || s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0))
            return false;
    }
    return true;
}

void must_refuse(enum tf_code code, enum tf_code expected, const struct tf_err *err)
{
    must(code == expected || code == TF_MEMORY);
    must(err->code == code);
    must(err->text[0] != '\0');
    must(is_printable(err->text));
}

void must_agree(char *text, size_t size, char *other, size_t other_size)
{
    must(size == other_size && memcmp(text, other, size) == 0);
    tf_free(text);
    tf_free(other);
}

const char *memory_file(const void *bytes, size_t size)
{
    static char path[32];
    static int fd = -1;

    if (fd < 0)
        fd = memfd_create("fuzz", MFD_CLOEXEC);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    if (fd < 0 || ftruncate(fd, 0) != 0 || pwrite(fd, bytes, size, 0) != (ssize_t)size) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    return path;
}
