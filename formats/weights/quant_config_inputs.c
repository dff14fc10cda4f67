/* SPDX-License-Identifier: MIT
 * Reads how a config says that servers round the inputs of linear layers: input_activations of compressed-tensors and
 * ModelOpt, activation_scheme of fp8, fbgemm_fp8, quant_algo of ModelOpt, input_tensors of Quark, act_bits of
 * AutoRound. */
#include "formats/weights/quant_config.h"

#include "formats/base/results.h"
#include "formats/base/text.h"

#include <stdio.h>
#include <string.h>

#define MX_GROUP    32 /* values that share a scale: block size k of the OCP Microscaling Formats (MX) Specification */
#define NVFP4_GROUP 16
#define NVFP4_INPUTS                                                                                                   \
    {                                                                                                                  \
        .codes = ORGAN_INPUTS_E2M1, .span = ORGAN_INPUTS_GROUP, .scales = ORGAN_INPUT_SCALES_E4M3,                     \
        .group = NVFP4_GROUP, .symmetric = true                                                                        \
    }

void organ_quant_leave_out(const organ_quant_scope *at, const char *key)
{
    organ_quant_config *const config = at->config;
    if (*config->unrounded)
        return;
    ORGAN_OWNED char *const value = organ_json_dump(organ_quant_member(at, key), JSON_COMPACT | JSON_ENCODE_ANY);
    const size_t size = strlen(at->path) + 400;
    char *const text = organ_arena_take(&config->arena, size);
    if (!text) {
        organ_fail_memory(at->error, config->file);
        return;
    }
    snprintf(text, size,
             "%s: %s.%s is %.100s, a rounding of activations that organ does not compute: it rounds none there",
             config->file, at->path, key, value ? value : "null");
    config->unrounded = text;
}

/* ---- input_activations ---- */

/* The members of input_activations, with the defaults of QuantizationArgs in compressed-tensors. */
typedef struct arguments {
    const char *type, *strategy, *dynamic, *scale_dtype; /* `dynamic`: "true", "false" or "local" */
    organ_quant_group numbers;                           /* bits, symmetric, group_size */
} arguments;

/* Returns false, with a note, if organ does not know the value. */
static bool read_dynamic(const organ_quant_scope *at, arguments *a)
{
    const json_t *const value = organ_quant_member(at, "dynamic");
    const char *const text = value ? organ_json_plain(value) : NULL;
    if (value && !json_is_boolean(value) && !(text && strcmp(text, "local") == 0)) {
        organ_quant_leave_out(at, "dynamic");
        return false;
    }
    if (text)
        a->dynamic = text;
    else if (value)
        a->dynamic = json_is_true(value) ? "true" : "false";
    return true;
}

/* Returns false, with a note, if organ does not know the rounding. */
static bool read_arguments(const organ_quant_scope *at, arguments *a)
{
    const char *expected;
    static const organ_quant_field fields[] = {{"num_bits", ORGAN_QUANT_BITS},
                                               {"symmetric", ORGAN_QUANT_SYMMETRIC},
                                               {"group_size", ORGAN_QUANT_GROUP_SIZE},
                                               {NULL, 0}};
    const char *const wrong = organ_quant_try_fields(at, fields, &a->numbers, &expected);
    organ_quant_read_term(at, "type", &a->type);
    organ_quant_read_term(at, "scale_dtype", &a->scale_dtype);
    if (wrong)
        organ_quant_leave_out(at, wrong);
    if (wrong || !read_dynamic(at, a))
        return false;
    a->strategy = a->numbers.group_size > 0 ? "group" : "tensor";
    organ_quant_read_term(at, "strategy", &a->strategy);
    return true;
}

/* ORGAN_INPUTS_PLAIN, with a note, if organ knows no such codes. */
static organ_input_codes codes_of(const organ_quant_scope *at, const arguments *a)
{
    const bool integers = strcmp(a->type, "int") == 0;
    if (!integers && strcmp(a->type, "float") != 0)
        organ_quant_leave_out(at, "type");
    else if (a->numbers.bits != 8 && a->numbers.bits != 4)
        organ_quant_leave_out(at, "num_bits");
    else if (!integers && a->numbers.symmetric == 0)
        organ_quant_leave_out(at, "symmetric");
    else if (integers)
        return a->numbers.bits == 8 ? ORGAN_INPUTS_INT8 : ORGAN_INPUTS_INT4;
    else
        return a->numbers.bits == 8 ? ORGAN_INPUTS_E4M3 : ORGAN_INPUTS_E2M1;
    return ORGAN_INPUTS_PLAIN;
}

