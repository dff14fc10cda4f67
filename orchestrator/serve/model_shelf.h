/* SPDX-License-Identifier: MIT
 * What is known of the models below the root, kept as long as their files stay as they are. Any thread; may wait for the disk. */
#ifndef ORGAN_MODEL_SHELF_H
#define ORGAN_MODEL_SHELF_H

#include "orchestrator/serve/jail.h"

#include <jansson.h>

typedef struct organ_shelf organ_shelf;

organ_shelf *organ_shelf_create(const organ_jail *jail); /* NULL without memory */
void organ_shelf_destroy(organ_shelf *shelf);            /* NULL is allowed */

/* The models whose paths have `search` in them (NULL: all), in the order of their paths, as {path, kind, bytes, files, modified}: `limit`
 * of them from `offset` on. *total is how many there are, *cut whether more lies below the root than is looked at. The list is at most two
 * seconds old. Released by the caller; NULL after an error. */
json_t *organ_shelf_list(organ_shelf *shelf, const char *search, size_t offset, size_t limit, size_t *total, bool *cut, organ_error *error);

/* The model at a path: {path, format, architecture, model_type, dtypes, layers, tensors, elements, bytes, files, problems, anatomy,
 * inspect, list}: "inspect" is organ.inspect/1 but for its tensors, "list" those; "anatomy" sums them by layer and role. It is shared:
 * not to be changed, and given back with organ_shelf_release after everything that was made of it. 0, or the HTTP status that fits: those
 * of organ_jail_input, 422 for what is no model or malformed. */
unsigned organ_shelf_model(organ_shelf *shelf, const char *path, json_t **model, organ_error *error);
void organ_shelf_release(organ_shelf *shelf, json_t *model); /* NULL is allowed */

/* {format, architecture, tensors, elements, bytes, files} of it, or {fault}; to be released. NULL without memory. */
json_t *organ_shelf_summary(organ_shelf *shelf, const char *path);

#endif
