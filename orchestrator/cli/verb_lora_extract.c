/* SPDX-License-Identifier: MIT
 * organ lora extract. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/lora_report.h"

/* clang-format off: tables are laid out by hand */

static const organ_operand operands[] = {
    {"SHARE", "of --rank-by energy", AT(lora_extract.share), true, ORGAN_NAMES_NOTHING}};
static const organ_option options[] = {
    {.name = "base", .value = ORGAN_VALUE_TEXT, .argument = "MODEL", .required = true, .offset = AT(lora_extract.base),
     .help = "the model that the adapter will sit on: plain, or quantised as it will be served", .names = ORGAN_NAMES_MODEL},
    {.name = "tuned", .value = ORGAN_VALUE_TEXT, .argument = "MODEL", .required = true, .offset = AT(lora_extract.tuned),
     .help = "what was made of it; both are only read", .names = ORGAN_NAMES_MODEL},
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "ADAPTER", .required = true, .offset = AT(lora_extract.output),
     .help = "the directory to make, as peft saves it", .names = ORGAN_NAMES_OUTPUT},
    {.name = "rank", .letter = 'r', .value = ORGAN_VALUE_COUNT, .argument = "R", .range = {1, 65536, false, false}, .fallback = "256",
     .offset = AT(lora_extract.rank), .help = "the rank of each module, or the most with --rank-by"},
    {.name = "rank-by", .value = ORGAN_VALUE_TEXT, .argument = "energy", .offset = AT(lora_extract.rank_by),
     .help = "no more rank in each module than explains that SHARE of the square of its change: --rank-by energy 0.95, or energy=0.95"},
    {.name = "modules", .value = ORGAN_VALUE_TEXT, .argument = "GLOB,...", .offset = AT(lora_extract.modules),
     .help = "linear layers by name or last word (q_proj); if not given, all projections: q, k, v, o, gate, up, down, also fused ones"},
    {.name = "exact", .value = ORGAN_VALUE_FLAG, .offset = AT(lora_extract.exact),
     .help = "whole singular value decompositions by LAPACK: slow, and each matrix must fit --memory"},
    {.name = "save-full", .value = ORGAN_VALUE_FLAG, .offset = AT(lora_extract.save_full),
     .help = "keep what else changed (embeddings, norms, biases) whole in the adapter; vLLM refuses such an adapter"},
    {.name = "dtype", .value = ORGAN_VALUE_TEXT, .argument = "bf16|f16|f32", .choices = "bf16|f16|f32", .fallback = "bf16",
     .offset = AT(lora_extract.dtype), .help = "the type of the factors"},
    {.name = "seed", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {0, 4294967295.0, false, false}, .fallback = "0",
     .offset = AT(lora_extract.seed), .help = "of the random vectors that decompositions start from"},
    FORCE(lora_extract.force, "ADAPTER"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(lora_extract.dry_run),
     .help = "write nothing, only pair the weights and say what would be extracted"}};
static const organ_option_group groups[] = {{"Options", options, COUNT(options)},
                                            {"Machine", ORGAN_MACHINE_OPTIONS},
                                            {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example examples[] = {
    {"organ lora extract --base Qwen2.5-7B --tuned my-model -o my-lora", "What tuning changed, as an adapter of rank 256."},
    {"organ lora extract --base Qwen2.5-7B-FP8 --tuned my-model -o my-lora -r 64", "Mends what FP8 took away, too."},
    {"organ lora extract --base B --tuned T -o A --rank-by energy 0.95", "To each module the rank it needs."}};

static organ_status extract(const organ_call *call, const organ_engine *engine, const organ_progress *progress, json_t **report,
                            organ_error *error)
{
    return organ_lora_extract(&call->lora_extract, engine, progress, report, error);
}

static organ_status run(void *call, organ_error *error) { return organ_run_work(call, extract, organ_lora_report_terminal, error); }

const organ_verb organ_lora_extract_verb = {
    .name = "lora extract",
    .summary = "make a LoRA adapter of what tuning changed",
    .about = "Compares a tuned model with its base and writes, for each linear layer, the best approximation of the change by two factors "
             "of low rank, in the form that peft and vLLM load: B A is added to the weight, lora_alpha is r.\n"
             "A quantised base (FP8, INT4, ...) is dequantised strip by strip on the way, and the adapter then corrects what quantising "
             "took away, too: on that base it comes closer to the tuned model than an adapter made from the plain base.\n"
             "What changed and is no linear layer (embeddings, norms, biases, stacked experts) is listed with the size of its change; "
             "--save-full keeps it. ADAPTER/organ/LORA_REPORT.md (and .html) and lora_extract.json say for each module how much of "
             "its change is "
             "explained, measured with the factors as they are stored.",
    .operands = operands, .operand_count = COUNT(operands), .groups = groups, .group_count = COUNT(groups),
    .examples = examples, .example_count = COUNT(examples),
    .exits = "0 done; 2 wrong usage, or ADAPTER exists; 3 a file is malformed or changed meanwhile, shapes differ, a value is not finite, "
             "or nothing changed; 4 the disk is full or refuses; 130 interrupted, and nothing is left.",
    .run = run};
