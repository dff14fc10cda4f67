/* SPDX-License-Identifier: MIT
 * Runs organ prune. Ranks: rank 0 writes prune.jsonl, which has a line for each target of the whole model. */
#include "orchestrator/surgery/prune/prune_job.h"

#include <organ/base.h>
#include "formats/base/paged_rows.h"
#include <organ/machine.h>
#include "orchestrator/machine/stopwatch.h"
#include <organ/report.h>
#include "orchestrator/stream/band_plan.h"
#include "orchestrator/stream/model_copy.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/output/output.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Constants for the plan of a dry run. */
#define ITERATION 32.0 /* operations that take as long as one iteration of the flow does for one weight */
#define SEARCHES  5.0  /* typical number of passes over the donor, with a requested sparsity, that run the flow */

/* Context of the pass that prunes and writes. */
typedef struct writer {
    organ_prune_flow flow; /* first member: organ_prune_tile casts the context to it */
    organ_prune_job *job;
} writer;

/* Checks that the flow's parameters are in their ranges. A negative sparsity means that none was given. */
static organ_status prune_check_options(const organ_prune_options *o, organ_error *error)
{
    if (!organ_within(o->block_size, ORGAN_PRUNE_BLOCK_SIZES))
        return organ_fail(error, ORGAN_USAGE, "block size %u is outside %d .. %d", o->block_size,
                          ORGAN_PRUNE_BLOCK_SIZES);
    if (!organ_within(o->iterations, ORGAN_PRUNE_ITERATIONS))
        return organ_fail(error, ORGAN_USAGE, "%u iterations are outside %d .. %d", o->iterations,
                          ORGAN_PRUNE_ITERATIONS);
    if (!organ_within(o->beta, ORGAN_PRUNE_BETAS) || o->beta == 0)
        return organ_fail(error, ORGAN_USAGE, "beta %g is outside %d (excluded) .. %d", o->beta, ORGAN_PRUNE_BETAS);
    if (!organ_within(o->coupling, ORGAN_PRUNE_COUPLINGS))
        return organ_fail(error, ORGAN_USAGE, "coupling %g is outside %d .. %d", o->coupling, ORGAN_PRUNE_COUPLINGS);
    if (!(o->sparsity < 0) && !(o->sparsity > 0 && o->sparsity < 100)) /* rejects NaN too */
        return organ_fail(error, ORGAN_USAGE, "sparsity %g is not between 0 and 100 percent", o->sparsity);
    return ORGAN_OK;
}

/* Returns ORGAN_USAGE unless this CPU, with these parameters, computes the same bits of the flow as all other CPUs. A
 * CPU without FMA does so only if the flow needs no pow: beta is 2, and coupling is 0 or 1. */
static organ_status check_cpu(const organ_prune_options *o, organ_error *error)
{
    const organ_physarum_params params = {.beta = (float)o->beta, .coupling = (float)o->coupling};
    if (!organ_physarum_runs(organ_cpu_detect(), &params))
        return organ_fail(error, ORGAN_USAGE,
                          "this CPU has no FMA: it runs --beta 2 with --coupling 0 or 1 only, not %g with %g", o->beta,
                          o->coupling);
    return ORGAN_OK;
}

/* Checks the ranges of the options and the CPU. */
organ_status organ_prune_check_options(const organ_prune_options *options, organ_error *error)
{
    return prune_check_options(options, error) ? error->status : check_cpu(options, error);
}

/* Cuts the targets into units, allocates and fills job->parts and job->units, and counts the units of each shard in
 * units_left. All gains are ORGAN_PHYSARUM_GAIN or, if a sparsity was requested (--sparsity) or is divided
 * among the targets (job->divides), 0: not searched yet. */