/* Servers round a dynamic "tensor" token by token, too: the tokens that they process together are arbitrary. Returns
 * false, with a note, if organ knows no such rounding. */
static bool set_span(const organ_quant_scope *at, const arguments *a, organ_input_rounding *inputs)
{
    static const char *const grouped[] = {"group", "tensor_group", NULL}, *const whole[] = {"token", "tensor", NULL};
    const bool dynamic = strcmp(a->dynamic, "false") != 0, group = organ_is_one_of(a->strategy, grouped);
    const bool fixed = !dynamic && (group ? inputs->codes != ORGAN_INPUTS_E2M1 : strcmp(a->strategy, "token") == 0);
    if (group ? a->numbers.group_size <= 0 || fixed : !organ_is_one_of(a->strategy, whole) || fixed) {
        organ_quant_leave_out(at, "strategy");
        return false;
    }
    inputs->span = dynamic ? ORGAN_INPUTS_TOKEN : ORGAN_INPUTS_TENSOR;
    if (group)
        inputs->span = ORGAN_INPUTS_GROUP;
    inputs->group = group ? (uint64_t)a->numbers.group_size : 0;
    return true;
}

/* compressed-tensors states the type of the scales as scale_dtype. Configs that are older than this member, and those
 * of ModelOpt, are known by codes, group and format. */
static organ_input_scales scales_of(const arguments *a, const organ_input_rounding *inputs, const char *format)
{
    const bool four = inputs->codes == ORGAN_INPUTS_E2M1, floats = four || inputs->codes == ORGAN_INPUTS_E4M3;
    if (inputs->span != ORGAN_INPUTS_GROUP || !floats)
        return ORGAN_INPUT_SCALES_REAL;
    if (inputs->group == MX_GROUP &&
        (strstr(a->scale_dtype, "uint8") || (!*a->scale_dtype && (four || strncmp(format, "mx", 2) == 0))))
        return ORGAN_INPUT_SCALES_E8M0;
    return four && inputs->group == NVFP4_GROUP ? ORGAN_INPUT_SCALES_E4M3 : ORGAN_INPUT_SCALES_REAL;
}

static void set_inputs(const organ_quant_scope *at, const organ_input_rounding *inputs, organ_quant_group *group)
{
    if (at->error->status)
        return;
    group->inputs = *inputs;
    at->config->rounds_inputs = true;
}

void organ_quant_read_inputs(const organ_quant_scope *at, organ_quant_group *group)
{
    const organ_quant_scope inner = organ_quant_enter(at, "input_activations");
    arguments a = {.type = "int", .dynamic = "false", .scale_dtype = "", .numbers = {.bits = 8, .symmetric = 1}};
    organ_input_rounding inputs = {.codes = ORGAN_INPUTS_PLAIN};
    group->inputs = inputs;
    if (!inner.object) {
        group->unasked = organ_served_unasked(group->format);
        at->config->rounds_inputs = at->config->rounds_inputs || group->unasked;
        return;
    }
    if (!read_arguments(&inner, &a) || at->error->status || (inputs.codes = codes_of(&inner, &a)) == ORGAN_INPUTS_PLAIN)
        return;
    if (!set_span(&inner, &a, &inputs))
        return;
    inputs.symmetric = a.numbers.symmetric != 0;
    inputs.scales = scales_of(&a, &inputs, group->format);
    set_inputs(at, &inputs, group);
}

/* ---- methods whose name or algorithm states the rounding ---- */

/* FineGrainedFP8Config of transformers: without weight_block_size, a scale for each token (dynamic) or a stored one
 * (static); with it, a scale for each block's columns. */
