/* SPDX-License-Identifier: MIT */
#include "orchestrator/forward/config.h"

#include "orchestrator/forward/families.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
static const forward_family families[] = {
    {"LlamaForCausalLM",    "llama",    TRAIT_BIAS_FIELD | TRAIT_MLP_BIAS, 0, 1e4, 0},
    {"MistralForCausalLM",  NULL,       TRAIT_WINDOW_ALL, 0, 1e4, 0},
    {"MixtralForCausalLM",  NULL,       TRAIT_WINDOW_ALL | TRAIT_MIXTRAL, 0, 1e6, 0},
    {"Qwen2ForCausalLM",    "qwen2",    TRAIT_QKV_BIAS | TRAIT_WINDOW_FLAG, 0, 1e4, 0},
    {"Qwen3ForCausalLM",    "qwen3",    TRAIT_BIAS_FIELD | TRAIT_QK_NORM | TRAIT_WINDOW_FLAG, 128, 1e4, 0},
    {"Qwen3MoeForCausalLM", "qwen3moe", TRAIT_BIAS_FIELD | TRAIT_QK_NORM | TRAIT_QWEN_EXPERTS, 0, 1e4, 0},
    {"Qwen2MoeForCausalLM", "qwen2moe", TRAIT_QKV_BIAS | TRAIT_QWEN_EXPERTS | TRAIT_SHARED_EXPERT, 0, 1e4, 0},
    {"Glm4MoeForCausalLM",  "glm4moe",
     TRAIT_LOGISTIC_EXPERTS | TRAIT_QKV_BIAS_FIELD | TRAIT_QK_NORM_FIELD | TRAIT_HALF_ROPE | TRAIT_NORM_AS_ATTENDED,
     0, 1e4, 0},
    {"Dots1ForCausalLM",    "dots1",
     TRAIT_LOGISTIC_EXPERTS | TRAIT_BIAS_FIELD | TRAIT_QK_NORM | TRAIT_WINDOW_FROM, 0, 1e4, 0},
    {"Phi3ForCausalLM",     "phi3",     TRAIT_WINDOW_ALL, 0, 1e4, 0},
    {"GemmaForCausalLM",    NULL,       TRAIT_BIAS_FIELD | TRAIT_GEMMA_ONE, 256, 1e4, 0},
    {"Gemma2ForCausalLM",   "gemma2",   TRAIT_BIAS_FIELD | TRAIT_GEMMA | TRAIT_SOFTCAPS, 256, 1e4, 2},
    {"Gemma3ForCausalLM",   "gemma3",
     TRAIT_BIAS_FIELD | TRAIT_GEMMA | TRAIT_SOFTCAPS | TRAIT_QK_NORM | TRAIT_LOCAL_ROPE, 256, 1e6, 6},
    {"SmolLM3ForCausalLM",  NULL,       TRAIT_BIAS_FIELD | TRAIT_MLP_BIAS | TRAIT_WINDOW_FLAG | TRAIT_NO_ROPE_LIST,
     0, 2e6, 0},
    {"Olmo2ForCausalLM",    NULL,       TRAIT_BIAS_FIELD | TRAIT_POST_NORMS | TRAIT_QK_NORM_ALL, 0, 1e4, 0},
    {"Olmo3ForCausalLM",    NULL,
     TRAIT_BIAS_FIELD | TRAIT_POST_NORMS | TRAIT_QK_NORM_ALL | TRAIT_LAYER_TYPES | TRAIT_PLAIN_LOCAL, 0, 1e4, 4},
    {"Exaone4ForCausalLM",  NULL,
     TRAIT_POST_NORMS | TRAIT_QK_NORM | TRAIT_LAYER_TYPES | TRAIT_NO_ROPE_FULL, 0, 1e4, 4},
    {"GraniteForCausalLM",  NULL,       TRAIT_BIAS_FIELD | TRAIT_MLP_BIAS | TRAIT_MULTIPLIERS, 0, 1e4, 0},
    {"SeedOssForCausalLM",  NULL,       TRAIT_QKV_BIAS_FIELD | TRAIT_OUT_BIAS_FIELD | TRAIT_MLP_BIAS, 128, 1e4, 0},
    {"MinistralForCausalLM", NULL,      TRAIT_LAYER_TYPES, 0, 1e4, 0},
    {"HeliumForCausalLM",   NULL,       TRAIT_BIAS_FIELD | TRAIT_MLP_BIAS | TRAIT_INTERLEAVED, 128, 1e5, 0},
    {"Ernie4_5ForCausalLM", NULL,       TRAIT_USE_BIAS | TRAIT_INTERLEAVED, 128, 5e5, 0},
};
/* clang-format on */