static organ_status list_parts(organ_prune_job *job, organ_error *error)
{
    const organ_targets *const targets = &job->targets;
    const double gain = job->options->sparsity < 0 && !job->divides ? ORGAN_PHYSARUM_GAIN : 0.0;
    const uint64_t rows = job->kind->cuts ? job->kind->cuts(job) : ORGAN_CUT_NEVER;
    if (organ_cuts_make(targets->tensors, targets->count, rows, &job->cuts, error))
        return error->status;
    job->parts = organ_rows_take(targets->count, sizeof *job->parts);
    job->units = organ_rows_take(job->cuts.count, sizeof *job->units);
    job->state->clocks = calloc(job->donor->file_count, sizeof *job->state->clocks);
    job->state->found_before = organ_rows_take(targets->count, sizeof *job->state->found_before);
    if (!job->parts || !job->units || !job->state->clocks || !job->state->found_before)
        return organ_fail_memory(error, job->donor->path);
    for (size_t k = 0; k < targets->count; k++)
        job->parts[k] = (organ_prune_part){.tensor = targets->tensors[k], .target = k, .gain = gain};
    for (size_t k = 0; k < job->cuts.count; k++) {
        const organ_cut *const cut = &job->cuts.list[k];
        job->units[k] = (organ_prune_part){.tensor = &cut->tensor, .target = cut->of, .gain = gain};
        job->state->clocks[cut->tensor.file].units_left++;
    }
    return ORGAN_OK;
}

/* Opens the donor, selects the targets, cuts them into units, and opens the histogram of magnitudes. An organ directory
 * is rejected. */
organ_status organ_prune_job_open(organ_prune_job *job, organ_error *error)
{
    if (!(job->state = calloc(1, sizeof *job->state)))
        return organ_fail_memory(error, job->options->donor);
    job->state->started_at = time(NULL);
    if (organ_donor_open(job->options->donor, "pruned", job->progress, &job->donor, error))
        return error->status;
    const organ_model *donor = job->donor;
    if (donor->manifest)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: is an organ directory: make a model of it with 'organ assemble' and prune that",
                          donor->path);
    if (organ_targets_select_floats(donor, job->options->targets, "pruned", &job->targets, error) ||
        (job->kind->narrow && !job->options->targets && job->kind->narrow(job, error)) ||
        organ_model_fingerprint(donor, job->fingerprint, error))
        return error->status;
    if (list_parts(job, error) ||
        organ_magnitudes_open(donor, job->targets.tensors, job->targets.count, ORGAN_MAGNITUDES_ENOUGH,
                              job->engine->kernels, &job->state->sizes, error))
        return error->status;
    /* An output that is a single file has no copies of the donor's other files. */
    return organ_output_is_file(job->options->write.output)
               ? ORGAN_OK
               : organ_model_other_files(donor, &job->state->others, error);
}

/* Frees the state of a job; NULL is allowed. */
static void free_state(organ_prune_state *state)
{
    if (!state)
        return;
    json_decref(state->checks);
    json_decref(state->tile_map);
    json_decref(state->magnitudes);
    organ_magnitudes_close(state->sizes);
    organ_list_free(&state->others);
    organ_rows_free(state->found_before);
    free(state->clocks);
    free(state);
}

/* Frees the members that organ_prune_job_open has set; those that were not set yet are NULL. */
void organ_prune_job_close(organ_prune_job *job)
{
    free_state(job->state);
    organ_targets_free(&job->targets);
    organ_model_close(job->donor);
    organ_cuts_free(&job->cuts);
    organ_rows_free(job->parts);
    organ_rows_free(job->units);
}

/* Prints a note that shard number `file` is done, with the number of weights that were killed in this shard and in all
 * reported units, and the number of weights of all reported units. */
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

/* Adds the bytes of a unit to the histogram of magnitudes. If an interrupted run or another rank has written a unit of
 * the target, nothing is added: organ_magnitudes_json counts the whole target later. */
organ_status organ_prune_part_count(organ_prune_job *job, const organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    if (job->state->found_before[unit->target])
        return ORGAN_OK;
    return organ_magnitudes_add(job->state->sizes, unit->target, data, job->cuts.list[unit - job->units].at + at, bytes,
                                error);
}

/* Writes bytes of a unit into the output, and adds them to the digest of its target. */
organ_status organ_prune_part_write(organ_prune_job *job, organ_prune_part *unit, const void *data, size_t bytes,
                                    uint64_t at, organ_error *error)
{
    const size_t index = (size_t)(unit - job->units);
    if (organ_write_put(job->run, index, data, bytes, at, NULL, error) ||
        organ_cuts_digest(&job->cuts, index, data, bytes, at, error))
        return error->status;
    job->state->pruned_bytes += bytes;
    organ_progress_advance(job->progress, bytes, NULL, NULL);
    return ORGAN_OK;
}

