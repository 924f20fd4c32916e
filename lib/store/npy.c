#include "store/npy.h"

#include "base/mem.h"
#include "store/bytes.h"
#include <inttypes.h>
#include <stdbool.h>

static const uint8_t magic[6] = "\x93NUMPY";

enum { PREFIX = 10, MAX_HEADER = 64 << 10, HEADER_ALIGN = 64 };

static const struct {
    const char *descr;
    size_t width;
} types[] = {[TF_NPY_F4] = {"<f4", 4},
             [TF_NPY_F2] = {"<f2", 2},
             [TF_NPY_I4] = {"<i4", 4},
             [TF_NPY_U2] = {"<u2", 2}};

enum { TYPES = sizeof(types) / sizeof(types[0]) };

size_t tf_npy_width(enum tf_npy_type type)
{
    return types[type].width;
}

enum tf_npy_type tf_npy_type_of(enum tf_dtype dtype)
{
    return dtype == TF_F16 ? TF_NPY_F2 : dtype == TF_BF16 ? TF_NPY_U2 : TF_NPY_F4;
}

enum tf_dtype tf_npy_dtype(enum tf_npy_type type)
{
    return type == TF_NPY_F2 ? TF_F16 : type == TF_NPY_U2 ? TF_BF16 : TF_F32;
}

/* ---- the header: a Python dictionary of three keys, in any order ---- */

/* What the keys said. */
struct description {
    bool has_descr, has_order, has_shape;
    struct tf_npy *npy;
};

static void skip_space(const char **in)
{
    *in += strspn(*in, " \t\n\r");
}

/* `*in` is what is left of the header, which ends with a 0. Is `word` next, after space? If so it
 * is passed. */
static bool accept(const char **in, const char *word)
{
    skip_space(in);
    if (strncmp(*in, word, strlen(word)) != 0)
        return false;
    *in += strlen(word);
    return true;
}

/* A string in either kind of quotes, without escapes, cut into out. */
static bool accept_string(const char **in, char *out, size_t size)
{
    char quote[2] = {0};
    size_t length;

    skip_space(in);
    if (**in != '\'' && **in != '"')
        return false;
    quote[0] = **in;
    length = strcspn(*in + 1, quote);
    if ((*in)[1 + length] == '\0' || length >= size)
        return false;
    memcpy(out, *in + 1, length);
    out[length] = '\0';
    *in += length + 2;
    return true;
}

static bool accept_number(const char **in, uint64_t *out)
{
    uint64_t n = 0;

    skip_space(in);
    if (**in < '0' || **in > '9')
        return false;
    for (; **in >= '0' && **in <= '9'; ++*in)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(**in - '0'), &n))
            return false;
    *out = n;
    return true;
}

static enum tf_code read_descr(const char **in, struct tf_npy *npy, struct tf_err *err)
{
    char descr[16];

    if (!accept_string(in, descr, sizeof(descr)))
        return tf_fail(err, TF_DATA, "descr is not the name of a type");
    for (int i = 0; i < TYPES; i++) {
        if (strcmp(descr, types[i].descr) == 0) {
            npy->type = (enum tf_npy_type)i;
            return TF_OK;
        }
    }
    return tf_fail(err, TF_DATA, "type '%s'%s, must be '<f4', '<f2', '<i4' or '<u2'", descr,
                   descr[0] == '>' ? ", which is big-endian" : "");
}

static enum tf_code read_shape(const char **in, struct tf_npy *npy, struct tf_err *err)
{
    int dims = 0;

