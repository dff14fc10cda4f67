/* SPDX-License-Identifier: MIT
 * Verifies a pruned model by comparing its bytes with the donor's; never trusts a log. */
#ifndef ORGAN_AUDIT_H
#define ORGAN_AUDIT_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_audit_options {
    const char *donor, *pruned;
    const char *targets; /* as in organ_prune_options */
    /* --compensated: kept weights may differ from the donor's; changed ones are counted and are not a problem. */
    bool compensated;
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_audit_options;

/* Compares the two models. *report (schema organ.audit/1), which the caller releases, is set for ORGAN_OK and for
 * ORGAN_CHECK_FAILED: then its member "problems" lists the differences in sentences. Another status means that a model
 * could not be read, and *report is NULL. */
organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
