/* SPDX-License-Identifier: MIT
 * Examines every weight of a model: statistics of its values, patterns that reveal damage and its cause, and its
 * distance from another model. */
#ifndef ORGAN_AUTOPSY_H
#define ORGAN_AUTOPSY_H

#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ_autopsy. */
typedef struct organ_autopsy_options {
    const char *model;  /* path or URL of the model to examine */
    const char *other;  /* the model to compare with, NULL: none */
    const char *ranges; /* a file of schema organ.ranges/1; NULL: the ranges of organ_autopsy_ranges */
    const char *match;  /* a shell pattern on names of weights, NULL: all */
    const char *output; /* a directory for autopsy.json and AUTOPSY_REPORT.md, created if missing; NULL: no files */
    const organ_model_access *access; /* HTTP headers and retries for a model behind a URL; NULL: the defaults */
    /* path of a text for organ_autopsy_judge_text, which searches one wrong factor of all scales; NULL: no search */
    const char *text;
} organ_autopsy_options;

/* Reads all values of every selected weight and creates the report of schema organ.autopsy/1. Except for its member
 * "run", the report does not depend on the number of threads, the memory or the ISA of the machine. If there are
 * findings, returns ORGAN_CHECK_FAILED together with the report; remarks alone return ORGAN_OK. Other errors:
 * ORGAN_USAGE if `match` matches no weight, or if `text` is set for a model without scales; ORGAN_BAD_INPUT if the file
 * of ranges is malformed; the errors of opening and reading models. *report is NULL after these other errors. The
 * caller releases *report. */
organ_status organ_autopsy(const organ_autopsy_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

/* Returns the default ranges as the JSON of a file of ranges. NULL if memory runs out. */
json_t *organ_autopsy_ranges(void);

ORGAN_API_END

#endif
