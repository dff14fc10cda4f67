/* SPDX-License-Identifier: MIT
 * organ compare. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/inspect.h>

typedef struct compare_call {
    organ_call call;
    organ_words models;
    organ_compare_options compare;
} compare_call;
#define CALL compare_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option compare_options[] = {
    MODEL("base", "MODEL", compare.base,
          "take differences from this model; without it, from the base that the distances show", .common = true,
          .adapted = true),
    FLAG("patch", compare.patch,
         "also measure the size of patches from the base, or else from the first model, to the others (organ patch "
         "extract)")};

static void settle_compare(compare_call *own)
{
    own->compare.models = own->models.word;
    own->compare.model_count = own->models.count;
    own->compare.access = &own->call.access;
}

RUN_FIRST(compare, organ_compare, compare, settle_compare(own))

const organ_verb organ_compare_verb = {
    .name = "compare",
    .summary = "measure how models differ, and find their common base",
    .about = "Compares up to 8 models of one architecture, in any formats: quantised weights are read as the numbers "
             "that they mean, GGUF in the names of safetensors. For each pair it prints distance, cosine and the share "
             "of equal signs by role; the report has them for each layer, with a map. It finds which models descend "
             "from one base, which of them is the base, and the nearest relative of each.\n"
             "It also lists what a merge would clash on: settings, shapes, heads and vocabularies that differ, and "
             "tensors that only some models have. Experts of mixtures are matched first, so that another numbering is "
             "no difference.",
    OPERANDS(ADAPTED("MODEL...", models,
                     "two or more models: directories, .safetensors, .gguf, URLs; MODEL+ADAPTER for one that a LoRA "
                     "adapter changes")),
    GROUPS(GROUP("Options", compare_options), ALONE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ compare base tune1 tune2", "Distances, and how alike the changes of both tunes are."},
             {"organ compare model.gguf candidate1 candidate2", "Which of two models was quantised."}),
    .exits = {.content = "the models have no tensor in common"},
    .run = run_compare};