    if (!accept(in, "("))
        return tf_fail(err, TF_DATA, "shape is not a tuple");
    for (bool more = true; more && !accept(in, ")");) {
        if (dims == TF_NPY_DIMS)
            return tf_fail(err, TF_DATA, "more than %d dimensions", TF_NPY_DIMS);
        if (!accept_number(in, &npy->shape[dims]))
            return tf_fail(err, TF_DATA, "dimension %d is not a number", dims);
        if (npy->shape[dims++] == 0)
            return tf_fail(err, TF_DATA, "dimension %d is 0", dims - 1);
        more = accept(in, ",");
        if (!more && !accept(in, ")"))
            return tf_fail(err, TF_DATA, "shape does not end");
    }
    if (dims == 0)
        return tf_fail(err, TF_DATA, "0 dimensions, must be 1 to %d", TF_NPY_DIMS);
    npy->dims = dims;
    for (; dims < TF_NPY_DIMS; dims++)
        npy->shape[dims] = 1;
    return TF_OK;
}

/* One "key: value". */
static enum tf_code read_item(const char **in, struct description *found, struct tf_err *err)
{
    char key[32];
    bool *has;

    if (!accept_string(in, key, sizeof(key)) || !accept(in, ":"))
        return tf_fail(err, TF_DATA, "header is not a dictionary");
    has = strcmp(key, "descr") == 0           ? &found->has_descr
          : strcmp(key, "fortran_order") == 0 ? &found->has_order
          : strcmp(key, "shape") == 0         ? &found->has_shape
                                              : NULL;
    if (has == NULL || *has)
        return tf_fail(err, TF_DATA, "header has %s key '%s'",
                       has == NULL ? "an unknown" : "twice the", key);
    *has = true;
    if (has == &found->has_descr)
        return read_descr(in, found->npy, err);
    if (has == &found->has_shape)
        return read_shape(in, found->npy, err);
    if (!accept(in, "False"))
        return tf_fail(err, TF_DATA,
                       "fortran_order is not False: only C order is read, as "
                       "numpy.ascontiguousarray makes it");
    return TF_OK;
}

static enum tf_code read_description(const char *header, size_t size, struct tf_npy *npy,
                                     struct tf_err *err)
{
    const char *in = header;
    struct description found = {.npy = npy};

    if (!accept(&in, "{"))
        return tf_fail(err, TF_DATA, "header is not a dictionary");
    for (bool more = true; more && !accept(&in, "}");) {
        enum tf_code code = read_item(&in, &found, err);

        if (code != TF_OK)
            return code;
        more = accept(&in, ",");
        if (!more && !accept(&in, "}"))
            return tf_fail(err, TF_DATA, "header does not end");
    }
    skip_space(&in);
    if (in != header + size)
        return tf_fail(err, TF_DATA, "%zu bytes after the header's dictionary",
                       (size_t)(header + size - in));
    if (!found.has_descr || !found.has_order || !found.has_shape)
        return tf_fail(err, TF_DATA, "header has no '%s'",
                       !found.has_descr   ? "descr"
                       : !found.has_order ? "fortran_order"
                                          : "shape");
    return TF_OK;
}

/* ---- files ---- */

/* Where the dictionary begins, and its size. Version 1 counts it in 16 bits, 2 and 3 in 32. */
static enum tf_code read_prefix(const struct tf_in *in, size_t *start, size_t *size,
                                struct tf_err *err)
{
    uint8_t prefix[PREFIX + 2] = {0};
    size_t have = in->size < sizeof(prefix) ? (size_t)in->size : sizeof(prefix);
    enum tf_code code = tf_in_read(in, 0, prefix, have, err);

    if (code != TF_OK)
        return code;
    if (memcmp(prefix, magic, sizeof(magic)) != 0)
        return tf_fail(err, TF_DATA, "%s: not an .npy file", in->path);
    if (prefix[6] < 1 || prefix[6] > 3)
        return tf_fail(err, TF_DATA, "%s: .npy version %u, must be 1 to 3", in->path, prefix[6]);
    *start = prefix[6] == 1 ? PREFIX : PREFIX + 2;
    *size = prefix[6] == 1 ? tf_get_u16(prefix + 8) : tf_get_u32(prefix + 8);
    if (*size > MAX_HEADER || in->size < *start + *size)
        return tf_fail(err, TF_DATA, "%s: header of %zu bytes in a file of %" PRIu64 ", at most %d",
                       in->path, *size, in->size, MAX_HEADER);
    return TF_OK;
}

