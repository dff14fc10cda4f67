/* SPDX-License-Identifier: MIT
 * Reads strips of inputs: the lanes of workers, and the readers of weights with the changes of their rows. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <stdlib.h>
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

/* ---- lanes ---- */

organ_status organ_strip_lanes_widen(organ_strip_lanes *l, const organ_merge_input *inputs, size_t count,
                                     const organ_matrices *shape, const organ_kernels *kernels, size_t more,
                                     organ_error *error)
{
    const size_t rows = organ_merge_strip_rows(shape);
    size_t changes = 0;
    for (size_t k = 0; k < count; k++) {
        size_t bytes = 0;
        if (inputs[k].weight && organ_merge_reader_scratch(&inputs[k], kernels, rows, &bytes, error))
            return error->status;
        l->scratch = organ_max(l->scratch, bytes + more);
        changes += inputs[k].change ? inputs[k].change->memory : 0;
    }
    l->values = organ_max(l->values, organ_to_line((rows * (size_t)shape->cols + l->padding) * sizeof(float)));
    l->changes = organ_max(l->changes, organ_to_line(changes));
    l->readers = organ_max(l->readers, count);
    return ORGAN_OK;
}

organ_status organ_strip_lanes_open(organ_strip_lanes *l, const char *what, organ_error *error)
{
    organ_reader_gate_open(&l->gate, l->engine);
    l->opened = true;
    l->lanes = calloc(l->count, sizeof *l->lanes);
    for (size_t k = 0; l->lanes && k < l->count; k++) {
        organ_strip_lane *const lane = &l->lanes[k];
        unsigned char *const at = organ_topology_allocate(
            l->engine->topology, organ_workers_place(l->engine->workers, k).node, organ_strip_lane_bytes(l));
        *lane = (organ_strip_lane){.memory = at,
                                   .values = calloc(l->inputs, sizeof *lane->values),
                                   .readers = calloc(l->readers, sizeof *lane->readers),
                                   .item = SIZE_MAX};
        if (!at || !lane->values || !lane->readers)
            return organ_fail_memory(error, what);
        for (size_t i = 0; i < l->inputs; i++)
            lane->values[i] = (float *)(void *)(at + i * l->values);
        lane->scratch = at + l->inputs * l->values;
        lane->rest = lane->scratch + l->scratch;
    }
    return l->lanes ? ORGAN_OK : organ_fail_memory(error, what);
}

void organ_strip_lanes_close(organ_strip_lanes *l)
{
    if (!l->opened)
        return;
    for (size_t k = 0; l->lanes && k < l->count; k++) {
        organ_strip_lane_close(&l->lanes[k], l->readers);
        organ_topology_free(l->engine->topology, l->lanes[k].memory, organ_strip_lane_bytes(l));
        free(l->lanes[k].values);
        free(l->lanes[k].readers);
    }
    free(l->lanes);
    organ_reader_gate_close(&l->gate);
}

organ_status organ_strip_lane_open(organ_strip_lane *lane, size_t item, const organ_merge_input *inputs, size_t count,
                                   const organ_kernels *kernels, organ_error *error)
{
    if (lane->item == item)
        return ORGAN_OK;
    organ_strip_lane_close(lane, count);
    for (size_t k = 0; k < count && !error->status; k++)
        if (inputs[k].weight)
            organ_merge_reader_open(&inputs[k], kernels, &lane->readers[k], error);
    lane->item = error->status ? SIZE_MAX : item;
    return error->status;
}

void organ_strip_lane_close(organ_strip_lane *lane, size_t count)
{
    for (size_t k = 0; lane->readers && k < count; k++)
        organ_merge_reader_close(&lane->readers[k]);
    lane->item = SIZE_MAX;
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
        n = (size_t)organ_min(each - inside, rows - done); /* rows that are left of the entry */
        if (read_stored(reader, in->order[row / each] * each + inside, n, entry, rest, error) == ORGAN_OK)
            memcpy(values + done * m.cols, entry, n * m.cols * sizeof *values);
    }
    return error->status;
}
