/* SPDX-License-Identifier: MIT
 * The view of organ.audit_cut/1, the report of `organ audit` of a model from which experts, channels, heads or layers
 * were cut. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#define VERDICT                                                                                                        \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: the copy equals the donor without the "            \
    "removed parts, "                                                                                                  \
    "{resolved?with {resolved:count} refitted weight{resolved:s}, |}and nothing else.}"

static const organ_item highlights[] = {
    {NULL, "of {tensors:count} tensors are kept bytes of the donor", "{identical:count}"},
    {"resolved", "weights were refitted", "{resolved:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "after", "{bytes_after:bytes}"}};

static const organ_field layers[] = {
    FIELD_COUNT("layer", "layer"),
    FIELD_WORDS("becomes", "{becomes>-1?{becomes}|dropped}", 0),
    FIELD_WORDS("experts", "{kept_experts?{kept_experts:join}|}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("channels", "{kept_channels?{kept_channels:size} of {channels}|}", 0),
    FIELD_WORDS_IF("layers.*.expert_channels", "of each expert",
                   "{expert_channels?{expert_channels_after} of {expert_channels}|}", 0),
    FIELD_WORDS_IF("layers.*.shared_channels", "of the shared expert",
                   "{shared_channels?{kept_shared_channels:size} of {shared_channels}|}", 0),
    FIELD_WORDS("heads of K and V", "{kept_kv_heads?{kept_kv_heads:size} of {kv_heads}: {kept_kv_heads:join}|}",
                ORGAN_FIELD_LEFT)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block blocks[] = {
    LINES(NULL, "Audit of {run.pruned}\nagainst  {donor:model}\n\n"),
    HIGHLIGHTS(NULL, highlights),
    TABLE(ON_TERMINAL, NULL, "layers", FIELDS(layers)),
    EACH(ON_TERMINAL, "checks",
         BLOCKS(SAY_AFTER(ON_TERMINAL, "ok", "  ok      ", "{check}: {detail}"),
                SAY_AFTER(ON_TERMINAL, "!ok", "  FAILED  ", "{check}: {detail}"))),
    SECTION(ON_PAGE, NULL, "Checks"),
    SAY(ON_PAGE, NULL, "Both models were read and compared byte by byte{made_by?|; no report or log was used}."),
    SAY(ON_ALL, "made_by",
        "Refitted weights were compared with the digests of {made_by.report}, which organ wrote with the copy."),
    CAUTIONS(ON_PAGE, NULL, "problems", "Failed checks"),
    CHECKS(ON_PAGE, NULL, "checks"),
    SAY(ON_PAGE, NULL, "Donor: {donor:model}. Copy: {copy:model}."),
    GAP(NULL),
    EACH(ON_TERMINAL, "problems", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  PROBLEM  ", "{.}"))),
    SAY_AFTER(ON_TERMINAL, NULL, "", VERDICT),
    SECTION(ON_PAGE, NULL, "Layers"),
    TABLE(ON_PAGE, NULL, "layers", FIELDS(layers), .caption = "Parts of each donor layer in the copy",
          .max = EVERY_TENSOR, .what = "layers"),
    TABLE(ON_PAGE, "settings", "settings", FIELDS(settings), .caption = "Differences of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
};

const organ_view organ_audit_cut_view = {.schema = "organ.audit_cut/1",
                                         .kind = "Audit of a cut",
                                         .title = "{donor.name}",
                                         .lead = VERDICT,
                                         BLOCKS_OF(blocks)};
