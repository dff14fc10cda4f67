/* SPDX-License-Identifier: MIT
 * Finds the weights whose codes and scales both safetensors and GGUF can store. */
#include "orchestrator/surgery/convert/convert_job.h"

#include <string.h>

/* The weight needs a scale for each 32 codes, no scale of the whole tensor, and whole groups of 32 in each row. A
 * transposed stack (gpt-oss) needs no check of its shape, because its groups are parts of the last stored axis. */
static bool code_is_mxfp4(const organ_weight *w)
{
    const uint64_t groups = w->elements / ORGAN_CONVERT_GROUP;
    return w->scheme == ORGAN_SCHEME_MXFP4 && w->scale && !w->global &&
           w->codes->bytes == groups * ORGAN_CONVERT_GROUP / 2 && w->scale->bytes == groups &&
           (w->transposed ? w->rank == 3 : w->shape[w->rank - 1] % ORGAN_CONVERT_GROUP == 0);
}

/* Q8_0 is symmetric and has a floating-point scale for each 32 codes of a row. */
static bool code_is_int8(const organ_weight *w)
{
    return w->scheme == ORGAN_SCHEME_INT8 && w->codes->dtype == ORGAN_I8 && w->scale && !w->zero && !w->g_idx &&
           !w->bias && !w->global && w->rank >= 2 && w->block_rows == 1 && w->block_cols == ORGAN_CONVERT_GROUP &&
           w->shape[w->rank - 1] % ORGAN_CONVERT_GROUP == 0 &&
           w->scale->elements == w->elements / ORGAN_CONVERT_GROUP &&
           (w->scale->dtype == ORGAN_F16 || w->scale->dtype == ORGAN_BF16 || w->scale->dtype == ORGAN_F32);
}

organ_dtype organ_convert_code_type(const organ_weight *weight)
{
    const organ_dtype own = weight->codes->dtype;
    if (weight->scheme == ORGAN_SCHEME_PLAIN)
        return own == ORGAN_MXFP4 || own == ORGAN_Q8_0 ? own : ORGAN_DTYPE_COUNT;
    if (code_is_mxfp4(weight))
        return ORGAN_MXFP4;
    return code_is_int8(weight) ? ORGAN_Q8_0 : ORGAN_DTYPE_COUNT;
}

/* With codes source->weight of a transposed weight becomes a copy with the last two axes in stored order, since
 * codes cannot be transposed. */
organ_status organ_convert_find_codes(organ_convert_job *job, convert_source *source, organ_error *error)
{
    const organ_weight *const w = source->own = source->weight;
    if (!job->keeps_codes || organ_convert_code_type(w) == ORGAN_DTYPE_COUNT)
        return ORGAN_OK;
    source->codes = true;
    if (!w->transposed)
        return ORGAN_OK;
    organ_weight *const stored = organ_arena_take(&job->arena, sizeof *stored);
    uint64_t *const shape = organ_arena_take(&job->arena, 3 * sizeof *shape);
    if (!stored || !shape)
        return organ_fail_memory(error, w->name);
    memcpy(shape, (const uint64_t[]){w->shape[0], w->shape[2], w->shape[1]}, 3 * sizeof *shape);
    *stored = *w;
    stored->shape = shape;
    stored->transposed = false;
    source->weight = stored;
    return ORGAN_OK;
}

const organ_weight *organ_convert_dequantised(organ_convert_job *job)
{
    convert_source *const source = &job->sources[job->source_count];
    source->codes = false;
    return source->weight = source->own;
}
