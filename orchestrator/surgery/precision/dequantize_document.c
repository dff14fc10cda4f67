/* SPDX-License-Identifier: MIT
 * Makes the report of organ dequantize, and the journal lines of converted weights. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/inputs/inputs.h"
#include "orchestrator/surgery/facts/facts.h"
#include "orchestrator/surgery/precision/dequantize_job.h"

#include <string.h>

typedef struct dequantize_document_sums {
    uint64_t weights, elements, before, after, infinite, nan;
} dequantize_document_sums;

static uint64_t bytes_after(const organ_dequantize_job *job, const organ_dequantize_part *part)
{
    return job->pieces[part->piece].bytes;
}

static void dequantize_document_add_part(dequantize_document_sums *s, const organ_dequantize_job *job,
                                         const organ_dequantize_part *part)
{
    s->weights++;
    s->elements += part->weight->elements;
    s->before += part->bytes_before;
    s->after += bytes_after(job, part);
    s->infinite += part->infinite;
    s->nan += part->nan;
}

static json_t *dequantize_document_sums_json(const dequantize_document_sums *s)
{
    return ORGAN_OBJECT(SET_COUNT("weights", s->weights), SET_COUNT("elements", s->elements),
                        SET_COUNT("bytes_before", s->before), SET_COUNT("bytes_after", s->after),
                        SET_COUNT("infinite", s->infinite), SET_COUNT("nan", s->nan));
}

static const char *scheme_text(const organ_dequantize_part *part, char text[160])
{
    return organ_weight_text(part->weight, text, 160);
}

/* The rows are in the order of the first weight of each scheme. */
static json_t *dequantize_document_schemes_json(const organ_dequantize_job *job)
{
    json_t *const rows = json_array(), *const seen = json_object();
    char text[160], other[160];
    for (size_t k = 0; k < job->part_count; k++) {
        dequantize_document_sums s = {0};
        scheme_text(&job->parts[k], text);
        if (json_object_get(seen, text))
            continue;
        for (size_t j = k; j < job->part_count; j++)
            if (strcmp(scheme_text(&job->parts[j], other), text) == 0)
                dequantize_document_add_part(&s, job, &job->parts[j]);
        json_array_append_new(
            rows, organ_json_joined(ORGAN_OBJECT(SET_TEXT("scheme", text)), dequantize_document_sums_json(&s)));
        json_object_set_new(seen, text, json_true());
    }
    json_decref(seen);
    return rows;
}

static json_t *dequantize_document_part_json(const void *context, size_t k)
{
    char text[160];
    const organ_dequantize_job *const job = context;
    const organ_dequantize_part *const part = &job->parts[k];
    const organ_weight *const w = part->weight;
    return ORGAN_OBJECT(SET_TEXT("name", w->name), SET_TEXT("role", organ_anatomy_role_name(&w->anatomy)),
                        SET_TEXT("scheme", scheme_text(part, text)), SET("shape", organ_counts_json(w->rank, w->shape)),
                        SET_TEXT("packed_as", w->codes->name), SET_COUNT("bytes_before", part->bytes_before),
                        SET_COUNT("bytes_after", bytes_after(job, part)), SET_COUNT("infinite", part->infinite),
                        SET_COUNT("nan", part->nan), SET_BYTES_OF("note", *part->note ? part->note : NULL));
}

/* Rows 0 .. unmatched_count - 1 are the tensors that belong to no weight, the rows after them the tensors of
 * job->kept. */
static json_t *dequantize_document_unmatched_json(const void *context, size_t k)
{
    const organ_dequantize_job *const job = context;
    const size_t unmatched = job->weights->unmatched_count;
    const organ_unmatched_tensor kept = {.tensor = k < unmatched ? NULL : job->kept[k - unmatched],
                                         .why = "is of a type that cannot be read without its companions"};
    const organ_unmatched_tensor *const s = k < unmatched ? &job->weights->unmatched[k] : &kept;
    return ORGAN_OBJECT(SET_TEXT("tensor", s->tensor->name), SET_DTYPE("dtype", s->tensor->dtype),
                        SET_FLAG("dropped", s->dropped), SET_TEXT("why", s->why));
}

static json_t *dequantize_document_definitions_json(void)
{
    return ORGAN_OBJECT(
        SET_TEXT("dequantised", "Code x scale in FP32 (integer codes less their zero point first), rounded once to the "
                                "type of the output, to nearest even."),
        SET_TEXT("plain", "Tensors that are not packed keep their type and bytes."),
        SET_TEXT("infinite",
                 "Values of the output that are infinite: beyond its type (65504 in F16), or infinite already."));
}

/* Members of a part that its journal line contains. */
static const organ_struct_field results_fields[] = {ORGAN_STRUCT_FIELD(organ_dequantize_part, infinite, U64),
                                                    ORGAN_STRUCT_FIELD(organ_dequantize_part, nan, U64),
                                                    ORGAN_STRUCT_FIELD(organ_dequantize_part, note, TEXT)};

json_t *organ_dequantize_results(const organ_dequantize_part *part)
{
    return ORGAN_STRUCT_ADD(json_object(), results_fields, part);
}

bool organ_dequantize_recall(void *context, size_t at, const json_t *results)
{
    return ORGAN_STRUCT_READ(results, results_fields, &((organ_dequantize_job *)context)->parts[at]);
}

json_t *organ_dequantize_parameters(void *context)
{
    const organ_dequantize_job *const job = context;
    return ORGAN_OBJECT(SET_DTYPE("dtype", job->as), SET_COUNT("max_shard_bytes", job->options->write.max_shard_size));
}

static const organ_weight *dequantised_weight(const void *job, size_t k)
{
    return ((const organ_dequantize_job *)job)->parts[k].weight;
}

json_t *organ_dequantize_document(void *context, const organ_writing *made)
{
    const organ_dequantize_job *const job = context;
    dequantize_document_sums all = {0};
    for (size_t k = 0; k < job->part_count; k++)
        dequantize_document_add_part(&all, job, &job->parts[k]);
    json_t *const totals = dequantize_document_sums_json(&all);
    ORGAN_ADD(totals, SET_COUNT("total_size", organ_resharding_total(organ_write_files(made))));
    return ORGAN_OBJECT(
        SET_TEXT("quant_method", job->weights->method), SET("totals", totals),
        SET("matrices", organ_matrices_among(job->weights, job->part_count, dequantised_weight, job)),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)),
        SET("schemes", dequantize_document_schemes_json(job)),
        SET("strays",
            organ_json_rows(job->weights->unmatched_count + job->kept_count, dequantize_document_unmatched_json, job)),
        SET("notes", organ_json_texts(job->weights->note_count, (const char *const *)job->weights->notes)),
        SET("files", organ_resharding_files_json(organ_write_files(made))),
        SET("weights", organ_json_rows(job->part_count, dequantize_document_part_json, job)),
        SET("definitions", dequantize_document_definitions_json()));
}
