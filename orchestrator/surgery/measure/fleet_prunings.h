/* SPDX-License-Identifier: MIT
 * What a fleet says of the pruned models in it, as their logs have it: each experiment by itself. */
#ifndef ORGAN_FLEET_PRUNINGS_H
#define ORGAN_FLEET_PRUNINGS_H

#include "formats/model/model.h"

#include <jansson.h>

/* {"experiment", "target", "full"} of the log beside a model (organ/prune.json); null where there is none; {"fault"}
 * where it is no log. NULL without memory. */
json_t *organ_fleet_pruning(const organ_model *model);

/* Adds to the report of a fleet, whose "models" may have a "pruning" each: "prunings", an array of {"experiment",
 * "words", "models":
 * [{"name", "target", "full"}]}, and "errata". -1 without memory. */
int organ_fleet_tell_prunings(json_t *report);

#endif
