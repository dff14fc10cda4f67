/* SPDX-License-Identifier: MIT */
#include "formats/tensor/module_names.h"

#include "formats/base/word_lists.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Model types of vision models whose files call their parts "language_model.model", "vision_tower" and so on. */
#define LLAVA                                                                                                          \
    "gemma3 mistral3 llava llava_next llava_next_video llava_onevision paligemma internvl aya_vision vipllava "        \
    "got_ocr2 aria mllama fuyu voxtral qwen2_audio "

typedef struct module_row {
    const char *types;     /* model types, separated by blanks */
    const char *from, *to; /* runs of whole words between dots */
    const char *parts;     /* NULL, or the modules into which the loader cuts the matrix; `to` ends with the first */
} module_row;

/* Only the first matching row of a type applies, so a row whose `to` equals `from` protects names that are those of
 * transformers already. The source is conversion_mapping.py of transformers 5.24. */
static const module_row beginnings[] = {
    {LLAVA "kimi_k25", "language_model.lm_head", "lm_head", NULL},
    {LLAVA "kimi_k25", "language_model.model", "model.language_model", NULL},
    {LLAVA, "language_model", "model.language_model", NULL},
    {LLAVA, "model.language_model.model", "model.language_model", NULL},
    {LLAVA, "vision_tower", "model.vision_tower", NULL},
    {LLAVA, "vision_model", "model.vision_model", NULL},
    {LLAVA, "audio_tower", "model.audio_tower", NULL},
    {LLAVA, "vision_embed_tokens", "model.vision_embed_tokens", NULL},
    {LLAVA, "multi_modal_projector", "model.multi_modal_projector", NULL},
    {"gemma4_unified", "model.vision_embedder", "model.embed_vision", NULL},
    {"gemma4_unified", "vision_embedder", "model.embed_vision", NULL},
    {"gemma4_unified", "model.embed_vision.embedding_projection",
     "model.embed_vision.multimodal_embedder.embedding_projection", NULL},
    {"gemma4_unified", "embed_vision.embedding_projection",
     "model.embed_vision.multimodal_embedder.embedding_projection", NULL},
    {"kimi_k25", "vision_tower.encoder", "model.vision_tower", NULL},
    {"kimi_k25", "vision_tower", "model.vision_tower", NULL},
    {"kimi_k25", "mm_projector.proj.0", "model.mm_projector.in_proj", NULL},
    {"kimi_k25", "mm_projector.proj.2", "model.mm_projector.out_proj", NULL},
    {"kimi_k25", "mm_projector", "model.mm_projector", NULL},
    {"step3p7", "vision_model", "model.vision_model", NULL},
    {"step3p7", "vit_large_projector", "model.multi_modal_projector", NULL},
    {"step3p7", "model.embed_tokens", "model.language_model.embed_tokens", NULL},
    {"step3p7", "model.layers", "model.language_model.layers", NULL},
    {"step3p7", "model.norm", "model.language_model.norm", NULL},
    {"minimax_m3_vl", "language_model.lm_head", "lm_head", NULL},
    {"minimax_m3_vl", "language_model.model", "model.language_model", NULL},
    {"minimax_m3_vl", "vision_tower.vision_model.embeddings.patch_embedding", "model.vision_tower.embeddings.proj",
     NULL},
    {"minimax_m3_vl", "vision_tower.vision_model.encoder.layers", "model.vision_tower.layers", NULL},
    {"minimax_m3_vl", "vision_tower.vision_model.pre_layrnorm", "model.vision_tower.pre_layrnorm", NULL},
    {"minimax_m3_vl", "multi_modal_projector", "model.multi_modal_projector", NULL},
    {"minimax_m3_vl", "patch_merge_mlp.linear_1", "model.multi_modal_projector.merge_linear_1", NULL},
    {"minimax_m3_vl", "patch_merge_mlp.linear_2", "model.multi_modal_projector.merge_linear_2", NULL},
    {"qwen2_vl qwen2_5_vl paddleocr_vl", "visual", "model.visual", NULL},
    {"qwen2_vl qwen2_5_vl paddleocr_vl", "model.visual", "model.visual", NULL},
    {"qwen2_vl qwen2_5_vl paddleocr_vl", "model.language_model", "model.language_model", NULL},
    {"paddleocr_vl", "mlp_AR", "model.projector", NULL},
    {"paddleocr_vl", "model.projector", "model.projector", NULL},
    {"qwen2_vl qwen2_5_vl paddleocr_vl", "model", "model.language_model", NULL},
    {"qwen3_vl qwen3_vl_moe qwen3_5 qwen3_5_moe", "language_model", "model.language_model", NULL},
    {"qwen3_vl qwen3_vl_moe qwen3_5 qwen3_5_moe", "visual", "model.visual", NULL},
    {"qwen3_5_text qwen3_5_moe_text gemma3n_text", "model.language_model", "model", NULL},
    {"lfm3_vl", "language_model", "model.language_model", NULL},
    {"lfm3_vl", "vision_tower", "model.vision_tower", NULL},
    {"lfm3_vl", "multi_modal_projector", "model.multi_modal_projector", NULL},
    {"emu3", "text_model.lm_head", "lm_head", NULL},
    {"emu3", "text_model", "model.text_model", NULL},
    {"exaone", "transformer.wte", "model.embed_tokens", NULL},
    {"exaone", "transformer.h", "model.layers", NULL},
    {"exaone", "transformer.ln_f", "model.norm", NULL},
    {"gpt_neox", "embed_out", "lm_head", NULL},
    {"nemotron_h", "backbone", "model", NULL},
    {"bailing_hybrid sarvam_moe", "model.word_embeddings", "model.embed_tokens", NULL},
    {"deepseek_v4", "embed", "model.embed_tokens", NULL},
    {"deepseek_v4", "head", "lm_head", NULL},
    {"deepseek_v4", "hc_head_fn", "model.hc_head.hc_fn", NULL},
    {"deepseek_v4", "hc_head_base", "model.hc_head.hc_base", NULL},
    {"deepseek_v4", "hc_head_scale", "model.hc_head.hc_scale", NULL},
    {"dory", "backbone.embeddings", "model.embed_tokens", NULL},
    {"dory", "backbone", "model", NULL},
};

