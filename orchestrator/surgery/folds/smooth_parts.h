/* SPDX-License-Identifier: MIT */
#ifndef ORGAN_SURGERY_FOLDS_SMOOTH_PARTS_H
#define ORGAN_SURGERY_FOLDS_SMOOTH_PARTS_H

#include "orchestrator/surgery/folds/scaling.h"
#include "orchestrator/surgery/folds/smooth.h"
#include "orchestrator/surgery/write/write.h"

/* The walk that measures the inputs of the readers and chooses the factors. */
typedef struct organ_smooth_walk {
    organ_scaling *scaling;
    const organ_engine *engine;
    double alpha;
    bool reals;
    organ_calibration_run_options options;
    organ_calibration_work work;
    organ_targets targets; /* none */
    organ_calibration_run *run;
    organ_tap tap;
    bool *watched;       /* by side: the tap measures its inputs */
    float *least, *most; /* by channel of all folds: of the inputs */
    uint64_t memory;     /* of ranges and factors, in bytes */
    size_t first, end;   /* range of the folds of the layer whose inputs the tap gets */
} organ_smooth_walk;

/* Opens the text and the forward pass. The caller sets the members up to `reals` and options.calibration, and closes
 * the walk also after an error. */
organ_status organ_smooth_walk_open(organ_smooth_walk *walk, const organ_model *model, const organ_progress *progress,
                                    organ_error *error);
/* Runs the text and sets scaling->factors, which every rank gets. */
organ_status organ_smooth_walk_run(organ_smooth_walk *walk, organ_error *error);
void organ_smooth_walk_close(organ_smooth_walk *walk);

/* What the weights of a fold's tensors state about a channel. */
typedef struct organ_channel_weights {
    float reader;              /* greatest magnitude of the readers' weights */
    organ_channel_range range; /* of exact powers of two */
} organ_channel_weights;

/* Sets weights[0 .. fold->channels) from the loaded layer. */
organ_status organ_smooth_read_weights(const organ_smooth_walk *walk, const organ_layer *layer, const organ_fold *fold,
                                       organ_channel_weights *weights, organ_error *error);

#endif
