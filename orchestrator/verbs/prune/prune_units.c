/* SPDX-License-Identifier: MIT
 * Units of a pruning: divides the targets, writes and records units, restores those of an interrupted run.
 * Ranks: rank 0 writes prune.jsonl, which has a line for each target of the whole model. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "formats/base/plain_numbers.h"
#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <malloc.h>
#include <organ/base.h>
#include <organ/machine.h>
#include <organ/report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The result is the argument `rows` of organ_stretches_make. physarum-v1 divides targets between its tiles; magnitude,
 * which ranks the weights of a whole matrix, between the matrices of a stack. Targets with one gain or share of a
 * budget, or with figures of their own, are not divided. */
static uint64_t stretch_rows(const organ_prune_job *job)
{
    if (job->method->tiles && !job->divides)
        return job->options->block_size;
    return job->method->method == ORGAN_PRUNE_MAGNITUDE ? ORGAN_STRETCH_MATRICES : ORGAN_STRETCH_WHOLE;
}

/* All gains are ORGAN_PHYSARUM_GAIN or, if a sparsity was requested or is divided among the targets, 0: not searched
 * yet. */
organ_status organ_prune_units_open(organ_prune_job *job, organ_error *error)
{
    const organ_targets *const targets = &job->targets;
    const double gain = job->options->sparsity < 0 && !job->divides ? ORGAN_PHYSARUM_GAIN : 0.0;
    if (organ_stretches_make(targets->tensors, targets->count, stretch_rows(job), &job->stretches, error))
        return error->status;
    job->parts = organ_rows_take(targets->count, sizeof *job->parts);
    job->units = organ_rows_take(job->stretches.count, sizeof *job->units);
    job->clocks = organ_take_zeros(&job->buffers, job->donor->file_count, sizeof *job->clocks);
    job->found_before = organ_rows_take(targets->count, sizeof *job->found_before);
    if (!job->parts || !job->units || !job->clocks || !job->found_before)
        return organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < targets->count; k++)
        job->parts[k] = (organ_prune_part){.tensor = targets->tensors[k], .target = k, .gain = gain};
    for (size_t k = 0; k < job->stretches.count; k++) {
        const organ_stretch *const stretch = &job->stretches.list[k];
        job->units[k] = (organ_prune_part){.tensor = &stretch->tensor, .target = stretch->of, .gain = gain};
        job->clocks[stretch->tensor.file].units_left++;
    }
    return organ_magnitudes_open(job->donor, targets->tensors, targets->count, ORGAN_MAGNITUDES_ENOUGH,
                                 job->engine->kernels, &job->sizes, error);
}

void organ_prune_units_close(organ_prune_job *job)
{
    ORGAN_DECREF(job->checks, job->tile_map, job->magnitudes);
    organ_magnitudes_close(job->sizes);
    organ_rows_free(job->found_before);
    organ_stretches_release(&job->stretches);
    organ_rows_free(job->parts);
    organ_rows_free(job->units);
}

void organ_prune_units_begin(organ_prune_job *job, organ_writing *writing)
{
    job->run = writing;
    for (size_t k = 0; k < job->stretches.count; k++)
        job->units[k].told = job->units[k].done = organ_write_done(writing, k);
}

static void report_shard(const organ_prune_job *job, size_t file)
{
    char in_it[32], so_far[32], of[32];
    uint64_t here = 0, all = 0, processed = 0;
    for (size_t k = 0; k < job->stretches.count; k++) {
        const organ_prune_part *const unit = &job->units[k];
        here += unit->tensor->file == file ? unit->counts.killed : 0;
        all += unit->told ? unit->counts.killed : 0;
        processed += unit->told ? unit->tensor->elements : 0;
    }
    organ_progress_note(job->progress, "%s is done: %s weights killed in it, %s of %s target weights so far",
                        job->donor->files[file].name, organ_count_text(here, in_it), organ_count_text(all, so_far),
                        organ_count_text(processed, of));
}

/* If an interrupted run or another rank has written a unit of the target, nothing is added: organ_magnitudes_json
 * counts the whole target later. */
organ_status organ_prune_part_count(organ_prune_job *job, const organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    if (job->found_before[unit->target])
        return ORGAN_OK;
    return organ_magnitudes_add(job->sizes, unit->target, data, job->stretches.list[unit - job->units].at + at, bytes,
                                error);
}

#define WRITTEN_TOGETHER ((size_t)1 << 20) /* bytes that one worker writes and counts */

