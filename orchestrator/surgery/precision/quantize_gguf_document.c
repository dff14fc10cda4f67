/* SPDX-License-Identifier: MIT */
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/output/matrices.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_gguf_job.h"

#include <math.h>
#include <stdio.h>

typedef struct quantize_gguf_document_sums {
    uint64_t tensors, elements, before, after, unreached;
    organ_gguf_loss loss;
    double energy, gptq_loss, output_loss;
} quantize_gguf_document_sums;

static void quantize_gguf_document_add_part(quantize_gguf_document_sums *s, const organ_gguf_job *job,
                                            const organ_gguf_part *part)
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
    s->energy += part->energy;
    s->gptq_loss += part->gptq_loss;
    s->output_loss += part->output_loss;
}

/* Nine digits: what stands behind them depends on the order of a sum. A tensor of zeros has lost nothing. */
static json_t *error_json(const organ_gguf_job *job, double error_squares, double squares)
{
    return job->options->write.dry_run ? json_null()
                                       : json_real(organ_billionth(squares > 0 ? sqrt(error_squares / squares) : 0.0));
}

/* Over the tensors that have an entry of the imatrix. */
static json_t *weighted_json(const organ_gguf_job *job, const organ_gguf_loss *loss)
{
    return loss->weighted > 0 ? error_json(job, loss->error_weighted, loss->weighted) : json_null();
}

/* Over the tensors that go by the text; null where none does. */
static json_t *output_json(const organ_gguf_job *job, double energy, double gptq_loss, double loss)
{
    const bool along = job->along != NULL;
    return ORGAN_OBJECT(
        SET_IF(along, "gptq_output_error", energy > 0 ? error_json(job, gptq_loss, energy) : json_null()),
        SET_IF(along, "output_error", energy > 0 ? error_json(job, loss, energy) : json_null()));
}

static json_t *quantize_gguf_document_sums_json(const organ_gguf_job *job, const quantize_gguf_document_sums *s)
{
    json_t *const told =
        ORGAN_OBJECT(SET_COUNT("tensors", s->tensors), SET_COUNT("elements", s->elements),
                     SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                     SET_REAL("bits_per_weight", organ_millionth(8.0 * (double)s->after / (double)s->elements)),
                     SET("relative_error", error_json(job, s->loss.error_squares, s->loss.squares)),
                     SET_IF(job->imatrix, "weighted_error", weighted_json(job, &s->loss)),
                     SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)s->unreached)));
    return organ_json_joined(told, output_json(job, s->energy, s->gptq_loss, s->output_loss));
}

static json_t *quantize_gguf_document_role_json(const void *context, size_t role)
{
    const organ_gguf_job *const job = context;
    quantize_gguf_document_sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (organ_anatomy_row(&job->parts[k].weight.anatomy) == role)
            quantize_gguf_document_add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_TEXT("role", organ_anatomy_row_name((unsigned)role))),
                                         quantize_gguf_document_sums_json(job, &s))
                     : NULL;
}

static json_t *type_json(const void *context, size_t dtype)
{
    const organ_gguf_job *const job = context;
    quantize_gguf_document_sums s = {0};
    for (size_t k = 0; k < job->part_count; k++)
        if (job->parts[k].dtype == (organ_dtype)dtype)
            quantize_gguf_document_add_part(&s, job, &job->parts[k]);
    return s.tensors ? organ_json_joined(ORGAN_OBJECT(SET_DTYPE("type", (organ_dtype)dtype)),
                                         quantize_gguf_document_sums_json(job, &s))
                     : NULL;
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
        snprintf(why + length, sizeof why - (size_t)length, "%sits rows of %llu values are no whole blocks of 256",
                 head ? ", but " : "", (unsigned long long)part->cols);
    return json_string(why);
}

