/* SPDX-License-Identifier: MIT
 * prune, and audit, which verifies it. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/choices.h>
#include <organ/lora.h>
#include <organ/merge.h>
#include <organ/prune.h>
#include <organ/purify.h>
#include <organ/schemes.h>
#include <string.h>

typedef struct prune_call {
    organ_call call;
    organ_prune_options prune;
    organ_audit_options audit;
    organ_merge_audit_options merged;          /* audit --recipe */
    organ_lora_combine_audit_options combined; /* the same with a report of lora combine */
    organ_words texts;                         /* audit --text */
} prune_call;
#define CALL prune_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- prune ---- */

static const organ_option prune_options[] = {
    OUTPUT("OUT", prune.write.output,
           "new directory of the output; X.gguf or X.safetensors: a single file, if DONOR is a single file",
           .required = true),
    REAL("sparsity", "S", prune.sparsity,
         "percent of each target's weights to set to zero: 50 or 50%; below 1 only with %: 0.5%. Without it, "
         "the physarum methods set weights to zero if their flow ends below a threshold; other methods need "
         "--sparsity, --pattern or --budget",
         .letter = 's', .range = {ORGAN_PRUNE_PERCENTS}, .after_from = true,
         .before_to = true, .percent = true, .unset = -1, .explain = organ_explain_sparsity, .common = true),
    TEXT("pattern", "N:M", prune.calibrated.pattern,
         "instead of --sparsity: keep N of each M consecutive weights of a row, such as 2:4, 4:8, 1:4, 6:8, 8:16, "
         "with M up to 16"),
    TEXT("method", "NAME", prune.calibrated.method,
         "method of pruning; default physarum-v3 with --calibration, else physarum-v1",
         .choices = &ORGAN_CHOICE_TEXTS(ORGAN_PRUNE_METHODS)[1], .common = true),
    SELECT(prune.targets, "prune these matrices instead of the projections", .former = "targets"),
    TEXT("then", "SCHEME", prune.calibrated.then,
         "also quantise the kept weights to this scheme of quantize, with codes chosen as by --method gptq",
         .choices = ORGAN_CODE_SCHEMES, .explain = organ_explain_then, .common = true),
    WRITING(prune, "print what would be pruned" AND_PLAN "; measures nothing")};
static const organ_option calibration_options[] = {
    INPUT("calibration", "FILE", prune.calibrated.calibration.text,
          "calibration text for all methods but physarum-v1 and magnitude; do not use a text on which the model is "
          "evaluated", .common = true),
    INPUT("imatrix", "FILE", prune.calibrated.imatrix,
          "importance matrix of llama.cpp instead of --calibration; physarum-v2 then does not change the kept weights"),
    WINDOWS_CALIBRATION(prune.calibrated), MOMENTS(prune.moments), ALL_EXPERTS(prune.calibrated)};
static const organ_option method_options[] = {
    FLAG("no-refit", prune.calibrated.no_compensate, "do not change the kept weights",
         .former = "no-compensate", .both = true),
    REAL("effort", "E", prune.calibrated.effort,
         "multiply the refitting steps of physarum-v2, or the iterations of physarum-v3, by E",
         .range = {ORGAN_PRUNE_EFFORTS}, .after_from = true, .fallback = "1"),
    NUMBER("seed", "N", prune.calibrated.seed,
           "seed of the random noise with which organ tests how stable each input is",
           .range = {SEEDS}, .fallback = "0")};
static const organ_option allocation_options[] = {
    ALLOCATION_OF(prune.calibrated.allocate, "50% of all target weights; with --then also 2.6bpw (bits per weight) or "
                                             "9GB (bytes of all tensors)"),
    ALLOCATION_ROUNDS(prune.calibrated.allocate), ALLOCATION_TOKENS(prune.calibrated.allocate),
    ALLOCATION_WAY(prune.calibrated.allocate)};
