/* SPDX-License-Identifier: MIT
 * Gathers the inputs of a layer's matrices in the changed model and, with two streams, also in the donor. A unit is a
 * target matrix of the layer; a group is the units with the same inputs, which share a calibration
 * (calibration_parts.h).
 */
#include "orchestrator/surgery/calibration/calibration_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool two_streams(const organ_calibration_captures *g) { return g->calib->options->streams == ORGAN_INPUTS_BOTH; }

/* Second moments of such an expert are always whole. */
static bool is_mixed(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    return g->calib->work->mixtures && u->expert;
}

/* ---- which inputs belong to which matrix ---- */

/* Returns the index of the unit of the matrix `name` if this pass gathers its inputs, else SIZE_MAX. */
static size_t find_unit(const organ_calibration_captures *g, const char *name)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].pass == g->pass && (!g->fallback_pass || g->units[k].fallback) &&
            strcmp(g->units[k].name, name) == 0)
            return k;
    return SIZE_MAX;
}

/* The parent module of "model.layers.0.mlp.up_proj.weight" is "model.layers.0.mlp". Returns 0 if the name has no
 * parent module. */
static size_t parent_length(const char *name)
{
    const char *end = strrchr(name, '.');
    while (end && end > name && *--end != '.')
        ;
    return end ? (size_t)(end - name) : 0;
}

static bool same_parent(const char *a, const char *b)
{
    const size_t length = parent_length(a);
    return length > 0 && length == parent_length(b) && strncmp(a, b, length) == 0;
}

/* The units must have the same index in a stack, the same parent module and the same group of roles. The groups are
 * compared because in GGUF names the parent of all matrices is the layer. */
static bool is_same_place(const organ_calibration_captures *g, const organ_calibration_unit *a,
                          const organ_calibration_unit *b)
{
    const organ_tensor *const *const tensors = g->calib->targets->tensors;
    return a->matrix == b->matrix && same_parent(a->name, b->name) &&
           tensors[a->target]->anatomy.group == tensors[b->target]->anatomy.group;
}

/* Unit `index` leads the group. With two streams, a matrix with few rows also passes its weights
 * (organ_calibration_takes_weights) and forms a group alone, because its drift is summed from its outputs. Returns
 * ORGAN_BAD_INPUT unless the unit has `features` columns. */
static organ_status open_group(organ_calibration_captures *g, size_t index, size_t features, organ_error *error)
{
    const organ_calibration_run *const calib = g->calib;
    organ_calibration_unit *const u = &g->units[index];
    organ_calibration_group *const made = &g->groups[g->group_count];
    const bool two = two_streams(g) && !u->expert;
    *made = (organ_calibration_group){.leader = index, .features = features};
    organ_calibration_options options = {.features = features,
                                         .name = u->name,
                                         .seed = calib->options->seed,
                                         .layer = (uint32_t)g->layer,
                                         .moments_only = calib->options->moments_only,
                                         .blocks = calib->options->blocks && !is_mixed(g, u),
                                         .magnitudes = calib->options->magnitudes,
                                         .ranges_only = calib->options->ranges_only,
                                         .two_streams = two,
                                         .levels = calib->levels,
                                         .scratch = g->scratch,
                                         .tokens = calib->options->calibration.samples *
                                                   (size_t)calib->options->calibration.context};
    if (features != u->cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has rows of %llu weights, but %zu inputs", u->name,
                          (unsigned long long)u->cols, features);
    u->group = g->group_count++;
    if (two && organ_calibration_takes_weights((size_t)u->rows, features)) {
        uint64_t rows = 0, cols = 0;
        made->closed = organ_layer_matrix(g->loaded, u->name, &rows, &cols, &options.weights);
        options.rows = (size_t)rows;
    }
    if (two && !(made->kept = malloc(calib->chunks.together * calib->options->calibration.context * features *
                                     sizeof *made->kept)))
        return organ_fail_memory(error, u->name);
    return organ_calibration_create(&options, calib->engine, &made->calibration, error);
}

