/* SPDX-License-Identifier: MIT
 * Runs GPTQ on a matrix: chooses the first scales, codes the rows of this rank, gathers those of all ranks.
 *
 * Ranks: they divide the rows of a matrix, not the matrices, because later layers need the quantised earlier ones. */
#include "orchestrator/surgery/gptq/gptq.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/correction.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The scales with which GPTQ codes the columns: those that nearest quantisation finds for the weights, with errors
 * weighted by the mean squares of the inputs where each row has its own scales. */

#define STRIP ORGAN_GPTQ_STRIP
#define TRIES 16 /* scales that a search compares */
/* Greatest number of bits of codes whose first scales are clipped: at 8 bits clipping raises the error by 5 %. */
#define CLIPPED_BITS 4u
/* Matrices up to this magnitude get the scale of try 0, as in organ_kernels.search_scales. */
#define SEARCHED 0x1p-100f

typedef struct fitting {
    organ_gptq_job *job;
    const float *weights; /* weight of each column in the sum of squared errors */
    float greatest;       /* for a scale of the whole matrix: its greatest magnitude */
} fitting;

/* The weight of a column is its diagonal entry of H (entry j x (width + 1) of a block) over the mean of the diagonal,
 * limited to ORGAN_MIN_WEIGHT .. ORGAN_MAX_WEIGHT. */
static void weigh_columns(const organ_gptq_inputs *in, float *weights)
{
    double sum = 0;
    for (size_t j = 0; j < in->features; j++) {
        const size_t start = j / in->block * in->block, width = organ_min(in->block, in->features - start);
        weights[j] = in->h[start * in->block + (j - start) * (width + 1)];
        sum += (double)weights[j];
    }
    for (size_t j = 0; j < in->features; j++) {
        double weight = (double)weights[j] / (sum / (double)in->features);
        weight = weight < ORGAN_MIN_WEIGHT ? ORGAN_MIN_WEIGHT : weight;
        weights[j] = (float)(weight > ORGAN_MAX_WEIGHT ? ORGAN_MAX_WEIGHT : weight);
    }
}

/* The scales are those that nearest quantisation finds for GGUF blocks of W; the codes of these blocks are not used. */
static void fit_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const organ_grid *const grid = &job->matrix->grid;
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    unsigned char *const blocks = job->scratch + worker * job->scratch_bytes;
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++) {
        job->inputs->engine->kernels->fit[kind->type](job->matrix->weights + i * job->cols, f->weights, job->cols,
                                                      blocks, job->cols / kind->elements);
        organ_grid_split(grid, blocks, job->cols, job->scales + i, job->padded);
    }
}

/* Codes of 2 to 4 bits get other tries than without a text: half of them map the greatest magnitude to the largest
 * code or clip it, the other half do the same with the least code, which is one step farther from 0, by negative
 * scales. Columns of small weight may be clipped more than nearest rounding would gain by. */
static organ_scale_search search_of(const organ_grid *grid)
{
    organ_scale_search search = *organ_grid_search(grid);
    const float top = organ_grid_max(grid);
    for (unsigned k = 0; k < TRIES / 2 && grid->bits && grid->bits <= CLIPPED_BITS; k++) {
        const float part = 1 - (float)k / TRIES;
        search.peaks[k] = top / part;
        search.peaks[TRIES / 2 + k] = -(top + 0.5f) / part;
    }
    return search;
}

static void search_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const organ_scale_search search = search_of(&job->matrix->grid);
    float *const scales = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++) {
        job->inputs->engine->kernels->search_weighted(&search, job->matrix->weights + i * job->cols, f->weights,
                                                      job->cols, job->group, scales);
        for (size_t g = 0; g < job->groups; g++)
            job->scales[g * job->padded + i] = scales[g];
    }
}

/* Sets the scales and minima of groups that have both. */
static void search_free(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const organ_grid *const grid = &job->matrix->grid;
    const organ_affine_fit fit = {grid->bits, grid->size, organ_grid_store(grid)};
    float *const numbers = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++) {
        job->inputs->engine->kernels->fit_affine(&fit, job->matrix->weights + i * job->cols, f->weights, job->cols,
                                                 numbers, numbers + job->groups);
        for (size_t k = 0; k < job->numbers; k++)
            job->scales[k * job->padded + i] = numbers[k];
    }
}

