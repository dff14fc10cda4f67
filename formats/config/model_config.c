/* SPDX-License-Identifier: MIT
 * Reads the configuration of a model of any format. */
#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "formats/config/gguf_readers.h"

#include <organ/architecture.h>
#include <stdlib.h>

organ_status organ_forward_config_read(const organ_model *model, organ_forward_config *config, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *config = (organ_forward_config){.multipliers = {1, 1, 1, 1, 1, 1, {1, 1, 1, 1, 1}, 1}, .head_scale = 1};
    const organ_status status =
        model->gguf ? organ_forward_config_gguf(model, config, error) : organ_forward_config_hf(model, config, error);
    if (status)
        organ_forward_config_release(config);
    return status;
}

/* The local rotation may share its factors with the main one; these are freed once. */
void organ_forward_config_release(organ_forward_config *config)
{
    organ_clear(&config->kinds);
    const organ_rope_config *const rope = &config->rope, *const local = &config->rope_local;
    if (local->short_factors != rope->short_factors)
        free((void *)local->short_factors);
    if (local->long_factors != rope->long_factors)
        free((void *)local->long_factors);
    free((void *)rope->short_factors);
    free((void *)rope->long_factors);
    config->rope = config->rope_local = (organ_rope_config){0};
}