/* Returns the group of unit `index` if the unit leads it, so that the caller adds these inputs to the group. Returns
 * NULL on error, or if another unit leads the group: then the group has these inputs already. A unit without a group
 * first joins that of the previous unit, if both have the same inputs and module and the group is not closed;
 * otherwise it gets a new group, which it leads. */
static organ_calibration_group *group_of_inputs(organ_calibration_captures *g, size_t index, size_t features,
                                                const float *inputs, organ_error *error)
{
    organ_calibration_unit *const u = &g->units[index];
    if (u->group == SIZE_MAX) {
        const organ_calibration_unit *const before = g->last == SIZE_MAX ? NULL : &g->units[g->last];
        if (before && inputs == g->last_input && is_same_place(g, u, before) && features == before->cols &&
            features == u->cols && !g->groups[before->group].closed)
            u->group = before->group;
        else if (open_group(g, index, features, error) != ORGAN_OK)
            return NULL;
    }
    g->last = index;
    g->last_input = inputs;
    organ_calibration_group *const own = &g->groups[u->group];
    return own->leader == index ? own : NULL;
}

void organ_calibration_capture_next(organ_calibration_captures *g) { g->last = SIZE_MAX; }

/* With two streams, the inputs are kept until the donor's inputs of the same tokens arrive
 * (capture_donor), because C is a sum over pairs of both streams' inputs. */
static organ_status capture(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                            const float *inputs, organ_error *error)
{
    organ_calibration_captures *const g = context;
    const size_t index = find_unit(g, tensor);
    organ_calibration_group *const own = index == SIZE_MAX ? NULL : group_of_inputs(g, index, features, inputs, error);
    if (!own)
        return error->status;
    own->tokens += tokens;
    if (!own->kept)
        return organ_calibration_add(own->calibration, inputs, /*donor_inputs=*/NULL, tokens, error);
    memcpy(own->kept + first * features, inputs, tokens * features * sizeof *inputs);
    return ORGAN_OK;
}

/* The donor's inputs are added together with those that capture kept for these tokens. Matrices
 * that do not lead their group are ignored, as are experts. */
static organ_status capture_donor(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                  const float *inputs, organ_error *error)
{
    const organ_calibration_captures *const g = context;
    const size_t index = find_unit(g, tensor);
    if (index == SIZE_MAX || g->units[index].group == SIZE_MAX)
        return ORGAN_OK;
    const organ_calibration_group *const own = &g->groups[g->units[index].group];
    if (own->leader != index || !own->kept)
        return ORGAN_OK;
    return organ_calibration_add(own->calibration, own->kept + first * features, inputs, tokens, error);
}

/* ---- the units of a layer ---- */

static bool is_in_layer(const organ_calibration_captures *g, const organ_tensor *tensor)
{
    return organ_forward_layer_of(g->calib->facts.forward, tensor) == g->layer;
}

static size_t count_units(const organ_calibration_captures *g)
{
    const organ_targets *const targets = g->calib->targets;
    size_t count = 0;
    for (size_t k = 0; k < targets->count; k++)
        if (is_in_layer(g, targets->tensors[k]))
            count += (size_t)organ_tensor_matrices(targets->tensors[k]).count;
    return count;
}

static uint64_t captures_moments_of(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    return organ_calibration_moments_bytes(g->calib, u->cols, u->rows, u->expert, g->calib->options->blocks);
}

static size_t expert_of(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    const int32_t own = g->calib->targets->tensors[u->target]->anatomy.expert;
    return own >= 0 ? (size_t)own : (size_t)u->matrix;
}

/* With work->mixtures, the experts' down projections are assigned to passes, from the last unit of the last pass
 * backwards. The last pass also has all other units, whose moments need `taken` bytes. The moments of a single
 * expert always fit, because work->memory includes them. Down projections are the last matrices of a layer, so
 * changing some of them changes no inputs that are gathered later. */
