/* SPDX-License-Identifier: MIT
 * Opens the weights that an item is read from, and the changes of their rows. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

/* Sets *scratch to what organ_merge_read needs for as many rows, a multiple of 64. */
static organ_status measure_reads(const organ_merge_input *in, const organ_kernels *kernels, size_t rows,
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
        if (measure_reads(in, item->task.kernels, organ_merge_strip_rows(&item->task), &bytes, error))
            return error->status;
        *scratch = organ_max(*scratch, bytes);
        *states += in->change ? in->change->memory : 0;
    }
    return ORGAN_OK;
}

organ_status organ_merge_open_item(const merge_readers *from, const organ_merge_item *item, organ_error *error)
{
    for (size_t k = 0; k < organ_merge_reads(item) && !error->status; k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        if (organ_weight_reader_open(in->model, in->weight, item->task.kernels, NULL, &from->readers[k], error) ==
                ORGAN_OK &&
            in->change)
            in->change->open(in->change->context, &from->changes[k], error);
    }
    return error->status;
}

void organ_merge_close_item(const merge_readers *from, const organ_merge_item *item)
{
    for (size_t k = 0; k < organ_merge_reads(item); k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        organ_weight_reader_close(from->readers[k]);
        from->readers[k] = NULL;
        if (in->change)
            in->change->close(from->changes[k]);
        from->changes[k] = NULL;
    }
}

/* ---- rows ---- */

static organ_status read_stored(const merge_readers *from, size_t k, const organ_merge_input *in, uint64_t first,
                                size_t rows, float *values, void *scratch, organ_error *error)
{
    organ_weight_read(from->readers[k], first, rows, ORGAN_F32, values, scratch, error);
    if (!error->status && in->change)
        in->change->change(in->change->context, from->changes[k], first, rows, values, scratch, error);
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

organ_status organ_merge_read(const merge_readers *from, size_t k, const organ_merge_input *in, uint64_t first,
                              size_t rows, float *values, void *scratch, organ_error *error)
{
    const organ_matrices m = organ_weight_matrices(in->weight);
    const uint64_t all = m.count * m.rows;
    if (!in->order || all == 1) {
        if (read_stored(from, k, in, first, rows, values, scratch, error) == ORGAN_OK && in->order)
            reorder_values(in, values);
        return error->status;
    }
    float *const entry = scratch; /* a reader writes to aligned addresses only */
    unsigned char *const rest = (unsigned char *)scratch + organ_to_line(rows * m.cols * sizeof *values);
    const uint64_t each = all / in->experts;
    for (size_t done = 0, n; done < rows && !error->status; done += n) {
        const uint64_t row = first + done, inside = row % each;
        n = (size_t)(each - inside < rows - done ? each - inside : rows - done);
        if (read_stored(from, k, in, in->order[row / each] * each + inside, n, entry, rest, error) == ORGAN_OK)
            memcpy(values + done * m.cols, entry, n * m.cols * sizeof *values);
    }
    return error->status;
}

organ_status organ_merge_sample(const organ_merge_input *input, const organ_kernels *kernels, const uint64_t *first,
                                size_t count, size_t rows, float *values, organ_error *error)
{
    const organ_merge_change *const change = input->change;
    const size_t each = rows * (size_t)organ_weight_matrices(input->weight).cols;
    organ_weight_reader *reader = NULL;
    void *state = NULL;
    size_t bytes = 0;
    if (measure_reads(input, kernels, rows, &bytes, error))
        return error->status;
    unsigned char *const scratch = aligned_alloc(64, organ_to_line(each * sizeof *values) + bytes + 64);
    float *const strip = (float *)(void *)(scratch + bytes);
    if (!scratch)
        return organ_fail_memory(error, input->weight->name);
    if (organ_weight_reader_open(input->model, input->weight, kernels, NULL, &reader, error) == ORGAN_OK && change)
        change->open(change->context, &state, error);
    const merge_readers from = {&reader, &state};
    for (size_t k = 0; k < count && !error->status; k++)
        if (organ_merge_read(&from, 0, input, first[k], rows, strip, scratch, error) == ORGAN_OK)
            memcpy(values + k * each, strip, each * sizeof *values);
    free(scratch);
    if (change)
        change->close(state);
    organ_weight_reader_close(reader);
    return error->status;
}
