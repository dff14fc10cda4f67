/* SPDX-License-Identifier: MIT
 * Finds all weights of a model: first packed ones, then plain ones among the remaining tensors. */
#include "formats/weights/weight_search.h"

#include "formats/base/results.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- tensors of quantised models that belong to no packed weight ---- */

static bool has_leaf(const char *name, const char *leaf)
{
    const char before = organ_ends_with(name, leaf) ? name[strlen(name) - strlen(leaf) - 1] : '\0';
    return before == '.' || before == '_';
}

static bool has_one_of(const char *name, const char *const *leaves, size_t count)
{
    for (size_t k = 0; k < count; k++)
        if (has_leaf(name, leaves[k]))
            return true;
    return false;
}

/* Returns ORGAN_BAD_INPUT for a tensor whose name shows an unsupported layout. */
static organ_status weight_refuse(const organ_weight_search *search, const organ_tensor *tensor)
{
    static const struct layout {
        const char *leaf, *name;
        organ_dtype dtype;
    } layouts[] = {
        {".B", "marlin", ORGAN_I32},
        {".scale_packed", "marlin-24", ORGAN_DTYPE_COUNT},
        {".bitmask", "sparse-bitmask", ORGAN_U8},
        {".weight_bitmask", "sparse-bitmask", ORGAN_U8},
        {".compressed", "sparse-bitmask", ORGAN_DTYPE_COUNT},
        {".weight_compressed", "sparse-bitmask", ORGAN_DTYPE_COUNT},
        {".W_q", "hqq", ORGAN_DTYPE_COUNT},
        {".codebooks", "aqlm", ORGAN_DTYPE_COUNT},
    };
    for (size_t k = 0; k < sizeof layouts / sizeof *layouts; k++)
        if (organ_ends_with(tensor->name, layouts[k].leaf) &&
            (layouts[k].dtype == ORGAN_DTYPE_COUNT || layouts[k].dtype == tensor->dtype))
            return organ_weight_fail(search, tensor, "belongs to a weight in the layout '%s', which cannot be read",
                                     layouts[k].name);
    return ORGAN_OK;
}

/* Last parts of names of tensors that no weight of a plain model needs, by what they belong to. */
static const char *const of_activations[] = {
    "input_scale",       "input_scale_inv", "input_global_scale", "input_zero_point", "input_scale_ub",
    "activation_scale",  "act_scale",       "qscale_act",         "scale_input",      "output_scale",
    "output_zero_point", "input_amax",      "input_scale_2"};
static const char *const of_caches[] = {"k_scale",        "v_scale",      "q_scale",      "kv_scale",
                                        "prob_scale",     "k_zero_point", "v_zero_point", "q_zero_point",
                                        "kv_cache_scale", "softmax_scale"};
static const char *const of_packed_weights[] = {"weight_scale",
                                                "weight_scale_inv",
                                                "weight_scale_2",
                                                "weight_shape",
                                                "weight_zero_point",
                                                "weight_global_scale",
                                                "weight_g_idx",
                                                "qscale_weight",
                                                "scale_weight",
                                                "scale_inv",
                                                "qzeros",
                                                "scales",
                                                "biases",
                                                "g_idx",
                                                "absmax",
                                                "SCB",
                                                "_weight_qdata",
                                                "_weight_scale",
                                                "_weight_zero_point",
                                                "quant_map"};

const char *organ_weight_why_unmatched(organ_weight_search *search, const organ_tensor *tensor, bool *dropped)
{
    const char *const name = tensor->name, *const dot = strrchr(name, '.');
    *dropped = false;
    if (has_leaf(name, "correct_output_scale")) /* a parameter of AltUp (Gemma 3n) */
        return NULL;
    *dropped = true;
    if (has_one_of(name, of_activations, sizeof of_activations / sizeof *of_activations))
        return "scales activations, which a plain model does not need";
    if (has_one_of(name, of_caches, sizeof of_caches / sizeof *of_caches))
        return "scales the cache or scores of attention, which a plain model does not need";
    *dropped = false;
    if (has_one_of(name, of_packed_weights, sizeof of_packed_weights / sizeof *of_packed_weights) ||
        (has_leaf(name, "scale") && tensor->dtype == ORGAN_F8_E8M0))
        return "is named like a companion of a packed weight that is missing";
    if (!dot || strcmp(dot, ".bias") == 0 || strcmp(dot, ".weight") == 0)
        return NULL;
    /* The tensor is of no known kind: it may belong to the packed weight of its module. */
    memcpy(search->name, name, (size_t)(dot - name));
    strcpy(search->name + (dot - name), ".weight");
    const size_t *const found = organ_name_table_find(&search->names, search->name);
    return found && search->weights[*found].scheme != ORGAN_SCHEME_PLAIN ? "belongs to a packed weight and is unknown"
                                                                         : NULL;
}

