/* SPDX-License-Identifier: MIT */
#include "formats/model/mlx_view.h"

#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/text.h"
#include "formats/base/word_lists.h"
#include "formats/model/mlx_multipliers.h"
#include "formats/tensor/mlx_names.h"
#include "formats/tensor/module_names.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct mlx_view {
    const char *label; /* the path of the model */
    const organ_mlx_layout *layout;
    const organ_tensor_list *from;
    organ_tensor_list *list; /* owns names and shapes */
    organ_tensor_list made;
    organ_compositions *composed;
    organ_model_file *files;
    size_t file_count;
    const json_t *settings; /* "quantization" of config.json, or NULL */
    const json_t *config;   /* config.json, or NULL */
    bool shifts;            /* a convolution has mlx-lm's shape, so norms have 1 added, and weights are multiplied */
} mlx_view;

/* ---- what is written for a tensor ---- */

static const char *kept_name(mlx_view *v, const char *name)
{
    char text[ORGAN_MODULE_NAME_SIZE];
    if (snprintf(text, sizeof text, "%s", name) >= (int)sizeof text || !organ_mlx_rename(v->layout, text, sizeof text))
        return name;
    return organ_arena_copy(&v->list->arena, text, strlen(text));
}

static const uint64_t *kept_shape(mlx_view *v, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t *const shape = organ_arena_take(&v->list->arena, 3 * sizeof *shape);
    const uint64_t all[3] = {a, b, c};
    if (shape)
        memcpy(shape, all, sizeof all);
    return shape;
}

/* Appends `tensor` under the name that `name` has in transformers; `name` is one of mlx-lm with a suffix. */
static organ_status append(mlx_view *v, organ_tensor tensor, const char *name, organ_error *error)
{
    tensor.name = kept_name(v, name);
    if (!tensor.name || !tensor.shape)
        return organ_fail_memory(error, v->label);
    tensor.anatomy = organ_anatomy_of(tensor.name);
    return organ_tensor_list_append(&v->made, &tensor, error);
}

static const organ_tensor *other_of(const mlx_view *v, const char *name, const char *from, const char *to)
{
    char text[ORGAN_MODULE_NAME_SIZE];
    if (snprintf(text, sizeof text, "%s", name) >= (int)sizeof text ||
        !organ_module_replace(text, sizeof text, from, to))
        return NULL;
    const size_t *const found = organ_name_table_find(&v->from->names, text);
    return found ? &v->from->tensors[*found] : NULL;
}

/* Fails if there is no tensor `from` of the same kind as `name`, whose word `word` is another. */
static const organ_tensor *partner_of(const mlx_view *v, const organ_tensor *tensor, const char *from, const char *to,
                                      organ_error *error)
{
    const organ_tensor *const found = other_of(v, tensor->name, from, to);
    if (!found)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' of mlx-lm has no '%s' beside it", v->label, tensor->name,
                   to);
    else if (found->rank != tensor->rank)
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' has %u axes, but '%s' has %u", v->label, found->name,
                   found->rank, tensor->name, tensor->rank);
    return error->status ? NULL : found;
}

/* Without values any shape fits a file: the numbers of its axes are no limit for what organ makes of them. */
static organ_status refuse_empty(const mlx_view *v, const organ_tensor *t, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' of mlx-lm has no values", v->label, t->name);
}

static organ_status compose(mlx_view *v, organ_composed made, const char *name, const organ_tensor *like,
                            organ_error *error)
{
    organ_tensor *const as = &made.as;
    as->file = like->file;
    as->name = name;
    as->elements = 1;
    for (unsigned k = 0; k < as->rank && as->shape; k++)
        as->elements *= as->shape[k];
    as->bytes = as->elements * organ_dtype_describe(as->dtype)->bytes;
    if (as->shape && as->elements == 0)
        return refuse_empty(v, like, error);
    organ_compose_part *const parts = organ_arena_take(&v->list->arena, (made.part_count + 1) * sizeof *parts);
    if (!parts || !as->shape || !name)
        return organ_fail_memory(error, v->label);
    memcpy(parts, made.parts, made.part_count * sizeof *parts);
    made.parts = parts;
    if (organ_compositions_add(v->composed, &made, error) != ORGAN_OK)
        return error->status;
    return append(v, made.as, name, error);
}

