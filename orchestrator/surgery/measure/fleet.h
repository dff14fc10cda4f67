/* SPDX-License-Identifier: MIT
 * Every model under a directory: dissected, measured, told of in one report. A broken one is reported, the rest go on.
 */
#ifndef ORGAN_FLEET_H
#define ORGAN_FLEET_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_fleet_options {
    const char *directory;
    const char *output; /* a directory, made if need be; a second run into it does only what changed */
    bool no_extract;    /* measure only */
} organ_fleet_options;

/* In the output: organs/NAME/ (organ_extract of each model), dissection_report.json (organ.fleet/1),
 * z_report_complete.json (organ.measure/1), Z_MEASURE_REPORT.md and .html, and fleet.json, which says what need not be
 * done again. *report is the dissection report; the caller releases it; NULL on error. A model that could not be
 * dissected or measured stands in it with its error, and the status is ORGAN_CHECK_FAILED. ORGAN_BAD_INPUT if there is
 * no model at all; ORGAN_USAGE, ORGAN_IO, ORGAN_INTERRUPTED (what was finished is kept) as ever. */
organ_status organ_fleet(const organ_fleet_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
