/* SPDX-License-Identifier: MIT
 * dequantize and quantize: change the storage format of weights. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/choices.h>
#include <organ/convert.h>
#include <organ/quantize.h>

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
           "new directory of the output; X.safetensors: one file without config.json; of a GGUF model: X.gguf",
           .required = true),
    DTYPE(dequantize.dtype,
           "type of the dequantised tensors; tensors that are not packed keep their type", .fallback = "bf16",
           .common = true),
    SATURATE(dequantize), SHARD_SIZE(dequantize),
    WRITING(dequantize, "print what would be dequantised" AND_PLAN)};

RUN_WRITING(dequantize, organ_dequantize, dequantize)

const organ_verb organ_dequantize_verb = {
    .name = "dequantize",
    .common = true,
    .shares = true,
    .summary = "convert FP8, INT4, MXFP4, ... weights to BF16, F16 or F32",
    .about = "Writes a model without quantisation. organ detects packed tensors and their schemes from "
             "quantization_config (of MLX: quantization) and from names, types and shapes; one model may mix "
             "schemes. Each packed weight becomes one tensor under its plain name; tensors that are not packed keep "
             "their type and bytes. config.json loses quantization_config and gets --dtype as torch_dtype.\n"
             "A model without packed tensors is rewritten in shards of --max-shard-size, and a note says so. If a "
             "tensor cannot be converted, the report and stderr name it.",
    OPERANDS(OPERAND("MODEL", MODEL, dequantize.model, "the model to dequantise; it is not changed")),
    GROUPS(GROUP("Options", dequantize_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16",
              "Converts FP8 in blocks of 128 x 128 to BF16, on any CPU."},
             {"organ dequantize Qwen2.5-7B-Instruct-AWQ -o OUT --dtype f16",
              "Converts INT4 to F16; the report counts values that overflow."},
             {"organ dequantize DeepSeek-V3 -o DeepSeek-V3-BF16 --resume", "Continues an interrupted run."},
             {"organ dequantize model-Q4_K_M.gguf -o model-BF16.gguf",
              "Converts a GGUF model of block types to BF16."}),
    .run = run_dequantize};

/* ---- quantize ---- */

static const organ_option quantize_options[] = {
    OUTPUT("OUT", quantize.write.output, "new directory of the output; of a GGUF model: X.gguf",
                                   .required = true),
    TEXT("scheme", "SCHEME", quantize.scheme, "format of the quantised matrices",
         .letter = 's', .required = true, .explain = organ_explain_scheme, .accepts = organ_scheme_is_named,
         .choices = ORGAN_QUANTIZE_SCHEMES "|" ORGAN_QUANTIZE_RECIPES, .common = true),
    TEXT("format", "NAME", quantize.format,
         "mlx: a model for mlx-lm, with the schemes int2 to int8 in groups, mxfp4, mxfp8 and nvfp4", .choices = "mlx"),
    READERS(quantize.readers, "refuse, before any work, what one of these programs does not open"),
    TEXT("method", "NAME", quantize.method,
         "nearest: round each weight to the nearest code; gptq: choose codes that reduce the error of the outputs on "
         "--calibration. Default: nearest; with --scheme mixed of a GGUF model: gptq if there is a --calibration",
         .choices = &ORGAN_CHOICE_TEXTS(ORGAN_QUANTIZE_METHODS)[1], .common = true),
    INPUT("imatrix", "FILE", quantize.gguf.imatrix,
          "importance matrix of llama.cpp: weights the error of each column by the mean square of its input"),
    SELECT(quantize.targets, "quantise these matrices instead of the projections", .former = "targets"),
    TEXT("type-of", "GLOB=TYPE,...", quantize.gguf.type_of,
         "type of the matrices whose names match GLOB (or another word of --select); the first match applies. "
         "TYPE is a scheme for GGUF, f16, bf16, f32, or keep for no change"),
    TEXT("mtp-scheme", "SCHEME", quantize.mtp_scheme,
         "scheme of the block for multi-token prediction (MTP), with --select of the matrices selected in it: keep: "
         "unquantised; same: that of --scheme; or another one of the same format. Default: keep; GGUF or with "
         "--select: same"),
    SHARD_SIZE(quantize),
    WRITING(quantize, "print what would be quantised" AND_PLAN)};

