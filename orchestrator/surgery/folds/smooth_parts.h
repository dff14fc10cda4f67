/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_SURGERY_FOLDS_SMOOTH_PARTS_H
#define ORGAN_SURGERY_FOLDS_SMOOTH_PARTS_H

#include "orchestrator/surgery/folds/scaling.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/surgery/folds/smooth_search.h"
#include "orchestrator/surgery/write/write.h"

/* Figures of the weights that the factor of a channel scales; the choice of the factor reads them. */
typedef struct organ_channel_weights {
    float reader;              /* greatest magnitude of the readers' weights */
    organ_channel_range range; /* the powers of two with which none of the weights is rounded */
} organ_channel_weights;

typedef struct organ_smooth_sample organ_smooth_sample;

/* The samples of one layer, the one whose inputs the tap gets: each has the inputs of some tokens, for a fold or for an
 * expert of a fold. */
typedef struct organ_smooth_samples {
    organ_smooth_sample *list; /* owned */
    size_t count, room;
} organ_smooth_samples;

/* The walk that measures the inputs of the readers and chooses the factors. */
typedef struct organ_smooth_walk {
    organ_scaling *scaling;
    const organ_engine *engine;
    double alpha; /* below 0: the factors have the least predicted error with `rounding` */
    organ_smooth_rounding rounding;
    bool reals;
    organ_calibration_run_options options;
    organ_calibration_work work;
    organ_targets targets; /* none */
    organ_calibration_run *run;
    organ_tap tap;
    bool *watched;       /* by side: the tap measures its inputs */
    float *least, *most; /* by channel of all folds: of the inputs */
    double *shares;      /* by fold: predicted error with the factors, divided by that without; alpha below 0 only */
    organ_smooth_samples samples; /* alpha below 0 */
    size_t first, end;            /* range of the folds of the layer whose inputs the tap gets */
} organ_smooth_walk;

/* Opens the text and the forward pass. The caller sets the members up to `reals` and options.calibration, and closes
 * the walk also after an error. */
organ_status organ_smooth_walk_open(organ_smooth_walk *walk, const organ_model *model, const organ_progress *progress,
                                    organ_error *error);
/* Runs the text and sets scaling->factors, which every rank gets. */
organ_status organ_smooth_walk_run(organ_smooth_walk *walk, organ_error *error);
void organ_smooth_walk_close(organ_smooth_walk *walk);

/* ---- weights ---- */

/* Sets weights[0 .. fold->channels) from the loaded layer. */
organ_status organ_smooth_read_weights(const organ_smooth_walk *walk, const organ_layer *layer, const organ_fold *fold,
                                       organ_channel_weights *weights, organ_error *error);

/* Sets *values to a side's matrices, one below the other, and *rows to the number of all their rows. Returns
 * ORGAN_BAD_INPUT if the layer does not hold them as real numbers. */
organ_status organ_smooth_values(const organ_layer *layer, const organ_fold_side *side, organ_product_operand *values,
                                 uint64_t *rows, organ_error *error);
/* Returns row `row` of these values in FP32: the layer's own memory, or `buffer`. */
const float *organ_smooth_row(const organ_smooth_walk *walk, const organ_fold_side *side,
                              const organ_product_operand *values, uint64_t row, float *buffer);

/* ---- samples ---- */

/* Begins the samples of the folds [walk->first, walk->end), without tokens. The caller releases them, also after an
 * error. Returns ORGAN_IO if memory runs out. */
organ_status organ_smooth_samples_begin(organ_smooth_walk *walk, organ_error *error);
void organ_smooth_samples_release(organ_smooth_samples *samples);
/* Adds inputs of a side's matrix: of all tokens so far, those whose inputs have the least hashes stay, so that the
 * sample depends neither on batches nor on ranks. */
void organ_smooth_samples_take(organ_smooth_walk *walk, size_t side, uint64_t matrix, size_t tokens,
                               const float *inputs);
/* Sets the factors and shares of the folds [walk->first, walk->end); weights[0 .. channels) are those of their
 * channels. All ranks call it; after an error of a rank only the meetings take place. */
organ_status organ_smooth_samples_solve(organ_smooth_walk *walk, const organ_layer *layer,
                                        const organ_channel_weights *weights, organ_error *error);
/* Returns the bytes that samples and search need for the largest layer. */
uint64_t organ_smooth_samples_memory(const organ_smooth_walk *walk);

#endif
