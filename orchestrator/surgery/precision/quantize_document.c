/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/matrices.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <math.h>

typedef struct quantize_document_sums {
    uint64_t tensors, elements, before, after, masked, zeros;
    double squares, error_squares, energy, gptq_loss, loss;
} quantize_document_sums;

static uint64_t bytes_after(const organ_quantize_job *job, const organ_quantize_part *part)
{
    return job->pieces[part->codes].bytes + job->pieces[part->scale].bytes +
           (job->scheme->packed ? job->pieces[part->shape].bytes : 0);
}

static void quantize_document_add_part(quantize_document_sums *s, const organ_quantize_job *job,
                                       const organ_quantize_part *part)
{
    s->tensors++;
    s->elements += part->weight->elements;
    s->before += part->weight->codes->bytes;
    s->after += bytes_after(job, part);
    s->squares += part->squares;
    s->error_squares += part->error_squares;
    s->energy += part->energy;
    s->gptq_loss += part->gptq_loss;
    s->loss += part->loss;
    s->masked += part->masked;
    s->zeros += part->zeros;
}

/* Nine digits: what stands behind them depends on the order of a sum. A tensor of zeros has lost nothing. */
static json_t *error_json(const organ_quantize_job *job, double error_squares, double squares)
{
    if (job->options->write.dry_run)
        return json_null();
    const double ratio = squares > 0 ? sqrt(error_squares / squares) : 0.0;
    return json_real(organ_billionth(ratio));
}

/* What goes by a calibration text; nothing without one. */
static json_t *output_json(const organ_quantize_job *job, double energy, double gptq_loss, double loss)
{
    const bool along = job->along != NULL;
    return ORGAN_OBJECT(SET_IF(along, "gptq_output_error", error_json(job, gptq_loss, energy)),
                        SET_IF(along, "output_error", error_json(job, loss, energy)));
}

/* What a pruning on the way has left out; nothing without one. */
static json_t *pruned_json(const organ_quantize_job *job, uint64_t masked, uint64_t zeros, uint64_t elements)
{
    const bool done = job->pruning && !job->options->write.dry_run;
    return ORGAN_OBJECT(SET_IF(done, "sparsity", json_real(100 * (double)masked / (double)elements)),
                        SET_IF(done, "masked", json_integer((json_int_t)masked)),
                        SET_IF(done, "zeros", json_integer((json_int_t)zeros)));
}

static json_t *quantize_document_sums_json(const organ_quantize_job *job, const quantize_document_sums *s)
{
    json_t *const told = ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                                      SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                                      SET("relative_error", error_json(job, s->error_squares, s->squares)));
    return organ_json_joined(organ_json_joined(told, pruned_json(job, s->masked, s->zeros, s->elements)),
                             output_json(job, s->energy, s->gptq_loss, s->loss));
}

static json_t *quantize_document_role_json(const void *context, size_t role)
{
    const organ_quantize_job *const job = context;
    quantize_document_sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (organ_anatomy_row(&job->parts[k].weight->anatomy) == role)
            quantize_document_add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))),
                                         quantize_document_sums_json(job, &s))
                     : NULL;
}

static json_t *quantize_document_part_json(const void *context, size_t k)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->weight->codes;
    json_t *const told =
        ORGAN_OBJECT(SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy), SET_DTYPE("dtype", tensor->dtype),
                     SET("shape", organ_shape_json(tensor)), SET_COUNT("bytes_before", tensor->bytes),
                     SET_COUNT("bytes_after", bytes_after(job, part)),
                     SET_IF(organ_quantize_several(job), "scheme", json_string(part->scheme->name)),
                     SET("relative_error", error_json(job, part->error_squares, part->squares)),
                     SET_IF(job->along, "calibration_tokens", json_integer((json_int_t)part->tokens)),
                     SET_IF(job->along, "block_diagonal", json_boolean(part->block_diagonal)),
                     SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)));
    return organ_json_joined(
        organ_json_joined(told, pruned_json(job, part->masked, part->zeros, part->weight->elements)),
        output_json(job, part->energy, part->gptq_loss, part->loss));
}

static json_t *quantize_document_left_json(const void *context, size_t k)
{
    const organ_quantize_left *const left = (const organ_quantize_left *)context + k;
    return ORGAN_OBJECT(SET_TEXT("tensor", left->tensor->name), SET_DTYPE("dtype", left->tensor->dtype),
                        SET("shape", organ_shape_json(left->tensor)), SET_TEXT("why", left->why));
}

static json_t *scale_text(const organ_quantize_job *job)
{
    static const char *const of[] = {[ORGAN_SCALE_BLOCK] = "a block of 128 x 128 values (fewer at the edges)",
                                     [ORGAN_SCALE_TENSOR] = "the tensor",
                                     [ORGAN_SCALE_CHANNEL] = "a row",
                                     [ORGAN_SCALE_GROUP] = "a group of columns of a row"};
    static const char *const then =
        " Then what makes the error of the outputs least with the codes as they are, rounded likewise.";
    const organ_grid *const grid = &job->scheme->grid;
    const bool block = grid->scale_of == ORGAN_SCALE_BLOCK, solved = job->along && !job->options->no_resolve;
    const bool of_rows = grid->scale_of == ORGAN_SCALE_CHANNEL || grid->scale_of == ORGAN_SCALE_GROUP;
    if (job->widths)
        return json_sprintf("%she greatest magnitude of %s / half of the steps between the least and the greatest "
                            "code, rounded to BF16; "
                            "2^-7 where all are zero.%s",
                            solved ? "At first t" : "T", of[grid->scale_of], solved ? then : "");
    return json_sprintf("%she greatest magnitude of %s / %g, %s where all are zero.%s",
                        solved && of_rows ? "At first t" : "T", of[grid->scale_of], (double)organ_grid_most(grid),
                        block ? "in FP32; 1" : "rounded to BF16; 2^-7", solved && of_rows ? then : "");
}