static void search_band(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    const size_t band = organ_grid_band(&job->matrix->grid, job->rows), first = index * band,
                 rows = organ_min(band, job->rows - first);
    float *const scales = (float *)(void *)(job->scratch + worker * job->scratch_bytes);
    job->inputs->engine->kernels->search_scales(organ_grid_search(&job->matrix->grid),
                                                job->matrix->weights + first * job->cols, job->cols, rows, job->cols,
                                                job->group, scales);
    for (size_t g = 0; g < job->groups; g++)
        for (size_t i = first; i < first + rows; i++)
            job->scales[g * job->padded + i] = scales[g];
}

static void try_strip(void *context, size_t index, size_t worker)
{
    const fitting *const f = context;
    const organ_gptq_job *const job = f->job;
    float scales[TRIES];
    (void)worker;
    for (size_t i = index * STRIP; i < organ_min((index + 1) * STRIP, job->rows); i++)
        job->inputs->engine->kernels->scale_errors(organ_grid_search(&job->matrix->grid),
                                                   job->matrix->weights + i * job->cols, job->cols, f->greatest, scales,
                                                   job->tries + i * TRIES);
}

static void set_matrix(const organ_gptq_job *job)
{
    for (size_t i = 0; i < job->rows; i++)
        job->scales[i] = job->matrix->whole_scale;
}

/* Sets the scale of all rows to that of the try with the least error. The errors of a try are added in order of rows.
 */
static void search_matrix(fitting *f)
{
    const organ_gptq_job *const job = f->job;
    const organ_kernels *const kernels = job->inputs->engine->kernels;
    float scales[TRIES], errors[TRIES];
    double sums[TRIES] = {0};
    size_t best = 0;
    f->greatest = 0;
    for (size_t i = 0; i < job->rows; i++) {
        const float here = kernels->amax(job->matrix->weights + i * job->cols, job->cols);
        f->greatest = here > f->greatest ? here : f->greatest;
    }
    kernels->scale_errors(organ_grid_search(&job->matrix->grid), /*values=*/NULL, 0, f->greatest, scales, errors);
    if (f->greatest > SEARCHED) {
        organ_share(job->inputs->engine, NULL, job->padded / STRIP, try_strip, f);
        for (size_t i = 0; i < job->rows; i++)
            for (size_t k = 0; k < TRIES; k++)
                sums[k] += (double)job->tries[i * TRIES + k];
        for (size_t k = 1; k < TRIES; k++)
            best = sums[k] < sums[best] ? k : best;
    }
    for (size_t i = 0; i < job->rows; i++)
        job->scales[i] = scales[best];
}

/* Sets the scales with which GPTQ codes the columns. Overwrites job->errors. */
static void first_scales(organ_gptq_job *job)
{
    const organ_grid *const grid = &job->matrix->grid;
    const organ_engine *const engine = job->inputs->engine;
    fitting f = {.job = job, .weights = job->matrix->weighing};
    /* 1 for the scales of all groups, 0 for other numbers: these remain in padded rows */
    for (size_t k = 0; k < job->numbers * job->padded; k++)
        job->scales[k] = k < job->groups * job->padded;
    if (grid->scale_of == ORGAN_SCALE_TENSOR) {
        if (job->matrix->whole_scale > 0)
            set_matrix(job);
        else if (job->rows > 0)
            search_matrix(&f);
        return;
    }
    if (grid->scale_of == ORGAN_SCALE_BLOCK) {
        const size_t band = organ_grid_band(grid, job->rows);
        organ_share(engine, NULL, (job->rows + band - 1) / band, search_band, &f);
        return;
    }
    if (!f.weights) {
        weigh_columns(job->inputs, job->errors);
        f.weights = job->errors;
    }
    void (*search)(void *, size_t, size_t) = organ_grid_is_free(grid) ? search_free : search_strip;
    organ_share(engine, NULL, job->padded / STRIP, organ_grid_blocks(grid) ? fit_strip : search, &f);
}

#define COLUMNS ((size_t)128) /* columns that a pass processes together, if blocks of the type are not wider */
/* Passes over all columns after GPTQ, the first one backwards. GGUF blocks have minima or scales that are codes, and
 * need more. */
