/* The forward pass. One team of threads goes through all of it; within a layer its work is of two
 * kinds, with a barrier between them: what each block of rows does on its own (norms, projections,
 * residuals), and what takes all rows (attention). */
#include "nn/run.h"

#include <omp.h>

static const struct tf_matrix none = {NULL, 0};

/* Team: packs projections first..last of a layer for the forward pass; kept packs stay. */
static void pack_layer(struct tf_run *run, size_t layer, int first, int last)
{
    for (int p = first; p <= last && run->mode != TF_RUN_CACHE; p++)
        tf_projection_pack(tf_run_pack(run, layer, p), &run->model->layers[layer].at[p]);
}

/* The residual stream after a layer. */
static struct tf_matrix layer_out(const struct tf_run *run, size_t layer)
{
    return layer + 1 < run->model->shape.layers ? run->kept[layer + 1].in : run->last;
}

/* ---- forward, by blocks of rows ---- */

/* y = projection(x) [+ residual] for `count` rows from row `first` on; x, y and residual begin
 * there. */
static void project(const struct tf_run *run, size_t layer, int p, size_t first, size_t count,
                    struct tf_matrix x, struct tf_matrix y, struct tf_matrix residual, float *s)
{
    tf_projection_forward(&run->model->layers[layer].at[p], run->model->shape.norm,
                          tf_run_pack(run, layer, p), count, x, y, residual,
                          tf_scores_from(run->kept[layer].scores[p], first), s);
}

/* Turns q and k of some rows, and puts k and v into the cache. */
static void place_rows(const struct tf_run *run, size_t layer, size_t first, size_t count)
{
    const struct tf_kept *kept = &run->kept[layer];
    const size_t end = first + count;
    size_t length;
    for (size_t row = first; row < end; row += length) {
        const size_t stream = row / run->length, at = row % run->length;
        length = end - row < run->length - at ? end - row : run->length - at;
        const struct tf_matrix q = tf_rows_from(kept->q, row), k = tf_rows_from(kept->k, row);
        tf_rope_apply(&run->rope, &run->heads, run->start + at, length, q, 1);
        tf_rope_apply(&run->rope, &run->heads, run->start + at, length, k, 1);
        tf_kv_append(&run->heads, &run->kv[layer], stream, run->start + at, length, k,
                     tf_rows_from(kept->v, row));
    }
}

static void before_attention(const struct tf_run *run, size_t layer, size_t first, size_t count)
{
    const struct tf_kept *kept = &run->kept[layer];
    const struct tf_piece piece = tf_run_piece(run);
    const struct tf_matrix out[] = {kept->q, kept->k, kept->v};
    tf_norm_forward(count, run->model->shape.width, tf_rows_from(kept->in, first), piece.normed,
                    kept->stats_in + 2 * first);
    for (int p = TF_Q; p <= TF_V; p++)
        project(run, layer, p, first, count, piece.normed, tf_rows_from(out[p], first), none,
                piece.scores);
    place_rows(run, layer, first, count);
}

static void after_attention(const struct tf_run *run, size_t layer, size_t first, size_t count)
{
    const struct tf_kept *kept = &run->kept[layer];
    const struct tf_piece piece = tf_run_piece(run);
    const struct tf_matrix middle = tf_rows_from(kept->middle, first);
    project(run, layer, TF_O, first, count, tf_rows_from(kept->mixed, first), middle,
            tf_rows_from(kept->in, first), piece.scores);
    tf_norm_forward(count, run->model->shape.width, middle, piece.normed,
                    kept->stats_middle + 2 * first);
    project(run, layer, TF_FFN, first, count, piece.normed,
            tf_rows_from(layer_out(run, layer), first), middle, piece.scores);
}

static void final_norm(const struct tf_run *run, size_t first, size_t count)
{
    const struct tf_model *model = run->model;
    const struct tf_matrix hidden = tf_rows_from(run->hidden, first);
    tf_norm_forward(count, model->shape.width, tf_rows_from(run->last, first), hidden,
                    run->stats_last + 2 * first);
    tf_affine_forward(count, hidden, model->norm_weight, model->norm_bias);
}

/* Team: all rows from the attention of layer l-1 to that of layer l (from the embedding for l = 0;
 * to the head's input for l = layers). */
static void forward_rows(const struct tf_run *run, size_t l)
{
    const struct tf_blocks blocks = tf_row_blocks(run->streams * run->length);
#pragma omp for schedule(dynamic)
    for (size_t i = 0; i < blocks.count; i++) {
        const size_t first = tf_block_start(&blocks, i);
        const size_t count = tf_block_start(&blocks, i + 1) - first;
        if (l > 0)
            after_attention(run, l - 1, first, count);
        if (l < run->model->shape.layers)
            before_attention(run, l, first, count);
        else
            final_norm(run, first, count);
    }
}

/* ---- forward, a few rows ---- */

/* S of a few rows from the scores in run->few: with `own`, this thread's alone, in there; without,
 * a team's, in place, complete after a barrier. */
