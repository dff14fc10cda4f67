/* SPDX-License-Identifier: MIT
 * physarum v1: runs the flow over the tiles of units, in a pass over the bytes of the donor's files, and searches the
 * gain with which each target gets the requested sparsity. A target has one gain for all its units. Ranks: if several
 * ranks prune units of a target, each round of the search adds the counts of all ranks. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/pass_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE  0.1     /* the search ends at this distance from the requested percentage, in percentage points */
#define MIN_GAIN   0x1p-30 /* kills everything */
#define MAX_GAIN   0x1p30  /* removes almost no weight; the squared flow stays finite */
#define MAX_ROUNDS 64      /* greatest number of tried gains */

/* Constants for the plan of a dry run. */
#define ITERATION 32.0 /* operations that take as long as one iteration of the flow does for one weight */
#define SEARCHES  5.0  /* typical number of passes over the donor, with a requested sparsity, that run the flow */

/* ---- the gain of a target ---- */

static void record_gain(organ_gain_search *s, double rate, double target_rate)
{
    const double error = fabs(rate - target_rate);
    if (s->rounds++ == 0 || error < s->best_error) {
        s->best = s->gain;
        s->best_error = error;
    }
    if (rate > target_rate) {
        s->low = s->gain;
        s->low_rate = rate;
    } else {
        s->high = s->gain;
        s->high_rate = rate;
    }
}

/* The gain is multiplied or divided by 4 until the bracket has two ends, then interpolated linearly between them.
 * The search is over if the best rate is within TOLERANCE of target_rate, after MAX_ROUNDS, or if the next gain is
 * out of range or was tried already. A gain can be tried already because gains are FP32 values: there may be no
 * other between the ends. Only IEEE operations are used, so every machine tries the same gains. */
bool organ_gain_step(organ_gain_search *s, double rate, double target_rate)
{
    record_gain(s, rate, target_rate);
    if (s->best_error <= TOLERANCE || s->rounds == MAX_ROUNDS)
        return true;
    const double tried = s->gain;
    if (s->high == 0.0)
        s->gain = s->low * 4.0;
    else if (s->low == 0.0)
        s->gain = s->high / 4.0;
    else {
        /* Linear interpolation, but not nearer than a tenth of the bracket to its ends: the rate is not linear in the
         * gain, so the bracket would shrink slowly. */
        double share = (s->low_rate - target_rate) / (s->low_rate - s->high_rate);
        if (share < 0.1)
            share = 0.1;
        else if (share > 0.9)
            share = 0.9;
        s->gain = (double)(float)(s->low + (s->high - s->low) * share);
    }
    return s->gain < MIN_GAIN || s->gain > MAX_GAIN || s->gain == tried || s->gain == s->low || s->gain == s->high;
}

/* ---- passes of the flow ---- */

typedef struct prune_flow {
    const organ_kernels *kernels;
    organ_physarum_params params; /* parameters of all tiles, except the gain, which each unit has */
    organ_prune_part **parts;     /* the unit of each item of the pass */
    organ_buffers buffers;
} prune_flow;

static void prune_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const prune_flow *flow = context;
    const organ_prune_part *part = flow->parts[tile->item];
    organ_physarum_params params = flow->params;
    params.gain = (float)part->gain;
    if (part->tensor->dtype == ORGAN_F32)
        flow->kernels->physarum_f32(tile->data, tile->rows, tile->cols, tile->stride, &params, scratch, result);
    else if (part->tensor->dtype == ORGAN_F16)
        flow->kernels->physarum_f16(tile->data, tile->rows, tile->cols, tile->stride, &params, scratch, result);
    else
        flow->kernels->physarum_bf16(tile->data, tile->rows, tile->cols, tile->stride, &params, scratch, result);
}

/* The pass covers the units for which `is_selected` returns true, in tiles of block_size x block_size weights. The
 * caller sets pass->context (a struct that begins with *flow) and pass->retire, and releases flow->buffers, also after
 * an error. The result of a tile is an organ_prune_counts. */
