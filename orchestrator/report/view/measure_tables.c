/* SPDX-License-Identifier: MIT
 * The tables of a measurement, for the terminal and for Markdown. */
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/view/measure_report.h"

#include <stdint.h>
#include <string.h>

/* 1,234 or 123-4,567, with ">" before what is more than was counted. */
static void levels_of(organ_table *table, const json_t *object, const char *from, const char *to)
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

static void levels_cell(organ_table *table, const json_t *row) { levels_of(table, row, "levels", "levels"); }
static void level_range_cell(organ_table *table, const json_t *row) { levels_of(table, row, "levels_min", "levels_max"); }

/* 494M, 1.54B */
static void params_cell(organ_table *table, const json_t *model)
{
    static const char units[] = {'K', 'M', 'B', 'T'};
    const unsigned long long elements = organ_json_count(model, "elements");
    double amount = (double)elements;
    size_t unit = 0;
    for (amount /= 1000; amount >= 999.5 && unit + 1 < sizeof units; amount /= 1000)
        unit++;
    if (elements < 1000)
        organ_table_cell(table, "%llu", elements);
    else
        organ_table_cell(table, "%.*f%c", amount < 9.995 ? 2 : amount < 99.95 ? 1 : 0, amount, units[unit]);
}

static void stored_cell(organ_table *table, const json_t *row)
{
    organ_table_cell(table, "%s", organ_json_text(row, *organ_json_text(row, "stored") ? "stored" : "dtype"));
}

organ_table *organ_measure_ranking_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_NUMBER("#"),
                                         FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("params", params_cell, 0),
                                         FIELD_FIXED("theta mean", "theta_mean", 2),
                                         FIELD_FIXED("by elements", "theta_weighted", 2),
                                         FIELD_FIXED("signal", "signal_mean", 3),
                                         FIELD_COUNT("tensors", "with_theta")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "models"), SIZE_MAX);
}

static void group_cell(organ_table *table, const json_t *model, const char *name)
{
    const json_t *const groups = organ_json_at(model, "groups"), *theta = NULL;
    for (size_t k = 0; k < json_array_size(groups) && !theta; k++)
        if (strcmp(organ_json_text(json_array_get(groups, k), "group"), name) == 0)
            theta = json_object_get(json_array_get(groups, k), "theta_mean");
    organ_table_cell(table, json_is_number(theta) ? "%.2f" : "-", json_number_value(theta));
}

static void skeleton_cell(organ_table *table, const json_t *model) { group_cell(table, model, "skeleton"); }
static void organ_cell(organ_table *table, const json_t *model) { group_cell(table, model, "organ"); }
static void embed_cell(organ_table *table, const json_t *model) { group_cell(table, model, "embed"); }
static void norm_cell(organ_table *table, const json_t *model) { group_cell(table, model, "norm"); }
static void other_cell(organ_table *table, const json_t *model) { group_cell(table, model, "other"); }

organ_table *organ_measure_groups_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("skeleton", skeleton_cell, 0),
                                         FIELD_BY("organ", organ_cell, 0),
                                         FIELD_BY("embed", embed_cell, 0),
                                         FIELD_BY("norm", norm_cell, 0),
                                         FIELD_BY("other", other_cell, 0)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "models"), SIZE_MAX);
}

organ_table *organ_measure_roles_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_TEXT("role", "role", 0),
                                         FIELD_COUNT("tensors", "tensors"),
                                         FIELD_FIXED("theta mean", "theta_mean", 2),
                                         FIELD_FIXED("by elements", "theta_weighted", 2),
                                         FIELD_FIXED("min", "theta_min", 2),
                                         FIELD_FIXED("max", "theta_max", 2),
                                         FIELD_FIXED("signal", "signal_mean", 3),
                                         FIELD_BY("levels", level_range_cell, 0)};
    organ_table *const table = organ_field_table(FIELD_LIST(fields), organ_json_at(model, "roles"), SIZE_MAX);
    organ_table_totals(table);
    organ_field_rows(table, FIELD_LIST(fields), "group", organ_json_at(model, "groups"));
    organ_field_row(table, FIELD_LIST(fields), "all", model);
    return table;
}

organ_table *organ_measure_layers_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_COUNT("layer", "layer"),
                                         FIELD_COUNT("tensors", "tensors"),
                                         FIELD_FIXED("theta mean", "theta_mean", 2),
                                         FIELD_FIXED("by elements", "theta_weighted", 2),
                                         FIELD_FIXED("skeleton", "skeleton", 2),
                                         FIELD_FIXED("organ", "organ", 2),
                                         FIELD_FIXED("norm", "norm", 2)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(model, "layers"), SIZE_MAX);
}

organ_table *organ_measure_wells_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_TEXT("well", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("role", "role", 0),
                                         FIELD_FIXED("theta", "theta", 2),
                                         FIELD_FIXED("before", "before", 2),
                                         FIELD_FIXED("after", "after", 2),
                                         FIELD_FIXED("std of role", "std", 2)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(model, "wells"), SIZE_MAX);
}

organ_table *organ_measure_tensors_table(const json_t *model)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_BY("stored as", stored_cell, ORGAN_FIELD_LEFT),
                                         FIELD_FIXED("theta", "theta", 2),
                                         FIELD_TEXT("", "rating", 0),
                                         FIELD_FIXED("E", "E", 3),
                                         FIELD_FIXED("K", "K", 3),
                                         FIELD_FIXED("C", "C", 3),
                                         FIELD_FIXED("dI/dlog2s", "dI_dlog2s", 3),
                                         FIELD_BY("levels", levels_cell, 0)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(model, "per_tensor"), SIZE_MAX);
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
