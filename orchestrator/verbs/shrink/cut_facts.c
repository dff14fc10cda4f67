/* SPDX-License-Identifier: MIT
 * Checks the requested cut against the model, and determines the facts of each layer (organ_cut_facts) and how many
 * experts, channels and heads a layer has before and after the cut. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/sizes.h"
#include "orchestrator/output/inputs.h"

#include <inttypes.h>
#include <string.h>

size_t organ_cut_layers(const organ_model *model)
{
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.layer >= (int32_t)count)
            count = (size_t)model->tensors[t].anatomy.layer + 1;
    return count;
}

bool organ_cut_is_own(const organ_tensor *tensor)
{
    unsigned layer;
    return tensor->anatomy.layer >= 0 && organ_mtp_name_prefix(tensor->name, &layer) > 0;
}

size_t organ_cut_own_layers(const organ_model *model)
{
    size_t first = organ_cut_layers(model);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.layer < (int32_t)first && organ_cut_is_own(&model->tensors[t]))
            first = (size_t)model->tensors[t].anatomy.layer;
    return first;
}

const char *organ_cut_layer_name(const organ_anatomy *anatomy, const char *name, char room[ORGAN_MTP_NAME_ROOM])
{
    return anatomy->layer >= 0 ? organ_mtp_layer_name(name, /*trunk=*/0, room) : name;
}

static bool is_router_weight(const organ_tensor *t)
{
    char room[ORGAN_MTP_NAME_ROOM];
    return t->anatomy.role == ORGAN_ROLE_ROUTER && t->rank == 2 &&
           organ_anatomy_is_router(organ_cut_layer_name(&t->anatomy, t->name, room));
}

uint64_t organ_cut_experts(const organ_model *model, size_t layer)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.layer == (int32_t)layer && is_router_weight(&model->tensors[t]))
            return model->tensors[t].shape[0];
    return 0;
}

/* ---- options ---- */

/* `have` is the number of parts of one kind in the layer; `what` names them in messages. */
static organ_status check_keep(const organ_cut_run *run, size_t layer, const organ_cut_keep *keep, uint64_t have,
                               const char *what, organ_error *error)
{
    if (!keep->numbers)
        return ORGAN_OK;
    if (have == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: layer %zu has no %s to remove", run->model->path, layer, what);
    if (keep->count == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: layer %zu would have no %s left", run->model->path, layer, what);
    for (size_t k = 0; k < keep->count; k++)
        if (keep->numbers[k] >= have || (k && keep->numbers[k] <= keep->numbers[k - 1]))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: layer %zu: number %" PRIu32
                              " of the kept %s is not above the one before and below %" PRIu64,
                              run->model->path, layer, keep->numbers[k], what, have);
    return ORGAN_OK;
}

static organ_status number_kept_experts(organ_cut_run *run, size_t layer, organ_error *error)
{
    const organ_cut_keep *const keep = &run->cut->layers[layer].experts;
    organ_cut_facts *const f = &run->facts[layer];
    if (check_keep(run, layer, keep, f->experts, "routed experts", error))
        return error->status;
    f->kept_experts = keep->numbers ? (uint32_t)keep->count : f->experts;
    if (f->kept_experts == f->experts)
        return ORGAN_OK;
    run->cuts_experts = true;
    if (!(f->expert_of = organ_arena_take(&run->arena, f->experts * sizeof *f->expert_of)))
        return organ_fail_memory(error, run->model->path);
    for (uint32_t e = 0; e < f->experts; e++)
        f->expert_of[e] = -1;
    for (size_t k = 0; k < keep->count; k++)
        f->expert_of[keep->numbers[k]] = (int32_t)k;
    return ORGAN_OK;
}

/* All kept layers must keep the same number of experts, because no loader accepts a number for each layer. */
static organ_status check_equal_expert_counts(organ_cut_run *run, organ_error *error)
{
    size_t first = SIZE_MAX;
    for (size_t l = 0; l < run->layer_count; l++) {
        const organ_cut_facts *const f = &run->facts[l];
        if (f->becomes < 0 || !f->experts)
            continue;
        first = first == SIZE_MAX ? l : first;
        if (run->cuts_experts && f->kept_experts != run->facts[first].kept_experts)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: layer %zu would have %" PRIu32 " experts and layer %zu %" PRIu32
                              ": config.json and GGUF have one number of experts for all layers, and neither "
                              "transformers nor llama.cpp reads a list",
                              run->model->path, first, run->facts[first].kept_experts, l, f->kept_experts);
        run->experts_before = f->experts;
        run->experts_after = f->kept_experts;
    }
    return ORGAN_OK;
}

