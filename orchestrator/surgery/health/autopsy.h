/* SPDX-License-Identifier: MIT
 * Whether every weight of a model is healthy: numbers of its values, patterns that betray how they were spoiled, and
 * its distance from another model. */
#ifndef ORGAN_AUTOPSY_H
#define ORGAN_AUTOPSY_H

#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_autopsy_options {
    const char *model;
    const char *other;  /* the model to compare with, NULL: none */
    const char *ranges; /* a file of schema organ.ranges/1, NULL: the ranges that organ_autopsy_ranges gives */
    const char *match;  /* a shell pattern on names of weights, NULL: all */
    const char *output; /* a directory for autopsy.json and AUTOPSY_REPORT.md, made if need be; NULL: no files */
    const organ_model_access *access; /* how a model behind a URL is reached; NULL: as usual */
    const char *text; /* path of a text: find one wrong factor of all scales by the model's perplexity on it; NULL: skip
                         this test */
} organ_autopsy_options;

/* Reads every weight once, whatever it is packed in, and makes the report of schema organ.autopsy/1. The same report,
 * but for its "run", with any number of threads, any memory and on every ISA of one machine. ORGAN_CHECK_FAILED, with
 * the report, where there are findings; remarks alone are healthy. Errors: ORGAN_USAGE if the pattern matches no
 * weight, or for a text with a model without scales; ORGAN_BAD_INPUT if the file of ranges is malformed; the errors of
 * opening and reading models. *report is NULL after an error. The caller releases *report. */
organ_status organ_autopsy(const organ_autopsy_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

/* The ranges that are used without a file, as such a file. NULL without memory. */
json_t *organ_autopsy_ranges(void);

ORGAN_API_END

#endif
