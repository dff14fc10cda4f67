/* SPDX-License-Identifier: MIT
 * models: lists the models in the caches of Hugging Face, Ollama and LM Studio. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/health/list_models.h"

typedef struct models_call {
    organ_call call;
    organ_models_options models;
} models_call;
#define CALL models_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option models_options[] = {
    TEXT("match", "GLOB", models.match, "list only models whose name matches, for example 'ollama:*'")};

RUN(models, organ_models, models)

const organ_verb organ_models_verb = {
    .name = "models",
    .no_job = true,
    .summary = "list the models in the caches of Hugging Face, Ollama and LM Studio",
    .about = "Lists the models that Hugging Face's libraries, Ollama and LM Studio have downloaded, with "
             "architecture, format and size, and what organ can do with each. Every verb accepts the listed names "
             "instead of a path. organ reads the headers of the files and no weights.\n"
             "'open' means that the files are complete and well-formed. 'score' means that perplexity, evaluate and "
             "generate support the architecture and find every weight; tokenizers are not read. 'calibrate' means in "
             "addition that at least one matrix of a layer is F32, F16 or BF16, for prune --calibration and quantize "
             "--method gptq. 'cut' means that blocks are numbered, so that the verb layers can drop some. For a "
             "model that does not open or does not score, --json and --html give the reason.\n"
             "At most 10000 models are listed.",
    GROUPS(GROUP("Options", models_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ models", "Prints all models with what organ can do with them."},
             {"organ models --match 'hf:Qwen/*' --json | jq -r .models[].name",
              "Prints the names of Qwen's models in the Hugging Face cache."}),
    .exits = "0 done, also if models do not open; 2 wrong usage; 4 a folder cannot be listed, or memory is exhausted; "
             "130 interrupted.",
    .run = run_models};
