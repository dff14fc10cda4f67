/* SPDX-License-Identifier: MIT
 * The tables of a measurement, for the terminal and for Markdown. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/measure_report.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A number with two or three decimals, or a dash where there is none. */
static void real_cell(organ_table *table, const json_t *object, const char *key, int decimals)
{
    const json_t *const value = json_object_get(object, key);
    if (json_is_number(value))
        organ_table_cell(table, "%.*f", decimals, json_number_value(value));
    else
        organ_table_cell(table, "-");
}

/* 1,234 or 123-4,567, with ">" before what is more than was counted. */
static void levels_cell(organ_table *table, const json_t *object, const char *from, const char *to)
{
    const unsigned long long least = organ_json_count(object, from), most = organ_json_count(object, to);
    const char *const more = json_is_true(json_object_get(object, "more_levels")) ? ">" : "";
    if (most == 0)
        organ_table_cell(table, "-");
    else if (least == most)
        organ_table_cell(table, "%s%llu", more, most);
    else
        organ_table_cell(table, "%llu-%s%llu", least, more, most);
}

/* 494M, 1.54B */
static void params_cell(organ_table *table, unsigned long long elements)
{
    static const char units[] = {'K', 'M', 'B', 'T'};
    double amount = (double)elements;
    size_t unit = 0;
    for (amount /= 1000; amount >= 999.5 && unit + 1 < sizeof units; amount /= 1000)
        unit++;
    if (elements < 1000)
        organ_table_cell(table, "%llu", elements);
    else
        organ_table_cell(table, "%.*f%c", amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0, amount, units[unit]);
}

organ_table *organ_measure_ranking_table(const json_t *report)
{
    static const organ_column columns[] = {{"#", ORGAN_RIGHT, false, false},           {"model", ORGAN_LEFT, true, false},
                                           {"params", ORGAN_RIGHT, false, false},      {"theta mean", ORGAN_RIGHT, false, false},
                                           {"by elements", ORGAN_RIGHT, false, false}, {"signal", ORGAN_RIGHT, false, false},
                                           {"tensors", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const models = organ_json_at(report, "models");
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k);
        organ_table_cell(table, "%zu", k + 1);
        organ_table_cell(table, "%s", organ_json_text(model, "model.name"));
        params_cell(table, organ_json_count(model, "elements"));
        real_cell(table, model, "theta_mean", 2);
        real_cell(table, model, "theta_weighted", 2);
        real_cell(table, model, "signal_mean", 3);
        organ_table_count(table, organ_json_count(model, "with_theta"));
    }
    return table;
}

static const char *const group_names[] = {"skeleton", "organ", "embed", "norm", "other"};

static const json_t *group_row(const json_t *model, const char *name)
{
    const json_t *const groups = organ_json_at(model, "groups");
    for (size_t k = 0; k < json_array_size(groups); k++)
        if (strcmp(organ_json_text(json_array_get(groups, k), "group"), name) == 0)
            return json_array_get(groups, k);
    return NULL;
}

organ_table *organ_measure_groups_table(const json_t *report)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, false},   {"skeleton", ORGAN_RIGHT, false, false},
                                           {"organ", ORGAN_RIGHT, false, false}, {"embed", ORGAN_RIGHT, false, false},
                                           {"norm", ORGAN_RIGHT, false, false},  {"other", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const models = organ_json_at(report, "models");
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *const model = json_array_get(models, k);
        organ_table_cell(table, "%s", organ_json_text(model, "model.name"));
        for (size_t g = 0; g < COUNT(group_names); g++)
            real_cell(table, group_row(model, group_names[g]), "theta_mean", 2);
    }
    return table;
}

static void fold_cells(organ_table *table, const json_t *row)
{
    organ_table_count(table, organ_json_count(row, "tensors"));
    real_cell(table, row, "theta_mean", 2);
    real_cell(table, row, "theta_weighted", 2);
    real_cell(table, row, "theta_min", 2);
    real_cell(table, row, "theta_max", 2);
    real_cell(table, row, "signal_mean", 3);
    levels_cell(table, row, "levels_min", "levels_max");
}