static organ_status flow_pass_make(const organ_prune_job *job, bool (*is_selected)(const organ_prune_part *part),
                                   prune_flow *flow, organ_pass *pass, organ_error *error)
{
    const organ_prune_options *options = job->options;
    const size_t block = options->block_size;
    *flow = (prune_flow){.kernels = job->engine->kernels};
    flow->parts = organ_take_zeros(&flow->buffers, job->stretches.count, sizeof *flow->parts);
    flow->params = (organ_physarum_params){
        .iterations = (int)options->iterations, .beta = (float)options->beta, .coupling = (float)options->coupling};
    organ_pass_item *const items = organ_take_zeros(&flow->buffers, job->stretches.count, sizeof *items);
    *pass = (organ_pass){.model = job->donor,
                         .items = items,
                         .tile_rows = block,
                         .tile_cols = block,
                         .scratch_bytes = organ_physarum_scratch(block, block),
                         .result_bytes = sizeof(organ_prune_counts),
                         .work = prune_tile};
    if (!items || !flow->parts)
        return organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    for (size_t k = 0; k < job->stretches.count; k++)
        if (is_selected(&job->units[k])) {
            flow->parts[pass->item_count] = &job->units[k];
            items[pass->item_count++].tensor = job->units[k].tensor;
        }
    return ORGAN_OK;
}

/* A tile with weights that are NaN or infinite is an error; the kernel has left it unchanged. */
static organ_status fold_band(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
                              organ_error *error)
{
    const organ_prune_counts *tiles = band->results;
    for (size_t t = 0; t < band->tiles; t++) {
        part->counts.zero_before += tiles[t].zero_before;
        part->counts.killed += tiles[t].killed;
        part->counts.kept += tiles[t].kept;
        part->counts.nonfinite += tiles[t].nonfinite;
    }
    part->tiles += band->tiles;
    if (part->counts.nonfinite)
        return organ_fail(
            error, ORGAN_BAD_INPUT,
            "%s: tensor '%s': a block has %llu weights that are NaN or infinite: the flow is undefined for them",
            job->donor->files[part->tensor->file].path, part->tensor->name, (unsigned long long)part->counts.nonfinite);
    return ORGAN_OK;
}

typedef struct flow_search {
    prune_flow flow; /* first member: prune_tile casts the context to it */
    organ_prune_job *job;
    organ_gain_search *states; /* one for each target; gain 0: the target is not, or no longer, searched */
    uint64_t *killed; /* for each target the weights that the flow killed in this round: counts of this rank, which with
                       * `together` are replaced by the sums over all ranks */
    bool together;    /* the search is for targets that are divided into several units: all ranks take part */
    size_t open;      /* number of targets whose gain this search has not found yet */
} flow_search;

static bool is_searched(const organ_prune_part *unit) { return unit->searched; }

static bool search_follows(const void *context, size_t item)
{
    (void)context, (void)item;
    return false;
}

static organ_status retire_search_band(void *context, const organ_band *band, organ_error *error)
{
    const flow_search *const s = context;
    return fold_band(s->job, s->flow.parts[band->item], band, error);
}

static organ_status search_finish(void *context, size_t item, organ_error *error)
{
    const flow_search *const s = context;
    organ_prune_part *const unit = s->flow.parts[item];
    (void)error;
    s->killed[unit->target] += unit->counts.killed;
    unit->counts = (organ_prune_counts){0};
    unit->tiles = 0;
    return ORGAN_OK;
}

static void search_advance(void *context, uint64_t bytes)
{
    organ_progress_advance(((const flow_search *)context)->job->progress, bytes, NULL, NULL);
}

static void step_gains(flow_search *s)
{
    organ_prune_job *const job = s->job;
    for (size_t t = 0; t < job->targets.count; t++) {
        organ_gain_search *const state = &s->states[t];
        const double requested = job->shares ? job->shares[t] : job->options->sparsity; /* percent */
        if (state->gain == 0)
            continue;
        const double killed = 100.0 * (double)s->killed[t] / (double)job->parts[t].tensor->elements;
        if (organ_gain_step(state, killed, requested)) {
            job->parts[t].gain = state->best;
            state->gain = 0;
            s->open--;
        }
    }
    memset(s->killed, 0, job->targets.count * sizeof *s->killed);
}

