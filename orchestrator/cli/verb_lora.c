/* SPDX-License-Identifier: MIT
 * lora extract, sanitize, merge, combine, resize: the verbs that make or read a LoRA adapter. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/lora.h>

typedef struct lora_call {
    organ_call call;
    organ_lora_extract_options lora_extract;
    const char *repair;
    organ_lora_sanitize_options lora_sanitize;
    organ_lora_merge_options lora_merge;
    organ_lora_resize_options lora_resize;
    organ_words adapters; /* lora combine ADAPTER... */
    organ_lora_combine_options lora_combine;
} lora_call;
#define CALL lora_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- lora extract ---- */

static const organ_option extract_options[] = {
    MODEL("base", "MODEL", lora_extract.base,
          "the model to which the adapter will be applied: plain, or quantised as it will be served", .common = true),
    MODEL("tuned", "MODEL", lora_extract.tuned,
          "the model that was tuned from the base; with --calibration the original of the base", .common = true),
    MODEL("repair", "ORIGINAL", repair,
          "the same as --tuned ORIGINAL --base DAMAGED, for a model that was quantised or pruned; needs --calibration",
          .common = true),
    OUTPUT("ADAPTER", lora_extract.write.output,
           "new directory of the adapter, in the format of peft, or for GGUF models with adapter_model.gguf",
           .required = true),
    SELECT(lora_extract.modules, "use only these linear layers instead of all projections", .former = "modules"),
    FLAG("save-full", lora_extract.save_full,
         "store other changed tensors (embeddings, norms, biases) whole in the adapter; vLLM rejects such an adapter"),
    WRITING(lora_extract, "pair the weights and print what would be extracted" AND_PLAN)};

static const organ_option factor_options[] = {
    NUMBER("rank", "R", lora_extract.rank, "rank of each module; with --rank-by the highest rank",
           .letter = 'r', .range = {RANKS}, .fallback = "256", .common = true),
    TEXT("rank-by", "energy", lora_extract.rank_by,
         "give each module the lowest rank that explains SHARE of the squared norm of its change: --rank-by energy "
         "0.95, or energy=0.95"),
    FLAG("exact", lora_extract.exact,
         "compute full singular value decompositions: slow, and each matrix must fit --memory"),
    DTYPE(lora_extract.dtype, "type of the factors", .fallback = "bf16"),
    NUMBER("seed", "N", lora_extract.seed,
           "seed of the random vectors with which decompositions start", .range = {SEEDS}, .fallback = "0")};

static const organ_option repair_options[] = {
    INPUT("calibration", "TEXT", lora_extract.calibration.text,
          "choose the factors for the outputs of each layer on this text, to repair a base that was quantised or "
          "pruned from the tuned model", .common = true),
    WINDOWS_CALIBRATION(lora_extract), MOMENTS(lora_extract.moments), ALL_EXPERTS(lora_extract)};

/* --repair ORIGINAL DAMAGED: the operand, which otherwise is SHARE, is the base. */
static organ_status settle_extract(lora_call *own, organ_error *error)
{
    organ_lora_extract_options *const o = &own->lora_extract;
    if (own->repair && (o->base || o->tuned))
        return organ_fail(error, ORGAN_USAGE, "lora extract: --repair ORIGINAL DAMAGED replaces --base and --tuned");
    if (own->repair && (!o->share || !o->calibration.text))
        return organ_fail(error, ORGAN_USAGE, "lora extract: --repair %s needs %s", own->repair,
                          o->share ? "--calibration TEXT" : "the damaged model after it: --repair ORIGINAL DAMAGED");
    if (own->repair) {
        o->tuned = own->repair;
        o->base = o->share;
        o->share = NULL;
    }
    if (!o->base || !o->tuned)
        return organ_fail(error, ORGAN_USAGE, "lora extract: --%s MODEL is missing: %s", o->base ? "tuned" : "base",
                          o->base ? "the model that was tuned from the base"
                                  : "the model to which the adapter will be applied");
    return ORGAN_OK;
}

RUN_FIRST(extract, organ_lora_extract, lora_extract, if (settle_extract(own, error) != ORGAN_OK) return error->status)