/* All rows of a type apply, in order, each to the first match anywhere in the name. The source is that above. */
static const module_row insides[] = {
    {"axk1", "post_mlp_layernorm", "mlp.post_mlp_layernorm", NULL},
    {"axk2", "W_down", "mlp.fc1", NULL},
    {"axk2", "W_up", "mlp.fc2", NULL},
    {"axk2", "self_attn.q_b_proj", "self_attn.q_gate_proj", NULL},
    {"bailing_hybrid", "attention", "self_attn", NULL},
    {"bailing_hybrid", "self_attn.f_proj", "self_attn.forget_gate.f_proj", NULL},
    {"bailing_hybrid", "self_attn.dt_bias", "self_attn.forget_gate.dt_bias", NULL},
    {"bailing_hybrid", "self_attn.A_log", "self_attn.forget_gate.A_log", NULL},
    {"bailing_hybrid", "self_attn.dense", "self_attn.o_proj", NULL},
    {"bailing_hybrid sarvam_moe", "mlp.gate.expert_bias", "mlp.gate.e_score_correction_bias", NULL},
    {"deepseek_v4", "attn", "self_attn", NULL},
    {"deepseek_v4", "ffn", "mlp", NULL},
    {"deepseek_v4", "indexer.compressor", "compressor.indexer", NULL},
    {"deepseek_v4", "attn_norm", "input_layernorm", NULL},
    {"deepseek_v4", "ffn_norm", "post_attention_layernorm", NULL},
    {"deepseek_v4", "hc_attn_fn", "attn_hc.fn", NULL},
    {"deepseek_v4", "hc_attn_base", "attn_hc.base", NULL},
    {"deepseek_v4", "hc_attn_scale", "attn_hc.scale", NULL},
    {"deepseek_v4", "hc_ffn_fn", "ffn_hc.fn", NULL},
    {"deepseek_v4", "hc_ffn_base", "ffn_hc.base", NULL},
    {"deepseek_v4", "hc_ffn_scale", "ffn_hc.scale", NULL},
    {"deepseek_v4", "attn_sink", "sinks", NULL},
    {"deepseek_v4", "indexer.weights_proj", "compressor.indexer.scorer.weights_proj", NULL},
    {"deepseek_v4", "indexer.wq_b", "compressor.indexer.q_b_proj", NULL},
    {"deepseek_v4", "self_attn.norm", "self_attn.kv_norm", NULL},
    {"deepseek_v4", "compressor.norm", "compressor.kv_norm", NULL},
    {"deepseek_v4", "indexer.norm", "indexer.kv_norm", NULL},
    {"deepseek_v4", "ape", "position_bias", NULL},
    {"deepseek_v4", "wq_a", "q_a_proj", NULL},
    {"deepseek_v4", "self_attn.wq_b", "self_attn.q_b_proj", NULL},
    {"deepseek_v4", "wkv", "kv_proj", NULL},
    {"deepseek_v4", "wgate", "gate_proj", NULL},
    {"deepseek_v4", "wo_a", "o_a_proj", NULL},
    {"deepseek_v4", "wo_b", "o_b_proj", NULL},
    {"deepseek_v4", "q_norm", "q_a_norm", NULL},
    {"deepseek_v4", "gate.bias", "gate.e_score_correction_bias", NULL},
    {"deepseek_v4", "shared_experts.w1", "shared_experts.gate_proj", NULL},
    {"deepseek_v4", "shared_experts.w2", "shared_experts.down_proj", NULL},
    {"deepseek_v4", "shared_experts.w3", "shared_experts.up_proj", NULL},
    {"dory", "self_attn.g_proj", "self_attn.gate_proj", NULL},
    {"exaone", "attn.attention", "self_attn", NULL},
    {"exaone", "self_attn.out_proj", "self_attn.o_proj", NULL},
    {"exaone", "ln_1", "input_layernorm", NULL},
    {"exaone", "ln_2", "post_attention_layernorm", NULL},
    {"exaone", "mlp.c_fc_0", "mlp.gate_proj", NULL},
    {"exaone", "mlp.c_fc_1", "mlp.up_proj", NULL},
    {"exaone", "mlp.c_proj", "mlp.down_proj", NULL},
    {"ernie4_5_moe", "mlp.moe_statics", "mlp.gate.moe_statics", NULL},
    {"exaone_moe", "mlp.e_score_correction_bias", "mlp.gate.e_score_correction_bias", NULL},
    {"flint", "self_attn.softmax_offset", "self_attn.sinks", NULL},
    {"granitemoe granitemoeshared granitemoehybrid", "block_sparse_moe.router.layer", "block_sparse_moe.router", NULL},
    {"hrm_text", "attn.gqkv_proj", "self_attn.gate_proj", "gate_proj|q_proj|k_proj|v_proj"},
    {"hrm_text", "attn.o_proj", "self_attn.o_proj", NULL},
    {"hrm_text", "mlp.gate_up_proj", "mlp.gate_proj", "gate_proj|up_proj"},
    {"hy_v3", "mlp.router.gate", "mlp.gate", NULL},
    {"hy_v3", "mlp.expert_bias", "mlp.e_score_correction_bias", NULL},
    {"hy_v3", "mlp.shared_mlp", "mlp.shared_experts", NULL},
    {"hy_v4", "self_attn.learnable_sink_param", "self_attn.sinks", NULL},
    {"hy_v4", "linear_gate", "gate_proj", NULL},
    {"hy_v4", "hc_pre.hc_attn_layer.hc_fn", "attn_hc.fn", NULL},
    {"hy_v4", "hc_pre.hc_attn_layer.hc_base", "attn_hc.base", NULL},
    {"hy_v4", "hc_pre.hc_attn_layer.hc_scale", "attn_hc.scale", NULL},
    {"hy_v4", "hc_pre.hc_mlp_layer.hc_fn", "ffn_hc.fn", NULL},
    {"hy_v4", "hc_pre.hc_mlp_layer.hc_base", "ffn_hc.base", NULL},
    {"hy_v4", "hc_pre.hc_mlp_layer.hc_scale", "ffn_hc.scale", NULL},
    {"hy_v4", "hc_pre.hc_head.hc_head_fn", "hc_head.hc_fn", NULL},
    {"hy_v4", "hc_pre.hc_head.hc_head_base", "hc_head.hc_base", NULL},
    {"hy_v4", "hc_pre.hc_head.hc_head_scale", "hc_head.hc_scale", NULL},
    {"kimi_k25", "mlp.fc1", "mlp.fc2", NULL},
    {"kimi_k25", "mlp.fc0", "mlp.fc1", NULL},
    {"kimi_k25", "blocks", "layers", NULL},
    {"kimi_k25", "wo", "attn.proj", NULL},
    {"kimi_k25", "wqkv", "attn.q_proj", "q_proj|k_proj|v_proj"},
    {"kimi_linear", "self_attn.f_a_proj", "self_attn.forget_gate.f_a_proj", NULL},
    {"kimi_linear", "self_attn.f_b_proj", "self_attn.forget_gate.f_b_proj", NULL},
    {"kolibri1", "moe.router.expert_bias", "mlp.gate.e_score_correction_bias", NULL},
    {"kolibri1", "post_attn_norm", "post_self_attn_layernorm", NULL},
    {"kolibri1", "post_ffn_norm", "post_mlp_layernorm", NULL},
    {"laguna", "mlp.experts.e_score_correction_bias", "mlp.gate.e_score_correction_bias", NULL},
    {"laguna", "mlp.shared_expert", "mlp.shared_experts", NULL},
    {"lara_mini", "linear_attn.out_norm", "linear_attn.norm", NULL},
    {"lara_mini", "linear_attn.in_proj", "linear_attn.in_proj_qkv", "in_proj_qkv|in_proj_z|in_proj_b|in_proj_a"},
    {"lfm3 lfm3_vl", "self_attn.gate_proj", "self_attn.g_proj", NULL},
    {"lfm3_vl", "patchifier", "patch_embed", NULL},
    {"minimax_m3_vl", "block_sparse_moe.e_score_correction_bias", "mlp.gate.e_score_correction_bias", NULL},
    {"minimax_m3_vl", "block_sparse_moe", "mlp", NULL},
    {"minimax_m3_vl", "mlp.gate_proj", "mlp.gate_up_proj", NULL}, /* which has both, one below the other */
    {"minimax_m3_vl", "mlp.up_proj", "mlp.gate_up_proj", NULL},
    {"minimax_m3_vl", "shared_experts.gate_proj", "shared_experts.gate_up_proj", NULL},
    {"minimax_m3_vl", "shared_experts.up_proj", "shared_experts.gate_up_proj", NULL},
    {"minimax_m3_vl", "self_attn.index_q_proj", "self_attn.indexer.q_proj", NULL},
    {"minimax_m3_vl", "self_attn.index_k_proj", "self_attn.indexer.k_proj", NULL},
    {"minimax_m3_vl", "self_attn.index_q_norm", "self_attn.indexer.q_norm", NULL},
    {"minimax_m3_vl", "self_attn.index_k_norm", "self_attn.indexer.k_norm", NULL},
    {"mimo_v2_flash", "self_attn.attention_sink_bias", "self_attn.sinks", NULL},
    {"olmo_hybrid", "attention_layer_norm", "input_layernorm", NULL},
    {"olmo_hybrid", "feedforward_layer_norm", "post_attention_layernorm", NULL},
    {"phimoe", "block_sparse_moe.gate", "mlp.router", NULL},
    {"kimi_linear minimax minimax_m2 mixtral phimoe", "block_sparse_moe", "mlp", NULL},
    {"sarvam_moe", "attention.query_key_value", "self_attn.q_proj", "q_proj|k_proj|v_proj"},
    {"sarvam_moe", "attention.dense", "self_attn.o_proj", NULL},
    {"sarvam_moe", "attention.query_layernorm", "self_attn.q_norm", NULL},
    {"sarvam_moe", "attention.key_layernorm", "self_attn.k_norm", NULL},
    {"step3p7", "moe.gate", "mlp.gate", NULL},
    {"step3p7", "moe.gate_proj", "mlp.experts.gate_proj", NULL},
    {"step3p7", "moe.up_proj", "mlp.experts.up_proj", NULL},
    {"step3p7", "moe.down_proj", "mlp.experts.down_proj", NULL},
    {"step3p7", "share_expert", "mlp.shared_experts", NULL},
    {"step3p7", "transformer.resblocks", "layers", NULL},
    {"step3p7", "conv1", "embeddings.patch_embedding", NULL},
    {"step3p7", "ln_pre", "pre_layernorm", NULL},
    {"step3p7", "vit_downsampler1", "downsampler1", NULL},
    {"step3p7", "vit_downsampler2", "downsampler2", NULL},
    {"step3p7", "mlp.c_fc", "mlp.fc1", NULL},
    {"step3p7", "mlp.c_proj", "mlp.fc2", NULL},
    {"step3p7", "attn", "self_attn", NULL},
    {"step3p7", "ln_1", "layernorm_before", NULL},
    {"step3p7", "ln_2", "layernorm_after", NULL},
};

