/* SPDX-License-Identifier: MIT
 * The factors of an adapter as numbers, and where in a model they belong. */
#ifndef ORGAN_LORA_FACTORS_H
#define ORGAN_LORA_FACTORS_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "kernels/kernels.h"

/* All zero is empty. */
typedef struct organ_lora_factors {
    size_t rank, in, out;
    float *a, *b; /* rank x in, out x rank; row by row */
} organ_lora_factors;

/* Reads both factors, B multiplied by `scale` and rounded once to FP32 (1: B as it is). ORGAN_BAD_INPUT, naming the
 * tensor, where a value is not finite; ORGAN_IO. To be freed also after an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_free(organ_lora_factors *factors);

/* The factors of K = b a, the change of a weight as it is stored: `transposed` weights (embeddings, Conv1D) become W +
 * (scale B A)^T. b is rows x rank with the scale in it, a is rank x cols; both for the caller to free, also after an
 * error. ORGAN_BAD_INPUT besides, where the product could be beyond FP32. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error);

/* All values of a tensor of an adapter, in a type that can be widened; to be freed. ORGAN_BAD_INPUT where one is not
 * finite; ORGAN_IO. *values is NULL on error. */
organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error);

/* ||B A||^2 in FP64, without forming the product: the sum of the products of B^T B and A A^T. Negative without memory.
 */
double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels);

/* Frobenius norm of a tensor of an adapter in a type that can be widened; *norm is negative for other types, and not
 * finite where values are not. */
organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error);

/* The same of the difference to a weight of the base, which has its shape. */
organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error);

/* What a tensor that comes whole is called in the base: "base_model.model.lm_head.modules_to_save.default.weight" is
 * "lm_head.weight". To be freed; NULL without memory. */
char *organ_adapter_plain_name(const char *name);

/* The weight of a model that is called `name` ("model.layers.0.mlp.up_proj.weight") by the program that trained the
 * adapter: the very name, or with "model." before it, or without, for a model is also trained without its head; and of
 * a model of several parts the text model's names before and after transformers 4.52. NULL if there is none, or no
 * memory, which counts as a refusal (formats/base/memory_watch.h). */
const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name);

/* Whether its values can be computed with. */
bool organ_weight_has_numbers(const organ_weight *weight);

/* How the training changed the base before it began (init_lora_weights "pissa", "olora", "corda", "loftq", "lora_ga"):
 * the factors then fit that changed base only. NULL if it did not. */
const char *organ_adapter_changed_base(const organ_adapter *adapter);

/* {"name", "r", "lora_alpha", "use_rslora", "use_dora", "base", "pairs", "other_tensors"} */
json_t *organ_adapter_json(const organ_adapter *adapter);

/* "[320, 8]" */
const char *organ_shape_text(unsigned rank, const uint64_t *shape, char out[96]);

#endif
