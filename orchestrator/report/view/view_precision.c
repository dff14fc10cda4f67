/* SPDX-License-Identifier: MIT
 * The views of organ.dequantize/1 and organ.quantize/1, the reports of `organ dequantize` and `organ quantize`. */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/text/report_text.h"

#define NOT_FINITE                                                                                                     \
    "{totals.infinite:count} values of the output are infinite and {totals.nan:count} are NaN as {parameters.dtype}; " \
    "the report lists "                                                                                                \
    "where."

enum { MAX_ROWS = 500 }; /* lines of a table of tensors that were not converted, on a page */

/* ---- fields and blocks of both views ---- */

/* Main result: bytes after and before. */
#define SIZE_HIGHLIGHTS                                                                                                \
    {                                                                                                                  \
        NULL, "{dry_run?would remain|remain} of {totals.bytes_before:bytes}", "{totals.bytes_after:bytes}"             \
    }
#define PLAIN       SAY(ON_ALL, NULL, "{plain.tensors:count} plain tensors, {plain.bytes:bytes}, keep their type.")
#define NOTHING_YET WARN(ON_PAGE, "dry_run", "Dry run, nothing was written.")
/* Bars of the bytes of each role before and after, summed over the rows at `path`. */
#define SIZES(path)                                                                                                    \
    BARS(path, path,                                                                                                   \
         .style = {.title = "Bytes by role",                                                                           \
                   .subtitle = "codes and scales together",                                                            \
                   .description = "Bytes of the weights of each role before and after.",                               \
                   .value_label = "megabytes",                                                                         \
                   .series = {"before", "after"},                                                                      \
                   .digits = 3,                                                                                        \
                   .unit = " MB"},                                                                                     \
         .name = "role", .values = {"bytes_before", "bytes_after"}, .sums = true, .factor = 1e-6,                      \
         .caption = "Plain tensors that are copied unchanged do not count here.")

static const organ_field reasons[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_WORDS("why", "{dropped?removed: }{why}", ORGAN_FIELD_LEFT)};
static const organ_field kept_sets[] = {FIELD_TEXT("of", "parent", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                        FIELD_TEXT("matrices", "modules", 0), FIELD_BYTES("size", "bytes")};
static const organ_block reason_items[] = {ITEM(ON_MARKDOWN, NULL, "{tensor:code}{dropped? (removed)}: {why}")};

/* ---- dequantize ---- */

static const organ_item dequantize_highlights[] = {
    {"!totals.infinite&!totals.nan", "values that are infinite or NaN", "0"},
    {"totals.infinite", "infinite values", "{totals.infinite:count}"},
    {"totals.nan", "values that are NaN", "{totals.nan:count}"},
    {NULL, "packed weights", "{totals.weights:count}"},
    SIZE_HIGHLIGHTS};

static const organ_field schemes[] = {FIELD_TEXT("scheme", "scheme", ORGAN_FIELD_SHORTENS),
                                      FIELD_COUNT("tensors", "weights"), FIELD_COUNT("weights", "elements"),
                                      FIELD_BYTES("before", "bytes_before"), FIELD_BYTES("after", "bytes_after")};
static const organ_field weights[] = {
    FIELD_TEXT("weight", "name", ORGAN_FIELD_CODE),
    FIELD_TEXT("scheme", "scheme", 0),
    FIELD_WORDS("shape", "{shape:shape}", ORGAN_FIELD_LEFT),
    FIELD_COUNT("before", "bytes_before"),
    FIELD_COUNT("after", "bytes_after"),
    FIELD_IF("totals.infinite|totals.nan|weights.*.note", "infinite", "infinite", "count", 0),
    FIELD_IF("totals.infinite|totals.nan|weights.*.note", "NaN", "nan", "count", 0),
    FIELD_IF("weights.*.note", "note", "note", NULL, ORGAN_FIELD_MAYBE)};

static const organ_field kinds[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_CODE), FIELD_TEXT("scheme", "scheme", 0),
                                    FIELD_COUNT("weights", "count")};

