/* SPDX-License-Identifier: MIT
 * A value for every role in every layer, collected tensor by tensor. Heat maps and line charts over the layers are
 * drawn from it. */
#ifndef ORGAN_LAYER_MAP_H
#define ORGAN_LAYER_MAP_H

#include "orchestrator/report/svg/svg.h"

#include <jansson.h>

#define ORGAN_LAYER_MAP_ROLES 32 /* limit of roles; further ones count as the last, unless in_order_of_rows */

typedef struct organ_layer_map_note organ_layer_map_note;

/* The rule that combines several values of one cell. */
typedef enum organ_layer_map_fold { ORGAN_FOLD_MEAN, ORGAN_FOLD_MIN, ORGAN_FOLD_MAX } organ_layer_map_fold;

/* A value for every role in every layer. The caller sets the first two members before it adds values;
 * organ_layer_map_finish computes the others. */
typedef struct organ_layer_map {
    organ_layer_map_fold fold;
    /* keep roles in the order of their first values, and ignore all after the first ORGAN_LAYER_MAP_ROLES */
    bool in_order_of_rows;
    size_t layers, roles; /* their numbers; 0: the map is empty */
    bool outside;         /* the last layer stands for the tensors outside layers, and `layers` includes it */
    double *layer; /* numbers of the layers, ascending; with `outside` the last is one more than its predecessor */
    const char *role[ORGAN_LAYER_MAP_ROLES]; /* in the order of a layer's computation, unless in_order_of_rows */
    double *value;                           /* [roles][layers]; NAN: no such tensor */
    bool *marked;                            /* [roles][layers]: the cell is outlined */
    organ_layer_map_note *notes;             /* the values and marks that were added: an array of `count` */
    size_t count, capacity;                  /* capacity: allocated length of `notes` */
    bool failed;                             /* memory ran out */
} organ_layer_map;

/* Returns the member "layer" of a row; -1: the row belongs to no layer. */
long long organ_row_layer(const json_t *row);

/* Creates an empty map; NULL if out of memory. All functions below accept NULL and then do nothing or draw no chart. */
organ_layer_map *organ_layer_map_create(void);
void organ_layer_map_destroy(organ_layer_map *map);

/* Adds the value of one tensor to the cell of its layer and role; layer < 0: outside the layers. Values of the same
 * cell are combined by `fold`; a mean is weighted by `weight`, which is above 0. A value that is NAN (for a mean, also
 * an infinite one) only creates the cell. `role` must outlive the map. */
void organ_layer_map_add(organ_layer_map *map, long long layer, const char *role, double value, double weight);

/* Outlines the cell of a layer and role, which is created if it has no value. */
void organ_layer_map_mark(organ_layer_map *map, long long layer, const char *role);

/* Computes the layers, roles and values; no value may be added afterwards. Returns false if out of memory or if the map
 * is empty. */
bool organ_layer_map_finish(organ_layer_map *map);

/* Returns an SVG document with roles as rows and layers as columns. Takes layers, roles, values and marks from the map;
 * the columns are labelled "layer". Takes all other words, and the scale, from `style` (row_label NULL: "role").
 * Returns NULL if memory ran out or the map has no cells. */
char *organ_layer_map_svg(const organ_layer_map *map, const organ_heat_map *style);

#endif
