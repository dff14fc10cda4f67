/* SPDX-License-Identifier: MIT
 * The verbs that take a LoRA adapter. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/adapter_report.h"

/* clang-format off: tables are laid out by hand */

/* ---- lora merge ---- */

static const organ_option merge_options[] = {
    {.name = "base", .value = ORGAN_VALUE_TEXT, .argument = "MODEL", .required = true, .offset = AT(lora_merge.base),
     .help = "the model that the adapter was trained on, plain or packed; it is only read"},
    {.name = "adapter", .value = ORGAN_VALUE_TEXT, .argument = "DIR", .required = true, .offset = AT(lora_merge.adapter),
     .help = "the adapter, as peft saves it"},
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(lora_merge.output),
     .help = "the directory to make, with all files of MODEL; X.safetensors: one file and no config"},
    {.name = "scale", .value = ORGAN_VALUE_REAL, .argument = "S", .range = {-1e6, 1e6, false, false}, .fallback = "1",
     .offset = AT(lora_merge.scale), .help = "multiply the whole change by S, besides the adapter's own scale; -1 takes it out again"},
    {.name = "dtype", .value = ORGAN_VALUE_TEXT, .argument = "bf16|f16|f32", .offset = AT(lora_merge.dtype),
     .help = "the type of merged weights and of what was packed; if not given, merged weights keep theirs and packed ones become bf16"},
    {.name = "max-shard-size", .value = ORGAN_VALUE_BYTES, .argument = "SIZE", .range = {1, 16384.0 * 1073741824.0, false, false},
     .fallback = "5G", .offset = AT(lora_merge.most), .help = "begin a new file where the next tensor would make one longer than this"},
    {.name = "force", .letter = 'f', .value = ORGAN_VALUE_FLAG, .offset = AT(lora_merge.force), .help = "replace OUT if it exists"},
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(lora_merge.dry_run),
     .help = "write nothing, only find a place for every key and say what would be merged"}};
static const organ_option_group merge_groups[] = {{"Options", merge_options, COUNT(merge_options)},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example merge_examples[] = {
    {"organ lora merge --base Qwen2.5-7B --adapter my-lora -o merged", "A model that needs no adapter any more."},
    {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged", "The base is dequantised from FP8 on the way."},
    {"organ lora merge --base merged --adapter my-lora -o OUT --scale -1", "Takes the change out again, but for what was rounded away."}};

static organ_status merge(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                          organ_error *error)
{
    return organ_lora_merge(&call->lora_merge, engine, progress, report, error);
}

static organ_status run_merge(void *call, organ_error *error) { return organ_run_work(call, merge, organ_merge_report_terminal, error); }

const organ_verb organ_lora_merge_verb = {
    .name = "lora merge",
    .summary = "put a LoRA adapter into its base",
    .about = "Writes a model in which every weight that the adapter changes is W + scale B A: computed in FP32, strip by strip, and "
             "rounded once to the type that is written. The scale of each module is what peft makes of lora_alpha, r, use_rslora, rank_pattern "
             "and alpha_pattern; pairs of embeddings are merged too, and tensors that the adapter brings whole (modules_to_save, trained "
             "biases) replace the base's. If the base is packed (FP8, INT4, ...), it is dequantised on the way and the output is plain.\n"
             "Every key of the adapter must find its place in the base: else all that do not are listed, and nothing is written.\n"
             "For each module the report says how much of the change arrived: a change that is finer than the type can hold is rounded "
             "away silently, and below one half that is a warning. OUT/organ/LORA_MERGE_REPORT.md and lora_merge.json have all of it.",
    .groups = merge_groups, .group_count = COUNT(merge_groups), .examples = merge_examples, .example_count = COUNT(merge_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 a file is malformed or changed meanwhile, a key finds no place, a factor is not "
             "finite, or the adapter is DoRA; 4 the disk is full or refuses; 130 interrupted, and nothing is left.",
    .run = run_merge};