/* Returns the bytes of the units that the next round of this rank reads. */
static uint64_t choose_units(flow_search *s)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < s->job->stretches.count; k++) {
        organ_prune_part *const unit = &s->job->units[k];
        const double gain = s->states[unit->target].gain;
        unit->searched = !unit->done && gain != 0;
        unit->gain = unit->searched ? gain : unit->gain;
        bytes += unit->searched ? unit->tensor->bytes : 0;
    }
    return bytes;
}

static organ_status run_search_round(flow_search *s, organ_error *error)
{
    organ_pass pass;
    const uint64_t bytes = choose_units(s);
    if (flow_pass_make(s->job, is_searched, &s->flow, &pass, error) == ORGAN_OK) {
        pass.context = s;
        pass.retire = retire_search_band;
        pass.follows = search_follows;
        pass.finish = search_finish;
        pass.advance = search_advance;
        organ_progress_begin(s->job->progress, "searching gains", bytes, pass.item_count);
        organ_pass_run(&pass, s->job->engine, error);
        organ_progress_end(s->job->progress);
    }
    organ_buffers_release(&s->flow.buffers);
    if (s->together)
        organ_ranks_add(s->job->engine->ranks, "one round of the gain search", s->killed, s->job->targets.count, error);
    if (!error->status)
        step_gains(s);
    return error->status;
}

/* `together`: the targets are those that are divided into several units, which all ranks share; else those of one unit
 * that this rank must still prune. */
static organ_status search_for(flow_search *s, bool together, organ_error *error)
{
    const organ_prune_job *const job = s->job;
    s->together = together;
    for (size_t t = 0; t < job->targets.count; t++) {
        const size_t first = job->stretches.first[t];
        const bool divided = !organ_stretches_is_whole(&job->stretches, first);
        if (job->parts[t].gain == 0.0 && divided == together && (divided || !job->units[first].done)) {
            s->states[t] = (organ_gain_search){.gain = ORGAN_PHYSARUM_GAIN};
            s->open++;
        }
    }
    while (s->open && run_search_round(s, error) == ORGAN_OK)
        ;
    return error->status;
}

/* Targets of one unit come first; ranks search their gains independently, each with as many rounds as it needs. For
 * targets of several units all ranks run the same rounds. */
static organ_status search_gains(organ_prune_job *job, organ_error *error)
{
    ORGAN_OWNED_BUFFERS buffers = {0};
    flow_search s = {.job = job,
                     .states = organ_take_zeros(&buffers, job->targets.count, sizeof *s.states),
                     .killed = organ_take_zeros(&buffers, job->targets.count, sizeof *s.killed)};
    if (buffers.lacking)
        organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    else if (search_for(&s, /*together=*/false, error) == ORGAN_OK)
        search_for(&s, /*together=*/true, error);
    for (size_t k = 0; k < job->stretches.count; k++)
        job->units[k].gain = job->parts[job->units[k].target].gain;
    return error->status;
}

/* ---- pruning ---- */

typedef struct writer {
    prune_flow flow; /* first member: prune_tile casts the context to it */
    organ_prune_job *job;
} writer;

/* The digest of the bytes is for the journal. The count of magnitudes reads rows of the donor again. */
static organ_status store_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    const organ_prune_part *const unit = w->flow.parts[band->item];
    const uint64_t at = band->offset - unit->tensor->offset;
    if (organ_write_digest(w->job->run, (size_t)(unit - w->job->units), band->data, band->bytes, at, error))
        return error->status;
    return organ_prune_part_count(w->job, unit, band->data, band->bytes, at, error);
}

static organ_status write_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    const organ_prune_part *const unit = w->flow.parts[band->item];
    return organ_write_bytes(w->job->run, (size_t)(unit - w->job->units), band->data, band->bytes,
                             band->offset - unit->tensor->offset, error);
}

/* A target is digested in the order of its units. */
static bool unit_follows(const void *context, size_t item)
{
    const writer *const w = context;
    return w->flow.parts[item]->target == w->flow.parts[item - 1]->target;
}

static organ_status retire_band(void *context, const organ_band *band, organ_error *error)
{
    const writer *const w = context;
    organ_prune_part *const unit = w->flow.parts[band->item];
    if (fold_band(w->job, unit, band, error))
        return error->status;
    return organ_stretches_digest(&w->job->stretches, (size_t)(unit - w->job->units), band->data, band->bytes,
                                  band->offset - unit->tensor->offset, error);
}

