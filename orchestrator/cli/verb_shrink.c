/* SPDX-License-Identifier: MIT
 * experts: removes routed experts from a mixture of experts. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/cut.h>

CALL_WITH(experts, organ_experts_options);
#define CALL experts_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option experts_options[] = {
    OUTPUT("OUT", experts.write.output,
           "new directory of the model and its report; of a GGUF model a single file, X.gguf; not with --predict"),
    TEXT("keep", "N|P%", experts.keep,
         "number or share of the routed experts of each layer to keep; with --predict a list, such as 75%,50%",
         .common = true),
    FLAG("predict", experts.predict,
         "write no model: print the KL divergence of each --keep (default: seven shares) on held-out windows of "
         "--calibration, and mark the knee", .common = true),
    NUMBER("predict-tokens", "N", experts.predict_tokens, "held-out tokens of --predict; default 4096",
           .range = {64, 16777216}),
    CHOICE("per-layer", "uniform|global", experts.per_layer,
           "uniform: keep the same number in each layer, which loaders require; global: one budget for all layers, an "
           "error if layers would keep different numbers",
           .fallback = "uniform"),
    FLAG("refit", experts.heal,
         "refit the down projections of the kept experts to the original output of the layer by least squares; a "
         "layer stays unchanged if held-out windows do not improve", .former = "heal", .both = true, .common = true),
    SHARD_SIZE(experts),
    WRITING(experts, "print what would be kept" AND_PLAN "; measures nothing")};

static const organ_option score_options[] = {
    INPUT("calibration", "TEXT", experts.calibration.text, "calibration text on which experts are scored",
         .common = true),
    CHOICE("score", "loss|reap|sum|frequency", experts.score,
           "score by which experts are removed. loss: change of the layer's output without the expert, its tokens "
           "rerouted; sum: sum of router weight times output norm over the expert's tokens; reap: mean of these "
           "products; frequency: number of its tokens",
           .fallback = "loss", .common = true),
    INPUT("scores", "FILE", experts.scores,
          "file of scores: read if it exists, else written after each layer; experts.json of an output is accepted "
          "too",
          .written = true),
    WINDOWS_CALIBRATION(experts)};

/* -o and --keep are required without --predict only. */
WORK(experts_work)
{
    organ_experts_options *const o = &own->experts;
    if (!o->predict && !o->write.output)
        return organ_fail(error, ORGAN_USAGE, "-o OUT is missing: the new directory or file of the model");
    if (!o->predict && !o->keep)
        return organ_fail(error, ORGAN_USAGE, "--keep N|P%% is missing: the experts of each layer to keep");
    o->write.evaluate = organ_call_evaluation(call);
    return organ_experts(o, engine, progress, report, error);
}
RUN_WORK(experts, true)

const organ_verb organ_experts_verb = {
    .name = "experts",
    .common = true,
    .shares = true,
    .summary = "remove routed experts from a mixture of experts",
    .about = "Removes routed experts from each layer of a mixture of experts. The weights of kept experts, quantised "
             "ones too, are copied byte for byte. Router rows, correction biases and config.json (or the GGUF "
             "metadata) are reduced to match.\n"
             "organ runs the calibration text through the model and scores each expert. --score loss (default) "
             "repeatedly removes the expert whose removal changes the layer's output least; tokens of removed "
             "experts are rerouted to the remaining ones. sum, reap and frequency rank each expert individually; "
             "they need a quarter to two thirds of the time.\n"
             "--scores FILE stores the scores: a later run with FILE and another --keep or --score needs no text, "
             "and an interrupted measurement continues after the last layer in FILE. A measurement with --score loss "
             "stores all four scores, one with another --score the other three.\n"
             "--refit refits the down projections of each layer's kept experts together by least squares. Every "
             "fourth window is held out: if the error on these windows does not fall, the layer stays unchanged. It "
             "needs down projections of BF16, F16 or F32, or GGUF blocks (Q4_0 to Q8_0, Q4_K to Q6_K).\n"
             "Every layer must keep the same number of experts, because config.json and GGUF store one number for "
             "all layers: --per-layer global fails otherwise, and its message has the number of each layer.\n"
             "Blocks for multi-token prediction are scored on the inputs that they have in use, and cut like layers, "
             "but not refitted. A block with experts that the forward pass does not run is removed, with a warning.\n"
             "--predict measures before anything is removed: held-out windows of the text run through the model with "
             "the experts that each --keep would leave, all in one pass over the layers.",
    OPERANDS(OPERAND("MODEL", MODEL, experts.model, "the model to cut; it is not changed")),
    NEEDS(NEED(experts, experts)),
    GROUPS(GROUP("Options", experts_options), GROUP("Scores", score_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ experts MODEL -o OUT --keep 50% --calibration TEXT --scores scores.json",
              "Keeps half of the experts of each layer and stores the scores."},
             {"organ experts MODEL --predict --calibration TEXT --scores scores.json",
              "Prints what keeping 87.5 % to 12.5 % of the experts costs."},
             {"organ experts MODEL -o SMALLER --keep 25% --scores scores.json",
              "Keeps a quarter of the experts, chosen by the stored scores."},
             {"organ experts model.gguf -o small.gguf --keep 64 --score reap --scores FILE",
              "Uses another score, for a GGUF model."},
             {"organ experts MODEL -o OUT --keep 50% --calibration TEXT --dry-run",
              "Prints the size of the output and the memory that the run needs."}),
    .exits = {.usage = "the scores belong to another run", .content = "the format cannot express the smaller model"},
    .run = run_experts};

