/* SPDX-License-Identifier: MIT
 * Layer by layer: the inputs of its matrices are gathered behind what is pruned already and, where both are wanted, in the donor; then all
 * its targets are pruned, and the pruned stream goes on through the weights as they are stored. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/calibrated/job.h"
#include "orchestrator/surgery/calibrated/saliency.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Matrices that see the same inputs (Q, K and V; gate and up) have one calibration. */
typedef struct group {
    size_t leader; /* the unit that is listened to */
    size_t features;
    bool alone;          /* calibrated with its leader's weights: no other unit may join */
    organ_engine engine; /* its memory says whether the moments are one block */
    organ_calibration *calibration;
    float *kept; /* inputs of a chunk in the pruned stream; NULL with one stream */
} group;

typedef struct unit {
    char name[400];
    size_t part;
    uint64_t matrix, rows, cols;
    size_t group; /* SIZE_MAX: none yet */
    bool expert;  /* the streams may route other tokens to it: one stream */
    bool whole;   /* there is memory for its second moments as one block */
} unit;

/* One layer while its inputs are gathered. */
typedef struct gathering {
    organ_calibrated_job *job;
    int32_t layer;
    organ_layer *loaded;
    unit *units;
    size_t unit_count;
    group *groups; /* room for one per unit */
    size_t group_count;
    size_t last;             /* unit that was told last in this run, SIZE_MAX: none */
    const float *last_input; /* and its inputs */
} gathering;

/* ---- which inputs belong to which matrix ---- */

static size_t unit_named(const gathering *g, const char *name)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (strcmp(g->units[k].name, name) == 0)
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

/* Both in the attention or both in the feed-forward, whose inputs may come in the same memory; GGUF names alone do not tell them apart. */
static bool same_place(const gathering *g, const unit *a, const unit *b)
{
    const organ_tensor *const *const tensors = g->job->base.targets.tensors;
    return same_parent(a->name, b->name) && tensors[a->part]->anatomy.group == tensors[b->part]->anatomy.group;
}

static organ_status open_group(gathering *g, size_t index, size_t features, organ_error *error)
{
    organ_calibrated_job *const job = g->job;
    unit *const u = &g->units[index];
    group *const made = &g->groups[g->group_count];
    const bool two = job->two_streams && !u->expert;
    *made = (group){.leader = index, .features = features, .engine = *job->base.engine};
    made->engine.memory = u->whole ? UINT64_MAX : 0;
    organ_calibration_options options = {.features = features,
                                         .name = u->name,
                                         .seed = job->options->seed,
                                         .layer = (uint32_t)g->layer,
                                         .two_streams = two,
                                         .levels = job->levels};
    if (features != u->cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has rows of %llu weights but gets %zu inputs", u->name,
                          (unsigned long long)u->cols, features);
    u->group = g->group_count++;
    if (two && organ_calibration_takes_weights((size_t)u->rows, features)) {
        uint64_t rows = 0, cols = 0;
        made->alone = organ_layer_matrix(g->loaded, u->name, &rows, &cols, &options.weights);
        options.rows = (size_t)rows;
    }
    if (two && !(made->kept = malloc(job->chunk_windows * job->options->context * features * sizeof *made->kept)))
        return organ_fail_memory(error, u->name);
    return organ_calibration_create(&options, &made->engine, &made->calibration, error);
}

/* The group that listens to this unit, or NULL where another unit of it does. */
static group *listener(gathering *g, size_t index, size_t features, const float *inputs, organ_error *error)
{
    unit *const u = &g->units[index];
    if (u->group == SIZE_MAX) {
        const unit *const before = g->last == SIZE_MAX ? NULL : &g->units[g->last];
        if (before && inputs == g->last_input && same_place(g, u, before) && features == before->cols && features == u->cols &&
            !g->groups[before->group].alone)
            u->group = before->group;
        else if (open_group(g, index, features, error) != ORGAN_OK)
            return NULL;
    }
    g->last = index;
    g->last_input = inputs;
    group *const own = &g->groups[u->group];
    return own->leader == index ? own : NULL;
}

