/* SPDX-License-Identifier: MIT
 * The members that a quantization_config may have, by quant_method: those that organ reads or that say nothing of
 * values, and those of activations and caches that organ does not compute. An unknown member may change how weights are
 * read, so it is refused unless its name shows that it is of activations, caches or metadata. */
#include "formats/weights/quant_config.h"

#include "formats/base/quant_sections.h"
#include "formats/base/results.h"
#include "formats/base/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* An object of the section describes weights, or something else. organ refuses a member of it that no list has only if
 * the member may change weights. */
typedef enum key_scope {
    OF_ALL,        /* weights and others: the name shows which */
    OF_WEIGHTS,    /* unknown members may change weights, except metadata */
    OF_ACTIVATIONS /* or caches: no member changes weights */
} key_scope;

/* Lists are words between spaces. `method` is a part of quant_method; "": of any. `path`: the keys from the section to
 * the object, between '/'; "*" is any key; objects in a list have the path of the list. `read` NULL: the lists of the
 * section. */
typedef struct known_keys {
    const char *method, *path;
    key_scope scope;
    const char *read, *noted;
} known_keys;

/* QuantizationArgs of compressed-tensors, and those of a tensor in Quark. */
#define ARGUMENTS                                                                                                      \
    " num_bits type symmetric group_size strategy block_structure dynamic actorder scale_dtype zp_dtype observer "     \
    "observer_kwargs "
#define QUARK_TENSOR                                                                                                   \
    " dtype observer_cls is_dynamic qscheme ch_axis group_size block_size symmetric round_method scale_type "          \
    "scale_format scale_calculation_mode qat_spec mx_element_dtype zero_point_type is_scale_quant "                    \
    "enable_buffer_reuse max_input_numel "
#define QUARK_LAYER(path)                                                                                              \
    {"quark", path, OF_ALL, " weight bias input_tensors output_tensors target_device ", ""},                           \
        {"quark", path "/weight", OF_WEIGHTS, QUARK_TENSOR, ""},                                                       \
        {"quark", path "/bias", OF_WEIGHTS, QUARK_TENSOR, ""},                                                         \
        {"quark", path "/input_tensors", OF_ACTIVATIONS, QUARK_TENSOR, ""},                                            \
    {                                                                                                                  \
        "quark", path "/output_tensors", OF_ACTIVATIONS, QUARK_TENSOR, ""                                              \
    }

/* Sources: QuantizationConfig of compressed-tensors 0.20, quantization_config.py of transformers 5.24, QuantizeConfig
 * of GPTQModel 7.7 and AutoGPTQ 0.7, AwqConfig of AutoAWQ 0.2.9, ModelOpt 0.47, Quark 0.13, auto-round 0.16, mlx-lm
 * 0.32. */