static struct tf_matrix activate_few(const struct tf_run *run, size_t layer, int p, float *own)
{
    const struct tf_projection *at = &run->model->layers[layer].at[p];
    const struct tf_projection_pack *pack = tf_run_pack(run, layer, p);
    const enum tf_norm norm = run->model->shape.norm;
    const struct tf_matrix a = run->few[p], s = {own, a.stride};
    const size_t rows = run->streams * run->length;
    if (own) {
        tf_projection_activate(at, norm, pack, rows, a, s);
        return s;
    }
#pragma omp for schedule(static) nowait
    for (size_t r = 0; r < rows; r++)
        tf_projection_activate(at, norm, pack, 1, tf_rows_from(a, r), tf_rows_from(a, r));
    return a;
}

/* Team: projections p0..p1 of a layer, matrices or not, on the same few rows of x, which may be
 * each thread's own copy, as memory is. Fewer rows than threads are activated by each thread for
 * itself: that takes no longer, and spares a barrier. */
static void project_few(const struct tf_run *run, size_t layer, int p0, int p1, struct tf_matrix x,
                        const struct tf_matrix *y, struct tf_matrix residual, float *memory)
{
    const struct tf_projection *at = run->model->layers[layer].at;
    const size_t rows = run->streams * run->length;
    const bool apart = rows < (size_t)omp_get_num_threads();
    struct tf_matrix s[TF_PROJECTIONS];
    for (int p = p0; p <= p1; p++)
        s[p] = x;
    if (at[p0].values) {
        for (int p = p0; p <= p1; p++)
            tf_projection_ask(&at[p], tf_run_pack(run, layer, p), rows, x, run->few[p]);
#pragma omp barrier
        for (int p = p0; p <= p1; p++, memory += rows * s[p - 1].stride)
            s[p] = activate_few(run, layer, p, apart ? memory : NULL);
        if (!apart) {
#pragma omp barrier
        }
    }
    for (int p = p0; p <= p1; p++)
        tf_projection_answer(&at[p], tf_run_pack(run, layer, p), rows, s[p], y[p - p0], residual);
#pragma omp barrier
}

/* Team: as forward_rows, up to attention. Each thread norms all rows for itself. */
static void forward_few(const struct tf_run *run, size_t l)
{
    const size_t rows = run->streams * run->length, C = run->model->shape.width;
    const struct tf_piece piece = tf_run_piece(run);
    float stats[2 * TF_FEW_ROWS];
    if (l > 0) {
        const struct tf_kept *kept = &run->kept[l - 1];
        const struct tf_matrix out = layer_out(run, l - 1);
        project_few(run, l - 1, TF_O, TF_O, kept->mixed, &kept->middle, kept->in, piece.scores);
        tf_norm_forward(rows, C, kept->middle, piece.normed, stats);
        project_few(run, l - 1, TF_FFN, TF_FFN, piece.normed, &out, kept->middle, piece.scores);
    }
    if (l < run->model->shape.layers) {
        const struct tf_kept *kept = &run->kept[l];
        const struct tf_matrix out[] = {kept->q, kept->k, kept->v};
        tf_norm_forward(rows, C, kept->in, piece.normed, stats);
        project_few(run, l, TF_Q, TF_V, piece.normed, out, none, piece.scores);
        return;
    }
#pragma omp for schedule(static)
    for (size_t r = 0; r < rows; r++)
        final_norm(run, r, 1);
}

void tf_forward(struct tf_run *run, const uint16_t *ids, size_t streams, size_t length,
                size_t start)
{
    const struct tf_model *model = run->model;
    const size_t rows = streams * length, L = model->shape.layers;
    const bool few = run->mode == TF_RUN_CACHE && rows <= TF_FEW_ROWS;
    run->streams = streams;
    run->length = length;
    run->start = start;
#pragma omp parallel if (tf_worth_threads(tf_model_parameters(model) * rows))
    {
        tf_embed_forward(model->embed, rows, ids, run->kept[0].in);
        pack_layer(run, 0, TF_Q, TF_V);
#pragma omp barrier
        for (size_t l = 0; l <= L; l++) {
            const struct tf_kept *kept = &run->kept[l < L ? l : 0];
            if (few)
                forward_few(run, l);
            else
                forward_rows(run, l);
            if (l == L)
                break;
            if (few)
                tf_attention_few(&run->heads, &run->rope, &run->kv[l], streams, length, start,
                                 kept->q, kept->k, kept->v, kept->mixed, &run->scratch);
            else
                tf_attention_forward(&run->heads, &run->kv[l], streams, length, start, kept->q,
                                     kept->mixed, kept->attention, &run->scratch);
            pack_layer(run, l, TF_O, TF_FFN);
            if (l + 1 < L)
                pack_layer(run, l + 1, TF_Q, TF_V);
#pragma omp barrier
        }
    }
}

void tf_run_scores(const struct tf_run *run, size_t layer, int p, size_t row, float *out)
{
    tf_projection_scores(&run->model->layers[layer].at[p], run->model->shape.norm,
                         run->kept[layer].scores[p], row, out);
}