const organ_verb organ_lora_extract_verb = {
    .name = "lora extract",
    .common = true,
    .shares = true,
    .summary = "make a LoRA adapter from the difference of two models",
    .usage = "--base MODEL --tuned MODEL -o ADAPTER [options]\n"
             "--repair ORIGINAL DAMAGED --calibration TEXT -o ADAPTER [options]",
    .about = "Makes a LoRA adapter from a tuned model and its base. For each linear layer organ computes the change "
             "of the weight W, and writes its best approximation of rank r as two factors A and B. peft and vLLM "
             "load them and use W + B A: the scale lora_alpha / r is 1.\n"
             "The base may be quantised (FP8, INT4, ...): the adapter then also corrects the error of quantisation, "
             "and on the quantised base it comes closer to the tuned model than an adapter made from the plain base.\n"
             "With --calibration the adapter repairs a base that was quantised or pruned from the tuned model: organ "
             "runs the text through both, one layer at a time, and chooses the factors of each matrix so that its "
             "outputs come closest to those of the tuned model. A rank of 16 to 64 suffices.\n"
             "If the model stores its experts stacked in one tensor, each expert gets its own two factors, listed "
             "under target_parameters. vLLM loads such an adapter for few model types, which the report regards. All "
             "experts of a layer get factors of the same rank, zeros if unchanged, because peft stacks them.\n"
             "The report states for each module which share of the squared norm of its change the factors explain, "
             "and lists changed tensors that are not linear layers (embeddings, norms, biases); --save-full stores "
             "those that peft or organ lora merge can apply. Names of modules are those of transformers 5, with "
             "which peft 0.21 loads them; organ warns of factors that peft ignores.",
    OPERANDS(OPTIONAL("SHARE", NOTHING, lora_extract.share,
                      "with --rank-by energy: share of the squared norm to explain, above 0 and at most 1; or write "
                      "energy=SHARE. With --repair: the damaged model")),
    NEEDS(NEED(lora_extract, lora_extract)),
    GROUPS(GROUP("Options", extract_options), GROUP("Factors", factor_options),
           GROUP("Repair of a damaged base", repair_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora extract --base Qwen2.5-7B --tuned my-model -o my-lora",
              "Writes the change of a tuned model as an adapter of rank 256."},
             {"organ lora extract --base Qwen2.5-7B-FP8 --tuned my-model -o my-lora -r 64",
              "Also corrects the error of FP8."},
             {"organ lora extract --repair MODEL INT3 -o A -r 16 --calibration TEXT",
              "Repairs a model that was quantised to 3 bits."},
             {"organ lora extract --base B --tuned T -o A --rank-by energy 0.95",
              "Gives each module the lowest rank that explains 95 % of its change."}),
    .exits = {.content = "shapes differ, a value is not finite, or nothing changed"},
    .run = run_extract};

/* ---- lora sanitize ---- */

static const organ_option sanitize_options[] = {
    OUTPUT("OUT", lora_sanitize.output, "new directory of the adapter; not with --check"),
    FLAG("check", lora_sanitize.check, "write nothing; list everything that a server would reject", .common = true),
    MODEL("base", "MODEL", lora_sanitize.base,
          "check that MODEL has every module, in the shape of the factors; an adapter of the other format (peft, GGUF) "
          "is converted to that of MODEL", .common = true),
    NUMBER("max-rank", "N", lora_sanitize.max_rank,
           "highest rank that the server accepts; default: no limit, with --check 512 (the limit of vLLM). organ "
           "reduces modules of a higher rank to their best approximation; --check only lists them",
           .range = {RANKS}, .common = true),
    CHOICE("to", "peft|mlx|gguf", lora_sanitize.to,
           "convert all factors, unchanged and with their scale, for peft, mlx-lm or llama.cpp. Between GGUF and the "
           "others --base is needed, a model with the names of the new format", .common = true),
    RESUME(lora_sanitize.resume),
    FORCE(lora_sanitize.force)};

RUN_REMOTE(sanitize, organ_lora_sanitize, lora_sanitize)

const organ_verb organ_lora_sanitize_verb = {
    .name = "lora sanitize",
    .shares = true,
    .summary = "make a LoRA adapter that servers accept, or check one",
    .about = "Writes an adapter that vLLM 0.32 accepts and peft loads. organ removes tensors that are not factors A or "
             "B, factors of norms, biases and rotary embeddings, and those of stacked experts, embeddings and head "
             "if vLLM has no LoRA on them for the model type of --base; the report lists each with the norm of the "
             "lost change. For model types of which vLLM loads stacks of experts, organ joins factors of each expert. "
             "In adapter_config.json, target_modules keeps only modules that still have factors, and modules_to_save "
             "becomes null.\n"
             "Some servers use one rank and one scale for an adapter. organ therefore multiplies the scale of each "
             "module (rsLoRA, alpha_pattern, rank_pattern) into its factor B, pads lower ranks with zeros and sets "
             "lora_alpha to r; the report measures the rounding of B. Adapters with DoRA are rejected, because organ "
             "cannot fold their norms into the factors without the base. Other files of the adapter are copied.",
    OPERANDS(OPERAND("ADAPTER", INPUT, lora_sanitize.adapter,
                     "the adapter, a directory in the format of peft or of mlx-lm, or a GGUF file; it is not changed")),
    GROUPS(GROUP("Options", sanitize_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora sanitize my-lora --check",
              "Lists what vLLM would reject; the exit code is 1 if there is anything."},
             {"organ lora sanitize my-lora -o servable --base Qwen2.5-7B",
              "Writes an adapter that can be served with that model."},
             {"organ lora sanitize adapters --to peft -o for-peft", "Converts an adapter of mlx-lm to peft."},
             {"organ lora sanitize my-lora -o servable --max-rank 64", "Reduces modules of a higher rank to 64."}),
    .exits = {.check = "--check finds something that a server would reject",
              .content = "a value is not finite, or the adapter is DoRA or does not fit the base"},
    .run = run_sanitize};

