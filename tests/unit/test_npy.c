#include "checkpoint_fixture.h"

#include "store/npy.h"

static struct tf_npy npy;
static struct tf_err err;

/* A version 1.0 file with this dictionary and so many bytes of data, 1 2 3 ... */
static enum tf_code open_text(const char *dictionary, size_t data)
{
    uint8_t bytes[512] = "\x93NUMPY\x01\x00";
    size_t length = strlen(dictionary);

    tf_put_u16(bytes + 8, (uint16_t)length);
    memcpy(bytes + 10, dictionary, length);
    for (size_t i = 0; i < data; i++)
        bytes[10 + length + i] = (uint8_t)(i + 1);
    save_bytes("a.npy", bytes, 10 + length + data);
    tf_npy_close(&npy);
    return tf_npy_open(&npy, "a.npy", &err);
}

/* Entries row .. row+count are bytes of 1 2 3 ... */
static void check_entries(uint64_t row, uint64_t count, size_t entry)
{
    uint8_t bytes[256] = {0};

    assert_fine(tf_npy_read(&npy, row, count, bytes, &err), err);
    for (size_t i = 0; i < count * entry; i++)
        assert_int_equal(bytes[i], row * entry + i + 1);
    assert_int_equal(bytes[count * entry], 0);
}

static void test_reads(void **state)
{
    (void)state;
    assert_fine(open_text("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }     \n", 24),
                err);
    assert_int_equal(npy.type, TF_NPY_F4);
    assert_int_equal(npy.dims, 2);
    assert_int_equal(npy.shape[0], 2);
    assert_int_equal(npy.shape[1], 3);
    assert_int_equal(npy.shape[2], 1);
    check_entries(0, 2, 12);
    check_entries(1, 1, 12);
    check_entries(2, 0, 12);
    assert_fails(tf_npy_read(&npy, 1, 2, NULL, &err), TF_INTERNAL, err,
                 "a.npy: 2 rows from row 1 wanted, it has 2");
    assert_int_equal(tf_npy_read(&npy, 3, 0, NULL, &err), TF_INTERNAL);
    assert_int_equal(tf_npy_read(&npy, 1, UINT64_MAX, NULL, &err), TF_INTERNAL);
    /* Other order, quotes, no spaces; one dimension. */
    assert_fine(open_text("{\"shape\":(5,),\"fortran_order\":False,\"descr\":\"<u2\"}", 10), err);
    assert_int_equal(npy.type, TF_NPY_U2);
    assert_int_equal(npy.dims, 1);
    assert_int_equal(npy.shape[0], 5);
    assert_int_equal(npy.shape[1], 1);
    check_entries(1, 4, 2);
    assert_fine(open_text("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3, 1)}", 24), err);
    assert_int_equal(npy.dims, 3);
    assert_int_equal(npy.shape[2], 1);
    check_entries(1, 1, 12);
    tf_npy_close(&npy);
}

/* Versions 2 and 3 count the header in 32 bits. */
static void test_versions(void **state)
{
    static const char dictionary[] = "{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }\n";
    uint8_t bytes[128] = "\x93NUMPY\x02\x00";
    size_t size = 12 + sizeof(dictionary) - 1 + 2;

    (void)state;
    tf_put_u32(bytes + 8, sizeof(dictionary) - 1);
    memcpy(bytes + 12, dictionary, sizeof(dictionary) - 1);
    for (uint8_t version = 2; version <= 3; version++) {
        bytes[6] = version;
        bytes[size - 2] = 1;
        bytes[size - 1] = 2;
        save_bytes("a.npy", bytes, size);
        assert_fine(tf_npy_open(&npy, "a.npy", &err), err);
        assert_int_equal(npy.type, TF_NPY_F2);
        assert_int_equal(tf_npy_width(npy.type), 2);
        check_entries(0, 1, 2);
        tf_npy_close(&npy);
    }
    bytes[6] = 4;
    save_bytes("a.npy", bytes, size);
    assert_fails(tf_npy_open(&npy, "a.npy", &err), TF_DATA, err,
                 "a.npy: .npy version 4, must be 1 to 3");
    bytes[6] = 2;
    tf_put_u32(bytes + 8, UINT32_MAX);
    save_bytes("a.npy", bytes, size);
    assert_fails(tf_npy_open(&npy, "a.npy", &err), TF_DATA, err,
                 "a.npy: header of 4294967295 bytes in a file of 72, at most 65536");
}

