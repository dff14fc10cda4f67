/* SPDX-License-Identifier: MIT
 * The view of organ.experts/1, the report of `organ experts`. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#include <stdio.h>

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "of {experts_before:count} experts {dry_run?would be kept|kept} in each layer", "{experts_after:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

static const organ_field layers[] = {
    FIELD_COUNT("layer", "layer"), FIELD_COUNT("experts", "experts"),
    FIELD_WORDS("kept", "{kept_experts?{kept_experts:size}|{experts?all|-}}", 0),
    FIELD_WORDS("kept experts", "{kept_experts?{kept_experts:join}|{experts?all|-}}", ORGAN_FIELD_LEFT)};

static const organ_field losses[] = {FIELD_COUNT("layer", "layer"), FIELD_COUNT("kept", "keep"),
                                     FIELD_WORDS("missed", "{missed:share}", 0)};

static const organ_field healed[] = {FIELD_COUNT("layer", "layer"), FIELD_WORDS("error before", "{before:~3}", 0),
                                     FIELD_WORDS("error after", "{after:~3}", 0), FIELD_WORDS("lambda", "{lambda}", 0),
                                     FIELD_WORDS("healed", "{healed?yes|no}", 0)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Removed experts from", "model") "\n\n"),
    HEADING("Experts of {model.name}"),
    HIGHLIGHTS(NULL, highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}. Model: {model:model}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    WARN(ON_ALL, "uneven",
         "One budget for all layers leaves a different number of experts in each, but config.json and GGUF have one "
         "number for all: this is only a plan, because no program could load such a model."),
    TABLE(ON_TERMINAL, NULL, "settings", FIELDS(settings)),
    SAY(ON_TEXT, NULL,
        "{experts_after:count} of {experts_before:count} experts {dry_run?would be kept|are kept} in each layer: "
        "{bytes_before:bytes} {dry_run?would become|became} {bytes_after:bytes}. {heal?Their down projections "
        "{dry_run?would be|are} refitted; all other tensors {dry_run?would stay|are} unchanged.|Their bytes "
        "{dry_run?would stay|are} unchanged.}"),
    SAY(ON_ALL, "left_out",
        "{left_out:count} {left_out=1?block|blocks} after the last layer, for multi-token prediction, {dry_run?would "
        "be|{left_out=1?is|are}} removed: the forward pass does not run them, so their experts have no scores."),
    SAY(ON_ALL, "draft_tensors",
        "The block for multi-token prediction {dry_run?would keep|keeps} all of its experts ({draft_tensors:count} "
        "tensors), byte for byte, because the forward pass does not run it. config.json has one number of experts for "
        "both, so only programs that do not load this block load the model: transformers, vLLM without speculative "
        "decoding by MTP, llama.cpp after organ convert or a conversion with --no-mtp."),
    SAY(ON_ALL, "heal&!dry_run",
        "{heal.healed_layers:count} of {heal.layers:size} layers {heal.healed_layers=1?is|are} refitted: their error "
        "on the {heal.held_windows:count} held-out window{heal.held_windows:s} fell."),
    SAY(ON_TEXT, "dry_run&measurement",
        "The run measures which ones to keep{measurement.products_in_scratch?, with {measurement.products_bytes:bytes} "
        "in the scratch file|}."),
    SECTION(ON_PAGE, NULL, "Layers"),
    GRID(NULL, "kept",
         .style = {.title = "Kept experts",
                   .description =
                       "A row for each layer, a cell for each of its experts: 1 if it is kept, 0 if it is removed.",
                   .row_label = "layer",
                   .column_label = "expert",
                   .value_label = "kept",
                   .high = 1},
         .name = "name", .values = "flags",
         .caption = "1: kept, 0: removed; experts have the numbers of the original model."),
    TABLE(ON_FILES, NULL, "layers", FIELDS(layers), .caption = "Experts of each layer, and the kept ones",
          .max = EVERY_TENSOR, .what = "layers"),
    TABLE(ON_ALL, "uneven", "losses", FIELDS(losses), .caption = "Experts of each layer by one budget",
          .max = EVERY_TENSOR, .what = "layers"),
    SECTION(ON_FILES, "heal&!dry_run", "Heal"),
    BARS("heal&!dry_run", "heal.layers",
         .style = {.title = "Error of each layer before and after its refit",
                   .subtitle = "squared error per token on the held-out windows",
                   .description = "Two bars for each layer: the error of the hidden state after it with the kept "
                                  "experts unchanged, and with their down projections refitted.",
                   .value_label = "squared error per token",
                   .series = {"before", "after"},
                   .digits = 3},
         .named = "layer {layer}", .values = {"before", "after"},
         .caption = "A layer is refitted only if that reduces the error on tokens that were not used for the fit."),
    TABLE(ON_FILES, "heal&!dry_run", "heal.layers", FIELDS(healed),
          .caption = "Squared error of each layer per token on the held-out windows", .max = EVERY_TENSOR,
          .what = "layers"),
    SECTION(ON_FILES, NULL, "Settings"),
    TABLE(ON_FILES, NULL, "settings", FIELDS(settings), .caption = "Changes of the configuration", .max = EVERY_TENSOR,
          .what = "settings"),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of output"),
    REPORT_LINE("EXPERTS_REPORT.md"),
    DEFINITIONS,
};

static json_t *flags_of(const json_t *layer)
{
    const json_t *const kept = json_object_get(layer, "kept_experts");
    const size_t experts = (size_t)json_integer_value(json_object_get(layer, "experts"));
    json_t *const flags = json_array();
    for (size_t e = 0, at = 0; e < experts; e++) { /* at: the next index in "kept_experts" */
        const bool stays = !json_is_array(kept) || json_integer_value(organ_json_row_at(kept, at)) == (json_int_t)e;
        at += stays;
        json_array_append_new(flags, json_integer(stays));
    }
    return flags;
}

/* "layers" of the copy has only the layers that the output has. Its new member "kept" has a row for each of these
 * layers that has experts: {"name": the donor's number of the layer, "flags": flags_of}. Returns NULL if memory runs
 * out. */
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
    if (ORGAN_ADD(made, SET("kept", rows), SET("layers", shown)))
        return made;
    json_decref(made);
    return NULL;
}

const organ_view organ_experts_view = {
    .schema = "organ.experts/1",
    .kind = "Experts",
    .title = "{model.name}",
    .lead = "{experts_after:count} of {experts_before:count} experts {dry_run?would be kept|are kept} in each layer; "
            "{heal?their down projections are refitted|their bytes are unchanged}.",
    .make = with_flags,
    BLOCKS_OF(blocks)};
