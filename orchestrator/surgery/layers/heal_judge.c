/* SPDX-License-Identifier: MIT
 * Judges each candidate of a heal (a block with refitted weights) by the KL divergence of the whole smaller model from
 * the donor, on held-out windows. The windows run through the candidate's block and the kept blocks after it, which
 * have the donor's weights, and the logits are compared with the donor's. The error after the block would not suffice,
 * because later blocks may amplify it. A pending candidate has run through its own block, but is not judged yet. */
#include "orchestrator/surgery/layers/layers_heal_job.h"

#include <stdlib.h>
#include <string.h>

static size_t heal_judge_floats_of(const organ_layers_heal *h)
{
    return h->judged.begin[h->judged.count] * (size_t)organ_forward_describe(h->forward)->hidden;
}

static float *candidate_states(const organ_layers_heal *h, size_t k)
{
    return organ_variants_room(h->variants) + k * heal_judge_floats_of(h);
}

/* ---- opening ---- */

organ_status organ_layers_heal_take_judged(organ_layers_heal *h, organ_error *error)
{
    const size_t length = h->judged_length;
    h->judged_tokens = malloc(h->windows.count * length * sizeof *h->judged_tokens);
    h->judged_begin = malloc((h->windows.count + 1) * sizeof *h->judged_begin);
    if (!h->judged_tokens || !h->judged_begin)
        return organ_fail_memory(error, h->options.model->path);
    size_t count = 0;
    for (size_t w = 0; w < h->windows.count; w++)
        if (h->uses[w] == HEAL_CHOICES)
            memcpy(h->judged_tokens + count++ * length, h->windows.tokens + h->windows.begin[w],
                   length * sizeof *h->judged_tokens);
    for (size_t w = 0; w <= count; w++)
        h->judged_begin[w] = w * length;
    h->judged = (organ_windows){h->judged_tokens, count, h->judged_begin};
    return ORGAN_OK;
}

/* The bytes include the layer that run_candidates loads while h->loaded is in memory. */
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *h, size_t together)
{
    return organ_variants_memory(h->forward, h->judged.begin[h->judged.count], together);
}

organ_status organ_layers_heal_judge_open(organ_layers_heal *h, organ_error *error)
{
    h->pending = 0;
    return organ_variants_open(h->forward, h->options.engine, &h->judged, h->together, &h->variants, error);
}

/* ---- streams ---- */

static organ_status gather_held_out(organ_layers_heal *h, float *to, organ_error *error)
{
    const size_t floats = h->chunks.window_bytes / sizeof(float),
                 judged = floats / h->options.walk.calibration.context * h->judged_length;
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++) {
        const float *const from = organ_calibration_states_copy(h->cut, chunk, error);
        for (size_t w = 0; from && w < organ_calibration_chunk_windows(&h->chunks, chunk); w++)
            if (organ_layers_heal_use(h, chunk, w) == HEAL_CHOICES) {
                memcpy(to, from + w * floats, judged * sizeof *to);
                to += judged;
            }
    }
    return error->status;
}

/* The kept blocks from `layer` on have the donor's weights. */
static organ_status run_candidates(organ_layers_heal *h, size_t layer, organ_error *error)
{
    organ_layer *loaded = NULL;
    for (size_t l = layer; l < h->options.layers && !error->status; l++) {
        if (h->options.dropped[l])
            continue;
        if (organ_stop_is_requested(h->options.engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped while refitting blocks");
        else if (organ_layer_load_to_run(h->forward, (int32_t)l, &loaded, error) == ORGAN_OK)
            for (size_t k = 0; k < h->pending && !error->status; k++)
                organ_layer_run(h->forward, loaded, &h->judged, candidate_states(h, k), NULL, error);
    }
    organ_layer_free(loaded);
    return error->status;
}

/* Afterwards, also on error, no candidate is pending. */
static organ_status judge_candidates(organ_layers_heal *h, size_t layer, organ_error *error)
{
    double found[HEAL_TOGETHER];
    if (h->pending && run_candidates(h, layer, error) == ORGAN_OK)
        organ_variants_judge(h->variants, candidate_states(h, 0), h->pending, found, error);
    for (size_t k = 0; k < h->pending && !error->status; k++)
        *h->results[k] = found[k];
    h->pending = 0;
    return error->status;
}

organ_status organ_layers_heal_finish(organ_layers_heal *h, organ_error *error)
{
    return judge_candidates(h, (size_t)h->layer + 1, error);
}

organ_status organ_layers_heal_try(organ_layers_heal *h, double *divergence, organ_error *error)
{
    if (h->pending == h->together && organ_layers_heal_finish(h, error) != ORGAN_OK)
        return error->status;
    float *const states = candidate_states(h, h->pending);
    h->results[h->pending++] = divergence;
    return gather_held_out(h, states, error) ? error->status
                                             : organ_layer_run(h->forward, h->loaded, &h->judged, states, NULL, error);
}

organ_status organ_layers_heal_judge_rest(organ_layers_heal *h, size_t layer, double *divergence, organ_error *error)
{
    if (gather_held_out(h, candidate_states(h, 0), error) != ORGAN_OK)
        return error->status;
    h->results[0] = divergence;
    h->pending = 1;
    return judge_candidates(h, layer, error);
}

/* Scaling the logits instead of the norm gives the same logits. */
organ_status organ_layers_heal_judge_final(organ_layers_heal *h, double times, double *divergence, organ_error *error)
{
    organ_variants_scale(h->variants, times);
    organ_layers_heal_judge_rest(h, h->options.layers, divergence, error);
    organ_variants_scale(h->variants, 1);
    return error->status;
}
