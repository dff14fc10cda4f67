/* SPDX-License-Identifier: MIT
 * Finds inputs that are stored with the same bytes as the base: tensors that a tune left unchanged. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"

#include <string.h>

#define COMPARED ((size_t)1 << 15) /* bytes of each file that are read at once, few enough for a core's cache */

static bool is_same_input(const organ_merge_input *a, const organ_merge_input *b)
{
    return a->model == b->model && a->weight == b->weight && a->order == b->order && !a->change && !b->change;
}

static bool is_plain(const organ_merge_input *in)
{
    const organ_weight *const w = in->weight;
    return w && w->scheme == ORGAN_SCHEME_PLAIN && !w->made && !w->global && !in->change && !in->order;
}

/* Returns whether equal bytes mean equal values, row by row. */
static bool can_compare(const organ_merge_input *a, const organ_merge_input *b)
{
    if (!is_plain(a) || !is_plain(b))
        return false;
    const organ_matrices m = organ_weight_matrices(a->weight), of = organ_weight_matrices(b->weight);
    const organ_tensor *const first = a->weight->codes, *const second = b->weight->codes;
    return first->dtype == second->dtype && first->bytes == second->bytes && m.count == of.count && m.rows == of.rows &&
           m.cols == of.cols && first->bytes % (m.count * m.rows) == 0;
}

uint64_t organ_merge_candidates(const organ_merge_item *item)
{
    const organ_merge_task *const task = &item->task;
    uint64_t found = 0;
    for (size_t k = 0; k < task->inputs && task->base && !item->rows && organ_merge_scans(item); k++)
        if (is_same_input(&item->inputs[k], &item->inputs[task->inputs]) ||
            can_compare(&item->inputs[k], &item->inputs[task->inputs]))
            found |= (uint64_t)1 << k;
    return found;
}

static organ_status read_bytes(const organ_merge_input *in, uint64_t at, size_t bytes, void *to,
                               organ_reader_gate *gate, organ_error *error)
{
    organ_reader_gate_enter(gate);
    organ_model_read(in->model, in->weight->codes->file, to, bytes, in->weight->codes->offset + at, error);
    organ_reader_gate_leave(gate);
    return error->status;
}

organ_status organ_merge_compare_strip(const merge_lane *lane, const organ_merge_item *item, uint64_t strip,
                                       uint64_t *equal, organ_reader_gate *gate, organ_error *error)
{
    const organ_merge_input *const base = &item->inputs[item->task.inputs];
    const organ_matrices *const shape = &item->task.shape;
    const uint64_t row = base->weight->codes->bytes / (shape->count * shape->rows);
    float *const own = lane->out, *const other = lane->strip->values[0];
    size_t rows;
    const uint64_t first = organ_merge_strip_first(shape, strip, &rows);
    uint64_t left = 0; /* inputs that are compared */
    for (size_t k = 0; k < item->task.inputs; k++)
        left |= is_same_input(&item->inputs[k], base) ? 0 : *equal & (uint64_t)1 << k;
    const size_t most = organ_min(COMPARED, rows * (size_t)shape->cols * sizeof *own);
    for (uint64_t at = first * row, end = at + rows * row, some; at < end && left; at += some) {
        some = organ_min(end - at, (uint64_t)most);
        if (read_bytes(base, at, (size_t)some, own, gate, error))
            return error->status;
        for (uint64_t of = left; of; of &= of - 1) {
            const organ_merge_input *const in = &item->inputs[__builtin_ctzll(of)];
            if (read_bytes(in, at, (size_t)some, other, gate, error))
                return error->status;
            if (memcmp(own, other, (size_t)some) != 0) {
                left &= ~(of & -of);
                *equal &= ~(of & -of);
            }
        }
    }
    return ORGAN_OK;
}
