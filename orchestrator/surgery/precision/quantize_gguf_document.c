/* SPDX-License-Identifier: MIT */
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_gguf_job.h"

#include <math.h>
#include <stdio.h>

typedef struct sums {
    uint64_t tensors, elements, before, after, unreached;
    organ_gguf_loss loss;
} sums;

static void add_part(sums *s, const organ_gguf_job *job, const organ_gguf_part *part)
{
    s->tensors++;
    s->elements += part->weight.elements;
    s->before += part->weight.codes->bytes;
    s->after += job->pieces[part->piece].bytes;
    s->unreached += part->unreached;
    s->loss.squares += part->loss.squares;
    s->loss.error_squares += part->loss.error_squares;
    s->loss.weighted += part->loss.weighted;
    s->loss.error_weighted += part->loss.error_weighted;
}

/* Nine digits: what stands behind them depends on the order of a sum. A tensor of zeros has lost nothing. */
static json_t *error_json(const organ_gguf_job *job, double error_squares, double squares)
{
    return job->options->dry_run ? json_null() : json_real(organ_billionth(squares > 0 ? sqrt(error_squares / squares) : 0.0));
}

/* Over the tensors that have an entry of the imatrix. */
static json_t *weighted_json(const organ_gguf_job *job, const organ_gguf_loss *loss)
{
    return loss->weighted > 0 ? error_json(job, loss->error_weighted, loss->weighted) : json_null();
}

static json_t *sums_json(const organ_gguf_job *job, const sums *s)
{
    return ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements), SET_COUNT("bytes_before", s->before),
                        SET_COUNT("bytes_after", s->after),
                        SET_REAL("bits_per_weight", organ_millionth(8.0 * (double)s->after / (double)s->elements)),
                        SET("relative_error", error_json(job, s->loss.error_squares, s->loss.squares)),
                        SET_IF(job->imatrix, "weighted_error", weighted_json(job, &s->loss)),
                        SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)s->unreached)));
}

static json_t *role_json(const void *context, size_t role)
{
    const organ_gguf_job *const job = context;
    sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (organ_anatomy_row(&job->parts[k].weight.anatomy) == role)
            add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))), sums_json(job, &s)) : NULL;
}

static json_t *type_json(const void *context, size_t dtype)
{
    const organ_gguf_job *const job = context;
    sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (job->parts[k].dtype == (organ_dtype)dtype)
            add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_DTYPE("type", (organ_dtype)dtype)), sums_json(job, &s)) : NULL;
}

/* Why a tensor has another type than the scheme's. */
static json_t *why_json(const organ_gguf_job *job, const organ_gguf_part *part)
{
    const bool head = part->is_head && job->scheme->dtype != ORGAN_Q8_0 && job->scheme->dtype != ORGAN_Q6_K;
    char why[120];
    if (!part->falls_back && !head)
        return json_null();
    const int length = snprintf(why, sizeof why, "%s", head ? "the output head gets Q6_K" : "");
    if (part->falls_back)
        snprintf(why + length, sizeof why - (size_t)length, "%sits rows of %llu values are no whole blocks of 256", head ? ", but " : "",
                 (unsigned long long)part->cols);
    return json_string(why);
}

static json_t *part_json(const void *context, size_t k)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->weight.codes;
    return ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy), SET_DTYPE("dtype", tensor->dtype),
                        SET_DTYPE("stored_as", part->dtype), SET("why", why_json(job, part)), SET("shape", organ_shape_json(tensor)),
                        SET_COUNT("bytes_before", tensor->bytes), SET_COUNT("bytes_after", job->pieces[part->piece].bytes),
                        SET("relative_error", error_json(job, part->loss.error_squares, part->loss.squares)),
                        SET_IF(job->imatrix, "weighted_error", part->entry ? weighted_json(job, &part->loss) : json_null()),
                        SET_IF(job->imatrix, "imatrix_entry", part->entry ? json_string(part->entry) : json_null()),
                        SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)part->unreached)));
}

static json_t *left_json(const void *context, size_t k)
{
    const organ_gguf_left *const left = (const organ_gguf_left *)context + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", left->tensor->name), SET_DTYPE("dtype", left->tensor->dtype),
                        SET("shape", organ_shape_json(left->tensor)), SET_TEXT("why", left->why));
}

