#include "checkpoint_fixture.h"

#include "train/modelio.h"
#include <limits.h>
#include <time.h>

static struct tf_err err;
static struct image sample;   /* a.tfck */
static char golden[PATH_MAX]; /* the folder of kept checkpoints */

/* ---- what is in it ---- */

static void test_contents(void **state)
{
    struct tf_store *store;
    const struct tf_table_info *table;
    size_t size;

    (void)state;
    assert_fine(tf_store_open(&store, "a.tfck", 0, &err), err);
    assert_string_equal(tf_store_path(store), "a.tfck");
    assert_int_equal(tf_store_file_size(store), sample.size);
    assert_int_equal(tf_store_tables(store), 5);
    assert_int_equal(tf_store_find(store, "embed.tokens"), 0);
    assert_int_equal(tf_store_find(store, "optim.m/norm.weight"), 4);
    assert_true(tf_store_find(store, "layers.0.ffn.key") == SIZE_MAX);
    assert_true(tf_store_find(store, "zzz") == SIZE_MAX);
    table = tf_store_table(store, tf_store_find(store, "layers.0.ffn.keys"));
    assert_string_equal(table->name, "layers.0.ffn.keys");
    assert_int_equal(table->role, TF_PARAMETER);
    assert_int_equal(table->dtype, TF_F32);
    assert_int_equal(table->filter, TF_FILTER_PLANES);
    assert_int_equal(table->cols, 4);
    assert_int_equal(table->rows, 6);
    assert_int_equal(table->row_group, 1);
    assert_true(table->scale == 6);
    assert_int_equal(table->first_chunk, 1);
    assert_int_equal(table->chunk_count, 2);
    assert_int_equal(tf_store_chunk(store, 0)->offset, TF_FRAME_SIZE);
    assert_int_equal(tf_store_chunk(store, 2)->rows, 2);
    assert_int_equal(tf_store_chunk(store, 2)->raw, 2 * 4 * 4);
    assert_memory_equal(tf_store_blob(store, TF_BLOB_CONFIG, &size), "model: {}\n", 11);
    assert_int_equal(size, 10);
    assert_memory_equal(tf_store_blob(store, TF_BLOB_STATE, &size), "\0\1\2", 4);
    assert_int_equal(size, 3);
    assert_string_equal(tf_store_blob(store, TF_BLOB_TOKENIZER, &size), "");
    assert_int_equal(size, 0);
    assert_string_equal(tf_store_blob(store, TF_BLOB_LINEAGE, NULL), "[]");
    assert_fine(tf_store_editable(store, &err), err);
    assert_fine(tf_store_verify(store, &err), err);
    tf_store_close(store);
}

static void test_bounds(void **state)
{
    const uint64_t raw = 7 * 5 * 4 + 6 * 4 * 4 + 6 * 3 * 2 + 4 * 2 + 4 * 4;
    struct tf_store *store;
    float x[64];

    (void)state;
    assert_fine(tf_store_open(&store, "a.tfck", raw, &err), err);
    assert_fails(tf_store_read(store, 0, 3, 5, x, 5, &err), TF_INTERNAL, err,
                 "a.tfck: table embed.tokens: 5 rows from row 3 wanted, it has 7");
    assert_int_equal(tf_store_read(store, 0, 8, 0, x, 5, &err), TF_INTERNAL);
    assert_int_equal(tf_store_read(store, 0, 1, UINT64_MAX, x, 5, &err), TF_INTERNAL);
    tf_store_close(store);
    assert_fails(tf_store_open(&store, "a.tfck", raw - 1, &err), TF_MEMORY, err,
                 "a.tfck: directory: tables of 296 bytes, the limit is 295");
    assert_null(store);
    assert_int_equal(tf_store_open(&store, "none.tfck", 0, &err), TF_NOINPUT);
    assert_int_equal(tf_store_open(&store, ".", 0, &err), TF_NOINPUT);
}

/* ---- malice: every checksum is right ---- */