typedef struct part_bytes {
    organ_prune_job *job;
    const organ_prune_part *unit;
    const char *data;
    size_t bytes;
    uint64_t at;
} part_bytes;

/* Task 0 digests all bytes, because a digest needs them in order; task k > 0 writes and counts piece k - 1. */
static organ_status write_piece(void *context, size_t task, size_t worker, organ_error *error)
{
    const part_bytes *const w = context;
    organ_prune_job *const job = w->job;
    const size_t index = (size_t)(w->unit - job->units);
    (void)worker;
    if (task == 0)
        return organ_stretches_digest(&job->stretches, index, w->data, w->bytes, w->at, error);
    const size_t from = (task - 1) * WRITTEN_TOGETHER, some = organ_min(WRITTEN_TOGETHER, w->bytes - from);
    if (organ_write_put(job->run, index, w->data + from, some, w->at + from, NULL, error))
        return error->status;
    return organ_prune_part_count(job, w->unit, w->data + from, some, w->at + from, error);
}

organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    part_bytes w = {job, unit, data, bytes, at};
    if (organ_share_try(job->engine, 1 + organ_pieces_of(bytes, WRITTEN_TOGETHER), write_piece, &w, error))
        return error->status;
    job->pruned_bytes += bytes;
    organ_progress_advance(job->progress, bytes, NULL, NULL);
    return ORGAN_OK;
}

organ_status organ_prune_part_record(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    const size_t index = (size_t)(unit - job->units);
    if (organ_stretches_is_whole(&job->stretches, index))
        memcpy(unit->xxh3, job->stretches.xxh3[unit->target], sizeof unit->xxh3);
    if (organ_write_finish(job->run, index, organ_prune_line(job, unit), error))
        return error->status;
    unit->done = true;
    return ORGAN_OK;
}

void organ_prune_part_report(organ_prune_job *job, organ_prune_part *unit)
{
    const size_t index = (size_t)(unit - job->units);
    char remark[32];
    unit->told = true;
    organ_snprintf(remark, sizeof remark, "%.2f %% killed", organ_percent(unit->counts.killed, unit->tensor->elements));
    organ_progress_advance(job->progress, 0, job->stretches.list[index].unit, remark);
    if (--job->clocks[unit->tensor->file].units_left == 0)
        report_shard(job, unit->tensor->file);
}

organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    if (organ_prune_part_record(job, unit, error) == ORGAN_OK)
        organ_prune_part_report(job, unit);
    return error->status;
}

static uint64_t count_of(const json_t *line, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(line, key));
}

/* An interrupted run or another rank has finished the unit; `line` is the result of organ_prune_line. Returns false
 * if `line` is malformed: the digest must have 16 digits for a unit that is a whole target, and be empty for any
 * other. */
bool organ_prune_recall(void *context, size_t item, const json_t *line)
{
    organ_prune_job *const job = context;
    organ_prune_part *const unit = &job->units[item];
    const char *const digest = json_string_value(json_object_get(line, "xxh3"));
    const bool is_whole = organ_stretches_is_whole(&job->stretches, item);
    if (!digest || strlen(digest) + 1 != (is_whole ? sizeof unit->xxh3 : 1))
        return false;
    memcpy(unit->xxh3, digest, strlen(digest) + 1);
    if (is_whole)
        memcpy(job->stretches.xxh3[unit->target], unit->xxh3, sizeof unit->xxh3);
    unit->counts = (organ_prune_counts){.zero_before = count_of(line, "zero_before"),
                                        .killed = count_of(line, "killed"),
                                        .kept = count_of(line, "kept")};
    unit->tiles = count_of(line, "tiles");
    unit->gain = job->parts[unit->target].gain = json_real_value(json_object_get(line, "gain"));
    if (job->figures)
        organ_prune_recall_figures(job, unit->target, line);
    unit->done = true;
    job->found_before[unit->target] = true;
    job->clocks[unit->tensor->file].units_left--;
    return true;
}

/* All ranks have written all units. The gain is that of the first unit, since all units of a target have the same
 * one. */
static void sum_units(organ_prune_job *job)
{
    for (size_t t = 0; t < job->targets.count; t++) {
        organ_prune_part all = job->units[job->stretches.first[t]];
        for (size_t k = job->stretches.first[t] + 1; k < job->stretches.first[t + 1]; k++) {
            const organ_prune_part *const unit = &job->units[k];
            all.done = all.done && unit->done;
            all.tiles += unit->tiles;
            all.counts.zero_before += unit->counts.zero_before;
            all.counts.killed += unit->counts.killed;
            all.counts.kept += unit->counts.kept;
        }
        all.tensor = job->targets.tensors[t];
        memcpy(all.xxh3, job->stretches.xxh3[t], sizeof all.xxh3);
        job->parts[t] = all;
    }
}

