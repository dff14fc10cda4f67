/* SPDX-License-Identifier: MIT
 * The tensors of the output that a quantised matrix becomes: codes or blocks, scales, shape. */
#include "orchestrator/verbs/quantize/quantize_mlx.h"

#include <string.h>

static const uint64_t two[] = {2}; /* shape of the tensor NAME.weight_shape, which contains rows and columns */
static const uint64_t one[] = {1}; /* shape of the scale of a tensor or of its inputs */

/* Returns `weight`, a name that ends in "weight", with that end replaced: "X.weight" with `end` "weight_scale" gives
 * "X.weight_scale". The job's arena owns the result. NULL if memory cannot be allocated. */
static const char *name_next_to(organ_quantize_job *job, const char *weight, const char *end)
{
    ORGAN_OWNED char *const text = organ_format("%.*s%s", (int)(strlen(weight) - strlen("weight")), weight, end);
    return text ? organ_arena_copy(&job->list.arena, text, strlen(text)) : NULL;
}

/* Returns the index in job->list.pieces. `shape` must outlive the job. */
static size_t add_piece(organ_quantize_job *job, const char *name, organ_dtype dtype, unsigned rank,
                        const uint64_t *shape)
{
    job->list.pieces[job->list.piece_count] = (organ_piece){.name = name, .dtype = dtype, .rank = rank, .shape = shape};
    return job->list.piece_count++;
}

/* Names and shapes are those of compressed-tensors or, if a scale covers a block, of DeepSeek-V3. */
static organ_status add_codes_and_scales(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_encoding *const e = part->encoding;
    const bool packed = organ_encoding_is_packed(e), joined = packed || organ_encoding_is_fp4(e);
    const bool whole = e->grid.scale_of == ORGAN_SCALE_TENSOR, divided = organ_encoding_has_divisor(e);
    const bool measured = organ_quantize_measures(job->options), fixed = organ_quantize_static(job->options);
    const uint64_t size = e->grid.size, band = organ_encoding_band(e, (size_t)part->rows);
    const char *const name = part->weight->name;
    const char *const codes = joined ? name_next_to(job, name, "weight_packed") : name;
    const char *const global = divided ? name_next_to(job, name, "weight_global_scale") : NULL;
    const char *const input = measured ? name_next_to(job, name, fixed ? "input_scale" : "input_global_scale") : NULL;
    const char *const scale =
        name_next_to(job, name, e->grid.scale_of == ORGAN_SCALE_BLOCK ? "weight_scale_inv" : "weight_scale");
    const char *const shape = packed ? name_next_to(job, name, "weight_shape") : NULL;
    if (!codes || !scale || (packed && !shape) || (divided && !global) || (measured && !input))
        return organ_fail_memory(error, job->options->model);
    job->list.clipped += e->grid.scale_of == ORGAN_SCALE_BLOCK && (part->rows % size != 0 || part->cols % size != 0);
    part->groups = organ_grid_groups(&e->grid, (size_t)part->cols);
    part->scale_shape[0] = whole ? 1 : part->rows / band + (part->rows % band != 0);
    part->scale_shape[1] = part->groups;
    part->words[0] = part->rows;
    /* 32 codes of b bits fill b words; a byte has two E2M1 codes */
    part->words[1] = packed ? part->cols / 32 * e->grid.bits : part->cols / 2;
    part->codes = add_piece(job, codes, e->codes, 2, joined ? part->words : part->weight->shape);
    part->scale = add_piece(job, scale, e->scales, whole ? 1 : 2, part->scale_shape);
    if (packed)
        part->shape = add_piece(job, shape, ORGAN_I64, 1, two);
    if (divided)
        part->global = add_piece(job, global, ORGAN_F32, 1, one);
    if (measured)
        part->input = add_piece(job, input, fixed ? e->scales : ORGAN_F32, 1, one);
    return ORGAN_OK;
}

/* llama.cpp multiplies what "X.weight" of NVFP4 gives by "X.scale", which has a value for each expert. */
static organ_status add_blocks(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_weight *const weight = part->weight;
    part->codes = add_piece(job, weight->name, part->encoding->codes, weight->rank, weight->shape);
    if (!organ_encoding_has_divisor(part->encoding))
        return ORGAN_OK;
    const char *const name = name_next_to(job, weight->name, "scale");
    if (!name)
        return organ_fail_memory(error, job->options->model);
    part->scale_shape[0] = organ_weight_matrices(weight).count;
    part->global = add_piece(job, name, ORGAN_F32, 1, part->scale_shape);
    return ORGAN_OK;
}

/* A stack has its number of matrices as first size. */
static size_t add_mlx_piece(organ_quantize_job *job, const organ_quantize_part *part, const char *leaf, bool codes,
                            organ_error *error)
{
    const organ_weight *const weight = part->weight;
    const organ_encoding *const e = part->encoding;
    const char *const own = name_next_to(job, weight->name, leaf);
    const char *const name = own ? organ_quantize_mlx_name(job, own) : NULL;
    uint64_t *const shape = organ_arena_take(&job->list.arena, 3 * sizeof *shape);
    if (!name || !shape) {
        organ_fail_memory(error, job->options->model);
        return 0;
    }
    shape[0] = weight->shape[0];
    memcpy(shape + 1, codes ? part->words : part->scale_shape, 2 * sizeof *shape);
    const size_t at =
        add_piece(job, name, codes ? e->codes : e->scales, weight->rank, weight->rank == 2 ? shape + 1 : shape);
    organ_quantize_mlx_stack(job, weight->codes, leaf, error);
    return at;
}

/* Names and shapes are those of MLX. */
static organ_status add_codes_of_mlx(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    const organ_encoding *const e = part->encoding;
    part->groups = organ_grid_groups(&e->grid, (size_t)part->cols);
    part->scale_shape[0] = part->words[0] = part->rows;
    part->scale_shape[1] = part->groups;
    part->words[1] = organ_encoding_row_bytes(e, (size_t)part->cols) / 4;
    part->codes = add_mlx_piece(job, part, "weight", /*codes=*/true, error);
    part->scale = error->status ? 0 : add_mlx_piece(job, part, "scales", /*codes=*/false, error);
    if (organ_grid_is_free(&e->grid) && !error->status)
        part->minimum = add_mlx_piece(job, part, "biases", /*codes=*/false, error);
    return error->status;
}

organ_status organ_quantize_add_pieces(organ_quantize_job *job, organ_quantize_part *part, organ_error *error)
{
    if (organ_encoding_is_gguf(part->encoding))
        return add_blocks(job, part, error);
    return organ_quantize_is_mlx(job) ? add_codes_of_mlx(job, part, error) : add_codes_and_scales(job, part, error);
}
