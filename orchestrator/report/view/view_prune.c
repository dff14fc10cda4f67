/* SPDX-License-Identifier: MIT
 * The view of organ.prune/1, the report of `organ prune`. In organ/REPORT.md and on the page only the last section
 * depends on the run; all others depend on the donor and the parameters alone. */
#include "orchestrator/report/view/view_parts.h"

#define COST(member) "{" member ":.3g}" /* nats per token */

static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_COUNT("layer", "layer"),
                                      FIELD_COUNT("weights", "elements"),
                                      FIELD_PERCENT("given", "sparsity"),
                                      FIELD_WORDS("KL", COST("cost"), 0),
                                      FIELD_WORDS("KL with equal shares", COST("uniform_cost"), 0),
                                      FIELD_WORDS("curve", "{between?from other layers|measured}", 0)};

const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS] = {
    SECTION(ON_FILES, NULL, "Allocation by tensor"),
    SAY(ON_TERMINAL, "tensors",
        "Allocation: one budget of {budget} %; predicted cost " COST("cost") " nats per token, against " COST(
            "uniform_cost") "."),
    SAY(ON_TERMINAL, "!tensors",
        "Allocation: one budget of {budget} % over {tensors_in_all} tensors; {known?their curves are read from a "
        "file|{measured} curves would be measured}, on {tokens:count} tokens that are not used for calibration."),
    SAY(ON_FILES, "tensors",
        "One budget of {budget} % was divided over {tensors_in_all} tensors by the cost of pruning each alone: curves "
        "of {measured} of them were measured on {tokens:count} tokens in {windows} windows of {text.name} that are not "
        "used for calibration. The predicted cost of all of them is " COST(
            "cost") " nats per token; equal shares would cost " COST("uniform_cost") "."),
    SAY(ON_FILES, "!tensors", "One budget of {budget} % would be divided over {tensors_in_all} tensors."),
    SAY(ON_ALL, "exchanges",
        "Exchanges between pairs of tensors: {exchanges.taken} of {exchanges.tried} taken; with every matrix pruned "
        "individually, the model is {exchanges.before:.4g} nats per token from the donor before the exchanges and "
        "{exchanges.after:.4g} after."),
    MAP("tensors", "tensors",
        .style = {.title = "Allocation by layer and projection",
                  .description = "A field of cells, one for each projection in each layer, with the percentage of its "
                                 "weights to set to zero. The table below has the same numbers.",
                  .row_label = "projection",
                  .value_label = "allocated sparsity, percent"},
        .role = "role", .value = "sparsity", .weight = "elements", .layers = true,
        .caption = "Tensors in which zeros cost more get fewer of them; all together meet the budget."),
    TABLE(ON_FILES, "tensors", "tensors", FIELDS(tensors),
          .caption = "Nats per token, by the curve of each tensor alone", .max = 1000, .what = "tensors")};

/* Words for the size of a part of the model, and for a layer; `of` and `at` are paths. */
#define AMOUNT(of)   "{" of ".tensors:count} tensors, {" of ".elements:count} elements, {" of ".bytes:count} bytes"
#define LAYER_OF(at) "{" at ".name} ({" at ".percent:percent} of its {" at ".elements:count} target weights)"
#define FIRST_LAYER  LAYER_OF("densest.0")
#define SECOND_LAYER LAYER_OF("densest.1")
#define THIRD_LAYER  LAYER_OF("densest.2")
#define LAST_LAYER   LAYER_OF("sparsest")
#define DONE         "!dry_run"

static const organ_item prune_highlights[] = {EVALUATION_HIGHLIGHTS, SPARSITY_HIGHLIGHTS};

/* ---- inputs and counts ---- */

/* Conditions: the method is the flow of physarum; the method was calibrated on a text; it used an imatrix. */
#define FLOW       "parameters.iterations"
#define CALIBRATED "calibration"
#define BY_IMATRIX "imatrix"

