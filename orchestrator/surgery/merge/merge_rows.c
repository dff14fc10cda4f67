/* SPDX-License-Identifier: MIT
 * Reads the rows of tensors that have a row, or in a vector a value, for each token. */
#include "orchestrator/surgery/merge/merge_walk_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/quantity.h"

#include <stdlib.h>
#include <string.h>

/* A vector is one row of a weight, and each of its values is a row here. */
static bool is_vector(const organ_merge_item *item) { return item->task.rank < 2; }

/* Returns the values of the longest row of a source. */
static uint64_t longest(const organ_merge_item *item)
{
    uint64_t most = 0;
    for (size_t k = 0; k < item->rows->count; k++)
        most = organ_max(most, organ_weight_matrices(item->rows->sources[k].weight).cols);
    return most;
}

size_t organ_merge_gather_bytes(const organ_merge_item *item)
{
    const size_t cols = is_vector(item) ? (size_t)longest(item) : (size_t)item->task.shape.cols,
                 rows = is_vector(item) ? 1 : organ_merge_strip_rows(&item->task.shape);
    return organ_to_line(rows * cols * sizeof(float));
}

/* ---- rows ---- */

/* Returns how many of the rows from `row` on follow each other in their source too. */
static size_t run_of(const organ_merge_row *row, size_t count)
{
    size_t n = 1;
    while (n < count && row[n].source == row->source && row[n].row == row->row + n)
        n++;
    return n;
}

/* Sets `values` to the mean of row `row` of the output over the sources that are averaged and have it. */
static organ_status average(const organ_merge_item *item, const organ_merge_reader *from, uint32_t row, float *values,
                            void *scratch, float *spare, organ_error *error)
{
    const size_t cols = (size_t)item->task.shape.cols;
    size_t found = 0;
    memset(values, 0, cols * sizeof *values);
    for (size_t s = 0; s < item->rows->count && !error->status; s++) {
        const uint32_t at = item->rows->averaged[s] ? item->rows->places[s][row] : UINT32_MAX;
        if (at == UINT32_MAX || organ_merge_reader_read(&from[s], at, 1, spare, scratch, error))
            continue;
        found++;
        for (size_t c = 0; c < cols; c++)
            values[c] += spare[c];
    }
    for (size_t c = 0; c < cols && found; c++)
        values[c] /= (float)found;
    return error->status;
}

static organ_status gather_rows(const organ_merge_item *item, const organ_merge_reader *from, size_t input,
                                uint64_t first, size_t count, float *values, void *scratch, float *spare,
                                organ_error *error)
{
    const size_t cols = (size_t)item->task.shape.cols;
    const organ_merge_row *const rows = item->rows->rows[input] + first;
    for (size_t k = 0, n; k < count && !error->status; k += n) {
        float *const to = values + k * cols;
        n = rows[k].source < item->rows->count ? run_of(&rows[k], count - k) : 1;
        if (rows[k].source == ORGAN_MERGE_ROW_ZERO)
            memset(to, 0, cols * sizeof *to);
        else if (rows[k].source == ORGAN_MERGE_ROW_PAD)
            memcpy(to, item->rows->pads[input], cols * sizeof *to);
        else if (rows[k].source == ORGAN_MERGE_ROW_MEAN)
            average(item, from, rows[k].row, to, scratch, spare, error);
        else if (organ_merge_reader_read(&from[rows[k].source], rows[k].row, n, spare, scratch, error) == ORGAN_OK)
            memcpy(to, spare, n * cols * sizeof *to);
    }
    return error->status;
}

/* ---- values of a vector ---- */

/* Returns the index in the source of a value that comes from it, alone or as a part of a mean; UINT32_MAX: none. */
static uint32_t place_in(const organ_merge_item *item, size_t source, const organ_merge_row *row)
{
    if (row->source == ORGAN_MERGE_ROW_MEAN)
        return item->rows->averaged[source] ? item->rows->places[source][row->row] : UINT32_MAX;
    return row->source == source ? row->row : UINT32_MAX;
}

/* Returns from how many sources the value comes. */
static size_t sources_of(const organ_merge_item *item, const organ_merge_row *row)
{
    size_t count = 0;
    for (size_t s = 0; s < item->rows->count; s++)
        count += place_in(item, s, row) != UINT32_MAX;
    return count;
}

