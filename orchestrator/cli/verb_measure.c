/* SPDX-License-Identifier: MIT
 * measure and fleet: measure how far weights are from noise. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/inspect.h>
#include <organ/measure.h>
#include <string.h>

typedef struct measure_call {
    organ_call call;
    organ_measure_options measure;
    organ_words models;     /* MODEL... */
    const char *definition; /* --definition */
    organ_fleet_options fleet;
} measure_call;
#define CALL measure_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- measure ---- */

static const organ_option measure_options[] = {
    OUTPUT("OUTDIR", measure.output,
           "write z_report.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html to this directory"),
    SELECT(measure.types, "measure only these tensors", .former = "type"),
    CHOICE("definition", "z|seed", definition,
           "z: theta; seed: also compute another theta, from a sample of 4,096 values",
           .fallback = "z"),
    FLAG("tensors", call.tensors, "list every tensor", .common = true)};

WORK(measure_work)
{
    organ_measure_options *const o = &own->measure;
    o->models = own->models.word;
    o->model_count = own->models.count;
    o->headers = call->access.headers;
    o->header_count = call->access.header_count;
    o->patience = call->access.patience;
    o->seed = own->definition && strcmp(own->definition, "seed") == 0;
    return organ_measure(o, engine, progress, report, error);
}
RUN_WORK(measure, true)

