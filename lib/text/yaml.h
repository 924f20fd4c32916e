/* A small, strict reader of YAML over libyaml's events: a tree of scalars, sequences and mappings
 * with their places. Aliases, anchors, tags, duplicate keys, a second document, more than 16
 * levels, 100,000 nodes or 4 MiB are refused. */
#ifndef TF_TEXT_YAML_H
#define TF_TEXT_YAML_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TF_YAML_MAX_NODES 100000u
#define TF_YAML_MAX_BYTES (4u << 20)

enum tf_yaml_kind { TF_YAML_SCALAR, TF_YAML_SEQUENCE, TF_YAML_MAPPING };

struct tf_yaml {
    enum tf_yaml_kind kind;
    int line, column;       /* from 1 */
    char *text;             /* scalar: its value, valid UTF-8 with no 0 inside */
    bool quoted;            /* scalar: was it quoted */
    size_t count;           /* items, or pairs */
    struct tf_yaml **keys;  /* mapping: count scalars */
    struct tf_yaml **items; /* sequence: items; mapping: values */
};

/* Parses n bytes; name stands for the file in messages ("run.yaml:3:5: ..."). An empty document
 * gives an empty mapping. Errors are `code` (TF_CONFIG for configs, TF_DATA for what is read from a
 * checkpoint). Freed with tf_yaml_free. */
TF_MUST_USE enum tf_code tf_yaml_parse(struct tf_yaml **out, const char *name, const char *text,
                                       size_t n, enum tf_code code, struct tf_err *err);
void tf_yaml_free(struct tf_yaml *yaml);

/* The value of a key in a mapping, or NULL. */
const struct tf_yaml *tf_yaml_get(const struct tf_yaml *mapping, const char *key);

/* Numbers out of scalars: false when the text is not one, or out of range. Decimal, no leading '+'
 * or blanks. A real may be written 1e-3, 1.0e-3, .5; parsed the same in every locale. */
bool tf_yaml_uint(const struct tf_yaml *scalar, unsigned long long *out);
bool tf_yaml_real(const struct tf_yaml *scalar, double *out);

/* Writes text (UTF-8) as a YAML scalar into out: plain where that is safe, else double-quoted with
 * escapes. Returns the length it has (as snprintf does). */
size_t tf_yaml_quote(char *out, size_t size, const char *text);

/* A text that is written in memory. After a begin that went well comes one end, which gives the
 * whole of it: *out, freed with tf_free. In between it must not move. */
struct tf_yaml_text {
    FILE *file; /* write here */
    char *text; /* what came so far: size bytes, and room for more */
    size_t size, room;
};
TF_MUST_USE enum tf_code tf_yaml_begin(struct tf_yaml_text *yaml, struct tf_err *err);
TF_MUST_USE enum tf_code tf_yaml_end(struct tf_yaml_text *yaml, char **out, size_t *size,
                                     struct tf_err *err);

#endif
