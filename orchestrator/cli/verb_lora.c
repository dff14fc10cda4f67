/* SPDX-License-Identifier: MIT
 * The verbs that take a LoRA adapter. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/adapter_report.h"

/* clang-format off: tables are laid out by hand */

/* ---- lora sanitize ---- */

static const organ_operand sanitize_operands[] = {
    {"ADAPTER", "the adapter, as peft saves it: a directory; it is only read, never changed", AT(lora_sanitize.adapter), false,
     ORGAN_NAMES_INPUT}};
static const organ_option sanitize_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .offset = AT(lora_sanitize.output),
     .help = "the adapter to make, a directory; not with --check", .names = ORGAN_NAMES_OUTPUT},
    {.name = "check", .value = ORGAN_VALUE_FLAG, .offset = AT(lora_sanitize.check),
     .help = "write nothing, list everything that a server would refuse"},
    {.name = "base", .value = ORGAN_VALUE_TEXT, .argument = "MODEL", .offset = AT(lora_sanitize.base),
     .help = "see that MODEL has every module, in the shape that the factors have", .names = ORGAN_NAMES_MODEL},
    {.name = "max-rank", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 65536, false, false},
     .offset = AT(lora_sanitize.max_rank),
     .help = "the rank that the server is set to: higher ones are cut to their best approximation, or with --check refused; a check takes "
             "512 if it is not given, the most that vLLM serves"},
    FORCE(lora_sanitize.force, "OUT")};