static const organ_option gptq_options[] = {
    INPUT("calibration", "FILE", quantize.calibration.text,
          "calibration text; do not use a text on which the model is evaluated", .common = true),
    WINDOWS_CALIBRATION(quantize), MOMENTS(quantize.gptq.moments), ALL_EXPERTS(quantize.gptq),
    NUMBER("repair-rank", "R", quantize.gptq.repair_rank,
           "also write an adapter of rank R to OUT-adapter that gives back most of the outputs which the codes lose; "
           "codes and adapter are chosen together, and the model needs it", .range = {RANKS}),
    FLAG("activations", quantize.activations.like_weights,
         "let servers quantise activations like weights (W4A4); for nvfp4 the scale of each matrix's inputs is "
         "measured on --calibration, with either method"),
    CHOICE("activation-type", "int8|fp8", quantize.activations.type,
           "let servers quantise activations to this type: int8 with int8-channel and groups (W4A8), fp8 with the FP8 "
           "schemes and int4-group128 (W4AFP8)"),
    CHOICE("activation-scale", "dynamic|static", quantize.activations.scale,
           "scales of activations: dynamic: computed at run time, the default; static, for int8-channel, fp8-channel "
           "and fp8-tensor (with experts only fp8-tensor): one for each matrix, measured on --calibration, with either "
           "method"),
    CHOICE("activation-observer", "extremes|mse", quantize.activations.observer,
           "static scales follow from the greatest magnitude (the default) or have the least squared error"),
    REAL("smooth", "ALPHA", quantize.smooth.alpha,
         "first scale channels so that activations have fewer outliers, without a change of the model's function; "
         "auto: with the least predicted error on --calibration; 1 levels the activations, less also the weights",
         .range = {ORGAN_QUANTIZE_SMOOTHS}, .automatic = true, .automatic_as = ORGAN_SMOOTH_AUTO),
    CHOICE("smooth-scales", "exact|any", quantize.smooth.factors,
           "factors of --smooth: exact: powers of two with which no value is rounded, the default; any"),
    CHOICE("kv-cache", "tensor|head", quantize.kv_cache,
           "also write scales of a KV cache in FP8, from keys and values on --calibration: one for each layer, or for "
           "each head of keys"),
    FLAG("no-refit", quantize.gptq.no_refit, "keep the scales and codes of GPTQ; do not refit them",
         .former = "no-resolve", .both = true)};

static const organ_option width_options[] = {
    ALLOCATION_OF(quantize.allocate,
                  "3.5bpw (bits per weight of the targets, with scales) or 9GB (bytes of all tensors)"),
    TEXT("target-size", "SIZES", quantize.gguf.target_size,
         "of a GGUF model: bytes of the file (12GB); several sizes (8GB,12GB) make OUT-8GB.gguf "
         "and OUT-12GB.gguf", .common = true),
    TEXT("types", "LIST", quantize.gguf.types,
         "of a GGUF model: types that tensors may get, separated by commas; default: all"),
    ALLOCATION_ROUNDS(quantize.allocate), ALLOCATION_TOKENS(quantize.allocate),
    FLAG("one-width", quantize.one_width,
         "one width for q, k and v of a layer, and one for gate and up, as vLLM requires")};

RUN_WRITING(quantize, organ_quantize, quantize)

