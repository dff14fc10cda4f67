/* SPDX-License-Identifier: MIT
 * What must be read with any count of killed weights, in one place: what the method is, which experiment the numbers
 * are of, what share of the targets was seen, and over which denominators percentages are. */
#ifndef ORGAN_ERRATA_H
#define ORGAN_ERRATA_H

#include <jansson.h>
#include <stdbool.h>

/* Sentences for a document organ.prune/1, of which "parameters", "calibration", "imatrix", "compensates", "totals" and
 * "experiment" are there. An array; NULL without memory. */
json_t *organ_errata_of_pruning(const json_t *log);

/* For an organ.audit/1, which reads no log. */
json_t *organ_errata_of_audit(const json_t *audit, bool compensated);

/* For models that stand beside each other: each experiment (organ_experiment_of) in `experiments` once, with its
 * method; a "name" member is the user's. Without an experiment there is nothing to read: an empty array. */
json_t *organ_errata_of_experiments(const json_t *experiments);

#endif
