/* Many tables written, and read, in one go. */
#include "checkpoint_fixture.h"

#include <omp.h>

/* Tables of a list: of several chunks, of a single one, narrower than f32. */
enum { LIST = 3, LIST_STRIDE = 16400 };
static const uint64_t list_rows[LIST] = {20, 1, 13};

/* `rows` has room for the largest of them. */
static void make_list(struct tf_table_rows *list, const float *rows)
{
    list[0] = (struct tf_table_rows){table_info("a", TF_F32, 16384), rows, LIST_STRIDE};
    list[1] = (struct tf_table_rows){table_info("b", TF_F32, 5), rows, LIST_STRIDE};
    list[2] = (struct tf_table_rows){table_info("c", TF_BF16, 16384), rows, LIST_STRIDE};
    list[0].info.scale = 2;
    list[1].info.filter = TF_FILTER_NONE;
    for (size_t i = 0; i < LIST; i++)
        list[i].info.rows = list_rows[i];
}

static float *list_floats(void)
{
    float *rows = malloc(20 * LIST_STRIDE * sizeof(*rows));

    assert_non_null(rows);
    for (size_t row = 0; row < 20; row++)
        for (size_t col = 0; col < LIST_STRIDE; col++)
            rows[row * LIST_STRIDE + col] = sample_value(row, col);
    return rows;
}

/* Tables in one go, by any number of threads, are the file that they are one by one; and they can
 * be read in one go. */
static void test_tables(void **state)
{
    int threads = omp_get_max_threads();
    float *rows = list_floats(), *back = calloc(34, LIST_STRIDE * sizeof(*back));
    struct tf_table_rows list[LIST];
    struct tf_writer *writer;
    struct tf_store *store;
    struct tf_err err = {0};

    (void)state;
    assert_non_null(back);
    make_list(list, rows);
    assert_fine(tf_writer_open(&writer, "single.tfck", true, 0, &err), err);
    for (size_t i = 0; i < LIST; i++) {
        assert_fine(tf_writer_table(writer, &list[i].info, &err), err);
        assert_fine(tf_writer_rows(writer, rows, list_rows[i], LIST_STRIDE, &err), err);
    }
    assert_fine(tf_writer_commit(writer, &err), err);
    tf_writer_close(writer);
    for (int t = 1; t <= 3; t++) {
        omp_set_num_threads(t);
        assert_fine(tf_writer_open(&writer, "list.tfck", true, 0, &err), err);
        assert_fine(tf_writer_tables(writer, list, 0, &err), err);
        assert_fine(tf_writer_tables(writer, list, 1, &err), err);
        assert_fine(tf_writer_tables(writer, list + 1, 2, &err), err);
        assert_fine(tf_writer_commit(writer, &err), err);
        tf_writer_close(writer);
        assert_same_file("list.tfck", "single.tfck");
    }
    assert_fine(tf_store_open(&store, "list.tfck", 0, &err), err);
    const struct tf_table_read reads[LIST] = {{2, back, 16384},
                                              {0, back + 13 * LIST_STRIDE, LIST_STRIDE},
                                              {1, back + 33 * LIST_STRIDE, 5}};
    assert_fine(tf_store_read_tables(store, reads, 0, &err), err);
    assert_fine(tf_store_read_tables(store, reads, LIST, &err), err);
    omp_set_num_threads(threads);
    for (size_t r = 0; r < LIST; r++)
        for (size_t row = 0; row < list_rows[reads[r].table]; row++)
            for (size_t col = 0; col < list[reads[r].table].info.cols; col++)
                assert_true(reads[r].out[row * reads[r].stride + col] == sample_value(row, col));
    tf_store_close(store);
    free(back);
    free(rows);
}

/* What is wrong with a table of a list is said as it is for one by itself. */
static void test_tables_refused(void **state)
{
    float *rows = list_floats();
    struct tf_table_rows list[LIST];
    struct tf_writer *writer;
    struct tf_err err = {0};

    (void)state;
    make_list(list, rows);
    assert_fine(tf_writer_open(&writer, "list.tfck", true, 0, &err), err);
    list[2].info.rows = 0;
    assert_fails(tf_writer_tables(writer, list, LIST, &err), TF_DATA, err,
                 "list.tfck: table c: 0 rows, must have 1 or more");
    list[2].info.rows = 13;
    list[1].info.cols = 0;
    assert_fails(tf_writer_tables(writer, list, LIST, &err), TF_DATA, err,
                 "list.tfck: table b: 0 columns, must be 1 to 1048576");
    list[1].info.cols = 5;
    strcpy(list[2].info.name, "aa");
    assert_fails(tf_writer_tables(writer, list, LIST, &err), TF_DATA, err,
                 "list.tfck: table aa: its name must come after b");
    tf_writer_close(writer);
    free(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_tables_refused),
    };

    return cmocka_run_group_tests(tests, enter_scratch, leave_scratch);
}