static const organ_item inputs[] = {
    {NULL, "Donor", "{donor.name} ({donor.architecture}{donor.model_type?, {donor.model_type}})"},
    {NULL, "Format", "{donor.format}, weight files: {donor.files}"},
    {NULL, "The whole model", AMOUNT("donor")},
    {NULL, "Copied byte for byte", AMOUNT("untouched")},
    {NULL, "Method", "{parameters.method}, definition {definition}"},
    {FLOW, "Parameters",
     "block_size={parameters.block_size}, iterations={parameters.iterations}, beta={parameters.beta}, "
     "coupling={parameters.coupling}, "
     "step={parameters.step}, threshold={parameters.threshold}"},
    {FLOW, "Gain",
     "{parameters.sparsity?searched for in each tensor, so that {parameters.sparsity} % of its elements are zeroed|"
     "{parameters.gain}: the flow decides the sparsity}"},
    {"!" FLOW, "Sparsity",
     "{parameters.pattern?pattern {parameters.pattern}: N:M keeps at most N of M "
     "neighbours|{parameters.allocation?{parameters.allocation.budget} % of all of them, divided over the "
     "tensors|{parameters.sparsity?{parameters.sparsity} % of the elements of each tensor|decided by the flow in each "
     "tensor}}}"},
    {"parameters.stability", "Parameters",
     "refit={parameters.compensate}, effort={parameters.effort}, seed={parameters.seed}"},
    {"parameters.effort&!parameters.stability&!" BY_IMATRIX, "Parameters", "effort={parameters.effort}"},
    {CALIBRATED, "Calibration text",
     "{calibration.text.name}, {calibration.text.bytes} bytes, XXH3 {calibration.text.xxh3}, {calibration.text.tokens} "
     "tokens"},
    {CALIBRATED, "Tokenizer",
     "{calibration.tokenizer.kind}, vocabulary {calibration.tokenizer.vocabulary}, digest "
     "{calibration.tokenizer.digest}"},
    {CALIBRATED, "Windows",
     "{calibration.samples} of {calibration.context} tokens, {calibration.windows}; {calibration.bos}"},
    {CALIBRATED, "Calibrated on", "{calibration.streams}"},
    {CALIBRATED, "Tensors calibrated in blocks of 256 inputs", "{calibration.block_diagonal_tensors}"},
    {CALIBRATED "&" CALIBRATED ".all_experts", "Tokens of an expert", "all tokens of its layer (--all-experts)"},
    {CALIBRATED "&" CALIBRATED ".fallback",
     "Experts calibrated on all tokens of their layer, since fewer than 8 reached them",
     "{calibration.fallback.experts}: {calibration.fallback.names:join}"},
    {BY_IMATRIX "&" BY_IMATRIX ".fallback", "Experts without tokens in the imatrix",
     "{imatrix.fallback.experts}: {imatrix.fallback.names:join}"},
    {BY_IMATRIX, "Imatrix",
     "{imatrix.name} ({imatrix.format}), {imatrix.bytes} bytes, XXH3 {imatrix.xxh3}, {imatrix.entries} entries"},
    {BY_IMATRIX, "Texts of the imatrix, as named in the file", "{imatrix.datasets?{imatrix.datasets:join}|none}"},
    {BY_IMATRIX, "Its chunks",
     "{imatrix.chunks?{imatrix.chunks}{imatrix.chunk_size? of {imatrix.chunk_size} tokens|, tokens per chunk not "
     "stated}|not stated}"},
    {BY_IMATRIX, "Not contained in an imatrix", "{imatrix.lacks}"},
    {NULL, "Targets",
     "{parameters.targets?{parameters.targets}|the projections q, k, v, o, gate, up and down, with their fused and "
     "expert forms}"},
    {NULL, "Other files copied", "{copied_files?{copied_files:join}|none}"},
    {NULL, "Files with weights copied unpruned", "{other_weights?{other_weights:join}|none}"}};
#define INPUTS(where, if_)                                                                                             \
    SECTION(where, if_, "Inputs and outputs"), ITEMS(where, if_, .name = "item", .value = "value", ITEM_LIST(inputs))

static const organ_item counts[] = {
    {NULL, "Tensors pruned", "{per_tensor.tensors:count}"},
    {NULL, "Target weights killed", "{totals.target.killed:count}"},
    {NULL, "Target weights kept{compensates?|, bits unchanged}", "{kept:count}"},
    {NULL, "Target weights that were already zero", "{zero_before:count}"},
    {NULL, "Target weights processed, each once", "{coverage.processed_elements:count}"},
    {"coverage.tiles", "Tiles", "{coverage.tiles:count}"},
    {"compensates", "Kept weights that were refitted", "{compensated:count}"},
    {NULL, "Coverage: share of target weights processed", "{coverage.percent:percent}"},
    {"matrices", "Targets, of the weights in matrices of linear layers", "{matrices.percent:percent}"},
    {NULL, "Mean sparsity of the tensors, each in percent of its elements", "{per_tensor.mean:percent}"},
    {NULL, "Lowest of them", "{per_tensor.min:percent}"},
    {NULL, "Highest of them", "{per_tensor.max:percent}"}};
