/* SPDX-License-Identifier: MIT
 * Members of config.json of Gemma 3n and Gemma 4. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/convert/convert_job.h"

/* Each layer has the width of its feed-forward and the share of its gates that become 0. The model has the rank of
 * Laurel, the flag altup_correct_scale and the number of per-layer embeddings. */
int organ_convert_put_streams(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    json_t *widths, *parts;
    int failed = 0;
    if (!c->streams)
        return 0;
    widths = json_array();
    parts = json_array();
    for (unsigned l = 0; l < c->layers; l++) {
        const organ_layer_kind *const kind = &c->kinds[l];
        failed |= json_array_append_new(widths, json_integer((json_int_t)kind->intermediate));
        failed |=
            json_array_append_new(parts, json_real(kind->gate_is_cut ? organ_forward_gate_part(kind->gate_cut) : 0.0));
    }
    return failed | !ORGAN_ADD(config, SET("intermediate_size", widths), SET("activation_sparsity_pattern", parts),
                               SET_COUNT("laurel_rank", c->laurel_rank),
                               SET_FLAG("altup_correct_scale", c->streams_scaled),
                               SET_COUNT("vocab_size_per_layer_input", c->per_layer_vocabulary));
}

int organ_convert_put_gemma(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    if (!job->family->global_heads)
        return 0;
    const organ_layer_kind *const full = organ_exchange_kind(c, false), *const local = organ_exchange_kind(c, true);
    const bool wide = c->kinds[c->layers - 1].intermediate > c->kinds[0].intermediate, equal = full->value_is_key;
    const uint64_t rows = c->per_layer_width ? c->per_layer_vocabulary : c->vocabulary;
    return !ORGAN_ADD(config, SET_COUNT("head_dim", local->head_dim), SET_COUNT("global_head_dim", full->head_dim),
                      SET_COUNT("num_key_value_heads", local->kv_heads), SET_FLAG("attention_k_eq_v", equal),
                      SET_COUNT_OF("num_global_key_value_heads", equal, full->kv_heads),
                      SET_COUNT("intermediate_size", c->kinds[0].intermediate), SET_FLAG("use_double_wide_mlp", wide),
                      SET_FLAG("enable_moe_block", c->dual_ffn), SET_COUNT("vocab_size_per_layer_input", rows));
}
