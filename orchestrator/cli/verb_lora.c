/* SPDX-License-Identifier: MIT
 * lora extract, sanitize, merge, resize: the verbs that make or take a LoRA adapter. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/lora/lora.h"

typedef struct lora_call {
    organ_call call;
    organ_lora_extract_options lora_extract;
    organ_lora_sanitize_options lora_sanitize;
    organ_lora_merge_options lora_merge;
    organ_lora_resize_options lora_resize;
} lora_call;
#define CALL lora_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- lora extract ---- */

static const organ_option extract_options[] = {
    MODEL("base", "MODEL", lora_extract.base,
          "the model that the adapter will sit on: plain, or quantised as it will be served", .required = true),
    MODEL("tuned", "MODEL", lora_extract.tuned, "what was made of it; both are only read", .required = true),
    OUTPUT("ADAPTER", lora_extract.write.output, "the directory to make, as peft saves it", .required = true),
    NUMBER("rank", "R", lora_extract.rank,
           "the rank of each module, or the most with --rank-by",
           .letter = 'r', .range = {RANKS}, .fallback = "256"),
    TEXT("rank-by", "energy", lora_extract.rank_by,
         "no more rank in each module than explains that SHARE of the square of its change: --rank-by energy 0.95, or "
         "energy=0.95"),
    TEXT("modules", "GLOB,...", lora_extract.modules,
         "linear layers by name or last word (q_proj); if not given, all projections: q, k, v, o, gate, up, down, also "
         "fused ones"),
    FLAG("exact", lora_extract.exact, "whole singular value decompositions: slow, and each matrix must fit --memory"),
    FLAG("save-full", lora_extract.save_full,
         "keep what else changed (embeddings, norms, biases) whole in the adapter; vLLM refuses such an adapter"),
    CHOICE("dtype", "bf16|f16|f32", lora_extract.dtype, "the type of the factors", .fallback = "bf16"),
    NUMBER("seed", "N", lora_extract.seed,
           "of the random vectors that decompositions start from", .range = {SEEDS}, .fallback = "0"),
    WRITING(lora_extract, "ADAPTER", "pair the weights and say what would be extracted")};

RUN(extract, organ_lora_extract, lora_extract)

const organ_verb organ_lora_extract_verb = {
    .name = "lora extract",
    .shares = true,
    .summary = "make a LoRA adapter of what tuning changed",
    .about = "Compares a tuned model with its base and writes, for each linear layer, the best approximation of the "
             "change by two factors of low rank, in the form that peft and vLLM load: B A is added to the weight, "
             "lora_alpha is r.\n"
             "A quantised base (FP8, INT4, ...) is dequantised strip by strip on the way, and the adapter then "
             "corrects what quantising took away, too: on that base it comes closer to the tuned model than an adapter "
             "made from the plain base.\n"
             "What changed and is no linear layer (embeddings, norms, biases, stacked experts) is listed with the size "
             "of its change; --save-full keeps it. ADAPTER/organ/LORA_REPORT.md (and .html) and lora_extract.json say "
             "for each module how much of its change is explained, measured with the factors as they are stored.\n"
             "A run that is interrupted leaves no half adapter; --resume goes on with it, with as many processes under "
             "mpirun or srun as before.",
    OPERANDS(OPTIONAL("SHARE", NOTHING, lora_extract.share, "of --rank-by energy")),
    GROUPS(GROUP("Options", extract_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora extract --base Qwen2.5-7B --tuned my-model -o my-lora",
              "What tuning changed, as an adapter of rank 256."},
             {"organ lora extract --base Qwen2.5-7B-FP8 --tuned my-model -o my-lora -r 64",
              "Mends what FP8 took away, too."},
             {"organ lora extract --base B --tuned T -o A --rank-by energy 0.95", "To each module the rank it needs."}),
    .exits = "0 done; 2 wrong usage, or ADAPTER exists; 3 a file is malformed or changed meanwhile, shapes differ, a "
             "value is not finite, or nothing changed; 4 the disk is full or refuses; 130 interrupted (to be resumed).",
    .run = run_extract};

/* ---- lora sanitize ---- */

static const organ_option sanitize_options[] = {
    OUTPUT("OUT", lora_sanitize.output, "the adapter to make, a directory; not with --check"),
    FLAG("check", lora_sanitize.check, "write nothing, list everything that a server would refuse"),
    MODEL("base", "MODEL", lora_sanitize.base, "see that MODEL has every module, in the shape that the factors have"),
    NUMBER("max-rank", "N", lora_sanitize.max_rank,
           "the rank that the server is set to: higher ones are cut to their best approximation, or with --check "
           "refused; a check takes 512 if it is not given, the most that vLLM serves", .range = {RANKS}),
    FORCE(lora_sanitize.force, "OUT")};

RUN_REMOTE(sanitize, organ_lora_sanitize, lora_sanitize)

const organ_verb organ_lora_sanitize_verb = {
    .name = "lora sanitize",
    .shares = true,
    .summary = "make a LoRA adapter fit to be served, or check that it is",
    .about = "Writes an adapter that vLLM accepts and peft loads. Left out are tensors that are no factors and keys "
             "that contain lm_head, embed_tokens, norm, bias, layernorm or rotary_emb: each is named with the size of "
             "what is lost. target_modules loses what has no key any more, modules_to_save becomes null.\n"
             "A server knows one rank and one scale: the scale of each module (rsLoRA, alpha_pattern, rank_pattern) is "
             "folded into its B, lower ranks are filled up with zeros, and lora_alpha is r. What the adapter does to "
             "the modules that stay is the same, but for rounding B to its type, which the report measures.\n"
             "DoRA cannot be folded without the base and is refused. Other files of the adapter come along; OUT/organ "
             "has the report.",
    OPERANDS(OPERAND("ADAPTER", INPUT, lora_sanitize.adapter,
                     "the adapter, as peft saves it: a directory; it is only read, never changed")),
    GROUPS(GROUP("Options", sanitize_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora sanitize my-lora --check",
              "Says what vLLM would refuse; the exit code is 1 if there is anything."},
             {"organ lora sanitize my-lora -o servable --base Qwen2.5-7B",
              "An adapter that can be served with that model."},
             {"organ lora sanitize my-lora -o servable --max-rank 64", "Modules of a higher rank are cut to 64."}),
    .exits = "0 done, or nothing was found; 1 --check found something that a server would refuse; 2 wrong usage, or "
             "OUT exists; 3 the adapter is malformed, has values that are not finite, is DoRA, or does not fit the "
             "base; 4 the disk is full or refuses; 130 interrupted, and nothing is left.",
    .run = run_sanitize};

