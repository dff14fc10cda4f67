/* SPDX-License-Identifier: MIT
 * Fields that tables of noises share: of orthogonality and of two pairs. */
#ifndef ORGAN_NOISE_FIELDS_H
#define ORGAN_NOISE_FIELDS_H

#include "orchestrator/report/text/field_table.h"

/* The layer of a row, or "none"; how many of its modules lie within three deviations of chance. */
void organ_noise_layer_cell(organ_table *table, const json_t *row);
void organ_noise_within_cell(organ_table *table, const json_t *row);

#define FIELD_PROJECTION FIELD_TEXT("projection", "projection", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)
#define FIELD_LAYER      FIELD_BY("layer", organ_noise_layer_cell, 0)
#define FIELD_WITHIN     FIELD_BY("|z|<=3", organ_noise_within_cell, 0)

/* A row for each of object.`rows`, and object.total. */
organ_table *organ_noise_folds_table(const json_t *object, const char *rows, const organ_field *fields, size_t count);

#endif