static void assign_mixtures(organ_calibration_captures *g, uint64_t taken)
{
    const uint64_t capacity = g->calib->moments_memory;
    uint64_t remaining = taken < capacity ? capacity - taken : 0;
    size_t pass = 0, last; /* `pass` counts from the last pass backwards; at the end the numbers are reversed */
    bool first = true;     /* no expert has been assigned to the current pass 0 yet */
    for (size_t k = g->unit_count; k-- > 0;) {
        organ_calibration_unit *const u = &g->units[k];
        if (!u->expert || u->done)
            continue;
        const uint64_t bytes = captures_moments_of(g, u);
        if (bytes > remaining && !first) {
            pass++;
            remaining = capacity;
        }
        first = false;
        remaining = bytes < remaining ? remaining - bytes : 0;
        u->pass = pass;
    }
    last = pass;
    for (size_t k = 0; k < g->unit_count; k++)
        g->units[k].pass = last - g->units[k].pass;
    g->passes = last + 1;
}

/* The matrices of an expert are in one pass. All other units, whose moments need `taken` bytes, are in the first. The
 * inputs are gathered on a second copy of the layer, which keeps the donor's weights. */
static void assign_experts(organ_calibration_captures *g, uint64_t taken)
{
    const uint64_t memory = g->calib->moments_memory, copy = organ_forward_layer_bytes(g->calib->facts.forward),
                   capacity = memory > copy ? memory - copy : 0;
    uint64_t remaining = taken < capacity ? capacity - taken : 0;
    size_t pass = 0;
    bool first = true; /* the current pass has no expert yet */
    for (size_t e = 0; e < organ_layer_experts(g->loaded); e++) {
        uint64_t bytes = 0;
        for (size_t k = 0; k < g->unit_count; k++)
            if (g->units[k].expert && !g->units[k].done && expert_of(g, &g->units[k]) == e)
                bytes += captures_moments_of(g, &g->units[k]);
        if (bytes > remaining && !(first && pass > 0)) {
            pass++;
            remaining = capacity;
            first = true;
        }
        first = first && bytes == 0;
        remaining = bytes < remaining ? remaining - bytes : 0;
        for (size_t k = 0; k < g->unit_count; k++)
            if (g->units[k].expert && expert_of(g, &g->units[k]) == e)
                g->units[k].pass = pass;
    }
    g->passes = pass + 1;
}

/* Moments count for each unit, although units with the same inputs share them, because it is not known yet which units
 * do. */
static void assign_passes(organ_calibration_captures *g)
{
    uint64_t others = 0, experts = 0;
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->units[k].done)
            *(g->units[k].expert ? &experts : &others) += captures_moments_of(g, &g->units[k]);
    g->passes = 1;
    if (g->calib->work->mixtures)
        assign_mixtures(g, others);
    else if (others + experts > g->calib->moments_memory && organ_calibration_may_rerun(g->calib))
        assign_experts(g, others);
}

static void add_units(organ_calibration_captures *g, size_t target)
{
    const organ_tensor *const tensor = g->calib->targets->tensors[target];
    const organ_matrices m = organ_calibration_matrices(g->calib, tensor);
    const organ_calibration_work *const work = g->calib->work;
    for (uint64_t e = 0; e < m.count; e++) {
        organ_calibration_unit *const u = &g->units[g->unit_count++];
        *u = (organ_calibration_unit){.target = target, .matrix = e, .rows = m.rows, .cols = m.cols, .group = SIZE_MAX};
        u->done = work->done && work->done(work->context, target);
        u->expert = m.count > 1 || tensor->anatomy.expert >= 0;
        snprintf(u->name, sizeof u->name, m.count > 1 ? "%.300s[%llu]" : "%.399s", tensor->name, (unsigned long long)e);
    }
}

