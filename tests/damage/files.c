/* What happens to files on their way: cut, added to, mangled; and files that are something else. */
#include "cases.h"

#include "store/bytes.h"
#include <xxhash.h>

/* ---- cut ---- */

static struct bytes shorter(struct bytes file, size_t size)
{
    file.size = size;
    return file;
}

static size_t directory_offset(struct bytes file)
{
    return tf_get_u64(file.at + file.size - TF_FRAME_SIZE + 16);
}

static struct bytes empty(struct bytes file)
{
    return shorter(file, 0);
}

static struct bytes cut_in_magic(struct bytes file)
{
    return shorter(file, 10);
}

static struct bytes cut_in_header(struct bytes file)
{
    return shorter(file, TF_FRAME_SIZE - 1);
}

static struct bytes cut_after_header(struct bytes file)
{
    return shorter(file, TF_FRAME_SIZE);
}

static struct bytes cut_in_chunk(struct bytes file)
{
    return shorter(file, TF_FRAME_SIZE + 1000);
}

static struct bytes cut_in_directory(struct bytes file)
{
    return shorter(file, directory_offset(file) + 100);
}

static struct bytes cut_before_directory(struct bytes file)
{
    return shorter(file, directory_offset(file));
}

static struct bytes cut_before_trailer(struct bytes file)
{
    return shorter(file, file.size - TF_FRAME_SIZE);
}

static struct bytes cut_by_one(struct bytes file)
{
    return shorter(file, file.size - 1);
}

/* ---- added to ---- */

static struct bytes text(const char *words)
{
    return make_bytes(words, strlen(words));
}

static struct bytes newline_after(struct bytes file)
{
    return join(file, text("\n"));
}

static struct bytes zeros_after(struct bytes file)
{
    return join(file, (struct bytes){take(4096), 4096});
}

static struct bytes trailer_after(struct bytes file)
{
    return join(file, make_bytes(file.at + file.size - TF_FRAME_SIZE, TF_FRAME_SIZE));
}

static struct bytes zip_after(struct bytes file)
{
    return join(file, make_bytes("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 22));
}

static struct bytes twice(struct bytes file)
{
    return join(file, file);
}

static struct bytes script_before(struct bytes file)
{
    return join(text("#!/bin/sh\nexit\n"), file);
}

/* Legal zstd, and so is the whole. */
static struct bytes frame_before(struct bytes file)
{
    return join(make_frame(text("hidden")), file);
}

/* A frame between header and chunks that no record knows; the trailer's numbers are right. */
static struct bytes frame_between(struct bytes file)
{
    struct bytes hidden = make_frame(text("hidden")), tail = {file.at + TF_FRAME_SIZE, 0};
    uint8_t *trailer;

    tail.size = file.size - TF_FRAME_SIZE;
    file.size = TF_FRAME_SIZE;
    file = join(join(file, hidden), tail);
    trailer = file.at + file.size - TF_FRAME_SIZE;
    tf_put_u64(trailer + 16, tf_get_u64(trailer + 16) + hidden.size);
    tf_put_u64(trailer + 40, file.size);
    tf_put_u64(trailer + 56, XXH3_64bits(trailer, 56));
    return file;
}

/* ---- mangled ---- */

static struct bytes flip(struct bytes file, size_t at)
{
    file.at[at] ^= 0x10;
    return file;
}

static struct bytes flip_magic(struct bytes file)
{
    return flip(file, 9);
}

static struct bytes flip_minor(struct bytes file)
{
    return flip(file, 18);
}

static struct bytes flip_chunk(struct bytes file)
{
    return flip(file, TF_FRAME_SIZE + 100);
}

static struct bytes flip_directory(struct bytes file)
{
    return flip(file, directory_offset(file) + 100);
}

static struct bytes flip_trailer(struct bytes file)
{
    return flip(file, file.size - 20);
}

/* A block of the disk that never was written. */
static struct bytes hole(struct bytes file)
{
    memset(file.at + 1024, 0, 2048);
    return file;
}

static struct bytes middle_missing(struct bytes file)
{
    struct bytes tail = {file.at + 3072, file.size - 3072};

    file.size = 1024;
    return join(file, tail);
}

/* As a transfer in text mode leaves it. */
static struct bytes line_ends(struct bytes file)
{
    struct bytes out = {take(2 * file.size), 0};

    for (size_t i = 0; i < file.size; i++) {
        if (file.at[i] == '\n')
            out.at[out.size++] = '\r';
        out.at[out.size++] = file.at[i];
    }
    return out;
}

/* ---- something else ---- */

static struct bytes gguf(struct bytes file)
{
    (void)file;
    return join(text("GGUF\3"), (struct bytes){take(300), 300});
}

static struct bytes zstd(struct bytes file)
{
    return make_frame(file);
}

static struct bytes escapes(struct bytes file)
{
    (void)file;
    return text("\033[2J\033]0;owned\a\x9b");
}

const struct file_case file_cases[] = {
    {"empty", empty},
    {"cut-in-magic", cut_in_magic},
    {"cut-in-header", cut_in_header},
    {"cut-after-header", cut_after_header},
    {"cut-in-chunk", cut_in_chunk},
    {"cut-in-directory", cut_in_directory},
    {"cut-before-directory", cut_before_directory},
    {"cut-before-trailer", cut_before_trailer},
    {"cut-by-one", cut_by_one},
    {"newline-after", newline_after},
    {"zeros-after", zeros_after},
    {"trailer-after", trailer_after},
    {"zip-after", zip_after},
    {"twice", twice},
    {"script-before", script_before},
    {"frame-before", frame_before},
    {"frame-between", frame_between},
    {"flip-magic", flip_magic},
    {"flip-minor", flip_minor},
    {"flip-chunk", flip_chunk},
    {"flip-directory", flip_directory},
    {"flip-trailer", flip_trailer},
    {"hole", hole},
    {"middle-missing", middle_missing},
    {"line-ends", line_ends},
    {"gguf", gguf},
    {"zstd", zstd},
    {"escapes", escapes},
    {0},
};
