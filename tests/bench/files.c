/* Saving, loading and growing a checkpoint, beside zstd on the same bytes and cp of the file.
 *
 * usage: bench-files MODEL.tfck FOLDER [ROUNDS]; files.sh makes such a model. What is written goes
 * into the folder, and is forced to the disk whoever writes it. */
#include "bench.h"

#include "base/io.h"
#include "base/mem.h"
#include "train/grow.h"

#include <fcntl.h>
#include <omp.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOAD, UNZSTD, SAVE, ZSTD, GROW, COPY, CONTENDERS };

extern char **environ;

/* What all contenders work on. */
struct files {
    struct tf_checkpoint from;
    struct tf_model *model;
    char *output, *raw, *packed, *copy; /* paths: our checkpoints, all tables' rows, what zstd makes
                                           of those, what cp makes of the checkpoint */
    char threads[16];                   /* zstd's option */
};

static void need(enum tf_code code, const struct tf_err *err)
{
    if (code == TF_OK)
        return;
    fprintf(stderr, "bench: %s\n", err->text);
    exit(1);
}

static void run_load(void *arg)
{
    const struct files *files = arg;
    struct tf_model *model;
    struct tf_err err = {0};

    need(tf_model_load(&model, &files->from, true, &err), &err);
    tf_model_free(model);
}

static void run_save(void *arg)
{
    const struct files *files = arg;
    const struct tf_checkpoint *from = &files->from;
    struct tf_err err = {0};

    need(tf_checkpoint_save(files->output, files->model, &from->config, &from->tokenizer,
                            &from->state, &from->lineage, &err),
         &err);
}

/* By a twelfth of the FFN's tokens, in every layer. */
static void run_grow(void *arg)
{
    const struct files *files = arg;
    const struct tf_grow_options options = {
        .ffn = {TF_TARGET_PLUS, 256}, .keys = TF_INIT_ZERO, .values = TF_INIT_RANDOM};
    struct tf_growth growth;
    struct tf_writer *writer;
    struct tf_err err = {0};

    need(tf_grow_plan(&growth, &files->from.shape, &options, &err), &err);
    need(tf_writer_open(&writer, files->output, true, 0, &err), &err);
    need(tf_grow_write(writer, &files->from, &growth, &options, &err), &err);
    need(tf_checkpoint_commit(writer, &err), &err);
    tf_writer_close(writer);
    tf_growth_fini(&growth);
}

/* Runs a program; its output file, when there is one, is forced to the disk as ours is. */
static void run_program(const char *const argv[], const char *output)
{
    pid_t child;
    int status, fd;

    if (posix_spawnp(&child, argv[0], NULL, NULL, (char *const *)argv, environ) != 0 ||
        waitpid(child, &status, 0) != child || status != 0) {
        fprintf(stderr, "bench: %s failed\n", argv[0]);
        exit(1);
    }
    if (output == NULL)
        return;
    fd = open(output, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0 || close(fd) < 0) {
        perror(output);
        exit(1);
    }
}

static void run_zstd(void *arg)
{
    const struct files *files = arg;
    const char *const argv[] = {"zstd",     "-qf", "-1",          files->threads,
                                files->raw, "-o",  files->packed, NULL};

    run_program(argv, files->packed);
}

/* Decodes and checks, and throws the result away. */
static void run_unzstd(void *arg)
{
    const struct files *files = arg;
    const char *const argv[] = {"zstd", "-qt", files->threads, files->packed, NULL};

    run_program(argv, NULL);
}

static void run_copy(void *arg)
{
    const struct files *files = arg;
    const char *const argv[] = {"cp", tf_store_path(files->from.store), files->copy, NULL};

    run_program(argv, files->copy);
}

