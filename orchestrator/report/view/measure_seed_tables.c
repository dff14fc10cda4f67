/* SPDX-License-Identifier: MIT
 * The tables of the older measure beside z/1. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/view/measure_report.h"

#include <stdint.h>

/* What a fold of tensors has; `object` leads to it from a row. */
#define FOLD_FIELDS(object)                                                                                                                \
    FIELD_COUNT("tensors", object "tensors"), FIELD_FIXED("seed theta", object "theta_mean", 2),                                           \
        FIELD_FIXED("min", object "theta_min", 2), FIELD_FIXED("max", object "theta_max", 2),                                              \
        FIELD_FIXED("signal", object "signal_mean", 3), FIELD_FIXED("z/1 theta", object "z_theta_mean", 2)

organ_table *organ_measure_seed_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_TEXT("seed/1 by role", "role", 0), FOLD_FIELDS("")};
    organ_table *const table = organ_field_table(FIELD_LIST(fields), organ_json_at(model, "seed.roles"), SIZE_MAX);
    organ_table_totals(table);
    organ_field_rows(table, FIELD_LIST(fields), "group", organ_json_at(model, "seed.groups"));
    organ_field_row(table, FIELD_LIST(fields), "all", organ_json_at(model, "seed"));
    return table;
}

organ_table *organ_measure_seed_ranking_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("seed/1 of model", "model.name", ORGAN_FIELD_SHORTENS), FOLD_FIELDS("seed.")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "models"), SIZE_MAX);
}

organ_table *organ_measure_seed_tensors_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_FIXED("seed theta", "theta", 2),
                                         FIELD_FIXED("E", "E", 3),
                                         FIELD_FIXED("K", "K", 3),
                                         FIELD_FIXED("C", "C", 3),
                                         FIELD_FIXED("dI/dlog2s", "dI_dlog2s", 3),
                                         FIELD_FIXED("z/1 theta", "z_theta", 2)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(model, "seed.per_tensor"), SIZE_MAX);
}
