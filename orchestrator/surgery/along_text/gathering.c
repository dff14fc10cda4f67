/* SPDX-License-Identifier: MIT
 * Gathers the inputs of a layer's matrices in the changed model and, if both are needed, in the donor. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/along_text/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef organ_along_gathering gathering_gathering;
typedef organ_along_unit gathering_unit;
typedef organ_along_group gathering_group;

static bool two_streams(const gathering_gathering *g) { return g->along->options->streams == ORGAN_ALONG_BOTH; }

/* ---- which inputs belong to which matrix ---- */

size_t organ_along_unit_named(const gathering_gathering *g, const char *name)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].pass == g->pass && (!g->again || g->units[k].fallback) && strcmp(g->units[k].name, name) == 0)
            return k;
    return SIZE_MAX;
}

/* "model.layers.0.mlp" of "model.layers.0.mlp.up_proj.weight": how long it is. */
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

/* Compares groups of the anatomy too, because GGUF names do not distinguish the attention from the feed-forward. */
bool organ_along_same_place(const gathering_gathering *g, const gathering_unit *a, const gathering_unit *b)
{
    const organ_tensor *const *const tensors = g->along->targets->tensors;
    return a->matrix == b->matrix && same_parent(a->name, b->name) &&
           tensors[a->target]->anatomy.group == tensors[b->target]->anatomy.group;
}

static organ_status open_group(gathering_gathering *g, size_t index, size_t features, organ_error *error)
{
    const organ_along_text *const along = g->along;
    gathering_unit *const u = &g->units[index];
    gathering_group *const made = &g->groups[g->group_count];
    const bool two = two_streams(g) && !u->expert;
    *made = (gathering_group){.leader = index, .features = features, .engine = *along->engine};
    made->engine.memory = u->whole ? UINT64_MAX : 0;
    organ_calibration_options options = {.features = features,
                                         .name = u->name,
                                         .seed = along->options->seed,
                                         .layer = (uint32_t)g->layer,
                                         .moments_only = along->options->moments_only,
                                         .two_streams = two,
                                         .levels = along->levels,
                                         .scratch = g->scratch,
                                         .tokens = along->options->calibration.samples *
                                                   (size_t)along->options->calibration.context};
    if (features != u->cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has rows of %llu weights but gets %zu inputs", u->name,
                          (unsigned long long)u->cols, features);
    u->group = g->group_count++;
    if (two && organ_calibration_takes_weights((size_t)u->rows, features)) {
        uint64_t rows = 0, cols = 0;
        made->alone = organ_layer_matrix(g->loaded, u->name, &rows, &cols, &options.weights);
        options.rows = (size_t)rows;
    }
    if (two && !(made->kept = malloc(along->chunks.together * along->options->calibration.context * features *
                                     sizeof *made->kept)))
        return organ_fail_memory(error, u->name);
    return organ_calibration_create(&options, &made->engine, &made->calibration, error);
}

/* The group that listens to this unit, or NULL where another unit of it does. */
static gathering_group *listener(gathering_gathering *g, size_t index, size_t features, const float *inputs,
                                 organ_error *error)
{
    gathering_unit *const u = &g->units[index];
    if (u->group == SIZE_MAX) {
        const gathering_unit *const before = g->last == SIZE_MAX ? NULL : &g->units[g->last];
        if (before && inputs == g->last_input && organ_along_same_place(g, u, before) && features == before->cols &&
            features == u->cols && !g->groups[before->group].alone)
            u->group = before->group;
        else if (open_group(g, index, features, error) != ORGAN_OK)
            return NULL;
    }
    g->last = index;
    g->last_input = inputs;
    gathering_group *const own = &g->groups[u->group];
    return own->leader == index ? own : NULL;
}

void organ_along_hear_again(organ_along_gathering *g) { g->last = SIZE_MAX; }

organ_status organ_along_hear(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                              const float *inputs, organ_error *error)
{
    gathering_gathering *const g = context;
    const size_t index = organ_along_unit_named(g, tensor);
    gathering_group *const own = index == SIZE_MAX ? NULL : listener(g, index, features, inputs, error);
    if (!own)
        return error->status;
    own->tokens += tokens;
    if (!own->kept)
        return organ_calibration_add(own->calibration, inputs, NULL, tokens, error);
    memcpy(own->kept + first * features, inputs, tokens * features * sizeof *inputs);
    return ORGAN_OK;
}

organ_status organ_along_hear_donor(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                    const float *inputs, organ_error *error)
{
    const gathering_gathering *const g = context;
    const size_t index = organ_along_unit_named(g, tensor);
    if (index == SIZE_MAX || g->units[index].group == SIZE_MAX)
        return ORGAN_OK;
    const gathering_group *const own = &g->groups[g->units[index].group];
    if (own->leader != index || !own->kept)
        return ORGAN_OK;
    return organ_calibration_add(own->calibration, own->kept + first * features, inputs, tokens, error);
}

