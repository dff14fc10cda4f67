/* SPDX-License-Identifier: MIT
 * Pairs the weights of both models and selects those that get factors. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/architecture/families.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/surgery/merge/merge_input.h"

#include <organ/base.h>
#include <stdlib.h>
#include <string.h>

#define WEIGHT ".weight"

/* Returns X for "X.weight", which the caller frees, and NULL for other names. If memory runs out, *memory becomes
 * false. */
static char *module_of(const char *name, bool *memory)
{
    size_t length = strlen(name);
    if (!organ_cut_end(name, &length, WEIGHT))
        return NULL;
    char *const module = strndup(name, length);
    *memory = module != NULL;
    return module;
}

static const char *last_word(const char *module)
{
    const char *const dot = strrchr(module, '.');
    return dot ? dot + 1 : module;
}

/* Names of the parameters of a module of experts, in the order in which peft wraps them. */
#define INNER_PARAMETER "experts.gate_up_proj"
#define OUTER_PARAMETER "experts.down_proj"

static const forward_mixture *plan_mixture(const organ_lora_job *job)
{
    const forward_family *const family = organ_forward_family_named(job->base->config.architecture, /*gguf=*/false);
    return family ? family->mixture : NULL;
}

/* Such a stack is a bare parameter of a module of peft (organ_lora_module). The files of some architectures do not
 * show whether the matrices are transposed (forward_mixture.or_straight). */
static bool is_parameter(const organ_lora_job *job, const organ_weight *weight)
{
    const forward_mixture *const mixture = plan_mixture(job);
    return !job->base->gguf && weight->rank == 3 && weight->shape[0] > 1 && !(mixture && mixture->or_straight) &&
           (organ_ends_in_words(weight->name, INNER_PARAMETER) || organ_ends_in_words(weight->name, OUTER_PARAMETER));
}

static bool can_have_factors(const organ_lora_job *job, const organ_weight *weight)
{
    const bool stack = weight->rank == 3 && job->base->gguf && weight->anatomy.experts != ORGAN_EXPERTS_NONE;
    return (weight->rank == 2 || stack || is_parameter(job, weight)) && weight->anatomy.role != ORGAN_ROLE_EMBED;
}

static bool is_selected(const organ_lora_job *job, const organ_weight *weight, const organ_selection *selection)
{
    return can_have_factors(job, weight) && weight->elements > 0 &&
           organ_selection_has_name(selection, weight->name, &weight->anatomy,
                                    organ_role_describe(weight->anatomy.role)->projection) &&
           organ_selection_has_layer(selection, weight->anatomy.layer);
}

static organ_status check_shape(const organ_lora_job *job, const organ_weight *base, const organ_weight *tuned,
                                organ_error *error)
{
    if (ORGAN_SAME_SHAPE(base, tuned))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%.300s' is %llu x %llu, in %s it is %llu x %llu (rank %u)",
                      job->tuned->path, tuned->name, (unsigned long long)tuned->shape[0],
                      (unsigned long long)tuned->shape[1], job->base->path,
                      (unsigned long long)(base->rank ? base->shape[0] : 1),
                      (unsigned long long)(base->rank > 1 ? base->shape[1] : 1), base->rank);
}

/* Returns NULL if peft can apply factors of the module `key`, a name in transformers. */
static const char *refused_reason(const organ_lora_job *job, const char *key, organ_module_form form)
{
    if (job->base->gguf)
        return NULL;
    if (form == ORGAN_MODULE_SPLIT)
        return "transformers cuts it into several modules";
    if (form == ORGAN_MODULE_JOINED)
        return "transformers joins it with another matrix in one module";
    return organ_peft_refuses(job->base->config.model_type, last_word(key))
               ? "peft does not apply factors of this module of its model type"
               : NULL;
}

/* `base` or `tuned` is NULL if that model does not have the weight. */
static void add_other(organ_lora_job *job, const organ_weight *base, const organ_weight *tuned)
{
    organ_lora_other *const other = &job->others[job->other_count++];
    *other = (organ_lora_other){.base = base, .tuned = tuned};
    if (!tuned)
        other->why = "the tuned model does not have it";
    else if (!base)
        other->why = "the base does not have it";
    else if (!ORGAN_SAME_SHAPE(base, tuned))
        other->why = "its shape differs";
    else if (!organ_weight_has_numbers(base) || !organ_weight_has_numbers(tuned))
        other->why = "its type is not supported";
}