static organ_status hear_pruned(void *context, const char *tensor, size_t first, size_t tokens, size_t features, const float *inputs,
                                organ_error *error)
{
    gathering *const g = context;
    const size_t index = unit_named(g, tensor);
    group *const own = index == SIZE_MAX ? NULL : listener(g, index, features, inputs, error);
    if (!own)
        return error->status;
    if (!own->kept)
        return organ_calibration_add(own->calibration, inputs, NULL, tokens, error);
    memcpy(own->kept + first * features, inputs, tokens * features * sizeof *inputs);
    return ORGAN_OK;
}

static organ_status hear_donor(void *context, const char *tensor, size_t first, size_t tokens, size_t features, const float *inputs,
                               organ_error *error)
{
    const gathering *const g = context;
    const size_t index = unit_named(g, tensor);
    if (index == SIZE_MAX || g->units[index].group == SIZE_MAX)
        return ORGAN_OK;
    const group *const own = &g->groups[g->units[index].group];
    if (own->leader != index || !own->kept)
        return ORGAN_OK;
    return organ_calibration_add(own->calibration, own->kept + first * features, inputs, tokens, error);
}

/* ---- the streams ---- */

/* Windows [from, from + *windows.count) of the batch: all are of one length, so that they begin where the first ones do. */
static organ_windows chunk_at(const organ_calibrated_job *job, size_t from)
{
    const size_t left = job->options->samples - from;
    return (organ_windows){job->tokens + from * job->options->context, left < job->chunk_windows ? left : job->chunk_windows, job->begin};
}

static float *states_at(const organ_calibrated_job *job, float *states, size_t window)
{
    return states + window * job->options->context * organ_forward_describe(job->forward)->hidden;
}

static organ_status stopped(const organ_calibrated_job *job, int32_t layer, organ_error *error)
{
    return organ_stop_asked(job->base.engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "stopped in layer %d", (int)layer) : ORGAN_OK;
}

/* Both streams through the donor's layer; the pruned one on a copy, for it is to go through the pruned layer. */
static organ_status gather(gathering *g, const organ_layer *layer, organ_error *error)
{
    const organ_calibrated_job *const job = g->job;
    const organ_tap pruned = {g, hear_pruned}, donor = {g, hear_donor};
    const size_t token = (size_t)organ_forward_describe(job->forward)->hidden * sizeof(float);
    for (size_t w = 0; w < job->options->samples && !stopped(job, g->layer, error); w += job->chunk_windows) {
        const organ_windows windows = chunk_at(job, w);
        memcpy(job->chunk, states_at(job, job->pruned_states, w), windows.begin[windows.count] * token);
        g->last = SIZE_MAX;
        if (organ_layer_run(job->forward, layer, &windows, job->chunk, &pruned, error) != ORGAN_OK)
            return error->status;
        if (job->two_streams && organ_layer_run(job->forward, layer, &windows, states_at(job, job->donor_states, w), &donor, error))
            return error->status;
    }
    return error->status;
}

static organ_status carry(const organ_calibrated_job *job, const organ_layer *layer, int32_t number, float *states, organ_error *error)
{
    for (size_t w = 0; w < job->options->samples && !stopped(job, number, error); w += job->chunk_windows) {
        const organ_windows windows = chunk_at(job, w);
        if (organ_layer_run(job->forward, layer, &windows, states_at(job, states, w), NULL, error) != ORGAN_OK)
            return error->status;
    }
    return error->status;
}

/* ---- a layer ---- */

static size_t count_units(const organ_calibrated_job *job, int32_t layer)
{
    size_t count = 0;
    for (size_t k = 0; k < job->base.targets.count; k++)
        if (job->base.targets.tensors[k]->anatomy.layer == layer)
            count += (size_t)organ_tensor_matrices(job->base.targets.tensors[k]).count;
    return count;
}

/* Bytes of the second moments of one unit, whole or in blocks. */
static uint64_t moments_of(const gathering *g, const unit *u, bool whole)
{
    const bool two = g->job->two_streams && !u->expert;
    return organ_calibration_memory(u->cols, u->rows, two, whole);
}

static int by_cols(const void *a, const void *b)
{
    const unit *const x = *(const unit *const *)a, *const y = *(const unit *const *)b;
    return x->cols != y->cols ? (x->cols > y->cols) - (x->cols < y->cols) : (x > y) - (x < y);
}

