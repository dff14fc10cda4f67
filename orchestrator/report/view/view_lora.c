/* SPDX-License-Identifier: MIT
 * The view of organ.lora_extract/1, the report of `organ lora extract`. */
#include "orchestrator/report/view/view_parts.h"
#include "orchestrator/report/view/shares.h"
#include "orchestrator/report/view/views.h"

enum { MAX_SHOWN = 8, MAX_OTHERS = 500 }; /* lines of a list of other tensors, on a terminal and in a file */

/* The members are the explained share, the norm and the singular values of a module's change. */
static const organ_share_of explained = {"explained", "change_norm", "spectrum"};

static json_t *explained_roles(const json_t *report) { return organ_share_roles(report, &explained); }

static char *rank_curves(const json_t *report) { return organ_rank_curves(report, &explained); }

static const organ_item highlights[] = {
    {"!dry_run", "of the squared change is explained", "{totals.explained:share}"},
    {"!dry_run", "in the module with the smallest share", "{totals.least_explained:share}"},
    {"!dry_run", "norm of the change relative to the base", "{totals.change:share}"},
    {NULL, "{dry_run?rank, at most|rank}", "{totals.rank_from}{totals.rank_to>totals.rank_from? to {totals.rank_to}}"},
    {NULL, "modules", "{totals.modules:count}"}};

/* A role whose modules are all unchanged has "-": it has no factors. */
static const organ_field projections[] = {
    FIELD_TEXT("projection", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_COUNT("modules", "modules"),
    FIELD_WORDS("rank", "{modules?" RANK_WORDS "|-}", 0),
    FIELD_WORDS("parameters", "{modules?{parameters:count}|-}", 0),
    FIELD_WORDS_IF("!dry_run", "change", "{modules?{change:share}|-}", 0),
    FIELD_WORDS_IF("!dry_run", "explained", "{modules?{explained:share}|-}", 0),
    FIELD_WORDS_IF("!dry_run", "least", "{modules?{least_explained:share}|-}", 0)};
static const organ_field modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                      FIELD_TEXT("base stored as", "base_stored", 0),
                                      FIELD_COUNT("rank", "rank"),
                                      FIELD_SHARE("change", "change"),
                                      FIELD_SHARE("explained", "explained"),
                                      FIELD_FIXED("residual", "residual", 4),
                                      FIELD_COUNT("passes", "passes")};
static const organ_field others[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE), FIELD_TEXT("kind", "reason", 0),
                                     FIELD_MAYBE_SHARE("change", "change"),
                                     FIELD_WORDS("kept whole", "{kept?yes|no}", ORGAN_FIELD_LEFT)};

static const organ_block warning[] = {WARN(ON_TERMINAL | ON_PAGE, NULL, "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}")};
static const organ_block note[] = {SAY_AFTER(ON_TERMINAL | ON_PAGE, NULL, "  NOTE  ", "{.}"),
                                   ITEM(ON_MARKDOWN, NULL, "{.}")};

#define MEANING                                                                                                        \
    "\"Change\" is the norm of W_tuned - W_base relative to that of W_base, \"explained\" the share of its square "    \
    "that B "                                                                                                          \
    "A has, \"residual\" "                                                                                             \
    "the norm of the remainder relative to that of the change"

