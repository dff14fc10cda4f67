/* SPDX-License-Identifier: MIT
 * Assigns the entries of an importance matrix to the tensors of a model, whatever names both use and however experts
 * are stored. */
#ifndef ORGAN_IMPORTANCE_H
#define ORGAN_IMPORTANCE_H

#include "formats/imatrix/imatrix.h"
#include "formats/model/model.h"

#include <jansson.h>

/* The number of experts of each role in the layer of the last request. All zero: no request yet. */
typedef struct organ_expert_census {
    int32_t layer[ORGAN_ROLE_COUNT];
    uint64_t experts[ORGAN_ROLE_COUNT];
} organ_expert_census;

/* Returns for a tensor that is one expert the number of experts of its role in its layer; 0 for any other tensor. */
uint64_t organ_experts_of_role(const organ_model *model, const organ_tensor *tensor, organ_expert_census *known);

/* Writes the XXH3 of the file as 16 digits. ORGAN_IO. */
organ_status organ_importance_digest(const organ_imatrix *imatrix, char digest[17], organ_error *error);

/* Returns the report's object about the file; null if `imatrix` is NULL. */
json_t *organ_importance_json(const organ_imatrix *imatrix, const char *digest);

/* Computes organ_imatrix_norms for matrix `matrix` of the tensor: as many numbers as the matrix has columns. `experts`:
 * the result of organ_experts_of_role. *entry becomes the name of the entry in the imatrix. An expert without tokens
 * gets a count of 0. Its gate and up get the norms over all tokens of the entry's other experts, since all experts of a
 * layer have the same inputs. Its down gets norms of 1, because columns of different experts are unrelated; so do all
 * matrices if no expert has tokens. Errors: those of organ_imatrix_find, and ORGAN_BAD_INPUT for stacks whose order of
 * axes is ambiguous. */
organ_status organ_importance_norms(const organ_imatrix *imatrix, const organ_model *model, const organ_tensor *tensor,
                                    uint64_t matrix, uint64_t experts, float *norms, double *count, const char **entry,
                                    organ_error *error);

#endif
