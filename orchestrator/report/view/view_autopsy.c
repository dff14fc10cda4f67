/* SPDX-License-Identifier: MIT
 * The view of organ.autopsy/1, the report of `organ autopsy`. */
#include <organ/models.h>
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_parts.h"

#include <math.h>
#include <string.h>

enum {
    MAX_SHOWN = 20,     /* lines of findings, and of remarks, on a terminal */
    MAX_TENSORS = 1200, /* lines of the table of all weights in a Markdown file or on a page */
    MAX_ROWS = 200,     /* lines of a table of findings, remarks or tensors without a weight on a page */
    MAX_COMMANDS = 3,   /* commands below the findings of a page */
    MAX_CAUSES = 40     /* lines of a table of causes on a page */
};

/* ---- the rows of charts: figures and limits of each weight ---- */

static const json_t *limits_of(const json_t *report, const json_t *row, bool expected)
{
    const organ_role role = organ_anatomy_row_role(organ_anatomy_row_named(organ_json_text(row, "role")));
    const json_t *const limits = json_object_get(json_object_get(report, "ranges"), organ_role_describe(role)->name);
    return expected ? json_object_get(limits, "expected") : limits;
}

enum { LEAST, MOST }; /* ends of a range, which is an array of two limits; null: no limit */

/* Returns NAN if there is no limit at this end. */
static double std_limit(const json_t *limits, size_t end)
{
    const json_t *const limit = organ_json_row_at(json_object_get(limits, "std"), end);
    return json_is_number(limit) ? json_number_value(limit) : NAN;
}

static double largest_absolute_value(const json_t *row)
{
    return fmax(-organ_json_number(row, "min"), organ_json_number(row, "max"));
}

/* Returns one end of the range of errors that is usual for the scheme in which the weight is stored; NAN if unknown. */
static double usual_error(const json_t *report, const json_t *row, size_t end)
{
    const json_t *const schemes = json_object_get(report, "schemes");
    for (size_t k = 0; k < json_array_size(schemes); k++) {
        const json_t *const scheme = organ_json_row_at(schemes, k);
        const json_t *const limit = organ_json_row_at(json_object_get(scheme, "usual_error_percent"), end);
        if (strcmp(organ_json_text(scheme, "stored"), organ_json_text(row, "stored")) == 0 && json_is_number(limit))
            return json_number_value(limit);
    }
    return NAN;
}

/* The relative error against the other model; 100 stands for more, too. */
static double error_percent(const json_t *row)
{
    const double percent = 100 * organ_json_number(row, "against_other.relative_error");
    return percent > 100 ? 100 : percent;
}

/* NaN stands for no limit. */
static double ratio_to_limit(double value, double limit) { return value >= 0 && limit > 0 ? value / limit : NAN; }

/* The excess is the largest of five ratios: |mean|, std, -min and max are each divided by their upper limit; the
 * fifth ratio is the lower limit of std divided by std. 1 is at a limit, 2 at twice the limit. The result is at most
 * MAX; NaN if no ratio can be computed. */
static double excess_of(const json_t *row, const json_t *limits)
{
    enum { MAX = 99 };
    const double std = organ_json_number(row, "std"), least = std_limit(limits, LEAST);
    double max = ratio_to_limit(fabs(organ_json_number(row, "mean")), organ_json_number(limits, "mean"));
    max = fmax(max, ratio_to_limit(std, std_limit(limits, MOST)));
    if (least > 0 && std >= 0)
        max = fmax(max, std > least / MAX ? least / std : MAX);
    max = fmax(max, ratio_to_limit(-organ_json_number(row, "min"), -organ_json_number(limits, "min")));
    max = fmax(max, ratio_to_limit(organ_json_number(row, "max"), organ_json_number(limits, "max")));
    return max > MAX ? MAX : max;
}

#define SET_FINITE(key, x) SET_REAL_OF(key, /*there=*/true, x)

/* Returns the row of a weight for the charts over layers:
 *
 *   strain       excess_of, against the expected limits
 *   std          with std_least and std_most, the expected limits, and sick_least and sick_most, the healthy ones
 *   size         largest absolute value, with size_most, the expected limit, and sick_size, the healthy one
 *   error        error_percent, with usual_least and usual_most, the range that is usual for its scheme */
