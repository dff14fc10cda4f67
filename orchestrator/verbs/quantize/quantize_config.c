/* SPDX-License-Identifier: MIT
 * Makes quantization_config of config.json, which states for loaders how the quantised weights of a safetensors model
 * are stored. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/base/text.h"
#include "formats/model/recognise.h"
#include "formats/tensor/module_names.h"
#include "formats/tensor/tensor_list.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <string.h>

/* Returns the length of the name of the module that a tensor belongs to: that of "model.layers.0.mlp.gate" in
 * "model.layers.0.mlp.gate.weight". Stacked experts may be parameters of their module: "model.layers.0.mlp.experts" in
 * "model.layers.0.mlp.experts.down_proj". 0 if the tensor is not a matrix of a linear layer (an embedding, a bias). */
static size_t module_length(const organ_tensor *tensor)
{
    const bool weight = organ_ends_with(tensor->name, ".weight");
    const bool stack = tensor->rank == 3 && organ_quantize_is_routed(tensor);
    const char *const dot = strrchr(tensor->name, '.');
    if ((tensor->rank != 2 && !stack) || tensor->anatomy.role == ORGAN_ROLE_EMBED || !dot || (!weight && !stack))
        return 0;
    return (size_t)(dot - tensor->name);
}

static void append_name(json_t *rows, const char *name, size_t length)
{
    const char *const last = json_string_value(json_array_get(rows, json_array_size(rows) - 1));
    if (!last || strlen(last) != length || memcmp(last, name, length) != 0)
        json_array_append_new(rows, json_stringn(name, length));
}

/* Appends the names of the parts into which transformers cuts a matrix: "self_attn.q_proj", "self_attn.k_proj" and so
 * on for the first part's name `first` and `parts`, "q_proj|k_proj|v_proj". */
static void append_parts(json_t *rows, const char *first, const char *parts)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    const size_t kept = strlen(first) - strcspn(parts, "|");
    for (const char *at = parts; *at; at += strcspn(at, "|"), at += *at == '|') {
        const int length = snprintf(name, sizeof name, "%.*s%.*s", (int)kept, first, (int)strcspn(at, "|"), at);
        append_name(rows, name, (size_t)length);
    }
}

/* Writes the name in transformers to `out`. Returns false if the tensor is not a matrix of a linear layer or its
 * name is too long. *parts: organ_module_split_parts. */
static bool name_in_transformers(const organ_quantize_job *job, const organ_tensor *tensor,
                                 char out[ORGAN_MODULE_NAME_SIZE], const char **parts)
{
    char module[ORGAN_MODULE_NAME_SIZE];
    const char *const type = job->model->config.model_type;
    const size_t length = module_length(tensor);
    if (!length || snprintf(module, sizeof module, "%.*s", (int)length, tensor->name) >= (int)sizeof module)
        return false;
    *parts = organ_module_split_parts(type, module);
    return organ_module_name(type, module, out, ORGAN_MODULE_NAME_SIZE, NULL);
}

static void append_modules(const organ_quantize_job *job, const organ_tensor *tensor, json_t *rows)
{
    char name[ORGAN_MODULE_NAME_SIZE];
    const char *parts;
    if (!name_in_transformers(job, tensor, name, &parts))
        return;
    if (parts)
        append_parts(rows, name, parts);
    else
        append_name(rows, name, strlen(name));
}

/* The search begins at the end, where a match is most likely. */
static bool has_module(const json_t *rows, const char *name)
{
    for (size_t k = json_array_size(rows); k > 0; k--)
        if (strcmp(json_string_value(json_array_get(rows, k - 1)), name) == 0)
            return true;
    return false;
}

/* "ignore" must not list lm_head if the output head is quantised. */
static bool quantises_head(const organ_quantize_job *job)
{
    for (size_t k = 0; k < job->list.part_count; k++)
        if (organ_quantize_next_part(job, k)->weight->anatomy.role == ORGAN_ROLE_OUTPUT &&
            job->list.parts[k].weight->anatomy.layer < 0)
            return true;
    return false;
}

