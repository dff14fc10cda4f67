/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_method.h"

#include <string.h>

static const organ_merge_method *const methods[] = {
    &organ_merge_linear,
    &organ_merge_slerp,
    &organ_merge_nuslerp,
    &organ_merge_multislerp,
    &organ_merge_karcher,
    &organ_merge_task_arithmetic,
    &organ_merge_ties,
    &organ_merge_dare_linear,
    &organ_merge_dare_ties,
    &organ_merge_della,
    &organ_merge_della_linear,
    &organ_merge_breadcrumbs,
    &organ_merge_breadcrumbs_ties,
    &organ_merge_model_stock,
    &organ_merge_nearswap,
    &organ_merge_sce,
    &organ_merge_arcee_fusion,
    &organ_merge_ram,
    &organ_merge_ramplus_tl,
    &organ_merge_moments,
    &organ_merge_passthrough,
};

const organ_merge_method *const *organ_merge_methods(size_t *count)
{
    *count = sizeof methods / sizeof *methods;
    return methods;
}

const organ_merge_method *organ_merge_method_named(const char *name)
{
    for (size_t k = 0; k < sizeof methods / sizeof *methods; k++)
        if (strcmp(methods[k]->name, name) == 0)
            return methods[k];
    return NULL;
}

size_t organ_merge_parameter_named(const organ_merge_method *method, const char *name)
{
    size_t k = 0;
    while (k < method->parameter_count && strcmp(method->parameters[k].name, name) != 0)
        k++;
    return k;
}