/* ---- lora merge ---- */

static const organ_option merge_options[] = {
    MODEL("base", "MODEL", lora_merge.base,
          "the model that the adapter was trained on, plain or packed; it is not changed", .required = true),
    INPUT("adapter", "DIR", lora_merge.adapter, "the adapter, a directory of peft or mlx-lm, or a GGUF file",
          .required = true),
    OUTPUT("OUT", lora_merge.write.output,
           "new directory with all files of MODEL; X.safetensors: one file without config.json", .required = true),
    REAL("scale", "S", lora_merge.scale,
         "multiply the change by S, in addition to the adapter's own scale; -1 subtracts it",
         .range = {-1e6, 1e6}, .fallback = "1", .common = true),
    DTYPE(lora_merge.dtype,
           "type of merged and of dequantised weights; default: merged weights keep their type, and packed ones "
           "become bf16", .common = true),
    FLAG("feedback", lora_merge.feedback,
         "round merged weights of 16 bits so that the errors of a row cancel in the directions of the adapter: keeps "
         "the effect of changes that are finer than the type", .common = true),
    FLAG("keep-tied", lora_merge.keep_tied, KEEP_TIED, .both = true),
    SHARD_SIZE(lora_merge),
    WRITING(lora_merge, "find the base weight of every tensor of the adapter and print what would be "
                             "merged" AND_PLAN)};

RUN_WRITING(merge, organ_lora_merge, lora_merge)

const organ_verb organ_lora_merge_verb = {
    .name = "lora merge",
    .common = true,
    .shares = true,
    .summary = "add a LoRA adapter to its base model",
    .about = "Writes a model in which every weight that the adapter changes is W + scale B A, computed in FP32 and "
             "rounded once to the written type. The scale of each module follows peft's rules for lora_alpha, r, "
             "use_rslora, rank_pattern and alpha_pattern; with DoRA each row is scaled to the norm that the adapter "
             "stores for it. Factors of embeddings are merged too; whole tensors of the adapter (modules_to_save, "
             "trained biases) and rows of trained tokens (trainable_token_indices) replace those of the base. "
             "Embedding and head may have more words than the base: organ changes config.json to match; the tokenizer "
             "is that of the base. If the adapter changes only one of a tied base's embedding and head, the output has "
             "a head of its own, as in the adapter that peft serves. A packed base (FP8, INT4, ...) is "
             "dequantised, and the output is plain.\n"
             "If a tensor of the adapter has no weight in the base, organ lists all such tensors and writes nothing.\n"
             "The report states for each module what share of the change is in the output: rounding discards changes "
             "below the precision of the type. organ warns if the share is below one half: --feedback keeps the "
             "effect of such a change, --dtype f32 the change itself.",
    GROUPS(GROUP("Options", merge_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora merge --base Qwen2.5-7B --adapter my-lora -o merged",
              "Writes a model that needs no adapter."},
             {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged",
              "Dequantises the FP8 base and merges."},
             {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged --resume",
              "Continues an interrupted run."},
             {"organ lora merge --base merged --adapter my-lora -o OUT --scale -1",
              "Subtracts the change again, except for what rounding discarded."}),
    .exits = {.content = "a tensor of the adapter has no weight in the base, or a factor is not finite"},
    .run = run_merge};

/* ---- lora combine ---- */

static const organ_option combine_options[] = {
    OUTPUT("OUT", lora_combine.write.output, "new directory of the adapter", .required = true),
    TEXT("method", "METHOD", lora_combine.method, "how to combine, see above",
         .choices = "cat|svd|linear|ties|ties_svd|dare_linear|dare_linear_svd|dare_ties|dare_ties_svd|"
                    "magnitude_prune|magnitude_prune_svd", .fallback = "cat", .common = true),
    TEXT("weights", "W,W...", lora_combine.weights,
         "factor of each adapter's change, with commas between; negative ones subtract; default 1 for each",
         .common = true),
    REAL("density", "D", lora_combine.density,
         "share of the values that ties, dare and magnitude_prune keep, for example 0.5", .range = {0, 1},
         .after_from = true, .common = true),
    CHOICE("majority-sign", "total|frequency", lora_combine.majority_sign,
           "the sign that ties elects: that of the sum of the values, or that of most of them", .fallback = "total"),
    NUMBER("rank", "R", lora_combine.rank,
           "highest rank of a module, which is cut to its best approximation; default: that of the method, for svd "
           "the highest of the adapters", .letter = 'r', .range = {RANKS}, .common = true),
    NUMBER("seed", "N", lora_combine.seed, "seed of the values that dare drops", .range = {SEEDS}, .fallback = "0"),
    DTYPE(lora_combine.dtype, "type of the factors; default: that of the adapters if no value changes, else F32"),
    CHOICE("to", "peft|mlx|gguf", lora_combine.to,
           "format of the output; default GGUF for GGUF adapters, else peft"),
    WRITING(lora_combine, "compare the adapters")};

