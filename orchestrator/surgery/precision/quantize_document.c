/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <math.h>

typedef struct sums {
    uint64_t tensors, elements, before, after;
    double squares, error_squares;
} sums;

static uint64_t bytes_after(const organ_quantize_job *job, const organ_quantize_part *part)
{
    return job->pieces[part->codes].bytes + job->pieces[part->scale].bytes + (job->scheme->int4 ? job->pieces[part->shape].bytes : 0);
}

static void add_part(sums *s, const organ_quantize_job *job, const organ_quantize_part *part)
{
    s->tensors++;
    s->elements += part->weight->elements;
    s->before += part->weight->codes->bytes;
    s->after += bytes_after(job, part);
    s->squares += part->squares;
    s->error_squares += part->error_squares;
}

/* Nine digits: what stands behind them depends on the order of a sum. A tensor of zeros has lost nothing. */
static json_t *error_json(const organ_quantize_job *job, double error_squares, double squares)
{
    if (job->options->dry_run)
        return json_null();
    const double ratio = squares > 0 ? sqrt(error_squares / squares) : 0.0;
    return json_real(organ_billionth(ratio));
}

static json_t *sums_json(const organ_quantize_job *job, const sums *s)
{
    return ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements), SET_COUNT("bytes_before", s->before),
                        SET_COUNT("bytes_after", s->after), SET("relative_error", error_json(job, s->error_squares, s->squares)));
}

static json_t *role_json(const void *context, size_t role)
{
    const organ_quantize_job *const job = context;
    sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (organ_anatomy_row(&job->parts[k].weight->anatomy) == role)
            add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))), sums_json(job, &s)) : NULL;
}

static json_t *part_json(const void *context, size_t k)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->weight->codes;
    return ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy), SET_DTYPE("dtype", tensor->dtype),
                        SET("shape", organ_shape_json(tensor)), SET_COUNT("bytes_before", tensor->bytes),
                        SET_COUNT("bytes_after", bytes_after(job, part)),
                        SET("relative_error", error_json(job, part->error_squares, part->squares)));
}

static json_t *left_json(const void *context, size_t k)
{
    const organ_quantize_left *const left = (const organ_quantize_left *)context + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", left->tensor->name), SET_DTYPE("dtype", left->tensor->dtype),
                        SET("shape", organ_shape_json(left->tensor)), SET_TEXT("why", left->why));
}

static json_t *definitions_json(const organ_quantize_job *job)
{
    static const char *const scales[] = {
        [ORGAN_SCALE_BLOCK] =
            "The greatest magnitude of a block of 128 x 128 values (fewer at the edges) / 448, in FP32; 1 where all are zero.",
        [ORGAN_SCALE_TENSOR] = "The greatest magnitude of the tensor / 448, rounded to BF16; 2^-7 where all are zero.",
        [ORGAN_SCALE_CHANNEL] = "The greatest magnitude of a row / 448, rounded to BF16; 2^-7 where all are zero.",
        [ORGAN_SCALE_GROUP] = "The greatest magnitude of a group of columns of a row / 7.5, rounded to BF16; 2^-7 where all are zero."};
    return ORGAN_OBJECT(
        SET_TEXT("scale", scales[job->scheme->scale_of]),
        SET_TEXT("code", job->scheme->int4
                             ? "The whole number from -8 to 7 nearest to value / scale in FP32, ties to even, stored with 8 added."
                             : "The E4M3 code nearest to value / scale in FP32, ties to even, at most 448 in magnitude."),
        SET_TEXT("relative_error", "The Frobenius norm of W - code x scale over that of W, W being the values before, all in FP32, sums in "
                                   "FP64; of several tensors, over all their values together."));
}

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    return ORGAN_OBJECT(SET("squares", organ_exact_json(part->squares)), SET("error_squares", organ_exact_json(part->error_squares)));
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    return organ_exact_value(json_object_get(results, "squares"), &part->squares) &&
           organ_exact_value(json_object_get(results, "error_squares"), &part->error_squares);
}

json_t *organ_quantize_parameters(void *context)
{
    const organ_quantize_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("scheme", job->scheme->name), SET_BYTES_OF("targets", job->options->targets),
                        SET_COUNT("max_shard_bytes", job->options->most));
}

json_t *organ_quantize_document(void *context, const organ_unit_output *made)
{
    const organ_quantize_job *const job = context;
    sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        add_part(&all, job, &job->parts[k]);
    json_t *const totals = sums_json(job, &all);
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_resharding_total(made->plan)));
    return ORGAN_OBJECT(
        SET("totals", totals), SET_COUNT("clipped_blocks", job->partial),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)), SET("roles", organ_anatomy_rows_json(role_json, job)),
        SET("left_alone", organ_json_rows(job->left_count, left_json, job->left)), SET("files", organ_resharding_files_json(made->plan)),
        SET("tensors", organ_json_rows(job->part_count, part_json, job)), SET("definitions", definitions_json(job)));
}
