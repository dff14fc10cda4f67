/* SPDX-License-Identifier: MIT
 * The view of organ.lora_extract/1, the report of `organ lora extract`. */
#include "orchestrator/report/view/view_parts.h"

enum { MAX_SHOWN = 8, MAX_OTHERS = 500 }; /* lines of a list of other tensors, on a terminal and in a file */

/* The members are the explained share, the norm and the singular values of a module's change. */
static const organ_share_of explained = {"explained", "change_norm", "spectrum"};

static json_t *explained_roles(const json_t *report) { return organ_share_roles(report, &explained); }

static char *lora_rank_curves(const json_t *report) { return organ_rank_curves(report, &explained); }

static const organ_item lora_highlights[] = {
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
    FIELD_WORDS_IF("!dry_run", "least", "{modules?{least_explained:share}|-}", 0),
    FIELD_WORDS_IF("calibration&!dry_run", "outputs, base", "{modules?{outputs_before:share}|-}", 0),
    FIELD_WORDS_IF("calibration&!dry_run", "outputs", "{modules?{outputs_after:share}|-}", 0)};
static const organ_field lora_modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                           FIELD_TEXT("base stored as", "base_stored", 0),
                                           FIELD_COUNT("rank", "rank"),
                                           FIELD_SHARE("change", "change"),
                                           FIELD_SHARE("explained", "explained"),
                                           FIELD_FIXED("residual", "residual", 4),
                                           FIELD_COUNT("passes", "passes")};
static const organ_field others[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE), FIELD_TEXT("kind", "reason", 0),
                                     FIELD_MAYBE_SHARE("change", "change"),
                                     FIELD_WORDS("kept whole", "{kept?yes|no}", ORGAN_FIELD_LEFT)};

static const organ_block note[] = {SAY_AFTER(ON_TERMINAL | ON_PAGE, NULL, "  NOTE  ", "{.}"),
                                   ITEM(ON_MARKDOWN, NULL, "{.}")};

#define MEANING                                                                                                        \
    "\"Change\" is the norm of W_tuned - W_base relative to that of W_base, \"explained\" the share of its square "    \
    "that B "                                                                                                          \
    "A has, \"residual\" "                                                                                             \
    "the norm of the remainder relative to that of the change"

static const organ_block lora_blocks[] = {
    HEADING("LoRA extraction"),
    HIGHLIGHTS(NULL, lora_highlights),
    SECTION(ON_PAGE, NULL, "Source models"),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written and nothing compared."),
    EACH(ON_PAGE, "warnings", BLOCKS_OF(organ_warning_blocks)),
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
    FIGURE("modules.*.spectrum.1", lora_rank_curves,
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
    TABLE(ON_FILES, "!dry_run", "modules", FIELDS(lora_modules), .max = EVERY_MODULE, .what = "modules",
          .caption = MEANING),
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
    EACH(ON_TEXT, "warnings", BLOCKS_OF(organ_warning_blocks)),
    EACH(ON_TEXT, "notes", BLOCKS_OF(note)),
    SAY(ON_TERMINAL, "adapter.vllm_max_lora_rank", "vLLM: --max-lora-rank {adapter.vllm_max_lora_rank}"),
    PLAN,
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
                                            .files = {"lora_extract.json", "LORA_REPORT.md", NULL},
                                            BLOCKS_OF(lora_blocks)};

/* ---- organ.lora_sanitize/1 and organ.lora_resize/1: `organ lora sanitize` and `organ lora resize` ---- */

enum { MAX_FINDINGS = 500 }; /* lines of the table of findings on a page */

#define ADAPTER                                                                                                        \
    "{adapter.name} (LoRA, r {adapter.r}, alpha {adapter.lora_alpha}{adapter.use_rslora?, rsLoRA}{adapter.use_dora?, " \
    "DoRA}, "                                                                                                          \
    "{adapter.pairs:count} module{adapter.pairs:s})"

/* ---- fields and blocks of both views ---- */

/* The members are the kept share, the norm and the singular values of a module's change. */
static const organ_share_of kept = {"explained", "norm", "sigma"};

static json_t *kept_roles(const json_t *report) { return organ_share_roles(report, &kept); }

static char *adapter_rank_curves(const json_t *report) { return organ_rank_curves(report, &kept); }

static const organ_field adapter_roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                            FIELD_COUNT("modules", "modules"),
                                            FIELD_WORDS("rank", "{before_from}{before_to>before_from?-{before_to}}", 0),
                                            FIELD_WORDS("new rank", RANK_WORDS, 0),
                                            FIELD_SHARE("explained", "share"),
                                            FIELD_SHARE("least", "least")};
