#include "nn/run.h"

#include "kernel/narrow.h"

#include <omp.h>
#include <string.h>

/* Logits of a chunk of rows: 64 MiB of them, so that the head's table is not read too often. */
#define LOGITS ((size_t)16 << 20)

static struct tf_matrix take_rows(struct tf_arena *memory, size_t rows, size_t cols)
{
    struct tf_matrix m = {.stride = tf_table_stride(cols)};
    m.at = tf_arena_take(memory, rows, m.stride * sizeof(float));
    return m;
}

static float *take_floats(struct tf_arena *memory, size_t a, size_t b)
{
    size_t count;
    if (!tf_mul(&count, a, b))
        memory->overflow = true;
    return memory->overflow ? NULL : tf_arena_take(memory, count, sizeof(float));
}

/* The largest token count of projection p of any layer. */
static size_t most_tokens(const struct tf_shape *shape, int p)
{
    size_t most = 0;
    for (uint64_t l = 0; l < shape->layers; l++)
        most = shape->layer[l].tokens[p] > most ? shape->layer[l].tokens[p] : most;
    return most;
}

static void take_kept(struct tf_run *run, size_t rows)
{
    const struct tf_shape *s = &run->model->shape;
    for (uint64_t l = 0; l < s->layers; l++) {
        struct tf_kept *kept = &run->kept[l];
        if (l && run->mode != TF_RUN_TRAIN) {
            *kept = run->kept[0];
            continue;
        }
        struct tf_matrix *const all[] = {&kept->in, &kept->middle, &kept->q,
                                         &kept->k,  &kept->v,      &kept->mixed};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            *all[i] = take_rows(&run->memory, rows, s->width);
        kept->stats_in = take_floats(&run->memory, rows, 2);
        kept->stats_middle = take_floats(&run->memory, rows, 2);
        if (run->mode != TF_RUN_TRAIN)
            continue;
        kept->attention = take_floats(&run->memory, rows, 2 * s->heads);
        for (int p = 0; p < TF_PROJECTIONS; p++) {
            if (tf_is_matrix(s, p))
                continue;
            kept->scores[p].a = take_rows(&run->memory, rows, s->layer[l].tokens[p]);
            kept->scores[p].stats = take_floats(&run->memory, rows, 2);
        }
    }
}

static void take_kv(struct tf_run *run)
{
    const size_t heads = run->max_streams * run->heads.H;
    for (uint64_t l = 0; l < run->model->shape.layers; l++)
        if (l && run->mode != TF_RUN_CACHE) {
            run->kv[l] = run->kv[0];
        } else {
            run->kv[l].keys = take_floats(&run->memory, heads, tf_kv_keys_size(&run->heads));
            run->kv[l].values = take_floats(&run->memory, heads, tf_kv_values_size(&run->heads));
        }
}

static void *take_packed(struct tf_run *run, enum tf_precision precision, size_t numbers)
{
    return tf_arena_take(&run->memory, numbers, tf_precision_size(precision));
}

static void take_packs(struct tf_run *run)
{
    const struct tf_shape *s = &run->model->shape;
    const bool keep = run->mode == TF_RUN_CACHE;
    for (size_t i = 0; i < (keep ? s->layers : 1) * TF_PROJECTIONS; i++) {
        const int p = (int)(i % TF_PROJECTIONS);
        const size_t N = keep ? s->layer[i / TF_PROJECTIONS].tokens[p] : most_tokens(s, p);
        struct tf_projection_pack *pack = &run->packs[i];
        pack->precision = keep ? run->model->precision : TF_PRECISION_F32;
        const bool scaled = pack->precision == TF_PRECISION_INT8;
        pack->keys = take_packed(run, pack->precision, tf_projection_pack_size(N, s->width));
        pack->key_scales = scaled ? take_floats(&run->memory, 1, N) : NULL;
        if (tf_is_matrix(s, p))
            continue;
        pack->values = take_packed(run, pack->precision, tf_projection_pack_size(N, s->width));
        pack->value_scales = scaled ? take_floats(&run->memory, 1, N) : NULL;
    }
    for (int p = 0; keep && p < TF_PROJECTIONS; p++)
        if (!tf_is_matrix(s, p))
            run->few[p] = take_rows(&run->memory, TF_FEW_ROWS, most_tokens(s, p));
}

