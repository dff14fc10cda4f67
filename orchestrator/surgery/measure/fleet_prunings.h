/* SPDX-License-Identifier: MIT
 * Summarises the pruned models of a fleet from their logs. Models are grouped by experiment: the method and parameters
 * of the pruning. */
#ifndef ORGAN_FLEET_PRUNINGS_H
#define ORGAN_FLEET_PRUNINGS_H

#include <organ/models.h>

#include <jansson.h>

/* Returns {"experiment", "target", "full"} from the pruning log of a model (organ/prune.json): method and parameters,
 * and the share of killed weights among the targets and in the whole model. Returns null if there is no log, {"fault"}
 * with the reason if the log is invalid, NULL if out of memory. */
json_t *organ_fleet_pruning(const organ_model *model);

/* Adds "prunings", an array of {"experiment", "words", "models": [{"name", "target", "full"}]}, and "errata" to the
 * report of a fleet, from the member "pruning" of its "models". Returns 0, or another number if out of memory. */
int organ_fleet_report_prunings(json_t *report);

#endif