/* ---- parts, with their scales ---- */

static uint64_t last_axis(const organ_tensor *tensor) { return tensor->rank ? tensor->shape[tensor->rank - 1] : 1; }

/* Returns the bits of the codes of a module: config.json may list modules of their own. */
static unsigned bits_of(const mlx_view *v, const char *module, size_t length)
{
    char text[ORGAN_MODULE_NAME_SIZE];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : sizeof text - 1), module);
    const json_t *const own = json_object_get(v->settings, text);
    const json_t *const bits = json_object_get(json_is_object(own) ? own : v->settings, "bits");
    return json_is_integer(bits) ? (unsigned)json_integer_value(bits) : 0;
}

/* Fills a part with the tensor and, if it has codes, with its scales. */
static organ_status find_part(const mlx_view *v, const organ_tensor *tensor, organ_compose_part *part,
                              organ_error *error)
{
    *part = (organ_compose_part){.codes = *tensor};
    const size_t stem = strlen(tensor->name) - strlen(".weight");
    if (tensor->dtype != ORGAN_U32)
        return tensor->dtype == ORGAN_F32 || tensor->dtype == ORGAN_F16 || tensor->dtype == ORGAN_BF16
                   ? ORGAN_OK
                   : organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' of mlx-lm is %s, not BF16, F16 or F32",
                                v->label, tensor->name, organ_dtype_name(tensor->dtype));
    const organ_tensor *const found = other_of(v, tensor->name, "weight", "scales"), *const biases =
                                                                                         other_of(v, tensor->name,
                                                                                                  "weight", "biases");
    if (!found || found->rank != tensor->rank || last_axis(found) == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is U32, but has no scales", v->label, tensor->name);
    part->scales = *found;
    part->affine = found->dtype != ORGAN_U8;
    if (biases)
        part->biases = *biases;
    const uint64_t each = last_axis(tensor) * 32 / last_axis(found); /* bits that share a scale */
    part->bits = each == 256 ? 8 : 4;
    if (part->affine)
        part->bits = bits_of(v, tensor->name, stem);
    if (part->bits == 0 || part->bits > 8 || each % part->bits || (part->affine && !biases) ||
        last_axis(tensor) * 32 % last_axis(found))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' has %" PRIu64 " words and %" PRIu64
                          " scales in a row, which are no codes of %u bits (quantization of config.json)",
                          v->label, tensor->name, last_axis(tensor), last_axis(found), part->bits);
    return ORGAN_OK;
}

static uint64_t part_cols(const organ_compose_part *part)
{
    return part->bits ? last_axis(&part->codes) * 32 / part->bits : last_axis(&part->codes);
}

/* The type of the values: MLX rounds them to that of the scales. */
static organ_dtype part_type(const organ_compose_part *part)
{
    if (!part->bits)
        return part->codes.dtype;
    return part->affine ? part->scales.dtype : ORGAN_BF16;
}

/* ---- stacks of experts ---- */

static organ_status append_numbered(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack,
                                    organ_error *error)
{
    const uint64_t *const shape = kept_shape(v, t->shape[1], t->rank > 2 ? t->shape[2] : 0, 0);
    for (uint64_t k = 0; k < t->shape[0] && !error->status; k++) {
        ORGAN_OWNED char *const name = organ_format("%.*s.experts.%" PRIu64 ".%s.%s", (int)stack->before, t->name, k,
                                                    organ_mlx_projection(v->layout, stack->projection), stack->part);
        organ_tensor one = *t;
        one.rank = t->rank - 1;
        one.shape = shape;
        one.elements = t->elements / t->shape[0];
        one.bytes = t->bytes / t->shape[0];
        one.offset = t->offset + k * one.bytes;
        if (!name || append(v, one, name, error) != ORGAN_OK)
            return name ? error->status : organ_fail_memory(error, v->label);
    }
    return error->status;
}

