/* SPDX-License-Identifier: MIT
 * Collects the rows of the regression. Each chunk runs through the layer three times: with all experts on the donor's
 * states, with all experts on the states that the refitted layers before it compute, and with the kept experts on the
 * latter states. Each rank runs other chunks of the text; all add the rows of all chunks in the order of the text. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/output/inputs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct chunk_job {
    organ_expert_heal *heal;
    const organ_calibration_layer *layer;
    const organ_heal_layer *own;  /* the entry of this layer in heal->layers */
    const organ_windows *windows; /* the windows of the chunk */
    size_t tokens;                /* in these windows */
} chunk_job;

static organ_status capture_inputs(void *context, int32_t layer, size_t first, size_t tokens, const float *normed,
                                   const float *logits, organ_error *error)
{
    organ_expert_heal *const h = context;
    const size_t hidden = (size_t)h->config->hidden, experts = h->config->experts;
    (void)layer;
    memcpy(h->normed + first * hidden, normed, tokens * hidden * sizeof *normed);
    memcpy(h->logits + first * experts, logits, tokens * experts * sizeof *logits);
    return error->status;
}

static organ_status run_with_experts(const chunk_job *j, const bool *kept, float *states, organ_error *error)
{
    if (organ_layer_keep(j->layer->loaded, kept, error))
        return error->status;
    organ_layer_tap_router(j->layer->loaded, j->heal, kept ? capture_inputs : NULL);
    organ_layer_run(organ_calibration_run_facts_of(j->heal->calib)->forward, j->layer->loaded, j->windows, states, NULL,
                    error);
    organ_layer_tap_router(j->layer->loaded, NULL, NULL);
    return error->status;
}

/* The target is the desired state after the layer minus `changed`, the state after the layer with the kept experts.
 * The desired state is a weighted mean: `donor`, the donor's state, has the weight ORGAN_EXPERT_HEAL_DONOR_SHARE;
 * h->unpruned, the state with all experts, has 1 minus this weight. */
static void set_target(const chunk_job *j, const float *donor, const float *changed)
{
    const organ_expert_heal *const h = j->heal;
    for (size_t k = 0; k < j->tokens * (size_t)h->config->hidden; k++)
        h->rows[0].target[k] =
            (float)(ORGAN_EXPERT_HEAL_DONOR_SHARE * (double)donor[k] +
                    (1 - ORGAN_EXPERT_HEAL_DONOR_SHARE) * (double)h->unpruned[k] - (double)changed[k]);
}

/* The routing overwrites h->logits. h->rows[0].blocks gets the index of each chosen expert among the kept ones. */
static void route_chunk(const chunk_job *j)
{
    const organ_expert_heal *const h = j->heal;
    const size_t used = h->config->experts_used, experts = h->config->experts;
    const organ_router router = organ_layer_router(j->layer->loaded);
    for (size_t t = 0; t < j->tokens; t++) {
        float *const logits = h->logits + t * experts;
        organ_forward_route(&router, j->own->kept, logits, logits, h->chosen + t * used);
        for (size_t k = 0; k < used; k++)
            h->rows[0].blocks[t * used + k] = j->own->kept_index[h->chosen[t * used + k].expert];
    }
}

static organ_status gather_expert_inputs(const chunk_job *j, unsigned expert, organ_error *error)
{
    const organ_expert_heal *const h = j->heal;
    const size_t used = h->config->experts_used, hidden = (size_t)h->config->hidden,
                 width = (size_t)h->config->expert_intermediate;
    size_t count = 0;
    for (size_t k = 0; k < j->tokens * used; k++)
        if (h->chosen[k].expert == expert) {
            memcpy(h->gathered + count * hidden, h->normed + k / used * hidden, hidden * sizeof *h->normed);
            h->choice_indices[count++] = k;
        }
    if (count == 0 || organ_layer_expert(organ_calibration_run_facts_of(h->calib)->forward, j->layer->loaded, expert,
                                         h->gathered, count, h->inner, NULL, error))
        return error->status;
    for (size_t r = 0; r < count; r++) {
        const float weight = h->chosen[h->choice_indices[r]].weight;
        for (size_t c = 0; c < width; c++)
            h->rows[0].inputs[h->choice_indices[r] * width + c] = weight * h->inner[r * width + c];
    }
    return ORGAN_OK;
}

