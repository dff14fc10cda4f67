/* SPDX-License-Identifier: MIT
 * dequantize and quantize: what weights are stored in. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/precision/precision.h"

#include <string.h>
#include <strings.h>

typedef struct precision_call {
    organ_call call;
    organ_dequantize_options dequantize;
    organ_quantize_options quantize;
} precision_call;
#define CALL precision_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- dequantize ---- */

static const organ_option dequantize_options[] = {
    OUTPUT("OUT", dequantize.write.output,
           "the directory to make; X.safetensors: one file and no config; of a GGUF model: X.gguf", .required = true),
    CHOICE("dtype", "bf16|f16|f32", dequantize.dtype,
           "the type of what was packed; tensors that are plain keep theirs", .fallback = "bf16"),
    SHARD_SIZE(dequantize),
    WRITING(dequantize, "OUT", "say what would be dequantised")};

RUN_WRITING(dequantize, organ_dequantize_model, dequantize)

const organ_verb organ_dequantize_verb = {
    .name = "dequantize",
    .shares = true,
    .summary = "turn FP8, INT4, MXFP4, ... weights into plain BF16, F16 or F32",
    .about = "Writes a model without quantisation. Which tensors are packed, and how, is told by quantization_config "
             "(of MLX: quantization), names, types and shapes; models that mix schemes are no exception. Each packed "
             "weight becomes one tensor under its plain name; its scales and other companions are gone from shards, "
             "index and config.json. What is plain already (norms, embeddings, a router in F32) keeps its type and its "
             "bytes, whatever --dtype says: torch_dtype becomes --dtype, and whoever loads the model in one type casts "
             "those few tensors. All other files come along.\n"
             "A model that has no packed tensor is written anew in shards of --max-shard-size, and a note says so.\n"
             "OUT/organ/DEQUANTIZE_REPORT.md (and .html) and dequantize.json tell of every weight: its scheme, its "
             "shape, its bytes before and after, and how many of its values are infinite or NaN. A tensor that could "
             "not be converted is named there and on stderr. A run that is interrupted leaves no half model; --resume "
             "goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL as it is packed"),
    OPERANDS(OPERAND("MODEL", MODEL, dequantize.model, "the model to dequantise; it is only read, never changed")),
    GROUPS(GROUP("Options", dequantize_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16", "FP8 in blocks of 128 x 128 as BF16, on any CPU."},
             {"organ dequantize Qwen2.5-7B-Instruct-AWQ -o OUT --dtype f16",
              "INT4 as F16; what would overflow is counted."},
             {"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16 --resume", "Goes on where a killed run stopped."},
             {"organ dequantize model-Q4_K_M.gguf -o model-BF16.gguf", "A GGUF model of block types as one of BF16."}),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the model is malformed, packed in a way that is not known, or "
             "changed meanwhile; 4 the disk is full or refuses; 130 interrupted (to be "
             "resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_dequantize};

/* ---- quantize ---- */

/* Names of llama.cpp's file types: mixes, and types that this program reads but does not write. */
static const char *explain_scheme(const char *typed)
{
    static const struct {
        const char *prefix, *text;
        bool whole; /* the name must be exactly the prefix */
    } names[] = {
        {"q4_k", "did you mean 'q4_k'? It makes Q4_K with an output head of Q6_K; llama.cpp's _S and _M mix types of "
                 "more tensors", false},
        {"q5_k", "did you mean 'q5_k'? It makes Q5_K with an output head of Q6_K; llama.cpp's _S and _M mix types of "
                 "more tensors", false},
        {"q6_k", "did you mean 'q6_k'?", false},
        {"q8_0", "did you mean 'q8_0'?", false},
        {"q4_0", "did you mean 'q4_0'?", false},
        {"q4_1", "did you mean 'q4_1'?", false},
        {"q5_0", "did you mean 'q5_0'?", false},
        {"q5_1", "did you mean 'q5_1'?", false},
        {"iq4", "organ writes no IQ types; q4_k has about as many bits", false},
        {"iq", "organ writes no IQ types; the smallest GGUF scheme is q4_0", false},
        {"q2_k", "organ writes no GGUF types of 2 bits; the smallest GGUF scheme is q4_0", false},
        {"q3_k", "organ writes no GGUF types of 3 bits; the smallest GGUF scheme is q4_0", false},
        {"tq", "organ writes no ternary types; the smallest GGUF scheme is q4_0", false},
        {"f16", "organ quantize makes codes; organ dequantize makes a model of BF16, F16 or F32", false},
        {"bf16", "organ quantize makes codes; organ dequantize makes a model of BF16, F16 or F32", false},
        {"fp8", "the FP8 schemes are fp8-block128, fp8-channel and fp8-tensor", true},
        {"int8", "the INT8 schemes are int8-channel, int8-group128, int8-group64 and int8-group32", true},
        {"int4", "the INT4 schemes are int4-group128, int4-group64 and int4-group32", true},
    };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strncasecmp(typed, names[k].prefix, strlen(names[k].prefix)) == 0 &&
            (!names[k].whole || strlen(typed) == strlen(names[k].prefix)))
            return names[k].text;
    return NULL;
}