/* Returns the name of the tensor of all experts, in the arena. `pair`: of gate and up. A weight has no suffix, and a
 * bias "_bias", but Granite's. */
static const char *whole_name(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack, bool pair)
{
    static const char *const names[2][2] = {{".experts.down_proj", ".experts.gate_up_proj"},
                                            {".output_linear", ".input_linear"}};
    const bool granite = v->layout->form == ORGAN_MLX_GRANITE;
    const bool bare = !granite && strcmp(stack->part, "weight") == 0;
    const char *const dot = !granite && strcmp(stack->part, "bias") == 0 ? "_" : ".";
    ORGAN_OWNED char *const name = organ_format("%.*s%s%s%s", (int)stack->before, t->name, names[granite][pair],
                                                bare ? "" : dot, bare ? "" : stack->part);
    return name ? organ_arena_copy(&v->list->arena, name, strlen(name)) : NULL;
}

/* The rows of gate, of each matrix, are followed by those of up. */
static organ_status append_pair(mlx_view *v, const organ_tensor *gate, const char *name, organ_error *error)
{
    const organ_tensor *const up = partner_of(v, gate, "gate_proj", "up_proj", error);
    if (!up)
        return error->status;
    if (up->bytes != gate->bytes || up->dtype != gate->dtype)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors '%s' and '%s' differ in their sizes or types", v->label,
                          gate->name, up->name);
    const organ_compose_part parts[2] = {{.codes = *gate}, {.codes = *up}};
    const uint64_t *const s = gate->shape;
    const organ_composed made = {
        .as = {.dtype = gate->dtype,
               .rank = gate->rank,
               .shape = gate->rank == 3 ? kept_shape(v, s[0], 2 * s[1], s[2]) : kept_shape(v, 2 * s[0], s[1], 0)},
        .count = gate->rank == 3 ? s[0] : 1,
        .bytes = true,
        .part_count = 2,
        .parts = parts};
    return compose(v, made, name, gate, error);
}

/* Stacks whose rows stay rows. */
static organ_status append_joined(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack, organ_error *error)
{
    const bool pair = strcmp(stack->projection, "gate_proj") == 0;
    const char *const name = whole_name(v, t, stack, pair);
    return pair ? append_pair(v, t, name, error) : append(v, *t, name ? name : "", error);
}

/* Stacks whose rows become columns; values are computed, and scales are no tensors of their own. */
static organ_status append_turned(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack, organ_error *error)
{
    const bool pair = strcmp(stack->projection, "gate_proj") == 0, woven = v->layout->form == ORGAN_MLX_WOVEN,
               bias = strcmp(stack->part, "bias") == 0;
    organ_compose_part parts[2];
    if (!bias && strcmp(stack->part, "weight") != 0)
        return ORGAN_OK;
    const organ_tensor *const up = pair ? partner_of(v, t, "gate_proj", "up_proj", error) : NULL;
    if ((pair && !up) || find_part(v, t, &parts[0], error) || (pair && find_part(v, up, &parts[1], error)))
        return error->status;
    if (t->rank != (bias ? 2U : 3U) || (up && up->bytes != t->bytes))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is no stack of experts", v->label, t->name);
    parts[0].turned = parts[1].turned = !bias;
    const uint64_t count = t->shape[0], rows = bias ? 1 : part_cols(&parts[0]), cols = t->shape[1] * (pair ? 2 : 1);
    const organ_composed made = {
        .as = {.dtype = part_type(&parts[0]),
               .rank = bias ? 2 : 3,
               .shape = bias ? kept_shape(v, count, cols, 0) : kept_shape(v, count, rows, cols)},
        .count = count,
        .rows = rows,
        .cols = cols,
        .form = woven ? ORGAN_COMPOSE_WOVEN : ORGAN_COMPOSE_BESIDE,
        .part_count = pair ? 2 : 1,
        .parts = parts};
    return compose(v, made, whole_name(v, t, stack, pair), t, error);
}