static const organ_field adapter_modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                              FIELD_TEXT("type", "dtype", 0),
                                              FIELD_COUNT("rank", "rank_before"),
                                              FIELD_COUNT("new rank", "rank"),
                                              FIELD_GENERAL("scale", "scale", 6),
                                              FIELD_GENERAL("norm", "norm", 6),
                                              FIELD_SHARE("explained", "explained"),
                                              FIELD_SHARE("residual", "residual")};

static const organ_block adapter_roles_table[] = {
    TABLE(ON_ALL, NULL, "rows", FIELDS(adapter_roles), .total = "all modules", .total_row = "total",
          .caption = "By role: explained is the share of the squared norm of scale B A that is kept")};
static const organ_block kept_blocks[] = {
    SECTION(ON_PAGE, NULL, "Kept share"),
    MADE(ON_PAGE, NULL, kept_roles,
         BLOCKS(SHARE_BARS("Share of each change that is kept", "kept",
                           "The removed part is the smallest possible at this rank."))),
    SHARE_MAP("Share of each change that is kept", "kept", "explained"),
    FIGURE("modules.*.sigma.1", adapter_rank_curves,
           "Computed from all singular values of scale B A: the share that any rank would keep."),
    RANK_MAP(NULL),
};

#define EVERY_MODULE_TABLE                                                                                             \
    TABLE(ON_FILES, NULL, "modules", FIELDS(adapter_modules), .max = EVERY_MODULE, .what = "modules",                  \
          .caption = "Every module")
#define END(if_) GAP(if_), SAY(ON_TERMINAL, if_, "Time: {run.seconds:time}."), LINES(if_, "\nAdapter:  {run.output}\n")

/* ---- sanitize ---- */

static const organ_item sanitize_highlights[] = {
    {NULL, "findings{check? that a server would reject| that a server would have rejected}", "{findings:size}"},
    {NULL, "{check?modules to keep|modules kept}", "{totals.modules:count}"},
    {NULL, "{check?tensors to remove|tensors removed}", "{dropped:size}"},
    {NULL, "rank of every module", "{output.r:count}"}};

