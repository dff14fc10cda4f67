/* SPDX-License-Identifier: MIT
 * Opens the refit of experts, runs the calibration text for it, and reports its results.
 *
 * Ranks: with several ranks the rows of the regression exist twice, for this rank's chunk and for the chunk of another
 * rank. All ranks check their memory before the text is read. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/report/text/report_text.h"

#include <stdlib.h>

/* ---- memory ---- */

/* The inputs are the hidden channels of the kept experts; for each token the channels of `used` experts are active.
 * Every ORGAN_EXPERT_HEAL_WINDOWS-th window is held out. */
static organ_ridge_shape heal_shape(const organ_expert_heal *h, const organ_heal_layer *layer)
{
    const size_t held = h->walk.calibration.samples / ORGAN_EXPERT_HEAL_WINDOWS,
                 context = h->options.calibration.context;
    return (organ_ridge_shape){.name = h->options.model->path,
                               .tokens = {(h->walk.calibration.samples - held) * context, held * context},
                               .blocks = layer->count,
                               .width = (size_t)h->config->expert_intermediate,
                               .used = h->config->experts_used,
                               .outputs = (size_t)h->config->hidden,
                               .largest = h->options.largest,
                               .scratch = h->options.calibration.scratch};
}

/* Storing new values of a projection that is stored transposed, as in_features x out_features, needs memory for a
 * copy. */
static bool has_transposed(const organ_expert_heal *h, const organ_forward *forward)
{
    for (size_t l = 0; l < h->layer_count; l++)
        for (size_t k = 0; h->layers[l].cut && k < h->layers[l].count; k++)
            if (organ_forward_is_transposed(forward, h->layers[l].tensors[h->options.layers[l].experts.numbers[k]]))
                return true;
    return false;
}

/* The buffers for the tokens of a chunk, which has h->tokens at most. */
static void lay_out(void *context, organ_buffers *b)
{
    organ_expert_heal *const h = context;
    const size_t tokens = h->tokens, hidden = (size_t)h->config->hidden, used = h->config->experts_used;
    const size_t width = (size_t)h->config->expert_intermediate;
    h->normed = organ_take_floats(b, tokens, hidden);
    h->logits = organ_take_floats(b, tokens, h->config->experts);
    h->unpruned = organ_take_floats(b, tokens, hidden);
    h->gathered = organ_take_floats(b, tokens, hidden);
    h->inner = organ_take_floats(b, tokens, width);
    h->chosen = organ_take_zeros(b, tokens, used * sizeof *h->chosen);
    h->choice_indices = organ_take_zeros(b, tokens, used * sizeof *h->choice_indices);
    for (size_t s = 0; s < h->sets; s++)
        h->rows[s] =
            (organ_heal_rows){organ_take_zeros(b, tokens, used * sizeof *h->rows[s].blocks),
                              organ_take_floats(b, tokens * used, width), organ_take_floats(b, tokens, hidden)};
}

/* Implements organ_calibration_work.extra, and sets the members of *h that lay_out uses. Counts the largest regression
 * of a layer, the buffers of a chunk, and one expert's down projection with its change in FP32, plus a copy if some
 * down projections are stored transposed. With `scratch` a large regression keeps its inputs in a file. */
static uint64_t heal_memory(void *context, const organ_calibration_run *calib, bool scratch)
{
    organ_expert_heal *const h = context;
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(calib);
    const organ_forward *const forward = organ_calibration_run_facts_of(calib)->forward;
    h->config = organ_forward_describe(forward);
    h->tokens = chunks->together * (size_t)h->options.calibration.context;
    h->sets = chunks->step > 1 ? 2 : 1;
    uint64_t ridge = 0;
    for (size_t l = 0; l < h->config->layers; l++)
        if (h->layers[l].cut) {
            organ_ridge_shape shape = heal_shape(h, &h->layers[l]);
            shape.scratch = scratch ? "" : NULL;
            ridge = organ_max(ridge, organ_ridge_memory(h->options.engine, &shape));
        }
    organ_expert_heal counted = *h;
    return ridge + organ_buffers_count(lay_out, &counted) +
           (has_transposed(h, forward) ? 3 : 2) * sizeof(float) * h->config->hidden * h->config->expert_intermediate;
}

/* ---- layers ---- */

static organ_status open_layer(organ_expert_heal *h, size_t number, uint64_t experts, organ_error *error)
{
    const organ_model *const model = h->options.model;
    const organ_cut_keep *const keep = &h->options.layers[number].experts;
    organ_heal_layer *const layer = &h->layers[number];
    layer->kept = calloc(experts, sizeof *layer->kept);
    layer->kept_index = calloc(experts, sizeof *layer->kept_index);
    layer->tensors = calloc(experts, sizeof *layer->tensors);
    layer->matrices = calloc(experts, sizeof *layer->matrices);
    if (!layer->kept || !layer->kept_index || !layer->tensors || !layer->matrices)
        return organ_fail_memory(error, model->path);
    layer->cut = keep->numbers && keep->count < experts;
    layer->count = keep->count;
    for (size_t k = 0; layer->cut && k < keep->count; k++) {
        layer->kept[keep->numbers[k]] = true;
        layer->kept_index[keep->numbers[k]] = (uint32_t)k;
    }
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        const organ_anatomy *const a = &tensor->anatomy;
        const uint64_t count = organ_tensor_matrices(tensor).count;
        if (a->layer != (int32_t)number || a->role != ORGAN_ROLE_DOWN || a->experts != ORGAN_EXPERTS_ROUTED)
            continue;
        for (uint64_t e = 0; e < experts; e++)
            if (a->expert < 0 ? count == experts : (uint64_t)a->expert == e) {
                layer->tensors[e] = tensor;
                layer->matrices[e] = a->expert < 0 ? e : 0;
            }
    }
    return ORGAN_OK;
}

