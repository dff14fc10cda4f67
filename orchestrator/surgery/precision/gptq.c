/* SPDX-License-Identifier: MIT
 * Runs GPTQ on a matrix: chooses the first scales, codes the rows of this rank, gathers those of all ranks.
 *
 * Ranks: they divide the rows of a matrix, not the matrices, because later layers need the quantised earlier ones. */
#include "orchestrator/surgery/precision/gptq_job.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/algebra/algebra.h"

#include <errno.h>
#include <stdlib.h>

#define STRIP   ORGAN_GPTQ_STRIP
#define COLUMNS ((size_t)128) /* columns that a pass processes together; a GGUF block of K-quants has more */
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

/* `losses`: three numbers for each row of the whole matrix. */
static organ_status gptq_quantise(organ_gptq_job *job, double *losses, organ_error *error)
{
    organ_gptq *const m = job->matrix, *const whole = job->whole;
    job->energies = losses + job->first;
    job->gptq_losses = job->energies + whole->rows;
    job->losses = job->gptq_losses + whole->rows;
    if (!organ_gptq_first_scales(job))
        return organ_fail_memory(error, m->name);
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
    const size_t first = organ_max(row_bytes(&job->matrix->grid, job->cols), job->groups * sizeof(float));
    return organ_max(organ_gptq_sweep_room() + organ_gptq_scales_room(job), first);
}

/* With at most ORGAN_GPTQ_ROWS rows in a strip, all workers get the same number of strips, if there are rows enough.
 * The number changes no bit. */
static size_t strip_rows_of(size_t rows, size_t workers)
{
    const size_t strips = (rows + workers * ORGAN_GPTQ_ROWS - 1) / (workers * ORGAN_GPTQ_ROWS) * workers,
                 even = strips ? (rows + strips - 1) / strips : 0;
    return organ_max((even + 15) / 16 * 16, 16);
}

/* The terms are job.errors, job.sides and m->values, job.scales, the losses, the errors of tries for one scale, and
 * the factorisation of H. */
uint64_t organ_gptq_memory(const organ_grid *grid, uint64_t rows, uint64_t cols)
{
    const uint64_t numbers = organ_grid_numbers(grid, (size_t)cols), padded = (rows + STRIP - 1) / STRIP * STRIP;
    return sizeof(float) * (3 * rows * cols + (numbers + (grid->scale_of == ORGAN_SCALE_TENSOR ? 16 : 0)) * padded) +
           3 * rows * sizeof(double) + organ_inverse_factor_memory(cols);
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
    job->columns = job->supers ? kind->elements : COLUMNS;
    job->refits = !job->supers && (grid->scale_of == ORGAN_SCALE_GROUP || grid->scale_of == ORGAN_SCALE_GGUF);
    job->passes = kind ? PASSES_BLOCKS : PASSES;
    if (part->no_refit)
        job->passes = 0;
    job->strip_rows = strip_rows_of(part->rows, organ_workers_count(job->inputs->engine->workers));
    job->scratch_bytes = organ_to_line(worker_scratch_bytes(job));
}

/* A rank without rows still takes part in the gathering, so its buffers have at least one row. */
organ_status organ_gptq_run(const organ_gptq_inputs *in, organ_gptq *m, organ_error *error)
{
    organ_gptq part = own_rows(m, organ_grid_numbers(&m->grid, m->cols));
    organ_gptq_job job = {.inputs = in, .whole = m, .matrix = &part};
    size_job(&job, &part);
    job.first = m->cols ? (size_t)(part.values - m->values) / m->cols : 0;
    job.errors = organ_floats(organ_max(part.rows, 1), m->cols);
    job.sides = organ_floats(organ_max(part.rows, 1), m->cols);
    job.scales = organ_floats(job.numbers, organ_max(job.padded, STRIP));
    job.scratch = aligned_alloc(64, organ_workers_count(in->engine->workers) * job.scratch_bytes);
    double *const losses = calloc(3 * m->rows + 1, sizeof *losses);
    part.rows_kept = 0;
    if (!job.errors || !job.sides || !job.scales || !job.scratch || !losses)
        organ_fail_errno(error, ENOMEM, "%s: GPTQ of %zu x %zu", m->name, m->rows, m->cols);
    else if (gptq_quantise(&job, losses, error) == ORGAN_OK)
        gather_rows(&job, error);
    m->rows_kept = part.rows_kept;
    ORGAN_FREE_ARRAYS(job.errors, job.sides, job.scales, job.scratch, losses);
    return error->status;
}
