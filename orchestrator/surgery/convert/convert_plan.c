/* SPDX-License-Identifier: MIT
 * Lists the pieces and the sources of a conversion. */
#include "orchestrator/surgery/convert/convert_job.h"

#include "formats/base/paged_rows.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- sources ---- */

static bool plan_is_straight(const convert_place *place, uint64_t matrix_rows)
{
    return place->block == matrix_rows && place->rows == matrix_rows && !place->pairs && !place->halves &&
           !place->transposed && !place->picked && !place->blocks;
}

/* Returns whether the bytes of a piece can be copied: it has one source, in the same order and type. */
static void plan_copy(organ_convert_job *job, const convert_source *source)
{
    const organ_weight *const w = source->weight;
    const convert_place *const place = &job->places[source->first];
    organ_shard_piece *const piece = &job->pieces[place->piece];
    const organ_matrices m = organ_convert_matrices(w);
    if (source->count == 1 && w->scheme == ORGAN_SCHEME_PLAIN && !w->scale && !w->global &&
        place->function == CONVERT_SAME && plan_is_straight(place, m.rows) && piece->dtype == w->codes->dtype &&
        job->facts[place->piece].rows == m.count * m.rows)
        piece->same = w->codes;
}

/* Rows are read in the type of the pieces if they have all the same and no function needs numbers. */
static void plan_source(organ_convert_job *job, convert_source *source)
{
    const uint64_t rows = organ_convert_matrices(source->weight).rows;
    source->as = job->pieces[job->places[source->first].piece].dtype;
    source->block = 1;
    for (size_t k = source->first; k < source->first + source->count; k++) {
        const convert_place *const place = &job->places[k];
        if (!plan_is_straight(place, rows))
            source->block = place->block;
        if (place->function != CONVERT_SAME || job->pieces[place->piece].dtype != source->as)
            source->as = ORGAN_F32;
    }
    if (source->as != ORGAN_BF16 && source->as != ORGAN_F16)
        source->as = ORGAN_F32;
    plan_copy(job, source);
}

static organ_status plan_check(const organ_convert_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].filled != job->facts[k].rows)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensors are missing: '%s' would have %" PRIu64 " of %" PRIu64 " rows",
                              job->model->path, job->pieces[k].name, job->facts[k].filled, job->facts[k].rows);
    return ORGAN_OK;
}

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

/* Plans the place of each tensor's rows in the output; fails for tensors that the output would lose. */
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
        if (job->to_gguf)
            organ_convert_to_gguf(job, source->weight, error);
        else
            organ_convert_to_hf(job, source->weight, error);
        job->source_count += source->count > 0;
        organ_rows_passed();
    }
    if (!error->status && job->to_gguf)
        organ_convert_computed(job, error);
    if (error->status || plan_check(job, error) || plan_units(job, error))
        return error->status;
    for (size_t s = 0; s < job->source_count; s++)
        plan_source(job, &job->sources[s]);
    return ORGAN_OK;
}
