/* SPDX-License-Identifier: MIT
 * The streams of method moments: hidden states of the texts in the output and in the models. */
#include "orchestrator/verbs/merge/merge_moments.h"

#include "orchestrator/stream/transfer.h"

static organ_windows chunk_at(const moments_input *in, size_t chunk)
{
    const organ_windows *const all = &in->facts->windows;
    return (organ_windows){all->tokens + chunk * in->chunks.together * in->walk.calibration.context,
                           organ_calibration_chunk_windows(&in->chunks, chunk), all->begin};
}

organ_status organ_merge_run_chunk(organ_forward *forward, const organ_layer *layer, const moments_input *in,
                                   organ_calibration_states *states, size_t chunk, bool copy, const organ_tap *tap,
                                   organ_error *error)
{
    const organ_windows windows = chunk_at(in, chunk);
    float *const values = copy ? organ_calibration_states_copy(states, chunk, error)
                               : organ_calibration_states_take(states, chunk, error);
    if (!values || organ_layer_run(forward, layer, &windows, values, tap, error) != ORGAN_OK || copy)
        return error->status;
    return organ_calibration_states_put_back(states, chunk, error);
}

static organ_status embed(organ_forward *forward, const moments_input *in, organ_calibration_states *states,
                          organ_error *error)
{
    for (size_t c = 0; c < organ_calibration_chunks_count(&in->chunks) && !error->status; c++) {
        const organ_windows windows = chunk_at(in, c);
        float *const values = organ_calibration_states_take(states, c, error);
        if (values && organ_forward_embed(forward, &windows, values, error) == ORGAN_OK)
            organ_calibration_states_put_back(states, c, error);
    }
    return error->status;
}

organ_status organ_merge_open_streams(merge_moments *m, organ_error *error)
{
    const char *const scratch = m->job->options->calibration.scratch;
    for (size_t k = 0; k < m->count && !error->status; k++) {
        moments_input *const in = &m->inputs[k];
        const uint64_t bytes = organ_calibration_states_bytes(&in->chunks) * (m->drift ? 2 : 1);
        if (scratch && organ_transfer_room(scratch, scratch, "the hidden states (`scratch`) need", bytes, error))
            break;
        if (organ_calibration_states_open(&in->chunks, /*copied=*/true, scratch, &in->states, error) == ORGAN_OK)
            embed(m->forward, in, in->states, error);
        if (in->forward && !error->status &&
            organ_calibration_states_open(&in->chunks, /*copied=*/true, scratch, &in->own, error) == ORGAN_OK)
            embed(in->forward, in, in->own, error);
    }
    return error->status;
}

organ_status organ_merge_tap_head(organ_forward *forward, const moments_input *in, organ_calibration_states *states,
                                  size_t chunk, const organ_tap *tap, organ_error *error)
{
    const float *const values = organ_calibration_states_take(states, chunk, error);
    const size_t tokens = organ_calibration_chunk_windows(&in->chunks, chunk) * in->walk.calibration.context;
    return values ? organ_forward_tap_head(forward, values, tokens, tap, error) : error->status;
}
