/* SPDX-License-Identifier: MIT
 * Warnings for documents with counts of killed weights: the nature of the method, the experiment to which the numbers
 * belong, the share of the targets that was counted, and the denominators of the percentages. */
#ifndef ORGAN_ERRATA_H
#define ORGAN_ERRATA_H

#include <jansson.h>
#include <stdbool.h>

/* Returns an array of sentences for a document organ.prune/1 that has "parameters", "calibration", "imatrix",
 * "compensates", "totals" and "experiment". NULL without memory. */
json_t *organ_errata_of_pruning(const json_t *log);

/* Returns the array of sentences for a document organ.audit/1, which reads no log. NULL without memory. */
json_t *organ_errata_of_audit(const json_t *audit, bool compensated);

/* Returns the sentences for a comparison of models: one for each different experiment (organ_experiment_of) in
 * `experiments`, with its method; "name" is the user's name of it. Without experiments the array is empty. */
json_t *organ_errata_of_experiments(const json_t *experiments);

#endif
