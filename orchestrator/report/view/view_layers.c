/* SPDX-License-Identifier: MIT
 * The view of organ.layers/1, the report of `organ layers`. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

/* Words for a number of nats per token. */
#define NATS(member) "{" member ":.4g}"
/* A sentence with the result of the search for the blocks to drop. */
#define FOUND                                                                                                          \
    "Found on {search.tokens:count} tokens of {search.text.name}: {search.judged:count} sets of blocks were compared " \
    "in {search.rounds} round{search.rounds:s}. Without the blocks of least influence the model is "                   \
    "{search.start_divergence:.4g} nats per token from the whole model, without the dropped blocks "                   \
    "{search.divergence:.4g}. {search.whole?These are all possible sets.|{search.settled?No exchange of one block "    \
    "lowers it.|More --rounds would continue the search.}}"
#define SEARCHED "search.done" /* condition: a search was made */
/* The end of a sentence with the result of the heal, which refits weights next to dropped blocks. */
#define HEALED                                                                                                         \
    "{heal.lower?the divergence from the whole model fell from {heal.kl_before:.4g} to {heal.kl:.4g} nats per token|"  \
    "no solution lowered the divergence from the whole model, {heal.kl_before:.4g} nats per token, so the weights "    \
    "stay unchanged}"

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "of {layers_before:count} blocks {dry_run?would be kept|kept}", "{layers_after:count}"},
    {SEARCHED, "nats per token from the whole model, on the text of the search", NATS("search.divergence")},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

static const organ_field settings[] = {SETTING_FIELDS};
static const organ_field kinds_of_blocks[] = {FIELD_TEXT("kind", "kind", ORGAN_FIELD_LEFT),
                                              FIELD_COUNT("blocks", "layers"), FIELD_COUNT("dropped", "dropped")};
static const organ_field path[] = {FIELD_COUNT("round", "round"), FIELD_TEXT("blocks", "blocks", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("nats per token", NATS("divergence"), 0)};
static const organ_field influences[] = {FIELD_COUNT("block", "layer"), FIELD_TEXT("kind", "kind", ORGAN_FIELD_LEFT),
                                         FIELD_WORDS("influence", "{influence:.4f}", 0),
                                         FIELD_WORDS("", "{dropped?dropped}", ORGAN_FIELD_LEFT)};

static const organ_field parts[] = {
    FIELD_COUNT("block", "layer"), FIELD_TEXT("part", "part", ORGAN_FIELD_LEFT),
    FIELD_WORDS("lambda", "{step=0?–|{lambda}}", 0),
    FIELD_WORDS("taken", "{skipped?not refitted|{step=0?nothing|{times?times {times:.3f}|{step}}}}", 0),
    FIELD_WORDS("nats per token", NATS("kl"), 0)};

static const char *const kinds[] = {"best so far", "judged", NULL};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Dropped blocks of", "model") "\n\n"),
    HEADING("Blocks of {model.name}"),
    HIGHLIGHTS(NULL, highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}. Model: {model:model}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    SAY(ON_ALL, "dropped",
        "{layers_dropped:count} of {layers_before:count} blocks {dry_run?would be|were} dropped: {blocks}. "
        "{bytes_before:bytes} "
        "{dry_run?would become|became} {bytes_after:bytes}."),
    SAY(ON_ALL, "!dropped",
        "{layers_dropped:count} of {layers_before:count} blocks would be dropped; the run searches for them on "
        "{search.tokens:count} tokens of {search.text.name}; {bytes_before:bytes} would become {bytes_after:bytes} at "
        "most."),
    TABLE(ON_ALL, "kinds", "kinds", FIELDS(kinds_of_blocks), .caption = "Blocks by kind", .max = EVERY_TENSOR,
          .what = "kinds"),
    SAY(ON_ALL, SEARCHED, FOUND),
    SECTION(ON_FILES, SEARCHED, "The search"),
    BARS(
        SEARCHED, "search.blocks",
        .style = {.title = "Influence by block",
                  .subtitle = "1 - mean cosine of the hidden states before and after it",
                  .description = "A bar for each block: its influence on the hidden states. Dropped blocks are marked.",
                  .value_label = "influence",
                  .digits = 3},
        .named = "block {layer}", .values = {"influence"}, .remark = "{dropped?dropped}",
        .caption = "The search starts with the blocks of least influence; the cost of a block together with others "
                   "differs from its cost alone."),
    POINTS(SEARCHED, "search.sets", NULL,
           .style = {.kinds = kinds,
                     .title = "Sets of blocks in the order of comparison",
                     .description = "A point for each set of blocks: KL divergence of the model without them from the "
                                    "whole model, in nats per token.",
                     .x_label = "set",
                     .whole_x = true,
                     .y_label = "KL, nats per token"},
           .name = "blocks", .x = "set", .y = "divergence", .kind = "kind",
           .caption = "The set with the lowest divergence was dropped."),
    TABLE(ON_FILES, SEARCHED, "search.path", FIELDS(path),
          .caption = "Successive best sets, starting with the blocks of least influence"),
    TABLE(ON_FILES, SEARCHED, "search.blocks", FIELDS(influences), .caption = "Influence of each block",
          .max = EVERY_TENSOR, .what = "blocks"),
    SECTION(ON_FILES, "heal.parts", "Refitted weights"),
    SAY(ON_ALL, "heal.parts",
        "Healed on {heal.calibration.tokens:count} tokens of {heal.calibration.text.name}: {heal.parts:size} parts of "
        "the blocks around the gaps were refitted{heal.done?. On {heal.judged_tokens:count} tokens that were not used "
        "for the fit, " HEALED "}."),
    SAY(ON_ALL, "heal.skipped",
        "{heal.skipped:count} output projection{heal.skipped:s} stayed as in the model, because a norm of "
        "{heal.skipped>1?their|its} outputs leaves no linear equations. The other parts were refitted."),
    SAY(ON_ALL, "heal.untried",
        "{heal.untried:count} part{heal.untried:s} of later blocks stayed as in the model, because three blocks "
        "together lowered the divergence by less than 1 %."),
    TABLE(ON_ALL, "heal.parts", "heal.parts", FIELDS(parts),
          .caption = "Divergence from the whole model after each refit, on windows that were not used for the fit",
          .max = EVERY_TENSOR, .what = "parts"),
    SECTION(ON_FILES, NULL, "Settings"),
    TABLE(ON_ALL, NULL, "settings", FIELDS(settings), .caption = "Changes of the configuration", .max = EVERY_TENSOR,
          .what = "settings"),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of output"),
    REPORT_LINE("LAYERS_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_layers_view = {
    .schema = "organ.layers/1",
    .kind = "Blocks",
    .title = "{model.name}",
    .lead = "{layers_after:count} of {layers_before:count} blocks {dry_run?would be kept|are kept}; their bytes are "
            "unchanged{heal?, except for refitted weights}.",
    BLOCKS_OF(blocks)};
