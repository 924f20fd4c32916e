/* The table of keys behind train/config.h, and how the value of a key is read, written and let go.
 * For config.c; what was found, for manifest.c too. */
#ifndef TF_TRAIN_CONFIG_KEYS_H
#define TF_TRAIN_CONFIG_KEYS_H

#include "text/yaml.h"
#include "train/config.h"

/* What a value is; and the type of its field in struct tf_config. */
enum tf_key_kind {
    TF_KEY_UINT,   /* uint64_t */
    TF_KEY_REAL,   /* double */
    TF_KEY_BOOL,   /* bool */
    TF_KEY_CHOICE, /* int: the position in `range` */
    TF_KEY_TEXT,   /* char *, owned */
    TF_KEY_TEXTS,  /* struct tf_strings */
    TF_KEY_COUNTS, /* struct tf_counts */
    TF_KEY_PAIR    /* double [2] */
};

struct tf_key {
    const char *section, *name, *full; /* full: section.name */
    enum tf_key_kind kind;
    size_t offset;        /* of the field in struct tf_config */
    uint64_t least, most; /* integers */
    double low, high;     /* numbers; `open`: low itself is out */
    bool open;
    bool fixed;           /* must not change when a run is resumed */
    const char *range;    /* the limits above in words, or the choices: "a, b, c" */
    const char *fallback; /* the default, as tf_key_print writes it */
    const char *help;     /* a sentence without its full stop */
};

#define TF_MOST_KEYS 64
/* 0 <= index < tf_config_keys() <= TF_MOST_KEYS */
const struct tf_key *tf_key_at(size_t index);
/* The field of config that a key is about. */
const void *tf_key_field(const struct tf_key *key, const struct tf_config *config);

/* Puts value into config's field. What does not fit: `code`, "<place>section.name: expected ...,
 * found ...". */
TF_MUST_USE enum tf_code tf_key_read(const struct tf_key *key, struct tf_config *config,
                                     const struct tf_yaml *value, const char *place,
                                     enum tf_code code, struct tf_err *err);
/* Writes config's value as YAML on one line, without the line's end. */
void tf_key_print(const struct tf_key *key, const struct tf_config *config, FILE *out);
void tf_key_fini(const struct tf_key *key, struct tf_config *config);
/* What was found where something else was expected: nothing, a list, "four". Returns out. */
char *tf_key_found(char out[128], const struct tf_yaml *value);

#endif
