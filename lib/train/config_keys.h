/* The table of keys behind train/config.h, and how the value of a key is read, written and let go.
 * For config*.c; what was found, for manifest.c too. */
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
    TF_KEY_PAIR,   /* double [2] */
    TF_KEY_TARGET, /* struct tf_target */
    TF_KEY_LAYERS, /* char [TF_LAYER_LIST] */
    TF_KEY_STAGES  /* struct tf_stages */
};

struct tf_key {
    const char *section, *name, *full; /* full: section.name */
    enum tf_key_kind kind;
    size_t offset;        /* of the field in struct tf_config; of a stage's key, in tf_stage */
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
/* The field that a key is about, of what has its keys: a config, or a stage. */
const void *tf_key_field(const struct tf_key *key, const void *of);

/* Where values come from, for messages. */
struct tf_origin {
    const char *name; /* of a file, whose lines and columns are told; else the whole beginning */
    bool file;
    enum tf_code code; /* of what does not fit */
};
/* "run.yaml:3:5: ". Returns out. */
char *tf_origin_place(char out[512], const struct tf_origin *from, const struct tf_yaml *at);

/* Puts value into the key's field of `to`. What does not fit: "<place>section.name: expected ...,
 * found ...". */
TF_MUST_USE enum tf_code tf_key_read(const struct tf_key *key, void *to,
                                     const struct tf_yaml *value, const struct tf_origin *from,
                                     struct tf_err *err);
/* Writes the value as YAML on one line, without the line's end. */
void tf_key_print(const struct tf_key *key, const void *of, FILE *out);
void tf_key_fini(const struct tf_key *key, struct tf_config *config);
/* What was found where something else was expected: nothing, a list, "four". Returns out. */
char *tf_key_found(char out[128], const struct tf_yaml *value);
/* The type's name, and the article that it takes in a message. */
const char *tf_key_type(enum tf_key_kind kind, const char **article);

/* The value of grow.stages (config_stages.c): a list of mappings. TF_NO: it is neither. */
TF_MUST_USE enum tf_code tf_stages_read(struct tf_stages *out, const struct tf_yaml *value,
                                        const struct tf_origin *from, struct tf_err *err);
void tf_stages_print(const struct tf_stages *stages, FILE *out);
/* Of tf_config_check. */
TF_MUST_USE enum tf_code tf_stages_check(const struct tf_config *config, struct tf_err *err);
/* " (did you mean x?)", or nothing when none of the names is near. */
char *tf_key_hint(char out[128], const char *name, const char *const *names, size_t count);

#endif
