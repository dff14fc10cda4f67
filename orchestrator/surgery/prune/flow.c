/* SPDX-License-Identifier: MIT
 * Runs the flow of physarum v1 over units, and searches the gain with which each target gets the requested sparsity. A
 * target has one gain for all its units. Ranks: if several ranks prune units of a target, each round of the search adds
 * the counts of all ranks. */
#include "orchestrator/surgery/prune/gain_search.h"
#include "orchestrator/surgery/prune/prune_job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Fills in *flow and *pass, which runs the flow over the units for which `is_selected` returns true, in tiles of
 * block_size x block_size weights. The caller calls organ_prune_pass_release, also after an error. Returns ORGAN_IO if
 * memory cannot be allocated. */
organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*is_selected)(const organ_prune_part *part),
                                   organ_prune_flow *flow, organ_pass *pass, organ_error *error)
{
    const organ_prune_options *options = job->options;
    const size_t block = options->block_size;
    *flow = (organ_prune_flow){.kernels = job->engine->kernels,
                               .parts = calloc(job->cuts.count, sizeof(organ_prune_part *))};
    flow->params = (organ_physarum_params){
        .iterations = (int)options->iterations, .beta = (float)options->beta, .coupling = (float)options->coupling};
    organ_pass_item *items = calloc(job->cuts.count, sizeof *items);
    *pass = (organ_pass){.model = job->donor,
                         .items = items,
                         .tile_rows = block,
                         .tile_cols = block,
                         .scratch_bytes = organ_physarum_scratch(block, block),
                         .result_bytes = sizeof(organ_prune_counts),
                         .work = organ_prune_tile};
    if (!items || !flow->parts)
        return organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    for (size_t k = 0; k < job->cuts.count; k++)
        if (is_selected(&job->units[k])) {
            flow->parts[pass->item_count] = &job->units[k];
            items[pass->item_count++].tensor = job->units[k].tensor;
        }
    return ORGAN_OK;
}

/* Frees the lists of organ_prune_pass_make. */
void organ_prune_pass_release(organ_prune_flow *flow, organ_pass *pass)
{
    free((void *)pass->items);
    free(flow->parts);
}

/* Implements organ_pass.work: prunes a tile in place with the gain of its unit, by the kernel for its type. `result`
 * becomes the organ_prune_counts of the tile. */
void organ_prune_tile(void *context, const organ_tile *tile, void *scratch, void *result)
{
    const organ_prune_flow *flow = context;
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

/* Adds the counts of a band's tiles, and the number of these tiles, to the band's unit `part`. Fails if a tile has
 * weights that are NaN or infinite; the kernel has left such a tile unchanged. */
organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band,
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

/* State of the search for gains. A round runs the flow once over each target whose gain is not found yet. */
typedef struct flow_search {
    organ_prune_flow flow; /* first member: organ_prune_tile casts the context to it */
    organ_prune_job *job;
    organ_gain_search *states; /* one for each target; gain 0: the target is not, or no longer, searched */
    uint64_t *killed; /* for each target the weights that the flow killed in this round: counts of this rank, which with
                       * `together` are replaced by the sums over all ranks */
    bool together;    /* the search is for targets that are cut into several units: all ranks take part */
    size_t open;      /* number of targets whose gain this search has not found yet */
} flow_search;

/* Selects the units of a round. */
static bool is_searched(const organ_prune_part *unit) { return unit->searched; }

/* Implements organ_pass.follows: the counts of each unit are added independently. */
static bool search_follows(const void *context, size_t item)
{
    (void)context, (void)item;
    return false;
}

/* Implements organ_pass.retire for a round: adds the counts of a band to its unit. */
static organ_status retire_search_band(void *context, const organ_band *band, organ_error *error)
{
    const flow_search *const s = context;
    return organ_prune_fold(s->job, s->flow.parts[band->item], band, error);
}

/* Implements organ_pass.finish for a round: adds the killed weights of a unit to those of its target, and clears the
 * counts of the unit for the next round. */
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

/* Implements organ_pass.advance for a round. */
static void search_advance(void *context, uint64_t bytes)
{
    organ_progress_advance(((const flow_search *)context)->job->progress, bytes, NULL, NULL);
}

/* Compares the killed weights of this round with the requested sparsity. Stores the gain of each target whose search is
 * complete, and sets the gain to try next for each other target. */
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

/* Sets `searched` of each unit to whether the next round of this rank reads the unit. Sets `gain` of the searched units
 * to the gain that the round tries. Returns the bytes of the searched units. */
static uint64_t choose_units(flow_search *s)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < s->job->cuts.count; k++) {
        organ_prune_part *const unit = &s->job->units[k];
        const double gain = s->states[unit->target].gain;
        unit->searched = !unit->done && gain != 0;
        unit->gain = unit->searched ? gain : unit->gain;
        bytes += unit->searched ? unit->tensor->bytes : 0;
    }
    return bytes;
}

/* Runs a round: counts how many weights the flow kills with the current gains, without writing, and chooses the next
 * gains. */
static organ_status run_search_round(flow_search *s, organ_error *error)
{
    organ_pass pass;
    const uint64_t bytes = choose_units(s);
    if (organ_prune_pass_make(s->job, is_searched, &s->flow, &pass, error) == ORGAN_OK) {
        pass.context = s;
        pass.retire = retire_search_band;
        pass.follows = search_follows;
        pass.finish = search_finish;
        pass.advance = search_advance;
        organ_progress_begin(s->job->progress, "searching gains", bytes, pass.item_count);
        organ_pass_run(&pass, s->job->engine, error);
        organ_progress_end(s->job->progress);
    }
    organ_prune_pass_release(&s->flow, &pass);
    if (s->together)
        organ_ranks_add(s->job->engine->ranks, "one round of the gain search", s->killed, s->job->targets.count, error);
    if (!error->status)
        step_gains(s);
    return error->status;
}

/* Searches the gains of targets that have none. With `together`, searches for the targets that are cut into several
 * units, which all ranks share; otherwise for the targets of one unit that this rank must still prune. */
static organ_status search_for(flow_search *s, bool together, organ_error *error)
{
    const organ_prune_job *const job = s->job;
    s->together = together;
    for (size_t t = 0; t < job->targets.count; t++) {
        const size_t first = job->cuts.first[t];
        const bool cut = !organ_cuts_is_whole(&job->cuts, first);
        if (job->parts[t].gain == 0.0 && cut == together && (cut || !job->units[first].done)) {
            s->states[t] = (organ_gain_search){.gain = ORGAN_PHYSARUM_GAIN};
            s->open++;
        }
    }
    while (s->open && run_search_round(s, error) == ORGAN_OK)
        ;
    return error->status;
}

/* First searches the gains of targets of one unit; ranks do so independently, each with as many rounds as it needs.
 * Then searches the gains of targets of several units, for which all ranks run the same rounds. Copies each gain to the
 * units of its target. */
organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error)
{
    flow_search s = {.job = job,
                     .states = calloc(job->targets.count, sizeof *s.states),
                     .killed = calloc(job->targets.count, sizeof *s.killed)};
    if (!s.states || !s.killed)
        organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    else if (search_for(&s, false, error) == ORGAN_OK)
        search_for(&s, true, error);
    for (size_t k = 0; k < job->cuts.count; k++)
        job->units[k].gain = job->parts[job->units[k].target].gain;
    free(s.states);
    free(s.killed);
    return error->status;
}