static const organ_option flow_options[] = {
    NUMBER("block-size", "N", prune.block_size,
           "edge length of a tile, in weights", .range = {ORGAN_PRUNE_BLOCK_SIZES},
           .fallback = DIGITS(ORGAN_PRUNE_BLOCK_SIZE_DEFAULT)),
    NUMBER("iterations", "N", prune.iterations, "flow steps in each tile",
           .range = {ORGAN_PRUNE_ITERATIONS}, .fallback = DIGITS(ORGAN_PRUNE_ITERATIONS_DEFAULT)),
    REAL("beta", "B", prune.beta, "exponent of growth: how sharply growth responds to flow",
         .range = {ORGAN_PRUNE_BETAS}, .after_from = true, .fallback = "2.0"),
    REAL("coupling", "L", prune.coupling,
         "how strongly rows and columns of little flow keep their weights; 0: magnitude alone decides",
         .range = {ORGAN_PRUNE_COUPLINGS}, .fallback = "1.0")};

/* The physarum methods, one of which is the default, get the kernels that compute tiles fastest on this CPU; the
 * other methods use no tiles. */
WORK(prune_work)
{
    const char *const method = own->prune.calibrated.method;
    organ_engine tile_engine = *engine;
    if (!method || strncmp(method, "physarum", strlen("physarum")) == 0)
        tile_engine.kernels = organ_kernels_for_tiles(engine);
    own->prune.write.evaluate = organ_call_evaluation(call);
    return organ_prune(&own->prune, &tile_engine, progress, report, error);
}
RUN_WORK(prune, true)

const organ_verb organ_prune_verb = {
    .name = "prune",
    .common = true,
    .shares = true,
    .summary = "set weights of a model to zero",
    .about = "Sets weights of a model's linear layers to zero and writes a complete model. By default these are the "
             "attention and feed-forward projections (q, k, v, o, gate, up, down, with their fused and expert "
             "forms).\n"
             "Methods. If you have a text that resembles the model's use, give --calibration and --sparsity: the "
             "default is then physarum-v3, which has the smallest loss on most models (docs/quality.md). With an "
             "importance matrix of llama.cpp (--imatrix), physarum-v2 and wanda need no text, no tokenizer and no "
             "forward pass; physarum-v2 then leaves the kept weights unchanged, which raises its loss. With neither, "
             "the default is physarum-v1, which reads only the weights, supports every architecture and runs at the "
             "speed of the disk; from 40 % sparsity on, its loss is several times that of physarum-v3. physarum-v2, "
             "sparsegpt and alps also refit the kept weights; wanda and magnitude do not.\n"
             "--then SCHEME also quantises the kept weights, for example to int4-group128, as quantize --method gptq "
             "does. Removed weights stay zero. OUT has the format and report of quantize.\n"
             "--budget with --allocate global is a share of all target weights; with --then also bits per weight "
             "(2.6bpw) or bytes (9GB). It counts the codes of kept weights, the scales, and one bit per weight that "
             "marks the zeros; in bytes also all other tensors. OUT can be larger, because it stores a code for each "
             "zero too.\n"
             "OUT has the files, headers and sizes of the donor, and every program that opens the donor can open it. "
             "If DONOR is one .gguf or .safetensors file, OUT can be a file of the same kind; for a model in several "
             "GGUF files it must be a directory.",
    OPERANDS(OPERAND("DONOR", MODEL, prune.donor, "the model to prune; it is not changed")),
    NEEDS(NEED(prune, prune)),
    GROUPS(GROUP("Options", prune_options), GROUP("Calibration", calibration_options),
           GROUP("Physarum v2 and v3", method_options), GROUP("Physarum v1", flow_options),
           GROUP("Budget for the whole model (--allocate global)", allocation_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ prune Qwen2.5-7B-Instruct -o half -s 50 --calibration text.txt",
              "Sets half of each projection to zero by physarum-v3, which refits the rest on the text."},
             {"organ prune Qwen2.5-7B-Instruct -o Qwen2.5-7B-Pruned",
              "Prunes the seven projections of every layer with physarum-v1."},
             {"organ prune donor -o pruned --sparsity 30 --select feed-forward",
              "Sets 30 % of each feed-forward projection to zero; attention is unchanged."},
             {"organ prune donor -o out --calibration a.txt --budget 60% --allocate global",
              "Sets 60 % of all projections together to zero, divided over the tensors by their cost."},
             {"organ prune donor -o o --method alps -s 50 --calibration t --then int4-group64",
              "Sets half of each projection to zero and quantises the rest to 4 bits."},
             {"organ prune donor -o pruned --resume", "Continues an interrupted run."},
             {"organ prune model-f16.gguf -o pruned.gguf --sparsity 30", "Writes one GGUF file from one GGUF file."},
             {"organ prune donor -o pruned --dry-run",
              "Prints what would be pruned, and how much of the model that is."}),
    .run = run_prune};