#define COUNTS(where) ITEMS(where, DONE, .name = "quantity", .value = "value", .align = ORGAN_RIGHT, ITEM_LIST(counts))

/* ---- calibration, layers, the run ---- */

#define FALLBACK "{fallback.names.0}{fallback.names>1?; {fallback.names.1}}{fallback.names>2?; more in the report}"
static const organ_block imatrix[] = {
    SAY(ON_TERMINAL, "fallback",
        "Experts without tokens in the imatrix: {fallback.experts} (" FALLBACK
        "). Gate and up use the inputs of the layer's other experts; columns of down have equal weights."),
    SAY(ON_TERMINAL, NULL,
        "Importances from an imatrix, which does not allow a refit: {name} (XXH3 {xxh3}), {entries} entries, "
        "{chunks?{chunks} chunk{chunks:s}{chunk_size? of {chunk_size} tokens}|chunks unknown}, made with "
        "{datasets?{datasets.0}{datasets>1? and {datasets:-1} more}|a text that the file does not name}.")};
static const organ_block items[] = {ITEM(ON_FILES, NULL, "{.}")};

static const organ_block prune_layers[] = {SECTION(ON_MARKDOWN, NULL, "Sparsity by layer"),
                                           SAY(ON_MARKDOWN, NULL,
                                               "Highest sparsity: " FIRST_LAYER "{densest=2? and " SECOND_LAYER
                                               "}{densest>2?, " SECOND_LAYER " and " THIRD_LAYER
                                               "}{densest>3?; lowest: " LAST_LAYER "}."),
                                           TABLE(ON_MARKDOWN, NULL, "layers", FIELDS(organ_sparse_layer_fields))};

static const organ_item run[] = {
    {NULL, "Donor", "{run.donor}"},
    {NULL, "Output", "{run.output}"},
    {NULL, "Started", "{run.started}"},
    {NULL, "Wall time", "{run.seconds:time}"},
    {NULL, "Speed", "{run.bytes_per_second:bytes}/s of target weights"},
    {NULL, "Machine", "{run.host}, {run.threads} threads ({run.pinned} pinned), {run.cpu_isa} kernels"},
    {NULL, "Memory allowed",
     "{run.memory:memory}{run.memory_auto?, which the run chose (--memory auto, at most "
     "{run.memory_auto.ceiling:memory} of {run.memory_auto.free:memory} free)}"},
    {NULL, "Resumed", "{run.resumed?yes: times cover only the last part|no}"},
    {NULL, "Program", "{organ}"}};
static const organ_field shards[] = {FIELD_TEXT("shard", "file", ORGAN_FIELD_CODE),
                                     FIELD_WORDS("time", "{seconds:.2f} s", 0),
                                     FIELD_COUNT("tensors", "tensors"),
                                     FIELD_COUNT("bytes", "bytes"),
                                     FIELD_COUNT("killed", "killed"),
                                     FIELD_COUNT("killed so far", "killed_so_far")};

/* ---- the view ---- */

