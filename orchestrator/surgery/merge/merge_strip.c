/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool organ_merge_scans(const organ_merge_item *item)
{
    const organ_merge_method *const m = item->task.method;
    return m->scan && organ_merge_elements(&item->task) &&
           (organ_merge_stated(m->sums, item) || organ_merge_stated(m->counters, item));
}

organ_status organ_merge_measure(const organ_merge_walk *run, const organ_merge_item *item, organ_strip_lanes *lanes,
                                 merge_sizes *sizes, organ_error *error)
{
    const organ_merge_method *const m = item->task.method;
    const organ_merge_task *const task = &item->task;
    const size_t inputs = organ_merge_item_inputs(item), rows = organ_merge_strip_rows(&task->shape);
    const size_t moved = inputs * sizeof(organ_merge_moved), sums = organ_merge_stated(m->sums, item) * sizeof(double);
    if (organ_strip_lanes_widen(lanes, organ_merge_reads_of(item), organ_merge_reads(item), &task->shape, task->kernels,
                                item->rows ? organ_merge_gather_bytes(item) : 0, error))
        return error->status;
    sizes->scratch = organ_max(sizes->scratch, organ_to_line(m->scratch ? m->scratch(task, rows) : 0));
    sizes->scratch = organ_max(sizes->scratch, organ_to_line(run->put_scratch));
    sizes->state = organ_max(sizes->state, organ_to_line(organ_merge_stated(m->state, item)));
    sizes->counters =
        organ_max(sizes->counters, organ_to_line(organ_merge_stated(m->counters, item) * sizeof(uint64_t)));
    sizes->sums = organ_max(sizes->sums, organ_to_line(organ_max(sums, moved)));
    lanes->inputs = organ_max(lanes->inputs, inputs + 1);
    lanes->rest = sizes->scratch + sizes->state + sizes->counters + sizes->sums;
    return ORGAN_OK;
}

/* The message counts elements in the layout of the output's tensor. */
static organ_status refuse_value(const organ_merge_item *item, const organ_merge_input *in, uint64_t first,
                                 const float *values, size_t n, organ_error *error)
{
    size_t k = 0;
    while (k < n && isfinite(values[k]))
        k++;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': value %llu is %s: such tensors cannot be merged",
                      in->model->path, in->weight->name,
                      (unsigned long long)(first * item->task.shape.cols + (k < n ? k : 0)),
                      k < n && values[k] != values[k] ? "NaN" : "infinite");
}

/* Returns whether input k is not read, because it equals the base. */
static bool is_equal(const merge_lane *lane, const organ_merge_item *item, size_t k)
{
    return k < item->task.inputs && lane->equal >> k & 1;
}

static organ_status read_strip(const merge_lane *lane, const organ_merge_item *item, const organ_merge_strip *strip,
                               organ_reader_gate *gate, organ_error *error)
{
    for (size_t k = 0; k < organ_merge_item_inputs(item) && !error->status; k++) {
        if (is_equal(lane, item, k))
            continue;
        organ_reader_gate_enter(gate);
        if (item->rows)
            organ_merge_gather(item, lane->strip->readers, k, strip->first, strip->rows, lane->strip->values[k],
                               lane->strip->scratch + organ_merge_gather_bytes(item), lane->strip->scratch, error);
        else
            organ_merge_reader_read(&lane->strip->readers[k], strip->first, strip->rows, lane->strip->values[k],
                                    lane->strip->scratch, error);
        organ_reader_gate_leave(gate);
    }
    return error->status;
}

/* `input` becomes the array of the strip's inputs. */
static organ_merge_strip strip_of(const merge_lane *lane, const organ_merge_item *item, uint64_t number,
                                  const float *input[ORGAN_MERGE_INPUTS])
{
    const organ_merge_task *const task = &item->task;
    size_t rows;
    const uint64_t first = organ_merge_strip_first(&task->shape, number, &rows);
    for (size_t k = 0; k < task->inputs; k++)
        input[k] = lane->strip->values[is_equal(lane, item, k) ? task->inputs : k];
    return (organ_merge_strip){.first = first,
                               .rows = rows,
                               .cols = (size_t)task->shape.cols,
                               .base = task->base ? lane->strip->values[task->inputs] : NULL,
                               .input = input,
                               .scratch = lane->scratch};
}

/* Values that a pass without sums reads at once: those of a base and an input fit in the cache of a core. */
#define SCANNED ((size_t)1 << 15)