static organ_status number_kept_blocks(organ_cut_run *run, organ_error *error)
{
    for (size_t l = 0; l < run->layer_count; l++) {
        run->facts[l].becomes = run->cut->layers[l].dropped ? -1 : (int32_t)run->layers_after++;
        run->cuts_blocks = run->cuts_blocks || (run->cut->layers[l].dropped && l < run->own_layers);
    }
    return run->layers_after ? ORGAN_OK
                             : organ_fail(error, ORGAN_USAGE, "%s: no block would be left", run->model->path);
}

/* ---- channels and heads ---- */

static uint64_t inputs_of(const organ_model *model, const organ_weight *w)
{
    return w->shape[w->rank - (organ_tensor_is_crossed(model, w->codes) ? 2 : 1)];
}

uint64_t organ_cut_channels(const organ_model *model, const organ_weights *weights, size_t layer,
                            organ_expert_kind experts)
{
    uint64_t width = 0;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.layer != (int32_t)layer || w->anatomy.role != ORGAN_ROLE_DOWN || w->anatomy.experts != experts ||
            (w->rank != 2 && !(w->rank == 3 && experts == ORGAN_EXPERTS_ROUTED)))
            continue;
        if (width && inputs_of(model, w) != width)
            return 0;
        width = inputs_of(model, w);
    }
    return width;
}

/* The configuration has one number of parts for all layers. The first layer with such parts sets *before and *after,
 * which are 0 until then. */
static organ_status check_same_count(const organ_cut_run *run, size_t layer, const organ_cut_keep *keep, uint64_t have,
                                     const char *what, uint64_t *before, uint64_t *after, organ_error *error)
{
    const uint64_t kept = keep->numbers ? keep->count : have;
    if (check_keep(run, layer, keep, have, what, error))
        return error->status;
    if (have && *before && (*before != have || *after != kept))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: layer %zu would have %" PRIu64 " of %" PRIu64 " %s, a layer before it %" PRIu64
                          " of %" PRIu64 ": config.json and GGUF have one number for all layers",
                          run->model->path, layer, kept, have, what, *after, *before);
    if (have) {
        *before = have;
        *after = kept;
    }
    return ORGAN_OK;
}

enum { CHANNELS, KV_HEADS, EXPERT_CHANNELS, SHARED_CHANNELS };

static bool is_requested(const organ_cut_run *run, int cut_kind)
{
    for (size_t l = 0; l < run->layer_count; l++) {
        const organ_cut_layer *const layer = &run->cut->layers[l];
        const bool requested[] = {[CHANNELS] = layer->channels.numbers,
                                  [KV_HEADS] = layer->kv_heads.numbers,
                                  [SHARED_CHANNELS] = layer->shared_channels.numbers,
                                  [EXPERT_CHANNELS] = layer->expert_channels};
        if (requested[cut_kind] && run->facts[l].becomes >= 0)
            return true;
    }
    return false;
}

static organ_status resolve_experts_width(organ_cut_run *run, size_t layer, organ_error *error)
{
    static const organ_cut_keep all = {NULL, 0};
    const organ_cut_keep *const each = run->cut->layers[layer].expert_channels, *first = NULL;
    const organ_cut_facts *const f = &run->facts[layer];
    const uint64_t have = organ_cut_channels(run->model, run->weights, layer, ORGAN_EXPERTS_ROUTED);
    if (f->experts && have == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: layer %zu: its experts' down projections have different numbers of channels",
                          run->model->path, layer);
    for (uint32_t e = 0; each && e < f->experts; e++) {
        if (f->expert_of && f->expert_of[e] < 0)
            continue;
        first = first ? first : &each[e];
        if (check_keep(run, layer, &each[e], have, "channels of an expert", error))
            return error->status;
        if (!each[e].numbers || each[e].count != first->count)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: layer %zu: expert %" PRIu32 " would have %zu channels and one before it %zu",
                              run->model->path, layer, e, each[e].numbers ? each[e].count : (size_t)have, first->count);
    }
    return check_same_count(run, layer, first ? first : &all, f->experts || each ? have : 0, "channels of each expert",
                            &run->expert_channels_before, &run->expert_channels_after, error);
}

/* Layers with a recurrent mixer or only a feed-forward have no heads of K and V. */
static bool layer_has_attention(const organ_model *model, size_t layer)
{
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_anatomy *const a = &model->tensors[t].anatomy;
        if (a->layer == (int32_t)layer && a->role == ORGAN_ROLE_O)
            return true;
    }
    return false;
}