static void take_head(struct tf_run *run, size_t rows)
{
    const struct tf_shape *s = &run->model->shape;
    const size_t piece = s->vocab < TF_HEAD_PIECE ? s->vocab : TF_HEAD_PIECE;
    run->chunk = rows < LOGITS / s->vocab ? rows : LOGITS / s->vocab;
    run->logits = take_rows(&run->memory, run->chunk, s->vocab);
    if (run->mode == TF_RUN_CACHE) {
        run->head = take_packed(run, run->model->precision, tf_packed_size(s->width, s->vocab));
        if (run->model->precision == TF_PRECISION_INT8)
            run->head_scales = take_floats(&run->memory, 1, s->vocab);
    } else {
        run->head = take_floats(&run->memory, 1, tf_projection_pack_size(piece, s->width));
    }
    if (run->mode == TF_RUN_TRAIN)
        run->head_hidden = take_floats(&run->memory, 1, tf_packed_size(run->chunk, s->width));
}

static void take_backward(struct tf_run *run, size_t rows)
{
    const struct tf_shape *s = &run->model->shape;
    const size_t C = s->width, packed = tf_packed_size(rows, C);
    struct tf_back *back = &run->back;
    struct tf_matrix *const all[] = {&run->dx, &run->dq, &run->dk, &run->dv, &run->dmixed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        *all[i] = take_rows(&run->memory, rows, C);
    for (int p = 0; p < TF_PROJECTIONS; p++) {
        const size_t left = tf_left_size(rows, most_tokens(s, p));
        back->at[p].da = take_floats(&run->memory, 1, left);
        if (tf_is_matrix(s, p))
            continue;
        back->at[p].s = take_floats(&run->memory, 1, left);
        back->g[p] = take_floats(&run->memory, 1, packed);
    }
    back->in = take_floats(&run->memory, 1, packed);
    back->mixed = take_floats(&run->memory, 1, packed);
    back->middle = take_floats(&run->memory, 1, packed);
    run->into = tf_arena_take(&run->memory, rows, sizeof *run->into);
    if (!s->tied)
        return;
    run->input.rows = take_rows(&run->memory, s->vocab, C);
    run->input.row = tf_arena_take(&run->memory, s->vocab, sizeof *run->input.row);
    run->input.ids = tf_arena_take(&run->memory, s->vocab, sizeof *run->input.ids);
}

/* Of each thread: for a block of rows, or of attention. */
static void take_scratch(struct tf_run *run)
{
    const struct tf_shape *s = &run->model->shape;
    const size_t attention = tf_attention_scratch(&run->heads, run->mode == TF_RUN_TRAIN);
    size_t scores = 0;
    for (int p = 0; p < TF_PROJECTIONS; p++)
        if (!tf_is_matrix(s, p) && most_tokens(s, p) > scores)
            scores = most_tokens(s, p);
    const size_t rows = 2 * TF_BLOCK_ROWS * tf_table_stride(s->width) +
                        (TF_BLOCK_ROWS + 1) * tf_table_stride(scores);
    run->scratch.piece = tf_table_stride(attention > rows ? attention : rows);
    run->scratch.all = take_floats(&run->memory, (size_t)omp_get_max_threads(), run->scratch.piece);
}

/* One walk of the plan. */
static void take_all(struct tf_run *run)
{
    const struct tf_shape *s = &run->model->shape;
    const size_t rows = run->max_streams * run->max_length, half = run->rope.rotated / 2;
    run->rope.cosine =
        take_floats(&run->memory, s->seq > run->max_length ? s->seq : run->max_length, half);
    run->rope.sine =
        take_floats(&run->memory, s->seq > run->max_length ? s->seq : run->max_length, half);
    take_kept(run, rows);
    take_kv(run);
    take_packs(run);
    run->last = take_rows(&run->memory, rows, s->width);
    run->hidden = take_rows(&run->memory, rows, s->width);
    run->stats_last = take_floats(&run->memory, rows, 2);
    take_head(run, rows);
    if (run->mode == TF_RUN_TRAIN)
        take_backward(run, rows);
    take_scratch(run);
}

/* A run whose memory is counted and not yet taken. */
static enum tf_code run_new(struct tf_run **out, const struct tf_model *model,
                            enum tf_run_mode mode, size_t streams, size_t length,
                            struct tf_err *err)
{
    const struct tf_shape *s = &model->shape;
    size_t rows;
    *out = NULL;
    if (!tf_mul(&rows, streams, length) || rows > (size_t)1 << 31)
        return tf_fail(err, TF_MEMORY, "a pass over %zu sequences of %zu tokens is too large",
                       streams, length);
    struct tf_run *run = *out = tf_new(1, sizeof *run, "run", err);
    if (!run)
        return TF_MEMORY;
    run->model = model;
    run->mode = mode;
    run->max_streams = streams;
    run->max_length = length;
    run->heads =
        (struct tf_heads){s->heads, s->width / s->heads, mode == TF_RUN_CACHE ? s->seq : length};
    run->rope.rotated = tf_rotated(s);
    run->kept = tf_new(s->layers, sizeof *run->kept, "layer buffers", err);
    run->kv = tf_new(s->layers, sizeof *run->kv, "layer caches", err);
    run->packs = tf_new(s->layers * TF_PROJECTIONS, sizeof *run->packs, "packed tables", err);
    if (!run->kept || !run->kv || !run->packs)
        return TF_MEMORY;
    take_all(run);
    return run->memory.overflow
               ? tf_fail(err, TF_MEMORY,
                         "a pass over %zu x %zu tokens needs more than memory can be", streams,
                         length)
               : TF_OK;
}

enum tf_code tf_run_plan(uint64_t *bytes, const struct tf_model *model, enum tf_run_mode mode,
                         size_t streams, size_t length, struct tf_err *err)
{
    struct tf_run *run = NULL;
    enum tf_code code = run_new(&run, model, mode, streams, length, err);
    *bytes = run ? run->memory.used : 0;
    tf_run_free(run);
    return code;
}

enum tf_code tf_run_new(struct tf_run **out, const struct tf_model *model, enum tf_run_mode mode,
                        size_t streams, size_t length, struct tf_err *err)
{
    enum tf_code code = run_new(out, model, mode, streams, length, err);
    if (!code)
        code = tf_arena_alloc(&(*out)->memory, "activations", err);
    if (code) {
        tf_run_free(*out);
        *out = NULL;
        return code;
    }
    struct tf_run *run = *out;
    take_all(run);
    tf_rope_fill(&run->rope, model->shape.seq > length ? model->shape.seq : length,
                 model->shape.rotary_base);
    tf_run_refresh(run);
    return TF_OK;
}

void tf_run_free(struct tf_run *run)
{
    if (!run)
        return;
    tf_arena_fini(&run->memory);
    tf_free(run->kept);
    tf_free(run->kv);
    tf_free(run->packs);
    tf_free(run);
}

void tf_run_refresh(struct tf_run *run)
{
    const struct tf_model *model = run->model;
    if (run->mode != TF_RUN_CACHE)
        return; /* packed at each use */
    const struct tf_table *head = model->head;
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model)))
    {
        if (run->head_scales)
            tf_int8_scales(run->head_scales, head->value, head->stride, head->rows, head->cols);
        for (uint64_t l = 0; l < model->shape.layers; l++)
            for (int p = 0; p < TF_PROJECTIONS; p++)
                tf_projection_pack(&run->packs[l * TF_PROJECTIONS + (size_t)p],
                                   &model->layers[l].at[p]);
#pragma omp barrier
        tf_pack_narrow(run->head, model->precision, tf_view_transposed(head->value, head->stride),
                       tf_view(run->head_scales, 0), head->cols, head->rows);
    }
}

void tf_cache_copy(struct tf_run *run, size_t from, size_t to, size_t length)
{
    const size_t keys = run->heads.H * tf_kv_keys_size(&run->heads),
                 values = run->heads.H * tf_kv_values_size(&run->heads);
    if (from == to || !length)
        return;
    for (uint64_t l = 0; l < run->model->shape.layers; l++) {
        memcpy(run->kv[l].keys + to * keys, run->kv[l].keys + from * keys, keys * sizeof(float));
        memcpy(run->kv[l].values + to * values, run->kv[l].values + from * values,
               values * sizeof(float));
    }
}