/* Writes every table's rows to a file, one after another; returns their bytes. */
static uint64_t write_raw(const struct files *files)
{
    const struct tf_store *store = files->from.store;
    struct tf_out out;
    struct tf_err err = {0};
    uint64_t bytes = 0;

    need(tf_out_open(&out, files->raw, true, &err), &err);
    for (size_t i = 0; i < tf_store_tables(store); i++) {
        const struct tf_table_info *table = tf_store_table(store, i);
        const size_t size = table->rows * table->cols * tf_dtype_width(table->dtype);
        uint8_t *rows = tf_new(size, 1, table->name, &err);

        need(rows ? TF_OK : TF_MEMORY, &err);
        need(tf_store_read_raw(store, i, 0, table->rows, rows, &err), &err);
        need(tf_out_write(&out, rows, size, &err), &err);
        tf_free(rows);
        bytes += size;
    }
    need(tf_out_commit(&out, &err), &err);
    tf_out_close(&out);
    return bytes;
}

static char *path_in(const char *folder, const char *name)
{
    char *path;

    if (asprintf(&path, "%s/%s", folder, name) < 0)
        need(TF_MEMORY, &(struct tf_err){.text = "out of memory"});
    return path;
}

static void print(const struct contender *all, size_t rounds)
{
    printf("%-14s %6s %11s %9s %11s\n", "", "MB/s", "spread", "of peer", "spread");
    for (int i = 0; i < CONTENDERS; i++) {
        const struct spread rate = bench_spread(all[i].rate, rounds);
        char spread[32];

        snprintf(spread, sizeof spread, "%.0f-%.0f", rate.least, rate.most);
        printf("%-14s %6.0f %11s", all[i].name, rate.median, spread);
        if (i % 2 == 0) {
            const struct spread ratio = bench_ratio(&all[i], &all[i + 1], rounds);
            snprintf(spread, sizeof spread, "%.2f-%.2f", ratio.least, ratio.most);
            printf(" %9.2f %11s", ratio.median, spread);
        }
        putchar('\n');
    }
}

static void race(struct files *files, size_t rounds)
{
    static struct contender all[CONTENDERS];
    const double work = 1e-6 * (double)write_raw(files);

    all[LOAD] = (struct contender){"load", run_load, files, work, 0, {0}};
    all[UNZSTD] = (struct contender){"zstd -t", run_unzstd, files, work, 0, {0}};
    all[SAVE] = (struct contender){"save", run_save, files, work, 0, {0}};
    all[ZSTD] = (struct contender){"zstd -1", run_zstd, files, work, 0, {0}};
    all[GROW] = (struct contender){"grow", run_grow, files, work, 0, {0}};
    all[COPY] = (struct contender){"cp MODEL.tfck", run_copy, files, work, 0, {0}};
    run_zstd(files);
    printf("%.0f MB of raw tables, %.0f MB in the file; %d threads; all figures are of raw bytes\n",
           work, 1e-6 * (double)tf_store_file_size(files->from.store), omp_get_max_threads());
    bench_race(all, CONTENDERS, rounds, 0);
    print(all, rounds);
}

int main(int argc, char **argv)
{
    const size_t rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 5;
    struct files files = {0};
    struct tf_err err = {0};

    if (argc < 3 || rounds < 1 || rounds > BENCH_ROUNDS) {
        fprintf(stderr, "usage: bench-files MODEL.tfck FOLDER [ROUNDS (1 to %d)]\n", BENCH_ROUNDS);
        return 64;
    }
    need(tf_checkpoint_open(&files.from, argv[1], 0, NULL, 0, &err), &err);
    need(tf_model_load(&files.model, &files.from, true, &err), &err);
    files.output = path_in(argv[2], "output.tfck");
    files.raw = path_in(argv[2], "raw");
    files.packed = path_in(argv[2], "raw.zst");
    files.copy = path_in(argv[2], "copy.tfck");
    snprintf(files.threads, sizeof files.threads, "-T%d", omp_get_max_threads());
    race(&files, rounds);

    char *const paths[] = {files.output, files.raw, files.packed, files.copy};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        unlink(paths[i]);
        free(paths[i]);
    }
    tf_model_free(files.model);
    tf_checkpoint_close(&files.from);
    return 0;
}
