/* SPDX-License-Identifier: MIT
 * Room surgery/measure: measures how far the distribution of weights is from noise. It reads models and writes reports.
 * fleet.h measures all models of a directory; z_measure.h measures single tensors.
 *
 * This header: the verb `organ measure`. Its report has, for each model, theta of tensors, roles, layers and groups,
 * and the wells: tensors with a lower theta than the same module in the layers before and after. */
#ifndef ORGAN_MEASURE_H
#define ORGAN_MEASURE_H

#include "orchestrator/surgery/measure/measure_document.h"
#include "orchestrator/surgery/interface/interface.h"

ORGAN_API_BEGIN

/* Options of organ_measure. */
typedef struct organ_measure_options {
    const char *const *models; /* paths or URLs of `model_count` models */
    size_t model_count;
    const char *output; /* directory for z_report.json, Z_MEASURE_REPORT.md and .html; NULL: write no files */
    /* Also compute the older measure seed/1: the member "seed" of each model in the report. */
    bool seed;
    const char *types, *layers; /* measure only tensors that organ_selection_parse selects by them; NULL: all */
    const char *const *headers; /* `header_count` HTTP headers for models behind URLs, see organ_model_access */
    size_t header_count;
    unsigned patience; /* longest wait in seconds that a server may ask for, see organ_model_access; 0: 60 */
} organ_measure_options;

/* Measures the models. *report has schema organ.measure/1, with the models in descending order of mean theta; the
 * caller releases it. All models are opened before the first is measured. The output
 * directory is created if its parent exists; its reports are replaced after all models are measured. Results for a
 * model behind a URL are kept in a journal in output/organ until the reports are written, so that another run can
 * continue (measure_stream.h). Returns ORGAN_USAGE if the selection is invalid or leaves no tensor of a model; ORGAN_IO
 * if the reports cannot be written
 * (*report may be set); other errors are those of organ_model_open and organ_measure_tensors. */
organ_status organ_measure(const organ_measure_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
