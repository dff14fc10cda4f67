/* SPDX-License-Identifier: MIT
 * Plans a conversion: lists the tensors of the output (pieces) and the weights that are read for them (sources). */
#include "orchestrator/surgery/convert/convert_job.h"

#include "formats/base/paged_rows.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- sources ---- */

/* A piece is a copy of the source's bytes if no other source has rows in it, and neither the order of rows nor the
 * type changes. */
static void plan_copy(organ_convert_job *job, const convert_source *source)
{
    const organ_weight *const w = source->weight;
    const convert_place *const place = &job->places[source->first];
    organ_shard_piece *const piece = &job->pieces[place->piece];
    const organ_matrices m = organ_convert_matrices(w);
    if (source->count == 1 && w->scheme == ORGAN_SCHEME_PLAIN && !w->scale && !w->global &&
        place->function == CONVERT_SAME && organ_convert_is_straight(place, m.rows) &&
        piece->dtype == w->codes->dtype && job->facts[place->piece].rows == m.count * m.rows)
        piece->same = w->codes;
}

/* A source is copied by codes if all its places have pieces of codes or scales, by values if none has. Refuses a
 * mixture, and values whose rows are read in the order of codes: the numbered experts of a stack may have different
 * types. */
static organ_status plan_codes(organ_convert_job *job, convert_source *source, organ_error *error)
{
    size_t coded = 0;
    for (size_t k = source->first; k < source->first + source->count; k++)
        coded += job->facts[job->places[k].piece].content != CONVERT_VALUES;
    /* a transposed weight that is read in the order of its codes cannot be read as values any more */
    if (coded == 0 && source->weight == source->own)
        source->codes = false;
    if (coded != (source->codes ? source->count : 0))
        return organ_convert_unknown(job, source->own->name,
                                     "and another tensor of its stack do not have the same codes: use another --type",
                                     error);
    if (source->codes)
        source->as = organ_convert_code_type(source->own);
    job->coded += source->codes;
    return ORGAN_OK;
}

/* Rows are read as F16 or BF16 if all pieces of the source have this type and no function changes the values, else
 * as FP32. */
static organ_status plan_source(organ_convert_job *job, convert_source *source, organ_error *error)
{
    if (plan_codes(job, source, error) || source->codes)
        return error->status;
    const uint64_t rows = organ_convert_matrices(source->weight).rows;
    source->as = job->pieces[job->places[source->first].piece].dtype;
    source->block = 1;
    for (size_t k = source->first; k < source->first + source->count; k++) {
        const convert_place *const place = &job->places[k];
        if (!organ_convert_is_straight(place, rows))
            source->block = place->block;
        if (place->function != CONVERT_SAME || job->pieces[place->piece].dtype != source->as)
            source->as = ORGAN_F32;
    }
    if (source->as != ORGAN_BF16 && source->as != ORGAN_F16)
        source->as = ORGAN_F32;
    plan_copy(job, source);
    return ORGAN_OK;
}

/* A row that no place fills shows that the model lacks a tensor. */
static organ_status plan_check(const organ_convert_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].filled != job->facts[k].rows)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensors are missing: '%s' would have %" PRIu64 " of %" PRIu64 " rows",
                              job->model->path, job->pieces[k].name, job->facts[k].filled, job->facts[k].rows);
    return ORGAN_OK;
}

/* The bytes of a source are added to the unit of the piece in its first place only, so that each source counts once. */
static organ_status plan_units(organ_convert_job *job, organ_error *error)
{
    if (!(job->units = organ_rows_take(job->piece_count + 1, sizeof *job->units)))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->piece_count; k++)
        job->units[k] = (organ_unit){.first = k, .count = 1, .item = k};
    for (size_t s = 0; s < job->source_count; s++)
        job->units[job->places[job->sources[s].first].piece].bytes += organ_weight_bytes(job->sources[s].weight);
    return ORGAN_OK;
}

organ_status organ_convert_plan(organ_convert_job *job, organ_error *error)
{
    const organ_weights *const w = job->weights;
    if (!(job->sources = calloc(w->count + 1, sizeof *job->sources)))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < w->unmatched_count; k++)
        if (!w->unmatched[k].dropped)
            return organ_convert_unknown(job, w->unmatched[k].tensor->name, w->unmatched[k].why, error);
    for (size_t k = 0; k < w->count && !error->status; k++) {
        convert_source *const source = &job->sources[job->source_count];
        *source = (convert_source){.weight = &w->weights[k], .first = job->place_count};
        if (organ_convert_find_codes(job, source, error))
            return error->status;
        if (job->by_name)
            organ_convert_named(job, source->weight, error);
        else
            organ_convert_tensor(job, source->weight, error);
        job->source_count += source->count > 0;
        organ_rows_passed();
    }
    if (!error->status && job->by_name && job->to_gguf)
        organ_convert_names_return(job, error);
    else if (!error->status && !job->by_name)
        organ_convert_computed(job, error);
    if (error->status || plan_check(job, error) || plan_units(job, error))
        return error->status;
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        plan_source(job, &job->sources[s], error);
    if (!error->status && job->keeps_codes && job->coded == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: --type codes: no tensor has codes that %s have, too: MXFP4%s",
                          job->model->path, job->to_gguf ? "GGUF files" : "safetensors of this architecture",
                          job->to_gguf ? ", or symmetric INT8 with a scale for 32 values"
                                       : " of gpt-oss, or Q8_0 of linear layers");
    return error->status;
}
