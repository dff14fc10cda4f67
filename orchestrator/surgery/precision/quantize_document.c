/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/document.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_job.h"
#include "orchestrator/version.h"

#include <math.h>

typedef struct sums {
    uint64_t tensors, elements, before, after;
    double squares, error_squares;
} sums;

static uint64_t bytes_after(const organ_quantize_job *job, const organ_quantize_part *part)
{
    return job->pieces[part->codes].bytes + job->pieces[part->scale].bytes + (job->scheme->int4 ? job->pieces[part->shape].bytes : 0);
}

static void add(sums *s, const organ_quantize_job *job, const organ_quantize_part *part)
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
    return json_real(round(ratio * 1e9) / 1e9);
}

static json_t *sums_json(const organ_quantize_job *job, const sums *s)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:o}", "tensors", (json_int_t)s->tensors, "elements", (json_int_t)s->elements, "bytes_before",
                     (json_int_t)s->before, "bytes_after", (json_int_t)s->after, "relative_error",
                     error_json(job, s->error_squares, s->squares));
}

static json_t *roles_json(const organ_quantize_job *job)
{
    json_t *const rows = json_array();
    for (unsigned role = 0; role < ORGAN_ANATOMY_ROWS; role++) {
        sums s = {0};
        for (size_t k = 0; k < job->part_count; k++)
            if (organ_anatomy_row(&job->parts[k].weight->anatomy) == role)
                add(&s, job, &job->parts[k]);
        if (s.tensors == 0)
            continue;
        json_t *const row = json_pack("{s:s}", "role", organ_anatomy_row_name(role)), *const rest = sums_json(job, &s);
        json_object_update(row, rest);
        json_decref(rest);
        json_array_append_new(rows, row);
    }
    return rows;
}

static json_t *part_json(const organ_quantize_job *job, const organ_quantize_part *part)
{
    const organ_tensor *const tensor = part->weight->codes;
    return json_pack("{s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:o}", "tensor", tensor->name, "role", organ_anatomy_role_name(&tensor->anatomy),
                     "layer", tensor->anatomy.layer < 0 ? json_null() : json_integer(tensor->anatomy.layer), "dtype",
                     organ_dtype_describe(tensor->dtype)->name, "shape", organ_shape_json(tensor), "bytes_before",
                     (json_int_t)tensor->bytes, "bytes_after", (json_int_t)bytes_after(job, part), "relative_error",
                     error_json(job, part->error_squares, part->squares));
}

static json_t *left_json(const organ_quantize_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->left_count; k++)
        json_array_append_new(rows, json_pack("{s:s, s:s, s:o, s:s}", "tensor", job->left[k].tensor->name, "dtype",
                                              organ_dtype_describe(job->left[k].tensor->dtype)->name, "shape",
                                              organ_shape_json(job->left[k].tensor), "why", job->left[k].why));
    return rows;
}

static json_t *definitions_json(const organ_quantize_job *job)
{
    static const char *const scales[] = {
        [ORGAN_SCALE_BLOCK] =
            "The greatest magnitude of a block of 128 x 128 values (fewer at the edges) / 448, in FP32; 1 where all are zero.",
        [ORGAN_SCALE_TENSOR] = "The greatest magnitude of the tensor / 448, rounded to BF16; 2^-7 where all are zero.",
        [ORGAN_SCALE_CHANNEL] = "The greatest magnitude of a row / 448, rounded to BF16; 2^-7 where all are zero.",
        [ORGAN_SCALE_GROUP] = "The greatest magnitude of a group of columns of a row / 7.5, rounded to BF16; 2^-7 where all are zero."};
    return json_pack("{s:s, s:s, s:s}", "scale", scales[job->scheme->scale_of], "code",
                     job->scheme->int4
                         ? "The whole number from -8 to 7 nearest to value / scale in FP32, ties to even, stored with 8 added."
                         : "The E4M3 code nearest to value / scale in FP32, ties to even, at most 448 in magnitude.",
                     "relative_error",
                     "The Frobenius norm of W - code x scale over that of W, W being the values before, all in FP32, sums in FP64; of "
                     "several tensors, over all their values together.");
}

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    return json_pack("{s:o, s:o}", "squares", organ_exact_json(part->squares), "error_squares", organ_exact_json(part->error_squares));
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    return organ_exact_value(json_object_get(results, "squares"), &part->squares) &&
           organ_exact_value(json_object_get(results, "error_squares"), &part->error_squares);
}

json_t *organ_quantize_parameters(const organ_quantize_job *job)
{
    return json_pack("{s:s, s:o, s:I}", "scheme", job->scheme->name, "targets",
                     job->options->targets ? organ_document_string(job->options->targets) : json_null(), "max_shard_bytes",
                     (json_int_t)job->options->most);
}

json_t *organ_quantize_document(void *context, const organ_output *output, const organ_resharding *plan)
{
    const organ_quantize_job *const job = context;
    sums all = {0};
    json_t *const tensors = json_array();
    for (size_t k = 0; k < job->part_count; k++) {
        add(&all, job, &job->parts[k]);
        json_array_append_new(tensors, part_json(job, &job->parts[k]));
    }
    json_t *const totals = sums_json(job, &all);
    if (totals)
        json_object_set_new(totals, "total_size", json_integer((json_int_t)organ_resharding_total(plan)));
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "schema", "organ.quantize/1",
                     "definition", "quantize/1", "organ", ORGAN_VERSION, "dry_run", (int)job->options->dry_run, "model",
                     organ_model_json(job->model), "parameters", organ_quantize_parameters(job), "totals", totals, "clipped_blocks",
                     (json_int_t)job->partial, "plain", organ_pieces_same_json(job->pieces, job->piece_count), "roles", roles_json(job),
                     "left_alone", left_json(job), "files", organ_resharding_files_json(plan), "tensors", tensors, "definitions",
                     definitions_json(job), "run",
                     organ_output_run_on(output, organ_resharding_bytes(plan), job->options->model, job->engine));
}
