/* SPDX-License-Identifier: MIT
 * The views of organ.lora_sanitize/1 and organ.lora_resize/1, the reports of `organ lora sanitize` and `organ lora
 * resize`. */
#include "orchestrator/report/view/shares.h"
#include "orchestrator/report/view/views.h"

enum { MAX_FINDINGS = 500 }; /* lines of the table of findings on a page */

#define ADAPTER                                                                                                        \
    "{adapter.name} (LoRA, r {adapter.r}, alpha {adapter.lora_alpha}{adapter.use_rslora?, rsLoRA}{adapter.use_dora?, " \
    "DoRA}, "                                                                                                          \
    "{adapter.pairs:count} module{adapter.pairs:s})"

/* ---- fields and blocks of both views ---- */

/* The members are the kept share, the norm and the singular values of a module's change. */
static const organ_share_of kept = {"explained", "norm", "sigma"};

static json_t *kept_roles(const json_t *report) { return organ_share_roles(report, &kept); }

static char *rank_curves(const json_t *report) { return organ_rank_curves(report, &kept); }

static const organ_field roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                    FIELD_COUNT("modules", "modules"),
                                    FIELD_WORDS("rank", "{before_from}{before_to>before_from?-{before_to}}", 0),
                                    FIELD_WORDS("new rank", RANK_WORDS, 0),
                                    FIELD_SHARE("explained", "share"),
                                    FIELD_SHARE("least", "least")};
static const organ_field modules[] = {FIELD_TEXT("module", "module", ORGAN_FIELD_CODE),
                                      FIELD_TEXT("type", "dtype", 0),
                                      FIELD_COUNT("rank", "rank_before"),
                                      FIELD_COUNT("new rank", "rank"),
                                      FIELD_GENERAL("scale", "scale", 6),
                                      FIELD_GENERAL("norm", "norm", 6),
                                      FIELD_SHARE("explained", "explained"),
                                      FIELD_SHARE("residual", "residual")};

static const organ_block roles_table[] = {
    TABLE(ON_ALL, NULL, "rows", FIELDS(roles), .total = "all modules", .total_row = "total",
          .caption = "By role: explained is the share of the squared norm of scale B A that is kept")};
static const organ_block kept_blocks[] = {
    SECTION(ON_PAGE, NULL, "Kept share"),
    MADE(ON_PAGE, NULL, kept_roles,
         BLOCKS(SHARE_BARS("Share of each change that is kept", "kept",
                           "The removed part is the smallest possible at this rank."))),
    SHARE_MAP("Share of each change that is kept", "kept", "explained"),
    FIGURE("modules.*.sigma.1", rank_curves,
           "Computed from all singular values of scale B A: the share that any rank would keep."),
    RANK_MAP(NULL),
};

#define EVERY_MODULE_TABLE                                                                                             \
    TABLE(ON_FILES, NULL, "modules", FIELDS(modules), .max = EVERY_MODULE, .what = "modules", .caption = "Every module")
#define END(if_) GAP(if_), SAY(ON_TERMINAL, if_, "Time: {run.seconds:time}."), LINES(if_, "\nAdapter:  {run.output}\n")

/* ---- sanitize ---- */

static const organ_item sanitize_highlights[] = {
    {NULL, "findings{check? that a server would reject| that a server would have rejected}", "{findings:size}"},
    {NULL, "{check?modules to keep|modules kept}", "{totals.modules:count}"},
    {NULL, "{check?tensors to remove|tensors removed}", "{dropped:size}"},
    {NULL, "rank of every module", "{output.r:count}"}};