/* Types whose files store a layer as two blocks, "layers.2i.mixer" for attention and "layers.2i+1.mixer" for the
 * feed-forward. transformers saves the names of its own layers, so both forms occur. */
static const char halved[] = "dory";

/* Files of a model without its head lack the prefix, which transformers adds. */
static const struct base_row {
    const char *types;  /* as in module_row; "" for all types that no other row has */
    const char *prefix; /* what transformers calls the model without its head */
    const char *words;  /* first words of the names of its modules, separated by blanks */
} bases[] = {
    {"bloom codegen dbrx falcon gpt2 gpt_bigcode gpt_neo gptj mpt", "transformer",
     "blocks h ln_f norm_f word_embeddings word_embeddings_layernorm wpe wte"},
    {"gpt_neox", "gpt_neox", "embed_in final_layer_norm layers"},
    {"biogpt", "biogpt", "embed_positions embed_tokens layer_norm layers"},
    {"falcon_mamba mamba mamba2", "backbone", "embeddings layers norm_f"},
    {"opt", "model", "decoder"},
    {"llama4 llama4_text", "model", ""},
    {"", "model", "embed_tokens embedding_norm embeddings final_layernorm layer_norm layers norm norm_f"},
};

static bool begins_with_words(const char *name, const char *words)
{
    const size_t length = strlen(words);
    return strncmp(name, words, length) == 0 && (name[length] == '.' || name[length] == '\0');
}

