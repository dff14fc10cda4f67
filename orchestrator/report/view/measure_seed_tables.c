/* SPDX-License-Identifier: MIT
 * The tables of the older measure beside z/1. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_report.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void real_cell(organ_table *table, const json_t *row, const char *key, int decimals)
{
    const json_t *const value = json_object_get(row, key);
    if (json_is_number(value))
        organ_table_cell(table, "%.*f", decimals, json_number_value(value));
    else
        organ_table_cell(table, "-");
}

static void fold_cells(organ_table *table, const char *name, const json_t *row)
{
    organ_table_cell(table, "%s", name);
    organ_table_count(table, organ_json_count(row, "tensors"));
    real_cell(table, row, "theta_mean", 2);
    real_cell(table, row, "theta_min", 2);
    real_cell(table, row, "theta_max", 2);
    real_cell(table, row, "signal_mean", 3);
    real_cell(table, row, "z_theta_mean", 2);
}

#define FOLD_COLUMNS                                                                                                                       \
    {"tensors", ORGAN_RIGHT, false, false}, {"seed theta", ORGAN_RIGHT, false, false}, {"min", ORGAN_RIGHT, false, false},                 \
        {"max", ORGAN_RIGHT, false, false}, {"signal", ORGAN_RIGHT, false, false},                                                         \
    {                                                                                                                                      \
        "z/1 theta", ORGAN_RIGHT, false, false                                                                                             \
    }

organ_table *organ_measure_seed_table(const json_t *model)
{
    static const organ_column columns[] = {{"seed/1 by role", ORGAN_LEFT, false, false}, FOLD_COLUMNS};
    static const struct {
        const char *rows, *key;
    } parts[] = {{"seed.roles", "role"}, {"seed.groups", "group"}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    for (size_t p = 0; p < COUNT(parts); p++) {
        const json_t *const rows = organ_json_at(model, parts[p].rows);
        for (size_t k = 0; k < json_array_size(rows); k++)
            fold_cells(table, organ_json_text(json_array_get(rows, k), parts[p].key), json_array_get(rows, k));
        if (p == 0)
            organ_table_totals(table);
    }
    fold_cells(table, "all", organ_json_at(model, "seed"));
    return table;
}

organ_table *organ_measure_seed_ranking_table(const json_t *report)
{
    static const organ_column columns[] = {{"seed/1 of model", ORGAN_LEFT, true, false}, FOLD_COLUMNS};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const models = organ_json_at(report, "models");
    for (size_t k = 0; k < json_array_size(models); k++)
        fold_cells(table, organ_json_text(json_array_get(models, k), "model.name"), organ_json_at(json_array_get(models, k), "seed"));
    return table;
}

organ_table *organ_measure_seed_tensors_table(const json_t *model)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true},      {"seed theta", ORGAN_RIGHT, false, false},
                                           {"E", ORGAN_RIGHT, false, false},        {"K", ORGAN_RIGHT, false, false},
                                           {"C", ORGAN_RIGHT, false, false},        {"dI/dlog2s", ORGAN_RIGHT, false, false},
                                           {"z/1 theta", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const rows = organ_json_at(model, "seed.per_tensor");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_cell(table, "%s", organ_json_text(row, "name"));
        real_cell(table, row, "theta", 2);
        real_cell(table, row, "E", 3);
        real_cell(table, row, "K", 3);
        real_cell(table, row, "C", 3);
        real_cell(table, row, "dI_dlog2s", 3);
        real_cell(table, row, "z_theta", 2);
    }
    return table;
}
