/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/noise_fields.h"

#include "orchestrator/report/text/document.h"

#include <stdint.h>

void organ_noise_layer_cell(organ_table *table, const json_t *row)
{
    const json_t *const layer = json_object_get(row, "layer");
    if (json_is_integer(layer))
        organ_table_cell(table, "%lld", (long long)json_integer_value(layer));
    else
        organ_table_cell(table, "none");
}

void organ_noise_within_cell(organ_table *table, const json_t *row)
{
    organ_table_cell(table, "%llu", organ_json_count(row, "with_cosine") - organ_json_count(row, "beyond"));
}

organ_table *organ_noise_folds_table(const json_t *object, const char *rows, const organ_field *fields, size_t count)
{
    organ_table *const table = organ_field_table(fields, count, organ_json_at(object, rows), SIZE_MAX);
    organ_field_total(table, fields, count, "all", organ_json_at(object, "total"));
    return table;
}