const forward_family *organ_forward_family_named(const char *architecture, bool gguf)
{
    for (size_t k = 0; k < sizeof families / sizeof *families; k++) {
        const char *name = gguf ? families[k].gguf : families[k].architecture;
        if (name && strcmp(name, architecture) == 0)
            return &families[k];
    }
    return NULL;
}

organ_status organ_forward_family_refuse(const char *label, const char *architecture, bool gguf, organ_error *error)
{
    char known[1024] = "";
    size_t used = 0;
    for (size_t k = 0; k < sizeof families / sizeof *families; k++) {
        const char *const name = gguf ? families[k].gguf : families[k].architecture;
        if (name && used < sizeof known)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", name);
    }
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: architecture '%.100s' is not supported by the forward pass, which knows %s", label,
                      *architecture ? architecture : "(none)", known);
}

bool organ_forward_config_pattern(organ_forward_config *config, unsigned pattern)
{
    bool *windowed = calloc(config->layers ? config->layers : 1, sizeof *windowed);
    for (unsigned k = 0; windowed && k < config->layers; k++)
        windowed[k] = pattern <= 1 || (k + 1) % pattern != 0;
    free((void *)config->windowed);
    config->windowed = windowed;
    return windowed != NULL;
}

static organ_status check_rope(const char *label, const organ_forward_config *c, const organ_rope_config *rope,
                               organ_error *error)
{
    if (rope->dimensions == 0 || rope->dimensions % 2 || rope->dimensions > c->head_dim)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: %u of %u dimensions of a head are rotated: not an even number from 2 to head_dim", label,
                          rope->dimensions, c->head_dim);
    if (!(rope->theta > 1) || !isfinite(rope->theta))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: rope_theta is %g, not above 1", label, rope->theta);
    if (rope->kind != ORGAN_ROPE_DEFAULT && (!(rope->factor > 0) || !isfinite(rope->factor)))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the rope scaling factor is %g, not above 0", label,
                          rope->factor);
    if (rope->kind != ORGAN_ROPE_DEFAULT && rope->kind != ORGAN_ROPE_LINEAR && rope->original_context == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: original_max_position_embeddings is 0", label);
    if (rope->kind == ORGAN_ROPE_DYNAMIC && rope->dimensions == 2)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: rope_type 'dynamic' has no meaning for 2 dimensions of a head",
                          label);
    if (rope->kind == ORGAN_ROPE_LONGROPE && (!(rope->attention_factor > 0) || !isfinite(rope->attention_factor)))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the attention factor of the rotation is %g, not above 0", label,
                          rope->attention_factor);
    if (rope->kind == ORGAN_ROPE_LLAMA3 &&
        !(rope->low_freq_factor > 0 && rope->high_freq_factor > rope->low_freq_factor))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: high_freq_factor %g is not above low_freq_factor %g", label,
                          rope->high_freq_factor, rope->low_freq_factor);
    if (rope->kind == ORGAN_ROPE_YARN &&
        !(rope->beta_slow > 0 && rope->beta_fast > 0 && isfinite(rope->attention_factor)))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: beta_fast %g, beta_slow %g, attention_factor %g: not above 0",
                          label, rope->beta_fast, rope->beta_slow, rope->attention_factor);
    return ORGAN_OK;
}

static organ_status check_numbers(const char *label, const organ_forward_config *c, organ_error *error)
{
    if (!(c->rms_eps >= 0) || !isfinite(c->rms_eps))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: rms_norm_eps is %g, below 0", label, c->rms_eps);
    if (!(c->attention_scale > 0) || !isfinite(c->attention_scale))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the scale of attention scores is %g, not above 0", label,
                          c->attention_scale);
    if (!(c->attention_softcap >= 0) || !isfinite(c->attention_softcap) || !(c->final_softcap >= 0) ||
        !isfinite(c->final_softcap))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: soft caps of %g and %g: below 0", label, c->attention_softcap,
                          c->final_softcap);
    return ORGAN_OK;
}