static void test_refusals(void **state)
{
    static const struct {
        const char *dictionary;
        size_t data;
        const char *text;
    } cases[] = {
        {"", 0, "a.npy: header is not a dictionary"},
        {"{", 0, "a.npy: header is not a dictionary"},
        {"{}", 0, "a.npy: header has no 'descr'"},
        {"{'descr': '<f4'}", 4, "a.npy: header has no 'fortran_order'"},
        {"{'descr': '<f4', 'fortran_order': False}", 4, "a.npy: header has no 'shape'"},
        {"{'descr': '<f4', 'descr': '<f4'}", 4, "a.npy: header has twice the key 'descr'"},
        {"{'colour': 3}", 4, "a.npy: header has an unknown key 'colour'"},
        {"{'descr': '<f4'", 4, "a.npy: header does not end"},
        {"{'descr': '<f4", 4, "a.npy: descr is not the name of a type"},
        {"{'descr': [('x', '<f4')]}", 4, "a.npy: descr is not the name of a type"},
        {"{'descr': '>f4'}", 4,
         "a.npy: type '>f4', which is big-endian, must be '<f4', '<f2', '<i4' or '<u2'"},
        {"{'descr': '<f8'}", 4, "a.npy: type '<f8', must be '<f4', '<f2', '<i4' or '<u2'"},
        {"{'descr': '|u1'}", 4, "a.npy: type '|u1', must be '<f4', '<f2', '<i4' or '<u2'"},
        {"{'fortran_order': True}", 4,
         "a.npy: fortran_order is not False: only C order is read, as numpy.ascontiguousarray "
         "makes it"},
        {"{'shape': ()}", 4, "a.npy: 0 dimensions, must be 1 to 3"},
        {"{'shape': (1, 1, 1, 1)}", 4, "a.npy: more than 3 dimensions"},
        {"{'shape': (3, 0)}", 4, "a.npy: dimension 1 is 0"},
        {"{'shape': (-1,)}", 4, "a.npy: dimension 0 is not a number"},
        {"{'shape': (18446744073709551616,)}", 4, "a.npy: dimension 0 is not a number"},
        {"{'shape': (1 2)}", 4, "a.npy: shape does not end"},
        {"{'shape': 4}", 4, "a.npy: shape is not a tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} x", 4,
         "a.npy: 1 bytes after the header's dictionary"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 4,
         "a.npy: its shape needs 8 bytes of data, it has 4"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", 5,
         "a.npy: its shape needs 4 bytes of data, it has 5"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296)}", 0,
         "a.npy: its dimensions multiply to more than 18446744073709551615 bytes"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_fails(open_text(cases[i].dictionary, cases[i].data), TF_DATA, err, cases[i].text);
        assert_null(npy.in.path);
    }
    assert_int_equal(tf_npy_open(&npy, "none.npy", &err), TF_NOINPUT);
    assert_int_equal(tf_npy_open(&npy, ".", &err), TF_NOINPUT);
    save_bytes("b.npy", "PK\3\4", 4);
    assert_fails(tf_npy_open(&npy, "b.npy", &err), TF_DATA, err, "b.npy: not an .npy file");
}

/* Cut at any byte, the file is refused. */
static void test_truncation(void **state)
{
    struct image image;

    (void)state;
    assert_fine(open_text("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8), err);
    tf_npy_close(&npy);
    image = load_image("a.npy");
    for (size_t size = 0; size < image.size; size++) {
        save_bytes("cut.npy", image.bytes, size);
        assert_int_equal(tf_npy_open(&npy, "cut.npy", &err), TF_DATA);
        assert_null(npy.in.path);
    }
    tf_free(image.bytes);
}

/* A file that shrinks after it was opened: what is gone is an error, and not zeros. */
static void test_shrinks(void **state)
{
    uint8_t bytes[8];

    (void)state;
    assert_fine(open_text("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}", 8), err);
    assert_int_equal(truncate("a.npy", 70), 0);
    check_entries(0, 1, 4);
    assert_fails(tf_npy_read(&npy, 0, 2, bytes, &err), TF_DATA, err,
                 "a.npy: ends at byte 70, but had 73 when it was opened");
    tf_npy_close(&npy);
}

/* Our header is what NumPy writes, to the byte, and our reader reads it. */
static void test_writes(void **state)
{
    static const uint64_t shapes[][3] = {{7}, {2, 3}, {1, 2, 3}};
    static const char *const texts[] = {"(7,)", "(2, 3)", "(1, 2, 3)"};
    static const size_t counts[] = {7, 6, 6};
    const uint32_t data[7] = {1, 2, 3, 4, 5, 6, 7};
    uint32_t back[7];

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct tf_out out;
        struct image image;
        char text[118 + 1];
        int used = snprintf(text, sizeof(text),
                            "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", texts[i]);

        memset(text + used, ' ', sizeof(text) - (size_t)used);
        text[117] = '\n';
        assert_fine(tf_out_open(&out, "w.npy", true, &err), err);
        assert_fine(tf_npy_write_header(&out, TF_NPY_F4, i + 1, shapes[i], &err), err);
        assert_fine(tf_out_write(&out, data, 4 * counts[i], &err), err);
        assert_fine(tf_out_commit(&out, &err), err);
        tf_out_close(&out);
        image = load_image("w.npy");
        assert_int_equal(image.size, 128 + 4 * counts[i]);
        assert_memory_equal(image.bytes, "\x93NUMPY\x01\x00\x76\x00", 10);
        assert_memory_equal(image.bytes + 10, text, 118);
        tf_free(image.bytes);
        assert_fine(tf_npy_open(&npy, "w.npy", &err), err);
        assert_int_equal(npy.dims, i + 1);
        for (int d = 0; d <= i; d++)
            assert_int_equal(npy.shape[d], shapes[i][d]);
        assert_fine(tf_npy_read(&npy, 0, npy.shape[0], back, &err), err);
        assert_memory_equal(back, data, 4 * counts[i]);
        tf_npy_close(&npy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads),    cmocka_unit_test(test_versions),
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_truncation),
        cmocka_unit_test(test_shrinks),  cmocka_unit_test(test_writes),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