/* Puts n bytes into a copy of the sample's header or trailer, and makes its checksum right. */
static void patch_frame(size_t frame, size_t offset, const void *bytes, size_t n)
{
    struct image copy = load_image("a.tfck");
    uint8_t *at = (uint8_t *)copy.bytes + frame;

    memcpy(at + offset, bytes, n);
    tf_put_u64(at + TF_FRAME_SIZE - 8, XXH3_64bits(at, TF_FRAME_SIZE - 8));
    save_bytes("b.tfck", copy.bytes, copy.size);
    tf_free(copy.bytes);
}

static void test_header(void **state)
{
    static const struct {
        size_t offset;
        uint32_t value;
        enum tf_code code;
        const char *text;
    } cases[] = {
        {16, 2, TF_DATA, "b.tfck: format version 2, this program reads 1"},
        {16, 0, TF_DATA, "b.tfck: format version 0, this program reads 1"},
        {16, 1 | 7 << 16, TF_OK, ""}, /* a later minor version */
        {20, 0xffffffff, TF_OK, ""},  /* compat */
        {28, 0x80000002, TF_DATA,
         "b.tfck: header: needs features that this program does not know (incompat bits "
         "0x80000002)"},
        {32, 1, TF_DATA, "b.tfck: header: reserved byte 32 is 0x01, not 0"},
        {52, 0xff000000, TF_DATA, "b.tfck: header: reserved byte 55 is 0xff, not 0"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint8_t value[4];

        tf_put_u32(value, cases[i].value);
        patch_frame(0, cases[i].offset, value, sizeof(value));
        assert_fails(open_and_verify("b.tfck", &err), cases[i].code, err, cases[i].text);
    }
}

/* Unknown ro_compat bits: may be read, not carried on. */
static void test_ro_compat(void **state)
{
    struct tf_table_info info;
    struct tf_store *store;
    struct tf_writer *writer;

    (void)state;
    patch_frame(0, 24, "\4\0\0\0", 4);
    assert_fine(open_and_verify("b.tfck", &err), err);
    assert_fine(tf_store_open(&store, "b.tfck", 0, &err), err);
    assert_fails(
        tf_store_editable(store, &err), TF_DATA, err,
        "b.tfck: has features that this program can read but not write (ro_compat bits 0x4)");
    info = *tf_store_table(store, 0);
    assert_fine(tf_writer_open(&writer, "c.tfck", false, 0, &err), err);
    assert_fine(tf_writer_table(writer, &info, &err), err);
    assert_int_equal(tf_writer_copy(writer, store, 0, 0, 1, &err), TF_DATA);
    tf_writer_close(writer);
    tf_store_close(store);
}

static void test_trailer(void **state)
{
    const size_t trailer = sample.size - TF_FRAME_SIZE;
    uint8_t value[8];
    char text[256];

    (void)state;
    tf_put_u64(value, UINT64_MAX - 10);
    patch_frame(trailer, 16, value, 8);
    snprintf(
        text, sizeof(text),
        "b.tfck: trailer: directory of %u bytes at byte 18446744073709551605 does not end at the "
        "trailer, at byte %zu",
        tf_get_u32(sample.bytes + trailer + 24), trailer);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, text);
    tf_put_u32(value, UINT32_MAX);
    patch_frame(trailer, 24, value, 4);
    assert_int_equal(open_and_verify("b.tfck", &err), TF_DATA);
    /* A directory that says it is far larger than its frame: refused before memory is taken for it.
     */
    tf_put_u32(value, TF_MAX_DIRECTORY_RAW + 1);
    patch_frame(trailer, 28, value, 4);
    snprintf(
        text, sizeof(text),
        "b.tfck: trailer: a directory of 67108865 bytes in %u, in a file of %zu, is out of bounds",
        tf_get_u32(sample.bytes + trailer + 24), sample.size);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, text);
    tf_put_u32(value, TF_SMALL_DIRECTORY_RAW + (uint32_t)sample.size / 4 + 1);
    patch_frame(trailer, 28, value, 4);
    snprintf(text, sizeof(text),
             "b.tfck: trailer: a directory of %zu bytes in %u, in a file of %zu, is out of bounds",
             TF_SMALL_DIRECTORY_RAW + sample.size / 4 + 1, tf_get_u32(sample.bytes + trailer + 24),
             sample.size);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, text);
    tf_put_u32(value, 1 << 20);
    patch_frame(trailer, 28, value, 4);
    snprintf(text, sizeof(text),
             "b.tfck: directory: zstd frame declares %u bytes, the record 1048576",
             tf_get_u32(sample.bytes + trailer + 28));
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, text);
    patch_frame(trailer, 50, "\1", 1);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err,
                 "b.tfck: trailer: reserved byte 50 is 0x01, not 0");
}

