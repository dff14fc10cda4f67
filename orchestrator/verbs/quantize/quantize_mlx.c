/* SPDX-License-Identifier: MIT
 * organ quantize for MLX: model types that mlx-lm loads with the names of their files, targets, and the settings in
 * config.json by which mlx-lm rebuilds the layers. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/base/text.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <string.h>

/* Model types of mlx-lm 0.32 that it loads from files with the names of published models: it cuts or changes no
 * quantised matrix. It joins the experts of a layer with their scales, if each is a tensor of its own; of others, such
 * as qwen3_moe, it joins the codes without the scales. */
static const char *const loaded[] = {
    "cohere",           "cohere2",  "deepseek_v2", "deepseek_v3", "kimi_k2",     "minicpm3",   "qwen3_5",
    "ernie4_5",         "gemma",    "gemma2",      "gemma3",      "gemma3_text", "glm",        "glm4",
    "glm4_moe",         "granite",  "helium",      "llama",       "mistral",     "ministral3", "mixtral",
    "hunyuan_v1_dense", "nemotron", "olmo2",       "olmo3",       "olmoe",       "phi",        "phi3",
    "phimoe",           "qwen2",    "qwen2_moe",   "qwen3",       "seed_oss",    "smollm3",    "stablelm",
    "starcoder2",       NULL};

organ_status organ_quantize_mlx_check(const organ_quantize_job *job, organ_error *error)
{
    const char *const type = job->model->config.model_type, *const path = job->model->path;
    if (organ_is_one_of(type, loaded))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: --format mlx does not write models of type '%s': mlx-lm lacks this type, or stores its "
                      "weights under other names or with other values; mlx_lm.convert converts types that it has",
                      path, type);
}

bool organ_quantize_is_target(const organ_quantize_job *job, const organ_tensor *tensor)
{
    const organ_role role = tensor->anatomy.role;
    if (job->targets.chosen[tensor - job->model->tensors])
        return true;
    return organ_quantize_is_mlx(job) && !job->options->targets && tensor->rank == 2 && tensor->anatomy.layer < 0 &&
           (role == ORGAN_ROLE_OUTPUT ||
            (role == ORGAN_ROLE_EMBED && organ_ends_with(tensor->name, "embed_tokens.weight")));
}

/* mlx-lm cuts this matrix by heads when it loads the model, and quantises the parts anew if it is quantised. */
bool organ_quantize_mlx_cuts(const organ_quantize_job *job, const organ_tensor *tensor)
{
    static const char *const cut[] = {"deepseek_v3", "kimi_k2", NULL};
    return organ_quantize_is_mlx(job) && organ_is_one_of(job->model->config.model_type, cut) &&
           organ_ends_with(tensor->name, ".kv_b_proj.weight");
}

/* ---- config.json ---- */

static const char *mode_of(const organ_encoding *e)
{
    if (organ_grid_is_free(&e->grid))
        return "affine";
    return e->name;
}

static json_t *settings_json(const organ_encoding *e)
{
    return ORGAN_OBJECT(SET_COUNT("group_size", e->grid.size), SET_COUNT("bits", e->grid.bits ? e->grid.bits : 8),
                        SET_TEXT("mode", mode_of(e)));
}

/* Takes over `value`. Returns whether there was memory. A name that is too long is not listed: loaders take the
 * settings of such a module from its shapes. */
static bool set_path(const organ_quantize_job *job, json_t *object, const char *tensor, json_t *value)
{
    char module[ORGAN_MODULE_NAME_SIZE], path[ORGAN_MODULE_NAME_SIZE];
    const size_t length = strlen(tensor) - (organ_ends_with(tensor, ".weight") ? strlen(".weight") : 0);
    const bool named = snprintf(module, sizeof module, "%.*s", (int)length, tensor) < (int)sizeof module &&
                       organ_module_name_in_mlx(job->model->config.model_type, module, path, sizeof path);
    const bool made = value && (!named || json_object_set(object, path, value) == 0);
    json_decref(value);
    return made;
}

/* Embeddings and linear layers that are not quantised are listed as false. */
static json_t *quantization_json(const organ_quantize_job *job)
{
    json_t *const made = settings_json(job->encoding);
    bool sound = made != NULL;
    for (size_t k = 0; k < job->part_count && sound; k++) {
        const organ_quantize_part *const part = organ_quantize_next_part(job, k);
        if (strcmp(part->encoding->name, job->encoding->name) != 0)
            sound = set_path(job, made, part->weight->name, settings_json(part->encoding));
    }
    for (size_t k = 0; k < job->piece_count && sound; k++) {
        const organ_tensor *const same = job->pieces[k].same;
        if (same && same->rank == 2 && organ_ends_with(same->name, ".weight"))
            sound = set_path(job, made, same->name, json_false());
    }
    if (sound)
        return made;
    json_decref(made);
    return NULL;
}

organ_status organ_quantize_mlx_config(void *context, organ_json_edit *config, organ_error *error)
{
    const organ_quantize_job *const job = context;
    json_t *const made = quantization_json(job);
    if (!made)
        return organ_fail_memory(error, job->options->model);
    if (organ_json_edit_set(config, NULL, "quantization", made, error) == ORGAN_OK)
        organ_json_edit_set(config, NULL, "quantization_config", made, error);
    json_decref(made);
    return error->status;
}
