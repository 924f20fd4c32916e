/* The kernels, and the choice among their builds. Each is written once and compiled for several
 * instruction sets; all builds give the same bits ("The same bits, always" in tokenformer(7)). All
 * run on the calling thread. Rows need no alignment. */
#ifndef TF_KERNEL_DISPATCH_H
#define TF_KERNEL_DISPATCH_H

#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>

/* What the numbers of a right-hand side are; see kernel/narrow.h for the two narrow ones. */
enum tf_precision { TF_PRECISION_F32, TF_PRECISION_BF16, TF_PRECISION_INT8 };
/* Bytes of one. */
static inline size_t tf_precision_size(enum tf_precision precision)
{
    return precision == TF_PRECISION_F32 ? 4 : precision == TF_PRECISION_BF16 ? 2 : 1;
}

/* What AdamW multiplies with in one step (Loshchilov and Hutter, arXiv 1711.05101). */
struct tf_adamw {
    float clip;  /* on the gradient */
    float decay; /* lr x weight decay */
    float beta1, beta2;
    float rate;     /* lr / (1 - beta1^t) */
    float correct2; /* 1 / (1 - beta2^t) */
    float eps;
};

struct tf_kernels {
    const char *name;
    size_t mr, nr; /* the micro-kernel's tile: rows x columns */
    size_t kc;     /* rows of a packed panel that are multiplied in one go */

    /* C(m,n) [+]= A(m,k) B(k,n), B packed by tf_pack with `bk` rows and `bn` columns in all, of
     * which the first k and n are used. A(i,p) is a[i*rs + p*cs]. Each element is one chain of
     * fused multiply-adds over p ascending, from 0 or, when add, from what C holds. */
    void (*gemm)(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs, const float *b,
                 size_t bk, size_t bn, float *c, size_t ldc, bool add);
    /* The same of any precision, B packed by tf_pack_narrow (f32: tf_pack). */
    void (*gemm_narrow)(size_t m, size_t n, size_t k, const float *a, size_t rs, size_t cs,
                        const void *b, enum tf_precision precision, size_t bk, size_t bn, float *c,
                        size_t ldc, bool add);

    /* Elementwise over n numbers; y may be x. */
    void (*exp)(size_t n, float *y, const float *x);
    void (*gelu)(size_t n, float *y, const float *x, float r);  /* y = gelu(x r), exact erf form */
    void (*scale)(size_t n, float *y, const float *x, float a); /* y = a x */
    void (*add)(size_t n, float *y, const float *x);            /* y += x */
    void (*multiply_add)(size_t n, float *y, const float *x, const float *w); /* y += x w */
    void (*blend)(size_t n, float *y, float a, const float *x, float b);      /* y = a y + b x */
    /* dx = y (dx - c) scale: the way back through a softmax row y, c = y . dx. */
    void (*softmax_back)(size_t n, float *dx, const float *y, float c, float scale);
    /* y = x w + b */
    void (*affine)(size_t n, float *y, const float *x, const float *w, const float *b);
    /* Rotates the pairs (x[i], x[i+half]), i < half, by angles of which cos and sin are given
     * (RoPE, arXiv 2104.09864). */
    void (*rotate)(size_t half, float *x, const float *cosine, const float *sine, float sign);
    void (*adamw)(size_t n, float *p, const float *g, float *m, float *v,
                  const struct tf_adamw *with);

    /* Sums over a row are 16 partial sums (element i to sum i mod 16) joined in a fixed tree. */
    float (*sum)(size_t n, const float *x);
    float (*dot)(size_t n, const float *x, const float *y);
    float (*max)(size_t n, const float *x); /* n > 0 */
    /* y = exp((x - max) scale); sum of y. */
    float (*exp_sum)(size_t n, float *y, const float *x, float max, float scale);
    /* z = x r: s = gelu(z), dz = ds gelu'(z); returns z . dz. dz may be ds. */
    float (*gelu_back)(size_t n, float *s, float *dz, const float *x, float r, const float *ds);
    /* y = (x - mean) rstd over the row, LayerNorm without weights; statistics in stats[0] = mean,
     * stats[1] = rstd. */
    void (*normalise)(size_t n, float *y, const float *x, float eps, float stats[2]);
    /* dx += rstd (dy - mean(dy) - h mean(dy h)), h = (x - mean) rstd. */
    void (*normalise_back)(size_t n, float *dx, const float *x, const float *dy,
                           const float stats[2]);
};

/* The chosen kernels; set once, before any thread uses them. Starts as the best build that the
 * machine can run... */
extern const struct tf_kernels *tf_kernel;
/* ...and this chooses by name ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64", "portable"); NULL or
 * "": the best. TF_USAGE for a name that is unknown or that this machine cannot run, listing those
 * that it can. */
TF_MUST_USE enum tf_code tf_kernel_select(const char *name, struct tf_err *err);
/* The builds that this machine can run, worst first; count of them. */
size_t tf_kernel_list(const struct tf_kernels *list[], size_t room);

#endif