/* The bytes that the shape and type need must be all that is left. */
static enum tf_code check_size(const struct tf_npy *npy, struct tf_err *err)
{
    uint64_t left = npy->in.size - npy->start, bytes = tf_npy_width(npy->type);

    for (int i = 0; i < npy->dims; i++)
        if (__builtin_mul_overflow(bytes, npy->shape[i], &bytes))
            return tf_fail(err, TF_DATA, "its dimensions multiply to more than %" PRIu64 " bytes",
                           UINT64_MAX);
    if (bytes != left)
        return tf_fail(err, TF_DATA, "its shape needs %" PRIu64 " bytes of data, it has %" PRIu64,
                       bytes, left);
    return TF_OK;
}

static enum tf_code read_header(struct tf_npy *npy, struct tf_err *err)
{
    size_t start = 0, size = 0;
    enum tf_code code = read_prefix(&npy->in, &start, &size, err);
    char *header;

    if (code != TF_OK)
        return code;
    header = tf_new(size + 1, 1, "npy header", err);
    if (header == NULL)
        return TF_MEMORY;
    npy->start = start + size;
    code = tf_in_read(&npy->in, start, header, size, err);
    if (code == TF_OK) {
        code = read_description(header, size, npy, err);
        if (code == TF_OK)
            code = check_size(npy, err);
        if (code != TF_OK)
            tf_context(err, "%s", npy->in.path);
    }
    tf_free(header);
    return code;
}

enum tf_code tf_npy_open(struct tf_npy *out, const char *path, struct tf_err *err)
{
    enum tf_code code;

    *out = (struct tf_npy){0};
    code = tf_in_open(&out->in, path, err);
    if (code == TF_OK)
        code = read_header(out, err);
    if (code != TF_OK)
        tf_npy_close(out);
    return code;
}

enum tf_code tf_npy_read(const struct tf_npy *npy, uint64_t row, uint64_t count, void *out,
                         struct tf_err *err)
{
    uint64_t row_size = tf_npy_width(npy->type) * npy->shape[1] * npy->shape[2];

    if (row > npy->shape[0] || count > npy->shape[0] - row)
        return tf_fail(err, TF_INTERNAL,
                       "%s: %" PRIu64 " rows from row %" PRIu64 " wanted, it has %" PRIu64,
                       npy->in.path, count, row, npy->shape[0]);
    return tf_in_read(&npy->in, npy->start + row * row_size, out, count * row_size, err);
}

void tf_npy_close(struct tf_npy *npy)
{
    tf_in_close(&npy->in);
    *npy = (struct tf_npy){0};
}

enum tf_code tf_npy_write_header(struct tf_out *out, enum tf_npy_type type, int dims,
                                 const uint64_t *shape, struct tf_err *err)
{
    char header[256] = {0};
    int used = PREFIX, padded;

    memcpy(header, magic, sizeof(magic));
    header[6] = 1; /* version 1.0 */
    used += snprintf(header + used, sizeof(header) - (size_t)used,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (", types[type].descr);
    for (int i = 0; i < dims; i++)
        used += snprintf(header + used, sizeof(header) - (size_t)used, "%s%" PRIu64,
                         i > 0 ? ", " : "", shape[i]);
    used += snprintf(header + used, sizeof(header) - (size_t)used, "%s), }", dims == 1 ? "," : "");
    /* Spaces and a newline, so that the data begins at a multiple of 64. */
    padded = (used + HEADER_ALIGN) / HEADER_ALIGN * HEADER_ALIGN;
    memset(header + used, ' ', (size_t)(padded - used));
    header[padded - 1] = '\n';
    tf_put_u16(header + 8, (uint16_t)(padded - PREFIX));
    return tf_out_write(out, header, (size_t)padded, err);
}