static const organ_field findings[] = {FIELD_TEXT("where", "where", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                       FIELD_COUNT("number", "count"),
                                       FIELD_TEXT("why a server rejects it", "text", 0)};
static const organ_field dropped[] = {
    FIELD_WORDS("removed", "{tensor:module}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE | ORGAN_FIELD_LEFT),
    FIELD_TEXT("because", "why", 0), FIELD_MAYBE_GENERAL("norm", "norm", 6),
    FIELD_TEXT("of", "norm_of", ORGAN_FIELD_MAYBE)};

#define SERVED                                                                                                         \
    SAY(ON_ALL, "output.gguf", "Rank {output.r}: llama.cpp applies it with --lora."),                                  \
        SAY(ON_ALL, "output.mlx", "mlx-lm loads it with --adapter-path."),                                             \
        SAY(ON_ALL, "!output.gguf&!output.mlx",                                                                        \
            "{output.max_lora_rank?Rank {output.r}: vLLM serves it with --max-lora-rank {output.max_lora_rank}.|Rank " \
            "{output.r} is above "                                                                                     \
            "512, "                                                                                                    \
            "the limit of vLLM: organ lora resize reduces it.}")

#define OF_KIND "{where}{count>1? ({count:count} in all)}: "

static const organ_block sanitize_blocks[] = {
    LINES(NULL, "{check?Checked|{output.to?Converted|Sanitised}} " ADAPTER "{base?\nagainst {base:model}}\n\n"),
    HEADING("A sanitised adapter"),
    WARNINGS,
    SAY(ON_MARKDOWN, NULL, "Made of " ADAPTER "."),
    HIGHLIGHTS(NULL, sanitize_highlights),
    SECTION(ON_PAGE, NULL, "{check?Findings that a server would reject|Findings that a server would have rejected}"),
    EACH_IF(ON_TERMINAL, "check", "findings", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  REFUSED  ", OF_KIND "{text}"))),
    EACH_IF(ON_TERMINAL, "check", "conditions", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  SERVED   ", OF_KIND "{text}"))),
    TABLE(ON_PAGE, "findings", "findings", FIELDS(findings), .max = MAX_FINDINGS, .what = "findings",
          .caption = "{check?|In the original adapter}"),
    EACH(ON_PAGE, "conditions", BLOCKS(SAY(ON_PAGE, NULL, OF_KIND "{text}."))),
    SAY(ON_PAGE, "!findings", "Nothing that a server would reject."),
    SAY(ON_TERMINAL, "check&!findings", "Nothing that a server would reject."),
    SECTION(ON_PAGE, NULL, "{check?Changes that sanitising would make|Changes}"),
    SAY(ON_PAGE, "base", "Against: {base:model}."),
    TABLE(ON_TERMINAL, "!check&dropped&!dropped>20", "dropped", FIELDS(dropped)),
    EACH_IF(ON_TERMINAL, "!check&dropped>20", "dropped",
            BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  REMOVED  ", "{tensor:module}: {why}")), .max = MAX_SHOWN,
            .lead = "  REMOVED  ", .rest = "and {more} more, in the report"),
    LINES_ON(ON_TERMINAL, "!check&dropped>20", "\n"),
    TABLE(ON_MARKDOWN, "!check&dropped", "dropped", FIELDS(dropped)),
    MADE(ON_TEXT, "!check&totals.cut", kept_roles, BLOCKS_OF(adapter_roles_table)),
    SAY(ON_ALL, "!check&!output.scale",
        "Kept: {totals.modules} of {adapter.pairs} modules, with r = lora_alpha = {output.r}."),
    SAY(ON_ALL, "!check&output.scale",
        "Converted: {totals.modules} of {adapter.pairs} modules of rank {output.r}, with their scale "
        "{output.scale:.9g}."),
    SAY(ON_ALL, "!check&!output.scale&totals.folded",
        "Folded: the scale of {totals.folded} module{totals.folded:s} into B{totals.worst_folding_error?; rounding "
        "changed B by at most "
        "{totals.worst_folding_error:.2g} of its norm}."),
    SAY(ON_ALL, "!check&totals.padded", "Padded with zeros: {totals.padded} module{totals.padded:s} of lower rank."),
    SAY(ON_ALL, "!check&totals.cut",
        "Reduced: {totals.cut} module{totals.cut:s} of higher rank, to the best approximation."),
    EACH_IF(ON_ALL, "!check", "targets_removed",
            BLOCKS(SAY(ON_ALL, NULL, "target_modules: {.} was removed, because no key of it is left."))),
    SERVED,
    TABLE(ON_PAGE, "dropped", "dropped", FIELDS(dropped), .caption = "Removed tensors with their norms"),
    PART_IF(ON_PAGE, "totals.cut", ".", BLOCKS_OF(kept_blocks)),
    SECTION(ON_FILES, NULL, "Modules"),
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS_OF(adapter_roles_table)),
    EVERY_MODULE_TABLE,
    END("!check"),
};

const organ_view organ_lora_sanitize_view = {
    .schema = "organ.lora_sanitize/1",
    .kind = "{check?Check of an adapter|A sanitised adapter}",
    .title = "{adapter.name}",
    .lead = "{check&findings?A server would reject it: {findings:size} finding{findings:s}.|A server accepts {check?it "
            "unchanged|the result}.}",
    .files = {"lora_sanitize.json", "LORA_SANITIZE_REPORT.md", NULL},
    BLOCKS_OF(sanitize_blocks)};

/* ---- resize ---- */

static const organ_item resize_highlights[] = {{NULL, "of the squared change is kept", "{/totals.explained:share}"},
                                               {NULL, "in the module with the smallest share", "{total.least:share}"},
                                               {NULL, "rank now", "{/r:count}"},
                                               {NULL, "rank before", "{/totals.rank_before:count}"},
                                               {NULL, "of factors", "{/totals.bytes:bytes}"}};

#define TO_RANK "to rank {asked_rank}{asked_energy? at most, keeping {asked_energy:.6g} of the energy of every module}"

static const organ_block resize_blocks[] = {
    LINES(NULL, "Resized " ADAPTER "\n" TO_RANK "\n\n"),
    HEADING("An adapter of another rank"),
    WARNINGS,
    LINES_ON(ON_MARKDOWN, NULL, "Resized " ADAPTER "\n" TO_RANK),
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS(HIGHLIGHTS(NULL, resize_highlights))),
    PART_IF(ON_PAGE, NULL, ".", BLOCKS_OF(kept_blocks)),
    MADE(ON_TEXT, NULL, kept_roles, BLOCKS_OF(adapter_roles_table)),
    SAY(ON_ALL, "asked_rank>r&!totals.cut", "No module has a rank above {r}, so r stays {r}."),
    SAY(ON_ALL, "kept_as_they_are",
        "Not factors, copied unchanged: {kept_as_they_are:size} tensor{kept_as_they_are:s}, the first is "
        "{kept_as_they_are.0}."),
    SAY(ON_ALL, NULL,
        "All modules have r = lora_alpha = {r}; {totals.bytes_before:bytes} became {totals.bytes:bytes}."),
    SECTION(ON_FILES, NULL, "Modules"),
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS_OF(adapter_roles_table)),
    EVERY_MODULE_TABLE,
    END(NULL),
};

const organ_view organ_lora_resize_view = {
    .schema = "organ.lora_resize/1",
    .kind = "An adapter of another rank",
    .title = "{adapter.name}",
    .lead = "To rank {asked_rank}{asked_energy? at most, keeping {asked_energy:.6g} of the energy of "
            "every module}.",
    .files = {"lora_resize.json", "LORA_RESIZE_REPORT.md", NULL},
    BLOCKS_OF(resize_blocks)};

/* ---- organ.lora_combine/1: `organ lora combine` ---- */

static const organ_item combine_highlights[] = {
    {NULL, "adapters", "{adapters:size}"},
    {"compared.0.modules", "smallest cosine of two changes of a module", "{compared.0.least_cosine:.3f}"},
    {"!dry_run", "of the squared change is kept", "{totals.explained:share}"},
    {NULL, "rank of every module", "{r:count}"},
    {NULL, "modules", "{totals.modules:count}"}};

static const organ_field combined_adapters[] = {FIELD_TEXT("adapter", "adapter.name", ORGAN_FIELD_CODE),
                                                FIELD_COUNT("modules", "adapter.pairs"),
                                                FIELD_COUNT("only here", "alone"),
                                                FIELD_COUNT("r", "adapter.r"),
                                                FIELD_GENERAL("alpha", "adapter.lora_alpha", 6),
                                                FIELD_GENERAL("weight", "weight", 6)};
static const organ_field compared_pairs[] = {FIELD_WORDS("adapters", "{first} and {second}", ORGAN_FIELD_LEFT),
                                             FIELD_COUNT("modules", "modules"),
                                             FIELD_FIXED("cosine", "cosine", 4),
                                             FIELD_FIXED("least", "least_cosine", 4),
                                             FIELD_SHARE("shared signs", "shared"),
                                             FIELD_SHARE("opposed", "opposed")};
static const organ_field combined_modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                               FIELD_TEXT("type", "dtype", 0),
                                               FIELD_COUNT("adapters", "adapters"),
                                               FIELD_WORDS("cosine", "{adapters>1?{cosine:.4f}|-}", 0),
                                               FIELD_WORDS("shared signs", "{adapters>1?{shared:share}|-}", 0),
                                               FIELD_WORDS("opposed", "{adapters>1?{opposed:share}|-}", 0),
                                               FIELD_COUNT("rank, whole", "rank_before"),
                                               FIELD_COUNT("rank", "rank"),
                                               FIELD_IF("!dry_run", "norm", "norm", ".6g", 0),
                                               FIELD_IF("!dry_run", "explained", "explained", "share", 0)};