/* A group is ranked by its two best experts, so it needs two; and the chosen groups must contain experts_used
 * experts. */
static organ_status check_groups(const char *label, const organ_forward_config *c, organ_error *error)
{
    const unsigned groups = c->router_groups, used = c->router_groups_used;
    if (groups < 2)
        return ORGAN_OK;
    if (groups > ORGAN_ROUTER_GROUPS || c->experts % groups || c->experts / groups < 2)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: %u groups of experts: %u are not 2 or more in each of up to %d groups", label, groups,
                          c->experts, ORGAN_ROUTER_GROUPS);
    if (used == 0 || used > groups)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %u of %u groups of experts are chosen from", label, used,
                          groups);
    if (c->experts_used > used * (c->experts / groups))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: num_experts_per_tok is %u, and the %u groups that are chosen from have %u experts",
                          label, c->experts_used, used, used * (c->experts / groups));
    return ORGAN_OK;
}

static organ_status check_experts(const char *label, const organ_forward_config *c, organ_error *error)
{
    if (c->experts == 0)
        return ORGAN_OK;
    if (c->experts_used == 0 || c->experts_used > c->experts)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: num_experts_per_tok is %u with %u experts", label,
                          c->experts_used, c->experts);
    if (c->expert_intermediate == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the intermediate size of an expert is 0", label);
    if (c->shared_intermediate > 1 << 24)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the intermediate size of the shared expert is %u, not up to %u",
                          label, c->shared_intermediate, 1u << 24);
    if (!(c->router_scale >= 0) || !isfinite(c->router_scale))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: what experts give is scaled by %g, which is not above 0", label,
                          (double)c->router_scale);
    return check_groups(label, c, error);
}

void organ_forward_config_logistic(organ_forward_config *c, unsigned shared)
{
    const uint64_t width = c->expert_intermediate * shared;
    c->logistic_router = true;
    c->shared_intermediate = width > UINT32_MAX ? UINT32_MAX : (unsigned)width;
}

organ_status organ_forward_config_check(const char *label, organ_forward_config *c, organ_error *error)
{
    if (c->dense_layers > c->layers)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the first %u of %u layers have no experts", label,
                          c->dense_layers, c->layers);
    if (c->dense_layers && c->dense_layers == c->layers)
        c->experts = c->experts_used = c->dense_layers = 0;
    const struct {
        const char *name;
        uint64_t value, most;
    } sizes[] = {{"num_hidden_layers", c->layers, FORWARD_MOST_LAYERS},
                 {"num_attention_heads", c->heads, 1 << 16},
                 {"num_key_value_heads", c->kv_heads, 1 << 16},
                 {"head_dim", c->head_dim, 1 << 14},
                 {"hidden_size", c->hidden, 1 << 20},
                 {"intermediate_size", c->experts && !c->dense_layers ? 1 : c->intermediate, 1 << 24},
                 {"vocab_size", c->vocabulary, 1 << 28}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++)
        if (sizes[k].value == 0 || sizes[k].value > sizes[k].most)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is %" PRIu64 ", not from 1 to %" PRIu64, label,
                              sizes[k].name, sizes[k].value, sizes[k].most);
    if (c->heads % c->kv_heads)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: num_attention_heads is %u, no multiple of num_key_value_heads %u", label, c->heads,
                          c->kv_heads);
    if (c->head_dim % 2)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: head_dim is %u, not even", label, c->head_dim);
    if ((uint64_t)c->heads * c->head_dim > (1 << 24))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %u heads of %u are more than this program works on", label,
                          c->heads, c->head_dim);
    if (c->windowed && c->window == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layers have a sliding window of 0 tokens", label);
    if (check_numbers(label, c, error) || check_experts(label, c, error) || check_rope(label, c, &c->rope, error))
        return error->status;
    return check_rope(label, c, &c->rope_local, error);
}
