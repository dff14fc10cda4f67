/* SPDX-License-Identifier: MIT
 * Opens the weights that an item is read from, and the changes of their rows. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <string.h>

bool organ_weight_has_numbers(const organ_weight *weight)
{
    return weight->scheme != ORGAN_SCHEME_PLAIN || organ_can_widen(weight->codes->dtype);
}

organ_status organ_merge_reader_scratch(const organ_merge_input *in, const organ_kernels *kernels, size_t rows,
                                        size_t *scratch, organ_error *error)
{
    size_t bytes;
    if (organ_weight_reader_size(in->model, in->weight, kernels, rows, &bytes, error))
        return error->status;
    *scratch = organ_to_line(bytes);
    if (in->change)
        *scratch = organ_max(*scratch, organ_to_line(in->change->scratch(in->change->context, rows)));
    if (in->order)
        *scratch += organ_to_line(rows * (size_t)organ_weight_matrices(in->weight).cols * sizeof(float));
    return ORGAN_OK;
}

organ_status organ_merge_reading(const organ_merge_item *item, size_t *scratch, size_t *states, organ_error *error)
{
    for (size_t k = 0; k < organ_merge_reads(item); k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        size_t bytes;
        if (organ_merge_reader_scratch(in, item->task.kernels, organ_merge_strip_rows(&item->task.shape), &bytes,
                                       error))
            return error->status;
        *scratch = organ_max(*scratch, bytes);
        *states += in->change ? in->change->memory : 0;
    }
    return ORGAN_OK;
}

organ_status organ_merge_open_item(organ_merge_reader *from, const organ_merge_item *item, organ_error *error)
{
    for (size_t k = 0; k < organ_merge_reads(item) && !error->status; k++)
        organ_merge_reader_open(organ_merge_read_of(item, k), item->task.kernels, &from[k], error);
    return error->status;
}

void organ_merge_close_item(organ_merge_reader *from, const organ_merge_item *item)
{
    for (size_t k = 0; k < organ_merge_reads(item); k++)
        organ_merge_reader_close(&from[k]);
}

/* ---- one input ---- */

organ_status organ_merge_reader_open(const organ_merge_input *input, const organ_kernels *kernels,
                                     organ_merge_reader *reader, organ_error *error)
{
    *reader = (organ_merge_reader){.input = input};
    if (organ_weight_reader_open(input->model, input->weight, kernels, NULL, &reader->reader, error) == ORGAN_OK &&
        input->change)
        input->change->open(input->change->context, &reader->change, error);
    return error->status;
}

void organ_merge_reader_close(organ_merge_reader *reader)
{
    organ_weight_reader_close(reader->reader);
    if (reader->input && reader->input->change)
        reader->input->change->close(reader->change);
    *reader = (organ_merge_reader){0};
}

static organ_status read_stored(const organ_merge_reader *r, uint64_t first, size_t rows, float *values, void *scratch,
                                organ_error *error)
{
    const organ_merge_change *const change = r->input->change;
    organ_weight_read(r->reader, first, rows, ORGAN_F32, values, scratch, error);
    if (!error->status && change)
        change->change(change->context, r->change, first, rows, values, scratch, error);
    return error->status;
}

/* Entry e becomes entry order[e]. The values before k are final; one that stood there has been swapped to the place
 * to which the order leads from it. */
static void reorder_values(const organ_merge_input *in, float *values)
{
    for (size_t k = 0; k < in->experts; k++) {
        size_t at = in->order[k];
        while (at < k)
            at = in->order[at];
        const float value = values[k];
        values[k] = values[at];
        values[at] = value;
    }
}

organ_status organ_merge_reader_read(const organ_merge_reader *reader, uint64_t first, size_t rows, float *values,
                                     void *scratch, organ_error *error)
{
    const organ_merge_input *const in = reader->input;
    const organ_matrices m = organ_weight_matrices(in->weight);
    const uint64_t all = m.count * m.rows;
    if (!in->order || all == 1) {
        if (read_stored(reader, first, rows, values, scratch, error) == ORGAN_OK && in->order)
            reorder_values(in, values);
        return error->status;
    }
    float *const entry = scratch; /* a reader writes to aligned addresses only */
    unsigned char *const rest = (unsigned char *)scratch + organ_to_line(rows * m.cols * sizeof *values);
    const uint64_t each = all / in->experts;
    for (size_t done = 0, n; done < rows && !error->status; done += n) {
        const uint64_t row = first + done, inside = row % each;
        n = (size_t)(each - inside < rows - done ? each - inside : rows - done);
        if (read_stored(reader, in->order[row / each] * each + inside, n, entry, rest, error) == ORGAN_OK)
            memcpy(values + done * m.cols, entry, n * m.cols * sizeof *values);
    }
    return error->status;
}