/* ---- the units of a layer ---- */

static bool gathering_belongs(const gathering_gathering *g, const organ_tensor *tensor)
{
    return tensor->anatomy.layer == g->layer;
}

static size_t count_units(const gathering_gathering *g)
{
    const organ_targets *const targets = g->along->targets;
    size_t count = 0;
    for (size_t k = 0; k < targets->count; k++)
        if (gathering_belongs(g, targets->tensors[k]))
            count += (size_t)organ_tensor_matrices(targets->tensors[k]).count;
    return count;
}

/* Bytes of the second moments of one unit, whole or in blocks. */
static uint64_t gathering_moments_of(const gathering_gathering *g, const gathering_unit *u, bool whole)
{
    const bool two = two_streams(g) && !u->expert;
    return organ_calibration_memory(u->cols, u->rows, two, whole);
}

static int by_cols(const void *a, const void *b)
{
    const gathering_unit *const x = *(const gathering_unit *const *)a, *const y = *(const gathering_unit *const *)b;
    return x->cols != y->cols ? (x->cols > y->cols) - (x->cols < y->cols) : (x > y) - (x < y);
}

/* Returns true if the moments of a unit are always whole, gathered in several passes if necessary. */
static bool is_mixed(const gathering_gathering *g, const gathering_unit *u)
{
    return g->along->work->mixtures && u->expert;
}

/* Assigns experts' down projections to passes. Those whose moments do not fit together with the moments of all other
 * units are gathered in earlier passes; a single one always fits (`memory` includes it). Down projections are the last
 * matrices of a layer, so changing some of them changes no inputs that are gathered later. */
static void deal_passes(gathering_gathering *g, uint64_t taken)
{
    const uint64_t room = g->along->moments_memory;
    uint64_t left = taken < room ? room - taken : 0;
    size_t pass = 0, last;
    bool first = true;
    for (size_t k = g->unit_count; k-- > 0;) {
        gathering_unit *const u = &g->units[k];
        if (!is_mixed(g, u) || u->done)
            continue;
        const uint64_t bytes = gathering_moments_of(g, u, true);
        if (bytes > left && !first) {
            pass++;
            left = room;
        }
        first = false;
        left = bytes < left ? left - bytes : 0;
        u->pass = pass;
    }
    last = pass;
    for (size_t k = 0; k < g->unit_count; k++)
        g->units[k].pass = last - g->units[k].pass;
    g->passes = last + 1;
}

/* Gives as many units as fit in memory whole moments, the narrowest first, and counts shared inputs once per unit. */
static organ_status share_moments(gathering_gathering *g, organ_error *error)
{
    gathering_unit **const sorted = calloc(g->unit_count + 1, sizeof *sorted);
    uint64_t taken = 0;
    if (!sorted)
        return organ_fail_errno(error, ENOMEM, "%zu matrices of layer %d", g->unit_count, (int)g->layer);
    for (size_t k = 0; k < g->unit_count; k++) {
        sorted[k] = &g->units[k];
        taken += is_mixed(g, &g->units[k]) ? 0 : gathering_moments_of(g, &g->units[k], false);
    }
    qsort(sorted, g->unit_count, sizeof *sorted, by_cols);
    for (size_t k = 0; k < g->unit_count; k++) {
        const uint64_t more = gathering_moments_of(g, sorted[k], true) - gathering_moments_of(g, sorted[k], false);
        sorted[k]->whole = is_mixed(g, sorted[k]) || taken + more <= g->along->moments_memory;
        taken += sorted[k]->whole && !is_mixed(g, sorted[k]) ? more : 0;
    }
    deal_passes(g, taken);
    free(sorted);
    return ORGAN_OK;
}

static void add_units(gathering_gathering *g, size_t target)
{
    const organ_tensor *const tensor = g->along->targets->tensors[target];
    const organ_matrices m = organ_along_matrices(g->along, tensor);
    const organ_along_work *const work = g->along->work;
    for (uint64_t e = 0; e < m.count; e++) {
        gathering_unit *const u = &g->units[g->unit_count++];
        *u = (gathering_unit){.target = target, .matrix = e, .rows = m.rows, .cols = m.cols, .group = SIZE_MAX};
        u->done = work->done && work->done(work->context, target);
        u->expert = m.count > 1 || tensor->anatomy.expert >= 0;
        snprintf(u->name, sizeof u->name, m.count > 1 ? "%.300s[%llu]" : "%.399s", tensor->name, (unsigned long long)e);
    }
}

