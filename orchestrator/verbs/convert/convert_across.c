/* SPDX-License-Identifier: MIT
 * Turns the plan of a conversion to GGUF into weights that are read across formats: its places, from
 * the side of GGUF or from that of safetensors. */
#include "orchestrator/verbs/convert/convert_across.h"
#include "orchestrator/verbs/convert/convert_parts.h"

#include "formats/base/rows.h"

#include <stdlib.h>
#include <string.h>

struct organ_across {
    organ_across_side to, from; /* the weights of `from` get the form of those of `to` */
    organ_convert_job job;      /* the plan; model and weights are borrowed */
    organ_convert_options options;
    organ_made *how;        /* how[k] belongs to made[k] */
    organ_made_part *parts; /* of all made weights, one for each place of the plan */
    organ_weight *made;     /* the weights of `from` in the form of `to` */
    size_t count;
    organ_name_table names; /* index in `made` by name */
    organ_name_table kinds; /* organ_across_kind by name; no name of one format is one of the other */
};

static organ_status across_note(organ_across *a, const char *name, organ_across_kind kind, organ_error *error)
{
    size_t *const known = organ_name_table_put(&a->kinds, name, kind);
    if (!known)
        return organ_fail_memory(error, name);
    *known = kind;
    return ORGAN_OK;
}

/* ---- the plan ---- */

/* A weight that cannot be converted adds nothing: it has no counterpart. */
static organ_status across_plan_weight(organ_across *a, const organ_weight *weight, organ_error *error)
{
    organ_convert_job *const job = &a->job;
    convert_source *const source = &job->sources[job->source_count];
    organ_error refused = {0};
    *source = (convert_source){.weight = weight, .own = weight, .first = job->place_count};
    job->by_name ? organ_convert_named(job, weight, &refused) : organ_convert_tensor(job, weight, &refused);
    if (refused.status && refused.status != ORGAN_BAD_INPUT) {
        *error = refused;
        return error->status;
    }
    if (refused.status) {
        job->place_count = source->first;
        return across_note(a, weight->name, ORGAN_ACROSS_UNKNOWN, error);
    }
    job->source_count += source->count > 0;
    return across_note(a, weight->name, source->count ? ORGAN_ACROSS_UNPAIRED : ORGAN_ACROSS_LEFT_OUT, error);
}

/* The GGUF file may state another architecture than a conversion would choose. It decides the names and the order of
 * rows there. */
static void across_follow_gguf(organ_across *a)
{
    organ_convert_job *const job = &a->job;
    const organ_model *const gguf = a->to.model->gguf ? a->to.model : a->from.model;
    const char *const name = gguf->config.model_type;
    const forward_family *const family = organ_forward_family_named(name, true);
    if (job->by_name || !family || strcmp(job->pairing->gguf, name) == 0)
        return;
    const forward_pairing *const row = organ_pairing_names_of_gguf(gguf->gguf, name);
    job->gguf_family = family;
    job->pairing = row ? row : job->pairing;
}