static organ_status append_stack(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack, organ_error *error)
{
    const organ_mlx_experts form = v->layout->form;
    if (t->elements == 0)
        return refuse_empty(v, t, error);
    if (form >= ORGAN_MLX_JOINED && strcmp(stack->projection, "up_proj") == 0)
        return ORGAN_OK; /* a part of gate's */
    if (form >= ORGAN_MLX_TURNED)
        return append_turned(v, t, stack, error);
    return form >= ORGAN_MLX_JOINED ? append_joined(v, t, stack, error) : append_numbered(v, t, stack, error);
}

/* ---- experts whose rows follow each other in one matrix ---- */

static const organ_tensor *expert_of(const mlx_view *v, const organ_tensor *first, const organ_mlx_numbered *name,
                                     uint64_t k)
{
    ORGAN_OWNED char *const text =
        organ_format("%.*s.%" PRIu64 ".%s", (int)name->before, first->name, k, first->name + name->word);
    const size_t *const found = text ? organ_name_table_find(&v->from->names, text) : NULL;
    return found ? &v->from->tensors[*found] : NULL;
}

static organ_status fill_parts(const mlx_view *v, const organ_tensor *first, const organ_mlx_numbered *name,
                               organ_compose_part *parts, uint64_t count, organ_error *error)
{
    const bool turned = strncmp(first->name + name->word, "w2.", 3) == 0;
    for (uint64_t k = 0; k < count; k++) {
        const organ_tensor *const t = expert_of(v, first, name, k);
        if (!t)
            return organ_fail_memory(error, v->label);
        if (find_part(v, t, &parts[k], error) != ORGAN_OK)
            return error->status;
        parts[k].turned = turned;
        if (t->rank != 2 || t->shape[0] != first->shape[0] || part_cols(&parts[k]) != part_cols(&parts[0]) ||
            part_type(&parts[k]) != part_type(&parts[0]))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors '%s' and '%s' differ in their sizes or types",
                              v->label, first->name, t->name);
    }
    return ORGAN_OK;
}

static organ_status refuse_axes(const mlx_view *v, const organ_tensor *t, unsigned wanted, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' of mlx-lm has %u axes, not %u", v->label, t->name,
                      t->rank, wanted);
}

/* The tensor of the first expert stands for those of all. */
static organ_status append_below(mlx_view *v, const organ_tensor *t, const organ_mlx_numbered *name, organ_error *error)
{
    uint64_t count = 0;
    if (name->number > 0 || !organ_ends_with(t->name, ".weight"))
        return ORGAN_OK;
    if (t->rank != 2)
        return refuse_axes(v, t, 2, error);
    while (expert_of(v, t, name, count))
        count++;
    ORGAN_OWNED organ_compose_part *const parts = calloc((size_t)count + 1, sizeof *parts);
    ORGAN_OWNED char *const whole = organ_format("%.*s.mlp.%.2s", (int)name->before, t->name, t->name + name->word);
    if (!parts || !whole || count == 0)
        return organ_fail_memory(error, v->label);
    if (fill_parts(v, t, name, parts, count, error) != ORGAN_OK)
        return error->status;
    const uint64_t rows = parts[0].turned ? part_cols(&parts[0]) : t->shape[0],
                   cols = parts[0].turned ? t->shape[0] : part_cols(&parts[0]);
    const organ_composed made = {
        .as = {.dtype = part_type(&parts[0]), .rank = 2, .shape = kept_shape(v, count * rows, cols, 0)},
        .count = count,
        .rows = rows,
        .cols = cols,
        .apart = true,
        .part_count = (size_t)count,
        .parts = parts};
    return compose(v, made, organ_arena_copy(&v->list->arena, whole, strlen(whole)), t, error);
}

/* ---- latent attention: kv_b_proj, cut by heads ---- */

