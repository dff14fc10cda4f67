/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/autopsy_report.h"
#include "orchestrator/report/view/role_grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 1200, MOST_ROWS = 200, MOST_COMMANDS = 3, MOST_CAUSES = 40 };

/* What charts know of the report besides a row: the names of tensors with findings. */
typedef struct view {
    const json_t *report;
    json_t *sick;
} view;

/* ---- limits ---- */

static const json_t *limits_of(const json_t *row, const view *v, bool expected)
{
    const organ_role role = organ_anatomy_row_role(organ_anatomy_row_named(organ_json_text(row, "role")));
    const json_t *const limits = json_object_get(json_object_get(v->report, "ranges"), organ_role_describe(role)->name);
    return expected ? json_object_get(limits, "expected") : limits;
}

static double std_limit(const json_t *row, const view *v, bool expected, size_t end)
{
    const json_t *const limit = json_array_get(json_object_get(limits_of(row, v, expected), "std"), end);
    return json_is_number(limit) ? json_number_value(limit) : NAN;
}

/* The greater of what a value may be in size, below and above zero. */
static double size_limit(const json_t *row, const view *v, bool expected)
{
    const json_t *const limits = limits_of(row, v, expected);
    return fmax(-organ_json_number(limits, "min"), organ_json_number(limits, "max"));
}

/* ---- values of a tensor ---- */

static double std_of(const json_t *row, const void *context)
{
    (void)context;
    return organ_json_number(row, "std");
}

static double size_of(const json_t *row, const void *context)
{
    (void)context;
    return fmax(-organ_json_number(row, "min"), organ_json_number(row, "max"));
}

static double error_of(const json_t *row, const void *context)
{
    (void)context;
    const double percent = organ_json_percent(row, "against_other.relative_error");
    return percent > 100 ? 100 : percent;
}

static double std_least(const json_t *row, const void *context) { return std_limit(row, context, true, 0); }
static double std_most(const json_t *row, const void *context) { return std_limit(row, context, true, 1); }
static double sick_least(const json_t *row, const void *context) { return std_limit(row, context, false, 0); }
static double sick_most(const json_t *row, const void *context) { return std_limit(row, context, false, 1); }
static double size_most(const json_t *row, const void *context) { return size_limit(row, context, true); }
static double sick_size(const json_t *row, const void *context) { return size_limit(row, context, false); }
static double size_least(const json_t *row, const void *context)
{
    return isfinite(size_most(row, context)) ? -INFINITY : NAN; /* nothing is too small */
}

/* What copies in the tensor's scheme are usually off by. */
static double usual(const json_t *row, const view *v, size_t end)
{
    const json_t *const schemes = organ_json_at(v->report, "schemes");
    for (size_t k = 0; k < json_array_size(schemes); k++) {
        const json_t *const scheme = json_array_get(schemes, k);
        const json_t *const limit = json_array_get(json_object_get(scheme, "usual_error_percent"), end);
        if (strcmp(organ_json_text(scheme, "stored"), organ_json_text(row, "stored")) == 0 && json_is_number(limit))
            return json_number_value(limit);
    }
    return NAN;
}

static double usual_least(const json_t *row, const void *context) { return usual(row, context, 0); }
static double usual_most(const json_t *row, const void *context) { return usual(row, context, 1); }

static double ratio(double value, double limit) { return value >= 0 && limit > 0 ? value / limit : NAN; }

/* How far the tensor is towards the nearest limit of what is expected: 1 is at it, 2 twice it. */
static double strain(const json_t *row, const void *context)
{
    enum { MOST = 99 };
    const json_t *const limits = limits_of(row, context, true);
    const double std = organ_json_number(row, "std"), least = std_limit(row, context, true, 0);
    double most = ratio(fabs(organ_json_number(row, "mean")), organ_json_number(limits, "mean"));
    most = fmax(most, ratio(std, std_limit(row, context, true, 1)));
    most = fmax(most, least > 0 && std >= 0 ? (std > least / MOST ? least / std : MOST) : NAN);
    most = fmax(most, ratio(-organ_json_number(row, "min"), -organ_json_number(limits, "min")));
    most = fmax(most, ratio(organ_json_number(row, "max"), organ_json_number(limits, "max")));
    return most > MOST ? MOST : most;
}

static bool is_sick(const json_t *row, const void *context)
{
    const view *const v = context;
    return json_object_get(v->sick, organ_json_text(row, "name")) != NULL;
}