static const organ_block blocks[] = {
    HEADING("LoRA extraction"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Source models"),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written and nothing compared."),
    EACH(ON_PAGE, "warnings", BLOCKS_OF(warning)),
    LINES_ON(ON_TEXT, NULL,
             "{dry_run?Dry run, nothing was written: a }LoRA adapter of rank {adapter.r}{dry_run? or less} for "
             "{totals.modules:count} "
             "module{totals.modules:s}\nof   {tuned:model}\nfor  {base:model}"),
    GAP(NULL),
    GAP(NULL),
    SAY_AFTER(ON_TEXT, NULL, "", "{method.text}"),
    GAP(NULL),
    SAY(ON_MARKDOWN, NULL, MEANING ". The explained share is measured with the stored factors."),
    SAY(ON_PAGE, NULL, "Tuned: {tuned:model}."),
    SAY(ON_PAGE, NULL, "Base: {base:model}."),
    EACH(ON_PAGE, "notes", BLOCKS_OF(note)),
    SAY(ON_PAGE, "adapter.vllm_max_lora_rank", "vLLM serves it with --max-lora-rank {adapter.vllm_max_lora_rank}."),
    SECTION(ON_PAGE, "!dry_run", "Explained share"),
    MADE(ON_PAGE, "!dry_run", explained_roles,
         BLOCKS(SHARE_BARS("Explained share of the change", "explained",
                           "Measured with the stored factors. The rest of the change is not in the adapter."))),
    SHARE_MAP("Explained share of the change", "explained", "explained"),
    FIGURE("modules.*.spectrum.1", rank_curves,
           "Computed from the kept singular values: if a curve is still steep at its end, a higher rank explains more; "
           "if it is flat, a lower rank is enough. The curve of a module of lower rank continues at its last value. "
           "Factors rounded to their type explain a little less than this."),
    RANK_MAP("!dry_run"),
    SECTION(ON_PAGE, NULL, "Projections"),
    TABLE(ON_ALL, NULL, "roles", FIELDS(projections), .total = "all", .total_row = "totals",
          .caption = "Modules by projection"),
    MATRICES_SHARE("", "modules with factors are"),
    MATRICES_FEW("!parameters.modules&", "in the adapter",
                 "The others are stacks of experts, or have names that are not in organ's default."),
    MATRICES_LEFT("", "not in the adapter"),
    SECTION(ON_FILES, "!dry_run", "Modules"),
    TABLE(ON_FILES, "!dry_run", "modules", FIELDS(modules), .max = EVERY_MODULE, .what = "modules", .caption = MEANING),
    SAY(ON_TERMINAL | ON_PAGE, "totals.unchanged", "Unchanged, without factors: {totals.unchanged} linear layers."),
    SAY(ON_TERMINAL, "!not_extracted&!dry_run", "All {totals.others} other tensors are equal in both models."),
    SAY(ON_TERMINAL, "not_extracted",
        "{dry_run?Not to be compared|Changed, without factors}: {not_extracted:size} of {totals.others} other tensors"),
    EACH(ON_TERMINAL, "not_extracted",
         BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "    ",
                          "{tensor}: {reason}{change?, changed by {change:share}}{kept?, kept whole}")),
         .max = MAX_SHOWN),
    SAY_AFTER(ON_TERMINAL, "not_extracted>8", "    ", "and {not_extracted:-8} more, in the report"),
    SECTION(ON_FILES, "not_extracted", "{dry_run?Not to be compared|Changed, without factors}"),
    TABLE(ON_FILES, "not_extracted", "not_extracted", FIELDS(others), .max = MAX_OTHERS, .what = "tensors",
          .caption = "Tensors that are not linear layers; --save-full stores them whole"),
    EACH(ON_TEXT, "warnings", BLOCKS_OF(warning)),
    EACH(ON_TEXT, "notes", BLOCKS_OF(note)),
    SAY(ON_TERMINAL, "adapter.vllm_max_lora_rank", "vLLM: --max-lora-rank {adapter.vllm_max_lora_rank}"),
    SECTION(ON_MARKDOWN, NULL, "Run"),
    SAY(ON_TEXT, "!dry_run", "Time: {run.seconds:time}, {adapter.bytes:bytes} written."),
    GAP("!dry_run"),
    LINES_ON(ON_TEXT, "!dry_run", "Adapter:  {run.output}"),
    GAP("!dry_run"),
};

const organ_view organ_lora_extract_view = {.schema = "organ.lora_extract/1",
                                            .kind = "LoRA extraction{dry_run?, dry run}",
                                            .title = "{tuned.name}",
                                            .lead = "{method.text}",
                                            BLOCKS_OF(blocks)};