/* The sample's raw directory; *from is where its frame begins. */
static uint8_t *raw_directory(size_t *size, size_t *from)
{
    const uint8_t *trailer = (const uint8_t *)sample.bytes + sample.size - TF_FRAME_SIZE;
    uint8_t *raw;

    *from = tf_get_u64(trailer + 16);
    *size = tf_get_u32(trailer + 28);
    raw = calloc(1, *size + 64);
    assert_non_null(raw);
    assert_int_equal(
        ZSTD_decompress(raw, *size, sample.bytes + *from, sample.size - TF_FRAME_SIZE - *from),
        *size);
    return raw;
}

/* Writes b.tfck: so many bytes of chunks, then a directory and a trailer that belong to them. */
static void save_with_directory(const void *chunks, size_t chunk_bytes, const uint8_t *raw,
                                size_t size)
{
    size_t coded_size, room = tf_codec_bound(size);
    uint8_t *out = malloc(chunk_bytes + room + TF_FRAME_SIZE);
    ZSTD_CCtx *context = tf_codec_compressor(1, &err);

    assert_non_null(out);
    memcpy(out, chunks, chunk_bytes);
    assert_fine(tf_codec_encode(context, TF_FILTER_NONE, 1, raw, size, NULL, out + chunk_bytes,
                                &coded_size, &err),
                err);
    tf_trailer_pack(
        out + chunk_bytes + coded_size,
        &(struct tf_trailer){.directory_offset = chunk_bytes,
                             .directory_coded = (uint32_t)coded_size,
                             .directory_raw = (uint32_t)size,
                             .directory_hash = XXH3_64bits(out + chunk_bytes, coded_size),
                             .file_size = chunk_bytes + coded_size + TF_FRAME_SIZE});
    save_bytes("b.tfck", out, chunk_bytes + coded_size + TF_FRAME_SIZE);
    ZSTD_freeCCtx(context);
    free(out);
}

/* Where the sample's sections begin: it has 78 bytes of names, 5 tables, 6 chunks, 3 blobs. */
enum {
    NAMES = 16,
    TABLES = NAMES + 78,
    CHUNKS = TABLES + 5 * 40,
    BLOBS = CHUNKS + 6 * 40,
    BYTES = BLOBS + 3 * 8
};

