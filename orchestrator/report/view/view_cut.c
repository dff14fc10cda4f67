/* SPDX-License-Identifier: MIT
 * The view of organ.experts/1, the report of `organ experts`. */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/text/report_text.h"

#include <stdio.h>

static const organ_item experts_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "of {experts_before:count} experts {dry_run?would be kept|kept} in each layer", "{experts_after:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

/* ---- organ.experts_prediction/1: `organ experts --predict` ---- */

static const organ_field points[] = {FIELD_WORDS("kept", "{keep}{knee? (knee)}", 0),
                                     FIELD_WORDS("removed %", "{removed:%.1}", 0),
                                     FIELD_WORDS("KL", "{kl_divergence:measured}", 0),
                                     FIELD_WORDS("ratio", "{ratio:.4f}", 0),
                                     FIELD_WORDS("top-1 %", "{top1_agreement:%measured}", 0),
                                     FIELD_WORDS_IF("score=loss", "layer error", "{layer_error:share}", 0)};

static const organ_item prediction_highlights[] = {
    {"knee", "experts of {experts:count} kept at the knee", "{knee:count}"},
    {NULL, "perplexity of the whole model", "{held_out.perplexity:.4f}"},
    {NULL, "held-out tokens", "{held_out.tokens_scored:count}"}};

static const organ_block prediction_blocks[] = {
    LINES(NULL, "Removing experts from {model.name}, predicted; nothing was written\n\n"),
    HEADING("Removing experts from {model.name}"),
    HIGHLIGHTS(NULL, prediction_highlights),
    TABLE(
        ON_ALL, NULL, "points", FIELDS(points),
        .caption =
            "Loss for each number of kept experts, with standard errors: KL in nats per token, ratio of perplexities, "
            "same top token, error of the layers' outputs"),
    SAY(ON_ALL, "knee",
        "Knee: {knee:count} of {experts:count} experts. Removing more costs more for each expert than the average."),
    SAY(ON_ALL, "!knee&points>2", "There is no knee: each removed expert costs about as much as the ones before."),
    WARN(ON_ALL, "rigid_layers",
         "In {rigid_layers:count} layer{rigid_layers:s} experts are not redundant: keeping {points.0.keep} of "
         "{experts:count} loses at least the same share of the layer's output."),
    SAY(ON_ALL, NULL,
        "{held_out.tokens_scored:count} tokens in {held_out.windows:count} held-out window{held_out.windows:s} of "
        "{held_out.length:count}; perplexity of the whole model {held_out.perplexity:.4f}. Experts by --score {score}, "
        "without --refit. KL in nats per token; ratio of perplexities; top-1: same most probable token."),
    SAY(ON_ALL, NULL,
        "The held-out windows are of the same text. On unlike text the loss is higher: at 87.5 % of the experts of a "
        "test model, KL 0.0194 instead of the predicted 0.0101."),
    SAY(ON_TERMINAL, NULL, "Time: {run.seconds:time}."),
    DEFINITIONS,
};

const organ_view organ_experts_prediction_view = {.schema = "organ.experts_prediction/1",
                                                  .kind = "Prediction for experts",
                                                  .lead = "What removing experts will cost.",
                                                  BLOCKS_OF(prediction_blocks)};

/* ---- organ.experts/1 ---- */

static const organ_field layers[] = {
    FIELD_COUNT("layer", "layer"), FIELD_COUNT("experts", "experts"),
    FIELD_WORDS("kept", "{kept_experts?{kept_experts:size}|{experts?all|-}}", 0),
    FIELD_WORDS("kept experts", "{kept_experts?{kept_experts:join}|{experts?all|-}}", ORGAN_FIELD_LEFT)};

static const organ_field healed[] = {FIELD_COUNT("layer", "layer"), FIELD_WORDS("error before", "{before:~3}", 0),
                                     FIELD_WORDS("error after", "{after:~3}", 0), FIELD_WORDS("lambda", "{lambda}", 0),
                                     FIELD_WORDS("refitted", "{healed?yes|no}", 0)};

