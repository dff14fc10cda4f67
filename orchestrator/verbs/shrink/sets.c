/* SPDX-License-Identifier: MIT
 * Measures the divergence of a model without some of its blocks. Sets of dropped blocks run through the layers
 * together; sets that have dropped the same blocks so far share one stream of hidden states, that of their leader. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/stream/memory.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A stream is the hidden states of one set of dropped blocks, or of the donor, for all tokens. */
struct organ_layers_sets {
    organ_forward *forward;
    const organ_engine *engine;
    const organ_windows *windows;
    size_t tokens, layers; /* tokens of all windows; layers of the forward pass */
    size_t width;          /* floats of a token's state between layers (organ_forward_config.state) */
    size_t compared;       /* floats of the hidden state, with which that state begins; influence_of compares these */
    size_t together;       /* number of sets that run through the layers together */
    organ_variants *variants; /* memory and comparison for together + 1 streams; the last one is the donor's */
    float *states;            /* streams of the `together` running sets, then of the donor: tokens x width each */
    float *kept;              /* the donor's streams before layers 0, stride, 2 stride, ..., to begin from */
    size_t stride;            /* layers between two kept streams of the donor */
    double *influence;        /* of each layer: see organ_layers_sets_influence */
    /* For each running set, the number of the stream that has its hidden states: its own, that of a set which has
     * dropped the same blocks so far, or `together`, the donor's. */
    size_t *leader;
};

static size_t sets_floats_of(const organ_layers_sets *s) { return s->tokens * s->width; }
/* Stream s->together is that of the donor. */
static float *states_of_set(const organ_layers_sets *s, size_t k) { return s->states + k * sets_floats_of(s); }

/* ---- memory ---- */

static uint64_t states_bytes(const organ_forward *forward, size_t tokens)
{
    return (uint64_t)tokens * organ_forward_describe(forward)->state * sizeof(float);
}

/* Judging one set at a time needs its stream and the donor's, and one kept stream of the donor, that before layer 0. */
static uint64_t sets_memory(const organ_forward *forward, size_t tokens)
{
    return organ_variants_memory(forward, tokens, 2) + states_bytes(forward, tokens);
}

typedef struct sets_requested {
    const organ_forward *forward;
    const organ_windows *windows;
} sets_requested;

static size_t sets_tokens_of(const organ_windows *windows) { return windows->begin[windows->count]; }

static size_t longest_window_of(const organ_windows *windows)
{
    size_t max = 0;
    for (size_t w = 0; w < windows->count; w++) {
        const size_t length = windows->begin[w + 1] - windows->begin[w];
        max = length > max ? length : max;
    }
    return max;
}

static bool sets_fits(void *context, uint64_t memory)
{
    const sets_requested *const w = context;
    return organ_forward_memory_left(w->forward, memory, longest_window_of(w->windows)) >
           sets_memory(w->forward, sets_tokens_of(w->windows));
}

uint64_t organ_layers_sets_enough(const organ_forward *forward, const organ_windows *windows)
{
    sets_requested w = {forward, windows};
    return organ_memory_enough(0, sets_fits, &w);
}

organ_status organ_layers_sets_check(const organ_forward *forward, const organ_engine *engine,
                                     const organ_windows *windows, organ_error *error)
{
    sets_requested w = {forward, windows};
    return organ_memory_require(engine, sets_fits, &w, error,
                                "the hidden states of %zu tokens (`search_tokens`) three times, and two layers",
                                sets_tokens_of(windows));
}

/* At most half of the memory that is left when one set is judged at a time is for running more sets together, the
 * other half for keeping streams of the donor: s->stride is the least for which the streams before layers 0, stride,
 * 2 stride, ... fit. */
static void sets_share_memory(organ_layers_sets *s, size_t max)
{
    const uint64_t stream = states_bytes(s->forward, s->tokens) + 1; /* its bytes; + 1: not 0, to divide by it */
    const uint64_t set =
        organ_variants_memory(s->forward, s->tokens, 3) - organ_variants_memory(s->forward, s->tokens, 2);
    const uint64_t useful = 2 * (s->layers * stream > max * set ? s->layers * stream : max * set);
    /* useful / 15: a sixteenth of all memory is for threads (organ_forward_memory_left) */
    organ_memory_prefer(s->engine, organ_layers_sets_enough(s->forward, s->windows) + useful + useful / 15);
    const uint64_t remaining =
        organ_forward_memory_left(s->forward, organ_engine_memory(s->engine), longest_window_of(s->windows)) -
        sets_memory(s->forward, s->tokens);
    const uint64_t more = remaining / 2 / set;
    s->together = 1 + (size_t)(more < max - 1 ? more : max - 1);
    const uint64_t capacity = 1 + (remaining - remaining / 2) / stream; /* streams of the donor that can be kept */
    s->stride = capacity >= s->layers ? 1 : (s->layers + (size_t)capacity - 1) / (size_t)capacity;
}

