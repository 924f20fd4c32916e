/* damage FOLDER: writes NAME.tfck for every class of fault that a checkpoint can have; what is said
 * of each is in expected/NAME. */
#include "draft.h"

#include "cases.h"
#include "store/bytes.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void save(const char *folder, const char *name, struct bytes file)
{
    char path[4096];
    FILE *out;

    snprintf(path, sizeof(path), "%s/%s.tfck", folder, name);
    out = fopen(path, "wb");
    if (out == NULL || fwrite(file.at, 1, file.size, out) != file.size || fclose(out) != 0) {
        perror(path);
        exit(TF_IO);
    }
}

static void save_number_cases(const char *folder)
{
    for (const struct number_case *c = number_cases; c->name != NULL; c++) {
        struct draft draft;

        draft_begin(&draft);
        draft.patches = c->patches;
        save(folder, c->name, draft_finish(&draft));
    }
}

static void save_draft_cases(const char *folder)
{
    for (const struct draft_case *c = draft_cases; c->name != NULL; c++) {
        struct draft draft;

        draft_begin(&draft);
        if (c->change != NULL)
            c->change(&draft);
        save(folder, c->name, draft_finish(&draft));
    }
}

/* Each frame that is not as it must be, once as a chunk and once as the directory. */
static void save_frame_cases(const char *folder)
{
    for (const struct frame_case *c = frame_cases; c->name != NULL; c++) {
        struct draft draft;
        struct chunk *chunk;
        char name[64];

        draft_begin(&draft);
        chunk = &draft.tables[FFN_KEYS].chunks[1];
        chunk->coded = make_frame(chunk->raw);
        c->recode(&chunk->coded, chunk->raw);
        snprintf(name, sizeof(name), "chunk-%s", c->name);
        save(folder, name, draft_finish(&draft));
        draft_begin(&draft);
        draft.recode = c->recode;
        snprintf(name, sizeof(name), "directory-%s", c->name);
        save(folder, name, draft_finish(&draft));
    }
}

static void save_text_cases(const char *folder)
{
    for (const struct text_case *c = text_cases; c->name != NULL; c++) {
        struct draft draft;

        draft_begin(&draft);
        draft_blob(&draft, c->kind, c->text);
        save(folder, c->name, draft_finish(&draft));
    }
}

static void save_file_cases(const char *folder)
{
    for (const struct file_case *c = file_cases; c->name != NULL; c++) {
        struct draft draft;

        draft_begin(&draft);
        save(folder, c->name, c->change(draft_finish(&draft)));
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fputs("damage FOLDER\n", stderr);
        return TF_USAGE;
    }
    save_number_cases(argv[1]);
    save_draft_cases(argv[1]);
    save_frame_cases(argv[1]);
    save_text_cases(argv[1]);
    save_file_cases(argv[1]);
    return 0;
}
