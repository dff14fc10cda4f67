/* SPDX-License-Identifier: MIT
 * Finds out which weights of a base are stored as in_features x out_features. */
#include "orchestrator/surgery/lora/turned.h"

#include "formats/base/path.h"
#include "formats/base/text_buffer.h"
#include "formats/architecture/families.h"
#include "orchestrator/surgery/lora/factors.h"

#include <stdlib.h>
#include <string.h>

/* The layers of these model types of transformers are Conv1D; those without a row in families.h are here, too. */
static bool is_conv1d_type(const char *type)
{
    static const char *const types[] = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"};
    bool found = false;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++)
        found = found || strcmp(type, types[k]) == 0;
    return found;
}

typedef struct orientation_votes {
    size_t straight, turned;
} orientation_votes;

/* The bias has out_features values, which shows how a matrix that is not square is stored. */
static orientation_votes count_biases(const organ_weights *weights)
{
    orientation_votes v = {0, 0};
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        size_t length = strlen(w->name);
        if (w->rank != 2 || w->anatomy.layer < 0 || w->shape[0] == w->shape[1] ||
            !organ_cut_end(w->name, &length, ".weight"))
            continue;
        char *const name = organ_format("%.*s.bias", (int)length, w->name);
        const organ_weight *const bias = name ? organ_weights_named(weights, name) : NULL;
        v.straight += bias && bias->elements == w->shape[0];
        v.turned += bias && bias->elements == w->shape[1];
        free(name);
    }
    return v;
}

/* Factors that are not square fit either the weight of the base or its transpose. */
static orientation_votes count_pairs(const organ_adapter *adapter, const organ_weights *weights)
{
    orientation_votes v = {0, 0};
    for (size_t k = 0; k < adapter->pair_count; k++) {
        const organ_adapter_pair *const p = &adapter->pairs[k];
        const organ_weight *const w = p->embedding || p->experts > 1 || p->in_features == p->out_features
                                          ? NULL
                                          : organ_lora_weight(weights, p->weight);
        if (!w || w->rank != 2 || w->anatomy.layer < 0)
            continue;
        v.straight += w->shape[0] == p->out_features && w->shape[1] == p->in_features;
        v.turned += w->shape[0] == p->in_features && w->shape[1] == p->out_features;
    }
    return v;
}

/* The architecture decides, else biases, else the adapter's other factors; peft looks at the class of the module. */
organ_lora_orientation organ_lora_orientation_of(const organ_model *base, const organ_weights *weights,
                                                 const organ_adapter *adapter)
{
    const forward_family *const family = organ_forward_family_named(base->config.architecture, false);
    if (base->gguf)
        return ORGAN_LORA_STRAIGHT;
    if (is_conv1d_type(base->config.model_type) || (family && family->transposed))
        return ORGAN_LORA_TURNED;
    if (family && !(adapter && adapter->fan_in_fan_out))
        return ORGAN_LORA_STRAIGHT;
    orientation_votes v = count_biases(weights);
    if (adapter && (v.straight > 0) == (v.turned > 0))
        v = count_pairs(adapter, weights);
    if ((v.straight > 0) != (v.turned > 0))
        return v.turned ? ORGAN_LORA_TURNED : ORGAN_LORA_STRAIGHT;
    return adapter && adapter->fan_in_fan_out ? ORGAN_LORA_AMBIGUOUS : ORGAN_LORA_STRAIGHT;
}

bool organ_lora_is_turned(organ_lora_orientation orientation, const organ_weight *weight)
{
    return orientation == ORGAN_LORA_TURNED && weight->rank == 2 && weight->anatomy.layer >= 0;
}

bool organ_lora_stacks_are_turned(const forward_mixture *mixture)
{
    return mixture && mixture->transposed && mixture->pairs;
}

bool organ_lora_pair_is_turned(organ_lora_orientation orientation, const organ_adapter_pair *pair,
                               const organ_weight *weight)
{
    if (pair->embedding)
        return true;
    if (pair->in_features == pair->out_features)
        return organ_lora_is_turned(orientation, weight);
    return weight->rank == 2 && weight->shape[0] == pair->in_features && weight->shape[1] == pair->out_features;
}
