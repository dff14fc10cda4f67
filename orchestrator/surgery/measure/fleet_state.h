/* SPDX-License-Identifier: MIT
 * Reads and writes OUT/fleet.json: the results of a run over a fleet, with which the next run processes only changed
 * models. */
#ifndef ORGAN_FLEET_STATE_H
#define ORGAN_FLEET_STATE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/measure/fleet_find.h"

#include <jansson.h>

/* Returns whether an entry of the state is of a file that is not a model: it is listed, but neither dissected nor
 * measured. */
bool organ_fleet_is_other(const json_t *entry);

/* Sets *known to {NAME: {"identity", "dissection", "measure"}} of members that the last run completed and that have not
 * changed; with `no_extract` they need not be dissected. Rank 0 reads the file. If the file is invalid, *known is
 * empty, so everything is processed again. The caller releases *known. Returns errors as organ_ranks_agree. */
organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error);

/* Writes the results of all members so far, on rank 0. Returns ORGAN_IO if it cannot. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, const organ_ranks *ranks,
                                     organ_error *error);

#endif
