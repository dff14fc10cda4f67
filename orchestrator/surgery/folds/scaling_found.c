/* SPDX-License-Identifier: MIT
 * Finds the factors of a smoothed model from the bytes of its producers, for an audit. */
#include "orchestrator/surgery/folds/scaling.h"

#include "formats/base/owned.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>

#define FEW ((size_t)256) /* values of a row among which one is not 0 */

typedef struct search {
    organ_scaling *scaling;
    const organ_model *copy;
    const organ_kernels *kernels;
    size_t fold;
    bool *known; /* by channel of the fold */
    const char *odd;
} search;

static organ_status read_values(const search *f, const organ_model *model, const organ_tensor *tensor, uint64_t first,
                                size_t count, float *values, organ_error *error)
{
    const size_t each = (size_t)(tensor->bytes / tensor->elements);
    ORGAN_OWNED void *const bytes = malloc(count * each + 1);
    if (!bytes)
        return organ_fail_memory(error, model->path);
    if (organ_model_read(model, tensor->file, bytes, count * each, tensor->offset + first * each, error) == ORGAN_OK)
        organ_widen(f->kernels, tensor->dtype, bytes, values, count);
    return error->status;
}

/* The channel of value `at` of the file's tensor. */
static uint64_t channel_of(const organ_fold_side *side, uint64_t at)
{
    const uint64_t cols = side->transposed ? side->rows : side->cols,
                   stored = side->transposed ? side->cols : side->rows;
    const uint64_t row = at / cols, matrix = row / stored, within = row % stored;
    const uint64_t out = side->transposed ? at % cols : within, in = side->transposed ? within : at % cols;
    return organ_fold_channel(side, matrix, side->of_rows ? out : in);
}

/* `was` has the values of the donor with all factors that are known. */
static void take_factors(search *f, const organ_fold_side *side, uint64_t first, size_t count, const float *was,
                         const float *is)
{
    float *const factors = f->scaling->factors + f->scaling->begin[f->fold];
    for (size_t k = 0; k < count; k++) {
        const uint64_t channel = channel_of(side, first + k);
        const float from = side->plus + was[k], to = side->plus + is[k];
        int exponent;
        if (channel == ORGAN_NO_CHANNEL || f->known[channel] || from == 0 || to == 0)
            continue;
        f->known[channel] = true;
        factors[channel] = from / to;
        if (!(frexpf(factors[channel], &exponent) == 0.5F)) {
            f->odd = side->weight->name;
            factors[channel] = 1;
        }
    }
}

static organ_status search_side(search *f, const organ_fold_side *side, organ_error *error)
{
    const organ_tensor *const donor = side->weight->codes, *const copy = organ_model_find(f->copy, donor->name);
    const size_t t = (size_t)(donor - f->scaling->model->tensors);
    const uint64_t cols = side->transposed ? side->rows : side->cols;
    const size_t few = side->of_rows && !side->transposed && cols > FEW ? FEW : (size_t)cols;
    ORGAN_OWNED float *const was = malloc((few + 1) * sizeof *was);
    ORGAN_OWNED float *const is = malloc((few + 1) * sizeof *is);
    if (!was || !is)
        return organ_fail_memory(error, f->copy->path);
    if (!copy || copy->dtype != donor->dtype || copy->elements != donor->elements)
        return ORGAN_OK; /* the audit reports it */
    for (uint64_t first = 0; first < donor->elements && !error->status; first += cols)
        if (read_values(f, f->scaling->model, donor, first, few, was, error) == ORGAN_OK &&
            read_values(f, f->copy, copy, first, few, is, error) == ORGAN_OK) {
            organ_scaling_values(f->scaling, t, first, few, was);
            take_factors(f, side, first, few, was, is);
        }
    return error->status;
}

/* Norms come first in a layer, so that their factors of the columns of v and up are known. */
organ_status organ_scaling_find(organ_scaling *s, const organ_model *copy, const organ_kernels *kernels,
                                const char **odd, organ_error *error)
{
    search f = {.scaling = s, .copy = copy, .kernels = kernels};
    for (f.fold = 0; f.fold < s->folds.count && !error->status; f.fold++) {
        const organ_fold *const fold = &s->folds.list[f.fold];
        ORGAN_OWNED bool *const known = calloc((size_t)fold->channels + 1, sizeof *known);
        if (!(f.known = known))
            return organ_fail_memory(error, copy->path);
        for (size_t k = fold->first; k < fold->first + fold->count && !error->status; k++)
            if (s->folds.sides[k].divided)
                search_side(&f, &s->folds.sides[k], error);
    }
    *odd = f.odd;
    return error->status;
}