static const organ_field plan[] = {FIELD_TEXT("projection", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                   FIELD_COUNT("tensors", "tensors"), FIELD_COUNT("weights", "elements")};

#define EXTRA_NAMES "{run.single_file?, with the name of the model file in front of theirs}"
#define AUDIT       AUDIT_COMMAND("output", "compensates")
#define READS_AGAIN                                                                                                    \
    "reads both models, but neither this report nor its log, and counts "                                              \
    "{compensates?zero and changed weights; it fails if|killed weights; it fails if any weight was changed other "     \
    "than to zero, or if} "                                                                                            \
    "a tensor that was not a target differs in a single byte."

static const organ_block prune_blocks[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |Pruned }{donor:model}\n{run.output?{dry_run?would go into "
                "|into }{run.output}\n}\n"),
    HEADING("Surgery report: {donor.name}, {parameters.method}"),
    WARNINGS,
    HIGHLIGHTS(DONE, prune_highlights),
    EVALUATION_ON(ON_FILES),

    SECTION(ON_PAGE, "dry_run", "Targets"),
    TABLE(ON_TERMINAL | ON_PAGE, "dry_run", "projections", FIELDS(plan), .total = "all targets",
          .total_row = "fold.all", .caption = "Target tensors by projection"),
    SAY(ON_TERMINAL, "dry_run",
        "The targets are {fold.target_percent:percent} of the model's {totals.full.elements:count} weights."),
    SAY(ON_TERMINAL, "dry_run", "Copied unchanged: {untouched.tensors:count} tensors, {untouched.bytes:bytes}."),
    PLAN,

    PROJECTIONS(ON_TERMINAL, DONE),
    TOTALS(ON_TERMINAL, DONE),
    SAY(ON_TERMINAL, DONE,
        "Coverage: {coverage.processed_elements:count} of {coverage.target_elements:count} target weights "
        "({coverage.percent:percent}){coverage.tiles?, in {coverage.tiles:count} tiles}."),
    PART(ON_TERMINAL, ".", BLOCKS(MATRICES(""))),
    PART_IF(ON_TERMINAL, DONE, "calibration",
            BLOCKS(SAY(ON_TERMINAL, NULL,
                       "Calibrated by {/parameters.method}: {text.name}, {samples} windows of {context} tokens."),
                   SAY(ON_TERMINAL, "all_experts",
                       "Every expert was calibrated on all tokens of its layer (--all-experts)."),
                   SAY(ON_TERMINAL, "fallback",
                       "Experts that fewer than 8 of the tokens reached: {fallback.experts} (" FALLBACK
                       "). They were calibrated on all tokens of their layer."),
                   SAY(ON_TERMINAL, "block_diagonal_tensors",
                       "{block_diagonal_tensors} tensors were calibrated in blocks of 256 inputs, because the full "
                       "matrices did not fit --memory; this prunes worse."))),
    PART_IF(ON_TERMINAL, DONE, "imatrix", BLOCKS_OF(imatrix)),
    ALLOCATION_ON(ON_TERMINAL),
    SAY(ON_TERMINAL, DONE "&compensates",
        "Refitted: {compensated:count} kept weights were changed to compensate for the killed ones."),
    SAY(ON_TERMINAL, DONE, "Zero before: {zero_before:count}, not counted as killed."),
    EACH_IF(ON_TERMINAL, DONE, "integrity", BLOCKS(SAY_AFTER(ON_TERMINAL, "!ok", "  FAILED  ", "{check}: {detail}"))),
    SAY(ON_TERMINAL, DONE "&integrity", "Integrity: {integrity:sum.ok} of {integrity:size} checks passed."),
    SAY(ON_TERMINAL, DONE "&other_weights",
        "Copied unpruned: {other_weights:size} file{other_weights:s} that may contain weights; the report names "
        "{other_weights>1?them|it}."),
    SAY(ON_TERMINAL, DONE,
        "Time: {run.seconds:time}, {run.bytes_per_second:bytes}/s of target weights, {run.threads} "
        "thread{run.threads:s}, "
        "{run.cpu_isa}{run.resumed?, resumed}."),
    EVALUATION_ON(ON_TERMINAL),
    LINES(DONE, "\nReport:  " REPORT_PLACE "REPORT.md (and .html)\nProof:   " AUDIT "\n"),

    INPUTS(ON_MARKDOWN, NULL),
    SECTION(ON_MARKDOWN, NULL, "Aggregate sparsity"),
    TOTALS(ON_MARKDOWN, NULL),
    SPARSITY(DONE),
    PART(ON_FILES, ".", BLOCKS(MATRICES(""))),
    ALLOCATION_ON(ON_FILES),
    MAGNITUDES,
    SPARSE_TENSORS(DONE),
    SECTION(ON_PAGE, DONE, "Counts"),
    COUNTS(ON_FILES),
    SECTION(ON_MARKDOWN, NULL, "Sparsity by projection"),
    SAY(ON_MARKDOWN, NULL,
        "Mean, min and max are over the projection's tensors, each percent of that tensor's elements; the last percent "
        "is of all its "
        "elements."),
    PROJECTIONS(ON_MARKDOWN, NULL),
    PART_IF(ON_MARKDOWN, "layers", "fold", BLOCKS_OF(prune_layers)),
    ERRATA,
    SECTION(ON_FILES, DONE, "Output integrity"),
    CHECKS(ON_FILES, DONE, "integrity"),
    DEFINITIONS,
    SECTION(ON_MARKDOWN, NULL, "Limits of this report"),
    EACH(ON_MARKDOWN, "not_in_this_report", BLOCKS_OF(items)),
    INPUTS(ON_PAGE, NULL),
    SECTION(ON_FILES, DONE, "How to check it"),
    SAY(ON_MARKDOWN, NULL,
        "`organ audit DONOR OUTPUT{compensates? --refitted}` " READS_AGAIN
        " The command for this run is below. `prune.jsonl` is the log of every tensor and `prune.json` has the numbers "
        "of this report, both in the same directory" EXTRA_NAMES "."),
    SAY(ON_PAGE, DONE, "organ audit DONOR OUTPUT{compensates? --refitted} " READS_AGAIN),
    SAY(ON_PAGE, DONE,
        "The command for this run is at the end of this page. prune.jsonl is the log of every tensor and prune.json "
        "has the numbers of this page, both in the same directory" EXTRA_NAMES "."),
    SECTION(ON_PAGE, DONE, "Limits of this report"),
    EACH_IF(ON_PAGE, DONE, "not_in_this_report", BLOCKS_OF(items)),

    SECTION(ON_MARKDOWN, NULL, "Run"),
    SAY(ON_MARKDOWN, NULL,
        "This section differs between runs; everything above depends only on the donor and the parameters."),
    ITEMS(ON_MARKDOWN, NULL, .name = "item", .value = "value", ITEM_LIST(run)),
    SAY(ON_MARKDOWN, NULL, "Wall time by shard:"),
    TABLE(ON_MARKDOWN, NULL, "run.shards", FIELDS(shards)),
    PAGE_ENDING,
    SAY(ON_FILES, DONE, "To check this run:"),
    COMMAND(ON_FILES, DONE, AUDIT),
};

const organ_view organ_prune_view = {
    .schema = "organ.prune/1",
    .kind = "Surgery report: pruning",
    .title = "{donor.name}",
    .lead = "{dry_run?A dry run: nothing was written. {totals.target.elements:count} of the model's "
            "{totals.full.elements:count} weights are targets.|{parameters.method} set {totals.target.killed:count} "
            "weights to zero: {totals.target.percent:percent} of the {totals.target.elements:count} target weights, "
            "{totals.full.percent:percent} of all {totals.full.elements:count} weights of the model.}",
    .files = {"prune.json", "REPORT.md", "prune.jsonl"},
    .made_by = "prune",
    .make = organ_sparsity_fold,
    BLOCKS_OF(prune_blocks)};

/* ---- organ.audit/1: `organ audit` of a pruned model ---- */

/* Condition: kept weights may differ from the donor. */
#define COMPENSATED "definition=compensated-pruning/1"
#define AUDIT_VERDICT(changed)                                                                                         \
    "{problems?FAILED: {problems:size} problem{problems:s}.|{" COMPENSATED                                             \
    "?Passed: the copy equals the donor except for its target weights, of which " changed                              \
    ".|{smoothed?Passed: the copy has the donor's function. It equals the donor times powers of two, which cancel in " \
    "each of {smoothed.folds:count} fold{smoothed.folds:s}.|"                                                          \
    "Passed: the copy equals the donor except for the killed weights, which are zero.}}}"
/* The answer of a failed audit, on a terminal: the verdict and the first problems. */
#define AUDIT_FAILED(verdict)                                                                                          \
    SAY_AFTER(ON_TERMINAL, "problems", "", verdict),                                                                   \
        EACH_IF(ON_TERMINAL, "problems", "problems", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  PROBLEM  ", "{.}")),       \
                .max = MOST_PROBLEMS, .rest = "  {more} more; --json lists all."),                                     \
        EACH_IF(ON_TERMINAL, "problems", "checks",                                                                     \
                BLOCKS(SAY_AFTER(ON_TERMINAL, "!ok", "  FAILED  ", "{check}: {detail}")))
/* The result of an audit that decides. */
#define CHECKS_PASSED                                                                                                  \
    {                                                                                                                  \
        NULL, "of {checks:size} checks passed", "{checks:sum.ok}"                                                      \
    }
/* The checks of an audit that has not failed. */
#define AUDIT_PASSED                                                                                                   \
    EACH_IF(ON_TERMINAL, "!problems", "checks", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  ok      ", "{check}: {detail}")))
enum { MOST_PROBLEMS = 5 };
#define NOT_TARGETS                                                                                                    \
    "Not targets: {untouched.tensors:count} tensors, {untouched.identical:count} of them identical byte for byte."

static const organ_item audit_highlights[] = {CHECKS_PASSED, SPARSITY_HIGHLIGHTS};

static const organ_block audit_blocks[] = {
    LINES(NULL, "Audit of {run.pruned}\nagainst  {donor:model}\n\n"),
    AUDIT_FAILED(AUDIT_VERDICT("")),
    HIGHLIGHTS(NULL, audit_highlights),
    PROJECTIONS(ON_TERMINAL, "!problems"),
    TOTALS(ON_TERMINAL, "!problems"),
    AUDIT_PASSED,
    SECTION(ON_PAGE, NULL, "Checks"),
    SAY(ON_PAGE, NULL, "Both models were read and compared weight by weight; no report or log was used."),
    CAUTIONS(ON_PAGE, NULL, "problems", "Failed checks"),
    CHECKS(ON_PAGE, NULL, "checks"),
    SAY(ON_PAGE, NULL, "Donor: {donor:model}."),
    SAY(ON_PAGE, NULL, "Zero before: {zero_before:count} target weights, not counted as killed. " NOT_TARGETS),
    SAY(ON_TERMINAL, "!problems",
        "Coverage: {coverage.processed_elements:count} of {coverage.target_elements:count} target weights "
        "({coverage.percent:percent}) compared."),
    MATRICES("!problems&"),
    SAY(ON_TERMINAL, "!problems", "Zero before: {zero_before:count}, not counted as killed."),
    SAY(ON_TERMINAL, "!problems&" COMPENSATED, "Changed: {compensated:count} (refitted), counted among the kept."),
    SAY(ON_TERMINAL, "!problems", NOT_TARGETS),
    GAP("!problems"),
    SAY_AFTER(ON_TERMINAL, "!problems", "", AUDIT_VERDICT("counts of zero and of changed weights")),
    SPARSITY(NULL),
    SPARSE_TENSORS(NULL),
    ERRATA,
    PAGE_ENDING,
    SAY(ON_PAGE, NULL, "To repeat the audit:"),
    COMMAND(ON_PAGE, NULL, AUDIT_COMMAND("pruned", COMPENSATED)),
};

const organ_view organ_audit_view = {.schema = "organ.audit/1",
                                     .kind = "Audit of a pruning",
                                     .title = "{donor.name}",
                                     .lead = AUDIT_VERDICT("some are zero and {compensated:count} were changed"),
                                     .make = organ_sparsity_fold,
                                     BLOCKS_OF(audit_blocks)};

/* ---- organ.audit_cut/1 ---- */

/* The view of organ.audit_cut/1, the report of `organ audit` of a model from which experts, channels, heads or layers
 * were cut. */

#define AUDIT_CUT_VERDICT                                                                                              \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: the copy equals the donor without the "            \
    "removed parts, "                                                                                                  \
    "{resolved?with {resolved:count} refitted weight{resolved:s}, |}and nothing else.}"

static const organ_item audit_cut_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors are kept bytes of the donor", "{identical:count}"},
    {"resolved", "weights were refitted", "{resolved:count}"},
    {NULL, "before", "{bytes_before:bytes}"},
    {NULL, "after", "{bytes_after:bytes}"}};

static const organ_field audit_cut_layers[] = {
    FIELD_COUNT("layer", "layer"),
    FIELD_WORDS("becomes", "{becomes>-1?{becomes}|dropped}", 0),
    FIELD_WORDS("experts", "{kept_experts?{kept_experts:join}|}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("channels", "{kept_channels?{kept_channels:size} of {channels}|}", 0),
    FIELD_WORDS_IF("layers.*.expert_channels", "of each expert",
                   "{expert_channels?{expert_channels_after} of {expert_channels}|}", 0),
    FIELD_WORDS_IF("layers.*.shared_channels", "of the shared expert",
                   "{shared_channels?{kept_shared_channels:size} of {shared_channels}|}", 0),
    FIELD_WORDS("heads of K and V", "{kept_kv_heads?{kept_kv_heads:size} of {kv_heads}: {kept_kv_heads:join}|}",
                ORGAN_FIELD_LEFT)};

static const organ_field settings[] = {SETTING_FIELDS};

static const organ_block audit_cut_blocks[] = {
    LINES(NULL, "Audit of {run.pruned}\nagainst  {donor:model}\n\n"),
    HIGHLIGHTS(NULL, audit_cut_highlights),
    AUDIT_FAILED(AUDIT_CUT_VERDICT),
    TABLE(ON_TERMINAL, "!problems", "layers", FIELDS(audit_cut_layers)),
    AUDIT_PASSED,
    SECTION(ON_PAGE, NULL, "Checks"),
    SAY(ON_PAGE, NULL, "Both models were read and compared byte by byte{made_by?|; no report or log was used}."),
    SAY(ON_ALL, "made_by",
        "Refitted weights were compared with the digests of {made_by.report}, which organ wrote with the copy."),
    CAUTIONS(ON_PAGE, NULL, "problems", "Failed checks"),
    CHECKS(ON_PAGE, NULL, "checks"),
    SAY(ON_PAGE, NULL, "Donor: {donor:model}. Copy: {copy:model}."),
    GAP("!problems"),
    SAY_AFTER(ON_TERMINAL, "!problems", "", AUDIT_CUT_VERDICT),
    SECTION(ON_PAGE, NULL, "Layers"),
    TABLE(ON_PAGE, NULL, "layers", FIELDS(audit_cut_layers), .caption = "Parts of each donor layer in the copy",
          .max = EVERY_TENSOR, .what = "layers"),
    TABLE(ON_PAGE, "settings", "settings", FIELDS(settings), .caption = "Differences of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
};

const organ_view organ_audit_cut_view = {.schema = "organ.audit_cut/1",
                                         .kind = "Audit of a cut",
                                         .title = "{donor.name}",
                                         .lead = AUDIT_CUT_VERDICT,
                                         BLOCKS_OF(audit_cut_blocks)};

/* The blocks of an audit that compares a copy with its donor byte by byte; `where` begins a sentence about the report
 * that organ wrote with the copy, and is the member that it needs. */
#define AUDIT_OF_COPY(highlights, verdict, member, where)                                                              \
    LINES(NULL, "Audit of {run.pruned}\nagainst  {donor:model}\n\n"), HIGHLIGHTS(NULL, highlights),                    \
        AUDIT_FAILED(verdict), AUDIT_PASSED, SECTION(ON_PAGE, NULL, "Checks"),                                         \
        SAY(ON_ALL, member, where " {made_by.report}, which organ wrote with the copy."),                              \
        CAUTIONS(ON_PAGE, NULL, "problems", "Failed checks"), CHECKS(ON_PAGE, NULL, "checks"),                         \
        SAY(ON_PAGE, NULL, "Donor: {donor:model}. Copy: {copy:model}."), GAP("!problems"),                             \
        SAY_AFTER(ON_TERMINAL, "!problems", "", verdict)

/* ---- organ.audit_gguf/1: `organ audit` of a GGUF model in new files ---- */

#define AUDIT_GGUF_VERDICT                                                                                             \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: the copy has the donor's tensors, byte for byte, " \
    "and {keys?the key-values that the report states.|its key-values.}}"

static const organ_item audit_gguf_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors are the donor's, byte for byte", "{identical:count}"},
    {NULL, "files; before: {files_before}", "{files_after}"}};

static const organ_field audit_gguf_keys[] = {GGUF_KEY_FIELDS};

static const organ_block audit_gguf_blocks[] = {
    AUDIT_OF_COPY(audit_gguf_highlights, AUDIT_GGUF_VERDICT, "made_by", "Key-values were compared with"),
    TABLE(ON_PAGE, "keys", "keys", FIELDS(audit_gguf_keys), .max = EVERY_TENSOR, .what = "key-values",
          .caption = "Key-values that differ between donor and copy."),
};

const organ_view organ_audit_gguf_view = {.schema = "organ.audit_gguf/1",
                                          .kind = "Audit of GGUF files",
                                          .title = "{donor.name}",
                                          .lead = AUDIT_GGUF_VERDICT,
                                          BLOCKS_OF(audit_gguf_blocks)};

/* ---- organ.audit_patch/1: `organ audit` of a model made of a patch ---- */

#define AUDIT_PATCH_VERDICT                                                                                            \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: {from_donor:count} of {tensors:count} tensors "    \
    "are the donor's, byte for byte, and all others those of the patch.}"

static const organ_item audit_patch_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors have the digests of the patch", "{proved:count}"},
    {NULL, "of {files:count} files have them outside of tensors, too", "{proved_files:count}"}};

static const organ_block audit_patch_blocks[] = {
    AUDIT_OF_COPY(audit_patch_highlights, AUDIT_PATCH_VERDICT, "made_by", "Digests were compared with")};

const organ_view organ_audit_patch_view = {.schema = "organ.audit_patch/1",
                                           .kind = "Audit of a patched model",
                                           .title = "{donor.name}",
                                           .lead = AUDIT_PATCH_VERDICT,
                                           BLOCKS_OF(audit_patch_blocks)};

/* ---- organ.audit_vocabulary/1: `organ audit` of a model with fewer tokens ---- */

#define AUDIT_VOCABULARY_VERDICT                                                                                       \
    "{problems?FAILED: {problems:size} problem{problems:s}.|{new_tokens?Passed: the rows of {new_tokens:count} new "   \
    "tokens are means of the donor's, all else is the donor's, byte for byte.|Passed: {rows_after:count} of "          \
    "{rows_before:count} rows, and all other tensors, are the donor's, byte for byte; ids follow.}}"

static const organ_item audit_vocabulary_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors are the donor's or its kept rows, byte for byte", "{identical:count}"},
    {"!new_tokens", "of {rows_before:count} rows", "{rows_after:count}"},
    {"new_tokens", "rows, before: {rows_before:count}", "{rows_after:count}"}};

static const organ_block audit_vocabulary_blocks[] = {
    AUDIT_OF_COPY(audit_vocabulary_highlights, AUDIT_VOCABULARY_VERDICT, NULL, "The list of tokens is that of")};

const organ_view organ_audit_vocabulary_view = {.schema = "organ.audit_vocabulary/1",
                                                .kind = "Audit of a smaller vocabulary",
                                                .title = "{donor.name}",
                                                .lead = AUDIT_VOCABULARY_VERDICT,
                                                BLOCKS_OF(audit_vocabulary_blocks)};

/* ---- organ.audit_rows/1: `organ audit` of a draft or an adapter with rows of fewer tokens ---- */

#define AUDIT_ROWS_VERDICT                                                                                             \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: {rows_after:count} of {rows_before:count} rows, "  \
    "and all other tensors, are the donor's, byte for byte.}"

static const organ_item audit_rows_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors are the donor's or its kept rows, byte for byte", "{identical:count}"},
    {NULL, "of {rows_before:count} rows", "{rows_after:count}"}};

