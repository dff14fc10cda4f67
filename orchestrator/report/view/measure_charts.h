/* SPDX-License-Identifier: MIT
 * The figures of a measurement. `model` is an entry of report.models of an organ.measure/1. Each is an SVG document for the caller to free;
 * NULL without memory. */
#ifndef ORGAN_MEASURE_CHARTS_H
#define ORGAN_MEASURE_CHARTS_H

#include "orchestrator/report/blocks/layer_map.h"
#include "orchestrator/report/view/measure_kin.h"

/* Mean theta by layer and role of what stands in a layer, wells outlined; settled. */
organ_layer_map *organ_measure_map(const json_t *model);

char *organ_measure_map_svg(const organ_layer_map *map);

/* Lines per role through the layers, for one part of the body, and whether any role is of that part. */
typedef enum organ_line_part { ORGAN_LINES_ATTENTION, ORGAN_LINES_FEED, ORGAN_LINES_REST, ORGAN_LINES_PARTS } organ_line_part;
bool organ_measure_has_lines(const organ_layer_map *map, organ_line_part part);
char *organ_measure_lines_svg(const organ_layer_map *map, organ_line_part part);

/* The same by part of the body alone, from model.layers. */
char *organ_measure_parts_svg(const json_t *model);

/* Bars: mean theta of every role, with whiskers from the least to the most. */
char *organ_measure_roles_svg(const json_t *model);

/* A point a tensor, E against `key` ("K" or "C"), both with the name of what they tell. Of more than `most` tensors: a point for the mean
 * of every role in every layer. */
char *organ_measure_indicators_svg(const json_t *model, const char *key, const char *label, size_t most);

/* ---- of several models; `kin` and `order` as organ_measure_kin makes them ---- */

char *organ_measure_ranking_svg(const json_t *models, const organ_kin *kin, const size_t *order);
char *organ_measure_groups_svg(const json_t *models, const size_t *order);
char *organ_measure_depths_svg(const json_t *models, const size_t *order);
char *organ_measure_bodies_svg(const json_t *models, const organ_kin *kin);
char *organ_measure_sizes_svg(const json_t *models, const organ_kin *kin);

/* Whether the models are of different size, so that the last of these tells something. */
bool organ_measure_sizes_differ(const json_t *models);

#endif
