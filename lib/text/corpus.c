#include "text/corpus.h"

#include "base/mem.h"
#include "base/path.h"
#include "base/rng.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_STATIC_LINKING_ONLY /* an XXH3 state on the stack */
#include <xxhash.h>
#include <zstd.h>
#include <zstd_errors.h>

#define MAX_TOKENS (1ull << 33)
#define BUFFER 65536 /* bytes read at once */

/* Texts on their way into a corpus. */
struct loader {
    struct tf_corpus *corpus;
    const struct tf_tokenizer *tokenizer;
    uint64_t capacity, limit; /* tokens */
    const char *name;         /* of the file being read, for messages */
    uint64_t taken;           /* bytes of it so far */
    size_t held;              /* bytes at the head of text that wait for those after them */
    char text[BUFFER + sizeof(((struct tf_tokenizer *)0)->separator)];
    char coded[BUFFER]; /* of a .zst file */
    struct tf_err *err;
};

/* ---- tokens ---- */

/* Room for n more tokens: the array doubles, up to the limit. */
static enum tf_code reserve(struct loader *loader, size_t n)
{
    struct tf_corpus *corpus = loader->corpus;
    uint64_t needed = corpus->count + n, capacity = loader->capacity;
    uint16_t *larger;

    if (needed <= capacity)
        return TF_OK;
    if (needed > loader->limit)
        return tf_fail(loader->err, TF_MEMORY,
                       "%s: the text is longer than %ju tokens, the limit here", loader->name,
                       (uintmax_t)loader->limit);
    capacity = 2 * capacity > needed ? 2 * capacity : needed;
    if (capacity > loader->limit)
        capacity = loader->limit;
    if (capacity > SIZE_MAX)
        return tf_fail(loader->err, TF_MEMORY, "%s: out of memory", loader->name);
    larger = tf_new((size_t)capacity, sizeof(*larger), "text", loader->err);
    if (larger == NULL)
        return TF_MEMORY;
    if (corpus->count > 0)
        memcpy(larger, corpus->tokens, (size_t)corpus->count * sizeof(*larger));
    tf_free(corpus->tokens);
    corpus->tokens = larger;
    loader->capacity = capacity;
    return TF_OK;
}

/* Takes n new bytes that stand in text after the held ones. What may be half of a separator is held
 * back. */
static enum tf_code take(struct loader *loader, size_t n)
{
    struct tf_corpus *corpus = loader->corpus;
    enum tf_code code;
    size_t used;

    if (n == 0)
        return TF_OK;
    n += loader->held;
    code = reserve(loader, n);
    if (code != TF_OK)
        return code;
    corpus->count += tf_tokenizer_encode_piece(loader->tokenizer, loader->text, n, &used,
                                               corpus->tokens + corpus->count);
    loader->held = n - used;
    memmove(loader->text, loader->text + used, loader->held);
    return TF_OK;
}

/* ---- files ---- */

/* Reads up to BUFFER bytes; *got is 0 at the end. */
static enum tf_code read_some(struct loader *loader, int fd, char *to, size_t *got)
{
    const ssize_t n = tf_path_read(fd, to, BUFFER);

    if (n < 0)
        return tf_fail_errno(loader->err, TF_IO, "%s: cannot read", loader->name);
    *got = (size_t)n;
    loader->taken += *got;
    return TF_OK;
}

static enum tf_code read_plain(struct loader *loader, int fd)
{
    enum tf_code code;
    size_t got = 0;

    do {
        code = read_some(loader, fd, loader->text + loader->held, &got);
        if (code == TF_OK)
            code = take(loader, got);
    } while (code == TF_OK && got > 0);
    return code;
}

static enum tf_code fail_zstd(struct loader *loader, size_t error)
{
    if (ZSTD_getErrorCode(error) == ZSTD_error_memory_allocation)
        return tf_fail(loader->err, TF_MEMORY, "%s: out of memory", loader->name);
    return tf_fail(loader->err, TF_DATA, "%s: damaged zstd: %s", loader->name,
                   ZSTD_getErrorName(error));
}

/* Decodes and takes what is in `in`. *left is 0 at the end of a frame. */
static enum tf_code decode(struct loader *loader, ZSTD_DStream *stream, ZSTD_inBuffer *in,
                           size_t *left)
{
    enum tf_code code = TF_OK;
    bool full = false; /* more output may wait inside the decoder */

    while (code == TF_OK && (in->pos < in->size || (full && *left != 0))) {
        ZSTD_outBuffer out = {loader->text + loader->held, BUFFER, 0};
        *left = ZSTD_decompressStream(stream, &out, in);
        if (ZSTD_isError(*left))
            return fail_zstd(loader, *left);
        full = out.pos == out.size;
        code = take(loader, out.pos);
    }
    return code;
}

static enum tf_code read_zstd(struct loader *loader, int fd)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    enum tf_code code = TF_OK;
    size_t got = 0, left = 1;

    if (stream == NULL)
        return tf_fail(loader->err, TF_MEMORY, "%s: out of memory", loader->name);
    do {
        code = read_some(loader, fd, loader->coded, &got);
        if (code == TF_OK && got > 0)
            code = decode(loader, stream, &(ZSTD_inBuffer){loader->coded, got, 0}, &left);
    } while (code == TF_OK && got > 0);
    if (code == TF_OK && left != 0)
        code =
            tf_fail(loader->err, TF_DATA, "%s: truncated zstd: ends inside a frame", loader->name);
    ZSTD_freeDStream(stream);
    return code;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