static const organ_option quantize_options[] = {
    OUTPUT("OUT", quantize.write.output, "the directory to make; of a GGUF model: X.gguf; it appears when it is whole",
                                   .required = true),
    TEXT("scheme", "SCHEME", quantize.scheme,
         "what the projections become",
         .letter = 's', .required = true, .explain = explain_scheme,
         .choices = ORGAN_QUANTIZE_SCHEMES),
    TEXT("method", "NAME", quantize.method, "how codes are chosen: each the nearest to its weight, or by a text",
         .fallback = "nearest", .choices = "nearest|gptq"),
    INPUT("imatrix", "FILE", quantize.imatrix,
          "of a GGUF model: an importance matrix of llama.cpp, by which columns are weighed"),
    TEXT("targets", "GLOB,...", quantize.targets,
         "quantise the matrices whose names match one of these instead of the projections"),
    SHARD_SIZE(quantize),
    WRITING(quantize, "OUT", "say what would be quantised" AND_PLAN
                             "; scheme mixed measures the widths first, as the run does")};

static const organ_option gptq_options[] = {
    INPUT("calibration", "FILE", quantize.calibration.text, "the text to go by; not one that is scored afterwards"),
    WINDOWS_ALONG(quantize), ALL_EXPERTS(quantize),
    FLAG("no-resolve", quantize.no_resolve, "leave scales and codes as GPTQ has them")};

static const organ_option width_options[] = {
    ALLOCATION_OF(quantize.allocate, "3.5bpw, "
                                     "9GB"), ALLOCATION_ROUNDS(quantize.allocate), ALLOCATION_TOKENS(quantize.allocate),
    FLAG("one-width", quantize.one_width, "the same for q, k and v, and for gate and up, of a layer")};

RUN_WRITING(quantize, organ_quantize_model, quantize)

