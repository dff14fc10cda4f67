/* SPDX-License-Identifier: MIT
 * Settings of single layers after blocks were dropped: each kept block keeps its own. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "orchestrator/surgery/layers/layer_settings.h"

#include <stdlib.h>

/* Draft layers follow the layers of the text model. */
void organ_cut_edit_layers(const organ_cut_config *c)
{
    organ_cut_run *const run = c->run;
    organ_layer_origin *const origins = organ_arena_take(&run->arena, (run->layer_count + 1) * sizeof *origins);
    size_t count = 0;
    if (!origins) {
        organ_fail_memory(c->s.error, run->model->path);
        return;
    }
    for (size_t l = 0; l < run->layer_count; l++)
        if (run->facts[l].becomes >= 0)
            origins[count++] = (organ_layer_origin){c->s.object, c->layers, l, c->s.gguf};
    organ_layer_plan plan = {.s = c->s,
                             .layers = c->layers,
                             .all = run->layer_count,
                             .origins = origins,
                             .after = organ_cut_kept_before(run, c->layers),
                             .count = count};
    const uint64_t dense = c->s.gguf ? organ_settings_get(&c->s, "first_k_dense_replace") : 0;
    if (dense)
        organ_settings_set_number(&c->s, "first_k_dense_replace", organ_cut_kept_before(run, (size_t)dense));
    if (c->s.gguf)
        organ_layers_edit_arrays(&plan);
    else
        organ_layers_edit(&plan);
}

/* Layers of which experts, channels or heads are cut have other sizes. An architecture that organ does not know is not
 * checked. */
organ_status organ_cut_check_layers(const organ_cut_run *run, const organ_json_edit *config, size_t layers,
                                    organ_error *error)
{
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config donor = {0};
    organ_error unknown = {0};
    const bool same_sizes = !run->cuts_experts && !run->cuts_channels && !run->cuts_heads &&
                            !run->cuts_expert_channels && !run->cuts_shared_channels;
    ORGAN_OWNED const organ_layer_kind **const kinds = calloc(run->layer_count + 1, sizeof *kinds);
    size_t count = 0;
    if (!kinds)
        organ_fail_memory(error, run->model->path);
    else if (layers && organ_forward_config_read(run->model, &donor, &unknown) == ORGAN_OK) {
        for (size_t l = 0; l < layers && l < run->layer_count; l++)
            if (run->facts[l].becomes >= 0)
                kinds[count++] = &donor.kinds[l * (donor.layers / layers)];
        organ_layers_check(config, run->model->config.architecture, kinds, count, same_sizes, error);
    }
    return error->status;
}
