/* SPDX-License-Identifier: MIT
 * Names in transformers, for the adapter. */
#include "orchestrator/surgery/lora/extract_job.h"

#include <string.h>

const char *organ_lora_name_in_transformers(organ_lora_job *job, const char *name, organ_module_form *form)
{
    char other[ORGAN_MODULE_NAME_SIZE];
    *form = ORGAN_MODULE_WHOLE;
    if (!job->base->gguf && organ_module_name(job->base->config.model_type, name, other, sizeof other, form))
        name = other;
    return organ_arena_copy(&job->names, name, strlen(name));
}
