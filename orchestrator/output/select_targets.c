/* SPDX-License-Identifier: MIT
 * Selects the tensors that a verb changes, and finds out whether their matrices are stored as in_features x
 * out_features. */
#include "orchestrator/output/inputs.h"
#include "formats/model/recognise.h"

#include "formats/architecture/families.h"
#include "formats/architecture/mtp_types.h"
#include "formats/base/files.h"
#include "formats/base/format_rest.h"
#include "formats/base/text.h"
#include "orchestrator/stream/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

organ_status organ_dequantize_hint(const organ_model *model, char **hint, organ_error *error)
{
    organ_text buffer;
    *hint = NULL;
    if (organ_text_open(&buffer, error))
        return error->status;
    fprintf(buffer.out, "organ dequantize ");
    organ_shell_word(buffer.out, model->path);
    fprintf(buffer.out, " -o OUT%s", model->gguf ? ".gguf" : "");
    return organ_text_end(&buffer, hint, error);
}

organ_status organ_dequantize_first(const organ_model *model, organ_error *error, const char *what, ...)
{
    char *hint, text[700];
    if (organ_dequantize_hint(model, &hint, error))
        return error->status;
    ORGAN_FORMAT_REST(text, what);
    organ_fail(error, ORGAN_BAD_INPUT, "%s: dequantize it first: %s", text, hint);
    free(hint);
    return error->status;
}

organ_status organ_refuse_rotated(const organ_model *model, const organ_weights *weights, organ_error *error)
{
    for (size_t k = 0; k < weights->count && !error->status; k++)
        if (weights->weights[k].rotation)
            organ_dequantize_first(model, error,
                                   "%.200s: the layer of '%.200s' rotates its inputs or outputs at run time, which the "
                                   "codes alone do not say",
                                   model->path, weights->weights[k].name);
    return error->status;
}

bool organ_dtype_is_blocks(organ_dtype dtype)
{
    return organ_dtype_describe(dtype)->elements > 1 && !organ_dtype_describe(dtype)->in_safetensors;
}

static const organ_tensor *changed_part(const organ_model *model, const organ_weight *weight, const bool *changed)
{
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const part = organ_weight_tensor(weight, k);
        if (part && changed[part - model->tensors])
            return part;
    }
    return NULL;
}

organ_status organ_require_plain(const organ_model *model, const bool *changed, organ_error *error)
{
    organ_weights *weights = NULL;
    if (organ_weights_find(model, &weights, error))
        return error->status;
    for (size_t k = 0; k < weights->count && !error->status; k++) {
        const organ_weight *const weight = &weights->weights[k];
        const organ_tensor *const part =
            weight->scheme == ORGAN_SCHEME_PLAIN ? NULL : changed_part(model, weight, changed);
        char text[160];
        if (part)
            organ_dequantize_first(model, error, "%.300s: '%.200s' belongs to a packed weight (%s)", model->path,
                                   part->name, organ_weight_text(weight, text, sizeof text));
    }
    organ_weights_free(weights);
    return error->status;
}

static bool is_matrix(const organ_tensor *tensor) { return tensor->rank >= 2 && tensor->elements > 0; }

/* Multi-token prediction adds draft layers after the layers of the model; each has a matrix with the role
 * ORGAN_ROLE_MTP (eh_proj). Their tensors are targets only if --select names them or their layers, or if the model is a
 * draft, which has no other layers. */
static bool is_in_draft(const organ_model *model, const int32_t *drafts, size_t draft_count, size_t t)
{
    for (size_t k = 0; k < draft_count; k++)
        if (model->tensors[t].anatomy.layer == drafts[k])
            return true;
    return false;
}

#define MAX_DRAFTS ((size_t)16) /* draft layers that are recognized */

static size_t list_drafts(const organ_model *model, int32_t drafts[MAX_DRAFTS])
{
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count && count < MAX_DRAFTS; t++)
        if (model->tensors[t].anatomy.role == ORGAN_ROLE_MTP && model->tensors[t].anatomy.layer >= 0)
            drafts[count++] = model->tensors[t].anatomy.layer;
    return count;
}

