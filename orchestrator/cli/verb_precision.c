/* SPDX-License-Identifier: MIT
 * The verbs that change what weights are stored in. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/precision_report.h"

/* clang-format off: tables are laid out by hand */

#define SHARD_OPTION(of)                                                                                                                   \
    {.name = "max-shard-size", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {1, 16384.0 * 1073741824.0, false, false},         \
     .fallback = "5G", .offset = AT(of.most), .help = "begin a new file where the next tensor would make one longer than this"}

/* ---- dequantize ---- */

static const organ_operand dequantize_operands[] = {
    {"MODEL", "the model to dequantise; it is only read, never changed", AT(dequantize.model), false, ORGAN_NAMES_MODEL}};
static const organ_option dequantize_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(dequantize.output),
     .help = "the directory to make; X.safetensors: one file and no config; of a GGUF model: X.gguf", .names = ORGAN_NAMES_OUTPUT},
    {.name = "dtype", .value = ORGAN_VALUE_TEXT, .argument = "bf16|f16|f32", .choices = "bf16|f16|f32", .fallback = "bf16",
     .offset = AT(dequantize.dtype), .help = "the type of what was packed; tensors that are plain keep theirs"},
    SHARD_OPTION(dequantize),
    RESUME(dequantize.resume),
    FORCE(dequantize.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(dequantize.dry_run),
     .help = "write nothing, only say what would be dequantised"}};
static const organ_option_group dequantize_groups[] = {{"Options", dequantize_options, COUNT(dequantize_options)},
                                                       {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                       {"Machine", ORGAN_MACHINE_OPTIONS},
                                                       {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example dequantize_examples[] = {
    {"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16", "FP8 in blocks of 128 x 128 as BF16, on any CPU."},
    {"organ dequantize Qwen2.5-7B-Instruct-AWQ -o OUT --dtype f16", "INT4 as F16; what would overflow is counted."},
    {"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16 --resume", "Goes on where a killed run stopped."},
    {"organ dequantize model-Q4_K_M.gguf -o model-BF16.gguf", "A GGUF model of block types as one of BF16."}};

static organ_status dequantize(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                               organ_error *error)
{
    organ_dequantize_options options = call->dequantize;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_dequantize_model(&options, engine, progress, report, error);
}

static organ_status run_dequantize(void *call, organ_error *error)
{
    return organ_run_work(call, dequantize, organ_dequantize_report_terminal, error);
}

const organ_verb organ_dequantize_verb = {
    .name = "dequantize",
    .summary = "turn FP8, INT4, MXFP4, ... weights into plain BF16, F16 or F32",
    .about = "Writes a model without quantisation. Which tensors are packed, and how, is told by quantization_config (of MLX: "
             "quantization), names, types and shapes; models that mix schemes are no exception. Each packed weight becomes one tensor "
             "under its plain name; its scales and other companions are gone from shards, index and config.json. What is plain already "
             "(norms, embeddings, a router in F32) keeps its type and its bytes, whatever --dtype says: torch_dtype becomes --dtype, and "
             "whoever loads the model in one type casts those few tensors. All other files come along.\n"
             "A model that has no packed tensor is written anew in shards of --max-shard-size, and a note says so.\n"
             "OUT/organ/DEQUANTIZE_REPORT.md (and .html) and dequantize.json tell of every weight: its scheme, its shape, its bytes before "
             "and after, "
             "and how many of its values are infinite or NaN. A tensor that could not be converted is named there and on stderr. A run "
             "that is interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL as it is packed"),
    .operands = dequantize_operands, .operand_count = COUNT(dequantize_operands),
    .groups = dequantize_groups, .group_count = COUNT(dequantize_groups),
    .examples = dequantize_examples, .example_count = COUNT(dequantize_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the model is malformed, packed in a way that is not known, or changed meanwhile; "
             "4 the disk is full or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_dequantize};

/* ---- quantize ---- */

static const organ_operand quantize_operands[] = {
    {"MODEL", "the model to quantise; it is only read, never changed", AT(quantize.model), false, ORGAN_NAMES_MODEL}};
static const organ_option quantize_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(quantize.output),
     .help = "the directory to make; it appears when it is whole", .names = ORGAN_NAMES_OUTPUT},
    {.name = "scheme", .letter = 's', .value = ORGAN_VALUE_TEXT, .argument = "SCHEME", .required = true, .offset = AT(quantize.scheme),
     .choices = "fp8-block128|fp8-tensor|fp8-channel|int4-group128|int4-group64|int4-group32", .help = "what the projections become"},
    {.name = "targets", .value = ORGAN_VALUE_TEXT, .argument = "GLOB,...", .offset = AT(quantize.targets),
     .help = "quantise the matrices whose names match one of these instead of the projections"},
    SHARD_OPTION(quantize),
    RESUME(quantize.resume),
    FORCE(quantize.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(quantize.dry_run),
     .help = "write nothing, only say what would be quantised"}};
static const organ_option_group quantize_groups[] = {{"Options", quantize_options, COUNT(quantize_options)},
                                                     {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                     {"Machine", ORGAN_MACHINE_OPTIONS},
                                                     {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example quantize_examples[] = {
    {"organ quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme fp8-block128", "FP8 in blocks of 128 x 128, as DeepSeek-V3 has it."},
    {"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128", "INT4 in groups of 128, for compressed-tensors."},
    {"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128 --resume", "Goes on where a killed run stopped."},
    {"organ quantize MODEL -o OUT --scheme fp8-channel --targets '*.mlp.*'", "Only the feed-forward, a scale for every row."}};

static organ_status quantize(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                             organ_error *error)
{
    organ_quantize_options options = call->quantize;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_quantize_model(&options, engine, progress, report, error);
}

static organ_status run_quantize(void *call, organ_error *error)
{
    return organ_run_work(call, quantize, organ_quantize_report_terminal, error);
}

const organ_verb organ_quantize_verb = {
    .name = "quantize",
    .summary = "store the projections of a model in FP8 or INT4",
    .about = "Writes a model whose attention and feed-forward projections are FP8 or INT4 codes with scales, each code the nearest to its "
             "weight: no calibration, no data. Embeddings, output head, norms and router stay as they are. config.json gets the "
             "quantization_config that transformers and vLLM read: fp8-block128 as DeepSeek-V3 and Qwen3-FP8 have it "
             "(weight_scale_inv), the others as compressed-tensors does (float-quantized, with activations quantised per token when the "
             "model runs; pack-quantized, symmetric, with activations as they are).\n"
             "OUT/organ/QUANTIZE_REPORT.md (and .html) and quantize.json tell how much each tensor and each kind of projection has lost: "
             "the norm of "
             "the difference over the norm of the weights. A target that the scheme cannot hold stays as it is, is named in "
             "quantization_config as one to be left alone, and in the report with the reason. A run that is "
             "interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL") " Activations are not quantised in that.",
    .operands = quantize_operands, .operand_count = COUNT(quantize_operands),
    .groups = quantize_groups, .group_count = COUNT(quantize_groups),
    .examples = quantize_examples, .example_count = COUNT(quantize_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the model is malformed, quantised already, changed meanwhile, or has "
             "weights that are NaN or infinite; 4 the disk is full or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_quantize};
