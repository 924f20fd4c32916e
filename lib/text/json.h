/* Writing JSON: objects with keys in the order that they are given, to a stream that is checked
 * once at the end. */
#ifndef TF_TEXT_JSON_H
#define TF_TEXT_JSON_H

#include "base/err.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct tf_json {
    FILE *file;  /* borrowed */
    bool pretty; /* two-space indent; else one line without blanks */
    int depth;
    bool comma; /* the next value needs a comma before it */
};

/* Every value takes a key inside an object, and NULL inside an array or at the top. */
void tf_json_object(struct tf_json *json, const char *key);
void tf_json_array(struct tf_json *json, const char *key);
void tf_json_end_object(struct tf_json *json); /* the outermost end also ends the line */
void tf_json_end_array(struct tf_json *json);
void tf_json_string(struct tf_json *json, const char *key, const char *text);
/* null where text is NULL or empty. */
void tf_json_string_or_null(struct tf_json *json, const char *key, const char *text);
/* Bytes that need not be UTF-8: invalid ones become U+FFFD. */
void tf_json_bytes(struct tf_json *json, const char *key, const char *text, size_t n);
void tf_json_uint(struct tf_json *json, const char *key, uint64_t value);
/* The shortest text that reads back as the same double; NaN and infinities are null. */
void tf_json_real(struct tf_json *json, const char *key, double value);
void tf_json_bool(struct tf_json *json, const char *key, bool value);
void tf_json_null(struct tf_json *json, const char *key);

/* The decimal text of fewest digits that reads back as value (nan, inf and -inf for what is not a
 * number), the same in every locale, into out; returns out. */
char *tf_real_text(char out[32], double value);

/* A JSON text read whole (through jansson); values inside are borrowed from its root. Errors name
 * line and column: TF_DATA. */
struct tf_json_value;
TF_MUST_USE enum tf_code tf_json_parse(struct tf_json_value **root, const char *text, size_t n,
                                       struct tf_err *err);
void tf_json_free(struct tf_json_value *root); /* NULL is fine */
/* NULL for what is no object, or has no such key; and for what is no array, or is shorter. */
const struct tf_json_value *tf_json_get(const struct tf_json_value *object, const char *key);
const struct tf_json_value *tf_json_at(const struct tf_json_value *array, size_t index);
size_t tf_json_count(const struct tf_json_value *array); /* 0 for what is no array */
/* NULL for what is no string; borrowed, without U+0000 inside. */
const char *tf_json_text(const struct tf_json_value *value);
bool tf_json_number(const struct tf_json_value *value, double *out); /* false for what is none */

/* Reads one JSON object (through jansson) and gives the string under `key`: *out freed with
 * tf_free. Not an object, no such key, not a string, a string with U+0000: TF_DATA. */
TF_MUST_USE enum tf_code tf_json_get_string(const char *text, size_t n, const char *key, char **out,
                                            size_t *size, struct tf_err *err);

#endif
