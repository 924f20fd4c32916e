#include "text/tokenizer.h"

#include "text/yaml.h"
#include <stdio.h>
#include <string.h>

#define BYTES 256u

enum tf_code tf_tokenizer_init(struct tf_tokenizer *tokenizer, const char *kind,
                               const char *separator, struct tf_err *err)
{
    *tokenizer = (struct tf_tokenizer){.separator_id = TF_NO_TOKEN, .size = BYTES};
    if (strcmp(kind, "bytes") != 0)
        return tf_fail(err, TF_CONFIG, "tokenizer: expected bytes, found \"%.80s\"", kind);
    if (separator == NULL || separator[0] == '\0' || strcmp(separator, "none") == 0)
        return TF_OK;
    if (strlen(separator) >= sizeof(tokenizer->separator))
        return tf_fail(err, TF_CONFIG, "separator: %zu bytes long, the limit is %zu",
                       strlen(separator), sizeof(tokenizer->separator) - 1);
    strcpy(tokenizer->separator, separator);
    tokenizer->separator_id = tokenizer->size++;
    return TF_OK;
}

size_t tf_tokenizer_print(const struct tf_tokenizer *tokenizer, char *out, size_t size)
{
    bool none = tokenizer->separator_id == TF_NO_TOKEN;
    char separator[4 * sizeof(tokenizer->separator) + 3];

    tf_yaml_quote(separator, sizeof(separator), none ? "none" : tokenizer->separator);
    return (size_t)snprintf(out, size, "kind: bytes\nseparator: %s\n", separator);
}

/* The text under key, or NULL. */
static const char *text_of(const struct tf_yaml *root, const char *key)
{
    const struct tf_yaml *value = tf_yaml_get(root, key);

    return value != NULL && value->kind == TF_YAML_SCALAR ? value->text : NULL;
}

enum tf_code tf_tokenizer_parse(struct tf_tokenizer *tokenizer, const char *text, size_t n,
                                struct tf_err *err)
{
    struct tf_yaml *root;
    const char *kind, *separator;
    enum tf_code code = tf_yaml_parse(&root, "tokenizer", text, n, TF_DATA, err);

    if (code != TF_OK)
        return code;
    kind = text_of(root, "kind");
    separator = text_of(root, "separator");
    if (kind == NULL || separator == NULL || root->count != 2) {
        code = tf_fail(err, TF_DATA, "tokenizer: expected the keys kind and separator");
    } else if (strcmp(kind, "bytes") != 0) {
        code = tf_fail(err, TF_DATA, "tokenizer: kind: expected bytes, found \"%.80s\"", kind);
    } else if (tf_tokenizer_init(tokenizer, kind, separator, err) != TF_OK) {
        tf_context(err, "tokenizer");
        if (err != NULL)
            err->code = TF_DATA;
        code = TF_DATA;
    }
    tf_yaml_free(root);
    return code;
}

static size_t put_bytes(uint16_t *out, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)text[i];
    return n;
}

size_t tf_tokenizer_encode_piece(const struct tf_tokenizer *tokenizer, const char *text, size_t n,
                                 size_t *used, uint16_t *out)
{
    size_t length = strlen(tokenizer->separator), at = 0, count = 0;
    const char *found;

    while (length > 0 &&
           (found = memmem(text + at, n - at, tokenizer->separator, length)) != NULL) {
        size_t before = (size_t)(found - text) - at;
        count += put_bytes(out + count, text + at, before);
        out[count++] = (uint16_t)tokenizer->separator_id;
        at += before + length;
    }
    /* A separator may begin in the last length - 1 bytes, and end in the next piece. */
    if (n - at >= length) {
        size_t sure = length == 0 ? n - at : n - at - (length - 1);
        count += put_bytes(out + count, text + at, sure);
        at += sure;
    }
    *used = at;
    return count;
}

size_t tf_tokenizer_encode(const struct tf_tokenizer *tokenizer, const char *text, size_t n,
                           uint16_t *out)
{
    size_t used, count = tf_tokenizer_encode_piece(tokenizer, text, n, &used, out);

    return count + put_bytes(out + count, text + used, n - used);
}

const char *tf_tokenizer_decode(const struct tf_tokenizer *tokenizer, uint32_t id, size_t *n)
{
#define FOUR(b) (b), (b) + 1, (b) + 2, (b) + 3
#define SIXTEEN(b) FOUR(b), FOUR((b) + 4), FOUR((b) + 8), FOUR((b) + 12)
#define SIXTY_FOUR(b) SIXTEEN(b), SIXTEEN((b) + 16), SIXTEEN((b) + 32), SIXTEEN((b) + 48)
    static const uint8_t bytes[BYTES] = {SIXTY_FOUR(0), SIXTY_FOUR(64), SIXTY_FOUR(128),
                                         SIXTY_FOUR(192)};

    if (id < BYTES) {
        *n = 1;
        return (const char *)&bytes[id];
    }
    *n = id == tokenizer->separator_id ? strlen(tokenizer->separator) : 0;
    return tokenizer->separator;
}
