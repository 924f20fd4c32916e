/* Surgery on checkpoints: a new one made of pieces of others. Nothing is decoded that need not be,
 * and memory is a few chunks, however large the model. */
#ifndef TF_TRAIN_EDIT_H
#define TF_TRAIN_EDIT_H

#include "store/npy.h"
#include "train/modelio.h"

/* Where some rows of a new table come from. */
struct tf_piece {
    const struct tf_store *store; /* rows first .. first+count of its table `table`; */
    size_t table;
    const struct tf_npy *npy; /* or rows of a .npy file (all borrowed); or, without both, zeros */
    uint64_t first, count;
    uint64_t step; /* write them `step` rows a chunk, and nothing else in those; 0: as suits */
};

/* Of its rows where they come from; TF_F32 for zeros. */
enum tf_dtype tf_piece_dtype(const struct tf_piece *piece);
/* Rows row .. row+count of the piece's table or file (not of zeros), `cols` numbers each, as f32
 * and without padding. raw: room for as many floats, which a .npy file's rows pass through. */
TF_MUST_USE enum tf_code tf_piece_read(const struct tf_piece *piece, uint32_t cols, uint64_t row,
                                       uint64_t count, float *out, void *raw, struct tf_err *err);

struct tf_edit_table {
    struct tf_table_info info; /* as it will be; rows are those of the pieces */
    struct tf_piece *pieces;   /* owned */
    size_t piece_count;
    bool again;   /* code every row anew; else whole chunks of the same kind are copied */
    bool dropped; /* is not written */
};

/* What an edit does to the function that the model computes. */
enum tf_effect {
    TF_EFFECT_EXACT,   /* every logit the same to the bit */
    TF_EFFECT_ROUNDED, /* the same to rounding */
    TF_EFFECT_CHANGED
};
const char *tf_effect_name(enum tf_effect effect); /* exact, rounded, changed */

struct tf_edit {
    const struct tf_checkpoint *from; /* borrowed; its store may be NULL (a bundle's) */
    struct tf_edit_table *tables;     /* sorted by name; owned */
    size_t table_count;
    struct tf_config config; /* its own copy; token counts are brought up to date by themselves */
    bool new_config;         /* it is no longer what `from` has: write it anew */
    struct tf_state state;
    bool new_state;
    const char *blobs[TF_BLOBS]; /* borrowed: what is written where nothing is written anew */
    size_t blob_sizes[TF_BLOBS];
    const char *verb;   /* gives the lineage an event of that name; NULL: none */
    const char *digest; /* of the model before, when `from` has no store; borrowed; NULL: unknown */
    enum tf_effect effect;
    char why[256];   /* not exact: the reason, in a sentence */
    bool unreadable; /* `from` is damaged: the event does not name its digest */
    int level;       /* zstd's, 1 to 9; 0: the default */
};

/* An edit that changes nothing: each table of one piece, all its rows. */
TF_MUST_USE enum tf_code tf_edit_init(struct tf_edit *edit, const struct tf_checkpoint *from,
                                      struct tf_err *err);
void tf_edit_fini(struct tf_edit *edit); /* a zeroed struct is fine */

/* The table of a name, or NULL. */
struct tf_edit_table *tf_edit_find(const struct tf_edit *edit, const char *name);
/* Appends a piece; rows are counted. A piece without rows is nothing. */
TF_MUST_USE enum tf_code tf_edit_add(struct tf_edit_table *table, const struct tf_piece *piece,
                                     struct tf_err *err);
/* Forgets the pieces, whose rows other pieces will give. */
void tf_edit_clear(struct tf_edit_table *table);
/* Makes the effect worse if it was better; the first reason for the worst is kept. */
void tf_edit_worsen(struct tf_edit *edit, enum tf_effect effect, const char *format, ...)
    TF_PRINTF(3, 4);

/* Would it be a model: rows of keys, values and moments in step, and the tables those that the
 * config asks for? TF_DATA. tf_edit_write asks, too. */
TF_MUST_USE enum tf_code tf_edit_check(const struct tf_edit *edit, struct tf_err *err);

struct tf_edit_plan {
    size_t tables, dropped;         /* written, and left out */
    uint64_t copied_chunks, copied; /* bytes that are copied as they stand */
    uint64_t coded_rows, coded;     /* what is coded anew: its bytes before compression */
    uint64_t memory;                /* bytes that writing takes, about */
};
/* What tf_edit_write would do. */
void tf_edit_plan(struct tf_edit_plan *plan, const struct tf_edit *edit);

/* Writes the new checkpoint, opens it again as a whole model, and only then gives it its name.
 * TF_DATA when it is none: tables that do not fit the config, rows that fell out of step. */
TF_MUST_USE enum tf_code tf_edit_write(const struct tf_edit *edit, const char *path, bool force,
                                       struct tf_err *err);

#endif
