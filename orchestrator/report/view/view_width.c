/* SPDX-License-Identifier: MIT
 * The view of organ.width/1, the report of `organ width`. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/views.h"

#include <stdio.h>

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

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "{dry_run?would remain|remain} of {bytes_before:bytes}", "{bytes_after:bytes}"},
    {NULL, "parameters; before: {elements_before:count}", "{elements_after:count}"},
    {"!dry_run&ffn", "of a feed-forward's output is lost on average", "{ffn.lost_percent:percent}"},
    {"!dry_run&experts", "of an expert's output is lost on average", "{experts.lost_percent:percent}"},
    {"!dry_run&shared", "of a shared expert's output is lost on average", "{shared.lost_percent:percent}"},
    {"!dry_run&attention", "of an attention's output is lost on average", "{attention.lost_percent:percent}"}};

/* The part of a layer that a projection belongs to, and its expert. */
#define OF "{what}{expert>-1? of expert {expert}|}"
static const organ_field projections[] = {FIELD_TEXT("projection", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_WORDS("of", OF, ORGAN_FIELD_LEFT), FIELD_COUNT("before", "before"),
                                          FIELD_COUNT("after", "after"),
                                          FIELD_IF("!dry_run", "output lost", "lost_percent", "percent", 0)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block blocks[] = {
    LINES(NULL, MADE_WORDS("Narrowed", "model") "\n" STAYS "\n" HOW "\n\n"),
    HEADING("Width of {model.name}"),
    HIGHLIGHTS(NULL, highlights),
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
        "{memory.expert_moments:bytes} more than the least --memory, each layer runs only once for all of its "
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
    TABLE(ON_FILES, "settings", "settings", FIELDS(settings), .caption = "Changes of the configuration."),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    TIME_LINE(" of the narrower model"),
    REPORT_LINE("WIDTH_REPORT.md"),
    DEFINITIONS,
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
    json_t *const made = json_copy((json_t *)report), *const rows = rows_of_experts(report);
    if (made && rows && (json_array_size(rows) == 0 || ORGAN_ADD(made, SET_HELD("lost_by_expert", rows)))) {
        json_decref(rows);
        return made;
    }
    json_decref(rows);
    json_decref(made);
    return NULL;
}

const organ_view organ_width_view = {.schema = "organ.width/1",
                                     .kind = "Width",
                                     .title = "{model.name}",
                                     .lead = "{dry_run?A dry run: the channels and heads that would be removed.|The "
                                             "channels and heads removed from each layer, and the loss.}",
                                     .make = with_experts,
                                     BLOCKS_OF(blocks)};
