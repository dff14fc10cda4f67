/* SPDX-License-Identifier: MIT
 * organ quantize for MLX: model types that mlx-lm loads with the names of their files, targets, and the settings in
 * config.json by which mlx-lm rebuilds the layers. */
#include "orchestrator/verbs/quantize/quantize_parts.h"

#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Model types of mlx-lm 0.32 that it loads from files with the names of published models: it renames, cuts or changes
 * no matrix of a linear layer. It joins the experts of a layer with their scales, if each is a tensor of its own. */
static const char *const loaded[] = {
    "cohere",     "cohere2",  "ernie4_5",         "gemma",    "gemma2",    "gemma3", "gemma3_text",
    "glm",        "glm4",     "glm4_moe",         "granite",  "helium",    "llama",  "mistral",
    "ministral3", "mixtral",  "hunyuan_v1_dense", "nemotron", "olmo2",     "olmo3",  "olmoe",
    "phi",        "phi3",     "phimoe",           "qwen2",    "qwen2_moe", "qwen3",  "seed_oss",
    "smollm3",    "stablelm", "starcoder2",       NULL};

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

/* The projections of an expert have other names in mlx-lm. */
static const char *const projections[][2] = {{"w1", "gate_proj"}, {"w2", "down_proj"}, {"w3", "up_proj"}};

/* Returns the path of the module in mlx-lm, where the experts of a layer are one module: "mlp.experts.3.up_proj" is
 * part of "mlp.switch_mlp.up_proj". The caller frees the result; NULL: no memory. */
static char *path_of(const char *tensor)
{
    const size_t length = strlen(tensor) - (organ_ends_with(tensor, ".weight") ? strlen(".weight") : 0);
    const char *const experts = strstr(tensor, ".experts.");
    char *path = NULL;
    if (!experts)
        return strndup(tensor, length);
    const char *const number = experts + strlen(".experts."), *last = number + strspn(number, "0123456789");
    if (last == number || *last != '.')
        return strndup(tensor, length);
    last++;
    const int rest = (int)(tensor + length - last);
    for (size_t k = 0; k < sizeof projections / sizeof *projections; k++)
        if (rest == 2 && strncmp(last, projections[k][0], 2) == 0)
            return asprintf(&path, "%.*s.switch_mlp.%s", (int)(experts - tensor), tensor, projections[k][1]) < 0 ? NULL
                                                                                                                 : path;
    return asprintf(&path, "%.*s.switch_mlp.%.*s", (int)(experts - tensor), tensor, rest, last) < 0 ? NULL : path;
}

/* Takes over `value`. Returns whether there was memory. */
static bool set_path(json_t *object, const char *tensor, json_t *value)
{
    char *const path = path_of(tensor);
    const bool made = path && value && json_object_set(object, path, value) == 0;
    free(path);
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
            sound = set_path(made, part->weight->name, settings_json(part->encoding));
    }
    for (size_t k = 0; k < job->piece_count && sound; k++) {
        const organ_tensor *const same = job->pieces[k].same;
        if (same && same->rank == 2 && organ_ends_with(same->name, ".weight"))
            sound = set_path(made, same->name, json_false());
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
