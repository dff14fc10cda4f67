/* SPDX-License-Identifier: MIT
 * The members that a quantization_config may have, by quant_method: those that organ reads or that say nothing of
 * values, and those of activations and caches that organ does not compute. An unknown member may change how weights are
 * read, so it is refused unless its name shows that it is of activations, caches or metadata. */
#include "formats/weights/quant_config.h"

#include "formats/base/results.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Lists are words between spaces. `method` is a part of quant_method; "": of any. */
typedef struct known_keys {
    const char *method, *read, *noted;
} known_keys;

/* Sources: QuantizationConfig of compressed-tensors 0.20, quantization_config.py of transformers 5.24, QuantizeConfig
 * of GPTQModel 7.7 and AutoGPTQ 0.7, AwqConfig of AutoAWQ 0.2.9, ModelOpt 0.47, Quark 0.13, auto-round 0.16. */
static const known_keys lists[] = {
    {"",
     " quant_method ignore modules_to_not_convert ignored_layers exclude_modules exclude modules_to_convert dequantize "
     "run_compressed version producer transform_config rotation_config spinquant_config quantization_status backend ",
     ""},
    {"compressed-tensors",
     " config_groups format kv_cache_scheme global_compression_ratio sparsity_config use_optimized_inference targets "
     "calibration_config quant_algo ",
     ""},
    {"gptq",
     " bits wbits group_size sym desc_act act_group_aware static_groups true_sequential damp_percent "
     "damp_auto_increment "
     "checkpoint_format format method pack_dtype pack_impl is_marlin_format dynamic lm_head meta quantizer provider "
     "tokenizer dataset model_seqlen block_name_to_quantize module_name_preceding_first_block batch_size pad_token_id "
     "max_input_length cache_block_outputs modules_in_block_to_quantize model_name_or_path model_file_base_name "
     "autoround_version to_quant_block_names use_cuda_fp16 use_exllama exllama_config disable_exllama max_perplexity "
     "uniform_bits offload_to_disk offload_to_disk_path mse parallel_packing device v2 v2_alpha v2_memory_device "
     "hessian hessian_chunk_size hessian_chunk_bytes hessian_use_bfloat16_staging fail_safe failsafe foem gptaq "
     "use_triton inject_fused_attention inject_fused_mlp data_type iters low_gpu_mem_usage nsamples seqlen "
     "quantization_operator quant_type ",
     " act_bits act_group_size act_sym act_dynamic act_data_type "},
    {"awq",
     " bits w_bit wbits group_size q_group_size zero_point version format method pack_dtype checkpoint_format sym "
     "desc_act lm_head meta dynamic provider quantizer autoround_version data_type iters nsamples seqlen do_fuse "
     "fuse_max_seq_len modules_to_fuse exllama_config dataset model_name_or_path model_file_base_name "
     "block_name_to_quantize to_quant_block_names damp_percent offload_to_disk parallel_packing ",
     " act_bits act_group_size act_sym act_dynamic act_data_type "},
    {"fp8",
     " activation_scheme weight_block_size scale_fmt fmt expert_dtype is_checkpoint_fp8_serialized kv_cache_scheme "
     "weight_per_tensor activation_scale_ub activation_scheme_ub linear_weights quantize_lm_head store_dtype dtype "
     "bits group_size quantization_recipe ",
     " kv_cache_quant_method "},
    {"mxfp4", " bits group_size ", ""},
    {"modelopt",
     " quant_algo kv_cache_scheme kv_cache_quant_algo config_groups group_size has_zero_point pre_quant_scale "
     "quantized_layers quantization targets format ",
     " awq_block_size "},
    {"quark",
     " global_quant_config layer_quant_config layer_type_quant_config export quant_mode pack_method custom_mode "
     "kv_cache_group min_kv_scale weight_format weight_merge_groups algo_config exclude ",
     " kv_cache_quant_config kv_cache_post_rope softmax_quant_spec log_severity_level "},
    {"auto-round",
     " bits group_size sym data_type packing_format extra_config autoround_version block_name_to_quantize "
     "to_quant_block_names quant_block_list quant_lm_head lm_head act_bits act_group_size act_sym act_dynamic "
     "act_data_type activation_scheme fmt weight_block_size iters lr minmax_lr nsamples seqlen batch_size dataset "
     "gradient_accumulate_steps low_gpu_mem_usage enable_quanted_input enable_minmax_tuning enable_norm_bias_tuning "
     "amp scale_dtype not_use_best_mse dynamic_max_gap tuning_dtype provider quant_nontext_module supported_types "
     "regex_config super_bits super_group_size damp_percent desc_act true_sequential model_free static_kv_dtype "
     "static_attention_dtype rotation_configs layer_config ",
     ""},
    {"bitsandbytes",
     " load_in_4bit load_in_8bit _load_in_4bit _load_in_8bit llm_int8_threshold llm_int8_skip_modules "
     "llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight bnb_4bit_compute_dtype bnb_4bit_quant_type "
     "bnb_4bit_use_double_quant bnb_4bit_quant_storage ",
     ""},
    {"torchao",
     " quant_type quant_type_kwargs include_input_output_embeddings untie_embedding_weights modules_to_not_convert ",
     ""},
};

