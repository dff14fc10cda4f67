/* SPDX-License-Identifier: MIT
 * Verifies a pruning by comparing the bytes of both models; never reads a log. */
#ifndef ORGAN_AUDIT_H
#define ORGAN_AUDIT_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_audit_options {
    const char *donor, *pruned;
    const char *targets;              /* as in organ_prune_options */
    bool compensated;                 /* kept weights may have changed: they are counted and are no problem */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_audit_options;

/* Compares the two models. *report (schema organ.audit/1) is set for ORGAN_OK and ORGAN_CHECK_FAILED; in the latter
 * case its member "problems" lists the differences in sentences. The caller releases it. Other statuses mean that a
 * model could not be read. */
organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
