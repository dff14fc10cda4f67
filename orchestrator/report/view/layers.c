/* SPDX-License-Identifier: MIT
 * organ.layers/1 */
#include "orchestrator/report/view/parts.h"
#include "orchestrator/report/view/views.h"

#define NATS(member) "{" member ":.4g}"
/* The result of the search. */
#define FOUND                                                                                                          \
    "Found on {search.tokens:count} tokens of {search.text.name}: {search.judged:count} sets of blocks were judged "   \
    "in {search.rounds} "                                                                                              \
    "round{search.rounds:s}; the blocks of least influence are " NATS(                                                 \
        "search.start_divergence") " nats a token from the whole model, "                                              \
                                   "those that went " NATS(                                                            \
                                       "search.divergence") ". "                                                       \
                                                            "{search.whole?These are all sets there "                  \
                                                            "are.|{search.settled?No exchange of "                     \
                                                            "one block is nearer.|More --rounds would have gone on.}}"
#define SEARCHED "search.done"
/* The result of the heal. */
#define HEALED                                                                                                         \
    "{heal.lower?what is left was " NATS("heal.kl_before") " nats a token from the whole model before and is " NATS(   \
        "heal.kl") " after|no solution was nearer to the whole model than the " NATS("heal.kl_before") " nats a "      \
                                                                                                       "token "        \
                                                                                                       "without it: "  \
                                                                                                       "the "          \
                                                                                                       "weights stay}"

static const organ_item merits[] = {
    EVALUATION_MERITS,
    {NULL, "of {layers_before:count} blocks {dry_run?would stay|stayed}", "{layers_after:count}"},
    {SEARCHED, "nats a token from the whole model, on the text of the search", NATS("search.divergence")},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

static const organ_field settings[] = {SETTING_FIELDS};
static const organ_field kinds_of_blocks[] = {FIELD_TEXT("kind", "kind", ORGAN_FIELD_LEFT),
                                              FIELD_COUNT("blocks", "layers"), FIELD_COUNT("dropped", "dropped")};
static const organ_field path[] = {FIELD_COUNT("round", "round"), FIELD_TEXT("blocks", "blocks", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("nats a token", NATS("divergence"), 0)};
static const organ_field influences[] = {FIELD_COUNT("block", "layer"), FIELD_TEXT("kind", "kind", ORGAN_FIELD_LEFT),
                                         FIELD_WORDS("influence", "{influence:.4f}", 0),
                                         FIELD_WORDS("", "{dropped?dropped}", ORGAN_FIELD_LEFT)};

static const organ_field parts[] = {FIELD_COUNT("block", "layer"), FIELD_TEXT("part", "part", ORGAN_FIELD_LEFT),
                                    FIELD_WORDS("lambda", "{step=0?–|{lambda}}", 0),
                                    FIELD_WORDS("taken", "{step=0?nothing|{times?times {times:.3f}|{step}}}", 0),
                                    FIELD_WORDS("nats a token", NATS("kl"), 0)};

static const char *const kinds[] = {"the best of its time", "judged", NULL};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Dropped blocks of", "model") "\n\n"),
    HEADING("Blocks of {model.name}"),
    MERITS(NULL, merits),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}. Model: {model:model}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    SAY(ON_ALL, "dropped",
        "{layers_dropped:count} of {layers_before:count} blocks {dry_run?would go|went}: {blocks}. "
        "{bytes_before:bytes} "
        "{dry_run?would become|became} {bytes_after:bytes}."),
    SAY(ON_ALL, "!dropped",
        "{layers_dropped:count} of {layers_before:count} blocks would go, to be found on {search.tokens:count} tokens "
        "of "
        "{search.text.name}; {bytes_before:bytes} would become {bytes_after:bytes} at most."),
    TABLE(ON_ALL, "kinds", "kinds", FIELDS(kinds_of_blocks), .caption = "Blocks by kind", .max = EVERY_TENSOR,
          .what = "kinds"),
    SAY(ON_ALL, SEARCHED, FOUND),
    SECTION(ON_FILES, SEARCHED, "The search"),
    BARS(SEARCHED, "search.blocks",
         .style = {.title = "Influence by block",
                   .subtitle = "1 - mean cosine of the hidden states before and behind it",
                   .description = "A bar for each block: how far it turns the hidden states. Blocks that went say so.",
                   .value_label = "influence",
                   .digits = 3},
         .named = "block {layer}", .values = {"influence"}, .remark = "{dropped?dropped}",
         .caption = "The search begins with the blocks of least influence; what a block costs beside others is not "
                    "what it costs alone."),
    POINTS(
        SEARCHED, "search.sets", NULL,
        .style =
            {.kinds = kinds,
             .title = "Sets of blocks, in the order in which they were judged",
             .description =
                 "A point for each set of blocks: how many nats a token the model without them is from the whole one.",
             .x_label = "set",
             .whole_x = true,
             .y_label = "KL, nats a token"},
        .name = "blocks", .x = "set", .y = "divergence", .kind = "kind", .caption = "The lowest is what went."),
    TABLE(ON_FILES, SEARCHED, "search.path", FIELDS(path),
          .caption = "The best set of its time, from the blocks of least influence on"),
    TABLE(ON_FILES, SEARCHED, "search.blocks", FIELDS(influences), .caption = "Influence of each block",
          .max = EVERY_TENSOR, .what = "blocks"),
    SECTION(ON_FILES, "heal.parts", "What was healed"),
    SAY(ON_ALL, "heal.parts",
        "Healed on {heal.calibration.tokens:count} tokens of {heal.calibration.text.name}: {heal.parts:size} parts of "
        "the blocks around "
        "the gaps were solved for anew{heal.done?. On {heal.judged_tokens:count} tokens that nothing was fitted "
        "to, " HEALED "}."),
    TABLE(ON_ALL, "heal.parts", "heal.parts", FIELDS(parts),
          .caption =
              "How far what is left is from the whole model after each part, on windows that nothing was fitted to",
          .max = EVERY_TENSOR, .what = "parts"),
    SECTION(ON_FILES, NULL, "Settings"),
    TABLE(ON_ALL, NULL, "settings", FIELDS(settings), .caption = "What changed in the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of output"),
    REPORT_LINE("LAYERS_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_layers_view = {.schema = "organ.layers/1",
                                      .kind = "Blocks",
                                      .title = "{model.name}",
                                      .lead = "{layers_after:count} of {layers_before:count} blocks {dry_run?would "
                                              "stay|stay}; what stays keeps its bytes{heal?, but for "
                                              "what is healed}.",
                                      BLOCKS_OF(blocks)};