static organ_status resolve_widths(organ_cut_run *run, organ_error *error)
{
    const int64_t kv = (int64_t)organ_kv_heads(&run->model->config), heads = run->model->config.num_attention_heads;
    const bool channels = is_requested(run, CHANNELS), kv_heads = is_requested(run, KV_HEADS);
    const bool of_experts = is_requested(run, EXPERT_CHANNELS), of_shared = is_requested(run, SHARED_CHANNELS);
    if (kv_heads && (heads < 1 || (kv >= 1 && heads % kv)))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: %" PRId64 " query heads and %" PRId64
                          " heads of K and V: its configuration does not state which belong together",
                          run->model->path, heads, kv);
    for (size_t l = 0; l < run->layer_count && !error->status; l++) {
        const organ_cut_layer *const layer = &run->cut->layers[l];
        if (run->facts[l].becomes < 0)
            continue;
        if (channels &&
            check_same_count(run, l, &layer->channels,
                             organ_cut_channels(run->model, run->weights, l, ORGAN_EXPERTS_NONE),
                             "channels of the feed-forward", &run->channels_before, &run->channels_after, error))
            return error->status;
        if (of_experts && resolve_experts_width(run, l, error))
            return error->status;
        if (of_shared && check_same_count(run, l, &layer->shared_channels,
                                          organ_cut_channels(run->model, run->weights, l, ORGAN_EXPERTS_SHARED),
                                          "channels of the shared expert", &run->shared_channels_before,
                                          &run->shared_channels_after, error))
            return error->status;
        if (kv_heads)
            check_same_count(run, l, &layer->kv_heads,
                             layer_has_attention(run->model, l) ? organ_kv_heads(&run->model->config) : 0,
                             "heads of K and V", &run->kv_heads_before, &run->kv_heads_after, error);
    }
    run->cuts_channels = run->channels_after < run->channels_before;
    run->cuts_heads = run->kv_heads_after < run->kv_heads_before;
    run->cuts_expert_channels = run->expert_channels_after < run->expert_channels_before;
    run->cuts_shared_channels = run->shared_channels_after < run->shared_channels_before;
    return error->status;
}

/* config.json has one number of experts and one width for the layers and for blocks for multi-token prediction, whose
 * tensors may have names of their own, such as mtp.layers.0. If nothing says which of their parts to keep, the blocks
 * are removed: their layers are dropped, or have no numbers. */
static bool fits_no_draft(const organ_cut_run *run)
{
    for (size_t l = run->own_layers; l < run->layer_count; l++)
        if (run->facts[l].becomes < 0)
            return true;
    const bool widths = run->own_layers == run->layer_count && (run->cuts_channels || run->cuts_heads ||
                                                                run->cuts_expert_channels || run->cuts_shared_channels);
    for (size_t t = 0; t < run->model->tensor_count; t++) {
        const organ_tensor *const tensor = &run->model->tensors[t];
        if (organ_cut_is_draft(tensor) && (widths || (run->cuts_experts && strstr(tensor->name, ".experts."))))
            return true;
    }
    return false;
}

/* The facts come first, since the checks of widths skip removed layers and experts. */
organ_status organ_cut_resolve(organ_cut_run *run, organ_error *error)
{
    const organ_model *const model = run->model;
    run->layer_count = organ_cut_layers(model);
    run->own_layers = organ_cut_own_layers(model);
    if (run->cut->layer_count != run->layer_count)
        return organ_fail(error, ORGAN_USAGE, "%s: has %zu layers, not %zu", model->path, run->layer_count,
                          run->cut->layer_count);
    run->facts = organ_arena_take(&run->arena, (run->layer_count + 1) * sizeof *run->facts);
    if (!run->facts)
        return organ_fail_memory(error, model->path);
    memset(run->facts, 0, (run->layer_count + 1) * sizeof *run->facts);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (model->tensors[t].anatomy.layer >= 0 && is_router_weight(&model->tensors[t]))
            run->facts[model->tensors[t].anatomy.layer].experts =
                model->tensors[t].shape[0] < INT32_MAX ? (uint32_t)model->tensors[t].shape[0] : 0;
    if (number_kept_blocks(run, error))
        return error->status;
    for (size_t l = 0; l < run->layer_count; l++)
        if (!run->cut->layers[l].dropped && number_kept_experts(run, l, error))
            return error->status;
    if (check_equal_expert_counts(run, error) || resolve_widths(run, error))
        return error->status;
    if (!run->cuts_blocks && !run->cuts_experts && !run->cuts_channels && !run->cuts_heads &&
        !run->cuts_expert_channels && !run->cuts_shared_channels && !run->cut->refitted)
        return organ_fail(error, ORGAN_USAGE, "%s: nothing would be removed", model->path);
    run->drops_drafts = fits_no_draft(run);
    return ORGAN_OK;
}