static const organ_field findings[] = {FIELD_TEXT("where", "where", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                       FIELD_TEXT("why a server rejects it", "text", 0)};
static const organ_field dropped[] = {
    FIELD_WORDS("removed", "{tensor:module}", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE | ORGAN_FIELD_LEFT),
    FIELD_TEXT("because", "why", 0), FIELD_MAYBE_GENERAL("norm", "norm", 6),
    FIELD_TEXT("of", "norm_of", ORGAN_FIELD_MAYBE)};

#define SERVED                                                                                                         \
    SAY(ON_ALL, NULL,                                                                                                  \
        "{output.max_lora_rank?Rank {output.r}: vLLM serves it with --max-lora-rank {output.max_lora_rank}.|Rank "     \
        "{output.r} is above "                                                                                         \
        "512, "                                                                                                        \
        "the limit of vLLM: organ lora resize reduces it.}")

static const organ_block sanitize_blocks[] = {
    LINES(NULL, "{check?Checked|Sanitised} " ADAPTER "{base?\nagainst {base:model}}\n\n"),
    HEADING("A sanitised adapter"),
    SAY(ON_MARKDOWN, NULL, "Made of " ADAPTER "."),
    HIGHLIGHTS(NULL, sanitize_highlights),
    SECTION(ON_PAGE, NULL, "{check?Findings that a server would reject|Findings that a server would have rejected}"),
    EACH_IF(ON_TERMINAL, "check", "findings", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  REFUSED  ", "{where}: {text}"))),
    TABLE(ON_PAGE, "findings", "findings", FIELDS(findings), .max = MAX_FINDINGS, .what = "findings",
          .caption = "{check?|In the original adapter}"),
    SAY(ON_PAGE, "!findings", "Nothing that a server would reject."),
    SAY(ON_TERMINAL, "check&!findings", "Nothing that a server would reject."),
    SECTION(ON_PAGE, NULL, "{check?Changes that sanitising would make|Changes}"),
    SAY(ON_PAGE, "base", "Against: {base:model}."),
    TABLE(ON_TEXT, "!check&dropped", "dropped", FIELDS(dropped)),
    MADE(ON_TEXT, "!check&totals.cut", kept_roles, BLOCKS_OF(roles_table)),
    SAY(ON_ALL, "!check", "Kept: {totals.modules} of {adapter.pairs} modules, with r = lora_alpha = {output.r}."),
    SAY(ON_ALL, "!check&totals.folded",
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
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS_OF(roles_table)),
    EVERY_MODULE_TABLE,
    END("!check"),
};

const organ_view organ_lora_sanitize_view = {
    .schema = "organ.lora_sanitize/1",
    .kind = "{check?Check of an adapter|A sanitised adapter}",
    .title = "{adapter.name}",
    .lead = "{check&findings?A server would reject it: {findings:size} finding{findings:s}.|A server accepts {check?it "
            "unchanged|the result}.}",
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
    LINES_ON(ON_MARKDOWN, NULL, "Resized " ADAPTER "\n" TO_RANK),
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS(HIGHLIGHTS(NULL, resize_highlights))),
    PART_IF(ON_PAGE, NULL, ".", BLOCKS_OF(kept_blocks)),
    MADE(ON_TEXT, NULL, kept_roles, BLOCKS_OF(roles_table)),
    SAY(ON_ALL, "asked_rank>r&!totals.cut", "No module has a rank above {r}, so r stays {r}."),
    SAY(ON_ALL, "kept_as_they_are",
        "Not factors, copied unchanged: {kept_as_they_are:size} tensor{kept_as_they_are:s}, the first is "
        "{kept_as_they_are.0}."),
    SAY(ON_ALL, NULL,
        "All modules have r = lora_alpha = {r}; {totals.bytes_before:bytes} became {totals.bytes:bytes}."),
    SECTION(ON_FILES, NULL, "Modules"),
    MADE(ON_PAGE, NULL, kept_roles, BLOCKS_OF(roles_table)),
    EVERY_MODULE_TABLE,
    END(NULL),
};

const organ_view organ_lora_resize_view = {
    .schema = "organ.lora_resize/1",
    .kind = "An adapter of another rank",
    .title = "{adapter.name}",
    .lead = "To rank {asked_rank}{asked_energy? at most, keeping {asked_energy:.6g} of the energy of "
            "every module}.",
    BLOCKS_OF(resize_blocks)};
