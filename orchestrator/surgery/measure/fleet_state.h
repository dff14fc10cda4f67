/* SPDX-License-Identifier: MIT
 * OUT/fleet.json: what a run over a fleet leaves for the next one, which does only what changed. */
#ifndef ORGAN_FLEET_STATE_H
#define ORGAN_FLEET_STATE_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/measure/fleet_find.h"

#include <jansson.h>

/* An entry of the state that is no model: it is named, and neither taken apart nor measured. */
bool organ_fleet_is_other(const json_t *entry);

/* name -> {"identity", "dissection", "measure"} of the members that the last run knows, that have not changed since and
 * were whole; with `no_extract` it does not matter whether they were taken apart. Of several ranks the first looks.
 * Whatever is wrong with the file only means that everything is done anew. To be released. As organ_ranks_agree. */
organ_status organ_fleet_known(const char *output, bool no_extract, const organ_fleet_list *list, organ_ranks *ranks,
                               json_t **known, organ_error *error);

organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_error *error);

#endif