static const organ_block dequantize_blocks[] = {
    MADE_BEGIN("Dequantised", "\nas {parameters.dtype}", "Dequantisation", dequantize_highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_MARKDOWN, NULL, "Definition {definition}; packed weights became {parameters.dtype}."),
    SECTION(ON_PAGE, NULL, "Schemes"),
    NOTHING_YET,
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    WARN(ON_FILES, "totals.infinite|totals.nan", NOT_FINITE),
    TABLE(ON_ALL, "schemes", "schemes", FIELDS(schemes), .total = "all packed", .total_row = "totals",
          .caption = "Packed weights by scheme"),
    SIZES("weights"),
    SAY(ON_TERMINAL, "!schemes", "No tensor is packed: the model is already plain and is only rewritten."),
    SAY(ON_MARKDOWN, "!schemes", "No tensor is packed: the model was already plain."),
    PLAIN,
    MATRICES_SHARE("schemes&", "packed weights are"),
    MATRICES_LEFT("schemes&", "not packed, or copied packed"),
    SECTION(ON_MARKDOWN, "notes", "Notes"),
    EACH(ON_FILES, "notes", BLOCKS(ITEM(ON_MARKDOWN, NULL, "{.}"), SAY(ON_PAGE, NULL, "{.}"))),
    SAY(ON_PAGE, "!schemes", "No tensor is packed: the model was already plain."),
    BLOCK(TABLE, ON_PAGE, "weights", .rows = "weights", .same = "{role}\n{scheme}",
          .table = &(const organ_table_of){FIELDS(kinds), .caption = "Schemes by role"}),
    EACH(ON_TERMINAL, "strays", BLOCKS(SAY(ON_TERMINAL, NULL, "Not converted: {tensor}. It {why}.")),
         .where = "!dropped"),
    TOGETHER(
        ON_TERMINAL, NULL, "strays",
        BLOCKS(SAY(ON_TERMINAL, NULL,
                   "Removed: {rows:size} scale{rows:s} of activations or caches, {rows>1?the first }{rows.0.tensor}.")),
        .where = "dropped"),
    WARN(ON_TERMINAL, "totals.infinite|totals.nan", NOT_FINITE),
    SECTION(ON_FILES, "strays", "Tensors that belong to no weight"),
    EACH(ON_MARKDOWN, "strays", BLOCKS_OF(reason_items)),
    TABLE(ON_PAGE, "strays", "strays", FIELDS(reasons), .max = MAX_ROWS, .what = "tensors",
          .caption = "Tensors that belong to no weight"),
    SECTION(ON_FILES, "weights", "Weights"),
    TABLE(ON_FILES, "weights", "weights", FIELDS(weights), .max = EVERY_TENSOR, .what = "weights",
          .caption = "Every packed weight"),
    MADE_ENDING(" of output", "DEQUANTIZE_REPORT.md"),
};

const organ_view organ_dequantize_view = {
    .schema = "organ.dequantize/1",
    .kind = "Dequantisation",
    .lead = "Packed weights {dry_run?would become|became} {parameters.dtype}; plain tensors keep their type and bytes.",
    .files = {"dequantize.json", "DEQUANTIZE_REPORT.md", NULL},
    .made_by = "dequantize",
    BLOCKS_OF(dequantize_blocks)};

/* ---- quantize ---- */

static const organ_item quantize_highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"totals.output_error", "error of the outputs of all matrices together, on the calibration text",
     "{totals.output_error:%.4f}"},
    {"totals.weighted_error", "error of the weights, weighted by {imatrix.name}", "{totals.weighted_error:%.4f}"},
    {NULL,
     "relative error of the weights{totals.absmax_error?; before the search for scales: "
     "{totals.absmax_error:%.4f}}",
     "{totals.relative_error:%.4f}"},
    {"totals.bits_per_weight", "bits per weight", "{totals.bits_per_weight:%.2f}"},
    {NULL, "{dry_run?tensors to quantise|tensors quantised}", "{totals.tensors:count}"},
    SIZE_HIGHLIGHTS};

static const organ_field precision_roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                              FIELD_COUNT("tensors", "tensors"),
                                              FIELD_COUNT("weights", "elements"),
                                              FIELD_BYTES("before", "bytes_before"),
                                              FIELD_BYTES("after", "bytes_after"),
                                              FIELD_IF("totals.sparsity", "sparsity", "sparsity", "percent", 0),
                                              FIELD_WORDS("relative error", "{relative_error:%.4f}", 0),
                                              FIELD_IF("calibration", "outputs", "output_error", "%.4f", 0),
                                              FIELD_IF("calibration", "unrefitted", "gptq_output_error", "%.4f", 0)};
static const organ_field precision_tensors[] = {
    FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
    FIELD_TEXT("type", "dtype", 0),
    FIELD_WORDS("shape", "{shape:shape}", ORGAN_FIELD_LEFT),
    FIELD_COUNT("before", "bytes_before"),
    FIELD_COUNT("after", "bytes_after"),
    FIELD_IF("totals.sparsity", "sparsity", "sparsity", "percent", 0),
    FIELD_IF("allocation", "scheme", "scheme", NULL, 0),
    FIELD_IF("totals.regrouped", "scheme", "scheme", NULL, 0),
    FIELD_WORDS("relative error", "{relative_error:%.4f}", 0),
    FIELD_IF("totals.absmax_error", "before search", "absmax_error", "%.4f", 0),
    FIELD_IF("calibration", "outputs", "output_error", "%.4f", 0),
    FIELD_IF("calibration", "unrefitted", "gptq_output_error", "%.4f", 0)};