static organ_status append_latent(mlx_view *v, const organ_tensor *keys, organ_error *error)
{
    const organ_tensor *const values = partner_of(v, keys, "embed_q", "unembed_out", error);
    organ_compose_part parts[2];
    if (!values || find_part(v, keys, &parts[0], error) || find_part(v, values, &parts[1], error))
        return error->status;
    if (keys->rank != 3 || keys->shape[0] != values->shape[0] || keys->shape[1] != part_cols(&parts[1]))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors '%s' and '%s' are no halves of kv_b_proj", v->label,
                          keys->name, values->name);
    parts[0].turned = true;
    const uint64_t heads = keys->shape[0], rows = part_cols(&parts[0]) + values->shape[1], cols = keys->shape[1];
    char name[ORGAN_MODULE_NAME_SIZE];
    if (snprintf(name, sizeof name, "%s", keys->name) >= (int)sizeof name ||
        !organ_module_replace(name, sizeof name, "embed_q", "kv_b_proj"))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the name of tensor '%s' is too long", v->label, keys->name);
    const organ_composed made = {
        .as = {.dtype = part_type(&parts[0]), .rank = 2, .shape = kept_shape(v, heads * rows, cols, 0)},
        .count = heads,
        .rows = rows,
        .cols = cols,
        .part_count = 2,
        .parts = parts};
    return compose(v, made, organ_arena_copy(&v->list->arena, name, strlen(name)), keys, error);
}

static bool is_latent(const char *name)
{
    return strstr(name, ".embed_q.") != NULL || strstr(name, ".unembed_out.") != NULL;
}

/* ---- one tensor ---- */

static organ_status append_divided(mlx_view *v, const organ_tensor *t, organ_error *error)
{
    organ_compose_part part = {.codes = *t};
    const uint64_t rows = t->shape[0];
    float *const times = organ_arena_take(&v->list->arena, (size_t)rows * sizeof *times);
    if (times)
        organ_mlx_undo(v->config, t, times);
    const organ_composed made = {.as = {.dtype = t->dtype, .rank = 2, .shape = t->shape},
                                 .count = 1,
                                 .rows = rows,
                                 .cols = t->shape[1],
                                 .times = times,
                                 .part_count = 1,
                                 .parts = &part};
    return times ? compose(v, made, t->name, t, error) : organ_fail_memory(error, v->label);
}

/* Beside the experts of `t`, a stack of weights. */
static organ_status append_zeros(mlx_view *v, const organ_tensor *t, const organ_mlx_stack *stack, organ_error *error)
{
    const bool first = strcmp(stack->projection, "gate_proj") == 0 && strcmp(stack->part, "weight") == 0;
    ORGAN_OWNED char *const name = organ_format("%.*s.%s", (int)stack->before, t->name, v->layout->zeros);
    if (!first || !name || organ_name_table_find(&v->from->names, name))
        return name ? ORGAN_OK : organ_fail_memory(error, v->label);
    const bool row = v->layout->zeros_rank == 2;
    const organ_compose_part none = {.bits = 0};
    const organ_composed made = {.as = {.dtype = ORGAN_F32,
                                        .rank = v->layout->zeros_rank,
                                        .shape = kept_shape(v, row ? 1 : t->shape[0], t->shape[0], 0)},
                                 .count = 1,
                                 .rows = 1,
                                 .cols = t->shape[0],
                                 .parts = &none};
    return compose(v, made, organ_arena_copy(&v->list->arena, name, strlen(name)), t, error);
}

static bool is_convolution(const organ_tensor *t)
{
    static const char *const ends[] = {"conv1d.weight", "conv.weight", "conv_1d.weight"};
    bool named = false;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        named = named || organ_ends_with(t->name, ends[k]);
    return named && t->rank == 3 && t->shape[1] > 1 && t->shape[2] == 1;
}

