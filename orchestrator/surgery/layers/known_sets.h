/* SPDX-License-Identifier: MIT
 * What was measured of blocks, kept in a file: influences, and divergences of sets. A search that was ended goes on
 * with it, and one for another number of blocks begins with the influences. */
#ifndef ORGAN_LAYERS_KNOWN_SETS_H
#define ORGAN_LAYERS_KNOWN_SETS_H

#include "formats/base/status.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define ORGAN_LAYERS_SCORES_SCHEMA "organ.layers_scores/1"

typedef struct organ_layers_known {
    size_t layers, count, room;
    double *influence; /* of each layer; NULL: not known yet */
    bool *dropped;     /* flags of the sets, one behind the other */
    double *divergence;
} organ_layers_known;

/* What the file has; nothing where there is none, or `path` is NULL. `identity` is an object of what it all belongs to:
 * digests of model and text, and how it is cut. ORGAN_BAD_INPUT for what is no such document, ORGAN_USAGE where it
 * belongs to something else. To be released whatever it returns. */
organ_status organ_layers_known_read(organ_layers_known *known, size_t layers, const char *path, const json_t *identity,
                                     organ_error *error);
organ_status organ_layers_known_write(const organ_layers_known *known, const char *path, const json_t *identity,
                                      organ_error *error);
void organ_layers_known_release(organ_layers_known *known);

/* false: nobody has judged it. */
bool organ_layers_known_find(const organ_layers_known *known, const bool *dropped, double *divergence);
/* false without memory. */
bool organ_layers_known_add(organ_layers_known *known, const bool *dropped, double divergence);
bool organ_layers_known_influence(organ_layers_known *known, const double *influence);

/* The numbers of the blocks whose flags are set. NULL without memory. */
json_t *organ_layers_numbers_json(const bool *flags, size_t layers);

#endif
