/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/job.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE   0.1     /* percentage points */
#define LEAST_GAIN  0x1p-30 /* kills everything */
#define MOST_GAIN   0x1p30  /* kills almost nothing; the squared flow stays finite */
#define MOST_ROUNDS 64

organ_status organ_prune_pass_make(const organ_prune_job *job, bool (*wanted)(const organ_prune_part *part), organ_prune_flow *flow,
                                   organ_pass *pass, organ_error *error)
{
    const organ_prune_options *options = job->options;
    const size_t block = options->block_size;
    *flow = (organ_prune_flow){.kernels = job->engine->kernels, .parts = calloc(job->targets.count, sizeof(organ_prune_part *))};
    flow->params =
        (organ_physarum_params){.iterations = (int)options->iterations, .beta = (float)options->beta, .coupling = (float)options->coupling};
    organ_pass_item *items = calloc(job->targets.count, sizeof *items);
    *pass = (organ_pass){.model = job->donor,
                         .items = items,
                         .tile_rows = block,
                         .tile_cols = block,
                         .scratch_bytes = organ_physarum_scratch(block, block),
                         .result_bytes = sizeof(organ_prune_counts),
                         .work = organ_prune_tile};
    if (!items || !flow->parts)
        return organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    for (size_t k = 0; k < job->targets.count; k++)
        if (wanted(&job->parts[k])) {
            flow->parts[pass->item_count] = &job->parts[k];
            items[pass->item_count++].tensor = job->parts[k].tensor;
        }
    return ORGAN_OK;
}

void organ_prune_pass_free(organ_prune_flow *flow, organ_pass *pass)
{
    free((void *)pass->items);
    free(flow->parts);
}

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

organ_status organ_prune_fold(const organ_prune_job *job, organ_prune_part *part, const organ_band *band, organ_error *error)
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
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s': a block has %llu weights that are NaN or infinite: there is no flow through them",
                          job->donor->files[part->tensor->file].path, part->tensor->name, (unsigned long long)part->counts.nonfinite);
    return ORGAN_OK;
}

static void remember(organ_gain_search *s, double rate, double wanted)
{
    const double off = fabs(rate - wanted);
    if (s->rounds++ == 0 || off < s->best_error) {
        s->best = s->gain;
        s->best_error = off;
    }
    if (rate > wanted) {
        s->low = s->gain;
        s->low_rate = rate;
    } else {
        s->high = s->gain;
        s->high_rate = rate;
    }
}

bool organ_gain_step(organ_gain_search *s, double rate, double wanted)
{
    remember(s, rate, wanted);
    if (s->best_error <= TOLERANCE || s->rounds == MOST_ROUNDS)
        return true;
    const double tried = s->gain;
    if (s->high == 0.0)
        s->gain = s->low * 4.0;
    else if (s->low == 0.0)
        s->gain = s->high / 4.0;
    else {
        /* Where the line between the two ends meets the wanted rate, but not next to an end: the curve is not a line. */
        const double share = (s->low_rate - wanted) / (s->low_rate - s->high_rate);
        s->gain = (double)(float)(s->low + (s->high - s->low) * (share < 0.1 ? 0.1 : share > 0.9 ? 0.9 : share));
    }
    return s->gain < LEAST_GAIN || s->gain > MOST_GAIN || s->gain == tried || s->gain == s->low || s->gain == s->high;
}

typedef struct search {
    organ_prune_flow flow; /* first: organ_prune_tile takes it for the context */
    organ_prune_job *job;
    organ_gain_search *states; /* one per part of the job */
    size_t open;
} search;

static bool is_searched(const organ_prune_part *part) { return part->searched; }

/* After the last band of a tensor its kill rate is known: settle or try another gain in the next round. */
static organ_status tried(void *context, const organ_band *band, organ_error *error)
{
    search *s = context;
    organ_prune_part *part = s->flow.parts[band->item];
    organ_progress_advance(s->job->progress, band->bytes, NULL, NULL);
    if (organ_prune_fold(s->job, part, band, error) || !band->last)
        return error->status;
    const size_t which = (size_t)(part - s->job->parts);
    organ_gain_search *state = &s->states[which];
    const double wanted = s->job->shares ? s->job->shares[which] : s->job->options->sparsity;
    if (organ_gain_step(state, 100.0 * (double)part->counts.killed / (double)part->tensor->elements, wanted)) {
        part->gain = state->best;
        part->searched = false;
        s->open--;
    } else
        part->gain = state->gain;
    part->counts = (organ_prune_counts){0};
    part->tiles = 0;
    return ORGAN_OK;
}

static organ_status one_round(search *s, organ_error *error)
{
    organ_pass pass;
    uint64_t bytes = 0;
    if (organ_prune_pass_make(s->job, is_searched, &s->flow, &pass, error) == ORGAN_OK) {
        for (size_t k = 0; k < pass.item_count; k++)
            bytes += pass.items[k].tensor->bytes;
        pass.context = s;
        pass.retire = tried;
        organ_progress_begin(s->job->progress, "searching gains", bytes, pass.item_count);
        organ_pass_run(&pass, s->job->engine, error);
        organ_progress_end(s->job->progress);
    }
    organ_prune_pass_free(&s->flow, &pass);
    return error->status;
}

organ_status organ_prune_search_gains(organ_prune_job *job, organ_error *error)
{
    search s = {.job = job, .states = calloc(job->targets.count, sizeof *s.states)};
    if (!s.states)
        return organ_fail_errno(error, ENOMEM, "%s", job->donor->path);
    for (size_t k = 0; k < job->targets.count; k++) {
        organ_prune_part *part = &job->parts[k];
        if ((part->searched = !part->done && part->gain == 0.0)) {
            part->gain = s.states[k].gain = ORGAN_PHYSARUM_GAIN;
            s.open++;
        }
    }
    while (s.open && one_round(&s, error) == ORGAN_OK)
        ;
    free(s.states);
    return error->status;
}
