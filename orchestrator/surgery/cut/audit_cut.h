/* SPDX-License-Identifier: MIT
 * Verifies a cut by comparing the bytes of both models. Reads the cut's own report only for the digests of refitted
 * weights. */
#ifndef ORGAN_AUDIT_CUT_H
#define ORGAN_AUDIT_CUT_H

#include "orchestrator/surgery/prune/audit.h"

ORGAN_API_BEGIN

/* Audits like organ_audit, but also accepts a second model with fewer blocks, experts, channels or heads than the
 * donor. In that case the function finds the kept parts in the bytes and compares every tensor and config.json (or the
 * key-values) with a cut of the donor to these parts; the report then has schema organ.audit_cut/1. With `compensated`,
 * weights that a refit may change are counted and are no problem; without it they must have the digests that the report
 * of the cut in the copy states. Returns ORGAN_CHECK_FAILED, with *report set, if the
 * copy differs from that cut; with *report NULL if the donor cannot be cut to these parts. */
organ_status organ_audit_any(const organ_audit_options *options, const organ_engine *engine,
                             const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
