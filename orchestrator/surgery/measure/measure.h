/* SPDX-License-Identifier: MIT
 * Room surgery/measure: how far weights are from noise. In go models, out come reports. fleet.h measures all models of
 * a directory, z_measure.h is the measure of single tensors.
 *
 * Here: measures whole models and tells of them: tensors, roles, layers, groups, wells, and a table of several models.
 */
#ifndef ORGAN_MEASURE_H
#define ORGAN_MEASURE_H

#include "orchestrator/surgery/measure/document.h"
#include "orchestrator/surgery/output/interface.h"

ORGAN_API_BEGIN

typedef struct organ_measure_options {
    const char *const *models;
    size_t model_count;
    const char *output;         /* directory for z_report.json, Z_MEASURE_REPORT.md and .html; NULL: none */
    bool seed;                  /* the older measure beside z/1: the member "seed" of each model in the report */
    const char *types, *layers; /* as in organ_selection_parse */
    const char *const *headers; /* for models behind URLs, as organ_model_access has them */
    size_t header_count;
    unsigned patience; /* likewise */
    bool
        delete_after; /* shards.h: each shard is deleted once it is measured; needs `output`, and no types and layers */
} organ_measure_options;

/* *report is schema organ.measure/1, the models in descending order of their mean theta; the caller releases it. All
 * models are opened before one is measured. The output directory is made if its parent exists; reports that stand in it
 * are replaced once all is measured. What was measured of a model behind a URL is kept in a journal in output/organ
 * until the reports are written, so that another run goes on from there (stream.h). ORGAN_USAGE if the selection is not
 * one or leaves no tensor of a model; ORGAN_IO where the reports cannot be written (*report is set if it came so far);
 * else as organ_model_open and organ_measure_tensors. */
organ_status organ_measure(const organ_measure_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
