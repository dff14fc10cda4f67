/* SPDX-License-Identifier: MIT
 * Proves a cut from the bytes of both models; never reads a log. */
#ifndef ORGAN_AUDIT_CUT_H
#define ORGAN_AUDIT_CUT_H

#include "orchestrator/surgery/prune/audit.h"

ORGAN_API_BEGIN

/* As organ_audit; where the second model has fewer blocks, experts, channels or heads than the donor, finds which of
 * the donor's are left and holds it against the donor without the others: every tensor, config.json or key-values. The
 * report is then of schema organ.audit_cut/1. With `compensated` down and output projections may have other values:
 * they are counted and no fault. */
organ_status organ_audit_any(const organ_audit_options *options, const organ_engine *engine,
                             const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
