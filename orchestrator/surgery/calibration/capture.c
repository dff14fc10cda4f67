/* SPDX-License-Identifier: MIT
 * Exchange of inputs between ranks. While a rank runs its chunk (a set of windows), it records the calls of its taps
 * (callbacks that receive the inputs of matrices). Then every rank gathers the inputs of all ranks, in the order of the
 * chunks, as a single process would. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/calibration/calibration_job.h"

#include <stdlib.h>
#include <string.h>

typedef organ_calibration_call call;

/* ---- recording ---- */

static bool grow_record(organ_calibration_record *r)
{
    const size_t capacity = 2 * r->capacity + 16;
    call *const calls = realloc(r->calls, capacity * sizeof *calls);
    r->calls = calls ? calls : r->calls;
    float **const inputs = calls ? realloc(r->inputs, capacity * sizeof *inputs) : NULL;
    r->inputs = inputs ? inputs : r->inputs;
    r->capacity = inputs ? capacity : r->capacity;
    return inputs != NULL;
}

/* Equal addresses are not enough, because the forward pass may reuse a buffer: both calls must have the same tokens
 * and stream, and their matrices must be in the same module of the layer. */
static bool same_inputs(const organ_calibration_captures *g, const call *c, const float *inputs)
{
    const organ_calibration_record *const r = &g->record;
    const call *const before = r->count ? &r->calls[r->count - 1] : NULL;
    return before && inputs == r->last_input && c->donor == before->donor && c->first == before->first &&
           c->tokens == before->tokens && c->features == before->features &&
           organ_calibration_same_place(g, &g->units[c->unit], &g->units[before->unit]);
}

/* Inputs are copied unless they are those of the previous call. `tensor` is the name of the matrix. The caller has
 * set all members of `new_call` except `unit`, `same` and `bytes`. A matrix that this pass does not gather is
 * ignored, as are experts in the donor. */
static organ_status record_call(organ_calibration_captures *g, const char *tensor, call new_call, const float *inputs,
                                organ_error *error)
{
    organ_calibration_record *const r = &g->record;
    new_call.unit = organ_calibration_unit_named(g, tensor);
    if (new_call.unit == SIZE_MAX || (new_call.donor && g->units[new_call.unit].expert))
        return ORGAN_OK;
    if (r->count == r->capacity && !grow_record(r))
        return organ_fail_memory(error, tensor);
    new_call.same = same_inputs(g, &new_call, inputs);
    /* Rows of another width are an error that is reported when the call is replayed. */
    new_call.bytes = new_call.same || new_call.features != g->units[new_call.unit].cols
                         ? 0
                         : new_call.tokens * new_call.features * sizeof *inputs;
    float *const kept = malloc(new_call.bytes + 1);
    if (!kept)
        return organ_fail_memory(error, tensor);
    memcpy(kept, inputs, new_call.bytes);
    r->inputs[r->count] = kept;
    r->calls[r->count++] = new_call;
    r->last_input = inputs;
    return ORGAN_OK;
}

static organ_status record_pruned_inputs(void *context, const char *tensor, size_t first, size_t tokens,
                                         size_t features, const float *inputs, organ_error *error)
{
    return record_call(context, tensor, (call){.first = first, .tokens = tokens, .features = features}, inputs, error);
}

static organ_status record_donor_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                        const float *inputs, organ_error *error)
{
    return record_call(context, tensor, (call){.first = first, .tokens = tokens, .features = features, .donor = true},
                       inputs, error);
}

static void clear_calls(organ_calibration_record *r)
{
    for (size_t k = 0; k < r->count; k++)
        free(r->inputs[k]);
    r->count = 0;
}

/* ---- exchange ---- */

/* With several ranks, the tap only records, so that every rank adds all tokens in the same order
 * (organ_calibration_capture_exchange). */
organ_tap organ_calibration_tap(organ_calibration_captures *g, bool donor)
{
    if (organ_ranks_count(g->calib->engine->ranks) > 1)
        return (organ_tap){g, donor ? record_donor_inputs : record_pruned_inputs};
    return (organ_tap){g, donor ? organ_calibration_capture_donor : organ_calibration_capture};
}

/* All calls of another rank use one buffer, so equal addresses do not mean equal inputs: unless c->same,
 * organ_calibration_capture_next makes the gathering forget the previous address. */
static void capture_call(organ_calibration_captures *g, const call *c, const float *inputs, organ_error *error)
{
    if (!c->same)
        organ_calibration_capture_next(g);
    (c->donor ? organ_calibration_capture_donor : organ_calibration_capture)(g, g->units[c->unit].name, c->first,
                                                                             c->tokens, c->features, inputs, error);
}

/* Every rank gathers the `count` calls of rank `rank`. For a call with the inputs of the previous one no bytes are
 * sent: `inputs` still has them. A rank takes part in all broadcasts also after an error, because the other ranks
 * wait for it. */
static void capture_rank(organ_calibration_captures *g, size_t rank, const call *calls, size_t count,
                         organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    float *inputs = g->record.others;
    organ_calibration_capture_next(g);
    for (size_t k = 0; k < count; k++) {
        if (rank == organ_ranks_rank(ranks) && !calls[k].same)
            inputs = g->record.inputs[k];
        organ_ranks_broadcast(ranks, rank, inputs, calls[k].bytes, error);
        if (!error->status)
            capture_call(g, &calls[k], inputs, error);
    }
}

/* The order is that of ranks. Each rank ran one chunk or none, so this is the order of the chunks. */
organ_status organ_calibration_capture_exchange(organ_calibration_captures *g, organ_error *error)
{
    organ_ranks *const ranks = g->calib->engine->ranks;
    organ_calibration_record *const r = &g->record;
    organ_gathered all = {0};
    if (organ_ranks_count(ranks) > 1 && organ_ranks_gather(ranks, "running chunks of the text", r->calls,
                                                           r->count * sizeof *r->calls, &all, error) == ORGAN_OK)
        for (size_t rank = 0; rank < all.count; rank++)
            capture_rank(g, rank, (const call *)(const void *)all.of[rank], (size_t)all.bytes[rank] / sizeof(call),
                         error);
    organ_gathered_release(&all);
    clear_calls(r);
    return error->status;
}

organ_status organ_calibration_record_open(organ_calibration_captures *g, organ_error *error)
{
    size_t widest = 0;
    if (organ_ranks_count(g->calib->engine->ranks) < 2)
        return ORGAN_OK;
    for (size_t k = 0; k < g->unit_count; k++)
        widest = g->units[k].cols > widest ? (size_t)g->units[k].cols : widest;
    g->record.others = malloc(
        g->calib->chunks.together * g->calib->options->calibration.context * widest * sizeof *g->record.others + 1);
    return g->record.others ? ORGAN_OK : organ_fail_memory(error, g->calib->model->path);
}

void organ_calibration_record_close(organ_calibration_record *r)
{
    clear_calls(r);
    free(r->calls);
    free(r->inputs);
    free(r->others);
    *r = (organ_calibration_record){0};
}