static bool is_matrix(const json_t *row, const void *context)
{
    (void)context;
    return json_array_size(json_object_get(row, "shape")) > 1;
}

/* ---- findings ---- */

static bool is_new_cause(const json_t *const *causes, size_t count, const json_t *row)
{
    for (size_t k = 0; k < count; k++)
        if (strcmp(organ_json_text(causes[k], "what"), organ_json_text(row, "what")) == 0 &&
            strcmp(organ_json_text(causes[k], "cause"), organ_json_text(row, "cause")) == 0)
            return false;
    return *organ_json_text(row, "cause") != '\0';
}

static void put_causes(organ_html *html, const json_t *rows, bool (*skips)(const json_t *row))
{
    static const organ_column columns[] = {{"what", ORGAN_LEFT, false, false}, {"what usually causes it", ORGAN_LEFT, false, false}};
    const json_t *causes[MOST_CAUSES];
    organ_table *const table = organ_table_create(columns, 2);
    size_t count = 0;
    for (size_t k = 0; k < json_array_size(rows) && count < MOST_CAUSES; k++) {
        const json_t *const row = json_array_get(rows, k);
        if ((skips && skips(row)) || !is_new_cause(causes, count, row))
            continue;
        causes[count++] = row;
        organ_table_cell(table, "%s", organ_json_text(row, "what"));
        organ_table_cell(table, "%s", organ_json_text(row, "cause"));
    }
    organ_html_table(html, table, NULL);
}

/* Rows of findings or of remarks; causes stand in a table of their own, for many rows have the same. */
static void put_marks(organ_html *html, const json_t *rows, bool (*skips)(const json_t *row), const char *caption, const char *what)
{
    static const organ_column columns[] = {{"tensor", ORGAN_LEFT, true, true},
                                           {"what", ORGAN_LEFT, false, false},
                                           {"value", ORGAN_LEFT, false, false},
                                           {"healthy", ORGAN_LEFT, false, false}};
    static const char *const keys[] = {"tensor", "what", "value", "range"};
    size_t count = 0, shown = 0;
    for (size_t k = 0; k < json_array_size(rows); k++)
        count += !skips || !skips(json_array_get(rows, k));
    if (count == 0)
        return;
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(rows) && shown < MOST_ROWS; k++) {
        const json_t *const row = json_array_get(rows, k);
        if (skips && skips(row))
            continue;
        shown++;
        for (size_t c = 0; c < sizeof keys / sizeof *keys; c++)
            organ_table_cell(table, "%s", organ_json_text(row, keys[c]));
    }
    organ_html_table(html, table, caption);
    organ_html_left_out(html, count, MOST_ROWS, what);
    put_causes(html, rows, skips);
}

static void put_commands(organ_html *html, const json_t *findings)
{
    const char *last = "";
    size_t shown = 0;
    organ_html_paragraph(html, "To look closer:");
    for (size_t k = 0; k < json_array_size(findings) && shown < MOST_COMMANDS; k++) {
        const char *const command = organ_json_text(json_array_get(findings, k), "command");
        if (!*command || strcmp(command, last) == 0)
            continue;
        organ_html_command(html, command);
        last = command;
        shown++;
    }
}

static void put_findings(organ_html *html, const json_t *report)
{
    const json_t *const findings = organ_json_at(report, "findings");
    organ_html_section(html, "Findings");
    if (json_array_size(findings) == 0) {
        organ_html_paragraph(html, "None: no weight has what no healthy weight has.");
        return;
    }
    put_marks(html, findings, NULL, "Weights that are not healthy", "findings");
    put_commands(html, findings);
}

static bool is_unexpected(const json_t *row) { return strcmp(organ_json_text(row, "kind"), "expected") == 0; }

static void put_strays(organ_html *html, const json_t *report)
{
    static const organ_column columns[] = {{"tensor of no weight", ORGAN_LEFT, true, true}, {"why", ORGAN_LEFT, false, false}};
    const json_t *const strays = organ_json_at(report, "strays");
    const size_t count = json_array_size(strays);
    if (count == 0)
        return;
    organ_html_table(html, organ_pairs_table(columns, strays, "tensor", "why", MOST_ROWS), "Tensors that belong to no weight");
    organ_html_left_out(html, count, MOST_ROWS, "such tensors");
}

