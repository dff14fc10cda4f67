/* SPDX-License-Identifier: MIT
 * Reads a weight through a window. For a packed weight the window has whole decoded rows. If not all rows fit, or the
 * model is remote, the stored matrix is kept in addition, so that it is read only once although its rows are decoded
 * repeatedly. */
#include "orchestrator/surgery/measure/z_source.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/surgery/measure/z_subjects.h"

#include <string.h>

#define PIECE ((size_t)1 << 20) /* values that are decoded between two checks for a stop */
/* Bytes of a read from a local file: they stay in the caches until they are processed. */
#define READ ((size_t)1 << 18)

/* Returns `bytes` rounded up to a multiple of 64. */
static uint64_t z_source_rounded(uint64_t bytes) { return (bytes + 63) & ~(uint64_t)63; }

/* Returns the bytes of an element of a type without blocks. */
static size_t z_source_size_of(organ_dtype dtype) { return organ_dtype_describe(dtype)->bytes; }

/* Returns the largest number of rows that a strip of ORGAN_Z_STRIP elements can touch: as many as fit, and a part of a
 * row at either end. */
static uint64_t strip_rows_max(const organ_matrices *m)
{
    const uint64_t all = m->count * m->rows, strip = ORGAN_Z_STRIP / m->cols + 2;
    return strip < all ? strip : all;
}

/* Sets *least to the bytes that suffice for one strip, and *max to the bytes for reading or decoding the weight as a
 * whole. */
organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *max, organ_error *error)
{
    const organ_dtype decoded = organ_z_decoded_type(weight);
    const organ_matrices m = organ_weight_matrices(weight);
    size_t scratch = 0, all_scratch = 0;
    *least = ORGAN_Z_STRIP * 8; /* no element of a stored type has more than 8 bytes */
    *max = weight->codes->bytes;
    if (decoded == ORGAN_DTYPE_COUNT || weight->elements == 0)
        return ORGAN_OK;
    if (organ_weight_reader_size(model, weight, kernels, (size_t)strip_rows_max(&m), &scratch, error) ||
        organ_weight_reader_size(model, weight, kernels, (size_t)(m.count * m.rows), &all_scratch, error))
        return error->status;
    *least = z_source_rounded(scratch) + z_source_rounded(strip_rows_max(&m) * m.cols * z_source_size_of(decoded));
    *max = z_source_rounded(all_scratch) + z_source_rounded(weight->elements * z_source_size_of(decoded)) +
           organ_weight_bytes(weight) + 256; /* organ_weight_held_bytes rounds each of four tensors up to 64 */
    return ORGAN_OK;
}

/* Returns the bytes that a window of `rows` decoded rows needs, without the stored matrix. */
static uint64_t need_of(const organ_z_source *s, uint64_t rows)
{
    return z_source_rounded(organ_weight_reader_scratch(s->reader, (size_t)rows)) +
           z_source_rounded(rows * s->cols * z_source_size_of(s->dtype));
}

/* Returns the largest number of rows whose window fits into `bytes`, found by bisection between `rows` and all rows of
 * the weight. Returns `rows` if no larger number fits. */
static uint64_t rows_within(const organ_z_source *s, uint64_t rows, uint64_t bytes)
{
    uint64_t max = s->rows;
    while (rows < max) {
        const uint64_t middle = rows + (max - rows + 1) / 2;
        if (need_of(s, middle) <= bytes)
            rows = middle;
        else
            max = middle - 1;
    }
    return rows;
}

/* Divides `memory` among s->held, s->scratch and s->window. s->held gets memory for one stored matrix under two
 * conditions: one strip fits into the remaining bytes; and the model is remote, or not all rows fit into a window, so
 * that both passes must decode the rows. */
static void divide_memory(organ_z_source *s, const organ_matrices *m, unsigned char *memory, size_t bytes)
{
    const bool remote = s->model->files[s->weight->codes->file].remote != NULL;
    const uint64_t held = organ_weight_held_bytes(s->weight, 1), least = strip_rows_max(m);
    s->rows = m->count * m->rows;
    s->cols = m->cols;
    s->matrix_rows = m->rows;
    s->held_matrix = m->count; /* none */
    if ((remote || need_of(s, s->rows) > bytes) && held < bytes && need_of(s, least) <= bytes - held) {
        s->held = memory;
        memory += held;
        bytes -= (size_t)held;
    }
    s->window_rows = rows_within(s, least, bytes);
    s->scratch = memory;
    s->window = memory + z_source_rounded(organ_weight_reader_scratch(s->reader, (size_t)s->window_rows));
}

organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error)
{
    const organ_dtype decoded = organ_z_decoded_type(weight);
    const organ_matrices m = organ_weight_matrices(weight);
    *source = (organ_z_source){.model = model, .weight = weight, .stop = stop, .window = memory, .window_bytes = bytes};
    source->dtype = decoded == ORGAN_DTYPE_COUNT ? weight->codes->dtype : decoded;
    source->elements = weight->elements;
    source->bytes = decoded == ORGAN_DTYPE_COUNT ? weight->codes->bytes : weight->elements * z_source_size_of(decoded);
    if (decoded == ORGAN_DTYPE_COUNT || weight->elements == 0)
        return ORGAN_OK;
    if (organ_weight_reader_open(model, weight, kernels, NULL, &source->reader, error) == ORGAN_OK)
        divide_memory(source, &m, memory, bytes);
    return error->status;
}

void organ_z_source_close(organ_z_source *source) { organ_weight_reader_close(source->reader); }

/* Returns ORGAN_INTERRUPTED if a stop was requested. */
static organ_status z_source_stopped(const organ_z_source *s, organ_error *error)
{
    return organ_stop_is_requested(s->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

/* Decodes rows [first, first + count) of the weight into the window, in pieces of about PIECE values that do not cross
 * matrices. If there is s->held, reads each stored matrix into it before decoding its first row. */
static organ_status z_source_decode(organ_z_source *s, uint64_t first, uint64_t count, organ_error *error)
{
    const uint64_t row_bytes = s->cols * z_source_size_of(s->dtype), piece = organ_max(PIECE / (size_t)s->cols, 1);
    unsigned char *to = s->window;
    for (uint64_t part; count > 0; first += part, count -= part, to += part * row_bytes) {
        const uint64_t matrix = first / s->matrix_rows, remaining = s->matrix_rows - first % s->matrix_rows;
        part = count < piece ? count : piece;
        part = part < remaining ? part : remaining;
        if (z_source_stopped(s, error))
            return error->status;
        if (s->held && s->held_matrix != matrix) {
            s->held_matrix = s->rows; /* none, until the read succeeds */
            if (organ_weight_reader_hold(s->reader, matrix, 1, s->held, error))
                return error->status;
            s->held_matrix = matrix;
        }
        if (organ_weight_read(s->reader, first, (size_t)part, s->dtype, to, s->scratch, error))
            return error->status;
    }
    return ORGAN_OK;
}

/* Reads stored bytes into the window: appends those after s->to, or empties the window and begins at `from` if `from`
 * is not in the window or not all bytes before `to` fit. Reads at most READ bytes of a local file (more than a strip
 * has), and as many bytes as fit of a remote file. */
static organ_status extend_window(organ_z_source *s, uint64_t from, uint64_t to, organ_error *error)
{
    if (from < s->from || from > s->to || to > s->from + s->window_bytes)
        s->to = s->from = from;
    const uint64_t at = s->to - s->from, space = s->window_bytes - at, remaining = s->bytes - s->to,
                   max = remaining < space ? remaining : space;
    const size_t bytes = s->model->files[s->weight->codes->file].remote ? (size_t)max : organ_min(READ, (size_t)max);
    if (z_source_stopped(s, error) || organ_model_read(s->model, s->weight->codes->file, s->window + at, bytes,
                                                       s->weight->codes->offset + s->to, error))
        return error->status;
    s->to += bytes;
    return ORGAN_OK;
}

/* Reads bytes [from, to) of the values into the window; of a packed weight decodes as many rows as fit, from the row
 * that contains `from` on. */
static organ_status fill_window(organ_z_source *s, uint64_t from, uint64_t to, organ_error *error)
{
    if (!s->reader)
        return extend_window(s, from, to, error);
    s->to = s->from = 0;
    const uint64_t row_bytes = s->cols * z_source_size_of(s->dtype), first = from / row_bytes, left = s->rows - first;
    const uint64_t count = left < s->window_rows ? left : s->window_rows;
    if (z_source_decode(s, first, count, error))
        return error->status;
    s->from = first * row_bytes;
    s->to = s->from + count * row_bytes;
    return ORGAN_OK;
}

const void *organ_z_source_at(organ_z_source *source, uint64_t start, size_t count, size_t *units, organ_error *error)
{
    const organ_dtype_info *type = organ_dtype_describe(source->dtype);
    const uint64_t from = start / type->elements * type->bytes, to = from + count / type->elements * type->bytes;
    *units = count / type->elements;
    if ((from < source->from || to > source->to) && fill_window(source, from, to, error))
        return NULL;
    return source->window + (from - source->from);
}
