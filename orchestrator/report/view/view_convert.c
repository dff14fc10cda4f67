/* SPDX-License-Identifier: MIT
 * The view of organ.convert/1, the report of `organ convert`. */
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

static const organ_item convert_highlights[] = {
    {NULL, "tensors", "{totals.tensors_after:count}"},
    {NULL, "before", "{totals.bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{totals.bytes_after:bytes}"}};

static const organ_field convert_types[] = {FIELD_TEXT("type", "type", ORGAN_FIELD_CODE),
                                            FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("bytes", "bytes")};

static const organ_block convert_blocks[] = {
    LINES(NULL, MADE_WORDS("Converted", "model") "\nto {parameters.to}, {parameters.dtype}\n\n"),
    HEADING("Conversion of {model.name}"),
    HIGHLIGHTS(NULL, convert_highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}; to {parameters.to}, matrices {parameters.dtype}."),
    SAY(ON_ALL, NULL, "{architecture} is general.architecture {general_architecture}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    SAY(ON_ALL, "by_name",
        "organ convert has no rules for this architecture: tensors have other names and the same values, and no "
        "forward pass has checked the output."),
    SECTION(ON_FILES, NULL, "Types"),
    TABLE(ON_ALL, NULL, "types", FIELDS(convert_types), .caption = "Tensors of the output by type"),
    SAY(ON_ALL, "totals.left_out",
        "{totals.left_out:count} tensors of vision, audio or multi-token prediction are left out."),
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of output"),
    REPORT_LINE("CONVERT_REPORT.md"),
};

const organ_view organ_convert_view = {.schema = "organ.convert/1",
                                       .kind = "Conversion",
                                       .title = "{model.name}",
                                       .lead = "Tensors {dry_run?would become|became} {parameters.to}.",
                                       BLOCKS_OF(convert_blocks)};
