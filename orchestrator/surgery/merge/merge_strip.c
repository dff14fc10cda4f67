/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "orchestrator/stream/product.h"

#include <stdlib.h>
#include <string.h>

static size_t merge_round(size_t bytes) { return (bytes + 63) / 64 * 64; }
static size_t merge_larger(size_t a, size_t b) { return a > b ? a : b; }
/* Strips of one matrix. */
static uint64_t of_matrix(const organ_merge_task *task)
{
    const size_t each = task->shape.cols ? organ_merge_strip_rows(task) : 0;
    return each ? (task->shape.rows + each - 1) / each : 0;
}

uint64_t organ_merge_strips(const organ_merge_task *task) { return task->shape.count * of_matrix(task); }

static size_t of_method(size_t (*bytes)(const organ_merge_task *), const organ_merge_task *task)
{
    return bytes ? bytes(task) : 0;
}

bool organ_merge_scans(const organ_merge_item *item)
{
    const organ_merge_method *const m = item->method;
    return m->scan && organ_merge_elements(&item->task) &&
           (of_method(m->sums, &item->task) || of_method(m->counters, &item->task));
}

organ_status organ_merge_measure(const organ_merge_walk *run, const organ_merge_item *item, merge_sizes *sizes,
                                 organ_error *error)
{
    const organ_merge_method *const m = item->method;
    const organ_merge_task *const task = &item->task;
    const size_t inputs = organ_merge_inputs(item), rows = organ_merge_strip_rows(task);
    const size_t moved = inputs * sizeof(organ_merge_moved), sums = of_method(m->sums, task) * sizeof(double);
    const size_t gather = item->rows ? merge_round(organ_merge_gather_bytes(item)) : 0;
    size_t changes = 0;
    for (size_t k = 0; k < organ_merge_reads(item); k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        size_t scratch;
        if (organ_weight_reader_size(in->model, in->weight, task->kernels, rows, &scratch, error))
            return error->status;
        sizes->reading = merge_larger(sizes->reading, merge_round(scratch) + gather);
        if (in->change)
            sizes->reading =
                merge_larger(sizes->reading, merge_round(in->change->scratch(in->change->context, rows)) + gather);
        changes += in->change ? in->change->memory : 0;
    }
    sizes->changes = merge_larger(sizes->changes, merge_round(changes));
    sizes->inputs = merge_larger(sizes->inputs, inputs);
    sizes->readers = merge_larger(sizes->readers, organ_merge_reads(item));
    sizes->values = merge_larger(sizes->values, merge_round(rows * (size_t)task->shape.cols * sizeof(float)));
    sizes->scratch = merge_larger(sizes->scratch, merge_round(m->scratch ? m->scratch(task, rows) : 0));
    sizes->scratch = merge_larger(sizes->scratch, merge_round(run->put_scratch));
    sizes->state = merge_larger(sizes->state, merge_round(of_method(m->state, task)));
    sizes->counters = merge_larger(sizes->counters, merge_round(of_method(m->counters, task) * sizeof(uint64_t)));
    sizes->sums = merge_larger(sizes->sums, merge_round(merge_larger(sums, moved)));
    return ORGAN_OK;
}

organ_status organ_merge_open_item(merge_lane *lane, const organ_merge_item *item, organ_error *error)
{
    for (size_t k = 0; k < organ_merge_reads(item) && !error->status; k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        if (organ_weight_reader_open(in->model, in->weight, item->task.kernels, NULL, &lane->readers[k], error) ==
                ORGAN_OK &&
            in->change)
            in->change->open(in->change->context, &lane->changes[k], error);
    }
    return error->status;
}

void organ_merge_close_item(merge_lane *lane, const organ_merge_item *item)
{
    for (size_t k = 0; k < organ_merge_reads(item); k++) {
        const organ_merge_input *const in = organ_merge_read_of(item, k);
        organ_weight_reader_close(lane->readers[k]);
        lane->readers[k] = NULL;
        if (in->change)
            in->change->close(lane->changes[k]);
        lane->changes[k] = NULL;
    }
}

/* The message counts elements in the layout of the output's tensor. */
static organ_status refuse_value(const organ_merge_item *item, const organ_merge_input *in, uint64_t first,
                                 const float *values, size_t n, organ_error *error)
{
    size_t k = 0;
    while (k < n && values[k] - values[k] == 0)
        k++;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': value %llu is %s: such tensors cannot be merged",
                      in->model->path, in->weight->name,
                      (unsigned long long)(first * item->task.shape.cols + (k < n ? k : 0)),
                      k < n && values[k] != values[k] ? "NaN" : "infinite");
}

