/* SPDX-License-Identifier: MIT
 * Finds the weights that are measured, and reads one through a window. For a packed weight the window has whole decoded
 * rows. If not all rows fit, or the model is remote, the stored matrix is kept in addition, so that it is read only
 * once although its rows are decoded repeatedly. Remote values that exceed the window are stored in a file without a
 * name. */
#include "orchestrator/verbs/measure/z_measure.h"

#include "formats/base/files.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define PIECE ((size_t)1 << 20) /* values that are decoded between two checks for a stop */
/* Bytes of a read from a local file: they stay in the caches until they are processed. */
#define READ ((size_t)1 << 18)
/* Most bytes of a window for stored values of a local file. The second pass reads them again, from the page cache, in
 * less time than the kernel takes to clear the pages of a window for all of them. */
#define WINDOW ((uint64_t)1 << 20)

static uint64_t round_up(uint64_t bytes) { return (bytes + 63) & ~(uint64_t)63; }

static bool is_remote(const organ_z_source *s) { return s->model->files[s->weight->codes->file].remote != NULL; }

static size_t value_bytes(organ_dtype dtype) { return organ_dtype_describe(dtype)->bytes; }

/* A strip of ORGAN_Z_STRIP elements touches at most as many rows as fit, and a part of a row at either end. */
static uint64_t strip_rows_max(const organ_matrices *m)
{
    const uint64_t all = m->count * m->rows, strip = ORGAN_Z_STRIP / m->cols + 2;
    return strip < all ? strip : all;
}

organ_status organ_z_source_size(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                 uint64_t *least, uint64_t *max, organ_error *error)
{
    const organ_dtype decoded = organ_z_decoded_type(weight);
    const organ_matrices m = organ_weight_matrices(weight);
    size_t scratch = 0, all_scratch = 0;
    *least = ORGAN_Z_STRIP * 8; /* no element of a stored type has more than 8 bytes */
    *max = model->files[weight->codes->file].remote ? weight->codes->bytes : organ_min(weight->codes->bytes, WINDOW);
    if (decoded == ORGAN_DTYPE_COUNT || weight->elements == 0)
        return ORGAN_OK;
    if (organ_weight_reader_size(model, weight, kernels, (size_t)strip_rows_max(&m), &scratch, error) ||
        organ_weight_reader_size(model, weight, kernels, (size_t)(m.count * m.rows), &all_scratch, error))
        return error->status;
    *least = round_up(scratch) + round_up(strip_rows_max(&m) * m.cols * value_bytes(decoded));
    *max = round_up(all_scratch) + round_up(weight->elements * value_bytes(decoded)) + organ_weight_bytes(weight) +
           256; /* organ_weight_held_bytes rounds each of four tensors up to 64 */
    return ORGAN_OK;
}

/* The stored matrix is not included. */
static uint64_t need_of(const organ_z_source *s, uint64_t rows)
{
    return round_up(organ_weight_reader_scratch(s->reader, (size_t)rows)) +
           round_up(rows * s->cols * value_bytes(s->dtype));
}

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

/* s->held gets memory for one stored matrix under two conditions: one strip fits into the remaining bytes; and the
 * model is remote, or not all rows fit into a window, so that both passes (moments, then bins) must decode the
 * rows. `memory` is aligned to 64 bytes and, as organ_z_source_size says, holds one strip. */
static void divide_memory(organ_z_source *s, const organ_matrices *m, unsigned char *memory, size_t bytes)
{
    const uint64_t held = organ_weight_held_bytes(s->weight, 1), least = strip_rows_max(m);
    s->rows = m->count * m->rows;
    s->cols = m->cols;
    s->matrix_rows = m->rows;
    s->held_matrix = m->count; /* none */
    if ((is_remote(s) || need_of(s, s->rows) > bytes) && held < bytes && need_of(s, least) <= bytes - held) {
        s->held = memory;
        memory += held;
        bytes -= (size_t)held;
    }
    s->window_rows = rows_within(s, least, bytes);
    s->scratch = memory;
    s->window = memory + round_up(organ_weight_reader_scratch(s->reader, (size_t)s->window_rows));
}

organ_status organ_z_source_open(organ_z_source *source, const organ_model *model, const organ_weight *weight,
                                 const organ_kernels *kernels, const organ_stop *stop, void *memory, size_t bytes,
                                 organ_error *error)
{
    const organ_dtype decoded = organ_z_decoded_type(weight);
    const organ_matrices m = organ_weight_matrices(weight);
    *source = (organ_z_source){
        .model = model, .weight = weight, .stop = stop, .window = memory, .window_bytes = bytes, .spool = -1};
    source->dtype = decoded == ORGAN_DTYPE_COUNT ? weight->codes->dtype : decoded;
    source->elements = weight->elements;
    source->bytes = decoded == ORGAN_DTYPE_COUNT ? weight->codes->bytes : weight->elements * value_bytes(decoded);
    if (decoded != ORGAN_DTYPE_COUNT && weight->elements > 0) {
        if (organ_weight_reader_open(model, weight, kernels, NULL, &source->reader, error) != ORGAN_OK)
            return error->status;
        divide_memory(source, &m, memory, bytes);
    }
    if (is_remote(source) && (source->reader ? source->window_rows < source->rows : bytes < source->bytes))
        source->spool = organ_unnamed_file();
    return ORGAN_OK;
}