/* As many units as the memory allows have their moments whole: the narrow ones first, each as if no other saw its inputs. */
static organ_status share_moments(gathering *g, organ_error *error)
{
    unit **const sorted = calloc(g->unit_count + 1, sizeof *sorted);
    uint64_t taken = 0;
    if (!sorted)
        return organ_fail_errno(error, ENOMEM, "%zu matrices of layer %d", g->unit_count, (int)g->layer);
    for (size_t k = 0; k < g->unit_count; k++) {
        sorted[k] = &g->units[k];
        taken += moments_of(g, &g->units[k], false);
    }
    qsort(sorted, g->unit_count, sizeof *sorted, by_cols);
    for (size_t k = 0; k < g->unit_count; k++) {
        const uint64_t more = moments_of(g, sorted[k], true) - moments_of(g, sorted[k], false);
        sorted[k]->whole = taken + more <= g->job->moments_memory;
        taken += sorted[k]->whole ? more : 0;
    }
    free(sorted);
    return ORGAN_OK;
}

static organ_status list_units(gathering *g, organ_error *error)
{
    const organ_targets *const targets = &g->job->base.targets;
    const size_t count = count_units(g->job, g->layer);
    g->units = calloc(count + 1, sizeof *g->units);
    g->groups = calloc(count + 1, sizeof *g->groups);
    if (!g->units || !g->groups)
        return organ_fail_errno(error, ENOMEM, "%zu matrices of layer %d", count, (int)g->layer);
    for (size_t k = 0; k < targets->count; k++) {
        const organ_tensor *const tensor = targets->tensors[k];
        const organ_matrices m = organ_tensor_matrices(tensor);
        for (uint64_t e = 0; tensor->anatomy.layer == g->layer && e < m.count; e++) {
            unit *const u = &g->units[g->unit_count++];
            *u = (unit){.part = k, .matrix = e, .rows = m.rows, .cols = m.cols, .group = SIZE_MAX};
            u->expert = m.count > 1 || tensor->anatomy.expert >= 0;
            snprintf(u->name, sizeof u->name, m.count > 1 ? "%.300s[%llu]" : "%.399s", tensor->name, (unsigned long long)e);
        }
    }
    return share_moments(g, error);
}

static organ_status finish_groups(gathering *g, organ_error *error)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (g->units[k].group == SIZE_MAX && g->units[k].expert)
            return organ_fail(
                error, ORGAN_BAD_INPUT,
                "tensor '%s': no token of the calibration was routed to this expert; more --samples or another text may reach it",
                g->units[k].name);
        else if (g->units[k].group == SIZE_MAX)
            return organ_fail(error, ORGAN_USAGE, "tensor '%s' is no linear layer of the forward pass: '%s' cannot prune it",
                              g->units[k].name, g->job->options->method);
    for (size_t k = 0; k < g->group_count && !error->status; k++) {
        free(g->groups[k].kept);
        g->groups[k].kept = NULL;
        organ_calibration_finish(g->groups[k].calibration, error);
    }
    return error->status;
}

static organ_status prune_values(gathering *g, const unit *u, float *weights, organ_error *error)
{
    organ_prune_job *const base = &g->job->base;
    organ_prune_part *const part = &base->parts[u->part];
    if (part->done)
        return organ_calibrated_restore(g->job, u->part, u->matrix, weights, error);
    if (organ_calibrated_matrix(g->job, u->part, u->matrix, g->groups[u->group].calibration, weights, error))
        return error->status;
    return u->matrix + 1 == organ_tensor_matrices(part->tensor).count ? organ_prune_part_done(base, part, error) : ORGAN_OK;
}

