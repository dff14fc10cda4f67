/* SPDX-License-Identifier: MIT
 * Sets of FP8 matrices that servers multiply as one (formats/tensor/fused.h) and read otherwise than the figures: vLLM
 * reads blocks of rows that overlap where a part ends within a block, and rounds the codes of parts with other scales
 * again to the largest scale of a set. */
#include "orchestrator/surgery/scoring/scoring.h"

#include "formats/base/owned.h"
#include "formats/tensor/fused.h"
#include <organ/weights.h>

#include <stdlib.h>
#include <string.h>

/* The sets of one kind: their number, and the first part of the first one. */
typedef struct fused_sets {
    size_t count;
    const organ_fused_part *first;
} fused_sets;

static bool has_blocks(const organ_weight *w) { return w->block_rows > 1 && w->block_rows < w->shape[0]; }

static bool has_one_scale(const organ_weight *w)
{
    return w->block_rows == w->shape[0] && w->block_cols == w->shape[1] && w->shape[0] > 1 && w->scale &&
           w->scale->elements == 1 && w->scale->bytes <= 8;
}

/* Sets *other if the scales of both weights differ. */
static organ_status compare_scales(const organ_model *model, const organ_weight *a, const organ_weight *b, bool *other,
                                   organ_error *error)
{
    unsigned char x[8] = {0}, y[8] = {0};
    if (!has_one_scale(a) || !has_one_scale(b))
        return ORGAN_OK;
    if (organ_model_read(model, a->scale->file, x, (size_t)a->scale->bytes, a->scale->offset, error) ||
        organ_model_read(model, b->scale->file, y, (size_t)b->scale->bytes, b->scale->offset, error))
        return error->status;
    *other = *other || memcmp(x, y, sizeof x) != 0;
    return ORGAN_OK;
}

static void count_set(fused_sets *sets, bool found, const organ_fused_part *first)
{
    sets->first = found && !sets->count ? first : sets->first;
    sets->count += found;
}

static organ_status look_at_set(const organ_model *model, const organ_weights *weights, const organ_fused_part *parts,
                                size_t count, fused_sets sets[2], organ_error *error)
{
    bool overlaps = false, other = false;
    for (size_t k = 0; k < count && count > 1 && !error->status; k++) {
        const organ_weight *const w = &weights->weights[parts[k].index];
        overlaps = overlaps || (has_blocks(w) && organ_fused_splits_block(&parts[k], w->shape[0], w->block_rows));
        if (k > 0)
            compare_scales(model, &weights->weights[parts->index], w, &other, error);
    }
    count_set(&sets[0], overlaps, parts);
    count_set(&sets[1], other, parts);
    return error->status;
}

static void warn_of(const organ_scoring *scoring, const organ_scored_model *m, const fused_sets *sets, const char *how)
{
    char names[160];
    if (!sets->count)
        return;
    organ_fused_name(sets->first->set, names, sizeof names);
    organ_progress_warn(scoring->progress,
                        "%s: vLLM reads %zu set%s of matrices otherwise than these figures, %s: %s of '%.*s' are the "
                        "first. Quantise the original again with organ",
                        m->path, sets->count, sets->count == 1 ? "" : "s", how, names, (int)sets->first->parent - 1,
                        sets->first->name);
}

organ_status organ_scoring_warn_fused(const organ_scoring *scoring, const organ_scored_model *m, organ_error *error)
{
    const organ_weights *const weights = organ_forward_weights(m->forward);
    fused_sets sets[2] = {{0}};
    size_t count = 0;
    if (m->model->gguf)
        return ORGAN_OK;
    ORGAN_OWNED organ_fused_part *const parts = calloc(weights->count + 1, sizeof *parts);
    if (!parts)
        organ_fail_memory(error, m->path);
    for (size_t k = 0; k < weights->count && parts; k++) {
        const organ_weight *const w = &weights->weights[k];
        parts[count] = organ_fused_part_of(m->model->config.model_type, w->name, k);
        count += w->scheme == ORGAN_SCHEME_FP8 && w->rank == 2 && !w->made && parts[count].set != ORGAN_FUSED_NONE_SET;
    }
    if (parts)
        qsort(parts, count, sizeof *parts, organ_fused_order);
    for (size_t from = 0, length; from < count && !error->status; from += length) {
        length = organ_fused_length(parts + from, count - from);
        look_at_set(m->model, weights, parts + from, length, sets, error);
    }
    if (!error->status) {
        warn_of(scoring, m, &sets[0], "whose FP8 blocks overlap in the matrix as which it multiplies them");
        warn_of(scoring, m, &sets[1], "whose codes it rounds again to the largest of their scales");
    }
    return error->status;
}
