/* SPDX-License-Identifier: MIT
 * One budget for all targets of a pruning: their curves, measured or read, and what each gets. */
#ifndef ORGAN_PRUNE_ALLOCATION_H
#define ORGAN_PRUNE_ALLOCATION_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include "orchestrator/surgery/calibrated/calibrated_options.h"
#include "orchestrator/surgery/calibrated/prune_matrix.h"
#include "orchestrator/surgery/prune/method.h"

typedef struct organ_prune_allocation organ_prune_allocation;

/* Whether the options go together, and the budget: its amount is 0 without --allocate, and it is in percent where
 * nothing becomes codes. `sparsity` is what --sparsity says, not above 0: nothing. ORGAN_USAGE. */
organ_status organ_prune_allocation_check(const organ_prune_calibrated_options *options, double sparsity,
                                          organ_budget *budget, organ_error *error);

/* Reads the curves of --allocation, or opens what measures them: whether memory and text are enough is known then.
 * `wish` is how a matrix is pruned, but for name and sparsity; `by_weight`: as if all its inputs were alike. The job is
 * open; everything must outlive it. To be closed whatever it returns. */
organ_status organ_prune_allocation_open(const organ_prune_calibrated_options *options,
                                         const organ_prune_matrix_options *wish, bool by_weight, organ_prune_job *job,
                                         double budget, organ_prune_allocation **allocation, organ_error *error);
/* Adds its memory and work to a plan. `solve` is the work on a matrix. */
void organ_prune_allocation_foresee(const organ_prune_allocation *allocation, const organ_plan_solve *solve,
                                    organ_plan *plan);
void organ_prune_allocation_close(organ_prune_allocation *allocation); /* NULL is allowed */

/* Measures what is not known, keeps it in the journal of the run and in the file, and divides the budget: job->shares.
 */
organ_status organ_prune_allocation_run(organ_prune_allocation *allocation, organ_error *error);

/* "allocation" of the document; NULL without memory. */
json_t *organ_prune_allocation_json(const organ_prune_allocation *allocation);
/* The same for what a continued run must agree with. */
json_t *organ_prune_allocation_parameters(const organ_prune_calibrated_options *options, double budget);

#endif