static const known_keys lists[] = {
    {"", "", OF_ALL,
     " quant_method modules_to_convert dequantize run_compressed version producer transform_config rotation_config "
     "spinquant_config quantization_status backend ",
     ""},
    {"compressed-tensors", "", OF_ALL,
     " config_groups format kv_cache_scheme global_compression_ratio sparsity_config use_optimized_inference targets "
     "calibration_config quant_algo ",
     ""},
    {"gptq", "", OF_ALL,
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
    {"awq", "", OF_ALL,
     " bits w_bit wbits group_size q_group_size zero_point version format method pack_dtype checkpoint_format sym "
     "desc_act lm_head meta dynamic provider quantizer autoround_version data_type iters nsamples seqlen do_fuse "
     "fuse_max_seq_len modules_to_fuse exllama_config dataset model_name_or_path model_file_base_name "
     "block_name_to_quantize to_quant_block_names damp_percent offload_to_disk parallel_packing ",
     " act_bits act_group_size act_sym act_dynamic act_data_type "},
    {"fp8", "", OF_ALL,
     " activation_scheme weight_block_size scale_fmt fmt expert_dtype is_checkpoint_fp8_serialized kv_cache_scheme "
     "weight_per_tensor activation_scale_ub activation_scheme_ub linear_weights quantize_lm_head store_dtype dtype "
     "bits group_size quantization_recipe ",
     " kv_cache_quant_method "},
    {"mxfp4", "", OF_ALL, " bits group_size ", ""},
    {"modelopt", "", OF_ALL,
     " quant_algo kv_cache_scheme kv_cache_quant_algo config_groups group_size has_zero_point pre_quant_scale "
     "quantized_layers targets format ",
     " awq_block_size "},
    {"quark", "", OF_ALL,
     " global_quant_config layer_quant_config layer_type_quant_config export quant_mode pack_method custom_mode "
     "kv_cache_group min_kv_scale weight_format weight_merge_groups algo_config ",
     " kv_cache_quant_config kv_cache_post_rope softmax_quant_spec log_severity_level "},
    {"auto-round", "", OF_ALL,
     " bits group_size sym data_type packing_format extra_config autoround_version block_name_to_quantize "
     "to_quant_block_names quant_block_list quant_lm_head lm_head act_bits act_group_size act_sym act_dynamic "
     "act_data_type activation_scheme fmt weight_block_size iters lr minmax_lr nsamples seqlen batch_size dataset "
     "gradient_accumulate_steps low_gpu_mem_usage enable_quanted_input enable_minmax_tuning enable_norm_bias_tuning "
     "amp scale_dtype not_use_best_mse dynamic_max_gap tuning_dtype provider quant_nontext_module supported_types "
     "regex_config super_bits super_group_size damp_percent desc_act true_sequential model_free static_kv_dtype "
     "static_attention_dtype layer_config ",
     ""},
    {"bitsandbytes", "", OF_ALL,
     " load_in_4bit load_in_8bit _load_in_4bit _load_in_8bit llm_int8_threshold llm_int8_skip_modules "
     "llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight bnb_4bit_compute_dtype bnb_4bit_quant_type "
     "bnb_4bit_use_double_quant bnb_4bit_quant_storage ",
     ""},
    {"torchao", "", OF_ALL, " quant_type quant_type_kwargs include_input_output_embeddings untie_embedding_weights ",
     ""},
    {"mlx", "", OF_WEIGHTS, " bits group_size mode quant_method ", ""},
    {"mlx", "*", OF_WEIGHTS, " bits group_size mode ", ""},
    {"", "config_groups/*", OF_ALL, " targets weights input_activations output_activations format ", ""},
    {"", "config_groups/*/weights", OF_WEIGHTS, ARGUMENTS, ""},
    {"", "config_groups/*/input_activations", OF_ACTIVATIONS, ARGUMENTS, ""},
    {"", "config_groups/*/output_activations", OF_ACTIVATIONS, ARGUMENTS, ""},
    {"", "kv_cache_scheme", OF_ACTIVATIONS, ARGUMENTS, ""},
    {"", "sparsity_config", OF_WEIGHTS,
     " format targets ignore global_sparsity sparsity_structure registry_requires_subclass ", ""},
    {"", "transform_config", OF_WEIGHTS, " config_groups ", ""},
    {"", "transform_config/config_groups/*", OF_WEIGHTS, " type apply randomize requires_grad head_dim precision ", ""},
    {"", "transform_config/config_groups/*/apply", OF_WEIGHTS, " targets location inverse ignore ", ""},
    {"", "rotation_config", OF_WEIGHTS,
     " algorithm backend block_size hadamard_type layerwise fuse_online_to_weight allow_online_rotation random_seed ",
     ""},
    {"", "spinquant_config", OF_WEIGHTS,
     " algorithm r1 r2 r3 r4 online_r1_rotation rotation_size random_r1 random_r2 random_r3 random_r4 "
     "trainable_rotation head_dim hidden_size intermediate_size ",
     ""},
    {"gptq", "dynamic/*", OF_ALL, NULL, ""},
    {"awq", "dynamic/*", OF_ALL, NULL, ""},
    {"modelopt", "quantized_layers/*", OF_ALL,
     " quant_algo group_size has_zero_point pre_quant_scale weights input_activations output_activations ",
     " awq_block_size "},
    {"quark", "export", OF_ALL,
     " pack_method weight_format weight_merge_groups kv_cache_group min_kv_scale custom_mode ", ""},
    QUARK_LAYER("global_quant_config"),
    QUARK_LAYER("layer_quant_config/*"),
    QUARK_LAYER("layer_type_quant_config/*"),
    {"auto-round", "extra_config/*", OF_ALL,
     " bits group_size sym data_type act_bits act_group_size act_sym act_dynamic act_data_type super_bits "
     "super_group_size scale_dtype in_blocks fixed_by_user ",
     ""},
};

/* Words of a name between underscores that show what it is of. */
static const char *const of_activations[] = {"act",     "acts",    "activation", "activations", "input",
                                             "inputs",  "output",  "outputs",    "cache",       "kv",
                                             "kvcache", "softmax", NULL};
static const char *const of_metadata[] = {
    "comment", "comments", "note",        "notes",   "version",  "author",  "authors",     "producer",
    "created", "date",     "time",        "tool",    "library",  "license", "metadata",    "meta",
    "dataset", "datasets", "calibration", "samples", "nsamples", "seqlen",  "seed",        "iters",
    "lr",      "device",   "backend",     "kernel",  "url",      "commit",  "description", NULL};

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

static bool is_harmless(const char *key, key_scope scope)
{
    char word[64];
    for (const char *at = key; *at;) {
        size_t n = 0;
        while (at[n] && at[n] != '_' && at[n] != '-' && at[n] != '.')
            n++;
        for (size_t k = 0; k <= n && n < sizeof word; k++)
            word[k] = k < n ? (char)tolower((unsigned char)at[k]) : '\0';
        if (n > 0 && n < sizeof word &&
            (organ_is_one_of(word, of_metadata) || (scope == OF_ALL && organ_is_one_of(word, of_activations))))
            return true;
        at += at[n] ? n + 1 : n;
    }
    return scope == OF_ACTIVATIONS;
}

/* ---- where an object is ---- */

#define DEEPEST 5 /* keys of the longest path */

/* The keys from the section to an object. */
typedef struct place {
    const char *keys[DEEPEST];
    size_t depth;
} place;

static bool is_at(const place *at, const char *path)
{
    for (size_t k = 0; k < at->depth; k++) {
        const size_t length = strcspn(path, "/");
        const bool any = length == 1 && *path == '*';
        if (length == 0 || (!any && (strlen(at->keys[k]) != length || memcmp(at->keys[k], path, length) != 0)))
            return false;
        path += length;
        path += *path == '/';
    }
    return !*path;
}

/* "config_groups.group_0." or "" */
static void write_place(const place *at, char text[200])
{
    size_t used = 0;
    *text = '\0';
    for (size_t k = 0; k < at->depth && used < 199; k++)
        used += (size_t)snprintf(text + used, 200 - used, "%s.", at->keys[k]);
}

/* ---- what a member is ---- */

typedef enum key_kind { KEY_KNOWN, KEY_NOTED, KEY_UNKNOWN } key_kind;

static bool is_list(const place *at, const char *key)
{
    const organ_quant_list *row;
    for (size_t k = 0; at->depth == 0 && (row = organ_quant_list_at(k)); k++)
        if (strcmp(key, row->key) == 0)
            return true;
    return false;
}

/* No loader reads an object without a list, so it may have any member. */
static key_kind kind_of(const char *method, const place *at, const char *key)
{
    key_kind kind = KEY_KNOWN;
    bool listed = false, noted = false;
    if (is_list(at, key))
        return KEY_KNOWN;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        const known_keys *const row = &lists[k];
        if (!strstr(method, row->method) || !is_at(at, row->path))
            continue;
        if (row->read ? has_word(row->read, key) : kind_of(method, &(place){.depth = 0}, key) == KEY_KNOWN)
            return KEY_KNOWN;
        noted = noted || has_word(row->noted, key);
        if (*row->method || *row->path)
            kind = is_harmless(key, row->scope) ? KEY_NOTED : KEY_UNKNOWN;
        listed = listed || *row->method || *row->path;
    }
    if (!listed)
        return KEY_KNOWN; /* the weights of other methods are refused */
    return noted ? KEY_NOTED : kind;
}

