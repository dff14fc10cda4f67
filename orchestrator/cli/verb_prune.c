/* SPDX-License-Identifier: MIT
 * prune, and audit, which proves what it did. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/calibrated/calibrated.h"
#include "orchestrator/surgery/cut/audit_cut.h"
#include "orchestrator/surgery/precision/precision.h"
#include "orchestrator/surgery/prune/audit.h"
#include "orchestrator/surgery/prune/prune.h"

#include <string.h>

typedef struct prune_call {
    organ_call call;
    organ_prune_options prune;
    organ_prune_calibrated_options calibrated; /* --method */
    organ_audit_options audit;
} prune_call;
#define CALL prune_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- prune ---- */

static const organ_option prune_options[] = {
    OUTPUT("OUT", prune.write.output,
           "the directory to make, which appears when it is whole; X.gguf or X.safetensors: a single file, of a single "
           "file",
           .required = true),
    REAL("sparsity", "S", prune.sparsity,
         "percent of each tensor's weights to set to zero, 50 or 50%; below 1 with the sign, 0.5%; if not given, the "
         "flow decides",
         .letter = 's', .range = {ORGAN_PRUNE_PERCENTS}, .after_from = true,
         .before_to = true, .percent = true, .unset = -1),
    TEXT("method", "NAME", calibrated.method,
         "how to choose the weights; if not given, physarum-v3 with --calibration, else physarum-v1",
         .choices = "physarum-v1|physarum-v2|physarum-v3|alps|magnitude|wanda|sparsegpt"),
    TEXT("targets", "GLOB,...", prune.targets,
         "prune the tensors whose names match one of these instead of the projections"),
    WRITING(prune, "OUT", "say what would be pruned" AND_PLAN "; nothing is measured")};
static const organ_option calibration_options[] = {
    INPUT("calibration", "FILE", calibrated.calibration.text,
          "the text to go by, for all methods but physarum-v1 and magnitude; not one that is scored afterwards"),
    INPUT("imatrix", "FILE", calibrated.imatrix,
          "an importance matrix of llama.cpp to go by instead, for wanda and physarum-v2, which then does not "
          "compensate"),
    WINDOWS_ALONG(calibrated), ALL_EXPERTS(calibrated),
    TEXT("pattern", "N:M", calibrated.pattern,
         "of each M neighbours in a row N are kept: 2:4, 4:8, 1:4, 6:8, 8:16, any with M up to 16; instead of "
         "--sparsity; not for physarum-v1"),
    TEXT("then", "SCHEME", calibrated.then,
         "physarum-v2, physarum-v3, alps, sparsegpt: what is left becomes codes of this scheme of quantize on the way, "
         "chosen as its --method gptq does",
         .choices = ORGAN_CODE_SCHEMES),
    FLAG("no-compensate", calibrated.no_compensate, "physarum-v2: leave the kept weights as they are"),
    REAL("effort", "E", calibrated.effort,
         "physarum-v2: scales the products with the second moments that compensation takes; physarum-v3: the "
         "iterations",
         .range = {ORGAN_PRUNE_EFFORTS}, .after_from = true, .fallback = "1"),
    NUMBER("seed", "N", calibrated.seed,
           "physarum-v2: of the noise that shows which inputs are stable", .range = {SEEDS}, .fallback = "0")};
static const organ_option allocation_options[] = {
    ALLOCATION_OF(calibrated.allocate, "50%; with --then also 2.6bpw, 9GB"),
    ALLOCATION_ROUNDS(calibrated.allocate), ALLOCATION_TOKENS(calibrated.allocate),
    ALLOCATION_WAY(calibrated.allocate)};
static const organ_option flow_options[] = {
    NUMBER("block-size", "N", prune.block_size, "edge of a tile in weights", .range = {ORGAN_PRUNE_BLOCK_SIZES},
           .fallback = DIGITS(ORGAN_PRUNE_BLOCK_SIZE_DEFAULT)),
    NUMBER("iterations", "N", prune.iterations, "steps of the flow in each tile",
           .range = {ORGAN_PRUNE_ITERATIONS}, .fallback = DIGITS(ORGAN_PRUNE_ITERATIONS_DEFAULT)),
    REAL("beta", "B", prune.beta, "how sharply growth answers to flow",
         .range = {ORGAN_PRUNE_BETAS}, .after_from = true, .fallback = "2.0"),
    REAL("coupling", "L", prune.coupling,
         "how much a starved row or column pulls; with 0 magnitude alone decides",
         .range = {ORGAN_PRUNE_COUPLINGS}, .fallback = "1.0")};

/* Of all methods those of physarum have tiles, whose kernels are timed. */
WORK(prune_work)
{
    const char *const method = own->calibrated.method;
    organ_engine flowing = *engine;
    if (!method || strncmp(method, "physarum", strlen("physarum")) == 0)
        flowing.kernels = organ_kernels_for_tiles(engine);
    own->prune.write.evaluate = organ_call_evaluation(call);
    return organ_prune_by_method(&own->prune, &own->calibrated, &flowing, progress, report, error);
}
RUN_WORK(prune, true)

