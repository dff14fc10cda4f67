/* SPDX-License-Identifier: MIT
 * Masks that remove the weights of lowest score, without changing the kept weights. wanda ranks the weights |w|
 * act_norm of each row, and a pattern those of each group; both masks need only one row. magnitude without a pattern
 * ranks |w| over the whole matrix: it removes the weights below an edge, and as many of those equal to the edge as are
 * then still to be removed. Radix selection (score_edge.h) finds the edge in passes over all bands. */
#include "orchestrator/surgery/prune/prune_matrix_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/prune/score_edge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ROWS_PER_BATCH ((size_t)16) /* rows of the work of one task of organ_share_work */

typedef struct ranking {
    const organ_matrix_job *job;
    size_t rows;        /* rows of the loaded band */
    float *row_scratch; /* per worker: cols values, for a row widened to FP32 or its scores */
    /* Only for magnitude without a pattern: */
    organ_score_edge edge; /* magnitude of the largest removed weight; its digits are found one by one */
    unsigned digit;        /* number of the digit of the edge that the current pass counts; 0: the highest */
    uint64_t count;        /* number of weights to remove from the matrix */
    uint64_t equals_left;  /* number of weights equal to the edge that are still to be removed, in the order of rows */
    uint64_t *counts;      /* per worker: how many weights have each of the ORGAN_EDGE_DIGIT values of the digit */
    uint64_t *equals;      /* per row of the band: number of weights equal to the edge; later, how many to remove */
} ranking;

/* Every row must reach the sparsity with Wanda and patterns, else the matrix as a whole must. */
static bool by_row(const organ_matrix_job *job)
{
    return job->options->method == ORGAN_PRUNE_WANDA || job->options->pattern.of;
}

static float *ranked_masks_room_of(const ranking *r, size_t worker)
{
    return r->row_scratch + worker * r->job->bands->cols;
}

/* `row` counts from the band's first row; `weights` are FP32, in the band or in the worker's buffer. */
static void each_row(const ranking *r, size_t index, size_t worker,
                     void (*act)(const ranking *r, size_t row, const float *weights, size_t worker))
{
    const size_t cols = r->job->bands->cols;
    for (size_t row = index * ROWS_PER_BATCH; row < organ_min((index + 1) * ROWS_PER_BATCH, r->rows); row++)
        act(r, row,
            organ_matrix_band_values(r->job->engine, r->job->bands, row * cols, cols, ranked_masks_room_of(r, worker)),
            worker);
}

/* Only magnitudes that equal the edge in all higher digits count. */
static void count_row(const ranking *r, size_t row, const float *weights, size_t worker)
{
    (void)row;
    organ_edge_count(&r->edge, r->digit, weights, r->job->bands->cols, r->counts + worker * ORGAN_EDGE_DIGIT);
}

/* A score is |w|, or with wanda |w| act_norm. `weights` may be the worker's buffer, which the scores overwrite. */
static void cut_row(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const organ_prune_matrix_options *const options = r->job->options;
    const size_t cols = r->job->bands->cols;
    float *const scores = ranked_masks_room_of(r, worker);
    uint8_t *const keep = r->job->keep + row * cols;
    for (size_t j = 0; j < cols; j++)
        scores[j] = fabsf(weights[j]) * (options->method == ORGAN_PRUNE_WANDA ? r->job->moments->act_norm[j] : 1.0f);
    if (!options->pattern.of) {
        organ_mask_lowest(scores, cols, (size_t)llround(options->sparsity / 100 * (double)cols), keep);
        return;
    }
    memset(keep, 1, cols);
    for (size_t j = 0; j < cols; j += options->pattern.of)
        organ_pattern_group(&options->pattern, scores + j, keep + j);
}

static void count_equals(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const size_t cols = r->job->bands->cols;
    (void)worker;
    r->equals[row] = organ_edge_cut(&r->edge, weights, cols, 0, r->job->keep + row * cols);
}

static void cut_equals(const ranking *r, size_t row, const float *weights, size_t worker)
{
    const size_t cols = r->job->bands->cols;
    (void)worker;
    if (r->equals[row])
        organ_edge_cut(&r->edge, weights, cols, r->equals[row], r->job->keep + row * cols);
}

static void count_rows_task(void *context, size_t index, size_t worker) { each_row(context, index, worker, count_row); }
static void cut_rows_task(void *context, size_t index, size_t worker) { each_row(context, index, worker, cut_row); }
static void count_equals_task(void *context, size_t index, size_t worker)
{
    each_row(context, index, worker, count_equals);
}
static void cut_equals_task(void *context, size_t index, size_t worker)
{
    each_row(context, index, worker, cut_equals);
}

