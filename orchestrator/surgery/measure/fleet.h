/* SPDX-License-Identifier: MIT
 * Dissects and measures every model under a directory, and writes one report. Errors of single models are
 * reported and do not stop the run. */
#ifndef ORGAN_FLEET_H
#define ORGAN_FLEET_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

typedef struct organ_fleet_options {
    const char *directory;
    const char *output; /* directory, created if needed; another run with the same output only processes changed
                         * models */
    bool no_extract;    /* measure only */
} organ_fleet_options;

/* Writes to the output: organs/NAME/ (organ_extract of each model), dissection_report.json (organ.fleet/1),
 * z_report_complete.json (organ.measure/1), Z_MEASURE_REPORT.md and .html, and fleet.json, with which the next run
 * skips unchanged models. *report is the dissection report; the caller releases it; NULL on error. A model that could
 * not be dissected or measured is listed with its error, and the function returns ORGAN_CHECK_FAILED. Returns
 * ORGAN_BAD_INPUT if there is no model; ORGAN_USAGE, ORGAN_IO, ORGAN_INTERRUPTED (finished models are kept). */
organ_status organ_fleet(const organ_fleet_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