/* The function takes over `name`; `target` is the name of the module in transformers. */
static organ_status add_linear_layer(organ_lora_job *job, const organ_weight *base, const organ_weight *tuned,
                                     char *name, const char *target, organ_error *error)
{
    const forward_mixture *const mixture = plan_mixture(job);
    const bool parameter = is_parameter(job, tuned),
               module = !job->base->gguf && !parameter && base->anatomy.expert < 0;
    job->modules[job->module_count++] = (organ_lora_module){
        .base = base,
        .tuned = tuned,
        .name = name,
        .target = target,
        .key = base->anatomy.expert < 0 && !organ_peft_renames(job->base->config.model_type) ? target : name,
        .as_weight = module && (base->anatomy.role == ORGAN_ROLE_ROUTER ||
                                organ_peft_converts(job->base->config.model_type, last_word(target))),
        .parameter = parameter,
        .turned = parameter ? organ_lora_stacks_are_turned(mixture) : organ_lora_is_turned(job->orientation, base),
        .rank = job->options->write.dry_run ? organ_lora_max_rank(job, base) : 0};
    job->packed += base->scheme != ORGAN_SCHEME_PLAIN;
    return check_shape(job, base, tuned, error);
}

static organ_status place_weight(organ_lora_job *job, const organ_weight *tuned, const organ_selection *selection,
                                 organ_error *error)
{
    const organ_weight *const base = organ_weights_named(job->base_weights, tuned->name);
    bool memory = true;
    char *module = module_of(tuned->name, &memory);
    if (!module && memory && is_parameter(job, tuned))
        memory = (module = strdup(tuned->name)) != NULL;
    if (!memory)
        return organ_fail_memory(error, job->tuned->path);
    organ_module_form form = ORGAN_MODULE_WHOLE;
    const char *const key = module ? organ_lora_name_in_transformers(job, module, &form) : NULL;
    if (module && !key) {
        free(module);
        return organ_fail_memory(error, job->tuned->path);
    }
    const bool selected = module && base && organ_weight_has_numbers(base) && organ_weight_has_numbers(tuned) &&
                          is_selected(job, tuned, selection);
    const char *reason = selected ? refused_reason(job, key, form) : NULL;
    if (selected && !reason && job->untapped && tuned->scheme == ORGAN_SCHEME_PLAIN &&
        job->untapped[tuned->codes - job->tuned->tensors])
        reason = "no layer of the forward pass multiplies inputs by it, so the text does not reach it";
    if (selected && !reason)
        return add_linear_layer(job, base, tuned, module, key, error);
    free(module);
    add_other(job, base, tuned);
    job->others[job->other_count - 1].reason = reason;
    return ORGAN_OK;
}

/* Two parameters of one module of peft are paired; the first has the inner wrapper. */
static organ_status plan_wrappers(organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->module_count; k++) {
        organ_lora_module *const inner = &job->modules[k];
        size_t length = strlen(inner->name);
        if (!inner->parameter || !organ_cut_end(inner->name, &length, INNER_PARAMETER))
            continue;
        char *const other = organ_format("%.*s%s", (int)length, inner->name, OUTER_PARAMETER);
        if (!other)
            return organ_fail_memory(error, job->tuned->path);
        for (size_t m = 0; m < job->module_count && !inner->inner; m++)
            if (job->modules[m].parameter && strcmp(job->modules[m].name, other) == 0)
                inner->inner = inner->paired = job->modules[m].paired = true;
        free(other);
        organ_rows_passed();
    }
    return ORGAN_OK;
}

organ_status organ_lora_plan(organ_lora_job *job, organ_error *error)
{
    const organ_weights *const b = job->base_weights, *const t = job->tuned_weights;
    organ_selection selection;
    job->orientation = organ_lora_orientation_of(job->base, b, NULL);
    if (organ_selection_parse(job->options->modules, NULL, "modules", &selection, error))
        return error->status;
    organ_selection_set_model(&selection, job->tuned);
    job->modules = organ_rows_take(t->count + 1, sizeof *job->modules);
    job->others = organ_rows_take(b->count + t->count + 1, sizeof *job->others);
    job->base_names = organ_rows_take(b->count + 1, sizeof *job->base_names);
    if (!job->modules || !job->others || !job->base_names)
        organ_fail_memory(error, job->tuned->path);
    for (size_t k = 0; k < b->count && !error->status; k++) {
        organ_module_form form;
        if (!(job->base_names[k] = organ_lora_name_in_transformers(job, b->weights[k].name, &form)))
            organ_fail_memory(error, job->base->path);
    }
    for (size_t k = 0; k < t->count && !error->status; k++)
        place_weight(job, &t->weights[k], &selection, error);
    for (size_t k = 0; k < b->count && !error->status; k++)
        if (!organ_weights_named(t, b->weights[k].name))
            add_other(job, &b->weights[k], /*tuned=*/NULL);
    if (!error->status && plan_wrappers(job, error) == ORGAN_OK)
        organ_lora_group_experts(job, error);
    if (!error->status)
        organ_selection_check_used(&selection, "linear layer", job->tuned->path, error);
    organ_selection_release(&selection);
    if (!error->status && job->module_count == 0)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s and %s have no linear layer of the same name: are they a base and a model tuned from it?",
                   job->base->path, job->tuned->path);
    return error->status;
}