static organ_status finish_unit(void *context, size_t item, organ_error *error)
{
    const writer *const w = context;
    organ_prune_job *const job = w->job;
    organ_prune_part *const unit = w->flow.parts[item];
    organ_shard_clock *const clock = &job->clocks[unit->tensor->file];
    clock->bytes += unit->tensor->bytes;
    clock->last = organ_seconds_now();
    job->pruned_bytes += unit->tensor->bytes;
    return organ_prune_part_record(w->job, unit, error);
}

static void tell_unit(void *context, size_t item)
{
    const writer *const w = context;
    organ_prune_part_report(w->job, w->flow.parts[item]);
}

static void prune_advance(void *context, uint64_t bytes)
{
    const writer *const w = context;
    organ_progress_advance(w->job->progress, bytes, NULL, NULL);
}

static bool part_is_pending(const organ_prune_part *part) { return !part->done; }

static void start_clocks(organ_prune_job *job)
{
    for (size_t f = 0; f < job->donor->file_count; f++)
        job->clocks[f].first = job->clocks[f].last = organ_seconds_now();
}

/* start_clocks has set the time of each shard to the start of the pass. But the pass begins shards in order, so a
 * shard began about when the last unit of the previous one was finished. */
static void finish_clocks(organ_prune_job *job)
{
    double before = 0;
    for (size_t f = 0; f < job->donor->file_count; f++)
        if (job->clocks[f].bytes) {
            job->clocks[f].first = before > job->clocks[f].first ? before : job->clocks[f].first;
            before = job->clocks[f].last;
        }
}

static organ_status run_flow(organ_prune_job *job, organ_error *error)
{
    writer w = {.job = job};
    organ_pass pass;
    start_clocks(job);
    if (flow_pass_make(job, part_is_pending, &w.flow, &pass, error) == ORGAN_OK) {
        pass.context = &w;
        pass.retire = retire_band;
        pass.follows = unit_follows;
        pass.store = store_band;
        pass.write = write_band;
        pass.finish = finish_unit;
        pass.tell = tell_unit;
        pass.advance = prune_advance;
        pass.moves = organ_write_moves(job->run, &pass.behind);
        organ_pass_run(&pass, job->engine, error);
    }
    organ_buffers_release(&w.flow.buffers);
    finish_clocks(job);
    return error->status;
}

/* The journal lines with "gain_of" are in the order of the targets, so the search for a name starts at the target of
 * the previous line. If a run searched again, a later line of the same name replaces the gain. */
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

/* The journal gets the gains before anything is pruned, because the search takes long. Gains that the journal of an
 * interrupted run has are not searched again. */
static organ_status find_gains(organ_prune_job *job, organ_error *error)
{
    if (job->options->sparsity < 0 && !job->divides)
        return ORGAN_OK;
    recall_gains(job);
    search_gains(job, error);
    for (size_t k = 0; k < job->targets.count && !error->status; k++)
        if (job->parts[k].gain != 0) /* 0: another rank prunes this target and searches its gain */
            organ_write_note(
                job->run,
                ORGAN_OBJECT(SET_TEXT("gain_of", job->parts[k].tensor->name), SET_REAL("gain", job->parts[k].gain)),
                /*keep_if_interrupted=*/false, error);
    return error->status;
}

organ_status organ_prune_tiles(organ_prune_job *job, organ_error *error)
{
    return find_gains(job, error) ? error->status : run_flow(job, error);
}

static bool every_part(const organ_prune_part *part) { return part->tensor; }

organ_status organ_prune_tiles_estimate(organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    const size_t workers = organ_workers_count(job->engine->workers);
    const bool searches = o->sparsity >= 0 || job->divides;
    prune_flow flow = {0};
    organ_pass pass = {0};
    if (flow_pass_make(job, every_part, &flow, &pass, error) == ORGAN_OK)
        organ_plan_memory(&job->plan, organ_band_plan_enough(&pass, workers), 0);
    organ_buffers_release(&flow.buffers);
    for (size_t k = 0; k < job->targets.count; k++)
        organ_plan_memory(&job->plan, organ_tile_map_memory(job->targets.tensors[k], workers), 0);
    job->plan.products += (searches ? SEARCHES : 1) * ITERATION * o->iterations * (double)job->targets.elements;
    return error->status;
}
