/* SPDX-License-Identifier: MIT
 * purify: what a filter takes for noise, weakened. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/purify/purify.h"

typedef struct purify_call {
    organ_call call;
    organ_purify_options purify;
} purify_call;
#define CALL purify_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option purify_options[] = {
    OUTPUT("OUT", purify.write.output,
           "the directory to make, with the model's files and a report; X.gguf or X.safetensors: a single file, of a "
           "single file",
           .required = true),
    CHOICE("method", "fft|haar", purify.method,
           "tell noise by the spectrum of each row, or by wavelets at scale s and 2s", .required = true),
    REAL("threshold", "K", purify.threshold,
         "how many times the noise floor something must be to be none; if not given, 3 for fft, 1 for haar",
         .range = {ORGAN_PURIFY_THRESHOLDS}, .unset = -1),
    REAL("strength", "S", purify.strength, "which part of the noise is removed",
         .range = {ORGAN_PURIFY_STRENGTHS}, .fallback = "0.1"),
    TYPES("type", purify.types, "purify all tensors of these kinds instead of the projections"),
    TEXT("layers", "RANGE,...", purify.layers, "only in these layers, for example 5-20 or 0-3,8"),
    WRITING(purify, "OUT", "say what would be purified")};

RUN_WRITING(purify, organ_purify, purify)

const organ_verb organ_purify_verb = {
    .name = "purify",
    .shares = true,
    .summary = "weaken what a filter takes for noise in the weights",
    .about = "Makes a copy of a model in which what looks like noise in the rows of its projections (q, k, v, o, gate, "
             "up, down, with their fused and expert forms) is multiplied by 1 - strength: bins of a row's spectrum "
             "below a floor (fft), or wavelet details that do not go on at twice their scale (haar). Types and shapes "
             "stay as they are; tensors in types that cannot be written are left alone.\n"
             "What such a filter calls noise is most of what a model knows. The report says how much of the energy "
             "went, and warns above 5 %; a higher theta is no evidence of a better model.\n"
             "OUT becomes what the model is: a directory with the same files, or a single file. The report lies in "
             "OUT/organ, or beside the file: PURIFY_REPORT.md and .html to read, purify.json with all numbers. A run "
             "that is interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, purify.model,
                     "the model to purify, also an organ directory; it is only read, never changed")),
    GROUPS(GROUP("Options", purify_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ purify model.gguf -o purified.gguf --method haar",
              "Makes a tenth of what wavelets take for noise go away."},
             {"organ purify MODEL -o OUT --method fft --type organ --layers 5-20",
              "The feed-forward tensors of sixteen layers, by their spectra."},
             {"organ purify MODEL -o OUT --method haar --resume", "Goes on where a killed run stopped."},
             {"organ purify organs -o purified --method haar --dry-run",
              "Says what would be purified in an organ directory."}),
    .exits = "0 done; 2 wrong usage, or OUT exists, or --type names a tensor whose type cannot be written; 3 the model "
             "is malformed, has values that are not finite, or changed meanwhile; 4 the disk is full or refuses; 130 "
             "interrupted (to be resumed)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_purify};
