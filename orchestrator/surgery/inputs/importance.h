/* SPDX-License-Identifier: MIT
 * Finds for each matrix of a model its entry in an importance matrix (imatrix), whose values describe the inputs of the
 * matrix. Works for all names that the two files may use, and for experts stored one by one or as a stack. */
#ifndef ORGAN_IMPORTANCE_H
#define ORGAN_IMPORTANCE_H

#include "formats/imatrix/imatrix.h"
#include <organ/models.h>

#include <jansson.h>

/* Cache of organ_experts_of_role: its last result for each role. All zero: empty. */
typedef struct organ_expert_census {
    int32_t layer[ORGAN_ROLE_COUNT];    /* layer of the result */
    uint64_t experts[ORGAN_ROLE_COUNT]; /* the result; 0: none yet */
} organ_expert_census;

/* For a tensor of one expert, returns 1 + the highest number of an expert with a tensor of this role in this layer.
 * Returns 0 for any other tensor. `known` caches the last layer: calls in the order of layers search the model once per
 * layer and role. */
uint64_t organ_experts_of_role(const organ_model *model, const organ_tensor *tensor, organ_expert_census *known);

/* Computes the XXH3 of the imatrix file, as 16 hexadecimal digits. Returns ORGAN_IO if the file cannot be read or
 * memory cannot be allocated. */
organ_status organ_importance_digest(const organ_imatrix *imatrix, char digest[17], organ_error *error);

/* Returns the object "imatrix" of a document; null if `imatrix` is NULL. `digest`: the result of
 * organ_importance_digest. */
json_t *organ_importance_json(const organ_imatrix *imatrix, const char *digest);

/* Reads the size of each input of a matrix from the imatrix: norms[j] becomes the root mean square of the input of
 * column j (organ_imatrix_norms), where `matrix` is the number of the matrix in the tensor. *count becomes the number
 * of tokens (in older files: chunks) from which the values were computed, and *entry the name of the entry in the
 * imatrix. `experts`: the result of organ_experts_of_role.
 *
 * For an expert that got no tokens, *count becomes 0. The norms of its gate and up are those over the tokens of all
 * experts of the entry, since all experts of a layer have the same inputs. The norms of its down are 1, because the
 * inputs of down differ between experts. If no expert got tokens, all norms are 1.
 *
 * Returns the errors of organ_imatrix_find, or ORGAN_BAD_INPUT for a stack of square matrices in safetensors, whose
 * input axis is unknown. */
organ_status organ_importance_norms(const organ_imatrix *imatrix, const organ_model *model, const organ_tensor *tensor,
                                    uint64_t matrix, uint64_t experts, float *norms, double *count, const char **entry,
                                    organ_error *error);

#endif
