/* SPDX-License-Identifier: MIT
 * organ.width/1 */
#include "orchestrator/report/view/parts.h"
#include "orchestrator/report/view/views.h"

#define STAYS                                                                                                                              \
    "{parameters.channels?{parameters.channels.after} of {parameters.channels.before} channels of each feed-forward stay}"                 \
    "{parameters.channels&parameters.kv_heads?, and }"                                                                                     \
    "{parameters.kv_heads?{parameters.kv_heads.after} of {parameters.kv_heads.before} heads of K and V, with "                             \
    "{parameters.kv_heads.query_heads_after} of {parameters.kv_heads.query_heads_before} query heads}"
#define HOW                                                                                                                                \
    "{parameters.score=wanda?by weight times input|by the loss of each}, what stays {parameters.resolve?solved anew|as it was}; "          \
    "{calibration.tokens} tokens of {calibration.text.name}"

static const organ_item merits[] = {
    {NULL, "{dry_run?would be left|are left} of {bytes_before:bytes}", "{bytes_after:bytes}"},
    {NULL, "parameters, which were {elements_before:count}", "{elements_after:count}"},
    {"!dry_run&ffn", "of the output of a feed-forward is lost, on average", "{ffn.lost_percent:percent}"},
    {"!dry_run&attention", "of the output of an attention is lost, on average", "{attention.lost_percent:percent}"}};

static const organ_field projections[] = {FIELD_TEXT("projection", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_TEXT("of", "what", 0), FIELD_COUNT("before", "before"), FIELD_COUNT("after", "after"),
                                          FIELD_IF("!dry_run", "output lost", "lost_percent", "percent", 0)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Narrowed", "model") "\n" STAYS "\n" HOW "\n\n"),
    HEADING("Width of {model.name}"),
    MERITS(NULL, merits),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_FILES, NULL, "Definition {definition}: " STAYS "; " HOW "."),
    SAY(ON_TEXT, NULL,
        "{bytes_before:bytes} {dry_run?would become|became} {bytes_after:bytes}, {elements_before:count} parameters "
        "{elements_after:count}."),
    SAY(ON_TEXT, "!dry_run&ffn", "Of the output of a feed-forward {ffn.lost_percent:percent} is lost on average."),
    SAY(ON_TEXT, "!dry_run&attention", "Of the output of an attention {attention.lost_percent:percent} is lost on average."),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, "!dry_run", "What each layer lost"),
    MAP("!dry_run", "projections",
        .look = {.title = "Output lost by layer and projection",
                 .description = "Percent of the squares of the outputs of each projection on the text that is missing since its inputs "
                                "went. The table of projections has the numbers.",
                 .value_label = "output lost, percent"},
        .role = "role", .value = "lost_percent", .zero = true,
        .caption = "What a layer loses is not what the model loses: later layers see it, and an evaluation measures that."),
    SECTION(ON_FILES, NULL, "Projections"),
    TABLE(ON_FILES, NULL, "projections", FIELDS(projections), .most = EVERY_TENSOR, .what = "projections",
          .caption = "The projections that lost inputs{dry_run?| and what of their outputs on the text is missing since}."),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_FILES, "settings", "settings", FIELDS(settings), .caption = "What the configuration says now."),
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of the narrower model"),
    REPORT_LINE("WIDTH_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_width_view = {
    .schema = "organ.width/1",
    .kind = "Width",
    .title = "{model.name}",
    .lead = "{dry_run?A dry run: what would be taken out.|What was taken out of each layer, and what it cost.}",
    BLOCKS_OF(blocks)};
