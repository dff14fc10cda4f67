/* SPDX-License-Identifier: MIT
 * Layers whose experts do not fit in memory. A streamed layer has the addresses of all its weights; the matrices of an
 * expert are read to their addresses when tokens reach the expert, and their pages are given back afterwards. */
#include "orchestrator/forward/layer_rows.h"
#include "orchestrator/machine/extent.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- groups of experts ---- */

/* `k` is 0 for gate, 1 for up, 2 for down. Returns NULL for up if gate and up are in one slot. */
static const forward_slot *matrix_of(const forward_plan *plan, size_t expert, size_t k, size_t *matrix)
{
    const forward_view *const views = plan->experts + 3 * expert;
    if (k == 1 && views[1].slot == views[0].slot)
        return NULL;
    const forward_slot *const slot = &plan->slots[views[k].slot];
    *matrix = (size_t)(views[k].row / (slot->rows / slot->matrices));
    return slot;
}

/* organ_weight_reader_hold reads a range of matrices of a packed stack to the beginning of the slot, whichever
 * matrices they are, so only one range can be in memory. */
static bool is_packed_stack(const forward_slot *slot) { return slot->packed && slot->matrices > 1; }

/* Expert 0 stands for all. */
static bool has_packed_stack(const forward_plan *plan)
{
    bool any = false;
    for (size_t k = 0; k < 3; k++)
        any = any || is_packed_stack(&plan->slots[plan->experts[k].slot]);
    return any;
}

/* A group has as many experts with tokens as fit a quarter of the memory, at least one. If a slot is a packed stack,
 * which is read as one range, the group ends at the first expert without tokens; if expert `first` has none, the
 * group is this expert alone. */
size_t organ_forward_stream_group(const organ_layer *layer, const size_t *begin, size_t first)
{
    const organ_forward *const f = layer->forward;
    const size_t memory = (size_t)(f->engine->memory / FORWARD_SHARE_OF_EXPERTS);
    const bool in_one = has_packed_stack(layer->plan);
    size_t bytes = 0, end = first;
    for (; end < f->config.experts; end++) {
        const bool reached = begin[end + 1] > begin[end];
        if (reached && bytes && bytes + layer->plan->expert > memory)
            break;
        if (!reached && in_one && bytes)
            break;
        if (!reached && in_one)
            return end + 1;
        bytes += reached ? layer->plan->expert : 0;
    }
    return end;
}

/* ---- reading ---- */

/* `begin` is as in organ_forward_stream_group; `scratch` has plan->reading bytes for each worker. */
typedef struct stream_reading {
    const organ_layer *layer;
    const size_t *begin;
    size_t first, last;
    unsigned char *scratch;
    organ_first_fault fault;
} stream_reading;

/* `k` is 0 for gate, 1 for up, 2 for down. For a packed stack, reads the matrices of all experts [first, last) when
 * `expert` is r->first, and nothing for the others. */
static organ_status read_matrix(const stream_reading *r, size_t expert, size_t k, unsigned char *scratch,
                                organ_error *error)
{
    const forward_plan *const plan = r->layer->plan;
    size_t matrix = 0;
    const forward_slot *const slot = matrix_of(plan, expert, k, &matrix);
    if (!slot || (is_packed_stack(slot) && expert > r->first))
        return ORGAN_OK;
    organ_weight_reader *const reader = r->layer->sources[slot - plan->slots].reader;
    const size_t rows = (size_t)(slot->rows / slot->matrices), end = (matrix + 1) * rows;
    unsigned char *const values = r->layer->values + slot->at;
    if (slot->packed) {
        const uint64_t count = is_packed_stack(slot) ? r->last - r->first : 1;
        return organ_weight_reader_hold(reader, matrix, count, values, error);
    }
    for (size_t row = matrix * rows; row < end && !error->status; row += organ_forward_piece_rows(slot))
        organ_forward_read_rows(r->layer, slot, reader, row, organ_min(organ_forward_piece_rows(slot), end - row),
                                values, scratch, error);
    return error->status;
}

static void read_task(void *context, size_t index, size_t worker)
{
    stream_reading *const r = context;
    const size_t expert = r->first + index / 3;
    organ_error error = {0};
    if (r->begin[expert + 1] > r->begin[expert] && !organ_fault_found(&r->fault) &&
        read_matrix(r, expert, index % 3, r->scratch + worker * r->layer->plan->reading, &error))
        organ_fault_keep(&r->fault, &error);
}

organ_status organ_forward_read_experts(const organ_layer *layer, const size_t *begin, size_t first, size_t last,
                                        organ_error *error)
{
    const organ_engine *const engine = layer->forward->engine;
    stream_reading r = {.layer = layer, .begin = begin, .first = first, .last = last, .fault = {error, false}};
    r.scratch = (unsigned char *)organ_forward_floats(
        layer->plan->reading / sizeof(float) * organ_workers_count(engine->workers), error);
    if (!error->status)
        organ_forward_share(engine, 3 * (last - first), INFINITY, read_task, &r, error);
    organ_forward_free((float *)(void *)r.scratch);
    return error->status;
}

/* Pages at the edges of a matrix stay, because they may also have bytes of other weights. */
void organ_forward_drop_experts(const organ_layer *layer, size_t first, size_t last)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t index = 3 * first; index < 3 * last; index++) {
        size_t matrix = 0;
        const forward_slot *const slot = matrix_of(layer->plan, index / 3, index % 3, &matrix);
        if (!slot)
            continue;
        const bool all = is_packed_stack(slot);
        const size_t bytes = all ? slot->bytes : slot->bytes / (size_t)slot->matrices,
                     at = slot->at + (all ? 0 : matrix * bytes);
        const size_t from = (at + page - 1) / page * page, until = (at + bytes) / page * page;
        if (from < until)
            (void)madvise(layer->values + from, until - from, MADV_DONTNEED);
    }
}
