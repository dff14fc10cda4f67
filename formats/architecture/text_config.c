/* SPDX-License-Identifier: MIT
 * Finds the text part of a multimodal model in config.json and in the names of tensors. */
#include "formats/architecture/text_config.h"

#include "formats/base/json_text.h"
#include <organ/base.h>
#include "formats/architecture/families.h"

#include <stdio.h>
#include <string.h>

/* Published files of Gemma 3 leave out what transformers' Gemma3TextConfig has by default. */
#define GEMMA3_DEFAULTS                                                                                                \
    "{\"vocab_size\": 262208, \"hidden_size\": 2304, \"intermediate_size\": 9216, \"num_hidden_layers\": 26, "         \
    "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"head_dim\": 256, \"rms_norm_eps\": 1e-6, "              \
    "\"max_position_embeddings\": 131072, \"sliding_window\": 4096}"

/* The architecture of the text part of multimodal models, by model_type of the text part. */
/* clang-format off */
static const struct {
    /* defaults: missing members with their values, as a JSON object; NULL: published files are complete */
    const char *model_type, *architecture, *defaults;
} text_models[] = {
    {"llama",               "LlamaForCausalLM",      NULL},
    {"glm4v_text",         "Glm4ForCausalLM", NULL},
    {"glm4v_moe_text",     "Glm4MoeForCausalLM", NULL},
    {"paddleocr_vl_text",   "LlamaForCausalLM",      NULL},
    {"qwen2_5_omni_text",  "Qwen2ForCausalLM", NULL},
    {"qwen3_omni_moe_text","Qwen3MoeForCausalLM", NULL},
    {"granite_docling_text","GraniteForCausalLM", NULL},
    {"mixtral",            "MixtralForCausalLM", NULL},
    {"qwen2_moe",          "Qwen2MoeForCausalLM", NULL},
    {"qwen3_moe",          "Qwen3MoeForCausalLM", NULL},
    {"gemma",              "GemmaForCausalLM", NULL},
    {"gemma2",             "Gemma2ForCausalLM", NULL},
    {"cohere",             "CohereForCausalLM", NULL},
    {"cohere2",            "Cohere2ForCausalLM", NULL},
    {"phi",                "PhiForCausalLM", NULL},
    {"phi3",               "Phi3ForCausalLM", NULL},
    {"opt",                "OPTForCausalLM", NULL},
    {"stablelm",           "StableLmForCausalLM", NULL},
    {"persimmon",          "PersimmonForCausalLM", NULL},
    {"glm",                "GlmForCausalLM", NULL},
    {"glm4",               "Glm4ForCausalLM", NULL},
    {"glm4_moe",           "Glm4MoeForCausalLM", NULL},
    {"deepseek_v2",        "DeepseekV2ForCausalLM", NULL},
    {"granite",            "GraniteForCausalLM", NULL},
    {"granitemoehybrid",   "GraniteMoeHybridForCausalLM", NULL},
    {"hyperclovax",        "HyperCLOVAXForCausalLM", NULL},
    {"exaone4",            "Exaone4ForCausalLM", NULL},
    {"ernie4_5",           "Ernie4_5ForCausalLM", NULL},
    {"smollm3",            "SmolLM3ForCausalLM", NULL},
    {"lfm2",               "Lfm2ForCausalLM", NULL},
    {"lfm2_moe",           "Lfm2MoeForCausalLM", NULL},
    {"olmo2",              "Olmo2ForCausalLM", NULL},
    {"nemotron_h",         "NemotronHForCausalLM", NULL},
    {"mistral",             "MistralForCausalLM",    NULL},
    {"ministral3",          "Ministral3ForCausalLM", NULL},
    {"mistral4",            "Mistral4ForCausalLM",   NULL},
    {"qwen2",               "Qwen2ForCausalLM",      NULL},
    {"qwen3",               "Qwen3ForCausalLM",      NULL},
    {"qwen2_vl",            "Qwen2ForCausalLM",      NULL}, /* these two: published files have no text_config */
    {"qwen2_5_vl",          "Qwen2ForCausalLM",      NULL},
    {"qwen2_vl_text",       "Qwen2ForCausalLM",      NULL},
    {"qwen2_5_vl_text",     "Qwen2ForCausalLM",      NULL},
    {"qwen3_vl_text",       "Qwen3ForCausalLM",      NULL},
    {"qwen3_vl_moe_text",   "Qwen3VLMoeForConditionalGeneration", NULL},
    {"gemma3_text",         "Gemma3ForCausalLM",     GEMMA3_DEFAULTS},
    {"gemma3n_text",        "Gemma3nForCausalLM",    NULL},
    {"gemma4_text",         "Gemma4ForCausalLM",     NULL},
    {"llama4_text",         "Llama4ForCausalLM",     NULL},
    {"deepseek_v3",         "DeepseekV3ForCausalLM", NULL},
    {"kimi_k2",             "DeepseekV3ForCausalLM", NULL},
    {"qwen3_5_text",        "Qwen3_5ForCausalLM",    NULL},
    {"qwen3_5_moe_text",    "Qwen3_5MoeForCausalLM", NULL},
};
/* clang-format on */

