/* SPDX-License-Identifier: MIT
 * purify: reduces noise in the weights. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/purify.h>

typedef struct purify_call {
    organ_call call;
    organ_purify_options purify;
} purify_call;
#define CALL purify_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option purify_options[] = {
    OUTPUT("OUT", purify.write.output,
           "new directory of the model and its report; X.gguf or X.safetensors: a single file, if MODEL is a single "
           "file",
           .required = true),
    CHOICE("method", "fft|haar", purify.method,
           "filter of each row: fft: Fourier spectrum; haar: Haar wavelets", .required = true),
    REAL("threshold", "K", purify.threshold,
         "what counts as noise. haar: wavelet details of at most K standard deviations of the noise in their row and "
         "scale; fft: frequencies with less than K times the mean noise power of their row; default 1 for haar, 3 for "
         "fft",
         .range = {ORGAN_PURIFY_THRESHOLDS}, .unset = -1),
    REAL("strength", "S", purify.strength, "share of the amplitude of noise to remove",
         .range = {ORGAN_PURIFY_STRENGTHS}, .fallback = "0.1"),
    TYPES("type", purify.types, "purify all tensors of these kinds instead of the projections; skeleton is attention, "
                                "organ is feed-forward and experts"),
    TEXT("layers", "RANGE,...", purify.layers, "purify only these layers, for example 5-20 or 0-3,8"),
    WRITING(purify, "OUT", "print what would be purified")};

RUN_WRITING(purify, organ_purify, purify)

const organ_verb organ_purify_verb = {
    .name = "purify",
    .shares = true,
    .summary = "reduce what a filter classifies as noise in the weights",
    .about = "Filters the rows of a model's projections (q, k, v, o, gate, up, down, with their fused and expert "
             "forms). Components that the filter classifies as noise are multiplied by 1 - strength. With fft these "
             "are the frequencies of a row that have low power. With haar these are the wavelet details that are "
             "small, or whose parent at the next coarser scale is small. Types and shapes do not change. Tensors of "
             "types that organ cannot write are copied; if --type selects one, the run fails.\n"
             "Such a filter classifies most of what a model has learned as noise. The report states the share of "
             "energy removed and warns above 5 %. A higher theta is no evidence of a better model.\n"
             "OUT has the form of the model: a directory with the same files, or a single file. OUT/organ contains "
             "PURIFY_REPORT.md and .html, and purify.json with all numbers; if OUT is a file, they are next to it. OUT "
             "appears under its name only when it is complete; --resume continues an interrupted run.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, purify.model, "the model to purify, also an organ directory; it is not changed")),
    GROUPS(GROUP("Options", purify_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ purify model.gguf -o purified.gguf --method haar",
              "Removes a tenth of what the wavelet filter classifies as noise."},
             {"organ purify MODEL -o OUT --method fft --type organ --layers 5-20",
              "Filters the feed-forward tensors of sixteen layers by their spectra."},
             {"organ purify MODEL -o OUT --method haar --resume", "Continues an interrupted run."},
             {"organ purify organs -o purified --method haar --dry-run",
              "Prints what would be purified in an organ directory."}),
    .exits = "0 done; 2 wrong usage, OUT exists, or --type names a tensor whose type cannot be written; 3 the "
             "model is malformed, has values that are not finite, or changed during the run; 4 a read or write fails, "
             "or the disk is full; 130 interrupted (--resume continues)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_purify};