/* ---- the donor ---- */

static organ_status sets_stopped(const organ_layers_sets *s, organ_error *error)
{
    return organ_stop_is_requested(s->engine->stop)
               ? organ_fail(error, ORGAN_INTERRUPTED, "stopped while comparing sets of blocks")
               : ORGAN_OK;
}

static float *stored_states_before(const organ_layers_sets *s, size_t layer)
{
    return s->kept + layer / s->stride * sets_floats_of(s);
}

/* The influence is 1 - the mean over all tokens of the cosine between the hidden states `before` and `after` the
 * layer. The sum runs in the order of tokens, so that the result is the same on every machine. The cosine of two
 * zero vectors counts as 1, that of a zero vector and another one as 0. */
static double influence_of(const organ_layers_sets *s, const float *before, const float *after)
{
    double sum = 0;
    for (size_t t = 0; t < s->tokens; t++) {
        double product = 0, before_square = 0, after_square = 0;
        for (size_t k = t * s->width; k < t * s->width + s->compared; k++) {
            product += (double)before[k] * after[k];
            before_square += (double)before[k] * before[k];
            after_square += (double)after[k] * after[k];
        }
        sum += before_square > 0 && after_square > 0 ? product / (sqrt(before_square) * sqrt(after_square))
                                                     : before_square == after_square;
    }
    return 1 - sum / (double)s->tokens;
}

static organ_status walk_donor(organ_layers_sets *s, organ_error *error)
{
    /* no set is judged yet, so the stream of set 0 is free */
    float *const before = states_of_set(s, 0), *const after = states_of_set(s, s->together);
    if (organ_forward_embed(s->forward, s->windows, after, error) != ORGAN_OK)
        return error->status;
    organ_layer *layer = NULL;
    for (size_t l = 0; l < s->layers && !sets_stopped(s, error); l++) {
        if (l % s->stride == 0)
            memcpy(stored_states_before(s, l), after, sets_floats_of(s) * sizeof *after);
        memcpy(before, after, sets_floats_of(s) * sizeof *after);
        if (organ_layer_load_to_run(s->forward, (int32_t)l, &layer, error) == ORGAN_OK &&
            organ_layer_run(s->forward, layer, s->windows, after, NULL, error) == ORGAN_OK)
            s->influence[l] = influence_of(s, before, after);
        if (!error->status && !isfinite(s->influence[l]))
            organ_fail(error, ORGAN_BAD_INPUT, "hidden states after block %zu are not finite numbers", l);
    }
    organ_layer_free(layer);
    return error->status;
}

organ_status organ_layers_sets_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                    size_t max, organ_layers_sets **sets, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(forward);
    *sets = NULL;
    if (organ_layers_sets_check(forward, engine, windows, error) != ORGAN_OK)
        return error->status;
    organ_layers_sets *const s = *sets = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_errno(error, ENOMEM, "sets of blocks");
    *s = (organ_layers_sets){.forward = forward,
                             .engine = engine,
                             .windows = windows,
                             .tokens = sets_tokens_of(windows),
                             .width = (size_t)c->state,
                             .compared = (size_t)c->hidden,
                             .layers = c->layers};
    sets_share_memory(s, max);
    s->kept = malloc(((s->layers + s->stride - 1) / s->stride) * sets_floats_of(s) * sizeof *s->kept);
    s->influence = calloc(s->layers, sizeof *s->influence);
    s->leader = calloc(s->together, sizeof *s->leader);
    if (!s->kept || !s->influence || !s->leader)
        organ_fail_errno(error, ENOMEM, "hidden states of %zu tokens", s->tokens);
    else if (organ_variants_open(forward, engine, windows, s->together + 1, &s->variants, error) == ORGAN_OK) {
        s->states = organ_variants_room(s->variants);
        walk_donor(s, error);
    }
    if (error->status) {
        organ_layers_sets_close(s);
        *sets = NULL;
    }
    return error->status;
}

void organ_layers_sets_close(organ_layers_sets *s)
{
    if (!s)
        return;
    organ_variants_close(s->variants);
    ORGAN_FREE_ARRAYS(s->kept, s->influence, s->leader, s);
}

const double *organ_layers_sets_influence(const organ_layers_sets *s) { return s->influence; }

