/* SPDX-License-Identifier: MIT
 * Stores matrices with new values, rounded to the type of the donor, and reads them back in a resumed run. A piece is a
 * tensor of the output; a refitted tensor is one that gets new values. */
#include "orchestrator/verbs/shrink/cut_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>

#define BAND ((size_t)1 << 18) /* values that are rounded together */

typedef struct put_place {
    organ_cut_part *part;
    const organ_dtype_info *type; /* of the tensor, in the donor and in the output */
    size_t rows, cols;            /* kept rows and columns */
    size_t row_bytes;             /* bytes of a row in the output */
    size_t band;                  /* rows that are rounded together */
    uint64_t at;                  /* offset of the matrix in the piece, in bytes */
} put_place;

static organ_cut_part *put_part_of(const organ_cut_run *run, const organ_tensor *tensor)
{
    return &run->parts[run->part_of[tensor - run->model->tensors]];
}

bool organ_cut_done(const organ_cut_run *run, const organ_tensor *tensor)
{
    const size_t part = run->part_of[tensor - run->model->tensors];
    return part == SIZE_MAX || (run->writing && organ_write_done(run->writing, run->parts[part].piece));
}

/* In a stack of experts that loses some, the index of the matrix becomes that of the expert in the output. */
static put_place put_place_of(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix)
{
    organ_cut_part *const part = put_part_of(run, tensor);
    organ_tensor kept = *tensor; /* the tensor with the shape of the output */
    kept.shape = part->shape;
    const organ_matrices m = organ_tensor_matrices(&kept);
    const int32_t *const expert_of =
        tensor->rank > 2 && tensor->anatomy.layer >= 0 ? run->facts[tensor->anatomy.layer].expert_of : NULL;
    const uint64_t number = expert_of ? (uint64_t)expert_of[matrix] : matrix;
    put_place p = {
        .part = part, .type = organ_dtype_describe(tensor->dtype), .rows = (size_t)m.rows, .cols = (size_t)m.cols};
    p.row_bytes = p.cols / p.type->elements * p.type->bytes;
    p.band = organ_max(BAND / organ_max(p.cols, 1), 1);
    p.at = number * m.rows * p.row_bytes;
    return p;
}

bool organ_cut_takes(const organ_engine *engine, organ_dtype type)
{
    if (organ_dtype_is_blocks(type))
        return organ_dtype_describe(type)->ggml >= 0 && engine->kernels->fit[organ_dtype_describe(type)->ggml] != NULL;
    return type == ORGAN_BF16 || type == ORGAN_F16 || type == ORGAN_F32;
}

/* Encodes the rows into `units` and decodes them back into `values`, as a reader of the file would. */
static void round_rows(const organ_cut_run *run, const put_place *p, float *values, size_t rows, void *units)
{
    const organ_dtype dtype = p->part->tensor->dtype;
    const organ_kernels *const kernels = run->cut->write.engine->kernels;
    const size_t count = rows * p->cols / p->type->elements;
    if (organ_dtype_is_blocks(dtype))
        kernels->fit[p->type->ggml](values, NULL, p->cols, units, count);
    else
        organ_narrow(kernels, dtype, values, units, count);
    organ_widen(kernels, dtype, units, values, count);
}

/* The matrix is rounded in place and written only if `own`. `units` has room for a band. */
static organ_status put_rows(organ_cut_run *run, const put_place *p, bool own, float *weights, void *units,
                             organ_error *error)
{
    for (size_t r = 0; r < p->rows; r += p->band) {
        const size_t rows = organ_min(p->band, p->rows - r);
        float *const values = weights + r * p->cols;
        const bool finite = organ_all_finite(values, rows * p->cols);
        if (finite)
            round_rows(run, p, values, rows, units);
        if (!finite || !organ_all_finite(values, rows * p->cols))
            return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its new values are not all finite as %s",
                              p->part->tensor->name, p->type->name);
        if (own && organ_write_put(run->writing, p->part->piece, units, rows * p->row_bytes, p->at + r * p->row_bytes,
                                   NULL, error))
            return error->status;
    }
    return ORGAN_OK;
}

