/* SPDX-License-Identifier: MIT
 * A value for every role in every layer, gathered tensor by tensor: what the heat maps and the lines through the layers
 * are drawn from. */
#ifndef ORGAN_LAYER_MAP_H
#define ORGAN_LAYER_MAP_H

#include "orchestrator/report/svg/svg.h"

#include <jansson.h>

#define ORGAN_LAYER_MAP_ROLES 32 /* what has yet another role counts as the last of these */

typedef struct organ_layer_map_note organ_layer_map_note;

/* What several values of one cell become. */
typedef enum organ_layer_map_fold { ORGAN_FOLD_MEAN, ORGAN_FOLD_LEAST, ORGAN_FOLD_MOST } organ_layer_map_fold;

/* The first two are the caller's, before anything is added; the others are there after organ_layer_map_settle. */
typedef struct organ_layer_map {
    organ_layer_map_fold fold;
    bool as_met;          /* roles in the order in which they come, and none beyond the first ORGAN_LAYER_MAP_ROLES */
    size_t layers, roles; /* 0: nothing was added */
    bool outside;         /* the last of `layers` stands for what is in no layer */
    double *layer;        /* their numbers, ascending; of `outside` one more than the last */
    const char *role[ORGAN_LAYER_MAP_ROLES]; /* in the order of the anatomy, unless as_met */
    double *value;                           /* roles x layers; NAN: no such tensor */
    bool *marked;                            /* the same shape */
    organ_layer_map_note *notes;
    size_t count, room;
    bool failed;
} organ_layer_map;

/* The "layer" of a row; -1: it stands in none. */
long long organ_row_layer(const json_t *row);

/* NULL without memory, which the functions below accept: then there is no chart. */
organ_layer_map *organ_layer_map_create(void);
void organ_layer_map_destroy(organ_layer_map *map);

/* One tensor: values of the same cell become one, a mean by weight, which is above 0. What is no number, for a mean
 * what is not finite, only makes the cell known. layer < 0: none. `role` must outlive the map. */
void organ_layer_map_add(organ_layer_map *map, long long layer, const char *role, double value, double weight);

/* The cell gets an outline. */
void organ_layer_map_mark(organ_layer_map *map, long long layer, const char *role);

/* Nothing can be added any more. false without memory, or if there is nothing to show. */
bool organ_layer_map_settle(organ_layer_map *map);

/* Roles downwards, layers across. `look` has the words and the scale, for rows "role" if it has no row_label; layers,
 * roles, values and marks come from the map. NULL without memory or cells. */
char *organ_layer_map_svg(const organ_layer_map *map, const organ_heat_map *look);

#endif