static void choose_projections(const organ_model *model, const organ_selection *selection, bool *chosen)
{
    int32_t drafts[MAX_DRAFTS];
    const size_t draft_count = selection->span_count || organ_mtp_is_alone(model) ? 0 : list_drafts(model, drafts);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        const bool usual =
            organ_role_describe(tensor->anatomy.role)->projection && !is_in_draft(model, drafts, draft_count, t);
        chosen[t] = is_matrix(tensor) && organ_selection_has_name(selection, tensor->name, &tensor->anatomy, usual) &&
                    organ_selection_has_layer(selection, tensor->anatomy.layer) &&
                    !organ_selection_keeps(selection, tensor);
    }
}

/* `selected`: the user has selected targets. */
static organ_status collect_targets(const organ_model *model, bool selected, organ_targets *targets, organ_error *error)
{
    targets->tensors = calloc(model->tensor_count + 1, sizeof(organ_tensor *));
    if (!targets->tensors)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        if (targets->chosen[t]) {
            targets->tensors[targets->count++] = &model->tensors[t];
            targets->elements += model->tensors[t].elements;
            targets->bytes += model->tensors[t].bytes;
        }
    if (targets->count == 0 && selected)
        return organ_fail(error, ORGAN_USAGE, "%s: none of its matrices is among those that `targets` selects",
                          model->path);
    if (targets->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: none of its %zu tensors is a known projection: name targets with `targets`", model->path,
                          model->tensor_count);
    return ORGAN_OK;
}

organ_status organ_targets_select(const organ_model *model, const char *select, organ_targets *targets,
                                  organ_error *error)
{
    organ_selection selection;
    *targets = (organ_targets){.chosen = calloc(model->tensor_count + 1, sizeof(bool))};
    if (!targets->chosen)
        return organ_fail_memory(error, model->path);
    if (organ_selection_parse(select, NULL, "targets", &selection, error) == ORGAN_OK) {
        organ_selection_set_model(&selection, model);
        choose_projections(model, &selection, targets->chosen);
        organ_selection_check_used(&selection, "matrix", model->path, error);
        organ_selection_release(&selection);
    }
    if (!error->status)
        collect_targets(model, select != NULL, targets, error);
    if (error->status)
        organ_targets_release(targets);
    return error->status;
}

organ_status organ_targets_add_blocks(const organ_model *model, organ_targets *targets, organ_error *error)
{
    int32_t drafts[MAX_DRAFTS];
    const size_t draft_count = list_drafts(model, drafts);
    for (size_t t = 0; t < model->tensor_count; t++)
        targets->chosen[t] = targets->chosen[t] || (is_matrix(&model->tensors[t]) &&
                                                    organ_role_describe(model->tensors[t].anatomy.role)->projection &&
                                                    is_in_draft(model, drafts, draft_count, t));
    free(targets->tensors);
    *targets = (organ_targets){.chosen = targets->chosen};
    return collect_targets(model, /*selected=*/false, targets, error);
}

organ_status organ_targets_set(const organ_model *model, const bool *which, bool chosen, organ_targets *targets,
                               organ_error *error)
{
    for (size_t t = 0; t < model->tensor_count; t++)
        targets->chosen[t] = which[t] ? chosen : targets->chosen[t];
    free(targets->tensors);
    *targets = (organ_targets){.chosen = targets->chosen};
    return collect_targets(model, /*selected=*/false, targets, error);
}

organ_status organ_targets_remove(const organ_model *model, const bool *left_out, const char *method,
                                  organ_targets *targets, organ_error *error)
{
    size_t kept = 0;
    for (size_t k = 0; k < targets->count; k++) {
        const organ_tensor *const tensor = targets->tensors[k];
        const size_t t = (size_t)(tensor - model->tensors);
        if (!left_out[t]) {
            targets->tensors[kept++] = tensor;
            continue;
        }
        targets->chosen[t] = false;
        targets->elements -= tensor->elements;
        targets->bytes -= tensor->bytes;
    }
    targets->count = kept;
    return kept ? ORGAN_OK
                : organ_fail(error, ORGAN_USAGE, "%s: none of its matrices has inputs for method %s", model->path,
                             method);
}

