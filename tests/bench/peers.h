/* Other people's matrix products, found at run time: a benchmark's option, no one's dependency. */
#ifndef TF_BENCH_PEERS_H
#define TF_BENCH_PEERS_H

enum { PEER_ROW_MAJOR = 101, PEER_PLAIN = 111, PEER_TRANSPOSED = 112 };

struct peer {
    const char *name;
    void (*sgemm)(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void (*set_threads)(int threads);
};

/* OpenBLAS and BLIS, those that this machine has, with kernels for the instructions that tf_kernel
 * was built for; returns how many, and prints which. */
int peers_find(struct peer found[2]);

#endif