/* Columns of the table of widths (bits of a code) that tensors got from one budget of bits. */
static const organ_field widths[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                     FIELD_COUNT("layer", "layer"),
                                     FIELD_COUNT("weights", "elements"),
                                     FIELD_WORDS("bits", "{bits}{quantised?|, unchanged}", 0),
                                     FIELD_WORDS("with scales", "{bits_per_weight:.3f}", 0),
                                     FIELD_WORDS("KL", "{cost:.3g}", 0),
                                     FIELD_WORDS("KL with equal widths", "{uniform_cost:.3g}", 0),
                                     FIELD_WORDS("curve", "{between?from other layers|measured}", 0)};

#define FITS_UNQUANTISED(request)                                                                                      \
    "The model fits into " request                                                                                     \
    " unquantised. A copy is no quantisation, so the output has the one change that is "                               \
    "predicted to cost least."

static const organ_block width_blocks[] = {
    SECTION(ON_FILES, NULL, "Width of each tensor"),
    SAY(ON_ALL, "provisional",
        "Budget: {budget}. The run decides the width of each tensor by measured costs; the widths here are "
        "provisional."),
    SAY(ON_TERMINAL, "!provisional",
        "Allocation: one budget of {budget}, {bits_per_weight:.3f} bits per weight are used; predicted cost {cost:.3g} "
        "nats per token, against {uniform_cost:.3g} with {uniform_bits} bits for each tensor."),
    SAY(ON_FILES, "!provisional",
        "One budget of {budget} was divided over {tensors_in_all} tensor{tensors_in_all:s} by the cost of quantising "
        "the weights of each alone; {bits_per_weight:.3f} bits per weight are used: curves of {measured} of them were "
        "measured on {tokens:count} tokens in {windows} windows of {text.name} that are not used for calibration. The "
        "predicted cost of all of them is {cost:.3g} nats per token; {uniform_bits} bits for each would cost "
        "{uniform_cost:.3g}."),
    SAY(ON_ALL, "fits_unquantised", FITS_UNQUANTISED("{budget}")),
    SAY(ON_ALL, "unquantised&!fits_unquantised",
        "{unquantised:count} target{unquantised:s} stay{unquantised=1?s|} unquantised, because the budget allows it."),
    SAY(ON_ALL, "exchanges",
        "Exchanges between pairs of tensors: {exchanges.taken} of {exchanges.tried} taken; with every matrix quantised "
        "individually, the model is {exchanges.before:.4g} nats per token from the donor before the exchanges and "
        "{exchanges.after:.4g} after."),
    MAP("tensors", "tensors",
        .style = {.title = "Width by layer and projection",
                  .description = "A field of cells, one for each projection in each layer, with the bits of its codes. "
                                 "The table below has "
                                 "the same numbers.",
                  .row_label = "projection",
                  .value_label = "bits per code"},
        .role = "role", .value = "bits", .weight = "elements", .layers = true,
        .caption = "Tensors that lose more with few bits get more of them; scales are not included."),
    TABLE(ON_FILES, "tensors", "tensors", FIELDS(widths),
          .caption = "Nats per token, by the curve of each tensor alone", .max = 1000, .what = "tensors")};

/* Columns of the table of types that tensors got for a file of a given size. */
static const organ_field choices[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_COUNT("weights", "elements"),
                                      FIELD_TEXT("type", "type", 0),
                                      FIELD_COUNT("bytes", "bytes"),
                                      FIELD_WORDS("bits per weight", "{bits_per_weight:.3f}", 0),
                                      FIELD_WORDS("KL", "{cost:.3g}", 0),
                                      FIELD_WORDS("measured", "{between?in other layers|here}", 0)};

static const organ_block choice_blocks[] = {
    SECTION(ON_FILES, NULL, "Type of each tensor"),
    SAY(ON_ALL, NULL,
        "Types for {requested}: {of_file?a file|tensors} of {bytes:count} bytes, {bits_per_weight_of_all:.4f} bits per "
        "weight of all tensors."),
    SAY(ON_ALL, "provisional", "The run decides the types by measured costs; the types here are provisional."),
    SAY(ON_ALL, "cost",
        "Predicted KL divergence: {cost:.4g} nats per token; {exact?no other choice {fits_unquantised?that changes a "
        "tensor|within that size} is predicted to be better|the lower bound is {bound:.4g}}."),
    SAY(ON_ALL, "fits_unquantised", FITS_UNQUANTISED("{requested}")),
    SAY(ON_ALL, "unquantised&!fits_unquantised",
        "{unquantised:count} tensor{unquantised:s} stay{unquantised=1?s|} unquantised, because the size allows it."),
    SAY(ON_ALL, "unfit",
        "{unfit:count} tensor{unfit:s} stay{unfit=1?s|} unquantised, because no allowed type fits the rows and makes "
        "them smaller."),
    SAY(ON_FILES, "tokens&!provisional",
        "The costs of {measured} of {tensors_in_all} tensors were measured on {tokens:count} tokens in {windows} "
        "windows "
        "of the calibration text that are not used for calibration, and are in {file}."),
    MAP("tensors", "tensors",
        .style = {.title = "Bits by layer and projection",
                  .description = "A field of cells, one for each projection in each layer, with the bits per weight of "
                                 "its type. The table below has the same numbers.",
                  .row_label = "projection",
                  .value_label = "bits per weight"},
        .role = "role", .value = "bits_per_weight", .weight = "elements", .layers = true,
        .caption = "Tensors that lose more with few bits get more of them."),
    TABLE(ON_FILES, "tensors", "tensors", FIELDS(choices), .caption = "Nats per token, for each tensor alone",
          .max = 1000, .what = "tensors")};

