/* SPDX-License-Identifier: MIT
 * Plans how safetensors store codes of GGUF blocks that --dtype codes copies: as compressed-tensors, as MLX or, for
 * stacks of gpt-oss, as its MXFP4. A model has one of these families of forms, because its quantization_config states
 * one. Also writes that member of config.json. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/quant_sections.h"
#include "formats/base/text.h"
#include "orchestrator/report/text/report_text.h"

#include <stdio.h>
#include <string.h>

/* compressed-tensors stores a packed code of 4 bits with 8 added, as Q4_0 does, and one of 8 bits with 128 added. vLLM
 * loads INT8 without rounded inputs as pack-quantized only. */
static const convert_form forms[] = {
    {ORGAN_Q8_0, ORGAN_I32, ORGAN_F16, 4, 8, ORGAN_CONVERT_GROUP, false, "_packed", "pack-quantized"},
    {ORGAN_Q4_0, ORGAN_I32, ORGAN_F16, 8, 4, ORGAN_CONVERT_GROUP, false, "_packed", "pack-quantized"},
    {ORGAN_MXFP4, ORGAN_U8, ORGAN_U8, 2, 4, ORGAN_CONVERT_GROUP, false, "_packed", "mxfp4-pack-quantized"},
    {ORGAN_NVFP4, ORGAN_U8, ORGAN_F8_E4M3, 2, 4, 16, false, "_packed", "nvfp4-pack-quantized"},
    {ORGAN_Q4_1, ORGAN_U32, ORGAN_F16, 8, 4, ORGAN_CONVERT_GROUP, true, "", NULL},
};
enum { FORMS = sizeof forms / sizeof *forms };

/* ---- the form of a weight ---- */

/* mlx-lm loads the names of published files, and joins numbered experts with their scales. */
static bool form_has_mlx(const organ_convert_job *job)
{
    const organ_mlx_type *const type = organ_mlx_type_of(job->pairing->model_type ? job->pairing->model_type : "");
    return type && !type->stacked && !type->finished && !type->split && !type->moved && !type->plain &&
           !type->renamed[0][0];
}

static const convert_form *form_of_type(organ_dtype blocks)
{
    for (size_t k = 0; k < FORMS; k++)
        if (forms[k].blocks == blocks)
            return &forms[k];
    return NULL;
}

static bool form_is_table(const organ_weight *weight)
{
    return weight->anatomy.role == ORGAN_ROLE_EMBED || weight->anatomy.role == ORGAN_ROLE_OUTPUT;
}

/* Returns the form of a matrix or of the matrices of a stack. compressed-tensors loads codes only in linear layers, MLX
 * in embeddings and heads, too. */
static const convert_form *form_of(const organ_convert_job *job, const organ_weight *weight)
{
    const convert_form *const form = form_of_type(weight->codes->dtype);
    const bool mlx = job->forms == CONVERT_MLX;
    return form && job->forms != CONVERT_GPT_OSS && form->mlx == mlx && weight->anatomy.role != ORGAN_ROLE_ROUTER &&
                   (mlx || !form_is_table(weight))
               ? form
               : NULL;
}

/* The forms are those of most of the weights' values. The type of values becomes that of the scales, because loaders
 * round scales to the type that config.json states. */
void organ_convert_choose_forms(organ_convert_job *job)
{
    uint64_t mlx = 0, other = 0;
    bool stacks = false;
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        const convert_form *const form = form_of_type(w->codes->dtype);
        if (!form || w->rank < 2)
            continue;
        *(form->mlx ? &mlx : &other) += w->elements;
        stacks = stacks || (form->blocks == ORGAN_MXFP4 && w->rank == 3);
    }
    job->forms = CONVERT_COMPRESSED;
    if (stacks && job->family && job->family->mixture && job->family->mixture->pairs)
        job->forms = CONVERT_GPT_OSS;
    else if (mlx > other && form_has_mlx(job))
        job->forms = CONVERT_MLX;
    for (size_t k = 0; k < job->weights->count && job->keeps_codes; k++) {
        const convert_form *const form = form_of(job, &job->weights->weights[k]);
        if (form && form->scales == ORGAN_F16)
            job->type = ORGAN_F16;
    }
}

const convert_form *organ_convert_form(const organ_convert_job *job, const organ_weight *weight, const char *name,
                                       unsigned rank)
{
    return rank == 2 && organ_ends_with(name, ".weight") ? form_of(job, weight) : NULL;
}

bool organ_convert_has_tensor_scale(const organ_convert_job *job, const char *name)
{
    return organ_pairing_has_trait(job->pairing->gguf, PAIRING_TENSOR_SCALES) && organ_pairing_has_tensor_scale(name);
}

/* ---- quantization_config ---- */

/* Appends the name in transformers of the module of piece k: its tensor is NAME.weight, with `end` after it. */
static void config_append(const organ_convert_job *job, size_t k, const char *model_type, const char *end,
                          json_t *modules)
{
    char weight[ORGAN_MODULE_NAME_SIZE], name[ORGAN_MODULE_NAME_SIZE];
    const char *const own = job->pieces[k].name;
    size_t length = strlen(own) - strlen(end);
    if (snprintf(weight, sizeof weight, "%.*s", (int)length, own) < (int)sizeof weight &&
        organ_cut_end(weight, &length, ".weight") && organ_module_name(model_type, weight, name, sizeof name, NULL))
        json_array_append_new(modules, json_stringn(name, strlen(name) - strlen(".weight")));
}

/* Returns the names in transformers of the linear layers without codes. */
static json_t *config_plain_modules(const organ_convert_job *job, const char *model_type)
{
    json_t *const plain = json_array();
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].content == CONVERT_VALUES && job->pieces[k].rank == 2 &&
            !strstr(job->pieces[k].name, "embed"))
            config_append(job, k, model_type, "", plain);
    return plain;
}