static organ_status resolve_layer(organ_expert_heal *h, size_t number, organ_error *error)
{
    const organ_heal_layer *const layer = &h->layers[number];
    for (size_t k = 0; layer->cut && k < layer->count; k++) {
        const uint32_t expert = h->options.layers[number].experts.numbers[k];
        const organ_tensor *const tensor = layer->tensors[expert];
        if (!tensor)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: the down projection of expert %u of layer %zu is packed: `heal` cannot refit it",
                              h->options.model->path, expert, number);
        if (!organ_cut_takes(h->options.engine, tensor->dtype))
            return organ_fail(error, ORGAN_USAGE, "tensor '%s' is %s: `heal` cannot refit it", tensor->name,
                              organ_dtype_name(tensor->dtype));
        h->refitted[tensor - h->options.model->tensors] = true;
    }
    return ORGAN_OK;
}

/* ---- the walk ---- */

/* A layer whose refitted matrices were all written by an interrupted run is not refitted again, unless one of them
 * has a block type. */
static organ_status heal_enter(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_expert_heal *const h = context;
    const organ_heal_layer *const own = &h->layers[layer->number];
    bool done = true;
    /* Refit a layer again if it has block types, even if all are stored: the rounded blocks that could be read back
     * differ from the values the regression gave. */
    for (size_t e = 0; own->cut && e < h->config->experts; e++)
        done = done && (!own->kept[e] ||
                        (!organ_dtype_is_blocks(own->tensors[e]->dtype) && organ_cut_done(h->run, own->tensors[e])));
    h->refitting = own->cut && !done;
    const organ_ridge_shape shape = heal_shape(h, own);
    if (h->refitting)
        organ_ridge_open(&shape, h->options.engine, &h->ridge, error);
    return error->status;
}

static organ_status open_layers(organ_expert_heal *h, organ_error *error)
{
    const size_t count = organ_cut_layers(h->options.model);
    h->layers = calloc(count + 1, sizeof *h->layers);
    h->refitted = calloc(h->options.model->tensor_count + 1, sizeof *h->refitted);
    if (!h->layers || !h->refitted)
        return organ_fail_memory(error, h->options.model->path);
    h->layer_count = count;
    for (size_t l = 0; l < count && l < h->options.layer_count && !error->status; l++) {
        const uint64_t experts = organ_cut_experts(h->options.model, l);
        if (experts && open_layer(h, l, experts, error) == ORGAN_OK)
            resolve_layer(h, l, error);
    }
    return error->status;
}

/* Returns ORGAN_USAGE for architectures in which the output of a layer is not linear in the down projections, or whose
 * states have more than one hidden state. */
static organ_status heal_check_model(const organ_expert_heal *h, organ_error *error)
{
    if (h->config->dual_ffn)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: the outputs of its experts are normalised: `heal` has no linear equations for it",
                          h->options.model->path);
    if (h->config->state != h->config->hidden)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: its layers pass on %llu numbers per token, not the hidden size %llu: `heal` does not "
                          "support it",
                          h->options.model->path, (unsigned long long)h->config->state,
                          (unsigned long long)h->config->hidden);
    return h->config->router.into_inputs
               ? organ_fail(error, ORGAN_USAGE,
                            "%s: the router's factors multiply the inputs of experts, which `heal` does not support",
                            h->options.model->path)
               : ORGAN_OK;
}

organ_status organ_expert_heal_open(const organ_expert_heal_options *options, organ_expert_heal **heal,
                                    organ_error *error)
{
    organ_expert_heal *const h = *heal = calloc(1, sizeof *h);
    if (!h)
        return organ_fail_memory(error, options->calibration.text);
    h->options = *options;
    h->walk = (organ_calibration_run_options){.calibration = options->calibration,
                                              .file_layers = true,
                                              .method = "experts",
                                              .verb = "refit",
                                              .doing = "refitting",
                                              .streams = ORGAN_INPUTS_BOTH,
                                              .moments_only = true,
                                              .min_windows = ORGAN_EXPERT_HEAL_WINDOWS};
    h->work = (organ_calibration_work){.context = h,
                                       .enter = heal_enter,
                                       .leave = organ_heal_finish,
                                       .every = true,
                                       .compare = organ_heal_compare,
                                       .extra = heal_memory};
    if (options->calibration.samples < ORGAN_EXPERT_HEAL_WINDOWS)
        return organ_fail(error, ORGAN_USAGE, "`heal` needs at least %d windows (`samples`): every %dth is held out",
                          ORGAN_EXPERT_HEAL_WINDOWS, ORGAN_EXPERT_HEAL_WINDOWS);
    if (organ_calibration_run_check(options->calibration.samples, options->calibration.context, error) ||
        open_layers(h, error))
        return error->status;
    if (organ_calibration_run_open(&h->walk, options->model, &h->targets, &h->work, options->engine, options->progress,
                                   &h->calib, error) != ORGAN_OK)
        return error->status;
    return heal_check_model(h, error);
}

