/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/servers.h"

#include "formats/base/word_lists.h"

#include <string.h>

/* Sources: lora/peft_helper.py, lora/lora_model.py and lora/utils.py of vLLM 0.32.0. */
static const organ_served table[] = {
    {"modules_to_save", NULL, false, NULL, "vLLM 0.32 loads whole modules only for classifiers"},
    {"use_dora", NULL, false, NULL, "vLLM 0.32 does not support DoRA"},
    {"lora_bias", NULL, false, NULL, "vLLM 0.32 does not support biases of B"},
    {"bias", NULL, false, NULL, "vLLM 0.32 does not support trained biases"},
    {"trainable_token_indices", NULL, false, NULL, "vLLM 0.32 does not load rows of trained tokens"},
    {"rank_pattern", NULL, true, NULL,
     "vLLM 0.32 uses the rank of each module; servers that ignore the field, as vLLM 0.31 does, use one rank"},
    {"alpha_pattern", NULL, true, NULL,
     "vLLM 0.32 uses the lora_alpha of each module; servers that ignore the field, as vLLM 0.31 does, use one scale"},
    {"embeddings", "lm_head|embed_tokens|wte", true, "refused for the type",
     "vLLM 0.32 loads factors of embedding and head for Llama, Qwen 3 and others, not for Mistral, Qwen 2 and Gemma"},
    {"experts", "", true, NULL,
     "vLLM 0.32 loads factors of each expert of this model type with --enable-mixed-moe-lora-format, and joined ones, "
     "which sanitize writes for a base that stacks its experts, without"},
    {"stacks", "", false, "a stack of experts",
     "the factors of a stack of experts: vLLM 0.32 loads stacks for GPT-OSS, Qwen 3.5 MoE, Qwen 3 VL MoE and Qwen 3 "
     "Omni, for others the factors of each expert"},
    {"whole", "", false, "not a factor of LoRA", "not a factor of LoRA"},
    {"norms", "layernorm|norm", false, "factors of a norm", "vLLM 0.32 loads no factors of norms"},
    {"biases", "bias", false, "factors of a bias", "vLLM 0.32 loads no factors of biases"},
    {"rotary_emb", "rotary_emb", false, "factors of rotary_emb", "vLLM 0.32 loads no factors of rotary embeddings"},
};

enum { ROWS = sizeof table / sizeof *table };

/* The attribute embedding_modules of the classes in model_executor/models of vLLM 0.32.0; that of NemotronH lists the
 * embedding alone. Wrappers of several modalities take that of their language model. */
static const char embedded[] =
    "ApertusForCausalLM Cohere2ForCausalLM CohereForCausalLM DeciLMForCausalLM Ernie4_5ForCausalLM "
    "Exaone4ForCausalLM ExaoneForCausalLM ExaoneMoeForCausalLM FalconH1ForCausalLM GraniteForCausalLM "
    "GraniteMoeForCausalLM GraniteMoeHybridForCausalLM GraniteMoeSharedForCausalLM GraniteSWAForCausalLM "
    "HyperCLOVAXForCausalLM InternLM3ForCausalLM JambaForCausalLM Lfm2ForCausalLM Lfm2MoeForCausalLM "
    "Llama4ForCausalLM Llama4ForConditionalGeneration LlamaForCausalLM MiniCPM3ForCausalLM MiniCPMForCausalLM "
    "MixtralForCausalLM NemotronForCausalLM Phi3ForCausalLM PhiMoEForCausalLM PhimoeForCausalLM Qwen3ForCausalLM "
    "Qwen3MoeForCausalLM Qwen3_5ForCausalLM Qwen3_5ForConditionalGeneration Qwen3_5MoeForCausalLM "
    "Qwen3_5MoeForConditionalGeneration SolarForCausalLM";

/* The attribute is_3d_moe_weight of the same classes. */
static const char stacked[] =
    "GptOssForCausalLM InternS1ProForConditionalGeneration Qwen3OmniMoeForConditionalGeneration "
    "Qwen3OmniMoeThinkerForConditionalGeneration Qwen3VLMoeForConditionalGeneration "
    "Qwen3_5MoeForCausalLM Qwen3_5MoeForConditionalGeneration";

const organ_served *organ_served_row(unsigned k) { return k < ROWS ? &table[k] : NULL; }

const organ_served *organ_served_named(const char *name)
{
    for (unsigned k = 0; k < ROWS; k++)
        if (strcmp(table[k].name, name) == 0)
            return &table[k];
    return NULL;
}

/* `list` has words separated by '|'. */
static bool contains_word_of(const char *name, const char *list)
{
    for (const char *word = list, *end; *word; word = *end ? end + 1 : end) {
        end = word + strcspn(word, "|");
        for (const char *at = name; *at; at++)
            if (strncmp(at, word, (size_t)(end - word)) == 0)
                return true;
    }
    return false;
}

const organ_served *organ_served_of(const char *name)
{
    for (unsigned k = 0; k < ROWS; k++)
        if (table[k].words && *table[k].words && contains_word_of(name, table[k].words))
            return &table[k];
    return NULL;
}

static bool lists(const char *list, const char *word) { return organ_lists_word(list, ' ', word, strlen(word)); }

bool organ_vllm_serves_embeddings(const char *architecture) { return lists(embedded, architecture); }

bool organ_vllm_stacks_experts(const char *architecture) { return lists(stacked, architecture); }
