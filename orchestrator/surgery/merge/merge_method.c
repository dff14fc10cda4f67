/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_method.h"

#include <string.h>

#define ROW(name) &organ_merge_##name,
static const organ_merge_method *const methods[] = {ORGAN_MERGE_METHODS(ROW)};

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
