/* SPDX-License-Identifier: MIT
 * The view of organ.lora_merge/1, the report of `organ lora merge`. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/shares.h"
#include "orchestrator/report/view/views.h"

/* The limits are for keys without a weight on a page, and for modules listed as "erased" by rounding. */
enum { MAX_UNPLACED = 500, MAX_ERASED = 5 };

/* The members are the share of a module's change that is in the output, and the norm of the change. */
static const organ_share_of arrived = {"arrived", "delta_norm", NULL};

static json_t *arrived_roles(const json_t *report) { return organ_share_roles(report, &arrived); }

static const organ_item highlights[] = {
    {"!dry_run&!unplaced", "of the change arrived", "{totals.arrived:share}"},
    {"!dry_run&!unplaced", "of its norm is rounding error", "{totals.rounding_error:share}"},
    {"!dry_run&!unplaced", "modules lost more than half", "{totals.erased:count}"},
    {NULL, "{dry_run?modules to merge|modules merged}", "{totals.modules:count}"},
    {NULL, "weights in them", "{totals.elements:count}"}};

static const organ_field roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                    FIELD_COUNT("modules", "modules"),
                                    FIELD_WORDS("rank", RANK_WORDS, 0),
                                    FIELD_COUNT("weights", "elements"),
                                    FIELD_IF("!dry_run", "arrived", "share", "share", 0),
                                    FIELD_IF("!dry_run", "least", "least", "share", 0)};
static const organ_field modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                      FIELD_TEXT("stored as", "stored", 0),
                                      FIELD_TEXT("written as", "dtype", 0),
                                      FIELD_COUNT("rank", "rank"),
                                      FIELD_GENERAL("scale", "scale", 6),
                                      FIELD_IF("!dry_run", "norm of the change", "delta_norm", ".4g", 0),
                                      FIELD_IF("!dry_run", "arrived", "arrived", "share", 0),
                                      FIELD_IF("!dry_run", "rounding error", "rounding_error", "share", 0)};