static json_t *autopsy_place_of(const json_t *report, const json_t *row)
{
    const json_t *const expected = limits_of(report, row, /*expected=*/true);
    const json_t *const healthy = limits_of(report, row, /*expected=*/false);
    return ORGAN_OBJECT(
        SET_HELD("layer", json_object_get(row, "layer")), SET_HELD("role", json_object_get(row, "role")),
        SET_FINITE("strain", excess_of(row, expected)), SET_FINITE("std", organ_json_number(row, "std")),
        SET_FINITE("std_least", std_limit(expected, LEAST)), SET_FINITE("std_most", std_limit(expected, MOST)),
        SET_FINITE("sick_least", std_limit(healthy, LEAST)), SET_FINITE("sick_most", std_limit(healthy, MOST)),
        SET_FINITE("size", largest_absolute_value(row)), SET_FINITE("size_most", largest_absolute_value(expected)),
        SET_FINITE("sick_size", largest_absolute_value(healthy)), SET_FINITE("error", error_percent(row)),
        SET_FINITE("usual_least", usual_error(report, row, LEAST)),
        SET_FINITE("usual_most", usual_error(report, row, MOST)));
}

/* `matrices` selects only matrices; `names` only weights whose names are members of this object (NULL: all). */
static json_t *places_of(const json_t *report, bool matrices, const json_t *names)
{
    const json_t *const tensors = json_object_get(report, "tensors");
    json_t *const places = json_array();
    for (size_t k = 0; k < json_array_size(tensors); k++) {
        const json_t *const row = organ_json_row_at(tensors, k), *const layer = json_object_get(row, "layer");
        if (json_is_integer(layer) && json_integer_value(layer) >= 0 && *organ_json_text(row, "role") &&
            (!matrices || json_array_size(json_object_get(row, "shape")) > 1) &&
            (!names || json_object_get(names, organ_json_text(row, "name"))))
            json_array_append_new(places, autopsy_place_of(report, row));
    }
    return places;
}

static bool has_number(const json_t *places, const char *value)
{
    for (size_t k = 0; k < json_array_size(places); k++)
        if (isfinite(organ_json_number(organ_json_row_at(places, k), value)))
            return true;
    return false;
}

/* Returns whether the member `value` of a row is near its member `limit`: beyond the limit, or within a factor of 5 of
 * it. `upper`: `limit` is an upper limit. Charts draw only limits that a weight is near. */
static bool has_near(const json_t *places, const char *value, const char *limit, bool upper)
{
    for (size_t k = 0; k < json_array_size(places); k++) {
        const json_t *const row = organ_json_row_at(places, k);
        const double x = organ_json_number(row, value), end = organ_json_number(row, limit);
        if (x > 0 && end > 0 && (upper ? x > end / 5 : x < end * 5))
            return true;
    }
    return false;
}

/* ---- findings and remarks ---- */

/* Findings and remarks with the same SENSE are merged: shown once, with their number (organ_rows_merged). Remarks of
 * the kinds "note" and "unread" (a weight could not be read) are merged only if their values are equal, too. UNUSUAL
 * selects all remarks but those on expected ranges, which the sentence UNEXPECTED counts. */
#define SENSE   "{what}\n{cause}"
#define UNUSUAL "!kind=expected"

/* Returns words such as "12 q_proj, 1 norm": the tensors of each role that are outside of the expected ranges. The list
 * ends after about 360 bytes. */
static json_t *unexpected_of(const json_t *roles)
{
    char text[400] = "";
    for (size_t k = 0; k < json_array_size(roles); k++) {
        const json_t *const row = organ_json_row_at(roles, k);
        const unsigned long long count = organ_json_count(row, "outside_expected");
        const size_t used = strlen(text);
        if (count > 0 && used < 360)
            snprintf(text + used, sizeof text - used, "%s%llu %s", used ? ", " : "", count,
                     organ_json_text(row, "role"));
    }
    return organ_document_string(text); /* a name cut in the middle of a character is no UTF-8 */
}