#define PASSES        2
#define PASSES_BLOCKS 4

static size_t rows_in_band(const organ_gptq *m) { return organ_grid_band(&m->grid, m->rows); }

/* The first row of each band has its scales; matrix->scales is [bands][numbers]. */
static void copy_final_scales(const organ_gptq_job *job)
{
    const size_t band = rows_in_band(job->matrix);
    for (size_t first = 0; first < job->rows; first += band)
        for (size_t k = 0; k < job->numbers; k++)
            job->matrix->scales[first / band * job->numbers + k] = job->scales[k * job->padded + first];
}

/* ---- a matrix ---- */

/* A matrix is divided among ranks at multiples of a strip, or of a band of rows with common scales if that is
 * longer. */
static size_t rows_between_cuts(const organ_gptq *m) { return organ_max(rows_in_band(m), STRIP); }

/* `losses` is an array for the whole matrix; *sum adds the losses in order of rows. */
static organ_status sum_losses_of_ranks(const organ_gptq_job *job, double *losses, double *sum, organ_error *error)
{
    const organ_gptq *const all = job->whole;
    if (organ_ranks_complete_rows(all->ranks, "coding rows", losses, sizeof *losses, all->rows, rows_between_cuts(all),
                                  error) != ORGAN_OK)
        return error->status;
    *sum = 0;
    for (size_t i = 0; i < all->rows; i++)
        *sum += losses[i];
    return ORGAN_OK;
}

static organ_status gptq_quantise(organ_gptq_job *job, organ_error *error)
{
    double *const losses = job->all_losses;
    organ_gptq *const m = job->matrix, *const whole = job->whole;
    job->energies = losses + job->first;
    job->gptq_losses = job->energies + whole->rows;
    job->losses = job->gptq_losses + whole->rows;
    first_scales(job);
    if (organ_gptq_quantise_rows(job, error) != ORGAN_OK)
        return error->status;
    for (size_t i = 0; i < job->rows; i++)
        m->rows_kept += !m->no_refit && !(job->losses[i] < job->gptq_losses[i]);
    copy_final_scales(job);
    if (sum_losses_of_ranks(job, losses, &whole->energy, error) ||
        sum_losses_of_ranks(job, losses + whole->rows, &whole->gptq_loss, error))
        return error->status;
    return sum_losses_of_ranks(job, losses + 2 * whole->rows, &whole->loss, error);
}

static organ_status gather_rows(const organ_gptq_job *job, organ_error *error)
{
    const organ_gptq *const all = job->whole;
    const size_t step = rows_between_cuts(all), band = rows_in_band(all);
    if (organ_ranks_complete_rows(all->ranks, "computing row values", all->values, all->cols * sizeof *all->values,
                                  all->rows, step, error) != ORGAN_OK)
        return error->status;
    /* scales have a row per band; a band that is longer than a cut is on one rank */
    return organ_ranks_complete_rows(all->ranks, "computing row scales", all->scales,
                                     job->numbers * sizeof *all->scales, (all->rows + band - 1) / band,
                                     organ_max(step / band, 1), error);
}

/* The arrays of the result point into those of `all`. `numbers`: organ_grid_numbers, the length of a row of
 * all->scales. */
static organ_gptq own_rows(const organ_gptq *all, size_t numbers)
{
    const organ_row_range own = organ_ranks_own_rows(all->ranks, all->rows, rows_between_cuts(all));
    organ_gptq part = *all;
    part.rows = own.end - own.first;
    part.weights += own.first * all->cols;
    part.keep = all->keep ? all->keep + own.first * all->cols : NULL;
    part.values += own.first * all->cols;
    part.scales += own.first / rows_in_band(all) * numbers;
    return part;
}

static size_t row_bytes(const organ_grid *grid, size_t cols)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    return kind ? cols / kind->elements * kind->bytes : 0;
}

static size_t worker_scratch_bytes(const organ_gptq_job *job)
{
    const size_t first = organ_max(row_bytes(&job->matrix->grid, job->cols), job->numbers * sizeof(float));
    return organ_max(organ_gptq_sweep_room() + organ_gptq_scales_room(job), first);
}