void organ_z_source_close(organ_z_source *source)
{
    organ_weight_reader_close(source->reader);
    if (source->spool >= 0)
        close(source->spool);
}

static organ_status fail_if_stopped(const organ_z_source *s, organ_error *error)
{
    return organ_stop_is_requested(s->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

/* Pieces of about PIECE values do not cross matrices. If there is s->held, each stored matrix is read into it before
 * its first row is decoded. */
static organ_status decode_values(organ_z_source *s, uint64_t first, uint64_t count, unsigned char *to,
                                  organ_error *error)
{
    const uint64_t row_bytes = s->cols * value_bytes(s->dtype), piece = organ_max(PIECE / (size_t)s->cols, 1);
    for (uint64_t part; count > 0; first += part, count -= part, to += part * row_bytes) {
        const uint64_t matrix = first / s->matrix_rows, remaining = s->matrix_rows - first % s->matrix_rows;
        part = count < piece ? count : piece;
        part = part < remaining ? part : remaining;
        if (fail_if_stopped(s, error))
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

/* Rows of a packed weight are whole. */
static organ_status read_model_values(organ_z_source *s, uint64_t from, uint64_t to, organ_error *error)
{
    unsigned char *const at = s->window + (from - s->from);
    if (s->reader) {
        const uint64_t row_bytes = s->cols * value_bytes(s->dtype);
        return decode_values(s, from / row_bytes, (to - from) / row_bytes, at, error);
    }
    return fail_if_stopped(s, error) ? error->status
                                     : organ_model_read(s->model, s->weight->codes->file, at, (size_t)(to - from),
                                                        s->weight->codes->offset + from, error);
}

/* After a failed write there is no spool: the second pass reads from the server. */
static void spool_values(organ_z_source *s, uint64_t from, uint64_t to)
{
    if (s->spool < 0 || from != s->spooled || from == to)
        return;
    if (organ_write_all(s->spool, s->window + (from - s->from), (size_t)(to - from))) {
        close(s->spool);
        s->spool = -1;
        s->spooled = 0;
    } else {
        s->spooled = to;
    }
}

/* Stored values of a local file are appended in steps of READ bytes, more than a strip has; those of a remote file,
 * and rows of a packed weight, fill the window. Bytes of the spool are not read again. */
static organ_status fill_window(organ_z_source *s, uint64_t from, uint64_t to, organ_error *error)
{
    const uint64_t row_bytes = s->reader ? s->cols * value_bytes(s->dtype) : 1;
    const uint64_t room = s->reader ? s->window_rows * row_bytes : s->window_bytes;
    if (s->reader || from < s->from || from > s->to || to > s->from + room)
        s->from = s->to = from - from % row_bytes;
    const uint64_t at = s->to, most = s->bytes < s->from + room ? s->bytes : s->from + room;
    const uint64_t end = s->reader || is_remote(s) || most < at + READ ? most : at + READ;
    uint64_t kept = s->spooled < end ? s->spooled : end; /* end of the bytes that the spool has, at least `at` */
    kept = kept > at ? kept : at;
    if (kept > at &&
        organ_pread_full(s->spool, s->window + (at - s->from), (size_t)(kept - at), (off_t)at) != (ssize_t)(kept - at))
        return organ_fail_errno(error, errno, "%s: the copy of tensor '%s' cannot be read", s->model->path,
                                s->weight->name);
    if (kept < end && read_model_values(s, kept, end, error))
        return error->status;
    spool_values(s, kept, end);
    s->to = end;
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

/* ---- weights that are measured ---- */

organ_status organ_z_subjects_find(const organ_model *model, organ_z_subjects *subjects, organ_error *error)
{
    *subjects = (organ_z_subjects){0};
    if (organ_weights_find(model, &subjects->found, error) != ORGAN_OK)
        return error->status;
    const organ_weights *const found = subjects->found;
    subjects->weight_of = calloc(model->tensor_count + 1, sizeof *subjects->weight_of);
    subjects->alone = calloc(found->unmatched_count + 1, sizeof *subjects->alone);
    if (!subjects->weight_of || !subjects->alone)
        return organ_fail_errno(error, ENOMEM, "%s: its %zu weights", model->path, found->count);
    for (size_t k = 0; k < found->count; k++)
        subjects->weight_of[found->weights[k].codes - model->tensors] = &found->weights[k];
    for (size_t k = 0; k < found->unmatched_count; k++)
        if (!found->unmatched[k].dropped) {
            subjects->alone[k] = organ_weight_plain(found->unmatched[k].tensor);
            subjects->weight_of[found->unmatched[k].tensor - model->tensors] = &subjects->alone[k];
        }
    for (size_t t = 0; t < model->tensor_count; t++)
        subjects->companions += !subjects->weight_of[t];
    return ORGAN_OK;
}

void organ_z_subjects_release(organ_z_subjects *subjects)
{
    organ_weights_free(subjects->found);
    free(subjects->alone);
    free(subjects->weight_of);
    *subjects = (organ_z_subjects){0};
}

organ_dtype organ_z_decoded_type(const organ_weight *weight)
{
    if (weight->scheme != ORGAN_SCHEME_PLAIN || organ_dtype_is_fp8(weight->codes->dtype))
        return ORGAN_BF16;
    return weight->global ? ORGAN_F32 : ORGAN_DTYPE_COUNT;
}
