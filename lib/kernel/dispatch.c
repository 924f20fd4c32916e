#include "kernel/dispatch.h"

#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
extern const struct tf_kernels tf_kernels_x86_64, tf_kernels_x86_64_v3, tf_kernels_x86_64_v4;
#elif defined(__aarch64__)
extern const struct tf_kernels tf_kernels_aarch64;
#else
extern const struct tf_kernels tf_kernels_portable;
#endif

const struct tf_kernels *tf_kernel;

size_t tf_kernel_list(const struct tf_kernels *list[], size_t room)
{
    size_t count = 0;
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (count < room)
        list[count++] = &tf_kernels_x86_64;
    if (count < room && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        list[count++] = &tf_kernels_x86_64_v3;
    if (count < room && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq"))
        list[count++] = &tf_kernels_x86_64_v4;
#elif defined(__aarch64__)
    if (count < room)
        list[count++] = &tf_kernels_aarch64;
#else
    if (count < room)
        list[count++] = &tf_kernels_portable;
#endif
    return count;
}

/* The best build, before main: tests and library users need no call. */
__attribute__((constructor)) static void choose(void)
{
    const struct tf_kernels *list[8];
    tf_kernel = list[tf_kernel_list(list, 8) - 1];
}

enum tf_code tf_kernel_select(const char *name, struct tf_err *err)
{
    const struct tf_kernels *list[8];
    size_t count = tf_kernel_list(list, 8), used = 0;
    char names[256] = "";
    for (size_t i = 0; i < count; i++) {
        if (!name || !*name || !strcmp(name, list[i]->name))
            tf_kernel = list[name && *name ? i : count - 1];
        if (name && !strcmp(name, list[i]->name))
            return TF_OK;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "",
                                 list[i]->name);
    }
    if (!name || !*name)
        return TF_OK;
    return tf_fail(err, TF_USAGE, "kernel build \"%s\" is unknown here; this machine runs %s", name,
                   names);
}
