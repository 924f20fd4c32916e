/* The JSON Lines of tf-generate --prompts: the text under "prompt" of each line. */
#include "fuzz.h"

#include "base/mem.h"
#include "text/json.h"
#include <stdlib.h>
#include <string.h>

/* A prompt is UTF-8; in an object that we write ourselves it reads back as it was. */
static void round_trip(const char *prompt, size_t size)
{
    struct tf_json json = {0};
    struct tf_err err = {0};
    char *line = NULL, *again;
    size_t line_size, again_size;

    for (size_t at = 0, length; at < size; at += length) {
        length = tf_utf8_length((const uint8_t *)prompt + at, size - at);
        must(length > 0);
    }
    json.file = open_memstream(&line, &line_size);
    must(json.file != NULL);
    tf_json_object(&json, NULL);
    tf_json_bytes(&json, "text", prompt, size);
    tf_json_bytes(&json, "prompt", prompt, size);
    tf_json_end_object(&json);
    must(fclose(json.file) == 0);
    must(memchr(line, '\n', line_size) == line + line_size - 1);
    must_succeed(tf_json_get_string(line, line_size, "prompt", &again, &again_size, &err), &err);
    must(again_size == size && memcmp(again, prompt, size) == 0);
    tf_free(again);
    free(line);
}

static void read_line(const char *line, size_t size)
{
    struct tf_err err = {0};
    char *prompt;
    size_t prompt_size;
    enum tf_code code = tf_json_get_string(line, size, "prompt", &prompt, &prompt_size, &err);

    if (code != TF_OK) {
        must(prompt == NULL && prompt_size == 0);
        must_refuse(code, TF_DATA, &err);
        return;
    }
    fuzz_taken++;
    must(prompt_size <= size && strlen(prompt) == prompt_size);
    round_trip(prompt, prompt_size);
    tf_free(prompt);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *line = (const char *)data;

    while (size > 0) {
        const char *end = memchr(line, '\n', size);
        size_t length = end == NULL ? size : (size_t)(end - line);
        read_line(line, length);
        length += end != NULL;
        line += length;
        size -= length;
    }
    return 0;
}