/* Columns of the tables of an output in GGUF, whose tensors have different block types. */
static const organ_field block_types[] = {FIELD_TEXT("stored as", "type", 0),
                                          FIELD_COUNT("tensors", "tensors"),
                                          FIELD_COUNT("weights", "elements"),
                                          FIELD_BYTES("after", "bytes_after"),
                                          FIELD_WORDS("bits per weight", "{bits_per_weight:.3f}", 0),
                                          FIELD_WORDS("relative error", "{relative_error:%.4f}", 0)};
static const organ_field block_tensors[] = {
    FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
    FIELD_TEXT("type", "dtype", 0),
    FIELD_TEXT("stored as", "stored_as", 0),
    FIELD_WORDS("shape", "{shape:shape}", ORGAN_FIELD_LEFT),
    FIELD_COUNT("after", "bytes_after"),
    FIELD_WORDS("relative error", "{relative_error:%.4f}", 0),
    FIELD_IF("totals.absmax_error", "before search", "absmax_error", "%.4f", 0),
    FIELD_WORDS("weighted error", "{weighted_error?{weighted_error:%.4f}|none}", 0),
    FIELD_IF("calibration", "outputs", "output_error", "%.4f", 0),
    FIELD_IF("calibration", "unrefitted", "gptq_output_error", "%.4f", 0),
    FIELD_WORDS("why another type", "{why?{why}|}", ORGAN_FIELD_LEFT)};

#define BY_IMATRIX                                                                                                     \
    "Columns weighted by {imatrix.name} ({imatrix.format}, XXH3 {imatrix.xxh3}), {imatrix.entries} entries: weighted " \
    "error "                                                                                                           \
    "{totals.weighted_error:%.4f} over the tensors that have one."

/* Condition: the errors of outputs were measured. */
#define OUTPUTS "roles.*.output_error"

#define TAKEN "Their activations have the scale of the layer's other experts."

