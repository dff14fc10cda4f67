/* SPDX-License-Identifier: MIT
 * Verifies a pruned model by comparing its bytes with the donor's, without any report of the pruning. */
#ifndef ORGAN_AUDIT_H
#define ORGAN_AUDIT_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* The two models, and which differences are allowed. */
typedef struct organ_audit_options {
    const char *donor, *pruned; /* paths of the two models */
    const char *targets;        /* tensors that may differ, as in organ_prune_options */
    bool compensated; /* --compensated: kept weights may differ from the donor's; the report counts them, and they are
                       * no problem */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
} organ_audit_options;

/* Compares the two models. Returns ORGAN_OK if `pruned` differs from `donor` only as allowed. Otherwise returns
 * ORGAN_CHECK_FAILED, and the member "problems" of the report lists the other differences in sentences. In both cases
 * *report (schema organ.audit/1) is set, and the caller releases it. Any other status means that a model could not be
 * read or memory ran out; *report is NULL then. */
organ_status organ_audit(const organ_audit_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