static organ_status print_lines(const void *context, FILE *out, organ_error *error)
{
    const organ_prune_job *const job = context;
    for (size_t k = 0; k < job->targets.count && !error->status; k++) {
        ORGAN_OWNED_JSON json_t *line = organ_prune_line(job, &job->parts[k]);
        organ_document_line(line, out, error);
    }
    return error->status;
}

/* Rank 0 writes prune.jsonl next to the other reports in `to`. */
organ_status organ_prune_check(void *context, const char *to, const char *path, organ_error *error)
{
    organ_prune_job *const job = context;
    ORGAN_OWNED char *lines_path = NULL;
    sum_units(job);
    organ_rows_free(job->units); /* makes room for the tensor list of the output */
    job->units = NULL;
    malloc_trim(0); /* returns freed pages of the heap to the system */
    if (organ_prune_check_copy(job, path, error) || !organ_ranks_first(job->engine->ranks))
        return error->status;
    lines_path = organ_output_report_path(to, job->options->write.output,
                                          organ_output_is_file(job->options->write.output), ORGAN_PRUNE_LINES);
    if (!lines_path)
        return organ_fail_memory(error, to);
    return organ_printed_write(lines_path, print_lines, job, error);
}

/* ---- figures of the methods other than physarum-v1 ---- */

void organ_prune_compare(const organ_prune_job *job, organ_dtype dtype, const void *donor, const void *stored, size_t n,
                         organ_audit_counts *counts)
{
    const organ_kernels *const kernels = job->engine->kernels;
    if (dtype == ORGAN_F32)
        kernels->audit_32(donor, stored, n, counts);
    else
        kernels->audit_16(donor, stored, n, counts);
}

void organ_prune_count(organ_prune_job *job, size_t unit, const organ_audit_counts *c)
{
    organ_prune_part *const p = &job->units[unit];
    p->counts.zero_before += c->zero_before;
    p->counts.killed += c->killed;
    p->counts.kept += c->kept + c->changed;
    job->figures[p->target].compensated += c->changed;
}

/* The natural sparsity of a target is the mean over its matrices. */
void organ_prune_note(organ_prune_job *job, size_t part, const organ_calibration *calibration,
                      const organ_prune_matrix_report *r)
{
    organ_prune_figures *const result = &job->figures[part];
    result->natural += r->natural_sparsity / (double)organ_tensor_matrices(job->targets.tensors[part]).count;
    result->stages = r->stages;
    result->products += r->products;
    result->block_diagonal |= r->block_diagonal;
    result->tokens += calibration ? organ_calibration_moments(calibration)->tokens : 0;
}

/* ---- pruning during a calibration walk ---- */

/* Prunes one matrix during a calibration walk, rounds it to the type that the donor stores, counts
 * the changes and writes it. */

/* Matrices with the same inputs that follow this one use its factors (organ_prune_shared), which are freed after the
 * last of them. */
static organ_status prune_sharing(organ_prune_shared *shared, const organ_engine *engine,
                                  const organ_calibration_matrix *m, organ_prune_matrix_options prune_options,
                                  float *weights, uint8_t *keep, organ_prune_matrix_report *report, organ_error *error)
{
    organ_engine own = *engine;
    own.ranks = m->ranks;
    organ_prune_share(shared, &prune_options, m->calibration, m->users_left > 0, m->spare);
    organ_prune_matrix(&own, &prune_options, m->calibration, weights, (size_t)m->rows, (size_t)m->cols, keep, report,
                       error);
    if (m->users_left == 0)
        organ_prune_share_end(shared);
    return error->status;
}

organ_status organ_prune_walked(organ_prune_job *job, const organ_calibration_matrix *m,
                                organ_prune_matrix_options prune_options, float *weights, uint8_t *keep,
                                organ_prune_matrix_report *report, organ_error *error)
{
    return prune_sharing(&job->shared, job->engine, m, prune_options, weights, keep, report, error);
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
        organ_calibration_round(job->calib, &piece, error) != ORGAN_OK)
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
    const organ_prune_job *const job = context;
    const organ_prune_matrix_options options = organ_prune_options_of(job, /*part=*/0, tensor->name);
    return organ_prune_matrix_memory(job->engine, &options, m.rows, m.cols) +
           organ_calibration_strip_memory(calib, tensor);
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

