/* SPDX-License-Identifier: MIT
 * Writes the down projections of the kept experts of a layer: solves for them or reads them back, stores them in
 * the output and in the loaded layer.
 *
 * Ranks: matrices of a layer are divided among the ranks for writing. */
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/experts/experts_heal_job.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_SIZE 400

/* The layer whose down projections are written. */
typedef struct layer_job {
    organ_expert_heal *heal;
    const organ_calibration_layer *layer;
    const organ_heal_layer *own;
    float *weights, *change; /* down projection of one expert, and its change by the regression */
    size_t size;             /* values of a down projection */
} layer_job;

/* Writes the name of an expert's down projection; in a stack of experts, with the index of its matrix. */
static void heal_layer_name_of(const organ_heal_layer *own, size_t expert, char name[NAME_SIZE])
{
    const organ_tensor *const tensor = own->tensors[expert];
    if (organ_tensor_matrices(tensor).count > 1)
        snprintf(name, NAME_SIZE, "%s[%llu]", tensor->name, (unsigned long long)own->matrices[expert]);
    else
        snprintf(name, NAME_SIZE, "%s", tensor->name);
}

/* Returns whether this rank writes the expert's matrix to the output. Tensors are assigned to ranks round-robin. */
static bool heal_layer_is_local(const layer_job *j, size_t expert)
{
    organ_ranks *const ranks = j->heal->options.engine->ranks;
    const size_t tensor = (size_t)(j->own->tensors[expert] - j->heal->options.model->tensors);
    return tensor % organ_ranks_count(ranks) == organ_ranks_rank(ranks);
}

/* Checks that the forward pass has loaded the tensor with the shape (hidden x expert width) that the refit assumes. */
static organ_status heal_layer_check_shape(const layer_job *j, const organ_tensor *tensor, const char *name,
                                           organ_error *error)
{
    const organ_forward_config *const c = j->heal->config;
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    uint64_t rows = 0, cols = 0, bytes = 0;
    organ_factor held;
    const bool is =
        organ_dtype_is_blocks(tensor->dtype)
            ? organ_layer_blocks(j->layer->loaded, name, &bytes) && bytes == j->size / type->elements * type->bytes
            : organ_layer_matrix(j->layer->loaded, name, &rows, &cols, &held) && rows == c->hidden &&
                  cols == c->expert_intermediate;
    return is ? ORGAN_OK
              : organ_fail(
                    error, ORGAN_BAD_INPUT,
                    "tensor '%s' is not a matrix of %llu x %llu values in the forward pass: it cannot be refitted",
                    name, (unsigned long long)c->hidden, (unsigned long long)c->expert_intermediate);
}

/* Adds the solved change of a block to the weights of its expert. */
static void add_block_change(const layer_job *j, size_t block)
{
    organ_ridge_block(j->heal->ridge, block, j->change);
    for (size_t k = 0; k < j->size; k++)
        j->weights[k] += j->change[k];
}

/* Refits the matrix of an expert, or reads it back, and stores it in the layer and the output. `block` is the index of
 * the expert among the kept experts. Quantised blocks of a layer that is not refitted keep their bytes. */
static organ_status finish_expert(const layer_job *j, size_t expert, size_t block, organ_error *error)
{
    const organ_expert_heal *const h = j->heal;
    const organ_tensor *const tensor = j->own->tensors[expert];
    const uint64_t matrix = j->own->matrices[expert];
    char name[NAME_SIZE];
    const bool put = !organ_cut_done(h->run, tensor) && heal_layer_is_local(j, expert);
    const bool transposed = organ_forward_is_transposed(organ_calibration_run_facts_of(h->calib)->forward, tensor);
    heal_layer_name_of(j->own, expert, name);
    if (heal_layer_check_shape(j, tensor, name, error))
        return error->status;
    if (h->open && organ_dtype_is_blocks(tensor->dtype) && j->own->choice.lambda == 0)
        return organ_cut_put(h->run, tensor, matrix, put, NULL, error);
    if (h->open) {
        organ_layer_read(j->layer->loaded, name, j->weights);
        add_block_change(j, block);
    } else if ((transposed ? organ_cut_get_transposed : organ_cut_get)(h->run, tensor, matrix, j->weights, error) !=
               ORGAN_OK)
        return error->status;
    organ_layer_write(j->layer->loaded, name, j->weights);
    if (!h->open)
        return ORGAN_OK;
    return (transposed ? organ_cut_put_transposed : organ_cut_put)(h->run, tensor, matrix, put, j->weights, error);
}

/* Refits the down projections of the layer's kept experts, or reads back those of an earlier run, and stores them in
 * the layer and the output. */
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

/* Chooses lambda on the held-out windows, writes the refitted down projections and removes the other experts from the
 * loaded layer, so that the changed stream continues with the smaller layer. */
organ_status organ_heal_finish(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    organ_expert_heal *const h = context;
    organ_heal_layer *const own = &h->layers[layer->number];
    layer_job j = {.heal = h, .layer = layer, .own = own};
    if (!own->cut)
        return error->status;
    if (h->open)
        own->known = organ_ridge_choose(h->ridge, &own->choice, error) == ORGAN_OK;
    if (!error->status)
        finish_experts(&j, error);
    organ_ridge_close(h->ridge);
    h->ridge = NULL;
    if (organ_ranks_agree(h->options.engine->ranks, "refitting a layer", error) != ORGAN_OK)
        return error->status;
    return organ_layer_keep(layer->loaded, own->kept, error);
}