static void read_fp8(const organ_quant_scope *at, organ_quant_group *group)
{
    const char *scheme = "", *format = "";
    organ_quant_read_term(at, "activation_scheme", &scheme);
    organ_quant_read_term(at, "scale_fmt", &format);
    const bool fixed = strcmp(scheme, "static") == 0, known = fixed || strcmp(scheme, "dynamic") == 0;
    if (*scheme && !known)
        organ_quant_leave_out(at, "activation_scheme");
    if (!known)
        return;
    organ_input_rounding inputs = {
        .codes = ORGAN_INPUTS_E4M3, .span = fixed ? ORGAN_INPUTS_TENSOR : ORGAN_INPUTS_TOKEN, .symmetric = true};
    if (!fixed && group->block_cols > 0) {
        inputs.span = ORGAN_INPUTS_GROUP;
        inputs.group = group->block_cols;
        inputs.scales = strcmp(format, "ue8m0") == 0 ? ORGAN_INPUT_SCALES_UE8M0 : ORGAN_INPUT_SCALES_REAL;
    }
    set_inputs(at, &inputs, group);
}

/* A row's greatest magnitude counts up to activation_scale_ub [quantize_fp8_per_row of FBGEMM]. */
static void read_fbgemm(const organ_quant_scope *at, organ_quant_group *group)
{
    const json_t *const bound = organ_quant_member(at, "activation_scale_ub");
    const double limit = bound ? json_number_value(bound) : 0;
    const organ_input_rounding inputs = {
        .codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TOKEN, .symmetric = true, .limit = limit};
    if (bound && !(limit > 0 && limit < 1e38)) {
        organ_quant_leave_out(at, "activation_scale_ub");
        return;
    }
    set_inputs(at, &inputs, group);
}

void organ_quant_read_algorithm(const organ_quant_scope *at, organ_quant_group *group)
{
    /* quant_algo of ModelOpt; other algorithms round weights only */
    static const struct algorithm {
        const char *name;
        organ_input_rounding inputs;
    } algorithms[] = {
        {"fp8", {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TENSOR}},
        {"w8a8_sq_per_channel", {.codes = ORGAN_INPUTS_INT8, .span = ORGAN_INPUTS_TENSOR}},
        {"w4a8_awq", {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TENSOR}},
        {"fp8_per_channel_per_token", {.codes = ORGAN_INPUTS_E4M3, .span = ORGAN_INPUTS_TOKEN}},
        {"mxfp8",
         {.codes = ORGAN_INPUTS_E4M3,
          .span = ORGAN_INPUTS_GROUP,
          .scales = ORGAN_INPUT_SCALES_E8M0,
          .group = MX_GROUP}},
        {"nvfp4", NVFP4_INPUTS},
    };
    const char *name = "";
    organ_quant_read_term(at, "quant_algo", &name);
    for (size_t k = 0; k < sizeof algorithms / sizeof *algorithms; k++)
        if (strcmp(name, algorithms[k].name) == 0) {
            organ_input_rounding inputs = algorithms[k].inputs;
            inputs.symmetric = true;
            set_inputs(at, &inputs, group);
        }
}

/* ---- Quark ---- */

/* NVFP4 is a list of two: codes with a scale for each group, and the stored scale of these scales. */
static bool is_nvfp4(const json_t *list)
{
    const json_t *const codes = json_array_get(list, 0);
    const char *const type = organ_json_plain(json_object_get(codes, "dtype"));
    return json_array_size(list) == 2 && type && strcmp(type, "fp4") == 0 &&
           json_integer_value(json_object_get(codes, "group_size")) == NVFP4_GROUP;
}

/* A dynamic scale of a tensor is one for each token, as in set_span. Returns false, with a note, if organ knows no such
 * rounding. */
static bool set_quark_span(const organ_quant_scope *at, const char *scheme, const organ_quant_group *numbers,
                           organ_input_rounding *inputs)
{
    const bool dynamic = json_is_true(organ_quant_member(at, "is_dynamic")), group = strcmp(scheme, "per_group") == 0;
    const char *format = "";
    organ_quant_read_term(at, "scale_format", &format);
    inputs->span = dynamic ? ORGAN_INPUTS_TOKEN : ORGAN_INPUTS_TENSOR;
    if (group ? !dynamic || numbers->group_size < 1
              : strcmp(scheme, "per_tensor") != 0 && !(dynamic && strcmp(scheme, "per_channel") == 0)) {
        organ_quant_leave_out(at, "qscheme");
        return false;
    }
    if (!group)
        return true;
    inputs->span = ORGAN_INPUTS_GROUP;
    inputs->group = (uint64_t)numbers->group_size;
    inputs->scales = strcmp(format, "e8m0") == 0 ? ORGAN_INPUT_SCALES_E8M0 : ORGAN_INPUT_SCALES_REAL;
    return true;
}

