#include "train/generate.h"

#include "base/mem.h"
#include "base/rng.h"
#include "kernel/dispatch.h"

#include <math.h>
#include <string.h>
#include <time.h>

/* Rows of a pass over a prompt: enough that each read of the weights is worth its time. */
#define ROWS 256

/* Text on its way out of one sample. */
struct speaker {
    /* Bytes that may yet become part of a stop text, or are the start of a UTF-8 sequence. */
    char *held;
    size_t held_count;
    size_t told, room; /* of the sample's text: bytes given to the callback; bytes allocated */
    bool done;
};

/* A generation under way. Every sample is at the same position; one that is done rides along on
 * zeros. */
struct generator {
    const struct tf_model *model;
    const struct tf_tokenizer *tokenizer;
    const struct tf_generate_options *options;
    struct tf_generated *out;
    struct tf_run *run;
    struct tf_arena memory;
    uint16_t *history; /* samples x length: the prompt, then the new tokens */
    size_t length, prompt;
    size_t count;      /* tokens of each history so far */
    size_t cached;     /* positions in the run's cache */
    uint16_t *ids;     /* samples x chunk: what goes into a pass */
    size_t chunk;      /* most tokens of each sample there */
    float *logits;     /* samples x vocab */
    uint64_t *scratch; /* vocab */
    struct speaker *speakers;
    uint64_t stream;
    bool stop; /* the callback said so */
    bool slid;
};

/* Most tokens of each sample in a pass over all of them. No result depends on it. */
static size_t chunk(const struct tf_model *model, size_t samples)
{
    size_t tokens = samples < ROWS ? ROWS / samples : 1;

    return model->shape.seq < tokens ? model->shape.seq : tokens;
}

static double seconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- text ---- */

/* Appends bytes to a sample's text, which stays terminated. */
TF_MUST_USE static enum tf_code append(struct tf_generated *out, struct speaker *speaker,
                                       const char *bytes, size_t n, struct tf_err *err)
{
    size_t need = out->text_size + n + 1;

    if (need > speaker->room) {
        char *larger = tf_new(2 * need, 1, "generated text", err);
        if (larger == NULL)
            return TF_MEMORY;
        if (out->text_size > 0)
            memcpy(larger, out->text, out->text_size);
        tf_free(out->text);
        out->text = larger;
        speaker->room = 2 * need;
    }
    memcpy(out->text + out->text_size, bytes, n);
    out->text_size += n;
    out->text[out->text_size] = '\0';
    return TF_OK;
}

/* Are these n bytes (1 to 3) the beginning of a longer UTF-8 sequence? */
static bool utf8_begins(const char *bytes, size_t n)
{
    uint8_t whole[4] = {0x80, 0x80, 0x80, 0x80};

    memcpy(whole, bytes, n);
    if (n == 1)
        return whole[0] >= 0xc2 && whole[0] <= 0xf4;
    return tf_utf8_length(whole, sizeof(whole)) > n;
}

/* Moves the first n held bytes to the sample's text, what is not UTF-8 as U+FFFD. Unless `all`, a
 * sequence that is only begun stays held. */
TF_MUST_USE static enum tf_code release(struct tf_generated *out, struct speaker *speaker, size_t n,
                                        bool all, struct tf_err *err)
{
    size_t at = 0;

    while (at < n) {
        const char *bytes = speaker->held + at;
        size_t length = tf_utf8_length((const uint8_t *)bytes, n - at);
        enum tf_code code;
        if (length == 0 && !all && n - at < 4 && utf8_begins(bytes, n - at))
            break;
        code = length > 0 ? append(out, speaker, bytes, length, err)
                          : append(out, speaker, "\xef\xbf\xbd", 3, err);
        if (code != TF_OK)
            return code;
        at += length > 0 ? length : 1;
    }
    speaker->held_count -= at;
    memmove(speaker->held, speaker->held + at, speaker->held_count);
    return TF_OK;
}

static bool ends_with(const struct speaker *speaker, const char *bytes, size_t n)
{
    return n <= speaker->held_count &&
           memcmp(speaker->held + speaker->held_count - n, bytes, n) == 0;
}

