/* SPDX-License-Identifier: MIT
 * Opens the weights that an item is read from, and the changes of their rows. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"

organ_status organ_merge_reading(const organ_merge_item *item, size_t *scratch, size_t *states, organ_error *error)
{
    const size_t rows = organ_merge_strip_rows(&item->task);
    for (size_t k = 0; k < organ_merge_reads(item); k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        size_t bytes;
        if (organ_weight_reader_size(in->model, in->weight, item->task.kernels, rows, &bytes, error))
            return error->status;
        *scratch = organ_max(*scratch, organ_to_line(bytes));
        if (in->change)
            *scratch = organ_max(*scratch, organ_to_line(in->change->scratch(in->change->context, rows)));
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