/* The states `changed` pass through a refitted layer twice: with all experts, which gives h->unpruned, and with the
 * kept experts, which overwrites `changed`. */
static organ_status make_rows(const chunk_job *j, float *donor, float *changed, organ_error *error)
{
    const organ_expert_heal *const h = j->heal;
    if (run_with_experts(j, /*kept=*/NULL, donor, error) || !h->refitting)
        return error->status;
    memcpy(h->unpruned, changed, j->tokens * (size_t)h->config->hidden * sizeof *changed);
    if (run_with_experts(j, /*kept=*/NULL, h->unpruned, error) || run_with_experts(j, j->own->kept, changed, error))
        return error->status;
    set_target(j, donor, changed);
    route_chunk(j);
    for (unsigned e = 0; e < h->config->experts && !error->status; e++)
        if (j->own->kept[e])
            gather_expert_inputs(j, e, error);
    return error->status;
}

/* ---- rows of all ranks ---- */

static organ_status add_rows(void *context, size_t chunk, bool own, organ_error *error)
{
    const organ_expert_heal *const h = context;
    const organ_heal_rows *const rows = &h->rows[own ? 0 : 1];
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(h->calib);
    const size_t tokens = h->options.calibration.context, used = h->config->experts_used,
                 width = (size_t)h->config->expert_intermediate;
    for (size_t w = 0; w < organ_calibration_chunk_windows(chunks, chunk) && !error->status; w++) {
        const size_t window = chunk * chunks->together + w, at = w * tokens;
        const bool held = window % ORGAN_EXPERT_HEAL_WINDOWS == ORGAN_EXPERT_HEAL_WINDOWS - 1;
        organ_ridge_add(h->ridge, held ? ORGAN_RIDGE_HELD : ORGAN_RIDGE_FIT, tokens, rows->blocks + at * used,
                        rows->inputs + at * used * width, rows->target + at * (size_t)h->config->hidden, error);
    }
    return error->status;
}

/* All ranks take part in the exchange, also those without a chunk (windows->count 0). */
organ_status organ_heal_compare(void *context, const organ_calibration_layer *layer, const organ_windows *windows,
                                size_t chunk, float *donor, float *changed, organ_error *error)
{
    organ_expert_heal *const h = context;
    const chunk_job j = {h, layer, &h->layers[layer->number], windows, windows->count * h->options.calibration.context};
    if (!error->status && windows->count > 0)
        make_rows(&j, donor, changed, error);
    if (!h->refitting)
        return error->status;
    const size_t used = h->config->experts_used, width = (size_t)h->config->expert_intermediate;
    const organ_heal_rows *const own = &h->rows[0], *const other = &h->rows[1];
    const organ_calibration_buffer buffers[] = {
        {own->blocks, other->blocks, used * sizeof *own->blocks},
        {own->inputs, other->inputs, used * width * sizeof *own->inputs},
        {own->target, other->target, (size_t)h->config->hidden * sizeof *own->target}};
    return organ_calibration_take_chunks(h->calib, chunk, buffers, sizeof buffers / sizeof *buffers, add_rows, h,
                                         error);
}

/* ---- finishing the refit of a layer ---- */

/* Finishes the refit of a layer: solves for the down projections of its kept experts, or reads them back from an
 * interrupted run, and stores them in the output and in the loaded layer.
 *
 * Ranks: every rank computes all matrices; each writes some of them to the output. */

#define NAME_SIZE 400

typedef struct layer_job {
    organ_expert_heal *heal;
    const organ_calibration_layer *layer;
    const organ_heal_layer *own; /* the entry of this layer in heal->layers */
    float *weights, *change;     /* down projection of one expert, and its change by the regression */
    size_t size;                 /* values of a down projection */
} layer_job;

/* A loaded layer addresses a matrix by the name of its tensor, or in a stack of experts by "NAME[INDEX]". */
static void name_matrix(const organ_heal_layer *own, size_t expert, char name[NAME_SIZE])
{
    const organ_tensor *const tensor = own->tensors[expert];
    if (organ_tensor_matrices(tensor).count > 1)
        snprintf(name, NAME_SIZE, "%s[%llu]", tensor->name, (unsigned long long)own->matrices[expert]);
    else
        snprintf(name, NAME_SIZE, "%s", tensor->name);
}