static unsigned long long count_outside_expected(const json_t *roles)
{
    unsigned long long sum = 0;
    for (size_t k = 0; k < json_array_size(roles); k++)
        sum += organ_json_count(organ_json_row_at(roles, k), "outside_expected");
    return sum;
}

/* If all tensors of each role that has any outside of the expected ranges are outside, and these are 8 or more, then
 * the ranges, which were measured on other models, say nothing about single tensors. */
static bool ranges_do_not_fit(const json_t *roles)
{
    enum { ENOUGH = 8 };
    for (size_t k = 0; k < json_array_size(roles); k++) {
        const json_t *const row = organ_json_row_at(roles, k);
        const unsigned long long outside = organ_json_count(row, "outside_expected");
        if (outside > 0 && outside < organ_json_count(row, "tensors"))
            return false;
    }
    return count_outside_expected(roles) >= ENOUGH;
}

/* `name` is that of a row of "roles", or of the role to which the row belongs. */
static bool autopsy_has_role(const json_t *report, const char *name)
{
    const json_t *const rows = json_object_get(report, "roles");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const char *const found = organ_json_text(organ_json_row_at(rows, k), "role");
        const organ_role role = organ_anatomy_row_role(organ_anatomy_row_named(found));
        if (strcmp(found, name) == 0 || strcmp(organ_role_describe(role)->name, name) == 0)
            return true;
    }
    return false;
}

/* The ranges are the expected and the healthy one of each role that the model has; report.ranges has those of all
 * roles. */
static json_t *ranges_of(const json_t *report)
{
    json_t *const rows = json_array(), *limits;
    const char *role;
    json_object_foreach(json_object_get(report, "ranges"), role, limits)
    {
        if (!autopsy_has_role(report, role))
            continue;
        const json_t *const both[] = {json_object_get(limits, "expected"), limits};
        for (size_t k = 0; k < 2 && json_is_object(limits); k++)
            json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("role", role),
                                                     SET_TEXT("limit", k == 0 ? "expected" : "healthy"),
                                                     SET_HELD("mean", json_object_get(both[k], "mean")),
                                                     SET_FINITE("least_std", std_limit(both[k], LEAST)),
                                                     SET_FINITE("most_std", std_limit(both[k], MOST)),
                                                     SET_HELD("min", json_object_get(both[k], "min")),
                                                     SET_HELD("max", json_object_get(both[k], "max"))));
    }
    return rows;
}

static unsigned long long count_unshown(const json_t *senses)
{
    unsigned long long hidden = 0;
    for (size_t k = MAX_SHOWN; k < json_array_size(senses); k++)
        hidden += organ_json_count(organ_json_row_at(senses, k), "count");
    return hidden;
}

/* Returns a copy of the document with the members that only its view needs:
 *
 *   causes       merged findings
 *   reasons      merged remarks
 *   senses       merged remarks, but notes and unread weights are merged only if their values are equal
 *   hidden       number of remarks that a terminal does not show
 *   unexpected   unexpected_of; "one_unexpected" is true if it counts one weight
 *   unfit        ranges_do_not_fit
 *   noted        number of remarks; if `unfit`, those on expected ranges count as one
 *   limits       ranges_of
 *   places       rows (places_of) of all weights in layers
 *   in_layers    rows of all matrices in layers
 *   sick         rows of weights with findings in layers
 *   nears_...    the rows "in_layers" if a weight is near this limit of the healthy range
 *   compared     whether a matrix was compared with the other model
 *
 * Returns NULL if out of memory. */
