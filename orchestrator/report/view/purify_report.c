/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/purify_report.h"

#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"

#include <stdint.h>

static bool is_dry(const json_t *report) { return json_is_true(organ_json_at(report, "dry_run")); }

organ_table *organ_purify_roles_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_COUNT("tensors", "tensors"),
                                         FIELD_COUNT("weights", "elements"),
                                         FIELD_PERCENT("energy removed", "energy_removed_percent"),
                                         FIELD_FIXED("theta before", "theta_before", 2),
                                         FIELD_FIXED("theta after", "theta_after", 2)};
    const size_t count = is_dry(report) ? 3 : sizeof fields / sizeof *fields;
    organ_table *const table = organ_field_table(fields, count, organ_json_at(report, "roles"), SIZE_MAX);
    organ_field_total(table, fields, count, "all purified", organ_json_at(report, "totals"));
    return table;
}

void organ_purify_parameters(FILE *out, const json_t *report)
{
    const char *types = organ_json_text(report, "parameters.type"), *layers = organ_json_text(report, "parameters.layers");
    fprintf(out, "%s, threshold %.15g, strength %.15g; ", organ_json_text(report, "parameters.method"),
            organ_json_real(report, "parameters.threshold"), organ_json_real(report, "parameters.strength"));
    fputs(*types ? "tensors of type " : "the projections", out);
    organ_text_visible(out, types);
    fputs(*layers ? " in layers " : "", out);
    organ_text_visible(out, layers);
}

/* What the run did not do, and what it did too much of. */
static void put_remarks(FILE *out, const json_t *report, const organ_page *page)
{
    const json_t *left = organ_json_at(report, "left_alone");
    const size_t count = json_array_size(left);
    if (count)
        organ_text_say(out, page, "  ", "Left alone: %zu tensor%s of types that cannot be written, %s %s.", count, count == 1 ? "" : "s",
                       count == 1 ? "that is" : "the first", organ_json_text(json_array_get(left, 0), "tensor"));
    if (!is_dry(report))
        organ_text_say(out, page, "  ", "A higher theta is no evidence of a better model.");
    if (!json_is_object(organ_json_at(report, "warning")))
        return;
    fputc('\n', out);
    organ_text_say(out, page, "  WARNING  ", "%s", organ_json_text(report, "warning.text"));
    const json_t *commands = organ_json_at(report, "warning.commands");
    for (size_t k = 0; k < json_array_size(commands); k++) {
        fputs("    ", out);
        organ_text_visible(out, organ_json_text(json_array_get(commands, k), ""));
        fputc('\n', out);
    }
}

static void put_end(FILE *out, const json_t *report, const organ_page *page)
{
    if (is_dry(report))
        return;
    fputc('\n', out);
    organ_time_line(out, report, page, " of purified weights");
    organ_report_line(out, report, "PURIFY_REPORT.md");
}

organ_status organ_purify_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    organ_made_line(buffer.out, report, "Purified ", "model");
    fputs("\nby ", buffer.out);
    organ_purify_parameters(buffer.out, report);
    fputs("\n\n", buffer.out);
    if (organ_table_emit(organ_purify_roles_table(report), buffer.out, page, error) == ORGAN_OK) {
        put_remarks(buffer.out, report, page);
        organ_evaluation_terminal(buffer.out, report, page, error);
        put_end(buffer.out, report, page);
    }
    return organ_text_end(&buffer, text, error);
}

/* ---- the file ---- */

organ_table *organ_purify_tensors_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                         FIELD_TEXT("type", "dtype", 0),
                                         FIELD_GENERAL("energy before", "energy_before", 6),
                                         FIELD_GENERAL("energy after", "energy_after", 6),
                                         FIELD_PERCENT("removed", "energy_removed_percent"),
                                         FIELD_FIXED("theta before", "theta_before", 2),
                                         FIELD_FIXED("theta after", "theta_after", 2)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "tensors"), SIZE_MAX);
}

static void put_warning(FILE *out, const json_t *report)
{
    if (!json_is_object(organ_json_at(report, "warning")))
        return;
    fputs("> **Warning.** ", out);
    organ_markdown_text(out, organ_json_text(report, "warning.text"), false);
    fputs("\n\n", out);
    const json_t *commands = organ_json_at(report, "warning.commands");
    for (size_t k = 0; k < json_array_size(commands); k++) {
        fputs("    ", out);
        organ_text_visible(out, organ_json_text(json_array_get(commands, k), ""));
        fputc('\n', out);
    }
    fputc('\n', out);
}

static void put_left_alone(FILE *out, const json_t *report)
{
    const json_t *left = organ_json_at(report, "left_alone");
    if (json_array_size(left) == 0)
        return;
    fputs("\n## Left alone\n\nProjections in types that cannot be written:\n\n", out);
    for (size_t k = 0; k < json_array_size(left); k++) {
        fputs("- ", out);
        organ_markdown_text(out, organ_json_text(json_array_get(left, k), "tensor"), true);
        fprintf(out, " (%s)\n", organ_json_text(json_array_get(left, k), "dtype"));
    }
}

organ_status organ_purify_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    organ_text buffer;
    *markdown = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    FILE *const out = buffer.out;
    fputs("# Purification of ", out);
    organ_markdown_text(out, organ_json_text(report, "model.name"), false);
    fprintf(out, "\n\nDefinition %s: ", organ_json_text(report, "definition"));
    organ_purify_parameters(out, report);
    fputs(".\n\n", out);
    put_warning(out, report);
    if (organ_table_emit(organ_purify_roles_table(report), out, NULL, error) == ORGAN_OK) {
        fputs("\nA higher theta is no evidence of a better model.\n\n## Tensors\n\n", out);
        organ_table_emit(organ_purify_tensors_table(report), out, NULL, error);
    }
    if (error->status) {
        organ_text_discard(&buffer);
        return error->status;
    }
    put_left_alone(out, report);
    organ_evaluation_markdown(out, report, error);
    organ_definitions_list(out, report);
    return organ_text_end(&buffer, markdown, error);
}
