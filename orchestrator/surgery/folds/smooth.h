/* SPDX-License-Identifier: MIT
 * Smoothing: scales the channels of a model's folds such that the inputs of its matrices have fewer outliers, which
 * quantised activations lose. The function of the model stays. */
#ifndef ORGAN_SURGERY_FOLDS_SMOOTH_H
#define ORGAN_SURGERY_FOLDS_SMOOTH_H

#include <jansson.h>
#include <organ/options.h>
#include <organ/stream.h>

/* How weights and inputs will be rounded, for the choice of factors. */
typedef struct organ_smooth_rounding {
    double weight_levels, input_levels; /* greatest code; 0: codes are no whole numbers, or inputs are not rounded */
    size_t group;                       /* columns of a row that share a scale of weights; 0: all columns */
    bool fixed;                         /* one scale for the inputs of all tokens; false: one for each token */
} organ_smooth_rounding;

typedef struct organ_smooth_options {
    const char *model;
    /* above 0, at most 1: 1 levels the inputs, less also the weights; below 0: the factors have the least predicted
     * error with `rounding` */
    double alpha;
    organ_smooth_rounding rounding;
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