/* Tensors are assigned to ranks round-robin. */
static bool is_written_here(const layer_job *j, size_t expert)
{
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(j->heal->calib);
    const size_t tensor = (size_t)(j->own->tensors[expert] - j->heal->options.model->tensors);
    return tensor % chunks->step == chunks->first;
}

static organ_status check_shape(const layer_job *j, const organ_tensor *tensor, const char *name, organ_error *error)
{
    const organ_forward_config *const c = j->heal->config;
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    uint64_t rows = 0, cols = 0, bytes = 0;
    organ_product_operand held;
    const bool fits =
        organ_dtype_is_blocks(tensor->dtype)
            ? organ_layer_blocks(j->layer->loaded, name, &bytes) && bytes == j->size / type->elements * type->bytes
            : organ_layer_matrix(j->layer->loaded, name, &rows, &cols, &held) && rows == c->hidden &&
                  cols == c->expert_intermediate;
    return fits ? ORGAN_OK
                : organ_fail(
                      error, ORGAN_BAD_INPUT,
                      "tensor '%s' is not a matrix of %llu x %llu values in the forward pass: it cannot be refitted",
                      name, (unsigned long long)c->hidden, (unsigned long long)c->expert_intermediate);
}

static void add_block_change(const layer_job *j, size_t block)
{
    organ_ridge_block(j->heal->ridge, block, j->change);
    for (size_t k = 0; k < j->size; k++)
        j->weights[k] += j->change[k];
}

/* A matrix that an interrupted run has written is read back. `block` is the index of the expert among the kept
 * experts. If no lambda helped (lambda 0), quantised blocks keep their bytes: rounding their values again could
 * change them. */
static organ_status finish_expert(const layer_job *j, size_t expert, size_t block, organ_error *error)
{
    const organ_expert_heal *const h = j->heal;
    const organ_tensor *const tensor = j->own->tensors[expert];
    const uint64_t matrix = j->own->matrices[expert];
    char name[NAME_SIZE];
    const bool writes = !organ_cut_done(h->run, tensor) && is_written_here(j, expert);
    const bool transposed = organ_forward_is_transposed(organ_calibration_run_facts_of(h->calib)->forward, tensor);
    name_matrix(j->own, expert, name);
    if (check_shape(j, tensor, name, error))
        return error->status;
    if (h->refitting && organ_dtype_is_blocks(tensor->dtype) && j->own->choice.lambda == 0)
        return organ_cut_put(h->run, tensor, matrix, writes, /*transposed=*/false, NULL, error);
    if (h->refitting) {
        organ_layer_read(j->layer->loaded, name, j->weights);
        add_block_change(j, block);
    } else if (organ_cut_get(h->run, tensor, matrix, transposed, j->weights, error) != ORGAN_OK)
        return error->status;
    organ_layer_write(j->layer->loaded, name, j->weights);
    if (!h->refitting)
        return ORGAN_OK;
    return organ_cut_put(h->run, tensor, matrix, writes, transposed, j->weights, error);
}

static organ_status finish_experts(layer_job *j, organ_error *error)
{
    const organ_expert_heal *const h = j->heal;
    j->size = (size_t)(h->config->hidden * h->config->expert_intermediate);
    j->weights = organ_floats(j->size, 1);
    j->change = organ_floats(j->size, 1);
    if (!j->weights || !j->change)
        organ_fail_memory(error, h->options.model->path);
    for (size_t e = 0, block = 0; e < h->config->experts && !error->status; e++)
        if (j->own->kept[e])
            finish_expert(j, e, block++, error);
    ORGAN_FREE_ARRAYS(j->weights, j->change);
    return error->status;
}

/* The loaded layer loses the experts that are not kept, so that the walk then passes the changed states through the
 * smaller layer. */
organ_status organ_heal_finish(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_expert_heal *const h = context;
    organ_heal_layer *const own = &h->layers[layer->number];
    layer_job j = {.heal = h, .layer = layer, .own = own};
    if (!own->cut)
        return error->status;
    if (h->refitting)
        own->known = organ_ridge_choose(h->ridge, &own->choice, error) == ORGAN_OK;
    if (!error->status)
        finish_experts(&j, error);
    organ_ridge_close(h->ridge);
    h->ridge = NULL;
    return error->status ? error->status : organ_layer_keep(layer->loaded, own->kept, error);
}
