/* SPDX-License-Identifier: MIT
 * config.json of a composed mixture: that of the base with another class, the members of the mixture, and those whose
 * default differs between the two classes. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/architecture/sizes.h"
#include "orchestrator/output/output.h"

#include <string.h>

/* ---- members ---- */

static organ_status put(organ_json_edit *config, const char *name, json_t *value, organ_error *error)
{
    return organ_config_set(config, name, value, /*both=*/false, error);
}

static organ_status put_count(organ_json_edit *config, const char *name, uint64_t value, organ_error *error)
{
    return put(config, name, json_integer((json_int_t)value), error);
}

/* Adds a member unless config.json has it. Takes `value` over. */
static organ_status add(organ_json_edit *config, const char *name, json_t *value, organ_error *error)
{
    if (!organ_json_edit_has(config, NULL, name))
        return put(config, name, value, error);
    json_decref(value);
    return ORGAN_OK;
}

/* ---- groups of members ---- */

/* Members that a configuration of the base may leave out, because its class has other defaults. head_dim is left out
 * where every class computes it. */
static organ_status add_sizes(const organ_forward_config *c, organ_json_edit *config, organ_error *error)
{
    const bool rope = organ_json_edit_has(config, NULL, "rope_parameters");
    const bool usual = (uint64_t)c->head_dim * c->heads == c->hidden && !c->qk_norm;
    ORGAN_OWNED_JSON json_t *const all = organ_sizes_stated(c);
    const char *name;
    json_t *value;
    if (!all)
        return organ_fail_memory(error, config->label);
    json_object_foreach(all, name, value)
    {
        const bool skipped = (rope && strcmp(name, "rope_theta") == 0) || (usual && strcmp(name, "head_dim") == 0);
        if (!skipped && add(config, name, json_incref(value), error))
            break;
    }
    return error->status;
}

static organ_status put_granite(const merge_mixture *m, organ_json_edit *config, organ_error *error)
{
    static const char *const ones[] = {"embedding_multiplier", "residual_multiplier", "logits_scaling"};
    for (size_t k = 0; k < sizeof ones / sizeof *ones && !error->status; k++)
        put(config, ones[k], json_real(1), error);
    return error->status || put(config, "attention_multiplier", json_real(m->config.attention_scale), error)
               ? error->status
               : put_count(config, "shared_intermediate_size", m->shared ? m->config.intermediate : 0, error);
}

/* The factors of all experts add up to 1 already. llama.cpp reads no norm_topk_prob, and takes it for false in
 * Qwen2-MoE. */
static organ_status put_qwen(const merge_mixture *m, organ_json_edit *config, organ_error *error)
{
    const bool all = m->used == m->count && m->form->shared_gated;
    if (put_count(config, "moe_intermediate_size", m->config.intermediate, error) ||
        put_count(config, "decoder_sparse_step", 1, error) || put(config, "mlp_only_layers", json_array(), error) ||
        put(config, "norm_topk_prob", json_boolean(!all), error))
        return error->status;
    return m->shared ? put_count(config, "shared_expert_intermediate_size", m->config.intermediate, error)
                     : error->status;
}

/* A window that only Mistral states is the base's; other classes get none. */
static organ_status put_window(const merge_mixture *m, organ_json_edit *config, organ_error *error)
{
    if (m->form->windowed && m->config.window)
        return put_count(config, "sliding_window", m->config.window, error);
    if (!organ_json_edit_has(config, NULL, "sliding_window") && !m->config.window)
        return ORGAN_OK;
    if (!m->form->windowed && organ_json_edit_has(config, NULL, "use_sliding_window") &&
        put(config, "use_sliding_window", json_false(), error))
        return error->status;
    if (organ_json_edit_remove(config, "layer_types", NULL, error))
        return error->status;
    return put(config, "sliding_window", json_null(), error);
}

organ_status organ_mixture_edit(const model_merge *job, organ_json_edit *config, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    const bool qwen = strncmp(m->form->type, "qwen", 4) == 0;
    if (add_sizes(&m->config, config, error) || organ_json_edit_remove(config, "auto_map", NULL, error) ||
        put(config, "architectures", json_pack("[s]", m->form->architecture), error) ||
        put(config, "model_type", json_string(m->form->type), error) ||
        put_count(config, m->form->experts_key, m->count, error) ||
        put_count(config, "num_experts_per_tok", m->used, error) ||
        put(config, "output_router_logits", json_false(), error) || put_window(m, config, error))
        return error->status;
    if (qwen)
        return put_qwen(m, config, error);
    return m->form->stacked ? put_granite(m, config, error) : ORGAN_OK;
}
