/* SPDX-License-Identifier: MIT
 * Copies a model with weaker noise in its weights, and reports the changes. A filter attenuates,
 * row by row, small components of a Fourier spectrum (fft) or of a wavelet transform (haar). */
#ifndef ORGAN_API_PURIFY_H
#define ORGAN_API_PURIFY_H

#include <organ/base.h>
#include <organ/options.h>

ORGAN_API_BEGIN

#define ORGAN_PURIFY_THRESHOLDS 0, 1000000
#define ORGAN_PURIFY_STRENGTHS  0, 1

typedef struct organ_purify_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    const char *method; /* "fft" or "haar" */
    /* Threshold of the method, within ORGAN_PURIFY_THRESHOLDS; negative: the default, 3 for fft and 1 for haar. */
    double threshold;
    double strength; /* small components are multiplied by 1 - strength; within ORGAN_PURIFY_STRENGTHS */
    /* Groups of tensors and numbers of layers, as in organ_graft_options; types NULL: the projections; layers NULL:
     * all. */
    const char *types, *layers;
    organ_write_options write;
} organ_purify_options;
ORGAN_DEFAULTS(purify, o.threshold = -1; o.strength = 0.1)

/* Copies the model and purifies the selected tensors, which keep their types. The output is a directory with the
 * donor's files or, if the donor is one file and `output` has its extension, one file.
 *
 * Selection: the projections of the anatomy table; with `types` every tensor of those groups, where a vector counts as
 * one row. Projections in a type that cannot be written remain unchanged and are listed; if `types` names such a
 * tensor, the result is ORGAN_USAGE. Rows of one value remain unchanged.
 *
 * *report has the schema organ.purify/1; the caller releases it; NULL on error. The same report is written with a
 * PURIFY_REPORT.md and .html to the folder organ/ of the output, or next to a single file under its name.
 *
 * A run that ends with ORGAN_INTERRUPTED or ORGAN_IO after some tensors leaves them in .NAME.organ-partial; `resume`
 * continues it to the same bytes. After any other error no output remains.
 *
 * Returns ORGAN_USAGE if options are out of range, select nothing or the output exists; ORGAN_BAD_INPUT if the donor is
 * malformed, was changed, or has NaN or infinity in a selected tensor; ORGAN_IO or ORGAN_INTERRUPTED if reading,
 * writing or memory fails or a stop was requested. With `evaluate`, also returns errors of organ_perplexity. Errors
 * that can be detected early are returned before anything is written. After a later error the complete output is kept,
 * *report is set, and it gives the reason why the output was not scored. */
organ_status organ_purify(const organ_purify_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
