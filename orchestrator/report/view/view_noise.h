/* SPDX-License-Identifier: MIT
 * Fields and blocks shared by the views of orthogonality and of noise pairs. */
#ifndef ORGAN_VIEW_NOISE_H
#define ORGAN_VIEW_NOISE_H

#include "orchestrator/report/blocks/blocks.h"

enum { EVERY_NOISE_MODULE = 1500 }; /* rows of a table of modules on a page */

#define FIELD_PROJECTION FIELD_TEXT("projection", "projection", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)
#define FIELD_LAYER      FIELD_WORDS("layer", "{layer>-1?{layer}|none}", 0)

/* The number of a row's modules whose z is within three standard deviations of chance. */
#define FIELD_WITHIN FIELD_BY("|z|<=3", organ_noise_within_cell, 0)
void organ_noise_within_cell(organ_table *table, const json_t *row);

#define ABOUT_WEIGHTS "These figures describe weights. They do not predict the answers of a model."

/* z by projection and layer; `heading` is a template of the row that has the places. */
#define Z_MAP(heading, of, text)                                                                                       \
    MAP("places.*.z", "places",                                                                                        \
        .style = {.title = (heading),                                                                                  \
                  .subtitle = "z: cosine over its standard deviation by chance; 0 is the mean of random matrices",     \
                  .description = "z of the cosine " of " for each projection and layer. Beyond 3 is outlined.",        \
                  .row_label = "projection",                                                                           \
                  .value_label = "z",                                                                                  \
                  .mark_name = "beyond 3: rare by chance",                                                             \
                  .low = -6,                                                                                           \
                  .high = 6,                                                                                           \
                  .diverging = true},                                                                                  \
        .role = "projection", .value = "z", .beyond = 3, .inside = true, .caption = (text))

/* The tables where the verdicts begin. */
#define THRESHOLDS                                                                                                     \
    SECTION(ON_FILES, NULL, "Limits of the verdicts"), TERMS(ON_FILES, NULL, "thresholds", "verdict on", "condition")

#endif
