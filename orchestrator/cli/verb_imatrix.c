/* SPDX-License-Identifier: MIT
 * imatrix: writes an importance matrix for llama.cpp's quantiser and for organ. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/evaluate.h>

typedef struct imatrix_call {
    organ_call call;
    organ_importance_options importance;
} imatrix_call;
#define CALL imatrix_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("calibration", "FILE", importance.text,
          "the UTF-8 text to run; it is not normalised or stripped", .common = true, .required = true),
    OUTPUT("FILE", importance.output, "the importance matrix, a new file", .required = true),
    CHOICE("format", "gguf|dat", importance.format,
           "format of the file; dat is the one of llama.cpp before 2025; default: dat if FILE ends in .dat, else gguf"),
    NUMBER("context", "N", importance.context,
           "tokens of a chunk; default 512, or the model's context if that is less", .letter = 'c',
           .range = {TEXT_CONTEXTS}, .common = true),
    NUMBER("chunks", "N", importance.chunks, "use only the first N chunks; default: all", .range = {1, 4294967295.0},
           .common = true),
    FLAG("process-output", importance.head,
         "also the inputs of the output head (output.weight; token_embd.weight if embeddings and head are one tensor), "
         "which llama-quantize otherwise quantises unweighted"),
    RESUME(importance.resume),
    FORCE(importance.force),
    DRY_RUN(importance.dry_run, "print the chunks, the least --memory and an estimate of the time"),
    COMPUTE(importance.compute, "arithmetic of the forward pass: exact, split or bf16 ('organ help perplexity')",
            .fallback = "exact")};

RUN_REMOTE(imatrix, organ_importance, importance)

const organ_verb organ_imatrix_verb = {
    .name = "imatrix",
    .shares = true,
    .summary = "write an importance matrix for quantisation to GGUF",
    .about = "Runs a text through a model and sums the squared inputs of every matrix: the importance matrix that "
             "llama-quantize, 'organ quantize' and 'organ prune' read with --imatrix. Chunks, names and sums are those "
             "of llama.cpp's llama-imatrix, also if MODEL is a directory of safetensors. organ runs the model one "
             "layer at a time within --memory, and the file has the same bytes for any number of threads and ranks "
             "and after --resume.\n"
             "An expert counts only the tokens that are routed to it. An expert that no token reached gets the mean of "
             "its layer, and the report lists it.",
    OPERANDS(OPERAND("MODEL", MODEL, importance.model,
                     "a model directory with its tokenizer, a .gguf file, or a .safetensors file or "
                     "model.safetensors.index.json next to its tokenizer")),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ imatrix Qwen3-4B --calibration calib.txt -o imatrix.gguf",
              "Writes an importance matrix for llama-quantize --imatrix."},
             {"organ imatrix BF16.gguf --calibration TEXT --chunks 100 -o imatrix.dat",
              "Uses 100 chunks of 512 tokens and writes the older format."}),
    .exits = {.content = "the text has fewer than two chunks"},
    .run = run_imatrix};