static const organ_block quantize_blocks[] = {
    MADE_BEGIN("Quantised",
               "\nas {parameters.scheme}{calibration? by {parameters.method}}{parameters.pruning?, "
               "pruned by {parameters.pruning.method}}",
               "Quantisation", quantize_highlights),
    SAY(ON_MARKDOWN, NULL, "Definition {definition}, scheme {parameters.scheme}."),
    SECTION(ON_PAGE, "roles.*.relative_error", "Quantisation error"),
    BARS(OUTPUTS, "roles",
         .style = {.title = "Error of the outputs by role",
                   .subtitle =
                       "norm of the difference relative to the norm of the outputs; the whisker spans the tensors",
                   .description = "One bar per role: relative error of the outputs of all its matrices together.",
                   .value_label = "error of the outputs, percent",
                   .series = {"error of the outputs", NULL},
                   .digits = 4,
                   .unit = " %"},
         .name = "role", .values = {"output_error"}, .spread = "tensors", .factor = 100,
         .caption = "{parameters.method} lowers this error, measured on the calibration text. It raises the error of "
                    "the weights, which the tables have."),
    MAP(OUTPUTS, "tensors",
        .style = {.title = "Error of the outputs by layer",
                  .description = "Relative error of the outputs of each tensor, by role and layer.",
                  .value_label = "error of the outputs, percent"},
        .role = "role", .value = "output_error", .factor = 100, .inside = true,
        .caption = "The inputs are those of the layer in the quantised model."),
    BARS("!" OUTPUTS "&roles.*.relative_error", "roles",
         .style = {.title = "Relative error by role",
                   .subtitle =
                       "norm of the difference relative to the norm of the weights; the whisker spans the tensors",
                   .description = "One bar per role: relative error over all its tensors together.",
                   .value_label = "relative error, percent",
                   .series = {"relative error", NULL},
                   .digits = 4,
                   .unit = " %"},
         .name = "role", .values = {"relative_error"}, .spread = "tensors", .factor = 100,
         .caption = "This is the error of the weights, not of the answers: organ perplexity --compare measures those."),
    MAP("!" OUTPUTS "&roles.*.relative_error", "tensors",
        .style = {.title = "Relative error by layer",
                  .description = "Relative error of each tensor, by role and layer.",
                  .value_label = "relative error, percent"},
        .role = "role", .value = "relative_error", .factor = 100, .inside = true,
        .caption = "A tensor with a high error has values that its codes represent badly."),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Roles"),
    NOTHING_YET,
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    TABLE(ON_ALL, NULL, "roles", FIELDS(precision_roles), .total = "all quantised", .total_row = "totals",
          .caption = "Quantised tensors by role"),
    TABLE(ON_ALL, "types", "types", FIELDS(block_types), .total = "all quantised", .total_row = "totals",
          .caption = "Quantised tensors by type"),
    SIZES("roles"),
    SAY(ON_TERMINAL, "totals.absmax_error", "Relative error before the search for scales: {totals.absmax_error:%.4f}."),
    MATRICES_SHARE("", "quantised weights are"),
    MATRICES_FEW("choice.unquantised&", "quantised",
                 "The size leaves room for {choice.unquantised:count} of the others as they are."),
    MATRICES_FEW("allocation.unquantised&", "quantised",
                 "The budget leaves room for {allocation.unquantised:count} of the others as they are."),
    MATRICES_FEW("!choice.unquantised&!allocation.unquantised&", "quantised",
                 "{left_alone?The report states why targets are copied unchanged.|The others are not targets by "
                 "default, or --select excludes them.}"),
    MATRICES_LEFT("", "not quantised"),
    SAY(ON_ALL, "imatrix", BY_IMATRIX),
    SAY(ON_TERMINAL, "imatrix.fallback",
        "Experts without tokens in the imatrix: {imatrix.fallback.experts} ({imatrix.fallback.names.0}"
        "{imatrix.fallback.names>1?; {imatrix.fallback.names.1}}{imatrix.fallback.names>2?; more in the report}). "
        "They have the mean importances of their layer."),
    SAY(ON_FILES, "imatrix.fallback",
        "Experts without tokens in the imatrix: {imatrix.fallback.experts} ({imatrix.fallback.names:join}). They have "
        "the mean importances of their layer."),
    SAY(ON_ALL, "repair",
        "The model needs the adapter {repair.adapter}, of rank {repair.rank}{repair.outputs_after?: with it the error "
        "of "
        "the outputs is {repair.outputs_after:share}, without it {repair.outputs_before:share}}. At 3 bits and rank "
        "16, the "
        "pair lowered the KL divergence of codes without an adapter by 32 % on the model of the development, by 14 % "
        "on "
        "another."),
    SAY(ON_ALL, "repair.forward_first",
        "peft needs plain weights, and transformers (5.24) does not dequantise a model with several group sizes when "
        "it "
        "loads it: run a forward pass, base(torch.tensor([[0]])), before PeftModel.from_pretrained(base, ADAPTER)."),
    SAY(ON_ALL, "calibration",
        "Calibrated on {calibration.samples:count} windows of {calibration.context:count} tokens of "
        "{calibration.text.name}: {calibration.streams}. Errors of outputs are on that text; unrefitted: by GPTQ "
        "alone, "
        "before scales and codes were refitted."),
    SAY(ON_ALL, "inputs",
        "Scales of inputs are from {inputs.samples:count} windows of {inputs.context:count} tokens of "
        "{inputs.text.name}: {inputs.streams}."),
    SAY(ON_ALL, "kv_cache",
        "Scales of the KV cache (FP8), one for each {kv_cache.scales_of}, are from "
        "{kv_cache.calibration.samples:count} windows of {kv_cache.calibration.context:count} tokens of "
        "{kv_cache.calibration.text.name}{kv_cache.zero>0?; {kv_cache.zero} of them are 1, because all keys or values "
        "were zero}."),
    SAY(ON_FILES, "activations",
        "Servers round activations to {activations.rounding}; loaders: {activations.loaders}."),
    SAY(ON_TERMINAL, "inputs.fallback",
        "Experts that fewer than 8 tokens of this text reached: {inputs.fallback.experts} ({inputs.fallback.names.0}"
        "{inputs.fallback.names>1?; {inputs.fallback.names.1}}{inputs.fallback.names>2?; more in the report}). " TAKEN),
    SAY(ON_FILES, "inputs.fallback",
        "Experts that fewer than 8 tokens of this text reached: {inputs.fallback.experts} "
        "({inputs.fallback.names:join}). " TAKEN),
    SAY(ON_ALL, "calibration&types",
        "Embeddings and output head are quantised without the text, with the scales of least weight error."),
    SAY(ON_ALL, "totals.sparsity",
        "{parameters.pruning.method} pruned {totals.masked:count} weights of {totals.elements:count} "
        "({totals.sparsity:percent}), whose codes mean zero; including small weights, {totals.zeros:count} codes mean "
        "zero. The relative error includes pruning and quantisation, the errors of outputs only quantisation."),
    PART(ON_ALL, "allocation", BLOCKS_OF(width_blocks)),
    PART(ON_ALL, "choice", BLOCKS_OF(choice_blocks)),
    ALLOCATION_OF(ON_ALL, "sparsity_allocation"),
    SAY(ON_ALL, "sparsity_allocation.asked",
        "The budget was {sparsity_allocation.asked}: codes of kept weights, scales and one bit per weight for the "
        "mask. In this output zeros have codes, too."),
    SAY(ON_ALL, "calibration.all_experts", "Every expert was calibrated on all tokens of its layer (--all-experts)."),
    SAY(ON_TERMINAL, "calibration.fallback",
        "Experts that fewer than 8 calibration tokens reached: {calibration.fallback.experts} "
        "({calibration.fallback.names.0}"
        "{calibration.fallback.names>1?; {calibration.fallback.names.1}}{calibration.fallback.names>2?; more in the "
        "report}). They were "
        "calibrated on all tokens of their layer."),
    SAY(ON_FILES, "calibration.fallback",
        "Experts that fewer than 8 calibration tokens reached: {calibration.fallback.experts} "
        "({calibration.fallback.names:join}). They were calibrated on all tokens of their layer."),
    SAY(ON_ALL, "calibration.block_diagonal_tensors",
        "{calibration.block_diagonal_tensors:count} tensors were quantised with second moments in blocks of 256 "
        "inputs, because the full matrices did not fit --memory."),
    PLAIN,
    SAY(ON_ALL, "mlx.changed",
        "{mlx.changed:count} {mlx.changed=1?norm, |norms, }{mlx.changed_bytes:bytes}, {mlx.changed=1?is|are} stored as "
        "1 + weight: mlx-lm multiplies by the stored values, transformers by 1 + weight."),
    SAY(ON_ALL, "mlx.left_out",
        "{mlx.left_out:count} {mlx.left_out=1?tensor|tensors} of multi-token prediction, of rotary frequencies or with "
        "the values of the embedding {mlx.left_out=1?is|are} left out: mlx-lm rejects files that have them."),
    SAY(ON_ALL, "converted",
        "Converted from {converted.model} to GGUF first ({converted.bytes:bytes}, {dry_run?to be removed|removed} at "
        "the end)."),
    SAY(ON_ALL, "smoothed",
        "Smoothed first (alpha {smoothed.parameters.alpha}, scales {smoothed.parameters.scales}): "
        "{smoothed.totals.changed:count} channels in {smoothed.totals.folds:count} folds have factors."),
    SAY(ON_ALL, "totals.bits_per_weight_of_all",
        "All tensors together: {totals.bits_per_weight_of_all:.2f} bits per weight."),
    SAY(ON_ALL, "kept_sets",
        "Sets of matrices that servers multiply as one and that stay unquantised, because 128 does not divide the rows "
        "of the parts: {kept_sets.count:count}, {kept_sets.bytes:bytes}."),
    TABLE(ON_FILES, "kept_sets", "kept_sets.sets", FIELDS(kept_sets), .max = MAX_ROWS, .what = "sets"),
    SAY(ON_ALL, "clipped_blocks",
        "{clipped_blocks} {clipped_blocks=1?tensor has|tensors have} rows or columns that are not whole blocks of 128. "
        "Servers that follow "
        "DeepSeek-V3 clip such blocks. transformers without a GPU may reject the "
        "model, or give such tensors wrong values without an error."),
    SAY(ON_ALL, "totals.regrouped",
        "{totals.regrouped:count} {totals.regrouped=1?tensor has|tensors have} groups of 64 or 32 columns, since the "
        "group of {parameters.scheme} does not divide {totals.regrouped=1?its|their} rows."),
    EACH(ON_TERMINAL, "left_alone", BLOCKS(SAY(ON_TERMINAL, NULL, "Not quantised: {tensor}: {why}")), .new = "why"),
    SAY(ON_TERMINAL, "left_alone", "{left_alone:size} of the targets in all; the report lists them."),
    SECTION(ON_FILES, "left_alone", "Targets copied unchanged"),
    EACH(ON_MARKDOWN, "left_alone", BLOCKS_OF(reason_items)),
    TABLE(ON_PAGE, "left_alone", "left_alone", FIELDS(reasons), .max = MAX_ROWS, .what = "tensors",
          .caption = "Loaders read them in their original type"),
    SECTION(ON_FILES, NULL, "Tensors"),
    TABLE(ON_FILES, "!types", "tensors", FIELDS(precision_tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Every quantised tensor"),
    TABLE(ON_FILES, "types", "tensors", FIELDS(block_tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Every quantised tensor"),
    MADE_ENDING(" of output", "QUANTIZE_REPORT.md"),
};

const organ_view organ_quantize_view = {
    .schema = "organ.quantize/1",
    .kind = "Quantisation",
    .lead = "{types?Matrices|Projections} {dry_run?would become|became} codes of {parameters.scheme}{calibration?, "
            "calibrated on a text{parameters.pruning?, after a pruning by {parameters.pruning.method}|}.|, each the "
            "nearest to its weight{types?, with the scales of least error{imatrix? weighted by an imatrix|}|}: no "
            "calibration{imatrix?|, no data}.}",
    .files = {"quantize.json", "QUANTIZE_REPORT.md", NULL},
    .made_by = "quantize",
    .method = "{merge?merge {merge.parameters.method}, |}{parameters.method?{parameters.method}|nearest}",
    BLOCKS_OF(quantize_blocks)};

/* ---- several sizes of one call ---- */

static const organ_field sizes[] = {FIELD_WORDS("requested", "{choice.requested}", 0),
                                    FIELD_WORDS("bytes", "{choice.bytes:count}", 0),
                                    FIELD_WORDS("bits per weight", "{choice.bits_per_weight_of_all:.4f}", 0),
                                    FIELD_WORDS("predicted KL", "{choice.cost?{choice.cost:.4g}|-}", 0),
                                    FIELD_TEXT("file", "output", ORGAN_FIELD_CODE)};
static const organ_block quantize_sizes_blocks[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |Quantised }{model}\nas mixed, in {outputs:size} "
                "size{outputs:s}\n\n"),
    HEADING("Quantisation of {model} in several sizes"),
    WARNINGS,
    TABLE(ON_ALL, "outputs", "outputs", FIELDS(sizes), .caption = "Nats per token; each output has its own report"),
    SAY(ON_ALL, "!outputs", "All outputs exist already."),
};

const organ_view organ_quantize_sizes_view = {.schema = "organ.quantize_sizes/1",
                                              .kind = "Quantisation",
                                              .title = "{model}",
                                              .lead = "One model in several sizes.",
                                              BLOCKS_OF(quantize_sizes_blocks)};

/* ---- organ.convert/1: `organ convert` ---- */

static const organ_item convert_highlights[] = {SIZE_HIGHLIGHTS, {NULL, "tensors", "{totals.tensors_after:count}"}};

static const organ_field convert_types[] = {FIELD_TEXT("type", "type", ORGAN_FIELD_CODE),
                                            FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("bytes", "bytes")};

static const organ_block convert_blocks[] = {
    MADE_BEGIN("Converted", "\nto {parameters.to}, {parameters.format?{parameters.format}|{parameters.dtype}}",
               "Conversion", convert_highlights),
    EVALUATION_ON(ON_PAGE),
    SAY(ON_FILES, "!codes", "Definition {definition}; to {parameters.to}, matrices {parameters.dtype}."),
    SAY(ON_FILES, "codes", "Definition {definition}; to {parameters.format}."),
    WARN(ON_PAGE, "dry_run", "Dry run, nothing was written."),
    SECTION(ON_FILES, NULL, "Types"),
    TABLE(ON_ALL, NULL, "types", FIELDS(convert_types), .caption = "Tensors of the output by type"),
    SAY(ON_ALL, "general_architecture", "{architecture} is general.architecture {general_architecture}."),
    SAY(ON_ALL, "codes", "{codes.weights:count} weights have the codes, scales and zero points of the model."),
    SAY(ON_ALL, "by_name",
        "organ convert has no rules for this architecture: only names differ, and no forward pass has checked it."),
    SAY(ON_ALL, "mmproj.file", "{mmproj.file}: {mmproj.tensors:count} tensors of towers, {mmproj.bytes:bytes}."),
    SAY(ON_ALL, "totals.left_out",
        "{totals.left_out:count} tensors of vision, audio or multi-token prediction are left out."),
    MADE_END(" of output", "CONVERT_REPORT.md"),
};

const organ_view organ_convert_view = {.schema = "organ.convert/1",
                                       .kind = "Conversion",
                                       .lead = "Tensors {dry_run?would become|became} {parameters.to}.",
                                       .files = {"convert.json", "CONVERT_REPORT.md", NULL},
                                       .made_by = "convert",
                                       BLOCKS_OF(convert_blocks)};

/* ---- organ.purify/1: `organ purify` ---- */

/* Method, parameters and targets of the purification. */
#define HOW                                                                                                            \
    "{parameters.method}, threshold {parameters.threshold}, strength {parameters.strength}; "                          \
    "{parameters.type?tensors of type {parameters.type}|the projections}{parameters.layers? in layers "                \
    "{parameters.layers}}"
#define NO_EVIDENCE "A higher theta is no evidence of a better model."

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {"dry_run", "tensors would be purified; nothing was written", "{totals.tensors}"},
    {"!dry_run", "of their energy was removed", "{totals.energy_removed_percent:percent}"},
    {"!dry_run", "tensors were purified", "{totals.tensors}"},
    {"!dry_run",
     "mean theta after; before: {totals.theta_before?{totals.theta_before:.2f}°|–}; no evidence of a better model",
     "{totals.theta_after?{totals.theta_after:.2f}°|–}"}};

static const organ_field purify_roles[] = {
    FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_COUNT("tensors", "tensors"),
    FIELD_COUNT("weights", "elements"),
    FIELD_IF("!dry_run", "energy removed", "energy_removed_percent", "percent", 0),
    FIELD_IF("!dry_run", "theta before", "theta_before", ".2f", 0),
    FIELD_IF("!dry_run", "theta after", "theta_after", ".2f", 0)};

static const organ_field purify_tensors[] = {
    FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),   FIELD_TEXT("type", "dtype", 0),
    FIELD_GENERAL("energy before", "energy_before", 6), FIELD_GENERAL("energy after", "energy_after", 6),
    FIELD_PERCENT("removed", "energy_removed_percent"), FIELD_FIXED("theta before", "theta_before", 2),
    FIELD_FIXED("theta after", "theta_after", 2)};