void organ_expert_heal_close(organ_expert_heal *h)
{
    if (!h)
        return;
    for (size_t l = 0; h->layers && l < h->layer_count; l++) {
        organ_heal_layer *const layer = &h->layers[l];
        ORGAN_FREE_ARRAYS(layer->kept, layer->kept_index, layer->tensors, layer->matrices);
    }
    organ_ridge_close(h->ridge);
    organ_calibration_run_close(h->calib);
    organ_buffers_release(&h->buffers);
    ORGAN_FREE_ARRAYS(h->layers, h->refitted, h);
}

#define NEEDED_SWEEPS 0.7 /* share of the greatest number of sweeps after which solutions rarely change */

void organ_expert_heal_estimate(const organ_expert_heal *h, organ_plan *plan)
{
    const organ_forward_config *const c = h->config;
    const double tokens = (double)h->walk.calibration.samples * h->options.calibration.context,
                 width = (double)c->expert_intermediate;
    const double used = (double)c->experts_used * width;
    for (size_t l = 0; l < h->layer_count; l++)
        if (h->layers[l].cut)
            plan->products += NEEDED_SWEEPS * ORGAN_RIDGE_SWEEPS * tokens * used * (width + (double)c->hidden);
    organ_calibration_run_estimate(h->calib, &(organ_plan_solve){0}, plan);
}

organ_status organ_expert_heal_run(void *heal, organ_cut_run *run, organ_error *error)
{
    organ_expert_heal *const h = heal;
    h->run = run;
    if (!organ_buffers_take(&h->buffers, lay_out, h))
        organ_fail_memory(error, h->options.calibration.text);
    return organ_calibration_run_layers(h->calib, error);
}

/* ---- the journal ---- */

/* The members of organ_ridge_choice that the journal stores. */
#define CHOICE(member) ORGAN_STRUCT_FIELD(organ_ridge_choice, member, EXACT)
static const organ_struct_field heal_results[] = {CHOICE(before), CHOICE(after), CHOICE(lambda)};

json_t *organ_expert_heal_results(void *heal, const organ_tensor *tensor)
{
    const organ_expert_heal *const h = heal;
    return ORGAN_STRUCT_ADD(json_object(), heal_results, &h->layers[tensor->anatomy.layer].choice);
}

bool organ_expert_heal_recall(void *heal, const organ_tensor *tensor, const json_t *results)
{
    organ_expert_heal *const h = heal;
    organ_heal_layer *const layer = &h->layers[tensor->anatomy.layer];
    layer->known = ORGAN_STRUCT_READ(results, heal_results, &layer->choice);
    return layer->known;
}

/* ---- the report ---- */

static json_t *heal_layer_json(const organ_expert_heal *h, size_t number)
{
    const organ_heal_layer *const layer = &h->layers[number];
    const organ_ridge_shape shape = heal_shape(h, layer);
    const double held_tokens = (double)shape.tokens[ORGAN_RIDGE_HELD];
    return ORGAN_OBJECT(
        SET_COUNT("layer", number), SET_COUNT("inputs", shape.blocks * shape.width),
        SET_TEXT("solved_by", organ_ridge_solved_by(&shape)),
        SET_REAL_OF("before", layer->known, layer->choice.before / held_tokens),
        SET_REAL_OF("after", layer->known, layer->choice.after / held_tokens),
        SET("lambda", layer->known && layer->choice.lambda > 0 ? json_real(layer->choice.lambda) : json_null()),
        SET("healed", layer->known ? json_boolean(layer->choice.lambda > 0) : json_null()));
}

/* A layer counts as healed if a lambda was chosen, that is if the refit lowered its held-out error. */
json_t *organ_expert_heal_json(const organ_expert_heal *h)
{
    json_t *const layers = json_array();
    size_t healed = 0;
    for (size_t l = 0; l < h->layer_count; l++) {
        if (h->layers[l].cut)
            json_array_append_new(layers, heal_layer_json(h, l));
        healed += h->layers[l].known && h->layers[l].choice.lambda > 0;
    }
    return ORGAN_OBJECT(
        SET_COUNT("held_windows", h->walk.calibration.samples / ORGAN_EXPERT_HEAL_WINDOWS),
        SET_COUNT("healed_layers", healed),
        SET("calibration", organ_calibration_run_json(h->calib, "the donor's, and after the refitted layers")),
        SET("layers", layers));
}