static organ_status append_one(mlx_view *v, const organ_tensor *t, bool turned, organ_error *error)
{
    organ_compose_part part;
    if (find_part(v, t, &part, error) != ORGAN_OK)
        return error->status;
    if (t->rank != (turned ? 2U : 1U))
        return refuse_axes(v, t, turned ? 2 : 1, error);
    part.turned = turned;
    const uint64_t rows = turned ? part_cols(&part) : 1, cols = t->shape[0];
    const organ_composed made = {.as = {.dtype = part_type(&part),
                                        .rank = turned ? 2 : 1,
                                        .shape = kept_shape(v, turned ? rows : cols, cols, 0)},
                                 .count = 1,
                                 .rows = rows,
                                 .cols = cols,
                                 .plus = turned ? 0.F : -1.F,
                                 .part_count = 1,
                                 .parts = &part};
    return compose(v, made, t->name, t, error);
}

/* Returns whether the matrix of the module of this tensor is turned, and sets *part to the tensor's suffix. */
static bool is_turned(const mlx_view *v, const organ_tensor *t, const char **part)
{
    const char *const dot = strrchr(t->name, '.');
    *part = dot ? dot + 1 : "";
    const char *last = dot;
    while (last && last > t->name && last[-1] != '.')
        last--;
    return v->layout->turned && dot && strncmp(t->name, "model.", 6) == 0 &&
           organ_lists_word(v->layout->turned, '|', last, (size_t)(dot - last)) &&
           organ_lists_word("weight scales biases", ' ', *part, strlen(*part));
}

/* Granite's dense layers are a shared expert in transformers. */
static bool is_dense_part(const mlx_view *v, const organ_tensor *t, const char *module)
{
    return v->layout->form == ORGAN_MLX_GRANITE && t->rank == 2 && strstr(t->name, module) != NULL;
}

/* Returns whether transformers stores the single number as a vector. */
static bool is_single(const mlx_view *v, const organ_tensor *t)
{
    const char *const dot = strrchr(t->name, '.');
    return v->layout->axis && t->rank == 0 && dot && organ_lists_word(v->layout->axis, ' ', dot + 1, strlen(dot + 1));
}

/* Appends the tensor with the same values and another shape. */
static organ_status append_shaped(mlx_view *v, const organ_tensor *t, unsigned rank, uint64_t a, uint64_t b, uint64_t c,
                                  organ_error *error)
{
    organ_tensor one = *t;
    one.rank = rank;
    one.shape = kept_shape(v, a, b, c);
    return append(v, one, t->name, error);
}

static organ_status append_tensor(mlx_view *v, const organ_tensor *t, organ_error *error)
{
    organ_mlx_stack stack;
    const char *part;
    const organ_mlx_numbered number = organ_mlx_numbered_of(v->layout, t->name);
    if (organ_mlx_stack_of(v->layout, t->name, &stack) && t->rank >= 2 && t->rank <= 3)
        return v->layout->zeros && append_zeros(v, t, &stack, error) ? error->status
                                                                     : append_stack(v, t, &stack, error);
    if (v->layout->multiplied && v->shifts && organ_mlx_is_multiplied(t))
        return append_divided(v, t, error);
    if (is_dense_part(v, t, ".mlp.gate_proj."))
        return append_pair(v, t, t->name, error);
    if (is_dense_part(v, t, ".mlp.up_proj."))
        return ORGAN_OK; /* a part of gate's */
    if (is_latent(t->name))
        return organ_ends_with(t->name, ".embed_q.weight") ? append_latent(v, t, error) : ORGAN_OK;
    if (is_turned(v, t, &part))
        return strcmp(part, "weight") == 0 ? append_one(v, t, /*turned=*/true, error) : ORGAN_OK;
    if (v->shifts && t->rank == 1 && organ_mlx_is_shifted(v->layout, t->name))
        return append_one(v, t, /*turned=*/false, error);
    if (is_convolution(t))
        return append_shaped(v, t, 3, t->shape[0], 1, t->shape[1], error);
    if (is_single(v, t))
        return append_shaped(v, t, 1, 1, 0, 0, error);
    if (number.number >= 0)
        return append_below(v, t, &number, error);
    const char *const name = kept_name(v, t->name);
    if (!name)
        return organ_fail_memory(error, v->label);
    return strcmp(name, t->name) == 0 ? organ_tensor_list_append(&v->made, t, error) : append(v, *t, t->name, error);
}