static void put_remarks(organ_html *html, const json_t *report)
{
    const json_t *const remarks = organ_json_at(report, "remarks"), *const notes = organ_json_at(report, "notes");
    char text[400];
    const unsigned long long unexpected = organ_autopsy_unexpected(report, text);
    organ_html_section(html, "Remarks");
    if (json_array_size(remarks) + json_array_size(notes) + json_array_size(organ_json_at(report, "strays")) == 0)
        organ_html_paragraph(html, "None.");
    if (unexpected > 0)
        organ_html_paragraph(html, "%llu weight%s outside of what is expected, which is no fault: %s.", unexpected,
                             unexpected == 1 ? " is" : "s are", text);
    put_marks(html, remarks, is_unexpected, "Remarks: unusual, but no fault by itself", "remarks");
    organ_html_sentences(html, notes);
    put_strays(html, report);
}

/* ---- charts ---- */

static void put_map(organ_html *html, const view *v)
{
    const organ_heat_map map = {
        .title = "How near each weight is to the limits of what is expected",
        .subtitle = "1: at the limit; below: within; above: outside, by that factor (99 and more shown as 99)",
        .description = "For each role and layer the largest of |mean|, std and values, each beside the limit of what is expected of its "
                       "role. Weights with findings are outlined.",
        .value_label = "of the limit",
        .mark_name = "has a finding",
        .low = 0,
        .high = 2,
        .diverging = true,
    };
    const organ_grid_source source = {
        .rows = organ_json_at(v->report, "tensors"), .role_key = "role", .value = strain, .marks = is_sick, .context = v};
    if (!organ_grid_has_values(&source))
        return;
    organ_html_section(html, "Layers");
    organ_html_role_map(html, &source, &map,
                        "Outlined weights have findings. Above 1 a weight is outside of what is expected of its role, which alone is no "
                        "fault: small models have wider weights, large ones narrower.");
}

/* Whether a matrix comes within a factor of 5 of a limit of what is healthy, so that the limit is drawn. */
static bool nears(const view *v, double (*value)(const json_t *, const void *), double (*limit)(const json_t *, const void *), bool upper)
{
    const json_t *const rows = organ_json_at(v->report, "tensors");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const double x = value(row, v), end = limit(row, v);
        if (is_matrix(row, v) && json_is_integer(json_object_get(row, "layer")) && x > 0 && end > 0 && (upper ? x > end / 5 : x < end * 5))
            return true;
    }
    return false;
}

static organ_grid_source matrices(const view *v, double (*value)(const json_t *, const void *))
{
    return (organ_grid_source){
        .rows = organ_json_at(v->report, "tensors"), .role_key = "role", .value = value, .takes = is_matrix, .context = v};
}

static void put_spread(organ_html *html, const view *v)
{
    organ_chart_series series[3] = {{.name = "std"}};
    organ_grid_source sources[5] = {matrices(v, std_of)};
    size_t count = 1;
    if (nears(v, std_of, sick_most, true)) {
        series[count] = (organ_chart_series){.name = "healthy: at most", .reference = true};
        sources[count++] = matrices(v, sick_most);
    }
    if (nears(v, std_of, sick_least, false)) {
        series[count] = (organ_chart_series){.name = "healthy: at least", .reference = true};
        sources[count++] = matrices(v, sick_least);
    }
    sources[count] = matrices(v, std_least);
    sources[count + 1] = matrices(v, std_most);
    const organ_chart chart = {.title = "Standard deviation of the weights by layer",
                               .subtitle = "a jump from one layer to the next, or a layer that leaves its neighbours, is worth a look",
                               .description = "Standard deviation of each matrix over the layers, one panel a role, logarithmic, with the "
                                              "range that is expected.",
                               .y_label = "std (log scale)",
                               .log_y = true,
                               .series = series,
                               .series_count = count,
                               .band_name = "expected"};
    organ_html_role_panels(html, sources, &chart,
                           "The limits of what is healthy are drawn where a weight comes near them; all are in the table of ranges below. "
                           "A weight of nothing but zeros has no place on a logarithmic axis: it is a gap here, and a finding above.");
}

static void put_range(organ_html *html, view *v)
{
    organ_chart_series series[2] = {{.name = "max |w|", .look = 1}};
    organ_grid_source sources[4] = {matrices(v, size_of)};
    size_t count = 1;
    if (nears(v, size_of, sick_size, true)) {
        series[count] = (organ_chart_series){.name = "healthy: at most", .reference = true};
        sources[count++] = matrices(v, sick_size);
    }
    sources[count] = matrices(v, size_least);
    sources[count + 1] = matrices(v, size_most);
    const organ_chart chart = {.title = "Largest value by layer",
                               .subtitle = "the largest |w| of each matrix; single large values are what low-precision codes lose",
                               .description = "Largest magnitude in each matrix over the layers, one panel a role, logarithmic, with what "
                                              "is expected at most.",
                               .y_label = "max |w| (log scale)",
                               .log_y = true,
                               .series = series,
                               .series_count = count,
                               .band_name = "expected: up to here"};
    organ_html_role_panels(html, sources, &chart, "The upper edge of the band is the largest magnitude that is expected of the role.");
}

