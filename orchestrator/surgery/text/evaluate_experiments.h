/* SPDX-License-Identifier: MIT
 * That an evaluation has no two experiments in one table but under two names. */
#ifndef ORGAN_EVALUATE_EXPERIMENTS_H
#define ORGAN_EVALUATE_EXPERIMENTS_H

#include "formats/model/model.h"
#include "orchestrator/surgery/trial/evaluate_options.h"

#include <jansson.h>

/* `histories` has an object for each pruned model: "experiment" (organ_experiment_of its log, or null), "sparsity". A
 * model without a log of which weights were killed gets an experiment that knows nothing; then each experiment gets the
 * "name" that options->experiments has for its model. ORGAN_USAGE where two experiments, or one of another donor than
 * `donor`, are not named as such, where two have the same name, or where a name is for no model. */
organ_status organ_experiments_settle(const organ_evaluate_options *options, const organ_model *donor,
                                      json_t *histories, organ_error *error);

#endif
