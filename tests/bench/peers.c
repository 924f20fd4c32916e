#include "peers.h"

#include "kernel/dispatch.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where Debian keeps the build of OpenBLAS that uses OpenMP: threads of its own, as its usual build
 * has them, would be looking out for work while ours are measured. */
#if defined(__x86_64__)
#define OPENMP_BUILD "/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0"
#elif defined(__aarch64__)
#define OPENMP_BUILD "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0"
#else
#define OPENMP_BUILD NULL
#endif

/* Both choose their kernels by the processor's model, which a virtual machine may hide or they may
 * not know yet: OpenBLAS then takes those for SSE3, BLIS those for AVX2. So they are told, unless
 * the caller has told them. BLIS 0.9 wants a number: 0 is skx, 3 haswell. */
static void choose_kernels(void)
{
    static const struct {
        const char *ours, *openblas, *blis;
    } known[] = {{"x86-64-v4", "SkylakeX", "0"}, {"x86-64-v3", "Haswell", "3"}};

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(tf_kernel->name, known[i].ours)) {
            setenv("OPENBLAS_CORETYPE", known[i].openblas, 0);
            setenv("BLIS_ARCH_TYPE", known[i].blis, 0);
        }
}

static void *open_first(const char *const files[2])
{
    void *library = NULL;
    for (int i = 0; i < 2 && !library; i++)
        if (files[i])
            library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}

int peers_find(struct peer found[2])
{
    static const struct {
        const char *name, *files[2], *threads, *about;
    } known[] = {
        {"OpenBLAS",
         {OPENMP_BUILD, "libopenblas.so.0"},
         "openblas_set_num_threads",
         "openblas_get_config"},
        {"BLIS", {"libblis.so.4", NULL}, "bli_thread_set_num_threads", "bli_info_get_version_str"}};
    int count = 0;
    choose_kernels();
    for (int i = 0; i < 2; i++) {
        void *library = open_first(known[i].files);
        struct peer peer = {.name = known[i].name};
        const char *(*about)(void) = NULL;
        if (library) {
            *(void **)&peer.sgemm = dlsym(library, "cblas_sgemm");
            *(void **)&peer.set_threads = dlsym(library, known[i].threads);
            *(void **)&about = dlsym(library, known[i].about);
        }
        if (peer.sgemm && peer.set_threads && about) {
            printf("peer: %s: %s\n", peer.name, about());
            found[count++] = peer;
        } else {
            fprintf(stderr, "bench: without %s\n", peer.name);
        }
    }
    return count;
}
