/* SPDX-License-Identifier: MIT
 * Lists the tensors of the output: for each target its codes, scales and shape, or its GGUF blocks; all other tensors
 * unchanged. A piece is a tensor of the output, a unit is the pieces that are made from one source tensor, and a part
 * is a target that is quantised. */
#include "orchestrator/surgery/precision/quantize_job.h"

#include "formats/base/paged_rows.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t two[] = {2}; /* shape of the tensor NAME.weight_shape, which contains rows and columns */

bool organ_quantize_by_text(const organ_quantize_options *o) { return o->method && strcmp(o->method, "gptq") == 0; }

/* Returns `weight`, a name that ends in "weight", with that end replaced: "X.weight" with `end` "weight_scale" gives
 * "X.weight_scale". The job's arena owns the result. NULL if memory cannot be allocated. */
static const char *name_next_to(organ_quantize_job *job, const char *weight, const char *end)
{
    char *text = NULL;
    const int length = asprintf(&text, "%.*s%s", (int)(strlen(weight) - strlen("weight")), weight, end);
    const char *const kept = length < 0 ? NULL : organ_arena_copy(&job->arena, text, (size_t)length);
    if (length >= 0)
        free(text);
    return kept;
}

/* Returns the index in job->pieces. `shape` must outlive the job. */
static size_t quantize_plan_add_piece(organ_quantize_job *job, const char *name, organ_dtype dtype, unsigned rank,
                                      const uint64_t *shape)
{
    job->pieces[job->piece_count] = (organ_shard_piece){.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    return job->piece_count++;
}

/* The unit consists of pieces first .. first + count - 1 and belongs to the last planned part. `bytes`: bytes of the
 * source tensor. */
static size_t add_unit(organ_quantize_job *job, size_t first, size_t count, uint64_t bytes)
{
    job->units[job->unit_count] =
        (organ_unit){.first = first, .count = count, .item = job->part_count - 1, .bytes = bytes};
    return job->unit_count++;
}

/* In a GGUF model, embeddings, head and matrices that no layer multiplies inputs by get the nearest codes, because
 * the calibration run has no inputs for them. */
static bool quantize_plan_is_calibrated(const organ_quantize_job *job, const organ_weight *weight)
{
    const organ_role role = weight->anatomy.role;
    const bool outside = role == ORGAN_ROLE_EMBED || role == ORGAN_ROLE_OUTPUT ||
                         (job->untapped && job->untapped[weight->codes - job->model->tensors]);
    return organ_quantize_by_text(job->options) && !(outside && organ_encoding_is_gguf(job->encoding));
}

/* Names and shapes are those of compressed-tensors or, if a scale covers a block, of DeepSeek-V3. */
static organ_status add_codes_and_scales(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_encoding *const e = part->encoding;
    const bool packed = organ_encoding_is_packed(e), whole = e->grid.scale_of == ORGAN_SCALE_TENSOR;
    const uint64_t size = e->grid.size, band = organ_encoding_band(e, (size_t)part->rows);
    const char *const name = part->weight->name;
    const char *const codes = packed ? name_next_to(job, name, "weight_packed") : name;
    const char *const scale =
        name_next_to(job, name, e->grid.scale_of == ORGAN_SCALE_BLOCK ? "weight_scale_inv" : "weight_scale");
    const char *const shape = packed ? name_next_to(job, name, "weight_shape") : NULL;
    if (!codes || !scale || (packed && !shape))
        return organ_fail_memory(error, job->options->model);
    job->clipped += e->grid.scale_of == ORGAN_SCALE_BLOCK && (part->rows % size != 0 || part->cols % size != 0);
    part->groups = organ_grid_groups(&e->grid, (size_t)part->cols);
    part->scale_shape[0] = whole ? 1 : part->rows / band + (part->rows % band != 0);
    part->scale_shape[1] = part->groups;
    part->words[0] = part->rows;
    part->words[1] = part->cols / 32 * e->grid.bits; /* 32 codes of b bits fill b words */
    part->codes = quantize_plan_add_piece(job, codes, e->codes, 2, packed ? part->words : part->weight->shape);
    part->scale = quantize_plan_add_piece(job, scale, e->scales, whole ? 1 : 2, part->scale_shape);
    if (packed)
        part->shape = quantize_plan_add_piece(job, shape, ORGAN_I64, 1, two);
    return ORGAN_OK;
}

/* `preferred`: the encoding that --scheme asks for; `encoding`: the one that fits the length of its rows. */
static organ_status plan_target(organ_quantize_job *job, const organ_weight *weight, const organ_encoding *encoding,
                                const organ_encoding *preferred, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(weight);
    organ_quantize_part *const part = &job->parts[job->part_count++];
    const size_t first = job->piece_count;
    *part = (organ_quantize_part){.weight = weight,
                                  .encoding = encoding,
                                  .preferred = preferred,
                                  .rows = m.rows,
                                  .cols = m.cols,
                                  .calibrated = quantize_plan_is_calibrated(job, weight)};
    job->regrouped += encoding != preferred;
    if (organ_encoding_is_gguf(encoding))
        part->codes = quantize_plan_add_piece(job, weight->name, encoding->codes, weight->rank, weight->shape);
    else if (add_codes_and_scales(job, part, error) != ORGAN_OK)
        return error->status;
    part->unit = add_unit(job, first, job->piece_count - first, weight->codes->bytes);
    job->units[part->unit].calib = part->calibrated;
    return ORGAN_OK;
}

/* `recall` is not called for a copied tensor, so the item of its unit does not matter. */
static void keep_tensor(organ_quantize_job *job, const organ_tensor *tensor)
{
    add_unit(job, job->piece_count, 1, tensor->bytes);
    job->pieces[job->piece_count++] = organ_piece_same(tensor);
}

/* Returns NULL if the tensor is not a target. *why becomes the reason why the encoding cannot represent the target,
 * or NULL. */
static const organ_encoding *quantize_plan_encoding_of(organ_quantize_job *job, const organ_tensor *tensor,
                                                       const char **why, organ_error *error)
{
    const bool gguf = organ_encoding_is_gguf(job->encoding), chosen = job->targets.chosen[tensor - job->model->tensors];
    const organ_encoding *preferred = chosen ? job->encoding : NULL;
    *why = NULL;
    if (gguf)
        preferred = organ_quantize_gguf_encoding_of(job, tensor);
    if (preferred)
        *why = gguf ? organ_quantize_gguf_obstacle(job, tensor, error) : organ_quantize_obstacle(job, tensor);
    return preferred;
}

static organ_status list_weight(organ_quantize_job *job, const organ_weight *weight, organ_error *error)
{
    const organ_tensor *const tensor = weight->codes;
    const char *why;
    const organ_encoding *const preferred = quantize_plan_encoding_of(job, tensor, &why, error);
    const organ_encoding *const encoding = preferred && !why ? job->encodings[tensor - job->model->tensors] : NULL;
    if (why)
        job->left_out[job->left_out_count++] = (organ_quantize_left){tensor, why};
    if (!error->status && encoding)
        /* a width that the budget has chosen is not a replacement of the scheme's: it counts as preferred */
        return plan_target(job, weight, encoding, job->widths ? encoding : preferred, error);
    keep_tensor(job, tensor);
    return error->status;
}

/* With mixed widths, left_out is empty if the budget leaves all targets unchanged. */
static organ_status refuse_without_targets(const organ_quantize_job *job, organ_error *error)
{
    if (job->left_out_count == 0)
        return organ_fail(error, ORGAN_USAGE,
                          "--budget %s is enough for all targets unquantised: there is nothing to quantise",
                          job->options->allocate.budget);
    const organ_tensor *const first = job->left_out[0].tensor;
    if (organ_dtype_is_blocks(first->dtype))
        return organ_dequantize_first(
            job->model, error, "%.300s: no target can be quantised as %s; tensor '%.200s': it is stored as %s",
            job->model->path, job->options->scheme, first->name, organ_dtype_name(first->dtype));
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: no target can be quantised as %s; tensor '%s': %s", job->model->path,
                      job->options->scheme, job->left_out[0].tensor->name, job->left_out[0].why);
}

/* A tensor of the model becomes at most 3 pieces (codes, scales, shape), one unit and one part, which sets the
 * capacities. */
organ_status organ_quantize_list_parts(organ_quantize_job *job, organ_error *error)
{
    const size_t capacity = job->model->tensor_count + 1;
    job->pieces = organ_rows_take(3 * capacity, sizeof *job->pieces);
    job->units = organ_rows_take(capacity, sizeof *job->units);
    job->parts = organ_rows_take(capacity, sizeof *job->parts);
    job->left_out = organ_rows_take(capacity, sizeof *job->left_out);
    if (!job->pieces || !job->units || !job->parts || !job->left_out)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->candidate_count && !error->status; k++) {
        organ_rows_passed();
        list_weight(job, &job->candidates[k], error);
    }
    for (size_t k = 0; job->weights && k < job->weights->unmatched_count && !error->status; k++)
        keep_tensor(job, job->weights->unmatched[k].tensor);
    return error->status || job->part_count ? error->status : refuse_without_targets(job, error);
}