/* `weight` is an object, or the list of NVFP4. */
static void read_quark_codes(const organ_quant_scope *at, organ_quant_group *group)
{
    const json_t *const weight = organ_quant_member(at, "weight");
    const organ_quant_scope first = {.config = at->config,
                                     .error = at->error,
                                     .path = at->path,
                                     .object = json_is_array(weight) ? json_array_get(weight, 0) : weight};
    organ_quant_read_term(&first, "dtype", &group->codes);
    if (strcmp(group->codes, "mx") == 0)
        organ_quant_read_term(&first, "mx_element_dtype", &group->codes);
}

void organ_quant_read_quark(const organ_quant_scope *at, organ_quant_group *group)
{
    static const organ_quant_field fields[] = {
        {"symmetric", ORGAN_QUANT_SYMMETRIC}, {"group_size", ORGAN_QUANT_GROUP_SIZE}, {NULL, 0}};
    static const struct {
        const char *name;
        organ_input_codes codes;
    } types[] = {{"int8", ORGAN_INPUTS_INT8},      {"fp8_e4m3", ORGAN_INPUTS_E4M3}, {"fp4", ORGAN_INPUTS_E2M1},
                 {"bfloat16", ORGAN_INPUTS_PLAIN}, {"float16", ORGAN_INPUTS_PLAIN}, {NULL, ORGAN_INPUTS_PLAIN}};
    organ_quant_group numbers = {.symmetric = 1};
    static const organ_input_rounding nvfp4 = NVFP4_INPUTS;
    const char *type = "", *scheme = "";
    size_t k = 0;
    group->inputs = (organ_input_rounding){.codes = ORGAN_INPUTS_PLAIN};
    read_quark_codes(at, group);
    if (is_nvfp4(organ_quant_member(at, "input_tensors"))) {
        set_inputs(at, &nvfp4, group);
        return;
    }
    if (json_is_array(organ_quant_member(at, "input_tensors"))) {
        organ_quant_leave_out(at, "input_tensors");
        return;
    }
    const organ_quant_scope tensors = organ_quant_enter(at, "input_tensors");
    if (!tensors.object)
        return;
    const char *expected;
    const char *const wrong = organ_quant_try_fields(&tensors, fields, &numbers, &expected);
    organ_quant_read_term(&tensors, "dtype", &type);
    organ_quant_read_term(&tensors, "qscheme", &scheme);
    while (types[k].name && strcmp(types[k].name, type) != 0)
        k++;
    if (wrong || !types[k].name)
        organ_quant_leave_out(&tensors, wrong ? wrong : "dtype");
    organ_input_rounding inputs = {.codes = wrong ? ORGAN_INPUTS_PLAIN : types[k].codes,
                                   .symmetric = numbers.symmetric != 0};
    if (inputs.codes != ORGAN_INPUTS_PLAIN && set_quark_span(&tensors, scheme, &numbers, &inputs))
        set_inputs(at, &inputs, group);
}

/* ---- AutoRound ---- */

/* The settings of all layers, under the path of `at` in messages. */
static organ_quant_scope whole_config(const organ_quant_scope *at)
{
    return (organ_quant_scope){
        .config = at->config, .error = at->error, .path = at->path, .object = at->config->section};
}

/* A member of the layers' own settings, or else of the whole config. */
static const json_t *member_of_layer(const organ_quant_scope *at, const char *key)
{
    const organ_quant_scope all = whole_config(at);
    const json_t *const own = organ_quant_member(at, key);
    return own ? own : organ_quant_member(&all, key);
}

/* 0 without the member; -2 if it is no whole number. */
static json_int_t whole_of_layer(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = member_of_layer(at, key);
    return value && !json_is_integer(value) ? -2 : json_integer_value(value);
}