const organ_verb organ_quantize_verb = {
    .name = "quantize",
    .common = true,
    .shares = true,
    .summary = "store weights in FP8, in 2 to 8 bits or in GGUF blocks",
    .about = "Stores the attention and feed-forward projections of a model as FP8 or as codes of 2, 3, 4 or 8 bits "
             "with scales. By default organ rounds each weight to the nearest code, without a calibration text. In a "
             "safetensors model all other tensors are copied unchanged, and config.json gets the quantization_config "
             "that transformers and vLLM read.\n"
             "Schemes. fp8-block128 is the format of DeepSeek-V3 and Qwen3-FP8; all other schemes for safetensors "
             "are formats of compressed-tensors. With the FP8 schemes and int8-channel, servers also quantise the "
             "activations, with the others only if --activation-type or --activations is given. In int4-group128 and "
             "similar schemes, 128 consecutive weights of a row share a scale; a tensor whose rows 128 does not divide "
             "gets groups of 64 or 32, or is copied unchanged, and the report names it. "
             "nvfp4 and mxfp4 are FP4 codes with a scale for 16 or 32 weights, mxfp8 FP8 codes with one for 32. "
             "All routed experts of a model get one group size, the largest of 128, 64 and 32 that divides "
             "the rows of each; if there is none, quantize writes nothing and exits with 3.\n"
             "GGUF. A GGUF model, in one file or several, can have the schemes that begin with q or iq, the block "
             "types of llama.cpp; the output is one file. Tensors that are quantised already are dequantised first, "
             "with a warning. --imatrix must have an entry for every target but embeddings and head. Token "
             "embeddings get the scheme, the output head (and embeddings that also serve as the head) q8_0 if that "
             "is the scheme, else q6_k. Rows that are not whole blocks of 256 fall back as in llama-quantize: q2_k "
             "and q3_k become q4_0, q4_k q5_0, q5_k q5_1, q6_k q8_0, and IQ types iq4_nl. Rows that are not whole "
             "blocks of 32 stay unquantised (with a recipe, they become f16), as do norms and biases.\n"
             "Recipes. recipe:q4_k_m gives every tensor the type that llama-quantize gives it in a file called "
             "Q4_K_M, with or without --imatrix, and so do the others; Q4_K_M means the same, "
             "Q4_K the scheme q4_k. Names can have any case. --type-of '*ffn_down*=q6_k,*attn_k*=keep' gives single "
             "matrices other types, with a recipe or a scheme.\n"
             "--method gptq runs the calibration text through the model, one layer at a time, and chooses the codes "
             "of each matrix column by column, so that later columns compensate the errors of earlier ones. organ "
             "then refits the scales. In a GGUF model, embeddings and output head are quantised without the text.\n"
             "--smooth auto first writes a smoothed copy of a safetensors model, which is removed at the end: norms, "
             "rows of up and of v are divided by a factor for each channel, and the columns of all their readers are "
             "multiplied by it (routers and all experts too), so that rounded weights and activations lose least on "
             "--calibration; with --smooth ALPHA by SmoothQuant's rule instead. By default the "
             "factors are powers of two with which no value is rounded: the function has the same bits. --scheme none "
             "writes the smoothed model as the output.\n"
             "--scheme mixed chooses a width for each target: 2, 3, 4 or 8 bits in groups, or unquantised, with the "
             "smallest predicted loss within --budget: bits per weight of the targets with their scales (3.5bpw), or "
             "bytes of all tensors (9GB). It needs --allocate global, --method gptq and --calibration. All routed "
             "experts get one width. vLLM loads a model only if q, k and v of a layer have one width, and gate and "
             "up too: use --one-width. A dry run measures no costs: without saved ones its widths are provisional.\n"
             "In a GGUF model, --scheme mixed with --target-size 12GB chooses the type of each tensor, embeddings and "
             "head included, so that the file has at most that size and the predicted KL divergence is least; --budget "
             "instead limits the bits per weight (3.5bpw) or the bytes of all tensors. --calibration is the text on "
             "which organ measures what each type costs. The costs are kept in --allocation FILE, by default "
             "OUT.allocation.json without the .gguf of OUT; later runs need no text. A dry run with costs prints the "
             "types, one without prints how long the measurement takes. OUT.sizes.json records how each of several "
             "sizes was made; --resume makes those that it lacks.\n"
             "--evaluate rounds the activations of the output as its servers do, and shows the loss of the weights "
             "alone too.",
    OPERANDS(OPERAND("MODEL", MODEL, quantize.model, "the model to quantise; it is not changed")),
    NEEDS(NEED(quantize, quantize)),
    GROUPS(GROUP("Options", quantize_options), GROUP("Calibration (gptq, activations, smooth)", gptq_options),
           GROUP("Widths or types by budget (--scheme mixed)", width_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128",
              "INT4 in groups of 128, in the format of compressed-tensors."},
             {"organ quantize F16.gguf -o Q4_K.gguf -s q4_k --imatrix imatrix.gguf",
              "A GGUF model for llama.cpp, with scales weighted by an importance matrix."},
             {"organ quantize Qwen3-8B -o Qwen3-8B-FP8 --scheme fp8-block128",
              "FP8 in blocks of 128 x 128, the format of DeepSeek-V3."},
             {"organ quantize MODEL -o OUT -s int4-group64 --method gptq --calibration TEXT",
              "INT4 by GPTQ on a calibration text."},
             {"organ quantize F16.gguf -o O.gguf -s mixed --target-size 5GB --calibration T",
              "A GGUF file of 5 GB, with the types of least predicted loss."},
             {"organ quantize Llama-3.1-8B -o OUT --scheme int4-group128 --resume", "Continues an interrupted run."},
             {"organ quantize F16.gguf -o Q4_K.gguf -s q4_k --method gptq --calibration TEXT",
              "A GGUF model by GPTQ, for llama.cpp."},
             {"organ quantize MODEL -o OUT --scheme fp8-channel --select feed-forward",
              "Quantises only the feed-forward, with one scale per row."}),
    .exits = {.content = "the model is already quantised, a weight is NaN or infinite, or no group of the scheme "
                         "divides the width of the experts"},
    .run = run_quantize};