static void put_comparison(organ_html *html, const view *v)
{
    static const organ_chart_series series = {.name = "relative error"};
    static const organ_chart chart = {.title = "Distance from the other model by layer",
                                      .subtitle = "norm of the difference beside the norm of the other's weight; 100 and more shown as 100",
                                      .description = "Relative error of each matrix against the same one of the other model over the "
                                                     "layers, one panel a role, with what is usual for how it is stored.",
                                      .y_label = "relative error, %",
                                      .series = &series,
                                      .series_count = 1,
                                      .band_name = "usual for how it is stored"};
    const organ_grid_source sources[] = {matrices(v, error_of), matrices(v, usual_least), matrices(v, usual_most)};
    if (!organ_grid_has_values(&sources[0]))
        return;
    organ_html_section(html, "Beside the other model");
    organ_html_words(html, organ_autopsy_schemes, v->report);
    organ_html_role_panels(html, sources, &chart, "More than 50 percent is a finding: it is another weight, or codes were misread.");
}

/* ---- the page ---- */

static void put_figures(organ_html *html, const json_t *report)
{
    char findings[32], remarks[32], weights[32], packed[32];
    const organ_html_figure_of_merit figures[] = {
        {organ_count_text(json_array_size(organ_json_at(report, "findings")), findings), "findings"},
        {organ_count_text(json_array_size(organ_json_at(report, "remarks")), remarks), "remarks"},
        {organ_count_text(organ_json_count(report, "weights"), weights), "weights, each read whole"},
        {organ_count_text(organ_json_count(report, "packed"), packed), "of them packed"}};
    organ_html_figures_of_merit(html, figures, 4);
}

static void put_all(organ_html *html, view *v)
{
    const json_t *const report = v->report, *const tensors = organ_json_at(report, "tensors");
    put_figures(html, report);
    put_findings(html, report);
    put_map(html, v);
    put_spread(html, v);
    put_range(html, v);
    put_comparison(html, v);
    put_remarks(html, report);
    organ_html_section(html, "Roles");
    organ_html_table(html, organ_autopsy_roles_table(report), "Extremes of the weights of each role");
    organ_html_section(html, "Tensors");
    organ_html_table(html, organ_autopsy_tensors_table(report, MOST_TENSORS), "Every weight as the numbers that it means");
    organ_html_left_out(html, json_array_size(tensors), MOST_TENSORS, "weights");
    organ_html_section(html, "Ranges");
    organ_html_paragraph(html, "Outside of what is expected is a remark, outside of what is healthy a finding.");
    organ_html_table(html, organ_autopsy_ranges_table(report), "The ranges that were used");
    organ_html_ending(html, json_object_get(report, "definitions"), json_object_get(report, "run"));
}

static void put_title(FILE *out, const json_t *report, const organ_page *page)
{
    const char *const other = organ_json_text(report, "other.name");
    (void)page;
    fprintf(out, "%s%s%s", organ_json_text(report, "model.name"), *other ? " beside " : "", other);
}

/* The names of weights that have findings, as members of an object; NULL without memory. */
static json_t *sick_names(const json_t *report)
{
    const json_t *const findings = organ_json_at(report, "findings");
    json_t *const names = json_object();
    for (size_t k = 0; k < json_array_size(findings); k++)
        if (json_object_set_new(names, organ_json_text(json_array_get(findings, k), "tensor"), json_true())) {
            json_decref(names);
            return NULL;
        }
    return names;
}

organ_status organ_autopsy_report_html(const json_t *report, char **html, organ_error *error)
{
    view v = {.report = report, .sick = sick_names(report)};
    *html = NULL;
    if (!v.sick)
        return organ_fail(error, ORGAN_IO, "no memory for a page");
    char *const title = organ_report_words(put_title, report, error);
    char *const verdict = title ? organ_report_words(organ_autopsy_verdict, report, error) : NULL;
    if (verdict) {
        organ_html *const page = organ_html_create("Autopsy", title, verdict);
        put_all(page, &v);
        organ_html_finish(page, html, error);
    }
    free(title);
    free(verdict);
    json_decref(v.sick);
    return error->status;
}
