/* SPDX-License-Identifier: MIT
 * Outputs for compressed-tensors: which matrices servers read quantised, the tensors that each becomes, and notes about
 * loaders. */
#include "orchestrator/verbs/quantize/compressed/quantize_compressed.h"

#include "formats/architecture/mtp_types.h"
#include "formats/base/text.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/output/head.h"
#include "orchestrator/surgery/readers/readers.h"

#include <string.h>

/* ---- targets ---- */

/* vLLM unpacks words of 32 / bits codes, which are words of whole codes for 2, 4 and 8 bits only. */
static bool has_words(const organ_encoding *encoding)
{
    return organ_encoding_is_packed(encoding) && !organ_encoding_is_fp4(encoding) && 32 % encoding->grid.bits == 0;
}

static const char *embedding_obstacle(const organ_quantize_job *job, const organ_weight *weight)
{
    const int32_t trunk = organ_mtp_trunk_layers(job->model);
    if (weight->anatomy.layer >= 0 || !organ_ends_with(weight->name, "embed_tokens.weight") ||
        organ_mtp_block_of(weight->name, &weight->anatomy, trunk) >= 0)
        return "embeddings are looked up, not multiplied: vLLM reads codes only in those of tokens (embed_tokens).";
    if (organ_encoding_is_mixed(job->encoding))
        return "scheme mixed chooses bits only for matrices that layers multiply: select those.";
    if (!has_words(job->encoding))
        return "vLLM reads embeddings only in int2, int4 or int8 with groups: select other matrices, or use such a "
               "scheme.";
    if (!organ_is_one_of(job->model->config.model_type, organ_served_embeddings))
        return "vLLM reads no quantised embeddings in models of this type: select other matrices.";
    if (!job->own_head)
        return "it is also the output head, and vLLM looks quantised embeddings up, but does not multiply by them: "
               "select other matrices.";
    return NULL;
}

/* transformers cuts such a matrix into several modules; it can cut codes and scales only if codes have one byte and
 * each row has a scale of its own. */
static bool is_cut_apart(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return (job->encoding->grid.scale_of != ORGAN_SCALE_CHANNEL || organ_encoding_is_packed(job->encoding) ||
            organ_quantize_static(job->options)) &&
           organ_module_split_parts(job->model->config.model_type, tensor->name);
}

static const char *compressed_unreadable(const organ_quantize_job *job, const organ_weight *weight)
{
    const organ_tensor *const tensor = weight->codes;
    if (organ_quantize_is_embedding(tensor))
        return embedding_obstacle(job, weight);
    if (tensor->anatomy.role == ORGAN_ROLE_OUTPUT && tensor->anatomy.layer < 0 &&
        job->encoding->grid.scale_of == ORGAN_SCALE_BLOCK)
        return "it is the output head, which vLLM reads unquantised in this format (fp8-channel quantises it).";
    if (organ_quantize_fused_keeps(job, tensor))
        return "servers multiply it and others of its layer as one matrix, in which blocks of 128 rows would overlap "
               "(fp8-channel has no such limit).";
    return is_cut_apart(job, tensor)
               ? "transformers cuts it into several matrices, which it can do only if each row has a scale "
                 "(fp8-channel)."
               : NULL;
}

static organ_status open_embedding(organ_quantize_job *job, organ_error *error)
{
    organ_head head = {0};
    bool chosen = false;
    for (size_t k = 0; k < job->weights->count && !chosen; k++) {
        const organ_tensor *const t = job->weights->weights[k].codes;
        chosen = organ_quantize_is_embedding(t) && organ_quantize_is_target(job, t);
    }
    if (chosen)
        organ_head_find(job->model, job->weights, job->engine, &head, error);
    job->own_head = head.own;
    return error->status;
}

static bool is_of_embeddings(const organ_model *model, const organ_tensor *tensor)
{
    (void)model;
    return organ_quantize_is_embedding(tensor);
}

static organ_status check_embedding(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    const bool chosen = organ_quantize_is_embedding(weight->codes) && organ_quantize_is_target(job, weight->codes);
    const char *const why = chosen ? organ_quantize_obstacle(job, weight, error) : NULL;
    if (why && organ_quantize_is_named(job, weight->codes, is_of_embeddings, error))
        organ_fail(error, ORGAN_USAGE, "`targets` selects '%s', which cannot be %s: %s", weight->name,
                   job->options->scheme, why);
    return error->status;
}