/* Words of a name between underscores that show what it is of. */
static const char *const harmless[] = {
    "act",     "acts",     "activation", "activations", "input",    "inputs",   "output",      "outputs", "cache",
    "kv",      "kvcache",  "softmax",    "comment",     "comments", "note",     "notes",       "version", "author",
    "authors", "producer", "created",    "date",        "time",     "tool",     "library",     "license", "metadata",
    "meta",    "dataset",  "datasets",   "calibration", "samples",  "nsamples", "seqlen",      "seed",    "iters",
    "lr",      "device",   "backend",    "kernel",      "url",      "commit",   "description", NULL};

static bool has_word(const char *list, const char *word)
{
    char between[128];
    snprintf(between, sizeof between, " %.120s ", word);
    return strstr(list, between) != NULL;
}

static bool is_empty(const json_t *value)
{
    const char *const text = organ_json_plain(value);
    return json_is_null(value) || json_is_false(value) || (text && !*text) ||
           (json_is_object(value) && json_object_size(value) == 0) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

static bool is_harmless(const char *key)
{
    char word[64];
    for (const char *at = key; *at;) {
        size_t n = 0;
        while (at[n] && at[n] != '_' && at[n] != '-' && at[n] != '.')
            n++;
        for (size_t k = 0; k <= n && n < sizeof word; k++)
            word[k] = k < n ? (char)tolower((unsigned char)at[k]) : '\0';
        if (n > 0 && n < sizeof word && organ_is_one_of(word, harmless))
            return true;
        at += at[n] ? n + 1 : n;
    }
    return false;
}

typedef enum key_kind { KEY_KNOWN, KEY_NOTED, KEY_UNKNOWN } key_kind;

static key_kind kind_of(const char *method, const char *key)
{
    key_kind kind = is_harmless(key) ? KEY_NOTED : KEY_UNKNOWN;
    bool listed = false;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        const bool any = !*lists[k].method;
        if (!any && !strstr(method, lists[k].method))
            continue;
        listed = listed || !any;
        if (has_word(lists[k].read, key))
            return KEY_KNOWN;
        if (has_word(lists[k].noted, key))
            kind = KEY_NOTED;
    }
    return listed ? kind : KEY_KNOWN; /* the weights of other methods are refused */
}

static void add_stranger(const organ_quant_scope *at, const char *key)
{
    organ_quant_config *const config = at->config;
    const size_t size = strlen(config->strangers) + strlen(at->path) + strlen(key) + 200;
    char *const text = organ_arena_take(&config->arena, size);
    if (!text) {
        organ_fail_memory(at->error, config->file);
        return;
    }
    if (*config->strangers)
        snprintf(text, size, "%s, '%s'", config->strangers, key);
    else
        snprintf(text, size,
                 "%s: %s has members of activations, caches or metadata that organ does not know and leaves out: '%s'",
                 config->file, *at->path ? at->path : "the file", key);
    config->strangers = text;
}

void organ_quant_check_keys(const organ_quant_scope *at)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)at->object, key, value)
    {
        if (at->error->status)
            return;
        const key_kind kind = is_empty(value) ? KEY_KNOWN : kind_of(at->config->method, key);
        if (kind == KEY_NOTED && strlen(at->config->strangers) < 400)
            add_stranger(at, key);
        if (kind == KEY_UNKNOWN)
            organ_refuse(at->error, at->config->file,
                         "%.200s has the member '%.100s', which quant_method '%.60s' does not have in the libraries "
                         "that organ knows: it may change the values of weights",
                         *at->path ? at->path : "the file", key, at->config->method);
    }
}