/* ---- convert: converts a model from safetensors to GGUF or from GGUF to safetensors ---- */

CALL_WITH(convert, organ_convert_options);
#undef CALL
#define CALL convert_call

static const organ_option convert_options[] = {
    OUTPUT("OUT", convert.write.output, "the output: X.gguf, or a new directory for safetensors", .required = true),
    CHOICE("to", &ORGAN_CHOICE_TEXTS(ORGAN_CONVERT_OUTPUTS)[1], convert.to, "the format of the output",
           .required = true, .common = true),
    TEXT("dtype", "TYPE", convert.type,
         "type of the matrices; same: the type of MODEL's first matrix, or BF16 if that is quantised; codes: copy "
         "the codes and scales of matrices if both formats have them: MXFP4, NVFP4, and in groups of 32 INT8 (Q8_0), "
         "INT4 (Q4_0) and MLX's 4 bits (Q4_1); other tensors as with same. To safetensors: same, codes, bf16, f16 or "
         "f32",
         .fallback = "same", .choices = ORGAN_CONVERT_TYPES, .any_case = true, .former = "type", .common = true),
    TEXT("pre", "NAME", convert.pre,
         "GGUF: the value of tokenizer.ggml.pre, llama.cpp's name for the rules that split a text; default: derived "
         "from tokenizer.json. With NAME, a text that gets other token ids in the GGUF file is a note, not an error"),
    TEXT("mtp", "WHICH", convert.mtp,
         "blocks for multi-token prediction: keep; none: leave them out; only: write them alone, to GGUF with "
         "embedding, final norm and head, as a file mtp-NAME.gguf next to a model without them. Default: keep, but to "
         "GGUF only those that llama.cpp runs", .choices = ORGAN_CONVERT_BLOCKS),
    TEXT("mmproj", "WHICH|FILE", convert.mmproj,
         "vision and audio towers. To GGUF: keep: write them too, as mmproj-NAME.gguf next to OUT NAME.gguf; only: "
         "write them alone, as OUT; none: leave them out. Default: keep, but none with a note if organ has no rules. "
         "To safetensors: FILE is the mmproj whose towers become part of OUT; it needs --config",
         .choices = ORGAN_CONVERT_TOWERS, .open = true, .names = ORGAN_NAMES_INPUT),
    TEXT("mmproj-dtype", "TYPE", convert.mmproj_type,
         "GGUF: type of the towers' matrices; default: f16. Convolutions of patches, tables of positions and vectors "
         "have the types that llama.cpp needs", .choices = ORGAN_CONVERT_TOWER_TYPES, .any_case = true),
    INPUT("config", "FILE", convert.config,
          "to safetensors with --mmproj FILE: the config.json of the model from which both GGUF files were made"),
    TEXT("format", "NAME", convert.format,
         "to safetensors, of a quantised safetensors model: turn AWQ, GPTQ or compressed-tensors into this format with "
         "the same codes, scales and zero points", .choices = ORGAN_CONVERT_FORMATS),
    SATURATE(convert), SHARD_SIZE(convert),
    WRITING(convert, "print what would be converted" AND_PLAN)};

