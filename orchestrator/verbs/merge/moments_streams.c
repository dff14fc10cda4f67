/* SPDX-License-Identifier: MIT
 * The streams of method moments: hidden states of the texts in the output and in the models. */
#include "orchestrator/verbs/merge/merge_moments.h"

#include "orchestrator/stream/transfer.h"

organ_status organ_merge_run_chunk(organ_forward *forward, const organ_layer *layer, const moments_input *in,
                                   organ_calibration_states *states, size_t chunk, bool copy, const organ_tap *tap,
                                   organ_error *error)
{
    const organ_windows windows = organ_calibration_chunk_at(&in->chunks, &in->facts->windows, chunk);
    float *const values = copy ? organ_calibration_states_copy(states, chunk, error)
                               : organ_calibration_states_take(states, chunk, error);
    if (!values || organ_layer_run(forward, layer, &windows, values, tap, error) != ORGAN_OK || copy)
        return error->status;
    return organ_calibration_states_put_back(states, chunk, error);
}

organ_status organ_merge_open_streams(merge_moments *m, organ_error *error)
{
    const char *const scratch = m->job->options->calibration.scratch;
    for (size_t k = 0; k < m->count && !error->status; k++) {
        moments_input *const in = &m->inputs[k];
        const organ_stop *const stop = m->job->engine->stop;
        const char *const doing = "reading the embeddings of a model";
        const uint64_t bytes = organ_calibration_states_bytes(&in->chunks) * (m->drift ? 2 : 1);
        if (scratch && organ_transfer_room(scratch, scratch, "the hidden states (`scratch`) need", bytes, error))
            break;
        if (organ_calibration_states_open(&in->chunks, /*copied=*/true, scratch, &in->states, error) == ORGAN_OK)
            organ_calibration_states_advance(
                in->states, &(organ_states_run){m->forward, &in->facts->windows, stop, doing}, NULL, error);
        if (in->forward && !error->status &&
            organ_calibration_states_open(&in->chunks, /*copied=*/true, scratch, &in->own, error) == ORGAN_OK)
            organ_calibration_states_advance(
                in->own, &(organ_states_run){in->forward, &in->facts->windows, stop, doing}, NULL, error);
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
