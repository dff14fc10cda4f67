/* SPDX-License-Identifier: MIT
 * Prunes one matrix during a calibration walk (calibration_run.h), rounds it to the type that the donor stores, counts
 * the changes and writes it. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/prune/prune_job.h"

#include <stdlib.h>

/* With physarum v3, factors (organ_prune_shared) are shared with the next matrices that have the same inputs, and
 * freed after the last of these matrices. */
organ_status organ_prune_walked(organ_prune_job *job, const organ_calibration_matrix *m,
                                organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                organ_prune_matrix_report *report, organ_error *error)
{
    organ_engine engine = *job->engine;
    engine.ranks = m->ranks;
    organ_prune_share(&job->shared, &prune_options, m->calibration, m->users_left > 0, m->spare);
    organ_prune_matrix(&engine, &prune_options, m->calibration, weights, (size_t)m->rows, (size_t)m->cols, keep, report,
                       error);
    if (m->users_left == 0)
        organ_prune_share_end(&job->shared);
    return error->status;
}

/* ---- storing ---- */

typedef struct matrix_storing {
    organ_prune_job *job;
    size_t part; /* index of the target, and of its only unit */
} matrix_storing;

typedef struct strip_rounding {
    const matrix_storing *storing;
    const organ_calibration_strip *strip;
    uint64_t rows;             /* the last piece may have fewer */
    organ_audit_counts counts; /* of all pieces; atomic */
} strip_rounding;

static void add_piece_counts(organ_audit_counts *sum, const organ_audit_counts *c)
{
    __atomic_fetch_add(&sum->zero_before, c->zero_before, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->killed, c->killed, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->kept, c->kept, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->changed, c->changed, __ATOMIC_RELAXED);
}

static organ_status round_piece(void *context, size_t index, size_t worker, organ_error *error)
{
    strip_rounding *const x = context;
    organ_prune_job *const job = x->storing->job;
    const organ_calibration_strip piece = organ_calibration_piece(x->strip, index * x->rows, x->rows);
    const organ_tensor *const tensor = piece.tensor;
    organ_audit_counts counts;
    (void)worker;
    if (organ_model_read(job->donor, tensor->file, piece.donor, piece.bytes, tensor->offset + piece.at, error) !=
            ORGAN_OK ||
        organ_calibration_round(job->calib, &piece, error) != ORGAN_OK ||
        organ_prune_part_count(job, &job->units[x->storing->part], piece.stored, piece.bytes, piece.at, error) !=
            ORGAN_OK)
        return error->status;
    organ_prune_compare(job, tensor->dtype, piece.donor, piece.stored, piece.count, &counts);
    add_piece_counts(&x->counts, &counts);
    return ORGAN_OK;
}

static organ_status store_strip(void *context, const organ_calibration_strip *s, organ_error *error)
{
    const matrix_storing *const x = context;
    organ_prune_job *const job = x->job;
    strip_rounding rounding = {x, s, organ_calibration_piece_rows(job->calib, s->tensor), {0}};
    if (organ_share_try(job->engine, (size_t)organ_pieces_of(s->rows, rounding.rows), round_piece, &rounding, error) !=
            ORGAN_OK ||
        organ_prune_part_write(job, &job->units[x->part], s->stored, s->bytes, s->at, error) != ORGAN_OK)
        return error->status;
    organ_prune_count(job, x->part, &rounding.counts);
    return ORGAN_OK;
}

static uint64_t matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_calibration_matrices(calib, tensor);
    const organ_prune_matrix_options options = organ_prune_options_of(context, 0, tensor->name);
    return organ_prune_matrix_memory(&options, m.rows, m.cols) + organ_calibration_strip_memory(calib, tensor);
}

static bool matrix_done(void *context, size_t target)
{
    const organ_prune_job *const job = context;
    return job->units[target].done;
}

static organ_status restore_strip(void *context, const organ_calibration_strip *s, organ_error *error)
{
    const matrix_storing *const x = context;
    if (organ_write_read(x->job->run, x->part, s->stored, s->bytes, s->at, error) != ORGAN_OK)
        return error->status;
    return organ_calibration_widen(x->job->calib, s, error);
}

static organ_status restore_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                   organ_error *error)
{
    organ_prune_job *const job = context;
    matrix_storing x = {job, matrix->target};
    return organ_calibration_strips(job->calib, job->units[x.part].tensor, matrix->matrix, weights, &x, restore_strip,
                                    error);
}

/* If this rank writes the matrix (matrix->own), its figures are added to those of the target. The last matrix of a
 * target completes the target. */
static organ_status prune_walked_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                        organ_error *error)
{
    organ_prune_job *const job = context;
    /* With a text each target is one unit, of the same index. */
    organ_prune_part *const part = &job->units[matrix->target];
    matrix_storing x = {job, matrix->target};
    uint8_t *const keep = malloc((size_t)(matrix->rows * matrix->cols));
    if (!keep)
        return organ_fail_memory(error, part->tensor->name);
    organ_prune_matrix_report report;
    const organ_prune_matrix_options options = organ_prune_options_of(job, x.part, job->targets.tensors[x.part]->name);
    if (organ_prune_walked(job, matrix, options, weights, keep, &report, error) == ORGAN_OK && matrix->own)
        organ_prune_note(job, x.part, matrix->calibration, &report);
    if (!error->status && matrix->own)
        organ_calibration_note_fallback(&job->figures[x.part].fallback, matrix);
    free(keep);
    if (error->status || !matrix->own ||
        organ_calibration_strips(job->calib, part->tensor, matrix->matrix, weights, &x, store_strip, error) != ORGAN_OK)
        return error->status;
    return matrix->matrix + 1 == organ_tensor_matrices(part->tensor).count ? organ_prune_part_done(job, part, error)
                                                                           : ORGAN_OK;
}

organ_status organ_prune_text_open(organ_prune_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->calibrated;
    job->walk = (organ_calibration_run_options){.calibration = c->calibration,
                                                .method = job->method->name,
                                                .verb = "prune",
                                                .doing = "pruning",
                                                .streams = job->two_streams ? ORGAN_INPUTS_BOTH : ORGAN_INPUTS_CHANGED,
                                                .moments_only = !job->method->noise,
                                                .reserve = organ_allocate_reserve(&c->allocate),
                                                .all_experts = c->all_experts,
                                                .seed = c->seed};
    job->work = (organ_calibration_work){.context = job,
                                         .memory = matrix_memory,
                                         .done = matrix_done,
                                         .restore = restore_matrix,
                                         .change = prune_walked_matrix,
                                         .transposed = true,
                                         .grouped = job->method->method == ORGAN_PRUNE_PHYSARUM_V3,
                                         .rows = job->method->rows && job->compensates};
    return organ_calibration_run_open(&job->walk, job->donor, &job->targets, &job->work, job->engine, job->progress,
                                      &job->calib, error);
}
