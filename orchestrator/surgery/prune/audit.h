/* SPDX-License-Identifier: MIT
 * Proves a pruning from the bytes of both models; never reads a log. */
#ifndef ORGAN_AUDIT_H
#define ORGAN_AUDIT_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_audit_options {
    const char *donor, *pruned;
    const char *targets;              /* as in organ_prune_options */
    bool compensated;                 /* what was not killed may have been changed: it is counted and no fault */
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
} organ_audit_options;

/* *report (schema organ.audit/1) is set for ORGAN_OK and for ORGAN_CHECK_FAILED, where report.problems says in
 * sentences what does not hold; the caller releases it. Other statuses: a model could not be read. */
organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
