/* SPDX-License-Identifier: MIT
 * The rounding of the inputs of packed weights: finds what the config declares for each, and reads its stored numbers.
 */
#include "formats/weights/weight_search.h"

#include "formats/base/half.h"
#include "formats/base/results.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- search ---- */

/* Static scales of compressed-tensors, ModelOpt and fp8 are X.input_scale, those of Mistral's own files X.qscale_act.
 * The factor of NVFP4 is X.input_global_scale; ModelOpt has its reciprocal, X.input_scale, and Quark X.input_scale_2.
 */
static void find_numbers(organ_weight_search *search, const char *name, size_t length, organ_input_rounding *inputs)
{
    const organ_tensor *const scale = organ_weight_relative(search, name, length, ".input_scale");
    if (inputs->scales == ORGAN_INPUT_SCALES_E4M3) {
        const organ_tensor *const second = organ_weight_relative(search, name, length, ".input_scale_2"),
                                  *const inverse = scale ? scale : second;
        inputs->global = organ_weight_relative(search, name, length, ".input_global_scale");
        inputs->reciprocal = !inputs->global && inverse;
        inputs->global = inputs->global ? inputs->global : inverse;
    }
    if (inputs->span != ORGAN_INPUTS_TENSOR)
        return;
    inputs->scale = scale ? scale : organ_weight_relative(search, name, length, ".qscale_act");
    inputs->zero = inputs->symmetric ? NULL : organ_weight_relative(search, name, length, ".input_zero_point");
}

static bool has_numbers(const organ_input_rounding *inputs)
{
    return inputs->span == ORGAN_INPUTS_TENSOR || inputs->scales == ORGAN_INPUT_SCALES_E4M3;
}

static organ_status set_inputs(organ_weight_search *search, organ_weight *weight, const organ_input_rounding *declared)
{
    const size_t length = organ_weight_module_length(weight->name);
    weight->inputs = declared;
    if (!has_numbers(declared))
        return ORGAN_OK;
    organ_input_rounding *const own = organ_arena_take(&search->arena, sizeof *own);
    if (!own)
        return organ_fail_memory(search->error, search->model->path);
    *own = *declared;
    find_numbers(search, weight->name, length, own);
    weight->inputs = own;
    return ORGAN_OK;
}

/* ModelOpt's layers multiply their inputs by the factors before they round them; organ folds the factors into the
 * weights. */
static organ_status set_columns(organ_weight_search *search, organ_weight *weight)
{
    const size_t length = organ_weight_module_length(weight->name);
    const organ_tensor *const factors = organ_weight_relative(search, weight->name, length, ".pre_quant_scale");
    const uint64_t cols = weight->shape[weight->rank - 1];
    if (!factors)
        return ORGAN_OK;
    if ((factors->dtype != ORGAN_F32 && factors->dtype != ORGAN_BF16 && factors->dtype != ORGAN_F16) ||
        factors->rank != 1 || factors->elements != cols)
        return organ_weight_fail(search, factors,
                                 "is %s of %" PRIu64 " values, but '%.200s' has %" PRIu64
                                 " columns, with a factor of F32, BF16 or F16 for each",
                                 organ_dtype_name(factors->dtype), factors->elements, weight->name, cols);
    weight->columns = factors;
    search->claimed[factors - search->model->tensors] = true;
    return ORGAN_OK;
}

organ_status organ_weight_find_columns(organ_weight_search *search)
{
    for (size_t k = 0; k < search->count && search->config && strcmp(search->config->method, "modelopt") == 0; k++)
        if (set_columns(search, &search->weights[k]))
            return search->error->status;
    return ORGAN_OK;
}

static void note_unscaled(organ_weight_search *search, const organ_weight *weight)
{
    if (!*search->unscaled)
        snprintf(
            search->unscaled, sizeof search->unscaled,
            "%s: inputs of '%.200s' and of other weights with a pre_quant_scale are not rounded: organ folds these "
            "factors into the weights",
            search->config->file, weight->name);
}

/* Embeddings look rows up, and have no inputs to round. */
organ_status organ_weight_find_inputs(organ_weight_search *search)
{
    const organ_quant_group *group;
    bool named;
    if (!search->config || !search->config->rounds_inputs)
        return ORGAN_OK;
    for (size_t k = 0; k < search->count; k++) {
        organ_weight *const weight = &search->weights[k];
        if (weight->anatomy.role == ORGAN_ROLE_EMBED)
            continue;
        if (organ_weight_group(search, weight->name, &group, &named))
            return search->error->status;
        if (weight->columns && group->inputs.codes != ORGAN_INPUTS_PLAIN)
            note_unscaled(search, weight);
        else if (group->inputs.codes != ORGAN_INPUTS_PLAIN && set_inputs(search, weight, &group->inputs))
            return search->error->status;
        if (group->unasked && weight->anatomy.experts != ORGAN_EXPERTS_ROUTED)
            weight->inputs = &group->unasked->rounding;
    }
    return ORGAN_OK;
}

/* ---- stored numbers ---- */

