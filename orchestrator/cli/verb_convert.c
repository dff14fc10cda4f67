/* SPDX-License-Identifier: MIT
 * convert: converts a model from safetensors to GGUF or from GGUF to safetensors. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/convert.h>

typedef struct convert_call {
    organ_call call;
    organ_convert_options convert;
} convert_call;
#define CALL convert_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option convert_options[] = {
    OUTPUT("OUT", convert.write.output, "the output: X.gguf, or a new directory for safetensors", .required = true),
    CHOICE("to", "gguf|safetensors", convert.to, "the format of the output", .required = true),
    TEXT("type", "TYPE", convert.type,
         "type of the matrices; same: the type of MODEL's first matrix, or BF16 if that is quantised; codes: copy "
         "codes and scales of MXFP4, INT8 and Q8_0 if both formats have them; other tensors as with same. To "
         "safetensors: same, codes, bf16, f16 or f32",
         .fallback = "same", .choices = ORGAN_CONVERT_TYPES),
    TEXT("pre", "NAME", convert.pre,
         "GGUF: the value of tokenizer.ggml.pre, llama.cpp's name for the rules that split a text; default: derived "
         "from tokenizer.json. With NAME, a text that gets other token ids in the GGUF file is a note, not an error"),
    SATURATE(convert), SHARD_SIZE(convert),
    WRITING(convert, "OUT", "print what would be converted")};

RUN_WRITING(convert, organ_convert, convert)

const organ_verb organ_convert_verb = {
    .name = "convert",
    .shares = true,
    .summary = "convert a model between safetensors and GGUF",
    .about = "Converts a safetensors model to GGUF for llama.cpp, or a GGUF model to safetensors for transformers. "
             "Tensors get the names and the order of rows of the new format. Configuration, tokenizer and chat "
             "template are converted too.\n"
             "To GGUF: OUT is one file. Norms, biases, routers and other small tensors are F32; matrices get --type. "
             "If their rows are not whole blocks of 256, q4_k, q5_k and q6_k become q5_0, q5_1 and q8_0; if they are "
             "not whole blocks of 32, every block type becomes F16. The output head gets q6_k if --type is another "
             "block type than q8_0. In BF16, F16, F32 and Q8_0 the tensors have the bytes of llama.cpp's converter. "
             "docs/verbs/convert.md lists keys whose values differ from llama.cpp's.\n"
             "To safetensors: OUT is a directory with config.json, tokenizer files and shards. Matrices and vectors "
             "get --type.\n"
             "Quantised tensors of MODEL are dequantised first, except with --type codes. Tensors of vision and audio "
             "towers and of layers for multi-token prediction (MTP) are left out, and a note gives their number. If a "
             "tensor, the architecture or the tokenizer cannot be converted, the error names it and nothing is "
             "written. If organ has no rules for an architecture, but all tensors have usual names of transformers, it "
             "converts only the names. Only organ can read such a GGUF file.\n"
             "OUT appears under its name only when it is complete; --resume continues an interrupted run.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, convert.model, "the model to convert; it is not changed")),
    GROUPS(GROUP("Options", convert_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ convert Qwen3-4B -o Qwen3-4B.gguf --to gguf",
              "Writes a file for llama.cpp; matrices keep their type."},
             {"organ convert Qwen3-4B -o Qwen3-4B-Q4_K.gguf --to gguf --type q4_k",
              "Writes a GGUF file with matrices of 4.5 bits per weight."},
             {"organ convert model-Q8_0.gguf -o DIR --to safetensors", "A model for transformers, in BF16."}),
    .exits = "0 done; 2 wrong usage, OUT exists, or --memory is too small; 3 the model is malformed or changed "
             "during the run, or its architecture, a tensor or its tokenizer cannot be converted; 4 a read or write "
             "fails, or the disk is full; 130 interrupted (--resume continues)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_convert};