/* With at most ORGAN_GPTQ_ROWS rows in a strip, all workers get the same number of strips, if there are rows enough.
 * The result is a multiple of 16, the rows of the kernels of coding, and changes no bit. */
static size_t strip_rows_of(size_t rows, size_t workers)
{
    const size_t strips = (rows + workers * ORGAN_GPTQ_ROWS - 1) / (workers * ORGAN_GPTQ_ROWS) * workers,
                 even = strips ? (rows + strips - 1) / strips : 0;
    return organ_max((even + 15) / 16 * 16, 16);
}

/* Operations per weight; from times of the types on four layers of 512 x 1536. */
#define SOLVE_POINTS_OF_8 105000 /* 1,024 points; also points of 4 with an even number of signs among 8 */
#define SOLVE_POINTS_OF_4 63000
#define SOLVE_CODED_PAIRS 47000 /* groups of 16 with coded minima */
#define SOLVE_CODED       25000
#define SOLVE_OTHERS      7000

organ_plan_solve organ_gptq_solve(const organ_grid *grid)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    organ_plan_solve solve = {.squares = 2, .weights = SOLVE_OTHERS, .matrices = 1e8};
    const size_t points = kind ? organ_ggml_count_points(kind) : 0;
    if (points > 1024)
        solve.weights = SOLVE_POINTS_OF_8 / 1024.0 * (double)points;
    else if (points)
        solve.weights = kind->points.length == 8 || kind->points.even ? SOLVE_POINTS_OF_8 : SOLVE_POINTS_OF_4;
    else if (kind && organ_ggml_is_coded(kind))
        solve.weights = kind->affine && kind->group == 16 ? SOLVE_CODED_PAIRS : SOLVE_CODED;
    return solve;
}

static void size_job(organ_gptq_job *job, const organ_gptq *part)
{
    const organ_grid *const grid = &part->grid;
    const organ_ggml_kind *const kind = organ_grid_blocks(grid);
    job->rows = part->rows;
    job->cols = part->cols;
    job->group = organ_grid_group(grid, part->cols);
    job->groups = organ_grid_groups(grid, part->cols);
    job->terms = organ_grid_affine(grid) ? 2 : 1;
    job->supers = organ_grid_supers(grid, part->cols);
    job->numbers = organ_grid_numbers(grid, part->cols);
    job->padded = (part->rows + STRIP - 1) / STRIP * STRIP;
    job->columns = organ_max(kind ? kind->elements : 0, COLUMNS);
    job->refits = !job->supers && grid->scale_of >= ORGAN_SCALE_GROUP; /* groups of columns, of whatever scales */
    job->passes = kind ? PASSES_BLOCKS : PASSES;
    if (part->no_refit)
        job->passes = 0;
    job->strip_rows = strip_rows_of(part->rows, organ_workers_count(job->inputs->engine->workers));
    job->scratch_bytes = organ_to_line(worker_scratch_bytes(job));
}

/* A rank without rows still takes part in the gathering, so its buffers have at least one row. */
static void lay_out(void *context, organ_buffers *b)
{
    organ_gptq_job *const job = context;
    const organ_ggml_kind *const kind = organ_grid_blocks(&job->matrix->grid);
    const organ_engine *const engine = job->inputs->engine;
    const size_t rows = organ_max(job->rows, 1),
                 points = kind && kind->points.length ? organ_ggml_count_points(kind) : 0;
    job->errors = organ_take_floats(b, rows, job->cols);
    job->sides = organ_take_floats(b, rows, job->cols);
    job->scales = organ_take_floats(b, job->numbers, organ_max(job->padded, STRIP));
    job->scratch = organ_take(b, organ_workers_count(engine->workers), job->scratch_bytes);
    job->all_losses = organ_take_zeros(b, job->whole->rows, 3 * sizeof *job->all_losses);
    job->points = organ_take_floats(b, points, kind ? kind->points.length : 0);
    job->shared = organ_take(b, points, 1);
    job->tries = organ_take_floats(b, job->matrix->grid.scale_of == ORGAN_SCALE_TENSOR ? job->rows : 0, TRIES);
    organ_take_beside(b, organ_inverse_factor_memory(engine, job->cols));
}

