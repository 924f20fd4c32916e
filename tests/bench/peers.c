#include "peers.h"

#include <dlfcn.h>
#include <stdio.h>

int peers_find(struct peer found[2])
{
    static const struct {
        const char *name, *file, *threads;
    } known[] = {{"OpenBLAS", "libopenblas.so.0", "openblas_set_num_threads"},
                 {"BLIS", "libblis.so.4", "bli_thread_set_num_threads"}};
    int count = 0;
    for (int i = 0; i < 2; i++) {
        void *library = dlopen(known[i].file, RTLD_NOW | RTLD_LOCAL);
        struct peer peer = {.name = known[i].name};
        if (library) {
            *(void **)&peer.sgemm = dlsym(library, "cblas_sgemm");
            *(void **)&peer.set_threads = dlsym(library, known[i].threads);
        }
        if (peer.sgemm && peer.set_threads)
            found[count++] = peer;
        else
            fprintf(stderr, "bench: without %s (%s is not here)\n", known[i].name, known[i].file);
    }
    return count;
}