/* ---- layers: removes transformer blocks from a model ---- */

CALL_WITH(layers, organ_layers_options);
#undef CALL
#define CALL layers_call

static const organ_option layers_options[] = {
    OUTPUT("OUT", layers.write.output,
           "new directory of the model and its report; for a GGUF model a single file, X.gguf",
           .required = true),
    TEXT("drop", "BLOCKS|N", layers.drop,
         "blocks to drop, counted from 0: 5-8 or 3,7,9-11; a single block: 8-8 or '8,'. A number alone, such as 8, is "
         "the number of blocks that organ chooses on --calibration and drops",
         .required = true, .common = true),
    FLAG("refit", layers.heal,
         "refit projections around the dropped blocks to the hidden states of the whole model on --calibration",
         .former = "heal", .both = true, .common = true),
    SHARD_SIZE(layers),
    WRITING(layers, "print the changes to the model" AND_PLAN "; does not search for blocks")};

static const organ_option calibration_options[] = {
    INPUT("calibration", "FILE", layers.calibration.text, "calibration text for the search and --refit",
         .common = true),
    WINDOWS_CALIBRATION(layers)};

static const organ_option search_options[] = {
    NUMBER("search-tokens", "N", layers.search_tokens,
           "tokens of the text, in whole windows, on which sets of blocks are compared",
           .range = {64, 16777216}, .fallback = "3072"),
    NUMBER("rounds", "N", layers.rounds,
           "largest number of rounds; each tries at most 16 exchanges of a dropped block for a kept one; 0: drop the "
           "blocks of least influence",
           .range = {0, 1000000}, .fallback = "32"),
    TEXT("scores", "FILE", layers.scores,
         "file of the measurements of the search: read if it exists, and extended; an interrupted search continues "
         "from it",
         .names = ORGAN_NAMES_INPUT, .written = true, .common = true)};

RUN_WRITING(layers, organ_layers, layers)

