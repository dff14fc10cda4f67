/* SPDX-License-Identifier: MIT
 * The view of organ.purify/1, the report of `organ purify`. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

/* Method, parameters and targets of the purification. */
#define HOW                                                                                                            \
    "{parameters.method}, threshold {parameters.threshold}, strength {parameters.strength}; "                          \
    "{parameters.type?tensors of type {parameters.type}|the projections}{parameters.layers? in layers "                \
    "{parameters.layers}}"
#define NO_EVIDENCE "A higher theta is no evidence of a better model."

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"dry_run", "tensors would be purified; nothing was written", "{totals.tensors}"},
    {"!dry_run", "of their energy was removed", "{totals.energy_removed_percent:percent}"},
    {"!dry_run", "tensors were purified", "{totals.tensors}"},
    {"!dry_run",
     "mean theta after; before: {totals.theta_before?{totals.theta_before:.2f}°|–}; no evidence of a better model",
     "{totals.theta_after?{totals.theta_after:.2f}°|–}"}};

static const organ_field roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                    FIELD_COUNT("tensors", "tensors"),
                                    FIELD_COUNT("weights", "elements"),
                                    FIELD_IF("!dry_run", "energy removed", "energy_removed_percent", "percent", 0),
                                    FIELD_IF("!dry_run", "theta before", "theta_before", ".2f", 0),
                                    FIELD_IF("!dry_run", "theta after", "theta_after", ".2f", 0)};

static const organ_field tensors[] = {
    FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),   FIELD_TEXT("type", "dtype", 0),
    FIELD_GENERAL("energy before", "energy_before", 6), FIELD_GENERAL("energy after", "energy_after", 6),
    FIELD_PERCENT("removed", "energy_removed_percent"), FIELD_FIXED("theta before", "theta_before", 2),
    FIELD_FIXED("theta after", "theta_after", 2)};

static const organ_field left_alone[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("type", "dtype", 0)};

static const organ_block commands[] = {COMMAND(ON_ALL, NULL, "{.}")};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Purified", "model") "\nby " HOW "\n\n"),
    HEADING("Purification of {model.name}"),
    HIGHLIGHTS(NULL, highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_FILES, NULL, "Definition {definition}: " HOW "."),
    WARN(ON_FILES, "warning", "{warning.text}"),
    EACH(ON_FILES, "warning.commands", BLOCKS_OF(commands)),
    WARN(ON_PAGE, "!dry_run", NO_EVIDENCE),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Layers and roles"),
    MAP("!dry_run&tensors", "tensors",
        .style = {.title = "Energy removed by layer and role",
                  .description = "Percent of the energy of the tensors of each role in each layer that was removed. "
                                 "The table of tensors "
                                 "has the numbers.",
                  .value_label = "energy removed, percent"},
        .role = "role", .value = "energy_removed_percent", .weight = "energy_before", .step = 5,
        .caption = "Energy that the filter classified as noise and removed, as a share of the original energy."),
    BARS("!dry_run", "roles",
         .style = {.title = "Theta before and after",
                   .subtitle = "mean over the tensors of a role",
                   .description = "Two bars for each role: its mean theta before and after, in degrees.",
                   .value_label = "theta, degrees",
                   .series = {"before", "after"},
                   .digits = 3,
                   .unit = "°"},
         .name = "role", .values = {"theta_before", "theta_after"},
         .caption = "Theta measures how far values are from noise, not how good a model is: a filter that destroys a "
                    "model can raise it."),
    TABLE(ON_ALL, NULL, "roles", FIELDS(roles), .total = "all purified", .total_row = "totals",
          .caption = "{dry_run?Tensors that would be purified.|Removed energy as a share of the original energy, and "
                     "the mean theta in degrees.}"),
    MATRICES_SHARE("", "{dry_run?targets|purified weights} are"),
    MATRICES_FEW("!parameters.type&!parameters.layers&", "{dry_run?targets|purified}",
                 "The others have names that are not in organ's default, or types that organ cannot write."),
    MATRICES_LEFT("", "not purified"),
    SAY(ON_TERMINAL, "left_alone",
        "Copied unchanged: {left_alone:size} tensor{left_alone:s} of types that organ cannot write, "
        "{left_alone=1?that is|the first} {left_alone.0.tensor}."),
    SAY(ON_TEXT, "!dry_run", NO_EVIDENCE),
    GAP("warning"),
    WARN(ON_TERMINAL, "warning", "{warning.text}"),
    EACH(ON_TERMINAL, "warning.commands", BLOCKS_OF(commands)),
    SECTION(ON_FILES, "!dry_run", "Tensors"),
    TABLE(ON_FILES, "!dry_run", "tensors", FIELDS(tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Energy of every tensor before and after, the removed share, and theta in degrees."),
    SECTION(ON_FILES, "left_alone", "Copied unchanged"),
    SAY(ON_MARKDOWN, "left_alone", "Projections in types that cannot be written:"),
    EACH(ON_MARKDOWN, "left_alone", BLOCKS(ITEM(ON_MARKDOWN, NULL, "{tensor:code} ({dtype})"))),
    TABLE(ON_PAGE, "left_alone", "left_alone", FIELDS(left_alone), .max = EVERY_TENSOR,
          .what = "tensors copied unchanged", .caption = "Projections in types that cannot be written."),
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of purified weights"),
    REPORT_LINE("PURIFY_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_purify_view = {
    .schema = "organ.purify/1",
    .kind = "Purification",
    .title = "{model.name}",
    .lead = "{dry_run?A dry run: the tensors that would be purified.|The noise that was removed from each tensor.}",
    BLOCKS_OF(blocks)};
