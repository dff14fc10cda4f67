/* SPDX-License-Identifier: MIT
 * organ.experts/1 */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/view/parts.h"
#include "orchestrator/report/view/views.h"

#include <stdio.h>

static const organ_item merits[] = {
    EVALUATION_MERITS,
    {NULL, "of {experts_before:count} experts {dry_run?would stay|stayed} in each layer", "{experts_after:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

static const organ_field layers[] = {
    FIELD_COUNT("layer", "layer"), FIELD_COUNT("experts", "experts"),
    FIELD_WORDS("stay", "{kept_experts?{kept_experts:size}|{experts?all|-}}", 0),
    FIELD_WORDS("which", "{kept_experts?{kept_experts:join}|{experts?all|-}}", ORGAN_FIELD_LEFT)};

static const organ_field losses[] = {FIELD_COUNT("layer", "layer"), FIELD_COUNT("stay", "keep"),
                                     FIELD_WORDS("missed", "{missed:share}", 0)};

static const organ_field healed[] = {FIELD_COUNT("layer", "layer"), FIELD_WORDS("missed before", "{before:~3}", 0),
                                     FIELD_WORDS("missed after", "{after:~3}", 0), FIELD_WORDS("lambda", "{lambda}", 0),
                                     FIELD_WORDS("healed", "{healed?yes|no}", 0)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Cut experts out of", "model") "\n\n"),
    HEADING("Experts of {model.name}"),
    MERITS(NULL, merits),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}. Model: {model:model}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    WARN(ON_ALL, "uneven",
         "One budget for all layers would leave other numbers of experts in each, and config.json and GGUF have one "
         "number for all: this "
         "is a plan, and nothing could load such a model."),
    TABLE(ON_TERMINAL, NULL, "settings", FIELDS(settings)),
    SAY(ON_TEXT, NULL,
        "{experts_after:count} of {experts_before:count} experts {dry_run?would stay|stay} in each layer: "
        "{bytes_before:bytes} "
        "{dry_run?would become|became} {bytes_after:bytes}. {heal?Their down projections {dry_run?would be|are} solved "
        "anew, all "
        "else {dry_run?would stay|is} as it was.|Their bytes {dry_run?would stay|are} as they were.}"),
    SAY(ON_ALL, "left_out",
        "{left_out:count} {left_out=1?block|blocks} behind the last one, for tokens after the next, {dry_run?would "
        "be|{left_out=1?is|are}} "
        "left out: no text goes through, and nothing tells which experts to keep there."),
    SAY(ON_ALL, "heal&!dry_run",
        "{heal.healed_layers:count} of {heal.layers:size} layers {heal.healed_layers=1?is|are} healed: they miss less "
        "than before on the "
        "{heal.held_windows:count} windows held back."),
    SAY(ON_TEXT, "dry_run&measurement",
        "Which ones is to be measured{measurement.products_in_scratch?, with {measurement.products_bytes:bytes} in the "
        "scratch file|}."),
    SECTION(ON_PAGE, NULL, "Layers"),
    GRID(NULL, "kept",
         .style = {.title = "Which experts stay",
                   .description = "A row for each layer, a cell for each of its experts: 1 for one that stays, 0 for "
                                  "one that is cut out.",
                   .row_label = "layer",
                   .column_label = "expert",
                   .value_label = "stays",
                   .high = 1},
         .name = "name", .values = "flags",
         .caption = "1 stays, 0 is cut out; experts are counted as the model before has them."),
    TABLE(ON_FILES, NULL, "layers", FIELDS(layers),
          .caption = "Experts of each layer, and which of them {dry_run?would stay|stay}", .max = EVERY_TENSOR,
          .what = "layers"),
    TABLE(ON_ALL, "uneven", "losses", FIELDS(losses), .caption = "Experts of each layer by one budget",
          .max = EVERY_TENSOR, .what = "layers"),
    SECTION(ON_FILES, "heal&!dry_run", "Heal"),
    BARS("heal&!dry_run", "heal.layers",
         .style = {.title = "What each layer misses, before and after its heal",
                   .subtitle = "squared, a token, over the windows held back",
                   .description = "Two bars for each layer: what the state behind it misses with the kept experts as "
                                  "they were, and with "
                                  "their down projections solved anew.",
                   .value_label = "missed",
                   .series = {"before", "after"},
                   .digits = 3},
         .named = "layer {layer}", .values = {"before", "after"},
         .caption = "A layer is healed where that helps on tokens that it was not fitted to."),
    TABLE(ON_FILES, "heal&!dry_run", "heal.layers", FIELDS(healed),
          .caption = "What each layer misses, squared, a token, over the windows held back", .max = EVERY_TENSOR,
          .what = "layers"),
    SECTION(ON_FILES, NULL, "Settings"),
    TABLE(ON_FILES, NULL, "settings", FIELDS(settings), .caption = "What changed in the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of output"),
    REPORT_LINE("EXPERTS_REPORT.md"),
    DEFINITIONS,
};

/* A flag for each expert of a layer: what the picture shows. */
static json_t *flags_of(const json_t *layer)
{
    const json_t *const kept = json_object_get(layer, "kept_experts");
    const size_t experts = (size_t)json_integer_value(json_object_get(layer, "experts"));
    json_t *const flags = json_array();
    for (size_t e = 0, at = 0; e < experts; e++) {
        const bool stays = !json_is_array(kept) || json_integer_value(organ_json_row_at(kept, at)) == (json_int_t)e;
        at += stays;
        json_array_append_new(flags, json_integer(stays));
    }
    return flags;
}

static json_t *with_flags(const json_t *report)
{
    json_t *const made = json_copy((json_t *)report), *const rows = json_array(), *const shown = json_array();
    const json_t *const all = json_object_get(report, "layers");
    for (size_t l = 0; l < json_array_size(all); l++) {
        const json_t *const layer = organ_json_row_at(all, l);
        char name[32];
        if (json_is_null(json_object_get(layer, "becomes")))
            continue;
        json_array_append(shown, (json_t *)layer);
        if (!json_is_integer(json_object_get(layer, "experts")))
            continue;
        snprintf(name, sizeof name, "%zu", l);
        json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("name", name), SET("flags", flags_of(layer))));
    }
    if (made && (json_object_set_new(made, "kept", rows) | json_object_set_new(made, "layers", shown)) == 0)
        return made;
    json_decref(made);
    return NULL;
}

const organ_view organ_experts_view = {
    .schema = "organ.experts/1",
    .kind = "Experts",
    .title = "{model.name}",
    .lead = "{experts_after:count} of {experts_before:count} experts {dry_run?would stay|stay} in each "
            "layer; {heal?their down projections are solved anew|what stays keeps its bytes}.",
    .make = with_flags,
    BLOCKS_OF(blocks)};