/* A section of MLX has the modules beside its own members. A member of a module's object that repeats the value of the
 * section changes nothing. */
static bool says_nothing(const organ_quant_scope *section, const place *at, const char *key, const json_t *value)
{
    const bool module = strcmp(section->config->method, "mlx") == 0 && at->depth == 0 &&
                        (json_is_object(value) || json_is_boolean(value));
    return module || is_empty(value) || (at->depth > 1 && json_equal(json_object_get(section->object, key), value));
}

/* A member of several objects is named once. */
static void add_stranger(const organ_quant_scope *at, const char *path, const char *key)
{
    organ_quant_config *const config = at->config;
    char quoted[120];
    const size_t size = strlen(config->strangers) + strlen(at->path) + strlen(path) + strlen(key) + 200;
    snprintf(quoted, sizeof quoted, "%.100s'", key);
    const char *const before = strstr(config->strangers, quoted);
    char *const text = organ_arena_take(&config->arena, size);
    if (!text)
        organ_fail_memory(at->error, config->file);
    if (!text || (before && (before[-1] == '\'' || before[-1] == '.')))
        return;
    if (*config->strangers)
        snprintf(text, size, "%s, '%s%s'", config->strangers, path, key);
    else
        snprintf(text, size,
                 "%s: %s has members of activations, caches or metadata that organ does not know and leaves out: "
                 "'%s%s'",
                 config->file, *at->path ? at->path : "the file", path, key);
    config->strangers = text;
}

static void check_member(const organ_quant_scope *section, const place *at, const char *key, const json_t *value)
{
    char text[200];
    const char *const method = section->config->method;
    const key_kind kind = says_nothing(section, at, key, value) ? KEY_KNOWN : kind_of(method, at, key);
    write_place(at, text);
    if (kind == KEY_NOTED && strlen(section->config->strangers) < 400)
        add_stranger(section, text, key);
    if (kind == KEY_UNKNOWN)
        organ_refuse(section->error, section->config->file,
                     "%.200s has the member '%.200s%.100s', which quant_method '%.60s' does not have in the libraries "
                     "that organ knows: it may change the values of weights",
                     *section->path ? section->path : "the file", text, key, method);
}

static void check_object(const organ_quant_scope *section, place *at, const json_t *object)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value)
    {
        const size_t elements = json_is_array(value) ? json_array_size(value) : 1;
        if (!section->error->status)
            check_member(section, at, key, value);
        if (section->error->status)
            return;
        if (at->depth == DEEPEST)
            continue;
        at->keys[at->depth++] = key;
        for (size_t k = 0; k < elements; k++) {
            const json_t *const inner = json_is_array(value) ? json_array_get(value, k) : value;
            if (json_is_object(inner))
                check_object(section, at, inner);
        }
        at->depth--;
    }
}

void organ_quant_check_keys(const organ_quant_scope *at)
{
    place top = {.depth = 0};
    check_object(at, &top, at->object);
}
