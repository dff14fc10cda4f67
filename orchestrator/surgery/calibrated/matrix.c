/* SPDX-License-Identifier: MIT
 * Prunes one matrix during a calibration walk (calibration_run.h), rounds it to the type that the donor stores, counts
 * the changes and writes it. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/calibrated/calibrated_job.h"

#include <stdlib.h>

/* Returns the options of pruning a matrix at the sparsity requested for the whole model. A sparsity of 0 percent means
 * that none was requested or that a pattern decides. */
organ_prune_matrix_options organ_calibrated_options_of_all(const organ_calibrated_job *job, const char *name)
{
    const double requested = job->budget > 0 ? 100 * job->budget : job->base.options->sparsity;
    return (organ_prune_matrix_options){.method = job->method->method,
                                        .name = name,
                                        .sparsity = requested < 0 ? 0 : requested,
                                        .pattern = job->pattern,
                                        .no_compensate = !job->compensates,
                                        .effort = job->options->effort};
}

/* Returns the options of pruning a matrix of target `part`. If a budget was divided, the sparsity is that of the target
 * (base.shares), else that requested for the whole model. */
organ_prune_matrix_options organ_calibrated_options_of(const organ_calibrated_job *job, size_t part)
{
    organ_prune_matrix_options prune_options =
        organ_calibrated_options_of_all(job, job->base.targets.tensors[part]->name);
    prune_options.sparsity = job->base.shares ? job->base.shares[part] : prune_options.sparsity;
    return prune_options;
}

/* Adds the figures of a pruned matrix to those of target `part`. The natural sparsity of a target is the mean over its
 * matrices. */
void organ_calibrated_note(organ_calibrated_job *job, size_t part, const organ_calibration *calibration,
                           const organ_prune_matrix_report *r)
{
    organ_calibrated_part *const result = &job->parts[part];
    result->natural += r->natural_sparsity / (double)organ_tensor_matrices(job->base.targets.tensors[part]).count;
    result->stages = r->stages;
    result->products += r->products;
    result->block_diagonal |= r->block_diagonal;
    result->tokens += calibration ? organ_calibration_moments(calibration)->tokens : 0;
}

/* Prunes one matrix in memory and sets removed weights to 0. With physarum v3, factors (organ_prune_shared) are shared
 * with the next matrices that have the same inputs, and freed after the last of these matrices. */
organ_status organ_calibrated_prune(organ_calibrated_job *job, const organ_calibration_matrix *m,
                                    organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                    organ_prune_matrix_report *report, organ_error *error)
{
    organ_engine engine = *job->base.engine;
    engine.ranks = m->ranks;
    organ_prune_share(&job->shared, &prune_options, m->calibration, m->users_left > 0, m->spare);
    organ_prune_matrix(&engine, &prune_options, m->calibration, weights, (size_t)m->rows, (size_t)m->cols, keep, report,
                       error);
    if (m->users_left == 0)
        organ_prune_share_end(&job->shared);
    return error->status;
}

/* ---- storing ---- */

/* Compares n stored weights with the donor's by their bits. `dtype` is F32, F16 or BF16. */
void organ_calibrated_compare(const organ_calibrated_job *job, organ_dtype dtype, const void *donor, const void *stored,
                              size_t n, organ_audit_counts *counts)
{
    const organ_kernels *const kernels = job->base.engine->kernels;
    if (dtype == ORGAN_F32)
        kernels->audit_32(donor, stored, n, counts);
    else
        kernels->audit_16(donor, stored, n, counts);
}

/* Adds the counts *c to those of unit number `unit`. Changed weights count as kept, and as compensated weights of the
 * target. */
void organ_calibrated_count(organ_calibrated_job *job, size_t unit, const organ_audit_counts *c)
{
    organ_prune_part *const p = &job->base.units[unit];
    p->counts.zero_before += c->zero_before;
    p->counts.killed += c->killed;
    p->counts.kept += c->kept + c->changed;
    job->parts[p->target].compensated += c->changed;
}

/* Context of the functions that store and restore a strip (rows of a matrix, organ_calibration_strip). */
typedef struct matrix_storing {
    organ_calibrated_job *job;
    size_t part; /* index of the target, and of its only unit */
} matrix_storing;

/* A strip of a pruned matrix that the workers round to the stored type, in pieces of `rows` rows. */
typedef struct strip_rounding {
    const matrix_storing *storing;
    const organ_calibration_strip *strip;
    uint64_t rows;             /* the last piece may have fewer */
    organ_audit_counts counts; /* of all pieces; atomic */
} strip_rounding;

/* Adds the counts of a piece to those of the strip. */
static void add_piece_counts(organ_audit_counts *sum, const organ_audit_counts *c)
{
    __atomic_fetch_add(&sum->zero_before, c->zero_before, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->killed, c->killed, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->kept, c->kept, __ATOMIC_RELAXED);
    __atomic_fetch_add(&sum->changed, c->changed, __ATOMIC_RELAXED);
}