const organ_verb organ_quantize_verb = {
    .name = "quantize",
    .shares = true,
    .summary = "store the matrices of a model in FP8, 2 to 8 bits or GGUF blocks",
    .about = "Writes a model whose attention and feed-forward projections are codes of FP8 or of 2, 3, 4 or 8 bits "
             "with scales, each code the nearest to its weight: no calibration, no data. Embeddings, output head, "
             "norms and router stay as they are. config.json gets the quantization_config that transformers and vLLM "
             "read: fp8-block128 as DeepSeek-V3 and Qwen3-FP8 have it (weight_scale_inv), the others as "
             "compressed-tensors does (float-quantized and, of int8-channel, int-quantized, with activations quantised "
             "per token when the model runs; pack-quantized, symmetric, with activations as they are; codes of 3 bits "
             "lie dense).\n"
             "If a group does not divide the rows of a tensor, the tensor gets groups of 64 or 32 columns; the run and "
             "the report name it. All routed experts of a model get one scheme, since loaders hold them as one tensor: "
             "the widest group that divides all of their rows. If none does, quantize writes nothing and names the "
             "width (exit code 3).\n"
             "A GGUF model of F32, F16 or BF16, in one file or several, takes the schemes q4_0, q4_1, q5_0, q5_1, "
             "q8_0, q4_k, q5_k, q6_k and becomes one file that llama.cpp reads. Scales are searched for so that the "
             "squares of what is lost are least, with --imatrix each weighed by the mean square of the input that it "
             "meets. The embeddings of tokens get the scheme too, and the output head (the embeddings, where it is "
             "tied to them) q6_k, or q8_0 where that is the scheme; with --targets only what matches is quantised, all "
             "of it in the scheme. Rows that are no whole blocks of 256 become q5_0 instead of q4_k, q5_1 instead of "
             "q5_k, q8_0 instead of q6_k; those that are no whole blocks of 32 stay. Norms and biases stay. An imatrix "
             "must have an entry for every target but embeddings and head.\n"
             "--method gptq goes by a text (--calibration), layer by layer on the model as quantised so far: each code "
             "makes up for what those before it have lost on the inputs that the matrix gets, then the scales of each "
             "row are solved for and the codes improved one by one against the same inputs. Of a GGUF model the scales "
             "and minima are such as its blocks can store; embeddings and output head go by no text; an imatrix weighs "
             "the scales to begin with, else the text does. --memory must hold the hidden states of the calibration "
             "beside a layer; with --scratch they are in a file, which has no name and is gone when the run ends, "
             "however it ends.\n"
             "--scheme mixed with --allocate global gives each target the width that pays: each is quantised alone to "
             "2, 3, 4 and 8 bits, in groups of 32 and of 128 (64 where its columns are no whole groups of that), the "
             "divergence of the whole model from MODEL is measured on a part of the text that calibrates no curve, and "
             "--budget (bits a weight of the targets with their scales, or bytes of all tensors) is spent where it "
             "spares most; a target may stay as it is. All routed experts of the model get the same. Servers that hold "
             "q, k and v or gate and up as one matrix (vLLM) load a model only if these are alike: --one-width sees to "
             "it. --allocation keeps these measurements for the next budget, or for --resume; a dry run measures "
             "too and first prints how long that takes.\n"
             "OUT/organ/QUANTIZE_REPORT.md (and .html) and quantize.json tell how much each tensor and each kind of "
             "projection has lost: the norm of the difference over the norm of the weights, and by a text the same of "
             "the outputs. Any other target that the scheme cannot hold stays as it is, is named in "
             "quantization_config as one to be left alone, and in the report with the reason. A run that is "
             "interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL") " Activations are not quantised in that.",
    OPERANDS(OPERAND("MODEL", MODEL, quantize.model, "the model to quantise; it is only read, never changed")),
    GROUPS(GROUP("Options", quantize_options), GROUP("By a text", gptq_options),
           GROUP("One budget for the whole model", width_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme fp8-block128",
              "FP8 in blocks of 128 x 128, as DeepSeek-V3 has it."},
             {"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128",
              "INT4 in groups of 128, for compressed-tensors."},
             {"organ quantize MODEL -o OUT -s int4-group64 --method gptq --calibration TEXT",
              "The same by what its layers do on a text."},
             {"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128 --resume",
              "Goes on where a killed run stopped."},
             {"organ quantize F16.gguf -o Q4_K.gguf -s q4_k --imatrix imatrix.gguf", "GGUF, scales weighed by inputs."},
             {"organ quantize F16.gguf -o Q4_K.gguf -s q4_k --method gptq --calibration TEXT",
              "GGUF by a text, for llama.cpp."},
             {"organ quantize MODEL -o OUT --scheme fp8-channel --targets '*.mlp.*'",
              "Only the feed-forward, a scale for every row."}),
    .exits = "0 done; 2 wrong usage, OUT exists, the text is too short or --memory too little for it; 3 the model is "
             "malformed, quantised already, changed meanwhile, or has weights that are NaN or infinite, or no group of "
             "the scheme divides the width of its experts; 4 the disk is full or refuses; 130 interrupted (to be "
             "resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_quantize};