/* ---- audit ---- */

static const organ_option audit_options[] = {
    SELECT(audit.targets, "the matrices that were pruned, as given to prune, instead of the projections",
           .former = "targets"),
    FLAG("refitted", audit.compensated,
         "accept kept weights that were changed by a pruning that refits them (physarum-v2, physarum-v3, sparsegpt, "
         "alps), or by --refit without a report that states their digests; audit counts them",
         .former = "compensated"),
    WORDS("text", "FILE", texts,
          "for an output of organ vocabulary: a text that must have the same tokens in both models, and the "
          "same logits of kept tokens after its first 512 tokens; may be repeated", .names = ORGAN_NAMES_INPUT),
    INPUT("recipe", "RECIPE", merged.recipe,
          "instead of DONOR: the recipe of organ merge; audit recomputes tensors of the model from its donors. Or the "
          "report lora_combine.json of organ lora combine; audit combines the adapters again",
          .common = true),
    NUMBER("tensors", "N", merged.tensors,
           "with --recipe: number of tensors that are recomputed, evenly spread; 0: all", .range = {0, 1e9},
           .fallback = "32")};

WORK(audit_work)
{
    own->audit.access = &call->access;
    own->audit.texts = own->texts.word;
    own->audit.text_count = own->texts.count;
    if (!own->merged.recipe && !own->audit.pruned)
        return organ_fail(error, ORGAN_USAGE, "audit: PRUNED is missing: the pruned or cut copy");
    if (!own->merged.recipe)
        return organ_audit(&own->audit, engine, progress, report, error);
    if (own->audit.pruned || own->audit.targets || own->audit.compensated || own->texts.count)
        return organ_fail(error, ORGAN_USAGE, "audit: --recipe RECIPE MODEL compares one model with its recipe");
    if (strcmp(organ_path_name(own->merged.recipe), "lora_combine.json") == 0) {
        own->combined.recipe = own->merged.recipe;
        own->combined.adapter = own->audit.donor;
        return organ_lora_combine_audit(&own->combined, engine, progress, report, error);
    }
    own->merged.model = own->audit.donor;
    return organ_merge_audit(&own->merged, engine, progress, report, error);
}
RUN_WORK(audit, true)