static json_t *code_text(const organ_quantize_job *job)
{
    const unsigned bits = job->scheme->grid.bits;
    const int half = bits ? 1 << (bits - 1) : 0;
    const char *const rule =
        job->along ? " Value is the weight with what it makes up for: of columns that are stored already, "
                     "in order of falling mean square of the input."
                   : "";
    if (job->widths)
        return json_sprintf("The whole number from -2^(bits - 1) to 2^(bits - 1) - 1 nearest to value / scale in FP32, "
                            "ties to even, stored "
                            "with 2^(bits - 1) added; bits as the budget gives them to the tensor.%s",
                            rule);
    if (!bits)
        return json_sprintf("The E4M3 code nearest to value / scale in FP32, ties to even, at most 448 in magnitude.%s",
                            rule);
    if (!job->scheme->packed)
        return json_sprintf("The whole number from %d to %d nearest to value / scale in FP32, ties to even.%s", -half,
                            half - 1, rule);
    return json_sprintf(
        "The whole number from %d to %d nearest to value / scale in FP32, ties to even, stored with %d added.%s", -half,
        half - 1, half, rule);
}

static json_t *quantize_document_definitions_json(const organ_quantize_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", scale_text(job)), SET("code", code_text(job)),
        SET_TEXT(
            "relative_error",
            "The Frobenius norm of W - code x scale over that of W, W being the values before, all in FP32, sums in "
            "FP64; of several tensors, over all their values together."),
        SET_IF(job->along, "output_error",
               json_string("The root of tr(E H E^T) / tr(W H W^T), E = W - code x scale, H the damped second moments "
                           "of the inputs: how far "
                           "outputs are off on the calibration text. gptq_output_error is that of GPTQ alone.")),
        SET_IF(
            job->pruning, "sparsity",
            json_string(
                "Percent of weights that the pruning left out (masked); zeros are the codes that mean 0, these among "
                "them. "
                "relative_error is of the weights before the pruning, the errors of outputs of those that it left.")));
}

json_t *organ_quantize_parameters(void *context)
{
    const organ_quantize_job *const job = context;
    const organ_quantize_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("scheme", job->scheme->name), SET_IF(job->along, "method", json_string(o->method)),
                        SET_IF(job->along, "resolve", json_boolean(!o->no_resolve)),
                        SET_IF(job->along, "samples", json_integer((json_int_t)o->calibration.samples)),
                        SET_IF(job->along, "context", json_integer((json_int_t)o->calibration.context)),
                        SET_BYTES_OF("targets", o->targets),
                        SET_IF(job->pruning, "pruning", job->pruning->parameters(job->pruning->context)),
                        SET_IF(job->widths, "allocation", organ_quantize_widths_parameters(o)),
                        SET_COUNT("max_shard_bytes", o->write.max_shard_size));
}

static const json_t *quantize_document_fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_quantize_job *const job = context;
    *tensor = job->parts[k].weight->codes;
    return job->parts[k].fallback;
}

static json_t *quantize_document_calibration_json(const organ_quantize_job *job)
{
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->part_count; k++)
        block_diagonal += job->parts[k].block_diagonal;
    json_t *const told = organ_along_json(job->along, !job->pruning ? "inputs behind quantised layers"
                                                      : job->pruning->streams == ORGAN_ALONG_BOTH
                                                          ? "inputs behind pruned and quantised layers and in the donor"
                                                          : "inputs behind pruned and quantised layers");
    json_t *const fallback = organ_along_fallback_json(quantize_document_fallback_row, job, job->part_count);
    ORGAN_ADD(told, SET_COUNT("block_diagonal_tensors", block_diagonal), SET_IF(fallback, "fallback", fallback));
    return told;
}

/* Whether second moments are whole is decided by --memory, and by whether the hidden states are in it. */
json_t *organ_quantize_identity(void *context)
{
    const organ_quantize_job *const job = context;
    return ORGAN_OBJECT(SET_IF(job->along, "calibration", organ_along_json(job->along, "")),
                        SET_IF(job->along, "memory", json_integer((json_int_t)job->engine->memory)),
                        SET_IF(job->along, "scratch", json_boolean(job->options->calibration.scratch != NULL)));
}

json_t *organ_quantize_document(void *context, const organ_writing *made)
{
    const organ_quantize_job *const job = context;
    const bool divides = job->pruning && job->pruning->allocation;
    quantize_document_sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        quantize_document_add_part(&all, job, &job->parts[k]);
    json_t *const totals = quantize_document_sums_json(job, &all);
    ORGAN_ADD(totals, SET_IF(job->regrouped, "regrouped", json_integer((json_int_t)job->regrouped)));
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_resharding_total(organ_write_files(made))));
    return ORGAN_OBJECT(SET("totals", totals), SET_COUNT("clipped_blocks", job->partial),
                        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
                        SET("matrices", organ_matrices_json(job->model, job->targets.chosen)),
                        SET("roles", organ_anatomy_rows_json(quantize_document_role_json, job)),
                        SET("left_alone", organ_json_rows(job->left_count, quantize_document_left_json, job->left)),
                        SET("files", organ_resharding_files_json(organ_write_files(made))),
                        SET("tensors", organ_json_rows(job->part_count, quantize_document_part_json, job)),
                        SET("definitions", quantize_document_definitions_json(job)),
                        SET_IF(job->along, "calibration", quantize_document_calibration_json(job)),
                        SET_IF(job->widths, "allocation", organ_quantize_widths_json(job->widths)),
                        SET_IF(divides, "sparsity_allocation", job->pruning->allocation(job->pruning->context)));
}
