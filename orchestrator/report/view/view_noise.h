/* SPDX-License-Identifier: MIT
 * Fields and blocks shared by the views of organ.orthogonality/1 (noise against an adapter) and organ.noise_pairs/1
 * (noises of two pairs of models). */
#ifndef ORGAN_VIEW_NOISE_H
#define ORGAN_VIEW_NOISE_H

#include "orchestrator/report/blocks/blocks.h"

enum { EVERY_NOISE_MODULE = 1500 }; /* limit of lines of a table of modules on a page and in a Markdown file */

#define FIELD_PROJECTION FIELD_TEXT("projection", "projection", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)
#define FIELD_LAYER      FIELD_WORDS("layer", "{layer>-1?{layer}|none}", 0)

/* A column with the number of modules whose |z| is at most 3: their cosine is within three standard deviations of what
 * random matrices have. organ_noise_within_cell puts this number of `row` into the next cell of the table. */
#define FIELD_WITHIN FIELD_BY("|z|<=3", organ_noise_within_cell, 0)
void organ_noise_within_cell(organ_table *table, const json_t *row);

#define ABOUT_WEIGHTS "These figures describe weights. They do not predict the answers of a model."

/* A heat map of z by projection and layer. The row of the block has "places", an array with a row for each module.
 * `heading` are words for the title, `of` ("between noise and adapter") follows "cosine", `text` is the caption. */
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

/* A section with a table of "thresholds": the condition of each verdict. */
#define THRESHOLDS                                                                                                     \
    SECTION(ON_FILES, NULL, "Limits of the verdicts"), TERMS(ON_FILES, NULL, "thresholds", "verdict on", "condition")

#endif
