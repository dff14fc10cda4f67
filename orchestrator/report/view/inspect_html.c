/* SPDX-License-Identifier: MIT
 * The page of organ.inspect/1. */
#include "orchestrator/report/view/inspect_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/anatomy_html.h"

#include <string.h>

enum { MOST_TENSORS = 1500, MOST_WEIGHTS = 1000 };

static void put_figures(organ_html *html, const json_t *report)
{
    char size[16], tensors[32], elements[32], bits[32];
    const json_t *const totals = json_object_get(report, "totals");
    const unsigned long long count = organ_json_count(totals, "elements");
    organ_quantity_text(organ_json_count(totals, "bytes"), size);
    organ_count_text(organ_json_count(totals, "tensors"), tensors);
    organ_count_text(count, elements);
    snprintf(bits, sizeof bits, "%.4g", count ? 8.0 * (double)organ_json_count(totals, "bytes") / (double)count : 0.0);
    const organ_html_figure_of_merit figures[] = {
        {size, "of tensors"}, {tensors, "tensors"}, {elements, "elements"}, {bits, "bits per element"}};
    organ_html_figures_of_merit(html, figures, count ? 4 : 3);
}

static bool add_check(json_t *checks, bool ok, const char *detail)
{
    return json_array_append_new(checks,
                                 json_pack("{s:s, s:b, s:s}", "check", "headers, index and config", "ok", (int)ok, "detail", detail)) == 0;
}

/* What is wrong, or that nothing is. */
static void put_health(organ_html *html, const json_t *report)
{
    const json_t *const problems = json_object_get(report, "problems"), *const warnings = json_object_get(report, "warnings");
    json_t *const checks = json_array();
    bool whole = json_array_size(problems) > 0 || add_check(checks, true, "no problems found");
    for (size_t k = 0; k < json_array_size(problems) && whole; k++)
        whole = add_check(checks, false, organ_json_text(json_array_get(problems, k), ""));
    for (size_t k = 0; k < json_array_size(warnings) && whole; k++)
        whole = add_check(checks, true, organ_json_text(json_array_get(warnings, k), ""));
    organ_html_section(html, "Health of the file");
    if (whole)
        organ_html_checks(html, checks);
    else
        organ_html_chart(html, NULL, NULL); /* no memory: the page fails */
    organ_html_words(html, organ_inspect_notes, report);
    json_decref(checks);
}

static void put_targets(organ_html *html, const json_t *report)
{
    char elements[32], percent[32], tensors[32];
    const json_t *const target = json_object_get(report, "projections");
    organ_html_paragraph(
        html,
        "Roles with * are the projections that pruning works on: %s tensors, %s elements, %s of %s; %llu of them are "
        "stored as F32, F16 or BF16, which is what can be pruned.",
        organ_count_text(organ_json_count(target, "weights"), tensors), organ_count_text(organ_json_count(target, "elements"), elements),
        organ_percent_text(organ_json_real(target, "percent_of_elements"), percent),
        json_is_string(json_object_get(report, "match")) ? "what matches" : "the model", organ_json_count(target, "prunable_tensors"));
}

static void put_quantization(organ_html *html, const json_t *report)
{
    const json_t *const quantization = json_object_get(report, "quantization"), *const weights = json_object_get(quantization, "weights");
    if (json_array_size(json_object_get(quantization, "schemes")) == 0)
        return;
    organ_html_section(html, "Quantisation");
    organ_html_table(
        html, organ_inspect_schemes_table(quantization),
        "How weights are packed. Codes and companions (scales, zero points) are tensors of their own and count as bytes of their "
        "weight; elements are those of the weights.");
    if (json_array_size(weights) == 0)
        return;
    json_t *const part = organ_json_first(quantization, "weights", MOST_WEIGHTS);
    organ_html_table(html, part ? organ_inspect_weights_table(json_object_get(part, "weights")) : NULL,
                     "Every weight, and the tensors that it is stored as.");
    organ_html_left_out(html, json_array_size(weights), MOST_WEIGHTS, "weights");
    json_decref(part);
}

static void put_anatomy(organ_html *html, const json_t *report)
{
    organ_html_section(html, "Anatomy");
    organ_anatomy_html_bars(html, json_object_get(report, "roles"), "role", "Size by role", "What takes the room in the file.");
    organ_html_table(html, organ_inspect_roles_table(report), "What each role holds.");
    put_targets(html, report);
    if (json_array_size(json_object_get(report, "dtypes")) > 1)
        organ_anatomy_html_bars(html, json_object_get(report, "dtypes"), "dtype", "Size by type", "How the elements are stored.");
    organ_anatomy_html_bytes(html, report);
    if (json_array_size(json_object_get(report, "dtypes")) > 1)
        organ_anatomy_html_bits(html, report);
}

static void put_tensors(organ_html *html, const json_t *report)
{
    const json_t *const tensors = json_object_get(report, "tensors");
    if (!tensors)
        return;
    json_t *const part = organ_json_first(report, "tensors", MOST_TENSORS);
    organ_html_section(html, "Tensors");
    organ_html_table(html, part ? organ_inspect_tensors_table(part) : NULL, "Every tensor in the order of the files.");
    organ_html_left_out(html, json_array_size(tensors), MOST_TENSORS, "tensors");
    json_decref(part);
}

organ_status organ_inspect_report_html(const json_t *report, char **text, organ_error *error)
{
    const json_t *const match = json_object_get(report, "match");
    const bool apart = strcmp(organ_json_text(report, "model.format"), "organ directory") == 0;
    const size_t problems = json_array_size(json_object_get(report, "problems"));
    organ_html *const html = organ_html_create("Inspection", organ_json_text(report, "model.name"),
                                               problems ? "Something is wrong with this file: see its health."
                                                        : "What is in the file. No problems found in headers, index and config.");
    put_figures(html, report);
    organ_html_model(html, "Model", json_object_get(report, "model"));
    organ_html_words(html, organ_inspect_config, report);
    if (json_is_string(match))
        organ_html_paragraph(html, "Counted is only what matches %s.", json_string_value(match));
    put_health(html, report);
    put_anatomy(html, report);
    put_quantization(html, report);
    if (!apart && json_array_size(json_object_get(report, "files")) > 1) {
        organ_html_section(html, "Files");
        organ_html_table(html, organ_files_table(report), "The files of the model.");
    }
    put_tensors(html, report);
    organ_html_ending(html, NULL, json_object_get(report, "run"));
    return organ_html_finish(html, text, error);
}