/* ---- notes ---- */

static void write_value(const char *what, const uint64_t value[2], char out[64])
{
    if (strcmp(what, "symmetric") == 0)
        snprintf(out, 64, "%s", value[0] ? "true" : "false");
    else if (strcmp(what, "layout") == 0)
        snprintf(out, 64, "%s", organ_scheme_name((organ_scheme)value[0]));
    else if (value[1])
        snprintf(out, 64, "%" PRIu64 " x %" PRIu64, value[0], value[1]);
    else /* signed, because a group_size may be -1 */
        snprintf(out, 64, "%" PRId64, (int64_t)value[0]);
}

static void write_note(const organ_weight_search *search, const organ_weight_note *note, char *out, size_t size)
{
    char stated[64], found[64], others[64] = "";
    write_value(note->what, note->stated, stated);
    write_value(note->what, note->found, found);
    if (note->count > 1)
        snprintf(others, sizeof others, " and %zu other%s", note->count - 1, note->count > 2 ? "s" : "");
    snprintf(out, size, "%s states %s %s, but the tensors of '%.300s'%s have %s: organ uses the tensors' value",
             search->config->file, note->what, stated, note->first, others, found);
}

static organ_status add_note(organ_weight_search *search, const char *text)
{
    const char *const copy = organ_arena_copy(&search->arena, text, strlen(text));
    if (!copy)
        return organ_fail_memory(search->error, search->model->path);
    search->sentences[search->found.note_count++] = copy;
    return ORGAN_OK;
}

static organ_status add_remarks(organ_weight_search *search)
{
    const organ_quant_config *const config = search->config;
    const char *const remarks[] = {search->dropped, config ? config->strangers : "", config ? config->unrounded : "",
                                   search->unscaled};
    for (size_t k = 0; k < sizeof remarks / sizeof *remarks; k++) {
        search->found.remark_count += *remarks[k] != '\0';
        if (*remarks[k] && add_note(search, remarks[k]))
            return search->error->status;
    }
    return ORGAN_OK;
}

/* Writes a sentence for each note to search->sentences. Returns ORGAN_IO if memory is exhausted. */
static organ_status weight_write_notes(organ_weight_search *search)
{
    char text[700];
    search->sentences = organ_arena_take(&search->arena, (ORGAN_NOTES_MAX + 6) * sizeof *search->sentences);
    if (!search->sentences)
        return organ_fail_memory(search->error, search->model->path);
    for (size_t k = 0; k < search->note_count; k++) {
        write_note(search, &search->notes[k], text, sizeof text);
        if (add_note(search, text))
            return search->error->status;
    }
    if (*search->folded && add_note(search, search->folded))
        return search->error->status;
    if (!search->without_scales)
        return add_remarks(search);
    snprintf(text, sizeof text,
             "%zu weight%s of a type for codes %s no scales, so organ uses the codes as values; the first is '%.300s'",
             search->without_scales_count, search->without_scales_count > 1 ? "s" : "",
             search->without_scales_count > 1 ? "have" : "has", search->without_scales);
    return add_note(search, text) ? search->error->status : add_remarks(search);
}

static organ_status fail_memory(const organ_model *model, organ_error *error)
{
    return organ_fail_errno(error, ENOMEM, "%s: a list of %zu weights", model->path, model->tensor_count);
}

/* If no tensor of a model has such a type and its config states no quant_method, the model is unquantised. */
static bool is_packed_type(organ_dtype t)
{
    return (t >= ORGAN_F4 && t <= ORGAN_U16) || t == ORGAN_I32 || t == ORGAN_U32;
}

static bool is_plain_model(const organ_model *model)
{
    if (*model->config.quant_method)
        return false;
    for (size_t k = 0; k < model->tensor_count; k++)
        if (is_packed_type(model->tensors[k].dtype))
            return false;
    return true;
}

