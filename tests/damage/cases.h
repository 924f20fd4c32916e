/* The damage, by where it is done. Each list ends with a NULL name. */
#ifndef TF_TESTS_DAMAGE_CASES_H
#define TF_TESTS_DAMAGE_CASES_H

#include "draft.h"

/* Numbers in header, directory and trailer. */
struct number_case {
    const char *name;
    struct patch patches[4]; /* ended by NOTHING */
};
extern const struct number_case number_cases[];

/* Tables, chunks and blobs before they are packed. */
struct draft_case {
    const char *name;
    void (*change)(struct draft *draft);
};
extern const struct draft_case draft_cases[];

/* A zstd frame that holds `raw`. */
struct frame_case {
    const char *name;
    void (*recode)(struct bytes *coded, struct bytes raw);
};
extern const struct frame_case frame_cases[];

/* The text of a blob. */
struct text_case {
    const char *name;
    enum tf_blob kind;
    const char *text;
};
extern const struct text_case text_cases[];

/* The bytes of the whole file; no checksum is made to fit. */
struct file_case {
    const char *name;
    struct bytes (*change)(struct bytes file);
};
extern const struct file_case file_cases[];

#endif
