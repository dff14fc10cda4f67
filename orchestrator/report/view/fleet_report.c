/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/fleet_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/prunings_report.h"

#include <stdint.h>
#include <string.h>

static bool is_whole(const json_t *model) { return strcmp(organ_json_text(model, "status"), "ok") == 0; }

static void theta_cell(organ_table *table, const json_t *model)
{
    const json_t *theta = organ_json_at(model, "theta_mean");
    if (json_is_real(theta))
        organ_table_cell(table, "%.2f", json_real_value(theta));
    else
        organ_table_cell(table, "-");
}

static void model_row(organ_table *table, const json_t *model)
{
    char size[16], time[24];
    organ_table_cell(table, "%s", organ_json_text(model, "name"));
    if (!is_whole(model)) {
        organ_table_cell(table, "failed");
        for (int k = 0; k < 4; k++)
            organ_table_cell(table, "-");
        return;
    }
    organ_table_cell(table, "%s", organ_json_text(model, "model.architecture"));
    organ_table_cell(table, "%s", organ_quantity_text(organ_json_count(model, "model.bytes"), size));
    organ_table_count(table, organ_json_count(model, "model.tensors"));
    organ_table_cell(table, "%s", *organ_json_text(model, "folder") ? organ_duration_text(organ_json_real(model, "seconds"), time) : "-");
    theta_cell(table, model);
}

static organ_table *models_table(const json_t *report)
{
    static const organ_column columns[] = {{"model", ORGAN_LEFT, true, true},        {"architecture", ORGAN_LEFT, false, false},
                                           {"size", ORGAN_RIGHT, false, false},      {"tensors", ORGAN_RIGHT, false, false},
                                           {"dissected", ORGAN_RIGHT, false, false}, {"theta mean", ORGAN_RIGHT, false, false}};
    organ_table *table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *models = organ_json_at(report, "models");
    char size[16];
    for (size_t k = 0; k < json_array_size(models); k++)
        model_row(table, json_array_get(models, k));
    organ_table_totals(table);
    const unsigned long long count = organ_json_count(report, "totals.models");
    organ_table_cell(table, "%llu model%s", count, count == 1 ? "" : "s");
    organ_table_cell(table, " ");
    organ_table_cell(table, "%s", organ_quantity_text(organ_json_count(report, "totals.bytes"), size));
    organ_table_count(table, organ_json_count(report, "totals.tensors"));
    return table;
}

/* What lies among the models and is none. */
organ_table *organ_fleet_others_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("no model, not ranked", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("what it is", "kind", 0), FIELD_BYTES("size", "bytes")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "others"), SIZE_MAX);
}

organ_status organ_fleet_others(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    return json_array_size(organ_json_at(report, "others")) > 0 ? organ_table_emit(organ_fleet_others_table(report), out, page, error)
                                                                : ORGAN_OK;
}

static void put_faults(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *models = organ_json_at(report, "models");
    for (size_t k = 0; k < json_array_size(models); k++) {
        const json_t *model = json_array_get(models, k);
        if (!is_whole(model))
            organ_text_say(out, page, "  ", "Failed: %s: %s", organ_json_text(model, "name"), organ_json_text(model, "error"));
    }
}

organ_status organ_fleet_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    char time[24];
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    if (organ_table_emit(models_table(report), buffer.out, page, error) != ORGAN_OK ||
        organ_fleet_others(buffer.out, report, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_faults(buffer.out, report, page);
    if (organ_prunings_put(buffer.out, report, page, error) != ORGAN_OK) {
        organ_text_discard(&buffer);
        return error->status;
    }
    organ_text_say(buffer.out, page, "  ", "Unchanged since the last run: %llu of %llu.", organ_json_count(report, "run.unchanged"),
                   organ_json_count(report, "totals.models") + organ_json_count(report, "totals.others"));
    organ_text_say(buffer.out, page, "  ", "Time: %s.", organ_duration_text(organ_json_real(report, "run.seconds"), time));
    fputs("\nReports: ", buffer.out);
    organ_text_visible(buffer.out, organ_json_text(report, "run.output"));
    fputs("/Z_MEASURE_REPORT.html and .md, z_report_complete.json, dissection_report.json\n", buffer.out);
    return organ_text_finish(&buffer, text, error);
}
