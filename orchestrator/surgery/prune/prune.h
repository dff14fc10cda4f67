/* SPDX-License-Identifier: MIT
 * Room surgery/prune: sets weights of a model to zero by physarum v1, and compares a pruned model with its donor.
 * method.h is the interface for the methods of surgery/calibrated, which has organ_prune. */
#ifndef ORGAN_PRUNE_H
#define ORGAN_PRUNE_H

#include <organ/prune.h>

/* organ_prune for physarum v1 with one sparsity; ignores options->calibrated. */
organ_status organ_prune_v1(const organ_prune_options *options, const organ_engine *engine,
                            const organ_progress *progress, json_t **report, organ_error *error);

/* organ_audit for two models of the same shapes. */
organ_status organ_audit_pruned(const organ_audit_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

#endif