static organ_status compressed_select(organ_quantize_job *job, organ_error *error)
{
    return organ_quantize_fused_open(job, error) ? error->status : open_embedding(job, error);
}

static organ_status compressed_forms(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_forms(job, error);
    for (size_t k = 0; k < job->weights->count && !error->status; k++)
        check_embedding(job, &job->weights->weights[k], error);
    return error->status || !organ_encoding_is_mixed(job->encoding) ? error->status
                                                                    : organ_quantize_widths_open(job, error);
}

/* ---- tensors of the output ---- */

static const uint64_t two[] = {2}; /* shape of the tensor NAME.weight_shape, which contains rows and columns */
static const uint64_t one[] = {1}; /* shape of the scale of a tensor or of its inputs */

/* Names and shapes are those of compressed-tensors or, if a scale covers a block, of DeepSeek-V3. */
static organ_status compressed_add(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_encoding *const e = part->encoding;
    const bool packed = organ_encoding_is_packed(e), joined = packed || organ_encoding_is_fp4(e);
    const bool whole = e->grid.scale_of == ORGAN_SCALE_TENSOR, divided = organ_encoding_has_divisor(e);
    const bool measured = organ_quantize_measures(job->options), fixed = organ_quantize_static(job->options);
    const uint64_t size = e->grid.size, band = organ_encoding_band(e, (size_t)part->rows);
    const char *const name = part->weight->name;
    const char *const codes = joined ? organ_quantize_name_next_to(job, name, "weight_packed") : name;
    const char *const global = divided ? organ_quantize_name_next_to(job, name, "weight_global_scale") : NULL;
    const char *const input =
        measured ? organ_quantize_name_next_to(job, name, fixed ? "input_scale" : "input_global_scale") : NULL;
    const char *const scale = organ_quantize_name_next_to(
        job, name, e->grid.scale_of == ORGAN_SCALE_BLOCK ? "weight_scale_inv" : "weight_scale");
    const char *const shape = packed ? organ_quantize_name_next_to(job, name, "weight_shape") : NULL;
    if (!codes || !scale || (packed && !shape) || (divided && !global) || (measured && !input))
        return organ_fail_memory(error, job->options->model);
    job->list.clipped += e->grid.scale_of == ORGAN_SCALE_BLOCK && (part->rows % size != 0 || part->cols % size != 0);
    part->groups = organ_grid_groups(&e->grid, (size_t)part->cols);
    part->scale_shape[0] = whole ? 1 : part->rows / band + (part->rows % band != 0);
    part->scale_shape[1] = part->groups;
    part->words[0] = part->rows;
    /* 32 codes of b bits fill b words; a byte has two E2M1 codes */
    part->words[1] = packed ? part->cols / 32 * e->grid.bits : part->cols / 2;
    part->codes = organ_quantize_add_piece(job, codes, e->codes, 2, joined ? part->words : part->weight->shape);
    part->scale = organ_quantize_add_piece(job, scale, e->scales, whole ? 1 : 2, part->scale_shape);
    if (packed)
        part->shape = organ_quantize_add_piece(job, shape, ORGAN_I64, 1, two);
    if (divided)
        part->global = organ_quantize_add_piece(job, global, ORGAN_F32, 1, one);
    if (measured)
        part->input = organ_quantize_add_piece(job, input, fixed ? e->scales : ORGAN_F32, 1, one);
    return ORGAN_OK;
}

static organ_status compressed_prepare(organ_quantize_job *job, organ_error *error)
{
    return organ_quantize_activations_open(job, error) ? error->status : organ_quantize_cache_open(job, error);
}

static organ_status compressed_write(organ_quantize_job *job, organ_error *error)
{
    return organ_quantize_activations_run(job, error) ? error->status : organ_quantize_cache_run(job, error);
}

/* ---- notes about loaders ---- */

static void note_clipped(const organ_quantize_job *job)
{
    const organ_quantize_part *first = NULL;
    const uint64_t size = job->encoding->grid.size;
    for (size_t k = 0; k < job->list.part_count && !first; k++)
        first = job->list.parts[k].rows % size || job->list.parts[k].cols % size ? &job->list.parts[k] : NULL;
    organ_progress_warn(
        job->progress,
        "%zu tensor%s rows or columns that are not whole blocks of %llu: %s (%llu x %llu) is the first. transformers "
        "without a GPU may reject them, or give them wrong values without an error; fp8-channel has no such limit",
        job->list.clipped, job->list.clipped == 1 ? " has" : "s have", (unsigned long long)size, first->weight->name,
        (unsigned long long)first->rows, (unsigned long long)first->cols);
}

