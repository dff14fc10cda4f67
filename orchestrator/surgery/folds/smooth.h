/* SPDX-License-Identifier: MIT
 * Smoothing: scales the channels of a model's folds such that the inputs of its matrices have fewer outliers, which
 * quantised activations lose. The function of the model stays. */
#ifndef ORGAN_SURGERY_FOLDS_SMOOTH_H
#define ORGAN_SURGERY_FOLDS_SMOOTH_H

#include <jansson.h>
#include <organ/options.h>
#include <organ/stream.h>

typedef struct organ_smooth_options {
    const char *model;
    double alpha;                       /* above 0, at most 1: 1 levels the inputs, less also the weights */
    bool reals;                         /* factors are real numbers; false: exact powers of two */
    organ_calibration_text calibration; /* the text on which the inputs are measured */
    organ_write_options write;
} organ_smooth_options;

/* Writes a smoothed copy of the model, with the report organ.smooth/1. Returns
 *   - ORGAN_USAGE if there is no text, or the model is GGUF;
 *   - ORGAN_BAD_INPUT if the model is quantised or no fold of it can be scaled;
 *   - the errors of the calibration walk and of organ_write_run. */
organ_status organ_smooth(const organ_smooth_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

#endif