static const organ_field unplaced[] = {
    FIELD_TEXT("tensor of the adapter", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_TEXT("why", "reason", 0)};

static const organ_block roles_table[] = {TABLE(ON_ALL, NULL, "rows", FIELDS(roles), .total = "all merged",
                                                .total_row = "total", .caption = "Modules by role")};
static const organ_block warning[] = {
    GAP(NULL),
    WARN(ON_ALL, NULL,
         "Rounding discarded more than half of the change of {totals.erased} module{totals.erased:s}: the change is "
         "finer than the precision of their type. --feedback keeps its effect, --dtype f32 keeps it."),
    EACH(ON_ALL, "modules", BLOCKS(SAY_AFTER(ON_ALL, NULL, "    ", "{module}: {arrived:share} arrived as {dtype}")),
         .where = "erased", .max = MAX_ERASED, .lead = "    ", .rest = "and {more} more, in the report"),
};

static const organ_block blocks[] = {
    HEADING("LoRA merge"),
    HIGHLIGHTS(NULL, highlights),
    LINES_ON(ON_TEXT, NULL,
             "{unplaced?Does not fit, nothing was written: |{dry_run?Dry run, nothing was written: |Merged "
             "}}{adapter.name} (LoRA, r "
             "{adapter.r}, {adapter.pairs:count} module{adapter.pairs:s})\ninto {base:model}"
             "{scale=1?|\nwith the change scaled by {scale}}"),
    GAP(NULL),
    GAP(NULL),
    EACH(ON_TERMINAL, "unplaced", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  NO MATCH  ", "{tensor}: {reason}"))),
    SAY(ON_MARKDOWN, NULL,
        "The weight of a module becomes W + scale B A, computed in FP32 and rounded once to the type that is written. "
        "\"Arrived\" is the share of the change that is in the output after rounding."),
    SECTION(ON_PAGE, "unplaced", "Unmatched keys"),
    TABLE(ON_PAGE, "unplaced", "unplaced", FIELDS(unplaced), .max = MAX_UNPLACED, .what = "keys",
          .caption = "Keys of the adapter that match no weight of the base: nothing was written"),
    SECTION(ON_PAGE, "!unplaced&!dry_run", "Arrived share"),
    PART_IF(ON_PAGE, "!unplaced&!dry_run&totals.erased", ".", BLOCKS_OF(warning)),
    MADE(ON_PAGE, "!unplaced&!dry_run", arrived_roles,
         BLOCKS(SHARE_BARS(
             "Share of the change that arrived", "arrived",
             "The weight of a module becomes W + scale B A, computed in FP32 and rounded once to the type that is "
             "written. Below one half, rounding discarded more than it kept: --feedback keeps the effect, --dtype f32 "
             "keeps it."))),
    SHARE_MAP("Share of the change that arrived", "arrived", "arrived"),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Merged modules"),
    SAY(ON_PAGE, NULL, "Base: {base:model}."),
    SAY(ON_PAGE, "!scale=1", "The change was scaled by {scale}."),
    MADE(ON_TEXT, "!unplaced", arrived_roles, BLOCKS_OF(roles_table)),
    TABLE(ON_MARKDOWN, "!unplaced", "modules", FIELDS(modules)),
    MATRICES_SHARE("!unplaced&", "changed weights are"),
    MATRICES_LEFT("!unplaced&", "not in the adapter"),
    EACH_IF(ON_ALL, "!unplaced", "replaced",
            BLOCKS(SAY(ON_ALL, NULL, "Replaced: {tensor}, which the adapter stores whole."))),
    EACH_IF(ON_ALL, "!unplaced", "tokens",
            BLOCKS(SAY(ON_ALL, NULL, "Replaced: {rows:count} row{rows:s} of {tensor} (trainable_token_indices)."))),
    SAY(ON_ALL, "!unplaced&head", "Added: {head.tensor}; the output is no longer tied to the embedding."),
    SAY(ON_ALL, "!unplaced&words",
        "Vocabulary: {words:count} words, as in the adapter. The tokenizer is that of the base: copy the one with the "
        "new words."),
    SAY(ON_ALL, "!unplaced&totals.dequantised",
        "Dequantised: {totals.dequantised} packed weights; the output is a plain model."),
    SAY(ON_ALL, "!unplaced&not_understood",
        "Copied without interpretation: {not_understood:size} tensors, listed in the report."),
    PART_IF(ON_TEXT, "!unplaced&totals.erased", ".", BLOCKS_OF(warning)),
    MADE(ON_PAGE, "!unplaced", arrived_roles, BLOCKS_OF(roles_table)),
    SECTION(ON_PAGE, "!unplaced", "Modules"),
    TABLE(ON_PAGE, "!unplaced", "modules", FIELDS(modules), .max = EVERY_MODULE, .what = "modules",
          .caption = "Every module"),
    EVALUATION_ON(ON_TEXT),
    SECTION(ON_MARKDOWN, NULL, "Run"),
    GAP("!dry_run&!unplaced"),
    SAY(ON_TEXT, "!dry_run&!unplaced", "Time: {run.seconds:time}, {run.bytes_per_second:bytes}/s of output."),
    GAP("!dry_run&!unplaced"),
    LINES_ON(ON_TEXT, "!dry_run&!unplaced", "Model:  {run.output}"),
    GAP("!dry_run&!unplaced"),
};

const organ_view organ_lora_merge_view = {
    .schema = "organ.lora_merge/1",
    .kind = "LoRA merge{dry_run?, dry run}",
    .title = "{adapter.name} into {base.name}",
    .lead = "{unplaced?Does not fit, nothing was written.|{dry_run?Dry run, nothing was written: every key matches a "
            "weight.|The weights include the adapter's changes, rounded to their type.}}",
    BLOCKS_OF(blocks)};