static size_t scanned_rows(const organ_merge_item *item, const organ_merge_strip *strip)
{
    const size_t rows = strip->cols < SCANNED ? SCANNED / strip->cols : 1;
    return organ_merge_stated(item->task.method->sums, item) ? strip->rows : organ_min(rows, strip->rows);
}

/* Scans rows of a strip. */
static organ_status scan_rows(const merge_lane *lane, const organ_merge_item *item, const void *state, unsigned pass,
                              const organ_merge_strip *strip, organ_reader_gate *gate, organ_error *error)
{
    const size_t n = strip->rows * strip->cols;
    if (read_strip(lane, item, strip, gate, error))
        return error->status;
    for (size_t k = 0; k < organ_merge_item_inputs(item) && pass == 0; k++) {
        const float *const values = k < item->task.inputs ? strip->input[k] : strip->base;
        if (!item->task.kernels->all_finite(values, n))
            return refuse_value(item, &item->inputs[k], strip->first, values, n, error);
    }
    item->task.method->scan(&item->task, state, pass, strip, lane->sums, lane->counters);
    return ORGAN_OK;
}

organ_status organ_merge_scan_strip(merge_lane *lane, const organ_merge_item *item, const void *state, unsigned pass,
                                    uint64_t number, organ_reader_gate *gate, organ_error *error)
{
    const float *input[ORGAN_MERGE_INPUTS];
    const organ_merge_strip strip = strip_of(lane, item, number, input);
    organ_merge_strip part = strip;
    memset(lane->sums, 0, organ_merge_stated(item->task.method->sums, item) * sizeof(double));
    for (size_t done = 0; done < strip.rows && !error->status; done += part.rows) {
        part.first = strip.first + done;
        part.rows = organ_min(scanned_rows(item, &strip), strip.rows - done);
        scan_rows(lane, item, state, pass, &part, gate, error);
    }
    return error->status;
}

/* Differences in FP64: those of values beyond half of the FP32 range overflow in FP32. */
static double distance_of(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
    return sum;
}

organ_merge_moved organ_merge_moved_by(const organ_kernels *kernels, const float *out, const float *in,
                                       const float *base, size_t n)
{
    double moved[2], changed[2] = {0, 0};
    kernels->error_squares(in, out, n, moved);
    if (base && base != in)
        kernels->error_squares(in, base, n, changed);
    if (isfinite(moved[0]) && !isfinite(moved[1]))
        moved[1] = distance_of(in, out, n);
    if (isfinite(moved[0]) && !isfinite(changed[1]))
        changed[1] = distance_of(in, base, n);
    return (organ_merge_moved){moved[0], moved[1], changed[1]};
}

void organ_merge_add_moved(organ_merge_moved *moved, const organ_merge_moved *more, size_t inputs)
{
    for (size_t k = 0; k < inputs; k++) {
        moved[k].square += more[k].square;
        moved[k].distance += more[k].distance;
        moved[k].change += more[k].change;
    }
}

organ_status organ_merge_apply_strip(merge_lane *lane, const organ_merge_walk *run, const organ_kernels *kernels,
                                     size_t number, const void *state, uint64_t at, organ_reader_gate *gate,
                                     organ_error *error)
{
    const organ_merge_item *const item = &run->items[number];
    const float *input[ORGAN_MERGE_INPUTS];
    const organ_merge_strip strip = strip_of(lane, item, at, input);
    const size_t n = strip.rows * strip.cols;
    if (read_strip(lane, item, &strip, gate, error))
        return error->status;
    item->task.method->apply(&item->task, state, &strip, lane->out);
    organ_merge_moved *const moved = (organ_merge_moved *)(void *)lane->sums;
    const size_t inputs = item->task.inputs;
    if (strip.base)
        moved[inputs] = organ_merge_moved_by(kernels, lane->out, strip.base, strip.base, n);
    for (size_t k = 0; k < organ_merge_item_inputs(item); k++) {
        const float *const values = k < inputs ? strip.input[k] : strip.base;
        moved[k] =
            values == strip.base ? moved[inputs] : organ_merge_moved_by(kernels, lane->out, values, strip.base, n);
        if (!isfinite(moved[k].square))
            return refuse_value(item, &item->inputs[k], strip.first, values, n, error);
    }
    return run->put(run->context, lane->worker, number, strip.first, strip.rows, lane->out, lane->strip->values[0],
                    lane->scratch, error);
}