/* A wrong number in the directory, and what is said of it. */
static const struct {
    size_t offset, width;
    uint64_t value;
    const char *text; /* after "b.tfck: directory: "; NULL: it has numbers that depend on zstd */
} directory_cases[] = {
    {0, 4, UINT32_MAX, "4294967295 tables, at most 65536"},
    {0, 4, 65536, "its records need 2621798 bytes, it has 573"},
    {0, 4, 4, "19 bytes of names belong to no table"},
    {4, 4, UINT32_MAX, "4294967295 chunks, at most 1048576"},
    {4, 4, 0, "table embed.tokens: 1 chunks from chunk 0, but 0 of 0 are taken"},
    {8, 4, UINT32_MAX, "its records need 4294967775 bytes, it has 573"},
    {12, 4, UINT32_MAX, "its records need 34359738894 bytes, it has 573"},
    {12, 4, 2, "10 bytes after the last blob"},
    /* names */
    {NAMES, 1, 'E',
     "record 0: name \"Embed.tokens\" of 12 bytes: must be 1 to 255 of a-z 0-9 . _ / -"},
    {NAMES, 1, 0x1b,
     "record 0: name \"\\x1bmbed.tokens\" of 12 bytes: must be 1 to 255 of a-z 0-9 . _ / -"},
    {NAMES + 1, 1, 0, "record 0: name \"e\" of 12 bytes: must be 1 to 255 of a-z 0-9 . _ / -"},
    {NAMES, 1, 'z', "table layers.0.ffn.keys: its name must come after zmbed.tokens"},
    {TABLES + 32, 2, 0, "record 0: name \"\" of 0 bytes: must be 1 to 255 of a-z 0-9 . _ / -"},
    {TABLES + 32, 2, 65535, "record 0: a name of 65535 bytes, 78 are left, at most 255"},
    {TABLES + 4 * 40 + 32, 2, 18, "1 bytes of names belong to no table"},
    /* tables */
    {TABLES, 8, 0, "table embed.tokens: 0 rows, must be 1 to 2147483648"},
    {TABLES, 8, 1ull << 32, "table embed.tokens: 4294967296 rows, must be 1 to 2147483648"},
    {TABLES, 8, 8, "table embed.tokens: 8 rows, but its chunks have 7"},
    {TABLES + 8, 8, 0x7ff0000000000000,
     "record 0: table embed.tokens: scale inf, must be 0 or more, and finite"},
    {TABLES + 8, 8, 0xbff0000000000000,
     "record 0: table embed.tokens: scale -1, must be 0 or more, and finite"},
    {TABLES + 16, 4, 0, "record 0: table embed.tokens: 0 columns, must be 1 to 1048576"},
    {TABLES + 16, 4, UINT32_MAX,
     "record 0: table embed.tokens: 4294967295 columns, must be 1 to 1048576"},
    {TABLES + 16, 4, 6,
     "table embed.tokens: chunk 0: 7 rows of 24 bytes recorded as 140 bytes, at most 16777216"},
    {TABLES + 20, 4, 1, "table embed.tokens: 1 chunks from chunk 1, but 0 of 6 are taken"},
    {TABLES + 24, 4, 0, "table embed.tokens: 0 chunks from chunk 0, but 0 of 6 are taken"},
    {TABLES + 24, 4, UINT32_MAX,
     "table embed.tokens: 4294967295 chunks from chunk 0, but 0 of 6 are taken"},
    {TABLES + 4 * 40 + 24, 4, 2,
     "table optim.m/norm.weight: 2 chunks from chunk 5, but 5 of 6 are taken"},
    {TABLES + 28, 4, 65537, "record 0: table embed.tokens: row group 65537, at most 65536"},
    {TABLES + 28, 4, 1,
     "row group 1: table embed.tokens has 7 rows, table layers.0.ffn.keys has 6"},
    {TABLES + 34, 1, 0, "record 0: table embed.tokens: unknown role 0"},
    {TABLES + 34, 1, 4, "record 0: table embed.tokens: unknown role 4"},
    {TABLES + 35, 1, 0, "record 0: table embed.tokens: unknown dtype 0"},
    {TABLES + 35, 1, 4, "record 0: table embed.tokens: unknown dtype 4"},
    {TABLES + 36, 1, 2, "record 0: table embed.tokens: unknown filter 2"},
    {TABLES + 39, 1, 1, "record 0: table embed.tokens: reserved byte 39 is 0x01, not 0"},
    /* chunks */
    {CHUNKS, 8, 65, "table embed.tokens: chunk 0: begins at byte 65, must begin at 64"},
    {CHUNKS + 40, 8, 64, NULL},
    {CHUNKS + 8, 4, 0, "table embed.tokens: chunk 0: 0 bytes cannot hold 140"},
    {CHUNKS + 8, 4, UINT32_MAX, NULL},
    {CHUNKS + 12, 4, UINT32_MAX,
     "table embed.tokens: chunk 0: 7 rows of 20 bytes recorded as 4294967295 bytes, at most "
     "16777216"},
    {CHUNKS + 16, 4, 0,
     "table embed.tokens: chunk 0: 0 rows of 20 bytes recorded as 140 bytes, at most 16777216"},
    {CHUNKS + 20, 4, 1, "table embed.tokens: chunk 0: unknown flags 0x1"},
    {CHUNKS + 5 * 40 + 8, 4, 50, NULL},
    /* blobs */
    {BLOBS, 4, 2, "blob of kind 2 after one of kind 2"},
    {BLOBS + 4, 4, 0, "blob of kind 0: 0 bytes, must be 1 to 15"},
    {BLOBS + 4, 4, 16, "blob of kind 0: 16 bytes, must be 1 to 15"},
    {BLOBS + 20, 4, 1, "1 bytes after the last blob"},
};