const organ_verb organ_audit_verb = {
    .name = "audit",
    .common = true,
    .shares = true,
    .summary = "verify a pruning or a cut from the bytes of both models",
    .about = "Compares a pruned or cut model with its donor, the original model, by their bytes. It counts the "
             "weights that pruning has set to zero ('killed'), as a share of the pruned tensors (target) and of the "
             "whole model (full), and checks that all other weights and tensors have the same bits, names, types and "
             "shapes.\n"
             "If PRUNED has fewer blocks (layers), experts, channels or heads than the donor, audit finds by their "
             "bytes which of the donor's were kept, and checks that every tensor consists of these and that "
             "config.json or the GGUF metadata match. Weights that --refit or organ width refitted must have the "
             "digests that the report in PRUNED states.\n"
             "If both are GGUF models with the same tensors and PRUNED is an output of organ gguf, or has another "
             "number of files, or is quantised, audit compares all tensors and key-values.\n"
             "If PRUNED is an output of organ vocabulary, audit compares its rows, tokens, merges and ids with those "
             "of the donor; with --text also the tokens and logits of texts.\n"
             "If PRUNED is an output of organ patch apply, audit compares every tensor, header and file with the "
             "digests of the patch, and unchanged tensors with the base.",
    OPERANDS(OPERAND("DONOR", MODEL, audit.donor, "the model before pruning; with --recipe the merged model"),
             OPTIONAL("PRUNED", MODEL, audit.pruned, "the pruned or cut copy; not with --recipe")),
    GROUPS(GROUP("Options", audit_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ audit Qwen2.5-7B-Instruct Qwen2.5-7B-Pruned",
              "Counts killed weights and checks that all others are unchanged."},
             {"organ audit donor pruned --json | jq .totals",
              "Prints the killed weights of the pruned tensors and of the whole model as JSON."},
             {"organ audit --recipe OUT/organ/recipe.yaml OUT", "Recomputes tensors of a merged model."}),
    .exits = {.done = "all checks pass", .check = "a check fails, and the report names it"},
    .run = run_audit};

/* ---- purify: reduces noise in the weights ---- */

CALL_WITH(purify, organ_purify_options);
#undef CALL
#define CALL purify_call

static const organ_option purify_options[] = {
    OUTPUT("OUT", purify.write.output,
           "new directory of the model and its report; X.gguf or X.safetensors: a single file, if MODEL is a single "
           "file",
           .required = true),
    CHOICE("method", &ORGAN_CHOICE_TEXTS(ORGAN_PURIFY_METHODS)[1], purify.method,
           "filter of each row: fft: Fourier spectrum; haar: Haar wavelets", .required = true, .common = true),
    REAL("threshold", "K", purify.threshold,
         "what counts as noise. haar: wavelet details of at most K standard deviations of the noise in their row and "
         "scale; fft: frequencies with less than K times the mean noise power of their row; default 1 for haar, 3 for "
         "fft",
         .range = {ORGAN_PURIFY_THRESHOLDS}, .unset = -1),
    REAL("strength", "S", purify.strength, "share of the amplitude of noise to remove",
         .range = {ORGAN_PURIFY_STRENGTHS}, .fallback = "0.1", .common = true),
    SELECT(purify.types, "purify these tensors instead of the projections", .former = "type"),
    WRITING(purify, "print what would be purified" AND_PLAN)};

RUN_WRITING(purify, organ_purify, purify)

const organ_verb organ_purify_verb = {
    .name = "purify",
    .shares = true,
    .summary = "reduce what a filter classifies as noise in the weights",
    .about = "Filters the rows of a model's projections (q, k, v, o, gate, up, down, with their fused and expert "
             "forms): components that the filter classifies as noise are multiplied by 1 - strength. With fft these "
             "are the frequencies of a row that have low power; with haar the wavelet details that are small, or "
             "whose parent at the next coarser scale is small. Types and shapes do not change. Tensors of types that "
             "organ cannot write are copied; if --select names one, the run fails.\n"
             "Such a filter classifies most of what a model has learned as noise: the report warns if more than 5 % "
             "of the energy is removed. A higher theta is no evidence of a better model.",
    OPERANDS(OPERAND("MODEL", MODEL, purify.model, "the model to purify, also an organ directory; it is not changed")),
    GROUPS(GROUP("Options", purify_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    FORMERLY(LAYERS_FORMERLY(purify.layers)),
    EXAMPLES({"organ purify model.gguf -o purified.gguf --method haar",
              "Removes a tenth of what the wavelet filter classifies as noise."},
             {"organ purify MODEL -o OUT --method fft --select feed-forward,5-20",
              "Filters the feed-forward tensors of sixteen layers by their spectra."},
             {"organ purify MODEL -o OUT --method haar --resume", "Continues an interrupted run."},
             {"organ purify organs -o purified --method haar --dry-run",
              "Prints what would be purified in an organ directory."}),
    .exits = {.usage = "--select names a tensor whose type cannot be written", .content = "a value is not finite"},
    .run = run_purify};
