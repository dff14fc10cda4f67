/* SPDX-License-Identifier: MIT
 * The view of organ.merge/1, the report of `organ merge`. */
#include "orchestrator/report/view/view_parts.h"

enum { MAX_APART = 500 }; /* rows of the tables of tensors that are not merged */

static const organ_item merge_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"fit", "of the mean's squared error of the outputs is left", "{fit.left:share}"},
    {"mixture.held_out", "of the held-out tokens go to the expert of their text", "{mixture.held_out.share:share}"},
    {NULL, "method", "{parameters.method}"},
    {NULL, "models", "{donors:size}"},
    {NULL, "merged tensors", "{output.merged:count}"}};

static const organ_field merge_donors[] = {
    FIELD_TEXT("model", "name", ORGAN_FIELD_SHORTENS), FIELD_WORDS("base", "{base?yes|}", ORGAN_FIELD_LEFT),
    FIELD_COUNT("values", "elements"), FIELD_WORDS_IF("!dry_run", "moved", "{moved:share}", 0)};
static const organ_field merge_layers[] = {FIELD_LAYER, FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS),
                                           FIELD_COUNT("values", "elements"), FIELD_SHARE("moved", "moved")};
static const organ_field merge_apart[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                          FIELD_TEXT("from", "from", 0), FIELD_TEXT("reason", "reason", 0)};
static const organ_field merge_experts[] = {FIELD_LAYER,
                                            FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS),
                                            FIELD_COUNT("experts", "experts"),
                                            FIELD_COUNT("reordered", "reordered"),
                                            FIELD_FIXED("distance", "distance", 4),
                                            FIELD_FIXED("in order", "in_order", 4)};
static const organ_field merge_lacking[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                            FIELD_TEXT("becomes", "becomes", 0)};

static const organ_field merge_fitted[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                           FIELD_COUNT("matrices", "matrices"),
                                           FIELD_COUNT("means", "means"),
                                           FIELD_COUNT("tokens", "tokens"),
                                           FIELD_GENERAL("mean", "before", 4),
                                           FIELD_GENERAL("fitted", "after", 4),
                                           FIELD_SHARE("left", "left")};

static const organ_field mixture_experts[] = {
    FIELD_COUNT("expert", "expert"), FIELD_TEXT("model", "model", ORGAN_FIELD_SHORTENS),
    FIELD_WORDS("shared", "{shared?yes|}", ORGAN_FIELD_LEFT), FIELD_GENERAL("noise", "noise_scale", 4),
    FIELD_GENERAL("factor", "residual_scale", 4)};
static const organ_field mixture_layers[] = {FIELD_LAYER, FIELD_SHARE("to their expert", "share")};

#define FITTED                                                                                                         \
    "Squared error of the outputs along the texts, per token: with the mean of the models, and as fitted; \"means\": " \
    "matrices that keep the mean, because too few tokens reach them"

static const organ_block merge_matched[] = {
    SAY(ON_TERMINAL, "!experts.reordered", "Experts of {name}: compared in {experts.layers} layers."),
    SAY(ON_TERMINAL, "experts.reordered",
        "Experts of {name}: {experts.reordered:count} of {experts.experts:count} reordered, distance "
        "{experts.in_order:.4f} before and {experts.distance:.4f} after.")};

#define MOVED "Moved: norm of merged - model relative to the norm of the model, over its merged tensors"