static json_t *quantize_gguf_document_part_json(const void *context, size_t k)
{
    const organ_gguf_job *const job = context;
    const organ_gguf_part *const part = &job->parts[k];
    const organ_tensor *const tensor = part->weight.codes;
    const bool by_text = part->by_text && !job->options->write.dry_run;
    json_t *const told = ORGAN_OBJECT(
        SET_TEXT("tensor", tensor->name), SET_PLACE(&tensor->anatomy), SET_DTYPE("dtype", tensor->dtype),
        SET_DTYPE("stored_as", part->dtype), SET("why", why_json(job, part)), SET("shape", organ_shape_json(tensor)),
        SET_COUNT("bytes_before", tensor->bytes), SET_COUNT("bytes_after", job->pieces[part->piece].bytes),
        SET("relative_error", error_json(job, part->loss.error_squares, part->loss.squares)),
        SET_IF(job->imatrix, "weighted_error", part->entry ? weighted_json(job, &part->loss) : json_null()),
        SET_IF(job->imatrix, "imatrix_entry", part->entry ? json_string(part->entry) : json_null()),
        SET_IF(job->imatrix, "unreached_experts", json_integer((json_int_t)part->unreached)),
        SET_IF(by_text, "calibration_tokens", json_integer((json_int_t)part->tokens)),
        SET_IF(by_text, "block_diagonal", json_boolean(part->block_diagonal)),
        SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)));
    return organ_json_joined(told, output_json(job, part->energy, part->gptq_loss, part->output_loss));
}

static json_t *quantize_gguf_document_left_json(const void *context, size_t k)
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
    return ORGAN_OBJECT(SET_BYTES("name", organ_path_name(m->path)), SET_TEXT("format", m->format),
                        SET_COUNT("bytes", m->bytes), SET_TEXT("xxh3", job->digest),
                        SET_COUNT("entries", m->entry_count),
                        SET("datasets", organ_json_texts(m->dataset_count, (const char *const *)m->datasets)),
                        SET_INDEX("chunks", m->chunks), SET_INDEX("chunk_size", m->chunk_size));
}

static json_t *scale_text(const organ_gguf_job *job)
{
    const bool solved = job->along && !job->options->no_resolve;
    return json_sprintf(
        "%sf the scales that are tried for a block, those with which the sum of %s(value - what its code means)^2 is "
        "least%s.%s",
        job->along ? "At first, o" : "O", job->imatrix || job->along ? "weight x " : "",
        job->imatrix ? "; the weight of a column is the mean square of its input, by the imatrix"
        : job->along ? "; the weight of a column is the mean square of its input on the text, 1 for embeddings and head"
                     : "",
        solved ? " Then, but for embeddings and head, what makes the error of the outputs least with the codes as they "
                 "are, "
                 "within what blocks can store."
               : "");
}

static json_t *quantize_gguf_document_definitions_json(const organ_gguf_job *job)
{
    return ORGAN_OBJECT(
        SET("scale", scale_text(job)),
        SET("code", json_sprintf("The nearest to the value with the scales as they are stored.%s",
                                 job->along ? " But for embeddings and head, value is the weight with what it makes up "
                                              "for: of columns that are "
                                              "stored already, in order of falling mean square of the input."
                                            : "")),
        SET_TEXT(
            "stored_as",
            "The scheme's type. Rows that are no whole blocks of 256 become Q5_0 instead of Q4_K, Q5_1 instead of "
            "Q5_K, "
            "Q8_0 instead of Q6_K. Without --targets the output head (the embedding of tokens, where that is the head) "
            "becomes Q6_K, or Q8_0 where that is the scheme."),
        SET_TEXT("relative_error",
                 "The Frobenius norm of W - what the blocks mean over that of W, in FP32, sums in FP64; of several "
                 "tensors, over all their values together."),
        SET_IF(job->imatrix, "weighted_error",
               json_string("The same with each column times the root of its weight; over tensors with an entry.")),
        SET_IF(job->imatrix, "unreached_experts",
               json_string("Matrices of experts that no token of the imatrix's text reached: gate and up are weighed "
                           "by the inputs of the "
                           "layer's other experts, columns of down weigh alike.")),
        SET_IF(job->along, "output_error",
               json_string("The root of tr(E H E^T) / tr(W H W^T), E = W - what the blocks mean, H the damped second "
                           "moments of the inputs: "
                           "how far outputs are off on the calibration text, over the tensors that go by it. "
                           "gptq_output_error is that of "
                           "GPTQ alone.")),
        SET_TEXT("bits_per_weight", "8 x bytes after / elements, of the quantised tensors."));
}

json_t *organ_gguf_results(const organ_gguf_part *part)
{
    const organ_gguf_loss *const loss = &part->loss;
    json_t *const told = ORGAN_OBJECT(SET("squares", organ_exact_json(loss->squares)),
                                      SET("error_squares", organ_exact_json(loss->error_squares)),
                                      SET("weighted", organ_exact_json(loss->weighted)),
                                      SET("error_weighted", organ_exact_json(loss->error_weighted)));
    if (part->by_text)
        ORGAN_ADD(told, SET("energy", organ_exact_json(part->energy)),
                  SET("gptq_loss", organ_exact_json(part->gptq_loss)), SET("loss", organ_exact_json(part->output_loss)),
                  SET_COUNT("tokens", part->tokens), SET_FLAG("block_diagonal", part->block_diagonal),
                  SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)));
    return told;
}