/* Appends the line of a completely written unit to the journal and marks the unit as done. */
static organ_status record_unit(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    const size_t index = (size_t)(unit - job->units);
    if (organ_cuts_is_whole(&job->cuts, index))
        memcpy(unit->xxh3, job->cuts.xxh3[unit->target], sizeof unit->xxh3);
    if (organ_write_finish(job->run, index, organ_prune_line(job, unit), error))
        return error->status;
    unit->done = true;
    return ORGAN_OK;
}

/* Reports progress: for a unit that is done, and for its shard if no other unit of the shard is left. */
static void report_unit(organ_prune_job *job, organ_prune_part *unit)
{
    const size_t index = (size_t)(unit - job->units);
    char remark[32];
    unit->told = true;
    snprintf(remark, sizeof remark, "%.2f %% killed", organ_percent(unit->counts.killed, unit->tensor->elements));
    organ_progress_advance(job->progress, 0, job->cuts.list[index].unit, remark);
    if (--job->state->clocks[unit->tensor->file].units_left == 0)
        report_shard(job, unit->tensor->file);
}

organ_status organ_prune_part_done(organ_prune_job *job, organ_prune_part *unit, organ_error *error)
{
    if (record_unit(job, unit, error) == ORGAN_OK)
        report_unit(job, unit);
    return error->status;
}

/* Implements organ_pass.store for a pruned band: keeps the digest of its bytes for the journal, and counts the
 * magnitudes, for which it reads rows of the donor again. */
static organ_status prune_store_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    const organ_prune_part *const unit = w->flow.parts[band->item];
    const uint64_t at = band->offset - unit->tensor->offset;
    if (organ_write_digest(w->job->run, (size_t)(unit - w->job->units), band->data, band->bytes, at, error))
        return error->status;
    return organ_prune_part_count(w->job, unit, band->data, band->bytes, at, error);
}

/* Implements organ_pass.write. */
static organ_status prune_write_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    const organ_prune_part *const unit = w->flow.parts[band->item];
    return organ_write_bytes(w->job->run, (size_t)(unit - w->job->units), band->data, band->bytes,
                             band->offset - unit->tensor->offset, error);
}

/* Implements organ_pass.follows: a target is digested in the order of its units. */
static bool unit_follows(const void *context, size_t item)
{
    const writer *const w = context;
    return w->flow.parts[item]->target == w->flow.parts[item - 1]->target;
}

/* Implements organ_pass.retire for a pruned band: adds its counts to its unit, and its bytes to the digest of the
 * target. */
static organ_status prune_retire_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    organ_prune_part *const unit = w->flow.parts[band->item];
    if (organ_prune_fold(w->job, unit, band, error))
        return error->status;
    return organ_cuts_digest(&w->job->cuts, (size_t)(unit - w->job->units), band->data, band->bytes,
                             band->offset - unit->tensor->offset, error);
}

/* Implements organ_pass.finish: records the unit as done. */
static organ_status prune_finish_unit(void *context, size_t item, organ_error *error)
{
    const writer *const w = context;
    organ_prune_state *const state = w->job->state;
    organ_prune_part *const unit = w->flow.parts[item];
    organ_shard_clock *const clock = &state->clocks[unit->tensor->file];
    clock->bytes += unit->tensor->bytes;
    clock->last = organ_seconds_now();
    state->pruned_bytes += unit->tensor->bytes;
    return record_unit(w->job, unit, error);
}

/* Implements organ_pass.tell. */
static void prune_tell_unit(void *context, size_t item)
{
    const writer *const w = context;
    report_unit(w->job, w->flow.parts[item]);
}

/* Implements organ_pass.advance. */
static void prune_advance(void *context, uint64_t bytes)
{
    const writer *const w = context;
    organ_progress_advance(w->job->progress, bytes, NULL, NULL);
}

/* Selects the units that this rank must still make. */
static bool part_is_pending(const organ_prune_part *part) { return !part->done; }

/* Sets the times of all shards to now. */
static void start_clocks(organ_prune_job *job)
{
    for (size_t f = 0; f < job->donor->file_count; f++)
        job->state->clocks[f].first = job->state->clocks[f].last = organ_seconds_now();
}