uint64_t organ_gptq_memory(const organ_engine *engine, const organ_grid *grid, uint64_t rows, uint64_t cols)
{
    const organ_gptq matrix = {.grid = *grid, .rows = (size_t)rows, .cols = (size_t)cols};
    organ_gptq_job job = {.inputs = &(organ_gptq_inputs){.engine = engine},
                          .matrix = &(organ_gptq){.grid = *grid},
                          .whole = &(organ_gptq){.rows = (size_t)rows}};
    size_job(&job, &matrix);
    return organ_buffers_count(lay_out, &job) + sizeof *matrix.values * rows * cols;
}

/* ---- the second moments of inputs, damped, and their factor in the order of columns ---- */

#define ROWS ((size_t)64) /* rows of a block of H that a worker copies at a time */

static int by_falling_weight(const void *a, const void *b)
{
    const organ_column_weight *const x = a, *const y = b;
    return x->weight != y->weight ? (x->weight < y->weight) - (x->weight > y->weight)
                                  : (x->column > y->column) - (x->column < y->column);
}

typedef struct ordered_block {
    const float *h;
    const uint32_t *columns; /* in the order of GPTQ, from 0 on */
    size_t width;
    float *factor;
} ordered_block;

/* Copies only entries on and to the right of the diagonal blocks of ORGAN_FACTOR_BLOCK columns: the factorisation
 * reads no others. */
static void copy_rows(void *context, size_t index, size_t worker)
{
    const ordered_block *const b = context;
    (void)worker;
    for (size_t i = index * ROWS; i < organ_min((index + 1) * ROWS, b->width); i++) {
        const float *const from = b->h + b->columns[i] * b->width;
        float *const to = b->factor + i * b->width;
        for (size_t j = i / ORGAN_FACTOR_BLOCK * ORGAN_FACTOR_BLOCK; j < b->width; j++)
            to[j] = from[b->columns[j]];
    }
}

/* The order is that of act-order in GPTQ: columns by falling mean square of their inputs, runs of columns by its sum.
 * in->factor becomes a copy of the block in that order. */
static void order_block(organ_gptq_inputs *in, size_t start, size_t width)
{
    const float *const h = in->h + start * in->block;
    const size_t runs = width / in->run;
    uint32_t *const order = in->order + start;
    organ_column_weight *const columns = in->weights;
    for (size_t r = 0; r < runs; r++) {
        columns[r] = (organ_column_weight){0, (uint32_t)(r * in->run)};
        for (size_t j = r * in->run; j < (r + 1) * in->run; j++)
            columns[r].weight += h[j * (width + 1)];
    }
    qsort(columns, runs, sizeof *columns, by_falling_weight);
    for (size_t i = 0; i < width; i++)
        order[i] = columns[i / in->run].column + (uint32_t)(i % in->run);
    ordered_block block = {h, order, width, in->factor + start * in->block};
    organ_share_work(in->engine, NULL, (width + ROWS - 1) / ROWS, (double)width * (double)width * ORGAN_SHARE_NUMBER,
                     copy_rows, &block);
    for (size_t i = 0; i < width; i++)
        order[i] += (uint32_t)start;
}

static organ_status expand_moments(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                   organ_gptq_inputs *in, organ_error *error)
{
    const organ_input_moments *const m = organ_calibration_moments(calibration);
    *in = (organ_gptq_inputs){
        .engine = engine, .of = calibration, .features = m->features, .block = m->block, .tokens = m->tokens};
    organ_buffers *const b = &in->buffers;
    /* factors 0, 1: only the moments of the inputs that the changed layers compute */
    in->h = organ_expand_moments(engine, m, /*c=*/0, /*h=*/1, organ_moments_damping(m) * m->mean_diagonal, b);
    in->factor = organ_take_floats(b, organ_block_entries(in->features, in->block), 1);
    in->order = organ_take(b, m->features, sizeof *in->order);
    in->weights = organ_take(b, m->features, sizeof *in->weights);
    if (!b->lacking)
        return ORGAN_OK;
    return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, m->features);
}

/* Sets order and factor for runs of `run` columns. If the factorisation of a block fails, H is not positive definite in
 * spite of the damping. */
