#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Follows the table of well-formed sequences in the Unicode Standard: no overlong forms, no
 * surrogates, nothing past U+10FFFF. */
size_t tf_utf8_length(const uint8_t *s, size_t n)
{
    uint8_t low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t length;

    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf)
        length = 2;
    else if (s[0] >= 0xe0 && s[0] <= 0xef)
        length = 3;
    else if (s[0] >= 0xf0 && s[0] <= 0xf4)
        length = 4;
    else
        return 0;
    if (s[0] == 0xe0)
        low = 0xa0;
    else if (s[0] == 0xed)
        high = 0x9f;
    else if (s[0] == 0xf0)
        low = 0x90;
    else if (s[0] == 0xf4)
        high = 0x8f;
    if (n < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

/* C0, DEL and C1 (U+0080 to U+009F), which terminals obey; line separators and the marks that turn
 * the direction of writing (U+2028 to U+202E, U+2066 to U+2069), with which a text can show itself
 * as another. */
static bool is_control(const uint8_t *s, size_t length)
{
    if (length == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    if (length == 2)
        return s[0] == 0xc2 && s[1] < 0xa0;
    return length == 3 && s[0] == 0xe2 &&
           ((s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae) ||
            (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
}

char *tf_escape(char *out, size_t size, const char *text, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *s = (const uint8_t *)text;
    size_t at = 0;

    if (size == 0)
        return out;
    while (n > 0) {
        size_t length = tf_utf8_length(s, n);
        if (length > 0 && !is_control(s, length)) {
            if (size - at <= length)
                break;
            memcpy(out + at, s, length);
            at += length;
        } else {
            if (size - at <= 4)
                break;
            length = 1;
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[s[0] >> 4];
            out[at++] = digits[s[0] & 15];
        }
        s += length;
        n -= length;
    }
    out[at] = '\0';
    return out;
}

/* Formats into text and escapes what came out, in place of it. */
static void TF_PRINTF(3, 0)
    format_escaped(char *text, size_t size, const char *format, va_list args)
{
    char raw[sizeof(((struct tf_err *)0)->text)];

    raw[0] = '\0';
    vsnprintf(raw, sizeof(raw), format, args);
    tf_escape(text, size, raw, strlen(raw));
}

enum tf_code tf_fail(struct tf_err *err, enum tf_code code, const char *format, ...)
{
    va_list args;

    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, format);
    format_escaped(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

enum tf_code tf_fail_errno(struct tf_err *err, enum tf_code code, const char *format, ...)
{
    const char *word = strerror(errno);
    va_list args;
    size_t used;

    if (errno == ENOMEM)
        code = TF_MEMORY;
    if (err == NULL)
        return code;
    err->code = code;
    va_start(args, format);
    format_escaped(err->text, sizeof(err->text), format, args);
    va_end(args);
    used = strlen(err->text);
    snprintf(err->text + used, sizeof(err->text) - used, ": %s", word);
    return code;
}

enum tf_code tf_context(struct tf_err *err, const char *format, ...)
{
    char prefix[sizeof(err->text)];
    va_list args;
    size_t used, room;

    if (err == NULL)
        return TF_INTERNAL;
    va_start(args, format);
    format_escaped(prefix, sizeof(prefix) - 2, format, args);
    va_end(args);
    strcat(prefix, ": ");
    used = strlen(prefix);
    room = sizeof(err->text) - used;
    tf_escape(prefix + used, room, err->text, strlen(err->text));
    memcpy(err->text, prefix, strlen(prefix) + 1);
    return err->code;
}

enum { LONGEST_NAME = 63 };

/* Levenshtein's distance, row by row of its table; both at most LONGEST_NAME bytes. */
static size_t distance(const char *a, const char *b)
{
    size_t row[LONGEST_NAME + 1], n = strlen(b);

    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (; *a != '\0'; a++) {
        size_t diagonal = row[0]++;
        for (size_t j = 0; j < n; j++) {
            size_t least = diagonal + (*a != b[j]);
            if (least > row[j] + 1)
                least = row[j] + 1;
            if (least > row[j + 1] + 1)
                least = row[j + 1] + 1;
            diagonal = row[j + 1];
            row[j + 1] = least;
        }
    }
    return row[n];
}

const char *tf_nearest(const char *text, const char *const names[], size_t count)
{
    size_t least = 2 + strlen(text) / 3; /* from here on it is another word, not a misspelt one */
    const char *nearest = NULL;

    if (strlen(text) > LONGEST_NAME)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        size_t d = strlen(names[i]) <= LONGEST_NAME ? distance(text, names[i]) : least;
        if (d < least) {
            least = d;
            nearest = names[i];
        }
    }
    return nearest;
}