static const organ_option_group sanitize_groups[] = {{"Options", sanitize_options, COUNT(sanitize_options)},
                                                     {"Machine", ORGAN_MACHINE_OPTIONS},
                                                     {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                     {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example sanitize_examples[] = {
    {"organ lora sanitize my-lora --check", "Says what vLLM would refuse; the exit code is 1 if there is anything."},
    {"organ lora sanitize my-lora -o servable --base Qwen2.5-7B", "An adapter that can be served with that model."},
    {"organ lora sanitize my-lora -o servable --max-rank 64", "Modules of a higher rank are cut to 64."}};

static organ_status sanitize(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                             organ_error *error)
{
    return organ_lora_sanitize(&call->lora_sanitize, engine, progress, report, error);
}

static organ_status run_sanitize(void *call, organ_error *error)
{
    return organ_run_work(call, sanitize, organ_sanitize_report_terminal, error);
}

const organ_verb organ_lora_sanitize_verb = {
    .name = "lora sanitize",
    .summary = "make a LoRA adapter fit to be served, or check that it is",
    .about = "Writes an adapter that vLLM accepts and peft loads. Left out are tensors that are no factors and keys that contain lm_head, "
             "embed_tokens, norm, bias, layernorm or rotary_emb: each is named with the size of what is lost. target_modules loses what "
             "has no key any more, modules_to_save becomes null.\n"
             "A server knows one rank and one scale: the scale of each module (rsLoRA, alpha_pattern, rank_pattern) is folded into its B, "
             "lower ranks are filled up with zeros, and lora_alpha is r. What the adapter does to the modules that stay is the same, but "
             "for rounding B to its type, which the report measures.\n"
             "DoRA cannot be folded without the base and is refused. Other files of the adapter come along; OUT/organ has the report.",
    .operands = sanitize_operands, .operand_count = COUNT(sanitize_operands), .groups = sanitize_groups,
    .group_count = COUNT(sanitize_groups), .examples = sanitize_examples, .example_count = COUNT(sanitize_examples),
    .exits = "0 done, or nothing was found; 1 --check found something that a server would refuse; 2 wrong usage, or OUT exists; 3 the "
             "adapter is malformed, has values that are not finite, is DoRA, or does not fit the base; 4 the disk is full or refuses; "
             "130 interrupted, and nothing is left.",
    .run = run_sanitize};

/* ---- lora merge ---- */

static const organ_option merge_options[] = {
    {.name = "base", .value = ORGAN_VALUE_TEXT, .argument = "MODEL", .required = true, .offset = AT(lora_merge.base),
     .help = "the model that the adapter was trained on, plain or packed; it is only read", .names = ORGAN_NAMES_MODEL},
    {.name = "adapter", .value = ORGAN_VALUE_TEXT, .argument = "DIR", .required = true, .offset = AT(lora_merge.adapter),
     .help = "the adapter, as peft saves it", .names = ORGAN_NAMES_INPUT},
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(lora_merge.output),
     .help = "the directory to make, with all files of MODEL; X.safetensors: one file and no config", .names = ORGAN_NAMES_OUTPUT},
    {.name = "scale", .value = ORGAN_VALUE_REAL, .argument = "S", .range = {-1e6, 1e6, false, false}, .fallback = "1",
     .offset = AT(lora_merge.scale), .help = "multiply the whole change by S, besides the adapter's own scale; -1 takes it out again"},
    {.name = "dtype", .value = ORGAN_VALUE_TEXT, .argument = "bf16|f16|f32", .choices = "bf16|f16|f32", .offset = AT(lora_merge.dtype),
     .help = "the type of merged weights and of what was packed; if not given, merged weights keep theirs and packed ones become bf16"},
    {.name = "max-shard-size", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {1, 16384.0 * 1073741824.0, false, false},
     .fallback = "5G", .offset = AT(lora_merge.most), .help = "begin a new file where the next tensor would make one longer than this"},
    RESUME(lora_merge.resume),
    FORCE(lora_merge.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(lora_merge.dry_run),
     .help = "write nothing, only find a place for every key and say what would be merged"}};
static const organ_option_group merge_groups[] = {{"Options", merge_options, COUNT(merge_options)},
                                                  {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example merge_examples[] = {
    {"organ lora merge --base Qwen2.5-7B --adapter my-lora -o merged", "A model that needs no adapter any more."},
    {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged", "The base is dequantised from FP8 on the way."},
    {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged --resume", "Goes on where a killed run stopped."},
    {"organ lora merge --base merged --adapter my-lora -o OUT --scale -1", "Takes the change out again, but for what was rounded away."}};

static organ_status merge(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    organ_lora_merge_options options = call->lora_merge;
    if (organ_call_evaluation(call, &options.evaluate, error) != ORGAN_OK)
        return error->status;
    return organ_lora_merge(&options, engine, progress, report, error);
}

static organ_status run_merge(void *call, organ_error *error) { return organ_run_work(call, merge, organ_merge_report_terminal, error); }

const organ_verb organ_lora_merge_verb = {
    .name = "lora merge",
    .summary = "put a LoRA adapter into its base",
    .about = "Writes a model in which every weight that the adapter changes is W + scale B A: computed in FP32, strip by strip, and "
             "rounded once to the type that is written. The scale of each module is what peft makes of lora_alpha, r, use_rslora, "
             "rank_pattern and alpha_pattern; pairs of embeddings are merged too, and tensors that the adapter brings whole "
             "(modules_to_save, trained biases) replace the base's. If the base is packed (FP8, INT4, ...), it is dequantised on the way "
             "and the output is plain. With DoRA each row of W + scale B A is brought to the norm that the adapter has for it.\n"
             "Every key of the adapter must find its place in the base: else all that do not are listed, and nothing is written.\n"
             "For each module the report says how much of the change arrived: a change that is finer than the type can hold is rounded "
             "away silently, and below one half that is a warning. OUT/organ/LORA_MERGE_REPORT.md (and .html) and "
             "lora_merge.json have all of it. A run that is interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("the base without the adapter"),
    .groups = merge_groups, .group_count = COUNT(merge_groups), .examples = merge_examples, .example_count = COUNT(merge_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 a file is malformed or changed meanwhile, a key finds no place, or a factor is "
             "not finite; 4 the disk is full or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_merge};

/* ---- lora resize ---- */

static const organ_operand resize_operands[] = {
    {"ADAPTER", "the adapter, as peft saves it: a directory; it is only read, never changed", AT(lora_resize.adapter), false,
     ORGAN_NAMES_INPUT}};
static const organ_option resize_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(lora_resize.output),
     .help = "the adapter to make, a directory", .names = ORGAN_NAMES_OUTPUT},
    {.name = "rank", .value = ORGAN_VALUE_COUNT, .argument = "R", .range = {1, 65536, false, false}, .required = true,
     .offset = AT(lora_resize.rank), .help = "no module has a higher rank"},
    {.name = "energy", .value = ORGAN_VALUE_REAL, .argument = "E", .range = {0, 1, true, false}, .offset = AT(lora_resize.energy),
     .help = "give each module the lowest rank that keeps this share of the squared norm of its change, for example 0.95"},
    FORCE(lora_resize.force, "OUT")};
static const organ_option_group resize_groups[] = {{"Options", resize_options, COUNT(resize_options)},
                                                   {"Machine", ORGAN_MACHINE_OPTIONS},
                                                   {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example resize_examples[] = {
    {"organ lora resize my-lora --rank 16 -o small", "The best adapter of rank 16 that my-lora has in it."},
    {"organ lora resize my-lora --rank 64 --energy 0.99 -o small", "As little rank as 99 % of each module's change take, 64 at most."}};

static organ_status resize(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                           organ_error *error)
{
    return organ_lora_resize(&call->lora_resize, engine, progress, report, error);
}

static organ_status run_resize(void *call, organ_error *error) { return organ_run_work(call, resize, organ_resize_report_terminal, error); }

const organ_verb organ_lora_resize_verb = {
    .name = "lora resize",
    .summary = "give a LoRA adapter a lower rank, by singular values",
    .about = "Writes the adapter whose products B A are the best approximations of a lower rank: singular values of scale B A, found from "
             "the factors without forming the product. The report says for each module how much of its change is explained by what is "
             "kept, and lists its singular values.\n"
             "A module whose rank is low enough keeps its factors. r is the highest rank that is left; lower ones are filled up with "
             "zeros, the scale is folded into B and lora_alpha is r. A rank above that of the adapter changes nothing else: there is "
             "nothing to put into it. Tensors that are no factors are copied as they are.",
    .operands = resize_operands, .operand_count = COUNT(resize_operands), .groups = resize_groups, .group_count = COUNT(resize_groups),
    .examples = resize_examples, .example_count = COUNT(resize_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the adapter is malformed or has values that are not finite; 4 the disk is full or "
             "refuses; 130 interrupted, and nothing is left.",
    .run = run_resize};