static bool is_plain_stack(const organ_quantize_job *job, const organ_weight *w)
{
    return organ_is_matrix(w->name, &w->anatomy, w->rank, w->shape) && w->rank > 2 &&
           organ_quantize_is_target(job, w->codes) && !job->encodings[w->codes - job->model->tensors];
}

static void note_stacks(const organ_quantize_job *job)
{
    uint64_t plain = 0, all = 0;
    size_t stacks = 0;
    for (size_t k = 0; k < job->weights->count; k++) {
        const organ_weight *const w = &job->weights->weights[k];
        const bool stack = is_plain_stack(job, w);
        all += organ_is_matrix(w->name, &w->anatomy, w->rank, w->shape) ? w->elements : 0;
        plain += stack ? w->elements : 0;
        stacks += stack;
    }
    if (stacks)
        organ_progress_warn(job->progress,
                            "%zu stacks of experts, %.1f %% of the weights in matrices, stay plain: loaders read "
                            "quantised experts as %s from a tensor for each expert and matrix",
                            stacks, 100 * (double)plain / (double)all, job->encoding->name);
}

/* transformers 5.24 with compressed-tensors 0.20 failed to open such mixtures in tests. */
const char *organ_quantize_experts_obstacle(const organ_quantize_job *job)
{
    bool stack = false;
    for (size_t k = 0; k < job->weights->count && !stack; k++)
        stack = is_plain_stack(job, &job->weights->weights[k]);
    if (stack && strncmp(job->model->config.architecture, "Llama4", 6) == 0 &&
        job->encoding->grid.scale_of != ORGAN_SCALE_BLOCK)
        return "some experts stay plain, and it expects a quantised tensor for each; it opens fp8-block128";
    return organ_quantize_plain_experts(job) && organ_encoding_is_packed(job->encoding)
               ? "some experts stay plain, and it opens packed codes only if all experts have them"
               : NULL;
}

static void note_experts(const organ_quantize_job *job)
{
    const char *const type = job->model->config.model_type, *const obstacle = organ_quantize_experts_obstacle(job);
    const char *why = NULL;
    organ_form form = organ_form_of_encoding(job->encoding, ORGAN_KIND_TENSORS);
    form.traits = ORGAN_FORM_EXPERT;
    if (organ_quantize_packed_experts(job) &&
        organ_reader_form(ORGAN_READER_TRANSFORMERS, type, &form, &why) > ORGAN_NOT_RUN)
        organ_progress_warn(job->progress, "transformers (5.24), experts as %s: %s", job->encoding->name, why);
    if (obstacle)
        organ_progress_warn(job->progress, "transformers (5.24) does not open %s as %s: %s",
                            job->model->config.architecture, job->encoding->name, obstacle);
}

static void compressed_note(const organ_quantize_job *job)
{
    organ_quantize_note_regrouped(job);
    organ_warn_of_type(job->progress, job->model, "names of modules in config.json");
    organ_quantize_fused_note(job);
    if (job->list.clipped)
        note_clipped(job);
    organ_quantize_inputs_note(job);
    note_stacks(job);
    note_experts(job);
    organ_quantize_note_type(job);
}

/* ---- the kind of output ---- */

static void compressed_close(organ_quantize_job *job)
{
    organ_quantize_cache_close(job);
    organ_quantize_activations_close(job);
    organ_quantize_widths_close(job->widths);
    organ_quantize_fused_close(job);
}

const organ_quantize_format organ_quantize_compressed = {.open = organ_quantize_open_safetensors,
                                                         .select = compressed_select,
                                                         .forms = compressed_forms,
                                                         .decide = organ_quantize_widths_decide,
                                                         .preferred = organ_quantize_preferred,
                                                         .obstacle = organ_quantize_obstacle,
                                                         .unreadable = compressed_unreadable,
                                                         .add = compressed_add,
                                                         .list = organ_quantize_inputs_check_experts,
                                                         .prepare = compressed_prepare,
                                                         .note = compressed_note,
                                                         .write = compressed_write,
                                                         .edit = organ_quantize_config,
                                                         .close = compressed_close};
