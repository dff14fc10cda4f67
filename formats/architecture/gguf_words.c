/* SPDX-License-Identifier: MIT
 * Adds the names of GGUF keys to messages of config_check.c, which name members of config.json for both formats. */
#include "formats/architecture/config_gguf.h"

#include <stdio.h>
#include <string.h>

#define MOST_KEYS 6 /* keys of a row of message_keys */

/* A row has words that identify a message, and the keys whose values the message rejects. The first row whose words
 * are in the message applies. */
static const struct {
    const char *words, *keys[MOST_KEYS];
} message_keys[] = {
    {"index_head_dim", {"attention.indexer.key_length"}},
    {"index_n_heads", {"attention.indexer.head_count"}},
    {"index_topk", {"attention.indexer.top_k"}},
    {"num_hidden_layers", {"block_count", "nextn_predict_layers"}},
    {"num_attention_heads", {"attention.head_count", "attention.head_count_kv"}},
    {"num_key_value_heads", {"attention.head_count_kv"}},
    {"hidden_size", {"embedding_length"}},
    {"v_head_dim", {"attention.value_length", "attention.value_length_mla"}},
    {"qk_nope_head_dim", {"attention.key_length", "attention.key_length_mla", "rope.dimension_count"}},
    {"qk_rope_head_dim", {"rope.dimension_count"}},
    {"kv_lora_rank", {"attention.kv_lora_rank"}},
    {"q_lora_rank", {"attention.q_lora_rank"}},
    {"eps of norms", {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"}},
    {"original_max_position_embeddings", {"rope.scaling.original_context_length"}},
    {"max_position_embeddings", {"context_length"}},
    {"n_group", {"expert_group_count", "expert_group_used_count", "expert_count"}},
    {"num_experts_per_tok", {"expert_used_count", "expert_count"}},
    {"intermediate size of an expert", {"expert_feed_forward_length", "feed_forward_length"}},
    {"intermediate size of the shared",
     {"expert_feed_forward_length", "expert_shared_count", "expert_shared_feed_forward_length"}},
    {"intermediate_size", {"feed_forward_length", "expert_shared_feed_forward_length"}},
    {"layers have no experts", {"leading_dense_block_count", "block_count"}},
    {"head are rotated", {"rope.dimension_count", "rope.dimension_count_swa", "attention.key_length"}},
    {"head_dim",
     {"attention.key_length", "attention.key_length_mla", "attention.key_length_swa", "embedding_length",
      "attention.head_count"}},
    {"rope_theta", {"rope.freq_base", "rope.freq_base_swa"}},
    {"rope scaling factor", {"rope.scaling.factor", "rope.scale_linear"}},
    {"beta_fast",
     {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.factor", "rope.scaling.attn_factor",
      "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_log_multiplier"}},
    {"attention_factor",
     {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.factor",
      "rope.scaling.yarn_log_multiplier"}},
    {"queries are scaled",
     {"attention.temperature_scale", "attention.temperature_length", "rope.scaling.original_context_length"}},
    {"scale of attention scores", {"attention.scale", "rope.scaling.factor", "rope.scaling.yarn_log_multiplier"}},
    {"scale of the values", {"attention.value_scale"}},
    {"scale of the experts", {"expert_weights_scale"}},
    {"experts read vectors", {"moe_latent_size"}},
    {"clipping limit", {"attention.clamp_kqv"}},
    {"ALiBi", {"attention.max_alibi_bias"}},
    {"soft caps", {"attn_logit_softcapping", "final_logit_softcapping"}},
    {"kernel of", {"ssm.conv_kernel", "shortconv.l_cache"}},
    {"heads of recurrent layers",
     {"ssm.inner_size", "ssm.time_step_rank", "ssm.group_count", "kda.head_dim", "attention.head_count"}},
    {"key heads", {"ssm.group_count", "ssm.time_step_rank"}},
    {"in recurrent layers", {"ssm.time_step_rank", "ssm.state_size", "ssm.inner_size", "kda.head_dim"}},
    {"width of their keys", {"ssm.state_size", "kda.head_dim"}},
    {"width of their values", {"ssm.inner_size", "kda.head_dim"}},
    {"rank of their time steps", {"ssm.time_step_rank"}},
};

static void append_keys(const config_gguf_source *s, const char *const *keys)
{
    char *const message = s->error->message, full[CONFIG_KEY_LIMIT];
    size_t length = strlen(message), named = 0;
    for (size_t k = 0; k < MOST_KEYS && keys[k]; k++) {
        if (!organ_key_find(s, keys[k], full))
            continue;
        snprintf(message + length, sizeof s->error->message - length, "%s%s", named++ ? ", " : " (keys: ", full);
        length = strlen(message);
    }
    if (named)
        snprintf(message + length, sizeof s->error->message - length, ")");
}

void organ_key_name_fault(const config_gguf_source *s)
{
    const char *const message = s->error->message;
    if (s->error->status != ORGAN_BAD_INPUT || strstr(message, "key '") || strstr(message, "tensor '"))
        return;
    for (size_t k = 0; k < sizeof message_keys / sizeof *message_keys; k++)
        if (strstr(message, message_keys[k].words)) {
            append_keys(s, message_keys[k].keys);
            return;
        }
}
