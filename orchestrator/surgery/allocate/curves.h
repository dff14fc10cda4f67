/* SPDX-License-Identifier: MIT
 * The curves of a model's targets, measured: each tensor is made smaller alone, at each level, on the inputs that it
 * has in the donor, and the divergence is taken on tokens that calibrate no curve. */
#ifndef ORGAN_CURVES_H
#define ORGAN_CURVES_H

#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/along_text/along_text.h"

/* What the caller does. */
typedef struct organ_curves_work {
    void *context;
    /* Makes the donor's `weights` what they are at that level of the allocation. */
    organ_status (*make)(void *context, const organ_along_matrix *matrix, size_t level, float *weights,
                         organ_error *error);
    /* Bytes that it takes for a matrix of this tensor beside its weights and its calibration. */
    uint64_t (*memory)(void *context, const organ_tensor *tensor);
    /* The matrices of a layer are done: what was computed of their calibrations is of no use any more. NULL: nothing.
     */
    void (*forget)(void *context);
    /* Derives the unmeasured costs of a tensor from the measured ones. NULL: all costs are measured. */
    void (*derive)(void *context, size_t tensor);
    /* A curve was measured. NULL: nothing. */
    organ_status (*found)(void *context, const organ_allocation_tensor *tensor, organ_error *error);
} organ_curves_work;

typedef struct organ_curves_options {
    organ_along_options walk; /* of the donor: streams are set here, and half as many windows are used */
    size_t tokens;            /* that divergences are taken on, at least */
    size_t layers; /* at most so many are measured, 2 or more: the first, the last, and evenly between; a role that is
                      in none of them is measured wherever it is */
} organ_curves_options;

typedef struct organ_curves organ_curves;

/* The tensors of an allocation of these targets, without costs: a tensor each, but one for all routed experts of a
 * layer and role; `of`, one for each target, says which. false without memory. */
bool organ_curves_list(const organ_targets *targets, organ_allocation *allocation, size_t *of);

/* Opens the walk and cuts the tokens. Everything must outlive it; to be closed whatever it returns. Errors of
 * organ_along_open and organ_along_rest_cut. */
organ_status organ_curves_open(const organ_curves_options *options, const organ_model *model,
                               const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                               const organ_curves_work *work, const organ_engine *engine,
                               const organ_progress *progress, organ_curves **curves, organ_error *error);
/* Adds the memory and the work of the curves that are not known to a plan. `solve` is the work of making a matrix
 * smaller once. */
void organ_curves_foresee(organ_curves *curves, const organ_plan_solve *solve, organ_plan *plan);
void organ_curves_close(organ_curves *curves); /* NULL is allowed */

size_t organ_curves_unknown(const organ_curves *curves); /* how many are left to be measured */

/* Measures the curves that are not known, and fills in those of layers that are not measured. How long it will take is
 * told once the first has been measured. */
organ_status organ_curves_run(organ_curves *curves, organ_error *error);

/* The walk that was opened, and how the tokens were cut. */
const organ_along_text *organ_curves_walk(const organ_curves *curves);
const organ_along_rest *organ_curves_rest(const organ_curves *curves);

#endif