/* Sets the time at which each shard began, after the pass. start_clocks has set it to the start of the pass. But the
 * pass begins shards in order, so a shard began about when the last unit of the previous one was finished. */
static void finish_clocks(organ_prune_job *job)
{
    double before = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        if (job->state->clocks[f].bytes) {
            job->state->clocks[f].first = before > job->state->clocks[f].first ? before : job->state->clocks[f].first;
            before = job->state->clocks[f].last;
        }
}

/* Prunes and writes all units that this rank must still make, in one pass. */
static organ_status run_flow(organ_prune_job *job, organ_error *error)
{
    writer w = {.job = job};
    organ_pass pass;
    start_clocks(job);
    if (organ_prune_pass_make(job, part_is_pending, &w.flow, &pass, error) == ORGAN_OK) {
        pass.context = &w;
        pass.retire = prune_retire_band;
        pass.follows = unit_follows;
        pass.store = prune_store_band;
        pass.write = prune_write_band;
        pass.finish = prune_finish_unit;
        pass.tell = prune_tell_unit;
        pass.advance = prune_advance;
        pass.moves = organ_write_moves(job->run, &pass.behind);
        organ_pass_run(&pass, job->engine, error);
    }
    organ_prune_pass_free(&w.flow, &pass);
    finish_clocks(job);
    return error->status;
}

/* Restores the gains that an interrupted run found, from the journal lines with "gain_of". The lines are in the order
 * of the targets, so the search for a name starts at the target of the previous line. If a run searched again, a later
 * line of the same name replaces the gain. */
static void recall_gains(organ_prune_job *job)
{
    size_t k = 0, index;
    json_t *line;
    json_array_foreach(organ_write_lines(job->run), index, line)
    {
        const char *const name = json_string_value(json_object_get(line, "gain_of"));
        for (size_t tries = 0; name && tries < job->targets.count && strcmp(job->parts[k].tensor->name, name) != 0;
             tries++)
            k = (k + 1) % job->targets.count;
        if (name && strcmp(job->parts[k].tensor->name, name) == 0)
            job->parts[k].gain = json_real_value(json_object_get(line, "gain"));
    }
}

/* Finds the gains for the requested sparsity and appends them to the journal before anything is pruned, because the
 * search takes long. Gains that the journal of an interrupted run has are not searched again. Does nothing without a
 * sparsity. */
static organ_status find_gains(organ_prune_job *job, organ_error *error)
{
    if (job->options->sparsity < 0 && !job->divides)
        return ORGAN_OK;
    recall_gains(job);
    organ_prune_search_gains(job, error);
    for (size_t k = 0; k < job->targets.count && !error->status; k++)
        if (job->parts[k].gain != 0) /* 0: another rank prunes this target and searches its gain */
            organ_write_note(
                job->run,
                ORGAN_OBJECT(SET_TEXT("gain_of", job->parts[k].tensor->name), SET_REAL("gain", job->parts[k].gain)),
                false, error);
    return error->status;
}

/* Finds the gains if a sparsity was requested, then prunes and writes the units that this rank must still make. */
organ_status organ_prune_parts(organ_prune_job *job, organ_error *error)
{
    return find_gains(job, error) ? error->status : run_flow(job, error);
}

/* ---- callbacks of the writer ---- */

/* Returns the member `key` of a journal line as a count; 0 if it is missing. */
static uint64_t prune_count_of(const json_t *line, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(line, key));
}

/* Implements organ_write.recall: restores counts, gain and digest of unit number `item`, which an interrupted run or
 * another rank has finished, from `line`, the result of organ_prune_line. Returns false if `line` is malformed: the
 * digest must have 16 digits for a unit that is a whole target, and be empty for any other. */
static bool recall_part(void *context, size_t item, const json_t *line)
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
    if (job->kind->recall)
        job->kind->recall(job, unit, line);
    unit->done = true;
    job->state->found_before[unit->target] = true;
    job->state->clocks[unit->tensor->file].units_left--;
    return true;
}

/* Sets job->run, and `done` of the units that are in the output already or that another rank makes. */
void organ_prune_begin(organ_prune_job *job, organ_writing *writing)
{
    job->run = writing;
    for (size_t k = 0; k < job->cuts.count; k++)
        job->units[k].told = job->units[k].done = organ_write_done(writing, k);
}