bool organ_target_is_float(const organ_tensor *tensor)
{
    return tensor->dtype == ORGAN_BF16 || tensor->dtype == ORGAN_F16 || tensor->dtype == ORGAN_F32;
}

organ_status organ_targets_select_floats(const organ_model *model, const char *select, const char *done,
                                         organ_targets *targets, organ_error *error)
{
    static const char format[] = "%.300s: tensor '%.200s': dtype %s cannot be %s, only BF16, F16 and F32 can";
    if (organ_targets_select(model, select, targets, error) || organ_require_plain(model, targets->chosen, error))
        return error->status;
    for (size_t k = 0; k < targets->count && !error->status; k++) {
        const organ_tensor *const tensor = targets->tensors[k];
        const char *const file = model->files[tensor->file].path;
        const char *const dtype = organ_dtype_describe(tensor->dtype)->name;
        if (organ_dtype_is_blocks(tensor->dtype))
            organ_dequantize_first(model, error, format, file, tensor->name, dtype, done);
        else if (!organ_target_is_float(tensor))
            organ_fail(error, ORGAN_BAD_INPUT, format, file, tensor->name, dtype, done);
    }
    return error->status;
}

/* GPT-2 stores linear layers as in_features x out_features (Conv1D): its projection to q, k and v (c_attn) has three
 * times as many columns as rows. GPTBigCode has the same name for an ordinary linear layer, which has more rows than
 * columns. Returns false for GGUF. */
static bool has_transposed(const organ_model *model)
{
    for (size_t t = 0; t < model->tensor_count && !model->gguf; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        if (tensor->rank == 2 && strstr(tensor->name, "attn.c_attn.weight") && tensor->shape[1] == 3 * tensor->shape[0])
            return true;
    }
    return false;
}

/* A stack of Qwen3-VL's mixture may be stored as in_features x out_features; the axis that has the hidden size shows
 * this. Published files have stacks of this shape; files that transformers 5 writes with its own names do not. */
static bool has_hidden_first(const organ_model *model, const organ_tensor *tensor)
{
    const unsigned hidden = tensor->anatomy.role == ORGAN_ROLE_DOWN ? 2 : 1;
    const uint64_t size = (uint64_t)model->config.hidden_size;
    return tensor->rank == 3 && tensor->shape[hidden] == size && tensor->shape[3 - hidden] != size;
}

bool organ_tensor_is_crossed(const organ_model *model, const organ_tensor *tensor)
{
    const char *const architecture = model->config.architecture;
    return (strncmp(architecture, "GptOss", strlen("GptOss")) == 0 ||
            strncmp(architecture, "Llama4", strlen("Llama4")) == 0 ||
            (strncmp(architecture, "Qwen3VLMoe", strlen("Qwen3VLMoe")) == 0 && has_hidden_first(model, tensor))) &&
           !model->gguf && tensor->rank == 3 && tensor->anatomy.experts == ORGAN_EXPERTS_ROUTED &&
           organ_target_is_float(tensor) && organ_role_describe(tensor->anatomy.role)->projection;
}

bool organ_tensor_has_pairs(const organ_model *model, const organ_tensor *tensor)
{
    return strncmp(model->config.architecture, "GptOss", strlen("GptOss")) == 0 &&
           tensor->anatomy.experts == ORGAN_EXPERTS_ROUTED;
}

organ_status organ_targets_need_rows(const organ_model *model, const organ_targets *targets, bool stacks,
                                     const char *option, organ_error *error)
{
    const bool transposed = has_transposed(model);
    for (size_t k = 0; k < targets->count; k++) {
        const char *const name = targets->tensors[k]->name;
        const bool conv =
            transposed && (strstr(name, ".c_attn.") || strstr(name, ".c_proj.") || strstr(name, ".c_fc."));
        if (conv || (stacks && organ_tensor_is_crossed(model, targets->tensors[k])))
            return organ_fail(error, ORGAN_USAGE,
                              "%.300s: tensor '%.200s' is stored as in_features x out_features%s: %s needs the inputs "
                              "of a row contiguous and does not support it",
                              model->path, name, conv ? " (Conv1D)" : "", option);
    }
    return ORGAN_OK;
}