static json_t *imatrix_json(const organ_gguf_job *job)
{
    const organ_imatrix *const m = job->imatrix;
    if (!m)
        return json_null();
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(m->path)), SET_TEXT("format", m->format), SET_COUNT("bytes", m->bytes),
                        SET_TEXT("xxh3", job->digest), SET_COUNT("entries", m->entry_count),
                        SET("datasets", organ_json_texts(m->dataset_count, (const char *const *)m->datasets)),
                        SET_INDEX("chunks", m->chunks), SET_INDEX("chunk_size", m->chunk_size));
}

static json_t *definitions_json(const organ_gguf_job *job)
{
    return ORGAN_OBJECT(
        SET_TEXT("scale", job->imatrix ? "Of the scales that are tried for a block, those with which the sum of weight x (value - what its "
                                         "code means)^2 is least; the weight of a column is the mean square of its input, by the imatrix."
                                       : "Of the scales that are tried for a block, those with which the sum of (value - what its code "
                                         "means)^2 is least."),
        SET_TEXT("code", "The nearest to the value with the scales as they are stored."),
        SET_TEXT("stored_as", "The scheme's type. Rows that are no whole blocks of 256 become Q5_0 instead of Q4_K, Q5_1 instead of Q5_K, "
                              "Q8_0 instead of Q6_K. Without --targets the output head (the embedding of tokens, where that is the head) "
                              "becomes Q6_K, or Q8_0 where that is the scheme."),
        SET_TEXT("relative_error", "The Frobenius norm of W - what the blocks mean over that of W, in FP32, sums in FP64; of several "
                                   "tensors, over all their values together."),
        SET_IF(job->imatrix, "weighted_error",
               json_string("The same with each column times the root of its weight; over tensors with an entry.")),
        SET_IF(job->imatrix, "unreached_experts",
               json_string("Matrices of experts that no token of the imatrix's text reached: their columns weigh alike.")),
        SET_TEXT("bits_per_weight", "8 x bytes after / elements, of the quantised tensors."));
}

json_t *organ_gguf_results(const organ_gguf_part *part)
{
    const organ_gguf_loss *const loss = &part->loss;
    return ORGAN_OBJECT(SET("squares", organ_exact_json(loss->squares)), SET("error_squares", organ_exact_json(loss->error_squares)),
                        SET("weighted", organ_exact_json(loss->weighted)), SET("error_weighted", organ_exact_json(loss->error_weighted)));
}

bool organ_gguf_recall(void *context, size_t at, const json_t *results)
{
    organ_gguf_loss *const loss = &((organ_gguf_job *)context)->parts[at].loss;
    return organ_exact_value(json_object_get(results, "squares"), &loss->squares) &&
           organ_exact_value(json_object_get(results, "error_squares"), &loss->error_squares) &&
           organ_exact_value(json_object_get(results, "weighted"), &loss->weighted) &&
           organ_exact_value(json_object_get(results, "error_weighted"), &loss->error_weighted);
}

json_t *organ_gguf_parameters(void *context)
{
    const organ_gguf_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("scheme", job->scheme->name), SET_BYTES_OF("targets", job->options->targets));
}

json_t *organ_gguf_identity(void *context) { return ORGAN_OBJECT(SET("imatrix", imatrix_json(context))); }

json_t *organ_gguf_document(void *context, const organ_unit_output *made)
{
    const organ_gguf_job *const job = context;
    sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        add_part(&all, job, &job->parts[k]);
    json_t *const totals = sums_json(job, &all);
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_resharding_total(made->plan)));
    return ORGAN_OBJECT(
        SET("imatrix", imatrix_json(job)), SET("totals", totals), SET_COUNT("clipped_blocks", 0),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)), SET("roles", organ_anatomy_rows_json(role_json, job)),
        SET("types", organ_json_rows(ORGAN_DTYPE_COUNT, type_json, job)),
        SET("left_alone", organ_json_rows(job->left_count, left_json, job->left)), SET("files", organ_resharding_files_json(made->plan)),
        SET("tensors", organ_json_rows(job->part_count, part_json, job)), SET("definitions", definitions_json(job)));
}
