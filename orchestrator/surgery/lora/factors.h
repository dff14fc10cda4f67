/* SPDX-License-Identifier: MIT
 * Reads the factors of an adapter as numbers, and finds the weights of a model that they belong to. */
#ifndef ORGAN_LORA_FACTORS_H
#define ORGAN_LORA_FACTORS_H

#include "formats/adapter/adapter.h"
#include "formats/weights/weights.h"
#include "kernels/kernels.h"

/* The factors of a pair, FP32. All zero: no factors. */
typedef struct organ_lora_factors {
    size_t rank, in, out;
    float *a, *b;   /* `a` is rank x in and `b` out x rank, in row-major order; for a stack, one expert after another */
    size_t experts; /* number of experts; 1: not a stack */
} organ_lora_factors;

/* Reads both factors of all experts of a pair, from the stored pairs that pair->origin names if it is a translated
 * pair. B is multiplied by `scale` and rounded once to FP32 (scale 1: B unchanged). Returns ORGAN_BAD_INPUT, with the
 * tensor's name, if a value is not finite; ORGAN_IO if reading or memory fails. Call organ_lora_factors_free even after
 * an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_free(organ_lora_factors *factors);

/* Returns the factors of one expert; they point into `factors`. */
organ_lora_factors organ_lora_factors_of(const organ_lora_factors *factors, size_t expert);

/* Returns the transpose of a rows x cols matrix. The caller frees it; NULL if out of memory. */
float *organ_lora_transposed(const float *values, size_t rows, size_t cols);

/* Reads the factors of K = b a, the change in the orientation of the stored weight: `transposed` weights (embeddings,
 * Conv1D) become W + (scale B A)^T. b is rows x rank and includes the scale, a is rank x cols. The caller frees both,
 * even after an error. Returns errors of organ_lora_factors_read, and ORGAN_BAD_INPUT if the product could exceed FP32
 * or the pair is a stack of experts. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error);

/* Reads all values of a tensor of an adapter, whose type must be one that can be widened, as FP32. The caller frees
 * *values, which is NULL on error. Returns ORGAN_BAD_INPUT if a value is not finite; ORGAN_IO if reading or memory
 * fails. */
organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error);

/* Returns ||B A||^2, summed over all experts, in FP64 without forming the product: the sum of products of the entries
 * of B^T B and A A^T. Negative if out of memory. */
double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels);

/* Computes the Frobenius norm of a tensor of an adapter. *norm is negative if its type cannot be widened, and not
 * finite if a value is not finite. */
organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error);

/* Computes the Frobenius norm of the difference between a tensor of the adapter and a weight of the base, which must
 * have its shape. *norm as in organ_adapter_norm. */
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

/* Returns whether the values of a weight can be read as numbers. */
bool organ_weight_has_numbers(const organ_weight *weight);

/* Returns the initialisation that changed the base before training (init_lora_weights "pissa", "olora", "corda",
 * "loftq", "lora_ga"): the factors fit only the changed base. NULL if the base was not changed. */
const char *organ_adapter_changed_base(const organ_adapter *adapter);

/* Returns {"name", "r", "lora_alpha", "use_rslora", "use_dora", "base", "pairs", "other_tensors"} for a report. */
json_t *organ_adapter_json(const organ_adapter *adapter);

#endif