/* Sets `word` to a component of the tensor's name that all modules of its tower have, such as "vision_tower": the first
 * that is no trunk. Returns false if the tensor belongs to no tower, or has no such name. */
static bool tower_word(const organ_quantize_job *job, const organ_tensor *tensor, char word[80])
{
    static const char *const trunks[] = {"model", "language_model", NULL};
    char module[ORGAN_MODULE_NAME_SIZE];
    const char *parts, *at = module;
    if (!organ_role_is_tower(tensor->anatomy.role) || !name_in_transformers(job, tensor, module, &parts))
        return false;
    const char *const end = module + strlen(module);
    do {
        snprintf(word, 80, "%.*s", (int)strcspn(at, "."), at);
        at += strcspn(at, ".") + 1;
    } while (organ_is_one_of(word, trunks) && at < end);
    return strspn(word, "abcdefghijklmnopqrstuvwxyz_") == strlen(word);
}

static bool quantises_any(const organ_quantize_job *job, const char *word)
{
    for (size_t k = 0; k < job->list.part_count; k++)
        if (strstr(organ_quantize_next_part(job, k)->weight->name, word))
            return true;
    return false;
}

/* Transformers and servers name the modules of towers differently; a pattern, "re:.*vision_tower.*", matches all
 * names. Returns false if the tensor belongs to no tower, or if tensors of its tower are quantised. */
static bool append_tower(const organ_quantize_job *job, const organ_tensor *tensor, json_t *rows)
{
    char word[80], pattern[96];
    if (!tower_word(job, tensor, word))
        return false;
    snprintf(pattern, sizeof pattern, "re:.*%s.*", word);
    if (has_module(rows, pattern))
        return true;
    return !quantises_any(job, word) && json_array_append_new(rows, json_string(pattern)) == 0;
}

static bool has_plain_mtp(const organ_quantize_job *job)
{
    for (size_t k = 0; k < job->list.piece_count; k++)
        if (job->list.pieces[k].same && job->list.pieces[k].same->anatomy.role == ORGAN_ROLE_MTP)
            return true;
    return false;
}

/* `patterns`: whole towers get patterns. Unless the output head is quantised, its name in transformers is added even
 * if the file has no such tensor: a loader creates the head if it is tied to the embedding. */
static json_t *ignored_json(const organ_quantize_job *job, bool patterns)
{
    const bool biogpt = strncmp(job->model->config.architecture, "BioGpt", 6) == 0;
    const char *const head = biogpt ? "output_projection" : "lm_head";
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->list.piece_count; k++) {
        const organ_tensor *const same = job->list.pieces[k].same;
        if (!same || (patterns && append_tower(job, same, rows)))
            continue;
        append_modules(job, same, rows);
        const char *const last = json_string_value(json_array_get(rows, json_array_size(rows) - 1));
        const size_t length = same->anatomy.role == ORGAN_ROLE_OUTPUT ? module_length(same) : 0;
        if (length && last && (strlen(last) != length || memcmp(last, same->name, length) != 0))
            append_name(rows, same->name, length); /* servers take the head's name from the file */
    }
    /* servers build the layers of multi-token prediction from fused modules, which single names do not match */
    if (patterns && has_plain_mtp(job) && !quantises_any(job, "mtp."))
        json_array_append_new(rows, json_string("re:.*mtp.*"));
    if (!quantises_head(job) && !has_module(rows, head))
        json_array_append_new(rows, json_string(head));
    return rows;
}

/* The form is that of DeepSeek-V3 and Qwen3-FP8. */
static json_t *blocks_json(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET_TEXT("activation_scheme", "dynamic"), SET_TEXT("fmt", "e4m3"),
        SET("modules_to_not_convert", ignored_json(job, /*patterns=*/false)), SET_TEXT("quant_method", "fp8"),
        SET("weight_block_size", json_pack("[i, i]", (int)job->encoding->grid.size, (int)job->encoding->grid.size)));
}

