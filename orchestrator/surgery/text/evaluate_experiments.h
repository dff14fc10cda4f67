/* SPDX-License-Identifier: MIT
 * Names the experiments of pruned models, so that an evaluation lists two experiments in one table only under two
 * names. */
#ifndef ORGAN_EVALUATE_EXPERIMENTS_H
#define ORGAN_EVALUATE_EXPERIMENTS_H

#include <organ/models.h>
#include <organ/evaluate.h>

#include <jansson.h>

/* Completes the experiment of each pruned model. `histories` has an object for each: "experiment" (organ_experiment_of
 * its log, or null) and "sparsity". A model without a log whose weights were killed gets an unknown experiment. Then
 * each experiment gets the "name" that options->experiments (NAME=MODEL) gives its model. Returns ORGAN_USAGE in three
 * cases: one of two different experiments has no name, or both have the same name; an experiment of another donor than
 * `donor` has no name; the MODEL of an option matches no model. */
organ_status organ_experiments_resolve(const organ_evaluate_options *options, const organ_model *donor,
                                       json_t *histories, organ_error *error);

#endif