static void ranked_masks_share_rows(ranking *r, void (*task)(void *context, size_t index, size_t worker))
{
    const double work = ORGAN_SHARE_HARD * (double)r->rows * (double)r->job->bands->cols;
    organ_share_work(r->job->engine, NULL, organ_pieces_of(r->rows, ROWS_PER_BATCH), work, task, r);
}

/* The edge has rank r->count - 1 among the magnitudes in ascending order. */
static organ_status find_digit(ranking *r, organ_error *error)
{
    organ_matrix_bands *const bands = r->job->bands;
    const size_t workers = organ_workers_count(r->job->engine->workers);
    memset(r->counts, 0, workers * ORGAN_EDGE_DIGIT * sizeof *r->counts);
    for (size_t first = 0; first < bands->rows; first += bands->band_rows) {
        if (organ_matrix_band(r->job->engine, bands, first, error) != ORGAN_OK)
            return error->status;
        r->rows = organ_matrix_band_rows(bands, first);
        ranked_masks_share_rows(r, count_rows_task);
    }
    for (size_t w = 1; w < workers; w++)
        for (size_t k = 0; k < ORGAN_EDGE_DIGIT; k++)
            r->counts[k] += r->counts[w * ORGAN_EDGE_DIGIT + k];
    organ_edge_select_digit(&r->edge, r->digit, r->counts, r->count - 1);
    return ORGAN_OK;
}

/* Values of 16 bits, widened to FP32, have only zeros in the last digit, so that digit needs no pass. With a count
 * of 0 the edge stays 0 and nothing is removed. */
static organ_status find_edge(ranking *r, organ_error *error)
{
    const organ_matrix_bands *const bands = r->job->bands;
    const unsigned digits = bands->dtype == ORGAN_F32 ? ORGAN_EDGE_DIGITS : ORGAN_EDGE_DIGITS - 1;
    r->count = (uint64_t)llround(r->job->options->sparsity / 100 * ((double)bands->rows * (double)bands->cols));
    for (r->digit = 0; r->digit < digits && r->count > 0 && !error->status; r->digit++)
        find_digit(r, error);
    r->equals_left = r->count - r->edge.less;
    return error->status;
}

/* Bands must come in order, because r->equals_left weights equal to the edge are removed from the first rows that
 * have some. */
static void mask_band(ranking *r, size_t first)
{
    r->rows = organ_matrix_band_rows(r->job->bands, first);
    if (by_row(r->job)) {
        ranked_masks_share_rows(r, cut_rows_task);
        return;
    }
    ranked_masks_share_rows(r, count_equals_task);
    for (size_t row = 0; row < r->rows; row++) {
        r->equals[row] = r->equals_left < r->equals[row] ? r->equals_left : r->equals[row];
        r->equals_left -= r->equals[row];
    }
    ranked_masks_share_rows(r, cut_equals_task);
}

uint64_t organ_rank_memory(const organ_matrix_bands *bands, size_t workers)
{
    return workers * (bands->cols * sizeof(float) + ORGAN_EDGE_DIGIT * sizeof(uint64_t)) +
           (uint64_t)bands->band_rows * sizeof(uint64_t);
}

/* Unless each row has its own ranking (by_row), find_edge first runs passes over all bands. */
organ_status organ_prune_by_rank(organ_matrix_job *job, organ_error *error)
{
    organ_matrix_bands *const bands = job->bands;
    const size_t workers = organ_workers_count(job->engine->workers);
    ranking r = {.job = job, .row_scratch = organ_floats(workers, bands->cols)};
    r.counts = calloc(workers, ORGAN_EDGE_DIGIT * sizeof *r.counts);
    r.equals = calloc(bands->band_rows, sizeof *r.equals);
    if (!r.row_scratch || !r.counts || !r.equals)
        organ_fail_memory(error, job->options->name);
    else if (by_row(job) || find_edge(&r, error) == ORGAN_OK)
        for (size_t first = 0; first < bands->rows && !error->status; first += bands->band_rows)
            if (organ_matrix_band(job->engine, bands, first, error) == ORGAN_OK) {
                mask_band(&r, first);
                job->take(job->context, first, error);
            }
    free(r.row_scratch);
    free(r.counts);
    free(r.equals);
    return error->status;
}

void organ_clear_dead_inputs(const organ_matrix_job *job)
{
    for (size_t j = 0; j < job->cols; j++)
        if (job->moments->act_norm[j] == 0)
            for (size_t i = 0; i < job->rows; i++)
                job->weights[i * job->cols + j] = 0;
}
