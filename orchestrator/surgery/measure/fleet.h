/* SPDX-License-Identifier: MIT
 * Dissects (organ_extract) and measures every model under a directory, and writes one report. Errors of single models
 * are reported and do not stop the run. */
#ifndef ORGAN_FLEET_H
#define ORGAN_FLEET_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ_fleet. */
typedef struct organ_fleet_options {
    const char *directory; /* searched recursively for models (fleet_find.h) */
    /* Directory of the output, created if needed; a later run with the same output processes only changed models. */
    const char *output;
    bool no_extract; /* measure only */
} organ_fleet_options;

/* Writes to the output: organs/NAME/ (organ_extract of each model), dissection_report.json (organ.fleet/1),
 * z_report_complete.json (organ.measure/1), Z_MEASURE_REPORT.md and .html, and fleet.json, with which the next run
 * skips unchanged models. *report is the dissection report; the caller releases it; NULL on error.
 *
 * Returns ORGAN_CHECK_FAILED if a model could not be dissected or measured (the report lists it with its error);
 * ORGAN_BAD_INPUT if there is no model; ORGAN_USAGE if the output is an input, or has a file with the name of a report
 * that is not a report of organ; ORGAN_IO or ORGAN_INTERRUPTED if files or memory fail or a stop was requested
 * (finished models are kept). */
organ_status organ_fleet(const organ_fleet_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

ORGAN_API_END

#endif