static void test_directory(void **state)
{
    size_t size, from;
    uint8_t *raw = raw_directory(&size, &from);

    (void)state;
    assert_int_equal(size, BYTES + 15);
    for (size_t i = 0; i < sizeof(directory_cases) / sizeof(directory_cases[0]); i++) {
        uint8_t value[8], saved[8];
        char text[512];

        tf_put_u64(value, directory_cases[i].value);
        memcpy(saved, raw + directory_cases[i].offset, 8);
        memcpy(raw + directory_cases[i].offset, value, directory_cases[i].width);
        save_with_directory(sample.bytes, from, raw, size);
        memcpy(raw + directory_cases[i].offset, saved, 8);
        snprintf(text, sizeof(text), "b.tfck: directory: %s",
                 directory_cases[i].text ? directory_cases[i].text : "");
        assert_int_equal(open_and_verify("b.tfck", &err), TF_DATA);
        if (directory_cases[i].text != NULL)
            assert_string_equal(err.text, text);
    }
    save_with_directory(sample.bytes, from, raw, size);
    assert_fine(open_and_verify("b.tfck", &err), err);
    free(raw);
}

/* A later version's kind of blob is passed over. */
static void test_unknown_blob(void **state)
{
    size_t size, from;
    uint8_t *raw = raw_directory(&size, &from);
    struct tf_store *store;

    (void)state;
    tf_put_u32(raw + BLOBS + 16, 77);
    save_with_directory(sample.bytes, from, raw, size);
    free(raw);
    assert_fine(tf_store_open(&store, "b.tfck", 0, &err), err);
    assert_string_equal(tf_store_blob(store, TF_BLOB_LINEAGE, NULL), "");
    assert_string_equal(tf_store_blob(store, TF_BLOB_CONFIG, NULL), "model: {}\n");
    tf_store_close(store);
}

/* Too short for its counts, or with bytes to spare. */
static void test_directory_size(void **state)
{
    size_t size, from;
    uint8_t *raw = raw_directory(&size, &from);

    (void)state;
    for (size_t cut = 0; cut < size; cut++) {
        save_with_directory(sample.bytes, from, raw, cut);
        assert_int_equal(open_and_verify("b.tfck", &err), TF_DATA);
    }
    save_with_directory(sample.bytes, from, raw, size + 1);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err,
                 "b.tfck: directory: 1 bytes after the last blob");
    free(raw);
}

/* The first chunk replaced by another frame, with a record that fits it as well as it can. */
static void replace_first_chunk(const void *frame, size_t frame_size)
{
    size_t size, from, old;
    uint8_t *raw = raw_directory(&size, &from), *chunks;

    old = tf_get_u32(raw + CHUNKS + 8);
    chunks = malloc(from - old + frame_size);
    assert_non_null(chunks);
    memcpy(chunks, sample.bytes, TF_FRAME_SIZE);
    memcpy(chunks + TF_FRAME_SIZE, frame, frame_size);
    memcpy(chunks + TF_FRAME_SIZE + frame_size, sample.bytes + TF_FRAME_SIZE + old,
           from - TF_FRAME_SIZE - old);
    tf_put_u32(raw + CHUNKS + 8, (uint32_t)frame_size);
    tf_put_u64(raw + CHUNKS + 24, XXH3_64bits(frame, frame_size));
    for (size_t i = 1; i < 6; i++)
        tf_put_u64(raw + CHUNKS + 40 * i, tf_get_u64(raw + CHUNKS + 40 * i) - old + frame_size);
    save_with_directory(chunks, from - old + frame_size, raw, size);
    free(chunks);
    free(raw);
}

static void check_first_chunk(const void *frame, size_t frame_size, const char *text)
{
    char whole[256];

    replace_first_chunk(frame, frame_size);
    snprintf(whole, sizeof(whole), "b.tfck: table embed.tokens: chunk 0: %s", text);
    assert_fails(open_and_verify("b.tfck", &err), TF_DATA, err, whole);
}