/* Bytes of the longest stop text that what is held ends with; 0: none. */
static size_t stop_whole(const struct tf_generate_options *options, const struct speaker *speaker)
{
    size_t longest = 0;

    for (size_t i = 0; i < options->stop_count; i++) {
        size_t size = strlen(options->stop[i]);
        if (size > longest && ends_with(speaker, options->stop[i], size))
            longest = size;
    }
    return longest;
}

/* Bytes at the end of what is held that begin a stop text, and so must wait. */
static size_t stop_begun(const struct tf_generate_options *options, const struct speaker *speaker)
{
    size_t longest = 0;

    for (size_t i = 0; i < options->stop_count; i++)
        for (size_t n = strlen(options->stop[i]) - 1; n > longest; n--)
            if (ends_with(speaker, options->stop[i], n))
                longest = n;
    return longest;
}

/* Takes the bytes of a new token one by one: only so is the first stop text found, wherever tokens
 * end. */
TF_MUST_USE static enum tf_code hear(struct generator *g, size_t s, const char *bytes, size_t n,
                                     struct tf_err *err)
{
    struct speaker *speaker = &g->speakers[s];

    for (size_t i = 0; i < n; i++) {
        size_t matched, ready;
        enum tf_code code;
        speaker->held[speaker->held_count++] = bytes[i];
        matched = stop_whole(g->options, speaker);
        if (matched > 0) {
            speaker->held_count -= matched;
            speaker->done = true;
            g->out[s].finish = TF_FINISH_STOP;
            return TF_OK;
        }
        ready = speaker->held_count - stop_begun(g->options, speaker);
        code = release(&g->out[s], speaker, ready, false, err);
        if (code != TF_OK)
            return code;
    }
    return TF_OK;
}

/* Gives the callback what it has not had. A sample that is done lets go of what it held. */
TF_MUST_USE static enum tf_code tell(struct generator *g, size_t s, struct tf_err *err)
{
    struct speaker *speaker = &g->speakers[s];
    struct tf_generated *out = &g->out[s];

    if (speaker->done) {
        enum tf_code code = release(out, speaker, speaker->held_count, true, err);
        if (code != TF_OK)
            return code;
    }
    if (g->options->text != NULL && g->options->text(g->options->user, s, out->text + speaker->told,
                                                     out->text_size - speaker->told) != 0)
        g->stop = true;
    speaker->told = out->text_size;
    return TF_OK;
}

/* ---- the model ---- */

/* Runs positions 0..n of `streams` streams on the newest n ids of each, and leaves the logits of
 * the last. */
static void refill(struct generator *g, size_t streams, size_t n)
{
    size_t vocab = g->model->shape.vocab, length = 0;
    size_t most = g->options->samples * g->chunk / streams;

    for (size_t at = 0; at < n; at += length) {
        length = n - at < most ? n - at : most;
        for (size_t s = 0; s < streams; s++)
            memcpy(g->ids + s * length, g->history + s * g->length + g->count - n + at,
                   length * sizeof(*g->ids));
        tf_forward(g->run, g->ids, streams, length, at);
    }
    for (size_t s = 0; s < streams; s++)
        tf_logits(g->run, s * length + length - 1, 1, g->logits + s * vocab);
    g->cached = n;
}

/* The prompt's newest ids, once; the other samples start from the same cache and logits. */
static void read_prompt(struct generator *g)
{
    size_t vocab = g->model->shape.vocab, seq = g->model->shape.seq;

    g->slid = g->count > seq;
    refill(g, 1, g->slid ? seq : g->count);
    for (size_t s = 1; s < g->options->samples; s++) {
        tf_cache_copy(g->run, 0, s, g->cached);
        memcpy(g->logits + s * vocab, g->logits, vocab * sizeof(*g->logits));
    }
}

/* Logits after the newest token. A full cache lets go of its older half. */
static void advance(struct generator *g)
{
    size_t samples = g->options->samples, seq = g->model->shape.seq;

    if (g->cached == seq) {
        g->slid = true;
        refill(g, samples, seq > 1 ? seq / 2 : 1);
        return;
    }
    for (size_t s = 0; s < samples; s++)
        g->ids[s] = g->history[s * g->length + g->count - 1];
    tf_forward(g->run, g->ids, samples, 1, g->cached);
    tf_logits(g->run, 0, samples, g->logits);
    g->cached++;
}

