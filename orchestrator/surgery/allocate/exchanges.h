/* SPDX-License-Identifier: MIT
 * Rounds of exchanges after a budget was divided: pairs of tensors, of which one gets less and the other as many
 * elements more, are tried on the whole model, every matrix of it made so on the inputs that it has in the donor; those
 * that bring it nearer to the donor are kept.
 */
#ifndef ORGAN_EXCHANGES_H
#define ORGAN_EXCHANGES_H

#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/along_text/along_text.h"

/* Two tensors of an allocation: one becomes smaller than it is given to be, the other greater. */
typedef struct organ_exchange {
    size_t more, less; /* spared of */
    double up, down;   /* what they are given then */
} organ_exchange;

typedef struct organ_exchanges_work {
    void *context;
    /* Makes the donor's `weights` what they are where its tensor is given that: a sparsity, 0 .. 1, or what else the
     * caller divides. */
    organ_status (*make)(void *context, const organ_along_matrix *matrix, double given, float *weights,
                         organ_error *error);
    uint64_t (*memory)(void *context, const organ_tensor *tensor); /* as of organ_curves_work */
    /* What the two can exchange within the budget; false: nothing. NULL: zeros, by the curves over sparsities. */
    bool (*propose)(void *context, size_t one, size_t other, organ_exchange *made);
    /* The calibrations of a layer are gone. NULL: nothing. */
    void (*forget)(void *context);
} organ_exchanges_work;

typedef struct organ_exchanges_options {
    organ_along_options walk; /* of the donor: streams are set here */
    size_t tokens;            /* that divergences are taken on, at least */
    size_t rounds;
    uint64_t seed; /* of the pairs */
} organ_exchanges_options;

/* What came of them. */
typedef struct organ_exchanges_report {
    size_t tried, taken;  /* exchanges; of those that were taken some may have been given up again */
    double before, after; /* nats a token: of the division, and of what it has become; after is not above before */
} organ_exchanges_report;

typedef struct organ_exchanges organ_exchanges;

/* Opens the walk; everything must outlive it. To be closed whatever it returns. `of` says to which tensor of the
 * allocation each target belongs. Errors of organ_along_open and organ_along_rest_cut. */
organ_status organ_exchanges_open(const organ_exchanges_options *options, const organ_model *model,
                                  const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                                  const organ_exchanges_work *work, const organ_engine *engine,
                                  const organ_progress *progress, organ_exchanges **exchanges, organ_error *error);
/* Adds the memory and the work of all rounds to a plan, as organ_curves_foresee. */
void organ_exchanges_foresee(const organ_exchanges *exchanges, const organ_plan_solve *solve, organ_plan *plan);
void organ_exchanges_close(organ_exchanges *exchanges); /* NULL is allowed */

/* Each round goes through the model once, and once more judges the last. What the tensors are given is changed; their
 * sum stays. */
organ_status organ_exchanges_run(organ_exchanges *exchanges, organ_exchanges_report *report, organ_error *error);

#endif