static const organ_block audit_rows_blocks[] = {
    AUDIT_OF_COPY(audit_rows_highlights, AUDIT_ROWS_VERDICT, NULL, "The list of tokens is that of")};

const organ_view organ_audit_rows_view = {.schema = "organ.audit_rows/1",
                                          .kind = "Audit of rows",
                                          .title = "{donor.name}",
                                          .lead = AUDIT_ROWS_VERDICT,
                                          BLOCKS_OF(audit_rows_blocks)};

/* ---- organ.audit_labels/1: `organ audit` of a model with labels ---- */

#define AUDIT_LABELS_VERDICT                                                                                           \
    "{problems?FAILED: {problems:size} problem{problems:s}.|Passed: the rows of {labels:size} labels are those of "    \
    "their tokens, and all other tensors are the donor's, byte for byte.}"

static const organ_item audit_labels_highlights[] = {
    CHECKS_PASSED,
    {NULL, "of {tensors:count} tensors are the donor's, byte for byte", "{identical:count}"},
    {NULL, "labels: {labels:words}", "{labels:size}"}};

static const organ_block audit_labels_blocks[] = {
    AUDIT_OF_COPY(audit_labels_highlights, AUDIT_LABELS_VERDICT, NULL, "The list of labels is that of")};

const organ_view organ_audit_labels_view = {.schema = "organ.audit_labels/1",
                                            .kind = "Audit of labels",
                                            .title = "{donor.name}",
                                            .lead = AUDIT_LABELS_VERDICT,
                                            BLOCKS_OF(audit_labels_blocks)};