static const organ_block combine_blocks[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |Combined }{adapters:size} adapters{dry_run? compared} by "
                "{parameters.method}: {text}\n\n"),
    HEADING("Combined adapters"),
    WARNINGS,
    HIGHLIGHTS(NULL, combine_highlights),
    TABLE(ON_ALL, NULL, "adapters", FIELDS(combined_adapters), .caption = "The adapters, with their --weights"),
    SECTION(ON_FILES, NULL, "Comparison"),
    TABLE(ON_ALL, NULL, "compared", FIELDS(compared_pairs),
          .caption = "Changes of two adapters: their cosine, the smallest of a module, and shares of elements by sign"),
    MAP("modules.*.cosine", "modules",
        .style = {.title = "Cosine of the changes, by layer",
                  .description = "The cosine of the changes of two adapters for each role and layer; of more adapters "
                                 "the smallest of two.",
                  .value_label = "cosine",
                  .low = -1,
                  .high = 1,
                  .diverging = true},
        .role = "role", .value = "cosine", .least = true, .inside = true,
        .caption = "Below 0 the changes of two adapters oppose each other; near 0 they do not touch."),
    MAP("modules.*.opposed", "modules",
        .style = {.title = "Opposed signs, by layer",
                  .description = "The share of elements that two adapters change with opposed signs.",
                  .value_label = "opposed, percent",
                  .low = 0,
                  .high = 100},
        .role = "role", .value = "opposed", .factor = 100, .inside = true,
        .caption = "Unrelated changes have opposed signs in half of the elements."),
    SAY(ON_ALL, "unchanged", "The factors are copied unchanged{scale=1?|, with their scale {scale:.9g}}."),
    SAY(ON_ALL, "!dry_run&totals.cut",
        "Rank {r} keeps {totals.explained:share} of the squared norm of the combined changes; the worst module keeps "
        "all but {totals.worst_residual:share} of its norm."),
    EACH(ON_ALL, "copied", BLOCKS(SAY(ON_ALL, NULL, "Copied: {tensor}, of adapter {adapter}.")), .max = MAX_SHOWN,
         .lead = "  ", .rest = "and {more} more, in the report"),
    SAY(ON_ALL, "!dry_run", "All {totals.modules:count} modules have rank {r}; {totals.bytes:bytes}."),
    PART_IF(ON_PAGE, "!dry_run&totals.cut", ".", BLOCKS_OF(kept_blocks)),
    SECTION(ON_FILES, NULL, "Modules"),
    TABLE(ON_FILES, NULL, "modules", FIELDS(combined_modules), .max = EVERY_MODULE, .what = "modules",
          .caption = "Every module"),
    PLAN,
    END("!dry_run"),
};

