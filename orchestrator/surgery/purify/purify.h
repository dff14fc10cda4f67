/* SPDX-License-Identifier: MIT
 * Room surgery/purify: in goes a model, out comes a copy of it and a report. What a filter takes for noise in the
 * weights is made weaker, row by row, by a spectrum (fft) or by wavelets (haar). */
#ifndef ORGAN_PURIFY_H
#define ORGAN_PURIFY_H

#include "orchestrator/surgery/trial/evaluate_options.h"
#include "orchestrator/surgery/output/write_options.h"

ORGAN_API_BEGIN

#define ORGAN_PURIFY_THRESHOLDS 0, 1000000
#define ORGAN_PURIFY_STRENGTHS  0, 1

typedef struct organ_purify_options {
    const char *model;
    const char *method; /* "fft" or "haar" */
    double threshold;   /* k of fft, t of haar, within ORGAN_PURIFY_THRESHOLDS; negative: 3 for fft, 1 for haar */
    double strength;    /* within ORGAN_PURIFY_STRENGTHS */
    const char *types, *layers; /* as organ_selection_parse takes them; types NULL: the projections */
    organ_write_options write;
} organ_purify_options;

/* Makes a copy of the model in which the selected tensors are purified, in the types they had: a directory with the
 * donor's files, or, if the donor is one file and `output` ends as it does, one file. Selected are the projections of
 * the anatomy table; with `types` every tensor of those groups, a vector being one row. Of projections, those in a type
 * that cannot be written are left alone and listed; where `types` names such a tensor, that is ORGAN_USAGE. Rows of one
 * value stay. *report is schema organ.purify/1 and lies with a PURIFY_REPORT.md and .html in the output's organ/
 * folder, beside a single file under its name; the caller releases it; NULL on error. A run that ends with
 * ORGAN_INTERRUPTED or ORGAN_IO after some of the tensors leaves them in .NAME.organ-partial, and `resume` continues it
 * to the same bytes; after another error nothing is left of the output. Errors: ORGAN_USAGE, ORGAN_BAD_INPUT (the donor
 * is malformed, was changed, or holds NaN or infinity where it is to be purified), ORGAN_IO, ORGAN_INTERRUPTED. With
 * `evaluate` also those of organ_perplexity: before anything is written where they can be known; an output that is
 * whole stays, *report is set and says why it was not scored. */
organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
