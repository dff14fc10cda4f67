/* SPDX-License-Identifier: MIT
 * Reads and writes OUT/fleet.json: the results of a run over a fleet, with which the next run processes only changed
 * models. */
#ifndef ORGAN_FLEET_STATE_H
#define ORGAN_FLEET_STATE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/measure/fleet_find.h"

#include <jansson.h>

/* Returns whether `entry`, the results of one member of the fleet, is of a file that is not a model, such as an adapter
 * (organ_fleet_kind): the status of its dissection is "apart". Such a file is listed, but neither extracted nor
 * measured. */
bool organ_fleet_is_other(const json_t *entry);

/* Sets *known to {NAME: {"identity", "dissection", "measure"}} of the members of `list` that an earlier run completed
 * and that have not changed. Unless `no_extract` is set, their extracted folders must exist. Rank 0 reads the file and
 * sends the entries to the other ranks. If the file is missing or invalid, *known is empty, so everything is processed
 * again. The caller releases *known. Returns ORGAN_IO if memory runs out, and the errors of organ_ranks_gather. */
organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error);

/* Returns ORGAN_USAGE if OUTPUT/fleet.json exists and is no document of this program. */
organ_status organ_fleet_state_check(const char *output, organ_error *error);

/* Writes `state`, the results of all members so far, on rank 0; does nothing on other ranks. Returns ORGAN_IO if the
 * file cannot be written. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_ranks *ranks, organ_error *error);

#endif
