/* SPDX-License-Identifier: MIT
 * Reads the factors of an adapter as numbers and finds the weights of a model that they belong to. */
#ifndef ORGAN_LORA_FACTORS_H
#define ORGAN_LORA_FACTORS_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "kernels/kernels.h"

/* All zero: no factors. */
typedef struct organ_lora_factors {
    size_t rank, in, out;
    float *a, *b;   /* rank x in and out x rank, row by row; of a stack, those of one expert after the other */
    size_t experts; /* 1: no stack */
} organ_lora_factors;

/* Reads both factors, of all experts, from where pair->origin says; B is multiplied by `scale` and rounded once to FP32
 * (scale 1: B unchanged). Returns
 * ORGAN_BAD_INPUT, with the tensor's name, if a value is not finite; ORGAN_IO. Call organ_lora_factors_free even after
 * an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_free(organ_lora_factors *factors);

/* Returns the factors of one expert, as a view. */
organ_lora_factors organ_lora_factors_of(const organ_lora_factors *factors, size_t expert);

/* Returns a copy of a matrix of rows x cols in which element [i][k] is at [k][i]; NULL if memory is refused. The caller
 * frees it. */
float *organ_lora_transposed(const float *values, size_t rows, size_t cols);

/* Reads the factors of K = b a, the change in the orientation of the stored weight: `transposed` weights (embeddings,
 * Conv1D) become W + (scale B A)^T. b is rows x rank and includes the scale, a is rank x cols. The caller frees both,
 * even after an error. Errors as of organ_lora_factors_read, and ORGAN_BAD_INPUT if the product could exceed FP32, and
 * for a stack of experts. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error);

/* Reads all values of a tensor of an adapter, in a type that can be widened. The caller frees *values, which is NULL
 * on error. Returns ORGAN_BAD_INPUT if a value is not finite; ORGAN_IO. */
organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error);

/* Returns ||B A||^2, over all experts, in FP64 without forming the product, as the sum of products of the entries of
 * B^T B and A A^T. Negative if out of memory. */
double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels);

/* Computes the Frobenius norm of a tensor of an adapter in a type that can be widened; *norm is negative for other
 * types, and not finite if a value is not finite. */
organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error);

/* Computes the same norm of the difference between a tensor and a weight of the base, which has its shape. */
organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error);

/* Returns the base's name for a tensor that the adapter stores whole:
 * "base_model.model.lm_head.modules_to_save.default.weight" is "lm_head.weight". The caller frees it; NULL if out of
 * memory. */
char *organ_adapter_plain_name(const char *name);

/* Finds the weight of a model that a training program calls `name` ("model.layers.0.mlp.up_proj.weight"). Tries the
 * name itself, then with and without the prefix "model." (models may be trained without their head), then the names of
 * the text model in multi-part models before and after transformers 4.52. NULL if there is none, or if out of memory,
 * which counts as a refused allocation (formats/base/memory_watch.h). */
const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name);

/* Returns whether the values can be read as numbers. */
bool organ_weight_has_numbers(const organ_weight *weight);

/* Returns the initialisation that changed the base before training (init_lora_weights "pissa", "olora", "corda",
 * "loftq", "lora_ga"); the factors fit only that changed base. NULL if the base was not changed. */
const char *organ_adapter_changed_base(const organ_adapter *adapter);

/* Returns {"name", "r", "lora_alpha", "use_rslora", "use_dora", "base", "pairs", "other_tensors"} for a report. */
json_t *organ_adapter_json(const organ_adapter *adapter);

#endif