organ_status organ_calibration_gathering_open(const organ_calibration_run *calib, organ_layer *loaded, int32_t layer,
                                              organ_calibration_captures *g, organ_error *error)
{
    *g = (organ_calibration_captures){.calib = calib, .layer = layer, .loaded = loaded, .last = SIZE_MAX};
    const size_t count = count_units(g);
    g->units = calloc(count + 1, sizeof *g->units);
    /* a unit that falls back to all tokens opens a second group */
    g->groups = calloc(2 * count + 1, sizeof *g->groups);
    g->scratch = aligned_alloc(64, organ_calibration_scratch(calib->engine));
    if (!g->units || !g->groups || !g->scratch)
        return organ_fail_errno(error, ENOMEM, "%zu matrices of layer %d", count, (int)layer);
    for (size_t k = 0; k < calib->targets->count; k++)
        if (is_in_layer(g, calib->targets->tensors[k]))
            add_units(g, k);
    assign_passes(g);
    return ORGAN_OK;
}

static void free_groups(organ_calibration_captures *g)
{
    for (size_t k = 0; k < g->group_count; k++) {
        organ_calibration_destroy(g->groups[k].calibration);
        free(g->groups[k].kept);
    }
    g->group_count = 0;
    g->fallback_pass = false;
}

void organ_calibration_gathering_next(organ_calibration_captures *g)
{
    free_groups(g);
    for (size_t k = 0; k < g->unit_count; k++)
        g->units[k].group = SIZE_MAX;
    g->pass++;
    organ_calibration_capture_next(g);
}

void organ_calibration_gathering_close(organ_calibration_captures *g)
{
    free_groups(g);
    ORGAN_FREE_ARRAYS(g->groups, g->units, g->scratch);
}

/* ---- experts that too few tokens were routed to ---- */

organ_status organ_calibration_all_experts(const organ_calibration_captures *g, bool **all_tokens, organ_error *error)
{
    const unsigned experts = organ_layer_experts(g->loaded);
    *all_tokens = experts ? malloc(experts * sizeof **all_tokens) : NULL;
    if (*all_tokens)
        memset(*all_tokens, true, experts * sizeof **all_tokens);
    return experts && !*all_tokens ? organ_fail_memory(error, g->calib->model->path) : ORGAN_OK;
}

/* An unreached expert got fewer than ORGAN_CALIBRATION_MIN_TOKENS routed tokens in this pass. With work->mixtures,
 * such experts are changed without a calibration. */
static bool is_unreached(const organ_calibration_captures *g, const organ_calibration_unit *u)
{
    return u->expert && !u->done && u->pass == g->pass && !is_mixed(g, u) &&
           (u->group == SIZE_MAX || g->groups[u->group].tokens < ORGAN_CALIBRATION_MIN_TOKENS);
}

organ_status organ_calibration_find_few_tokens(organ_calibration_captures *g, bool **all_tokens, organ_error *error)
{
    const unsigned experts = organ_layer_experts(g->loaded);
    *all_tokens = NULL;
    for (size_t k = 0; k < g->unit_count && !error->status; k++) {
        organ_calibration_unit *const u = &g->units[k];
        if (!is_unreached(g, u) || expert_of(g, u) >= experts)
            continue;
        if (!*all_tokens && !(*all_tokens = calloc(experts, sizeof **all_tokens)))
            return organ_fail_memory(error, g->calib->model->path);
        (*all_tokens)[expert_of(g, u)] = true;
        u->fallback = true;
    }
    for (size_t k = 0; k < g->unit_count; k++) {
        organ_calibration_unit *const u = &g->units[k];
        if (u->fallback && u->group != SIZE_MAX) {
            organ_calibration_destroy(g->groups[u->group].calibration);
            g->groups[u->group].calibration = NULL;
            u->group = SIZE_MAX;
        }
    }
    g->fallback_pass = *all_tokens != NULL;
    return error->status;
}

