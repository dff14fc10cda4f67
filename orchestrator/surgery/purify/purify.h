/* SPDX-License-Identifier: MIT
 * Room surgery/purify: copies a model with weaker noise in its weights, and reports the changes. A filter
 * attenuates, row by row, small components of a Fourier spectrum (fft) or of a wavelet transform (haar). */
#ifndef ORGAN_PURIFY_H
#define ORGAN_PURIFY_H

#include "orchestrator/surgery/scoring/evaluate_options.h"
#include "orchestrator/surgery/interface/write_options.h"

ORGAN_API_BEGIN

#define ORGAN_PURIFY_THRESHOLDS 0, 1000000
#define ORGAN_PURIFY_STRENGTHS  0, 1

typedef struct organ_purify_options {
    const char *model;
    const char *method; /* "fft" or "haar" */
    double threshold;   /* k of fft, t of haar, within ORGAN_PURIFY_THRESHOLDS; negative: 3 for fft, 1 for haar */
    double strength;    /* within ORGAN_PURIFY_STRENGTHS */
    const char *types, *layers; /* in the syntax of organ_selection_parse; types NULL: the projections */
    organ_write_options write;
} organ_purify_options;

/* Copies the model and purifies the selected tensors, which keep their types. The output is a directory with the
 * donor's files or, if the donor is one file and `output` has its extension, one file.
 *
 * Selection: the projections of the anatomy table; with `types` every tensor of those groups, where a vector counts
 * as one row. Projections in a type that cannot be written remain unchanged and are listed; if `types` names such a
 * tensor, the result is ORGAN_USAGE. Rows of one value remain unchanged.
 *
 * *report has the schema organ.purify/1; the caller releases it; NULL on error. The same report is written with a
 * PURIFY_REPORT.md and .html to the folder organ/ of the output, or next to a single file under its name.
 *
 * A run that ends with ORGAN_INTERRUPTED or ORGAN_IO after some tensors leaves them in .NAME.organ-partial; `resume`
 * continues it to the same bytes. After any other error no output remains. Errors: ORGAN_USAGE, ORGAN_BAD_INPUT (the
 * donor is malformed, was changed, or contains NaN or infinity in a selected tensor), ORGAN_IO, ORGAN_INTERRUPTED.
 * With `evaluate` also those of organ_perplexity, before anything is written if they can be detected then; otherwise
 * a complete output is kept, and *report is set and contains the reason why it was not scored. */
organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
