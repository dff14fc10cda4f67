/* SPDX-License-Identifier: MIT
 * Room surgery/prune: sets weights of a model to zero, and compares a pruned model with its donor. */
#ifndef ORGAN_AUDIT_PRUNED_H
#define ORGAN_AUDIT_PRUNED_H

#include <organ/prune.h>

/* organ_audit for two models of the same shapes. */
organ_status organ_audit_pruned(const organ_audit_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error);

#endif