/* ---- all tensors ---- */

/* Returns whether a tensor has a name or a shape that only mlx-lm writes. */
static bool is_changed(const mlx_view *v, const organ_tensor *t)
{
    organ_mlx_stack stack;
    char text[ORGAN_MODULE_NAME_SIZE];
    if (organ_mlx_stack_of(v->layout, t->name, &stack) || is_latent(t->name) || is_convolution(t) || is_single(v, t) ||
        organ_mlx_numbered_of(v->layout, t->name).number >= 0)
        return true;
    return !v->layout->shared && snprintf(text, sizeof text, "%s", t->name) < (int)sizeof text &&
           organ_mlx_rename(v->layout, text, sizeof text) && strcmp(text, t->name) != 0;
}

static organ_status take_over(mlx_view *v, organ_error *error)
{
    organ_tensor_list *const made = &v->made;
    organ_compositions_show(v->composed, made, v->files, v->file_count, error);
    for (size_t k = 0; k < made->count && !error->status; k++) {
        if (organ_name_table_find(&made->names, made->tensors[k].name))
            organ_fail(error, ORGAN_BAD_INPUT, "%s: two tensors of mlx-lm are '%s' in transformers", v->label,
                       made->tensors[k].name);
        else if (!organ_name_table_put(&made->names, made->tensors[k].name, k))
            organ_fail_memory(error, v->label);
    }
    if (error->status) {
        organ_name_table_release(&made->names);
        free(made->tensors);
        return error->status;
    }
    organ_rows_free(v->list->tensors);
    organ_name_table_release(&v->list->names);
    v->list->tensors = made->tensors;
    v->list->count = made->count;
    v->list->capacity = made->capacity;
    v->list->names = made->names;
    return ORGAN_OK;
}

static const json_t *settings_of(const json_t *root)
{
    static const char *const keys[] = {"quantization", "quantization_config"};
    const json_t *found = NULL;
    for (size_t k = 0; k < 4 && !json_is_object(found); k++)
        found = json_object_get(k < 2 ? root : json_object_get(root, "text_config"), keys[k % 2]);
    return json_is_object(found) ? found : NULL;
}

organ_status organ_mlx_view(const organ_mlx_saved *saved, organ_tensor_list *list, organ_compositions *made,
                            organ_error *error)
{
    ORGAN_OWNED_JSON json_t *root = NULL;
    mlx_view v = {.label = saved->label,
                  .layout = organ_mlx_layout_of(saved->model_type),
                  .from = list,
                  .list = list,
                  .composed = made,
                  .files = saved->files,
                  .file_count = saved->file_count};
    bool changed = false, codes = false;
    for (size_t k = 0; k < list->count; k++) {
        organ_rows_passed();
        if (v.layout->lost && strstr(list->tensors[k].name, v.layout->lost))
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' of mlx-lm cannot be read: %s", v.label,
                              list->tensors[k].name, v.layout->why);
        changed = changed || is_changed(&v, &list->tensors[k]);
        codes = codes || list->tensors[k].dtype == ORGAN_U32;
        v.shifts = v.shifts || is_convolution(&list->tensors[k]);
    }
    if (!changed || (saved->keeps_codes && codes) || organ_mlx_has_experts_twice(list))
        return ORGAN_OK;
    const organ_json_source text = {"config.json", saved->config, strlen(saved->config)};
    if (organ_json_parse_object(&text, &root, error) != ORGAN_OK)
        return error->status;
    v.config = root;
    v.settings = settings_of(root);
    for (size_t k = 0; k < list->count && !error->status; k++) {
        organ_rows_passed();
        append_tensor(&v, &list->tensors[k], error);
    }
    if (error->status) {
        free(v.made.tensors);
        return error->status;
    }
    return take_over(&v, error);
}
