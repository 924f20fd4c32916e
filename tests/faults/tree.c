#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void give_up(const char *what)
{
    fprintf(stderr, "inject: %s: %s\n", what, strerror(errno));
    exit(2);
}

char *read_whole(const char *path, size_t *size)
{
    FILE *file = fopen(path, "re");
    struct stat status = {0};
    char *bytes;

    if (file == NULL && errno != ENOENT)
        give_up(path);
    if (file != NULL && fstat(fileno(file), &status) < 0)
        give_up(path);
    bytes = malloc((size_t)status.st_size + 1);
    if (bytes == NULL)
        give_up(path);
    if (file != NULL && fread(bytes, 1, (size_t)status.st_size, file) != (size_t)status.st_size)
        give_up(path);
    if (file != NULL)
        fclose(file);
    bytes[status.st_size] = '\0';
    if (size != NULL)
        *size = (size_t)status.st_size;
    return bytes;
}

/* folder/path, into full. */
static void name_in(char full[PATH_MAX], const char *folder, const char *path)
{
    if (snprintf(full, PATH_MAX, "%s/%s", folder, path) >= PATH_MAX)
        give_up(path);
}

static void add(struct tree *tree, const char *folder, const char *path)
{
    char full[PATH_MAX];
    struct stat status;
    struct entry *entries = realloc(tree->entries, (tree->count + 1) * sizeof(*entries));

    name_in(full, folder, path);
    if (entries == NULL || lstat(full, &status) < 0)
        give_up(full);
    tree->entries = entries;
    struct entry *entry = &entries[tree->count++];
    *entry = (struct entry){.path = strdup(path), .is_folder = S_ISDIR(status.st_mode)};
    if (!entry->is_folder)
        entry->bytes = read_whole(full, &entry->size);
}

static void walk(struct tree *tree, const char *folder, const char *below)
{
    char full[PATH_MAX];
    DIR *dir;

    name_in(full, folder, below);
    dir = opendir(full);
    if (dir == NULL)
        give_up(full);
    for (const struct dirent *each; (each = readdir(dir)) != NULL;) {
        char path[PATH_MAX];
        if (strcmp(each->d_name, ".") == 0 || strcmp(each->d_name, "..") == 0)
            continue;
        if (*below == '\0')
            snprintf(path, sizeof(path), "%s", each->d_name);
        else
            name_in(path, below, each->d_name);
        add(tree, folder, path);
        if (tree->entries[tree->count - 1].is_folder)
            walk(tree, folder, path);
    }
    closedir(dir);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

void tree_load(struct tree *tree, const char *folder)
{
    *tree = (struct tree){0};
    walk(tree, folder, "");
    if (tree->count > 0)
        qsort(tree->entries, tree->count, sizeof(*tree->entries), by_path);
}

void tree_free(struct tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        free(tree->entries[i].path);
        free(tree->entries[i].bytes);
    }
    free(tree->entries);
    *tree = (struct tree){0};
}

const struct entry *tree_find(const struct tree *tree, const char *path)
{
    for (size_t i = 0; i < tree->count; i++)
        if (strcmp(tree->entries[i].path, path) == 0)
            return &tree->entries[i];
    return NULL;
}

bool entry_equal(const struct entry *a, const struct entry *b)
{
    return a->is_folder == b->is_folder && a->size == b->size &&
           (a->is_folder || memcmp(a->bytes, b->bytes, a->size) == 0);
}

static void put_back(const struct entry *entry, const char *folder)
{
    char full[PATH_MAX];
    FILE *file;

    name_in(full, folder, entry->path);
    if (entry->is_folder) {
        if (mkdir(full, 0777) < 0)
            give_up(full);
        return;
    }
    unlink(full); /* it may have another name, too */
    file = fopen(full, "we");
    if (file == NULL || fwrite(entry->bytes, 1, entry->size, file) != entry->size ||
        fclose(file) != 0)
        give_up(full);
}

void tree_restore(const struct tree *tree, const char *folder)
{
    struct tree now;

    tree_load(&now, folder);
    for (size_t i = now.count; i-- > 0;) { /* what is in a folder before the folder */
        const struct entry *wanted = tree_find(tree, now.entries[i].path);
        char full[PATH_MAX];
        if (wanted != NULL && wanted->is_folder == now.entries[i].is_folder)
            continue;
        name_in(full, folder, now.entries[i].path);
        if (remove(full) < 0)
            give_up(full);
    }
    for (size_t i = 0; i < tree->count; i++) {
        const struct entry *found = tree_find(&now, tree->entries[i].path);
        if (found == NULL || !entry_equal(found, &tree->entries[i]))
            put_back(&tree->entries[i], folder);
    }
    tree_free(&now);
}
