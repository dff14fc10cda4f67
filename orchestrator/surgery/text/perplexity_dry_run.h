/* SPDX-License-Identifier: MIT
 * The dry run of organ perplexity. */
#ifndef ORGAN_PERPLEXITY_DRY_RUN_H
#define ORGAN_PERPLEXITY_DRY_RUN_H

#include "orchestrator/surgery/scoring/scoring.h"

/* Returns the report of a dry run: the report of a scoring without the figures, but with "dry_run": true, "plan" and
 * "run.plan" (surgery/plan/plan.h). NULL if memory runs out. */
json_t *organ_perplexity_dry_run(organ_scoring *scoring, const organ_engine *engine);

#endif