/* ---- GGUF: a block type is one tensor; only NVFP4 may have a second one, whose values multiply the weight ---- */

/* The tensor scale of NVFP4 in GGUF is "X.scale" or "X.weight.scale" for "X.weight", with one value, or one for each
 * matrix of a stack. */
static organ_status find_gguf_scale(organ_weight_search *search, const organ_tensor *tensor)
{
    const size_t length = strlen(tensor->name);
    organ_weight weight = organ_weight_plain(tensor);
    if (tensor->dtype != ORGAN_NVFP4)
        return ORGAN_OK;
    if (organ_ends_with(tensor->name, ".weight"))
        weight.global = organ_weight_relative(search, tensor->name, length - strlen("weight"), "scale");
    if (!weight.global)
        weight.global = organ_weight_relative(search, tensor->name, length, ".scale");
    if (!weight.global)
        return ORGAN_OK;
    const uint64_t stack = organ_tensor_matrices(tensor).count;
    if (weight.global->dtype != ORGAN_F32 || (weight.global->elements != 1 && weight.global->elements != stack))
        return organ_weight_fail(search, weight.global,
                                 "is %s of %" PRIu64
                                 " values, but the tensor scale of '%.200s' is F32, one or one for each of %" PRIu64,
                                 organ_dtype_name(weight.global->dtype), weight.global->elements, tensor->name, stack);
    organ_weight_add(search, &weight);
    return ORGAN_OK;
}

/* ---- all formats ---- */

/* Each tensor is tried as codes in words (GPTQ, AWQ, compressed-tensors), then as codes of MLX, then as codes in
 * bytes (FP8, INT8 and others). A GGUF model has only NVFP4 with a tensor scale. */
static organ_status find_packed_weights(organ_weight_search *search)
{
    const organ_model *const model = search->model;
    for (size_t k = 0; !model->gguf && k < model->tensor_count; k++)
        if (weight_refuse(search, &model->tensors[k]))
            return search->error->status;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        bool found = false;
        if (search->claimed[k])
            continue;
        if (model->gguf) {
            if (find_gguf_scale(search, tensor))
                return search->error->status;
            continue;
        }
        if (organ_weight_find_bitsandbytes(search, tensor, &found))
            return search->error->status;
        if (!found && organ_weight_find_words(search, tensor, &found))
            return search->error->status;
        if (!found && organ_weight_find_mlx(search, tensor, &found))
            return search->error->status;
        if (!found && organ_weight_find_bytes(search, tensor, &found))
            return search->error->status;
    }
    search->found.packed = search->count;
    return organ_weight_resolve_words(search);
}

static organ_status enter_names(organ_weight_search *search)
{
    organ_name_table_release(&search->names);
    for (size_t k = 0; k < search->count; k++) {
        const size_t *const at = organ_name_table_put(&search->names, search->weights[k].name, k);
        if (!at)
            return fail_memory(search->model, search->error);
        if (*at != k)
            return organ_weight_fail(search, search->weights[k].codes, "and '%.200s' are both the weight '%.200s'",
                                     search->weights[*at].codes->name, search->weights[k].name);
    }
    return ORGAN_OK;
}

static organ_status check_method(const organ_weight_search *search, const organ_tensor *tensor)
{
    static const char *const known[] = {
        "",      "fp8",      "fbgemm_fp8", "compressed-tensors", "gptq", "awq",     "mxfp4",
        "quark", "modelopt", "auto-round", "intel/auto-round",   "mlx",  "torchao", "bitsandbytes",
        NULL};
    const char *const method = search->config->method;
    if (!is_packed_type(tensor->dtype) || tensor->rank < 2 || organ_is_one_of(method, known))
        return ORGAN_OK;
    return organ_refuse(search->error, search->config->file,
                        "quant_method is '%.60s', a method whose tensors ('%.200s') cannot be read", method,
                        tensor->name);
}

static organ_status find_plain_weights(organ_weight_search *search, bool quantised)
{
    const organ_model *const model = search->model;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_tensor *const tensor = &model->tensors[k];
        bool dropped;
        if (search->claimed[k])
            continue;
        const char *const why = quantised ? organ_weight_why_unmatched(search, tensor, &dropped) : NULL;
        if (why) {
            search->unmatched[search->found.unmatched_count++] = (organ_unmatched_tensor){tensor, dropped, why};
            continue;
        }
        if (search->config && (check_method(search, tensor) || organ_weight_check_without_scale(search, tensor)))
            return search->error->status;
        search->weights[search->count++] = organ_weight_plain(tensor);
        organ_rows_passed();
    }
    return ORGAN_OK;
}