organ_table *organ_measure_roles_table(const json_t *model)
{
    static const organ_column columns[] = {{"role", ORGAN_LEFT, false, false},        {"tensors", ORGAN_RIGHT, false, false},
                                           {"theta mean", ORGAN_RIGHT, false, false}, {"by elements", ORGAN_RIGHT, false, false},
                                           {"min", ORGAN_RIGHT, false, false},        {"max", ORGAN_RIGHT, false, false},
                                           {"signal", ORGAN_RIGHT, false, false},     {"levels", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const roles = organ_json_at(model, "roles"), *const groups = organ_json_at(model, "groups");
    for (size_t k = 0; k < json_array_size(roles); k++) {
        organ_table_cell(table, "%s", organ_json_text(json_array_get(roles, k), "role"));
        fold_cells(table, json_array_get(roles, k));
    }
    organ_table_totals(table);
    for (size_t k = 0; k < json_array_size(groups); k++) {
        organ_table_cell(table, "%s", organ_json_text(json_array_get(groups, k), "group"));
        fold_cells(table, json_array_get(groups, k));
    }
    organ_table_cell(table, "all");
    fold_cells(table, model);
    return table;
}

organ_table *organ_measure_layers_table(const json_t *model)
{
    static const organ_column columns[] = {{"layer", ORGAN_RIGHT, false, false},      {"tensors", ORGAN_RIGHT, false, false},
                                           {"theta mean", ORGAN_RIGHT, false, false}, {"by elements", ORGAN_RIGHT, false, false},
                                           {"skeleton", ORGAN_RIGHT, false, false},   {"organ", ORGAN_RIGHT, false, false},
                                           {"norm", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const layers = organ_json_at(model, "layers");
    for (size_t k = 0; k < json_array_size(layers); k++) {
        const json_t *const row = json_array_get(layers, k);
        organ_table_count(table, organ_json_count(row, "layer"));
        organ_table_count(table, organ_json_count(row, "tensors"));
        real_cell(table, row, "theta_mean", 2);
        real_cell(table, row, "theta_weighted", 2);
        real_cell(table, row, "skeleton", 2);
        real_cell(table, row, "organ", 2);
        real_cell(table, row, "norm", 2);
    }
    return table;
}

organ_table *organ_measure_wells_table(const json_t *model)
{
    static const organ_column columns[] = {{"well", ORGAN_LEFT, true, true},     {"role", ORGAN_LEFT, false, false},
                                           {"theta", ORGAN_RIGHT, false, false}, {"before", ORGAN_RIGHT, false, false},
                                           {"after", ORGAN_RIGHT, false, false}, {"std of role", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const wells = organ_json_at(model, "wells");
    for (size_t k = 0; k < json_array_size(wells); k++) {
        const json_t *const well = json_array_get(wells, k);
        organ_table_cell(table, "%s", organ_json_text(well, "name"));
        organ_table_cell(table, "%s", organ_json_text(well, "role"));
        real_cell(table, well, "theta", 2);
        real_cell(table, well, "before", 2);
        real_cell(table, well, "after", 2);
        real_cell(table, well, "std", 2);
    }
    return table;
}

organ_table *organ_measure_tensors_table(const json_t *model)
{
    static const organ_column columns[] = {
        {"tensor", ORGAN_LEFT, true, true},   {"stored as", ORGAN_LEFT, false, false},      {"theta", ORGAN_RIGHT, false, false},
        {"", ORGAN_LEFT, false, false}, {"E", ORGAN_RIGHT, false, false},         {"K", ORGAN_RIGHT, false, false},
        {"C", ORGAN_RIGHT, false, false},     {"dI/dlog2s", ORGAN_RIGHT, false, false}, {"levels", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, COUNT(columns));
    const json_t *const tensors = organ_json_at(model, "per_tensor");
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = json_array_get(tensors, k);
        organ_table_cell(table, "%s", organ_json_text(row, "name"));
        organ_table_cell(table, "%s", organ_json_text(row, *organ_json_text(row, "stored") ? "stored" : "dtype"));
        real_cell(table, row, "theta", 2);
        organ_table_cell(table, "%s", organ_json_text(row, "rating"));
        real_cell(table, row, "E", 3);
        real_cell(table, row, "K", 3);
        real_cell(table, row, "C", 3);
        real_cell(table, row, "dI_dlog2s", 3);
        levels_cell(table, row, "levels", "levels");
    }
    return table;
}

void organ_measure_ratings_line(FILE *out, const json_t *model)
{
    const json_t *const ratings = organ_json_at(model, "ratings");
    const unsigned long long tensors = organ_json_count(model, "tensors"), there = organ_json_count(model, "with_theta");
    fprintf(out, "%llu tensors from 85 degrees (***), %llu from 60 (**), %llu from 30 (*), %llu below", organ_json_count(ratings, "***"),
            organ_json_count(ratings, "**"), organ_json_count(ratings, "*"), organ_json_count(ratings, "none"));
    if (there < tensors)
        fprintf(out, "; %llu without theta", tensors - there);
    fputc('.', out);
}