static enum tf_code read_file(struct loader *loader, const char *path)
{
    bool is_stdin = strcmp(path, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : tf_path_open(path, O_RDONLY);
    struct stat status;
    enum tf_code code;

    loader->name = is_stdin ? "standard input" : path;
    loader->taken = 0;
    if (fd < 0 || fstat(fd, &status) < 0)
        code = tf_fail_errno(loader->err, TF_NOINPUT, "%s", loader->name);
    else if (S_ISDIR(status.st_mode))
        code = tf_fail(loader->err, TF_NOINPUT, "%s: is a directory", loader->name);
    else if (ends_with(path, ".zst"))
        code = read_zstd(loader, fd);
    else
        code = read_plain(loader, fd);
    if (code == TF_OK && !is_stdin && S_ISREG(status.st_mode) &&
        loader->taken < (uint64_t)status.st_size)
        code = tf_fail(loader->err, TF_DATA, "%s: ends at byte %ju, but had %ju when it was opened",
                       path, (uintmax_t)loader->taken, (uintmax_t)status.st_size);
    if (fd >= 0 && !is_stdin)
        close(fd);
    return code;
}

/* No text may take more than half of the machine's memory, however small its compressed file is. */
static uint64_t token_limit(void)
{
    uint64_t tokens = tf_memory_physical() / 2 / sizeof(uint16_t);

    return tokens > 0 && tokens < MAX_TOKENS ? tokens : MAX_TOKENS;
}

static enum tf_code read_files(struct loader *loader, const char *const *paths, size_t count)
{
    struct tf_corpus *corpus = loader->corpus;
    enum tf_code code = TF_OK;

    for (size_t i = 0; i < count && code == TF_OK; i++)
        code = read_file(loader, paths[i]);
    if (code == TF_OK && loader->held > 0)
        code = reserve(loader, loader->held);
    if (code == TF_OK && loader->held > 0)
        corpus->count += tf_tokenizer_encode(loader->tokenizer, loader->text, loader->held,
                                             corpus->tokens + corpus->count);
    if (code == TF_OK && corpus->count == 0)
        code = tf_fail(loader->err, TF_DATA,
                       count > 1 ? "%s and those before it: empty" : "%s: the text is empty",
                       count > 0 ? loader->name : "no files");
    return code;
}

enum tf_code tf_corpus_load(struct tf_corpus *corpus, const struct tf_tokenizer *tokenizer,
                            const char *const *paths, size_t count, struct tf_err *err)
{
    struct loader *loader;
    enum tf_code code;

    *corpus = (struct tf_corpus){0};
    loader = tf_new(1, sizeof(*loader), "read buffers", err);
    if (loader == NULL)
        return TF_MEMORY;
    loader->corpus = corpus;
    loader->tokenizer = tokenizer;
    loader->limit = token_limit();
    loader->err = err;
    code = read_files(loader, paths, count);
    if (code != TF_OK)
        tf_corpus_fini(corpus);
    tf_free(loader);
    return code;
}

void tf_corpus_fini(struct tf_corpus *corpus)
{
    if (!corpus->borrowed)
        tf_free(corpus->tokens);
    *corpus = (struct tf_corpus){0};
}

void tf_corpus_split(struct tf_corpus *whole, double fraction, struct tf_corpus *tail)
{
    uint64_t count = (uint64_t)((double)whole->count * fraction);

    whole->count -= count;
    *tail = (struct tf_corpus){whole->tokens + whole->count, count, true};
}

/* ---- what is in it ---- */

uint64_t tf_corpus_hash(const struct tf_corpus *corpus)
{
    XXH3_state_t state;
    uint8_t words[8192];
    uint64_t at = 0;

    XXH3_64bits_reset(&state);
    while (at < corpus->count) {
        size_t n = 0;
        for (; n < sizeof(words) && at < corpus->count; at++) {
            words[n++] = (uint8_t)(corpus->tokens[at] & 0xff);
            words[n++] = (uint8_t)(corpus->tokens[at] >> 8);
        }
        XXH3_64bits_update(&state, words, n);
    }
    return XXH3_64bits_digest(&state);
}

uint64_t tf_corpus_bytes(const struct tf_corpus *corpus, const struct tf_tokenizer *tokenizer,
                         uint64_t from, uint64_t to)
{
    uint64_t bytes = 0;

    for (uint64_t i = from; i < to; i++) {
        size_t n;
        tf_tokenizer_decode(tokenizer, corpus->tokens[i], &n);
        bytes += n;
    }
    return bytes;
}

uint64_t tf_corpus_windows(const struct tf_corpus *corpus, uint64_t T)
{
    return corpus->count == 0 ? 0 : (corpus->count - 1) / T;
}

uint64_t tf_corpus_window(enum tf_order order, uint64_t seed, uint64_t windows, uint64_t B,
                          uint64_t step, uint64_t b)
{
    uint64_t i = step * B + b;

    if (order == TF_ORDER_SEQUENTIAL)
        return i % windows;
    return tf_rng_permute(seed, tf_rng_stream("order") + i / windows, windows, i % windows);
}