/* ---- sets ---- */

/* The leader is the first running set that drops the same of the first `blocks` blocks (k if there is none before
 * it), or s->together, the donor's stream, if set k drops none of them. */
static size_t leader_of(const organ_layers_sets *s, const bool *dropped, size_t k, size_t blocks)
{
    const bool *const own = dropped + k * s->layers;
    if (!memchr(own, true, blocks))
        return s->together;
    size_t j = 0;
    while (j < k && memcmp(dropped + j * s->layers, own, blocks * sizeof *own) != 0)
        j++;
    return j;
}

/* This function must be called before block `blocks` - 1 runs: a set that becomes its own leader differs from its
 * previous leader only in this block, so it gets a copy of the previous leader's stream. */
static void separate_streams(organ_layers_sets *s, const bool *dropped, size_t count, size_t blocks)
{
    for (size_t k = 0; k < count; k++) {
        const size_t leader = leader_of(s, dropped, k, blocks);
        if (leader == k && s->leader[k] != k)
            memcpy(states_of_set(s, k), states_of_set(s, s->leader[k]), sets_floats_of(s) * sizeof(float));
        s->leader[k] = leader;
    }
}

/* A set that has dropped no block yet shares the donor's stream. */
static bool donor_stream_is_needed(const organ_layers_sets *s, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (s->leader[k] == s->together)
            return true;
    return false;
}

/* A set that is not its own leader has its hidden states in its leader's stream. */
static organ_status run_layer(organ_layers_sets *s, const bool *dropped, size_t count, size_t l, organ_error *error)
{
    organ_layer *layer = NULL;
    const bool donor = donor_stream_is_needed(s, count);
    bool any = donor;
    for (size_t k = 0; k < count; k++)
        any |= s->leader[k] == k && !dropped[k * s->layers + l];
    if (!any || organ_layer_load(s->forward, (int32_t)l, &layer, error) != ORGAN_OK)
        return error->status;
    if (donor)
        organ_layer_run(s->forward, layer, s->windows, states_of_set(s, s->together), NULL, error);
    for (size_t k = 0; k < count && !error->status; k++)
        if (s->leader[k] == k && !dropped[k * s->layers + l])
            organ_layer_run(s->forward, layer, s->windows, states_of_set(s, k), NULL, error);
    organ_layer_free(layer);
    return error->status;
}

/* The run starts with the last kept stream of the donor before the first block that any of the sets drops. */
static organ_status judge_batch(organ_layers_sets *s, const bool *dropped, size_t count, double *divergence,
                                organ_error *error)
{
    size_t first = s->layers - 1;
    for (size_t k = 0; k < count; k++) {
        const bool *const at = memchr(dropped + k * s->layers, true, s->layers);
        const size_t block = at ? (size_t)(at - (dropped + k * s->layers)) : s->layers - 1;
        first = block < first ? block : first;
        s->leader[k] = s->together;
    }
    first -= first % s->stride;
    memcpy(states_of_set(s, s->together), stored_states_before(s, first), sets_floats_of(s) * sizeof(float));
    for (size_t l = first; l < s->layers && !sets_stopped(s, error) && !error->status; l++) {
        separate_streams(s, dropped, count, l + 1);
        run_layer(s, dropped, count, l, error);
    }
    for (size_t k = 0; k < count; k++) /* sets that equal another one, or drop no block */
        if (s->leader[k] != k)
            memcpy(states_of_set(s, k), states_of_set(s, s->leader[k]), sets_floats_of(s) * sizeof(float));
    return error->status ? error->status : organ_variants_judge(s->variants, s->states, count, divergence, error);
}

/* A rank judges up to `together` neighbouring sets of its own at once, so that each layer is loaded once for them. */
organ_status organ_layers_sets_judge(organ_layers_sets *s, const bool *dropped, size_t count, double *divergence,
                                     organ_error *error)
{
    organ_assignment assignment;
    organ_assign_evenly(s->engine->ranks, count, &assignment, error);
    memset(divergence, 0, count * sizeof *divergence);
    for (size_t k = 0, next; k < count && !error->status; k = next) {
        for (next = k + 1; next < count && next - k < s->together && assignment.owner[next] == assignment.owner[k];)
            next++;
        if (organ_assignment_is_local(&assignment, k))
            judge_batch(s, dropped + k * s->layers, next - k, divergence + k, error);
    }
    organ_assignment_complete(&assignment, "comparing sets of blocks", divergence, sizeof *divergence,
                              sizeof *divergence, error);
    organ_assignment_release(&assignment);
    return error->status;
}
