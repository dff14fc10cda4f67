/* SPDX-License-Identifier: MIT
 * Blocks and fields shared by the views of a measurement (organ.measure/1) and of a fleet (organ.fleet/1). The blocks'
 * row is an organ.measure/1. */
#ifndef ORGAN_VIEW_MEASURE_H
#define ORGAN_VIEW_MEASURE_H

#include "orchestrator/report/blocks/blocks.h"

/* A warning that every report with theta has. */
#define MEASURE_CAUTION                                                                                                \
    "theta measures how far the distribution of the values is from noise. A higher theta is no evidence of a better "  \
    "model: damage can raise "                                                                                         \
    "it."

/* Blocks of a page about several models: HIGHLIGHT are the main results, FLEET compares the models, MODELS has a
 * section for each model. */
enum { ORGAN_MEASURE_HIGHLIGHT_BLOCKS = 1, ORGAN_MEASURE_FLEET_BLOCKS = 2, ORGAN_MEASURE_MODELS_BLOCKS = 1 };
extern const organ_block organ_measure_highlight_blocks[ORGAN_MEASURE_HIGHLIGHT_BLOCKS];
extern const organ_block organ_measure_fleet_blocks[ORGAN_MEASURE_FLEET_BLOCKS];
extern const organ_block organ_measure_models_blocks[ORGAN_MEASURE_MODELS_BLOCKS];

/* Columns of two tables with a line for each model: the ranking by theta, and the mean theta of each group. */
enum { ORGAN_RANKING_FIELDS = 7, ORGAN_GROUP_FIELDS = 6 };
extern const organ_field organ_ranking_fields[ORGAN_RANKING_FIELDS], organ_group_fields[ORGAN_GROUP_FIELDS];

/* Columns of a table of "others", a member of both reports: files and directories among the models that are not
 * models. */
#define OTHERS_FIELDS                                                                                                  \
    FIELD_TEXT("not a model, not ranked", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),                            \
        FIELD_TEXT("kind", "kind", 0), FIELD_BYTES("size", "bytes")

#endif