static organ_status across_plan(organ_across *a, organ_error *error)
{
    organ_convert_job *const job = &a->job;
    organ_error refused = {0};
    if (organ_convert_find_architecture(job, error))
        return error->status;
    across_follow_gguf(a);
    /* without the head in the file, GGUF files have none either; with it, they have one unless it is tied */
    job->config.tied_output = false;
    if (!(job->sources = calloc(job->weights->count + 1, sizeof *job->sources)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->weights->count; k++)
        if (across_plan_weight(a, &job->weights->weights[k], error))
            return error->status;
    job->sources[job->source_count] = (convert_source){0};
    if (!job->by_name)
        organ_convert_computed(job, &refused); /* GGUF has no tensor for a rotation that it lacks */
    for (size_t k = 0; k < job->piece_count && !error->status; k++)
        if (job->facts[k].values)
            across_note(a, job->pieces[k].name, ORGAN_ACROSS_LEFT_OUT, error);
    return error->status;
}

/* ---- made weights ---- */

static organ_weight across_piece(const organ_convert_job *job, size_t piece)
{
    const organ_shard_piece *const p = &job->pieces[piece];
    organ_weight w = {.name = p->name, .rank = p->rank, .shape = p->shape, .elements = 1};
    for (unsigned d = 0; d < p->rank; d++)
        w.elements *= p->shape[d];
    return w;
}

/* Axes of one element do not count. */
static bool across_same_rows(const organ_weight *a, const organ_weight *b)
{
    const organ_matrices x = organ_row_place_matrices(a), y = organ_row_place_matrices(b);
    return x.count * x.rows == y.count * y.rows && x.cols == y.cols;
}

/* The shape is that of `like` or, if it has the same rows, that of the weight of this name in `to`. Type and scheme
 * are those of the part that takes the fewest bytes per value. */
static organ_status across_add(organ_across *a, const organ_weight *like, organ_made made, organ_error *error)
{
    const organ_weight *const twin = organ_weights_named(a->to.weights, like->name);
    const organ_weight *const form = twin && across_same_rows(twin, like) ? twin : like;
    const organ_weight *coarsest = form;
    a->how[a->count] = made;
    for (size_t k = 0; k < made.count; k++) {
        const organ_weight *const from = made.parts[k].from;
        if (k == 0 || from->codes->bytes * coarsest->elements < coarsest->codes->bytes * from->elements)
            coarsest = from;
    }
    a->made[a->count] = (organ_weight){.name = like->name,
                                       .scheme = coarsest->scheme,
                                       .rank = form->rank,
                                       .shape = form->shape,
                                       .elements = form->elements,
                                       .anatomy = organ_anatomy_of(like->name),
                                       .codes = coarsest->codes,
                                       .bits = coarsest->bits,
                                       .made = &a->how[a->count]};
    return organ_name_table_put(&a->names, like->name, a->count++) ? ORGAN_OK : organ_fail_memory(error, like->name);
}

/* Returns whether the model of GGUF has all tensors that have rows of the source. */
static bool across_is_whole(const organ_across *a, const convert_source *source)
{
    const organ_weights *const gguf = (a->to.model->gguf ? a->to : a->from).weights;
    for (size_t k = source->first; k < source->first + source->count; k++)
        if (!organ_weights_named(gguf, a->job.pieces[a->job.places[k].piece].name))
            return false;
    return true;
}

/* If a weight of GGUF has another shape than the conversion gives it, the made weight gets its form, so that a
 * comparison of shapes shows it. */
static organ_status across_make_hf(organ_across *a, const convert_source *source, organ_error *error)
{
    organ_made_part *const parts = a->parts + source->first;
    if (!across_is_whole(a, source))
        return ORGAN_OK;
    for (size_t k = 0; k < source->count && !error->status; k++) {
        const organ_row_place *const place = &a->job.places[source->first + k];
        const organ_weight piece = across_piece(&a->job, place->piece);
        parts[k] = (organ_made_part){organ_weights_named(a->from.weights, piece.name), *place};
        if (!across_same_rows(parts[k].from, &piece)) {
            a->made[a->count] = *parts[k].from;
            a->made[a->count].name = source->weight->name;
            return organ_name_table_put(&a->names, source->weight->name, a->count++)
                       ? across_note(a, piece.name, ORGAN_ACROSS_PAIRED, error)
                       : organ_fail_memory(error, piece.name);
        }
        across_note(a, piece.name, ORGAN_ACROSS_PAIRED, error);
    }
    return error->status ? error->status
                         : across_add(a, source->weight, (organ_made){true, parts, source->count, NULL}, error);
}

/* Makes nothing if the weights of safetensors lack rows of the piece. */
static organ_status across_make_gguf(organ_across *a, size_t piece, const organ_made_part *parts, size_t count,
                                     organ_error *error)
{
    const organ_weight like = across_piece(&a->job, piece);
    const convert_piece *const facts = &a->job.facts[piece];
    uint64_t values = facts->values ? like.elements : facts->zeros * (like.elements / facts->rows);
    for (size_t k = 0; k < count; k++) {
        const organ_matrices m = organ_row_place_matrices(parts[k].from);
        values += organ_row_place_values(&parts[k].place, &m);
    }
    return values == like.elements ? across_add(a, &like, (organ_made){false, parts, count, facts->values}, error)
                                   : ORGAN_OK;
}

/* Places are sorted by piece, in the order of the sources. */
static organ_status across_make_all_gguf(organ_across *a, organ_error *error)
{
    const organ_convert_job *const job = &a->job;
    size_t *const end = calloc(job->piece_count + 2, sizeof *end); /* end[k + 1]: of the parts of piece k */
    if (!end)
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->place_count; k++)
        end[job->places[k].piece + 2]++;
    for (size_t k = 2; k < job->piece_count + 2; k++)
        end[k] += end[k - 1];
    for (size_t s = 0; s < job->source_count; s++)
        for (size_t k = job->sources[s].first; k < job->sources[s].first + job->sources[s].count; k++)
            a->parts[end[job->places[k].piece + 1]++] = (organ_made_part){job->sources[s].weight, job->places[k]};
    for (size_t k = 0; k < job->piece_count && !error->status; k++)
        across_make_gguf(a, k, a->parts + end[k], end[k + 1] - end[k], error);
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        if (across_is_whole(a, &job->sources[s]))
            across_note(a, job->sources[s].weight->name, ORGAN_ACROSS_PAIRED, error);
    free(end);
    return error->status;
}

