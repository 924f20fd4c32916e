/* A checkpoint, as it stands. Its checksums stop nearly all that a mutation makes, so this is about
 * header, trailer, and files that are no checkpoint; fuzz_directory.c gets behind them. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    examine_checkpoint(memory_file(data, size));
    return 0;
}
