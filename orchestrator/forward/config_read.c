/* SPDX-License-Identifier: MIT
 * Reads the configuration of a model from the file that it has. */
#include "orchestrator/forward/families.h"

#include <stdlib.h>

organ_status organ_forward_config_read(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    *config = (organ_forward_config){0};
    const organ_status status =
        model->gguf ? organ_forward_config_gguf(model, config, error) : organ_forward_config_hf(model, config, error);
    if (status)
        organ_forward_config_release(config);
    return status;
}

void organ_forward_config_release(organ_forward_config *config)
{
    free(config->kinds);
    config->kinds = NULL;
    const organ_rope_config *const rope = &config->rope, *const local = &config->rope_local;
    if (local->short_factors != rope->short_factors)
        free((void *)local->short_factors);
    if (local->long_factors != rope->long_factors)
        free((void *)local->long_factors);
    free((void *)rope->short_factors);
    free((void *)rope->long_factors);
    config->rope = config->rope_local = (organ_rope_config){0};
}