/* Returns QuantizationArgs of compressed-tensors. `strategy` names the values that share a scale: "group",
 * "channel", "tensor" or "token". Takes over `group_size`, which may be JSON null. `dynamic`: scales are computed at
 * run time, as for activations. */
static json_t *arguments_json(int bits, const char *type, const char *strategy, json_t *group_size, bool dynamic)
{
    return ORGAN_OBJECT(SET_NULL("actorder"), SET_NULL("block_structure"), SET_FLAG("dynamic", dynamic),
                        SET("group_size", group_size), SET_COUNT("num_bits", bits),
                        SET("observer", dynamic ? json_null() : json_string("minmax")),
                        SET("observer_kwargs", json_object()), SET_TEXT("strategy", strategy), SET_FLAG("symmetric", 1),
                        SET_TEXT("type", type));
}

/* Pattern that matches all routed experts, which have one encoding. transformers takes the encoding of experts from the
 * first group with a pattern that contains "experts". */
static const char experts_pattern[] = "re:.*\\.experts\\.[0-9]+\\..*";

static json_t *modules_json(const organ_quantize_job *job, const organ_encoding *encoding)
{
    const bool pattern = organ_quantize_plain_experts(job) == 0;
    json_t *const rows = json_array();
    bool named = false; /* the list has experts_pattern */
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_tensor *const tensor = organ_quantize_next_part(job, k)->weight->codes;
        const bool expert = pattern && organ_quantize_is_routed(tensor);
        if (job->list.parts[k].encoding != encoding || (expert && named))
            continue;
        if (expert)
            json_array_append_new(rows, json_string(experts_pattern));
        else
            append_modules(job, tensor, rows);
        named = named || expert;
    }
    return rows;
}

/* The result takes over the arguments. `inputs` is JSON null if inputs are not quantised. */
static json_t *group_json(json_t *targets, json_t *weights, json_t *inputs)
{
    return ORGAN_OBJECT(SET("input_activations", inputs), SET_NULL("output_activations"), SET("targets", targets),
                        SET("weights", weights));
}

static bool is_first(const organ_quantize_job *job, size_t part)
{
    for (size_t k = 0; k < part; k++)
        if (job->list.parts[k].encoding == job->list.parts[part].encoding)
            return false;
    return true;
}

static json_t *schemes_json(const organ_quantize_job *job)
{
    json_t *const groups = json_object();
    char name[24];
    for (size_t k = 0; k < job->list.part_count; k++) {
        const organ_encoding *const s = job->list.parts[k].encoding;
        if (!is_first(job, k))
            continue;
        snprintf(name, sizeof name, "group_%zu", json_object_size(groups));
        json_t *const weights = arguments_json((int)s->grid.bits, "int", "group",
                                               json_integer((json_int_t)s->grid.size), /*dynamic=*/false);
        if (json_object_set_new(groups, name, group_json(modules_json(job, s), weights, json_null()))) {
            json_decref(groups);
            return NULL;
        }
    }
    return groups;
}

/* Returns QuantizationArgs of E2M1 codes, as in the presets NVFP4A16 and MXFP4A16 of compressed-tensors. */
static json_t *fp4_json(const organ_grid *grid)
{
    const bool divided = grid->scale_of == ORGAN_SCALE_E4M3;
    const char *const type = divided ? "torch.float8_e4m3fn" : "torch.uint8";
    json_t *const made = arguments_json(4, "float", divided ? "tensor_group" : "group",
                                        json_integer((json_int_t)grid->size), /*dynamic=*/false);
    return organ_json_joined(made, ORGAN_OBJECT(SET_TEXT("scale_dtype", type), SET_TEXT("zp_dtype", type)));
}

/* Returns the arguments of inputs, as in the preset NVFP4: a scale for each group of a token is computed at run time,
 * and multiplied by input_global_scale. */
static json_t *fp4_inputs_json(const organ_grid *grid)
{
    return organ_json_joined(fp4_json(grid),
                             ORGAN_OBJECT(SET_TEXT("dynamic", "local"), SET_TEXT("observer", "static_minmax")));
}

