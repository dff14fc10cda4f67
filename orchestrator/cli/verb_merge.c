/* SPDX-License-Identifier: MIT
 * organ merge. */
#include "orchestrator/cli/cli_parts.h"

#include <organ/merge.h>
#include <organ/schemes.h>

typedef struct merge_call {
    organ_call call;
    organ_words models;   /* RECIPE.yaml or MODEL... */
    organ_words settings; /* --set */
    organ_words texts;    /* --calibration */
    organ_merge_options merge;
} merge_call;
#define CALL merge_call

/* Tables are laid out by hand. */
/* clang-format off */

#define OR_METHOD(name) "|" #name

static const organ_option merge_options[] = {
    OUTPUT("OUT", merge.write.output,
           "the new model: a directory, or one file if the name ends in .safetensors or .gguf",
           .required = true),
    TEXT("method", "METHOD", merge.method, "how the models are merged; needed without a recipe", .common = true,
         .choices = &ORGAN_MERGE_METHODS(OR_METHOD)[1]),
    MODEL("base", "MODEL", merge.base, "the model from which the others were tuned; default for slerp: the first",
          .common = true, .adapted = true),
    TEXT("weight", "W,...", merge.weight, "weight of all models, or of each model but the base; default 1",
         .common = true),
    TEXT("router-weight", "W,...", merge.router_weight, "weight of the routers of mixtures; default: --weight"),
    TEXT("density", "D,...", merge.density, "share of the changes that is kept, of all models or of each"),
    TEXT("t", "T", merge.t, "way from the base to the other model, 0 to 1", .common = true),
    WORDS("set", "NAME=VALUE", settings, "another parameter of the method; may be repeated"),
    WORDS("calibration", "TEXT", texts,
          "moments: the text of each model but the base, in their order; or one for all", .names = ORGAN_NAMES_INPUT),
    WINDOWS_CALIBRATION(merge),
    NUMBER("seed", "N", merge.seed, "seed of methods that choose at random", .range = {SEEDS}, .fallback = "0"),
    DTYPE(merge.dtype,
           "type of the output; default: that of each tensor of the base, BF16 for quantised ones"),
    CHOICE("missing", "error|base|any", merge.missing,
           "tensors that only some models have: an error, those of the base, or merged from the models that have them",
           .fallback = "error"),
    CHOICE("match-experts", "auto|off", merge.match_experts,
           "reorder the experts of a mixture as those of the base, else of the first model, where that brings them "
           "clearly nearer",
           .fallback = "auto"),
    /* --untie, of older versions, asks for the default: it undoes --no-untie */
    FLAG("keep-tied", merge.keep_tied, KEEP_TIED, .former = "no-untie", .both = true),
    FLAG("other-architecture", merge.other_architecture, "merge models of different architectures, too"),
    TEXT("then", "SCHEME", merge.then,
         "also quantise the merged model, to a scheme of quantize that needs no text; for those of GGUF, OUT is X.gguf",
         .choices = ORGAN_QUANTIZE_SCHEMES "|" ORGAN_QUANTIZE_RECIPES, .accepts = organ_scheme_is_named,
         .explain = organ_explain_then_of_merge, .common = true),
    SHARD_SIZE(merge),
    WRITING(merge, "check recipe and models and print what would be written" AND_PLAN)};

/* A single operand that ends in .yaml or .yml is a recipe. */
static void settle_merge(merge_call *own)
{
    const char *const first = own->models.count == 1 ? own->models.word[0] : "";
    const bool recipe = organ_names_recipe(first);
    own->merge.recipe = recipe ? first : NULL;
    own->merge.models = own->models.word;
    own->merge.model_count = recipe ? 0 : own->models.count;
    own->merge.texts = own->texts.word;
    own->merge.text_count = own->texts.count;
    own->merge.settings = own->settings.word;
    own->merge.setting_count = own->settings.count;
    own->merge.write.evaluate = organ_call_evaluation(&own->call);
    own->merge.access = &own->call.access;
}

RUN_FIRST(merge, organ_merge, merge, settle_merge(own))

const organ_verb organ_merge_verb = {
    .name = "merge",
    .shares = true,
    .summary = "merge several models into one",
    .usage = "RECIPE.yaml -o OUT [options]\n"
             "MODEL... --method METHOD -o OUT [options]",
    .about = "Merges models of one architecture tensor by tensor: their mean, a point between them, or a base with the "
             "changes of its tunes. A recipe is a file of mergekit: models, slices, modules, filters, gradients, dtype "
             "and out_dtype have the same meaning; keys that organ does not know are refused. Without a recipe the "
             "options give models and parameters.\n"
             "A recipe with experts, as of mergekit-moe, composes a mixture: the feed-forwards of dense models become "
             "its experts, and gate_mode makes its routers, also of a text of each expert (fit).\n"
             "Models are read strip by strip in bounded memory, quantised ones as the numbers that they mean. Sums are "
             "FP32 or better, and each value is rounded once. The configuration and the tokenizer are those of "
             "base_model, else of the first model; models with different vocabularies need a recipe with a section "
             "tokenizer. Vision and audio towers and draft layers are those of base_model, too. A warning names "
             "settings in which the models differ, such as rope_theta.\n"
             "A GGUF output, or one of quantised weights (--then), is what organ convert or organ quantize makes of "
             "the merged model, which is first written into a hidden directory next to the output.\n"
             "The report states how far each layer moved from each model; organ/recipe.yaml in OUT is the recipe with "
             "all defaults.",
    OPERANDS(ADAPTED("MODEL...", models,
                     "the models, also at URLs; MODEL+ADAPTER for one that a LoRA adapter changes; or one recipe whose "
                     "name ends in .yaml or .yml")),
    GROUPS(GROUP("Options", merge_options), EVALUATION_GROUP, MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ merge A B --method linear --weight 0.7,0.3 -o OUT", "Writes the weighted mean of two models."},
             {"organ merge A B --method moments --calibration A.txt --calibration B.txt -o C",
              "Fits the matrices to the outputs of both models on their texts."},
             {"organ merge A B --method linear --then q4_k -o merged.gguf", "Also quantises the mean, to a GGUF file."},
             {"organ merge recipe.yaml -o OUT --dry-run", "Checks a recipe against its models."},
             {"organ merge experts.yaml -o OUT.gguf", "Composes a mixture of dense models, as a GGUF file."},
             {"organ merge recipe.yaml -o OUT --evaluate TEXT", "Also scores the base and the output."}),
    .exits = {.content = "the recipe is malformed, or the models do not fit"},
    .run = run_merge};