static organ_status across_make(organ_across *a, organ_error *error)
{
    const organ_convert_job *const job = &a->job;
    const size_t most = job->piece_count + job->source_count;
    a->parts = organ_rows_take(job->place_count + 1, sizeof *a->parts);
    a->made = organ_rows_take(most + 1, sizeof *a->made);
    a->how = organ_rows_take(most + 1, sizeof *a->how);
    if (!a->parts || !a->made || !a->how)
        return organ_fail_memory(error, job->model->path);
    if (!a->from.model->gguf)
        return across_make_all_gguf(a, error);
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        across_make_hf(a, &job->sources[s], error);
    return error->status;
}

/* ---- the whole ---- */

organ_status organ_across_open(organ_across_side model, organ_across_side other, const organ_engine *engine,
                               organ_across **across, organ_error *error)
{
    const organ_across_side hf = model.model->gguf ? other : model;
    organ_across *const a = calloc(1, sizeof *a);
    *across = NULL;
    if (!a)
        return organ_fail_memory(error, hf.model->path);
    *a = (organ_across){.to = model, .from = other, .options = {.model = hf.model->path}};
    a->job = (organ_convert_job){.options = &a->options,
                                 .engine = engine,
                                 .model = (organ_model *)hf.model,
                                 .weights = (organ_weights *)hf.weights,
                                 .to_gguf = true,
                                 .type = ORGAN_F32};
    if (across_plan(a, error) || across_make(a, error)) {
        organ_across_free(a);
        return error->status;
    }
    *across = a;
    return ORGAN_OK;
}

void organ_across_free(organ_across *a)
{
    if (!a)
        return;
    a->job.model = NULL;
    a->job.weights = NULL;
    organ_convert_release(&a->job);
    organ_rows_free(a->parts);
    organ_rows_free(a->made);
    organ_rows_free(a->how);
    organ_name_table_release(&a->names);
    organ_name_table_release(&a->kinds);
    free(a);
}

const organ_weight *organ_across_named(const organ_across *across, const char *name)
{
    const size_t *const index = organ_name_table_find(&across->names, name);
    return index ? &across->made[*index] : NULL;
}

organ_across_kind organ_across_kind_of(const organ_across *across, const char *name)
{
    const size_t *const kind = organ_name_table_find(&across->kinds, name);
    return kind ? (organ_across_kind)*kind : ORGAN_ACROSS_UNKNOWN;
}
