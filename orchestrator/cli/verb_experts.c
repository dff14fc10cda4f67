/* SPDX-License-Identifier: MIT
 * experts: a mixture of experts without those that are worth least. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/experts/experts.h"

typedef struct experts_call {
    organ_call call;
    organ_experts_options experts;
} experts_call;
#define CALL experts_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option experts_options[] = {
    OUTPUT("OUT", experts.write.output,
           "the directory to make, with the model's other files and a report; of a GGUF model a single file, X.gguf",
           .required = true),
    TEXT("keep", "N|P%", experts.keep, "how many experts of each layer stay, or which share of them", .required = true),
    INPUT("calibration", "TEXT", experts.calibration.text, "measure the experts along this text"),
    CHOICE("score", "loss|reap|sum|frequency", experts.score,
           "the worth of an expert: how much the layer's output changes without it, its tokens routed to the others "
           "(loss); mean (reap) or sum of gate times output over its tokens; number of its tokens (frequency)",
           .fallback = "loss"),
    CHOICE("per-layer", "uniform|global", experts.per_layer,
           "as many experts of each layer, which is what can be loaded, or one budget for all", .fallback = "uniform"),
    INPUT("scores", "FILE", experts.scores,
          "where the scores are kept: read if it is there, else written after each layer; also experts.json of an "
          "output"),
    FLAG("heal", experts.heal,
         "solve the down projections of what stays anew along the text, so that each layer gives nearly what it gave; "
         "where that helps"),
    WINDOWS_ALONG(experts),
    SHARD_SIZE(experts),
    WRITING(experts, "OUT", "say what would be kept" AND_PLAN "; nothing is measured")};

RUN_WRITING(experts, organ_experts_cut, experts)

const organ_verb organ_experts_verb = {
    .name = "experts",
    .shares = true,
    .summary = "cut the least needed experts out of a mixture of experts",
    .about = "Makes a smaller model: of each layer's routed experts only so many stay. Router rows, correction biases "
             "and config.json or key-values become those of the smaller model; the bytes of what stays, packed types "
             "with their scales included, are copied as they are.\n"
             "Which experts stay is measured along a text, layer by layer within --memory, on the model as it is, "
             "packed or not. The loss removes one expert after the other, each time the one without which the layer's "
             "output changes least when its tokens are routed to the others. The scores sum, reap and frequency rank "
             "experts by themselves, in a half to a quarter of the time; the measurement of the loss contains them. "
             "--scores keeps what was measured: another --keep or --score then takes no walk along the text (but for a "
             "loss that was not measured), and a measurement that was interrupted goes on after its last layer.\n"
             "--heal solves the down projections of each layer's kept experts anew together along the text, layer by "
             "layer, and leaves a layer as it is where that does not help on every fourth window, which is held back. "
             "Packed weights other than blocks of GGUF cannot take other values and are refused.\n"
             "config.json and GGUF have one number of experts for all layers, and neither transformers nor llama.cpp "
             "reads a list: a --per-layer global whose layers keep different numbers is refused.\n"
             "The report lies in OUT/organ, or beside the file: EXPERTS_REPORT.md and .html to read, with a picture of "
             "which experts stayed, experts.json with all numbers. A run that is interrupted leaves no half model; "
             "--resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, experts.model, "the model to cut; it is only read, never changed")),
    GROUPS(GROUP("Options", experts_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ experts MODEL -o OUT --keep 50% --calibration TEXT --scores scores.json",
              "Half of the experts of each layer; the scores are kept."},
             {"organ experts MODEL -o SMALLER --keep 25% --scores scores.json",
              "A quarter of them, without another walk along the text."},
             {"organ experts model.gguf -o small.gguf --keep 64 --score reap --scores FILE",
              "By another score, of a GGUF model."},
             {"organ experts MODEL -o OUT --keep 50% --calibration TEXT --dry-run",
              "Says how large it would become, and what memory that takes."}),
    .exits = "0 done; 2 wrong usage, or OUT exists, or scores are of another run; 3 the model is malformed, cannot be "
             "told without these experts, or changed meanwhile; 4 the disk is full or refuses; 130 interrupted (to be "
             "resumed)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_experts};
