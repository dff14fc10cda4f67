/* SPDX-License-Identifier: MIT
 * Units of a pruning: divides the targets, writes and records units, restores those of an interrupted run.
 * Ranks: rank 0 writes prune.jsonl, which has a line for each target of the whole model. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/prune/prune_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include <organ/machine.h>
#include <organ/report.h>

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The result is the argument `rows` of organ_cuts_make. physarum-v1 cuts targets between its tiles; magnitude, which
 * ranks the weights of a whole matrix, between the matrices of a stack. Targets with one gain or share of a budget,
 * or with figures of their own, are not cut. */
static uint64_t cut_rows(const organ_prune_job *job)
{
    if (job->method->tiles && !job->divides)
        return job->options->block_size;
    return job->method->method == ORGAN_PRUNE_MAGNITUDE ? ORGAN_CUT_MATRICES : ORGAN_CUT_NEVER;
}

/* All gains are ORGAN_PHYSARUM_GAIN or, if a sparsity was requested or is divided among the targets, 0: not searched
 * yet. */
organ_status organ_prune_units_open(organ_prune_job *job, organ_error *error)
{
    const organ_targets *const targets = &job->targets;
    const double gain = job->options->sparsity < 0 && !job->divides ? ORGAN_PHYSARUM_GAIN : 0.0;
    if (organ_cuts_make(targets->tensors, targets->count, cut_rows(job), &job->cuts, error))
        return error->status;
    job->parts = organ_rows_take(targets->count, sizeof *job->parts);
    job->units = organ_rows_take(job->cuts.count, sizeof *job->units);
    job->clocks = calloc(job->donor->file_count, sizeof *job->clocks);
    job->found_before = organ_rows_take(targets->count, sizeof *job->found_before);
    if (!job->parts || !job->units || !job->clocks || !job->found_before)
        return organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < targets->count; k++)
        job->parts[k] = (organ_prune_part){.tensor = targets->tensors[k], .target = k, .gain = gain};
    for (size_t k = 0; k < job->cuts.count; k++) {
        const organ_cut *const cut = &job->cuts.list[k];
        job->units[k] = (organ_prune_part){.tensor = &cut->tensor, .target = cut->of, .gain = gain};
        job->clocks[cut->tensor.file].units_left++;
    }
    return organ_magnitudes_open(job->donor, targets->tensors, targets->count, ORGAN_MAGNITUDES_ENOUGH,
                                 job->engine->kernels, &job->sizes, error);
}

void organ_prune_units_close(organ_prune_job *job)
{
    json_decref(job->checks);
    json_decref(job->tile_map);
    json_decref(job->magnitudes);
    organ_magnitudes_close(job->sizes);
    organ_rows_free(job->found_before);
    free(job->clocks);
    organ_cuts_release(&job->cuts);
    organ_rows_free(job->parts);
    organ_rows_free(job->units);
}

void organ_prune_units_begin(organ_prune_job *job, organ_writing *writing)
{
    job->run = writing;
    for (size_t k = 0; k < job->cuts.count; k++)
        job->units[k].told = job->units[k].done = organ_write_done(writing, k);
}

static void report_shard(const organ_prune_job *job, size_t file)
{
    char in_it[32], so_far[32], of[32];
    uint64_t here = 0, all = 0, processed = 0;
    for (size_t k = 0; k < job->cuts.count; k++) {
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
    return organ_magnitudes_add(job->sizes, unit->target, data, job->cuts.list[unit - job->units].at + at, bytes,
                                error);
}

organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    const size_t index = (size_t)(unit - job->units);
    if (organ_write_put(job->run, index, data, bytes, at, NULL, error) ||
        organ_cuts_digest(&job->cuts, index, data, bytes, at, error))
        return error->status;
    job->pruned_bytes += bytes;
    organ_progress_advance(job->progress, bytes, NULL, NULL);
    return ORGAN_OK;
}

organ_status organ_prune_part_record(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    const size_t index = (size_t)(unit - job->units);
    if (organ_cuts_is_whole(&job->cuts, index))
        memcpy(unit->xxh3, job->cuts.xxh3[unit->target], sizeof unit->xxh3);
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
    organ_progress_advance(job->progress, 0, job->cuts.list[index].unit, remark);
    if (--job->clocks[unit->tensor->file].units_left == 0)
        report_shard(job, unit->tensor->file);
}

organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    if (organ_prune_part_record(job, unit, error) == ORGAN_OK)
        organ_prune_part_report(job, unit);
    return error->status;
}

static uint64_t prune_count_of(const json_t *line, const char *key)
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
    const bool is_whole = organ_cuts_is_whole(&job->cuts, item);
    if (!digest || strlen(digest) + 1 != (is_whole ? sizeof unit->xxh3 : 1))
        return false;
    memcpy(unit->xxh3, digest, strlen(digest) + 1);
    if (is_whole)
        memcpy(job->cuts.xxh3[unit->target], unit->xxh3, sizeof unit->xxh3);
    unit->counts = (organ_prune_counts){.zero_before = prune_count_of(line, "zero_before"),
                                        .killed = prune_count_of(line, "killed"),
                                        .kept = prune_count_of(line, "kept")};
    unit->tiles = prune_count_of(line, "tiles");
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
        organ_prune_part all = job->units[job->cuts.first[t]];
        for (size_t k = job->cuts.first[t] + 1; k < job->cuts.first[t + 1]; k++) {
            const organ_prune_part *const unit = &job->units[k];
            all.done = all.done && unit->done;
            all.tiles += unit->tiles;
            all.counts.zero_before += unit->counts.zero_before;
            all.counts.killed += unit->counts.killed;
            all.counts.kept += unit->counts.kept;
        }
        all.tensor = job->targets.tensors[t];
        memcpy(all.xxh3, job->cuts.xxh3[t], sizeof all.xxh3);
        job->parts[t] = all;
    }
}

static organ_status print_lines(const void *context, FILE *out, organ_error *error)
{
    const organ_prune_job *const job = context;
    for (size_t k = 0; k < job->targets.count && !error->status; k++) {
        json_t *line = organ_prune_line(job, &job->parts[k]);
        organ_document_line(line, out, error);
        json_decref(line);
    }
    return error->status;
}

/* Rank 0 writes prune.jsonl next to the other reports in `to`. */
organ_status organ_prune_check(void *context, const char *to, const char *path, organ_error *error)
{
    organ_prune_job *const job = context;
    char *lines_path = NULL;
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
    organ_printed_write(lines_path, print_lines, job, error);
    free(lines_path);
    return error->status;
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