static const organ_block merge_blocks[] = {
    HEADING("Merge by {parameters.method}"),
    HIGHLIGHTS(NULL, merge_highlights),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    LINES_ON(ON_TEXT, NULL,
             "{dry_run?Dry run, nothing was written: }{parameters.method} of {donors:size} models, "
             "{output.merged:count} merged tensors, {output.layers} layers"),
    GAP(NULL),
    GAP(NULL),
    EACH(ON_ALL, "warnings", BLOCKS_OF(organ_warning_blocks)),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Models"),
    TABLE(ON_ALL, NULL, "donors", FIELDS(merge_donors), .caption = MOVED),
    EACH(ON_TERMINAL, "donors", BLOCKS_OF(merge_matched), .where = "experts"),
    CURVES("layers", "layers", .style = {.title = "Distance from each model", .y_label = "moved, %"}, .name = "model",
           .value = "moved", .factor = 100, .caption = MOVED ", layer by layer."),
    SAY(ON_ALL, "fit",
        "{fit.matrices:count} matrices are fitted along the texts: {fit.left:share} of the mean's squared error of "
        "their "
        "outputs is left.{fit.means? {fit.means:count} of them keep the mean.|}"),
    SAY(ON_ALL, "mixture",
        "{mixture.architecture} of {mixture.experts:size} experts, {mixture.used} for each token; routers by "
        "{mixture.gate_mode}."),
    SAY(ON_ALL, "mixture.held_out",
        "Of {mixture.held_out.tokens:count} held-out tokens {mixture.held_out.share:share} go to the expert of their "
        "text; by chance {mixture.held_out.by_chance:share} would."),
    SECTION(ON_FILES, "mixture", "Composed experts"),
    TABLE(ON_FILES, "mixture", "mixture.experts", FIELDS(mixture_experts), .max = EVERY_MODULE, .what = "experts",
          .caption = "Factor: of the down projection"),
    TABLE(ON_FILES, "mixture.held_out", "mixture.held_out.layers", FIELDS(mixture_layers), .max = EVERY_MODULE,
          .what = "layers", .caption = "Share of the held-out tokens whose first choice is the expert of their text"),
    SECTION(ON_FILES, "fit", "Fitted tensors"),
    TABLE(ON_FILES, "fit", "fit.tensors", FIELDS(merge_fitted), .max = EVERY_MODULE, .what = "tensors",
          .caption = FITTED),
    SECTION(ON_FILES, "layers", "Layers"),
    TABLE(ON_FILES, "layers", "layers", FIELDS(merge_layers), .max = EVERY_MODULE, .what = "rows", .caption = MOVED),
    SAY(ON_TERMINAL, "apart", "Not merged: {apart:size} tensors, listed in the report."),
    SECTION(ON_FILES, "experts", "Experts"),
    TABLE(ON_FILES, "experts", "experts", FIELDS(merge_experts), .max = EVERY_MODULE, .what = "rows",
          .caption = "Distance: of matched experts as unit vectors (1.41 for unrelated ones); in order: of those with "
                     "the same number"),
    SECTION(ON_FILES, "apart", "Tensors that are not merged"),
    TABLE(ON_FILES, "apart", "apart", FIELDS(merge_apart), .max = MAX_APART, .what = "tensors"),
    SAY(ON_TERMINAL, "lacking", "Not in all models: {lacking:size} tensors, listed in the report."),
    SECTION(ON_FILES, "lacking", "Tensors that only some models have"),
    TABLE(ON_FILES, "lacking", "lacking", FIELDS(merge_lacking), .max = MAX_APART, .what = "tensors"),
    SAY(ON_ALL, "then",
        "Then {then.scheme?quantised to {then.scheme}|converted to GGUF}: {then.bytes:bytes}"
        "{then.relative_error?, relative error {then.relative_error:share}}."),
    PLAN,
    SAY(ON_ALL, "plan.temporary_bytes", "Disk: {plan.temporary_bytes:bytes} more during the run, next to the output."),
    EVALUATION_ON(ON_TEXT),
    SECTION(ON_MARKDOWN, "!dry_run", "Run"),
    SAY(ON_TEXT, "!dry_run", "Time: {run.seconds:time}, {output.bytes:bytes} written."),
    GAP("!dry_run"),
    LINES_ON(ON_TEXT, "!dry_run", "Output:  {run.output}"),
    GAP("!dry_run"),
};

const organ_view organ_merge_view = {.schema = "organ.merge/1",
                                     .kind = "merge by {parameters.method}{dry_run?, dry run}",
                                     .title = "{run.output?{run.output}|{base.name}}",
                                     .files = {"merge.json", "MERGE_REPORT.md", "recipe.yaml"},
                                     .made_by = "merge",
                                     BLOCKS_OF(merge_blocks)};

/* ---- organ.audit_merge/1: `organ audit --recipe` ---- */

static const organ_item audited[] = {{NULL, "values that differ", "{different:count}"},
                                     {NULL, "recomputed tensors", "{recomputed:count}"}};

static const organ_block audited_problem[] = {WARN(ON_TERMINAL | ON_PAGE, NULL, "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}")};

static const organ_block audited_blocks[] = {
    HEADING("Audit of a merge by {method}"),
    WARNINGS,
    HIGHLIGHTS(NULL, audited),
    SAY(ON_ALL, NULL,
        "{model.name}: {recomputed:count} of {tensors:count} tensors ({elements:count} values) were recomputed by "
        "{method}; {different:count} values differ."),
    SAY(ON_ALL, "not_recomputed",
        "{not_recomputed:count} tensors depend on calibration texts: only their names, types and shapes were checked."),
    EACH(ON_ALL, "problems", BLOCKS_OF(audited_problem)),
    SAY(ON_ALL, "ok", "{not_recomputed?All recomputed tensors are those|The model is the merge} of the recipe."),
};

const organ_view organ_audit_merge_view = {
    .schema = "organ.audit_merge/1", .kind = "audit of a merge", .title = "{model.name}", BLOCKS_OF(audited_blocks)};
