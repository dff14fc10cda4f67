/* SPDX-License-Identifier: MIT
 * Tensors outside of layers with entries for each layer (organ_layers_axis): each layer of the output keeps the entries
 * of the layer that it is. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "orchestrator/surgery/layers/layer_settings.h"

#include <string.h>

typedef struct per_layer {
    model_merge *job;
    const organ_weight *like; /* of the host */
    organ_layer_axis axis;
    uint64_t each; /* entries of a layer */
    organ_error *error;
} per_layer;

static uint64_t layers_of_output(const merge_recipe *r)
{
    const merge_slice *const last = &r->slices[r->slice_count - 1];
    return last->first + last->layers;
}

/* Returns whether a layer of the output has another number in its model, or another model than the host. */
static bool is_moved(const model_merge *job)
{
    const merge_recipe *const r = &job->recipe;
    bool moved = r->sliced && layers_of_output(r) != job->donors[job->host].layers;
    for (size_t s = 0; s < r->slice_count && r->sliced && !moved; s++) {
        const merge_source *const source = &r->slices[s].sources[0];
        moved = source->first != r->slices[s].first ||
                (r->method == &organ_merge_passthrough && source->donor != job->host);
    }
    return moved;
}

/* Returns a weight with `entries` entries on the axis, in the form of `like`; NULL after an error. */
static organ_weight *make(const per_layer *p, const organ_weight *like, uint64_t entries, organ_made how)
{
    organ_weight *const made = organ_merge_take(p->job, sizeof *made, p->error);
    organ_made *const kept = organ_merge_take(p->job, sizeof *kept, p->error);
    uint64_t *const shape = organ_merge_take(p->job, 2 * sizeof *shape, p->error);
    if (p->error->status)
        return NULL;
    *kept = how;
    *made = *like;
    made->shape = memcpy(shape, like->shape, 2 * sizeof *shape);
    shape[p->axis == ORGAN_LAYER_AXIS_COLUMNS] = entries;
    made->elements = shape[0] * shape[1];
    made->made = kept;
    return made;
}

/* Columns [col, col + cols) of each row. */
static organ_row_place columns(const organ_weight *weight, uint64_t col, uint64_t cols)
{
    return (organ_row_place){.matrices = 1,
                             .block = 1,
                             .rows = 1,
                             .per_matrix = weight->shape[0],
                             .per_block = 1,
                             .column_slice = true,
                             .col = col,
                             .col_step = 1,
                             .cols = cols};
}

/* Returns the tensor of the donor of a slice, which must have the same form; NULL on error. */
static const organ_weight *of_donor(const per_layer *p, const merge_source *source)
{
    const merge_donor *const donor = &p->job->donors[source->donor];
    const organ_weight *const w = organ_merge_find_weight(p->job, donor, p->like->name, &p->like->anatomy);
    const unsigned axis = p->axis == ORGAN_LAYER_AXIS_COLUMNS ? 1 : 0;
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    if (!w)
        organ_fail(p->error, ORGAN_BAD_INPUT, "tensor '%s' is missing in %s: it has the parts of its layers",
                   p->like->name, donor->path);
    else if (w->rank != 2 || w->shape[!axis] != p->like->shape[!axis] || w->shape[axis] != p->each * donor->layers)
        organ_fail(p->error, ORGAN_BAD_INPUT, "tensor '%s': its shape is %s in %s and %s in %s, for other layers",
                   p->like->name, organ_shape_text(w->rank, w->shape, is), donor->path,
                   organ_shape_text(p->like->rank, p->like->shape, was), p->job->donors[p->job->host].path);
    else if (organ_adapted_change(&donor->adapted, w, p->like))
        organ_fail(p->error, ORGAN_BAD_INPUT,
                   "the adapter of %s changes tensor '%s', whose parts of single layers are moved: merge the adapter "
                   "first (organ lora merge)",
                   donor->path, p->like->name);
    return p->error->status ? NULL : w;
}

/* Passthrough multiplies by `scale`, which would have to be that of each layer. */
static void check_scale(const per_layer *p, const merge_slice *slice)
{
    static const size_t first = 0;
    const merge_recipe *const r = &p->job->recipe;
    const merge_place place = {
        .slice = slice, .output = p->like->name, .inputs = &p->like->name, .sources = &first, .count = 1};
    double *const values = organ_merge_take(p->job, (r->method->parameter_count + 1) * sizeof *values, p->error);
    if (!p->error->status && organ_merge_evaluate(r, &place, values, p->error) == ORGAN_OK &&
        (values[0] < 1 || values[0] > 1))
        organ_merge_fault(r, slice->sources[0].line, p->error,
                          "scale is not 1 for tensor '%.200s', whose parts of single layers are moved: give scale a "
                          "filter that does not fit it",
                          p->like->name);
}

/* The entries of a slice's layers. Columns are first cut out of the donor's rows, then joined. */
static organ_made_part part_of(const per_layer *p, const merge_slice *slice)
{
    const merge_source *const source = &slice->sources[0];
    const organ_weight *const from = of_donor(p, source);
    organ_made_part part = {.from = from, .model = organ_merge_stored(&p->job->donors[source->donor])};
    if (!from)
        return part;
    if (p->axis == ORGAN_LAYER_AXIS_ROWS) {
        part.place = (organ_row_place){.matrices = 1,
                                       .block = p->each,
                                       .rows = p->each,
                                       .from = source->first,
                                       .blocks = slice->layers,
                                       .at = slice->first * p->each,
                                       .per_matrix = from->shape[0],
                                       .per_block = p->each};
        return part;
    }
    organ_made_part *const cut = organ_merge_take(p->job, sizeof *cut, p->error);
    if (!cut)
        return part;
    *cut = part;
    cut->place = columns(from, source->first * p->each, slice->layers * p->each);
    part.from = make(p, from, slice->layers * p->each, (organ_made){false, cut, 1, NULL});
    part.place = columns(from, slice->first * p->each, slice->layers * p->each);
    return part;
}

const organ_weight *organ_merge_by_layer(model_merge *job, const organ_weight *like, organ_error *error)
{
    const merge_recipe *const r = &job->recipe;
    const uint64_t layers = job->donors[job->host].layers;
    per_layer p = {job, like, organ_layers_axis(like), 0, error};
    if (p.axis == ORGAN_LAYER_AXIS_NONE || !is_moved(job))
        return NULL;
    const uint64_t size = like->shape[p.axis == ORGAN_LAYER_AXIS_COLUMNS];
    p.each = size / layers;
    organ_made_part *const parts = organ_merge_take(job, r->slice_count * sizeof *parts, error);
    if (r->method != &organ_merge_passthrough || job->vocabulary)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "tensor '%s' has a part for each layer, which merge moves only by passthrough, without `tokenizer`: "
                   "merge whole models first, then repeat, move or leave out layers of the result",
                   like->name);
    else if (p.each == 0 || size % layers)
        organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s' has no equal parts for its %llu layers", like->name,
                   (unsigned long long)layers);
    for (size_t s = 0; s < r->slice_count && !error->status; s++) {
        check_scale(&p, &r->slices[s]);
        if (!error->status)
            parts[s] = part_of(&p, &r->slices[s]);
    }
    return error->status ? NULL
                         : make(&p, like, layers_of_output(r) * p.each,
                                (organ_made){p.axis == ORGAN_LAYER_AXIS_COLUMNS, parts, r->slice_count, NULL});
}