static const char *word_in(const json_t *value) { return json_is_string(value) ? organ_json_plain(value) : NULL; }

static void add_defaults(json_t *text, const char *defaults)
{
    bool no_memory = false;
    json_error_t fault;
    json_t *const missing = defaults ? organ_json_load(defaults, strlen(defaults), 0, &fault, &no_memory) : NULL;
    if (missing)
        json_object_update_missing(text, missing);
    json_decref(missing);
}

/* The architecture of these model types is not the one in `architectures`: transformers saves such models with the
 * class of another architecture, but with the published names of tensors. */
static const struct {
    const char *model_type, *architecture;
} published[] = {{"exaone", "ExaoneForCausalLM"}, {"sarvam_moe", "SarvamMoEForCausalLM"}};

json_t *organ_config_text(json_t *root, const char **architecture)
{
    json_t *const nested = json_object_get(root, "text_config");
    const bool has_text = json_object_size(nested) > 0;
    json_t *const text = has_text ? nested : root;
    const char *const type = word_in(json_object_get(text, "model_type"));
    for (size_t k = 0; type && k < sizeof published / sizeof *published; k++)
        if (strcmp(type, published[k].model_type) == 0)
            *architecture = published[k].architecture;
    if (!has_text && !strstr(*architecture, "ForConditionalGeneration"))
        return root;
    const char *const own = word_in(json_array_get(json_object_get(nested, "architectures"), 0));
    /* That class of transformers does not cap its logits; Gemma3ForCausalLM does. */
    if (strcmp(*architecture, "Gemma3ForConditionalGeneration") == 0)
        json_object_del(text, "final_logit_softcapping");
    if (own)
        *architecture = own;
    for (size_t k = 0; type && k < sizeof text_models / sizeof *text_models; k++)
        if (strcmp(type, text_models[k].model_type) == 0) {
            *architecture = text_models[k].architecture;
            add_defaults(text, text_models[k].defaults);
        }
    return text;
}

const char *const organ_base_words[] = {"model.", "transformer.", "gpt_neox.", "backbone.", "biogpt.", NULL};

static bool has_prefixed(const organ_weights *weights, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return organ_weights_named(weights, full) != NULL;
}

/* The family's prefix shrinks word by word from the front until the model has an embedding of that name. */
const char *organ_text_prefix(const forward_family *family, const organ_weights *weights)
{
    static const char *const prefixes[] = {"model.",
                                           "model.language_model.",
                                           "language_model.model.",
                                           "model.text_model.",
                                           "model.llm.",
                                           "thinker.model.",
                                           "llm.model.",
                                           "language_model.",
                                           "text_model.",
                                           ""};
    const char *const embedding = organ_forward_part_name(family->names, PART_EMBEDDING, false, 0);
    for (const char *own = family->prefix; own; own = *own ? strchr(own, '.') + 1 : NULL)
        if (has_prefixed(weights, own, embedding))
            return own;
    for (size_t k = 0; !family->prefix && k < sizeof prefixes / sizeof *prefixes; k++)
        if (has_prefixed(weights, prefixes[k], embedding))
            return prefixes[k];
    return family->prefix ? family->prefix : prefixes[0];
}

const char *organ_text_head(const organ_weights *weights)
{
    static const char *const heads[] = {"lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"};
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
        if (organ_weights_named(weights, heads[k]))
            return heads[k];
    return heads[0];
}