/* solve_walked_matrices keeps this of a matrix until change_walked_matrix stores the matrix. */
typedef struct solved_matrix {
    organ_prune_matrix_report report;
    organ_buffers buffers;
} solved_matrix;

static void drop_solved(void *solved)
{
    if (solved)
        organ_buffers_release(&((solved_matrix *)solved)->buffers);
}

/* Matrices with the same inputs share factors. */
static organ_status solve_walked_matrices(void *context, const organ_engine *engine, organ_calibration_solving *solving,
                                          size_t count, organ_error *error)
{
    const organ_prune_job *const job = context;
    organ_prune_shared shared = {0};
    for (size_t k = 0; k < count && !error->status; k++) {
        organ_calibration_solving *const x = &solving[k];
        const char *const name = job->targets.tensors[x->matrix.target]->name;
        const organ_prune_matrix_options options = organ_prune_options_of(job, x->matrix.target, name);
        ORGAN_OWNED_BUFFERS buffers = {0};
        organ_buffers own = {0};
        uint8_t *const keep = organ_take(&buffers, (size_t)x->matrix.rows, (size_t)x->matrix.cols);
        solved_matrix *const solved = organ_take(&own, 1, sizeof *solved);
        if (!keep || !solved)
            organ_fail_memory(error, name);
        else
            prune_sharing(&shared, engine, &x->matrix, options, x->weights, keep, &solved->report, error);
        if (error->status) {
            organ_buffers_release(&own);
            break;
        }
        solved->buffers = own;
        x->solved = solved;
    }
    organ_prune_share_end(&shared);
    return error->status;
}

/* The report is that of solve_walked_matrices or is made here, with factors that are shared with the next matrices. */
static organ_status walked_report(organ_prune_job *job, const organ_calibration_matrix *matrix, float *weights,
                                  organ_prune_matrix_report *report, organ_error *error)
{
    const char *const name = job->targets.tensors[matrix->target]->name;
    if (matrix->solved) {
        *report = ((const solved_matrix *)matrix->solved)->report;
        return ORGAN_OK;
    }
    ORGAN_OWNED_BUFFERS buffers = {0};
    uint8_t *const keep = organ_take(&buffers, (size_t)matrix->rows, (size_t)matrix->cols);
    if (!keep)
        return organ_fail_memory(error, name);
    return organ_prune_walked(job, matrix, organ_prune_options_of(job, matrix->target, name), weights, keep, report,
                              error);
}

/* If this rank writes the matrix (matrix->own), its figures are added to those of the target. The last matrix of a
 * target completes the target. */
static organ_status change_walked_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                         organ_error *error)
{
    organ_prune_job *const job = context;
    /* With a text each target is one unit, of the same index. */
    organ_prune_part *const part = &job->units[matrix->target];
    matrix_storing x = {job, matrix->target};
    organ_prune_matrix_report report;
    if (walked_report(job, matrix, weights, &report, error) == ORGAN_OK && matrix->own)
        organ_prune_note(job, x.part, matrix->calibration, &report);
    if (!error->status && matrix->own)
        organ_calibration_note_fallback(&job->figures[x.part].fallback, matrix);
    if (error->status || !matrix->own ||
        organ_calibration_strips(job->calib, part->tensor, matrix->matrix, weights, &x, store_strip, error) != ORGAN_OK)
        return error->status;
    return matrix->matrix + 1 == organ_tensor_matrices(part->tensor).count ? organ_prune_part_done(job, part, error)
                                                                           : ORGAN_OK;
}

static void end_sharing(void *context) { organ_prune_share_end(&((organ_prune_job *)context)->shared); }

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
                                                .blocks = job->blocks,
                                                .seed = c->seed};
    job->work = (organ_calibration_work){.context = job,
                                         .memory = matrix_memory,
                                         .done = matrix_done,
                                         .restore = restore_matrix,
                                         .change = change_walked_matrix,
                                         .solve = solve_walked_matrices,
                                         .drop = drop_solved,
                                         .forget = end_sharing,
                                         .transposed = true,
                                         .grouped = job->method->method == ORGAN_PRUNE_PHYSARUM_V3,
                                         .rows = job->method->rows && job->compensates};
    return organ_calibration_run_open(&job->walk, job->donor, &job->targets, &job->work, job->engine, job->progress,
                                      &job->calib, error);
}