static organ_status gather_values(const organ_merge_item *item, const organ_merge_reader *from, size_t input,
                                  float *values, void *scratch, float *spare, organ_error *error)
{
    const size_t n = (size_t)item->task.shape.cols;
    const organ_merge_row *const rows = item->rows->rows[input];
    for (size_t k = 0; k < n; k++)
        values[k] = rows[k].source == ORGAN_MERGE_ROW_PAD ? item->rows->pads[input][0] : 0;
    for (size_t s = 0; s < item->rows->count && !error->status; s++) {
        if (organ_merge_reader_read(&from[s], 0, 1, spare, scratch, error))
            break;
        for (size_t k = 0; k < n; k++) {
            const uint32_t at = place_in(item, s, &rows[k]);
            if (at != UINT32_MAX)
                values[k] += spare[at];
        }
    }
    for (size_t k = 0; k < n; k++)
        if (rows[k].source == ORGAN_MERGE_ROW_MEAN)
            values[k] /= (float)sources_of(item, &rows[k]);
    return error->status;
}

organ_status organ_merge_gather(const organ_merge_item *item, const organ_merge_reader *from, size_t input,
                                uint64_t first, size_t count, float *values, void *scratch, void *spare,
                                organ_error *error)
{
    return is_vector(item) ? gather_values(item, from, input, values, scratch, spare, error)
                           : gather_rows(item, from, input, first, count, values, scratch, spare, error);
}

/* ---- padding ---- */

/* A row of the mean over all rows before the padding is never a row of the padding, so pads[input] is not read. */
static organ_status sum_rows(const organ_merge_item *item, const organ_merge_reader *from, size_t input, float *values,
                             void *scratch, void *spare, double *sums, organ_error *error)
{
    const size_t cols = is_vector(item) ? 1 : (size_t)item->task.shape.cols,
                 each = organ_merge_strip_rows(&item->task.shape);
    if (is_vector(item)) {
        organ_merge_gather(item, from, input, 0, 1, values, scratch, spare, error);
        for (uint64_t k = 0; k < item->rows->padding; k++)
            sums[0] += (double)values[k];
        return error->status;
    }
    for (uint64_t first = 0; first < item->rows->padding && !error->status; first += each) {
        const size_t count = (size_t)organ_min(item->rows->padding - first, each);
        organ_merge_gather(item, from, input, first, count, values, scratch, spare, error);
        for (size_t k = 0; k < count * cols; k++)
            sums[k % cols] += (double)values[k];
    }
    return error->status;
}

static organ_status fill_pad(const organ_merge_item *item, const organ_merge_reader *from, size_t input, size_t scratch,
                             organ_error *error)
{
    const size_t width = is_vector(item) ? 1 : (size_t)item->task.shape.cols;
    const size_t strip = organ_to_line(
        (is_vector(item) ? (size_t)item->task.shape.cols : organ_merge_strip_rows(&item->task.shape) * width) *
        sizeof(float));
    ORGAN_OWNED double *const sums = calloc(width, sizeof *sums);
    ORGAN_OWNED unsigned char *const memory = aligned_alloc(64, strip + scratch + organ_merge_gather_bytes(item));
    if (!sums || !memory)
        organ_fail_memory(error, item->task.name);
    else if (sum_rows(item, from, input, (float *)(void *)memory, memory + strip, memory + strip + scratch, sums,
                      error) == ORGAN_OK)
        for (size_t c = 0; c < width; c++)
            item->rows->pads[input][c] = (float)(sums[c] / (double)item->rows->padding);
    return error->status;
}

organ_status organ_merge_fill_pads(const organ_merge_item *item, organ_error *error)
{
    const organ_kernels *const kernels = item->task.kernels;
    const size_t count = organ_merge_reads(item);
    organ_strip_lanes sizes = {0};
    if (!item->rows->pads ||
        organ_strip_lanes_widen(&sizes, organ_merge_reads_of(item), count, &item->task.shape, kernels, 0, error))
        return error->status;
    organ_strip_lane lane = {.readers = calloc(count, sizeof *lane.readers), .item = SIZE_MAX};
    if (!lane.readers)
        return organ_fail_memory(error, item->task.name);
    organ_strip_lane_open(&lane, 0, organ_merge_reads_of(item), count, kernels, error);
    for (size_t k = 0; k < organ_merge_item_inputs(item) && !error->status; k++)
        fill_pad(item, lane.readers, k, sizes.scratch, error);
    organ_strip_lane_close(&lane, count);
    free(lane.readers);
    return error->status;
}
