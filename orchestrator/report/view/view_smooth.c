/* SPDX-License-Identifier: MIT
 * The view of organ.smooth/1, the report of `organ quantize --smooth ALPHA --scheme none`. */
#include "orchestrator/report/view/view_parts.h"

#define HOW "alpha {parameters.alpha}, scales {parameters.scales}"

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "folds {dry_run?would be|were} scaled", "{totals.folds:count}"},
    {"!dry_run", "of {totals.channels:count} channels have a factor other than 1", "{totals.changed:count}"}};

static const organ_field folds[] = {FIELD_COUNT("layer", "layer"),
                                    FIELD_TEXT("fold", "fold", ORGAN_FIELD_LEFT),
                                    FIELD_COUNT("channels", "channels"),
                                    FIELD_IF("!dry_run", "changed", "changed", "count", 0),
                                    FIELD_IF("!dry_run", "least factor", "least", ".4g", 0),
                                    FIELD_IF("!dry_run", "greatest factor", "greatest", ".4g", 0),
                                    FIELD_IF("parameters.rounding", "predicted error", "predicted_error", ".3f", 0),
                                    FIELD_WORDS("producer", "{producer:join}", ORGAN_FIELD_LEFT),
                                    FIELD_WORDS("readers", "{readers:size}", 0)};

static const organ_field left[] = {FIELD_COUNT("layer", "layer"), FIELD_TEXT("place", "fold", ORGAN_FIELD_LEFT),
                                   FIELD_TEXT("why it has no fold", "why", ORGAN_FIELD_LEFT)};

static const organ_block blocks[] = {
    MADE_BEGIN("Smoothed", "\nby " HOW, "Smoothing", highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_FILES, NULL, "Definition {definition}: " HOW "."),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_TERMINAL, "!dry_run",
        "{totals.folds:count} folds; {totals.changed:count} of {totals.channels:count} channels have a factor other "
        "than 1."),
    EACH(ON_TERMINAL, "left_alone", BLOCKS(SAY(ON_TERMINAL, NULL, "Layer {layer}: no fold of {fold}: {why}.")),
         .new = "why"),
    SECTION(ON_FILES, NULL, "Folds"),
    TABLE(ON_FILES, NULL, "folds", FIELDS(folds), .max = EVERY_TENSOR, .what = "folds",
          .caption = "The producer is divided by the factors, the readers are multiplied by them."),
    SECTION(ON_FILES, "left_alone", "Places without a fold"),
    TABLE(ON_FILES, "left_alone", "left_alone", FIELDS(left), .max = EVERY_TENSOR, .what = "places",
          .caption = "Their tensors are not scaled there."),
    MADE_ENDING(" of output", "SMOOTH_REPORT.md"),
};

const organ_view organ_smooth_view = {
    .schema = "organ.smooth/1",
    .kind = "Smoothing",
    .lead = "{dry_run?Channels that would be scaled|Channels were scaled} such that activations have fewer outliers; "
            "the function of the model stays.",
    .files = {"smooth.json", "SMOOTH_REPORT.md", NULL},
    .made_by = "quantize",
    BLOCKS_OF(blocks)};