TF_MUST_USE static enum tf_code check_logits(const struct generator *g, size_t s,
                                             const float *logits, struct tf_err *err)
{
    uint32_t vocab = g->tokenizer->size;

    if (isfinite(tf_kernel->sum(vocab, logits)))
        return TF_OK;
    for (uint32_t id = 0; id < vocab; id++)
        if (!isfinite(logits[id]))
            return tf_fail(err, TF_DATA,
                           "sample %zu, token %zu: logit %u is %g, not a finite number", s,
                           g->count - g->prompt, id, (double)logits[id]);
    return TF_OK; /* only the sum is too large */
}

/* Picks sample s's next token, and takes in what it says. */
TF_MUST_USE static enum tf_code extend(struct generator *g, size_t s, struct tf_err *err)
{
    const struct tf_generate_options *options = g->options;
    float *logits = g->logits + s * g->model->shape.vocab;
    uint16_t *history = g->history + s * g->length;
    enum tf_code code = check_logits(g, s, logits, err);
    size_t n;
    uint32_t id;

    if (code != TF_OK)
        return code;
    id = tf_sample(&options->sampler, logits, g->tokenizer->size, history, g->count, options->seed,
                   g->stream + s, g->count, g->scratch);
    history[g->count] = (uint16_t)id;
    g->out[s].count++;
    if (id == g->tokenizer->separator_id && !options->ignore_end) {
        g->out[s].finish = TF_FINISH_END;
        g->speakers[s].done = true;
    } else {
        const char *bytes = tf_tokenizer_decode(g->tokenizer, id, &n);
        code = hear(g, s, bytes, n, err);
    }
    if (g->out[s].count == options->max_tokens)
        g->speakers[s].done = true;
    return code == TF_OK ? tell(g, s, err) : code;
}

/* One more token for every sample that is not done; *running: how many are not, afterwards. */
TF_MUST_USE static enum tf_code step(struct generator *g, size_t *running, struct tf_err *err)
{
    *running = 0;
    for (size_t s = 0; s < g->options->samples && !g->stop; s++) {
        enum tf_code code = g->speakers[s].done ? TF_OK : extend(g, s, err);
        if (code != TF_OK)
            return code;
        *running += !g->speakers[s].done;
    }
    g->count++;
    return TF_OK;
}

TF_MUST_USE static enum tf_code decode(struct generator *g, struct tf_generate_stats *stats,
                                       struct tf_err *err)
{
    double start = seconds();
    size_t running = 0;
    enum tf_code code;

    read_prompt(g);
    stats->prompt_seconds = seconds() - start;
    start = seconds();
    code = step(g, &running, err);
    while (code == TF_OK && running > 0 && !g->stop) {
        advance(g);
        code = step(g, &running, err);
    }
    stats->decode_seconds = seconds() - start;
    return code;
}

/* ---- begin and end ---- */

static void take(struct generator *g, size_t longest_stop)
{
    size_t samples = g->options->samples, vocab = g->model->shape.vocab;

    g->history = tf_arena_take(&g->memory, g->length, samples * sizeof(*g->history));
    g->ids = tf_arena_take(&g->memory, g->chunk, samples * sizeof(*g->ids));
    g->logits = tf_arena_take(&g->memory, vocab, samples * sizeof(*g->logits));
    g->scratch = tf_arena_take(&g->memory, vocab, sizeof(*g->scratch));
    g->speakers = tf_arena_take(&g->memory, samples, sizeof(*g->speakers));
    for (size_t s = 0; s < samples; s++) {
        char *held = tf_arena_take(&g->memory, longest_stop + 4, 1);
        if (held != NULL)
            g->speakers[s].held = held;
    }
}

TF_MUST_USE static enum tf_code begin(struct generator *g, const uint16_t *prompt, size_t count,
                                      struct tf_err *err)
{
    size_t longest = 0;
    enum tf_code code;

