/* SPDX-License-Identifier: MIT
 * experts: removes routed experts from a mixture of experts. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/cut.h>

typedef struct experts_call {
    organ_call call;
    organ_experts_options experts;
} experts_call;
#define CALL experts_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option experts_options[] = {
    OUTPUT("OUT", experts.write.output,
           "new directory of the model and its report; of a GGUF model a single file, X.gguf",
           .required = true),
    TEXT("keep", "N|P%", experts.keep,
         "number or share of the routed experts of each layer to keep", .required = true),
    CHOICE("per-layer", "uniform|global", experts.per_layer,
           "uniform: keep the same number in each layer, which loaders require; global: one budget for all layers, an "
           "error if layers would keep different numbers",
           .fallback = "uniform"),
    FLAG("heal", experts.heal,
         "refit the down projections of the kept experts to the original output of the layer by least squares; a "
         "layer stays unchanged if held-out windows do not improve"),
    SHARD_SIZE(experts),
    WRITING(experts, "OUT", "print what would be kept" AND_PLAN "; measures nothing")};

static const organ_option score_options[] = {
    INPUT("calibration", "TEXT", experts.calibration.text, "calibration text on which experts are scored"),
    CHOICE("score", "loss|reap|sum|frequency", experts.score,
           "score by which experts are removed. loss: change of the layer's output without the expert, its tokens "
           "rerouted; sum: sum of router weight times output norm over the expert's tokens; reap: mean of these "
           "products; frequency: number of its tokens",
           .fallback = "loss"),
    INPUT("scores", "FILE", experts.scores,
          "file of scores: read if it exists, else written after each layer; experts.json of an output is accepted "
          "too",
          .written = true),
    WINDOWS_CALIBRATION(experts)};

RUN_WRITING(experts, organ_experts, experts)

const organ_verb organ_experts_verb = {
    .name = "experts",
    .shares = true,
    .summary = "remove routed experts from a mixture of experts",
    .about = "Removes routed experts from each layer of a mixture of experts. The weights of kept experts, quantised "
             "ones too, are copied byte for byte. Router rows, correction biases and config.json (or the GGUF "
             "metadata) are reduced to match.\n"
             "Scores decide which experts are removed. organ runs the calibration text through the model, quantised or "
             "not, one layer at a time within --memory. --score loss (default) repeatedly removes the expert whose "
             "removal changes the layer's output least; tokens of removed experts are rerouted to the remaining ones. "
             "The scores sum, reap and frequency rank each expert individually; they need a quarter to two thirds of "
             "the time of loss.\n"
             "--scores FILE stores the scores. A later run with FILE and another --keep or --score then needs no "
             "calibration text. A measurement with --score loss stores all four scores, one with another --score "
             "stores sum, reap and frequency. An interrupted measurement continues after the last layer in FILE.\n"
             "--heal refits the down projections of each layer's kept experts together by least squares, so that the "
             "layer's output approximates that of all experts. Every fourth window is held out: if the error on these "
             "windows does not fall, the layer stays unchanged. --heal needs down projections of BF16, F16 or F32, or "
             "GGUF blocks (Q4_0 to Q8_0, Q4_K to Q6_K).\n"
             "Every layer must keep the same number of experts, because config.json and GGUF store one number for all "
             "layers. --per-layer global therefore fails if layers would keep different numbers; use it with --dry-run "
             "to print the number that each layer would keep.\n"
             "OUT/organ contains EXPERTS_REPORT.md and .html with a picture of the kept experts, and experts.json with "
             "all numbers; if OUT is a file, they are next to it. OUT appears under its name only when it is complete; "
             "--resume continues an interrupted run.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, experts.model, "the model to cut; it is not changed")),
    GROUPS(GROUP("Options", experts_options), GROUP("Scores", score_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ experts MODEL -o OUT --keep 50% --calibration TEXT --scores scores.json",
              "Keeps half of the experts of each layer and stores the scores."},
             {"organ experts MODEL -o SMALLER --keep 25% --scores scores.json",
              "Keeps a quarter of the experts, chosen by the stored scores."},
             {"organ experts model.gguf -o small.gguf --keep 64 --score reap --scores FILE",
              "Uses another score, for a GGUF model."},
             {"organ experts MODEL -o OUT --keep 50% --calibration TEXT --dry-run",
              "Prints the size of the output and the memory that the run needs."}),
    .exits = "0 done; 2 wrong usage, OUT exists, or the scores belong to another run; 3 the model is malformed, "
             "its format cannot express the smaller model, or it changed during the run; 4 a read or write fails, or "
             "the disk is full; 130 interrupted (--resume continues)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_experts};
