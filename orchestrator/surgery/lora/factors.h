/* SPDX-License-Identifier: MIT
 * Reads the factors of an adapter as numbers, and finds the weights of a model that they belong to. */
#ifndef ORGAN_LORA_FACTORS_H
#define ORGAN_LORA_FACTORS_H

#include <organ/weights.h>
#include <organ/kernels.h>

/* FP32 values of the factors of a pair: a copy that organ_lora_factors_release frees, or a view into another struct.
 * All members are zero if there are no factors. */
typedef struct organ_lora_factors {
    size_t rank, in, out; /* in, out: in_features and out_features */
    float *a, *b;         /* `a` is [experts][rank][in], `b` is [experts][out][rank] */
    size_t experts;       /* number of experts; 1: not a stack */
} organ_lora_factors;

/* Reads A and B of all experts of a pair into *factors. If pair->origin is set, reads them from the stored pairs of the
 * origin. Multiplies B by `scale` and rounds it once to FP32 (scale 1: B unchanged). If the origin has one stored pair
 * for each expert, also multiplies the B of each expert by the scale of its stored pair. Returns ORGAN_BAD_INPUT, with
 * the tensor's name, if a value is not finite; ORGAN_IO if reading or memory fails. The caller frees *factors with
 * organ_lora_factors_release, also after an error. */
organ_status organ_lora_factors_read(const organ_adapter *adapter, const organ_adapter_pair *pair,
                                     const organ_kernels *kernels, double scale, organ_lora_factors *factors,
                                     organ_error *error);
void organ_lora_factors_release(organ_lora_factors *factors);

/* Returns a view into `factors`: the factors of one expert (index below factors->experts). */
organ_lora_factors organ_lora_factors_of(const organ_lora_factors *factors, size_t expert);

/* Returns the transpose, cols x rows, of a row-major rows x cols matrix. The caller frees it; NULL if out of memory. */
float *organ_lora_transposed(const float *values, size_t rows, size_t cols);

/* Reads the change of a stored weight as two factors b and a: the weight becomes W + b a. *b, which includes the pair's
 * scale, becomes a matrix with the rows of the weight and `rank` columns; *a becomes a matrix with `rank` rows and the
 * columns of the weight. b a is scale B A, or its transpose if `transposed` is set: the weight is stored as in_features
 * x out_features (embeddings, Conv1D). The caller frees *b and *a, also after an error. Returns errors of
 * organ_lora_factors_read, and ORGAN_BAD_INPUT if an element of b a could exceed the range of FP32 or the pair is a
 * stack of experts. */
organ_status organ_lora_factors_placed(const organ_adapter *adapter, const organ_adapter_pair *pair, bool transposed,
                                       const organ_kernels *kernels, float **b, float **a, organ_error *error);

/* Reads all values of a tensor of an adapter as FP32. organ_can_widen must accept the type of the tensor. The caller
 * frees *values, which is NULL on error. Returns ORGAN_BAD_INPUT if a value is not finite; ORGAN_IO if reading or
 * memory fails. */
organ_status organ_adapter_values(const organ_adapter *adapter, const organ_tensor *tensor,
                                  const organ_kernels *kernels, float **values, organ_error *error);

/* Returns ||B A||^2, summed over all experts, in FP64. Computes it from the rank x rank matrices B^T B and A A^T, as
 * the sum of the products of their corresponding elements, so that B A is not formed. Returns a negative number if out
 * of memory. */
double organ_lora_energy(const organ_lora_factors *factors, const organ_kernels *kernels);

/* Sets *norm to the Frobenius norm of a tensor of an adapter. *norm becomes -1 if organ_can_widen rejects the type of
 * the tensor or reading fails, and NaN or infinity if a value is not finite. Returns ORGAN_IO if reading or memory
 * fails. */
organ_status organ_adapter_norm(const organ_adapter *adapter, const organ_tensor *tensor, const organ_kernels *kernels,
                                double *norm, organ_error *error);

/* Sets *norm to the Frobenius norm of a tensor of the adapter minus a weight of the base. Both must have the same
 * shape. Sets *norm to 0 if the tensor has no elements, to -1 if organ_can_widen rejects the tensor's type or reading
 * fails, and to NaN or infinity if a value is not finite. Returns ORGAN_IO if reading or memory fails. */
organ_status organ_adapter_change(const organ_adapter *adapter, const organ_tensor *tensor, const organ_model *base,
                                  const organ_weight *weight, const organ_kernels *kernels, double *norm,
                                  organ_error *error);

/* Returns the name that the base has for a tensor that the adapter stores whole: `name` without the prefixes and
 * infixes of peft. "base_model.model.lm_head.modules_to_save.default.weight" becomes "lm_head.weight". The caller frees
 * the result; NULL if out of memory. */
char *organ_adapter_plain_name(const char *name);

/* Returns the weight that a training program calls `name` ("model.layers.0.mlp.up_proj.weight"). Looks for the name
 * itself first. Then tries the name without and with each word of organ_base_words ("model.", "transformer."), because
 * a model may be trained or published without its head. Then tries the prefixes that transformers before and after 4.52
 * gives to the text part of models with several parts. Returns NULL if there is no such weight, or if out of memory,
 * which counts as a refused allocation (organ_memory_refusals). */
const organ_weight *organ_lora_weight(const organ_weights *weights, const char *name);

/* Returns whether the values of a weight can be read as FP32: it is packed, or organ_can_widen accepts its type. */
bool organ_weight_has_numbers(const organ_weight *weight);

/* Returns the value of init_lora_weights if this initialisation changed the base before training, so that the factors
 * fit only the changed base. The value is then a text that begins with "pissa", "olora", "corda", "loftq" or "lora_ga";
 * the adapter owns the text. Returns NULL for all other initialisations. */
const char *organ_adapter_changed_base(const organ_adapter *adapter);

/* Returns the description of an adapter for a report: {"name", "r", "lora_alpha", "use_rslora", "use_dora", "base",
 * "pairs", "other_tensors"}, where "pairs" and "other_tensors" are counts. NULL if out of memory. */
json_t *organ_adapter_json(const organ_adapter *adapter);

#endif
