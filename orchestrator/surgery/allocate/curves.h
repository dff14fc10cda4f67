/* SPDX-License-Identifier: MIT
 * Measures the curves of a model's targets. A curve has the divergence from the donor if the target alone is made
 * smaller, at each level, on the inputs that it has in the donor. The divergence is measured on tokens that are not
 * used for calibration. */
#ifndef ORGAN_CURVES_H
#define ORGAN_CURVES_H

#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/calibration/calibration_run.h"

typedef struct organ_curves_work {
    void *context;
    /* Replaces the donor's `weights` by those of a level of the allocation, such as a sparsity or a width. */
    organ_status (*make)(void *context, const organ_calibration_matrix *matrix, size_t level, float *weights,
                         organ_error *error);
    /* Returns the bytes that `make` needs for a matrix of this tensor, without its weights and its calibration. */
    uint64_t (*memory)(void *context, const organ_tensor *tensor);
    /* Called after the last matrix of a layer: the caller must discard results that it caches by the address of a
     * calibration of this layer. May be NULL. */
    void (*forget)(void *context);
    /* Derives the unmeasured costs of a tensor from the measured ones. NULL: all costs are measured. */
    void (*derive)(void *context, size_t tensor);
    /* Called on all ranks after the curve of `tensor` was measured. May be NULL. */
    organ_status (*found)(void *context, const organ_allocation_tensor *tensor, organ_error *error);
} organ_curves_work;

typedef struct organ_curves_options {
    /* calibration on the donor; organ_curves_open sets `streams` and uses half of `samples` */
    organ_calibration_run_options walk;
    size_t tokens; /* least number of tokens for divergences */
    size_t layers; /* greatest number of measured layers, 2 or more: the first, the last, and others evenly between; a
                    * role that occurs in none of them is measured in all its layers */
} organ_curves_options;

typedef struct organ_curves organ_curves;

/* Creates the tensors of an allocation without costs: one per target, but a single one for all routed experts of a
 * layer and role. of[k] becomes the tensor of target k. Returns false if memory cannot be allocated. */
bool organ_curves_list(const organ_targets *targets, organ_allocation *allocation, size_t *of);

/* Opens the walk, the run of the calibration text through the donor, and cuts the test windows for divergences. All
 * arguments must outlive *curves, which the caller closes also after an error. Returns the errors of
 * organ_calibration_run_open and organ_calibration_cut_test_windows. */
organ_status organ_curves_open(const organ_curves_options *options, const organ_model *model,
                               const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                               const organ_curves_work *work, const organ_engine *engine,
                               const organ_progress *progress, organ_curves **curves, organ_error *error);
/* Adds the memory and the work of missing curves to a plan. `solve` is the work of making a matrix smaller once. */
void organ_curves_estimate(organ_curves *curves, const organ_plan_solve *solve, organ_plan *plan);
void organ_curves_close(organ_curves *curves); /* NULL is allowed */

size_t organ_curves_unknown(const organ_curves *curves); /* number of curves that are not measured yet */

/* Measures missing curves and interpolates those of other layers. Prints an estimate of the remaining time after the
 * first measured layer. Returns ORGAN_USAGE if a role has no tensor in a measured layer. */
organ_status organ_curves_run(organ_curves *curves, organ_error *error);

/* Return the calibration walk, and the test windows on which divergences are measured. *curves owns both. */
const organ_calibration_run *organ_curves_walk(const organ_curves *curves);
const organ_calibration_test_windows *organ_curves_rest(const organ_curves *curves);

#endif
