/* SPDX-License-Identifier: MIT
 * Finishes the refit of a layer: solves for the down projections of its kept experts, or reads them back from an
 * interrupted run, and stores them in the output and in the loaded layer.
 *
 * Ranks: every rank computes all matrices; each writes some of them to the output. */
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/experts/experts_heal_job.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE 400

typedef struct layer_job {
    organ_expert_heal *heal;
    const organ_calibration_layer *layer;
    const organ_heal_layer *own; /* the entry of this layer in heal->layers */
    float *weights, *change;     /* down projection of one expert, and its change by the regression */
    size_t size;                 /* values of a down projection */
} layer_job;

/* A loaded layer addresses a matrix by the name of its tensor, or in a stack of experts by "NAME[INDEX]". */
static void heal_layer_name_of(const organ_heal_layer *own, size_t expert, char name[NAME_SIZE])
{
    const organ_tensor *const tensor = own->tensors[expert];
    if (organ_tensor_matrices(tensor).count > 1)
        snprintf(name, NAME_SIZE, "%s[%llu]", tensor->name, (unsigned long long)own->matrices[expert]);
    else
        snprintf(name, NAME_SIZE, "%s", tensor->name);
}

/* Tensors are assigned to ranks round-robin. */
static bool heal_layer_is_local(const layer_job *j, size_t expert)
{
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(j->heal->calib);
    const size_t tensor = (size_t)(j->own->tensors[expert] - j->heal->options.model->tensors);
    return tensor % chunks->step == chunks->first;
}

static organ_status heal_layer_check_shape(const layer_job *j, const organ_tensor *tensor, const char *name,
                                           organ_error *error)
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
    const bool writes = !organ_cut_done(h->run, tensor) && heal_layer_is_local(j, expert);
    const bool transposed = organ_forward_is_transposed(organ_calibration_run_facts_of(h->calib)->forward, tensor);
    heal_layer_name_of(j->own, expert, name);
    if (heal_layer_check_shape(j, tensor, name, error))
        return error->status;
    if (h->refitting && organ_dtype_is_blocks(tensor->dtype) && j->own->choice.lambda == 0)
        return organ_cut_put(h->run, tensor, matrix, writes, NULL, error);
    if (h->refitting) {
        organ_layer_read(j->layer->loaded, name, j->weights);
        add_block_change(j, block);
    } else if ((transposed ? organ_cut_get_transposed : organ_cut_get)(h->run, tensor, matrix, j->weights, error) !=
               ORGAN_OK)
        return error->status;
    organ_layer_write(j->layer->loaded, name, j->weights);
    if (!h->refitting)
        return ORGAN_OK;
    return (transposed ? organ_cut_put_transposed : organ_cut_put)(h->run, tensor, matrix, writes, j->weights, error);
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
    free(j->weights);
    free(j->change);
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