static organ_status read_strip(merge_lane *lane, const organ_merge_item *item, const organ_merge_strip *strip,
                               organ_reader_gate *gate, organ_error *error)
{
    const size_t n = strip->rows * strip->cols;
    for (size_t k = 0; k < organ_merge_inputs(item) && !error->status; k++) {
        const organ_merge_input *const in = &item->inputs[k];
        organ_reader_gate_enter(gate);
        if (item->rows)
            organ_merge_gather(item, &(merge_readers){lane->readers, lane->changes}, k, strip->first, strip->rows,
                               lane->input[k], lane->reading + merge_round(organ_merge_gather_bytes(item)),
                               lane->reading, error);
        else
            organ_weight_read(lane->readers[k], strip->first, strip->rows, ORGAN_F32, lane->input[k], lane->reading,
                              error);
        organ_reader_gate_leave(gate);
        if (!error->status && in->change && !item->rows)
            in->change->change(in->change->context, lane->changes[k], strip->first, strip->rows, lane->input[k],
                               lane->reading, error);
        if (!error->status && organ_any_not_finite(ORGAN_F32, lane->input[k], n * sizeof(float)))
            refuse_value(item, in, strip->first, lane->input[k], n, error);
    }
    return error->status;
}

static organ_merge_strip strip_of(const merge_lane *lane, const organ_merge_item *item, uint64_t number)
{
    const organ_merge_task *const task = &item->task;
    const size_t each = organ_merge_strip_rows(task);
    const uint64_t matrix = number / of_matrix(task), first = number % of_matrix(task) * each;
    const uint64_t left = task->shape.rows - first;
    return (organ_merge_strip){.first = matrix * task->shape.rows + first,
                               .rows = left < each ? (size_t)left : each,
                               .cols = (size_t)task->shape.cols,
                               .base = task->base ? lane->input[task->inputs] : NULL,
                               .input = (const float *const *)lane->input,
                               .scratch = lane->scratch};
}

organ_status organ_merge_scan_strip(merge_lane *lane, const organ_merge_item *item, const void *state, unsigned pass,
                                    uint64_t number, organ_reader_gate *gate, organ_error *error)
{
    const organ_merge_strip strip = strip_of(lane, item, number);
    if (read_strip(lane, item, &strip, gate, error))
        return error->status;
    if (item->method->sums)
        memset(lane->sums, 0, item->method->sums(&item->task) * sizeof(double));
    item->method->scan(&item->task, state, pass, &strip, lane->sums, lane->counters);
    return ORGAN_OK;
}

/* Four partial sums each, which the compiler can vectorise. */
static double distance_of(const float *a, const float *b, size_t n)
{
    double sum[4] = {0};
    for (size_t k = 0; k < n; k++) {
        const double d = (double)a[k] - (double)b[k];
        sum[k % 4] += d * d;
    }
    return sum[0] + sum[1] + (sum[2] + sum[3]);
}

static organ_merge_moved moved_by(const float *out, const float *in, const float *base, size_t n)
{
    double square[4] = {0}, distance[4] = {0};
    for (size_t k = 0; k < n; k++) {
        const double x = (double)in[k], d = (double)out[k] - x;
        square[k % 4] += x * x;
        distance[k % 4] += d * d;
    }
    return (organ_merge_moved){square[0] + square[1] + (square[2] + square[3]),
                               distance[0] + distance[1] + (distance[2] + distance[3]),
                               base ? distance_of(in, base, n) : 0};
}

organ_status organ_merge_apply_strip(merge_lane *lane, const organ_merge_walk *run, size_t number, const void *state,
                                     uint64_t at, organ_reader_gate *gate, organ_error *error)
{
    const organ_merge_item *const item = &run->items[number];
    const organ_merge_strip strip = strip_of(lane, item, at);
    if (read_strip(lane, item, &strip, gate, error))
        return error->status;
    item->method->apply(&item->task, state, &strip, lane->out);
    organ_merge_moved *const moved = (organ_merge_moved *)(void *)lane->sums;
    for (size_t k = 0; k < organ_merge_inputs(item); k++)
        moved[k] = moved_by(lane->out, lane->input[k], strip.base, strip.rows * strip.cols);
    return run->put(run->context, number, strip.first, strip.rows, lane->out, lane->input[0], lane->scratch, error);
}