organ_status organ_donor_open(const char *path, const char *done, const organ_progress *progress, organ_model **model,
                              organ_error *error)
{
    if (organ_model_open_codes(path, NULL, model, error) || organ_model_is_here(*model, done, error))
        return error->status;
    if ((*model)->problem_count)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s", (*model)->problems[0]);
    organ_progress_warn_of_model(progress, *model);
    return ORGAN_OK;
}

void organ_warn_of_type(const organ_progress *progress, const organ_model *model, const char *what)
{
    if (!organ_architecture_is_checked(model))
        organ_progress_warn(
            progress,
            "%s: organ has not compared models of model_type %s with transformers: %s may be wrong, and "
            "then the output may not load, or load as another model",
            model->path, model->config.model_type, what);
}

void organ_targets_release(organ_targets *targets)
{
    free(targets->tensors);
    free(targets->chosen);
    *targets = (organ_targets){0};
}

/* ---- a text and its tokens within a limit of memory ---- */

organ_status organ_text_check_size(const char *path, organ_error *error)
{
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || (uint64_t)info.st_size <= ORGAN_TEXT_LIMIT)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: has %lld bytes, but the limit for texts is 1 GiB: give a part of it (head -c 1G %s)", path,
                      (long long)info.st_size, path);
}

/* A file larger than the memory is rejected before it is read. An automatic memory is raised for the ids too, because
 * their number is not known yet. */
organ_status organ_text_load(organ_text_input *text, const char *path, const organ_engine *engine, organ_error *error)
{
    struct stat info;
    *text = (organ_text_input){.path = path, .engine = engine};
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && (uint64_t)info.st_size <= ORGAN_TEXT_LIMIT &&
        (uint64_t)info.st_size > organ_engine_memory(engine)) {
        text->size = text->tokens = (size_t)info.st_size;
        if (organ_memory_claim(engine, organ_text_memory(text), error, "the %zu bytes of %s and their tokens",
                               text->size, organ_path_name(path)) != ORGAN_OK)
            return error->status;
    }
    if (organ_text_check_size(path, error) != ORGAN_OK)
        return error->status;
    return organ_input_load(path, path, ORGAN_TEXT_LIMIT, &text->bytes, &text->size, error);
}

organ_status organ_text_check(const organ_text_input *text, organ_error *error)
{
    const char *const zero = text->size ? memchr(text->bytes, 0, text->size) : NULL;
    if (!text->size)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is empty: a text of the kind that the model will read is needed",
                          text->path);
    if (zero)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is no text: byte %zu is 0", text->path,
                          (size_t)(zero - text->bytes));
    for (size_t at = 0, length; at < text->size; at += length) {
        uint32_t code;
        length = organ_utf8_within(text->bytes + at, text->size - at, &code);
        if (!length)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: is no text in UTF-8: byte %zu is 0x%02x", text->path, at,
                              (unsigned char)text->bytes[at]);
    }
    return ORGAN_OK;
}

organ_status organ_text_encode(organ_text_input *text, organ_tokenizer *tokenizer, bool special, organ_error *error)
{
    /* each token has at least one byte */
    organ_memory_prefer(text->engine, text->size * (1 + (uint64_t)sizeof *text->ids));
    const uint64_t memory = organ_engine_memory(text->engine);
    const uint64_t capacity = memory > text->size ? (memory - text->size) / sizeof *text->ids : 0;
    organ_tokenizer_allow(tokenizer, memory);
    if (organ_tokenizer_encode_some(tokenizer, text->bytes, text->size, special,
                                    capacity < SIZE_MAX ? (size_t)capacity : SIZE_MAX, &text->ids, &text->tokens,
                                    error) == ORGAN_OK &&
        text->tokens > capacity)
        organ_memory_claim(text->engine, organ_text_memory(text), error, "the %zu bytes of %s and their %zu tokens",
                           text->size, organ_path_name(text->path), text->tokens);
    return error->status;
}

uint64_t organ_text_memory(const organ_text_input *text)
{
    return (uint64_t)text->size + (uint64_t)text->tokens * sizeof *text->ids;
}

void organ_text_release(organ_text_input *text)
{
    free(text->bytes);
    free(text->ids);
    text->bytes = NULL;
    text->ids = NULL;
}