static const char *find_words(const char *name, const char *words)
{
    while (name && !begins_with_words(name, words)) {
        name = strchr(name, '.');
        name += name != NULL;
    }
    return name;
}

static bool replace_words(char *name, size_t size, const char *at, size_t length, const char *to)
{
    const size_t before = (size_t)(at - name), rest = strlen(at + length), added = strlen(to);
    if (before + added + rest + 1 > size)
        return false;
    memmove(name + before + added, at + length, rest + 1);
    memcpy(name + before, to, added);
    return true;
}

bool organ_module_replace(char *name, size_t size, const char *from, const char *to)
{
    const char *const at = find_words(name, from);
    return !at || replace_words(name, size, at, strlen(from), to);
}

static bool is_for_type(const module_row *row, const char *model_type)
{
    return organ_lists_word(row->types, ' ', model_type, strlen(model_type));
}

/* Returns false if the name becomes too long. *split becomes the row if it cuts the matrix; so does replace_insides. */
static bool replace_beginning(const char *model_type, char *name, size_t size, const module_row **split)
{
    const module_row *const end = beginnings + sizeof beginnings / sizeof *beginnings;
    const module_row *row = beginnings;
    while (row < end && !(is_for_type(row, model_type) && begins_with_words(name, row->from)))
        row++;
    if (row == end)
        return true;
    if (row->parts)
        *split = row;
    return replace_words(name, size, name, strlen(row->from), row->to);
}

