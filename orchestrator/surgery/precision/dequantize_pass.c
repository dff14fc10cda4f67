/* SPDX-License-Identifier: MIT
 * Decodes packed weights in strips of rows on all workers, and writes their values into the output. A part is a weight
 * that is decoded. */
#include "orchestrator/stream/weight_pass.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/precision/dequantize_job.h"

#include <stdlib.h>
#include <string.h>

/* Strips have a multiple of this many rows. 32 rows of 64 2-byte numbers are a page of 4096 bytes, so strips of most
 * matrices are whole pages of the file. */
#define ROWS 32

typedef struct not_finite {
    uint64_t infinite, nan;
} not_finite;

static size_t dequantize_pass_width_of(organ_dtype dtype) { return dtype == ORGAN_F32 ? 4 : 2; }

static void count_not_finite(organ_dtype dtype, const unsigned char *values, size_t bytes, not_finite *found)
{
    const uint32_t exponent = (uint32_t)organ_infinity_bits(dtype), size = (uint32_t)dequantize_pass_width_of(dtype);
    const uint32_t magnitude = size == 4 ? 0x7FFFFFFFu : 0x7FFFu;
    for (size_t k = 0; k < bytes; k += size) {
        uint32_t value = 0; /* little endian, as the files are */
        memcpy(&value, values + k, size);
        found->infinite += (value & magnitude) == exponent;
        found->nan += (value & magnitude) > exponent;
    }
}

static organ_status convert_strip(void *context, const organ_weight_strip *strip, void *scratch, void *result,
                                  organ_error *error)
{
    organ_dequantize_job *const job = context;
    const size_t row = strip->cols * dequantize_pass_width_of(job->as), bytes = strip->rows * row;
    if (organ_any_not_finite(job->as, strip->values, bytes))
        count_not_finite(job->as, strip->values, bytes, result);
    return organ_write_put(job->run, job->todo[strip->item]->piece, strip->values, bytes, strip->first * row, scratch,
                           error);
}

/* `rows` counts over all matrices of the part. */
static uint64_t dequantize_pass_share(const organ_dequantize_part *part, uint64_t rows)
{
    const organ_matrices m = organ_weight_matrices(part->weight);
    const double all = (double)m.count * (double)m.rows;
    return all > 0 ? (uint64_t)((double)part->bytes_before * ((double)rows / all)) : 0;
}

static organ_status dequantize_pass_retire_strip(void *context, const organ_weight_strip *strip, const void *result,
                                                 organ_error *error)
{
    organ_dequantize_job *const job = context;
    organ_dequantize_part *const part = job->todo[strip->item];
    const not_finite *const found = result;
    part->infinite += found->infinite;
    part->nan += found->nan;
    if (strip->last && organ_write_finish(job->run, part->piece, organ_dequantize_results(part), error))
        return error->status;
    organ_progress_advance(job->progress,
                           dequantize_pass_share(part, strip->first + strip->rows) -
                               dequantize_pass_share(part, strip->first),
                           strip->last ? part->weight->name : NULL, NULL);
    return ORGAN_OK;
}

static organ_status begin_part(void *context, size_t item, const char *note, organ_error *error)
{
    organ_dequantize_job *const job = context;
    (void)error;
    strncpy(job->todo[item]->note, note, sizeof job->todo[item]->note - 1);
    return ORGAN_OK;
}

organ_status organ_dequantize_pass(organ_dequantize_job *job, organ_error *error)
{
    organ_weight_item *const items = calloc(job->part_count + 1, sizeof *items);
    organ_dequantize_part **const todo = job->todo = calloc(job->part_count + 1, sizeof *job->todo);
    size_t count = 0;
    if (!items || !todo)
        organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->part_count && !error->status; k++)
        if (!job->units[job->parts[k].piece].done) {
            todo[count] = &job->parts[k];
            items[count++].weight = job->parts[k].weight;
        }
    const organ_weight_pass pass = {.model = job->model,
                                    .items = items,
                                    .item_count = count,
                                    .as = job->as,
                                    .row_multiple = ROWS,
                                    .overflow = organ_write_overflow(job->run),
                                    .scratch_bytes = ORGAN_PUT_SCRATCH,
                                    .result_bytes = sizeof(not_finite),
                                    .context = job,
                                    .begin = begin_part,
                                    .work = convert_strip,
                                    .retire = dequantize_pass_retire_strip};
    if (count && !error->status)
        organ_weight_pass_run(&pass, job->engine, error);
    job->todo = NULL;
    free(todo);
    free(items);
    return error->status;
}
