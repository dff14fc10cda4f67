/* SPDX-License-Identifier: MIT
 * Plans the tensor scales of copied NVFP4 codes, one F32 number for each matrix. GGUF and ModelOpt have a factor,
 * compressed-tensors has a divisor. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/text.h"
#include "formats/tensor/fused.h"
#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool scale_is_needed(const organ_convert_job *job, size_t piece)
{
    const convert_piece *const facts = &job->facts[piece];
    return facts->content == CONVERT_BLOCKS
               ? job->pieces[piece].dtype == ORGAN_NVFP4
               : facts->content == CONVERT_CODES && facts->form && facts->form->blocks == ORGAN_NVFP4;
}

static uint64_t scale_count(const organ_convert_job *job, size_t piece)
{
    return job->pieces[piece].rank > 2 ? job->pieces[piece].shape[0] : 1;
}

/* Reads the tensor scale of a matrix of the weight as the output has it. A weight without one has the factor 1. */
static organ_status scale_read(const organ_convert_job *job, const organ_weight *weight, uint64_t matrix, float *made,
                               organ_error *error)
{
    const organ_tensor *const own = weight->global;
    const bool turned = weight->divides || !job->to_gguf; /* into its reciprocal */
    float value = 1;
    if (own && organ_model_read(job->model, own->file, &value, sizeof value,
                                own->offset + (own->elements > 1 ? matrix : 0) * sizeof value, error))
        return error->status;
    *made = turned ? 1 / value : value;
    if (isfinite(value) && isfinite(*made) && (!turned || isnormal(*made)))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is %g, %s: `dtype` codes cannot keep it",
                      job->model->path, own ? own->name : weight->name, (double)value,
                      turned ? "and F32 does not have its reciprocal" : "which is not finite");
}

/* Sets the numbers of the matrices of the piece to which the place copies; a number that is NaN is not yet set. */
static organ_status scale_place(const organ_convert_job *job, const convert_source *source, const organ_row_place *p,
                                float *numbers, organ_error *error)
{
    const uint64_t rows = job->facts[p->piece].rows / scale_count(job, p->piece);
    for (uint64_t m = p->matrix; m < p->matrix + p->matrices; m++) {
        float made = 1;
        uint64_t skipped = 0;
        const uint64_t blocks =
            organ_convert_blocks(p, &skipped, organ_row_place_matrices(source->weight).rows / p->block);
        const uint64_t first = p->at + (m - p->matrix) * p->per_matrix;
        const uint64_t last = first + (organ_max(blocks, 1) - 1) * p->per_block + p->rows - 1;
        if (scale_read(job, source->own, m, &made, error))
            return error->status;
        for (uint64_t k = first / rows; k <= last / rows; k++) {
            if (!isnan(numbers[k]) && numbers[k] != made)
                return organ_convert_unknown(job, source->own->name,
                                             "has another tensor scale than other rows of its matrix in the output: "
                                             "use another `type`",
                                             error);
            numbers[k] = made;
        }
    }
    return ORGAN_OK;
}

/* The codes are in NAME.weight. */
static organ_status scale_piece(organ_convert_job *job, size_t codes, const float *numbers, organ_error *error)
{
    const uint64_t count = scale_count(job, codes);
    const char *const own = job->pieces[codes].name;
    const size_t size = strlen(own) + sizeof "_global_scale";
    char *const name = organ_arena_take(&job->arena, size);
    if (!name)
        return organ_fail_memory(error, job->options->model);
    snprintf(name, size, "%.*s%s", (int)(strlen(own) - strlen("weight")), own,
             job->to_gguf ? "scale" : "weight_global_scale");
    const organ_piece made = {.name = name, .dtype = ORGAN_F32, .rank = 1, .shape = &count};
    const size_t piece = organ_convert_part(job, &made, count, CONVERT_VALUES, error);
    if (piece == SIZE_MAX)
        return error->status;
    job->facts[piece].values = numbers;
    job->facts[piece].filled = count;
    return ORGAN_OK;
}

/* Returns the piece of the first matrix of the set that servers multiply as one with piece k; k if it has no set. */
static size_t scale_first(organ_convert_job *job, size_t k)
{
    size_t parent = 0;
    char name[ORGAN_PLACE_NAME];
    const size_t set = organ_fused_set_of(job->model->config.model_type, job->pieces[k].name, &parent);
    if (set == ORGAN_FUSED_NONE_SET ||
        snprintf(name, sizeof name, "%.*s%.*s.weight", (int)parent, job->pieces[k].name, (int)organ_fused_first(set),
                 organ_fused_set_at(set)->parts) >= (int)sizeof name)
        return k;
    const size_t *const found = organ_name_table_find(&job->names, name);
    return found ? *found : k;
}

/* The codes stay, so the scales cannot be made equal without a change of the scales of blocks. */
static void scale_warn(organ_convert_job *job, size_t pieces, float *const *numbers)
{
    size_t count = 0, example = 0;
    for (size_t k = 0; k < pieces; k++) {
        const size_t first = numbers[k] ? scale_first(job, k) : k;
        if (first < pieces && numbers[first] && numbers[k] && *numbers[first] != *numbers[k])
            example = count++ ? example : k;
    }
    if (count)
        organ_progress_warn(
            job->progress,
            "%s and %s have different tensor scales (pairs of this kind: %zu), but servers such as vLLM "
            "multiply them as one matrix with one of the scales: use transformers, or quantise anew",
            job->pieces[example].name, job->pieces[scale_first(job, example)].name, count);
}

/* Gives each piece that needs them an array of numbers, which are NaN. Returns false if memory ran out. */
static bool scale_take(organ_convert_job *job, float **numbers)
{
    for (size_t k = 0; k < job->piece_count; k++) {
        const uint64_t count = scale_is_needed(job, k) ? scale_count(job, k) : 0;
        if (count && !(numbers[k] = organ_arena_take(&job->arena, count * sizeof **numbers)))
            return false;
        for (uint64_t n = 0; n < count; n++)
            numbers[k][n] = NAN;
    }
    return true;
}

organ_status organ_convert_tensor_scales(organ_convert_job *job, organ_error *error)
{
    const size_t pieces = job->piece_count;
    ORGAN_OWNED float **const numbers = calloc(pieces + 1, sizeof *numbers);
    if (!numbers || !scale_take(job, numbers))
        return organ_fail_memory(error, job->options->model);
    for (size_t s = 0; s < job->source_count; s++)
        for (size_t k = 0; k < job->sources[s].count && !error->status; k++) {
            const organ_row_place *const place = &job->places[job->sources[s].first + k];
            /* plan_codes refuses a source of another type */
            if (numbers[place->piece] && organ_convert_code_type(job->sources[s].own) == ORGAN_NVFP4)
                scale_place(job, &job->sources[s], place, numbers[place->piece], error);
        }
    for (size_t k = 0; k < pieces && !error->status; k++)
        if (numbers[k])
            scale_piece(job, k, numbers[k], error);
    if (!error->status && !job->to_gguf)
        scale_warn(job, pieces, numbers);
    return error->status;
}