const organ_view organ_lora_combine_view = {
    .schema = "organ.lora_combine/1",
    .kind = "Combined adapters{dry_run?, dry run}",
    .title = "{adapters.0.adapter.name} and {adapters.1.adapter.name}{adapters>2?, ...}",
    .lead = "{parameters.method}: {text}.",
    .files = {"lora_combine.json", "LORA_COMBINE_REPORT.md", NULL},
    BLOCKS_OF(combine_blocks)};

/* ---- organ.audit_combine/1: `organ audit --recipe` of combined adapters ---- */

static const organ_item combination_highlights[] = {{NULL, "values that differ", "{different:count}"},
                                                    {NULL, "of {modules:count} modules are equal", "{proved:count}"}};

static const organ_block combination_problem[] = {WARN(ON_TERMINAL | ON_PAGE, NULL, "{.}"),
                                                  ITEM(ON_MARKDOWN, NULL, "{.}")};

static const organ_block combination_blocks[] = {
    HEADING("Audit of combined adapters"),
    WARNINGS,
    HIGHLIGHTS(NULL, combination_highlights),
    SAY(ON_ALL, NULL,
        "{adapter.name}: the factors of {modules:count} modules ({elements:count} values) were combined again of "
        "{adapters:count} adapters by {method}; {different:count} values differ."),
    SAY(ON_ALL, "distance",
        "The change of each module is the weighted sum of the adapters' changes; the largest relative distance is "
        "{distance:.2g}."),
    SAY(ON_ALL, "tensors", "{copied:count} of {tensors:count} copied tensors are those of the adapters."),
    EACH(ON_ALL, "problems", BLOCKS_OF(combination_problem)),
    SAY(ON_ALL, "ok", "The adapter is the combination that its report describes."),
};