organ_status organ_along_gathering_open(const organ_along_text *along, organ_layer *loaded, int32_t layer,
                                        gathering_gathering *g, organ_error *error)
{
    *g = (gathering_gathering){.along = along, .layer = layer, .loaded = loaded, .last = SIZE_MAX};
    const size_t count = count_units(g);
    g->units = calloc(count + 1, sizeof *g->units);
    g->groups = calloc(2 * count + 1, sizeof *g->groups); /* units that fall back open a second one */
    g->scratch = aligned_alloc(64, organ_products_scratch(along->engine));
    if (!g->units || !g->groups || !g->scratch)
        return organ_fail_errno(error, ENOMEM, "%zu matrices of layer %d", count, (int)layer);
    for (size_t k = 0; k < along->targets->count; k++)
        if (gathering_belongs(g, along->targets->tensors[k]))
            add_units(g, k);
    return share_moments(g, error);
}

static void forget_groups(gathering_gathering *g)
{
    for (size_t k = 0; k < g->group_count; k++) {
        organ_calibration_destroy(g->groups[k].calibration);
        free(g->groups[k].kept);
    }
    g->group_count = 0;
    g->again = false;
}

void organ_along_gathering_next(gathering_gathering *g)
{
    forget_groups(g);
    g->pass++;
    organ_along_hear_again(g);
}

void organ_along_gathering_close(gathering_gathering *g)
{
    forget_groups(g);
    free(g->groups);
    free(g->units);
    free(g->scratch);
}

/* ---- experts that too few tokens were routed to ---- */

static size_t expert_of(const gathering_gathering *g, const gathering_unit *u)
{
    const int32_t own = g->along->targets->tensors[u->target]->anatomy.expert;
    return own >= 0 ? (size_t)own : (size_t)u->matrix;
}

organ_status organ_along_every_expert(const gathering_gathering *g, bool **listened, organ_error *error)
{
    const unsigned experts = organ_layer_experts(g->loaded);
    *listened = experts ? malloc(experts * sizeof **listened) : NULL;
    if (*listened)
        memset(*listened, true, experts * sizeof **listened);
    return experts && !*listened ? organ_fail_memory(error, g->along->model->path) : ORGAN_OK;
}

static bool is_unreached(const gathering_gathering *g, const gathering_unit *u)
{
    return u->expert && !u->done && u->pass == g->pass && !is_mixed(g, u) &&
           (u->group == SIZE_MAX || g->groups[u->group].tokens < ORGAN_ALONG_LEAST_TOKENS);
}

organ_status organ_along_find_unreached(gathering_gathering *g, bool **listened, organ_error *error)
{
    const unsigned experts = organ_layer_experts(g->loaded);
    *listened = NULL;
    for (size_t k = 0; k < g->unit_count && !error->status; k++) {
        gathering_unit *const u = &g->units[k];
        if (!is_unreached(g, u) || expert_of(g, u) >= experts)
            continue;
        if (!*listened && !(*listened = calloc(experts, sizeof **listened)))
            return organ_fail_memory(error, g->along->model->path);
        (*listened)[expert_of(g, u)] = true;
        u->fallback = true;
    }
    for (size_t k = 0; k < g->unit_count; k++) {
        gathering_unit *const u = &g->units[k];
        if (u->fallback && u->group != SIZE_MAX) {
            organ_calibration_destroy(g->groups[u->group].calibration);
            g->groups[u->group].calibration = NULL;
            u->group = SIZE_MAX;
        }
    }
    g->again = *listened != NULL;
    return error->status;
}

/* A matrix that no inputs have come to. */
static organ_status check_heard(const gathering_gathering *g, organ_error *error)
{
    const organ_along_options *const o = g->along->options;
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].pass == g->pass && g->units[k].group == SIZE_MAX && !is_mixed(g, &g->units[k]) &&
            !(g->units[k].expert && g->units[k].done))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s' is no linear layer of the forward pass: '%s' cannot %s it", g->units[k].name,
                              o->method, o->verb);
    return error->status;
}

static organ_status complete_sums(const gathering_gathering *g, organ_error *error)
{
    if (organ_ranks_agree(g->along->engine->ranks, "the inputs of a layer are known", error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < g->group_count; k++)
        if (g->groups[k].calibration)
            organ_calibration_complete(g->groups[k].calibration, error);
    return error->status;
}

organ_status organ_along_gathering_finish(gathering_gathering *g, organ_error *error)
{
    check_heard(g, error);
    if (complete_sums(g, error) != ORGAN_OK)
        return error->status;
    g->spare = g->along->moments_memory;
    for (size_t k = 0; k < g->group_count && !error->status; k++) {
        if (!g->groups[k].calibration)
            continue;
        const gathering_unit *const leader = &g->units[g->groups[k].leader];
        const uint64_t taken = gathering_moments_of(g, leader, leader->whole);
        g->spare = taken < g->spare ? g->spare - taken : 0;
        free(g->groups[k].kept);
        g->groups[k].kept = NULL;
        organ_calibration_finish(g->groups[k].calibration, error);
    }
    return error->status;
}