static const organ_field left_alone[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("type", "dtype", 0)};

static const organ_block commands[] = {COMMAND(ON_ALL, NULL, "{.}")};

static const organ_block blocks[] = {
    MADE_BEGIN("Purified", "\nby " HOW, "Purification", highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_FILES, NULL, "Definition {definition}: " HOW "."),
    WARN(ON_FILES, "warning", "{warning.text}"),
    EACH(ON_FILES, "warning.commands", BLOCKS_OF(commands)),
    EVALUATION_ON(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Layers and roles"),
    MAP("!dry_run&tensors", "tensors",
        .style = {.title = "Energy removed by layer and role",
                  .description = "Percent of the energy of the tensors of each role in each layer that was removed. "
                                 "The table of tensors "
                                 "has the numbers.",
                  .value_label = "energy removed, percent"},
        .role = "role", .value = "energy_removed_percent", .weight = "energy_before", .step = 5,
        .caption = "Energy that the filter classified as noise and removed, as a share of the original energy."),
    BARS("!dry_run", "roles",
         .style = {.title = "Theta before and after",
                   .subtitle = "mean over the tensors of a role",
                   .description = "Two bars for each role: its mean theta before and after, in degrees.",
                   .value_label = "theta, degrees",
                   .series = {"before", "after"},
                   .digits = 3,
                   .unit = "°"},
         .name = "role", .values = {"theta_before", "theta_after"},
         .caption = "Theta measures how far values are from noise, not how good a model is: a filter that destroys a "
                    "model can raise it."),
    TABLE(ON_ALL, NULL, "roles", FIELDS(purify_roles), .total = "all purified", .total_row = "totals",
          .caption = "{dry_run?Tensors that would be purified.|Removed energy as a share of the original energy, and "
                     "the mean theta in degrees.}"),
    MATRICES_SHARE("", "{dry_run?targets|purified weights} are"),
    MATRICES_FEW("!parameters.type&!parameters.layers&", "{dry_run?targets|purified}",
                 "The others have names that are not in organ's default, or types that organ cannot write."),
    MATRICES_LEFT("", "not purified"),
    SAY(ON_TERMINAL, "left_alone",
        "Copied unchanged: {left_alone:size} tensor{left_alone:s} of types that organ cannot write, "
        "{left_alone=1?that is|the first} {left_alone.0.tensor}."),
    SAY(ON_TEXT, "!dry_run", NO_EVIDENCE),
    WARN(ON_PAGE, "!dry_run", NO_EVIDENCE),
    GAP("warning"),
    WARN(ON_TERMINAL, "warning", "{warning.text}"),
    EACH(ON_TERMINAL, "warning.commands", BLOCKS_OF(commands)),
    SECTION(ON_FILES, "!dry_run", "Tensors"),
    TABLE(ON_FILES, "!dry_run", "tensors", FIELDS(purify_tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Energy of every tensor before and after, the removed share, and theta in degrees."),
    SECTION(ON_FILES, "left_alone", "Copied unchanged"),
    SAY(ON_MARKDOWN, "left_alone", "Projections in types that cannot be written:"),
    EACH(ON_MARKDOWN, "left_alone", BLOCKS(ITEM(ON_MARKDOWN, NULL, "{tensor:code} ({dtype})"))),
    TABLE(ON_PAGE, "left_alone", "left_alone", FIELDS(left_alone), .max = EVERY_TENSOR,
          .what = "tensors copied unchanged", .caption = "Projections in types that cannot be written."),
    MADE_ENDING(" of purified weights", "PURIFY_REPORT.md"),
};

const organ_view organ_purify_view = {
    .schema = "organ.purify/1",
    .kind = "Purification",
    .lead = "{dry_run?A dry run: the tensors that would be purified.|The noise that was removed from each tensor.}",
    .files = {"purify.json", "PURIFY_REPORT.md", NULL},
    .made_by = "purify",
    BLOCKS_OF(blocks)};