static organ_status factorise(organ_gptq_inputs *in, size_t run, const char *name, organ_error *error)
{
    in->run = run;
    for (size_t start = 0; start < in->features; start += in->block) {
        const size_t width = organ_min(in->block, in->features - start);
        bool definite = false;
        order_block(in, start, width);
        if (!organ_block_factor(in->engine, in->factor + start * in->block, width, &definite))
            return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, in->features);
        if (!definite)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: the second moments of inputs %zu to %zu cannot be inverted",
                              name, start, start + width - 1);
    }
    return ORGAN_OK;
}

organ_status organ_gptq_inputs_open(const organ_engine *engine, const organ_calibration *calibration, const char *name,
                                    organ_gptq_inputs *in, organ_error *error)
{
    return expand_moments(engine, calibration, name, in, error) ? error->status : factorise(in, /*run=*/1, name, error);
}

void organ_gptq_inputs_close(organ_gptq_inputs *in)
{
    organ_buffers_release(&in->buffers);
    *in = (organ_gptq_inputs){0};
}

organ_status organ_gptq_inputs_reopen(const organ_engine *engine, const organ_calibration *calibration,
                                      const char *name, organ_gptq_inputs *in, organ_error *error)
{
    if (in->of == calibration)
        return ORGAN_OK;
    organ_gptq_inputs_close(in);
    return organ_gptq_inputs_open(engine, calibration, name, in, error);
}

/* The seed of the vectors with which the strongest directions are sought is 0: they hardly depend on it. */
organ_status organ_gptq_inputs_reopen_flat(const organ_engine *engine, const organ_calibration *calibration,
                                           const char *name, size_t rank, organ_gptq_inputs *in, organ_error *error)
{
    if (in->of == calibration)
        return ORGAN_OK;
    organ_gptq_inputs_close(in);
    if (expand_moments(engine, calibration, name, in, error) != ORGAN_OK)
        return error->status;
    const size_t bytes = organ_block_entries(in->features, in->block) * sizeof *in->whole;
    if (!(in->whole = organ_take_floats(&in->buffers, organ_block_entries(in->features, in->block), 1)))
        return organ_fail_errno(error, ENOMEM, "%s: second moments of %zu inputs", name, in->features);
    memcpy(in->whole, in->h, bytes);
    if (organ_flatten_moments(engine, name, in->h, in->features, in->block, rank, /*seed=*/0, error) != ORGAN_OK)
        return error->status;
    return factorise(in, /*run=*/1, name, error);
}

/* Lists the points of a codebook. */
static void list_points(organ_gptq_job *job)
{
    const organ_ggml_kind *const kind = organ_grid_blocks(&job->matrix->grid);
    if (!kind || kind->points.length == 0)
        return;
    organ_ggml_list_points(kind, job->points, job->shared);
    job->runs = (organ_runs){.length = kind->points.length,
                             .count = (unsigned)organ_ggml_count_points(kind),
                             .even = kind->points.even,
                             .points = job->points,
                             .shared = job->shared,
                             .fixed = kind->points.fields != ORGAN_FIELDS_MAGNITUDES,
                             .shift = kind->points.fields == ORGAN_FIELDS_OF_SCALE ? 0.125f : 0};
}

/* Columns that are chosen together follow each other in the order of GPTQ. */
static organ_status order_for(const organ_gptq_job *job, organ_gptq_inputs *in, organ_error *error)
{
    const size_t run = job->runs.length ? ORGAN_GPTQ_RUN : 1;
    return in->run == run ? ORGAN_OK : factorise(in, run, job->matrix->name, error);
}

organ_status organ_gptq_run(organ_gptq_inputs *in, organ_gptq *m, organ_error *error)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    organ_gptq part = own_rows(m, organ_grid_numbers(&m->grid, m->cols));
    organ_gptq_job job = {.inputs = in, .whole = m, .matrix = &part};
    size_job(&job, &part);
    job.first = m->cols ? (size_t)(part.values - m->values) / m->cols : 0;
    part.rows_kept = 0;
    if (!organ_buffers_take(&buffers, lay_out, &job))
        return organ_fail_errno(error, ENOMEM, "%s: GPTQ of %zu x %zu", m->name, m->rows, m->cols);
    list_points(&job);
    if (order_for(&job, in, error) == ORGAN_OK && gptq_quantise(&job, error) == ORGAN_OK)
        gather_rows(&job, error);
    m->rows_kept = part.rows_kept;
    return error->status;
}
