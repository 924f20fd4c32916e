/* One build of the kernels: compiled once for each instruction set, named by TF_VARIANT and
 * TF_VARIANT_NAME (lib/meson.build). */
#include "kernel/product.h"
#include "kernel/reduce.h"
#include "kernel/vec.h"

#define TF_JOIN_(a, b) a##b
#define TF_JOIN(a, b) TF_JOIN_(a, b)

extern const struct tf_kernels TF_JOIN(tf_kernels_, TF_VARIANT);

const struct tf_kernels TF_JOIN(tf_kernels_, TF_VARIANT) = {
    .name = TF_VARIANT_NAME,
    .mr = TF_MR,
    .nr = TF_NR,
    .kc = TF_KC,
    .gemm = kernel_gemm,
    .gemm_narrow = kernel_gemm_narrow,
    .exp = kernel_exp,
    .gelu = kernel_gelu,
    .scale = kernel_scale,
    .add = kernel_add,
    .multiply_add = kernel_multiply_add,
    .blend = kernel_blend,
    .softmax_back = kernel_softmax_back,
    .affine = kernel_affine,
    .rotate = kernel_rotate,
    .adamw = kernel_adamw,
    .sum = kernel_sum,
    .dot = kernel_dot,
    .max = kernel_max,
    .exp_sum = kernel_exp_sum,
    .gelu_back = kernel_gelu_back,
    .normalise = kernel_normalise,
    .normalise_back = kernel_normalise_back,
};