/* Returns whether codes of a form are in matrices, or in those of numbered experts. */
static bool config_has(const organ_convert_job *job, const convert_form *form, bool experts)
{
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].content == CONVERT_CODES && job->facts[k].form == form &&
            (!experts || strstr(job->pieces[k].name, ".experts.")))
            return true;
    return false;
}

/* Whether all experts have codes of this form. Loaders that make a stack of them look for a pattern. */
static bool config_has_all_experts(const organ_convert_job *job, const convert_form *form)
{
    for (size_t k = 0; k < FORMS; k++)
        if (&forms[k] != form && config_has(job, &forms[k], /*experts=*/true))
            return false;
    return config_has(job, form, /*experts=*/true);
}

/* Returns the names in transformers of the linear layers with codes of a form. */
static json_t *config_modules(const organ_convert_job *job, const char *model_type, const convert_form *form)
{
    const bool pattern = config_has_all_experts(job, form);
    json_t *const modules = pattern ? json_pack("[s]", "re:.*\\.experts\\.[0-9]+\\..*") : json_array();
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].content == CONVERT_CODES && job->facts[k].form == form &&
            !(pattern && strstr(job->pieces[k].name, ".experts.")))
            config_append(job, k, model_type, form->codes_name, modules);
    return modules;
}

static json_t *config_group(const convert_form *form, json_t *targets)
{
    const bool divided = form->blocks == ORGAN_NVFP4, floats = divided || form->blocks == ORGAN_MXFP4;
    const char *const type = divided ? "torch.float8_e4m3fn" : "torch.uint8";
    json_t *const weights =
        ORGAN_OBJECT(SET_COUNT("num_bits", form->bits), SET_TEXT("type", floats ? "float" : "int"),
                     SET_TEXT("strategy", divided ? "tensor_group" : "group"), SET_COUNT("group_size", form->group),
                     SET_FLAG("symmetric", 1), SET_FLAG("dynamic", 0), SET_IF(floats, "scale_dtype", json_string(type)),
                     SET_IF(floats, "zp_dtype", json_string(type)));
    return ORGAN_OBJECT(SET("targets", targets), SET("weights", weights), SET_NULL("input_activations"),
                        SET_NULL("output_activations"), SET_TEXT("format", form->format));
}

/* Takes over `plain`. */
static json_t *config_compressed(const organ_convert_job *job, const char *model_type, json_t *plain)
{
    json_t *const groups = json_object();
    const char *format = NULL;
    size_t count = 0;
    for (size_t k = 0; k < FORMS; k++)
        if (config_has(job, &forms[k], /*experts=*/false)) {
            count++;
            format = count > 1 ? "mixed-precision" : forms[k].format;
        }
    for (size_t k = 0; k < FORMS; k++) {
        char name[24];
        snprintf(name, sizeof name, "group_%zu", json_object_size(groups));
        if (config_has(job, &forms[k], /*experts=*/false))
            json_object_set_new(groups, name,
                                config_group(&forms[k], count > 1 ? config_modules(job, model_type, &forms[k])
                                                                  : json_pack("[s]", "Linear")));
    }
    return ORGAN_OBJECT(SET_TEXT("quant_method", "compressed-tensors"), SET_TEXT("format", format),
                        SET_TEXT("quantization_status", "compressed"),
                        SET(organ_quant_list_of("compressed-tensors")->key, plain), SET("config_groups", groups));
}

/* Embeddings and linear layers without codes are listed as false, as mlx-lm does. */
static int config_put_mlx(const organ_convert_job *job, json_t *config)
{
    json_t *const made =
        ORGAN_OBJECT(SET_COUNT("group_size", ORGAN_CONVERT_GROUP), SET_COUNT("bits", 4), SET_TEXT("mode", "affine"));
    int failed = !made;
    for (size_t k = 0; k < job->piece_count; k++) {
        const organ_piece *const piece = &job->pieces[k];
        char module[ORGAN_MODULE_NAME_SIZE], name[ORGAN_MODULE_NAME_SIZE];
        size_t length = strlen(piece->name);
        if (job->facts[k].content != CONVERT_VALUES || piece->rank != 2 ||
            !organ_cut_end(piece->name, &length, ".weight") ||
            snprintf(module, sizeof module, "%.*s", (int)length, piece->name) >= (int)sizeof module)
            continue;
        if (organ_module_name_in_mlx(job->pairing->model_type, module, name, sizeof name))
            failed |= json_object_set_new(made, name, json_false());
    }
    return failed | !ORGAN_ADD(config, SET("quantization", json_incref(made)), SET("quantization_config", made));
}

int organ_convert_put_quantization(const organ_convert_job *job, json_t *config)
{
    const char *const made = json_string_value(json_object_get(config, "model_type")),
                      *const own = json_string_value(json_object_get(job->file, "model_type")),
                      *const other = own ? own : job->pairing->model_type, *const type = made ? made : other;
    if (job->forms == CONVERT_MLX)
        return config_put_mlx(job, config);
    json_t *const plain = config_plain_modules(job, type);
    if (job->config.tied_output) /* loaders make a linear layer of this name with the embeddings as weights */
        json_array_append_new(plain, json_string("lm_head"));
    json_t *const quantization =
        job->forms == CONVERT_GPT_OSS
            ? ORGAN_OBJECT(SET_TEXT("quant_method", "mxfp4"), SET(organ_quant_list_of("mxfp4")->key, plain))
            : config_compressed(job, type, plain);
    return !ORGAN_ADD(config, SET("quantization_config", quantization));
}