static const organ_field experts_settings[] = {SETTING_FIELDS};

static const organ_block experts_blocks[] = {
    MADE_BEGIN("Removed experts from", "", "Experts", experts_highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, NULL, "Definition {definition}. Model: {model:model}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    TABLE(ON_TERMINAL, NULL, "settings", FIELDS(experts_settings)),
    SAY(ON_TEXT, NULL,
        "{experts_after:count} of {experts_before:count} experts {dry_run?would be kept|are kept} in each layer: "
        "{bytes_before:bytes} {dry_run?would become|became} {bytes_after:bytes}. {heal?Their down projections "
        "{dry_run?would be|are} refitted; all other tensors {dry_run?would stay|are} unchanged.|Their bytes "
        "{dry_run?would stay|are} unchanged.}"),
    SAY(ON_ALL, "left_out",
        "{left_out:count} {left_out=1?block|blocks} after the last layer, for multi-token prediction, {dry_run?would "
        "be|{left_out=1?is|are}} removed: the forward pass does not run them, so their experts have no scores."),
    SAY(ON_ALL, "draft_tensors",
        "The block for multi-token prediction ({draft_tensors:count} tensors) {dry_run?would be|is} removed: the text "
        "does not run through it, so its experts have no scores, and config.json has one number of experts for both."),
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
    SECTION(ON_FILES, "heal&!dry_run", "Refit"),
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
    TABLE(ON_FILES, NULL, "settings", FIELDS(experts_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    MADE_ENDING(" of output", "EXPERTS_REPORT.md"),
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
    json_t *const rows = json_array(), *const shown = json_array();
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
    return organ_json_joined(json_copy((json_t *)report), ORGAN_OBJECT(SET("kept", rows), SET("layers", shown)));
}

const organ_view organ_experts_view = {
    .schema = "organ.experts/1",
    .kind = "Experts",
    .lead = "{experts_after:count} of {experts_before:count} experts {dry_run?would be kept|are kept} in each layer; "
            "{heal?their down projections are refitted|their bytes are unchanged}.",
    .files = {"experts.json", "EXPERTS_REPORT.md", NULL},
    .made_by = "experts",
    .make = with_flags,
    BLOCKS_OF(experts_blocks)};

/* ---- organ.layers/1: `organ layers` ---- */

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

static const organ_item layers_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {SEARCHED, "nats per token from the whole model, on the text of the search", NATS("search.divergence")},
    {NULL, "of {layers_before:count} blocks {dry_run?would be kept|kept}", "{layers_after:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "{dry_run?they would become|after}", "{bytes_after:bytes}"}};

static const organ_field layers_settings[] = {SETTING_FIELDS};
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

static const organ_block layers_blocks[] = {
    MADE_BEGIN("Dropped blocks of", "", "Blocks", layers_highlights),
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
        "Refitted on {heal.calibration.tokens:count} tokens of {heal.calibration.text.name}: {heal.parts:size} parts "
        "of "
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
    TABLE(ON_ALL, NULL, "settings", FIELDS(layers_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    MADE_ENDING(" of output", "LAYERS_REPORT.md"),
};

const organ_view organ_layers_view = {
    .schema = "organ.layers/1",
    .kind = "Blocks",
    .lead = "{layers_after:count} of {layers_before:count} blocks {dry_run?would be kept|are kept}; their bytes are "
            "unchanged{heal?, except for refitted weights}.",
    .files = {"layers.json", "LAYERS_REPORT.md", NULL},
    .made_by = "layers",
    .method = "{parameters.method?{parameters.method}}",
    BLOCKS_OF(layers_blocks)};

/* ---- organ.width/1: `organ width` ---- */

/* The channels and heads that are kept, before and after the cut. */
#define STAYS                                                                                                          \
    "{parameters.channels?{parameters.channels.after} of {parameters.channels.before} channels of each feed-forward "  \
    "are kept}"                                                                                                        \
    "{parameters.channels&parameters.expert_channels?, and }"                                                          \
    "{parameters.expert_channels?{parameters.expert_channels.after} of {parameters.expert_channels.before} channels "  \
    "of each expert are kept}"                                                                                         \
    "{parameters.shared_channels?, and {parameters.shared_channels.after} of {parameters.shared_channels.before} of "  \
    "the shared expert}"                                                                                               \
    "{parameters.channels&parameters.kv_heads?, and }"                                                                 \
    "{parameters.expert_channels&!parameters.channels&parameters.kv_heads?, and }"                                     \
    "{parameters.kv_heads?{parameters.kv_heads.after} of {parameters.kv_heads.before} heads of K and V, with "         \
    "{parameters.kv_heads.query_heads_after} of {parameters.kv_heads.query_heads_before} query heads}"
/* How the kept channels and heads were chosen. */
#define HOW                                                                                                            \
    "chosen by {parameters.score=wanda?weight times input|their loss}, kept weights "                                  \
    "{parameters.resolve?refitted|unchanged}; "                                                                        \
    "{calibration.tokens} tokens of {calibration.text.name}"

static const organ_item width_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"!dry_run&ffn", "of a feed-forward's output is lost on average", "{ffn.lost_percent:percent}"},
    {"!dry_run&experts", "of an expert's output is lost on average", "{experts.lost_percent:percent}"},
    {"!dry_run&shared", "of a shared expert's output is lost on average", "{shared.lost_percent:percent}"},
    {"!dry_run&attention", "of an attention's output is lost on average", "{attention.lost_percent:percent}"},
    {NULL, "{dry_run?would remain|remain} of {bytes_before:bytes}", "{bytes_after:bytes}"},
    {NULL, "parameters; before: {elements_before:count}", "{elements_after:count}"}};

/* The part of a layer that a projection belongs to, and its expert. */
#define OF "{what}{expert>-1? of expert {expert}|}"
static const organ_field projections[] = {FIELD_TEXT("projection", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_WORDS("of", OF, ORGAN_FIELD_LEFT), FIELD_COUNT("before", "before"),
                                          FIELD_COUNT("after", "after"),
                                          FIELD_IF("!dry_run", "output lost", "lost_percent", "percent", 0)};

static const organ_field width_settings[] = {SETTING_FIELDS};

static const organ_block width_blocks[] = {
    MADE_BEGIN("Narrowed", "\n" STAYS "\n" HOW, "Width", width_highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_FILES, NULL, "Definition {definition}: " STAYS "; " HOW "."),
    SAY(ON_TEXT, NULL,
        "{bytes_before:bytes} {dry_run?would become|became} {bytes_after:bytes}, {elements_before:count} parameters "
        "{elements_after:count}."),
    SAY(ON_TEXT, "!dry_run&ffn", "Of the output of a feed-forward {ffn.lost_percent:percent} is lost on average."),
    SAY(ON_TEXT, "!dry_run&experts", "Of the output of an expert {experts.lost_percent:percent} is lost on average."),
    SAY(ON_TEXT, "!dry_run&shared",
        "Of the output of a shared expert {shared.lost_percent:percent} is lost on average."),
    WARN(ON_ALL, "!dry_run&experts.by_norms",
         "{experts.by_norms:count} expert{experts.by_norms:s} got no token of the text: {experts.by_norms=1?its|their} "
         "channels are chosen by the norms of {experts.by_norms=1?its|their} weights and not refitted. More --samples "
         "or another text may reach {experts.by_norms=1?it|them}."),
    SAY(ON_ALL, "!dry_run&experts&!experts.by_norms",
        "Every expert got at least {experts.fewest_tokens:count} tokens of the text."),
    SAY(ON_TEXT, "memory",
        "{memory.choices_on_disk:bytes} more are needed on the disk of the output.{memory.expert_moments? With "
        "{memory.expert_moments:memory} more than the least --memory, each layer runs only once for all of its "
        "experts.|}"),
    SAY(ON_TEXT, "!dry_run&attention",
        "Of the output of an attention {attention.lost_percent:percent} is lost on average."),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, "!dry_run", "Loss of each layer"),
    MAP("!dry_run", "projections",
        .style = {.title = "Output lost by layer and projection",
                  .description = "Share of the squared output of each projection on the text that was lost when its "
                                 "inputs were removed, in percent. The table of projections has the numbers.",
                  .value_label = "output lost, percent"},
        .role = "role", .value = "lost_percent", .zero = true,
        .caption = "The loss of a layer is not the loss of the model, which an evaluation measures."),
    GRID("!dry_run&lost_by_expert", "lost_by_expert",
         .style = {.title = "Output lost by layer and expert",
                   .description = "A row for each layer, a cell for each of its experts: share of the expert's squared "
                                  "output, weighted by the router, that was lost when channels were removed, in "
                                  "percent. Empty for an expert without tokens.",
                   .row_label = "layer",
                   .column_label = "expert",
                   .value_label = "output lost, percent"},
         .name = "name", .values = "lost", .step = 1,
         .caption = "The figures of experts with few tokens are less certain."),
    SECTION(ON_FILES, NULL, "Projections"),
    TABLE(ON_FILES, NULL, "projections", FIELDS(projections), .max = EVERY_TENSOR, .what = "projections",
          .caption = "Projections that lost inputs{dry_run?|, and the lost share of their outputs on the text}."),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_FILES, "settings", "settings", FIELDS(width_settings), .caption = "Changes of the configuration."),
    MADE_ENDING(" of the narrower model", "WIDTH_REPORT.md"),
};

/* Returns {"name": the layer, "lost": an array by expert} for each layer with experts, from report.projections,
 * which are sorted by layer; null for an expert without a projection. The losses are copies: to release references
 * to the report's own values would touch all pages of a large report at once. */
static json_t *rows_of_experts(const json_t *report)
{
    const json_t *const all = json_object_get(report, "projections");
    json_t *const rows = json_array();
    json_int_t before = -1;
    for (size_t k = 0; k < json_array_size(all); k++) {
        const json_t *const row = organ_json_row_at(all, k);
        const json_int_t layer = json_integer_value(json_object_get(row, "layer"));
        char name[32];
        if (!json_is_integer(json_object_get(row, "expert")))
            continue;
        snprintf(name, sizeof name, "%lld", (long long)layer);
        if (layer != before)
            json_array_append_new(rows, ORGAN_OBJECT(SET_TEXT("name", name), SET("lost", json_array())));
        before = layer;
        const json_t *const made = organ_json_row_at(rows, json_array_size(rows) - 1);
        json_t *const lost = json_object_get(made, "lost");
        const size_t expert = (size_t)json_integer_value(json_object_get(row, "expert"));
        while (json_array_size(lost) <= expert && json_array_append_new(lost, json_null()) == 0)
            ;
        json_array_set_new(lost, expert, json_deep_copy(json_object_get(row, "lost_percent")));
    }
    return rows;
}

static json_t *with_experts(const json_t *report)
{
    ORGAN_OWNED_JSON json_t *const rows = rows_of_experts(report);
    json_t *const made = json_copy((json_t *)report);
    if (made && rows && (json_array_size(rows) == 0 || ORGAN_ADD(made, SET_HELD("lost_by_expert", rows))))
        return made;
    json_decref(made);
    return NULL;
}

const organ_view organ_width_view = {.schema = "organ.width/1",
                                     .kind = "Width",
                                     .lead = "{dry_run?A dry run: the channels and heads that would be removed.|The "
                                             "channels and heads removed from each layer, and the loss.}",
                                     .files = {"width.json", "WIDTH_REPORT.md", NULL},
                                     .made_by = "width",
                                     .make = with_experts,
                                     BLOCKS_OF(width_blocks)};