static float value_of(organ_dtype type, const unsigned char bytes[4])
{
    uint16_t half;
    uint32_t word;
    float value;
    memcpy(&half, bytes, sizeof half);
    memcpy(&word, bytes, sizeof word);
    if (type == ORGAN_I8)
        return (float)(int8_t)bytes[0];
    if (type == ORGAN_F16) {
        value = organ_half_value(half);
        return isfinite(value) ? value : NAN;
    }
    word = type == ORGAN_BF16 ? (uint32_t)half << 16 : word;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* A scale is a float above 0, a zero point I8. */
static organ_status read_number(const organ_model *model, const organ_tensor *tensor, bool zero, float *value,
                                organ_error *error)
{
    unsigned char bytes[4] = {0};
    const char *const file = model->files[tensor->file].name, *const kind = zero ? "zero point" : "scale";
    const bool floats = tensor->dtype == ORGAN_F32 || tensor->dtype == ORGAN_BF16 || tensor->dtype == ORGAN_F16;
    if (zero ? tensor->dtype != ORGAN_I8 : !floats)
        return organ_refuse(error, file, "tensor '%.200s' is %s, but a %s of inputs is %s", tensor->name,
                            organ_dtype_name(tensor->dtype), kind, zero ? "I8" : "F32, BF16 or F16");
    if (tensor->elements != 1)
        return organ_refuse(error, file, "tensor '%.200s' has %llu values, but the inputs of a matrix have one %s",
                            tensor->name, (unsigned long long)tensor->elements, kind);
    if (organ_model_read(model, tensor->file, bytes, (size_t)tensor->bytes, tensor->offset, error))
        return error->status;
    *value = value_of(tensor->dtype, bytes);
    if (zero || (isfinite(*value) && *value > 0))
        return ORGAN_OK;
    return organ_refuse(error, file, "tensor '%.200s' is %g, but a scale of inputs is a finite number above 0",
                        tensor->name, (double)*value);
}

static organ_status fail_missing(const organ_model *model, const organ_weight *weight, const char *leaf,
                                 organ_error *error)
{
    const int length = (int)organ_weight_module_length(weight->name);
    char kind[ORGAN_INPUT_TEXT];
    return organ_refuse(error, model->files[weight->codes->file].name,
                        "the inputs of '%.200s' are rounded to %s, but there is no '%.*s.%s'", weight->name,
                        organ_input_text(weight->inputs, kind, sizeof kind), length > 200 ? 200 : length, weight->name,
                        leaf);
}

organ_status organ_input_numbers_read(const organ_model *model, const organ_weight *weight,
                                      organ_input_numbers *numbers, organ_error *error)
{
    const organ_input_rounding *const inputs = weight->inputs;
    ORGAN_OWN_ERROR(error);
    *numbers = (organ_input_numbers){.scale = 1, .zero = 0, .factor = 1};
    if (inputs->span == ORGAN_INPUTS_TENSOR && !inputs->scale)
        return fail_missing(model, weight, "input_scale", error);
    if (inputs->span == ORGAN_INPUTS_TENSOR && !inputs->symmetric && !inputs->zero)
        return fail_missing(model, weight, "input_zero_point", error);
    if (inputs->scales == ORGAN_INPUT_SCALES_E4M3 && !inputs->global)
        return fail_missing(model, weight, "input_global_scale", error);
    if ((inputs->scale && read_number(model, inputs->scale, /*zero=*/false, &numbers->scale, error)) ||
        (inputs->zero && read_number(model, inputs->zero, /*zero=*/true, &numbers->zero, error)) ||
        (inputs->global && read_number(model, inputs->global, /*zero=*/false, &numbers->factor, error)))
        return error->status;
    if (inputs->reciprocal)
        numbers->factor = 1 / numbers->factor;
    return ORGAN_OK;
}

/* ---- text ---- */

char *organ_input_text(const organ_input_rounding *rounding, char *out, size_t size)
{
    static const char *const codes[] = {[ORGAN_INPUTS_PLAIN] = "plain",
                                        [ORGAN_INPUTS_INT8] = "INT8",
                                        [ORGAN_INPUTS_INT4] = "INT4",
                                        [ORGAN_INPUTS_E4M3] = "FP8 E4M3",
                                        [ORGAN_INPUTS_E2M1] = "FP4 E2M1"};
    static const char *const scales[] = {[ORGAN_INPUT_SCALES_REAL] = "",
                                         [ORGAN_INPUT_SCALES_E8M0] = ", E8M0 scales",
                                         [ORGAN_INPUT_SCALES_UE8M0] = ", UE8M0 scales",
                                         [ORGAN_INPUT_SCALES_E4M3] = ", E4M3 scales"};
    char span[64];
    snprintf(span, sizeof span, "per group of %llu", (unsigned long long)rounding->group);
    if (rounding->span != ORGAN_INPUTS_GROUP)
        snprintf(span, sizeof span, "%s", rounding->span == ORGAN_INPUTS_TOKEN ? "per token" : "with a static scale");
    if (size > 0)
        snprintf(out, size, "%s %s%s%s", codes[rounding->codes], span, scales[rounding->scales],
                 rounding->symmetric ? "" : ", asymmetric");
    return out;
}