const organ_verb organ_layers_verb = {
    .name = "layers",
    .common = true,
    .shares = true,
    .summary = "drop whole blocks, chosen by name or by search",
    .about = "Writes a model without some of its blocks (layers). Kept blocks are renumbered; config.json or the "
             "GGUF metadata are reduced to match. If a setting cannot describe the kept blocks, such as 'every "
             "fourth layer has full attention', the error names it. Kept tensors, packed ones too, are copied byte "
             "for byte.\n"
             "--drop BLOCKS names the blocks by their numbers in the names of tensors and needs no text. --drop N "
             "searches for N blocks on the calibration text: organ drops the N blocks of least influence (1 - the "
             "mean cosine of the hidden states before and after a block), then exchanges one dropped block for a "
             "kept one as long as this lowers the KL divergence from the whole model on --search-tokens. --memory "
             "must be large enough for two layers and three times the hidden states of --search-tokens. --scores "
             "FILE stores the measurements: an interrupted search continues from FILE, and a search for another "
             "number of blocks reuses it.\n"
             "--refit refits weights around the dropped blocks by least squares, so that the hidden states of the "
             "smaller model approximate those of the whole model: o and down in the block before a gap; q, k, v, o, "
             "gate, up, down and the router in every block after one; and one factor of the norm before the output "
             "head. On held-out windows organ measures the KL divergence for three shares of each change and applies "
             "the best, or none if no share lowers it. It needs weights of BF16, F16 or F32, or GGUF blocks (Q4_0 to "
             "Q8_0, Q4_K to Q6_K). The report names output projections that organ cannot refit because of a norm of "
             "their outputs.",
    OPERANDS(OPERAND("MODEL", MODEL, layers.model, "the model to cut; it is not changed")),
    GROUPS(GROUP("Options", layers_options), GROUP("Calibration (search and --refit)", calibration_options),
           GROUP("Search", search_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ layers MODEL -o OUT --drop 20-23", "Drops four consecutive blocks and renumbers the rest."},
             {"organ layers model.gguf -o small.gguf --drop 8,", "Drops one block of a GGUF file."},
             {"organ layers MODEL -o OUT --drop 4 --calibration a.txt --scores s.json",
              "Finds the four blocks whose removal costs least, and stores the measurements."},
             {"organ layers MODEL -o OUT --drop 5-8 --refit --calibration a.txt",
              "Drops four blocks and refits the weights around the gap."},
             {"organ layers MODEL -o OUT --drop 5-8 --dry-run", "Prints what the model would become."}),
    .exits = {.usage = "--drop names blocks that the model does not have",
              .content = "a setting cannot describe the kept blocks"},
    .run = run_layers};

/* ---- width: removes channels of the feed-forward and K and V heads ---- */

CALL_WITH(width, organ_width_options);
#undef CALL
#define CALL width_call

static const organ_option width_options[] = {
    OUTPUT("OUT", width.write.output,
           "new directory of the output; X.safetensors: one file without config.json; of a GGUF model: X.gguf",
           .required = true),
    TEXT("ffn", "SHARE", width.ffn,
         "share (75%) or number of channels to keep in each feed-forward, or in each expert", .common = true),
    TEXT("heads", "SHARE", width.heads, "share (50%) or number of K and V heads to keep, each with its query heads",
         .common = true),
    NUMBER("multiple-of", "N", width.multiple_of,
           "keep a multiple of N channels; default 32, and 256 for a GGUF model whose width is a multiple of 256",
           .range = {1, 65536}),
    SHARD_SIZE(width),
    WRITING(width, "print what would be removed" AND_PLAN)};
static const organ_option choice_options[] = {
    INPUT("calibration", "FILE", width.calibration.text,
          "calibration text; do not use a text on which the model is evaluated",
          .required = true, .common = true),
    WINDOWS_CALIBRATION(width), MOMENTS(width.moments),
    CHOICE("score", "loss|wanda", width.score,
           "loss: remove the channels and heads with the smallest output error after refitting; wanda: those with the "
           "smallest norm of weights times inputs, as most other tools do", .fallback = "loss", .common = true),
    FLAG("no-refit", width.no_refit, "do not refit the kept weights", .former = "no-resolve", .both = true)};

RUN_WRITING(width, organ_width, width)

const organ_verb organ_width_verb = {
    .name = "width",
    .common = true,
    .shares = true,
    .summary = "remove channels of the feed-forward and attention heads",
    .about = "Writes a model with fewer channels in its feed-forwards (--ffn), fewer K and V heads with their query "
             "heads in its attention (--heads), or both. The output is smaller and faster in every program and needs "
             "no support for sparse or packed weights. Every layer keeps the same number, because config.json and "
             "GGUF store one number for all layers. In a mixture of experts --ffn removes the same number of "
             "channels from every routed expert, chosen for each.\n"
             "organ runs the calibration text through the model, one layer at a time, and removes one channel after "
             "the other: the one without which the outputs of the down projection have the least error, if its "
             "remaining columns are refitted by least squares. Heads are removed in the same way, by the error of "
             "the attention's output projection. Refitted projections must be F32, F16 or BF16; all other kept "
             "weights are copied byte for byte, and may be quantised if the cut does not split a block. An expert is "
             "calibrated on its routed tokens; if it has none, the norms of its weights decide, and the report says "
             "so. To remove whole experts, use organ experts.\n"
             "The choices are stored in a hidden directory next to OUT until OUT is complete, so that --resume "
             "continues at the layer or tensor.",
    OPERANDS(OPERAND("MODEL", MODEL, width.model, "the model to narrow; it is not changed")),
    NEEDS(NEED(width, width)),
    GROUPS(GROUP("Options", width_options), GROUP("Choice of channels and heads", choice_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ width Qwen2.5-7B -o OUT --ffn 75% --calibration a.txt",
              "Removes a quarter of the channels of each feed-forward."},
             {"organ width MODEL -o OUT --ffn 75% --heads 50% --calibration a.txt",
              "Also removes half of the K and V heads."},
             {"organ width Qwen3-30B-A3B -o OUT --ffn 75% --calibration a.txt",
              "Removes a quarter of the channels of every expert."},
             {"organ width F16.gguf -o OUT.gguf --ffn 8192 --calibration a.txt",
              "Keeps 8,192 channels in each feed-forward of a GGUF model."},
             {"organ width MODEL -o OUT --ffn 75% --calibration a.txt --resume", "Continues an interrupted run."},
             {"organ width MODEL -o OUT --ffn 75% --calibration a.txt -n",
              "Prints what would be removed, and the size of OUT."}),
    .exits = {.content = "packed weights cannot be cut, or a weight is NaN or infinite"},
    .run = run_width};
