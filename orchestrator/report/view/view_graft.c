/* SPDX-License-Identifier: MIT
 * The view of organ.graft/1, the report of a graft and of a chimera: a copy of the target model with tensors of the
 * source model. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_anatomy.h"
#include "orchestrator/report/view/views.h"

#include <stdint.h>

#define FITS "!mismatches" /* condition: source and target fit */

/* The row has the bytes of the output that "stayed" the target's, and those "grafted" from the source; null instead
 * of 0, for which no bar is drawn. */
static json_t *part_row(const void *context, size_t k)
{
    const json_t *const row = organ_json_row_at(context, k);
    const double grafted = organ_json_number(row, "grafted.bytes"), all = organ_json_number(row, "output.bytes");
    return ORGAN_OBJECT(SET_HELD("group", json_object_get(row, "group")),
                        SET_REAL_OF("stayed", all > grafted, all - grafted),
                        SET_REAL_OF("grafted", grafted > 0, grafted));
}

static json_t *with_graft_rows(const json_t *report)
{
    const json_t *const groups = json_object_get(report, "groups");
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    ORGAN_ADD(extended, SET("parts", organ_json_rows(json_array_size(groups), part_row, groups)),
              SET("cells", organ_layer_cells(report)),
              SET_HELD("definitions", organ_json_at(report, "evaluation.definitions")));
    return extended;
}

static const organ_item highlights[] = {
    {NULL, "of the output's elements come from the source", "{totals.percent_of_elements:percent}"},
    {NULL, "tensors {dry_run?would be|are} grafted", "{totals.grafted.tensors} of {totals.output.tensors}"},
    {NULL, "the header is {header_anew?rewritten|the target's, byte for byte}", "{header_anew?new|kept}"}};
static const organ_field groups[] = {FIELD_TEXT("group", "group", 0), FIELD_COUNT("grafted", "grafted.tensors"),
                                     FIELD_COUNT("of", "output.tensors"), FIELD_COUNT("elements", "grafted.elements"),
                                     FIELD_BYTES("size", "grafted.bytes")};
static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_TEXT("from", "from", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_TEXT("written as", "dtype", 0), FIELD_TEXT("was", "source_dtype", 0),
                                      FIELD_IF("!dry_run", "XXH3", "xxh3", NULL, ORGAN_FIELD_CODE)};
static const organ_field mismatches[] = {FIELD_NUMBER("number"),
                                         FIELD_WORDS("mismatch", "{.}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_block sentences[] = {SAY(ON_ALL, NULL, "{.}")};

static const organ_block blocks[] = {
    LINES(NULL, "{mismatches?Does not fit, nothing was written: |{dry_run?Dry run, nothing was written: |Grafted "
                "}}{source:model}\n"
                "into a copy of {target:model}\n{mismatches|dry_run?for |as }{run.output}\n\n"),
    EACH(ON_TERMINAL, "mismatches", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  MISMATCH  ", "{.}"))),
    HIGHLIGHTS(FITS, highlights),
    SAY(ON_PAGE, NULL, "Source: {source:model}."),
    SAY(ON_PAGE, NULL, "Target: {target:model}."),
    SECTION(ON_PAGE, FITS, "Copied tensors"),
    BARS(FITS, "parts",
         .style = {.title = "Anatomy",
                   .description = "Two bars for each part of the output: the bytes from the target and the bytes from "
                                  "the source. The table has the numbers.",
                   .value_label = "size",
                   .series = {"from the target", "from the source"},
                   .digits = 3},
         .name = "group", .values = {"stayed", "grafted"}, .bytes = true,
         .caption = "Parts of the output and their origin."),
    TABLE(ON_ALL, FITS, "groups", FIELDS(groups), .total = "whole model", .total_row = "totals",
          .caption = "Grafted share of each part of the output."),
    MAP(FITS, "cells",
        .style = {.title = "Share of the source by layer and role",
                  .description = "Percent of the elements of each role in each layer that come from the source; the "
                                 "others come from the target.",
                  .value_label = "from the source, percent",
                  .low = 0,
                  .high = 100},
        .role = "role", .value = "percent",
        .caption = "0: all from the target, 100: all from the source. The column \"none\" has the tensors outside the "
                   "layers."),
    SAY(ON_TERMINAL, FITS,
        "{totals.percent_of_elements:percent} of the output's elements come from the source. The header is "
        "{header_anew?rewritten|the target's, byte for byte}."),
    SECTION(ON_PAGE, FITS "&metadata|" FITS "&notes", "Notes"),
    EACH_IF(ON_TERMINAL, FITS, "metadata", BLOCKS_OF(sentences), .max = SHOWN, .rest = AND_MORE),
    EACH_IF(ON_TERMINAL, FITS, "notes", BLOCKS_OF(sentences), .max = SHOWN, .rest = AND_MORE),
    EACH_IF(ON_PAGE, FITS, "metadata", BLOCKS_OF(sentences)),
    EACH_IF(ON_PAGE, FITS, "notes", BLOCKS_OF(sentences)),
    SECTION(ON_PAGE, FITS, "Grafted tensors"),
    TABLE(ON_PAGE, FITS, "tensors", FIELDS(tensors), .max = EVERY_TENSOR, .what = "grafted tensors",
          .caption = "{dry_run?Tensors that would be copied from the source.|Tensors copied from the source, with the "
                     "digest of the written bytes.}"),
    SAY(ON_PAGE, FITS "&!dry_run",
        "If the type is unchanged, the digest equals that of the source's bytes. All other tensors have the target's "
        "bytes."),
    SECTION(ON_PAGE, "mismatches", "Mismatches"),
    TABLE(ON_PAGE, "mismatches", "mismatches", FIELDS(mismatches), .max = EVERY_TENSOR, .what = "mismatches",
          .caption = "All mismatches between source and target: first of the models, then of their tensors."),
    EVALUATION_ON(ON_TERMINAL | ON_PAGE),
    SAY(ON_TERMINAL, FITS "&!dry_run", TIME_WORDS(", on the disk")),
    PAGE_ENDING,
};
const organ_view organ_graft_view = {
    .schema = "organ.graft/1",
    .kind = "Graft",
    .title = "{source.name} into {target.name}",
    .lead = "{mismatches?The models do not fit: nothing was written.|{dry_run?A dry run: the tensors that would be "
            "grafted; nothing was written.|A copy of the target with the chosen tensors of the source.}}",
    .make = with_graft_rows,
    BLOCKS_OF(blocks)};