/* ---- lora merge ---- */

static const organ_option merge_options[] = {
    MODEL("base", "MODEL", lora_merge.base,
          "the model that the adapter was trained on, plain or packed; it is only read", .required = true),
    INPUT("adapter", "DIR", lora_merge.adapter, "the adapter, as peft saves it", .required = true),
    OUTPUT("OUT", lora_merge.write.output,
           "the directory to make, with all files of MODEL; X.safetensors: one file and no config", .required = true),
    REAL("scale", "S", lora_merge.scale,
         "multiply the whole change by S, besides the adapter's own scale; -1 takes it out again",
         .range = {-1e6, 1e6}, .fallback = "1"),
    CHOICE("dtype", "bf16|f16|f32", lora_merge.dtype,
           "the type of merged weights and of what was packed; if not given, merged weights keep theirs and packed "
           "ones become bf16"),
    SHARD_SIZE(lora_merge),
    WRITING(lora_merge, "OUT", "find a place for every key and say what would be merged")};

RUN_WRITING(merge, organ_lora_merge, lora_merge)

const organ_verb organ_lora_merge_verb = {
    .name = "lora merge",
    .shares = true,
    .summary = "put a LoRA adapter into its base",
    .about = "Writes a model in which every weight that the adapter changes is W + scale B A: computed in FP32, strip "
             "by strip, and rounded once to the type that is written. The scale of each module is what peft makes of "
             "lora_alpha, r, use_rslora, rank_pattern and alpha_pattern; pairs of embeddings are merged too, and "
             "tensors that the adapter brings whole (modules_to_save, trained biases) replace the base's. If the base "
             "is packed (FP8, INT4, ...), it is dequantised on the way and the output is plain. With DoRA each row of "
             "W + scale B A is brought to the norm that the adapter has for it.\n"
             "Every key of the adapter must find its place in the base: else all that do not are listed, and nothing "
             "is written.\n"
             "For each module the report says how much of the change arrived: a change that is finer than the type can "
             "hold is rounded away silently, and below one half that is a warning. OUT/organ/LORA_MERGE_REPORT.md (and "
             ".html) and lora_merge.json have all of it. A run that is interrupted leaves no half model; --resume goes "
             "on with it.\n"
             ORGAN_EVALUATION_ABOUT("the base without the adapter"),
    GROUPS(GROUP("Options", merge_options), EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora merge --base Qwen2.5-7B --adapter my-lora -o merged",
              "A model that needs no adapter any more."},
             {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged",
              "The base is dequantised from FP8 on the way."},
             {"organ lora merge --base DeepSeek-V3 --adapter my-lora -o merged --resume",
              "Goes on where a killed run stopped."},
             {"organ lora merge --base merged --adapter my-lora -o OUT --scale -1",
              "Takes the change out again, but for what was rounded away."}),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 a file is malformed or changed meanwhile, a key finds no place, "
             "or a factor is not finite; 4 the disk is full or refuses; 130 interrupted (to be "
             "resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_merge};

/* ---- lora resize ---- */

static const organ_option resize_options[] = {
    OUTPUT("OUT", lora_resize.output, "the adapter to make, a directory", .required = true),
    NUMBER("rank", "R", lora_resize.rank, "no module has a higher rank", .required = true, .range = {RANKS}),
    REAL("energy", "E", lora_resize.energy,
         "give each module the lowest rank that keeps this share of the squared norm of its change, for example 0.95",
         .range = {0, 1}, .after_from = true),
    FORCE(lora_resize.force, "OUT")};

RUN(resize, organ_lora_resize, lora_resize)

const organ_verb organ_lora_resize_verb = {
    .name = "lora resize",
    .shares = true,
    .summary = "give a LoRA adapter a lower rank, by singular values",
    .about = "Writes the adapter whose products B A are the best approximations of a lower rank: singular values of "
             "scale B A, found from the factors without forming the product. The report says for each module how much "
             "of its change is explained by what is kept, and lists its singular values.\n"
             "A module whose rank is low enough keeps its factors. r is the highest rank that is left; lower ones are "
             "filled up with zeros, the scale is folded into B and lora_alpha is r. A rank above that of the adapter "
             "changes nothing else: there is nothing to put into it. Tensors that are no factors are copied as they "
             "are.",
    OPERANDS(OPERAND("ADAPTER", INPUT, lora_resize.adapter,
                     "the adapter, as peft saves it: a directory; it is only read, never changed")),
    GROUPS(GROUP("Options", resize_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ lora resize my-lora --rank 16 -o small", "The best adapter of rank 16 that my-lora has in it."},
             {"organ lora resize my-lora --rank 64 --energy 0.99 -o small",
              "As little rank as 99 % of each module's change take, 64 at most."}),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the adapter is malformed or has values that are not finite; 4 "
             "the disk is full or refuses; 130 interrupted, and nothing is left.",
    .run = run_resize};
