/* SPDX-License-Identifier: MIT
 * organ orthogonality. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/orthogonality/noise_pairs.h"
#include "orchestrator/surgery/orthogonality/orthogonality.h"

typedef struct orthogonality_call {
    organ_call call;
    organ_orthogonality_options orthogonality;
    organ_words pairs; /* --pair: CLEAN, NOISY, CLEAN, NOISY */
} orthogonality_call;
#define CALL orthogonality_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    WORDS("pair", "CLEAN NOISY", pairs,
          "given twice: the noise of one model and its quantised copy against that of another model and its copy",
          .takes = 2, .names = ORGAN_NAMES_MODEL),
    MODEL("noisy2", "MODEL", orthogonality.noisy2,
          "the same model quantised another way: both noises are measured, and whether they agree"),
    OUTPUT("DIR", orthogonality.output,
           "the directory to make, with orthogonality.json, ORTHOGONALITY_REPORT.md and .html and plots (SVG); of "
           "--pair noise_pairs.json, NOISE_PAIRS_REPORT.md and .html"),
    TEXT("modules", "GLOB,...", orthogonality.modules,
         "only modules whose names match one of these, for example '*.mlp.*'; if not given, all of the adapter, and "
         "without one all projections"),
    NUMBER("draws", "N", orthogonality.draws, "random matrices that each module is compared with",
           .range = {2, 100000}, .fallback = "100"),
    NUMBER("top-k", "K", orthogonality.top_k,
           "leakage into so many output directions of the adapter, its strongest; if not given, into all that it has",
           .range = {RANKS}),
    NUMBER("seed", "N", orthogonality.seed, "of the random matrices", .range = {SEEDS}, .fallback = "0"),
    FORCE(orthogonality.force, "DIR")};

RUN_REMOTE(adapter, organ_orthogonality, orthogonality)

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

static organ_status refuse_pairs(const CALL *own, organ_error *error)
{
    const organ_orthogonality_options *const o = &own->orthogonality;
    if (own->pairs.count == 2)
        return organ_fail(error, ORGAN_USAGE, "orthogonality: --pair is given once: one noise has nothing to be "
                                              "compared with. A second --pair CLEAN NOISY is missing; for one noise "
                                              "against an adapter: CLEAN NOISY ADAPTER");
    if (own->pairs.count != 4)
        return organ_fail(error, ORGAN_USAGE, "orthogonality: --pair is given %zu times, but two noises are compared",
                          own->pairs.count / 2);
    if (o->noisy)
        return organ_fail(error, ORGAN_USAGE, "orthogonality: behind two --pair comes one adapter or tuned model at "
                                              "most, not '%s' too",
                          o->noisy);
    if (o->noisy2 || o->top_k)
        return organ_fail(error, ORGAN_USAGE, "orthogonality: %s goes with CLEAN NOISY ADAPTER, not with --pair",
                          o->noisy2 ? "--noisy2" : "--top-k");
    return ORGAN_OK;
}

static organ_status run_orthogonality(void *values, organ_error *error)
{
    const CALL *const own = values;
    const organ_orthogonality_options *const o = &own->orthogonality;
    if (own->pairs.count)
        return refuse_pairs(own, error) ? error->status : run_pairs(values, error);
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
    .summary = "what quantisation took from a model, against what an adapter adds, or against what it took from "
               "another model",
    .usage = "CLEAN NOISY ADAPTER [options]\n--pair CLEAN NOISY --pair CLEAN NOISY [ADAPTER|TUNED] [options]",
    .about = "Takes for each module of the adapter the noise N = W_clean - W_noisy and the adapter's change K = scale "
             "B A, and tells whether they point the same way (cosine, beside that of random matrices), how much of N "
             "lies in the output directions of K (leakage, beside its expectation), and which is larger. Weights are "
             "read strip by strip and no matrix is ever held whole; memory for one module's factors comes on top of "
             "--memory.\n"
             "The verdict says 'orthogonal' where |z| <= 3 in all modules but as many as chance leaves outside (99 % "
             "sure), and for all of them as one matrix; 'nearly orthogonal' where no |cosine| beyond that is above "
             "0.03 (0.1 % of the energy); else 'not orthogonal'. Leakage is as expected within 10 %. The noise is "
             "smaller than the adapter's change where |N| / |K| <= 0.5, larger from 2 on. Two noises are unrelated, "
             "hardly related or related by the same limits, and alike from |cosine| 0.5 on.\n"
             "With two --pair it takes the noise of both, N_A and N_B, and tells how much of one is in the other: "
             "cosine beside that of random matrices, the multiple of N_A that N_B is (factor) and what it explains "
             "(R^2), and what remains of N_A - N_B beside N_A and beside the change D. D is what the clean model of "
             "the second pair changed in that of the first; of an adapter, what it adds; of a tuned model, its weights "
             "less those of the clean model of the first pair. The premise of Method A, that both noises are the same "
             "and cancel, holds where |N_A - N_B| <= 0.5 |N_A|, holds in part where that is below 1 and the noises are "
             "related, and else does not hold. Compared are the adapter's modules, or else all projections; the "
             "verdict leaves out those in which both clean models have the same values.\n"
             "All this is about weights: what a model answers, only a measurement of its answers tells.",
    OPERANDS(OPTIONAL("CLEAN", MODEL, orthogonality.clean,
                      "the model before quantisation; with --pair instead, if anything: an adapter or a tuned model"),
             OPTIONAL("NOISY", MODEL, orthogonality.noisy,
                      "the same model quantised, however it is stored, also as GGUF, or dequantised again"),
             OPTIONAL("ADAPTER", INPUT, orthogonality.adapter,
                      "a LoRA adapter: a directory with adapter_config.json and adapter_model.safetensors")),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ orthogonality Qwen3-32B Qwen3-32B-FP8 adapter -o report",
              "FP8 noise against an adapter, with plots per layer."},
             {"organ orthogonality Qwen3-32B Qwen3-32B-FP8 adapter --noisy2 Qwen3-32B-INT4",
              "FP8 noise and INT4 noise, each against the adapter and both beside each other."},
             {"organ orthogonality --pair base base-fp8 --pair tuned tuned-fp8",
              "Whether FP8 does the same to a fine-tune as to its base, and what remains where both noises are taken "
              "as one."},
             {"organ orthogonality base noisy adapter --json | jq '.noises[0].verdict'", "The verdict for a program."}),
    .exits = "0 done, whatever the verdict; 2 wrong usage, DIR exists, or a model is given twice; 3 an input is "
             "malformed or changed meanwhile, or there are modules that a model does not have or has in another shape; "
             "4 an input cannot be read, or DIR not written; 130 interrupted, nothing is left.",
    .run = run_orthogonality};