/* Sets the counts of each target in job->parts to the sums over its units. All ranks have written all units. The gain
 * is that of the first unit, since all units of a target have the same one. */
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

/* Prints prune.jsonl: a line for each target. */
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

#define LINES_NAME "prune.jsonl" /* file name of the lines of print_lines */

/* Implements organ_write.check: sums up the counts of targets and compares the output at `path` with the donor. Then
 * rank 0 writes prune.jsonl next to the other reports in `to`. */
static organ_status check_copy(void *context, const char *to, const char *path, organ_error *error)
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
                                          organ_output_is_file(job->options->write.output), LINES_NAME);
    if (!lines_path)
        return organ_fail_memory(error, to);
    organ_printed_write(lines_path, print_lines, job, error);
    free(lines_path);
    return error->status;
}

/* Describes the pruning as an organ_write and runs it: organ_write_run calls job->kind->fill and the callbacks above.
 */
organ_status organ_prune_run(organ_prune_job *job, json_t **report, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    const organ_write made = {.model = job->donor,
                              .requested = &o->write,
                              ORGAN_WRITE_BY(job),
                              .replaced = job->targets.chosen,
                              .calib = job->calib,
                              .cuts = &job->cuts,
                              .definition = job->definition,
                              .stage = "pruning",
                              .name = "prune.json",
                              .markdown_name = "REPORT.md",
                              .lines_name = LINES_NAME,
                              .plan = &job->plan,
                              .model_is = "donor",
                              .fill = job->kind->fill,
                              .recall = recall_part,
                              .schema = "organ.prune/1",
                              .parameters = job->kind->parameters,
                              .identity = job->kind->identity,
                              .check = check_copy,
                              .document = organ_prune_document,
                              .finish_report = organ_prune_finish_report};
    return organ_write_run(&made, report, error);
}

/* Selects all units: every unit has a tensor. */
static bool every_part(const organ_prune_part *part) { return part->tensor; }

/* Adds the memory and the work of physarum v1 to job->plan: those of the pass over all units and of the tile map. */
organ_status organ_prune_estimate(organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    const size_t workers = organ_workers_count(job->engine->workers);
    const bool searches = o->sparsity >= 0 || job->divides;
    organ_prune_flow flow = {0};
    organ_pass pass = {0};
    if (organ_prune_pass_make(job, every_part, &flow, &pass, error) == ORGAN_OK)
        organ_plan_memory(&job->plan, organ_band_plan_enough(&pass, workers), 0);
    organ_prune_pass_free(&flow, &pass);
    for (size_t k = 0; k < job->targets.count; k++)
        organ_plan_memory(&job->plan, organ_tile_map_memory(job->targets.tensors[k], workers), 0);
    job->plan.products += (searches ? SEARCHES : 1) * ITERATION * o->iterations * (double)job->targets.elements;
    return error->status;
}

/* Implements organ_prune_kind.cuts: targets may be cut at rows that are multiples of the block size, between tiles. */
static uint64_t cut_between_blocks(const organ_prune_job *job) { return job->options->block_size; }

/* Implements organ_prune_kind.fill. */
static organ_status prune_fill(void *job, organ_writing *writing, organ_error *error)
{
    organ_prune_begin(job, writing);
    return organ_prune_parts(job, error);
}

static const organ_prune_kind version_1 = {
    .fill = prune_fill, .cuts = cut_between_blocks, .parameters = organ_prune_parameters};

/* Checks the options, opens the job and runs it. A dry run also gets the work of physarum v1. */
static organ_status prune_version_1(organ_prune_job *job, json_t **report, organ_error *error)
{
    if (organ_prune_check_options(job->options, error) || organ_prune_job_open(job, error) ||
        (job->options->write.dry_run && organ_prune_estimate(job, error)))
        return error->status;
    return organ_prune_run(job, report, error);
}

/* Prunes a model by physarum v1 (prune.h). */
organ_status organ_prune(const organ_prune_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error)
{
    organ_prune_job job = {
        .kind = &version_1, .definition = "physarum-v1/1", .options = options, .engine = engine, .progress = progress};
    const organ_report_work work = organ_report_begin(report);
    prune_version_1(&job, report, error);
    organ_prune_job_close(&job);
    return organ_report_end_partial(&work, options->donor, error);
}