/* Rounds piece `index` of the strip, compares it with the donor's bytes and counts its magnitudes. */
static organ_status round_piece(void *context, size_t index, size_t worker, organ_error *error)
{
    strip_rounding *const x = context;
    organ_calibrated_job *const job = x->storing->job;
    const organ_calibration_strip piece = organ_calibration_piece(x->strip, index * x->rows, x->rows);
    const organ_tensor *const tensor = piece.tensor;
    organ_audit_counts counts;
    (void)worker;
    if (organ_model_read(job->base.donor, tensor->file, piece.donor, piece.bytes, tensor->offset + piece.at, error) !=
            ORGAN_OK ||
        organ_calibration_round(job->calib, &piece, error) != ORGAN_OK ||
        organ_prune_part_count(&job->base, &job->base.units[x->storing->part], piece.stored, piece.bytes, piece.at,
                               error) != ORGAN_OK)
        return error->status;
    organ_calibrated_compare(job, tensor->dtype, piece.donor, piece.stored, piece.count, &counts);
    add_piece_counts(&x->counts, &counts);
    return ORGAN_OK;
}

/* Rounds a strip of the pruned matrix to the stored type and compares it with the donor's bytes, on the workers; writes
 * it, and adds the counts to those of the target. */
static organ_status store_strip(void *context, const organ_calibration_strip *s, organ_error *error)
{
    const matrix_storing *const x = context;
    organ_calibrated_job *const job = x->job;
    strip_rounding rounding = {x, s, organ_calibration_piece_rows(job->calib, s->tensor), {0}};
    if (organ_share_try(job->base.engine, (size_t)organ_pieces_of(s->rows, rounding.rows), round_piece, &rounding,
                        error) != ORGAN_OK ||
        organ_prune_part_write(&job->base, &job->base.units[x->part], s->stored, s->bytes, s->at, error) != ORGAN_OK)
        return error->status;
    organ_calibrated_count(job, x->part, &rounding.counts);
    return ORGAN_OK;
}

/* Implements organ_calibration_work.memory: returns the bytes for pruning a matrix of the tensor and for a strip. */
uint64_t organ_calibrated_matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_matrices m = organ_calibration_matrices(calib, tensor);
    const organ_prune_matrix_options options =
        organ_calibrated_options_of(context, 0); /* any target: the memory is equal */
    return organ_prune_matrix_memory(&options, m.rows, m.cols) + organ_calibration_strip_memory(calib, tensor);
}

/* Implements organ_calibration_work.done: returns true if the target is in the output already. */
bool organ_calibrated_done(void *context, size_t target)
{
    const organ_calibrated_job *const job = context;
    return job->base.units[target].done;
}

/* Reads a strip that an interrupted run has written, and widens it into the FP32 weights of the matrix. */
static organ_status restore_strip(void *context, const organ_calibration_strip *s, organ_error *error)
{
    const matrix_storing *const x = context;
    if (organ_write_read(x->job->base.run, x->part, s->stored, s->bytes, s->at, error) != ORGAN_OK)
        return error->status;
    return organ_calibration_widen(x->job->calib, s, error);
}

/* Implements organ_calibration_work.restore: reads into `weights` a matrix that an interrupted run has written. */
organ_status organ_calibrated_restore(void *context, const organ_calibration_matrix *matrix, float *weights,
                                      organ_error *error)
{
    organ_calibrated_job *const job = context;
    matrix_storing x = {job, matrix->target};
    return organ_calibration_strips(job->calib, job->base.units[x.part].tensor, matrix->matrix, weights, &x,
                                    restore_strip, error);
}

/* Prunes one matrix of the walk. If this rank writes the matrix (matrix->own), adds its figures to those of the target
 * and writes its strips; the last matrix of a target completes the target. */
organ_status organ_calibrated_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                     organ_error *error)
{
    organ_calibrated_job *const job = context;
    /* With a text each target is one unit, of the same index. */
    organ_prune_part *const part = &job->base.units[matrix->target];
    matrix_storing x = {job, matrix->target};
    uint8_t *const keep = malloc((size_t)(matrix->rows * matrix->cols));
    if (!keep)
        return organ_fail_memory(error, part->tensor->name);
    organ_prune_matrix_report report;
    if (organ_calibrated_prune(job, matrix, organ_calibrated_options_of(job, x.part), weights, keep, &report, error) ==
            ORGAN_OK &&
        matrix->own)
        organ_calibrated_note(job, x.part, matrix->calibration, &report);
    if (!error->status && matrix->own)
        organ_calibration_note_fallback(&job->parts[x.part].fallback, matrix);
    free(keep);
    if (error->status || !matrix->own ||
        organ_calibration_strips(job->calib, part->tensor, matrix->matrix, weights, &x, store_strip, error) != ORGAN_OK)
        return error->status;
    return matrix->matrix + 1 == organ_tensor_matrices(part->tensor).count
               ? organ_prune_part_done(&job->base, part, error)
               : ORGAN_OK;
}