/* A matrix without inputs is not a linear layer of the forward pass. Two kinds of experts may have received none:
 * those with work->mixtures, and those that an earlier run has finished. */
static organ_status check_captured(const organ_calibration_captures *g, organ_error *error)
{
    const organ_calibration_run_options *const o = g->calib->options;
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].pass == g->pass && g->units[k].group == SIZE_MAX && !is_mixed(g, &g->units[k]) &&
            !(g->units[k].expert && g->units[k].done))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s' is not a linear layer of the forward pass: '%s' cannot %s it",
                              g->units[k].name, o->method, o->verb);
    return error->status;
}

/* The ranks first agree that none has failed. */
static organ_status complete_sums(const organ_calibration_captures *g, organ_error *error)
{
    if (organ_ranks_agree(g->calib->engine->ranks, "capturing the inputs of a layer", error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < g->group_count; k++)
        if (g->groups[k].calibration)
            organ_calibration_complete(g->groups[k].calibration, error);
    return error->status;
}

organ_status organ_calibration_gathering_finish(organ_calibration_captures *g, organ_error *error)
{
    check_captured(g, error);
    if (complete_sums(g, error) != ORGAN_OK)
        return error->status;
    const uint64_t copy =
        g->passes > 1 && !g->calib->work->mixtures ? organ_forward_layer_bytes(g->calib->facts.forward) : 0;
    g->spare = g->calib->moments_memory > copy ? g->calib->moments_memory - copy : 0;
    for (size_t k = 0; k < g->group_count && !error->status; k++) {
        if (!g->groups[k].calibration)
            continue;
        const organ_calibration_unit *const leader = &g->units[g->groups[k].leader];
        const uint64_t taken = captures_moments_of(g, leader);
        g->spare = taken < g->spare ? g->spare - taken : 0;
        organ_clear(&g->groups[k].kept);
        organ_calibration_finish(g->groups[k].calibration, error);
    }
    return error->status;
}

/* ---- exchange of inputs between ranks ---- */

/* Exchange of inputs between ranks. While a rank runs its chunk (a set of windows), it records the calls of its taps
 * (callbacks that receive the inputs of matrices). Then every rank gathers the inputs of all ranks, in the order of the
 * chunks, as a single process would. */

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
           is_same_place(g, &g->units[c->unit], &g->units[before->unit]);
}

/* Inputs are copied unless they are those of the previous call. `tensor` is the name of the matrix. The caller has
 * set all members of `new_call` except `unit`, `same` and `bytes`. A matrix that this pass does not gather is
 * ignored, as are experts in the donor. */
static organ_status record_call(organ_calibration_captures *g, const char *tensor, call new_call, const float *inputs,
                                organ_error *error)
{
    organ_calibration_record *const r = &g->record;
    new_call.unit = find_unit(g, tensor);
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
    return (organ_tap){g, donor ? capture_donor : capture};
}

/* All calls of another rank use one buffer, so equal addresses do not mean equal inputs: unless c->same,
 * organ_calibration_capture_next makes the gathering forget the previous address. */
static void capture_call(organ_calibration_captures *g, const call *c, const float *inputs, organ_error *error)
{
    if (!c->same)
        organ_calibration_capture_next(g);
    (c->donor ? capture_donor : capture)(g, g->units[c->unit].name, c->first, c->tokens, c->features, inputs, error);
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
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    if (organ_ranks_count(ranks) > 1 && organ_ranks_gather(ranks, "running chunks of the text", r->calls,
                                                           r->count * sizeof *r->calls, &all, error) == ORGAN_OK)
        for (size_t rank = 0; rank < all.count; rank++)
            capture_rank(g, rank, (const call *)(const void *)all.of[rank], (size_t)all.bytes[rank] / sizeof(call),
                         error);
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
    ORGAN_FREE_ARRAYS(r->calls, r->inputs, r->others);
    *r = (organ_calibration_record){0};
}