static int by_codes(const void *a, const void *b)
{
    const organ_tensor *const x = ((const organ_weight *)a)->codes, *const y = ((const organ_weight *)b)->codes;
    return ORGAN_ORDER(x, y);
}

/* Packed weights come first: they claim their codes, scales and other companions, and the plain weights are among
 * the remaining tensors. */
static organ_status find_all(organ_weight_search *search)
{
    const organ_model *const model = search->model;
    const bool plain = !model->gguf && is_plain_model(model);
    if (plain && model->config.present && organ_quant_config_check_plain(model, search->error))
        return search->error->status;
    if (!plain && !model->gguf && organ_quant_config_read(model, &search->config, search->error))
        return search->error->status;
    if (search->config && organ_weight_claim_rotations(search))
        return search->error->status;
    if (!plain && (find_packed_weights(search) || enter_names(search) || organ_weight_find_columns(search) ||
                   organ_weight_find_inputs(search)))
        return search->error->status;
    search->found.method = search->config ? search->config->method : "";
    if (find_plain_weights(search, search->found.packed > 0 || *search->found.method))
        return search->error->status;
    if (organ_weight_find_rotations(search))
        return search->error->status;
    search->as_tensors = plain;
    if (!plain) {
        qsort(search->weights, search->count, sizeof *search->weights, by_codes);
        if (enter_names(search))
            return search->error->status;
    }
    /* A GGUF tensor with a scale tensor does not count as packed: it is decoded like other GGUF blocks. */
    search->found.packed = model->gguf ? 0 : search->found.packed;
    search->found.count = search->count;
    search->found.weights = search->weights;
    search->found.unmatched = search->unmatched;
    weight_write_notes(search);
    search->found.notes = search->sentences;
    return search->error->status;
}

static size_t longest_name(const organ_model *model)
{
    size_t longest = 0;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const size_t length = strlen(model->tensors[k].name);
        longest = length > longest ? length : longest;
    }
    return longest;
}

organ_status organ_weights_find(const organ_model *model, organ_weights **weights, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    *weights = NULL;
    organ_weight_search *const search = calloc(1, sizeof *search);
    if (!search)
        return fail_memory(model, error);
    search->model = model;
    search->error = error;
    search->weights = organ_rows_take(model->tensor_count + 1, sizeof *search->weights);
    search->unmatched = organ_rows_take(model->tensor_count + 1, sizeof *search->unmatched);
    search->claimed = calloc(model->tensor_count + 1, sizeof *search->claimed);
    search->name = malloc(longest_name(model) + 64); /* 64: more than any suffix such as "_global_scale" */
    const bool allocated = search->weights && search->unmatched && search->claimed && search->name;
    if (allocated)
        find_all(search);
    else
        fail_memory(model, error);
    search->error = NULL; /* the search may outlive the caller's error */
    organ_rows_rest();
    if (!error->status)
        *weights = &search->found;
    else
        organ_weights_free(&search->found);
    return error->status;
}

void organ_weights_free(organ_weights *weights)
{
    organ_weight_search *const search = (organ_weight_search *)weights;
    if (!search)
        return;
    organ_name_table_release(&search->names);
    organ_arena_release(&search->arena);
    organ_quant_config_free(search->config);
    organ_rows_free(search->weights);
    organ_rows_free(search->unmatched);
    ORGAN_FREE_ARRAYS(search->matrices, search->claimed, search->name, search);
}

/* In an unquantised model, weight k is tensor k, so the model's table of names is used. */
const organ_weight *organ_weights_named(const organ_weights *weights, const char *name)
{
    const organ_weight_search *const search = (const organ_weight_search *)weights;
    if (search->as_tensors) {
        const organ_tensor *const tensor = organ_model_find(search->model, name);
        return tensor ? &weights->weights[tensor - search->model->tensors] : NULL;
    }
    const size_t *const found = organ_name_table_find(&search->names, name);
    return found ? &weights->weights[*found] : NULL;
}
