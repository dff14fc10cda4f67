/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/peft_rules.h"

#include <stddef.h>
#include <string.h>

static bool is_listed(const char *list, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = list; *at; at += strcspn(at, " "), at += strspn(at, " "))
        if (strcspn(at, " ") == length && memcmp(at, word, length) == 0)
            return true;
    return false;
}

/* Source: _MODEL_TO_CONVERSION_PATTERN of transformers 5.24, and _MOE_TARGET_MODULE_MAPPING in
 * utils/transformers_weight_conversion.py of peft 0.21. */
bool organ_peft_converts(const char *model_type, const char *word)
{
    static const char mixtral[] = "mixtral minimax minimax_m2",
                      qwen[] = "afmoe beam cohere2_moe deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5_moe "
                               "exaone_moe flex_olmo glm4_moe glm4_moe_lite glm4v_moe glm_moe_dsa hunyuan_v1_moe "
                               "longcat_flash mellum olmoe qwen3_moe qwen3_next qwen3_omni_moe qwen3_omni_moe_text "
                               "qwen3_omni_moe_thinker sarvam_mla solar_open";
    return (is_listed(mixtral, model_type) && is_listed("gate w1 w2 w3", word)) ||
           (is_listed(qwen, model_type) && is_listed("gate gate_proj up_proj down_proj", word));
}

/* The pattern "mlp.shared_expert." of conversion_mapping.py also matches "mlp.shared_experts". */
bool organ_peft_renames(const char *model_type) { return strcmp(model_type, "laguna") == 0; }

/* peft converts adapters of model types with conversions of their own, not those of the language model in them. */
bool organ_peft_ignores_experts(const char *model_type) { return is_listed("kimi_k25 qwen3_5_moe", model_type); }

/* Source: _check_lora_target_modules_mamba in tuners/tuners_utils.py of peft 0.21, and slow_forward of the Mamba mixers
 * in transformers. */
bool organ_peft_refuses(const char *model_type, const char *word)
{
    return (is_listed("falcon_h1 mamba mamba2 falcon_mamba nemotron_h", model_type) &&
            is_listed("out_proj conv1d", word)) ||
           (is_listed("mamba falcon_mamba jamba", model_type) && is_listed("dt_proj", word));
}