const organ_view organ_audit_combine_view = {.schema = "organ.audit_combine/1",
                                             .kind = "Audit of combined adapters",
                                             .title = "{adapter.name}",
                                             BLOCKS_OF(combination_blocks)};

/* ---- organ.lora_merge/1: `organ lora merge` ---- */

/* The limits are for keys without a weight on a page, and for modules listed as "erased" by rounding. */
enum { MAX_UNPLACED = 500, MAX_ERASED = 5 };

/* The members are the share of a module's change that is in the output, and the norm of the change. */
static const organ_share_of arrived = {"arrived", "delta_norm", NULL};

static json_t *arrived_roles(const json_t *report) { return organ_share_roles(report, &arrived); }

static const organ_item merge_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"!dry_run&!unplaced", "of the change arrived", "{totals.arrived:share}"},
    {"!dry_run&!unplaced", "of its norm is rounding error", "{totals.rounding_error:share}"},
    {"!dry_run&!unplaced", "modules lost more than half", "{totals.erased:count}"},
    {NULL, "{dry_run?modules to merge|modules merged}", "{totals.modules:count}"},
    {NULL, "weights in them", "{totals.elements:count}"}};

static const organ_field merge_roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_COUNT("modules", "modules"),
                                          FIELD_WORDS("rank", RANK_WORDS, 0),
                                          FIELD_COUNT("weights", "elements"),
                                          FIELD_IF("!dry_run", "arrived", "share", "share", 0),
                                          FIELD_IF("!dry_run", "least", "least", "share", 0)};
static const organ_field merge_modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
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

static const organ_block merge_roles_table[] = {TABLE(ON_ALL, NULL, "rows", FIELDS(merge_roles), .total = "all merged",
                                                      .total_row = "total", .caption = "Modules by role")};
static const organ_block merge_warning[] = {
    GAP(NULL),
    WARN(ON_ALL, NULL,
         "Rounding discarded more than half of the change of {totals.erased} module{totals.erased:s}: the change is "
         "finer than the precision of their type. --feedback keeps its effect, --dtype f32 keeps it."),
    EACH(ON_ALL, "modules", BLOCKS(SAY_AFTER(ON_ALL, NULL, "    ", "{module}: {arrived:share} arrived as {dtype}")),
         .where = "erased", .max = MAX_ERASED, .lead = "    ", .rest = "and {more} more, in the report"),
};