/* Without a trailer, to say why takes no time that counts, whatever the file is full of. */
static void test_many_frames(void **state)
{
    static const struct {
        const char *head, *unit; /* from byte 64 on, the second again and again */
        size_t head_size, unit_size;
        const char *text;
    } cases[] = {
        /* Empty skippable frames. */
        {"", "\x50\x2a\x4d\x18\0\0\0\0", 0, 8,
         "no trailer in the last 64 of 33554432 bytes: truncated between two frames, or damaged"},
        /* Empty frames of zstd. */
        {"", "\x28\xb5\x2f\xfd\x20\0\1\0\0", 0, 9,
         "truncated: the file ends at byte 33554432, inside the frame that begins at byte "
         "33554431"},
        /* One with a checksum, a run of a byte and a stored block; what follows is no frame. */
        {"\x28\xb5\x2f\xfd\x24\6\x22\0\0A\x11\0\0BCcccc", "D", 19, 1,
         "no trailer, and no frame begins at byte 83 of 33554432"},
        /* One of empty blocks without end, and of an unknown kind. */
        {"\x28\xb5\x2f\xfd\x20\0", "\0\0\0", 6, 3,
         "truncated: the file ends at byte 33554432, inside the frame that begins at byte 64"},
        {"\x28\xb5\x2f\xfd\x20\0", "\7\0\0", 6, 3,
         "no trailer, and no frame begins at byte 64 of 33554432"},
    };
    enum { SIZE = 32 << 20 };
    char *bytes = malloc(SIZE), text[256];

    (void)state;
    assert_non_null(bytes);
    memcpy(bytes, sample.bytes, TF_FRAME_SIZE);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const size_t first = TF_FRAME_SIZE + cases[i].head_size;
        clock_t start;

        memcpy(bytes + TF_FRAME_SIZE, cases[i].head, cases[i].head_size);
        for (size_t at = first; at < SIZE; at++)
            bytes[at] = cases[i].unit[(at - first) % cases[i].unit_size];
        save_bytes("many.tfck", bytes, SIZE);
        snprintf(text, sizeof(text), "many.tfck: %s", cases[i].text);
        start = clock();
        assert_fails(open_and_verify("many.tfck", &err), TF_DATA, err, text);
        assert_true(clock() - start < CLOCKS_PER_SEC);
    }
    assert_int_equal(unlink("many.tfck"), 0);
    free(bytes);
}

/* Frames that the checksum of the coded bytes vouches for, and that are still not the chunk. */
static void test_frames(void **state)
{
    uint8_t frame[1024] = {0}, raw[141] = {0};
    char text[128];
    ZSTD_CCtx *context = tf_codec_compressor(1, &err);
    size_t size = ZSTD_compress2(context, frame, sizeof(frame), raw, 140);

    (void)state;
    assert_false(ZSTD_isError(size));
    /* Right in form, wrong in content: the checksum of the raw rows tells. */
    replace_first_chunk(frame, size);
    assert_int_equal(open_and_verify("b.tfck", &err), TF_DATA);
    assert_non_null(strstr(
        err.text, "b.tfck: table embed.tokens: chunk 0: decoded rows: checksum mismatch (stored "));
    /* Two frames; a skippable one; not a frame. */
    memcpy(frame + size, frame, size);
    snprintf(text, sizeof(text), "zstd frame does not have the recorded %zu bytes", 2 * size);
    check_first_chunk(frame, 2 * size, text);
    check_first_chunk("\x50\x2a\x4d\x18\x04\0\0\0abcd", 12, "not a zstd frame");
    check_first_chunk("not a zstd frame", 16, "not a zstd frame");
    /* zstd's own checksum is wrong. */
    frame[size - 1] ^= 1;
    check_first_chunk(frame, size, "zstd: Restored data doesn't match checksum");
    /* A byte more than the record says. */
    size = ZSTD_compress2(context, frame, sizeof(frame), raw, 141);
    check_first_chunk(frame, size, "zstd frame declares 141 bytes, the record 140");
    /* No checksum; no content size; a window of 2^41 bytes. */
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 0);
    size = ZSTD_compress2(context, frame, sizeof(frame), raw, 140);
    check_first_chunk(frame, size,
                      "zstd frame descriptor 0x20: a checksum and no dictionary are required");
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    size = ZSTD_compress2(context, frame, sizeof(frame), raw, 140);
    check_first_chunk(frame, size, "zstd frame declares no size, the record 140 bytes");
    frame[5] = 0xf8;
    check_first_chunk(frame, size, "zstd window of 2^41 bytes, at most 2^24");
    ZSTD_freeCCtx(context);
}