/* Absent members are true. */
static bool flag_of_layer(const organ_quant_scope *at, const char *key)
{
    const json_t *const value = member_of_layer(at, key);
    if (value && !json_is_boolean(value))
        organ_quant_fail_value(at, key, value, "true or false");
    return !json_is_false(value);
}

/* The type of the weights is that of the inputs unless the settings state another one. */
static const char *type_of_layer(const organ_quant_scope *at)
{
    static const char *const keys[] = {"data_type", "act_data_type"};
    const organ_quant_scope all = whole_config(at);
    const char *type = "int";
    for (size_t k = 0; k < 2; k++) {
        organ_quant_read_term(&all, keys[k], &type);
        organ_quant_read_term(at, keys[k], &type);
    }
    return type;
}

/* Without act_bits, and with 16 or more, inputs are not rounded. Static scales are those of a matrix. "rceil" rounds
 * E8M0 scales in another way. */
void organ_quant_read_auto_round(const organ_quant_scope *at, organ_quant_group *group)
{
    /* by the first letters of act_data_type: codes of 4 and of 8 bits */
    static const struct {
        const char *type;
        organ_input_codes four, eight;
        organ_input_scales scales;
    } types[] = {{"int", ORGAN_INPUTS_INT4, ORGAN_INPUTS_INT8, ORGAN_INPUT_SCALES_REAL},
                 {"mx_fp", ORGAN_INPUTS_E2M1, ORGAN_INPUTS_E4M3, ORGAN_INPUT_SCALES_E8M0},
                 {"nv_fp", ORGAN_INPUTS_E2M1, ORGAN_INPUTS_PLAIN, ORGAN_INPUT_SCALES_E4M3},
                 {"fp", ORGAN_INPUTS_PLAIN, ORGAN_INPUTS_E4M3, ORGAN_INPUT_SCALES_REAL}};
    const json_int_t bits = whole_of_layer(at, "act_bits"), size = whole_of_layer(at, "act_group_size");
    const bool dynamic = flag_of_layer(at, "act_dynamic");
    const char *const type = type_of_layer(at);
    const organ_quant_scope whole = whole_config(at);
    size_t k = 0;
    while (k < sizeof types / sizeof *types && strncmp(type, types[k].type, strlen(types[k].type)) != 0)
        k++;
    organ_input_rounding inputs = {.span = dynamic ? ORGAN_INPUTS_TOKEN : ORGAN_INPUTS_TENSOR,
                                   .symmetric = flag_of_layer(at, "act_sym")};
    if (bits >= 16)
        group->inputs = (organ_input_rounding){.codes = ORGAN_INPUTS_PLAIN};
    if (bits >= 16 || bits == 0)
        return;
    if (k < sizeof types / sizeof *types && (bits == 4 || bits == 8) && !strstr(type, "rceil"))
        inputs.codes = bits == 4 ? types[k].four : types[k].eight;
    if (inputs.codes == ORGAN_INPUTS_PLAIN || size < -1) {
        const char *const type_key = size < -1 ? "act_group_size" : "act_data_type";
        const char *const key = bits == 4 || bits == 8 ? type_key : "act_bits";
        group->inputs = (organ_input_rounding){.codes = ORGAN_INPUTS_PLAIN};
        organ_quant_leave_out(organ_quant_member(at, key) ? at : &whole, key);
        return;
    }
    if (size > 0) {
        inputs.span = ORGAN_INPUTS_GROUP;
        inputs.group = (uint64_t)size;
        inputs.scales = types[k].scales;
    }
    set_inputs(at, &inputs, group);
}

/* ---- the method ---- */

void organ_quant_read_scheme(const organ_quant_scope *at, organ_quant_group *group)
{
    if (strcmp(at->config->method, "fp8") == 0)
        read_fp8(at, group);
    else if (strcmp(at->config->method, "fbgemm_fp8") == 0)
        read_fbgemm(at, group);
    else if (strcmp(at->config->method, "modelopt") == 0)
        organ_quant_read_algorithm(at, group);
    else if (strcmp(at->config->method, "quark") == 0) {
        const organ_quant_scope all = organ_quant_enter(at, "global_quant_config");
        if (all.object)
            organ_quant_read_quark(&all, group);
    } else if (strstr(at->config->method, "auto-round"))
        organ_quant_read_auto_round(at, group);
}
