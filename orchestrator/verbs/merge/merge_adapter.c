/* SPDX-License-Identifier: MIT
 * Models of the form BASE+ADAPTER: rows of a weight W become those of W + scale B A, in FP32, while they are read. */
#include "orchestrator/verbs/merge/merge_job.h"

#include "orchestrator/solve/algebra.h"
#include "orchestrator/stream/product.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* The change of one weight of a donor. */
struct merge_pair {
    const organ_adapter *adapter;
    const organ_adapter_pair *pair;
    const organ_weight *weight;
    const organ_kernels *kernels;
    organ_merge_change change;
};

/* ---- rows ---- */

static void close_pair(void *state)
{
    if (state)
        organ_lora_factors_release(state);
    free(state);
}

static organ_status open_pair(const void *context, void **state, organ_error *error)
{
    const merge_pair *const p = context;
    organ_lora_factors *const factors = calloc(1, sizeof *factors);
    *state = factors;
    if (!factors)
        return organ_fail_memory(error, p->weight->name);
    return organ_lora_factors_read(p->adapter, p->pair, p->kernels, 1, factors, error);
}

static size_t pair_scratch(const void *context, size_t rows)
{
    const merge_pair *const p = context;
    return rows * (size_t)p->pair->in_features * sizeof(float) + ORGAN_PRODUCT_SCRATCH;
}

/* The sums of B A and their order are those of organ lora merge. */
static organ_status change_rows(const void *context, const void *state, uint64_t first, size_t rows, float *values,
                                void *scratch, organ_error *error)
{
    const merge_pair *const p = context;
    const organ_lora_factors *const all = state;
    const size_t cols = all->in;
    const organ_lora_factors f = organ_lora_factors_of(all, (size_t)(first / all->out));
    const float scale = (float)p->pair->scale;
    float *const d = (float *)(void *)((unsigned char *)scratch + ORGAN_PRODUCT_SCRATCH);
    const organ_product product = {.m = rows,
                                   .n = cols,
                                   .k = f.rank,
                                   .a = organ_by_rows(f.b + first % all->out * f.rank, f.rank),
                                   .b = organ_by_columns(f.a, f.in),
                                   .c = d,
                                   .c_stride = cols};
    (void)error;
    p->kernels->product(&product, scratch);
    for (size_t k = 0; k < rows * cols; k++)
        values[k] += d[k] * scale;
    return ORGAN_OK;
}

/* ---- the adapter of a donor ---- */

static organ_status cannot(const merge_donor *donor, const char *what, const char *name, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: %s '%s': make a model of base and adapter first: organ lora merge --base %s --adapter %s -o "
                      "MERGED",
                      donor->adapter->path, what, name, donor->path, donor->adapter->path);
}

static organ_status place_pair(model_merge *job, merge_donor *donor, const organ_adapter *adapter,
                               const organ_adapter_pair *pair, organ_error *error)
{
    const organ_weight *const w = organ_lora_names_find(&donor->names, pair->weight);
    const bool stack = pair->experts > 1;
    if (!w || !organ_weight_has_numbers(w))
        return cannot(donor, "its base lacks the weight", pair->weight, error);
    const organ_matrices m = organ_weight_matrices(w);
    const organ_lora_orientation orientation = organ_lora_orientation_of(donor->model, donor->weights, adapter);
    if (pair->embedding || w->rank != (stack ? 3u : 2u) || m.count != pair->experts || m.rows != pair->out_features ||
        m.cols != pair->in_features || pair->in_features > INT_MAX || pair->out_features > INT_MAX ||
        orientation == ORGAN_LORA_AMBIGUOUS || (stack && m.rows == m.cols) || organ_lora_is_turned(orientation, w))
        return cannot(donor, "its factors have another layout than the weight", w->name, error);
    merge_pair *const p = &donor->pairs[donor->pair_count++];
    *p = (merge_pair){.adapter = adapter, .pair = pair, .weight = w, .kernels = job->engine->kernels};
    p->change = (organ_merge_change){
        .context = p,
        .open = open_pair,
        .close = close_pair,
        .memory = (size_t)(pair->experts * pair->rank * (pair->in_features + pair->out_features) * sizeof(float)),
        .scratch = pair_scratch,
        .change = change_rows};
    return ORGAN_OK;
}

organ_status organ_merge_adapter_open(model_merge *job, merge_donor *donor, const char *path, organ_error *error)
{
    if (organ_adapter_open(path, &donor->adapter, error) ||
        organ_lora_names_build(donor->model, donor->weights, &donor->names, error))
        return error->status;
    if (donor->adapter->dora)
        return cannot(donor, "use_dora is set for", donor->adapter->pairs[0].module, error);
    if (donor->adapter->rest_count)
        return cannot(donor, "it has the whole tensor", donor->adapter->rest[0]->name, error);
    if (organ_adapter_changed_base(donor->adapter))
        return cannot(donor, "init_lora_weights changed the base:", organ_adapter_changed_base(donor->adapter), error);
    if (organ_adapter_translate(donor->adapter, donor->model, &donor->names, &donor->translated, error))
        return error->status;
    const organ_adapter *const adapter = donor->translated ? donor->translated : donor->adapter;
    if (!(donor->pairs = calloc(adapter->pair_count + 1, sizeof *donor->pairs)))
        return organ_fail_memory(error, path);
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++)
        place_pair(job, donor, adapter, &adapter->pairs[k], error);
    return error->status;
}

void organ_merge_adapter_close(merge_donor *donor)
{
    free(donor->pairs);
    organ_adapter_translated_free(donor->translated);
    organ_lora_names_release(&donor->names);
    organ_adapter_close(donor->adapter);
}

const organ_merge_change *organ_merge_change_of(const merge_donor *donor, const organ_weight *weight)
{
    for (size_t k = 0; k < donor->pair_count; k++)
        if (donor->pairs[k].weight == weight)
            return &donor->pairs[k].change;
    return NULL;
}