static bool replace_insides(const char *model_type, char *name, size_t size, const module_row **split)
{
    for (size_t k = 0; k < sizeof insides / sizeof *insides; k++) {
        const module_row *const row = &insides[k];
        const char *const at = is_for_type(row, model_type) ? find_words(name, row->from) : NULL;
        if (at && !replace_words(name, size, at, strlen(row->from), row->to))
            return false;
        if (at && row->parts)
            *split = row;
    }
    return true;
}

/* Returns false if the name becomes too long. */
static bool add_base(const char *model_type, char *name, size_t size)
{
    for (size_t k = 0; k < sizeof bases / sizeof *bases; k++) {
        if (*bases[k].types && !organ_lists_word(bases[k].types, ' ', model_type, strlen(model_type)))
            continue;
        if (!organ_lists_word(bases[k].words, ' ', name, strcspn(name, ".")))
            return true;
        return replace_words(name, size, name, 0, ".") && replace_words(name, size, name, 0, bases[k].prefix);
    }
    return true;
}

/* Replaces "layers.5.mixer" by "layers.2.mlp" if the type's files halve layers. Returns false if the name becomes too
 * long. */
static bool join_halves(const char *model_type, char *name, size_t size)
{
    static const char *const words[][3] = {/* in the file, in transformers for an even and for an odd number */
                                           {"mixer", "self_attn", "mlp"},
                                           {"attn_alpha", "lambda_1", "lambda_1"},
                                           {"mlp_alpha", "lambda_2", "lambda_2"}};
    const char *const at =
        organ_lists_word(halved, ' ', model_type, strlen(model_type)) ? find_words(name, "layers") : NULL;
    const size_t digits = at && at[6] == '.' ? strspn(at + 7, "0123456789") : 0;
    char joined[64];
    if (!digits || digits > 9 || at[7 + digits] != '.')
        return true;
    const unsigned long number = strtoul(at + 7, NULL, 10);
    const char *const word = at + 8 + digits;
    for (size_t k = 0; k < sizeof words / sizeof *words; k++) {
        if (!begins_with_words(word, words[k][0]))
            continue;
        snprintf(joined, sizeof joined, "layers.%lu.%s", number / 2, words[k][1 + number % 2]);
        return replace_words(name, size, at, (size_t)(word - at) + strlen(words[k][0]), joined);
    }
    return true;
}

