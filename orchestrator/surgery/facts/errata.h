/* SPDX-License-Identifier: MIT
 * Warnings for documents with counts of killed weights: what the method does, to which experiment the numbers belong,
 * which share of the targets was counted, and what the percentages are relative to. */
#ifndef ORGAN_ERRATA_H
#define ORGAN_ERRATA_H

#include <jansson.h>
#include <stdbool.h>

/* Returns an array of sentences for a document organ.prune/1 that has "parameters", "calibration", "imatrix",
 * "compensates", "totals" and "experiment". Returns NULL if memory cannot be allocated. */
json_t *organ_errata_of_pruning(const json_t *log);

/* Returns the array of sentences for a document organ.audit/1. An audit compares weights and takes no count
 * from a log of the pruning. `compensated`: kept weights differ from the donor's. Returns NULL if memory cannot be
 * allocated. */
json_t *organ_errata_of_audit(const json_t *audit, bool compensated);

/* Returns the sentences for a comparison of models: on the method of each experiment (organ_experiment_of) in
 * `experiments`, without repetition, a description of each experiment, and how to read the numbers. The member "name"
 * of an experiment is the name that the user gave it. The array is empty if there are no experiments. */
json_t *organ_errata_of_experiments(const json_t *experiments);

#endif
