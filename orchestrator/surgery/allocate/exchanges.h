/* SPDX-License-Identifier: MIT
 * Rounds of exchanges after a budget was divided. In an exchange one tensor gets fewer zeros, and another one as many
 * more. Exchanges are tried on the whole model, with every matrix changed on its inputs in the donor; exchanges that
 * lower the divergence from the donor are kept. */
#ifndef ORGAN_EXCHANGES_H
#define ORGAN_EXCHANGES_H

#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/calibration/calibration_run.h"

/* An exchange between two tensors of an allocation, given by their indices. */
typedef struct organ_exchange {
    size_t more, less; /* the tensor whose value rises, and the tensor whose value falls */
    double up, down;   /* values (organ_allocation_tensor.sparsity) of `more` and of `less` after the exchange */
} organ_exchange;

/* Functions of the caller: how weights change, and which exchanges are possible. */
typedef struct organ_exchanges_work {
    void *context;
    /* Replaces the donor's `weights` by those that the matrix gets if `given` is the value of its tensor: a sparsity, 0
     * .. 1, or a value of another quantity that the caller divides. */
    organ_status (*make)(void *context, const organ_calibration_matrix *matrix, double given, float *weights,
                         organ_error *error);
    uint64_t (*memory)(void *context, const organ_tensor *tensor); /* organ_curves_work.memory */
    /* Proposes an exchange between tensors `one` and `other` that keeps the budget; returns false if there is none.
     * NULL: exchanges of zeros, by the curves over sparsities. */
    bool (*propose)(void *context, size_t one, size_t other, organ_exchange *made);
    /* Called when the calibrations of a layer are released. May be NULL. */
    void (*forget)(void *context);
} organ_exchanges_work;

typedef struct organ_exchanges_options {
    organ_calibration_run_options walk; /* calibration on the donor: `streams` is set here */
    size_t tokens;                      /* least number of tokens for divergences */
    size_t rounds;
    uint64_t seed; /* seed of the random pairs */
} organ_exchanges_options;

typedef struct organ_exchanges_report {
    size_t tried, taken;  /* how many were tried and accepted; some accepted ones may have been reverted later */
    double before, after; /* nats per token of the division before and after the exchanges; after <= before */
} organ_exchanges_report;

typedef struct organ_exchanges organ_exchanges;

/* Opens the walk, the run of the calibration text through the model, and cuts the test windows for divergences. All
 * arguments must outlive *exchanges, which the caller closes also after an error. of[k] is the tensor of target k.
 * Returns the errors of organ_calibration_run_open and organ_calibration_cut_test_windows. */
organ_status organ_exchanges_open(const organ_exchanges_options *options, const organ_model *model,
                                  const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                                  const organ_exchanges_work *work, const organ_engine *engine,
                                  const organ_progress *progress, organ_exchanges **exchanges, organ_error *error);
/* Adds the work of all rounds to a plan, and raises the plan's memory to what a round needs. `solve` is the work of
 * changing one matrix once. */
void organ_exchanges_estimate(const organ_exchanges *exchanges, const organ_plan_solve *solve, organ_plan *plan);
void organ_exchanges_close(organ_exchanges *exchanges); /* NULL is allowed */

/* Runs all rounds: the model runs once in each round, and a last time to measure the result. Sets the sparsity of
 * tensors to the best division that was measured. The sum of sparsity x elements stays equal. */
organ_status organ_exchanges_run(organ_exchanges *exchanges, organ_exchanges_report *report, organ_error *error);

#endif