/* The layer holds the matrix as the file does, which is what its pruned values are rounded to: they go back as they are. */
static organ_status prune_unit(gathering *g, const unit *u, organ_layer *layer, organ_error *error)
{
    uint64_t rows = 0, cols = 0;
    organ_factor held;
    if (!organ_layer_matrix(layer, u->name, &rows, &cols, &held) || rows != u->rows || cols != u->cols)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' is %llu x %llu in the file and %llu x %llu in the forward pass", u->name,
                          (unsigned long long)u->rows, (unsigned long long)u->cols, (unsigned long long)rows, (unsigned long long)cols);
    float *const weights = aligned_alloc(64, organ_to_line((size_t)(rows * cols * sizeof *weights)));
    if (!weights)
        return organ_fail_memory(error, u->name);
    organ_layer_read(layer, u->name, weights);
    if (prune_values(g, u, weights, error) == ORGAN_OK)
        organ_layer_write(layer, u->name, weights);
    free(weights);
    return error->status;
}

static organ_status prune_units(gathering *g, organ_layer *layer, organ_error *error)
{
    for (size_t k = 0; k < g->unit_count && !stopped(g->job, g->layer, error); k++)
        prune_unit(g, &g->units[k], layer, error);
    return error->status;
}

static void close_gathering(gathering *g)
{
    for (size_t k = 0; k < g->group_count; k++) {
        organ_calibration_destroy(g->groups[k].calibration);
        free(g->groups[k].kept);
    }
    free(g->groups);
    free(g->units);
}

static bool is_done(const gathering *g)
{
    for (size_t k = 0; k < g->unit_count; k++)
        if (!g->job->base.parts[g->units[k].part].done)
            return false;
    return true;
}

/* Of what an earlier run has done nothing but the weights is needed: they are read back. */
static organ_status prune_layer(organ_calibrated_job *job, organ_layer *layer, int32_t number, organ_error *error)
{
    gathering g = {.job = job, .layer = number, .loaded = layer, .last = SIZE_MAX};
    if (list_units(&g, error) == ORGAN_OK) {
        if (!is_done(&g))
            gather(&g, layer, error) ? error->status : finish_groups(&g, error);
        else if (job->two_streams)
            carry(job, layer, number, job->donor_states, error);
    }
    if (!error->status)
        prune_units(&g, layer, error);
    close_gathering(&g);
    return error->status;
}

/* A target that the layers of the forward pass do not reach (an output head, a prediction layer behind the last) has no inputs. */
static organ_status check_targets(const organ_calibrated_job *job, organ_error *error)
{
    const organ_targets *const targets = &job->base.targets;
    const unsigned layers = organ_forward_describe(job->forward)->layers;
    for (size_t k = 0; k < targets->count; k++) {
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        if (layer < 0 || (unsigned)layer >= layers)
            return organ_fail(error, ORGAN_USAGE, "tensor '%s' is in none of the %u layers of the forward pass: '%s' cannot prune it",
                              targets->tensors[k]->name, layers, job->options->method);
    }
    return ORGAN_OK;
}

/* Layers after the last target need not be run. */
static int32_t last_layer(const organ_calibrated_job *job)
{
    int32_t last = 0;
    for (size_t k = 0; k < job->base.targets.count; k++)
        last = job->base.targets.tensors[k]->anatomy.layer > last ? job->base.targets.tensors[k]->anatomy.layer : last;
    return last;
}

organ_status organ_calibrated_layers(organ_calibrated_job *job, organ_error *error)
{
    const organ_forward_config *const config = organ_forward_describe(job->forward);
    const organ_windows all = {job->tokens, job->options->samples, job->begin};
    const size_t tokens = job->begin[job->options->samples];
    if (check_targets(job, error) != ORGAN_OK || organ_forward_embed(job->forward, &all, job->pruned_states, error) != ORGAN_OK)
        return error->status;
    if (job->two_streams)
        memcpy(job->donor_states, job->pruned_states, tokens * (size_t)config->hidden * sizeof(float));
    const int32_t last = last_layer(job);
    if (!(job->levels = organ_normal_levels()))
        return organ_fail_memory(error, job->base.donor->path);
    for (int32_t l = 0; l <= last && !stopped(job, l, error); l++) {
        organ_layer *layer = NULL;
        if (organ_layer_load(job->forward, l, &layer, error) != ORGAN_OK)
            return error->status;
        prune_layer(job, layer, l, error);
        if (!error->status && l < last)
            carry(job, layer, l, job->pruned_states, error);
        organ_layer_free(layer);
        if (error->status)
            return error->status;
    }
    return error->status;
}