static json_t *autopsy_of(const json_t *report)
{
    const json_t *const findings = json_object_get(report, "findings"), *const all = json_object_get(report, "remarks");
    const json_t *const roles_found = json_object_get(report, "roles");
    const unsigned long long outside = count_outside_expected(roles_found);
    const bool unfit = ranges_do_not_fit(roles_found);
    ORGAN_OWNED_JSON json_t *const names = json_object();
    for (size_t k = 0; k < json_array_size(findings); k++)
        json_object_set_new(names, organ_json_text(organ_json_row_at(findings, k), "tensor"), json_true());
    json_t *const senses = organ_rows_merged(report, all, UNUSUAL, SENSE "\n{kind=note|kind=unread?{value}}");
    json_t *const matrices = places_of(report, /*matrices=*/true, /*names=*/NULL);
    json_t *const more = ORGAN_OBJECT(
        SET_COUNT("hidden", count_unshown(senses)), SET("senses", senses),
        SET("causes", organ_rows_merged(report, findings, UNUSUAL, SENSE)),
        SET("reasons", organ_rows_merged(report, all, UNUSUAL, SENSE)), SET("unexpected", unexpected_of(roles_found)),
        SET_FLAG("one_unexpected", outside == 1), SET_FLAG("unfit", unfit),
        SET_COUNT("noted", json_array_size(all) - (unfit ? outside - 1 : 0)), SET("limits", ranges_of(report)),
        SET("sick", places_of(report, /*matrices=*/false, names)),
        SET("places", places_of(report, /*matrices=*/false, /*names=*/NULL)),
        SET_IF(has_near(matrices, "std", "sick_most", /*upper=*/true), "nears_most", json_incref(matrices)),
        SET_IF(has_near(matrices, "std", "sick_least", /*upper=*/false), "nears_least", json_incref(matrices)),
        SET_IF(has_near(matrices, "size", "sick_size", /*upper=*/true), "nears_size", json_incref(matrices)),
        SET_FLAG("compared", has_number(matrices, "error")), SET("in_layers", matrices));
    return organ_json_joined(json_copy((json_t *)(uintptr_t)report), more);
}

/* ---- tables ---- */

static const organ_field roles[] = {
    FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_COUNT("n", "tensors"),
    FIELD_MAYBE_GENERAL("|mean|", "largest_mean", 3),
    FIELD_MAYBE_GENERAL("std", "least_std", 3),
    FIELD_MAYBE_GENERAL("to", "largest_std", 3),
    FIELD_MAYBE_GENERAL("min", "min", 3),
    FIELD_MAYBE_GENERAL("max", "max", 3),
    FIELD_PERCENT("zeros", "zero_percent"),
    FIELD_COUNT("findings", "findings"),
    FIELD_IF("other", "mean error", "against_other.mean_relative_error", "share", ORGAN_FIELD_MAYBE),
    FIELD_IF("other", "largest", "against_other.largest_relative_error", "share", ORGAN_FIELD_MAYBE)};
static const organ_field tensors[] = {
    FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_TEXT("stored", "stored", ORGAN_FIELD_SHORTENS),
    FIELD_MAYBE_GENERAL("mean", "mean", 3),
    FIELD_MAYBE_GENERAL("std", "std", 3),
    FIELD_MAYBE_GENERAL("min", "min", 3),
    FIELD_MAYBE_GENERAL("max", "max", 3),
    FIELD_MAYBE_GENERAL("kurtosis", "kurtosis", 3),
    FIELD_PERCENT("zeros", "zero_percent"),
    FIELD_WORDS("levels", "{levels>-1?{levels:count}|{levels?more|-}}", 0),
    FIELD_IF("other", "error", "against_other.relative_error", "share", ORGAN_FIELD_MAYBE),
    FIELD_IF("other", "cosine", "against_other.cosine", ".3g", ORGAN_FIELD_MAYBE)};
static const organ_field limits[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_CODE),
                                     FIELD_TEXT("limit", "limit", 0),
                                     FIELD_GENERAL("|mean|", "mean", 3),
                                     FIELD_GENERAL("std from", "least_std", 3),
                                     FIELD_GENERAL("to", "most_std", 3),
                                     FIELD_GENERAL("min", "min", 3),
                                     FIELD_GENERAL("max", "max", 3)};
static const organ_field marks[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                    FIELD_TEXT("what", "what", 0), FIELD_TEXT("value", "value", 0),
                                    FIELD_TEXT("healthy", "range", ORGAN_FIELD_MAYBE)};
