/* SPDX-License-Identifier: MIT
 * Audit of a smoothed model: it must have the donor's bytes, scaled by the factors of its producers. */
#ifndef ORGAN_SURGERY_AUDIT_AUDIT_SMOOTHED_H
#define ORGAN_SURGERY_AUDIT_AUDIT_SMOOTHED_H

#include "orchestrator/output/facts.h"
#include "orchestrator/output/output.h"
#include "orchestrator/surgery/folds/scaling.h"

/* All zero: the copy is not smoothed. */
typedef struct organ_audit_smoothed {
    organ_forward *forward; /* of the donor; NULL: the copy is not smoothed */
    const organ_kernels *kernels;
    organ_scaling scaling;
    const char *odd; /* a tensor with a factor that is no power of two; NULL: there is none */
} organ_audit_smoothed;

/* Finds the factors if the copy has the report of a smoothing. Call organ_audit_smoothed_release also after an error.
 */
organ_status organ_audit_find_smoothed(const organ_model *donor, const organ_model *copy, const organ_engine *engine,
                                       organ_audit_smoothed *smoothed, organ_error *error);
void organ_audit_smoothed_release(organ_audit_smoothed *smoothed);

/* Returns whether a fold scales the donor's tensor. */
bool organ_audit_is_scaled(const organ_audit_smoothed *smoothed, const organ_tensor *donor);

#define ORGAN_AUDIT_CHUNK ((size_t)4096)
/* Sets `scaled` to bytes [at, at + bytes) of the donor's tensor, which are at `data`, as the copy must have them;
 * bytes is at most ORGAN_AUDIT_CHUNK. */
void organ_audit_scale(const organ_audit_smoothed *smoothed, const organ_tensor *donor, uint64_t at, const void *data,
                       size_t bytes, void *scaled);

/* Adds a problem if a factor is no power of two. */
void organ_audit_smoothed_problems(const organ_audit_smoothed *smoothed, organ_problems *problems);
/* Returns the member "smoothed" of the document. */
json_t *organ_audit_smoothed_json(const organ_audit_smoothed *smoothed);

#endif