/* ---- files of earlier versions ---- */

/* What a file that is kept beside a checkpoint says. */
static struct image recorded(const char *name, const char *what)
{
    char path[PATH_MAX + 64];

    snprintf(path, sizeof(path), "%s/%s.%s", golden, name, what);
    return load_image(path);
}

static void check_blob(const struct tf_store *store, const char *name, enum tf_blob kind,
                       const char *what)
{
    struct image expected = recorded(name, what);
    size_t size;
    const char *blob = tf_store_blob(store, kind, &size);

    assert_int_equal(size, expected.size);
    assert_memory_equal(blob, expected.bytes, size);
    tf_free(expected.bytes);
}

/* One line a table, "digest  name", then the model's. */
static void check_digests(const struct tf_store *store, const char *name)
{
    struct image expected = recorded(name, "digests");
    const char *line = expected.bytes;
    struct tf_digest digest;

    for (size_t i = 0; i <= tf_store_tables(store); i++) {
        bool model = i == tf_store_tables(store);
        char hex[TF_DIGEST_TEXT], text[512];

        assert_fine(model ? tf_store_model_digest(store, &digest, &err)
                          : tf_store_digest(store, i, &digest, &err),
                    err);
        snprintf(text, sizeof(text), "%s  %s\n", tf_digest_text(hex, &digest),
                 model ? "model" : tf_store_table(store, i)->name);
        assert_int_equal(strncmp(line, text, strlen(text)), 0);
        line += strlen(text);
    }
    assert_int_equal(*line, '\0');
    tf_free(expected.bytes);
}

static void check_kept(const char *name, size_t tables)
{
    char path[PATH_MAX + 64];
    struct tf_checkpoint checkpoint;

    snprintf(path, sizeof(path), "%s/%s.tfck", golden, name);
    assert_fine(tf_checkpoint_open(&checkpoint, path, 0, NULL, 0, &err), err);
    assert_int_equal(tf_store_minor(checkpoint.store), 0);
    assert_int_equal(tf_store_tables(checkpoint.store), tables);
    assert_fine(tf_store_verify(checkpoint.store, &err), err);
    check_digests(checkpoint.store, name);
    check_blob(checkpoint.store, name, TF_BLOB_CONFIG, "config");
    check_blob(checkpoint.store, name, TF_BLOB_TOKENIZER, "tokenizer");
    check_blob(checkpoint.store, name, TF_BLOB_STATE, "state");
    check_blob(checkpoint.store, name, TF_BLOB_LINEAGE, "lineage");
    tf_checkpoint_close(&checkpoint);
}

/* Every build reads what the first ones of this major version wrote. */
static void test_kept(void **state)
{
    (void)state;
    check_kept("1.0", 39);
    check_kept("1.0-transformer", 27);
}

static int set_up(void **state)
{
    const char *root = getenv("TF_GOLDEN");
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/checkpoints", root ? root : "tests/golden");
    if (realpath(path, golden) == NULL || enter_scratch(state) != 0)
        return -1;
    write_sample("a.tfck");
    sample = load_image("a.tfck");
    return 0;
}

static int tear_down(void **state)
{
    tf_free(sample.bytes);
    return leave_scratch(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_contents),     cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_header),       cmocka_unit_test(test_ro_compat),
        cmocka_unit_test(test_trailer),      cmocka_unit_test(test_directory),
        cmocka_unit_test(test_unknown_blob), cmocka_unit_test(test_directory_size),
        cmocka_unit_test(test_frames),       cmocka_unit_test(test_many_frames),
        cmocka_unit_test(test_kept),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