static const organ_field causes[] = {FIELD_TEXT("what", "what", 0), FIELD_TEXT("usual cause", "cause", 0)};
static const organ_field trials[] = {
    FIELD_TEXT("all scales times", "scales", 0), FIELD_MAYBE_GENERAL("perplexity", "perplexity", 4),
    FIELD_MAYBE_GENERAL("nats per token", "nll_difference", 3), FIELD_MAYBE_GENERAL("+-", "nll_difference_error", 2)};
static const organ_field unmatched[] = {
    FIELD_TEXT("tensor that belongs to no weight", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_TEXT("why", "why", 0)};

/* ---- blocks ---- */

/* UNEXPECTED: a sentence about weights outside the expected ranges. MARKED: a finding or remark in Markdown. */
#define UNEXPECTED                                                                                                     \
    "{unfit?the expected ranges do not fit this model, which is not a fault and usual for small models: all "          \
    "{roles:sum.outside_expected} tensors of these roles are outside: {unexpected}|{roles:sum.outside_expected} "      \
    "tensor{one_unexpected? is|s are} outside the expected ranges, which is not a fault: {unexpected}}."
#define MARKED                                                                                                         \
    "{tensor:code}, **{what}**: {value}.{range? Healthy: {range}.} {cause} More: {command:code}"                       \
    "{count>1?\n  The same finding applies to {count:-1} more tensors: see autopsy.json.}"
/* The verdict; `with` and `also` are texts about the remarks. The page's lead has none, because it is made of the
 * document without the view's own members, such as `noted`. */
#define VERDICT(with, also)                                                                                            \
    "{findings?NOT healthy: {findings:size} finding{findings:s}" with " on {weights:count} "                           \
    "tensor{weights:s}.|Healthy: {weights:count} tensor{weights:s}, no finding" also ".}"
#define NOTED  "{noted} remark{noted:s}"
#define INDENT "           " /* of the lines below the first line of a finding */

static const organ_item highlights[] = {{NULL, "findings", "{findings:size}"},
                                        {NULL, "remarks", "{noted}"},
                                        {NULL, "tensors, of which every value was read", "{weights:count}"},
                                        {NULL, "of them packed", "{packed:count}"}};

static const organ_block scheme[] = {
    SAY(ON_TERMINAL | ON_PAGE, NULL,
        "{tensors:count} tensor{tensors:s} stored as {stored}{/other?: a relative error of "
        "{usual_error_percent.0:.3g} to {usual_error_percent.1:.3g} % is usual}.")};
static const organ_block finding[] = {
    SAY_AFTER(ON_TERMINAL, NULL, "  FINDING  ", "{tensor}: {what}: {value}"),
    SAY_AFTER(ON_TERMINAL, "range", INDENT, "Healthy: {range}."),
    SAY_AFTER(ON_TERMINAL, "cause", INDENT, "{cause}"),
    LINES(NULL, INDENT "{command}\n"),
    ITEM(ON_MARKDOWN, NULL, MARKED),
};
static const organ_block remark[] = {
    SAY_AFTER(ON_TERMINAL, "count=1", "  remark   ", "{tensor}: {what}: {value}. {cause}"),
    SAY_AFTER(ON_TERMINAL, "count>1", "  remark   ",
              "{count} tensors: {what}; the first is {tensor}: {value}. {cause}"),
    ITEM(ON_MARKDOWN, NULL, MARKED)};

static const organ_block findings[] = {
    SECTION(ON_FILES, NULL, "Findings"),
    EACH_IF(ON_TERMINAL, NULL, "findings", BLOCKS_OF(finding), .max = MAX_SHOWN,
            .rest = "And {more} more; --json has all of them."),
    EACH(ON_MARKDOWN, "findings", BLOCKS_OF(finding)),
    GAP("findings"),
    SAY(ON_MARKDOWN, "!findings", "None."),
    SAY(ON_PAGE, "!findings", "None."),
    TABLE(ON_PAGE, "findings", "findings", FIELDS(marks), .max = MAX_ROWS, .what = "findings",
          .caption = "Weights with findings"),
    TABLE(ON_PAGE, "causes", "causes", FIELDS(causes), .max = MAX_CAUSES),
    SAY(ON_PAGE, "findings", "For details:"),
    EACH(ON_PAGE, "findings", BLOCKS(COMMAND(ON_PAGE, NULL, "{command}")), .where = "command", .new = "command",
         .max = MAX_COMMANDS),
};

/* The two limits are series without rows, so omitted, unless a weight is near them (has_near). */
static const organ_panels_of spread = {
    .style = {.title = "Standard deviation of the weights by layer",
              .subtitle = "look for jumps between layers and for layers that differ from their neighbours",
              .description = "Standard deviation of each matrix over the layers, one panel per role, logarithmic, with "
                             "the expected range.",
              .y_label = "std (log scale)",
              .log_y = true,
              .band_name = "expected"},
    .role = "role",
    .series = {{"std", "in_layers", "std", 0, false},
               {"healthy: at most", "nears_most", "sick_most", 0, true},
               {"healthy: at least", "nears_least", "sick_least", 0, true}},
    .edges = {"std_least", "std_most"},
    .caption =
        "A limit of the healthy range is drawn if a weight comes near it; the table of ranges below has all limits. A "
        "weight of zeros only cannot be drawn on a logarithmic axis: it is a gap here and a finding above."};
static const organ_panels_of sizes = {
    .style = {.title = "Largest value by layer",
              .subtitle = "the largest |w| of each matrix; codes of low precision represent single large values badly",
              .description = "Largest magnitude in each matrix over the layers, one panel per role, logarithmic, with "
                             "the expected maximum.",
              .y_label = "max |w| (log scale)",
              .log_y = true,
              .band_name = "expected maximum"},
    .role = "role",
    .series = {{"max |w|", "in_layers", "size", 1, false}, {"healthy: at most", "nears_size", "sick_size", 0, true}},
    .edges = {NULL, "size_most"},
    .caption = "The upper edge of the band is the largest magnitude that is expected of the role."};
static const organ_panels_of distances = {
    .style = {.title = "Distance from the other model by layer",
              .subtitle =
                  "norm of the difference relative to the norm of the other model's weight; 100 and more shown as 100",
              .description = "Relative error of each matrix against the same matrix of the other model over the "
                             "layers, one panel per role, with the range that is usual for its type.",
              .y_label = "relative error, %",
              .band_name = "usual for this type"},
    .role = "role",
    .series = {{"relative error", "in_layers", "error", 0, false}},
    .edges = {"usual_least", "usual_most"},
    .caption = "More than is usual is a finding unless rounding, pruning, training, a merge or a filter explains it."};

static const organ_block charts[] = {
    SECTION(ON_PAGE, "places.*.strain", "Layers"),
    MAP("places.*.strain", "places",
        .style = {.title = "Distance of each weight from the expected limits",
                  .subtitle = "1: at the limit; below: within; above: outside by this factor (99 and more shown as 99)",
                  .description =
                      "For each role and layer the largest of |mean|, std and values, each compared with the limit "
                      "of its role. Weights with findings are outlined.",
                  .value_label = "of the limit",
                  .mark_name = "has a finding",
                  .high = 2,
                  .diverging = true},
        .role = "role", .value = "strain", .marks = "sick", .inside = true,
        .caption = "Outlined weights have findings. Above 1 a weight is outside the expected ranges of its role, which "
                   "alone is not a fault: small models have wider weights, large ones narrower."),
    PANELS("in_layers", &spread),
    PANELS("in_layers", &sizes),
    SECTION(ON_PAGE, "compared", "Compared with the other model"),
    EACH_IF(ON_PAGE, "compared", "schemes", BLOCKS_OF(scheme)),
    PANELS("compared", &distances),
};

static const organ_block remarks[] = {
    SECTION(ON_FILES, NULL, "Remarks"),
    SAY(ON_PAGE, "!remarks&!notes&!strays", "None."),
    SAY_AFTER(ON_TERMINAL, "unexpected", "  remark   ", UNEXPECTED " The ranges: organ autopsy --print-ranges"),
    ITEM(ON_MARKDOWN, "unexpected", UNEXPECTED),
    SAY(ON_PAGE, "unexpected", UNEXPECTED),
    EACH(ON_TERMINAL, "senses", BLOCKS_OF(remark), .max = MAX_SHOWN),
    SAY(ON_TERMINAL, "hidden", "And {hidden} more remarks; --json has all of them."),
    EACH(ON_MARKDOWN, "senses", BLOCKS_OF(remark)),
    TABLE_WHERE(ON_PAGE, "senses", "remarks", UNUSUAL, FIELDS(marks), .max = MAX_ROWS, .what = "remarks",
                .caption = "Remarks: unusual values that alone are not faults"),
    TABLE(ON_PAGE, "reasons", "reasons", FIELDS(causes), .max = MAX_CAUSES),
    EACH(ON_ALL, "notes",
         BLOCKS(SAY_AFTER(ON_TERMINAL | ON_PAGE, NULL, "  note     ", "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}"))),
    SAY(ON_MARKDOWN, "!remarks&!notes", "None."),
    EACH_IF(ON_TERMINAL, NULL, "strays",
            BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  note     ", "{tensor} belongs to no weight: {why}")),
            .where = "!known", .max = MAX_SHOWN,
            .rest = "And {more} more tensors that belong to no weight; --json has all of them."),
    TABLE(ON_PAGE, "strays", "strays", FIELDS(unmatched), .max = MAX_ROWS, .what = "such tensors",
          .caption = "Tensors that belong to no weight"),
};

static const organ_block blocks[] = {
    LINES(NULL, "Autopsy of {model:model}{other?\nagainst    {other:model}}\n\n"),
    HEADING("Autopsy of {model.name}{other? against {other.name}}"),
    WARNINGS,
    SAY(ON_MARKDOWN, NULL,
        "**{findings?Not healthy|Healthy}**: {findings:size} finding{findings:s}, {remarks:size} remark{remarks:s}."),
    HIGHLIGHTS(NULL, highlights),
    EACH(ON_TERMINAL, "schemes", BLOCKS_OF(scheme)),
    GAP("schemes"),
    TABLE(ON_TEXT, NULL, "roles", FIELDS(roles)),
    MATRICES_SHARE("", "examined weights are"),
    MATRICES_LEFT("", "not examined"),
    TABLE(ON_TENSORS, NULL, "tensors", FIELDS(tensors)),
    TABLE(ON_ALL, "scale_test", "scale_test.trials", FIELDS(trials),
          .caption = "Prediction of the text with all scales times a factor"),
    PART(ON_ALL, ".", BLOCKS_OF(findings)),
    PART(ON_PAGE, ".", BLOCKS_OF(charts)),
    PART(ON_ALL, ".", BLOCKS_OF(remarks)),
    SECTION(ON_PAGE, NULL, "Roles"),
    TABLE(ON_PAGE, NULL, "roles", FIELDS(roles), .caption = "Extreme values of the weights of each role"),
    SECTION(ON_FILES, NULL, "Tensors"),
    TABLE(ON_FILES, NULL, "tensors", FIELDS(tensors), .max = MAX_TENSORS, .what = "tensors",
          .caption = "Dequantised values of every weight"),
    SECTION(ON_FILES, NULL, "Ranges"),
    SAY(ON_FILES, NULL, "A value outside the expected range is a remark, one outside the healthy range a finding."),
    TABLE(ON_FILES, NULL, "limits", FIELDS(limits), .caption = "Ranges used"),
    GAP(NULL),
    SAY_AFTER(ON_TERMINAL, NULL, "", VERDICT(" and " NOTED, ", " NOTED)),
    TIME_LINE(""),
    DEFINITIONS,
};

const organ_view organ_autopsy_view = {.schema = "organ.autopsy/1",
                                       .kind = "Autopsy",
                                       .title = "{model.name}{other? against {other.name}}",
                                       .lead = VERDICT("", ""),
                                       .files = {"autopsy.json", "AUTOPSY_REPORT.md", NULL},
                                       .make = autopsy_of,
                                       BLOCKS_OF(blocks)};