static organ_status copy_rows(organ_cut_run *run, const put_place *p, uint64_t matrix, void *units, organ_error *error)
{
    const organ_tensor *const tensor = p->part->tensor;
    for (size_t r = 0; r < p->rows && !error->status; r += p->band) {
        const size_t bytes = organ_min(p->band, p->rows - r) * p->row_bytes;
        if (organ_model_read(run->model, tensor->file, units, bytes,
                             tensor->offset + (matrix * p->rows + r) * p->row_bytes, error) == ORGAN_OK)
            organ_write_put(run->writing, p->part->piece, units, bytes, p->at + r * p->row_bytes, NULL, error);
    }
    return error->status;
}

static organ_status put_stored(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own,
                               float *weights, organ_error *error)
{
    const put_place p = put_place_of(run, tensor, matrix);
    ORGAN_OWNED void *const units = aligned_alloc(64, organ_to_line(p.band * p.row_bytes + 64));
    if (!units)
        return organ_fail_memory(error, tensor->name);
    if (weights)
        put_rows(run, &p, own, weights, units, error);
    else if (own)
        copy_rows(run, &p, matrix, units, error);
    if (!error->status && own && ++p.part->put == p.part->matrices) {
        json_t *const results = run->cut->results ? run->cut->results(run->cut->refit_context, tensor) : json_object();
        organ_write_finish(run->writing, p.part->piece, results, error);
        organ_progress_advance(run->cut->write.progress, tensor->bytes, run->pieces[p.part->piece].name, NULL);
    }
    return error->status;
}

static organ_status get_stored(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                               organ_error *error)
{
    const put_place p = put_place_of(run, tensor, matrix);
    ORGAN_OWNED void *const units = aligned_alloc(64, organ_to_line(p.band * p.row_bytes + 64));
    if (!units)
        return organ_fail_memory(error, tensor->name);
    for (size_t r = 0; r < p.rows && !error->status; r += p.band) {
        const size_t rows = organ_min(p.band, p.rows - r);
        if (organ_write_read(run->writing, p.part->piece, units, rows * p.row_bytes, p.at + r * p.row_bytes, error) ==
            ORGAN_OK)
            organ_widen(run->cut->write.engine->kernels, tensor->dtype, units, weights + r * p.cols,
                        rows * p.cols / p.type->elements);
    }
    return error->status;
}

/* ---- matrices that may be stored transposed ---- */

static void transpose(const float *from, size_t rows, size_t cols, float *to)
{
    organ_transpose_u32((const uint32_t *)(const void *)from, cols, (uint32_t *)(void *)to, rows, rows, cols);
}

/* `stored` has the matrix as the file has it, `weights` its transpose. */
organ_status organ_cut_put(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool own, bool transposed,
                           float *weights, organ_error *error)
{
    if (!transposed || !weights)
        return put_stored(run, tensor, matrix, own, weights, error);
    const put_place p = put_place_of(run, tensor, matrix);
    ORGAN_OWNED float *const stored = malloc(p.rows * p.cols * sizeof *stored);
    if (!stored)
        return organ_fail_memory(error, tensor->name);
    transpose(weights, p.cols, p.rows, stored);
    if (put_stored(run, tensor, matrix, own, stored, error) == ORGAN_OK)
        transpose(stored, p.rows, p.cols, weights);
    return error->status;
}

organ_status organ_cut_put_once(organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, float *weights,
                                organ_error *error)
{
    return organ_cut_put(run, tensor, matrix, organ_ranks_first(run->cut->write.engine->ranks),
                         organ_tensor_is_crossed(run->model, tensor), weights, error);
}

organ_status organ_cut_get(const organ_cut_run *run, const organ_tensor *tensor, uint64_t matrix, bool transposed,
                           float *weights, organ_error *error)
{
    if (!transposed)
        return get_stored(run, tensor, matrix, weights, error);
    const put_place p = put_place_of(run, tensor, matrix);
    ORGAN_OWNED float *const stored = malloc(p.rows * p.cols * sizeof *stored);
    if (!stored)
        organ_fail_memory(error, tensor->name);
    else if (get_stored(run, tensor, matrix, stored, error) == ORGAN_OK)
        transpose(stored, p.rows, p.cols, weights);
    return error->status;
}
