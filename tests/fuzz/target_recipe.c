/* SPDX-License-Identifier: MIT
 * Recipes of organ merge: the YAML, its sections, and the parameters of tensors at several places. */
#include "orchestrator/verbs/merge/merge_job.h"
#include "tests/fuzz/targets.h"

#include <math.h>
#include <stdlib.h>

enum { MAX_SOURCES = 64 };

static const char *const tensors[] = {"model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight",
                                      "model.layers.0.block_sparse_moe.experts.2.w1.weight", "lm_head.weight"};

static void evaluate(const merge_recipe *recipe, const merge_slice *slice, double t, const char *name)
{
    const size_t count = slice->source_count < MAX_SOURCES ? slice->source_count : MAX_SOURCES;
    const char *names[MAX_SOURCES];
    size_t sources[MAX_SOURCES];
    double *const values = calloc(recipe->method->parameter_count * (count ? count : 1) + 1, sizeof *values);
    organ_error error = {0};
    fuzz_require(values != NULL, "there is memory");
    for (size_t k = 0; k < count; k++) {
        names[k] = name;
        sources[k] = k;
    }
    const merge_place place = {
        .slice = slice, .t = t, .output = name, .inputs = names, .sources = sources, .count = count};
    const organ_merge_task task = {.values = values, .inputs = count, .base = recipe->base != MERGE_NONE};
    fuzz_check_verdict(organ_merge_evaluate(recipe, &place, values, &error), &error);
    for (size_t k = 0; !error.status && k < recipe->method->parameter_count * count; k++)
        fuzz_require(isfinite(values[k]), "a value is a number");
    if (!error.status && count && recipe->method->check)
        fuzz_check_verdict(recipe->method->check(&task, &error), &error);
    free(values);
}

static void check_recipe(const merge_recipe *recipe)
{
    fuzz_require(recipe->method && recipe->slice_count > 0, "a recipe has a method and a part");
    fuzz_require(recipe->base == MERGE_NONE || recipe->base < recipe->donor_count, "the base is one of the models");
    for (size_t s = 0; s < recipe->slice_count; s++) {
        const merge_slice *const slice = &recipe->slices[s];
        fuzz_require(slice->source_count > 0, "a slice has a model");
        for (size_t k = 0; k < slice->source_count; k++)
            fuzz_require(slice->sources[k].donor < recipe->donor_count, "a source is one of the models");
        for (size_t k = 0; s < 8 && k < sizeof tensors / sizeof *tensors; k++)
            evaluate(recipe, slice, (double)k / 3, tensors[k]);
    }
    for (size_t k = 0; k < recipe->tokens.rule_count; k++)
        fuzz_require(recipe->tokens.rules[k].kind == MERGE_TOKEN_ZERO ||
                         recipe->tokens.rules[k].donor < recipe->donor_count,
                     "a rule names one of the models");
}

void fuzz_recipe(const uint8_t *data, size_t size)
{
    organ_error error = {0};
    merge_recipe recipe;
    organ_merge_options options = organ_merge_defaults();
    fuzz_file(NULL, 0, data, size, 0);
    options.recipe = fuzz_file_path();
    const organ_status status = organ_merge_recipe_read(&options, &recipe, &error);
    fuzz_check_verdict(status, &error);
    if (status == ORGAN_OK)
        check_recipe(&recipe);
    organ_merge_recipe_release(&recipe);
}