static json_t *inputs_json(const organ_encoding *s, bool activations)
{
    if (activations)
        return fp4_inputs_json(&s->grid);
    if (organ_encoding_is_packed(s) || organ_encoding_is_fp4(s))
        return json_null();
    return arguments_json(8, s->grid.bits ? "int" : "float", "token", json_null(), /*dynamic=*/true);
}

static json_t *one_group_json(const organ_encoding *s, bool activations)
{
    const organ_grid *const grid = &s->grid;
    const char *strategy = "group";
    json_t *weights;
    if (grid->scale_of == ORGAN_SCALE_TENSOR)
        strategy = "tensor";
    else if (grid->scale_of == ORGAN_SCALE_CHANNEL)
        strategy = "channel";
    const char *const type = grid->bits ? "int" : "float";
    if (organ_encoding_is_fp4(s))
        weights = fp4_json(grid);
    else
        weights = arguments_json(grid->bits ? (int)grid->bits : 8, type, strategy,
                                 grid->size ? json_integer((json_int_t)grid->size) : json_null(), /*dynamic=*/false);
    return ORGAN_OBJECT(SET("group_0", group_json(json_pack("[s]", "Linear"), weights, inputs_json(s, activations))));
}

/* Returns the name of the format in compressed-tensors. */
static const char *format_of(const organ_encoding *s)
{
    if (organ_encoding_is_fp4(s))
        return organ_encoding_has_divisor(s) ? "nvfp4-pack-quantized" : "mxfp4-pack-quantized";
    if (organ_encoding_is_packed(s))
        return "pack-quantized";
    return s->grid.bits ? "int-quantized" : "float-quantized";
}

bool organ_quantize_has_one_group(const organ_quantize_job *job)
{
    size_t groups = 0;
    for (size_t k = 0; k < job->list.part_count && organ_quantize_has_several_encodings(job); k++)
        groups += is_first(job, k);
    return groups < 2;
}

/* Activations are quantised at run time, with a scale for each token, if codes have one byte; they are not quantised
 * if codes are packed. With a repair adapter, transformers dequantises the model when it loads it: peft needs the plain
 * weights, which compressed-tensors otherwise makes at the first forward pass. Servers ignore that member. transformers
 * 5.24 would dequantise all tensors by the first of several groups. */
static json_t *compressed_json(const organ_quantize_job *job)
{
    const organ_encoding *const s = job->encoding;
    return ORGAN_OBJECT(SET("config_groups", organ_quantize_has_several_encodings(job)
                                                 ? schemes_json(job)
                                                 : one_group_json(s, job->options->activations)),
                        SET_TEXT("format", format_of(s)), SET_NULL("global_compression_ratio"),
                        SET("ignore", ignored_json(job, /*patterns=*/true)), SET_NULL("kv_cache_scheme"),
                        SET_TEXT("quant_method", "compressed-tensors"), SET_TEXT("quantization_status", "compressed"),
                        SET_IF(job->repair.adapter && organ_quantize_has_one_group(job), "dequantize", json_true()));
}

organ_status organ_quantize_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_quantize_job *const job = context;
    ORGAN_OWNED_JSON json_t *const made =
        job->encoding->grid.scale_of == ORGAN_SCALE_BLOCK ? blocks_json(job) : compressed_json(job);
    if (!made)
        return organ_fail_memory(error, job->options->model);
    organ_json_edit_set(config, NULL, "quantization_config", made, error);
    if (!error->status && job->repair.adapter) { /* readers ignore members that they do not know */
        ORGAN_OWNED_JSON json_t *const adapter = json_string(organ_path_name(job->repair.output));
        ORGAN_OWNED_JSON json_t *const pair = json_string(job->repair.pair);
        if (organ_json_edit_set(config, NULL, ORGAN_REPAIR_ADAPTER, adapter, error) == ORGAN_OK)
            organ_json_edit_set(config, NULL, ORGAN_REPAIR_PAIR, pair, error);
    }
    return error->status;
}
