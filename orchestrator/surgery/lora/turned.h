/* SPDX-License-Identifier: MIT
 * Finds out which weights of a base are stored as in_features x out_features: the layers of GPT-2 and its kin, which
 * are of the class Conv1D. The factors of an adapter are always for out_features x in_features. */
#ifndef ORGAN_LORA_TURNED_H
#define ORGAN_LORA_TURNED_H

#include <organ/weights.h>

/* How a base stores the matrices of its layers. It stores all other matrices, such as heads, as out_features x
 * in_features. */
typedef enum organ_lora_orientation {
    ORGAN_LORA_STRAIGHT, /* out_features x in_features */
    ORGAN_LORA_TURNED,   /* in_features x out_features */
    ORGAN_LORA_AMBIGUOUS /* unknown: the adapter sets fan_in_fan_out, but the files do not show whether it is true */
} organ_lora_orientation;

/* Returns how the base stores the matrices of its layers. Ignores fan_in_fan_out of the adapter if the architecture or
 * the shapes decide, because peft writes the flag of the last module that it wraps. `adapter` NULL: only the base
 * decides. */
organ_lora_orientation organ_lora_orientation_of(const organ_model *base, const organ_weights *weights,
                                                 const organ_adapter *adapter);

/* Returns whether the base stores this weight as in_features x out_features. */
bool organ_lora_is_turned(organ_lora_orientation orientation, const organ_weight *weight);

struct forward_mixture;

/* Returns whether peft takes the stacks of experts of the architecture as experts x in_features x out_features. It does
 * so only where the class of the experts in transformers says so (is_transposed): for GPT-OSS, not for Llama 4.
 * `mixture` may be NULL. */
bool organ_lora_stacks_are_turned(const struct forward_mixture *mixture);

/* Returns whether a matrix of the base is the transpose of what the factors of the pair change. Its shape decides; if
 * it is square, the orientation. */
bool organ_lora_pair_is_turned(organ_lora_orientation orientation, const organ_adapter_pair *pair,
                               const organ_weight *weight);

#endif