static const organ_block merge_blocks[] = {
    HEADING("LoRA merge"),
    WARNINGS,
    HIGHLIGHTS(NULL, merge_highlights),
    LINES_ON(ON_TEXT, NULL,
             "{unplaced?Does not fit, nothing was written: |{dry_run?Dry run, nothing was written: |Merged "
             "}}{adapter.name} (LoRA, r "
             "{adapter.r}, {adapter.pairs:count} module{adapter.pairs:s})\ninto {base:model}"
             "{scale=1?|\nwith the change scaled by {scale}}"),
    GAP(NULL),
    GAP(NULL),
    EACH(ON_FILES, "clashes", BLOCKS(WARN(ON_FILES, NULL, "The models differ in {what}: {values}."))),
    EACH(ON_TERMINAL, "unplaced", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  NO MATCH  ", "{tensor}: {reason}")),
         .max = MAX_SHOWN, .lead = "  NO MATCH  ", .rest = "and {more} more; --json has all of them"),
    SAY(ON_MARKDOWN, NULL,
        "The weight of a module becomes W + scale B A, computed in FP32 and rounded once to the type that is written. "
        "\"Arrived\" is the share of the change that is in the output after rounding."),
    SECTION(ON_PAGE, "unplaced", "Unmatched keys"),
    TABLE(ON_PAGE, "unplaced", "unplaced", FIELDS(unplaced), .max = MAX_UNPLACED, .what = "keys",
          .caption = "Keys of the adapter that match no weight of the base: nothing was written"),
    SECTION(ON_PAGE, "!unplaced&!dry_run", "Arrived share"),
    PART_IF(ON_PAGE, "!unplaced&!dry_run&totals.erased", ".", BLOCKS_OF(merge_warning)),
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
    MADE(ON_TEXT, "!unplaced", arrived_roles, BLOCKS_OF(merge_roles_table)),
    TABLE(ON_MARKDOWN, "!unplaced", "modules", FIELDS(merge_modules)),
    MATRICES_SHARE("!unplaced&", "changed weights are"),
    MATRICES_LEFT("!unplaced&", "not in the adapter"),
    EACH_IF(ON_ALL, "!unplaced", "replaced",
            BLOCKS(SAY(ON_ALL, NULL, "Replaced: {tensor}, which the adapter stores whole."))),
    EACH_IF(ON_ALL, "!unplaced", "tokens",
            BLOCKS(SAY(ON_ALL, NULL, "Replaced: {rows:count} row{rows:s} of {tensor} (trainable_token_indices)."))),
    SAY(ON_ALL, "!unplaced&head&head.whole",
        "Added: {head.tensor}, which the adapter stores whole; the output is no longer tied to the embedding."),
    SAY(ON_ALL, "!unplaced&head&head.changed",
        "Untied: {head.tensor} has the factors of the head, as peft serves the adapter; the embedding has its own."),
    SAY(ON_ALL, "!unplaced&head&!head.whole&!head.changed",
        "Untied: {head.tensor} is the base's {head.from}, as peft serves the adapter; --keep-tied changes both."),
    SAY(ON_ALL, "!unplaced&kept_tied",
        "Tied: the change of the embedding is also that of the output head, unlike in the adapter as peft serves it."),
    SAY(ON_ALL, "!unplaced&words",
        "Vocabulary: {words:count} words, as in the adapter. The tokenizer is that of the base: copy the one with the "
        "new words."),
    SAY(ON_ALL, "!unplaced&totals.dequantised",
        "Dequantised: {totals.dequantised} packed weights; the output is a plain model."),
    SAY(ON_ALL, "!unplaced&not_understood",
        "Copied without interpretation: {not_understood:size} tensors, listed in the report."),
    PART_IF(ON_TEXT, "!unplaced&totals.erased", ".", BLOCKS_OF(merge_warning)),
    MADE(ON_PAGE, "!unplaced", arrived_roles, BLOCKS_OF(merge_roles_table)),
    SECTION(ON_PAGE, "!unplaced", "Modules"),
    TABLE(ON_PAGE, "!unplaced", "modules", FIELDS(merge_modules), .max = EVERY_MODULE, .what = "modules",
          .caption = "Every module"),
    PLAN,
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
    .files = {"lora_merge.json", "LORA_MERGE_REPORT.md", NULL},
    .made_by = "lora merge",
    BLOCKS_OF(merge_blocks)};
