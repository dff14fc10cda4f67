/* SPDX-License-Identifier: MIT
 * The kept bytes of a tensor in their order, read through a window on the donor's file. */
#include "orchestrator/surgery/cut/cut_job.h"

#include <string.h>

/* One part on its way. */
typedef struct gather_gathering {
    const organ_model *model;
    const organ_cut_part *part;
    unsigned char *window, *out;
    organ_cut_sink *sink;
    void *context;
    uint64_t read, have; /* what of the tensor is in the window: from where on, and how much */
    uint64_t at;         /* of the output: what was put */
    size_t filled;       /* and what lies in `out` behind it */
    uint64_t first;      /* the number of the first axis that is taken */
    organ_error *error;
} gather_gathering;

static organ_status flush(gather_gathering *g)
{
    if (g->filled && g->sink(g->context, g->out, g->filled, g->at, g->error))
        return g->error->status;
    g->at += g->filled;
    g->filled = 0;
    return ORGAN_OK;
}

/* Lets the window hold `bytes` of the tensor from `from` on, and what comes behind them. */
static organ_status gather_look_at(gather_gathering *g, uint64_t from, size_t bytes)
{
    const organ_tensor *const t = g->part->tensor;
    if (from >= g->read && from + bytes <= g->read + g->have)
        return ORGAN_OK;
    g->read = from;
    g->have = t->bytes - from < ORGAN_CUT_WINDOW ? t->bytes - from : ORGAN_CUT_WINDOW;
    return organ_model_read(g->model, t->file, g->window, (size_t)g->have, t->offset + from, g->error);
}

/* Bytes of the tensor that lie one behind the other. */
static organ_status gather_take(gather_gathering *g, uint64_t from, uint64_t bytes)
{
    while (bytes) {
        if (g->filled == ORGAN_CUT_WINDOW && flush(g))
            return g->error->status;
        const size_t room = ORGAN_CUT_WINDOW - g->filled, n = bytes < room ? (size_t)bytes : room;
        if (gather_look_at(g, from, n))
            return g->error->status;
        memcpy(g->out + g->filled, g->window + (from - g->read), n);
        g->filled += n;
        from += n;
        bytes -= n;
    }
    return ORGAN_OK;
}

/* What stays along an axis, in the matrix that is taken. */
static const organ_cut_keep *kept_of(const gather_gathering *g, unsigned axis)
{
    const organ_cut_part *const part = g->part;
    return part->each && axis == part->each_axis ? &part->each[g->first] : &part->axes[axis];
}

/* The kept numbers of an axis, neighbours together, and what lies below each of them. */
static organ_status take_axis(gather_gathering *g, unsigned axis, uint64_t from, const uint64_t *strides)
{
    const organ_cut_keep *const keep = kept_of(g, axis);
    bool deeper = false;
    for (unsigned k = axis + 1; k < ORGAN_CUT_AXES; k++)
        deeper = deeper || g->part->axes[k].numbers || (g->part->each && k == g->part->each_axis);
    const uint64_t all = axis < g->part->tensor->rank ? strides[axis] : 1;
    const uint64_t whole = axis ? strides[axis - 1] : g->part->tensor->bytes;
    const size_t count = keep->numbers ? keep->count : (size_t)(whole / all);
    for (size_t k = 0; k < count && !g->error->status;) {
        size_t together = 1;
        const uint64_t number = keep->numbers ? keep->numbers[k] : k;
        while (!deeper && keep->numbers && k + together < count && keep->numbers[k + together] == number + together)
            together++;
        together = !deeper && !keep->numbers ? count : together;
        g->first = axis == 0 ? number : g->first;
        if (deeper)
            take_axis(g, axis + 1, from + number * all, strides);
        else
            gather_take(g, from + number * all, together * all);
        k += together;
    }
    return g->error->status;
}

/* Bytes from one number of each axis to the next. */
static void find_strides(const organ_tensor *t, uint64_t *strides)
{
    const organ_dtype_info *const type = organ_dtype_describe(t->dtype);
    uint64_t bytes = type->bytes;
    for (unsigned axis = t->rank; axis-- > 0;) {
        strides[axis] = bytes;
        bytes *= axis + 1 == t->rank ? t->shape[axis] / type->elements : t->shape[axis];
    }
}

organ_status organ_cut_gather(const organ_model *model, const organ_cut_part *part, uint64_t bytes,
                              unsigned char *window, unsigned char *out, organ_cut_sink *sink, void *context,
                              organ_error *error)
{
    gather_gathering g = {
        .model = model, .part = part, .window = window, .out = out, .sink = sink, .context = context, .error = error};
    uint64_t strides[ORGAN_CUT_AXES] = {0};
    if (part->values)
        return bytes ? sink(context, part->values, (size_t)bytes, 0, error) : ORGAN_OK;
    if (part->tensor->bytes == 0)
        return ORGAN_OK;
    find_strides(part->tensor, strides);
    return take_axis(&g, 0, 0, strides) ? error->status : flush(&g);
}