RUN_WRITING(convert, organ_convert, convert)

const organ_verb organ_convert_verb = {
    .name = "convert",
    .common = true,
    .shares = true,
    .summary = "convert a model between safetensors and GGUF",
    .about = "Converts a safetensors model to GGUF for llama.cpp, or a GGUF model to safetensors for transformers, "
             "with configuration, tokenizer and chat template; with --format, a model of AWQ, GPTQ or "
             "compressed-tensors to another of these formats.\n"
             "To GGUF: OUT is one file. Norms, biases, routers and other small tensors are F32; matrices get "
             "--dtype. If their rows are not whole blocks of 256, q4_k, q5_k and q6_k become q5_0, q5_1 and q8_0; if "
             "they are not whole blocks of 32, every block type becomes F16. The output head gets q6_k if --dtype is "
             "another block type than q8_0. In BF16, F16, F32 and Q8_0 the tensors have the bytes of llama.cpp's "
             "converter.\n"
             "To safetensors: OUT is a directory with config.json, tokenizer files and shards.\n"
             "With --format no value changes: codes, scales and zero points are those of MODEL, and all other tensors "
             "are copied. What the format lacks (AWQ: codes of other than 4 bits, groups of several sizes, an index "
             "of GPTQ's act-order) is an error that names the tensor.\n"
             "Towers: to GGUF, the vision and audio towers of families that organ knows become a second file, "
             "mmproj-NAME.gguf, which llama.cpp loads next to the text model. A tensor of a tower without a rule, and "
             "a setting that llama.cpp does not compute, is an error. With --mmproj FILE --config FILE, a text model "
             "and its mmproj become one safetensors model again.\n"
             "Quantised tensors of MODEL are dequantised first, except with --dtype codes. Towers of other families "
             "are left out, and a note gives the number of tensors. If a tensor, the architecture or the "
             "tokenizer cannot be converted, the error names it and nothing is written. If organ has no rules for an "
             "architecture, but all tensors have usual names of transformers, it converts only the names; only organ "
             "can read such a GGUF file.",
    OPERANDS(OPERAND("MODEL", MODEL, convert.model, "the model to convert; it is not changed")),
    NEEDS(NEED(convert, convert)),
    GROUPS(GROUP("Options", convert_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ convert Qwen3-4B -o Qwen3-4B.gguf --to gguf",
              "Writes a file for llama.cpp; matrices keep their type."},
             {"organ convert Qwen3-4B -o Qwen3-4B-Q4_K.gguf --to gguf --dtype q4_k",
              "Writes a GGUF file with matrices of 4.5 bits per weight."},
             {"organ convert Qwen3-VL-4B -o VL.gguf --to gguf", "Writes VL.gguf and mmproj-VL.gguf."},
             {"organ convert model-Q8_0.gguf -o DIR --to safetensors", "A model for transformers, in BF16."},
             {"organ convert Qwen3-8B-AWQ -o DIR --to safetensors --format gptq", "AWQ to GPTQ, with equal codes."}),
    .exits = {.content = "the architecture, a tensor or the tokenizer cannot be converted"},
    .run = run_convert};
