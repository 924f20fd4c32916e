/* The formula of a training step's work against a count of the multiply-adds that the kernels do.
 */
#include "small_model.h"

#include <stdatomic.h>

/* The kernels that are counted, and the count. */
static const struct tf_kernels *counted;
static _Atomic uint64_t multiply_adds;

static void count_gemm(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                       const float *b, size_t bk, size_t bn, float *c, size_t ldc, bool add)
{
    multiply_adds += (uint64_t)m * n * k;
    counted->gemm(m, n, k, a, rs, cs, b, bk, bn, c, ldc, add);
}

static void count_gemm_narrow(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                              const void *b, enum tf_precision precision, size_t bk, size_t bn,
                              float *c, size_t ldc, bool add)
{
    multiply_adds += (uint64_t)m * n * k;
    counted->gemm_narrow(m, n, k, a, rs, cs, b, precision, bk, bn, c, ldc, add);
}

/* A model and a batch: all that the count depends on. */
struct form {
    enum tf_kind kind;
    uint64_t layers, width, heads, vocab, length, tokens, ffn;
    bool tied;
};

enum { STREAMS = 2, MOST_LAYERS = 3, MOST_ROWS = 400 };

static struct tf_model *new_model(const struct form *form)
{
    struct tf_layer_shape layers[MOST_LAYERS] = {{{0}, {0}}};
    struct tf_err err = {0};
    struct tf_model *model;
    const struct tf_shape shape = {
        .kind = form->kind,
        .layers = form->layers,
        .width = form->width,
        .heads = form->heads,
        .vocab = form->vocab,
        .seq = form->length,
        .norm = form->kind == TF_TRANSFORMER ? TF_GELU : TF_L2_NORM_GELU,
        .rotary_base = 10000,
        .tied = form->tied,
        .layer = layers,
    };
    for (uint64_t l = 0; l < form->layers; l++)
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            layers[l].tokens[p] = tf_is_matrix(&shape, p) ? form->width
                                  : p == TF_FFN           ? form->ffn
                                                          : form->tokens + (uint64_t)p;
            layers[l].scale[p] = form->kind == TF_TOKENFORMER;
        }
    assert_ok(tf_model_new(&model, &shape, true, &err), &err);
    small_fill(model);
    return model;
}

/* FLOP of a training step in the kernels, `share` of the tokens being active; into *formula those
 * of tf_model_flops. */
static uint64_t count_step(const struct form *form, double share, double *formula)
{
    struct tf_model *model = new_model(form);
    struct tf_run *run;
    struct tf_err err = {0};
    uint16_t ids[MOST_ROWS], targets[MOST_ROWS];
    float losses[MOST_ROWS];
    const size_t length = form->length, rows = STREAMS * length;
    struct tf_kernels counting = *tf_kernel;
    assert_true(rows <= MOST_ROWS);
    small_ids(ids, rows, form->vocab, 1);
    small_ids(targets, rows, form->vocab, 2);
    assert_ok(tf_run_new(&run, model, TF_RUN_TRAIN, STREAMS, length, &err), &err);
    tf_model_keep(model, share);
    *formula = tf_model_flops(model) * (double)rows;
    counted = tf_kernel;
    counting.gemm = count_gemm;
    counting.gemm_narrow = count_gemm_narrow;
    multiply_adds = 0;
    tf_kernel = &counting;
    small_step(run, ids, targets, STREAMS, length, STREAMS, losses);
    tf_kernel = counted;
    tf_run_free(run);
    tf_model_free(model);
    return 2 * multiply_adds;
}

/* Of attention. The formula counts 6 products of T x T x D for each head: 2 forward, 4 backward.
 * The kernels make the backward pass's scores again, 7 in all, and leave out what a block of 48
 * rows cannot see: a block of `rows` rows takes `first + rows` positions. So they do 7/6 of the
 * formula's work up to T = 48, less than it from T = 59 on, and towards 7/12 of it for long
 * sequences. */
static uint64_t attention_flops(const struct form *form)
{
    uint64_t seen = 0;
    for (uint64_t first = 0; first < form->length; first += 48) {
        const uint64_t rows = form->length - first < 48 ? form->length - first : 48;
        seen += rows * (first + rows);
    }
    return 2 * 7 * STREAMS * form->layers * form->width * seen;
}

static double attention_formula(const struct form *form)
{
    return 12.0 * (double)(form->layers * form->length * form->width) *
           (double)(STREAMS * form->length);
}

static const struct form forms[] = {
    {TF_TOKENFORMER, 1, 16, 2, 37, 20, 12, 50, true},
    {TF_TOKENFORMER, 3, 24, 2, 300, 65, 33, 130, false},
    {TF_TOKENFORMER, 2, 12, 3, 1030, 200, 7, 400, true}, /* a head of more than one piece */
    {TF_TRANSFORMER, 1, 16, 2, 37, 20, 0, 50, true},
    {TF_TRANSFORMER, 3, 24, 2, 300, 65, 0, 96, false},
    {TF_TRANSFORMER, 2, 120, 3, 37, 200, 0, 480, true},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* Products with tables: to the number. The rest is attention's. */
static void check_formula(void)
{
    static const double shares[] = {1, 0.5, 0.3};
    for (size_t i = 0; i < FORMS; i++)
        for (size_t s = 0; s < sizeof shares / sizeof *shares; s++) {
            double formula;
            const uint64_t count = count_step(&forms[i], shares[s], &formula);
            assert_true((double)(count - attention_flops(&forms[i])) ==
                        formula - attention_formula(&forms[i]));
        }
}

static void the_formula_is_what_the_kernels_do(void **state)
{
    (void)state;
    each_kernel(check_formula);
}

/* Two models that differ in tokens, hidden units or vocabulary alone: the whole count differs as
 * the formula does. */
static void differences_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < FORMS; i++)
        for (int change = 0; change < 3; change++) {
            struct form other = forms[i];
            double before, after;
            other.tokens += change == 0 ? 5 : 0;
            other.ffn += change == 1 ? 11 : 0;
            other.vocab += change == 2 ? 90 : 0;
            const uint64_t less = count_step(&forms[i], 1, &before),
                           more = count_step(&other, 1, &after);
            assert_true((double)(more - less) == after - before);
            assert_int_equal(more > less, forms[i].kind == TF_TOKENFORMER || change > 0);
        }
}

/* What attention_flops says of the formula's part. */
static void attention_lies_within_its_bounds(void **state)
{
    (void)state;
    struct form form = forms[0];
    for (form.length = 1; form.length <= 4096; form.length++) {
        const double ratio = (double)attention_flops(&form) / attention_formula(&form);
        assert_true(ratio > 7.0 / 12 && ratio < 7.0 / 6 + 1e-12);
        assert_true(form.length > 48 || ratio > 7.0 / 6 - 1e-12);
        assert_int_equal(ratio<1, form.length> 58);
        assert_true(form.length < 4096 || ratio < 0.6);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_formula_is_what_the_kernels_do),
        cmocka_unit_test(differences_are_exact),
        cmocka_unit_test(attention_lies_within_its_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