const organ_verb organ_measure_verb = {
    .name = "measure",
    .shares = true,
    .summary = "measure how far the weights of models are from noise",
    .about = "Measures how far the distribution of the values of each tensor is from normal noise. The figure is an "
             "angle theta from 0 degrees (noise) to 90, computed from the entropy, the kurtosis and the spacings of "
             "the values. The report also has moments, the number of distinct values (levels), and how the information "
             "of the values changes if s neighbouring values are averaged (dI/dlog2 s, in bits per doubling of s). It "
             "lists wells: tensors whose theta is lower than that of the same tensor in the layers before and after, "
             "by more than the standard deviation of theta over the role. One table compares all given models. A "
             "quantised weight is measured by its dequantised values.\n"
             "A higher theta is no evidence of a better model: damage can raise it.",
    OPERANDS(OPERAND("MODEL...", MODEL, models,
                     "one or more models: directories, files, outputs of organ extract, or http(s) URLs of files or "
                     "directories")),
    GROUPS(GROUP("Options", measure_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    FORMERLY(LAYERS_FORMERLY(measure.layers)),
    EXAMPLES({"organ measure Qwen2.5-7B-Instruct", "Prints theta by role, layer and group, and the wells."},
             {"organ measure https://host/model-00001-of-00013.gguf -o report",
              "Measures a remote model by range requests, without storing it; an interrupted run continues."},
             {"organ measure donor pruned -o report", "Compares two models in one table and writes the reports."},
             {"organ measure model.gguf --select feed-forward,5-20 --tensors",
              "Lists every feed-forward tensor of sixteen layers."}),
    .run = run_measure};

/* ---- fleet ---- */

static const organ_option fleet_options[] = {
    OUTPUT("OUT", fleet.output, "directory for organs and reports; created if it does not exist", .required = true),
    FLAG("no-extract", fleet.no_extract, "only measure; extract no model", .common = true)};

RUN(fleet, organ_fleet, fleet)

const organ_verb organ_fleet_verb = {
    .name = "fleet",
    .shares = true,
    .summary = "extract and measure every model under a directory",
    .about = "Finds every model under DIR (GGUF files, split sets, safetensors files and directories, organ "
             "directories), extracts each into OUT/organs as extract does, measures it as measure does, and writes one "
             "report: dissection_report.json, z_report_complete.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html.\n"
             "A broken model is reported, and the run continues with the others. A second run into the same OUT "
             "processes only changed models. Adapters, importance matrices, vocabularies, projectors and optimizer "
             "states are listed separately and not ranked.\n"
             "fleet does not compute the theta of measure --definition seed, and runs no model on a text. The "
             "report states the method of each pruned model, which it reads from the model's log.",
    OPERANDS(OPERAND("DIR", INPUT, fleet.directory, "directory of the models; it is not changed")),
    GROUPS(GROUP("Options", fleet_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ fleet models -o fleet", "Extracts and measures every model under models/."},
             {"organ fleet models -o fleet --no-extract", "Measures every model without copying its weights."}),
    .exits = {.check = "a model could not be extracted or measured, and the report says why",
              .content = "there is no model"},
    .run = run_fleet};

/* ---- orthogonality: compares quantisation noise with a LoRA adapter or with the noise of another model ---- */

typedef struct orthogonality_call {
    organ_call call;
    organ_orthogonality_options orthogonality;
    organ_words pairs; /* --pair: CLEAN, NOISY, CLEAN, NOISY */
} orthogonality_call;
#undef CALL
#define CALL orthogonality_call

static const organ_option options[] = {
    WORDS("pair", "CLEAN NOISY", pairs,
          "given twice: compares the quantisation noise of one model with that of another",
          .takes = 2, .names = ORGAN_NAMES_MODEL, .common = true),
    MODEL("noisy2", "MODEL", orthogonality.noisy2,
          "a second quantised copy of CLEAN: organ also measures its noise and compares it with that of NOISY",
          .common = true),
    OUTPUT("DIR", orthogonality.output,
           "new directory for orthogonality.json, ORTHOGONALITY_REPORT.md and .html and plots (SVG); with --pair for "
           "noise_pairs.json, NOISE_PAIRS_REPORT.md and .html"),
    SELECT(orthogonality.modules,
           "compare only these modules instead of all of the adapter or, without one, all projections",
           .former = "modules"),
    NUMBER("draws", "N", orthogonality.draws, "number of random matrices to compare each module with",
           .range = {2, 100000}, .fallback = "100"),
    NUMBER("top-k", "K", orthogonality.top_k,
           "measure leakage into the K strongest output directions of the adapter; default: all",
           .range = {RANKS}),
    NUMBER("seed", "N", orthogonality.seed, "seed of the random matrices", .range = {SEEDS}, .fallback = "0"),
    FORCE(orthogonality.force)};

RUN_REMOTE(adapter, organ_orthogonality, orthogonality)

/* The first operand, o->clean, is the adapter or the tuned model, or NULL. */
WORK(pairs_work)
{
    const organ_orthogonality_options *const o = &own->orthogonality;
    const char *const *const w = own->pairs.word;
    const organ_noise_pairs_options pairs = {.clean = {w[0], w[2]}, .noisy = {w[1], w[3]},
                                             .change = o->clean,    .output = o->output,
                                             .modules = o->modules, .draws = o->draws,
                                             .seed = o->seed,       .force = o->force,
                                             .access = &call->access};
    return organ_noise_pairs(&pairs, engine, progress, report, error);
}
RUN_WORK(pairs, true)

/* --pair is required exactly twice; operands and options that only the comparison with an adapter has are refused.
 * own->pairs has two words for each --pair. */
static organ_status check_pair_options(const CALL *own, organ_error *error)
{
    const organ_orthogonality_options *const o = &own->orthogonality;
    if (own->pairs.count == 2)
        return organ_fail(error, ORGAN_USAGE,
                          "orthogonality: --pair is given once: a second --pair CLEAN NOISY is missing; to compare one "
                          "noise with an adapter: CLEAN NOISY ADAPTER");
    if (own->pairs.count != 4)
        return organ_fail(error, ORGAN_USAGE, "orthogonality: --pair is given %zu times, but must be given twice",
                          own->pairs.count / 2);
    if (o->noisy)
        return organ_fail(error, ORGAN_USAGE,
                          "orthogonality: two --pair can be followed by at most one adapter or tuned model, not also "
                          "'%s'",
                          o->noisy);
    if (o->noisy2 || o->top_k)
        return organ_fail(error, ORGAN_USAGE,
                          "orthogonality: %s can be used with CLEAN NOISY ADAPTER, but not with --pair",
                          o->noisy2 ? "--noisy2" : "--top-k");
    return ORGAN_OK;
}

static organ_status run_orthogonality(void *values, organ_error *error)
{
    const CALL *const own = values;
    const organ_orthogonality_options *const o = &own->orthogonality;
    if (own->pairs.count)
        return check_pair_options(own, error) ? error->status : run_pairs(values, error);
    if (!o->adapter) {
        const int given = (o->clean != NULL) + (o->noisy != NULL);
        const organ_operand *const missing = &organ_orthogonality_verb.operands[given];
        return organ_fail(error, ORGAN_USAGE, "orthogonality: %s is missing: %s", missing->name, missing->help);
    }
    return run_adapter(values, error);
}

const organ_verb organ_orthogonality_verb = {
    .name = "orthogonality",
    .shares = true,
    .summary = "compare quantisation noise with the change of a LoRA adapter",
    .usage = "CLEAN NOISY ADAPTER [options]\n--pair CLEAN NOISY --pair CLEAN NOISY [ADAPTER|TUNED] [options]",
    .about = "Compares the noise of quantisation with the change that a LoRA adapter makes, for each module of the "
             "adapter. The noise is N = W_clean - W_noisy, the change is K = scale B A. If the cosine of N and K is "
             "near 0, the adapter neither cancels nor amplifies the noise. The report also has the ratio of their "
             "norms |N| / |K|, and the leakage: the share of the norm of N that is in the output directions of K "
             "(its left singular vectors). It compares cosine and leakage with those of random matrices. The factors "
             "of one module need memory in addition to --memory.\n"
             "Verdicts. z is a cosine divided by its standard deviation for random matrices. N and K are "
             "'orthogonal' if |z| <= 3 for all modules joined to one matrix, and no more modules have |z| > 3 than "
             "chance allows (99 % confidence). Otherwise they are 'nearly orthogonal' if |cosine| <= 0.03 for the "
             "joined matrix and for each module with |z| > 3, else 'not orthogonal'. For the noises of two models "
             "the words are 'unrelated', 'hardly related', 'related', or 'alike' if |cosine| >= 0.5. Leakage is "
             "'isotropic' if it differs by at most 10 % from that of random noise. The noise is smaller than the "
             "adapter's change if |N| / |K| <= 0.5, and larger if |N| / |K| >= 2.\n"
             "With two --pair, the report compares the noises N_A and N_B of two models: their cosine, the multiple "
             "of N_A that approximates N_B best (factor), R^2, the share of the squared norm of N_B that this "
             "multiple explains, and the norm of N_A - N_B relative to N_A and to a change D. D is the difference of "
             "the two clean models, or the change of the adapter or tuned model that follows the pairs. The premise "
             "of method A (an adapter from a plain base, applied to the quantised base) is that both noises are "
             "equal and cancel: it holds if |N_A - N_B| / |N_A| <= 0.5, and in part if this ratio is below 1 and the "
             "noises are related or alike. The verdict ignores modules that are equal in both clean models.\n"
             "These figures describe weights. They do not predict the answers of a model; use 'organ evaluate' to "
             "compare answers.",
    OPERANDS(OPTIONAL("CLEAN", MODEL, orthogonality.clean,
                      "the model before quantisation. After two --pair give at most one model instead: the adapter or "
                      "the tuned model"),
             OPTIONAL("NOISY", MODEL, orthogonality.noisy,
                      "the same model quantised in any format, also as GGUF, or dequantised again"),
             OPTIONAL("ADAPTER", INPUT, orthogonality.adapter,
                      "a LoRA adapter: a directory with adapter_config.json and adapter_model.safetensors")),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ orthogonality Qwen3-32B Qwen3-32B-FP8 adapter -o report",
              "Compares FP8 noise with an adapter and plots each layer."},
             {"organ orthogonality Qwen3-32B Qwen3-32B-FP8 adapter --noisy2 Qwen3-32B-INT4",
              "Compares FP8 and INT4 noise with the adapter and with each other."},
             {"organ orthogonality --pair base base-fp8 --pair tuned tuned-fp8",
              "Compares the FP8 noise of a fine-tune with that of its base."},
             {"organ orthogonality base noisy adapter --json | jq '.noises[0].verdict'", "Prints the verdict."}),
    .exits = {.done = "done, with any verdict",
              .usage = "a model is given twice",
              .content = "a model lacks a module or has it in another shape"},
    .run = run_orthogonality};