const organ_verb organ_prune_verb = {
    .name = "prune",
    .shares = true,
    .summary = "prune a model into a new directory",
    .about = "Sets weights of a model's linear layers to zero. The targets are the attention and feed-forward "
             "projections (q, k, v, o, gate, up, down, with their fused and expert forms), unless --targets names "
             "others.\n"
             "Which method. With a text that resembles the model's use, give --calibration and --sparsity: the default "
             "is then physarum-v3, which loses least on most models (docs/quality.md). With an importance matrix of "
             "llama.cpp (--imatrix), physarum-v2 and wanda need no text, no tokenizer and no forward pass, but change "
             "no kept weight. Without either, the default is physarum-v1: it uses the weights alone, opens any "
             "architecture, runs at the speed of the disk, and costs several times more from about 40 % on. sparsegpt, "
             "alps, wanda and magnitude are the published baselines.\n"
             "physarum-v1 computes a static flow over the magnitudes of each tile. physarum-v2 computes the flow over "
             "importances that the calibration text gives, and changes the kept weights to make up for those set to "
             "zero. physarum-v3 chooses weights by the flow once and then solves for mask and weights together "
             "(ADMM).\n"
             "--memory must hold the hidden states of the calibration windows and one layer; --scratch DIR keeps the "
             "hidden states in a file without a name, which the system removes when the run ends. A text with fewer "
             "windows than --samples is used whole.\n"
             "--allocate global divides one budget over all targets, with every method: each is pruned alone at two "
             "levels on half of --samples, the divergence from the donor is measured on tokens of the calibration text "
             "that calibrate no curve, and the budget is spent where it costs least. --allocation keeps these "
             "measurements for the next budget.\n"
             "--then int4-group128 (or another scheme of quantize) stores what is left in few bits on the way: each "
             "matrix is pruned, what it keeps gets codes as quantize --method gptq chooses them, what was killed stays "
             "zero, and the layers behind it see both. OUT is then a model as quantize writes it, with its report. A "
             "--budget in bits a weight (2.6bpw) or bytes counts the codes of what is kept, the scales and a bit a "
             "weight that says what is kept, bytes all other tensors too; in OUT zeros have codes.\n"
             "OUT becomes a complete model directory that opens wherever the donor does: same files, same headers, "
             "same sizes. OUT/organ contains the reports: REPORT.md to read, prune.json with all numbers, prune.jsonl "
             "with one line per tensor. If OUT ends in .gguf or .safetensors and DONOR is one such file, OUT is one "
             "file, and the reports are next to it (X.REPORT.md and so on for X.gguf); a model in several GGUF files "
             "needs a directory.\n"
             "A run that is interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("the donor"),
    OPERANDS(OPERAND("DONOR", MODEL, prune.donor, "the model to prune; it is only read, never changed")),
    GROUPS(GROUP("Options", prune_options), GROUP("Physarum v1", flow_options),
           GROUP("Calibrated methods", calibration_options),
           GROUP("One budget for the whole model", allocation_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ prune Qwen2.5-7B-Instruct -o Qwen2.5-7B-Pruned",
              "Prunes the seven projections of every layer with the default flow."},
             {"organ prune donor -o pruned --sparsity 30 --targets '*.mlp.*_proj.weight'",
              "Kills 30 % of each feed-forward projection and leaves attention alone."},
             {"organ prune donor -o half --method physarum-v2 --calibration a.txt -s 50",
              "Kills half of each projection and changes what is left so that the layers do what they did on that "
              "text."},
             {"organ prune donor -o out --calibration a.txt --budget 60% --allocate global",
              "Kills 60 % of all projections together, where it costs least."},
             {"organ prune donor -o o --method alps -s 50 --calibration t --then int4-group64",
              "Kills half of each projection and stores the rest in 4 bits."},
             {"organ prune donor -o pruned --resume", "Goes on where a killed run stopped."},
             {"organ prune model-f16.gguf -o pruned.gguf --sparsity 30", "One GGUF file from one GGUF file."},
             {"organ prune donor -o pruned --dry-run",
              "Says what would be pruned, and how much of the model that is."}),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the donor is malformed or changed meanwhile; 4 the disk is full "
             "or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_prune};

/* ---- audit ---- */

static const organ_option audit_options[] = {
    TEXT("targets", "GLOB,...", audit.targets,
         "the tensors that were pruned, if it was not the projections: as given to prune"),
    FLAG("compensated", audit.compensated,
         "the pruning changed the weights that it kept (physarum-v2, physarum-v3, sparsegpt, alps), a cut was healed "
         "in its down or output projections: count them, do not fail for them")};

RUN_REMOTE(audit, organ_audit_any, audit)

const organ_verb organ_audit_verb = {
    .name = "audit",
    .shares = true,
    .summary = "prove from the bytes of both models what a pruning or a cut did",
    .about = "Reads donor and pruned copy anew and never a log or report: counts the killed weights per tensor and "
             "projection, over both denominators, and checks that every other weight and every other tensor is the "
             "same bit for bit, with the same names, types and shapes.\n"
             "Of a copy with fewer blocks, experts, channels or heads it finds which of the donor's are left (blocks "
             "by their norms, keys and values, experts by rows of routers, channels and heads by rows of matrices), "
             "and checks that every tensor is made of the bytes of those, and that config.json or key-values say "
             "nothing else. Names and reports are not believed.",
    OPERANDS(OPERAND("DONOR", MODEL, audit.donor, "the model as it was before pruning"),
             OPERAND("PRUNED", MODEL, audit.pruned, "the pruned copy")),
    GROUPS(GROUP("Options", audit_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ audit Qwen2.5-7B-Instruct Qwen2.5-7B-Pruned",
              "Counts again, from the bytes of both, what was killed and what was left alone."},
             {"organ audit donor pruned --json | jq .totals", "Killed weights over both denominators, for a program."}),
    .exits = "0 if everything holds; 1 if anything does not, and the report says what; 2 wrong usage; 3 or 4 if a "
             "model cannot be read.",
    .run = run_audit};