static void settle_combine(lora_call *own)
{
    own->lora_combine.adapters = own->adapters.word;
    own->lora_combine.adapter_count = own->adapters.count;
}

RUN_FIRST(combine, organ_lora_combine, lora_combine, settle_combine(own))

const organ_verb organ_lora_combine_verb = {
    .name = "lora combine",
    .shares = true,
    .summary = "make one LoRA adapter of several",
    .about = "Makes one adapter of 2 to 16 adapters of one base, by the methods of peft's add_weighted_adapter, "
             "without the base. First it compares their changes B A: cosines, and shares of elements with equal and "
             "opposed signs, for each module and in sum.\n"
             "Method cat keeps all factors, one after the other: the change is exactly the weighted sum, the rank "
             "is the sum of the ranks. svd writes the best approximation of that sum of rank R. linear adds the "
             "factors A and the factors B, as peft does, so that the product also has each A with the B of other "
             "adapters.\n"
             "ties keeps the largest values, elects a sign for each place and takes the mean of those that have "
             "it. dare_linear drops values by chance, enlarges the others and adds them; dare_ties elects signs. "
             "magnitude_prune keeps the largest values and adds them. These combine the factors, for which all "
             "adapters must have one rank. With _svd they combine the changes B A and decompose the result; a "
             "matrix of every adapter must then fit --memory.\n"
             "A module that only some adapters change is combined from those. The scales of the adapters (alpha, "
             "rsLoRA, rank_pattern) are multiplied into the factors; cat keeps them unchanged if one scale is that of "
             "all. Adapters with DoRA are rejected: their change depends on the base.",
    OPERANDS(OPERAND("ADAPTER...", INPUT, adapters,
                     "the adapters: directories of peft or mlx-lm, or GGUF files; they are not changed")),
    GROUPS(GROUP("Options", combine_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora combine style task -o both", "One adapter with the changes of both, exactly."},
             {"organ lora combine style task -o both --method svd -r 16", "Their best approximation of rank 16."},
             {"organ lora combine a b c -n", "Compares three adapters."},
             {"organ lora combine a b -o both --method ties --density 0.5 --weights 0.7,0.3",
              "TIES of half of the values."}),
    .exits = {.content = "a value is not finite, or the method cannot combine these adapters"},
    .run = run_combine};

/* ---- lora resize ---- */

static const organ_option resize_options[] = {
    OUTPUT("OUT", lora_resize.output, "new directory of the adapter", .required = true),
    NUMBER("rank", "R", lora_resize.rank, "highest rank of a module", .required = true, .range = {RANKS},
         .common = true),
    REAL("energy", "E", lora_resize.energy,
         "give each module the lowest rank that keeps this share of the squared norm of its change, for example 0.95",
         .range = {0, 1}, .after_from = true, .common = true),
    RESUME(lora_resize.resume),
    FORCE(lora_resize.force)};

RUN(resize, organ_lora_resize, lora_resize)

const organ_verb organ_lora_resize_verb = {
    .name = "lora resize",
    .shares = true,
    .summary = "reduce the rank of a LoRA adapter by singular values",
    .about = "Writes an adapter of lower rank: the product B A of each module becomes its best approximation of that "
             "rank. organ computes the singular values of the scaled product from the factors alone. The report "
             "states for each module what share of its change is kept, and lists its singular values.\n"
             "Without --energy, a module of rank R or less keeps its factors. r becomes the highest remaining rank, "
             "and factors of a lower rank are padded with zeros. The scale is multiplied into B, and lora_alpha "
             "becomes r. A --rank above that of the adapter leaves the ranks unchanged. Tensors that are not factors "
             "are copied.",
    OPERANDS(OPERAND("ADAPTER", INPUT, lora_resize.adapter,
                     "the adapter, a directory of peft or mlx-lm, or a GGUF file; it is not changed")),
    GROUPS(GROUP("Options", resize_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora resize my-lora --rank 16 -o small", "Writes the best approximation of rank 16."},
             {"organ lora resize my-lora --rank 64 --energy 0.99 -o small",
              "Keeps 99 % of each module's change with the lowest rank, at most 64."}),
    .exits = {.content = "a value is not finite"},
    .run = run_resize};
