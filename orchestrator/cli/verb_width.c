/* SPDX-License-Identifier: MIT
 * width: removes channels of the feed-forward and K and V heads. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/cut.h>

typedef struct width_call {
    organ_call call;
    organ_width_options width;
} width_call;
#define CALL width_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option width_options[] = {
    OUTPUT("OUT", width.write.output,
           "new directory of the output; X.safetensors: one file without config.json; of a GGUF model: X.gguf",
           .required = true),
    TEXT("ffn", "SHARE", width.ffn,
         "share (75%) or number of channels to keep in each feed-forward, or in each expert"),
    TEXT("heads", "SHARE", width.heads, "share (50%) or number of K and V heads to keep, each with its query heads"),
    NUMBER("multiple-of", "N", width.multiple_of,
           "keep a multiple of N channels; default 32, and 256 for a GGUF model whose width is a multiple of 256",
           .range = {1, 65536}),
    SHARD_SIZE(width),
    WRITING(width, "OUT", "print what would be removed" AND_PLAN)};
static const organ_option choice_options[] = {
    INPUT("calibration", "FILE", width.calibration.text,
          "calibration text; do not use a text on which the model is evaluated",
          .required = true),
    WINDOWS_CALIBRATION(width),
    CHOICE("score", "loss|wanda", width.score,
           "loss: remove the channels and heads with the smallest output error after refitting; wanda: those with the "
           "smallest norm of weights times inputs, as most other tools do", .fallback = "loss"),
    FLAG("no-resolve", width.no_refit, "do not refit the kept weights")};

RUN_WRITING(width, organ_width, width)

const organ_verb organ_width_verb = {
    .name = "width",
    .shares = true,
    .summary = "remove channels of the feed-forward and attention heads",
    .about = "Writes a model with fewer channels in its feed-forwards (--ffn), fewer K and V heads with their query "
             "heads in its attention (--heads), or both. The output is smaller and faster in every program and needs "
             "no support for sparse or packed weights. Every layer keeps the same number of channels and heads, "
             "because config.json and GGUF store one number for all layers. In a mixture of experts --ffn removes the "
             "same number of channels from every routed expert; organ chooses them for each expert.\n"
             "organ runs the calibration text through the model, one layer at a time, and narrows each layer before "
             "the text enters the next. It removes channels one by one. Each time it removes the channel without which "
             "the outputs of the down projection have the least error, if the remaining columns of this projection are "
             "refitted by least squares. Heads are removed in the same way, by the error of the attention's output "
             "projection. The kept columns get the refitted values; all other kept weights are copied byte for byte. "
             "--score wanda and --no-resolve select simpler methods, for comparison.\n"
             "The down projections, and with --heads the output projections, must be F32, F16 or BF16. The other "
             "matrices may be quantised if the cut does not split a block. An expert is calibrated on its routed "
             "tokens; the channels of an expert without tokens are chosen by the norms of its weights, and the report "
             "says so. To remove whole experts, use organ experts. The choices are stored in a hidden directory next "
             "to OUT until OUT is complete, so that --resume continues an interrupted run at its layer or tensor.\n"
             "--memory must be large enough for the hidden states of the text and one layer; --scratch DIR stores the "
             "hidden states in an unnamed temporary file, which the system removes when the run ends.\n"
             "OUT/organ/WIDTH_REPORT.md (and .html) and width.json list the kept channels and heads and the error of "
             "each layer.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, width.model, "the model to narrow; it is not changed")),
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
    .exits = "0 done; 2 wrong usage, OUT exists, the text is too short or --memory is too small; 3 the model is "
             "malformed, has packed weights that cannot be cut, changed during the run, or has weights that are NaN or "
             "infinite; 4 a read or write fails, or the disk is full; 130 interrupted (--resume continues)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_width};