static bool rename_module(const char *model_type, const char *name, char *out, size_t size, const module_row **split)
{
    *split = NULL;
    return snprintf(out, size, "%s", name) < (int)size && join_halves(model_type, out, size) &&
           replace_beginning(model_type, out, size, split) && replace_insides(model_type, out, size, split) &&
           add_base(model_type, out, size);
}

static organ_module_form form_of_whole(const char *name, const char *module)
{
    static const char joined[] = "gate_up_proj";
    return find_words(module, joined) && !find_words(name, joined) ? ORGAN_MODULE_JOINED : ORGAN_MODULE_WHOLE;
}

bool organ_module_name(const char *model_type, const char *name, char *out, size_t size, organ_module_form *form)
{
    const module_row *split;
    const bool fits = rename_module(model_type, name, out, size, &split);
    if (form)
        *form = split ? ORGAN_MODULE_SPLIT : form_of_whole(name, out);
    return fits;
}

const char *organ_module_split_parts(const char *model_type, const char *name)
{
    char renamed[ORGAN_MODULE_NAME_SIZE];
    const module_row *split;
    return rename_module(model_type, name, renamed, sizeof renamed, &split) && split ? split->parts : NULL;
}

/* ---- model types without a row in formats/architecture ---- */

#define STACKING "axk2 bailing_hybrid beam deepseek_v4 flint hy_v4 kolibri1"
#define OTHERS   "apertus1p5_text diffllama doge dory jetmoe lara_mini modernbert-decoder rwkv"

bool organ_module_type_is_checked(const char *model_type)
{
    return organ_lists_word(STACKING " " OTHERS, ' ', model_type, strlen(model_type));
}

bool organ_module_stacks_experts(const char *model_type)
{
    return organ_lists_word(STACKING, ' ', model_type, strlen(model_type));
}

const char *organ_module_head(const char *model_type)
{
    static const char *const heads[][2] = {{"biogpt", "output_projection"}, {"modernbert-decoder", "decoder"}};
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
        if (strcmp(heads[k][0], model_type) == 0)
            return heads[k][1];
    return "lm_head";
}

/* ---- names in an index ---- */

organ_status organ_module_index_build(const char *model_type, const organ_tensor *tensors, size_t count,
                                      organ_module_index *index, organ_error *error)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    for (size_t k = 0; k < count; k++) {
        if (!organ_module_name(model_type, tensors[k].name, name, sizeof name, NULL))
            continue;
        const char *const kept = organ_arena_copy(&index->arena, name, strlen(name));
        if (!kept || !organ_name_table_put(&index->names, kept, k))
            return organ_fail_memory(error, tensors[k].name);
    }
    return ORGAN_OK;
}

const size_t *organ_module_index_find(const organ_module_index *index, const char *name)
{
    return organ_name_table_find(&index->names, name);
}

void organ_module_index_release(organ_module_index *index)
{
    organ_name_table_release(&index->names);
    organ_arena_release(&index->arena);
}