bool organ_gguf_recall(void *context, size_t at, const json_t *results)
{
    organ_gguf_part *const part = &((organ_gguf_job *)context)->parts[at];
    const struct {
        const char *name;
        double *value;
        bool there;
    } known_sums[] = {{"squares", &part->loss.squares, true},     {"error_squares", &part->loss.error_squares, true},
                      {"weighted", &part->loss.weighted, true},   {"error_weighted", &part->loss.error_weighted, true},
                      {"energy", &part->energy, part->by_text},   {"gptq_loss", &part->gptq_loss, part->by_text},
                      {"loss", &part->output_loss, part->by_text}};
    bool known = true;
    for (size_t k = 0; k < sizeof known_sums / sizeof *known_sums; k++)
        known = known && (!known_sums[k].there ||
                          organ_exact_value(json_object_get(results, known_sums[k].name), known_sums[k].value));
    part->tokens = (uint64_t)json_integer_value(json_object_get(results, "tokens"));
    part->block_diagonal = json_is_true(json_object_get(results, "block_diagonal"));
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    return known;
}

json_t *organ_gguf_parameters(void *context)
{
    const organ_gguf_job *const job = context;
    const organ_quantize_options *const o = job->options;
    return ORGAN_OBJECT(SET_TEXT("scheme", job->scheme->name), SET_IF(job->along, "method", json_string(o->method)),
                        SET_IF(job->along, "resolve", json_boolean(!o->no_resolve)),
                        SET_IF(job->along, "samples", json_integer((json_int_t)o->calibration.samples)),
                        SET_IF(job->along, "context", json_integer((json_int_t)o->calibration.context)),
                        SET_BYTES_OF("targets", o->targets));
}

static const json_t *quantize_gguf_document_fallback_row(const void *context, size_t k, const organ_tensor **tensor)
{
    const organ_gguf_job *const job = context;
    *tensor = job->parts[k].weight.codes;
    return job->parts[k].fallback;
}

static json_t *quantize_gguf_document_calibration_json(const organ_gguf_job *job)
{
    size_t block_diagonal = 0;
    for (size_t k = 0; k < job->part_count; k++)
        block_diagonal += job->parts[k].block_diagonal;
    json_t *const told = organ_along_json(job->along, "inputs behind quantised layers");
    json_t *const fallback = organ_along_fallback_json(quantize_gguf_document_fallback_row, job, job->part_count);
    ORGAN_ADD(told, SET_COUNT("block_diagonal_tensors", block_diagonal), SET_IF(fallback, "fallback", fallback));
    return told;
}

/* Whether second moments are whole is decided by --memory. */
json_t *organ_gguf_identity(void *context)
{
    const organ_gguf_job *const job = context;
    return ORGAN_OBJECT(SET("imatrix", imatrix_json(job)),
                        SET_IF(job->along, "calibration", organ_along_json(job->along, "")),
                        SET_IF(job->along, "memory", json_integer((json_int_t)job->engine->memory)),
                        SET_IF(job->along, "scratch", json_boolean(job->options->calibration.scratch != NULL)));
}

json_t *organ_gguf_document(void *context, const organ_writing *made)
{
    const organ_gguf_job *const job = context;
    quantize_gguf_document_sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        quantize_gguf_document_add_part(&all, job, &job->parts[k]);
    json_t *const totals = quantize_gguf_document_sums_json(job, &all);
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_resharding_total(organ_write_files(made))));
    return ORGAN_OBJECT(
        SET("imatrix", imatrix_json(job)), SET("totals", totals), SET_COUNT("clipped_blocks", 0),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
        SET("matrices", organ_matrices_json(job->model, job->targets.chosen)),
        SET("roles", organ_anatomy_rows_json(quantize_gguf_document_role_json, job)),
        SET("types", organ_json_rows(ORGAN_DTYPE_COUNT, type_json, job)),
        SET("left_alone", organ_json_rows(job->left_count, quantize_gguf_document_left_json, job->left)),
        SET("files", organ_resharding_files_json(organ_write_files(made))),
        SET("tensors", organ_json_rows(job->part_count, quantize_gguf_document_part_json, job)),
        SET("definitions", quantize_gguf_document_definitions_json(job)),
        SET_IF(job->along, "calibration", quantize_gguf_document_calibration_json(job)));
}
