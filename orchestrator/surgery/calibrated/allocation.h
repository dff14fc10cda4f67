/* SPDX-License-Identifier: MIT
 * Division of one budget of zeros among all targets of a pruning. The curve of a target is the divergence of the model
 * from the donor if only this target is pruned, at some sparsities. Curves are measured or read from a file. */
#ifndef ORGAN_PRUNE_ALLOCATION_H
#define ORGAN_PRUNE_ALLOCATION_H

#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/allocate/exchanges.h"
#include <organ/prune.h>
#include "orchestrator/surgery/calibrated/prune_matrix.h"
#include "orchestrator/surgery/prune/method.h"

typedef struct organ_prune_allocation organ_prune_allocation;

/* Checks the options of --allocate and sets *budget to the value of --budget or --sparsity. Its amount is 0 without
 * --allocate. Its unit is percent unless --then quantises the weights. `sparsity` is the value of --sparsity in
 * percent, or at most 0 if the option is absent. Returns ORGAN_USAGE if options do not fit together or a value is
 * invalid. */
organ_status organ_prune_allocation_check(const organ_prune_calibrated_options *options, double sparsity,
                                          organ_budget *budget, organ_error *error);

/* Opens the walk that measures the curves, and with --rounds also the exchanges. Both check memory and text. Then reads
 * the curves from the file of --allocation if it exists. `prune_options` describes how a matrix is pruned, except its
 * name and sparsity. `by_weight`: prune as if all inputs of a matrix had the same size. `budget` is a share of zeros, 0
 * .. 1. `job` is open, and all arguments must outlive *allocation, which the caller closes also after an error. Returns
 * errors of organ_curves_open, organ_exchanges_open and organ_allocation_read. */
organ_status organ_prune_allocation_open(const organ_prune_calibrated_options *options,
                                         const organ_prune_matrix_options *prune_options, bool by_weight,
                                         organ_prune_job *job, double budget, organ_prune_allocation **allocation,
                                         organ_error *error);
/* Adds the memory and the work of the division to the plan of a dry run. `solve` is the work of pruning a matrix once.
 */
void organ_prune_allocation_estimate(const organ_prune_allocation *allocation, const organ_plan_solve *solve,
                                     organ_plan *plan);
void organ_prune_allocation_close(organ_prune_allocation *allocation); /* NULL is allowed */

/* Measures missing curves, writes them to the journal of the run and to the file of --allocation, and divides the
 * budget: sets job->shares, the percentage of zeros of each target. job->run must be set. Returns errors of the
 * measurement and of writing. */
organ_status organ_prune_allocation_run(organ_prune_allocation *allocation, organ_error *error);

/* Returns the member "allocation" of the report; NULL if memory cannot be allocated. */
json_t *organ_prune_allocation_json(const organ_prune_allocation *allocation);
/* Returns the parameters of the division that a resumed run must repeat; NULL if memory cannot be allocated. `budget`
 * is a share of zeros. */
json_t *organ_prune_allocation_parameters(const organ_prune_calibrated_options *options, double budget);

#endif
