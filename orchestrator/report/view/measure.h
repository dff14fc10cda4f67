/* SPDX-License-Identifier: MIT
 * What the views of a measurement and of a fleet share. Blocks are about an organ.measure/1. */
#ifndef ORGAN_MEASURE_VIEW_H
#define ORGAN_MEASURE_VIEW_H

#include "orchestrator/report/blocks/blocks.h"

/* What no reader of theta may miss. */
#define MEASURE_CAUTION                                                                                                \
    "theta tells how far the distribution of the values is from noise. A higher theta is no evidence of a better "     \
    "model: damage can raise "                                                                                         \
    "it."

/* Of several models on a page: the figures on top, how they stand beside each other, and a section for each of them. */
enum { ORGAN_MEASURE_MERITS_BLOCKS = 1, ORGAN_MEASURE_FLEET_BLOCKS = 2, ORGAN_MEASURE_MODELS_BLOCKS = 1 };
extern const organ_block organ_measure_merits_blocks[ORGAN_MEASURE_MERITS_BLOCKS];
extern const organ_block organ_measure_fleet_blocks[ORGAN_MEASURE_FLEET_BLOCKS];
extern const organ_block organ_measure_models_blocks[ORGAN_MEASURE_MODELS_BLOCKS];

/* The tables of several models. */
enum { ORGAN_RANKING_FIELDS = 7, ORGAN_GROUP_FIELDS = 6 };
extern const organ_field organ_ranking_fields[ORGAN_RANKING_FIELDS], organ_group_fields[ORGAN_GROUP_FIELDS];

/* What lies among the models and is none, a member "others" of both documents: a table. */
#define OTHERS_FIELDS                                                                                                  \
    FIELD_TEXT("no model, not ranked", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),                               \
        FIELD_TEXT("what it is", "kind", 0), FIELD_BYTES("size", "bytes")

#endif