    for (size_t i = 0; i < g->options->stop_count; i++) {
        size_t size = strlen(g->options->stop[i]);
        if (size == 0)
            return tf_fail(err, TF_USAGE, "a stop text is empty");
        longest = size > longest ? size : longest;
    }
    g->prompt = g->count = count;
    g->chunk = chunk(g->model, g->options->samples);
    if (!tf_add(&g->length, count, g->options->max_tokens))
        return tf_fail(err, TF_MEMORY, "%zu tokens cannot be generated", g->options->max_tokens);
    take(g, longest);
    code = tf_arena_alloc(&g->memory, "generated tokens", err);
    if (code != TF_OK)
        return code;
    take(g, longest);
    for (size_t s = 0; s < g->options->samples; s++) {
        memcpy(g->history + s * g->length, prompt, count * sizeof(*prompt));
        code = append(&g->out[s], &g->speakers[s], "", 0, err);
        if (code != TF_OK)
            return code;
    }
    return tf_run_new(&g->run, g->model, TF_RUN_CACHE, g->options->samples, g->chunk, err);
}

/* Lets go of text still held when the callback ended it all, and hands over the ids. */
TF_MUST_USE static enum tf_code finish(struct generator *g, struct tf_generate_stats *stats,
                                       struct tf_err *err)
{
    for (size_t s = 0; s < g->options->samples; s++) {
        struct tf_generated *out = &g->out[s];
        if (!g->speakers[s].done) {
            enum tf_code code;
            g->speakers[s].done = true;
            code = tell(g, s, err);
            if (code != TF_OK)
                return code;
        }
        out->ids = tf_new(out->count, sizeof(*out->ids), "generated tokens", err);
        if (out->ids == NULL)
            return TF_MEMORY;
        memcpy(out->ids, g->history + s * g->length + g->prompt, out->count * sizeof(*out->ids));
        stats->new_tokens += out->count;
    }
    stats->prompt_tokens = g->prompt;
    stats->slid = g->slid;
    return TF_OK;
}

enum tf_code tf_generate(struct tf_generated *out, const struct tf_model *model,
                         const struct tf_tokenizer *tokenizer, const uint16_t *prompt, size_t count,
                         const struct tf_generate_options *options, struct tf_generate_stats *stats,
                         struct tf_err *err)
{
    uint16_t opening =
        tokenizer->separator_id == TF_NO_TOKEN ? '\n' : (uint16_t)tokenizer->separator_id;
    struct generator g = {.model = model,
                          .tokenizer = tokenizer,
                          .options = options,
                          .out = out,
                          .stream = tf_rng_stream("sample") + options->first_stream};
    enum tf_code code;

    *stats = (struct tf_generate_stats){0};
    if (options->samples == 0)
        return TF_OK;
    memset(out, 0, options->samples * sizeof(*out));
    code = count > 0 ? begin(&g, prompt, count, err) : begin(&g, &opening, 1, err);
    if (code == TF_OK && options->max_tokens > 0)
        code = decode(&g, stats, err);
    if (code == TF_OK)
        code = finish(&g, stats, err);
    tf_run_free(g.run);
    tf_arena_fini(&g.memory);
    return code;
}

void tf_generated_fini(struct tf_generated *generated)
{
    tf_free(generated->ids);
    tf_free(generated->text);
    *generated = (struct tf_generated){0};
}

enum tf_code tf_generate_plan(uint64_t *bytes, const struct tf_model *model, size_t samples,
                              size_t tokens, struct tf_err *err)
{
    const struct tf_generate_options options = {.samples = samples};
    struct generator g = {
        .model = model, .options = &options, .length = tokens, .chunk = chunk(model, samples)};
    enum tf_code code = tf_run_plan(bytes, model, TF_RUN_CACHE, samples, g.chunk, err);

    if (code != TF_OK)
        return code;
    take(&g, 0);
    if (g.memory.overflow || __builtin_add_overflow(*bytes, g.memory.used, bytes))
        return tf_fail(err, TF_MEMORY, "%zu samples of %zu tokens do not fit memory", samples,
                       tokens);
    return TF_OK;
}
