/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/precision/quantize_job.h"

#include <errno.h>
#include <string.h>

/* "model.layers.0.mlp.gate" of the tensor "model.layers.0.mlp.gate.weight"; NULL if it is no matrix, is looked up, or is a bias. */
static json_t *module_json(const organ_tensor *tensor)
{
    const size_t length = strlen(tensor->name), end = strlen(".weight");
    if (tensor->rank != 2 || tensor->anatomy.role == ORGAN_ROLE_EMBED || length <= end ||
        strcmp(tensor->name + length - end, ".weight") != 0)
        return NULL;
    return json_stringn(tensor->name, length - end);
}

/* The modules that are no targets, in file order. The output head is named even where it is tied to the embedding: a loader makes it. */
static json_t *ignored_json(const organ_quantize_job *job)
{
    json_t *const rows = json_array();
    bool head = false;
    for (size_t k = 0; k < job->piece_count; k++) {
        json_t *const module = job->pieces[k].same ? module_json(job->pieces[k].same) : NULL;
        head = head || (module && strcmp(json_string_value(module), "lm_head") == 0);
        if (module)
            json_array_append_new(rows, module);
    }
    if (!head && !organ_weights_named(job->weights, "lm_head.weight"))
        json_array_append_new(rows, json_string("lm_head"));
    return rows;
}

/* As DeepSeek-V3 and Qwen3-FP8 have it. */
static json_t *blocks_json(const organ_quantize_job *job)
{
    return json_pack("{s:s, s:s, s:o, s:s, s:[i, i]}", "activation_scheme", "dynamic", "fmt", "e4m3", "modules_to_not_convert",
                     ignored_json(job), "quant_method", "fp8", "weight_block_size", (int)job->scheme->size, (int)job->scheme->size);
}

static json_t *arguments_json(int bits, const char *type, const char *strategy, json_t *group_size, bool dynamic)
{
    return json_pack("{s:n, s:n, s:b, s:o, s:i, s:o, s:{}, s:s, s:b, s:s}", "actorder", "block_structure", "dynamic", (int)dynamic,
                     "group_size", group_size, "num_bits", bits, "observer", dynamic ? json_null() : json_string("minmax"),
                     "observer_kwargs", "strategy", strategy, "symmetric", 1, "type", type);
}

/* As compressed-tensors has it: activations of FP8 are quantised token by token when the model runs, those of INT4 not at all. */
static json_t *compressed_json(const organ_quantize_job *job)
{
    const organ_quantize_scheme *const s = job->scheme;
    const char *const strategy = s->scale_of == ORGAN_SCALE_TENSOR ? "tensor" : s->scale_of == ORGAN_SCALE_CHANNEL ? "channel" : "group";
    json_t *const weights = arguments_json(s->int4 ? 4 : 8, s->int4 ? "int" : "float", strategy,
                                           s->int4 ? json_integer((json_int_t)s->size) : json_null(), false);
    json_t *const inputs = s->int4 ? json_null() : arguments_json(8, "float", "token", json_null(), true);
    return json_pack("{s:{s:{s:o, s:n, s:[s], s:o}}, s:s, s:n, s:o, s:n, s:s, s:s}", "config_groups", "group_0", "input_activations",
                     inputs, "output_activations", "targets", "Linear", "weights", weights, "format",
                     s->int4 ? "pack-quantized" : "float-quantized", "global_compression_ratio", "ignore", ignored_json(job),
                     "kv_cache_scheme", "quant_method", "compressed-tensors", "quantization_status", "compressed");
}

organ_status organ_quantize_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_quantize_job *const job = context;
    json_t *const made = job->scheme->scale_of == ORGAN_SCALE_BLOCK ? blocks_json(job) : compressed_json(job);
    if (!made)
        return organ_fail_errno(error, ENOMEM, "%s", job->options->model);
    organ_json_edit_set(config, NULL, "quantization_config", made, error);
    json_decref(made);
    return error->status;
}
