/* What the harnesses share. Each fuzz_<name>.c gives bytes that nobody vouches for to one parser,
 * and says what must hold whether they are taken or refused. See README.md. */
#ifndef TF_TESTS_FUZZ_H
#define TF_TESTS_FUZZ_H

#include "base/err.h"
#include <stddef.h>
#include <stdint.h>

/* One input; returns 0. libFuzzer's main calls it, or driver.c's. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Inputs that the parser took. A corpus of which none is taken shows that the harness is broken. */
extern size_t fuzz_taken;

/* What must hold for every input. Ends the program where it does not: for libFuzzer and driver.c
 * alike that is a finding. */
#define must(condition) ((condition) ? (void)0 : fuzz_finding(__FILE__, __LINE__, #condition))
_Noreturn void fuzz_finding(const char *file, int line, const char *condition);

/* For what has just made or taken out of an input: it cannot fail but for a fault of ours. */
void must_succeed(enum tf_code code, const struct tf_err *err);
/* A refusal says so in its code, which is `expected` or TF_MEMORY, and in one line that a terminal
 * can be shown. */
void must_refuse(enum tf_code code, enum tf_code expected, const struct tf_err *err);
/* The two texts are the same. Frees both, with tf_free. */
void must_agree(char *text, size_t size, char *other, size_t other_size);

/* The path of a file, in memory, that holds these bytes until the next call. */
const char *memory_file(const void *bytes, size_t size);

/* Opens a checkpoint, and if it opens asks for everything that it says and holds. */
void examine_checkpoint(const char *path);

#endif
