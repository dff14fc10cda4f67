/* SPDX-License-Identifier: MIT
 * Makes quantization_config of a safetensors output that keeps codes of the GGUF file. */
#include "formats/base/path.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/surgery/convert/convert_job.h"
#include "orchestrator/surgery/facts/facts.h"

#include <string.h>

/* Returns the names in transformers of the linear layers without codes. */
static json_t *config_plain_modules(const organ_convert_job *job, const char *model_type)
{
    json_t *const plain = json_array();
    char name[ORGAN_MODULE_NAME_SIZE];
    for (size_t k = 0; k < job->piece_count; k++) {
        const organ_shard_piece *const piece = &job->pieces[k];
        size_t length = strlen(piece->name);
        if (job->facts[k].content == CONVERT_VALUES && piece->rank == 2 &&
            organ_cut_end(piece->name, &length, ".weight") && !strstr(piece->name, "embed") &&
            organ_module_name(model_type, piece->name, name, sizeof name, NULL))
            json_array_append_new(plain, json_stringn(name, strlen(name) - strlen(".weight")));
    }
    return plain;
}

int organ_convert_put_quantization(const organ_convert_job *job, json_t *config)
{
    const char *const made = json_string_value(json_object_get(config, "model_type")),
                      *const own = json_string_value(json_object_get(job->file, "model_type")),
                      *const other = own ? own : job->exchange->model_type;
    json_t *const plain = config_plain_modules(job, made ? made : other);
    bool mxfp4 = false;
    for (size_t k = 0; k < job->piece_count; k++)
        mxfp4 = mxfp4 || (job->facts[k].content == CONVERT_CODES && job->pieces[k].dtype == ORGAN_U8);
    if (job->config.tied_output) /* loaders make a linear layer of this name with the embeddings as weights */
        json_array_append_new(plain, json_string("lm_head"));
    if (mxfp4)
        return !ORGAN_ADD(config, SET("quantization_config", ORGAN_OBJECT(SET_TEXT("quant_method", "mxfp4"),
                                                                          SET("modules_to_not_convert", plain))));
    json_t *const weights =
        ORGAN_OBJECT(SET_COUNT("num_bits", 8), SET_TEXT("type", "int"), SET_TEXT("strategy", "group"),
                     SET_COUNT("group_size", ORGAN_CONVERT_GROUP), SET_FLAG("symmetric", 1), SET_FLAG("dynamic", 0));
    json_t *const group =
        ORGAN_OBJECT(SET("targets", json_pack("[s]", "Linear")), SET("weights", weights), SET_NULL("input_activations"),
                     SET_NULL("output_activations"), SET_TEXT("format", "int-quantized"));
    return !ORGAN_ADD(
        config, SET("quantization_config",
                    ORGAN_OBJECT(SET_TEXT("quant_method", "compressed-tensors"), SET_TEXT("format", "int-quantized"),
                                 SET_TEXT("quantization_status", "compressed"), SET("ignore", plain),
                                 SET("config_groups", ORGAN_OBJECT(SET("group_0", group))))));
}
