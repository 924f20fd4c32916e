/* What is in a folder, held in memory: to compare with and to put back. Files are small. */
#ifndef TF_FAULTS_TREE_H
#define TF_FAULTS_TREE_H

#include <stdbool.h>
#include <stddef.h>

struct entry {
    char *path; /* below the folder */
    bool is_folder;
    char *bytes;
    size_t size;
};

struct tree {
    struct entry *entries; /* sorted by path: a folder before what is in it */
    size_t count;
};

/* Ends the process when it cannot. */
void tree_load(struct tree *tree, const char *folder);
void tree_free(struct tree *tree);
/* NULL when there is none. */
const struct entry *tree_find(const struct tree *tree, const char *path);
bool entry_equal(const struct entry *a, const struct entry *b);
/* Makes the folder hold just what the tree holds; only what differs is touched. */
void tree_restore(const struct tree *tree, const char *folder);
/* Reads a whole file; *size may be NULL; ended by a 0. A missing file is empty. */
char *read_whole(const char *path, size_t *size);
/* Says what went wrong with the driver itself, and ends it. */
void give_up(const char *what) __attribute__((noreturn));

#endif
